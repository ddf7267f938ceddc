//! What stands behind a statement's parameters, and running a statement with them.

use crate::failure::plain;
use crate::statement::Statement;
use mainstay_model::{Error, Identity, Result, Type, Value};
use mainstay_sql::sqlite::{Bind, Rendered, Stored, column_form, encode};
use rusqlite::Connection;
use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

thread_local! {
    /// Numbers environments, so that a statement knows whether its constants are bound already.
    static ENVIRONMENTS: Cell<u64> = const { Cell::new(0) };
}

/// Everything that a parameter may refer to. `params`, `identity` and `now_us` are constant within one environment; the rest may
/// change from run to run.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    /// The operation's parameters, or the function's arguments.
    pub params: &'a [Value],
    /// Whose claims are seen.
    pub identity: &'a Identity,
    /// The transaction's time.
    pub now_us: i64,
    /// The row at hand.
    pub rowid: i64,
    /// A JSON array of rowids.
    pub rowids: &'a str,
    /// The values of the columns given, fitted.
    pub cells: &'a [Value],
    /// Their types.
    pub cell_types: &'a [&'a Type],
    number: u64,
}

impl<'a> Env<'a> {
    /// For an operation's parameters and caller.
    pub fn new(params: &'a [Value], identity: &'a Identity, now_us: i64) -> Env<'a> {
        Env {
            params,
            identity,
            now_us,
            rowid: 0,
            rowids: "[]",
            cells: &[],
            cell_types: &[],
            number: ENVIRONMENTS.replace(ENVIRONMENTS.get() + 1) + 1,
        }
    }

    /// With a row at hand.
    pub fn at_row(self, rowid: i64) -> Env<'a> {
        Env { rowid, ..self }
    }

    /// With several rows at hand, as a JSON array of their rowids.
    pub fn at_rows(self, rowids: &'a str) -> Env<'a> {
        Env { rowids, ..self }
    }

    /// With the values of columns.
    pub fn with_cells(self, cells: &'a [Value], cell_types: &'a [&'a Type]) -> Env<'a> {
        Env {
            cells,
            cell_types,
            ..self
        }
    }

    fn param(&self, index: u16) -> Result<&'a Value> {
        self.params
            .get(index as usize)
            .ok_or_else(|| Error::internal("a statement refers to a parameter that was not given"))
    }
}

/// A statement with what its parameters stand for.
pub(crate) struct Prepared {
    /// The statement.
    pub statement: Statement,
    binds: Vec<Bind>,
    /// The environment whose constants are bound.
    bound: u64,
}

impl Prepared {
    /// Prepares what was rendered.
    pub fn new(conn: &Rc<Connection>, rendered: &Rendered) -> Result<Prepared> {
        let statement = Statement::prepare(conn, &rendered.sql).map_err(|failure| plain(&failure))?;
        let mut binds = rendered.binds.clone();
        binds.truncate(statement.parameters());
        Ok(Prepared {
            statement,
            binds,
            bound: 0,
        })
    }

    /// Gives every parameter its value, those that cannot have changed since the last time left as they are. `outer` is the parent
    /// level's statement, on its current row.
    pub fn bind(&mut self, env: &Env<'_>, outer: Option<&Statement>) -> Result<()> {
        self.statement.reset();
        let constants_are_bound = std::mem::replace(&mut self.bound, 0) == env.number;
        for (index, bind) in self.binds.iter().enumerate() {
            let value: Stored<'_> = match bind {
                Bind::Value(..) | Bind::Param(..) | Bind::Claim(..) | Bind::Limit(_) | Bind::Offset(_) | Bind::Now
                    if constants_are_bound =>
                {
                    continue;
                }
                Bind::Value(value, ty, form) => encode(value, ty, *form)?,
                Bind::Param(param, ty, form) => encode(env.param(*param)?, ty, *form)?,
                Bind::Claim(claim, ty, form) => {
                    let value = env.identity.claim(claim, ty)?;
                    let stored = encode(&value, ty, *form)?;
                    self.statement
                        .bind(index + 1, &stored)
                        .map_err(|failure| plain(&failure))?;
                    continue;
                }
                Bind::Outer(column) => {
                    let outer =
                        outer.ok_or_else(|| Error::internal("a statement refers to a level that is not there"))?;
                    self.statement
                        .bind_column(index + 1, outer, *column as usize)
                        .map_err(|failure| plain(&failure))?;
                    continue;
                }
                Bind::Rowid => Stored::Integer(env.rowid),
                Bind::Rowids => Stored::Text(Cow::Borrowed(env.rowids)),
                Bind::Cell(cell) => {
                    let missing = || Error::internal("a statement refers to a column that was not given");
                    let value = env.cells.get(*cell as usize).ok_or_else(missing)?;
                    let ty = env.cell_types.get(*cell as usize).ok_or_else(missing)?;
                    encode(value, ty, column_form(ty))?
                }
                Bind::Limit(param) => Stored::Integer(count(env.param(*param)?, -1)?),
                Bind::Offset(param) => Stored::Integer(count(env.param(*param)?, 0)?),
                Bind::Now => Stored::Integer(env.now_us),
            };
            self.statement
                .bind(index + 1, &value)
                .map_err(|failure| plain(&failure))?;
        }
        self.bound = env.number;
        Ok(())
    }

    /// Binds, and says whether there is a row.
    pub fn exists(&mut self, env: &Env<'_>) -> Result<bool> {
        self.bind(env, None)?;
        self.statement.exists().map_err(|failure| plain(&failure))
    }

    /// Binds, and gives the first row's first integer.
    pub fn integer(&mut self, env: &Env<'_>) -> Result<Option<i64>> {
        self.bind(env, None)?;
        self.statement.integer().map_err(|failure| plain(&failure))
    }
}

fn count(value: &Value, absent: i64) -> Result<i64> {
    match value {
        Value::Null => Ok(absent),
        Value::Int(n) => Ok((*n).max(0)),
        _ => Err(Error::internal("a limit or an offset is not an integer")),
    }
}
