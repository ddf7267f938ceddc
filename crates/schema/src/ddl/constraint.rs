//! Constraints, of columns and of tables: collected while the columns are read, then applied in the order in which Postgres does,
//! because the names that it makes up depend on that order.

use super::Reader;
use crate::catalog::{DraftCheck, DraftForeignKey, DraftUnique, Written};
use crate::names::{Name, text};
use mainstay_model::{IdentityColumn, ReferentialAction, Span};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// A constraint that waits for all columns of its statement.
pub(super) enum Pending {
    Check { name: Option<Arc<str>>, expr: Written<ast::Expr> },
    Primary { name: Option<Arc<str>>, columns: Vec<usize>, span: Span },
    Unique { name: Option<Arc<str>>, columns: Vec<usize>, nulls_not_distinct: bool, span: Span },
    Foreign(Option<Arc<str>>, DraftForeignKey),
}

impl Reader {
    /// Reads a constraint: of `column`, or of the table.
    pub(super) fn constraint(&mut self, table: usize, column: Option<usize>, constraint: &ast::Constraint, pending: &mut Vec<Pending>) {
        let name = constraint.constraint_name().map(|n| text(&n));
        let options: Vec<ast::ConstraintOption> = constraint.constraint_options().collect();
        let not_enforced = options.iter().any(|o| matches!(o, ast::ConstraintOption::NotEnforced(_)));
        let deferrable = options.iter().any(|o| {
            matches!(o, ast::ConstraintOption::DeferrableConstraintOption(_) | ast::ConstraintOption::InitiallyDeferredConstraintOption(_))
        });
        let deferred = options.iter().any(|o| matches!(o, ast::ConstraintOption::InitiallyDeferredConstraintOption(_)));
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
                    self.identity(table, column, identity.generated_when(), identity.sequence_option_list());
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
                pending.push(Pending::Check { name, expr: self.written(expr) });
            }
            ast::Constraint::PrimaryKeyConstraint(key) => {
                self.warn_of_deferred_key(at, deferrable);
                if let Some(index) = key.using_index() {
                    return self.constraint_using_index(table, name, &index, true);
                }
                let list = key.index_parameters().and_then(|p| p.column_list());
                if let Some(columns) = self.key_columns(table, column, list) {
                    pending.push(Pending::Primary { name, columns, span: self.span(at) });
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
                    pending.push(Pending::Unique { name, columns, nulls_not_distinct, span: self.span(at) });
                }
            }
            ast::Constraint::ReferencesConstraint(references) => {
                let (Some(target), Some(column)) = (references.table(), column) else { return };
                let target_columns = references.column().map(|c| vec![(text(&c), self.span(c.syntax()))]);
                self.match_type(references.match_type(), 1);
                let actions = references.referential_actions().collect();
                self.foreign_key(at, name, vec![column], &target, target_columns, actions, deferred, not_enforced, pending);
            }
            ast::Constraint::ForeignKeyConstraint(foreign) => {
                let (Some(list), Some(target)) = (foreign.from_columns(), foreign.table_name_ref()) else { return };
                if let Some(period) = list.period_column() {
                    return self.error(period.syntax(), "PERIOD is not supported", "reference the plain columns");
                }
                let Some(columns) = self.columns(table, list.column_name_refs()) else { return };
                let target_columns = foreign
                    .to_columns()
                    .map(|list| list.column_name_refs().map(|c| (text(&c), self.span(c.syntax()))).collect::<Vec<_>>());
                self.match_type(foreign.match_type(), columns.len());
                let actions = foreign.referential_actions().collect();
                self.foreign_key(at, name, columns, &target, target_columns, actions, deferred, not_enforced, pending);
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
            self.warning(at, "a deferrable key is checked row by row here", "do not rely on keys that clash for a moment");
        }
    }

    fn match_type(&mut self, written: Option<ast::MatchType>, columns: usize) {
        match written {
            Some(ast::MatchType::MatchFull(full)) if columns > 1 => {
                self.error(full.syntax(), "MATCH FULL is not supported", "add a CHECK that all of the columns are NULL, or none");
            }
            Some(ast::MatchType::MatchPartial(partial)) => {
                self.error(partial.syntax(), "MATCH PARTIAL is not supported", "leave it out: Postgres does not know it either");
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
        let Some(name) = self.catalog.table(table).and_then(|t| t.columns.get(column)).map(|c| c.name.clone()) else { return };
        let sequence = self.column_sequence(table, &name, options);
        self.change_column(table, Some(column), |c| {
            c.identity = Some((how, sequence));
            c.not_null = true;
        });
    }

    pub(super) fn change_column(&mut self, table: usize, column: Option<usize>, change: impl FnOnce(&mut crate::catalog::DraftColumn)) {
        let Some(column) = column else { return };
        if let Some(column) = self.catalog.table_mut(table).and_then(|t| t.columns.get_mut(column)) {
            change(column);
        }
    }

    fn key_columns(&mut self, table: usize, column: Option<usize>, list: Option<ast::ConstraintColumnRefList>) -> Option<Vec<usize>> {
        let Some(list) = list else { return column.map(|c| vec![c]) };
        if let Some(overlaps) = list.without_overlaps() {
            self.error(overlaps.syntax(), "WITHOUT OVERLAPS needs Postgres' own indexes", "check in a function");
            return None;
        }
        let columns = self.columns(table, list.column_name_refs())?;
        for (i, column) in columns.iter().enumerate() {
            if columns[..i].contains(column) {
                self.error(list.syntax(), "a column appears twice in a key", "name each column once");
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
                ast::ReferentialAction::OnDeleteAction(action) => on_delete = self.action(action.ref_action(), columns.len()),
                ast::ReferentialAction::OnUpdateAction(action) => on_update = self.action(action.ref_action(), columns.len()),
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
            self.error(list.syntax(), "SET NULL and SET DEFAULT of some of the columns are not supported", "name no columns, which means all");
        }
        match action {
            None | Some(ast::RefAction::NoAction(_)) => ReferentialAction::NoAction,
            Some(ast::RefAction::Restrict(_)) => ReferentialAction::Restrict,
            Some(ast::RefAction::Cascade(_)) => ReferentialAction::Cascade,
            Some(ast::RefAction::SetNullColumns(_)) => ReferentialAction::SetNull,
            Some(ast::RefAction::SetDefaultColumns(_)) => ReferentialAction::SetDefault,
        }
    }

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
                    let name = self.constraint_name(name, &namespace, &relation, columns.as_deref().unwrap_or(""), "check");
                    if let Some(draft) = self.catalog.table_mut(table) {
                        draft.checks.push(DraftCheck { name, expr });
                    }
                }
                Pending::Primary { name, columns, span } => keys.push((name, columns, span)),
                Pending::Unique { name, columns, nulls_not_distinct, span } => uniques.push((name, columns, nulls_not_distinct, span)),
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
            if name.is_none() && self.catalog.table(table).is_some_and(|t| t.uniques.iter().any(same) || t.primary_key.iter().any(same)) {
                continue;
            }
            let Some(name) = self.index_constraint_name(name, &namespace, &relation, &names, "key", span) else { continue };
            if let Some(draft) = self.catalog.table_mut(table) {
                draft.uniques.push(DraftUnique { name, columns, nulls_not_distinct });
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
            let problem = crate::Problem::error(span, format!("`{relation}` has two primary keys"));
            return self.problem(problem.help("keep one, and make the other UNIQUE NOT NULL"));
        }
        let Some(name) = self.index_constraint_name(name, &namespace, &relation, "", "pkey", span) else { return };
        let Some(draft) = self.catalog.table_mut(table) else { return };
        for &column in &columns {
            draft.columns[column].not_null = true;
        }
        draft.primary_key = Some(DraftUnique { name, columns, nulls_not_distinct: false });
    }

    fn constraint_name(&mut self, given: Option<Arc<str>>, namespace: &Arc<str>, table: &str, columns: &str, label: &str) -> Arc<str> {
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
                    let problem = crate::Problem::error(span, format!("the name `{name}` is taken already"));
                    self.problem(problem.help("tables, indexes, sequences and keys of a schema share one space of names"));
                    return None;
                }
                name
            }
        };
        self.catalog.take_constraint_name(namespace, &name);
        Some(name)
    }

    pub(super) fn column_names(&self, table: usize, columns: &[usize]) -> String {
        let Some(draft) = self.catalog.table(table) else { return String::new() };
        columns.iter().filter_map(|&c| draft.columns.get(c)).map(|c| &*c.name).collect::<Vec<_>>().join("_")
    }

    /// The column that an expression is about, if it is about one: a check is named after it.
    fn only_column(&self, table: usize, expr: &SyntaxNode) -> Option<String> {
        let draft = self.catalog.table(table)?;
        let mut found: Option<usize> = None;
        for name in expr.descendants().filter_map(ast::NameRef::cast) {
            let is_function = name.syntax().parent().is_some_and(|parent| {
                ast::CallExpr::cast(parent).and_then(|c| c.expr()).is_some_and(|callee| callee.syntax() == name.syntax())
            });
            let Some(column) = draft.column(&name.text()).filter(|_| !is_function) else { continue };
            match found {
                Some(other) if other != column => return None,
                _ => found = Some(column),
            }
        }
        Some(draft.columns[found?].name.to_string())
    }

    /// `ADD CONSTRAINT … USING INDEX`: a unique index becomes a constraint.
    fn constraint_using_index(&mut self, table: usize, name: Option<Arc<str>>, using: &ast::UsingIndexName, primary: bool) {
        let Some(written) = using.index_ref().and_then(|i| Name::of(&i)) else { return };
        let (namespace, _) = self.name_of(table);
        let draft = self.catalog.table(table);
        let position = draft.and_then(|t| t.indexes.iter().position(|i| i.name == written.name));
        let Some(position) = position else {
            return self.error(using.syntax(), format!("there is no index `{written}` on this table"), "create it before");
        };
        let Some(draft) = self.catalog.table_mut(table) else { return };
        let columns: Option<Vec<usize>> = draft.indexes[position].keys.iter().map(|k| k.column).collect();
        let usable = draft.indexes[position].unique && draft.indexes[position].filter.is_none();
        let Some(columns) = columns.filter(|_| usable) else {
            return self.error(using.syntax(), format!("`{written}` cannot carry a constraint"), "it takes a UNIQUE index on plain columns without WHERE");
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
                draft.uniques.push(DraftUnique { name, columns, nulls_not_distinct: index.nulls_not_distinct });
            }
        }
    }
}
