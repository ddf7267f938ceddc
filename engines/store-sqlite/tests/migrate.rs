//! A migration that is killed before each of its steps leaves the old schema or the new one, with every row.

mod scratch;

use mainstay_model::Schema;
use mainstay_schema::Source;
use mainstay_store_sqlite::migrate::{Options, apply, plan};
use mainstay_store_sqlite::{Captured, Config, SqliteStore};
use rusqlite::Connection;
use scratch::Scratch;
use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Where the victim works, and before which step it dies; set only for the victim.
const VICTIM: &str = "MAINSTAY_TEST_VICTIM";

const OLD: &str = "
CREATE TABLE makers (id integer PRIMARY KEY, name text);
CREATE TABLE things (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, maker integer REFERENCES makers, size text, gone text
);
CREATE INDEX things_size ON things (size);
CREATE TABLE rest (id integer PRIMARY KEY);";

const NEW: &str = "
CREATE TABLE makers (id bigint PRIMARY KEY, name text UNIQUE);
CREATE TABLE things (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, maker bigint NOT NULL REFERENCES makers, size integer CHECK (size >= 0),
  added timestamptz DEFAULT now()
);
CREATE INDEX things_size ON things (size);
CREATE TABLE more (id integer PRIMARY KEY);";

const ROWS: i64 = 5000;

fn schema(text: &str) -> Schema {
    let source = Source {
        file: "schema.sql".into(),
        text: text.to_owned(),
        store: "main".into(),
        service: None,
    };
    mainstay_schema::read(&[source]).schema
}

fn to_do(path: &Path, text: &str) -> usize {
    let plan = plan(&Config::new(path), &schema(text), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(plan.problems.is_empty(), "{plan}");
    plan.steps.len()
}

/// Migrates, and kills itself before the step that it was told.
#[test]
fn victim() {
    let Ok(told) = std::env::var(VICTIM) else { return };
    let (step, path) = told.split_once(' ').expect("a step and a path");
    let step: usize = step.parse().expect("a number");
    let told = Cell::new(0);
    let hook = move |_: &str| {
        if told.replace(told.get() + 1) == step {
            let id = std::process::id().to_string();
            let _ = Command::new("kill").args(["-9", &id]).status();
            // The signal is on its way.
            loop {
                std::thread::park();
            }
        }
    };
    let options = Options {
        allow_data_loss: true,
        hook: Some(Box::new(hook)),
    };
    apply(&Config::new(path), &schema(NEW), &[], &options).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn killed_before_any_step_it_leaves_the_old_schema_or_the_new_one() {
    let scratch = Scratch::new();
    let original = scratch.path().join("original.db");
    drop(
        SqliteStore::open(
            Config::new(&original),
            Arc::new(schema(OLD)),
            Captured::none(),
            Vec::new(),
        )
        .expect("a store"),
    );
    Connection::open(&original)
        .and_then(|conn| {
            conn.execute_batch(&format!(
                "INSERT INTO makers VALUES (1, 'one'), (2, 'two'); \
                 WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) \
                 INSERT INTO things (id, maker, size) SELECT n, n % 2 + 1, n FROM n; \
                 INSERT INTO things (id, maker) VALUES (9000, 1); DELETE FROM things WHERE id = 9000"
            ))
        })
        .expect("rows");
    let path = scratch.path().join("main.db");
    let (mut old, mut new) = (0, 0);
    for step in 0.. {
        let _ = std::fs::remove_file(scratch.path().join("main.db-wal"));
        let _ = std::fs::remove_file(scratch.path().join("main.db-shm"));
        std::fs::copy(&original, &path).expect("a copy");
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "victim"])
            .env(VICTIM, format!("{step} {}", path.display()))
            .stdout(std::process::Stdio::null())
            .status()
            .expect("the victim runs");
        let is_old = to_do(&path, OLD) == 0;
        assert_ne!(is_old, to_do(&path, NEW) == 0, "step {step}: neither old nor new");
        let count = |sql: &str| {
            let conn = Connection::open(&path).expect("the file");
            conn.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number")
        };
        assert_eq!(
            count("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
            0
        );
        assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
        assert_eq!(count("SELECT count(*) FROM makers"), 2);
        assert_eq!(
            count("SELECT sum(id * size) FROM things"),
            (1..=ROWS).map(|n| n * n).sum::<i64>()
        );
        // A number that was given once is not given again.
        assert_eq!(count("SELECT seq FROM sqlite_sequence WHERE name = 'things'"), 9000);
        assert_eq!(
            count("SELECT count(*) FROM sqlite_schema WHERE name LIKE '_mainstay_new%'"),
            0
        );
        match is_old {
            true => old += 1,
            false => new += 1,
        }
        if status.success() {
            assert!(!is_old && count("SELECT count(*) FROM _mainstay_migrations") == 1);
            break;
        }
    }
    // Before the commit, and after it.
    assert!(old > 15 && new == 2, "{old} old, {new} new");
}
