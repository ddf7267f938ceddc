//! What a dialect asks for: every read is a [`Query`], every write a [`Transaction`] of steps, every function call a [`Call`].

use crate::{Expr, FunctionId, OrderBy, OutboxRecord, Projected, RelationId, RelationRef, Value};
use std::sync::Arc;

/// A read: its shape, and the values that fill the shape's parameters. Requests that differ in values alone share a shape, and
/// with it authorisation, SQL and the cache's footprint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Everything but the values.
    pub shape: Arc<QueryShape>,
    /// What [`crate::ExprKind::Param`] refers to.
    pub params: Vec<Value>,
}

/// The shape of a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryShape {
    /// Where the rows come from.
    pub from: Source,
    /// What each row yields, in order.
    pub select: Vec<Item>,
    /// Which rows, on [`crate::SourceId::SELF`].
    pub filter: Option<Expr>,
    /// In which order; ties, and all without one, come as suits the engine, so a dialect that wants it total says so.
    pub order: Vec<OrderBy>,
    /// `DISTINCT` over the selected fields.
    pub distinct: bool,
    /// Over groups, when the selection has aggregates; all other fields are the groups' keys.
    pub having: Option<Expr>,
    /// At most so many rows: the index of a parameter that holds it.
    pub limit: Option<u16>,
    /// So many are skipped first: the index of a parameter.
    pub offset: Option<u16>,
    /// Whether the number of all matching rows is wanted.
    pub count: Count,
    /// The rows are wanted as one value that the database makes of them.
    pub document: Option<Box<Document>>,
}

/// A value that the database makes of all rows of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// What an aggregate of the database's own says.
    Aggregate {
        /// Its schema.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Rows of this relation are what it takes; else rows of any kind.
        of: Option<RelationId>,
        /// What it gives.
        ty: crate::Type,
    },
    /// A FeatureCollection of GeoJSON (RFC 7946 §3.3), by the functions in this schema.
    GeoJson(Arc<str>),
}

impl QueryShape {
    /// Every column asked of a relation, nothing else.
    pub fn of(from: Source) -> QueryShape {
        QueryShape {
            from,
            select: Vec::new(),
            filter: None,
            order: Vec::new(),
            distinct: false,
            having: None,
            limit: None,
            offset: None,
            count: Count::None,
            document: None,
        }
    }

    /// Whether the rows are groups: any value or sort key is an aggregate, or groups are chosen among.
    pub fn is_aggregate(&self) -> bool {
        let selected = self.select.iter().any(|item| match item {
            Item::Field(field) => field.expr.has_aggregate(),
            Item::Embed(_) => false,
        });
        selected || self.having.is_some() || self.order.iter().any(|key| key.expr.has_aggregate())
    }
}

/// Where a query's rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A table or view.
    Relation(RelationRef),
    /// A function's result. Its columns are those of the returned relation, of `RETURNS TABLE`, or one named after the function.
    Call(Call),
}

/// How many rows match, beyond the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Count {
    /// Not asked.
    #[default]
    None,
    /// Counted.
    Exact,
    /// From the planner's statistics.
    Planned,
    /// Counted up to so many, planned beyond.
    Estimated(u64),
}

impl Count {
    /// Up to so many rows an estimate is exact, where nothing else is said.
    pub const ESTIMATE_FROM: u64 = 1000;
}

/// One thing that a row yields.
#[allow(clippy::large_enum_variant, reason = "a shape is made once and shared")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A value under a name.
    Field(Projected),
    /// Related rows.
    Embed(Embed),
}

/// Related rows inside a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Embed {
    /// The name it has in the answer.
    pub name: Arc<str>,
    /// How the related rows are found.
    pub join: EmbedJoin,
    /// To one: an object or null; else an array.
    pub one: bool,
    /// Rows without any related row are left out (`!inner`).
    pub inner: bool,
    /// The related row's fields join the outer row's (`...`); of to-many, each as an array.
    pub spread: bool,
    /// Not shown, only filtered or ordered by (an empty selection).
    pub hidden: bool,
    /// The related rows; its parameters are the outer query's.
    pub query: QueryShape,
}

/// How related rows are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EmbedJoin {
    /// Outer column = related column, pair by pair.
    Columns(Vec<(u32, u32)>),
    /// Through a junction: outer column = junction column, junction column = related column.
    Through {
        /// The junction table.
        junction: RelationRef,
        /// (outer, junction)
        outer: Vec<(u32, u32)>,
        /// (junction, related)
        related: Vec<(u32, u32)>,
    },
    /// A computed relationship: a function of the outer row; the embedded query's source is its call.
    Computed(FunctionId),
}

/// A function call, as a source of rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The function.
    pub function: FunctionId,
    /// One per argument, defaults filled in.
    pub args: Vec<Expr>,
    /// The body with the security of its relations; set by authorisation.
    pub body: Option<Arc<Vec<crate::Statement>>>,
}

