//! SQL for SQLite: Postgres' meaning of every expression on SQLite's storage format, or an error that names what cannot be had
//! (0A000).
//!
//! A query becomes one SELECT per level of embedding ([`CompiledQuery`]); a write becomes single statements that the store repeats
//! ([`InsertPlan`], [`UpdatePlan`], [`DeletePlan`]); a statement of a function's body becomes one [`StatementPlan`]. Every value that is
//! not a constant is a numbered parameter (`?1` is `binds[0]`), and every function named `mainstay_…` is registered by the store on each
//! connection.

mod aggregate;
mod barrier;
mod call;
mod cast;
mod compare;
mod ddl;
mod embed;
mod expr;
mod from;
mod inline;
mod insertion_order;
mod kept;
mod mathematics;
mod operator;
mod query;
mod render;
mod select;
mod set_operation;
mod statement;
mod storage;
mod write;

use mainstay_model::{
    Call, Cell, Claim, Column, Expr, Index, OnConflict, OrderBy, QueryShape, Relation, RelationId, RelationRef, Result,
    Schema, Statement, Type, Value,
};
use std::sync::Arc;

pub use storage::{
    Form, SCALED_DIGITS_MAX, Stored, column_form, decode, decode_json, encode, parse_type_code, parse_uuid, type_code,
    uuid_text,
};

/// What stands behind one parameter of a statement. All but `Outer` go through [`encode`].
#[derive(Clone, Debug, PartialEq)]
pub enum Bind {
    /// A constant that is not written into the text.
    Value(Value, Type, Form),
    /// The operation's parameter, or the function's argument, with this index.
    Param(u16, Type, Form),
    /// What the caller's token says, from `Identity::claim(claim, type)`.
    Claim(Claim, Type, Form),
    /// The parent level's result column with this index, as SQLite gave it, not decoded.
    Outer(u16),
    /// The rowid of the row at hand.
    Rowid,
    /// A JSON array of rowids.
    Rowids,
    /// The value of the n-th given column: fitted to the column's type (`Value::fit`), then `encode`d with `column_form`.
    Cell(u16),
    /// The operation's parameter as a LIMIT: NULL is -1 (no limit).
    Limit(u16),
    /// The operation's parameter as an OFFSET: NULL is 0.
    Offset(u16),
    /// The transaction's time in microseconds since 1970.
    Now,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputColumn {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// How its values are represented.
    pub form: Form,
}

/// One SQL statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The text; parameters are `?1`, `?2` ….
    pub sql: String,
    /// What the parameters are, in order.
    pub binds: Vec<Bind>,
    /// The result's columns.
    pub columns: Vec<OutputColumn>,
}

/// A read, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct CompiledQuery {
    /// The rows asked for.
    pub root: Level,
    /// Yields one integer: how many rows match without limit and offset. Present when the shape asks for a count.
    pub count: Option<Rendered>,
}

/// The rows of one level: the store runs `select` and, for each of its rows, the statements of its embeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The statement. Its result may have more columns than are shown: keys that feed embeds by [`Bind::Outer`].
    pub select: Rendered,
    /// What each row shows, in order.
    pub items: Vec<LevelItem>,
}

/// One thing that a row shows.
#[derive(Clone, Debug, PartialEq)]
pub enum LevelItem {
    /// A value of the result.
    Column {
        /// The index of the result column.
        result: u16,
        /// The name it is shown under.
        name: Arc<str>,
        /// Its type.
        ty: Type,
        /// Its form.
        form: Form,
    },
    /// Related rows.
    Embed {
        /// The name they are shown under.
        name: Arc<str>,
        /// At most one row: an object or null.
        one: bool,
        /// The fields of the (at most one) row join the outer row's; all NULL without a row.
        spread: bool,
        /// The rows.
        level: Box<Level>,
    },
}

