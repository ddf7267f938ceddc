//! SQLite's answers against PostgreSQL's. Each file of `tests/postgres/` holds queries and what PostgreSQL 15 answers; here they are
//! bound, compiled and run on SQLite, and must answer the same, errors included.
//!
//! `random.test` holds queries that a generator made up; the others were written by hand.
//!
//! A file is a list of blocks, `query`, `----`, `rows`, separated by blank lines; a row is the columns' texts joined by `|`, as psql's
//! unaligned output has them. `-- differs: why` above a query says that SQLite's own answer below is meant to be another than Postgres'.
//! To write the answers anew from a server: `MAINSTAY_PSQL="psql -h … -U postgres" cargo test -p mainstay-store-sqlite --test postgres`.

use mainstay_model::{Schema, Type, Value};
use mainstay_schema::{Reading, Source};
use mainstay_sql::sqlite::{self, Bind, Rendered, Stored};
use mainstay_store_sqlite::functions;
use rusqlite::Connection;
use rusqlite::types::{Value as Sql, ValueRef};
use std::borrow::Cow;
use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;

const FIXTURE: &str = include_str!("postgres/fixture.sql");

fn read(ddl: &str) -> Reading {
    mainstay_schema::read(&[Source {
        file: "fixture.sql".into(),
        text: ddl.to_owned(),
        store: "main".into(),
        service: None,
    }])
}

fn fixture() -> (Connection, Arc<Schema>) {
    let reading = read(FIXTURE);
    let problems: Vec<_> = reading
        .problems
        .iter()
        .filter(|p| p.severity == mainstay_schema::Severity::Error)
        .collect();
    assert!(problems.is_empty(), "the fixture has problems: {problems:#?}");
    let connection = Connection::open_in_memory().unwrap();
    functions::register(&connection).unwrap();
    connection.execute_batch(&sqlite::meta_tables().join(";")).unwrap();
    for id in 0..reading.schema.relations.len() as u32 {
        let id = mainstay_model::RelationId(id);
        if reading.schema.relation(id).table().is_none() {
            continue;
        }
        for statement in sqlite::create_table(&reading.schema, id).unwrap() {
            connection
                .execute_batch(&statement)
                .unwrap_or_else(|e| panic!("{e}: {statement}"));
        }
    }
    for seed in &reading.seeds {
        let relation = mainstay_model::RelationRef::new(seed.relation);
        let columns = &reading.schema.relation(seed.relation).columns;
        let plan = sqlite::compile_insert(&reading.schema, &relation, &seed.columns, &[], None, None, None).unwrap();
        for row in &seed.rows {
            let mut statement = connection.prepare_cached(&plan.insert.sql).unwrap();
            for (at, bind) in plan.insert.binds.iter().enumerate() {
                let stored = match bind {
                    Bind::Cell(n) => {
                        let ty = &columns[seed.columns[usize::from(*n)] as usize].ty;
                        match &row[usize::from(*n)] {
                            None => Sql::Null,
                            Some(text) => {
                                let value = Value::parse(text, ty).unwrap().fit(ty).unwrap();
                                to_sql(sqlite::encode(&value, ty, sqlite::column_form(ty)).unwrap())
                            }
                        }
                    }
                    other => bound(other),
                };
                statement.raw_bind_parameter(at + 1, stored).unwrap();
            }
            let mut rows = statement.raw_query();
            while rows
                .next()
                .unwrap_or_else(|e| panic!("{e}: {}", plan.insert.sql))
                .is_some()
            {}
        }
    }
    (connection, Arc::new(reading.schema))
}

fn to_sql(stored: Stored<'_>) -> Sql {
    match stored {
        Stored::Null => Sql::Null,
        Stored::Integer(v) => Sql::Integer(v),
        Stored::Real(v) => Sql::Real(v),
        Stored::Text(v) => Sql::Text(v.into_owned()),
        Stored::Blob(v) => Sql::Blob(v.into_owned()),
    }
}

fn bound(bind: &Bind) -> Sql {
    match bind {
        Bind::Value(value, ty, form) => to_sql(sqlite::encode(value, ty, *form).unwrap()),
        Bind::Now => Sql::Integer(1_709_647_629_123_456),
        Bind::Claim(..) => Sql::Null,
        other => panic!("no value for {other:?}"),
    }
}

/// What a failed statement says, as `ERROR code: message`.
fn failure(error: &rusqlite::Error) -> String {
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    let mut parts = text.splitn(3, '|');
    match (parts.next(), parts.next()) {
        (Some(code), Some(message)) if code.len() == 5 => format!("ERROR {code}: {message}"),
        _ if text == "integer overflow" => "ERROR 22003: bigint out of range".to_owned(),
        _ => format!("SQLITE {text}"),
    }
}

fn run(connection: &Connection, rendered: &Rendered, skip: usize) -> Result<Vec<String>, String> {
    let mut statement = connection
        .prepare(&rendered.sql)
        .map_err(|e| format!("{}\n    {}", failure(&e), rendered.sql))?;
    for (at, bind) in rendered.binds.iter().enumerate() {
        statement
            .raw_bind_parameter(at + 1, bound(bind))
            .map_err(|e| e.to_string())?;
    }
    let mut rows = statement.raw_query();
    let mut out = Vec::new();
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(out),
            Err(error) => return Err(failure(&error)),
        };
        let mut texts = Vec::new();
        for (at, column) in rendered.columns.iter().enumerate() {
            let stored = match row.get_ref(at + skip).map_err(|e| e.to_string())? {
                ValueRef::Null => Stored::Null,
                ValueRef::Integer(v) => Stored::Integer(v),
                ValueRef::Real(v) => Stored::Real(v),
                ValueRef::Text(v) => Stored::Text(Cow::Borrowed(std::str::from_utf8(v).unwrap())),
                ValueRef::Blob(v) => Stored::Blob(Cow::Borrowed(v)),
            };
            let value = sqlite::decode(stored, &column.ty, column.form)
                .map_err(|e| format!("{e} in {:?}\n    {}", column, rendered.sql))?;
            texts.push(shown(&value, &column.ty));
        }
        out.push(texts.join("|"));
    }
}

