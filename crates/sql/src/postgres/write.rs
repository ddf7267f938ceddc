//! INSERT, UPDATE and DELETE of a step, up to where RETURNING would stand.

use super::SlotValue;
use super::name::{is_binary, parameter_type_name, quote_identifier};
use super::render::{Renderer, RowSource, Scope, qualified, row_of_text, where_clause};
use super::statement::refuse_check;
use super::step::{MERGED, is_partitioned};
use mainstay_model::{
    Action, Cell, Column, DomainCast, Error, Expr, OnConflict, OrderBy, RelationId, RelationRef, Result, SourceId, Type,
};
use std::collections::HashMap;
use std::rc::Rc;

/// Which rows an update or a deletion touches.
struct Matching<'p> {
    relation: &'p RelationRef,
    filter: Option<&'p Expr>,
    order: &'p [OrderBy],
    limit: Option<u64>,
    offset: u64,
}

impl<'a> Renderer<'a> {
    /// The statement, and the alias of the table that it writes to.
    pub fn write(&mut self, action: &Action) -> Result<(String, String)> {
        let alias = self.alias();
        let sql = match action {
            Action::Insert {
                relation,
                columns,
                rows,
                conflict,
                check,
                updated,
            } => {
                refuse_check(check.is_some() || updated.is_some())?;
                let table = Rc::new(self.table_source(relation.relation, &alias));
                let existing = self.security(relation, &table)?;
                let source = self.rows_given(relation.relation, columns, rows)?;
                let mut sql = format!("INSERT INTO {} AS {alias}{source}", self.table(relation.relation));
                if let Some(conflict) = conflict {
                    sql.push_str(&self.on_conflict(relation.relation, columns, conflict)?);
                    if sql.contains(" DO UPDATE SET ") {
                        let mut conditions: Vec<String> = existing.into_iter().collect();
                        if is_partitioned(self.schema, relation.relation) {
                            conditions.push(format!(
                                "pg_catalog.set_config('mainstay.merged', ({MERGED} + 1)::text, true) IS NOT NULL"
                            ));
                        }
                        sql.push_str(&where_clause(&conditions));
                    }
                }
                sql
            }
            Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                check,
            } => {
                refuse_check(check.is_some())?;
                let set = self.set(relation.relation, set)?;
                let matching = Matching {
                    relation,
                    filter: filter.as_ref(),
                    order,
                    limit: *limit,
                    offset: *offset,
                };
                let conditions = self.matching(&matching, &alias)?;
                format!(
                    "UPDATE {} AS {alias} SET {set}{conditions}",
                    self.table(relation.relation)
                )
            }
            Action::Delete {
                relation,
                filter,
                order,
                limit,
                offset,
            } => {
                let matching = Matching {
                    relation,
                    filter: filter.as_ref(),
                    order,
                    limit: *limit,
                    offset: *offset,
                };
                let conditions = self.matching(&matching, &alias)?;
                format!("DELETE FROM {} AS {alias}{conditions}", self.table(relation.relation))
            }
            Action::Call(_) | Action::Read => return Err(Error::internal("neither a call nor a read writes")),
        };
        Ok((sql, alias))
    }

    fn declared(&self, relation: RelationId, column: u32) -> Result<&'a Column> {
        self.schema
            .relation(relation)
            .columns
            .get(column as usize)
            .ok_or_else(|| Error::internal(format!("a table has no column {column}")))
    }

    /// ` (columns) VALUES …`. Many rows without defaults among them come as one array for each column, so that the text does not depend
    /// on how many there are.
    fn rows_given(&mut self, relation: RelationId, columns: &[u32], rows: &[Vec<Cell>]) -> Result<String> {
        let is_default = |row: &[Cell], at: usize| matches!(row.get(at), Some(Cell::Default));
        // What an earlier step yields is a value of the column, however the column's values are written.
        let is_single = |row: &[Cell], at: usize| matches!(row.get(at), Some(Cell::Default | Cell::Earlier(..)));
        // A column that no row gives takes its default by not being named.
        let given: Vec<usize> = (0..columns.len())
            .filter(|at| rows.iter().any(|row| !is_default(row, *at)))
            .collect();
        let named: Vec<u32> = given.iter().map(|at| columns[*at]).collect();
        let names = self.column_names(relation, &named)?;
        match rows {
            [] => Err(Error::internal("an insertion without rows")),
            [_] if given.is_empty() => Ok(" DEFAULT VALUES".to_owned()),
            many if given.is_empty() => {
                let first = self.column_names(relation, &[0])?;
                Ok(format!(
                    " ({first}) VALUES {}",
                    vec!["(DEFAULT)"; many.len()].join(", ")
                ))
            }
            many if many.len() > 1 && given.iter().all(|at| !many.iter().any(|row| is_single(row, *at))) => {
                let (mut arrays, mut values, mut aliases) = (Vec::new(), Vec::new(), Vec::new());
                for (n, (at, column)) in given.iter().zip(&named).enumerate() {
                    let declared = self.declared(relation, *column)?;
                    let written = self.schema.written(declared);
                    let ty = written.map_or_else(|| declared.ty.clone(), |_| Type::Json);
                    let at = *at as u16;
                    // unnest() opens nested arrays too, and an array of a type that has no binary form is hard to write: as texts.
                    if let Some(cast) = written {
                        let array = Type::Array(Box::new(Type::Text));
                        arrays.push(self.slot(SlotValue::ColumnTexts(at, ty), &array)?);
                        values.push(represented(cast, &format!("v.c{n}::json")));
                    } else if is_binary(&ty) && !matches!(ty, Type::Array(_)) {
                        let array = Type::Array(Box::new(ty));
                        arrays.push(self.slot(SlotValue::Column(at), &array)?);
                        values.push(format!("v.c{n}"));
                    } else {
                        let array = Type::Array(Box::new(Type::Text));
                        arrays.push(self.slot(SlotValue::ColumnTexts(at, ty.clone()), &array)?);
                        values.push(match &ty {
                            Type::Row(_) => row_of_text(&format!("v.c{n}"), &ty),
                            ty => format!("v.c{n}::{}", parameter_type_name(ty)),
                        });
                    }
                    aliases.push(format!("c{n}"));
                }
                Ok(format!(
                    " ({names}) SELECT {} FROM unnest({}) AS v({})",
                    values.join(", "),
                    arrays.join(", "),
                    aliases.join(", ")
                ))
            }
            few => {
                let mut tuples = Vec::new();
                for (n, row) in few.iter().enumerate() {
                    let mut values = Vec::new();
                    for (at, column) in given.iter().zip(&named) {
                        values.push(if is_default(row, *at) {
                            "DEFAULT".to_owned()
                        } else {
                            let declared = self.declared(relation, *column)?;
                            self.cell(declared, &row[*at], SlotValue::Cell(n as u32, *at as u16))?
                        });
                    }
                    tuples.push(format!("({})", values.join(", ")));
                }
                Ok(format!(" ({names}) VALUES {}", tuples.join(", ")))
            }
        }
    }

    /// A value for a column, as a parameter: as its domain has it written, if that says how.
    fn cell(&mut self, column: &Column, given: &Cell, value: SlotValue) -> Result<String> {
        match (given, self.schema.written(column)) {
            (Cell::Value(_), Some(cast)) => {
                let json = self.slot(value, &Type::Json)?;
                Ok(represented(cast, &json))
            }
            _ => self.slot(value, &column.ty),
        }
    }

    /// ` ON CONFLICT …`. What decides stays as it is: the new values are the same, and to write them takes a privilege.
    fn on_conflict(&mut self, relation: RelationId, columns: &[u32], conflict: &OnConflict) -> Result<String> {
        let target = match &*conflict.target {
            [] => String::new(),
            target => format!(" ({})", self.column_names(relation, target)?),
        };
        if conflict.ignore || columns.is_empty() {
            return Ok(format!(" ON CONFLICT{target} DO NOTHING"));
        }
        if target.is_empty() {
            return Err(Error::new(
                "42P10",
                "there is no unique or exclusion constraint matching the ON CONFLICT specification",
            )
            .hint("Name the columns of a unique constraint in `on_conflict`."));
        }
        let mut set = Vec::new();
        for column in columns {
            let declared = self.declared(relation, *column)?;
            if declared.generated.is_none() && !conflict.target.contains(column) {
                set.push(format!("{0} = EXCLUDED.{0}", quote_identifier(&declared.name)));
            }
        }
        if set.is_empty() {
            // Touched all the same, so that it is returned.
            let name = quote_identifier(&self.declared(relation, conflict.target[0])?.name);
            set.push(format!("{name} = EXCLUDED.{name}"));
        }
        Ok(format!(" ON CONFLICT{target} DO UPDATE SET {}", set.join(", ")))
    }

    fn set(&mut self, relation: RelationId, set: &[(u32, Cell)]) -> Result<String> {
        let mut parts = Vec::new();
        for (at, (column, cell)) in set.iter().enumerate() {
            let declared = self.declared(relation, *column)?;
            let value = match cell {
                Cell::Default => "DEFAULT".to_owned(),
                given => self.cell(declared, given, SlotValue::Cell(0, at as u16))?,
            };
            parts.push(format!("{} = {value}", quote_identifier(&declared.name)));
        }
        if parts.is_empty() {
            return Err(Error::new("42601", "an update must set at least one column"));
        }
        Ok(parts.join(", "))
    }

    /// ` WHERE …` for the rows that match, under an alias.
    fn matching(&mut self, matching: &Matching<'_>, alias: &str) -> Result<String> {
        let relation = matching.relation.relation;
        if matching.limit.is_none() && matching.offset == 0 {
            let rows = Rc::new(self.table_source(relation, alias));
            return Ok(where_clause(&self.conditions(matching, &rows)?));
        }
        let inner = self.alias();
        let rows = Rc::new(self.table_source(relation, &inner));
        let conditions = self.conditions(matching, &rows)?;
        let scope = scope_of(&rows);
        let order = self.scoped(scope, |r| r.order_by(matching.order))?;
        let declared = self.schema.relation(relation);
        let names = match (declared.primary_key(), declared.table()) {
            ([], Some(_)) => vec!["ctid".to_owned()],
            ([], None) => {
                return Err(Error::new(
                    "42P10",
                    format!(
                        "\"{}\" is a view without a key: a limited write to it cannot tell its rows apart",
                        declared.name
                    ),
                )
                .hint("Leave out `limit` and `offset`, or write to the table behind it."));
            }
            (key, _) => {
                let mut names = Vec::new();
                for at in key {
                    names.push(quote_identifier(&self.declared(relation, *at)?.name));
                }
                names
            }
        };
        let under = |alias: &str| {
            names
                .iter()
                .map(|n| format!("{alias}.{n}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let limit = matching
            .limit
            .map_or(String::new(), |n| format!(" LIMIT {}", n.min(i64::MAX as u64)));
        let offset = match matching.offset {
            0 => String::new(),
            n => format!(" OFFSET {}", n.min(i64::MAX as u64)),
        };
        Ok(format!(
            " WHERE ({}) IN (SELECT {} FROM {} AS {inner}{}{order}{limit}{offset})",
            under(alias),
            under(&inner),
            self.table(relation),
            where_clause(&conditions)
        ))
    }

    fn conditions(&mut self, matching: &Matching<'_>, rows: &Rc<RowSource>) -> Result<Vec<String>> {
        let mut conditions: Vec<String> = self.security(matching.relation, rows)?.into_iter().collect();
        if let Some(filter) = matching.filter {
            let scope = scope_of(rows);
            conditions.push(self.scoped(scope, |r| r.expr(filter))?);
        }
        Ok(conditions)
    }
}

/// A call of the function behind a domain's cast.
fn represented(cast: &DomainCast, value: &str) -> String {
    format!("{}({value})", qualified(&cast.namespace, &cast.name))
}

/// The scope in which a row is the row at hand.
fn scope_of<'a>(rows: &Rc<RowSource>) -> Scope<'a> {
    Scope {
        sources: HashMap::from([(SourceId::SELF, rows.clone())]),
        ..Scope::default()
    }
}