/// Where the rows of [`compile_query_over`] come from instead of the shape's own source and filter.
#[derive(Clone, Debug, PartialEq)]
pub enum RowsFrom {
    /// The one row of the shape's table with the rowid bound as [`Bind::Rowid`].
    Rowid,
    /// The rows whose rowids are bound as a JSON array ([`Bind::Rowids`]), in that order unless the shape has one.
    Rowids,
    /// A temporary table whose columns are `c0`, `c1` …: a function's result that was computed before. The shape's filter, order and
    /// limit apply.
    TempTable(String, Vec<OutputColumn>),
}

/// The statements of an insertion; each is run once per row.
#[derive(Clone, Debug, PartialEq)]
pub struct InsertPlan {
    /// Inserts one row and yields its rowid; yields no row when nothing was done.
    pub insert: Rendered,
    /// What it means when `insert` yields no row.
    pub no_row: NoRow,
    /// Yields a row if the row with [`Bind::Rowid`] satisfies the policies for new rows; else 42501.
    pub check: Option<Rendered>,
    /// The same for a row that was there, and is updated instead.
    pub updated: Option<Rendered>,
}

/// Why an insertion did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRow {
    /// It cannot happen.
    Never,
    /// The row was there and stays as it is.
    Ignored,
    /// The row was there and may not be updated by the caller: 42501.
    Denied,
}

/// The statements of an update.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdatePlan {
    /// Updates every matching row and yields the rowids.
    pub update: Rendered,
    /// Yields a row if the row with [`Bind::Rowid`] satisfies the policies for new rows; else 42501.
    pub check: Option<Rendered>,
}

/// The statements of a deletion.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletePlan {
    /// Yields the rowids of the matching rows, for answering what they were before they go.
    pub select: Rendered,
    /// Deletes every matching row and yields the rowids they had.
    pub delete: Rendered,
    /// Deletes the row with [`Bind::Rowid`].
    pub delete_row: Rendered,
}

/// A statement of a function's body.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementPlan {
    /// The statement.
    pub run: Rendered,
    /// For a data-modifying statement: result column 0 is the rowid of each row touched, and `run.columns` describes those after it.
    pub touches: bool,
    /// Yields a row if the touched row with [`Bind::Rowid`] satisfies the policies for new rows; else 42501.
    pub check: Option<Rendered>,
    /// The same for a row that an INSERT found there, and updated.
    pub updated: Option<Rendered>,
}

/// Compiles an authorised read: security and expansions are in the shape already.
pub fn compile_query(schema: &Schema, shape: &QueryShape) -> Result<CompiledQuery> {
    query::compile(schema, shape, None)
}

/// Compiles a read whose rows come from elsewhere: what a write touched, or a function's result.
pub fn compile_query_over(schema: &Schema, shape: &QueryShape, rows: &RowsFrom) -> Result<CompiledQuery> {
    query::compile(schema, shape, Some(rows))
}

/// Compiles a statement of a function's body; [`Bind::Param`] counts the function's arguments.
pub fn compile_statement(schema: &Schema, statement: &Statement) -> Result<StatementPlan> {
    statement::compile_statement(schema, statement)
}

/// Compiles the insertion of one row. `columns` are those the action names; [`Bind::Cell`] counts them. Where `defaulted` is true
/// (one per column named) the row takes the column's default, as it does in all columns not named.
///
/// Errors: 428C9 for a value given to an identity column that is GENERATED ALWAYS, or to a generated column.
pub fn compile_insert(
    schema: &Schema,
    relation: &RelationRef,
    columns: &[u32],
    defaulted: &[bool],
    conflict: Option<&OnConflict>,
    check: Option<&Expr>,
    updated: Option<&Expr>,
) -> Result<InsertPlan> {
    write::compile_insert(schema, relation, columns, defaulted, conflict, check, updated)
}

/// Compiles an update: [`Bind::Cell`] counts the entries of `set` (a `Cell::Default` binds nothing).
#[allow(clippy::too_many_arguments, reason = "the parts of an UPDATE, named")]
pub fn compile_update(
    schema: &Schema,
    relation: &RelationRef,
    set: &[(u32, Cell)],
    filter: Option<&Expr>,
    order: &[OrderBy],
    limit: Option<u64>,
    offset: u64,
    check: Option<&Expr>,
) -> Result<UpdatePlan> {
    write::compile_update(
        schema,
        &write::UpdateParts {
            relation,
            filter,
            order,
            limit,
            offset,
        },
        set,
        check,
    )
}

