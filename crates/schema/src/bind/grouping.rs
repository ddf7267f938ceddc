//! GROUP BY: what may stand beside aggregates; and what columns without a name are called.

use super::scope::column;
use super::syntax::{Operand, Tree, expressions};
use super::{At, Binder, Bound, expr::path_of, expr::select_in};
use crate::names::text;
use mainstay_model::{Expr, ExprKind, FromItem, Projected, Result, Rewrite, Select, SourceId, rewrite_expr};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn group_by(&mut self, clause: &ast::GroupByClause, projection: &[Projected]) -> Bound<Vec<Expr>> {
        let mut keys: Vec<Expr> = Vec::new();
        for group in clause.group_by_list().into_iter().flat_map(|l| l.group_bys()) {
            let at = At::of(group.syntax());
            let name = match &group {
                ast::GroupBy::GroupingExpr(_) => None,
                ast::GroupBy::GroupingRollup(_) => Some("ROLLUP"),
                ast::GroupBy::GroupingCube(_) => Some("CUBE"),
                ast::GroupBy::GroupingSets(_) => Some("GROUPING SETS"),
            };
            if let Some(name) = name {
                return Err(self
                    .refused(at, name)
                    .help("combine queries with one GROUP BY each by UNION ALL"));
            }
            let mut members = expressions(group.syntax());
            if let [ast::Expr::TupleExpr(tuple)] = members.as_slice() {
                members = expressions(tuple.syntax());
            }
            for expr in members {
                let at = At::of(expr.syntax());
                let key = self.named_or_expr(&expr, projection, "GROUP BY")?;
                if key.has_aggregate() {
                    return Err(self.problem(at, "aggregate functions are not allowed in GROUP BY"));
                }
                if !super::query::is_sortable(&key.ty) {
                    let message = format!("could not identify an equality operator for type {}", key.ty);
                    return Err(self.problem(at, message).help("use jsonb instead of json"));
                }
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    /// Every column beside an aggregate must be grouped by, or depend on a primary key that is.
    pub(super) fn check_grouping(&mut self, select: &Select, grouped: bool, places: &[At], at: At) -> Bound<()> {
        let aggregates = self.scopes.last().is_some_and(|s| s.has_aggregate);
        if !grouped && !aggregates && select.having.is_none() {
            return Ok(());
        }
        let mut own = Vec::new();
        select.from.iter().for_each(|item| sources(item, &mut own));
        let determined: Vec<SourceId> = own
            .iter()
            .copied()
            .filter(|s| self.is_determined(*s, &select.group_by))
            .collect();
        let mut check = Check {
            groups: &select.group_by,
            own: &own,
            determined: &determined,
            found: None,
        };
        let projected = select.projection.iter().map(|p| &p.expr).zip(places.iter().copied());
        let order = select.order.iter().map(|key| &key.expr);
        let rest = select
            .having
            .iter()
            .chain(order)
            .chain(&select.distinct_on)
            .map(|expr| (expr, at));
        let mut at = at;
        for (expr, place) in projected.chain(rest) {
            // Nothing is rewritten; the walk is what is wanted, and it cannot fail.
            let _ = rewrite_expr(expr, &mut check);
            if check.found.is_some() {
                at = place;
                break;
            }
        }
        let Some((source, index)) = check.found else {
            return Ok(());
        };
        let named = self.names.get(&source);
        let table = named.map(|n| n.name.to_string()).unwrap_or_default();
        let name = named
            .and_then(|n| n.columns.get(index? as usize))
            .map_or("*", |(name, _)| name);
        let message =
            format!("column \"{table}.{name}\" must appear in the GROUP BY clause or be used in an aggregate function");
        Err(self.problem(at, message))
    }

    /// Whether the groups contain the primary key of a source, so that its other columns have one value each.
    fn is_determined(&self, source: SourceId, groups: &[Expr]) -> bool {
        let Some(relation) = self.names.get(&source).and_then(|n| n.relation) else {
            return false;
        };
        let relation = self.schema.relation(relation);
        let key = relation.primary_key();
        !key.is_empty()
            && key.iter().all(|c| {
                relation
                    .columns
                    .get(*c as usize)
                    .is_some_and(|declared| groups.contains(&column(source, *c, declared.ty.clone())))
            })
    }
}

fn sources(item: &FromItem, into: &mut Vec<SourceId>) {
    match item {
        FromItem::Relation { source, .. }
        | FromItem::Subquery { source, .. }
        | FromItem::CommonTable { source, .. }
        | FromItem::Function { source, .. }
        | FromItem::Series { source, .. } => into.push(*source),
        FromItem::Join { left, right, .. } => {
            sources(left, into);
            sources(right, into);
        }
    }
}

/// Looks for a column of the query's own that is neither grouped by nor inside an aggregate; also inside subqueries.
struct Check<'c> {
    groups: &'c [Expr],
    own: &'c [SourceId],
    determined: &'c [SourceId],
    found: Option<(SourceId, Option<u32>)>,
}

impl Rewrite for Check<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        let settled = || Ok(Some(expr.clone()));
        if self.groups.contains(expr) {
            return settled();
        }
        let (source, index) = match &expr.kind {
            ExprKind::Column(column) => (column.source, Some(column.column)),
            ExprKind::WholeRow(source) => (*source, None),
            // An aggregate of a subquery cannot take this query's columns only, so that below one there is nothing to find.
            ExprKind::Aggregate(_) => return settled(),
            _ => return Ok(None),
        };
        if self.own.contains(&source) && !self.determined.contains(&source) && self.found.is_none() {
            self.found = Some((source, index));
        }
        settled()
    }
}

