//! Functions of the schema's own inside expressions: their bodies become subqueries over the arguments.

use super::render::{Argument, Renderer, RowSource, Scope, Term};
use super::select::RenderedSelect;
use mainstay_model::{Error, Expr, ExprKind, FunctionId, Result, Returns, Select, Statement, Type, Value};
use std::rc::Rc;

impl<'a> Renderer<'a> {
    /// A function of the schema's own as a value: its body as a scalar subquery over the arguments.
    pub fn user_call(&mut self, id: FunctionId, args: &[Expr]) -> Result<Term> {
        let schema = self.schema;
        let function = schema.function(id);
        if function.returns.is_set() {
            return Err(Error::unsupported(format!(
                "function {} returns a set and cannot be used as a value on SQLite",
                function.name
            ))
            .hint("Call it in FROM."));
        }
        if function.writes {
            return Err(Error::unsupported(format!(
                "function {} writes and cannot be part of an expression on SQLite",
                function.name
            ))
            .hint("Call it by itself."));
        }
        let [Statement::Select(select)] = function.body.as_slice() else {
            return Err(Error::unsupported(format!(
                "function {} has more than one statement and cannot be part of an expression on SQLite",
                function.name
            ))
            .hint("Make its body one SELECT."));
        };
        if matches!(function.returns, Returns::Void) {
            return Ok(Term::null());
        }
        // Arguments that are more than a name are computed once, in a row of their own.
        let mut arguments = self.arguments(args)?;
        let row = self.alias();
        let mut computed = Vec::new();
        let mut present = Vec::new();
        for argument in &mut arguments {
            let Argument::Term(term) = argument else { continue };
            if !term.atom {
                let name = format!("a{}", computed.len());
                computed.push(format!("{} AS {name}", term.sql));
                term.sql = format!("{row}.{name}");
                term.atom = true;
            }
            present.push(format!("{} IS NOT NULL", term.sql));
        }
        let scope = Scope {
            arguments: Some(Rc::new(arguments)),
            ..Scope::default()
        };
        let rendered = self.scoped(scope, |r| r.select(select, None))?;
        let column = match (&function.returns, rendered.columns.as_slice()) {
            (Returns::Scalar(_), [column, ..]) => column.clone(),
            (Returns::Row(_) | Returns::Record(_), _) => {
                return self.row_call(&rendered, &row, &computed);
            }
            _ => return Err(Error::internal(format!("function {} yields nothing", function.name))),
        };
        // A SQL function gives its first row, however many there are.
        let mut sql = format!("({} LIMIT 1)", trimmed(&rendered.sql, select));
        if function.strict && !present.is_empty() {
            sql = format!("(CASE WHEN {} THEN {sql} END)", present.join(" AND "));
        }
        if !computed.is_empty() {
            sql = format!("(SELECT {sql} FROM (SELECT {}) AS {row})", computed.join(", "));
        }
        Ok(Term {
            sql,
            form: column.form,
            digits: column.digits,
            atom: false,
            null: false,
        })
    }

    /// A function that gives a row, as the row's JSON.
    fn row_call(&mut self, rendered: &RenderedSelect, row: &str, computed: &[String]) -> Result<Term> {
        let alias = self.alias();
        let source = Rc::new(self.derived_source(&rendered.columns, &alias, false));
        let json = self.whole_row(&source)?.sql;
        let mut sql = format!("(SELECT {json} FROM ({}) AS {alias} LIMIT 1)", rendered.sql);
        if !computed.is_empty() {
            sql = format!("(SELECT {sql} FROM (SELECT {}) AS {row})", computed.join(", "));
        }
        Ok(Term::plain(sql))
    }

    /// A field of a row-typed argument, which the body names like a member of JSON.
    pub fn row_field(&mut self, left: &Expr, right: &Expr) -> Option<(Rc<RowSource>, u32)> {
        let ExprKind::Literal(Value::Text(name)) = &right.kind else {
            return None;
        };
        let source = match &left.kind {
            ExprKind::WholeRow(source) => self.scope.sources.get(source)?,
            ExprKind::Param(index) if matches!(left.ty, Type::Row(_)) => {
                match self.scope.arguments.as_ref()?.get(usize::from(*index))? {
                    Argument::Row(source) => source,
                    Argument::Term(_) => return None,
                }
            }
            _ => return None,
        };
        let at = source.columns.iter().position(|c| *c.name == **name)?;
        Some((source.clone(), at as u32))
    }
}

/// A query that can take a LIMIT: one with a LIMIT of its own, or a compound, is wrapped.
fn trimmed(sql: &str, select: &Select) -> String {
    if select.limit.is_some() || select.offset.is_some() {
        format!("SELECT * FROM ({sql})")
    } else {
        sql.to_owned()
    }
}
