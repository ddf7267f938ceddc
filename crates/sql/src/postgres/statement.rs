//! Statements of a function's body.

use super::name::quote_identifier;
use super::render::{Renderer, RowSource, where_clause};
use mainstay_model::{
    Delete, Error, Expr, Insert, Projected, RelationId, RelationRef, Result, SourceId, Statement, Update,
};
use std::rc::Rc;

impl<'a> Renderer<'a> {
    /// A statement by itself.
    pub fn statement(&mut self, statement: &Statement) -> Result<String> {
        let scope = self.scope.clone();
        self.scoped(scope, |r| r.statement_here(statement))
    }

    /// A statement; what it brings into scope stays there.
    pub fn statement_here(&mut self, statement: &Statement) -> Result<String> {
        match statement {
            Statement::Select(select) => self.select(select),
            Statement::Insert(insert) => self.insert_statement(insert),
            Statement::Update(update) => self.update_statement(update),
            Statement::Delete(delete) => self.delete_statement(delete),
        }
    }

    fn insert_statement(&mut self, insert: &Insert) -> Result<String> {
        refuse_check(insert.check.is_some())?;
        let mut sql = self.with(&insert.with)?;
        let source = match &insert.source {
            Some(select) => {
                let scope = self.scope.clone();
                self.scoped(scope, |r| r.select(select))?
            }
            None => "DEFAULT VALUES".to_owned(),
        };
        let (alias, _) = self.target(&insert.relation)?;
        sql.push_str(&format!(
            "INSERT INTO {} AS {alias}",
            self.table(insert.relation.relation)
        ));
        if !insert.columns.is_empty() {
            let names = self.column_names(insert.relation.relation, &insert.columns)?;
            sql.push_str(&format!(" ({names})"));
        }
        sql.push_str(&format!(" {source}"));
        if let Some(conflict) = &insert.conflict {
            sql.push_str(" ON CONFLICT");
            if !conflict.target.is_empty() {
                let names = self.column_names(insert.relation.relation, &conflict.target)?;
                sql.push_str(&format!(" ({names})"));
            }
            if conflict.set.is_empty() {
                sql.push_str(" DO NOTHING");
            } else {
                let excluded = RowSource::new(
                    "excluded",
                    super::render::columns_of(self.schema, insert.relation.relation),
                );
                self.scope.sources.insert(SourceId::EXCLUDED, Rc::new(excluded));
                let set = self.assignments(insert.relation.relation, &conflict.set)?;
                sql.push_str(&format!(" DO UPDATE SET {set}"));
                if let Some(filter) = &conflict.filter {
                    sql.push_str(&format!(" WHERE {}", self.expr(filter)?));
                }
            }
        }
        sql.push_str(&self.returning(&insert.returning)?);
        Ok(sql)
    }

    fn update_statement(&mut self, update: &Update) -> Result<String> {
        refuse_check(update.check.is_some())?;
        let mut sql = self.with(&update.with)?;
        let (alias, security) = self.target(&update.relation)?;
        let (from, mut conditions) = self.from(&update.from)?;
        conditions.extend(security);
        let set = self.assignments(update.relation.relation, &update.set)?;
        sql.push_str(&format!(
            "UPDATE {} AS {alias} SET {set}",
            self.table(update.relation.relation)
        ));
        if !from.is_empty() {
            sql.push_str(&format!(" FROM {from}"));
        }
        if let Some(filter) = &update.filter {
            conditions.push(self.expr(filter)?);
        }
        sql.push_str(&where_clause(&conditions));
        sql.push_str(&self.returning(&update.returning)?);
        Ok(sql)
    }

    fn delete_statement(&mut self, delete: &Delete) -> Result<String> {
        let mut sql = self.with(&delete.with)?;
        let (alias, security) = self.target(&delete.relation)?;
        let (using, mut conditions) = self.from(&delete.using)?;
        conditions.extend(security);
        sql.push_str(&format!(
            "DELETE FROM {} AS {alias}",
            self.table(delete.relation.relation)
        ));
        if !using.is_empty() {
            sql.push_str(&format!(" USING {using}"));
        }
        if let Some(filter) = &delete.filter {
            conditions.push(self.expr(filter)?);
        }
        sql.push_str(&where_clause(&conditions));
        sql.push_str(&self.returning(&delete.returning)?);
        Ok(sql)
    }

    /// The table that is written to, as the row at hand: its alias, and what limits which rows.
    fn target(&mut self, relation: &RelationRef) -> Result<(String, Option<String>)> {
        let alias = self.alias();
        let rows = Rc::new(self.table_source(relation.relation, &alias));
        let security = self.security(relation, &rows)?;
        self.scope.sources.insert(SourceId::SELF, rows);
        Ok((alias, security))
    }

    fn assignments(&mut self, relation: RelationId, set: &[(u32, Expr)]) -> Result<String> {
        let mut parts = Vec::new();
        for (column, value) in set {
            let name = self.column_names(relation, &[*column])?;
            parts.push(format!("{name} = {}", self.expr(value)?));
        }
        Ok(parts.join(", "))
    }

    fn returning(&mut self, returning: &[Projected]) -> Result<String> {
        Ok(if returning.is_empty() {
            String::new()
        } else {
            format!(" RETURNING {}", self.projection(returning)?)
        })
    }

    /// Columns of a relation by name, separated by commas.
    pub fn column_names(&self, relation: RelationId, columns: &[u32]) -> Result<String> {
        let declared = &self.schema.relation(relation).columns;
        let names = columns
            .iter()
            .map(|at| {
                declared
                    .get(*at as usize)
                    .map(|c| quote_identifier(&c.name))
                    .ok_or_else(|| Error::internal(format!("a relation has no column {at}")))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(names.join(", "))
    }
}

/// Rows are checked by the database's policies; a check of ours, left out, would be a hole.
pub(super) fn refuse_check(is_there: bool) -> Result<()> {
    if is_there {
        return Err(Error::unsupported(
            "PostgreSQL checks new rows by its own policies; a check from outside cannot be handed to it",
        ));
    }
    Ok(())
}
