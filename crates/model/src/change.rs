//! Everything that ever changes is one [`Change`]; where it stands in a store's history is a [`Position`]; what a read has seen
//! of that history is a [`Fence`].

use crate::{Relation, RelationId, Schema, Value};
use std::cmp::Ordering;
use std::sync::Arc;

/// A place in one store's history of transactions. Comparable only within a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which store: its index in the project.
    pub store: u16,
    /// Grows with each committed transaction; its meaning is the engine's (a sequence, a 64-bit transaction id).
    pub token: u64,
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        (self.store == other.store).then(|| self.token.cmp(&other.token))
    }
}

/// What a read has seen: the transactions whose effects are in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Everything up to and including this position.
    UpTo(Position),
    /// A snapshot: everything below `min`, nothing from `max` on, and between them all but those in progress.
    Snapshot {
        /// Which store.
        store: u16,
        /// The oldest transaction still in progress.
        min: u64,
        /// The first transaction not yet begun.
        max: u64,
        /// In progress between the two, sorted.
        in_progress: Vec<u64>,
    },
}

impl Fence {
    /// Whether the read's snapshot contains the transaction at `position`. Another store's is never contained.
    pub fn sees(&self, position: Position) -> bool {
        match self {
            Fence::UpTo(seen) => position <= *seen,
            Fence::Snapshot {
                store,
                min,
                max,
                in_progress,
            } => {
                *store == position.store
                    && position.token < *max
                    && (position.token < *min || in_progress.binary_search(&position.token).is_err())
            }
        }
    }
}

/// A row's values, in the order of its relation's columns.
pub type Row = Arc<[Value]>;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the SQL statement of its name")]
pub enum ChangeKind {
    Insert,
    Update,
    Delete,
    /// Every row of the table went; no images.
    Truncate,
}

/// One changed row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The table.
    pub relation: RelationId,
    /// What happened.
    pub kind: ChangeKind,
    /// The row before; absent on insert and where the engine cannot tell.
    pub before: Option<Row>,
    /// The row after; absent on delete.
    pub after: Option<Row>,
}

/// The changes of one committed transaction, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// Where it stands.
    pub position: Position,
    /// What it changed.
    pub rows: Vec<Change>,
}

/// A change or an emitted event, as the outbox keeps it until the bus has confirmed it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRecord {
    /// Unique for ever within the store and increasing in commit order: what [`crate::Position`] is for the relay.
    pub sequence: u64,
    /// Identifies the event to consumers; they deduplicate by it. A UUID's text.
    pub id: String,
    /// [`change_topic`], or the topic given to `emit`.
    pub topic: String,
    /// Deliveries with one key keep their order: the row's primary key, or the key given to `emit`.
    pub key: String,
    /// Microseconds since the Unix epoch.
    pub time_us: i64,
    /// JSON: for a change `{"schema","table","op","old","new"}`, else the payload.
    pub payload: String,
    /// W3C `traceparent` of the request that caused it.
    pub traceparent: Option<String>,
}

/// The topic of what an operation (`insert`, `update`, `delete`) does to a table: `change.orders.insert`, and with the schema of a table
/// that is not in the first one served, `change.sales.orders.insert`.
pub fn change_topic(schema: &Schema, relation: &Relation, operation: &str) -> String {
    match schema.namespaces.first() {
        Some(first) if *first != relation.namespace => {
            format!("change.{}.{}.{operation}", relation.namespace, relation.name)
        }
        _ => format!("change.{}.{operation}", relation.name),
    }
}

/// Whether events of this topic are written by Mainstay alone: calls that are made later (`mainstay.…`) and changes of rows
/// (`change.…`). What `emit()` or a subscription names must be another.
pub fn is_reserved_topic(topic: &str) -> bool {
    topic.starts_with("mainstay.") || topic.starts_with("change.")
}
