//! How the store is opened, with a limit on everything.

use mainstay_model::{ChangeKind, RelationId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How one PostgreSQL store is opened.
#[derive(Clone)]
pub struct Config {
    /// `postgres://user:password@host:5432,other:5432/database?sslmode=require`, as libpq reads it.
    pub url: String,
    /// Its name in the project: `main` of `[store.main]`.
    pub name: String,
    /// Its index in the project, which positions carry.
    pub index: u16,
    /// What the server shows in `pg_stat_activity`.
    pub application_name: String,
    /// Connections for reads, for each serving thread; requests are pipelined on them.
    pub read_connections: usize,
    /// Reads that may wait on one connection; beyond it they are refused with 53300.
    pub read_queue: usize,
    /// Connections for writes, for all threads together.
    pub write_connections: usize,
    /// Writes that may wait for a connection; beyond it they are refused with 53300.
    pub write_queue: usize,
    /// How long a write waits for a connection: 53300.
    pub queue_timeout: Duration,
    /// How long connecting to one host may take: 08001.
    pub connect_timeout: Duration,
    /// The longest time that one statement may take: 57014. Zero is none.
    pub statement_timeout: Duration,
    /// How long a statement waits for a lock: 55P03. Zero is as long as the statement may take.
    pub lock_timeout: Duration,
    /// Largest answer, in bytes: 54000.
    pub answer_bytes_max: usize,
    /// An answer of more bytes is handed over as it is read, where the caller can take that.
    pub stream_from_bytes: usize,
    /// Connections for such answers, one for each at a time; beyond it they wait for `queue_timeout` and are refused with 53300.
    pub stream_connections: usize,
    /// The longest time that one may take, from its first row to its last: its snapshot keeps the database from cleaning up.
    pub stream_timeout: Duration,
    /// Prepared statements kept per connection, and compiled reads per thread.
    pub plans_max: usize,
    /// Statements are prepared under a name and kept. Off for poolers in transaction mode; a pooler that is noticed turns it off, too.
    pub prepared: bool,
    /// `search_path` of every transaction, beyond the schema that is asked for.
    pub search_path: Vec<Arc<str>>,
    /// A function without arguments, called first in each transaction (`schema.name`).
    pub pre_request: Option<String>,
    /// Whether the schema `mainstay` and the functions `auth.*` are made where they are missing.
    pub install: bool,
    /// Whether a server that cannot be reached at the start is an error; else the store opens and answers 503 until it can.
    pub must_answer: bool,
    /// How long outcomes are kept for requests that repeat an idempotency key.
    pub idempotency_kept: Duration,
    /// How long consumed events are remembered.
    pub consumed_kept: Duration,
}

impl Config {
    /// The defaults for a server.
    pub fn new(url: impl Into<String>) -> Config {
        Config {
            url: url.into(),
            name: "main".to_owned(),
            index: 0,
            application_name: "mainstay".to_owned(),
            read_connections: 4,
            read_queue: 1024,
            write_connections: 16,
            write_queue: 4096,
            queue_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::ZERO,
            answer_bytes_max: 64 << 20,
            stream_from_bytes: 1 << 20,
            stream_connections: 8,
            stream_timeout: Duration::from_secs(3600),
            plans_max: 512,
            prepared: true,
            search_path: vec!["public".into()],
            pre_request: None,
            install: true,
            must_answer: true,
            idempotency_kept: Duration::from_secs(24 * 3600),
            consumed_kept: Duration::from_secs(30 * 24 * 3600),
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

    /// The tables, in their order.
    pub(crate) fn relations(&self) -> Vec<RelationId> {
        let mut relations: Vec<RelationId> = self.kinds.keys().copied().collect();
        relations.sort();
        relations
    }
}
