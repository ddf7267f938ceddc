//! Writes: insertions, updates and deletions as single statements, and their policies' checks.

use super::barrier::Barrier;
use super::render::{Renderer, RowSource, Scope};
use super::storage::Form;
use super::{Bind, DeletePlan, InsertPlan, NoRow, OutputColumn, Rendered, UpdatePlan, quote_identifier, rowid_name};
use mainstay_model::{
    Cell, Column, Error, Expr, ExprKind, FromItem, IdentityColumn, OnConflict, Operator, OrderBy, RelationId,
    RelationRef, Result, Schema, Select, SourceId, Type,
};
use std::collections::HashMap;
use std::rc::Rc;

/// What an INSERT names, whichever way it came.
pub(super) struct Target<'s> {
    schema: &'s Schema,
    id: RelationId,
}

impl<'s> Target<'s> {
    pub fn new(schema: &'s Schema, relation: &RelationRef) -> Result<Target<'s>> {
        let definition = schema.relation(relation.relation);
        if definition.table().is_none() {
            return Err(
                Error::unsupported(format!("view \"{}\" cannot be written to on SQLite", definition.name))
                    .hint("Write to the table behind it, or through a function."),
            );
        }
        Ok(Target {
            schema,
            id: relation.relation,
        })
    }

    pub fn column(&self, index: u32) -> Result<&'s mainstay_model::Column> {
        let columns = &self.schema.relation(self.id).columns;
        columns
            .get(index as usize)
            .ok_or_else(|| Error::internal(format!("table has no column {index}")))
    }
}

/// The column that SQLite numbers itself, because it is the table's INTEGER PRIMARY KEY.
pub(super) fn rowid_column(schema: &Schema, relation: RelationId) -> Option<u32> {
    let definition = schema.relation(relation);
    match definition.primary_key() {
        [only] => {
            let column = &definition.columns[*only as usize];
            (column.ty.is_integer() && column.generated.is_none()).then_some(*only)
        }
        _ => None,
    }
}

/// Whether a column's numbers are 1 by 1 from a sequence of its own; another sequence is its default.
pub(super) fn numbers_itself(column: &Column) -> bool {
    column.identity.is_some() && column.default.is_none()
}

/// A value for a column. SQLite would make up a number for the NULL of its INTEGER PRIMARY KEY, where Postgres refuses it: what is no
/// number either is refused here, too.
pub(super) fn never_numbered(schema: &Schema, relation: RelationId, column: u32, value: String) -> String {
    match rowid_column(schema, relation) {
        Some(key) if key == column => format!("coalesce({value}, '')"),
        _ => value,
    }
}

/// The name of the sequence behind an identity column that SQLite does not number itself.
pub(super) fn sequence_name(schema: &Schema, relation: RelationId, column: u32) -> String {
    let definition = schema.relation(relation);
    format!("{}_{}_seq", definition.name, definition.columns[column as usize].name)
}

pub(super) fn compile_insert(
    schema: &Schema,
    relation: &RelationRef,
    columns: &[u32],
    defaulted: &[bool],
    conflict: Option<&OnConflict>,
    check: Option<&Expr>,
    updated: Option<&Expr>,
) -> Result<InsertPlan> {
    let target = Target::new(schema, relation)?;
    let mut r = Renderer::new(schema);
    let mut names = Vec::new();
    let mut values = Vec::new();
    for (at, &index) in columns.iter().enumerate() {
        if defaulted.get(at).copied().unwrap_or(false) {
            continue;
        }
        let column = target.column(index)?;
        refuse_given(column)?;
        names.push(quote_identifier(&column.name));
        let value = r.bind(Bind::Cell(at as u16))?;
        values.push(never_numbered(schema, relation.relation, index, value));
    }
    let given: Vec<u32> = columns
        .iter()
        .enumerate()
        .filter(|(at, _)| !defaulted.get(*at).copied().unwrap_or(false))
        .map(|(_, c)| *c)
        .collect();
    r.defaults(relation.relation, &given, &mut names, &mut values)?;
    let table = r.table(relation.relation);
    let mut sql = if names.is_empty() {
        format!("INSERT INTO {table} AS t DEFAULT VALUES")
    } else {
        format!(
            "INSERT INTO {table} AS t ({}) VALUES ({})",
            names.join(", "),
            values.join(", ")
        )
    };
    let mut no_row = NoRow::Never;
    if let Some(conflict) = conflict {
        let keys = conflict_target(schema, relation.relation, &conflict.target, &r)?;
        if conflict.ignore || columns.is_empty() {
            sql.push_str(&format!(" ON CONFLICT{keys} DO NOTHING"));
            no_row = NoRow::Ignored;
        } else {
            let mut set = Vec::new();
            for &index in columns {
                let column = target.column(index)?;
                if column.generated.is_none() {
                    set.push(format!("{0} = excluded.{0}", quote_identifier(&column.name)));
                }
            }
            sql.push_str(&format!(" ON CONFLICT{keys} DO UPDATE SET {}", set.join(", ")));
            if let Some(security) = &relation.security {
                let rows = Rc::new(r.table_source(relation.relation, "t", false));
                sql.push_str(&format!(" WHERE {}", r.security(security, &rows)?));
                no_row = NoRow::Denied;
            }
        }
    }
    sql.push_str(&format!(
        " RETURNING {}",
        rowid_name(schema.relation(relation.relation))
    ));
    let insert = Rendered {
        sql,
        binds: r.binds,
        columns: vec![rowid_output()],
    };
    Ok(InsertPlan {
        insert,
        no_row,
        check: check.map(|c| row_test(schema, relation.relation, c)).transpose()?,
        updated: updated.map(|c| row_test(schema, relation.relation, c)).transpose()?,
    })
}

