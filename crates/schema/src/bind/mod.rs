//! Binding: SQL as the parser hands it over becomes expressions, queries and statements with every name looked up, every type
//! decided and every overload chosen as Postgres does, so that no engine has to guess what was meant.
//!
//! What stands in which file: `syntax` puts operators in Postgres' order of precedence; `scope` looks names up; `coerce` knows the
//! casts; `resolve` chooses overloads, from the tables in `operators` and `functions`. `expr`, `comparison`, `forms`, `literal`,
//! `call`, `special`, `aggregate` and `claims` bind expressions; `query`, `set_operation`, `from`, `join`, `with` and `grouping`
//! queries; `write` and `assignment` INSERT, UPDATE and DELETE. `effects` says what a bound thing does to the world.

mod aggregate;
mod assignment;
mod call;
mod claims;
mod coerce;
mod comparison;
mod effects;
mod expr;
mod forms;
mod from;
mod functions;
mod grouping;
mod join;
mod literal;
mod operators;
mod query;
mod resolve;
mod scope;
mod set_operation;
mod special;
mod syntax;
#[cfg(test)]
mod tests;
mod with;
mod write;

use effects::expr_effects;
pub(crate) use effects::statement_effects;

use crate::Problem;
use crate::source_text::SourceText;
use coerce::CastContext;
use mainstay_model::{Expr, ExprKind, Projected, RelationId, Schema, Select, SourceId, Statement, Type};
use scope::{Clause, Item, Scope, SourceNames};
use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxKind, SyntaxNode};
use std::collections::HashMap;
use std::sync::Arc;

/// A result whose error names its place.
pub(crate) type Bound<T> = Result<T, Problem>;

/// How deep expressions and queries may nest; a subquery counts for three. What people write stays below 20, and a level takes up
/// to 25 kB of a thread's 2 MB of stack in an unoptimised build.
const DEPTH_MAX: u32 = 64;

/// A range of bytes of the text that is being bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    start: usize,
    end: usize,
}

impl At {
    fn of(node: &SyntaxNode) -> At {
        // Comments and blanks before the first and after the last token belong to nobody.
        let range = node.text_range();
        At {
            start: range.start().into(),
            end: range.end().into(),
        }
    }

