//! What a bound statement touches, and that nothing reaches from one store into another: no engine could do it in one transaction.

use super::Assembly;
use crate::Problem;
use mainstay_model::{
    Delete, Expr, ExprKind, FromItem, FunctionId, Insert, RelationId, RelationRef, Result, Rewrite, Select, Span,
    Statement, Update, rewrite_expr, rewrite_select, rewrite_statement,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Everything that a statement names.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) relations: BTreeSet<RelationId>,
    pub(super) functions: BTreeSet<FunctionId>,
}

impl Touched {
    pub(super) fn of(statement: &Statement) -> Touched {
        let mut touched = Touched::default();
        // The rewriting itself is not wanted, only its walk; it has nothing that could fail.
        let _ = rewrite_statement(statement, &mut touched);
        touched
    }

    pub(super) fn of_select(select: &Select) -> Touched {
        let mut touched = Touched::default();
        let _ = rewrite_select(select, &mut touched);
        touched
    }

    pub(super) fn of_expr(expr: &Expr) -> Touched {
        let mut touched = Touched::default();
        let _ = rewrite_expr(expr, &mut touched);
        touched
    }

    fn add(&mut self, other: Touched) {
        self.relations.extend(other.relations);
        self.functions.extend(other.functions);
    }
}

impl Rewrite for Touched {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        if let ExprKind::UserCall(function, _) = &expr.kind {
            self.functions.insert(*function);
        }
        Ok(None)
    }

    fn relation(&mut self, relation: &RelationRef) -> Result<RelationRef> {
        self.relations.insert(relation.relation);
        Ok(relation.clone())
    }

    fn from_item(&mut self, item: &FromItem) -> Result<Option<FromItem>> {
        if let FromItem::Function { function, .. } = item {
            self.functions.insert(*function);
        }
        Ok(None)
    }

    fn insert(&mut self, insert: Insert) -> Result<Insert> {
        self.relations.insert(insert.relation.relation);
        Ok(insert)
    }

    fn update(&mut self, update: Update) -> Result<Update> {
        self.relations.insert(update.relation.relation);
        Ok(update)
    }

    fn delete(&mut self, delete: Delete) -> Result<Delete> {
        self.relations.insert(delete.relation.relation);
        Ok(delete)
    }
}

impl Assembly {
    /// Refuses what crosses stores, and says of each function which store it runs in.
    pub(super) fn check_stores(&mut self) {
        let mut problems = Vec::new();
        for relation in &self.schema.relations {
            if let Some(table) = relation.table() {
                for key in &table.foreign_keys {
                    let target = self.schema.relation(key.target);
                    if target.store != relation.store {
                        let message = format!(
                            "the foreign key `{}` refers from store `{}` to `{}` in store `{}`",
                            key.name, relation.store, target.name, target.store
                        );
                        let span = self.foreign_key_span(relation, &key.name);
                        problems.push(Problem::error(span, message).help(
                            "leave the reference out and keep the identifier alone, or put both tables into one store",
                        ));
                    }
                }
                for policy in &table.policies {
                    let exprs = policy.using.iter().chain(&policy.check);
                    for expr in exprs {
                        let what = format!("the policy `{}`", policy.name);
                        problems.extend(self.crossing(&what, &relation.store, Touched::of_expr(expr), &policy.span));
                    }
                }
            }
            if let Some(view) = relation.view() {
                let what = format!("the view `{}`", relation.name);
                problems.extend(self.crossing(
                    &what,
                    &relation.store,
                    Touched::of_select(&view.select),
                    &relation.span,
                ));
            }
        }
        let mut stores = Vec::new();
        for function in &self.schema.functions {
            let mut touched = Touched::default();
            for statement in &function.body {
                touched.add(Touched::of(statement));
            }
            for arg in &function.args {
                touched.relations.extend(Self::relation_of(&self.schema, &arg.ty));
            }
            // The store of the first table that it names, or its service's own.
            let first = touched
                .relations
                .iter()
                .next()
                .map(|r| self.schema.relation(*r).store.clone());
            let store = first.unwrap_or_else(|| function.store.clone());
            let what = format!("the function `{}`", function.name);
            problems.extend(self.crossing(&what, &store, touched, &function.span));
            stores.push(store);
        }
        for (function, store) in self.schema.functions.iter_mut().zip(stores) {
            function.store = store;
        }
        self.problems.extend(problems);
    }

    fn crossing(&self, what: &str, store: &Arc<str>, touched: Touched, span: &Span) -> Option<Problem> {
        let relations = touched.relations.iter().map(|r| {
            let relation = self.schema.relation(*r);
            (&relation.store, &relation.name)
        });
        let called = touched.functions.iter().flat_map(|f| {
            let function = self.schema.function(*f);
            let mut inner = Touched::default();
            function.body.iter().for_each(|s| inner.add(Touched::of(s)));
            inner.relations.into_iter().map(|r| {
                let relation = self.schema.relation(r);
                (&relation.store, &relation.name)
            })
        });
        let (other, name) = relations.chain(called).find(|(other, _)| *other != store)?;
        let message = format!("{what} is in store `{store}` and reaches `{name}` in store `{other}`");
        let help = "nothing can reach across stores in one transaction: put the tables into one store, or let an event ([[on]]) carry it over";
        Some(Problem::error(span.clone(), message).help(help))
    }

    fn foreign_key_span(&self, relation: &mainstay_model::Relation, name: &str) -> Span {
        let drafts = self
            .catalog
            .relations
            .iter()
            .filter(|d| !d.dropped && d.name == relation.name && d.namespace == relation.namespace);
        let mut span = drafts.filter_map(|d| match &d.kind {
            crate::catalog::DraftKind::Table(t) => {
                t.foreign_keys.iter().find(|k| *k.name == *name).map(|k| k.span.clone())
            }
            crate::catalog::DraftKind::View(_) => None,
        });
        span.next().unwrap_or_else(|| relation.span.clone())
    }
}
