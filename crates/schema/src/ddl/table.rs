//! CREATE TABLE.

use super::Reader;
use super::constraint::Pending;
use crate::catalog::{DraftColumn, DraftKind, DraftRelation, DraftTable, DraftType, NewObject};
use crate::names::{Name, text};
use crate::types;
use mainstay_model::{IdentityColumn, PartitionBy};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode, HasCreateTable};
use std::sync::Arc;

impl Reader {
    pub(super) fn create_table(&mut self, statement: &ast::CreateTable) {
        let Some(name_node) = statement.table_name() else {
            return;
        };
        let Some(name) = Name::of(&name_node) else { return };
        let at = name_node.syntax().clone();
        match statement.persistence() {
            Some(ast::Persistence::Temp(_)) => {
                return self.error(
                    &at,
                    "a temporary table lives in one session only",
                    "declare a table that stays",
                );
            }
            Some(ast::Persistence::Unlogged(_)) => {
                self.note(&at, "UNLOGGED has no effect here: every table is durable")
            }
            None => {}
        }
        if let Some(of) = statement.of_type() {
            return self.error(
                of.syntax(),
                "a table OF a type is not supported",
                "write its columns out",
            );
        }
        if let Some(inherits) = HasCreateTable::inherits(statement) {
            return self.error(
                inherits.syntax(),
                "table inheritance is not supported",
                "write the columns out (LIKE copies them), or keep the rows of both in one table with a column that tells them apart",
            );
        }
        let partition_of = match statement.partition_of() {
            Some(of) => match of.table_name_ref().and_then(|parent| self.table(&parent)) {
                Some(parent) => Some(parent),
                None => return,
            },
            None => None,
        };
        let if_not_exists = statement.if_not_exists().is_some();
        let mut draft = DraftTable::default();
        if let Some(parent) = partition_of.and_then(|p| self.catalog.table(p)) {
            draft.columns = parent.columns.clone();
        }
        let Some(table) = self.declare_relation(&name, &at, if_not_exists, DraftKind::Table(draft)) else {
            return;
        };
        let mut pending = Vec::new();
        // All columns before any constraint: a key may stand before what it names.
        let mut constraints: Vec<(Option<usize>, ast::Constraint)> = Vec::new();
        for arg in statement.table_arg_list().into_iter().flat_map(|list| list.args()) {
            match arg {
                ast::TableArg::Column(column) => {
                    // Of a partition, columns are the parent's; what stands here are options for them.
                    if partition_of.is_none() {
                        constraints.extend(self.table_column(table, &column));
                    }
                }
                ast::TableArg::LikeClause(like) => self.like(table, &like, &mut pending),
                ast::TableArg::TableConstraint(constraint) => {
                    constraints.extend(ast::Constraint::cast(constraint.syntax().clone()).map(|c| (None, c)));
                }
            }
        }
        for (column, constraint) in constraints {
            self.constraint(table, column, &constraint, &mut pending);
        }
        if let Some(parent) = partition_of {
            self.attach(parent, table, &at);
            return;
        }
        self.apply_constraints(table, pending);
        if let Some(partition) = statement.partition_by() {
            self.partition_by(table, &partition);
        }
    }

    /// Puts a new relation into the catalog, unless its name is taken.
    pub(super) fn declare_relation(
        &mut self,
        name: &Name,
        at: &SyntaxNode,
        if_not_exists: bool,
        kind: DraftKind,
    ) -> Option<usize> {
        let namespace = self.creation_namespace(name, at);
        let full = Name {
            namespace: Some(namespace.clone()),
            name: name.name.clone(),
        };
        if let Some(existing) = self.catalog.relation(&full, &[]) {
            if !if_not_exists {
                self.declared_twice(&format!("`{name}`"), existing, at);
            }
            return None;
        }
        let index = self.catalog.relations.len();
        self.catalog.take_relation_name(&namespace, &name.name);
        let span = self.span(at);
        self.catalog.relations.push(DraftRelation {
            namespace: namespace.clone(),
            name: name.name.clone(),
            place: self.place.clone(),
            span,
            comment: None,
            dropped: false,
            kind,
        });
        self.catalog
            .apply_default_grants(&namespace, NewObject::Relation(index));
        Some(index)
    }

    fn declared_twice(&mut self, what: &str, existing: usize, at: &SyntaxNode) {
        let other = &self.catalog.relations[existing].span;
        let place = format!("{}:{}:{}", other.file, other.line, other.column);
        self.error(
            at,
            format!("{what} is declared twice: here and at {place}"),
            "names of tables and views are unique in a project, whatever service they belong to: rename one of them",
        );
    }

