//! Civil time to and from counts of days and microseconds, in Postgres' ISO style.
