//! Writes: insertions, updates and deletions as single statements, their policies' checks, and the statements of functions' bodies.

use super::render::{Renderer, Scope, Term};
use super::storage::Form;
use super::{
    Bind, DeletePlan, InsertPlan, NoRow, OutputColumn, Rendered, StatementPlan, UpdatePlan, quote_identifier,
    rowid_name,
};
use mainstay_model::{
    Cell, Conflict, Delete, Error, Expr, ExprKind, IdentityColumn, Insert, OnConflict, OrderBy, Projected, RelationId,
    RelationRef, Result, Schema, Select, SourceId, Statement, Type, Update,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What an INSERT names, whichever way it came.
struct Target<'s> {
    schema: &'s Schema,
    id: RelationId,
}

impl<'s> Target<'s> {
    fn new(schema: &'s Schema, relation: &RelationRef) -> Result<Target<'s>> {
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

    fn column(&self, index: u32) -> Result<&'s mainstay_model::Column> {
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
    visible: Option<&Expr>,
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
        values.push(r.bind(Bind::Cell(at as u16))?);
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
        visible: visible.map(|c| row_test(schema, relation.relation, c)).transpose()?,
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
    let condition = r.security(condition, &rows)?;
    let table = r.table(relation);
    let name = rowid_name(schema.relation(relation));
    let sql = format!("SELECT 1 FROM {table} AS {alias} WHERE {alias}.{name} = {rowid} AND {condition}");
    Ok(Rendered {
        sql,
        binds: r.binds,
        columns: Vec::new(),
    })
}

fn conflict_target(schema: &Schema, relation: RelationId, target: &[u32], r: &Renderer<'_>) -> Result<String> {
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
    fn defaults(
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
                if column.identity.is_some() && rowid_column(schema, relation) == Some(index) {
                    continue;
                }
                names.push(quote_identifier(&column.name));
                values.push(self.default_value(relation, index)?);
            }
        }
        Ok(())
    }

    /// A column's default as it is written to the column.
    pub fn default_value(&mut self, relation: RelationId, index: u32) -> Result<String> {
        let schema = self.schema;
        let column = &schema.relation(relation).columns[index as usize];
        match (&column.default, column.identity) {
            (_, Some(_)) => {
                let name = sequence_name(schema, relation, index);
                Ok(format!(
                    "mainstay_nextval({})",
                    super::render::quote_text(&name).unwrap_or_default()
                ))
            }
            (Some(default), None) => self.scoped(Scope::default(), |r| r.assign(default, column)),
            (None, None) => Ok("NULL".to_owned()),
        }
    }

    /// ` WHERE …` for an UPDATE or DELETE under an alias.
    fn matching(&mut self, parts: &UpdateParts<'_>) -> Result<(String, String)> {
        if parts.limit.is_none() && parts.offset == 0 {
            let alias = self.alias();
            let rows = Rc::new(self.table_source(parts.relation.relation, &alias, false));
            let mut conditions = Vec::new();
            if let Some(security) = &parts.relation.security {
                conditions.push(self.security(security, &rows)?);
            }
            if let Some(filter) = parts.filter {
                conditions.push(self.security(filter, &rows)?);
            }
            return Ok((where_clause(&conditions), alias));
        }
        let rowid = rowid_name(self.schema.relation(parts.relation.relation));
        let (from, tail, inner) = self.matching_rows(parts)?;
        let alias = self.alias();
        Ok((
            format!(" WHERE {alias}.{rowid} IN (SELECT {inner}.{rowid} FROM {from}{tail})"),
            alias,
        ))
    }

