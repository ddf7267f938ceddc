//! Noticing a changed schema: by the digest, and by being told.

use crate::{connect, run, served};
use mainstay_store_postgres::introspect::{Change, Watch, digest, drive, introspect, listen};
use mainstay_tests::Postgres;
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

#[test]
fn the_digest_changes_with_the_schema_and_only_with_it() {
    // Roles are the whole server's: another test's are not to be noticed here.
    let server = Postgres::start().unwrap();
    let url = server.database();
    run(async {
        let client = connect(&url).await;
        let changes = [
            "CREATE TABLE t (id int PRIMARY KEY, n int)",
            "ALTER TABLE t ADD COLUMN word text",
            "ALTER TABLE t ALTER COLUMN word SET DEFAULT 'a'",
            "ALTER TABLE t ALTER COLUMN word SET DEFAULT 'b'",
            "ALTER TABLE t ALTER COLUMN word SET NOT NULL",
            "ALTER TABLE t RENAME COLUMN word TO name",
            "COMMENT ON COLUMN t.name IS 'a name'",
            "COMMENT ON TABLE t IS 'a table'",
            "CREATE TABLE u (t_id int, CONSTRAINT to_t FOREIGN KEY (t_id) REFERENCES t)",
            "ALTER TABLE u DROP CONSTRAINT to_t",
            "CREATE UNIQUE INDEX u_t ON u (t_id)",
            "CREATE VIEW v AS SELECT id FROM t",
            "CREATE OR REPLACE VIEW v AS SELECT id, n FROM t",
            "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a'",
            "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql STABLE AS 'SELECT a'",
            "CREATE ROLE digest_role",
            "GRANT SELECT ON t TO digest_role",
            "GRANT SELECT (t_id) ON u TO digest_role",
            "GRANT EXECUTE ON FUNCTION f TO digest_role",
            "GRANT USAGE ON SCHEMA public TO digest_role",
            "CREATE ROLE digest_group",
            "GRANT digest_group TO digest_role",
            "ALTER ROLE digest_role BYPASSRLS",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY p ON t USING (true)",
            "ALTER POLICY p ON t USING (id > 1)",
            "CREATE TYPE mood AS ENUM ('a')",
            "ALTER TYPE mood ADD VALUE 'b'",
            "CREATE DOMAIN d AS int",
            "CREATE SCHEMA other",
            "ALTER TABLE u SET SCHEMA other",
            "CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER tr INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION tr()",
            "DROP FUNCTION f",
            "CREATE TABLE parts (at date) PARTITION BY RANGE (at)",
        ];
        let mut known = digest(&client).await.unwrap();
        for sql in changes {
            client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            let now = digest(&client).await.unwrap();
            assert_ne!(now, known, "not noticed: {sql}");
            known = now;
        }
        let quiet = [
            "INSERT INTO t SELECT n, n, 'x' FROM generate_series(1, 1000) n",
            "ANALYZE t",
            "VACUUM t",
            "TRUNCATE t",
            "CREATE TEMPORARY TABLE scratch (id int PRIMARY KEY, word text DEFAULT 'a')",
            "COMMENT ON TABLE scratch IS NULL",
            "CREATE TABLE parts_2024 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
            "DROP TABLE parts_2024",
            "SET search_path = other",
        ];
        for sql in quiet {
            client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert_eq!(digest(&client).await.unwrap(), known, "nothing served changed: {sql}");
        }
        let found = introspect(&client, &served(&[])).await.unwrap();
        assert_eq!(found.digest, known, "introspection sees the same number");
        assert_eq!(found.schema.digest, known);
    });
}

#[test]
fn a_notification_is_noticed_at_once_and_silence_by_looking() {
    let server = Postgres::start().unwrap();
    let url = server.database();
    run(async {
        let writer = connect(&url).await;
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        tokio::spawn(drive(connection, tell));
        listen(&client).await.unwrap();
        let mut watch = Watch::new(digest(&client).await.unwrap(), Duration::from_secs(600));
        for channel in ["pgrst", "mainstay"] {
            let sql = format!("CREATE TABLE {channel} (id int); NOTIFY {channel}, 'reload schema'");
            writer.batch_execute(&sql).await.unwrap();
            let started = Instant::now();
            assert_eq!(watch.changed(&client, &mut told).await.unwrap(), Change::Schema);
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "told, not found by looking"
            );
        }
        writer.batch_execute("NOTIFY pgrst, 'reload config'").await.unwrap();
        assert_eq!(watch.changed(&client, &mut told).await.unwrap(), Change::Config);
        // Nobody tells: it is found by looking.
        let mut watch = Watch::new(digest(&client).await.unwrap(), Duration::from_millis(20));
        writer.batch_execute("CREATE TABLE silent (id int)").await.unwrap();
        assert_eq!(watch.changed(&client, &mut told).await.unwrap(), Change::Schema);
        // Told of nothing new, it goes on waiting.
        let mut watch = Watch::new(digest(&client).await.unwrap(), Duration::from_secs(600));
        writer.batch_execute("NOTIFY pgrst").await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(300), watch.changed(&client, &mut told)).await;
        assert!(waited.is_err(), "{waited:?}");
    });
}
