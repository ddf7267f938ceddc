//! What an archive says of itself. It is the last thing in it: an archive without one was cut short.

use serde::{Deserialize, Serialize};

/// The version of the format that this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// The table of contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The project's name.
    pub project: String,
    /// When the backup began, RFC 3339: everything acknowledged before is in it.
    pub began: String,
    /// The version of Mainstay that wrote it.
    pub mainstay: String,
    /// What it holds, in the order in which it was taken.
    pub parts: Vec<Part>,
}

/// One store's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The store's name in the project.
    pub store: String,
    /// The kind of engine that wrote it.
    pub engine: String,
    /// The engine with its version, for people.
    pub version: String,
    /// Where in the store's history it stands, in the engine's own words.
    pub position: String,
    /// The entry's name in the archive.
    pub file: String,
    /// The entry's length in bytes.
    pub bytes: u64,
    /// SHA-256 of the entry, in hexadecimal.
    pub sha256: String,
    /// The tables in it.
    pub tables: Vec<Table>,
    /// What the engine needs besides to restore.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A table of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// The sum of its rows' hashes.
    pub digest: String,
}
