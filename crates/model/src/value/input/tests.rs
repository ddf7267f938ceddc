//! Input, casts and assignment against what PostgreSQL 15 answered.
