//! A table made anew, as SQLite's documentation says (<https://sqlite.org/lang_altertable.html>, 7.): the new one beside the old, the
//! rows copied, the old one dropped, the new one renamed. Each value that changes its type is converted as PostgreSQL would; what cannot
//! be is told with its row.

use crate::bind::Prepared;
use crate::constraint::{Attempt, Inquiry, no_operation};
use crate::description::{Described, Description};
use crate::functions::convert;
use crate::migrate::Failure;
use crate::seed::{advance_sequences, said};
use crate::statement::Statement;
use mainstay_model::{Column, Identity, IdentityColumn, RelationId, RelationRef, Result, Schema, Type, Value};
use mainstay_sql::narrowing::narrowing;
use mainstay_sql::sqlite::{self, column_form, decode, quote_identifier, table_name};
use rusqlite::{Connection, OptionalExtension};
use std::rc::Rc;

/// Before the names of tables that are being made.
const PREFIX: &str = "_mainstay_new_";

/// Rows between two calls of whoever is told.
const TOLD_EVERY: u64 = 1024;

/// A table to be made anew.
pub(crate) struct Rebuild<'a> {
    pub conn: &'a Rc<Connection>,
    pub schema: &'a Schema,
    pub store: &'a str,
    pub id: RelationId,
    pub had: &'a Description,
}

/// A column that is in the old table and in the new one.
struct Kept<'a> {
    index: u32,
    column: &'a Column,
    from: Type,
}