/// A unit of change: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    /// In order.
    pub steps: Vec<Step>,
    /// If the same request came before, its outcomes are given again and nothing is done.
    pub idempotency: Option<Idempotency>,
    /// Events written to the outbox in the same transaction.
    pub emit: Vec<OutboxRecord>,
    /// Events whose effect this is: if one was consumed before by the same consumer, nothing is done.
    pub consumed: Vec<Consumed>,
    /// Everything is done and then undone (`Prefer: tx=rollback`).
    pub dry_run: bool,
    /// Microseconds since the Unix epoch for `now()`; the store's clock when absent.
    pub traceparent: Option<String>,
}

/// An event's identity with one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consumed {
    /// The subscription's name.
    pub consumer: String,
    /// The event's id.
    pub event: String,
}

/// A request's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// Role, subject, method, path and the client's key, hashed.
    pub scope: [u8; 32],
    /// The body and everything else that decides the effect, hashed: another under the same scope is refused with 422.
    pub fingerprint: [u8; 32],
}

/// One change of a transaction. Filters and checks carry parameters of the step's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// What [`crate::ExprKind::Param`] refers to in it.
    pub params: Vec<Value>,
    /// Parameters whose values earlier steps yield.
    pub earlier: Vec<crate::Earlier>,
    /// What is answered of the rows touched; its source is the same relation, its filter is ignored.
    pub returning: Option<QueryShape>,
    /// Whether the key of the first row that it makes is wanted, which takes the right to read that row.
    pub key: bool,
    /// Fail with PGRST124 when more rows are touched.
    pub max_affected: Option<u64>,
    /// Fail with PGRST116 unless exactly one row is touched.
    pub singular: bool,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Rows into a table.
    Insert {
        /// The table; `security` limits which existing rows an upsert may update.
        relation: RelationRef,
        /// Indexes of the columns given.
        columns: Vec<u32>,
        /// For each row, for each column.
        rows: Vec<Vec<Cell>>,
        /// What to do with rows that exist.
        conflict: Option<OnConflict>,
        /// What every row given must satisfy, were it new; set by authorisation.
        check: Option<Arc<Expr>>,
        /// What a row that is there, and is updated instead, must satisfy afterwards; set by authorisation.
        updated: Option<Arc<Expr>>,
    },
    /// New values for the rows that match.
    Update {
        /// The table; `security` limits which rows.
        relation: RelationRef,
        /// (column, value)
        set: Vec<(u32, Cell)>,
        /// Which rows.
        filter: Option<Expr>,
        /// In which order, with `limit`.
        order: Vec<OrderBy>,
        /// At most so many.
        limit: Option<u64>,
        /// Skipping so many.
        offset: u64,
        /// What a new row must satisfy; set by authorisation.
        check: Option<Arc<Expr>>,
    },
    /// The rows that match go.
    Delete {
        /// The table; `security` limits which rows.
        relation: RelationRef,
        /// Which rows.
        filter: Option<Expr>,
        /// In which order, with `limit`.
        order: Vec<OrderBy>,
        /// At most so many.
        limit: Option<u64>,
        /// Skipping so many.
        offset: u64,
    },
    /// A function call; `returning` shapes its result.
    Call(Call),
    /// A read inside the transaction; `returning` is the query.
    Read,
}

/// A value to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// This.
    Value(Value),
    /// The column's default.
    Default,
    /// A column of a row of an earlier step: (step, row, column), as [`crate::Earlier`] has them.
    Earlier(u16, u32, u32),
}

/// An upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct OnConflict {
    /// The unique columns that decide.
    pub target: Vec<u32>,
    /// Leave the row there as it is, rather than taking the new values.
    pub ignore: bool,
}

/// What a committed transaction did.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// One per step.
    pub outcomes: Vec<StepOutcome>,
    /// Where it stands in the store's history.
    pub position: crate::Position,
    /// The outcomes are those of an earlier request with the same idempotency key.
    pub replayed: bool,
    /// What the database asked of the response, if it asked anything.
    pub response: Option<Box<crate::ResponseSettings>>,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutcome {
    /// Rows touched.
    pub affected: u64,
    /// Of them, rows that were new.
    pub inserted: u64,
    /// The answer asked for with `returning`.
    pub body: bytes::Bytes,
    /// Rows in the answer.
    pub rows: u64,
    /// How many rows would have been touched without a limit, when counted.
    pub total: Option<u64>,
    /// The primary key of the first row touched, as (column, text), for `Location`; where [`Step::key`] asks for it.
    pub key: Vec<(u32, String)>,
}

impl Step {
    /// A step that answers nothing.
    pub fn new(action: Action) -> Step {
        Step {
            action,
            params: Vec::new(),
            earlier: Vec::new(),
            returning: None,
            key: false,
            max_affected: None,
            singular: false,
        }
    }

    /// The relation it writes to, if it writes to one.
    pub fn relation(&self) -> Option<RelationId> {
        match &self.action {
            Action::Insert { relation, .. } | Action::Update { relation, .. } | Action::Delete { relation, .. } => {
                Some(relation.relation)
            }
            Action::Call(_) | Action::Read => None,
        }
    }
}
