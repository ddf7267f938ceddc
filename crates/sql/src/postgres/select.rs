//! Query expressions of bound SQL, with everything that may stand in them.

use super::expr::sort_key;
use super::from::statement_columns;
use super::name::quote_identifier;
use super::render::{Renderer, where_clause};
use mainstay_model::{CommonTable, Error, ExprKind, OrderBy, Projected, Result, Select, SetOperation, SourceId};
use std::rc::Rc;

impl<'a> Renderer<'a> {
    /// A query. What it brings into scope stays there: the caller ends the scope.
    pub fn select(&mut self, select: &Select) -> Result<String> {
        self.deeper(|r| {
            let mut sql = r.with(&select.with)?;
            let core = r.core(select)?;
            match &select.set_operation {
                None => {
                    sql.push_str(&core);
                    sql.push_str(&r.order_by(&select.order)?);
                }
                Some((operation, right)) => {
                    let word = match operation {
                        SetOperation::Union => "UNION",
                        SetOperation::UnionAll => "UNION ALL",
                        SetOperation::Intersect => "INTERSECT",
                        SetOperation::IntersectAll => "INTERSECT ALL",
                        SetOperation::Except => "EXCEPT",
                        SetOperation::ExceptAll => "EXCEPT ALL",
                    };
                    // Sources have ids of their own, so that the left side's are not mistaken for the right's.
                    let scope = r.scope.clone();
                    let right = r.scoped(scope, |r| r.select(right))?;
                    sql.push_str(&format!("({core}) {word} ({right}){}", output_order(&select.order)?));
                }
            }
            if let Some(limit) = &select.limit {
                sql.push_str(&format!(" LIMIT {}", r.expr(limit)?));
            }
            if let Some(offset) = &select.offset {
                sql.push_str(&format!(" OFFSET {}", r.expr(offset)?));
            }
            Ok(sql)
        })
    }

    fn core(&mut self, select: &Select) -> Result<String> {
        if !select.values.is_empty() {
            let mut rows = Vec::new();
            for row in &select.values {
                rows.push(format!("({})", self.list(row)?));
            }
            return Ok(format!("VALUES {}", rows.join(", ")));
        }
        let (from, mut conditions) = self.from(&select.from)?;
        let mut sql = String::from("SELECT ");
        if !select.distinct_on.is_empty() {
            sql.push_str(&format!("DISTINCT ON ({}) ", self.list(&select.distinct_on)?));
        } else if select.distinct {
            sql.push_str("DISTINCT ");
        }
        sql.push_str(&self.projection(&select.projection)?);
        if !from.is_empty() {
            sql.push_str(&format!(" FROM {from}"));
        }
        if let Some(filter) = &select.filter {
            conditions.push(self.expr(filter)?);
        }
        sql.push_str(&where_clause(&conditions));
        if !select.group_by.is_empty() {
            sql.push_str(&format!(" GROUP BY {}", self.list(&select.group_by)?));
        }
        if let Some(having) = &select.having {
            sql.push_str(&format!(" HAVING {}", self.expr(having)?));
        }
        Ok(sql)
    }

    /// Values with their names.
    pub fn projection(&mut self, projection: &[Projected]) -> Result<String> {
        let terms = projection
            .iter()
            .map(|p| {
                let sql = self.expr(&p.expr)?;
                Ok(if p.name.is_empty() {
                    sql
                } else {
                    format!("{sql} AS {}", quote_identifier(&p.name))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(terms.join(", "))
    }

    /// `WITH …` and a blank, or nothing; its members come into scope.
    pub fn with(&mut self, members: &[CommonTable]) -> Result<String> {
        if members.is_empty() {
            return Ok(String::new());
        }
        let recursive = members.iter().any(|m| m.recursive);
        let mut parts = Vec::new();
        for member in members {
            let name = quote_identifier(&member.name);
            let columns = if member.columns.is_empty() {
                statement_columns(&member.statement)
            } else {
                member.columns.clone()
            };
            let entry = (name.clone(), Rc::new(columns));
            if member.recursive {
                self.scope.common.insert(member.id, entry.clone());
            }
            let scope = self.scope.clone();
            let body = self.scoped(scope, |r| r.statement_here(&member.statement))?;
            let names: Vec<String> = entry.1.iter().map(|(name, _)| quote_identifier(name)).collect();
            let names = if names.is_empty() {
                String::new()
            } else {
                format!("({})", names.join(", "))
            };
            self.scope.common.insert(member.id, entry);
            parts.push(format!("{name}{names} AS ({body})"));
        }
        let word = if recursive { "WITH RECURSIVE" } else { "WITH" };
        Ok(format!("{word} {} ", parts.join(", ")))
    }
}

/// ORDER BY after a set operation: output columns, by their number.
fn output_order(order: &[OrderBy]) -> Result<String> {
    let keys = order
        .iter()
        .map(|key| match &key.expr.kind {
            ExprKind::Column(column) if column.source == SourceId::SELF => {
                Ok(sort_key(&(column.column + 1).to_string(), key))
            }
            _ => Err(Error::internal(
                "a set operation is ordered by something that is no output column",
            )),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(if keys.is_empty() {
        String::new()
    } else {
        format!(" ORDER BY {}", keys.join(", "))
    })
}
