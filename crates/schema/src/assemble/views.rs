//! Views: bound in the order in which they depend on one another, with what is known of their columns.

use super::Assembly;
use crate::bind::Binder;
use crate::catalog::{DraftKind, DraftView};
use crate::names::Name;
use mainstay_model::{
    Column, Expr, ExprKind, FromItem, RelationId, RelationKind, Returns, Schema, Select, SourceId, Statement, Type,
};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::collections::HashMap;
use std::sync::Arc;

impl Assembly {
    pub(super) fn bind_views(&mut self) {
        let mut waiting: Vec<(usize, RelationId)> = self
            .live()
            .into_iter()
            .filter(|(draft, _)| matches!(self.catalog.relations[*draft].kind, DraftKind::View(_)))
            .collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            let pending: Vec<RelationId> = waiting.iter().map(|(_, id)| *id).collect();
            let mut left = Vec::new();
            for (draft, id) in waiting {
                // Bound meanwhile, in this very round, is bound.
                let still =
                    |other: &RelationId| pending.contains(other) && self.schema.relation(*other).columns.is_empty();
                if self.reads(draft, &still) {
                    left.push((draft, id));
                } else {
                    self.bind_view(draft, id);
                }
            }
            if left.len() == before {
                for (draft, _) in &left {
                    let relation = &self.catalog.relations[*draft];
                    let problem = crate::Problem::error(
                        relation.span.clone(),
                        format!("the view `{}` depends on itself", relation.name),
                    );
                    self.problem(problem.help("write out what it shows of itself, or use WITH RECURSIVE inside it"));
                }
                return;
            }
            waiting = left;
        }
    }

    /// Whether a view's query names a relation that `wanted` picks out.
    fn reads(&self, draft: usize, wanted: &dyn Fn(&RelationId) -> bool) -> bool {
        let relation = &self.catalog.relations[draft];
        let DraftKind::View(view) = &relation.kind else {
            return false;
        };
        let find = |name: &Name| match &name.namespace {
            Some(namespace) => self.schema.find_relation(namespace, &name.name),
            None => relation
                .place
                .path
                .iter()
                .find_map(|n| self.schema.find_relation(n, &name.name)),
        };
        let own = self.relations[draft];
        view.query
            .syntax()
            .descendants()
            .any(|node: SyntaxNode| match ast::CallExpr::cast(node.clone()) {
                Some(call) => self.yields(&call, wanted),
                None => {
                    let name = ast::RelationNameRef::cast(node).and_then(|written| Name::of(&written));
                    let hidden = |id| Some(id) == own && hidden_by_with(view, &self.schema.relation(id).name);
                    name.and_then(|n| find(&n)).is_some_and(|id| wanted(&id) && !hidden(id))
                }
            })
    }

    /// Whether a function of that name yields rows of a relation that `wanted` picks out.
    fn yields(&self, call: &ast::CallExpr, wanted: &dyn Fn(&RelationId) -> bool) -> bool {
        let Some(callee) = call.expr().map(|e| Name::parse(&e.syntax().text().to_string())) else {
            return false;
        };
        self.schema
            .functions
            .iter()
            .filter(|f| f.name == callee.name)
            .any(|f| match &f.returns {
                Returns::Row(relation) | Returns::SetOfRow(relation) => wanted(relation),
                _ => false,
            })
    }

    fn bind_view(&mut self, draft: usize, id: RelationId) {
        let relation = &self.catalog.relations[draft];
        let (place, span) = (relation.place.clone(), relation.span.clone());
        let DraftKind::View(view) = &relation.kind else { return };
        let view = view.clone();
        let source = self.at(&place);
        let known = self.known_to(&view);
        let bound = Binder::new(&self.schema, &source)
            .knowing(&known)
            .select(view.query.syntax());
        let Some(select) = self.ok(bound) else { return };
        let mut columns = Binder::output_columns(&select);
        if let Some(names) = &view.columns {
            if names.len() > columns.len() {
                let message = format!(
                    "the view names {} columns, but its query yields {}",
                    names.len(),
                    columns.len()
                );
                let problem = crate::Problem::error(span, message);
                return self.problem(problem.help("name as many columns as the query yields"));
            }
            for ((name, _), given) in columns.iter_mut().zip(names) {
                *name = given.clone();
            }
        }
        for (old, new) in &view.renames {
            if let Some((name, _)) = columns.iter_mut().find(|(name, _)| name == old) {
                *name = new.clone();
            }
        }
        for (i, (name, _)) in columns.iter().enumerate() {
            if columns[..i].iter().any(|(other, _)| other == name) {
                let problem = crate::Problem::error(span.clone(), format!("the view has two columns `{name}`"));
                self.problem(problem.help("give one of them another name with AS"));
                return;
            }
        }
        let origins = origins(&self.schema, &select);
        let updatable = updatable(&self.schema, &select).filter(|_| !view.materialized);
        let mut built = Vec::new();
        for (i, (name, ty)) in columns.into_iter().enumerate() {
            let base = origins
                .get(i)
                .copied()
                .flatten()
                .map(|(r, c)| &self.schema.relation(r).columns[c as usize]);
            let (domain, mut comment) = (
                base.and_then(|c| c.domain.clone()),
                base.and_then(|c| c.comment.clone()),
            );
            if let Some((_, own, _)) = view.column_comments.iter().rev().find(|(of, _, _)| *of == name) {
                comment = own.clone();
            }
            let ty = if ty == Type::Unknown { Type::Text } else { ty };
            built.push(Column {
                name,
                ty,
                domain,
                not_null: false,
                default: None,
                default_text: None,
                generated: None,
                identity: None,
                comment,
                span: span.clone(),
            });
        }
        self.unknown_comments(&view, &built);
        let relation = &mut self.schema.relations[id.0 as usize];
        relation.columns = built;
        if let RelationKind::View(view) = &mut relation.kind {
            view.select = Arc::new(select);
            view.origins = origins;
            view.updatable = updatable;
        }
    }

    /// Tables that a view's declaration knew with fewer columns than they have now, with how many of those it knew.
    fn known_to(&self, view: &DraftView) -> HashMap<RelationId, u32> {
        let mut known = HashMap::new();
        for (draft, id) in self.live_tables() {
            let places = &self.columns[draft];
            if let Some(count) = view.known.get(draft).filter(|count| **count < places.len()) {
                known.insert(id, places[..*count].iter().flatten().count() as u32);
            }
        }
        known
    }

    fn unknown_comments(&mut self, view: &DraftView, columns: &[Column]) {
        for (name, _, span) in &view.column_comments {
            if !columns.iter().any(|c| c.name == *name) {
                let problem = crate::Problem::error(span.clone(), format!("there is no column `{name}` in this view"));
                self.problem(problem.did_you_mean(name, columns.iter().map(|c| &*c.name)));
            }
        }
    }
}

