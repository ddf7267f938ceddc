//! Rows in bulk: one transaction of the writer's own, one prepared statement for each table, the hook's images turned into outbox
//! records as they come, so that memory does not grow with the number of rows.

use crate::bind::Prepared;
use crate::constraint::{Attempt, Inquiry, no_operation};
use crate::context;
use crate::failure::plain;
use crate::outbox::{Entry, change_event};
use crate::seed;
use crate::statement::deferred_violations;
use crate::step::without_returning;
use crate::writer::Writer;
use mainstay_model::{Error, Identity, IdentityColumn, RelationId, RelationRef, Result, Schema, Type, Value, time};
use mainstay_sql::sqlite::{self, quote_identifier, table_name};
use mainstay_store::{Load, LoadFailure, Loaded, TextRow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Rows between two looks at what the hook has collected.
const BATCH: u64 = 256;

impl Writer {
    /// Loads everything or nothing.
    pub(crate) fn load(
        &mut self,
        mut loads: Vec<Load>,
        sequences: &[(Arc<str>, i64)],
    ) -> Result<Vec<Loaded>, LoadFailure> {
        self.budget.lift();
        let at = Instant::now();
        self.statements.begin.run().map_err(|failure| plain(&failure))?;
        if let Err(error) = self.note_version(at) {
            self.roll_back();
            return Err(error.into());
        }
        self.steps.capture().truncate(0);
        let done = catch_unwind(AssertUnwindSafe(|| self.load_all(&mut loads, sequences)))
            .unwrap_or_else(|_| Err(Error::internal("the load panicked").into()));
        context::truncate(0);
        let done = done.and_then(|loaded| match self.commit(1) {
            Ok(()) => Ok(loaded),
            Err(error) => Err(error.into()),
        });
        if done.is_ok() {
            let position = self.positions.take();
            self.shared.position.store(position, Ordering::Release);
            // One by one they would be too many to keep.
            self.shared.tell_voided("rows were loaded in bulk");
        } else {
            self.roll_back();
            self.forget_reservations();
        }
        self.steps.capture().truncate(0);
        done
    }

    fn load_all(&mut self, loads: &mut [Load], sequences: &[(Arc<str>, i64)]) -> Result<Vec<Loaded>, LoadFailure> {
        let schema = self.shared.schema.clone();
        let now_us = time::now();
        context::begin_write(now_us);
        // Within a table, and among the tables of one load, rows may refer to rows that come later.
        let to_itself = |load: &Load| {
            let table = schema.relation(load.relation).table();
            table.is_some_and(|t| t.foreign_keys.iter().any(|key| key.target == load.relation))
        };
        if loads.len() > 1 || loads.iter().any(to_itself) {
            self.steps.batch("PRAGMA defer_foreign_keys = ON")?;
        }
        let mut open_schema = (*schema).clone();
        for relation in &mut open_schema.relations {
            for column in &mut relation.columns {
                column.identity = column.identity.map(|_| IdentityColumn::ByDefault);
            }
        }
        let full: Vec<bool> = loads
            .iter()
            .map(|load| self.holds_rows(&schema, load))
            .collect::<Result<_>>()?;
        let mut loaded = Vec::with_capacity(loads.len());
        for (index, (load, full)) in loads.iter_mut().zip(full).enumerate() {
            if full {
                loaded.push(Loaded { rows: 0, skipped: true });
                continue;
            }
            let rows = self
                .load_table(&schema, &open_schema, load, now_us)
                .map_err(|failure| LoadFailure { load: index, ..failure })?;
            loaded.push(Loaded { rows, skipped: false });
        }
        if deferred_violations(&self.conn) {
            return Err(Error::new("23503", "rows refer to rows that are not there")
                .detail(seed::dangling(&self.conn, &schema))
                .into());
        }
        for (load, loaded) in loads.iter().zip(&loaded) {
            if !loaded.skipped {
                self.raise_sequences(&schema, load.relation)?;
            }
        }
        for (name, next) in sequences {
            self.set_sequence(&schema, name, *next)?;
        }
        Ok(loaded)
    }

    /// Whether the load is for an empty table, and the table is not.
    fn holds_rows(&self, schema: &Schema, load: &Load) -> Result<bool> {
        if !load.only_into_empty {
            return Ok(false);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM {})",
            quote_identifier(&table_name(schema, load.relation))
        );
        self.conn
            .query_row(&sql, [], |row| row.get(0))
            .map_err(|error| plain(&error.into()))
    }

    fn load_table(
        &mut self,
        schema: &Schema,
        open_schema: &Schema,
        load: &mut Load,
        now_us: i64,
    ) -> Result<u64, LoadFailure> {
        let relation = schema.relation(load.relation);
        if *relation.store != *self.shared.config.name || relation.table().is_none() {
            return Err(Error::new("42809", format!("\"{}\" is no table of this store", relation.name)).into());
        }
        let columns = load.columns.clone();
        let types: Vec<&Type> = columns.iter().map(|c| &relation.columns[*c as usize].ty).collect();
        let given = vec![false; columns.len()];
        let target = RelationRef::new(load.relation);
        let plan = sqlite::compile_insert(open_schema, &target, &columns, &given, None, None, None)?;
        let rendered = without_returning(plan.insert, schema, load.relation);
        let mut insert = Prepared::new(&self.conn, &rendered)?;
        let nobody = Identity::service();
        let base = no_operation(&nobody);
        let mut texts = TextRow::default();
        let mut values: Vec<Value> = Vec::with_capacity(columns.len());
        let mut number: u64 = 0;
        while load.rows.next(&mut texts)? {
            let failed = |error: Error, column: Option<u32>| LoadFailure {
                error,
                load: 0,
                row: Some(number),
                column,
            };
            if texts.len() != columns.len() {
                let message = format!("{} values for {} columns", texts.len(), columns.len());
                return Err(failed(Error::new("22P04", message), None));
            }
            values.clear();
            for ((text, ty), column) in texts.iter().zip(&types).zip(&columns) {
                let value = match text {
                    None => Value::Null,
                    Some(text) => Value::parse(text, ty)
                        .and_then(|value| value.fit(ty))
                        .map_err(|error| failed(error, Some(*column)))?,
                };
                values.push(value);
            }
            let env = base.with_cells(&values, &types);
            insert.bind(&env, None).map_err(|error| failed(error, None))?;
            if let Err(failure) = insert.statement.run() {
                let inquiry = Inquiry {
                    conn: &self.conn,
                    schema,
                    store: &self.shared.config.name,
                    env: &env,
                };
                let attempt = Attempt::Insert {
                    relation: load.relation,
                    given: columns.iter().copied().zip(&values).collect(),
                    check: None,
                };
                return Err(failed(inquiry.error(&failure, &attempt, &[]), None));
            }
            number += 1;
            if number.is_multiple_of(BATCH) {
                self.flush_changes(now_us)?;
            }
        }
        self.flush_changes(now_us)?;
        Ok(number)
    }

    /// Turns what the hook has collected into outbox records, for those who are subscribed.
    fn flush_changes(&mut self, now_us: i64) -> Result<()> {
        for touched in self.steps.capture().take(0) {
            let change = &touched.change;
            if self.captured.contains(change.relation, change.kind) {
                let (topic, key, payload) = change_event(&self.shared.schema, change);
                let entry = Entry {
                    id: "",
                    topic: &topic,
                    key: &key,
                    time_us: now_us,
                    payload: &payload,
                    traceparent: None,
                };
                self.outbox.append(self.sequence.take(), &entry)?;
            }
        }
        Ok(())
    }

    /// A sequence behind a column goes on above the values that were loaded. SQLite sees to its own (INTEGER PRIMARY KEY).
    fn raise_sequences(&self, schema: &Schema, id: RelationId) -> Result<()> {
        let relation = schema.relation(id);
        for (at, column) in relation.columns.iter().enumerate() {
            let own = relation.primary_key() == [at as u32] && column.ty.is_integer();
            if !sqlite::numbers_itself(column) || own {
                continue;
            }
            let sql = format!(
                "SELECT max({}) FROM {}",
                quote_identifier(&column.name),
                quote_identifier(&table_name(schema, id))
            );
            let highest: Option<i64> = self
                .conn
                .query_row(&sql, [], |row| row.get(0))
                .map_err(|error| plain(&error.into()))?;
            if let Some(next) = highest.and_then(|n| n.checked_add(1)) {
                context::raise_sequence(&format!("{}_{}_seq", relation.name, column.name), next);
            }
        }
        Ok(())
    }

    fn set_sequence(&self, schema: &Schema, name: &str, next: i64) -> Result<()> {
        let table = schema.relations.iter().enumerate().find_map(|(at, relation)| {
            let column = sqlite::rowid_column(schema, RelationId(at as u32))?;
            let column = &relation.columns[column as usize];
            let is_it = sqlite::numbers_itself(column) && format!("{}_{}_seq", relation.name, column.name) == name;
            is_it.then(|| table_name(schema, RelationId(at as u32)))
        });
        if let Some(table) = table {
            let failed = |error: rusqlite::Error| plain(&error.into());
            let sql = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1";
            let reached: Option<i64> = self.conn.query_row(sql, [table], |row| row.get(0)).map_err(failed)?;
            if reached.is_some_and(|reached| reached >= next - 1) {
                return Ok(());
            }
            return seed::set_sequence(&self.conn, schema, name, next).map_err(failed);
        }
        context::raise_sequence(name, next);
        Ok(())
    }
}
