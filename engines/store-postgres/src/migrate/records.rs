//! What earlier migrations of this project left in the database: which objects are theirs and how they looked, and what was run when.

use super::shape::{Key, Kind, Object, Shape};
use super::text::{Failure, literal};
use super::wanted::Wanted;
use std::collections::BTreeMap;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The tables, made when they are missing.
const TABLES: &str = "
CREATE SCHEMA IF NOT EXISTS mainstay;
CREATE TABLE IF NOT EXISTS mainstay.migrations (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  started_at  timestamptz NOT NULL,
  finished_at timestamptz,
  applied_by  text NOT NULL DEFAULT session_user,
  version     text NOT NULL,
  digest      text NOT NULL,
  statements  text[] NOT NULL,
  duration_ms bigint
);
CREATE TABLE IF NOT EXISTS mainstay.objects (
  kind       text NOT NULL,
  identity   text NOT NULL,
  wanted     text NOT NULL,
  definition text NOT NULL,
  made       boolean NOT NULL,
  source     text NOT NULL,
  place      text NOT NULL,
  PRIMARY KEY (kind, identity)
);
COMMENT ON TABLE mainstay.migrations IS 'Every mainstay migrate apply that changed something.';
COMMENT ON TABLE mainstay.objects IS 'What schema.sql declared at the last mainstay migrate apply, and how the database wrote it down.';
";

/// One object as it was left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Its definition as schema.sql meant it.
    pub(crate) wanted: String,
    /// Its definition as the database had it afterwards.
    pub(crate) definition: String,
    /// Whether a migration made it, rather than found it.
    pub(crate) made: bool,
    pub(crate) source: String,
    pub(crate) place: String,
}

/// Everything that is recorded; the kind is the word of [`Kind::word`], or `statement`.
pub(crate) type Records = BTreeMap<(String, String), Record>;

/// The record's key of an object.
pub(crate) fn key(object: &Key) -> (String, String) {
    (object.0.word().to_owned(), object.1.clone())
}

/// Reads the records; none where nothing was ever migrated.
pub(crate) async fn read(client: &Client) -> Result<Records, Failure> {
    if !exist(client).await? {
        return Ok(Records::new());
    }
    let sql = "SELECT kind, identity, wanted, definition, made, source, place FROM mainstay.objects";
    let rows = client.simple_query(sql).await?;
    let rows = rows.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let text = |row: &tokio_postgres::SimpleQueryRow, i: usize| row.get(i).unwrap_or_default().to_owned();
    Ok(rows
        .map(|row| {
            let record = Record {
                wanted: text(&row, 2),
                definition: text(&row, 3),
                made: row.get(4) == Some("t"),
                source: text(&row, 5),
                place: text(&row, 6),
            };
            ((text(&row, 0), text(&row, 1)), record)
        })
        .collect())
}

async fn exist(client: &Client) -> Result<bool, Failure> {
    let found = super::wanted::column(client, "SELECT 1 WHERE to_regclass('mainstay.objects') IS NOT NULL").await?;
    Ok(!found.is_empty())
}

/// The digest of what was applied last.
pub(crate) async fn last_digest(client: &Client) -> Result<Option<String>, Failure> {
    if !exist(client).await? {
        return Ok(None);
    }
    let sql = "SELECT digest FROM mainstay.migrations WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1";
    Ok(super::wanted::column(client, sql).await?.into_iter().next())
}

/// Makes the tables.
pub(crate) async fn prepare(client: &Client) -> Result<(), Failure> {
    client.batch_execute(TABLES).await.map_err(Failure::from)
}

/// What is to be recorded once everything wanted is there.
pub(crate) fn after(
    wanted: &Wanted,
    source: &super::source::Source,
    had: &Records,
    before: &Shape,
    now: &Shape,
) -> Records {
    let mut records = Records::new();
    for (object_key, object) in &wanted.shape.objects {
        let Some(there) = now.objects.get(object_key) else {
            continue;
        };
        let known = had.get(&key(object_key));
        let statement = statement_of(wanted, source, object);
        let record = Record {
            wanted: object.definition.clone(),
            definition: there.definition.clone(),
            made: known.is_some_and(|r| r.made) || !before.objects.contains_key(object_key),
            source: match object.kind {
                Kind::Function | Kind::View | Kind::MaterializedView | Kind::Policy | Kind::Trigger | Kind::Rule => {
                    statement.map(|s| s.text.clone()).unwrap_or_default()
                }
                _ => String::new(),
            },
            place: statement
                .map(|s| format!("{}:{}", s.span.file, s.span.line))
                .unwrap_or_default(),
        };
        records.insert(key(object_key), record);
    }
    for (name, statement) in super::diff::once(source) {
        let place = format!("{}:{}", statement.span.file, statement.span.line);
        records.insert(
            ("statement".to_owned(), name),
            Record {
                wanted: String::new(),
                definition: String::new(),
                made: true,
                source: statement.text.clone(),
                place,
            },
        );
    }
    records
}

fn statement_of<'s>(
    wanted: &Wanted,
    source: &'s super::source::Source,
    object: &Object,
) -> Option<&'s super::source::Statement> {
    source.statements.get(wanted.statement_of(object.oid))
}

/// Writes the records down, as far as they changed.
pub(crate) async fn write(client: &Client, had: &Records, now: &Records) -> Result<(), Failure> {
    let mut sql = String::new();
    for (kind, identity) in had.keys().filter(|k| !now.contains_key(*k)) {
        let (kind, identity) = (literal(kind), literal(identity));
        sql.push_str(&format!(
            "DELETE FROM mainstay.objects WHERE kind = {kind} AND identity = {identity};\n"
        ));
    }
    for (key, record) in now.iter().filter(|(k, r)| had.get(*k) != Some(r)) {
        sql.push_str(&format!(
            "INSERT INTO mainstay.objects VALUES ({}, {}, {}, {}, {}, {}, {}) ON CONFLICT (kind, identity) DO UPDATE SET \
             wanted = excluded.wanted, definition = excluded.definition, made = excluded.made, source = excluded.source, \
             place = excluded.place;\n",
            literal(&key.0),
            literal(&key.1),
            literal(&record.wanted),
            literal(&record.definition),
            record.made,
            literal(&record.source),
            literal(&record.place)
        ));
    }
    if sql.is_empty() {
        return Ok(());
    }
    client.batch_execute(&sql).await.map_err(Failure::from)
}

/// Begins an entry of the history; its id.
pub(crate) async fn begin(client: &Client, digest: &str, statements: &[String]) -> Result<String, Failure> {
    let list: Vec<String> = statements.iter().map(|s| literal(s)).collect();
    let sql = format!(
        "INSERT INTO mainstay.migrations (started_at, version, digest, statements) \
         VALUES (clock_timestamp(), {}, {}, ARRAY[{}]::text[]) RETURNING id",
        literal(env!("CARGO_PKG_VERSION")),
        literal(digest),
        list.join(", ")
    );
    let id = super::wanted::column(client, &sql).await?;
    id.into_iter()
        .next()
        .ok_or_else(|| Failure::new("the history takes no entry"))
}

/// Ends an entry of the history.
pub(crate) async fn finish(client: &Client, id: &str, since: std::time::Instant) -> Result<(), Failure> {
    let duration = since.elapsed().as_millis();
    let sql = format!(
        "UPDATE mainstay.migrations SET finished_at = clock_timestamp(), duration_ms = {duration} WHERE id = {id}"
    );
    client.batch_execute(&sql).await.map_err(Failure::from)
}
