//! Bound SQL: what views, policies' subqueries and functions' bodies are made of, independent of any engine's syntax.

use crate::{Expr, FunctionId, RelationId, SourceId, Type};
use std::sync::Arc;

/// A statement of a function's body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Statement {
    /// `SELECT`
    Select(Box<Select>),
    /// `INSERT`
    Insert(Box<Insert>),
    /// `UPDATE`
    Update(Box<Update>),
    /// `DELETE`
    Delete(Box<Delete>),
}

/// A relation where a statement or query names it, with what authorisation has added to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelationRef {
    /// The table or view.
    pub relation: RelationId,
    /// A view's definition, with the security of the relations inside it; set by authorisation, not by binding.
    pub expansion: Option<Arc<Select>>,
    /// What a row must satisfy to be seen, on [`SourceId::SELF`]; set by authorisation, not by binding.
    pub security: Option<Arc<Expr>>,
}

impl RelationRef {
    /// A relation before authorisation.
    pub fn new(relation: RelationId) -> RelationRef {
        RelationRef {
            relation,
            expansion: None,
            security: None,
        }
    }
}

/// One column of a projection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Projected {
    /// The value.
    pub expr: Expr,
    /// The output name.
    pub name: Arc<str>,
}

/// A query expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Select {
    /// `WITH`: each is visible to those after it and to the rest.
    pub with: Vec<CommonTable>,
    /// `DISTINCT`
    pub distinct: bool,
    /// `DISTINCT ON (…)`
    pub distinct_on: Vec<Expr>,
    /// What it yields.
    pub projection: Vec<Projected>,
    /// Where from; several are a cross join.
    pub from: Vec<FromItem>,
    /// `WHERE`
    pub filter: Option<Expr>,
    /// `GROUP BY`
    pub group_by: Vec<Expr>,
    /// `HAVING`
    pub having: Option<Expr>,
    /// `VALUES (…), (…)` instead of a projection and sources.
    pub values: Vec<Vec<Expr>>,
    /// `UNION`, `INTERSECT`, `EXCEPT` with what stands to the right.
    pub set_operation: Option<(SetOperation, Box<Select>)>,
    /// `ORDER BY`; after a set operation only [`crate::ExprKind::Column`] of [`SourceId::SELF`], the output columns.
    pub order: Vec<OrderBy>,
    /// `LIMIT`
    pub limit: Option<Expr>,
    /// `OFFSET`
    pub offset: Option<Expr>,
}

/// A `WITH` member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommonTable {
    /// What [`FromItem::CommonTable`] refers to; unique in the statement.
    pub id: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Names and types of its columns.
    pub columns: Vec<(Arc<str>, Type)>,
    /// What it holds: a query, or a data-modifying statement with RETURNING.
    pub statement: Statement,
    /// `WITH RECURSIVE`
    pub recursive: bool,
}

/// How two queries combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the SQL keyword of its name")]
pub enum SetOperation {
    Union,
    UnionAll,
    Intersect,
    IntersectAll,
    Except,
    ExceptAll,
}

/// A row source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FromItem {
    /// A table or view.
    Relation {
        /// Which, and what authorisation added.
        relation: RelationRef,
        /// How columns refer to it.
        source: SourceId,
    },
    /// A subquery.
    Subquery {
        /// The query.
        select: Box<Select>,
        /// How columns refer to it.
        source: SourceId,
        /// Whether it may refer to sources to its left.
        lateral: bool,
    },
    /// A `WITH` member.
    CommonTable {
        /// Its id.
        id: u32,
        /// How columns refer to it.
        source: SourceId,
    },
    /// A function of the schema's own, in `FROM`.
    Function {
        /// Which.
        function: FunctionId,
        /// Its arguments.
        args: Vec<Expr>,
        /// How columns refer to it.
        source: SourceId,
    },
    /// `unnest(array)`, `generate_series(a, b [, step])`, `jsonb_array_elements(x)` …: set-returning built-ins.
    Series {
        /// Which.
        series: Series,
        /// Its arguments.
        args: Vec<Expr>,
        /// The columns it yields.
        columns: Vec<(Arc<str>, Type)>,
        /// How columns refer to it.
        source: SourceId,
    },
    /// A join.
    Join {
        /// Which.
        kind: JoinKind,
        /// The left side.
        left: Box<FromItem>,
        /// The right side.
        right: Box<FromItem>,
        /// `ON`, also made from `USING` and `NATURAL`; none for a cross join.
        on: Option<Expr>,
    },
}

/// Set-returning built-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the Postgres function of its name")]
pub enum Series {
    Unnest,
    GenerateSeries,
    JsonArrayElements,
    JsonArrayElementsText,
    JsonEach,
    JsonEachText,
    JsonObjectKeys,
}

/// Joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the SQL keyword of its name")]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Cross,
}

/// One sort key. `NULLS FIRST/LAST` is always explicit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderBy {
    /// The key.
    pub expr: Expr,
    /// `DESC`
    pub descending: bool,
    /// `NULLS FIRST`
    pub nulls_first: bool,
}

/// `INSERT INTO relation (columns) source [ON CONFLICT …] [RETURNING …]`. Columns not named take their default.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Insert {
    /// `WITH`
    pub with: Vec<CommonTable>,
    /// Where to.
    pub relation: RelationRef,
    /// Indexes of the columns named.
    pub columns: Vec<u32>,
    /// What is inserted; a `DEFAULT` in VALUES is the column's default, already written out. `None` is `DEFAULT VALUES`.
    pub source: Option<Select>,
    /// What to do with a row that exists.
    pub conflict: Option<Conflict>,
    /// What a new row must satisfy (`WITH CHECK` of policies), on [`SourceId::SELF`], and so must one that is given and is there; set by
    /// authorisation.
    pub check: Option<Arc<Expr>>,
    /// What a row that is there, and is updated instead, must satisfy afterwards; set by authorisation.
    pub updated: Option<Arc<Expr>>,
    /// `RETURNING`, on [`SourceId::SELF`].
    pub returning: Vec<Projected>,
}

/// `ON CONFLICT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conflict {
    /// The unique columns that decide; empty is any.
    pub target: Vec<u32>,
    /// `DO UPDATE SET` with values over [`SourceId::SELF`] (the row there) and [`SourceId::EXCLUDED`]; empty is `DO NOTHING`.
    pub set: Vec<(u32, Expr)>,
    /// `WHERE` of `DO UPDATE`.
    pub filter: Option<Expr>,
}

/// `UPDATE relation SET … [FROM …] [WHERE …] [RETURNING …]`; the row at hand is [`SourceId::SELF`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    /// `WITH`
    pub with: Vec<CommonTable>,
    /// What is updated; its `security` limits which rows (`USING`).
    pub relation: RelationRef,
    /// New values.
    pub set: Vec<(u32, Expr)>,
    /// `FROM`
    pub from: Vec<FromItem>,
    /// `WHERE`
    pub filter: Option<Expr>,
    /// What the new row must satisfy; set by authorisation.
    pub check: Option<Arc<Expr>>,
    /// `RETURNING`
    pub returning: Vec<Projected>,
}

/// `DELETE FROM relation [USING …] [WHERE …] [RETURNING …]`; the row at hand is [`SourceId::SELF`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delete {
    /// `WITH`
    pub with: Vec<CommonTable>,
    /// What is deleted from; its `security` limits which rows (`USING`).
    pub relation: RelationRef,
    /// `USING`
    pub using: Vec<FromItem>,
    /// `WHERE`
    pub filter: Option<Expr>,
    /// `RETURNING`
    pub returning: Vec<Projected>,
}
