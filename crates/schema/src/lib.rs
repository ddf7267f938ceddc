//! Postgres DDL to [`Schema`], with spans: the only room that knows the SQL parser.

mod names;
mod source_text;
mod types;

use mainstay_model::{Schema, Span};
use std::sync::Arc;

/// A file of DDL and where its relations live.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name as the user knows it, for messages.
    pub file: Arc<str>,
    /// Its text.
    pub text: String,
    /// The store that holds its relations.
    pub store: Arc<str>,
    /// The service that it belongs to.
    pub service: Option<Arc<str>>,
}

/// Something in the DDL that the user must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// Whether it stops the project from being served.
    pub severity: Severity,
    /// What and why.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Warning,
    /// Must be mended.
    Error,
}

/// Rows that the DDL itself brings (`COPY … FROM stdin`, `INSERT INTO … VALUES`), loaded when the store is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Seed {
    /// Which table.
    pub relation: mainstay_model::RelationId,
    /// Indexes of the columns given.
    pub columns: Vec<u32>,
    /// Rows in text form (each value as its type's input function takes it), NULL as `None`.
    pub rows: Vec<Vec<Option<String>>>,
    /// Where.
    pub span: Span,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The model; complete only if no problem is an error.
    pub schema: Schema,
    /// Rows to load, in order.
    pub seeds: Vec<Seed>,
    /// `SELECT setval(…)`, as (sequence, next value).
    pub sequence_values: Vec<(Arc<str>, i64)>,
    /// Everything to tell the user, in order of place.
    pub problems: Vec<Problem>,
}

/// Reads a project's DDL. All sources share one namespace of tables and functions; a name declared twice is a problem, and so is a
/// function or foreign key that crosses stores.
pub fn read(sources: &[Source]) -> Reading {
    let _ = sources;
    Reading::default()
}