    /// Adds a column of CREATE TABLE; returns its constraints.
    fn table_column(&mut self, table: usize, column: &ast::Column) -> Vec<(Option<usize>, ast::Constraint)> {
        let Some(name) = column.name() else { return Vec::new() };
        let Some(ty) = column.ty() else {
            let message = format!("the column `{}` has no type", text(&name));
            self.error(name.syntax(), message, "write a type behind the name");
            return Vec::new();
        };
        let Some(index) = self.add_column(table, &name, &ty) else {
            return Vec::new();
        };
        let mut constraints = Vec::new();
        for clause in column.clauses() {
            match clause {
                ast::ColumnClause::ColumnConstraint(constraint) => {
                    constraints.extend(ast::Constraint::cast(constraint.syntax().clone()).map(|c| (Some(index), c)));
                }
                ast::ColumnClause::Collate(collate) => self.collation(&collate),
                _ => {}
            }
        }
        constraints
    }

    /// Adds a column without its constraints.
    pub(super) fn add_column(&mut self, table: usize, name_node: &ast::ColumnName, ty: &ast::Type) -> Option<usize> {
        let name = text(name_node);
        if self.catalog.table(table)?.column(&name).is_some() {
            let message = format!("the column `{name}` is declared twice");
            self.error(name_node.syntax(), message, "rename or remove one of them");
            return None;
        }
        if types::is_set(ty) {
            self.error(
                ty.syntax(),
                "a column cannot hold a set",
                "take an array, or a table of its own",
            );
            return None;
        }
        if let Some(digits) = types::reduced_precision(ty) {
            self.warning(
                ty.syntax(),
                format!("the precision of {digits} digits is not kept: values have microseconds"),
                "leave the precision out, or round in a CHECK",
            );
        }
        let serial = types::serial(ty);
        let span = self.span(name_node.syntax());
        let ty = match &serial {
            Some(ty) => DraftType::Known(ty.clone()),
            None => DraftType::Written(self.written(ty.clone())),
        };
        let identity = serial
            .as_ref()
            .map(|_| (IdentityColumn::ByDefault, self.column_sequence(table, &name, None)));
        let column = DraftColumn {
            name,
            span,
            dropped: false,
            ty,
            not_null: serial.is_some(),
            default: None,
            generated: None,
            identity,
            comment: None,
        };
        let draft = self.catalog.table_mut(table)?;
        draft.columns.push(column);
        Some(draft.columns.len() - 1)
    }

    /// `COLLATE`: text is compared by code point everywhere.
    pub(super) fn collation(&mut self, collate: &ast::Collate) {
        let name = collate
            .collation_ref()
            .and_then(|c| Name::of(&c))
            .map(|n| n.name)
            .unwrap_or_default();
        if !matches!(&*name, "default" | "C" | "POSIX" | "ucs_basic" | "c" | "posix") {
            self.warning(
                collate.syntax(),
                format!("the collation `{name}` is not kept: text is ordered by code point"),
                "order by lower(column) where case must not matter",
            );
        }
    }

    fn partition_by(&mut self, table: usize, partition: &ast::PartitionBy) {
        let strategy = partition
            .partition_strategy()
            .map(|s| s.syntax().text().to_string().to_ascii_lowercase());
        let by = match strategy.as_deref() {
            Some("range") => PartitionBy::Range,
            Some("list") => PartitionBy::List,
            Some("hash") => PartitionBy::Hash,
            _ => {
                return self.error(
                    partition.syntax(),
                    "a table is partitioned by RANGE, LIST or HASH",
                    "take one of them",
                );
            }
        };
        let mut columns = Vec::new();
        for item in partition
            .partition_item_list()
            .into_iter()
            .flat_map(|list| list.partition_items())
        {
            match item.expr() {
                Some(ast::Expr::NameRef(name)) => columns.extend(self.column(table, name.syntax())),
                Some(other) => self.error(
                    other.syntax(),
                    "a table is partitioned by columns only",
                    "add a column that holds the value",
                ),
                None => {}
            }
        }
        if let Some(draft) = self.catalog.table_mut(table) {
            draft.partition = Some((by, columns));
        }
    }

    /// Makes `part` a partition of `parent`: its rows are the parent's.
    pub(super) fn attach(&mut self, parent: usize, part: usize, at: &SyntaxNode) {
        if self.catalog.table(parent).is_some_and(|t| t.partition.is_none()) {
            let name = self.catalog.relations[parent].name.clone();
            return self.error(
                at,
                format!("`{name}` is not partitioned"),
                "declare it with PARTITION BY",
            );
        }
        if parent == part || self.catalog.table(parent).and_then(|t| t.partition_of) == Some(part) {
            return self.error(at, "a table cannot be a partition of itself", "name another table");
        }
        if let Some(draft) = self.catalog.table_mut(part) {
            draft.partition_of = Some(parent);
        }
        let name = self.catalog.relations[parent].name.clone();
        self.note(at, format!("the rows of this partition are kept in `{name}`"));
    }

