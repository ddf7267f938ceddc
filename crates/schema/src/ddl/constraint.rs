//! Constraints, of columns and of tables: collected while the columns are read, then applied in the order in which Postgres does,
//! because the names that it makes up depend on that order.

use super::Reader;
use crate::catalog::{DraftForeignKey, Written};
use crate::names::{Name, text};
use mainstay_model::{IdentityColumn, ReferentialAction, Span};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// A constraint that waits for all columns of its statement.
pub(super) enum Pending {
    Check {
        name: Option<Arc<str>>,
        expr: Written<ast::Expr>,
    },
    Primary {
        name: Option<Arc<str>>,
        columns: Vec<usize>,
        span: Span,
    },
    Unique {
        name: Option<Arc<str>>,
        columns: Vec<usize>,
        nulls_not_distinct: bool,
        span: Span,
    },
    Foreign(Option<Arc<str>>, DraftForeignKey),
}

impl Reader {
    /// Reads a constraint: of `column`, or of the table.
    pub(super) fn constraint(
        &mut self,
        table: usize,
        column: Option<usize>,
        constraint: &ast::Constraint,
        pending: &mut Vec<Pending>,
    ) {
        let name = constraint.constraint_name().map(|n| text(&n));
        let options: Vec<ast::ConstraintOption> = constraint.constraint_options().collect();
        let not_enforced = options
            .iter()
            .any(|o| matches!(o, ast::ConstraintOption::NotEnforced(_)));
        let deferrable = options.iter().any(|o| {
            matches!(
                o,
                ast::ConstraintOption::DeferrableConstraintOption(_)
                    | ast::ConstraintOption::InitiallyDeferredConstraintOption(_)
            )
        });
        let deferred = options
            .iter()
            .any(|o| matches!(o, ast::ConstraintOption::InitiallyDeferredConstraintOption(_)));
        let at = constraint.syntax();
        match constraint {
            ast::Constraint::NotNullConstraint(not_null) => {
                let column = match not_null.column_name_ref() {
                    Some(written) => self.column(table, written.syntax()),
                    None => column,
                };
                self.change_column(table, column, |c| c.not_null = true);
            }
            ast::Constraint::NullConstraint(_) => {}
            ast::Constraint::DefaultConstraint(default) => {
                let Some(expr) = default.expr() else { return };
                let expr = self.written(expr);
                self.change_column(table, column, |c| c.default = Some(expr));
            }
            ast::Constraint::GeneratedConstraint(generated) => match generated.generated_as() {
                Some(ast::GeneratedAs::GeneratedIdentity(identity)) => {
                    self.identity(
                        table,
                        column,
                        identity.generated_when(),
                        identity.sequence_option_list(),
                    );
                }
                Some(ast::GeneratedAs::GeneratedStored(stored)) => {
                    let Some(expr) = stored.expr() else { return };
                    let expr = self.written(expr);
                    self.change_column(table, column, |c| c.generated = Some(expr));
                }
                None => {}
            },
            ast::Constraint::CheckConstraint(check) => {
                let Some(expr) = check.expr() else { return };
                if not_enforced {
                    return self.note(at, "a constraint that is NOT ENFORCED has no effect");
                }
                pending.push(Pending::Check {
                    name,
                    expr: self.written(expr),
                });
            }
            ast::Constraint::PrimaryKeyConstraint(key) => {
                self.warn_of_deferred_key(at, deferrable);
                if let Some(index) = key.using_index() {
                    return self.constraint_using_index(table, name, &index, true);
                }
                let list = key.index_parameters().and_then(|p| p.column_list());
                if let Some(columns) = self.key_columns(table, column, list) {
                    pending.push(Pending::Primary {
                        name,
                        columns,
                        span: self.span(at),
                    });
                }
            }
            ast::Constraint::UniqueConstraint(unique) => {
                self.warn_of_deferred_key(at, deferrable);
                if let Some(index) = unique.using_index() {
                    return self.constraint_using_index(table, name, &index, false);
                }
                let parameters = unique.index_parameters();
                let nulls_not_distinct = parameters
                    .as_ref()
                    .and_then(|p| p.nulls_distinct_option())
                    .is_some_and(|n| matches!(n, ast::NullsDistinctOption::NullsNotDistinct(_)));
                let list = parameters.and_then(|p| p.column_list());
                if let Some(columns) = self.key_columns(table, column, list) {
                    pending.push(Pending::Unique {
                        name,
                        columns,
                        nulls_not_distinct,
                        span: self.span(at),
                    });
                }
            }
            ast::Constraint::ReferencesConstraint(references) => {
                let (Some(target), Some(column)) = (references.table(), column) else {
                    return;
                };
                let target_columns = references.column().map(|c| vec![(text(&c), self.span(c.syntax()))]);
                self.match_type(references.match_type(), 1);
                let actions = references.referential_actions().collect();
                self.foreign_key(
                    at,
                    name,
                    vec![column],
                    &target,
                    target_columns,
                    actions,
                    deferred,
                    not_enforced,
                    pending,
                );
            }
            ast::Constraint::ForeignKeyConstraint(foreign) => {
                let (Some(list), Some(target)) = (foreign.from_columns(), foreign.table_name_ref()) else {
                    return;
                };
                if let Some(period) = list.period_column() {
                    return self.error(
                        period.syntax(),
                        "PERIOD is not supported",
                        "reference the plain columns",
                    );
                }
                let Some(columns) = self.columns(table, list.column_name_refs()) else {
                    return;
                };
                let target_columns = foreign.to_columns().map(|list| {
                    list.column_name_refs()
                        .map(|c| (text(&c), self.span(c.syntax())))
                        .collect::<Vec<_>>()
                });
                self.match_type(foreign.match_type(), columns.len());
                let actions = foreign.referential_actions().collect();
                self.foreign_key(
                    at,
                    name,
                    columns,
                    &target,
                    target_columns,
                    actions,
                    deferred,
                    not_enforced,
                    pending,
                );
            }
            ast::Constraint::ExcludeConstraint(_) => self.error(
                at,
                "an EXCLUDE constraint needs Postgres' own indexes",
                "check in a function, or take a UNIQUE constraint where equality is meant",
            ),
        }
    }