/// Refuses a value for a column that makes its own.
fn refuse_given(column: &mainstay_model::Column) -> Result<()> {
    if column.generated.is_some() {
        return Err(Error::new(
            "428C9",
            format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name),
        )
        .detail(format!("Column \"{}\" is a generated column.", column.name)));
    }
    if column.identity == Some(IdentityColumn::Always) {
        return Err(Error::new(
            "428C9",
            format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name),
        )
        .detail(format!(
            "Column \"{}\" is an identity column defined as GENERATED ALWAYS.",
            column.name
        ))
        .hint("Use OVERRIDING SYSTEM VALUE to override."));
    }
    Ok(())
}

fn rowid_output() -> OutputColumn {
    OutputColumn {
        name: "rowid".into(),
        ty: Type::Int8,
        form: Form::Plain,
    }
}

/// A test of one row by its rowid; yields a row if it holds.
pub(super) fn row_test(schema: &Schema, relation: RelationId, condition: &Expr) -> Result<Rendered> {
    let mut r = Renderer::new(schema);
    let alias = r.alias();
    let rowid = r.bind(Bind::Rowid)?;
    let rows = Rc::new(r.table_source(relation, &alias, false));
    let condition = r.security(&looked_up(condition), &rows)?;
    let table = r.table(relation);
    let name = rowid_name(schema.relation(relation));
    let sql = format!("SELECT 1 FROM {table} AS {alias} WHERE {alias}.{name} = {rowid} AND {condition}");
    Ok(Rendered {
        sql,
        binds: r.binds,
        columns: Vec::new(),
    })
}

/// A condition that is asked of one row, with `x IN (SELECT y …)` as `EXISTS (SELECT … WHERE y = x)`: SQLite would make the whole list
/// for each row, and so finds the one by a key. Both are true of the same rows, and here only that counts.
fn looked_up(condition: &Expr) -> Expr {
    let all = |list: &[Expr]| list.iter().map(looked_up).collect();
    match &condition.kind {
        ExprKind::And(list) => Expr::condition(ExprKind::And(all(list))),
        ExprKind::Or(list) => Expr::condition(ExprKind::Or(all(list))),
        ExprKind::InSelect {
            operands,
            select,
            negated: false,
        } => match (&**operands, &*select.projection) {
            ([x], [y]) if x.ty == y.expr.ty && is_plain(select) => {
                let same = Expr::compare(Operator::Eq, y.expr.clone(), x.clone());
                let filter = Expr::all(select.filter.iter().cloned().chain([same]).collect());
                let select = Select {
                    filter: Some(filter),
                    distinct: false,
                    order: Vec::new(),
                    ..(**select).clone()
                };
                Expr::condition(ExprKind::Exists(Box::new(select)))
            }
            _ => condition.clone(),
        },
        _ => condition.clone(),
    }
}

/// Whether a condition more on the rows of its sources is one on its result, and may name the row outside.
fn is_plain(select: &Select) -> bool {
    fn own(item: &FromItem) -> bool {
        match item {
            FromItem::Relation { source, .. } | FromItem::Subquery { source, .. } => *source != SourceId::SELF,
            FromItem::Join { left, right, .. } => own(left) && own(right),
            FromItem::CommonTable { .. } | FromItem::Function { .. } | FromItem::Series { .. } => false,
        }
    }
    !select.from.is_empty()
        && select.from.iter().all(own)
        && select.with.is_empty()
        && select.distinct_on.is_empty()
        && select.group_by.is_empty()
        && select.having.is_none()
        && select.values.is_empty()
        && select.set_operation.is_none()
        && select.limit.is_none()
        && select.offset.is_none()
        && !select.projection.iter().any(|p| p.expr.has_aggregate())
}

