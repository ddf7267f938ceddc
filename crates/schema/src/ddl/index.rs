//! CREATE INDEX.

use super::Reader;
use crate::catalog::{DraftIndex, DraftKey, DraftKind};
use crate::names::Name;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Reader {
    pub(super) fn create_index(&mut self, statement: &ast::CreateIndex) {
        let Some(target) = statement.table_relation_name().and_then(|t| t.table_name_ref()) else {
            return;
        };
        let Some(relation) = self.relation(&target) else { return };
        if let DraftKind::View(view) = &mut self.catalog.relations[relation].kind {
            if !view.materialized {
                self.error(
                    target.syntax(),
                    "a view has no indexes",
                    "create the index on its tables",
                );
            }
            return;
        }
        let mut keys = Vec::new();
        for item in statement
            .partition_item_list()
            .into_iter()
            .flat_map(|list| list.partition_items())
        {
            let Some(expr) = item.expr() else { continue };
            let descending = matches!(item.sort_order(), Some(ast::SortOrder::SortDesc(_)));
            let nulls_first = match item.nulls_order() {
                Some(ast::NullsOrder::NullsFirst(_)) => true,
                Some(ast::NullsOrder::NullsLast(_)) => false,
                None => descending,
            };
            let column = match plain_column(&expr) {
                Some(name) => match self.column(relation, name.syntax()) {
                    Some(column) => Some(column),
                    None => return,
                },
                None => None,
            };
            keys.push(DraftKey {
                expr,
                column,
                descending,
                nulls_first,
            });
        }
        if keys.is_empty() {
            return;
        }
        let (namespace, table) = self.name_of(relation);
        let given = statement.index().and_then(|i| Name::of(&i)).map(|n| n.name);
        let name = match given {
            Some(name) => {
                if !self.catalog.take_relation_name(&namespace, &name) {
                    if statement.if_not_exists().is_none() {
                        self.error(&at_of(statement), format!("the name `{name}` is taken already"), "tables, indexes, sequences and keys of a schema share one space of names: rename one of them");
                    }
                    return;
                }
                name
            }
            None => {
                let columns = self.key_names(relation, &keys);
                self.catalog.generate_relation_name(&namespace, &table, &columns, "idx")
            }
        };
        let method = statement
            .using_method()
            .and_then(|u| u.access_method_ref())
            .map_or_else(|| "btree".into(), |m| crate::names::text(&m));
        let nulls_not_distinct = matches!(
            statement.nulls_distinct_option(),
            Some(ast::NullsDistinctOption::NullsNotDistinct(_))
        );
        let index = DraftIndex {
            name,
            unique: statement.unique_token().is_some(),
            nulls_not_distinct,
            keys,
            filter: statement.where_clause().and_then(|w| w.expr()),
            method,
            place: self.place.clone(),
        };
        if index.unique && index.nulls_not_distinct {
            self.error(
                &at_of(statement),
                "NULLS NOT DISTINCT is for constraints here",
                "write UNIQUE NULLS NOT DISTINCT (…) in the table",
            );
            return;
        }
        if let Some(draft) = self.catalog.table_mut(relation) {
            draft.indexes.push(index);
        }
    }

    /// What the keys of an unnamed index add to its name.
    pub(super) fn key_names(&self, table: usize, keys: &[DraftKey]) -> String {
        let mut names: Vec<String> = Vec::new();
        for key in keys {
            let name = self.key_name(table, key);
            let numbered = (1..).map(|n| format!("{name}{n}"));
            let free = std::iter::once(name.to_string())
                .chain(numbered)
                .find(|n| !names.contains(n));
            names.extend(free);
        }
        names.join("_")
    }

    /// What a key adds to the name of an unnamed index.
    fn key_name(&self, table: usize, key: &DraftKey) -> Arc<str> {
        if let Some(column) = key
            .column
            .and_then(|c| self.catalog.table(table).map(|t| t.columns[c].name.clone()))
        {
            return column;
        }
        name_of_expr(&key.expr).unwrap_or_else(|| "expr".into())
    }
}

/// The name that Postgres gives to the value of an expression, where it has one.
fn name_of_expr(expr: &ast::Expr) -> Option<Arc<str>> {
    match expr {
        ast::Expr::NameRef(name) => Some(crate::names::text(name)),
        ast::Expr::FieldExpr(field) => Some(crate::names::text(&field.field()?)),
        ast::Expr::ParenExpr(paren) => name_of_expr(&paren.expr()?),
        ast::Expr::CastExpr(cast) => match cast.expr().and_then(|inner| name_of_expr(&inner)) {
            Some(name) => Some(name),
            None => Name::of(&cast.ty()?).map(|n| n.name),
        },
        ast::Expr::CallExpr(call) => {
            let callee = call.expr().map(|e| e.syntax().text().to_string())?;
            Some(Name::parse(callee.rsplit('.').next()?).name)
        }
        _ => None,
    }
}

fn at_of(statement: &ast::CreateIndex) -> SyntaxNode {
    statement
        .index()
        .map_or_else(|| statement.syntax().clone(), |i| i.syntax().clone())
}

/// The column that a key is, if it is nothing more.
fn plain_column(expr: &ast::Expr) -> Option<ast::NameRef> {
    match expr {
        ast::Expr::NameRef(name) => Some(name.clone()),
        ast::Expr::ParenExpr(paren) => plain_column(&paren.expr()?),
        _ => None,
    }
}