    fn warn_of_deferred_key(&mut self, at: &SyntaxNode, deferrable: bool) {
        if deferrable {
            self.warning(
                at,
                "a deferrable key is checked row by row here",
                "do not rely on keys that clash for a moment",
            );
        }
    }

    fn match_type(&mut self, written: Option<ast::MatchType>, columns: usize) {
        match written {
            Some(ast::MatchType::MatchFull(full)) if columns > 1 => {
                self.error(
                    full.syntax(),
                    "MATCH FULL is not supported",
                    "add a CHECK that all of the columns are NULL, or none",
                );
            }
            Some(ast::MatchType::MatchPartial(partial)) => {
                self.error(
                    partial.syntax(),
                    "MATCH PARTIAL is not supported",
                    "leave it out: Postgres does not know it either",
                );
            }
            _ => {}
        }
    }

    /// `GENERATED … AS IDENTITY`
    pub(super) fn identity(
        &mut self,
        table: usize,
        column: Option<usize>,
        when: Option<ast::GeneratedWhen>,
        options: Option<ast::SequenceOptionList>,
    ) {
        let Some(column) = column else { return };
        let how = match when {
            Some(ast::GeneratedWhen::GeneratedByDefault(_)) => IdentityColumn::ByDefault,
            _ => IdentityColumn::Always,
        };
        let Some(name) = self
            .catalog
            .table(table)
            .and_then(|t| t.columns.get(column))
            .map(|c| c.name.clone())
        else {
            return;
        };
        let sequence = self.column_sequence(table, &name, options);
        self.change_column(table, Some(column), |c| {
            c.identity = Some((how, sequence));
            c.not_null = true;
        });
    }

    pub(super) fn change_column(
        &mut self,
        table: usize,
        column: Option<usize>,
        change: impl FnOnce(&mut crate::catalog::DraftColumn),
    ) {
        let Some(column) = column else { return };
        if let Some(column) = self.catalog.table_mut(table).and_then(|t| t.columns.get_mut(column)) {
            change(column);
        }
    }

    fn key_columns(
        &mut self,
        table: usize,
        column: Option<usize>,
        list: Option<ast::ConstraintColumnRefList>,
    ) -> Option<Vec<usize>> {
        let Some(list) = list else {
            return column.map(|c| vec![c]);
        };
        if let Some(overlaps) = list.without_overlaps() {
            self.error(
                overlaps.syntax(),
                "WITHOUT OVERLAPS needs Postgres' own indexes",
                "check in a function",
            );
            return None;
        }
        let columns = self.columns(table, list.column_name_refs())?;
        for (i, column) in columns.iter().enumerate() {
            if columns[..i].contains(column) {
                self.error(
                    list.syntax(),
                    "a column appears twice in a key",
                    "name each column once",
                );
                return None;
            }
        }
        Some(columns)
    }

    #[allow(clippy::too_many_arguments, reason = "each is a clause of REFERENCES")]
    fn foreign_key(
        &mut self,
        at: &SyntaxNode,
        name: Option<Arc<str>>,
        columns: Vec<usize>,
        target: &ast::TableNameRef,
        target_columns: Option<Vec<(Arc<str>, Span)>>,
        actions: Vec<ast::ReferentialAction>,
        deferred: bool,
        not_enforced: bool,
        pending: &mut Vec<Pending>,
    ) {
        let Some(target_name) = Name::of(target) else { return };
        if not_enforced {
            return self.note(at, "a constraint that is NOT ENFORCED has no effect");
        }
        let mut on_delete = ReferentialAction::NoAction;
        let mut on_update = ReferentialAction::NoAction;
        for action in actions {
            match action {
                ast::ReferentialAction::OnDeleteAction(action) => {
                    on_delete = self.action(action.ref_action(), columns.len())
                }
                ast::ReferentialAction::OnUpdateAction(action) => {
                    on_update = self.action(action.ref_action(), columns.len())
                }
            }
        }
        let key = DraftForeignKey {
            name: "".into(),
            columns,
            target: self.catalog.relation(&target_name, &self.place.path),
            target_name,
            target_columns,
            on_delete,
            on_update,
            deferred,
            place: self.place.clone(),
            span: self.span(target.syntax()),
        };
        pending.push(Pending::Foreign(name, key));
    }

    fn action(&mut self, action: Option<ast::RefAction>, columns: usize) -> ReferentialAction {
        let list = match &action {
            Some(ast::RefAction::SetNullColumns(set)) => set.column_ref_list(),
            Some(ast::RefAction::SetDefaultColumns(set)) => set.column_ref_list(),
            _ => None,
        };
        if let Some(list) = list.filter(|list| list.column_name_refs().count() < columns) {
            self.error(
                list.syntax(),
                "SET NULL and SET DEFAULT of some of the columns are not supported",
                "name no columns, which means all",
            );
        }
        match action {
            None | Some(ast::RefAction::NoAction(_)) => ReferentialAction::NoAction,
            Some(ast::RefAction::Restrict(_)) => ReferentialAction::Restrict,
            Some(ast::RefAction::Cascade(_)) => ReferentialAction::Cascade,
            Some(ast::RefAction::SetNullColumns(_)) => ReferentialAction::SetNull,
            Some(ast::RefAction::SetDefaultColumns(_)) => ReferentialAction::SetDefault,
        }
    }
}
