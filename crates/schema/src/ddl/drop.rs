//! DROP: dumps begin with it, and a file may take back what it said.

use super::Reader;
use super::function::signature_of;
use crate::catalog::DraftKind;
use crate::names::{Name, text};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Reader {
    pub(super) fn drop_table(&mut self, statement: &ast::DropTable) {
        for written in statement.table_name_refs() {
            self.drop_relation(&written, statement.if_exists().is_some(), statement.drop_behavior());
        }
    }

    pub(super) fn drop_view(&mut self, statement: &ast::DropView) {
        for written in statement.view_refs() {
            self.drop_relation(&written, statement.if_exists().is_some(), statement.drop_behavior());
        }
    }

    pub(super) fn drop_materialized_view(&mut self, statement: &ast::DropMaterializedView) {
        for written in statement.view_refs() {
            self.drop_relation(&written, statement.if_exists().is_some(), statement.drop_behavior());
        }
    }

    fn drop_relation(&mut self, written: &impl AstNode, if_exists: bool, behavior: Option<ast::DropBehavior>) {
        let Some(name) = Name::of(written) else { return };
        if if_exists && self.catalog.relation(&name, &self.place.path).is_none() {
            return;
        }
        let Some(relation) = self.relation(written) else { return };
        let cascade = matches!(behavior, Some(ast::DropBehavior::Cascade(_)));
        let is_reference = |key: &crate::catalog::DraftForeignKey| key.target == Some(relation);
        let mut referenced = false;
        for (index, other) in self.catalog.relations.iter_mut().enumerate() {
            let DraftKind::Table(table) = &mut other.kind else {
                continue;
            };
            if index == relation || other.dropped {
                continue;
            }
            referenced |= table.foreign_keys.iter().any(is_reference);
            if cascade {
                table.foreign_keys.retain(|key| !is_reference(key));
            }
        }
        if referenced && !cascade {
            return self.error(
                written.syntax(),
                format!("`{name}` cannot be dropped: foreign keys refer to it"),
                "drop those first, or add CASCADE",
            );
        }
        self.remove_relation(relation);
    }

    fn remove_relation(&mut self, relation: usize) {
        let (namespace, name) = self.name_of(relation);
        let draft = &mut self.catalog.relations[relation];
        draft.dropped = true;
        let mut relation_names = vec![name];
        let mut constraint_names: Vec<Arc<str>> = Vec::new();
        let mut sequences = Vec::new();
        if let DraftKind::Table(table) = &draft.kind {
            relation_names.extend(table.indexes.iter().map(|i| i.name.clone()));
            for key in table.uniques.iter().chain(&table.primary_key) {
                relation_names.push(key.name.clone());
                constraint_names.push(key.name.clone());
            }
            constraint_names.extend(table.checks.iter().map(|c| c.name.clone()));
            constraint_names.extend(table.foreign_keys.iter().map(|k| k.name.clone()));
            sequences.extend(table.columns.iter().filter_map(|c| c.identity).map(|(_, s)| s));
        }
        for sequence in sequences {
            self.catalog.sequences[sequence].dropped = true;
            relation_names.push(self.catalog.sequences[sequence].name.clone());
        }
        for name in relation_names {
            self.catalog.free_relation_name(&namespace, &name);
        }
        for name in constraint_names {
            self.catalog.free_constraint_name(&namespace, &name);
        }
        self.catalog.seeds.retain(|s| s.relation != relation);
    }

    pub(super) fn drop_function(&mut self, statement: &ast::DropFunction) {
        for sig in statement
            .function_sig_list()
            .into_iter()
            .flat_map(|l| l.function_sigs())
        {
            let Some(name) = sig.function_name_ref().and_then(|n| Name::of(&n)) else {
                continue;
            };
            let signature = sig.param_list().map(|p| signature_of(&p));
            if statement.if_exists().is_some()
                && self
                    .catalog
                    .functions_named(&name, signature.as_deref(), &self.place.path)
                    .is_empty()
            {
                continue;
            }
            for function in self
                .functions_or_problem(&name, signature.as_deref(), sig.syntax())
                .unwrap_or_default()
            {
                self.catalog.functions[function].dropped = true;
            }
        }
    }

    pub(super) fn drop_policy(&mut self, statement: &ast::DropPolicy) {
        let (Some(policy), Some(target)) = (
            statement.policy_ref(),
            statement.on_table().and_then(|t| t.table_name_ref()),
        ) else {
            return;
        };
        let Some(name) = Name::of(&target) else { return };
        let if_exists = statement.if_exists().is_some();
        if if_exists && self.catalog.relation(&name, &self.place.path).is_none() {
            return;
        }
        let Some(table) = self.table(&target) else { return };
        let policy_name = text(&policy);
        let Some(draft) = self.catalog.table_mut(table) else {
            return;
        };
        let before = draft.policies.len();
        draft.policies.retain(|p| p.name != policy_name);
        if draft.policies.len() == before && !if_exists {
            self.error(
                policy.syntax(),
                format!("the table has no policy `{policy_name}`"),
                "leave the statement out",
            );
        }
    }

    pub(super) fn drop_index(&mut self, statement: &ast::DropIndex) {
        for written in statement.index_refs() {
            let Some(name) = Name::of(&written) else { continue };
            let path = self.place.path.clone();
            let mut found = None;
            for relation in self.catalog.relations.iter_mut().filter(|r| !r.dropped) {
                let here = match &name.namespace {
                    Some(namespace) => relation.namespace == *namespace,
                    None => path.contains(&relation.namespace),
                };
                if let (true, DraftKind::Table(table)) = (here, &mut relation.kind)
                    && let Some(position) = table.indexes.iter().position(|i| i.name == name.name)
                {
                    table.indexes.remove(position);
                    found = Some(relation.namespace.clone());
                }
            }
            match found {
                Some(namespace) => self.catalog.free_relation_name(&namespace, &name.name),
                None if statement.if_exists().is_some() => {}
                None => self.error(
                    written.syntax(),
                    format!("there is no index `{name}`"),
                    "leave the statement out",
                ),
            }
        }
    }

    pub(super) fn drop_sequence(&mut self, statement: &ast::DropSequence) {
        for written in statement.sequence_refs() {
            let Some(sequence) = self.sequence(&written, statement.if_exists().is_some()) else {
                continue;
            };
            let draft = &mut self.catalog.sequences[sequence];
            draft.dropped = true;
            let (namespace, name) = (draft.namespace.clone(), draft.name.clone());
            self.catalog.free_relation_name(&namespace, &name);
        }
    }

    pub(super) fn drop_type(&mut self, statement: &ast::DropType) {
        for written in statement.type_name_refs() {
            self.drop_declared(Name::of(&written), written.syntax(), statement.if_exists().is_some());
        }
    }

    pub(super) fn drop_domain(&mut self, statement: &ast::DropDomain) {
        for written in statement.domain_refs() {
            self.drop_declared(Name::of(&written), written.syntax(), statement.if_exists().is_some());
        }
    }

    fn drop_declared(&mut self, name: Option<Name>, at: &SyntaxNode, if_exists: bool) {
        let Some(name) = name else { return };
        match self.catalog.declared_type(&name, &self.place.path) {
            Some(found) => self.catalog.declared[found].dropped = true,
            None if if_exists => {}
            None => self.error(at, format!("there is no type `{name}`"), "leave the statement out"),
        }
    }

    pub(super) fn drop_schema(&mut self, statement: &ast::DropSchema) {
        for written in statement.schema_refs() {
            let namespace = text(&written);
            let used = self
                .catalog
                .relations
                .iter()
                .any(|r| !r.dropped && r.namespace == namespace)
                || self
                    .catalog
                    .functions
                    .iter()
                    .any(|f| !f.dropped && f.namespace == namespace);
            if used
                && &*namespace != "public"
                && !matches!(statement.drop_behavior(), Some(ast::DropBehavior::Cascade(_)))
            {
                self.error(
                    written.syntax(),
                    format!("the schema `{namespace}` is not empty"),
                    "drop what is in it first, or add CASCADE",
                );
                continue;
            }
            let inside: Vec<usize> = (0..self.catalog.relations.len())
                .filter(|&i| self.catalog.relations[i].namespace == namespace)
                .collect();
            if used && matches!(statement.drop_behavior(), Some(ast::DropBehavior::Cascade(_))) {
                for relation in inside {
                    self.remove_relation(relation);
                }
                for function in self.catalog.functions.iter_mut().filter(|f| f.namespace == namespace) {
                    function.dropped = true;
                }
                for declared in self.catalog.declared.iter_mut().filter(|t| t.namespace == namespace) {
                    declared.dropped = true;
                }
            }
            self.catalog.namespaces.retain(|n| *n != namespace);
        }
    }
}
