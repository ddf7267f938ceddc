//! Shapes and steps to text.
