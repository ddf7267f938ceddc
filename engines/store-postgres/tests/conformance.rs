//! The store contract's suite against a real PostgreSQL.

mod server;

use mainstay_model::{ChangeKind, RelationId, Schema};
use mainstay_store::{BoxFuture, Store, conformance};
use mainstay_store_postgres::{Captured, Config, PostgresStore};
use server::Server;
use std::sync::Arc;

struct Databases {
    server: Server,
    /// How a database's URL is changed: through a pooler, without prepared statements.
    through: fn(&Server, String) -> String,
}

impl conformance::Factory for Databases {
    fn open<'a>(
        &'a self,
        schema: Arc<Schema>,
        captured: &'a [(RelationId, ChangeKind)],
    ) -> BoxFuture<'a, Arc<dyn Store>> {
        Box::pin(async move {
            let mut wanted = Captured::none();
            captured
                .iter()
                .for_each(|(relation, kind)| wanted.add(*relation, *kind));
            let config = Config::new((self.through)(&self.server, self.server.database()));
            let open = |captured| PostgresStore::open(config.clone(), schema.clone(), captured);
            // Roles and functions first, then the tables, then the triggers on them.
            let empty = open(Captured::none()).await.unwrap_or_else(|e| panic!("{e}"));
            let client = empty.client().await.unwrap_or_else(|e| panic!("{e}"));
            for statement in mainstay_sql::postgres::ddl(&schema).unwrap_or_else(|e| panic!("{e}")) {
                let done = client.batch_execute(&statement).await;
                done.unwrap_or_else(|e| panic!("{statement}: {:?}", e.as_db_error()));
            }
            open(wanted).await.unwrap_or_else(|e| panic!("{e}")) as Arc<dyn Store>
        })
    }
}

/// Runs every case; says all that fail, not the first alone.
async fn all_cases(databases: Databases) {
    let databases = Arc::new(databases);
    let mut failed = Vec::new();
    let only = std::env::var("MAINSTAY_CASE").ok();
    for (name, case) in conformance::cases() {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let databases = databases.clone();
        let task = tokio::task::spawn(async move { conformance::run(&*databases, name, case).await });
        if task.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "cases that failed: {failed:#?}");
}

#[tokio::test]
async fn postgres_is_a_store() {
    let server = Server::start("");
    all_cases(Databases {
        server,
        through: |_, url| url,
    })
    .await;
}

/// A pooler in transaction mode, which must be noticed: nothing says so.
#[tokio::test]
async fn postgres_behind_a_pooler_is_a_store() {
    let server = Server::start("");
    if !server.start_pooler() {
        println!("skipped: PgBouncer is not installed (cargo xtask engines)");
        assert!(std::env::var("CI").is_err(), "PgBouncer is not installed");
        return;
    }
    all_cases(Databases {
        server,
        through: |_, url| url + "&port=6432",
    })
    .await;
}
