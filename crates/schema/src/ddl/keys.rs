//! Puts the constraints of a statement into the table, in the order in which Postgres does: checks, the primary key, unique
//! constraints, foreign keys. The names that it makes up depend on that order.

use super::Reader;
use super::constraint::Pending;
use crate::Problem;
use crate::catalog::{DraftCheck, DraftUnique};
use crate::names::Name;
use mainstay_model::Span;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Reader {
    /// Applies what was collected: checks, then the primary key, then unique constraints, then foreign keys.
    pub(super) fn apply_constraints(&mut self, table: usize, pending: Vec<Pending>) {
        let (namespace, relation) = self.name_of(table);
        let mut keys = Vec::new();
        let mut uniques = Vec::new();
        let mut foreign = Vec::new();
        for constraint in pending {
            match constraint {
                Pending::Check { name, expr } => {
                    let columns = self.only_column(table, expr.node.syntax());
                    let name =
                        self.constraint_name(name, &namespace, &relation, columns.as_deref().unwrap_or(""), "check");
                    if let Some(draft) = self.catalog.table_mut(table) {
                        draft.checks.push(DraftCheck { name, expr });
                    }
                }
                Pending::Primary { name, columns, span } => keys.push((name, columns, span)),
                Pending::Unique {
                    name,
                    columns,
                    nulls_not_distinct,
                    span,
                } => uniques.push((name, columns, nulls_not_distinct, span)),
                Pending::Foreign(name, key) => foreign.push((name, key)),
            }
        }
        for (name, columns, span) in keys {
            self.primary_key(table, name, columns, span);
        }
        for (name, columns, nulls_not_distinct, span) in uniques {
            let names = self.column_names(table, &columns);
            let same = |u: &DraftUnique| u.columns == columns;
            // Postgres drops a second constraint that says the same, unless it has a name of its own.
            if name.is_none()
                && self
                    .catalog
                    .table(table)
                    .is_some_and(|t| t.uniques.iter().any(same) || t.primary_key.iter().any(same))
            {
                continue;
            }
            let Some(name) = self.index_constraint_name(name, &namespace, &relation, &names, "key", span) else {
                continue;
            };
            if let Some(draft) = self.catalog.table_mut(table) {
                draft.uniques.push(DraftUnique {
                    name,
                    columns,
                    nulls_not_distinct,
                });
            }
        }
        for (name, mut key) in foreign {
            let names = self.column_names(table, &key.columns);
            key.name = self.constraint_name(name, &namespace, &relation, &names, "fkey");
            if let Some(draft) = self.catalog.table_mut(table) {
                draft.foreign_keys.push(key);
            }
        }
    }

    fn primary_key(&mut self, table: usize, name: Option<Arc<str>>, columns: Vec<usize>, span: Span) {
        let (namespace, relation) = self.name_of(table);
        if self.catalog.table(table).is_some_and(|t| t.primary_key.is_some()) {
            let problem = Problem::error(span, format!("`{relation}` has two primary keys"));
            return self.problem(problem.help("keep one, and make the other UNIQUE NOT NULL"));
        }
        let Some(name) = self.index_constraint_name(name, &namespace, &relation, "", "pkey", span) else {
            return;
        };
        let Some(draft) = self.catalog.table_mut(table) else {
            return;
        };
        for &column in &columns {
            draft.columns[column].not_null = true;
        }
        draft.primary_key = Some(DraftUnique {
            name,
            columns,
            nulls_not_distinct: false,
        });
    }

    fn constraint_name(
        &mut self,
        given: Option<Arc<str>>,
        namespace: &Arc<str>,
        table: &str,
        columns: &str,
        label: &str,
    ) -> Arc<str> {
        match given {
            Some(name) => {
                self.catalog.take_constraint_name(namespace, &name);
                name
            }
            None => self.catalog.generate_constraint_name(namespace, table, columns, label),
        }
    }

    /// The name of a constraint that is an index as well; `None` with a problem if it is taken.
    fn index_constraint_name(
        &mut self,
        given: Option<Arc<str>>,
        namespace: &Arc<str>,
        table: &str,
        columns: &str,
        label: &str,
        span: Span,
    ) -> Option<Arc<str>> {
        let name = match given {
            None => self.catalog.generate_relation_name(namespace, table, columns, label),
            Some(name) => {
                if !self.catalog.take_relation_name(namespace, &name) {
                    let problem = Problem::error(span, format!("the name `{name}` is taken already"));
                    self.problem(
                        problem.help("tables, indexes, sequences and keys of a schema share one space of names"),
                    );
                    return None;
                }
                name
            }
        };
        self.catalog.take_constraint_name(namespace, &name);
        Some(name)
    }

    pub(super) fn column_names(&self, table: usize, columns: &[usize]) -> String {
        let Some(draft) = self.catalog.table(table) else {
            return String::new();
        };
        columns
            .iter()
            .filter_map(|&c| draft.columns.get(c))
            .map(|c| &*c.name)
            .collect::<Vec<_>>()
            .join("_")
    }

    /// The column that an expression is about, if it is about one: a check is named after it.
    fn only_column(&self, table: usize, expr: &SyntaxNode) -> Option<String> {
        let draft = self.catalog.table(table)?;
        let mut found: Option<usize> = None;
        for name in expr.descendants().filter_map(ast::NameRef::cast) {
            let is_function = name.syntax().parent().is_some_and(|parent| {
                ast::CallExpr::cast(parent)
                    .and_then(|c| c.expr())
                    .is_some_and(|callee| callee.syntax() == name.syntax())
            });
            let Some(column) = draft.column(&name.text()).filter(|_| !is_function) else {
                continue;
            };
            match found {
                Some(other) if other != column => return None,
                _ => found = Some(column),
            }
        }
        Some(draft.columns[found?].name.to_string())
    }

    /// `ADD CONSTRAINT … USING INDEX`: a unique index becomes a constraint.
    pub(super) fn constraint_using_index(
        &mut self,
        table: usize,
        name: Option<Arc<str>>,
        using: &ast::UsingIndexName,
        primary: bool,
    ) {
        let Some(written) = using.index_ref().and_then(|i| Name::of(&i)) else {
            return;
        };
        let (namespace, _) = self.name_of(table);
        let draft = self.catalog.table(table);
        let position = draft.and_then(|t| t.indexes.iter().position(|i| i.name == written.name));
        let Some(position) = position else {
            return self.error(
                using.syntax(),
                format!("there is no index `{written}` on this table"),
                "create it before",
            );
        };
        let Some(draft) = self.catalog.table_mut(table) else {
            return;
        };
        let columns: Option<Vec<usize>> = draft.indexes[position].keys.iter().map(|k| k.column).collect();
        let usable = draft.indexes[position].unique && draft.indexes[position].filter.is_none();
        let Some(columns) = columns.filter(|_| usable) else {
            return self.error(
                using.syntax(),
                format!("`{written}` cannot carry a constraint"),
                "it takes a UNIQUE index on plain columns without WHERE",
            );
        };
        let index = draft.indexes.remove(position);
        self.catalog.free_relation_name(&namespace, &index.name);
        let name = name.unwrap_or(index.name);
        if primary {
            let span = self.span(using.syntax());
            self.primary_key(table, Some(name), columns, span);
        } else {
            self.catalog.take_relation_name(&namespace, &name);
            self.catalog.take_constraint_name(&namespace, &name);
            if let Some(draft) = self.catalog.table_mut(table) {
                draft.uniques.push(DraftUnique {
                    name,
                    columns,
                    nulls_not_distinct: index.nulls_not_distinct,
                });
            }
        }
    }
}
