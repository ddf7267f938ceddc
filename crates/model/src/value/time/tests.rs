//! Dates and times against what PostgreSQL 15 answered.
