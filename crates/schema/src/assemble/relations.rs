//! Relations, types, columns and keys: everything that needs no expression.

use super::Assembly;
use crate::catalog::{DeclaredKind, DraftKind, DraftType};
use crate::names::type_key;
use crate::{Problem, types};
use mainstay_model::{
    Column, DeclaredType, ForeignKey, Relation, RelationId, RelationKind, Schema, Select, Table, Type, Unique, View,
};
use std::sync::Arc;

impl Assembly {
    /// Hands out ids, in the order of declaration.
    pub(super) fn declare_relations(&mut self) {
        for draft in &self.catalog.relations {
            let partition = matches!(&draft.kind, DraftKind::Table(t) if t.partition_of.is_some());
            if draft.dropped || partition {
                self.relations.push(None);
                continue;
            }
            self.relations
                .push(Some(RelationId(self.schema.relations.len() as u32)));
            let file = &self.catalog.files[draft.place.file];
            self.schema.relations.push(Relation {
                namespace: draft.namespace.clone(),
                name: draft.name.clone(),
                store: file.store.clone(),
                service: file.service.clone(),
                columns: Vec::new(),
                kind: match &draft.kind {
                    DraftKind::Table(_) => RelationKind::Table(Table::default()),
                    DraftKind::View(view) => RelationKind::View(View {
                        select: Arc::new(Select::default()),
                        security_invoker: view.security_invoker,
                        security_barrier: view.security_barrier,
                        materialized: view.materialized,
                        origins: Vec::new(),
                        updatable: None,
                        writable: None,
                    }),
                },
                comment: draft.comment.clone(),
                grants: Vec::new(),
                span: draft.span.clone(),
            });
        }
        self.schema.index();
    }

    /// Enums first, because anything may be made of them; then the others in the order of declaration.
    pub(super) fn declare_types(&mut self) {
        let declared = std::mem::take(&mut self.catalog.declared);
        for draft in declared.iter().filter(|d| !d.dropped) {
            let key = type_key(&draft.namespace, &draft.name);
            match &draft.kind {
                DeclaredKind::Enum(labels) => {
                    self.schema.enums.insert(key, labels.clone().into());
                }
                // Known before its fields are, so that they may name it as an array's element.
                DeclaredKind::Composite(_) => {
                    self.schema.types.insert(key, DeclaredType::Composite(Vec::new()));
                }
                DeclaredKind::Range => {
                    self.schema.types.insert(key, DeclaredType::Range);
                }
                DeclaredKind::Domain(_) => {}
            }
        }
        for draft in declared.iter().filter(|d| !d.dropped) {
            let key = type_key(&draft.namespace, &draft.name);
            let source = self.at(&draft.place);
            match &draft.kind {
                DeclaredKind::Domain(domain) => {
                    // An unknown base has been told; the domain stays known, so that nothing else is told of it.
                    let base = types::resolve(&domain.base, &self.schema, &source);
                    let (base, of) = self.ok(base).unwrap_or((Type::Text, None));
                    self.bases.extend(of.map(|of| (key.clone(), of)));
                    self.schema.types.insert(key, DeclaredType::Domain(base));
                }
                DeclaredKind::Composite(fields) => {
                    let mut resolved = Vec::new();
                    for (name, ty) in fields {
                        let ty = types::resolve_bare(ty, &self.schema, &source);
                        if let Some(ty) = self.ok(ty) {
                            resolved.push((name.clone(), ty));
                        }
                    }
                    self.schema.types.insert(key, DeclaredType::Composite(resolved));
                }
                DeclaredKind::Enum(_) | DeclaredKind::Range => {}
            }
        }
        self.catalog.declared = declared;
    }

    /// The domain of a key, if the key names one.
    fn domain(&self, key: &str) -> Option<&crate::catalog::DraftDomain> {
        self.catalog
            .declared
            .iter()
            .filter(|d| !d.dropped && *type_key(&d.namespace, &d.name) == *key)
            .find_map(|d| match &d.kind {
                DeclaredKind::Domain(domain) => Some(domain),
                _ => None,
            })
    }

    /// The domain of a key, if it names one, and those that it is over, the nearest first.
    pub(super) fn domains(&self, key: &str) -> impl Iterator<Item = &crate::catalog::DraftDomain> {
        let mut next = self.schema.types.get_key_value(key).map(|(key, _)| key);
        let mut left = self.bases.len() + 1;
        std::iter::from_fn(move || {
            let key = next?;
            left = left.checked_sub(1)?;
            next = self.bases.get(key);
            self.domain(key)
        })
    }

    /// Whether a domain, or one that it is over, keeps values out.
    pub(super) fn is_constrained(&self, domain: &str) -> bool {
        self.domains(domain).any(|d| d.not_null || !d.checks.is_empty())
    }

