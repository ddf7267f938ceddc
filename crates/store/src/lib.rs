//! The store contract: what every database engine offers, and nothing about any of them. The conformance suite in
//! [`conformance`] is the contract's meaning; every engine runs it against the real thing.

use bytes::Bytes;
use mainstay_model::{
    Changes, Committed, Fence, Identity, OutboxRecord, Position, QueryShape, Representation, ResponseSettings, Result,
    Transaction, Value,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A boxed future of the contract. `Send`, so that the worker and handlers of the user's own may hold it anywhere.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database that holds a part of the project's relations.
pub trait Store: Send + Sync + 'static {
    /// Its name in the project: `main` of `[store.main]`.
    fn name(&self) -> &str;

    /// What it can do. Nobody tests an engine's name.
    fn capabilities(&self) -> &Capabilities;

    /// Whether anything in it may look at callers' requests ([`Identity::request`]).
    fn wants_requests(&self) -> bool {
        self.capabilities().native_policies
    }

    /// Answers an authorised read.
    fn read<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, Result<Answer>>;

    /// As [`Store::read`], for a caller that can take an answer that goes on: one that grows large is handed over as it is read, row by
    /// row and no faster than it is taken, all of it from one snapshot. Whether an answer goes on is the engine's choice; one that is
    /// counted, or whose representation does not stream, never does.
    fn stream<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, Result<Streamed>> {
        Box::pin(async move { self.read(read).await.map(Streamed::from) })
    }

    /// The answer to an authorised read, where the engine can give it on this thread without waiting; `None` leads to [`Store::stream`] for
    /// a caller that can take an answer that goes on (`goes_on`), else to [`Store::read`], and has cost little.
    fn read_at_once(&self, read: Read<'_>, goes_on: bool) -> Option<Result<Answer>> {
        let _ = (read, goes_on);
        None
    }

    /// Does all of an authorised transaction or nothing. When it returns `Ok`, the transaction is durable, every
    /// [`CommitListener`] has run, and its events are in the outbox. An error whose outcome is unknown says so.
    ///
    /// Nothing is encoded; a step with `returning` needs [`Store::write_as`].
    fn write<'a>(&'a self, transaction: &'a Transaction, identity: &'a Identity) -> BoxFuture<'a, Result<Committed>> {
        self.write_as(transaction, identity, &[])
    }

    /// As [`Store::write`]; `representations` has one for each step, which encodes what that step returns.
    fn write_as<'a>(
        &'a self,
        transaction: &'a Transaction,
        identity: &'a Identity,
        representations: &'a [Arc<dyn Representation>],
    ) -> BoxFuture<'a, Result<Committed>>;

    /// Up to `limit` outbox records in commit order, the oldest first, not yet confirmed, above `after`.
    fn outbox(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxRecord>>>;

    /// Forgets outbox records up to and including `sequence`: the bus has them durably.
    fn confirm(&self, sequence: u64) -> BoxFuture<'_, Result<()>>;

    /// Registers who is told of every commit that this process makes, between its becoming visible and its acknowledgement.
    fn listen(&self, listener: Arc<dyn CommitListener>);

    /// The newest position that a read started now is sure to see.
    fn position(&self) -> Position;

    /// Loads rows in bulk, all loads in one transaction in their order: everything or, when this fails, nothing. `sequences`: the next
    /// values that sequences shall have at least.
    fn load<'a>(
        &'a self,
        loads: Vec<Load>,
        sequences: &'a [(Arc<str>, i64)],
    ) -> BoxFuture<'a, Result<Vec<Loaded>, LoadFailure>> {
        let _ = (loads, sequences);
        Box::pin(async move {
            let engine = &self.capabilities().engine;
            Err(mainstay_model::Error::unsupported(format!("{engine} cannot load rows in bulk")).into())
        })
    }

    /// How a read would be answered, or was, without its answer. Refused by name where an engine cannot tell.
    fn explain<'a>(&'a self, read: Read<'a>, wanted: Explain) -> BoxFuture<'a, Result<Explanation>> {
        let _ = (read, wanted);
        Box::pin(async move {
            let engine = &self.capabilities().engine;
            Err(mainstay_model::Error::unsupported(format!("{engine} shows no plans")))
        })
    }

    /// How each step of an authorised transaction would be done. Nothing of it is done; with [`Explain::analyze`], where the engine
    /// measures, all of it is, and stays unless the transaction is a dry run. Refused by name where an engine cannot tell.
    fn explain_write<'a>(
        &'a self,
        transaction: &'a Transaction,
        identity: &'a Identity,
        representations: &'a [Arc<dyn Representation>],
        wanted: Explain,
    ) -> BoxFuture<'a, Result<Vec<Explanation>>> {
        let _ = (transaction, identity, representations, wanted);
        Box::pin(async move {
            let engine = &self.capabilities().engine;
            Err(mainstay_model::Error::unsupported(format!(
                "{engine} shows no plans of writes"
            )))
        })
    }

    /// A round trip to the engine, for readiness.
    fn ping(&self) -> BoxFuture<'_, Result<()>>;

    /// Finishes what is under way and closes; later calls fail with 57P03.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// An authorised read.
