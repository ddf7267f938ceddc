//! How the store is opened, with a limit on everything.

use mainstay_model::{ChangeKind, RelationId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// How one SQLite store is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database's file.
    pub path: PathBuf,
    /// Its name in the project: `main` of `[store.main]`.
    pub name: String,
    /// Its index in the project, which positions carry.
    pub index: u16,
    /// How stale a cached answer may be: a foreign writer is noticed within a quarter of it.
    pub bound: Duration,
    /// What an inline read may cost, in thousands of SQLite's virtual instructions (about 10 µs each), before it moves to the long-read
    /// threads.
    pub read_budget_kops: u32,
    /// Threads for long reads.
    pub long_read_threads: usize,
    /// Long reads that may wait; beyond it they are refused with 53300.
    pub long_read_queue: usize,
    /// Writes that may wait; beyond it they are refused with 53300.
    pub write_queue: usize,
    /// Writes that share one COMMIT at most.
    pub group_max: usize,
    /// Longest time that one long read, or one transaction on the writer, may take: 57014.
    pub statement_timeout: Duration,
    /// How long a write waits for a foreign writer's lock: 55P03.
    pub busy_timeout: Duration,
    /// Largest answer, in bytes: 54000.
    pub answer_bytes_max: usize,
    /// An answer of more bytes is handed over as it is read, where the caller can take that.
    pub stream_from_bytes: usize,
    /// Such answers at a time, each with a thread and a connection of its own; beyond it they are refused with 53300.
    pub streams_max: usize,
    /// The longest time that one may take, from its first part to its last: its snapshot keeps the log from being checkpointed.
    pub stream_timeout: Duration,
    /// Compiled queries kept per connection.
    pub plans_max: usize,
    /// How much of the file is mapped into memory, in bytes.
    pub mmap_bytes: u64,
    /// SQLite's page cache of the writer, in KiB.
    pub writer_cache_kib: u32,
    /// SQLite's page cache of each reader, in KiB.
    pub reader_cache_kib: u32,
    /// How long outcomes are kept for requests that repeat an idempotency key.
    pub idempotency_kept: Duration,
    /// How long consumed events are remembered.
    pub consumed_kept: Duration,
    /// What sequences of a new store begin with, beyond their declaration: (name, next value), as `setval` gives it.
    pub sequences: Vec<(String, i64)>,
    /// A registered VFS to use instead of the platform's, for tests that lose unsynced pages.
    pub vfs: Option<String>,
}

impl Config {
    /// The defaults for a file.
    pub fn new(path: impl Into<PathBuf>) -> Config {
        Config {
            path: path.into(),
            name: "main".to_owned(),
            index: 0,
            bound: Duration::from_secs(1),
            read_budget_kops: 500,
            long_read_threads: 2,
            long_read_queue: 256,
            write_queue: 4096,
            group_max: 256,
            statement_timeout: Duration::from_secs(30),
            busy_timeout: Duration::from_secs(5),
            answer_bytes_max: 64 << 20,
            stream_from_bytes: 1 << 20,
            streams_max: 8,
            stream_timeout: Duration::from_secs(3600),
            plans_max: 512,
            mmap_bytes: 256 << 20,
            writer_cache_kib: 16 << 10,
            reader_cache_kib: 2 << 10,
            idempotency_kept: Duration::from_secs(24 * 3600),
            consumed_kept: Duration::from_secs(30 * 24 * 3600),
            sequences: Vec::new(),
            vfs: None,
        }
    }
}

/// Which tables' changes become outbox records: those that something is subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    kinds: HashMap<RelationId, u8>,
}

impl Captured {
    /// None.
    pub fn none() -> Captured {
        Captured::default()
    }

    /// Adds one kind of change of one table.
    pub fn add(&mut self, relation: RelationId, kind: ChangeKind) {
        *self.kinds.entry(relation).or_default() |= 1 << kind as u8;
    }

    /// Adds every kind of change of one table.
    pub fn add_all(&mut self, relation: RelationId) {
        *self.kinds.entry(relation).or_default() = u8::MAX;
    }

    /// Whether such a change is recorded.
    pub fn contains(&self, relation: RelationId, kind: ChangeKind) -> bool {
        self.kinds
            .get(&relation)
            .is_some_and(|kinds| kinds & (1 << kind as u8) != 0)
    }
}

/// Rows that a table begins with.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The table.
    pub relation: RelationId,
    /// The columns given; the others take their defaults.
    pub columns: Vec<u32>,
    /// For each row the text of each column as Postgres' input functions read it; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// Where the rows come from, for messages.
    pub origin: String,
}
