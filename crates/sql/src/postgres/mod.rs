//! SQL for PostgreSQL. Unlike on an embedded engine nothing is emulated: a read is one statement, embeds are JSON that the database makes,
//! and views, policies, privileges and functions are the database's own.
//!
//! [`compile_query`] makes a read, [`compile_step`] one step of a transaction; both give a [`Compiled`], whose text depends on the shape
//! alone and never on a value: values are its [`Slot`]s (`$1` is `slots[0]`), each written with its type (`$1::bigint`), so that the
//! types of a prepared statement's parameters are known. [`render_statement`], [`render_expr`] and [`ddl`] write definitions, in which
//! constants are literals.
//!
//! Names of types are written as `format_type` has them: what is not qualified must be on the session's `search_path`.

mod builtin;
mod call;
mod count;
mod ddl;
mod document;
mod embed;
mod expr;
mod from;
mod name;
mod operator;
mod query;
mod render;
mod select;
mod statement;
mod step;
#[cfg(test)]
mod tests;
mod write;

use mainstay_model::{
    Action, Cell, Error, Expr, FunctionId, QueryShape, RelationId, Result, Schema, Statement, Step, Type, Value,
};
use std::borrow::Cow;
use std::sync::Arc;

pub use document::ROWS_OF_DOCUMENT;
pub use name::{is_binary, parameter_type, quote_identifier, quote_literal, type_name};

/// How results are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// What has no binary form that we read comes as its text (`x::text`, for CSV) rather than as JSON (`to_json(x)`).
    pub texts: bool,
    /// Members that are null are left out of JSON: of embeds and of JSON values. The top level's own fields are the encoder's affair.
    pub strips_nulls: bool,
    /// Of an insertion without `returning`: its key is wanted nevertheless, which needs the privilege to read it.
    pub key: bool,
}

/// One statement with what goes in and what comes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The text.
    pub sql: String,
    /// Its parameters, in order: `$1` is the first.
    pub slots: Vec<Slot>,
    /// The columns of its result, in order.
    pub columns: Vec<Output>,
    /// Of a step: which columns say what was done. Of a read: none.
    pub status: Option<Status>,
    /// The statements that say how many rows match, when the shape asks for it.
    pub count: Option<Counting>,
}

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// What stands in it.
    pub value: SlotValue,
    /// The type that it has in the text, without length or precision.
    pub ty: Type,
    /// Whether its values have a binary form that we write ([`is_binary`]); else the text form is sent.
    pub binary: bool,
}

/// What stands in a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum SlotValue {
    /// The operation's parameter with this index. As a limit or an offset NULL means none.
    Param(u16),
    /// A constant of the shape.
    Literal(Value),
    /// The value in (row, column) of an insertion's rows, or of (0, n) the n-th value that an update sets.
    Cell(u32, u16),
    /// The n-th column of all rows of an insertion, as one array.
    Column(u16),
    /// As above, each value in its text form, as one array of text.
    ColumnTexts(u16, Type),
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its name, for the encoder.
    pub name: Arc<str>,
    /// The type that it has in the result, for decoding its binary form (an enum's is its label) and for the encoder. An embed is
    /// [`Type::Json`]. What cannot be
    /// decoded has become [`Type::Json`] or [`Type::Text`].
    pub ty: Type,
    /// Whether it is shown. The others are those that [`Status`] names.
    pub shown: bool,
}

/// Where a step's result says what was done; numbers are indexes of columns.
///
/// Without `affected`, the number of rows is that of the command's tag. With `present`, the first columns are the same in all rows, there
/// is always at least one row, and one whose `present` is NULL is no row of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// `bigint`: rows touched.
    pub affected: Option<usize>,
    /// `bigint`: of them new ones. Absent: all of an insertion, none of an update or deletion.
    pub inserted: Option<usize>,
    /// `bigint`: how many rows there are without limit and offset, when asked for.
    pub total: Option<usize>,
    /// The primary key of the first row: (the relation's column, the index of the `text` column).
    pub key: Vec<(u32, usize)>,
    /// `boolean`: true in the rows of the answer, NULL in the row that says there are none.
    pub present: Option<usize>,
}

