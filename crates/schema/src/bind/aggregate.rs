//! Aggregates: where they may stand, and what belongs to them.

use super::call::{Arg, Called};
use super::scope::Clause;
use super::syntax::expressions;
use super::{At, Binder, Bound};
use mainstay_model::{Aggregate, AggregateFunction, Expr, ExprKind, OrderBy};
use squawk_syntax::ast::{self, AstNode};

impl Binder<'_> {
    /// `name([DISTINCT] args [ORDER BY …]) [FILTER (WHERE …)]`
    pub(super) fn aggregate(&mut self, name: &str, call: &ast::CallExpr, list: &ast::ArgList, at: At) -> Bound<Expr> {
        let Some(scope) = self.scopes.last_mut() else {
            return Err(self.problem(at, "aggregate functions are not allowed here"));
        };
        if scope.in_aggregate {
            return Err(self.problem(at, "aggregate function calls cannot be nested"));
        }
        if !scope.clause.allows_aggregates() {
            let message = format!("aggregate functions are not allowed in {}", scope.clause.label());
            let in_where = scope.clause == Clause::Where;
            let problem = self.problem(at, message);
            return Err(if in_where {
                problem.help("conditions on aggregates stand in HAVING")
            } else {
                problem
            });
        }
        scope.has_aggregate = true;
        scope.in_aggregate = true;
        let result = self.aggregate_parts(name, call, list, at);
        if let Some(scope) = self.scopes.last_mut() {
            scope.in_aggregate = false;
        }
        result
    }

    fn aggregate_parts(&mut self, name: &str, call: &ast::CallExpr, list: &ast::ArgList, at: At) -> Bound<Expr> {
        let distinct = list
            .all_or_distinct()
            .is_some_and(|q| matches!(q, ast::AllOrDistinct::Distinct(_)));
        let args: Vec<Arg> = self.args(list)?;
        if name == "count" && args.is_empty() && list.star_token().is_none() {
            return Err(self.problem(at, "count(*) must be used to call a parameterless aggregate function"));
        }
        if list.star_token().is_some() && name != "count" {
            return Err(self.problem(at, format!("function {name}() does not exist")));
        }
        let order = match list.args().find_map(|a| a.order_by_clause()) {
            Some(clause) => self.sort_keys(&clause)?,
            None => Vec::new(),
        };
        let filter = match call.filter_clause() {
            Some(clause) => match expressions(clause.syntax()).into_iter().next() {
                Some(expr) => {
                    let bound = self.expr(&expr)?;
                    Some(self.condition(bound, At::of(expr.syntax()), "FILTER")?)
                }
                None => return Err(self.problem(at, "FILTER needs a condition")),
            },
            None => None,
        };
        let Called::Aggregate(function, args, ty) = self.resolve(None, name, args, at)? else {
            return Err(self.problem(at, format!("{name} is not an aggregate function")));
        };
        if distinct && order.iter().any(|key| !args.contains(&key.expr)) {
            let message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
            return Err(self.problem(at, message));
        }
        if distinct && function == AggregateFunction::Count && args.is_empty() {
            return Err(self.problem(at, "DISTINCT specified, but count(*) has no argument"));
        }
        self.belongs_here(&args, at)?;
        Ok(Expr::new(
            ExprKind::Aggregate(Box::new(Aggregate {
                function,
                args,
                distinct,
                filter,
                order,
            })),
            ty,
        ))
    }

    /// An aggregate whose columns are all an outer query's would be that query's; nobody means it.
    fn belongs_here(&self, args: &[Expr], at: At) -> Bound<()> {
        let Some(scope) = self.scopes.last() else { return Ok(()) };
        let (mut own, mut outer) = (false, false);
        for arg in args {
            arg.walk(&mut |expr| {
                let source = match &expr.kind {
                    ExprKind::Column(column) => column.source,
                    ExprKind::WholeRow(source) => *source,
                    _ => return,
                };
                match scope.items.iter().any(|i| i.source == Some(source)) {
                    true => own = true,
                    false => outer = true,
                }
            });
        }
        match outer && !own {
            true => Err(self
                .refused(at, "an aggregate over an outer query's columns")
                .help("compute it in the outer query")),
            false => Ok(()),
        }
    }

    /// The keys of an ORDER BY whose expressions are over the sources alone.
    pub(super) fn sort_keys(&mut self, clause: &ast::OrderByClause) -> Bound<Vec<OrderBy>> {
        let mut keys = Vec::new();
        for sort in clause.sort_by_list().into_iter().flat_map(|l| l.sort_bys()) {
            let at = At::of(sort.syntax());
            let Some(expr) = expressions(sort.syntax()).into_iter().next() else {
                return Err(self.problem(at, "an expression is missing in ORDER BY"));
            };
            let bound = self.expr(&expr)?;
            let bound = self.settle(bound);
            keys.push(self.sort_key(&sort, bound)?);
        }
        Ok(keys)
    }

    /// The direction of a key; where NULLs go is made explicit.
    pub(super) fn sort_key(&self, sort: &ast::SortBy, expr: Expr) -> Bound<OrderBy> {
        let descending = match sort.sort_order() {
            Some(ast::SortOrder::SortDesc(_)) => true,
            Some(ast::SortOrder::SortUsing(using)) => {
                return Err(self
                    .refused(At::of(using.syntax()), "ORDER BY … USING")
                    .help("write ASC or DESC"));
            }
            _ => false,
        };
        if !super::query::is_sortable(&expr.ty) {
            let message = format!(
                "could not identify an ordering operator for type {}",
                super::coerce::shown(&expr.ty)
            );
            return Err(self.problem(At::of(sort.syntax()), message));
        }
        let nulls_first = match sort.nulls_order() {
            Some(ast::NullsOrder::NullsFirst(_)) => true,
            Some(ast::NullsOrder::NullsLast(_)) => false,
            None => descending,
        };
        Ok(OrderBy {
            expr,
            descending,
            nulls_first,
        })
    }
}
