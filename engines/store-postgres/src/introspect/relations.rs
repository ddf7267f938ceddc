//! Tables and views, with their columns, keys, indexes, policies and privileges.

use super::found::{ColumnRow, Details, Found, RelationRow};
use super::node_tree::Shown;
use super::privileges::{GrantCache, Privileges};
use super::types::Types;
use super::{NotServed, Options};
use mainstay_model::{
    Column, Error, Expr, ExprKind, ForeignKey, Grant, IdentityColumn, Index, OrderBy, PartitionBy, Policy,
    PolicyCommand, ReferentialAction, Relation, RelationId, RelationKind, Schema, Select, Span, Table, Type, Unique,
    View, Writable,
};
use std::collections::HashMap;
use std::sync::Arc;

/// A view over views over views: nothing real goes deeper.
const DEPTH_MAX: usize = 64;

/// Which relation and which column a number is.
pub(super) struct Ids {
    pub relations: HashMap<u32, RelationId>,
    columns: HashMap<(u32, i16), u32>,
}

impl Ids {
    fn column(&self, relation: u32, number: i16) -> Option<u32> {
        self.columns.get(&(relation, number)).copied()
    }

    fn all(&self, relation: u32, numbers: &[i16]) -> Option<Vec<u32>> {
        numbers.iter().map(|n| self.column(relation, *n)).collect()
    }
}

/// Fills [`Schema::relations`]: those of the served schemas first, in their order.
pub(super) fn assemble(
    schema: &mut Schema,
    options: &Options,
    namespaces: &[(u32, Arc<str>)],
    found: &Found,
    details: &Details,
    types: &Types<'_>,
    privileges: &Privileges<'_>,
) -> Result<Ids, Error> {
    let place = |oid: u32| namespaces.iter().position(|(n, _)| *n == oid).unwrap_or(usize::MAX);
    let mut rows: Vec<&RelationRow> = details.relations.iter().collect();
    rows.sort_by(|a, b| (place(a.namespace), a.namespace, &a.name).cmp(&(place(b.namespace), b.namespace, &b.name)));
    let mut columns: HashMap<u32, Vec<&ColumnRow>> = HashMap::with_capacity(rows.len());
    for column in &details.columns {
        columns.entry(column.relation).or_default().push(column);
    }
    let mut ids = Ids {
        relations: rows
            .iter()
            .enumerate()
            .map(|(i, r)| (r.oid, RelationId(i as u32)))
            .collect(),
        columns: HashMap::with_capacity(details.columns.len()),
    };
    for (relation, columns) in &columns {
        for (at, column) in columns.iter().enumerate() {
            ids.columns.insert((*relation, column.number), at as u32);
        }
    }
    let names: HashMap<u32, &Arc<str>> = found.namespaces.iter().map(|n| (n.oid, &n.name)).collect();
    let mut cache = GrantCache::default();
    for row in &rows {
        let own = columns.get(&row.oid).map_or(&[] as &[&ColumnRow], Vec::as_slice);
        let lists: Vec<(u32, &str)> = own
            .iter()
            .enumerate()
            .filter_map(|(at, c)| Some((at as u32, c.acl.as_deref()?)))
            .collect();
        let grants: Vec<Grant> = privileges.on_relation(&mut cache, row.namespace, &row.acl, &lists);
        schema.relations.push(Relation {
            namespace: names
                .get(&row.namespace)
                .map_or_else(|| Arc::from(""), |n| Arc::clone(n)),
            name: row.name.clone(),
            store: options.store.clone(),
            service: None,
            columns: own.iter().map(|c| column(c, types)).collect::<Result<_, _>>()?,
            kind: kind(row, own.len(), details, &ids),
            comment: row.comment.clone(),
            grants,
            span: Span::default(),
        });
    }
    constraints(schema, details, &ids);
    indexes(schema, details, &ids);
    policies(schema, details, &ids, privileges);
    Ok(ids)
}

