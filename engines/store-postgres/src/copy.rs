//! Rows in bulk, by `COPY … FROM STDIN`, all tables in one transaction on a connection of its own. Triggers, and with them the capture
//! of changes, fire as for any other write.

use crate::store::PostgresStore;
use bytes::{BufMut, Bytes, BytesMut};
use futures_sink::Sink;
use mainstay_model::{Error, Relation, RelationId, Result};
use mainstay_sql::postgres::quote_identifier;
use mainstay_store::{Load, LoadFailure, Loaded, Rows, TextRow};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use tokio_postgres::{Client, CopyInSink};

/// Bytes that are sent at once.
const CHUNK: usize = 128 << 10;

impl PostgresStore {
    /// Loads everything or nothing.
    pub(crate) async fn copy_in(
        &self,
        mut loads: Vec<Load>,
        sequences: &[(Arc<str>, i64)],
    ) -> Result<Vec<Loaded>, LoadFailure> {
        let client = self.client().await?;
        let begin = "BEGIN; SET CONSTRAINTS ALL DEFERRED; \
                     SELECT pg_catalog.set_config('request.jwt.claims', '{\"role\":\"service_role\"}', true)";
        client.batch_execute(begin).await.map_err(|e| said(&e))?;
        let done = self.copy_all(&client, &mut loads, sequences).await;
        match done {
            Ok(done) => match client.batch_execute("COMMIT").await {
                Ok(()) => Ok(done),
                Err(e) if e.as_db_error().is_some() => Err(said(&e).into()),
                Err(e) => Err(said(&e).outcome_unknown().into()),
            },
            Err(failure) => {
                // The connection goes anyway.
                let _ = client.batch_execute("ROLLBACK").await;
                Err(failure)
            }
        }
    }

    async fn copy_all(
        &self,
        client: &Client,
        loads: &mut [Load],
        sequences: &[(Arc<str>, i64)],
    ) -> Result<Vec<Loaded>, LoadFailure> {
        // Sources of rows are not shared between threads, so they are not borrowed while the server is waited for.
        let targets: Vec<(RelationId, Vec<u32>, bool)> = loads
            .iter()
            .map(|load| (load.relation, load.columns.clone(), load.only_into_empty))
            .collect();
        let mut full = Vec::with_capacity(targets.len());
        for (relation, _, only_into_empty) in &targets {
            full.push(*only_into_empty && holds_rows(client, &self.table(*relation)?).await?);
        }
        let mut loaded = Vec::with_capacity(loads.len());
        for (index, (load, full)) in loads.iter_mut().zip(full).enumerate() {
            if full {
                loaded.push(Loaded { rows: 0, skipped: true });
                continue;
            }
            let rows = self
                .copy_table(client, load)
                .await
                .map_err(|failure| LoadFailure { load: index, ..failure })?;
            loaded.push(Loaded { rows, skipped: false });
        }
        for ((relation, columns, _), done) in targets.iter().zip(&loaded) {
            if done.rows > 0 {
                self.raise_sequences(client, *relation, columns).await?;
            }
        }
        for (name, next) in sequences {
            let sql = format!(
                "SELECT pg_catalog.setval(r, {next}, false) FROM pg_catalog.to_regclass({}) r \
                 WHERE r IS NOT NULL AND coalesce(pg_catalog.pg_sequence_last_value(r), {next} - 1) < {next}",
                quote_literal(&quote_identifier(name))
            );
            client.batch_execute(&sql).await.map_err(|e| said(&e))?;
        }
        Ok(loaded)
    }

    fn table(&self, id: RelationId) -> Result<String> {
        let relation = self.schema.relation(id);
        if relation.table().is_none() || *relation.store != *self.server.config.name {
            return Err(Error::new(
                "42809",
                format!("\"{}\" is no table of this store", relation.name),
            ));
        }
        Ok(qualified(relation))
    }

    async fn copy_table(&self, client: &Client, load: &mut Load) -> Result<u64, LoadFailure> {
        let table = self.table(load.relation)?;
        let relation = self.schema.relation(load.relation);
        as_service_role(client, &table).await?;
        let names: Vec<String> = load
            .columns
            .iter()
            .map(|c| quote_identifier(&relation.columns[*c as usize].name))
            .collect();
        // Text, so that the values are read by the server's own input functions.
        let sql = format!("COPY {table} ({}) FROM STDIN", names.join(", "));
        let sink = client.copy_in::<_, Bytes>(&sql).await.map_err(|e| said(&e))?;
        let mut sink = pin!(sink);
        let failed = |e: &tokio_postgres::Error| located(relation, e);
        let mut row = TextRow::default();
        let mut buffer = BytesMut::with_capacity(CHUNK + 4096);
        // When this fails the sink is dropped unfinished, which the server answers by failing the statement.
        while next(&mut *load.rows, &mut row)? {
            encode(&row, &mut buffer);
            if buffer.len() >= CHUNK {
                let chunk = buffer.split().freeze();
                buffer.reserve(CHUNK + 4096);
                if send(sink.as_mut(), chunk).await.is_err() {
                    // Why, the server says at the end.
                    return Err(match sink.as_mut().finish().await {
                        Ok(_) => Error::new("08006", "the connection to the database was lost").into(),
                        Err(e) => failed(&e),
                    });
                }
            }
        }
        if !buffer.is_empty() && send(sink.as_mut(), buffer.freeze()).await.is_err() {
            return Err(match sink.as_mut().finish().await {
                Ok(_) => Error::new("08006", "the connection to the database was lost").into(),
                Err(e) => failed(&e),
            });
        }
        sink.as_mut().finish().await.map_err(|e| failed(&e))
    }

