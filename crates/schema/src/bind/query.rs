//! Queries: SELECT, VALUES, TABLE, set operations, and what stands behind them.

use super::coerce::CastContext;
use super::expr::path_of;
use super::scope::{Clause, ItemColumn, Scope};
use super::syntax::{Tree, expressions};
use super::{At, Binder, Bound};
use crate::names::text;
use mainstay_model::{Expr, ExprKind, OrderBy, Projected, Select, Type, Value};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// What stands behind a query. Locks (`FOR UPDATE` …) are read over: writes run one after another, so that nothing can change a
/// row between reading and writing it.
#[derive(Default)]
struct Tail {
    order: Option<ast::OrderByClause>,
    limit: Option<ast::LimitClause>,
    offset: Option<ast::OffsetClause>,
    fetch: Option<ast::FetchClause>,
}

impl Tail {
    fn of(clauses: impl Iterator<Item = ast::SelectTailClause>) -> Tail {
        let mut tail = Tail::default();
        for clause in clauses {
            match clause {
                ast::SelectTailClause::OrderByClause(clause) => tail.order = Some(clause),
                ast::SelectTailClause::LimitClause(clause) => tail.limit = Some(clause),
                ast::SelectTailClause::OffsetClause(clause) => tail.offset = Some(clause),
                ast::SelectTailClause::FetchClause(clause) => tail.fetch = Some(clause),
                ast::SelectTailClause::LockingClause(_) => {}
            }
        }
        tail
    }

    fn is_empty(&self) -> bool {
        self.order.is_none() && self.limit.is_none() && self.offset.is_none() && self.fetch.is_none()
    }
}

/// Whether values of a type have an order and equality.
pub(super) fn is_sortable(ty: &Type) -> bool {
    !matches!(ty, Type::Json | Type::Void)
}