/// Compiles a deletion.
pub fn compile_delete(
    schema: &Schema,
    relation: &RelationRef,
    filter: Option<&Expr>,
    order: &[OrderBy],
    limit: Option<u64>,
    offset: u64,
) -> Result<DeletePlan> {
    write::compile_delete(
        schema,
        &write::UpdateParts {
            relation,
            filter,
            order,
            limit,
            offset,
        },
    )
}

/// The statements that create a table with its constraints and indexes.
pub fn create_table(schema: &Schema, relation: RelationId) -> Result<Vec<String>> {
    ddl::create_table(schema, relation)
}

/// Columns and functions of types whose input nobody but Postgres can check, in the stores for which `embedded` says yes: each with
/// its place and the reason.
pub fn unkept_types(
    schema: &Schema,
    embedded: impl Fn(&str) -> bool,
) -> Vec<(mainstay_model::Span, mainstay_model::Error)> {
    kept::unkept(schema, embedded)
}

/// The statement that adds a column to a table that exists. Error: 0A000 for a column that SQLite cannot add (it must be nullable or have
/// a constant default, and be no key).
pub fn add_column(schema: &Schema, relation: RelationId, column: u32) -> Result<String> {
    ddl::add_column(schema, relation, column)
}

/// The statement that creates an index; `None` for an index of a method that SQLite has nothing for (GIN, GiST, BRIN), which changes no
/// answer.
pub fn create_index(schema: &Schema, relation: RelationId, index: &Index) -> Result<Option<String>> {
    ddl::create_index(schema, relation, index)
}

/// An index's name in the file, unquoted.
pub fn index_name(schema: &Schema, relation: &Relation, index: &Index) -> String {
    match schema.namespaces.first() {
        Some(first) if *first != relation.namespace => format!("{}.{}", relation.namespace, index.name),
        _ => index.name.to_string(),
    }
}

/// The column that is SQLite's rowid (a lone integer primary key), if the table has one.
pub fn rowid_column(schema: &Schema, relation: RelationId) -> Option<u32> {
    write::rowid_column(schema, relation)
}

/// Whether a column's numbers are 1 by 1 from a sequence of its own (`table_column_seq`): SQLite's behind [`rowid_column`], else a row of
/// `_mainstay_sequence`. A column that takes them from another has it as its default.
pub fn numbers_itself(column: &Column) -> bool {
    write::numbers_itself(column)
}

/// Whether a call can be compiled into the query that reads it ([`compile_query`] on `Source::Call`): one SELECT that writes nothing.
/// Otherwise run its statements and read their result by [`RowsFrom::TempTable`].
pub fn is_one_select(schema: &Schema, call: &Call) -> bool {
    query::is_one_select(schema, call)
}

/// The statements that create the tables this room relies on: `_mainstay_meta` and `_mainstay_sequence(name, next)`. Each may be run again.
pub fn meta_tables() -> &'static [&'static str] {
    &[
        "CREATE TABLE IF NOT EXISTS _mainstay_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS _mainstay_sequence (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    ]
}

/// A table's name in the file, unquoted: its own in the first schema, `schema.name` in others.
pub fn table_name(schema: &Schema, relation: RelationId) -> String {
    let relation = schema.relation(relation);
    match schema.namespaces.first() {
        Some(first) if *first != relation.namespace => format!("{}.{}", relation.namespace, relation.name),
        _ => relation.name.to_string(),
    }
}

/// The name by which a table's rowid can be had although the table has columns of its own.
pub fn rowid_name(relation: &Relation) -> &'static str {
    ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|name| !relation.columns.iter().any(|c| c.name.eq_ignore_ascii_case(name)))
        .unwrap_or("rowid")
}

/// An identifier in double quotes.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