    pub(super) fn table_columns(&mut self) {
        self.columns = vec![Vec::new(); self.catalog.relations.len()];
        for (draft, id) in self.live_tables() {
            let Some(table) = self.catalog.table(draft) else {
                continue;
            };
            let drafts = table.columns.clone();
            let mut columns = Vec::new();
            let mut places = Vec::new();
            for column in drafts {
                if column.dropped {
                    places.push(None);
                    continue;
                }
                let (ty, domain) = match &column.ty {
                    DraftType::Known(ty) => (ty.clone(), None),
                    DraftType::Written(written) => {
                        let source = self.at(&written.place);
                        let resolved = types::resolve(&written.node, &self.schema, &source);
                        self.ok(resolved).unwrap_or((Type::Text, None))
                    }
                };
                let not_null = column.not_null || domain.as_ref().is_some_and(|d| self.domains(d).any(|d| d.not_null));
                places.push(Some(columns.len() as u32));
                columns.push(Column {
                    name: column.name,
                    ty,
                    domain,
                    not_null,
                    default: None,
                    default_text: None,
                    generated: None,
                    identity: column.identity.map(|(how, _)| how),
                    comment: column.comment,
                    span: column.span,
                });
            }
            self.columns[draft] = places;
            self.schema.relations[id.0 as usize].columns = columns;
        }
    }

    /// Where columns of a draft went; those that are gone are left out.
    pub(super) fn moved(&self, draft: usize, columns: &[usize]) -> Vec<u32> {
        columns
            .iter()
            .filter_map(|&c| self.columns[draft].get(c).copied().flatten())
            .collect()
    }

    pub(super) fn table_keys(&mut self) {
        for (draft, id) in self.live_tables() {
            let Some(table) = self.catalog.table(draft) else {
                continue;
            };
            let primary_key = table
                .primary_key
                .as_ref()
                .map(|k| (k.name.clone(), self.moved(draft, &k.columns)));
            let unique = |u: &crate::catalog::DraftUnique| Unique {
                name: u.name.clone(),
                columns: self.moved(draft, &u.columns),
                nulls_not_distinct: u.nulls_not_distinct,
            };
            let uniques = table.uniques.iter().map(unique).collect();
            let partition = table
                .partition
                .as_ref()
                .map(|(by, columns)| (*by, self.moved(draft, columns)));
            let row_security = table.row_security;
            let Some(built) = self.table_mut(id) else { continue };
            if let Some((name, columns)) = primary_key {
                built.primary_key = columns;
                built.primary_key_name = Some(name);
            }
            built.uniques = uniques;
            built.partition = partition;
            built.row_security = row_security;
        }
    }

    pub(super) fn table_mut(&mut self, id: RelationId) -> Option<&mut Table> {
        match &mut self.schema.relations[id.0 as usize].kind {
            RelationKind::Table(table) => Some(table),
            RelationKind::View(_) => None,
        }
    }

    pub(super) fn sequences(&mut self) {
        for draft in self.catalog.sequences.iter().filter(|s| !s.dropped) {
            let key = type_key(&draft.namespace, &draft.name);
            self.schema.sequences.insert(key, draft.definition);
        }
    }

    pub(super) fn foreign_keys(&mut self) {
        for (draft, id) in self.live_tables() {
            let Some(table) = self.catalog.table(draft) else {
                continue;
            };
            let keys = table.foreign_keys.clone();
            let mut built = Vec::new();
            for key in keys {
                self.at(&key.place);
                let known = key.target.filter(|&t| !self.catalog.relations[t].dropped);
                let target = match known {
                    Some(target) => self.relations[target],
                    None => self.find_relation(&key.target_name),
                };
                let Some(target) = target else {
                    let problem = match known {
                        Some(_) => Problem::error(key.span.clone(), format!("`{}` is a partition", key.target_name))
                            .help("refer to the table that it is a partition of"),
                        None => self.unknown_target(&key.target_name, key.span.clone()),
                    };
                    self.problem(problem);
                    continue;
                };
                let columns = self.moved(draft, &key.columns);
                if let Some(target_columns) = self.target_columns(&key, id, target, &columns) {
                    built.push(ForeignKey {
                        name: key.name,
                        columns,
                        target,
                        target_columns,
                        on_delete: key.on_delete,
                        on_update: key.on_update,
                        deferred: key.deferred,
                    });
                }
            }
            if let Some(table) = self.table_mut(id) {
                table.foreign_keys = built;
            }
        }
    }