#[derive(Clone, Copy)]
pub struct Read<'a> {
    /// Identifies the authorised shape for the life of the process: the key under which an engine keeps what it compiled.
    pub plan: u64,
    /// Whether something may be kept under it: a shape that is too large to keep has another number each time.
    pub kept: bool,
    /// The shape with views expanded and security filled in.
    pub shape: &'a Arc<QueryShape>,
    /// Values of the shape's parameters.
    pub params: &'a [Value],
    /// Whose claims the expressions see. For a cache fill, reduced to the class.
    pub identity: &'a Identity,
    /// How the answer is encoded.
    pub representation: &'a dyn Representation,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The encoded rows.
    pub body: Bytes,
    /// Rows in the body.
    pub rows: u64,
    /// Rows that match beyond the page, when counted.
    pub total: Option<u64>,
    /// What the read has seen.
    pub fence: Fence,
    /// What the database asked of the response, if it asked anything.
    pub response: Option<Box<ResponseSettings>>,
}

/// Told of every commit between its becoming visible and its acknowledgement, on the thread that committed. Must be quick and
/// must not call the store.
pub trait CommitListener: Send + Sync {
    /// One transaction's changes. Called in commit order.
    fn committed(&self, changes: &Changes);

    /// Something happened that no change describes (a foreign writer, DDL): everything derived from the store is void.
    fn voided(&self, store: u16, reason: &str);

    /// At this moment every commit that others had made was known: the proof that the bound on staleness rests on.
    fn checked(&self, store: u16, at: std::time::Instant) {
        let _ = (store, at);
    }
}

/// What an engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The engine, for people: `SQLite 3.50.4`.
    pub engine: String,
    /// The index in positions.
    pub store: u16,
    /// Changes carry before-images.
    pub before_images: bool,
    /// A transaction may touch many rows and tables.
    pub multi_row_transactions: bool,
    /// Commits of other processes are noticed within the bound, so that answers may be cached.
    pub change_feed: bool,
    /// The engine itself enforces policies and privileges.
    pub native_policies: bool,
    /// Only one process at a time may open it.
    pub single_process: bool,
    /// Full text search.
    pub full_text: bool,
    /// Array, range and network operators.
    pub postgres_types: bool,
}

mod explain;
mod keeping;
mod load;
mod recovery;
mod rest;

pub use explain::{Explain, Explained, Explanation};
pub use keeping::Keeping;
pub use load::{Load, LoadFailure, Loaded, Rows, RowsInMemory, TextRow};
pub use recovery::{Recovery, Snapshot, TableDigest};
pub use rest::{Handed, Outlet, Rest, Streamed, rest};

pub mod conformance;
pub mod outcomes;