impl Binder<'_> {
    /// A query inside another statement.
    pub(super) fn query(&mut self, variant: &ast::SelectVariant) -> Bound<Select> {
        let mut select = self.raw_query(variant, false)?;
        self.settle_outputs(&mut select)?;
        Ok(select)
    }

    /// A query that is the statement itself: its WITH may write.
    pub(super) fn top_query(&mut self, variant: &ast::SelectVariant) -> Bound<Select> {
        let mut select = self.raw_query(variant, true)?;
        self.settle_outputs(&mut select)?;
        Ok(select)
    }

    /// A query whose literals may still be of no type.
    pub(super) fn raw_query(&mut self, variant: &ast::SelectVariant, top: bool) -> Bound<Select> {
        let visible = self.common_tables.len();
        let with = match with_clause(variant) {
            Some(clause) => self.with_members(&clause, top)?,
            None => Vec::new(),
        };
        let select = self.deeper(At::of(variant.syntax()), |binder| binder.query_body(variant, top));
        self.common_tables.truncate(visible);
        let mut select = select?;
        if !with.is_empty() {
            select.with.splice(0..0, with);
        }
        Ok(select)
    }

    pub(super) fn query_body(&mut self, variant: &ast::SelectVariant, top: bool) -> Bound<Select> {
        let at = At::of(variant.syntax());
        match variant {
            ast::SelectVariant::Select(select) => {
                self.scopes.push(Scope {
                    searchable: false,
                    ..Scope::of(Vec::new(), Clause::From)
                });
                let bound = self.select_parts(select, at);
                self.scopes.pop();
                bound
            }
            ast::SelectVariant::SelectInto(_) => Err(self.refused(at, "SELECT INTO").help("use INSERT INTO … SELECT")),
            ast::SelectVariant::ParenSelect(paren) => {
                let Some(inner) = paren.select() else {
                    return Err(self.problem(at, "a query is missing in the parentheses"));
                };
                let inner = self.raw_query(&inner, top)?;
                self.with_tail(inner, Tail::of(paren.tail_clauses()))
            }
            ast::SelectVariant::Table(table) => {
                let Some(name) = table.relation_name().and_then(|n| n.relation_name_ref()) else {
                    return Err(self.problem(at, "the name of a table is missing"));
                };
                let (item, scope) = self.relation_source(&name, None)?;
                let projection = scope
                    .columns
                    .into_iter()
                    .filter(|c| self.in_star(c))
                    .map(|c| Projected {
                        expr: c.expr,
                        name: c.name,
                    })
                    .collect();
                let select = Select {
                    projection,
                    from: vec![item],
                    ..Select::default()
                };
                self.with_tail(select, Tail::of(table.tail_clauses()))
            }
            ast::SelectVariant::Values(values) => {
                let select = self.values(values)?;
                self.with_tail(select, Tail::of(values.tail_clauses()))
            }
            ast::SelectVariant::CompoundSelect(compound) => {
                let select = self.compound(compound, at)?;
                self.with_tail(select, Tail::of(compound.tail_clauses()))
            }
        }
    }

    fn values(&mut self, values: &ast::Values) -> Bound<Select> {
        let mut rows = Vec::new();
        self.scopes.push(Scope::of(Vec::new(), Clause::Values));
        for row in values.row_list().into_iter().flat_map(|l| l.rows()) {
            let mut bound = Vec::new();
            for expr in expressions(row.syntax()) {
                bound.push((self.expr(&expr)?, At::of(expr.syntax())));
            }
            rows.push((bound, At::of(row.syntax())));
        }
        self.scopes.pop();
        let width = rows.first().map_or(0, |(row, _)| row.len());
        if let Some((_, at)) = rows.iter().find(|(row, _)| row.len() != width) {
            return Err(self.problem(*at, "VALUES lists must all be the same length"));
        }
        if width == 0 {
            return Err(self.problem(At::of(values.syntax()), "VALUES needs a row of values"));
        }
        // One type for each column; a column of literals alone stays undecided for whoever takes it.
        let mut rows: Vec<Vec<(Expr, At)>> = rows.into_iter().map(|(row, _)| row).collect();
        for index in 0..width {
            if rows.iter().all(|row| row[index].0.ty == Type::Unknown) {
                continue;
            }
            let common = self.common_type(rows.iter().map(|row| (&row[index].0.ty, row[index].1)), "VALUES")?;
            for row in &mut rows {
                let (expr, at) = row[index].clone();
                row[index].0 = self.coerce(expr, at, &common, CastContext::Implicit)?;
            }
        }
        let values = rows
            .into_iter()
            .map(|row| row.into_iter().map(|(e, _)| e).collect())
            .collect();
        Ok(Select {
            values,
            ..Select::default()
        })
    }

    /// ORDER BY, LIMIT and OFFSET of what has no sources of its own: around a query of it.
    fn with_tail(&mut self, select: Select, tail: Tail) -> Bound<Select> {
        if tail.is_empty() {
            return Ok(select);
        }
        let (mut outer, source) = self.wrap(select)?;
        let columns: Vec<_> = outer
            .projection
            .iter()
            .map(|p| (p.name.clone(), p.expr.ty.clone()))
            .collect();
        let item = self.item(None, &columns, source, None);
        self.scopes.push(Scope::of(vec![item], Clause::OrderBy));
        let bound = self.tail(&mut outer, &tail);
        self.scopes.pop();
        bound?;
        Ok(outer)
    }

    fn tail(&mut self, select: &mut Select, tail: &Tail) -> Bound<()> {
        if let Some(order) = &tail.order {
            select.order = self.order_keys(order, &select.projection)?;
        }
        self.limits(select, tail)
    }

    fn select_parts(&mut self, select: &ast::Select, at: At) -> Bound<Select> {
        if let Some(window) = select.window_clause() {
            return Err(self
                .refused(At::of(window.syntax()), "WINDOW")
                .help("window functions are not served yet"));
        }
        let Some(clause) = select.select_clause() else {
            return Err(self.problem(at, "SELECT is missing"));
        };
        let mut bound = Select {
            from: self.sources_of(select.from_clause().into_iter().flat_map(|f| f.items()))?,
            ..Select::default()
        };
        self.begin(Clause::Where);
        bound.filter = match select.where_clause() {
            Some(clause) => Some(self.where_clause(&clause)?),
            None => None,
        };
        self.begin(Clause::Select);
        bound.projection = match clause.target_list() {
            Some(list) => self.targets(&list)?,
            // EXISTS (SELECT FROM t): no columns, which not every engine can write.
            None => vec![Projected {
                expr: Expr::literal(Value::Int(1), Type::Int4),
                name: "?column?".into(),
            }],
        };
        let places = std::mem::take(&mut self.places);
        self.begin(Clause::GroupBy);
        let grouped = match select.group_by_clause() {
            Some(clause) => {
                bound.group_by = self.group_by(&clause, &bound.projection)?;
                true
            }
            None => false,
        };
        self.begin(Clause::Having);
        if let Some(clause) = select.having_clause() {
            let Some(expr) = expressions(clause.syntax()).into_iter().next() else {
                return Err(self.problem(At::of(clause.syntax()), "HAVING needs a condition"));
            };
            let having = self.expr(&expr)?;
            bound.having = Some(self.condition(having, At::of(expr.syntax()), "HAVING")?);
        }
        self.begin(Clause::OrderBy);
        let tail = Tail::of(select.tail_clauses());
        self.tail(&mut bound, &tail)?;
        if let Some(ast::SelectQuantifier::DistinctClause(distinct)) = clause.select_quantifier() {
            self.distinct_clause(&mut bound, &distinct)?;
        }
        self.check_grouping(&bound, grouped, &places, at)?;
        Ok(bound)
    }

    fn begin(&mut self, clause: Clause) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.clause = clause;
            scope.searchable = true;
        }
    }

    pub(super) fn where_clause(&mut self, clause: &ast::WhereClause) -> Bound<Expr> {
        let Some(expr) = expressions(clause.syntax()).into_iter().next() else {
            return Err(self.problem(At::of(clause.syntax()), "WHERE needs a condition"));
        };
        let bound = self.expr(&expr)?;
        self.condition(bound, At::of(expr.syntax()), "WHERE")
    }

    fn distinct_clause(&mut self, select: &mut Select, distinct: &ast::DistinctClause) -> Bound<()> {
        let at = At::of(distinct.syntax());
        match distinct.distinct_on() {
            None => {
                select.distinct = true;
                if let Some(json) = select.projection.iter().find(|p| !is_sortable(&p.expr.ty)) {
                    let message = format!("could not identify an equality operator for type {}", json.expr.ty);
                    return Err(self.problem(at, message).help("use jsonb instead of json"));
                }
                if select
                    .order
                    .iter()
                    .any(|key| !select.projection.iter().any(|p| p.expr == key.expr))
                {
                    return Err(self.problem(
                        at,
                        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                    ));
                }
            }
            Some(on) => {
                for expr in expressions(on.syntax()) {
                    let key = self.named_or_expr(&expr, &select.projection, "DISTINCT ON")?;
                    if !select.distinct_on.contains(&key) {
                        select.distinct_on.push(key);
                    }
                }
                let leading = select.order.iter().take(select.distinct_on.len());
                if leading.clone().any(|key| !select.distinct_on.contains(&key.expr)) {
                    return Err(self.problem(
                        at,
                        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The keys of a query's ORDER BY: positions and output names first, then expressions over the sources.
    fn order_keys(&mut self, clause: &ast::OrderByClause, projection: &[Projected]) -> Bound<Vec<OrderBy>> {
        let mut keys: Vec<OrderBy> = Vec::new();
        for sort in clause.sort_by_list().into_iter().flat_map(|l| l.sort_bys()) {
            let Some(expr) = expressions(sort.syntax()).into_iter().next() else {
                return Err(self.problem(At::of(sort.syntax()), "an expression is missing in ORDER BY"));
            };
            let bound = self.named_or_expr(&expr, projection, "ORDER BY")?;
            // A constant orders nothing, and as a bare number some engines would take it for a position.
            if matches!(bound.kind, ExprKind::Literal(_)) {
                continue;
            }
            let key = self.sort_key(&sort, bound)?;
            if !keys.iter().any(|k| k.expr == key.expr) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// A position in the select list, an output name, or an expression.
    pub(super) fn named_or_expr(&mut self, expr: &ast::Expr, projection: &[Projected], clause: &str) -> Bound<Expr> {
        let operand = self.operand(expr)?;
        match &operand.tree {
            Tree::Atom(ast::Expr::Literal(literal)) if literal.positional_param_index().is_none() => {
                let bound = self.literal(literal)?;
                let ExprKind::Literal(Value::Int(position)) = bound.kind else {
                    return Err(self.problem(operand.at, format!("non-integer constant in {clause}")));
                };
                match usize::try_from(position - 1).ok().and_then(|i| projection.get(i)) {
                    Some(projected) => Ok(projected.expr.clone()),
                    None => Err(self.problem(
                        operand.at,
                        format!("{clause} position {position} is not in select list"),
                    )),
                }
            }
            Tree::Atom(ast::Expr::NameRef(name)) => {
                let wanted = text(name);
                // GROUP BY prefers a source's column, ORDER BY and DISTINCT ON an output name.
                if clause == "GROUP BY"
                    && let Some(scope) = self.scopes.last()
                    && let Some(found) = self.column_of(scope, &wanted, operand.at)?
                {
                    return Ok(found);
                }
                let mut matching = projection.iter().filter(|p| p.name == wanted);
                match matching.next() {
                    Some(first) if matching.any(|other| other.expr != first.expr) => {
                        Err(self.problem(operand.at, format!("{clause} \"{wanted}\" is ambiguous")))
                    }
                    Some(first) => Ok(first.expr.clone()),
                    None => self.tree(&operand),
                }
            }
            _ => {
                let bound = self.tree(&operand)?;
                Ok(self.settle(bound))
            }
        }
    }

    fn limits(&mut self, select: &mut Select, tail: &Tail) -> Bound<()> {
        if let Some(fetch) = &tail.fetch {
            if matches!(fetch.fetch_quantity(), Some(ast::FetchQuantity::WithTies(_))) {
                return Err(self.refused(At::of(fetch.syntax()), "FETCH … WITH TIES"));
            }
            select.limit = match expressions(fetch.syntax()).into_iter().next() {
                Some(expr) => self.limit(&expr, "LIMIT")?,
                None => Some(Expr::literal(Value::Int(1), Type::Int8)),
            };
        }
        if let Some(clause) = &tail.limit
            && let Some(ast::LimitValue::Expr(expr)) = clause.limit_value()
        {
            select.limit = self.limit(&expr, "LIMIT")?;
        }
        if let Some(clause) = &tail.offset
            && let Some(expr) = expressions(clause.syntax()).into_iter().next()
        {
            select.offset = self.limit(&expr, "OFFSET")?;
        }
        Ok(())
    }

    fn limit(&mut self, expr: &ast::Expr, clause: &str) -> Bound<Option<Expr>> {
        let at = At::of(expr.syntax());
        if let Some(scope) = self.scopes.last_mut() {
            scope.searchable = false;
            scope.clause = Clause::Limit;
        }
        let bound = self.expr(expr);
        if let Some(scope) = self.scopes.last_mut() {
            scope.searchable = true;
        }
        let bound = self.coerce(bound?, at, &Type::Int8, CastContext::Assignment)?;
        match &bound.kind {
            ExprKind::Literal(Value::Null) => Ok(None),
            ExprKind::Literal(Value::Int(n)) if *n < 0 => {
                Err(self.problem(at, format!("{clause} must not be negative")))
            }
            _ => Ok(Some(bound)),
        }
    }

    /// A select list or RETURNING.
    pub(super) fn targets(&mut self, list: &ast::TargetList) -> Bound<Vec<Projected>> {
        let mut projection: Vec<Projected> = Vec::new();
        let mut places = Vec::new();
        for target in list.targets() {
            let at = At::of(target.syntax());
            if target.star_token().is_some() {
                let Some(scope) = self.scopes.last().filter(|s| !s.items.is_empty()) else {
                    return Err(self.problem(at, "SELECT * with no tables specified is not valid"));
                };
                let columns = scope.items.iter().filter(|i| i.by_column).flat_map(|i| &i.columns);
                let columns = columns.filter(|c| self.in_star(c));
                projection.extend(columns.map(|c| Projected {
                    expr: c.expr.clone(),
                    name: c.name.clone(),
                }));
                places.resize(projection.len(), at);
                continue;
            }
            let Some(expr) = expressions(target.syntax()).into_iter().next() else {
                return Err(self.problem(at, "an expression is missing in the select list"));
            };
            if let ast::Expr::FieldExpr(field) = &expr
                && field.star_token().is_some()
            {
                projection.extend(self.star_of(field)?);
                places.resize(projection.len(), at);
                continue;
            }
            let bound = self.expr(&expr)?;
            let name = match target.as_name().and_then(|a| a.name()) {
                Some(name) => text(&name),
                None => self.output_name(&expr),
            };
            projection.push(Projected { expr: bound, name });
            places.push(At::of(expr.syntax()));
        }
        self.places = places;
        Ok(projection)
    }

    /// The columns of `t.*`.
    pub(super) fn star_of(&mut self, field: &ast::FieldExpr) -> Bound<Vec<Projected>> {
        let at = At::of(field.syntax());
        let path = path_of(&ast::Expr::FieldExpr(field.clone())).unwrap_or_default();
        let item = match path.as_slice() {
            [name] => self.find_item(None, name),
            [namespace, name] => self.find_item(Some(namespace), name),
            _ => {
                return Err(self
                    .refused(at, "the fields of a composite value")
                    .help("name the columns"));
            }
        };
        match item {
            Some(item) => Ok(item
                .columns
                .iter()
                .filter(|c| self.in_star(c))
                .map(|c| Projected {
                    expr: c.expr.clone(),
                    name: c.name.clone(),
                })
                .collect()),
            None => Err(self.missing_source(None, &path.join("."), at)),
        }
    }

    /// Whether `*` means a column, too: not one that its relation got after the declaration that is bound.
    fn in_star(&self, column: &ItemColumn) -> bool {
        let (Some(known), ExprKind::Column(at)) = (self.known, &column.expr.kind) else {
            return true;
        };
        let relation = self.names.get(&at.source).and_then(|names| names.relation);
        relation
            .and_then(|relation| known.get(&relation))
            .is_none_or(|count| at.column < *count)
    }

    /// The name that Postgres gives to a column without one.
    pub(super) fn output_name(&self, expr: &ast::Expr) -> Arc<str> {
        match self.operand(expr) {
            Ok(operand) => super::grouping::name_of(self, &operand).map_or_else(|| "?column?".into(), |(name, _)| name),
            Err(_) => "?column?".into(),
        }
    }
}

/// The WITH of a query: that of a set operation stands in its first query.
pub(super) fn with_clause(variant: &ast::SelectVariant) -> Option<ast::WithClause> {
    let mut current = variant.clone();
    loop {
        current = match &current {
            ast::SelectVariant::Select(select) => return select.with_clause(),
            ast::SelectVariant::SelectInto(select) => return ast::HasWithClause::with_clause(select),
            ast::SelectVariant::ParenSelect(select) => return select.with_clause(),
            ast::SelectVariant::Table(select) => return select.with_clause(),
            ast::SelectVariant::Values(select) => return select.with_clause(),
            ast::SelectVariant::CompoundSelect(compound) => compound.lhs()?,
        };
    }
}