fn shown(value: &Value, ty: &Type) -> String {
    match (value, ty) {
        (Value::Null, _) => "NULL".to_owned(),
        (Value::Text(text), Type::Char(n)) => format!("{text:<width$}", width = *n as usize),
        // Rows are kept as JSON; psql shows them otherwise.
        (value, ty) => value.to_text(ty),
    }
}

/// A query's answer on SQLite.
fn answer(connection: &Connection, query: &str) -> (Vec<String>, String) {
    let ddl =
        format!("{FIXTURE}\nCREATE FUNCTION the_query() RETURNS void LANGUAGE SQL AS $the_query$ {query} $the_query$;");
    let reading = read(&ddl);
    if let Some(problem) = reading
        .problems
        .iter()
        .find(|p| p.severity == mainstay_schema::Severity::Error)
    {
        return (vec![format!("PROBLEM {}", problem.message)], String::new());
    }
    let Some(function) = reading.schema.functions.iter().find(|f| &*f.name == "the_query") else {
        return (
            vec!["PROBLEM no function was read".to_owned()],
            format!("{:?}", reading.problems),
        );
    };
    let Some(statement) = function.body.first() else {
        return (
            vec!["PROBLEM the function has no body".to_owned()],
            format!("{:?}", reading.problems),
        );
    };
    let plan = match sqlite::compile_statement(&reading.schema, statement) {
        Ok(plan) => plan,
        Err(error) => return (vec![format!("ERROR {}: {}", error.code, error.message)], String::new()),
    };
    connection.execute_batch("SAVEPOINT q").unwrap();
    let result = run(connection, &plan.run, usize::from(plan.touches));
    connection.execute_batch("ROLLBACK TO q; RELEASE q").unwrap();
    (result.unwrap_or_else(|error| vec![error]), plan.run.sql)
}

/// A query's answer on a server.
fn postgres(psql: &str, query: &str) -> Vec<String> {
    let script = format!("BEGIN;\n{FIXTURE}\n\\set VERBOSITY verbose\n\\o\n{query};\nROLLBACK;");
    let output = Command::new("sh")
        .args(["-c", &format!("{psql} -X -q -A -t -F '|' -P null=NULL 2>&1")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child.stdin.take().unwrap().write_all(script.as_bytes())?;
            child.wait_with_output()
        })
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(error) = line.split_once("ERROR:  ").map(|(_, e)| e) {
            return vec![format!("ERROR {error}")];
        }
        lines.push(line.to_owned());
    }
    lines
}

/// A block of a file.
struct Block {
    /// Comment lines above the query.
    notes: String,
    query: String,
    expected: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut out = Vec::new();
    for chunk in text.split("\n\n").map(str::trim).filter(|c| !c.is_empty()) {
        let (head, expected) = chunk.split_once("\n----").unwrap_or((chunk, ""));
        let (notes, query): (Vec<&str>, Vec<&str>) = head.lines().partition(|l| l.starts_with("--"));
        if query.is_empty() {
            continue;
        }
        let notes = notes.iter().map(|n| format!("{n}\n")).collect();
        out.push(Block {
            notes,
            query: query.join("\n"),
            expected: expected.trim_matches('\n').lines().map(str::to_owned).collect(),
        });
    }
    out
}

fn check(name: &str) {
    let path = format!("{}/tests/postgres/{name}.test", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut blocks = blocks(&text);
    if let Ok(psql) = std::env::var("MAINSTAY_PSQL") {
        let mut out = String::new();
        for block in &mut blocks {
            if !block.notes.contains("-- differs") {
                block.expected = postgres(&psql, &block.query);
            }
            writeln!(
                out,
                "{}{}\n----\n{}\n",
                block.notes,
                block.query,
                block.expected.join("\n")
            )
            .unwrap();
        }
        std::fs::write(&path, out.trim_end().to_owned() + "\n").unwrap();
    }
    let (connection, _) = fixture();
    let mut failures = String::new();
    for block in &blocks {
        let (got, sql) = answer(&connection, &block.query);
        // What the binder refuses has no SQLSTATE; that it is refused is what counts.
        let refused = got.first().is_some_and(|g| g.starts_with("PROBLEM"))
            && block.expected.first().is_some_and(|e| e.starts_with("ERROR"));
        if got != block.expected && !refused {
            writeln!(
                failures,
                "{}\n  expected {:?}\n  got      {:?}\n  sql      {sql}\n",
                block.query, block.expected, got
            )
            .unwrap();
        }
    }
    assert!(failures.is_empty(), "{name}:\n{failures}");
    assert!(blocks.len() > 3, "{name} has hardly any queries");
}

macro_rules! files {
    ($($name:ident),*) => { $(#[test] fn $name() { check(stringify!($name)); })* };
}

files!(
    numbers, texts, logic, moments, json, arrays, queries, aggregates, writes, random
);
