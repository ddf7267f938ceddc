//! Why a store could not be opened, for the person who started it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a store could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// What kind of reason.
    pub kind: OpenErrorKind,
    /// The database's file.
    pub path: PathBuf,
    /// The reason in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// The directory does not exist.
    MissingDirectory,
    /// Another process has it open.
    InUse,
    /// The file is no SQLite database.
    NotADatabase,
    /// The file or its directory cannot be written.
    ReadOnly,
    /// A SQLite database that Mainstay did not make.
    Foreign,
    /// Made by another version.
    Format,
    /// The edited schema needs more than additions.
    SchemaChanged,
    /// The schema has what the engine cannot do.
    Unsupported,
    /// A seed row that does not fit.
    Seed,
    /// The file is damaged.
    Damaged,
    /// Anything the system said.
    Io,
}

impl OpenError {
    pub(crate) fn new(
        kind: OpenErrorKind,
        path: &Path,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> OpenError {
        OpenError {
            kind,
            path: path.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open the store {}: {}", self.path.display(), self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {}
