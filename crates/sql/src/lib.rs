//! Operation to SQL text, per dialect. The only room that knows how an expression of the model is spelled in an engine's SQL;
//! engines run what it writes and know nothing of how it came about.

pub mod json_text;
pub mod narrowing;
pub mod postgres;
pub mod sqlite;