pub(super) fn conflict_target(
    schema: &Schema,
    relation: RelationId,
    target: &[u32],
    r: &Renderer<'_>,
) -> Result<String> {
    if target.is_empty() {
        return Ok(String::new());
    }
    let definition = schema.relation(relation);
    let table = definition
        .table()
        .ok_or_else(|| Error::internal("a view has no unique columns"))?;
    let sorted = |columns: &[u32]| {
        let mut columns = columns.to_vec();
        columns.sort_unstable();
        columns
    };
    let wanted = sorted(target);
    let by_index = table.indexes.iter().any(|i| {
        i.unique
            && i.filter.is_none()
            && sorted(
                &i.keys
                    .iter()
                    .filter_map(|k| match &k.expr.kind {
                        ExprKind::Column(c) => Some(c.column),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ) == wanted
    });
    if sorted(&table.primary_key) != wanted && !table.uniques.iter().any(|u| sorted(&u.columns) == wanted) && !by_index
    {
        return Err(Error::new(
            "42P10",
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        ));
    }
    let keys = target
        .iter()
        .map(|&c| {
            let column = &definition.columns[c as usize];
            r.unique_key(&column.name, &column.ty)
        })
        .collect::<Vec<_>>();
    Ok(format!(" ({})", keys.join(", ")))
}

pub(super) struct UpdateParts<'p> {
    pub relation: &'p RelationRef,
    pub filter: Option<&'p Expr>,
    pub order: &'p [OrderBy],
    pub limit: Option<u64>,
    pub offset: u64,
}

pub(super) fn compile_update(
    schema: &Schema,
    parts: &UpdateParts<'_>,
    set: &[(u32, Cell)],
    check: Option<&Expr>,
) -> Result<UpdatePlan> {
    let target = Target::new(schema, parts.relation)?;
    let mut r = Renderer::new(schema);
    let mut assignments = Vec::new();
    for (at, (index, cell)) in set.iter().enumerate() {
        let column = target.column(*index)?;
        let value = match cell {
            Cell::Default => r.default_value(parts.relation.relation, *index)?,
            _ if column.generated.is_some() || column.identity == Some(IdentityColumn::Always) => {
                return Err(Error::new(
                    "428C9",
                    format!("column \"{}\" can only be updated to DEFAULT", column.name),
                )
                .detail(format!(
                    "Column \"{}\" is {}.",
                    column.name,
                    if column.generated.is_some() {
                        "a generated column"
                    } else {
                        "an identity column defined as GENERATED ALWAYS"
                    }
                )));
            }
            _ => r.bind(Bind::Cell(at as u16))?,
        };
        assignments.push(format!("{} = {value}", quote_identifier(&column.name)));
    }
    let (conditions, alias) = r.matching(parts)?;
    let table = r.table(parts.relation.relation);
    let rowid = rowid_name(schema.relation(parts.relation.relation));
    if assignments.is_empty() {
        return Err(Error::new("42601", "an update must set at least one column"));
    }
    let sql = format!(
        "UPDATE {table} AS {alias} SET {}{conditions} RETURNING {rowid}",
        assignments.join(", ")
    );
    Ok(UpdatePlan {
        update: Rendered {
            sql,
            binds: r.binds,
            columns: vec![rowid_output()],
        },
        check: check
            .map(|c| row_test(schema, parts.relation.relation, c))
            .transpose()?,
    })
}

pub(super) fn compile_delete(schema: &Schema, parts: &UpdateParts<'_>) -> Result<DeletePlan> {
    Target::new(schema, parts.relation)?;
    let rowid = rowid_name(schema.relation(parts.relation.relation));
    let mut r = Renderer::new(schema);
    let (conditions, alias) = r.matching(parts)?;
    let table = r.table(parts.relation.relation);
    let delete = Rendered {
        sql: format!("DELETE FROM {table} AS {alias}{conditions} RETURNING {rowid}"),
        binds: r.binds.clone(),
        columns: vec![rowid_output()],
    };
    let mut r = Renderer::new(schema);
    let (from, tail, alias) = r.matching_rows(parts)?;
    let select = Rendered {
        sql: format!("SELECT {alias}.{rowid} FROM {from}{tail}"),
        binds: r.binds,
        columns: vec![rowid_output()],
    };
    let delete_row = Rendered {
        sql: format!("DELETE FROM {table} WHERE {rowid} = ?1"),
        binds: vec![Bind::Rowid],
        columns: Vec::new(),
    };
    Ok(DeletePlan {
        select,
        delete,
        delete_row,
    })
}

impl<'a> Renderer<'a> {
    /// The columns that an INSERT does not give: those with a default of ours, which SQLite's table does not know.
    pub fn defaults(
        &mut self,
        relation: RelationId,
        given: &[u32],
        names: &mut Vec<String>,
        values: &mut Vec<String>,
    ) -> Result<()> {
        let schema = self.schema;
        for (index, column) in schema.relation(relation).columns.iter().enumerate() {
            let index = index as u32;
            if given.contains(&index) || column.generated.is_some() {
                continue;
            }
            if column.identity.is_some() || column.default.is_some() {
                if numbers_itself(column) && rowid_column(schema, relation) == Some(index) {
                    continue;
                }
                names.push(quote_identifier(&column.name));
                values.push(self.default_value(relation, index)?);
            } else if rowid_column(schema, relation) == Some(index) {
                names.push(quote_identifier(&column.name));
                values.push(never_numbered(schema, relation, index, "NULL".to_owned()));
            }
        }
        Ok(())
    }

    /// A column's default as it is written to the column.
    pub fn default_value(&mut self, relation: RelationId, index: u32) -> Result<String> {
        let schema = self.schema;
        let column = &schema.relation(relation).columns[index as usize];
        match (&column.default, column.identity) {
            (None, Some(_)) => {
                let name = sequence_name(schema, relation, index);
                Ok(format!(
                    "mainstay_nextval({})",
                    super::render::quote_text(&name).unwrap_or_default()
                ))
            }
            (Some(default), _) => self.scoped(Scope::default(), |r| r.assign(default, column)),
            (None, None) => Ok("NULL".to_owned()),
        }
    }

    /// ` WHERE …` for an UPDATE or DELETE under an alias.
    fn matching(&mut self, parts: &UpdateParts<'_>) -> Result<(String, String)> {
        if parts.limit.is_none() && parts.offset == 0 {
            let alias = self.alias();
            let rows = Rc::new(self.table_source(parts.relation.relation, &alias, false));
            return Ok((self.matching_where(parts, &rows)?, alias));
        }
        let rowid = rowid_name(self.schema.relation(parts.relation.relation));
        let (from, tail, inner) = self.matching_rows(parts)?;
        let alias = self.alias();
        Ok((
            format!(" WHERE {alias}.{rowid} IN (SELECT {inner}.{rowid} FROM {from}{tail})"),
            alias,
        ))
    }

    /// ` WHERE …` for the rows of a table that may be written and are meant.
    fn matching_where(&mut self, parts: &UpdateParts<'_>, rows: &Rc<RowSource>) -> Result<String> {
        let mut barrier = Barrier::default();
        if let Some(security) = &parts.relation.security {
            let condition = self.security(security, rows)?;
            barrier.secure(condition.clone(), condition);
        }
        if let Some(filter) = parts.filter {
            let scope = Scope {
                sources: HashMap::from([(SourceId::SELF, rows.clone())]),
                ..Scope::default()
            };
            barrier.ask(self.scoped(scope, |r| r.parts(filter))?);
        }
        Ok(barrier.filter())
    }

    /// FROM, and WHERE to OFFSET, of the rows that match; and the alias.
    fn matching_rows(&mut self, parts: &UpdateParts<'_>) -> Result<(String, String, String)> {
        let alias = self.alias();
        let rows = Rc::new(self.table_source(parts.relation.relation, &alias, false));
        let mut tail = self.matching_where(parts, &rows)?;
        let scope = Scope {
            sources: HashMap::from([(SourceId::SELF, rows)]),
            ..Scope::default()
        };
        let order = self.scoped(scope, |r| r.order_by(parts.order))?;
        tail.push_str(&order);
        if parts.limit.is_some() || parts.offset > 0 {
            let limit = parts.limit.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
            tail.push_str(&format!(
                " LIMIT {limit} OFFSET {}",
                i64::try_from(parts.offset).unwrap_or(i64::MAX)
            ));
        }
        Ok((
            format!("{} AS {alias}", self.table(parts.relation.relation)),
            tail,
            alias,
        ))
    }
}

pub(super) fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}