/// The name of an output column, and how sure it is: a cast's own name gives way to what stands inside it.
pub(super) fn name_of(binder: &Binder<'_>, operand: &Operand) -> Option<(Arc<str>, u8)> {
    match &operand.tree {
        Tree::Atom(expr) => name_of_atom(binder, expr),
        Tree::Collate(inner, _) => name_of(binder, inner),
        Tree::Cast(inner, ty) => match name_of(binder, inner) {
            Some((name, 2)) => Some((name, 2)),
            _ => Some((name_of_type(ty), 1)),
        },
        Tree::AtTimeZone(..) => Some(("timezone".into(), 2)),
        _ => None,
    }
}

fn name_of_atom(binder: &Binder<'_>, expr: &ast::Expr) -> Option<(Arc<str>, u8)> {
    match expr {
        ast::Expr::NameRef(name) => Some((text(name), 2)),
        ast::Expr::FieldExpr(field) => Some((
            path_of(expr)
                .and_then(|p| p.last().cloned())
                .or_else(|| Some(text(&field.field()?)))?,
            2,
        )),
        ast::Expr::CallExpr(call) => Some((name_of_call(call)?, 2)),
        ast::Expr::CastExpr(cast) => {
            let inner = match cast.cast_token() {
                Some(_) => expressions(cast.syntax()).into_iter().next(),
                None => None,
            };
            let inner = inner.and_then(|e| name_of(binder, &binder.operand(&e).ok()?));
            match (inner, cast.ty()) {
                (Some((name, 2)), _) => Some((name, 2)),
                (_, Some(ty)) => Some((name_of_type(&ty), 1)),
                _ => None,
            }
        }
        ast::Expr::CaseExpr(case) => {
            let otherwise = case.else_clause().and_then(|e| e.expr());
            match otherwise.and_then(|e| name_of(binder, &binder.operand(&e).ok()?)) {
                Some((name, 2)) => Some((name, 2)),
                _ => Some(("case".into(), 1)),
            }
        }
        ast::Expr::ArrayExpr(_) => Some(("array".into(), 2)),
        ast::Expr::IndexExpr(index) => name_of_atom(binder, &expressions(index.syntax()).into_iter().next()?),
        ast::Expr::TupleExpr(_) => Some(("row".into(), 2)),
        ast::Expr::ParenExpr(paren) => match select_in(expr) {
            Some(ast::SelectVariant::Select(select)) => {
                let target = select.select_clause()?.target_list()?.targets().next()?;
                match target.as_name().and_then(|a| a.name()) {
                    Some(name) => Some((text(&name), 2)),
                    None => name_of(binder, &binder.operand(&target.expr()?).ok()?).map(|(name, _)| (name, 2)),
                }
            }
            Some(_) => None,
            None => name_of(
                binder,
                &binder.operand(&expressions(paren.syntax()).into_iter().next()?).ok()?,
            ),
        },
        _ => None,
    }
}

fn name_of_call(call: &ast::CallExpr) -> Option<Arc<str>> {
    if let Some(name) = call.expr() {
        return path_of(&name)?.pop();
    }
    if let Some(trim) = call.trim_fn() {
        return Some(match trim.trim_side() {
            Some(ast::TrimSide::TrimLeading(_)) => "ltrim".into(),
            Some(ast::TrimSide::TrimTrailing(_)) => "rtrim".into(),
            _ => "btrim".into(),
        });
    }
    Some(call.syntax().first_token()?.text().to_ascii_lowercase().into())
}

/// A type's name in Postgres' catalogue.
fn name_of_type(ty: &ast::Type) -> Arc<str> {
    let zoned = |zone: Option<ast::Timezone>| matches!(zone, Some(ast::Timezone::WithTimezone(_)));
    match ty {
        ast::Type::ArrayType(array) => array
            .ty()
            .map_or_else(|| "array".into(), |element| name_of_type(&element)),
        ast::Type::PathType(path) => {
            let name = path
                .path_ref()
                .and_then(|p| p.segment())
                .map(|s| text(&s))
                .unwrap_or_else(|| "?column?".into());
            match &*name {
                "int" | "integer" => "int4".into(),
                "bigint" => "int8".into(),
                "smallint" => "int2".into(),
                "boolean" => "bool".into(),
                "real" => "float4".into(),
                "float" => "float8".into(),
                "decimal" | "dec" => "numeric".into(),
                _ => name,
            }
        }
        ast::Type::VarcharType(_) => "varchar".into(),
        ast::Type::CharacterType(_) => "bpchar".into(),
        ast::Type::BitType(_) => "bit".into(),
        ast::Type::BitVaryingType(_) => "varbit".into(),
        ast::Type::DoubleType(_) => "float8".into(),
        ast::Type::TimeType(time) => if zoned(time.timezone()) { "timetz" } else { "time" }.into(),
        ast::Type::TimestampType(time) => if zoned(time.timezone()) {
            "timestamptz"
        } else {
            "timestamp"
        }
        .into(),
        ast::Type::IntervalType(_) => "interval".into(),
    }
}