impl Rebuild<'_> {
    /// What it takes, to be read: the copy is done row by row, and the rest as it stands here.
    pub fn statements(&self) -> Result<Vec<String>> {
        let (temporary, create, after) = self.definition()?;
        let kept = self.kept();
        let (old, new) = (self.name(), quote_identifier(&temporary));
        let names: Vec<String> = kept.iter().map(|k| quote_identifier(&k.column.name)).collect();
        let values: Vec<String> = kept
            .iter()
            .zip(&names)
            .map(|(k, name)| match k.from == k.column.ty {
                true => name.clone(),
                false => format!("{name}::{}", k.column.ty),
            })
            .collect();
        let mut statements = vec![create];
        if !kept.is_empty() {
            statements.push(format!(
                "INSERT INTO {new} ({}) SELECT {} FROM {}",
                names.join(", "),
                values.join(", "),
                quote_identifier(&old)
            ));
        }
        statements.push(format!("DROP TABLE {}", quote_identifier(&old)));
        statements.push(format!("ALTER TABLE {new} RENAME TO {}", quote_identifier(&old)));
        statements.extend(after);
        Ok(statements)
    }

    /// What of its values is lost.
    pub fn losses(&self) -> Vec<String> {
        let relation = self.schema.relation(self.id);
        let mut losses = Vec::new();
        for (part, text) in self.had {
            let Some(name) = part.strip_prefix("column ") else {
                continue;
            };
            let had = Described::of(text);
            match relation.column(name) {
                None if had.generated() => {}
                None => losses.push(format!("column \"{name}\": the column's values")),
                Some(at) => {
                    let column = &relation.columns[at as usize];
                    if column.generated.is_some() && !had.generated() {
                        losses.push(format!("column \"{name}\": its values are computed from now on"));
                    } else if let Some(how) = narrowing(had.ty, &column.ty.to_string())
                        && !had.generated()
                    {
                        losses.push(format!("column \"{name}\": {how}"));
                    }
                }
            }
        }
        losses
    }

    /// What of the rows that are there stands in the way.
    pub fn problems(&self) -> rusqlite::Result<Vec<String>> {
        let relation = self.schema.relation(self.id);
        let old = quote_identifier(&self.name());
        let count = |filter: &str| {
            self.conn
                .query_row(&format!("SELECT count(*) FROM {old}{filter}"), [], |row| {
                    row.get::<_, i64>(0)
                })
        };
        let mut problems = Vec::new();
        for column in relation.columns.iter().filter(|c| c.not_null && c.generated.is_none()) {
            let place = format!("table \"{}\", column \"{}\"", relation.name, column.name);
            match self.had.get(&format!("column {}", column.name)) {
                None if column.default.is_none() && column.identity.is_none() => {
                    let rows = count("")?;
                    if rows > 0 {
                        problems.push(format!(
                            "{place}: it is new, NOT NULL and without a default, and the table holds {rows} rows: give the column a \
                             DEFAULT, or drop NOT NULL first"
                        ));
                    }
                }
                Some(had) if !Described::of(had).not_null() => {
                    let rows = count(&format!(" WHERE {} IS NULL", quote_identifier(&column.name)))?;
                    if rows > 0 {
                        problems.push(format!(
                            "{place}: it is to be NOT NULL, and {rows} rows have no value: fill them first"
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(problems)
    }

    /// Does it, in the open transaction, with foreign keys off. Whoever is told hears of every statement before it runs.
    pub fn run(&self, tell: &dyn Fn(&str)) -> Result<(), Failure> {
        let relation = self.schema.relation(self.id);
        let failed = |sql: &str| {
            let sql = sql.to_owned();
            let name = relation.name.clone();
            move |error: rusqlite::Error| Failure::new(format!("table \"{name}\": {error} (in: {sql})"))
        };
        let (temporary, create, after) = self.definition().map_err(|e| Failure::of(&e))?;
        let name = self.name();
        let (old, new) = (quote_identifier(&name), quote_identifier(&temporary));
        let numbered = self.reached(&name);
        tell(&create);
        self.conn.execute_batch(&create).map_err(failed(&create))?;
        self.copy(tell)?;
        let ends = [
            format!("DROP TABLE {old}"),
            format!("ALTER TABLE {new} RENAME TO {old}"),
        ];
        for sql in ends.iter().chain(&after) {
            tell(sql);
            self.conn.execute_batch(sql).map_err(failed(sql))?;
        }
        let own = sqlite::rowid_column(self.schema, self.id);
        let counts = own.is_some_and(|own| sqlite::numbers_itself(&relation.columns[own as usize]));
        if let (Some(reached), true) = (numbered, counts) {
            // A number that a row had once is not given to another.
            let raise = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
            let insert = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
            let raised = self.conn.execute(raise, rusqlite::params![name, reached]);
            if raised.map_err(failed(raise))? == 0 {
                self.conn
                    .execute(insert, rusqlite::params![name, reached])
                    .map_err(failed(insert))?;
            }
        }
        advance_sequences(self.conn, self.schema, self.id).map_err(failed("the sequences of its columns"))
    }

    fn name(&self) -> String {
        table_name(self.schema, self.id)
    }

    /// The new table's name until it is renamed, what makes it, and what is made when it has its name.
    fn definition(&self) -> Result<(String, String, Vec<String>)> {
        let temporary = table_name(&self.beside(), self.id);
        let mut statements = sqlite::create_table(self.schema, self.id)?;
        let create = statements.remove(0);
        let named = format!("CREATE TABLE {}", quote_identifier(&self.name()));
        let rest = create.strip_prefix(&named).unwrap_or_default();
        let create = format!("CREATE TABLE {}{rest}", quote_identifier(&temporary));
        Ok((temporary, create, statements))
    }

    /// The schema in which the table has its name of the meantime, and takes the numbers that are given.
    fn beside(&self) -> Schema {
        let mut schema = self.schema.clone();
        let relation = &mut schema.relations[self.id.0 as usize];
        relation.name = format!("{PREFIX}{}", relation.name).into();
        for column in &mut relation.columns {
            column.identity = column.identity.map(|_| IdentityColumn::ByDefault);
        }
        schema
    }

    fn kept(&self) -> Vec<Kept<'_>> {
        let columns = self.schema.relation(self.id).columns.iter().enumerate();
        columns
            .filter(|(_, column)| column.generated.is_none())
            .filter_map(|(at, column)| {
                let had = self.had.get(&format!("column {}", column.name))?;
                Some(Kept {
                    index: at as u32,
                    column,
                    from: type_of(had, &column.ty),
                })
            })
            .collect()
    }

    /// The highest number that SQLite has given a row.
    fn reached(&self, name: &str) -> Option<i64> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
        // The table is not there before a column numbers its rows.
        self.conn.query_row(sql, [name], |row| row.get(0)).optional().ok()?
    }

    fn copy(&self, tell: &dyn Fn(&str)) -> Result<(), Failure> {
        let schema = self.beside();
        let relation = self.schema.relation(self.id);
        let kept = self.kept();
        // Columns that are new and number their rows begin at 1.
        let numbered = relation.columns.iter().enumerate().filter(|(_, column)| {
            sqlite::numbers_itself(column) && !self.had.contains_key(&format!("column {}", column.name))
        });
        let mut columns: Vec<u32> = kept.iter().map(|k| k.index).collect();
        columns.extend(numbered.map(|(at, _)| at as u32));
        let types: Vec<&Type> = columns.iter().map(|c| &relation.columns[*c as usize].ty).collect();
        let given = vec![false; columns.len()];
        let target = RelationRef::new(self.id);
        let plan = sqlite::compile_insert(&schema, &target, &columns, &given, None, None, None)
            .map_err(|e| Failure::of(&e))?;
        let mut insert = Prepared::new(self.conn, &plan.insert).map_err(|e| Failure::of(&e))?;
        let names: Vec<String> = kept.iter().map(|k| quote_identifier(&k.column.name)).collect();
        let read = format!(
            "SELECT {} FROM {} ORDER BY {}",
            if names.is_empty() {
                "1".to_owned()
            } else {
                names.join(", ")
            },
            quote_identifier(&self.name()),
            self.rowid(),
        );
        tell(&format!("-- copies {}", relation.name));
        let broken = |failure: crate::statement::Failure| {
            Failure::new(format!("table \"{}\": {}", relation.name, failure.message))
        };
        let mut rows = Statement::prepare(self.conn, &read).map_err(broken)?;
        let nobody = Identity::service();
        let base = no_operation(&nobody);
        let mut number = 0_u64;
        while rows.step().map_err(broken)? {
            number += 1;
            if number.is_multiple_of(TOLD_EVERY) {
                tell("-- rows");
            }
            let place = || format!("table \"{}\", {}", relation.name, self.row(&kept, &rows, number));
            let mut values = Vec::with_capacity(columns.len());
            for (at, kept) in kept.iter().enumerate() {
                let value = decode(rows.value(at), &kept.from, column_form(&kept.from))
                    .and_then(|value| converted(value, &kept.from, &kept.column.ty))
                    .map_err(|e| Failure::new(format!("{}, column \"{}\": {}", place(), kept.column.name, said(&e))))?;
                values.push(value);
            }
            values.resize(columns.len(), Value::Int(number as i64));
            let env = base.with_cells(&values, &types);
            let run = insert.bind(&env, None).and_then(|()| {
                insert.statement.run().map_err(|failure| {
                    let inquiry = Inquiry {
                        conn: self.conn,
                        schema: &schema,
                        store: self.store,
                        env: &env,
                    };
                    let attempt = Attempt::Insert {
                        relation: self.id,
                        given: columns.iter().copied().zip(&values).collect(),
                        check: None,
                    };
                    inquiry.error(&failure, &attempt, &[])
                })
            });
            run.map_err(|e| Failure::new(format!("{}: {}", place(), said(&e).replace(PREFIX, ""))))?;
        }
        Ok(())
    }

    /// The old table's rows are copied in the order in which they came.
    fn rowid(&self) -> &'static str {
        let has = |name: &str| {
            self.had.keys().any(|part| {
                part.strip_prefix("column ")
                    .is_some_and(|c| c.eq_ignore_ascii_case(name))
            })
        };
        ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|name| !has(name))
            .unwrap_or("rowid")
    }

    /// A row by its old key, else by its place.
    fn row(&self, kept: &[Kept<'_>], rows: &Statement, number: u64) -> String {
        let key = self.had.get("primary key").map_or("", |k| k.trim_matches(['(', ')']));
        let parts: Option<Vec<String>> = key
            .split(", ")
            .map(|name| {
                let at = kept.iter().position(|k| *k.column.name == *name)?;
                let value = decode(rows.value(at), &kept[at].from, column_form(&kept[at].from)).ok()?;
                Some(value.to_text(&kept[at].from))
            })
            .collect();
        match parts {
            Some(parts) => format!("row ({key})=({})", parts.join(", ")),
            None => format!("row {number}"),
        }
    }
}

/// A value as it is assigned to a column of another type.
fn converted(value: Value, from: &Type, to: &Type) -> Result<Value> {
    if from == to || value.is_null() {
        return Ok(value);
    }
    // What is too long is an error, where a cast would cut it off.
    let value = match from.is_text() && (to.is_text() || matches!(to, Type::Enum(_))) {
        true => value,
        false => convert::cast(value, from, to)?,
    };
    value.fit(to)
}

/// The type that a column had. What has a name of its own (an enumeration) is kept as its text.
fn type_of(description: &str, wanted: &Type) -> Type {
    let had = Described::of(description);
    if !had.is_enum && had.ty == wanted.to_string() {
        return wanted.clone();
    }
    parsed(had.ty).unwrap_or(Type::Text)
}

fn parsed(name: &str) -> Option<Type> {
    if let Some(element) = name.strip_suffix("[]") {
        return Some(Type::Array(Box::new(parsed(element).unwrap_or(Type::Text))));
    }
    if let Some((base, numbers)) = name.strip_suffix(')').and_then(|n| n.split_once('(')) {
        return Some(match base {
            "numeric" => {
                let (precision, scale) = numbers.split_once(',')?;
                Type::Numeric(Some((precision.parse().ok()?, scale.parse().ok()?)))
            }
            "character varying" => Type::Varchar(Some(numbers.parse().ok()?)),
            "character" => Type::Char(numbers.parse().ok()?),
            _ => return None,
        });
    }
    [
        Type::Bool,
        Type::Int2,
        Type::Int4,
        Type::Int8,
        Type::Float4,
        Type::Float8,
        Type::Numeric(None),
        Type::Text,
        Type::Varchar(None),
        Type::Uuid,
        Type::Bytea,
        Type::Date,
        Type::Time,
        Type::Timestamp,
        Type::TimestampTz,
        Type::Interval,
        Type::Json,
        Type::Jsonb,
    ]
    .into_iter()
    .find(|ty| ty.to_string() == name)
}