fn kind(row: &RelationRow, width: usize, details: &Details, ids: &Ids) -> RelationKind {
    let writable = row.writes.map(writable);
    if !matches!(row.kind, b'v' | b'm') {
        let partition = row.partition.as_ref().map(|(strategy, columns)| {
            let by = match strategy {
                b'h' => PartitionBy::Hash,
                b'l' => PartitionBy::List,
                _ => PartitionBy::Range,
            };
            (by, columns.iter().filter_map(|c| ids.column(row.oid, *c)).collect())
        });
        return RelationKind::Table(Table {
            row_security: row.row_security,
            partition,
            foreign: row.kind == b'f',
            writable,
            ..Table::default()
        });
    }
    let shown = details.views.get(&row.oid).map_or(&[] as &[Shown], Vec::as_slice);
    let mut origins = vec![None; width];
    for column in shown {
        let at = ids.column(row.oid, column.column);
        if let Some(slot) = at.and_then(|at| origins.get_mut(at as usize)) {
            *slot = origin(details, ids, column);
        }
    }
    let mut tables = origins.iter().flatten().map(|(table, _)| *table);
    let first = tables.next();
    // Postgres writes through a view of one relation only, and then all plain columns are that one's.
    let only = first.filter(|first| tables.all(|t| t == *first));
    RelationKind::View(View {
        select: Arc::new(Select::default()),
        security_invoker: row.security_invoker,
        // The database itself sees to it.
        security_barrier: false,
        materialized: row.kind == b'm',
        origins,
        updatable: only.filter(|_| {
            row.writes_itself
                .is_some_and(|events| events & (UPDATE | INSERT | DELETE) != 0)
        }),
        writable,
    })
}

/// Follows a column through the views that it comes through to a table's.
fn origin(details: &Details, ids: &Ids, shown: &Shown) -> Option<(RelationId, u32)> {
    let mut at = *shown;
    for _ in 0..DEPTH_MAX {
        match details.views.get(&at.relation) {
            None => {
                let relation = *ids.relations.get(&at.relation)?;
                return Some((relation, ids.column(at.relation, at.relation_column)?));
            }
            Some(through) => at = *through.iter().find(|s| s.column == at.relation_column)?,
        }
    }
    None
}

/// Bits of `pg_relation_is_updatable`: 1 << the command's number.
const UPDATE: i32 = 4;
const INSERT: i32 = 8;
const DELETE: i32 = 16;

fn writable(events: i32) -> Writable {
    Writable {
        insert: events & INSERT != 0,
        update: events & UPDATE != 0,
        delete: events & DELETE != 0,
    }
}

fn column(row: &ColumnRow, types: &Types<'_>) -> Result<Column, Error> {
    let (ty, domain) = types.resolve(row.ty, row.modifier)?;
    let of_domain = types.domain(row.ty);
    let text = match &row.default {
        Some(text) => Some(text.clone()),
        None => of_domain.and_then(|(default, _)| default).map(str::to_owned),
    };
    let expr = text.as_deref().map(|sql| opaque(sql, ty.clone()));
    let serial = text.as_deref().is_some_and(|t| t.starts_with("nextval("));
    let identity = match row.identity {
        b'a' => Some(IdentityColumn::Always),
        b'd' => Some(IdentityColumn::ByDefault),
        _ => serial.then_some(IdentityColumn::ByDefault),
    };
    Ok(Column {
        name: row.name.clone(),
        not_null: row.not_null || of_domain.is_some_and(|(_, not_null)| not_null),
        default: expr.clone().filter(|_| !row.generated),
        default_text: text.filter(|_| !row.generated),
        generated: expr.filter(|_| row.generated),
        identity,
        comment: row.comment.clone(),
        span: Span::default(),
        ty,
        domain,
    })
}

/// SQL that the database alone understands.
pub(super) fn opaque(sql: &str, ty: Type) -> Expr {
    let kind = ExprKind::Opaque {
        sql: sql.into(),
        dependencies: Vec::new(),
    };
    Expr::new(kind, ty)
}

fn table_mut<'s>(schema: &'s mut Schema, ids: &Ids, oid: u32) -> Option<&'s mut Table> {
    let id = ids.relations.get(&oid)?;
    match &mut schema.relations.get_mut(id.0 as usize)?.kind {
        RelationKind::Table(table) => Some(table),
        RelationKind::View(_) => None,
    }
}

