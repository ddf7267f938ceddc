//! Whole schemas as DDL: the conformance suite's, which no parser has seen, and the example's.

use super::server::Server;
use mainstay_schema::Source;
use mainstay_sql::postgres;

/// Applies a schema to a new database.
pub fn apply(server: &Server, database: &str, schema: &mainstay_model::Schema) {
    let statements = postgres::ddl(schema).expect("the schema can be written");
    server.database(database);
    let granted = schema.relations.iter().flat_map(|r| r.grants.iter().map(|g| &g.role));
    let called = schema.functions.iter().flat_map(|f| &f.grants);
    for role in granted.chain(called).filter(|role| &***role != "public") {
        let _ = server.script(database, &format!("CREATE ROLE \"{role}\";"));
    }
    for statement in &statements {
        if let Err(error) = server.script(database, &format!("{statement};")) {
            panic!("{statement}\n{error}");
        }
    }
}

pub fn library(server: &Server) {
    apply(server, "library", &mainstay_store::conformance::library());
    for (sql, want) in [
        (
            "INSERT INTO authors (name) VALUES ('Ursula') RETURNING id, active",
            "1|t",
        ),
        ("SELECT * FROM rename_author(1, 'Iris')", "1|Iris|NULL|NULL|t"),
        ("SELECT twice(21)", "42"),
        (
            "SELECT announce('told'); SELECT topic, payload, key FROM emitted",
            "NULL\ntold|{\"told\": true}|k",
        ),
        (
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace",
            "5",
        ),
        (
            "SELECT condeferred FROM pg_constraint WHERE conname = 'nodes_parent_fkey'",
            "t",
        ),
    ] {
        let got = server.script("library", &format!("{sql};")).expect(sql);
        assert_eq!(got, want.trim_end(), "{sql}");
    }
    let error = server.script("library", "SELECT * FROM add_pair('Bo');").unwrap_err();
    assert!(error.contains("null value in column \"name\""), "{error}");
}

/// The example's four services, read from their files.
pub fn shop(server: &Server) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/services");
    let sources: Vec<Source> = ["users", "products", "carts", "orders"]
        .into_iter()
        .map(|name| {
            let file = format!("{root}/{name}/schema.sql");
            Source {
                text: std::fs::read_to_string(&file).expect("the example is there"),
                file: file.into(),
                store: "main".into(),
                service: None,
            }
        })
        .collect();
    let options = mainstay_schema::Options {
        auth: Some("main".into()),
    };
    let reading = mainstay_schema::read_with(&sources, &options);
    let schema = reading.schema;
    apply(server, "shop", &schema);
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'auth'::regnamespace)";
    let made = schema.relations.iter().filter(|r| r.table().is_some()).count() + 1;
    assert_eq!(server.script("shop", tables).expect("the catalogue"), made.to_string());
    let functions =
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosqlbody IS NOT NULL";
    assert_eq!(
        server.script("shop", functions).expect("the catalogue"),
        schema.functions.len().to_string()
    );
}
