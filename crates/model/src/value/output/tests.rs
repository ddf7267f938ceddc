//! Values to text and JSON against what PostgreSQL 15 answered.