/// Whether a WITH of the query declares the name, so that it is not the relation.
fn hidden_by_with(view: &DraftView, name: &str) -> bool {
    view.query
        .syntax()
        .descendants()
        .filter_map(ast::WithTable::cast)
        .filter_map(|w| w.name())
        .any(|n| *crate::names::text(&n) == *name)
}

/// For each column of a query, the base table's column that it shows unchanged.
pub(super) fn origins(schema: &Schema, select: &Select) -> Vec<Option<(RelationId, u32)>> {
    origins_within(schema, select, &HashMap::new())
}

type Origins = Vec<Option<(RelationId, u32)>>;

fn origins_within(schema: &Schema, select: &Select, outer: &HashMap<u32, Origins>) -> Origins {
    if select.set_operation.is_some() || !select.values.is_empty() {
        return vec![None; select.projection.len().max(select.values.first().map_or(0, Vec::len))];
    }
    let mut common = outer.clone();
    for member in &select.with {
        if let (Statement::Select(inner), false) = (&member.statement, member.recursive) {
            common.insert(member.id, origins_within(schema, inner, &common));
        }
    }
    let mut sources: HashMap<SourceId, Origins> = HashMap::new();
    for item in &select.from {
        source_origins(schema, item, &common, &mut sources);
    }
    let of = |expr: &Expr| match &expr.kind {
        ExprKind::Column(column) => sources
            .get(&column.source)?
            .get(column.column as usize)
            .copied()
            .flatten(),
        _ => None,
    };
    select.projection.iter().map(|p| of(&p.expr)).collect()
}

fn source_origins(
    schema: &Schema,
    item: &FromItem,
    common: &HashMap<u32, Origins>,
    sources: &mut HashMap<SourceId, Origins>,
) {
    match item {
        FromItem::Relation { relation, source } => {
            let shown = schema.relation(relation.relation);
            let origins = match shown.view() {
                Some(view) => view.origins.clone(),
                None => (0..shown.columns.len() as u32)
                    .map(|c| Some((relation.relation, c)))
                    .collect(),
            };
            sources.insert(*source, origins);
        }
        FromItem::Subquery { select, source, .. } => {
            sources.insert(*source, origins_within(schema, select, common));
        }
        FromItem::CommonTable { id, source } => {
            if let Some(origins) = common.get(id) {
                sources.insert(*source, origins.clone());
            }
        }
        FromItem::Join { left, right, .. } => {
            source_origins(schema, left, common, sources);
            source_origins(schema, right, common, sources);
        }
        FromItem::Function { .. } | FromItem::Series { .. } => {}
    }
}

/// The table that writes to a view go to, when Postgres would update it by itself: one relation, and nothing that folds rows.
fn updatable(schema: &Schema, select: &Select) -> Option<RelationId> {
    let folds = !select.with.is_empty()
        || select.distinct
        || !select.distinct_on.is_empty()
        || !select.group_by.is_empty()
        || select.having.is_some()
        || select.limit.is_some()
        || select.offset.is_some()
        || !select.values.is_empty()
        || select.set_operation.is_some()
        || select.projection.iter().any(|p| p.expr.has_aggregate());
    let [FromItem::Relation { relation, source }] = select.from.as_slice() else {
        return None;
    };
    // At least one column must be a plain one, or there is nothing to write to.
    let writable = select
        .projection
        .iter()
        .any(|p| matches!(&p.expr.kind, ExprKind::Column(c) if c.source == *source));
    if folds || !writable {
        return None;
    }
    let shown = schema.relation(relation.relation);
    match shown.view() {
        None => Some(relation.relation),
        Some(view) => view.updatable,
    }
}
