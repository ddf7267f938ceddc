//! Introspection of real databases on a real server: one of every feature, Northwind, and two public schemas of more than a hundred tables,
//! which come as Debian's packages of the programs that they belong to.

mod adopted;
mod features;
mod functions;
mod privileges;
mod watching;

use mainstay_model::{Relation, RelationId, Schema};
use mainstay_store_postgres::introspect::{Introspected, Options, introspect};
use mainstay_tests::Postgres;
use std::future::Future;
use std::path::Path;
use tokio_postgres::{Client, NoTls};

/// Runs to the end on a runtime of its own.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// A connection, driven in the background; must be called on a runtime.
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the server takes a connection");
    tokio::spawn(connection);
    client
}

/// What the features' database is. It is made once: its roles belong to the whole server.
fn features() -> &'static (String, Introspected) {
    static FEATURES: std::sync::OnceLock<(String, Introspected)> = std::sync::OnceLock::new();
    FEATURES.get_or_init(|| {
        let url = database(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/introspection/features.sql"));
        let found = run(async { introspect(&connect(&url).await, &served(&["public", "Odd Schema"])).await });
        (url, found.expect("the database is read"))
    })
}

/// A new database with a file in it.
fn database(file: &Path) -> String {
    let server = Postgres::shared();
    let url = server.database();
    server.load_into(name(&url), file);
    url
}

/// The database's name in its URL.
fn name(url: &str) -> &str {
    let (_, rest) = url.rsplit_once("@/").expect("a URL of the harness");
    rest.split('?').next().unwrap_or(rest)
}

fn served(schemas: &[&str]) -> Options {
    Options {
        schemas: schemas.iter().map(|s| (*s).to_owned()).collect(),
        extra_search_path: vec!["elsewhere".to_owned()],
        ..Options::new("main")
    }
}

fn id(schema: &Schema, name: &str) -> RelationId {
    schema
        .find_relation("public", name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

fn relation<'s>(schema: &'s Schema, name: &str) -> &'s Relation {
    schema.relation(id(schema, name))
}