/// How to find out how many rows match. They share the slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Counting {
    /// Yields one `bigint`: how many there are. For [`mainstay_model::Count::Estimated`] at most `up_to` + 1.
    pub exact: Option<String>,
    /// Yields the plan as JSON, whose `[0].Plan."Plan Rows"` is the estimate. For an estimated count it matters only if `exact` gave more
    /// than `up_to`.
    pub planned: Option<String>,
    /// Up to so many rows an estimate is exact.
    pub up_to: u64,
    /// Their parameters.
    pub slots: Vec<Slot>,
}

/// Compiles a read.
///
/// Errors: 0A000 for a relation that authorisation has expanded: this engine enforces policies and views itself.
pub fn compile_query(schema: &Schema, shape: &QueryShape, options: Options) -> Result<Compiled> {
    query::compile(schema, shape, options)
}

/// Compiles a step of a transaction. [`Cell::Earlier`] counts as a value: it is to be replaced before [`Slot::resolve`].
///
/// Errors: 0A000 for what authorisation has added (checks), 54000 for more values than one statement takes, 42P10 for a limited write to
/// a view, whose rows have no key.
pub fn compile_step(schema: &Schema, step: &Step, options: Options) -> Result<Compiled> {
    step::compile(schema, step, options)
}

/// A statement of a function's body as text; the function's arguments are `$1`, `$2` ….
pub fn render_statement(schema: &Schema, statement: &Statement) -> Result<String> {
    let mut r = render::Renderer::definition(schema);
    r.statement(statement)
}

/// An expression over the columns of one relation, which are written bare or under `qualifier` (unquoted), as text.
pub fn render_expr(
    schema: &Schema,
    relation: Option<RelationId>,
    qualifier: Option<&str>,
    expr: &Expr,
) -> Result<String> {
    ddl::expression(schema, relation, qualifier, expr)
}

/// A whole schema as statements, in an order that works on an empty database that has the roles, `auth.uid()` and its kin, and `emit`.
pub fn ddl(schema: &Schema) -> Result<Vec<String>> {
    ddl::schema(schema)
}

/// `CREATE FUNCTION` with its body.
pub fn create_function(schema: &Schema, function: FunctionId) -> Result<String> {
    ddl::create_function(schema, function)
}

impl Slot {
    /// The value to send, from an operation's parameters and, of a step, its action.
    ///
    /// Errors: XX000 when the parameters are not those of the shape.
    pub fn resolve<'v>(&'v self, params: &'v [Value], action: Option<&'v Action>) -> Result<Cow<'v, Value>> {
        let missing = || Error::internal("a statement's parameter is not among the operation's");
        let cell = |cell: &'v Cell| match cell {
            Cell::Value(value) => Ok(value),
            Cell::Default | Cell::Earlier(..) => Err(missing()),
        };
        let rows = || match action {
            Some(Action::Insert { rows, .. }) => Ok(rows),
            _ => Err(missing()),
        };
        match &self.value {
            SlotValue::Param(index) => params.get(usize::from(*index)).map(Cow::Borrowed).ok_or_else(missing),
            SlotValue::Literal(value) => Ok(Cow::Borrowed(value)),
            SlotValue::Cell(row, column) => {
                let found = match action {
                    Some(Action::Update { set, .. }) => set.get(usize::from(*column)).map(|(_, cell)| cell),
                    _ => rows()?.get(*row as usize).and_then(|row| row.get(usize::from(*column))),
                };
                cell(found.ok_or_else(missing)?).map(Cow::Borrowed)
            }
            SlotValue::Column(column) => {
                let at = usize::from(*column);
                let values = rows()?
                    .iter()
                    .map(|row| cell(row.get(at).ok_or_else(missing)?).cloned());
                Ok(Cow::Owned(Value::Array(values.collect::<Result<Vec<_>>>()?.into())))
            }
            SlotValue::ColumnTexts(column, ty) => {
                let at = usize::from(*column);
                let values = rows()?.iter().map(|row| {
                    Ok(match cell(row.get(at).ok_or_else(missing)?)? {
                        Value::Null => Value::Null,
                        value => Value::Text(value.to_text(ty)),
                    })
                });
                Ok(Cow::Owned(Value::Array(values.collect::<Result<Vec<_>>>()?.into())))
            }
        }
    }
}
