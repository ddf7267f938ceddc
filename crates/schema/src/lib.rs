//! Postgres DDL to [`Schema`], with spans: the only room that knows the SQL parser.

mod assemble;
mod bind;
mod builtin;
mod catalog;
mod ddl;
mod names;
mod preprocess;
mod source_text;
mod statements;
mod types;

pub use statements::{SourceStatement, StatementKind, Statements, statements};

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

/// Something that was read and has no effect, which the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub span: Span,
    /// What, and why it has no effect.
    pub message: String,
}

/// Rows that the DDL itself brings (`COPY … FROM stdin`, `INSERT INTO … VALUES`), loaded into tables that are new.
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
    /// What was passed over without harm, in order of place.
    pub notes: Vec<Note>,
    /// Where a domain is cast to, taken, returned or an array's element, and its constraints are for the database to keep: an engine
    /// that translates does not.
    pub unkept: Vec<Note>,
}

/// What a project has besides its DDL.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The store that holds users and sessions: its tables `auth.users`, `auth.sessions`, `auth.refresh_tokens` and
    /// `auth.one_time_tokens` are then part of the model, without grants. `None` without accounts.
    pub auth: Option<Arc<str>>,
}

/// Reads a project's DDL. All sources share one namespace of tables and functions; a name declared twice is a problem, and so is a
/// function or foreign key that crosses stores.
pub fn read(sources: &[Source]) -> Reading {
    read_with(sources, &Options::default())
}

/// The tables of accounts by themselves, for a database whose schema is not ours to write: the model, and the statements that make
/// them in the schema `namespace`, which they expect to be there.
pub fn accounts(store: &str, namespace: &str) -> (Schema, String) {
    let declared = builtin::declared_in(namespace);
    let reading = read(&[Source {
        file: builtin::FILE.into(),
        text: format!("CREATE SCHEMA {namespace};\n{declared}"),
        store: store.into(),
        service: None,
    }]);
    debug_assert!(
        reading.problems.iter().all(|p| p.severity != Severity::Error),
        "{:?}",
        reading.problems
    );
    (reading.schema, declared)
}

/// As [`read`], with what the project has besides. Never panics: what cannot be read is a problem in the [`Reading`].
pub fn read_with(sources: &[Source], options: &Options) -> Reading {
    // SQL is nested, and walking it is recursive: on a stack of its own, so that no caller's is too small.
    let read = || {
        let mut reader = ddl::Reader::default();
        if let Some(store) = &options.auth {
            let text = builtin::AUTH.to_owned();
            reader.file(&Source {
                file: builtin::FILE.into(),
                text,
                store: store.clone(),
                service: None,
            });
            reader.catalog.has_grants = false;
        }
        for source in sources {
            reader.file(source);
        }
        assemble::assemble(reader.catalog)
    };
    let finished = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("schema".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, read);
        match thread {
            Ok(thread) => thread
                .join()
                .map_err(|_| "it cannot be read: this is a mistake of Mainstay's own".to_owned()),
            Err(error) => Err(format!("no thread to read it with: {error}")),
        }
    });
    finished.unwrap_or_else(|message| {
        let file = sources.first().map_or_else(|| Arc::from(""), |s| s.file.clone());
        let problem = Problem::error(
            Span {
                file,
                start: 0,
                end: 0,
                line: 1,
                column: 1,
            },
            message,
        );
        Reading {
            problems: vec![problem.help("please report it with the file")],
            ..Reading::default()
        }
    })
}

/// Reserved, not used: the deepest tree that is let in needs a small part of it.
const STACK_BYTES: usize = 256 << 20;
