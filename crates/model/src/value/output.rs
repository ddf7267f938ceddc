//! Postgres' output functions: value to text and to JSON.
