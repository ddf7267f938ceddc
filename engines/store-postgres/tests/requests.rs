//! What in a database makes callers' requests worth telling it of.

mod server;

use mainstay_model::Schema;
use mainstay_store::Store;
use mainstay_store_postgres::{Captured, Config, PostgresStore};
use server::Server;
use std::sync::Arc;

#[tokio::test]
async fn requests_are_told_of_where_something_reads_them() {
    let server = Server::start("");
    let database = server.database();
    let store = PostgresStore::open(Config::new(database), Arc::new(Schema::default()), Captured::none())
        .await
        .unwrap();
    let client = store.client().await.unwrap();
    client.batch_execute("CREATE TABLE t (a text)").await.unwrap();
    for (reads, make, drop) in [
        (
            false,
            "CREATE POLICY p ON t USING (a = auth.uid()::text)",
            "DROP POLICY p ON t",
        ),
        (
            true,
            "CREATE POLICY p ON t WITH CHECK (a = current_setting('request.method', true))",
            "DROP POLICY p ON t",
        ),
        (
            true,
            "CREATE VIEW v AS SELECT current_setting('request.headers', true)::json ->> 'x' AS x",
            "DROP VIEW v",
        ),
        (
            true,
            "ALTER TABLE t ALTER a SET DEFAULT current_setting('request.path', true)",
            "ALTER TABLE t ALTER a DROP DEFAULT",
        ),
        (
            true,
            "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting('request.' || 'cookies'); END $$",
            "DROP FUNCTION f",
        ),
        (
            true,
            "CREATE FUNCTION f(name text) RETURNS text RETURN current_setting(name, true)",
            "DROP FUNCTION f",
        ),
        (
            false,
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('request.jwt.claims', true) $$",
            "DROP FUNCTION f",
        ),
    ] {
        client.batch_execute(make).await.unwrap();
        let next = store
            .with_schema(Arc::new(Schema::default()), &Captured::none())
            .await
            .unwrap();
        assert_eq!(next.wants_requests(), reads, "{make}");
        client.batch_execute(drop).await.unwrap();
    }
}