    fn to(self, other: At) -> At {
        At {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// Binds the SQL of one text. Sources of rows are numbered across everything that one binder binds, so that the pieces of one
/// relation or function never clash.
pub(crate) struct Binder<'a> {
    schema: &'a Schema,
    source: &'a SourceText,
    params: &'a [(Arc<str>, Type)],
    /// The function whose body is bound, so that `function.argument` is understood.
    function: Option<Arc<str>>,
    /// From the outermost query to the innermost.
    scopes: Vec<Scope>,
    /// `WITH` members that can be seen, the nearest last.
    common_tables: Vec<with::Member>,
    /// What columns are called, for messages.
    names: HashMap<SourceId, SourceNames>,
    next_source: u32,
    next_common_table: u32,
    depth: u32,
    /// Where each column of the select list bound last stands.
    places: Vec<At>,
    /// Relations of which `*` means the first so many columns only.
    known: Option<&'a HashMap<RelationId, u32>>,
}

impl<'a> Binder<'a> {
    /// A binder of `source`'s text against `schema`.
    pub(crate) fn new(schema: &'a Schema, source: &'a SourceText) -> Self {
        Binder {
            schema,
            source,
            params: &[],
            function: None,
            scopes: Vec::new(),
            common_tables: Vec::new(),
            names: HashMap::new(),
            next_source: 1,
            next_common_table: 0,
            depth: 0,
            places: Vec::new(),
            known: None,
        }
    }

    /// With relations that have got columns since: `*` means those that they had, so many.
    pub(crate) fn knowing(mut self, known: &'a HashMap<RelationId, u32>) -> Self {
        self.known = Some(known);
        self
    }

    /// With a function's arguments, which may be written by name, as `function.name` and as `$1`.
    pub(crate) fn with_params(mut self, params: &'a [(Arc<str>, Type)]) -> Self {
        self.params = params;
        self
    }

    /// With the function's own name, for `function.argument` in a body that is a string; a body that is SQL knows it by itself.
    pub(crate) fn for_function(mut self, name: &str) -> Self {
        self.function = Some(name.into());
        self
    }

    /// An expression on a row of `relation` ([`SourceId::SELF`]): a policy, a check, a generated column, an index key.
    pub(crate) fn row_expr(&mut self, relation: RelationId, expr: &ast::Expr, expected: Option<&Type>) -> Bound<Expr> {
        self.start();
        let item = self.relation_item(relation, None, SourceId::SELF);
        self.scopes.push(Scope::of(vec![item], Clause::Row));
        let bound = self
            .expr(expr)
            .and_then(|bound| self.expect(bound, At::of(expr.syntax()), expected));
        self.scopes.pop();
        bound
    }

    /// An expression without a row: a default, a bound of a partition.
    pub(crate) fn constant_expr(&mut self, expr: &ast::Expr, expected: &Type) -> Bound<Expr> {
        self.start();
        self.scopes.push(Scope::of(Vec::new(), Clause::Default));
        let bound = self.expr(expr).and_then(|bound| {
            let at = At::of(expr.syntax());
            if !coerce::castable(&bound.ty, expected, CastContext::Assignment) {
                let message = format!(
                    "the column is of type {expected} but the default expression is of type {}",
                    bound.ty
                );
                return Err(self.problem(at, message).help("rewrite the expression or cast it"));
            }
            self.assign(bound, at, expected)
        });
        self.scopes.pop();
        bound
    }

    /// A query: a view's definition.
    pub(crate) fn select(&mut self, select: &SyntaxNode) -> Bound<Select> {
        self.start();
        match ast::SelectVariant::cast(select.clone()) {
            Some(variant) => self.query(&variant),
            None => Err(self.problem(At::of(select), "a query is expected here")),
        }
    }

    /// A statement of a function's body. `expected_columns` are what the function returns, for its last statement: the statement's
    /// columns are cast to them where Postgres allows that in an assignment.
    pub(crate) fn statement(&mut self, node: &SyntaxNode, expected_columns: Option<&[Type]>) -> Bound<Statement> {
        self.start();
        if self.function.is_none() {
            let function = node.ancestors().find_map(ast::CreateFunction::cast);
            let name = function.and_then(|f| f.syntax().children().find_map(ast::FunctionName::cast));
            self.function = name.and_then(|n| crate::names::Name::of(&n)).map(|n| n.name);
        }
        let mut statement = self.any_statement(node)?;
        if let Some(expected) = expected_columns {
            self.fit_columns(&mut statement, expected, At::of(node))?;
        }
        Ok(statement)
    }

    /// Names and types of what a query yields.
    pub(crate) fn output_columns(select: &Select) -> Vec<(Arc<str>, Type)> {
        match select.values.first() {
            Some(row) => row
                .iter()
                .enumerate()
                .map(|(i, e)| (Arc::from(format!("column{}", i + 1)), e.ty.clone()))
                .collect(),
            None => projected_columns(&select.projection),
        }
    }

    /// Names and types of what a statement yields; none for a write without RETURNING.
    pub(crate) fn statement_columns(statement: &Statement) -> Vec<(Arc<str>, Type)> {
        match statement {
            Statement::Select(select) => Self::output_columns(select),
            Statement::Insert(insert) => projected_columns(&insert.returning),
            Statement::Update(update) => projected_columns(&update.returning),
            Statement::Delete(delete) => projected_columns(&delete.returning),
        }
    }

    /// Forgets what an earlier piece left behind when it failed.
    fn start(&mut self) {
        self.scopes.clear();
        self.common_tables.clear();
        self.depth = 0;
    }

    fn any_statement(&mut self, node: &SyntaxNode) -> Bound<Statement> {
        if let Some(variant) = ast::SelectVariant::cast(node.clone()) {
            return Ok(Statement::Select(Box::new(self.top_query(&variant)?)));
        }
        Ok(match node.kind() {
            SyntaxKind::INSERT | SyntaxKind::UPDATE | SyntaxKind::DELETE => self.write(node)?,
            SyntaxKind::RETURN_STMT => {
                let expr = ast::ReturnStmt::cast(node.clone()).and_then(|r| r.expr());
                let Some(expr) = expr else {
                    return Err(self.problem(At::of(node), "RETURN needs an expression"));
                };
                self.scopes.push(Scope::of(Vec::new(), Clause::Select));
                let bound = self.expr(&expr);
                self.scopes.pop();
                let bound = self.settle(bound?);
                let name = self.output_name(&expr);
                Statement::Select(Box::new(Select {
                    projection: vec![Projected { expr: bound, name }],
                    ..Select::default()
                }))
            }
            _ => {
                let first = node.first_token().map(|t| t.text().to_uppercase()).unwrap_or_default();
                let problem = self.problem(At::of(node), format!("{first} is not supported in a function's body"));
                return Err(problem.help("a body is made of SELECT, INSERT, UPDATE and DELETE"));
            }
        })
    }

    /// Casts what a statement yields to what its function returns.
    fn fit_columns(&mut self, statement: &mut Statement, expected: &[Type], at: At) -> Bound<()> {
        self.expand_whole_row(statement, expected);
        let columns = Self::statement_columns(statement);
        if columns.len() != expected.len() {
            let amount = if columns.len() < expected.len() { "few" } else { "many" };
            let message = format!("return type mismatch: the final statement returns too {amount} columns");
            let returns = if columns.is_empty() {
                "nothing".to_owned()
            } else {
                format!("{} columns", columns.len())
            };
            return Err(self.problem(at, message).help(format!(
                "it returns {returns}; the function declares {}",
                expected.len()
            )));
        }
        for (index, (ty, (name, actual))) in expected.iter().zip(&columns).enumerate() {
            if !coerce::castable(actual, ty, CastContext::Assignment) {
                let message = format!(
                    "return type mismatch: the final statement returns {} instead of {ty} at column {} (\"{name}\")",
                    coerce::base(actual),
                    index + 1
                );
                return Err(self.problem(at, message).help(format!("cast it: …::{ty}")));
            }
        }
        match statement {
            Statement::Select(select) => {
                for (index, ty) in expected.iter().enumerate() {
                    self.coerce_output(select, index, ty, at, CastContext::Assignment)?;
                }
                Ok(())
            }
            Statement::Insert(insert) => self.fit_projection(&mut insert.returning, expected, at),
            Statement::Update(update) => self.fit_projection(&mut update.returning, expected, at),
            Statement::Delete(delete) => self.fit_projection(&mut delete.returning, expected, at),
        }
    }

    fn fit_projection(&mut self, projection: &mut [Projected], expected: &[Type], at: At) -> Bound<()> {
        for (projected, ty) in projection.iter_mut().zip(expected) {
            let expr = std::mem::replace(&mut projected.expr, null());
            projected.expr = self.assign(expr, at, ty)?;
        }
        Ok(())
    }

    /// `SELECT t FROM t` as the last statement of a function that returns rows of `t`: the row in its columns.
    fn expand_whole_row(&self, statement: &mut Statement, expected: &[Type]) {
        let projection = match statement {
            Statement::Select(select) if select.set_operation.is_none() && select.group_by.is_empty() => {
                &mut select.projection
            }
            Statement::Insert(insert) => &mut insert.returning,
            Statement::Update(update) => &mut update.returning,
            Statement::Delete(delete) => &mut delete.returning,
            _ => return,
        };
        let [
            Projected {
                expr:
                    Expr {
                        kind: ExprKind::WholeRow(source),
                        ty,
                    },
                ..
            },
        ] = projection.as_slice()
        else {
            return;
        };
        let single = expected.len() == 1 && expected[0] == *ty;
        if let Some(names) = self.names.get(source)
            && !single
        {
            *projection = names.columns(*source);
        }
    }

    /// An expression of the expected type, or of any.
    fn expect(&mut self, bound: Expr, at: At, expected: Option<&Type>) -> Bound<Expr> {
        match expected {
            None => Ok(self.settle(bound)),
            Some(Type::Bool) => self.condition(bound, at, "this expression"),
            Some(ty) => self.assign(bound, at, ty),
        }
    }

    fn problem(&self, at: At, message: impl Into<String>) -> Problem {
        Problem::error(self.source.span(at.start..at.end), message)
    }

    /// Something that is SQL but that Mainstay does not do.
    fn refused(&self, at: At, what: impl std::fmt::Display) -> Problem {
        self.problem(at, format!("{what} is not supported"))
    }

    fn new_source(&mut self) -> SourceId {
        let id = SourceId(self.next_source);
        self.next_source += 1;
        id
    }

    /// Runs `f` one level deeper.
    fn deeper<T>(&mut self, at: At, f: impl FnOnce(&mut Self) -> Bound<T>) -> Bound<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self
                .problem(at, "the expression is nested too deeply")
                .help("break it into smaller parts"));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// The row source of a relation under a name of its own or an alias.
    fn relation_item(&mut self, relation: RelationId, alias: Option<Arc<str>>, source: SourceId) -> Item {
        let declared = self.schema.relation(relation);
        let columns: Vec<_> = declared
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.ty.clone()))
            .collect();
        let namespace = alias.is_none().then(|| declared.namespace.clone());
        let name = alias.unwrap_or_else(|| declared.name.clone());
        let mut item = self.item(Some(name), &columns, source, Some(relation));
        item.namespace = namespace;
        item
    }
}

fn projected_columns(projection: &[Projected]) -> Vec<(Arc<str>, Type)> {
    projection.iter().map(|p| (p.name.clone(), p.expr.ty.clone())).collect()
}

/// NULL of no type yet.
fn null() -> Expr {
    Expr::literal(mainstay_model::Value::Null, Type::Unknown)
}