    fn unknown_target(&self, name: &crate::names::Name, span: mainstay_model::Span) -> Problem {
        let problem =
            Problem::error(span, format!("there is no table `{name}`")).help("declare the table that is referred to");
        if name.namespace.as_deref() == Some("auth") {
            return problem.help("the schema `auth` is there when mainstay.toml has an [auth] section; its tables are users, sessions, refresh_tokens and one_time_tokens");
        }
        problem.did_you_mean(
            &name.name,
            self.schema
                .relations
                .iter()
                .filter(|r| r.table().is_some())
                .map(|r| &*r.name),
        )
    }

    /// The referenced columns, checked as Postgres does.
    fn target_columns(
        &mut self,
        key: &crate::catalog::DraftForeignKey,
        from: RelationId,
        target: RelationId,
        columns: &[u32],
    ) -> Option<Vec<u32>> {
        let relation = self.schema.relation(target);
        let Some(table) = relation.table() else {
            let problem = Problem::error(
                key.span.clone(),
                format!("`{}` is a view: a foreign key refers to a table", key.target_name),
            );
            self.problem(problem.help("refer to the table that the view shows"));
            return None;
        };
        let target_columns = match &key.target_columns {
            None if table.primary_key.is_empty() => {
                let problem = Problem::error(
                    key.span.clone(),
                    format!("`{}` has no primary key to refer to", key.target_name),
                );
                self.problem(problem.help("name the columns, or give the table a primary key"));
                return None;
            }
            None => table.primary_key.clone(),
            Some(written) => {
                let mut found = Vec::new();
                for (name, span) in written {
                    match relation.column(name) {
                        Some(column) => found.push(column),
                        None => {
                            let problem = Problem::error(
                                span.clone(),
                                format!("there is no column `{name}` in `{}`", key.target_name),
                            );
                            let problem = problem.did_you_mean(name, relation.columns.iter().map(|c| &*c.name));
                            self.problem(problem);
                            return None;
                        }
                    }
                }
                found
            }
        };
        let problem = |message: String, help: &str| Problem::error(key.span.clone(), message).help(help);
        if target_columns.len() != columns.len() {
            let message = format!("{} columns refer to {}", columns.len(), target_columns.len());
            self.problem(problem(message, "name as many columns on both sides"));
            return None;
        }
        let sorted = |columns: &[u32]| {
            let mut columns = columns.to_vec();
            columns.sort_unstable();
            columns
        };
        let wanted = sorted(&target_columns);
        let unique = sorted(&table.primary_key) == wanted
            || table.uniques.iter().any(|u| sorted(&u.columns) == wanted)
            || self.has_unique_index(target, &wanted);
        if !unique {
            let names: Vec<&str> = target_columns
                .iter()
                .map(|&c| &*relation.columns[c as usize].name)
                .collect();
            let message = format!("`{}` ({}) is not unique", key.target_name, names.join(", "));
            self.problem(problem(
                message,
                "a foreign key refers to a primary key or to UNIQUE columns: add the constraint",
            ));
            return None;
        }
        for (&own, &other) in columns.iter().zip(&target_columns) {
            let own = &self.schema.relation(from).columns[own as usize];
            let other = &relation.columns[other as usize];
            if !comparable(&own.ty, &other.ty) {
                let message = format!(
                    "`{}` is {} and cannot refer to `{}`, which is {}",
                    own.name, own.ty, other.name, other.ty
                );
                self.problem(problem(message, "give both columns the same type"));
                return None;
            }
        }
        Some(target_columns)
    }

    /// Whether a unique index on plain columns (bound later) covers exactly these.
    fn has_unique_index(&self, target: RelationId, wanted: &[u32]) -> bool {
        let Some(draft) = self.relations.iter().position(|id| *id == Some(target)) else {
            return false;
        };
        let Some(table) = self.catalog.table(draft) else {
            return false;
        };
        table
            .indexes
            .iter()
            .filter(|i| i.unique && i.filter.is_none())
            .any(|index| {
                let columns: Option<Vec<usize>> = index.keys.iter().map(|k| k.column).collect();
                let mut columns = columns.map(|c| self.moved(draft, &c)).unwrap_or_default();
                columns.sort_unstable();
                columns == wanted
            })
    }

    /// The relation whose row a type is.
    pub(super) fn relation_of(schema: &Schema, ty: &Type) -> Option<RelationId> {
        let Type::Row(key) = ty else { return None };
        match key.split_once('.') {
            Some((namespace, name)) => schema
                .find_relation(namespace, name)
                .or_else(|| schema.find_relation("public", key)),
            None => schema.find_relation("public", key),
        }
    }
}

/// Whether Postgres has an equality of two types.
fn comparable(a: &Type, b: &Type) -> bool {
    let family = |ty: &Type| match ty {
        ty if ty.is_number() => Some(0),
        ty if ty.is_text() => Some(1),
        Type::Date | Type::Timestamp | Type::TimestampTz => Some(2),
        _ => None,
    };
    a == b || (family(a).is_some() && family(a) == family(b))
}