    /// FROM, and WHERE to OFFSET, of the rows that match; and the alias.
    fn matching_rows(&mut self, parts: &UpdateParts<'_>) -> Result<(String, String, String)> {
        let alias = self.alias();
        let rows = Rc::new(self.table_source(parts.relation.relation, &alias, false));
        let mut conditions = Vec::new();
        if let Some(security) = &parts.relation.security {
            conditions.push(self.security(security, &rows)?);
        }
        if let Some(filter) = parts.filter {
            conditions.push(self.security(filter, &rows)?);
        }
        let scope = Scope {
            sources: HashMap::from([(SourceId::SELF, rows)]),
            ..Scope::default()
        };
        let order = self.scoped(scope, |r| r.order_by(parts.order))?;
        let mut tail = where_clause(&conditions);
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

    /// RETURNING: the rowid, then the projection.
    fn returning(&mut self, relation: RelationId, returning: &[Projected]) -> Result<(String, Vec<OutputColumn>)> {
        // RETURNING knows the target by its table's name, not by its alias; every other source of ours has an alias.
        let table = self.table(relation);
        let rows = Rc::new(self.table_source(relation, &table, false));
        let scope = Scope {
            sources: HashMap::from([(SourceId::SELF, rows)]),
            arguments: self.scope.arguments.clone(),
            common: self.scope.common.clone(),
            embeds: None,
        };
        let mut sql = format!(" RETURNING {}", rowid_name(self.schema.relation(relation)));
        let mut columns = Vec::new();
        self.scoped(scope, |r| {
            for projected in returning {
                let term = r.expr(&projected.expr)?;
                sql.push_str(&format!(", {}", term.sql));
                columns.push(OutputColumn {
                    name: projected.name.clone(),
                    ty: projected.expr.ty.clone(),
                    form: term.form,
                });
            }
            Ok(())
        })?;
        Ok((sql, columns))
    }

    fn insert_statement(&mut self, insert: &Insert) -> Result<(String, Vec<OutputColumn>)> {
        let schema = self.schema;
        let target = Target::new(schema, &insert.relation)?;
        let id = insert.relation.relation;
        let with = self.with(&insert.with)?;
        let mut names = Vec::new();
        for &index in &insert.columns {
            let column = target.column(index)?;
            names.push(quote_identifier(&column.name));
        }
        let mut values = Vec::new();
        let table = self.table(id);
        let mut sql = match &insert.source {
            None => {
                self.defaults(id, &insert.columns, &mut names, &mut values)?;
                if names.is_empty() {
                    format!("{with}INSERT INTO {table} AS t DEFAULT VALUES")
                } else {
                    format!(
                        "{with}INSERT INTO {table} AS t ({}) SELECT {} WHERE 1",
                        names.join(", "),
                        values.join(", ")
                    )
                }
            }
            Some(source) => {
                let mut rows = self.source_values(source, &insert.columns, id)?;
                self.defaults(id, &insert.columns, &mut names, &mut rows.0)?;
                format!(
                    "{with}INSERT INTO {table} AS t ({}) SELECT {} FROM ({}) AS s WHERE 1",
                    names.join(", "),
                    rows.0.join(", "),
                    rows.1
                )
            }
        };
        if let Some(conflict) = &insert.conflict {
            sql.push_str(&self.conflict(&insert.relation, conflict)?);
        }
        let (returning, columns) = self.returning(id, &insert.returning)?;
        sql.push_str(&returning);
        Ok((sql, columns))
    }

    /// The source of an INSERT as a query, and each of its columns as it is written to the table's.
    fn source_values(
        &mut self,
        source: &Select,
        columns: &[u32],
        relation: RelationId,
    ) -> Result<(Vec<String>, String)> {
        let schema = self.schema;
        let table = schema.relation(relation);
        let plain = source.values.is_empty()
            && source.set_operation.is_none()
            && !source.distinct
            && source.distinct_on.is_empty();
        let mut stripped;
        let mut source = source;
        if plain && source.projection.len() == columns.len() {
            // The assignment's own cast is done here, where texts that are too long are refused and not cut.
            stripped = source.clone();
            for (projected, &index) in stripped.projection.iter_mut().zip(columns) {
                uncut(&mut projected.expr, &table.columns[index as usize].ty);
            }
            source = &stripped;
        } else if !source.values.is_empty() {
            stripped = source.clone();
            for row in &mut stripped.values {
                for (value, &index) in row.iter_mut().zip(columns) {
                    uncut(value, &table.columns[index as usize].ty);
                }
            }
            source = &stripped;
        }
        let rendered = self.select(source, None)?;
        if rendered.columns.len() != columns.len() {
            return Err(Error::new(
                "42601",
                "INSERT has more target columns than expressions, or fewer",
            ));
        }
        let mut values = Vec::new();
        for (column, &index) in rendered.columns.iter().zip(columns) {
            let term = Term {
                sql: format!("s.{}", column.sql),
                form: column.form,
                digits: column.digits,
                atom: true,
                null: false,
            };
            values.push(self.assign_term(term, &column.ty, &table.columns[index as usize])?);
        }
        Ok((values, rendered.sql))
    }

    fn conflict(&mut self, relation: &RelationRef, conflict: &Conflict) -> Result<String> {
        let schema = self.schema;
        let keys = conflict_target(schema, relation.relation, &conflict.target, self)?;
        if conflict.set.is_empty() {
            return Ok(format!(" ON CONFLICT{keys} DO NOTHING"));
        }
        let present = Rc::new(self.table_source(relation.relation, "t", false));
        let excluded = Rc::new(self.table_source(relation.relation, "excluded", false));
        let mut sources = self.scope.sources.clone();
        sources.insert(SourceId::SELF, present.clone());
        sources.insert(SourceId::EXCLUDED, excluded);
        let scope = Scope {
            sources,
            arguments: self.scope.arguments.clone(),
            common: self.scope.common.clone(),
            embeds: None,
        };
        let mut conditions = Vec::new();
        let set = self.scoped(scope, |r| {
            let mut set = Vec::new();
            for (index, value) in &conflict.set {
                let column = &schema.relation(relation.relation).columns[*index as usize];
                set.push(format!(
                    "{} = {}",
                    quote_identifier(&column.name),
                    r.assign(value, column)?
                ));
            }
            if let Some(filter) = &conflict.filter {
                conditions.push(r.condition(filter)?);
            }
            Ok(set)
        })?;
        if let Some(security) = &relation.security {
            // Postgres refuses such a row (42501); the row is tested before its values are touched.
            let test = self.security(security, &present)?;
            conditions.push(format!(
                "(CASE WHEN {test} THEN 1 ELSE mainstay_raise('42501', {}) END)",
                super::render::quote_text(&format!(
                    "new row violates row-level security policy (USING expression) for table \"{}\"",
                    schema.relation(relation.relation).name
                ))
                .unwrap_or_default()
            ));
        }
        Ok(format!(
            " ON CONFLICT{keys} DO UPDATE SET {}{}",
            set.join(", "),
            where_clause(&conditions)
        ))
    }

    fn update_statement(&mut self, update: &Update) -> Result<(String, Vec<OutputColumn>)> {
        let schema = self.schema;
        let target = Target::new(schema, &update.relation)?;
        let id = update.relation.relation;
        let with = self.with(&update.with)?;
        let alias = self.alias();
        let rows = Rc::new(self.table_source(id, &alias, false));
        self.scope.sources.insert(SourceId::SELF, rows.clone());
        let (from, mut conditions) = self.from(&update.from)?;
        if let Some(security) = &update.relation.security {
            conditions.push(self.security(security, &rows)?);
        }
        if let Some(filter) = &update.filter {
            conditions.push(self.condition(filter)?);
        }
        let mut set = Vec::new();
        for (index, value) in &update.set {
            let column = target.column(*index)?;
            set.push(format!(
                "{} = {}",
                quote_identifier(&column.name),
                self.assign(value, column)?
            ));
        }
        let from = if from.is_empty() { from } else { format!(" FROM {from}") };
        let (returning, columns) = self.returning(id, &update.returning)?;
        let table = self.table(id);
        Ok((
            format!(
                "{with}UPDATE {table} AS {alias} SET {}{from}{}{returning}",
                set.join(", "),
                where_clause(&conditions)
            ),
            columns,
        ))
    }

    fn delete_statement(&mut self, delete: &Delete) -> Result<(String, Vec<OutputColumn>)> {
        Target::new(self.schema, &delete.relation)?;
        let id = delete.relation.relation;
        let with = self.with(&delete.with)?;
        let alias = self.alias();
        let rows = Rc::new(self.table_source(id, &alias, false));
        self.scope.sources.insert(SourceId::SELF, rows.clone());
        let mut conditions = Vec::new();
        if let Some(security) = &delete.relation.security {
            conditions.push(self.security(security, &rows)?);
        }
        if delete.using.is_empty() {
            if let Some(filter) = &delete.filter {
                conditions.push(self.condition(filter)?);
            }
        } else {
            // SQLite has no USING: a row goes if any combination of the others matches it.
            let (from, mut inner) = self.from(&delete.using)?;
            if let Some(filter) = &delete.filter {
                inner.push(self.condition(filter)?);
            }
            conditions.push(format!("EXISTS (SELECT 1 FROM {from}{})", where_clause(&inner)));
        }
        let (returning, columns) = self.returning(id, &delete.returning)?;
        let table = self.table(id);
        Ok((
            format!(
                "{with}DELETE FROM {table} AS {alias}{}{returning}",
                where_clause(&conditions)
            ),
            columns,
        ))
    }
}

/// Takes away the cast to a column's length that would cut a text, so that the assignment can refuse it.
fn uncut(value: &mut Expr, ty: &Type) {
    if !ty.is_text() || value.ty != *ty {
        return;
    }
    match &value.kind {
        ExprKind::Cast(inner) if inner.ty.is_text() => *value = (**inner).clone(),
        ExprKind::Literal(_) => value.ty = Type::Text,
        _ => {}
    }
}

fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}

