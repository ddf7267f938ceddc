//! ALTER TABLE and ALTER VIEW.

use super::Reader;
use crate::catalog::{DraftKind, DraftType};
use crate::names::{Name, folded, text};
use crate::types;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Reader {
    pub(super) fn alter_table(&mut self, statement: &ast::AlterTable) {
        let Some(target) = statement.table_relation_name().and_then(|t| t.table_name_ref()) else {
            return;
        };
        let actions: Vec<ast::AlterTableAction> = statement.actions().collect();
        // Dumps of old versions change the owner of views and sequences by ALTER TABLE too.
        if actions.iter().all(|a| matches!(a, ast::AlterTableAction::OwnerTo(_))) {
            return;
        }
        let Some(name) = Name::of(&target) else { return };
        let relation = self.catalog.relation(&name, &self.place.path);
        if relation.is_none() && statement.if_exists().is_some() {
            return;
        }
        if let Some(view) = relation.filter(|&r| self.catalog.table(r).is_none()) {
            return self.alter_view_as_table(view, &actions);
        }
        let Some(table) = self.table(&target) else { return };
        let mut pending = Vec::new();
        for action in actions {
            self.table_action(table, &action, &mut pending);
        }
        self.apply_constraints(table, pending);
    }

    fn table_action(
        &mut self,
        table: usize,
        action: &ast::AlterTableAction,
        pending: &mut Vec<super::constraint::Pending>,
    ) {
        use ast::AlterTableAction::*;
        match action {
            AddColumn(add) => {
                let (Some(name), Some(ty)) = (add.column_name(), add.ty()) else {
                    return;
                };
                if add.if_not_exists().is_some()
                    && self
                        .catalog
                        .table(table)
                        .is_some_and(|t| t.column(&text(&name)).is_some())
                {
                    return;
                }
                if let Some(collate) = add.collate() {
                    self.collation(&collate);
                }
                let Some(column) = self.add_column(table, &name, &ty) else {
                    return;
                };
                for constraint in add.constraints() {
                    self.constraint(table, Some(column), &constraint, pending);
                }
            }
            AddConstraint(add) => {
                if let Some(constraint) = add.constraint() {
                    self.constraint(table, None, &constraint, pending);
                }
            }
            AlterColumn(alter) => {
                let (Some(column), Some(option)) = (alter.column_name_ref(), alter.option()) else {
                    return;
                };
                if let Some(column) = self.column(table, column.syntax()) {
                    self.column_option(table, column, &option);
                }
            }
            DropColumn(drop) => {
                let Some(written) = drop.column_name_ref() else { return };
                let known = self
                    .catalog
                    .table(table)
                    .is_some_and(|t| t.column(&text(&written)).is_some());
                if !known && drop.if_exists().is_some() {
                    return;
                }
                if let Some(column) = self.column(table, written.syntax()) {
                    self.drop_column(table, column);
                }
            }
            DropConstraint(drop) => {
                let Some(name) = drop.constraint_name_ref().and_then(|c| Name::of(&c)) else {
                    return;
                };
                if !self.remove_constraint(table, &name.name) && drop.if_exists().is_none() {
                    self.error(
                        drop.syntax(),
                        format!("there is no constraint `{name}` on this table"),
                        "leave the statement out",
                    );
                }
            }
            RenameConstraint(rename) => {
                let Some(name) = rename.constraint_name_ref().and_then(|c| Name::of(&c)) else {
                    return;
                };
                let Some(new) = rename.constraint_name().map(|c| text(&c)) else {
                    return;
                };
                if !self.rename_constraint(table, &name.name, &new) {
                    self.error(
                        rename.syntax(),
                        format!("there is no constraint `{name}` on this table"),
                        "leave the statement out",
                    );
                }
            }
            RenameColumn(rename) => {
                let (Some(old), Some(new)) = (rename.column_name_ref(), rename.column_name()) else {
                    return;
                };
                let (Some(column), new) = (self.column(table, old.syntax()), text(&new)) else {
                    return;
                };
                if self.catalog.table(table).is_some_and(|t| t.column(&new).is_some()) {
                    return self.error(
                        rename.syntax(),
                        format!("there is a column `{new}` already"),
                        "choose another name",
                    );
                }
                self.change_column(table, Some(column), |c| c.name = new);
            }
            TableRenameTo(rename) => {
                let Some(new) = rename.table_name().and_then(|n| Name::of(&n)) else {
                    return;
                };
                self.rename_relation(table, new.name, rename.syntax());
            }
            SetSchema(set) => {
                let Some(schema) = set.schema_ref() else { return };
                self.move_relation(table, text(&schema), set.syntax());
            }
            AttachPartition(attach) => {
                let Some(part) = attach.table_name_ref() else { return };
                if let Some(index) = self.table(&part) {
                    self.attach(table, index, part.syntax());
                }
            }
            EnableRls(_) => self.change_table(table, |t| t.row_security = true),
            DisableRls(_) => self.change_table(table, |t| t.row_security = false),
            ForceRls(force) => self.note(
                force.syntax(),
                "FORCE has no effect here: whoever asks is never the owner",
            ),
            InheritTable(other) => self.error(
                other.syntax(),
                "table inheritance is not supported",
                "write the columns out",
            ),
            OfType(other) => self.error(
                other.syntax(),
                "a table OF a type is not supported",
                "write its columns out",
            ),
            EnableTrigger(other) => self.unserved(other.syntax()),
            EnableAlwaysTrigger(other) => self.unserved(other.syntax()),
            EnableReplicaTrigger(other) => self.unserved(other.syntax()),
            AlterConstraint(other) => self.error(
                other.syntax(),
                "ALTER CONSTRAINT is not supported",
                "change the constraint where it is declared",
            ),
            DetachPartition(other) => self.error(
                other.syntax(),
                "DETACH PARTITION is not supported",
                "leave the partition out",
            ),
            MergePartitions(other) => self.error(
                other.syntax(),
                "MERGE PARTITIONS is not supported",
                "declare the partitions as they shall be",
            ),
            SplitPartition(other) => self.error(
                other.syntax(),
                "SPLIT PARTITION is not supported",
                "declare the partitions as they shall be",
            ),
            // Storage, statistics, ownership, replication: nothing that a reader or writer of rows could see.
            _ => {}
        }
    }

    fn change_table(&mut self, table: usize, change: impl FnOnce(&mut crate::catalog::DraftTable)) {
        if let Some(draft) = self.catalog.table_mut(table) {
            change(draft);
        }
    }

    fn column_option(&mut self, table: usize, column: usize, option: &ast::AlterColumnOption) {
        use ast::AlterColumnOption::*;
        match option {
            SetDefault(set) => {
                let Some(expr) = set.expr() else { return };
                let expr = self.written(expr);
                self.change_column(table, Some(column), |c| c.default = Some(expr));
            }
            DropDefault(_) => self.change_column(table, Some(column), |c| c.default = None),
            SetNotNull(_) => self.change_column(table, Some(column), |c| c.not_null = true),
            DropNotNull(_) => self.change_column(table, Some(column), |c| c.not_null = false),
            AddGenerated(add) => self.identity(table, Some(column), add.generated_when(), add.sequence_option_list()),
            SetGenerated(set) => self.set_generated(table, column, set),
            SetGeneratedOptions(list) => {
                for option in list.set_generated_options() {
                    match option {
                        ast::SetGeneratedOption::SetGenerated(set) => self.set_generated(table, column, &set),
                        ast::SetGeneratedOption::Restart(restart) => self.restart_identity(table, column, &restart),
                        ast::SetGeneratedOption::SetSequenceOption(set) => self.change_identity(table, column, &set),
                    }
                }
            }
            DropIdentity(_) => self.change_column(table, Some(column), |c| c.identity = None),
            Restart(restart) => self.restart_identity(table, column, restart),
            SetSequenceOption(set) => self.change_identity(table, column, set),
            SetType(set) => {
                let Some(ty) = set.ty() else { return };
                if let Some(collate) = set.collate() {
                    self.collation(&collate);
                }
                if let Some(serial) = types::serial(&ty) {
                    return self.error(
                        ty.syntax(),
                        format!("a column cannot be changed to a serial; its type would be {serial}"),
                        "use ADD GENERATED BY DEFAULT AS IDENTITY",
                    );
                }
                let ty = self.written(ty);
                self.change_column(table, Some(column), |c| c.ty = DraftType::Written(ty));
            }
            SetExpression(set) => {
                let Some(expr) = set.expr() else { return };
                let expr = self.written(expr);
                self.change_column(table, Some(column), |c| c.generated = Some(expr));
            }
            DropExpression(_) => self.change_column(table, Some(column), |c| c.generated = None),
            // Storage, compression, statistics.
            _ => {}
        }
    }

    fn drop_column(&mut self, table: usize, column: usize) {
        let used_elsewhere = self.catalog.relations.iter().any(|r| match &r.kind {
            DraftKind::Table(t) => {
                !r.dropped
                    && t.foreign_keys
                        .iter()
                        .any(|k| k.target == Some(table) && k.target_columns.is_none())
            }
            DraftKind::View(_) => false,
        });
        let Some(draft) = self.catalog.table_mut(table) else {
            return;
        };
        draft.columns[column].dropped = true;
        let has = |columns: &[usize]| columns.contains(&column);
        let lost_key = draft.primary_key.as_ref().is_some_and(|k| has(&k.columns));
        if lost_key {
            draft.primary_key = None;
        }
        draft.uniques.retain(|u| !has(&u.columns));
        draft.foreign_keys.retain(|k| !has(&k.columns));
        draft
            .indexes
            .retain(|i| !i.keys.iter().any(|k| k.column == Some(column)));
        let name = draft.columns[column].name.clone();
        draft.checks.retain(|c| !mentions(c.expr.node.syntax(), &name));
        if lost_key && used_elsewhere {
            let span = draft.columns[column].span.clone();
            let problem = crate::Problem::error(span, format!("`{name}` is dropped, but a foreign key refers to it"));
            self.problem(problem.help("drop the foreign key first"));
        }
    }

    /// Removes a constraint by name; false if there is none.
    fn remove_constraint(&mut self, table: usize, name: &Arc<str>) -> bool {
        let (namespace, _) = self.name_of(table);
        let Some(draft) = self.catalog.table_mut(table) else {
            return false;
        };
        let count = |t: &crate::catalog::DraftTable| {
            t.checks.len() + t.uniques.len() + t.foreign_keys.len() + usize::from(t.primary_key.is_some())
        };
        let before = count(draft);
        draft.checks.retain(|c| c.name != *name);
        draft.uniques.retain(|c| c.name != *name);
        draft.foreign_keys.retain(|c| c.name != *name);
        if draft.primary_key.as_ref().is_some_and(|k| k.name == *name) {
            draft.primary_key = None;
        }
        let removed = count(draft) < before;
        if removed {
            self.catalog.free_constraint_name(&namespace, name);
            self.catalog.free_relation_name(&namespace, name);
        }
        removed
    }

    fn rename_constraint(&mut self, table: usize, name: &Arc<str>, new: &Arc<str>) -> bool {
        let (namespace, _) = self.name_of(table);
        let Some(draft) = self.catalog.table_mut(table) else {
            return false;
        };
        let mut found = false;
        let names = draft
            .checks
            .iter_mut()
            .map(|c| &mut c.name)
            .chain(draft.uniques.iter_mut().map(|c| &mut c.name));
        let names = names
            .chain(draft.foreign_keys.iter_mut().map(|c| &mut c.name))
            .chain(draft.primary_key.iter_mut().map(|c| &mut c.name));
        for current in names {
            if current == name {
                *current = new.clone();
                found = true;
            }
        }
        if found {
            self.catalog.take_constraint_name(&namespace, new);
        }
        found
    }

    fn rename_relation(&mut self, relation: usize, new: Arc<str>, at: &SyntaxNode) {
        let (namespace, old) = self.name_of(relation);
        if !self.catalog.take_relation_name(&namespace, &new) {
            return self.error(at, format!("the name `{new}` is taken already"), "choose another name");
        }
        self.catalog.free_relation_name(&namespace, &old);
        self.catalog.relations[relation].name = new;
    }

    fn move_relation(&mut self, relation: usize, namespace: Arc<str>, at: &SyntaxNode) {
        let name = Name {
            namespace: Some(namespace),
            name: self.catalog.relations[relation].name.clone(),
        };
        let namespace = self.creation_namespace(&name, at);
        if !self.catalog.take_relation_name(&namespace, &name.name) {
            return self.error(at, format!("the name `{name}` is taken already"), "choose another name");
        }
        let (old, _) = self.name_of(relation);
        self.catalog.free_relation_name(&old, &name.name);
        self.catalog.relations[relation].namespace = namespace;
    }

    pub(super) fn alter_view(&mut self, statement: &ast::AlterView) {
        let Some(written) = statement.view_ref() else { return };
        let Some(name) = Name::of(&written) else { return };
        if statement.if_exists().is_some() && self.catalog.relation(&name, &self.place.path).is_none() {
            return;
        }
        let (Some(view), Some(action)) = (self.relation(&written), statement.action()) else {
            return;
        };
        match action {
            ast::AlterViewAction::OwnerTo(_) | ast::AlterViewAction::ResetOptions(_) => {}
            ast::AlterViewAction::SetOptions(options) => {
                let options = options.attribute_list();
                let option = |name| super::view::option(options.as_ref(), name);
                if let DraftKind::View(draft) = &mut self.catalog.relations[view].kind {
                    draft.security_invoker = option("security_invoker").unwrap_or(draft.security_invoker);
                    draft.security_barrier = option("security_barrier").unwrap_or(draft.security_barrier);
                }
            }
            ast::AlterViewAction::RenameColumn(rename) => {
                if let (Some(old), Some(new)) = (rename.column_name_ref(), rename.column_name())
                    && let DraftKind::View(draft) = &mut self.catalog.relations[view].kind
                {
                    draft.renames.push((text(&old), text(&new)));
                }
            }
            ast::AlterViewAction::ViewRenameTo(rename) => {
                if let Some(new) = rename.view().and_then(|v| Name::of(&v)) {
                    self.rename_relation(view, new.name, rename.syntax());
                }
            }
            ast::AlterViewAction::SetSchema(set) => {
                if let Some(schema) = set.schema_ref() {
                    self.move_relation(view, text(&schema), set.syntax());
                }
            }
            ast::AlterViewAction::AlterViewColumn(column) => {
                self.error(
                    column.syntax(),
                    "a view's column has no default of its own here",
                    "give the table's column the default",
                );
            }
        }
    }

    fn alter_view_as_table(&mut self, view: usize, actions: &[ast::AlterTableAction]) {
        for action in actions {
            match action {
                ast::AlterTableAction::OwnerTo(_) => {}
                ast::AlterTableAction::TableRenameTo(rename) => {
                    if let Some(new) = rename.table_name().and_then(|n| Name::of(&n)) {
                        self.rename_relation(view, new.name, rename.syntax());
                    }
                }
                ast::AlterTableAction::SetSchema(set) => {
                    if let Some(schema) = set.schema_ref() {
                        self.move_relation(view, text(&schema), set.syntax());
                    }
                }
                other => self.error(
                    other.syntax(),
                    "this is not for views",
                    "use it on the table that the view shows",
                ),
            }
        }
    }
}

fn mentions(expr: &SyntaxNode, column: &str) -> bool {
    expr.descendants()
        .filter_map(ast::NameRef::cast)
        .any(|name| *folded(name.syntax()) == *column)
}