    /// Sequences behind columns go on above the values loaded: `COPY` itself leaves them behind.
    async fn raise_sequences(&self, client: &Client, id: RelationId, columns: &[u32]) -> Result<()> {
        let relation = self.schema.relation(id);
        let table = qualified(relation);
        for column in columns {
            let column = &relation.columns[*column as usize];
            if !column.ty.is_integer() {
                continue;
            }
            let found = client
                .query_one(
                    "SELECT pg_catalog.pg_get_serial_sequence($1, $2)",
                    &[&table.as_str(), &&*column.name],
                )
                .await
                .map_err(|e| said(&e))?;
            let Ok(Some(sequence)) = found.try_get::<_, Option<String>>(0) else {
                continue;
            };
            let (sequence, name) = (quote_literal(&sequence), quote_identifier(&column.name));
            let sql = format!(
                "SELECT pg_catalog.setval({sequence}, greatest(max({name})::bigint, \
                 coalesce(pg_catalog.pg_sequence_last_value({sequence}), max({name})::bigint))) \
                 FROM {table} HAVING max({name}) > 0"
            );
            client.batch_execute(&sql).await.map_err(|e| said(&e))?;
        }
        Ok(())
    }
}

/// The login role owns the tables as a rule, and then policies are not asked. Where they would be, the load runs as `service_role`.
async fn as_service_role(client: &Client, table: &str) -> Result<()> {
    let sql = "SELECT pg_catalog.row_security_active($1::text) AND EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = \
               'service_role' AND pg_catalog.pg_has_role(oid, 'MEMBER'))";
    let row = client.query_one(sql, &[&table]).await.map_err(|e| said(&e))?;
    if row.try_get(0).unwrap_or(false) {
        client
            .batch_execute("SET LOCAL ROLE service_role")
            .await
            .map_err(|e| said(&e))?;
    }
    Ok(())
}

async fn holds_rows(client: &Client, table: &str) -> Result<bool> {
    // Two who find it empty at once would both fill it.
    let sql = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
    client.batch_execute(&sql).await.map_err(|e| said(&e))?;
    let sql = format!("SELECT EXISTS (SELECT FROM {table})");
    let row = client.query_one(&sql, &[]).await.map_err(|e| said(&e))?;
    row.try_get(0).map_err(|e| said(&e))
}

/// The next row; a source that panics is a source that failed.
fn next(rows: &mut dyn Rows, row: &mut TextRow) -> Result<bool, LoadFailure> {
    rows.next(row).map_err(LoadFailure::from)
}

async fn send(mut sink: Pin<&mut CopyInSink<Bytes>>, chunk: Bytes) -> Result<(), tokio_postgres::Error> {
    poll_fn(|cx| sink.as_mut().poll_ready(cx)).await?;
    sink.as_mut().start_send(chunk)
}

/// A line of COPY's text format.
fn encode(row: &TextRow, out: &mut BytesMut) {
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.put_u8(b'\t');
        }
        let Some(text) = value else {
            out.put_slice(b"\\N");
            continue;
        };
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\\' | b'\n' | b'\r' | b'\t')) {
            out.put_slice(&rest[..at]);
            out.put_slice(match rest[at] {
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                _ => b"\\\\",
            });
            rest = &rest[at + 1..];
        }
        out.put_slice(rest);
    }
    out.put_u8(b'\n');
}

pub(crate) fn qualified(relation: &Relation) -> String {
    format!(
        "{}.{}",
        quote_identifier(&relation.namespace),
        quote_identifier(&relation.name)
    )
}

pub(crate) fn quote_literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// What the server said.
pub(crate) fn said(error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::new("08006", format!("the connection to the database was lost: {error}"));
    };
    let mut said = Error::new(db.code().code().to_owned(), db.message());
    if let Some(detail) = db.detail() {
        said = said.detail(detail);
    }
    if let Some(hint) = db.hint() {
        said = said.hint(hint);
    }
    match db.constraint() {
        Some(constraint) => said.constraint(constraint),
        None => said,
    }
}

/// What the server said of a COPY, with the row and the column that it names: a line of our text format is a row.
fn located(relation: &Relation, error: &tokio_postgres::Error) -> LoadFailure {
    let context = error.as_db_error().and_then(|db| db.where_()).unwrap_or_default();
    let (row, column) = place(relation, context);
    LoadFailure {
        error: said(error),
        load: 0,
        row,
        column,
    }
}

/// `COPY products, line 17, column price: "abc"`
fn place(relation: &Relation, context: &str) -> (Option<u64>, Option<u32>) {
    let prefix = format!("COPY {}, line ", relation.name);
    let Some(rest) = context.lines().find_map(|line| line.strip_prefix(&prefix)) else {
        return (None, None);
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let row = rest[..digits].parse::<u64>().ok().and_then(|line| line.checked_sub(1));
    let column = rest[digits..].strip_prefix(", column ").and_then(|rest| {
        let is_it = |name: &str| {
            rest.strip_prefix(name)
                .is_some_and(|after| after.is_empty() || after.starts_with(':'))
        };
        relation.columns.iter().position(|c| is_it(&c.name)).map(|at| at as u32)
    });
    (row, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line_of_copys_text() {
        let mut row = TextRow::default();
        for value in [Some("a\tb\\c"), None, Some(""), Some("\\N"), Some("x\r\ny")] {
            match value {
                Some(text) => row.push(text),
                None => row.push_null(),
            }
        }
        let mut out = BytesMut::new();
        encode(&row, &mut out);
        assert_eq!(&out[..], b"a\\tb\\\\c\t\\N\t\t\\\\N\tx\\r\\ny\n");
        assert_eq!(
            (quote_literal("a'b"), quote_literal("\\'")),
            ("'a''b'".to_owned(), "E'\\\\'''".to_owned())
        );
    }
}
