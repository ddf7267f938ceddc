//! The statements of functions' bodies: INSERT, UPDATE and DELETE as written, with their policies.

use super::barrier::Barrier;
use super::render::{Renderer, Scope, Term, quote_text};
use super::write::{Target, conflict_target, never_numbered, row_test, where_clause};
use super::{OutputColumn, Rendered, StatementPlan, quote_identifier, rowid_name};
use mainstay_model::{
    Conflict, Delete, Error, Expr, ExprKind, Insert, Projected, RelationId, RelationRef, Result, Schema, Select,
    SourceId, Statement, Type, Update,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

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
                updated: None,
            });
        }
        Statement::Insert(insert) => (insert.relation.relation, &insert.check, r.insert_statement(insert)?),
        Statement::Update(update) => (update.relation.relation, &update.check, r.update_statement(update)?),
        Statement::Delete(delete) => (delete.relation.relation, &None, r.delete_statement(delete)?),
    };
    let check: Option<&Arc<Expr>> = check.as_ref();
    let check = check.map(|c| row_test(schema, relation, c)).transpose()?;
    let updated = match statement {
        Statement::Insert(insert) => insert.updated.as_deref(),
        _ => None,
    };
    let updated = updated.map(|c| row_test(schema, relation, c)).transpose()?;
    Ok(StatementPlan {
        run: Rendered {
            sql,
            binds: r.binds,
            columns,
        },
        touches: true,
        check,
        updated,
    })
}

impl<'a> Renderer<'a> {
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
            let value = self.assign_term(term, &column.ty, &table.columns[index as usize])?;
            values.push(never_numbered(schema, relation, index, value));
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
                quote_text(&format!(
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
        let (from, mut barrier) = self.from(&update.from)?;
        if let Some(security) = &update.relation.security {
            let condition = self.security(security, &rows)?;
            barrier.secure(condition.clone(), condition);
        }
        if let Some(filter) = &update.filter {
            barrier.ask(self.parts(filter)?);
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
        let from = if from.is_empty() {
            from
        } else {
            format!(" FROM {}", barrier.close(&from))
        };
        let (returning, columns) = self.returning(id, &update.returning)?;
        let table = self.table(id);
        Ok((
            format!(
                "{with}UPDATE {table} AS {alias} SET {}{from}{}{returning}",
                set.join(", "),
                barrier.filter()
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
        let mut barrier = Barrier::default();
        if let Some(security) = &delete.relation.security {
            let condition = self.security(security, &rows)?;
            barrier.secure(condition.clone(), condition);
        }
        if delete.using.is_empty() {
            if let Some(filter) = &delete.filter {
                barrier.ask(self.parts(filter)?);
            }
        } else {
            // SQLite has no USING: a row goes if any combination of the others matches it.
            let matches = self.watched(|r| {
                let (from, mut inner) = r.from(&delete.using)?;
                if let Some(filter) = &delete.filter {
                    inner.ask(r.parts(filter)?);
                }
                Ok(format!(
                    "EXISTS (SELECT 1 FROM {}{})",
                    inner.close(&from),
                    inner.filter()
                ))
            })?;
            barrier.ask(vec![matches]);
        }
        let (returning, columns) = self.returning(id, &delete.returning)?;
        let table = self.table(id);
        Ok((
            format!("{with}DELETE FROM {table} AS {alias}{}{returning}", barrier.filter()),
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