/// Compiles a statement of a function's body.
pub(super) fn compile_statement(schema: &Schema, statement: &Statement) -> Result<StatementPlan> {
    let mut r = Renderer::new(schema);
    let (relation, check, (sql, columns)) = match statement {
        Statement::Select(select) => {
            let rendered = r.select(select, None)?;
            let columns = rendered
                .columns
                .into_iter()
                .map(|c| OutputColumn {
                    name: c.name,
                    ty: c.ty,
                    form: c.form,
                })
                .collect();
            return Ok(StatementPlan {
                run: Rendered {
                    sql: rendered.sql,
                    binds: r.binds,
                    columns,
                },
                touches: false,
                check: None,
            });
        }
        Statement::Insert(insert) => (insert.relation.relation, &insert.check, r.insert_statement(insert)?),
        Statement::Update(update) => (update.relation.relation, &update.check, r.update_statement(update)?),
        Statement::Delete(delete) => (delete.relation.relation, &None, r.delete_statement(delete)?),
    };
    let check: Option<&Arc<Expr>> = check.as_ref();
    let check = check.map(|c| row_test(schema, relation, c)).transpose()?;
    Ok(StatementPlan {
        run: Rendered {
            sql,
            binds: r.binds,
            columns,
        },
        touches: true,
        check,
    })
}