    fn like(&mut self, table: usize, like: &ast::LikeClause, pending: &mut Vec<Pending>) {
        let Some(source) = like.relation_name_ref().and_then(|r| self.table(&r)) else {
            return;
        };
        let options: Vec<ast::LikeOption> = like.like_options().collect();
        let includes = |wanted: fn(&ast::TableProperty) -> bool| {
            let mut included = false;
            for option in &options {
                let (property, value) = match option {
                    ast::LikeOption::IncludingProperty(p) => (p.table_property(), true),
                    ast::LikeOption::ExcludingProperty(p) => (p.table_property(), false),
                };
                if property.is_some_and(|p| wanted(&p) || matches!(p, ast::TableProperty::PropertyAll(_))) {
                    included = value;
                }
            }
            included
        };
        let defaults = includes(|p| matches!(p, ast::TableProperty::PropertyDefaults(_)));
        let generated = includes(|p| matches!(p, ast::TableProperty::PropertyGenerated(_)));
        let identity = includes(|p| matches!(p, ast::TableProperty::PropertyIdentity(_)));
        let comments = includes(|p| matches!(p, ast::TableProperty::PropertyComments(_)));
        let constraints = includes(|p| matches!(p, ast::TableProperty::PropertyConstraints(_)));
        let indexes = includes(|p| matches!(p, ast::TableProperty::PropertyIndexes(_)));
        let Some(draft) = self.catalog.table(source) else {
            return;
        };
        let (columns, checks) = (draft.columns.clone(), draft.checks.clone());
        let (primary_key, uniques, plain) = (draft.primary_key.clone(), draft.uniques.clone(), draft.indexes.clone());
        // Where each column of the source went.
        let mut places = Vec::with_capacity(columns.len());
        for mut column in columns {
            if column.dropped {
                places.push(None);
                continue;
            }
            let name = column.name.clone();
            if self.catalog.table(table).is_some_and(|t| t.column(&name).is_some()) {
                self.error(
                    like.syntax(),
                    format!("the column `{name}` is declared twice"),
                    "rename or remove one of them",
                );
                places.push(None);
                continue;
            }
            // `serial` is a default on the same sequence, an identity a sequence of the copy's own.
            let is_serial = matches!(column.ty, DraftType::Known(_));
            column.identity = match column.identity {
                Some(found) if is_serial && defaults => Some(found),
                Some((how, _)) if !is_serial && identity => Some((how, self.column_sequence(table, &name, None))),
                _ => None,
            };
            column.default = column.default.filter(|_| defaults);
            column.generated = column.generated.filter(|_| generated);
            column.comment = column.comment.filter(|_| comments);
            column.span = self.span(like.syntax());
            let Some(draft) = self.catalog.table_mut(table) else {
                return;
            };
            places.push(Some(draft.columns.len()));
            draft.columns.push(column);
        }
        if constraints && let Some(draft) = self.catalog.table_mut(table) {
            draft.checks.extend(checks);
        }
        if !indexes {
            return;
        }
        let moved = |columns: &[usize]| -> Option<Vec<usize>> {
            columns.iter().map(|&c| places.get(c).copied().flatten()).collect()
        };
        let span = self.span(like.syntax());
        if let Some(columns) = primary_key.and_then(|key| moved(&key.columns)) {
            pending.push(Pending::Primary {
                name: None,
                columns,
                span: span.clone(),
            });
        }
        for unique in uniques {
            if let Some(columns) = moved(&unique.columns) {
                pending.push(Pending::Unique {
                    name: None,
                    columns,
                    nulls_not_distinct: unique.nulls_not_distinct,
                    span: span.clone(),
                });
            }
        }
        let (namespace, relation) = self.name_of(table);
        for mut index in plain {
            let names = self.key_names(source, &index.keys);
            for key in &mut index.keys {
                key.column = key.column.and_then(|c| places.get(c).copied().flatten());
            }
            index.name = self
                .catalog
                .generate_relation_name(&namespace, &relation, &names, "idx");
            if let Some(draft) = self.catalog.table_mut(table) {
                draft.indexes.push(index);
            }
        }
    }

    /// Schema and name of a relation.
    pub(super) fn name_of(&self, relation: usize) -> (Arc<str>, Arc<str>) {
        let draft = &self.catalog.relations[relation];
        (draft.namespace.clone(), draft.name.clone())
    }
}