fn constraints(schema: &mut Schema, details: &Details, ids: &Ids) {
    for row in &details.constraints {
        let Some(columns) = ids.all(row.relation, &row.columns) else {
            continue;
        };
        let target = ids.relations.get(&row.target).copied();
        let target_columns = ids.all(row.target, &row.target_columns);
        let Some(table) = table_mut(schema, ids, row.relation) else {
            continue;
        };
        match row.kind {
            b'p' => {
                table.primary_key = columns;
                table.primary_key_name = Some(row.name.clone());
            }
            b'u' => table.uniques.push(Unique {
                name: row.name.clone(),
                columns,
                nulls_not_distinct: row.nulls_not_distinct,
            }),
            _ => {
                // A table that nothing served shows leads nowhere.
                let (Some(target), Some(target_columns)) = (target, target_columns) else {
                    continue;
                };
                table.foreign_keys.push(ForeignKey {
                    name: row.name.clone(),
                    columns,
                    target,
                    target_columns,
                    on_delete: action(row.on_delete),
                    on_update: action(row.on_update),
                    deferred: row.deferred,
                });
            }
        }
    }
}

fn action(letter: u8) -> ReferentialAction {
    match letter {
        b'r' => ReferentialAction::Restrict,
        b'c' => ReferentialAction::Cascade,
        b'n' => ReferentialAction::SetNull,
        b'd' => ReferentialAction::SetDefault,
        _ => ReferentialAction::NoAction,
    }
}

fn indexes(schema: &mut Schema, details: &Details, ids: &Ids) {
    for row in &details.indexes {
        let Some(columns) = ids.all(row.relation, &row.columns) else {
            continue;
        };
        let Some(id) = ids.relations.get(&row.relation) else {
            continue;
        };
        let relation = &schema.relations[id.0 as usize];
        let keys = columns.iter().enumerate().map(|(at, column)| {
            let flags = row.flags.get(at).copied().unwrap_or(0);
            OrderBy {
                expr: Expr::column(*column, relation.columns[*column as usize].ty.clone()),
                descending: flags & 1 != 0,
                nulls_first: flags & 2 != 0,
            }
        });
        let index = Index {
            name: row.name.clone(),
            keys: keys.collect(),
            unique: row.unique,
            filter: row.filter.as_deref().map(|sql| opaque(sql, Type::Bool)),
            method: row.method.clone(),
        };
        if let Some(table) = table_mut(schema, ids, row.relation) {
            table.indexes.push(index);
        }
    }
}

fn policies(schema: &mut Schema, details: &Details, ids: &Ids, privileges: &Privileges<'_>) {
    for row in &details.policies {
        let roles: Vec<Arc<str>> = row
            .roles
            .iter()
            .filter(|r| **r != 0)
            .filter_map(|r| privileges.role(*r))
            .collect();
        let policy = Policy {
            name: row.name.clone(),
            command: match row.command {
                b'r' => PolicyCommand::Select,
                b'a' => PolicyCommand::Insert,
                b'w' => PolicyCommand::Update,
                b'd' => PolicyCommand::Delete,
                _ => PolicyCommand::All,
            },
            restrictive: !row.permissive,
            roles,
            using: row.using.as_deref().map(|sql| opaque(sql, Type::Bool)),
            check: row.check.as_deref().map(|sql| opaque(sql, Type::Bool)),
            span: Span::default(),
        };
        if let Some(table) = table_mut(schema, ids, row.relation) {
            table.policies.push(policy);
        }
    }
}

/// Partitions, which are read through their table.
pub(super) fn partitions(found: &Found) -> Vec<NotServed> {
    let namespace = |oid: u32| found.namespaces.iter().find(|n| n.oid == oid).map_or("", |n| &n.name);
    found
        .partitions
        .iter()
        .map(|(oid, name, parent)| NotServed {
            object: format!("partition {}.{name}", namespace(*oid)),
            reason: format!("it is a part of `{parent}` and is read and written through that"),
        })
        .collect()
}
