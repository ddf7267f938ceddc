//! What SQLite cannot do is refused by name, with the code 0A000 and never by a wrong answer.

use mainstay_model::{RelationId, Schema};
use mainstay_schema::{Severity, Source};
use mainstay_sql::sqlite;

fn read(ddl: &str) -> Schema {
    let source = Source {
        file: "s.sql".into(),
        text: ddl.into(),
        store: "main".into(),
        service: None,
    };
    let reading = mainstay_schema::read(&[source]);
    let errors: Vec<_> = reading
        .problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{ddl}: {errors:#?}");
    reading.schema
}

#[test]
fn tables_that_cannot_be_kept() {
    for (ddl, words) in [
        (
            "CREATE TABLE a (x integer, UNIQUE NULLS NOT DISTINCT (x));",
            "NULLS NOT DISTINCT (constraint \"a_x_key\")",
        ),
        (
            "CREATE TABLE a (x numeric PRIMARY KEY); CREATE TABLE b (x numeric REFERENCES a);",
            "foreign key \"b_x_fkey\" on a numeric column of more than 18 digits",
        ),
        (
            "CREATE TABLE a (x timestamptz CHECK (x < now()));",
            "depends on the time",
        ),
        ("CREATE TABLE sqlite_x (x integer);", "the prefix is reserved"),
        (
            "CREATE TABLE a (x integer, \"X\" integer);",
            "columns \"x\" and \"X\" of table \"a\" differ in upper and lower case only",
        ),
        (
            "CREATE TABLE a (x integer); CREATE TABLE \"A\" (x integer);",
            "tables \"a\" and \"A\" differ in upper and lower case only",
        ),
        ("CREATE TABLE a ();", "has no columns"),
        ("CREATE TABLE a (x point);", "the type point is not supported by SQLite"),
        ("CREATE TABLE a (x xml[]);", "the type xml is not supported by SQLite"),
    ] {
        let schema = read(ddl);
        let tables = (0..schema.relations.len() as u32).map(RelationId);
        let errors: Vec<_> = tables
            .filter_map(|id| sqlite::create_table(&schema, id).err())
            .collect();
        assert!(
            errors.iter().any(|e| e.code == "0A000" && e.message.contains(words)),
            "{ddl}: {errors:?}"
        );
    }
}

#[test]
fn queries_that_cannot_be_answered() {
    let tables = "
        CREATE TABLE t (id integer PRIMARY KEY, r int4range, v tsvector, j json, tags text[], i interval, note text, h hstore);
        CREATE FUNCTION many() RETURNS SETOF integer LANGUAGE SQL STABLE AS $$ SELECT id FROM t $$;
        CREATE FUNCTION writes() RETURNS integer LANGUAGE SQL AS $$ INSERT INTO t (id) VALUES (1) RETURNING id $$;";
    for (query, words) in [
        (
            "SELECT r && '[1,2)' FROM t",
            "operator && on int4range is not supported by SQLite",
        ),
        ("SELECT r @> int4range(1, 2) FROM t", "int4range"),
        (
            "SELECT id FROM t ORDER BY r",
            "SQLite cannot order values of type int4range",
        ),
        ("SELECT v @@ to_tsquery('x') FROM t", "full text search"),
        (
            "SELECT id FROM t WHERE h = 'a=>1'",
            "SQLite cannot compare values of type hstore",
        ),
        (
            "WITH x AS (DELETE FROM t RETURNING id) SELECT id FROM x",
            "WITH x: a data-modifying statement",
        ),
        ("SELECT writes() + 1", "function writes writes"),
        ("SELECT max(tags) FROM t", "max of text[]"),
        ("SELECT greatest(i, '1 day') FROM t", "GREATEST and LEAST of interval"),
    ] {
        let ddl = format!("{tables} CREATE FUNCTION q() RETURNS void LANGUAGE SQL AS $q$ {query} $q$;");
        let source = Source {
            file: "s.sql".into(),
            text: ddl,
            store: "main".into(),
            service: None,
        };
        let reading = mainstay_schema::read(&[source]);
        let problems: Vec<_> = reading
            .problems
            .iter()
            .filter(|p| p.severity == Severity::Error)
            .collect();
        let said = match reading
            .schema
            .functions
            .iter()
            .find(|f| &*f.name == "q")
            .and_then(|f| f.body.first())
        {
            Some(statement) if problems.is_empty() => match sqlite::compile_statement(&reading.schema, statement) {
                Ok(plan) => format!("no refusal: {}", plan.run.sql),
                Err(error) => {
                    assert_eq!(error.code, "0A000", "{query}: {error}");
                    error.message.clone()
                }
            },
            // The binder may have refused it before, also by name.
            _ => problems
                .iter()
                .map(|p| p.message.as_str())
                .collect::<Vec<_>>()
                .join("; "),
        };
        let named = said.contains(words) || (!problems.is_empty() && !said.is_empty());
        assert!(named, "{query}: {said}");
    }
}

#[test]
fn types_that_only_postgres_knows_are_named_with_their_places() {
    let schema = read(
        "CREATE TABLE a (x inet,
  y jsonpath);
CREATE FUNCTION f(p polygon) RETURNS integer LANGUAGE SQL AS $$ SELECT 1 $$;",
    );
    let found: Vec<_> = sqlite::unkept_types(&schema, |store| store == "main")
        .into_iter()
        .map(|(span, error)| (span.line, span.column, error.message.clone()))
        .collect();
    assert_eq!(
        found,
        [
            (
                2,
                3,
                "column y: the type jsonpath is not supported by SQLite".to_owned()
            ),
            (
                3,
                17,
                "function f: the type polygon is not supported by SQLite".to_owned()
            ),
        ]
    );
    assert!(sqlite::unkept_types(&schema, |_| false).is_empty());
}

#[test]
fn recursion_ends() {
    let schema = read(
        "CREATE FUNCTION a(n integer) RETURNS integer LANGUAGE SQL STABLE AS $$ SELECT n $$;
         CREATE FUNCTION b(n integer) RETURNS integer LANGUAGE SQL STABLE AS $$ SELECT a(n) $$;",
    );
    // A body that calls itself, as CREATE OR REPLACE can make it.
    let mut schema = schema;
    let b = schema.functions.iter().position(|f| &*f.name == "b").unwrap();
    let body = schema.functions[b].body.clone();
    let a = schema.functions.iter().position(|f| &*f.name == "a").unwrap();
    schema.functions[a].body = body.clone();
    let error = sqlite::compile_statement(&schema, &body[0]).unwrap_err();
    assert_eq!(error.code, "54001", "{error}");
}
