//! What the store costs on top of SQLite: microseconds per operation, beside bare rusqlite on the same file in the same run.
//!
//! `cargo run --release -p mainstay-store-sqlite --example store_probe`; pin it to one core for figures that hold (`taskset -c 1`).

use mainstay_model::*;
use mainstay_store::conformance::{JsonRows, World, library, world::*};
use mainstay_store::{BoxFuture, Read, Store};
use mainstay_store_sqlite::{Captured, Config, SqliteStore};
use std::sync::Arc;
use std::time::Instant;

const ROWS: i64 = 100_000;
const READS: i64 = 100_000;
const LISTS: i64 = 10_000;
const GROUPS: i64 = 500;
const GROUP: i64 = 64;

fn main() {
    let directory = std::env::temp_dir().join(format!("mainstay-probe-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(probe(&directory.join("main.db")));
    let _ = std::fs::remove_dir_all(&directory);
}

fn report(what: &str, count: i64, began: Instant) {
    println!(
        "{what:<46}{:>9.2} µs",
        began.elapsed().as_secs_f64() * 1e6 / count as f64
    );
}

async fn probe(path: &std::path::Path) {
    let schema = Arc::new(library());
    let mut captured = Captured::none();
    captured.add_all(NODES);
    let store = SqliteStore::open(Config::new(path), schema.clone(), captured, Vec::new()).expect("a store");
    let w = World::over(store.clone(), schema);
    for start in (0..ROWS).step_by(10_000) {
        let rows = (start..start + 10_000)
            .map(|i| vec![Value::Int(i), Value::Text(format!("the label of tag {i}"))])
            .collect();
        w.done(w.insert(TAGS, &["id", "label"], rows)).await;
    }
    let key = |i: i64| Value::Int((i * 7919) % ROWS);

    let bare = rusqlite::Connection::open(path).expect("a connection");
    let mut statement = bare
        .prepare("SELECT id, label FROM tags WHERE id = ?1")
        .expect("a statement");
    let began = Instant::now();
    for i in 0..READS {
        let _: (i64, String) = statement
            .query_row([(i * 7919) % ROWS], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("a row");
    }
    report("by key, bare rusqlite", READS, began);

    let filter = Expr::compare(Operator::Eq, w.column(TAGS, "id"), Expr::param(0, Type::Int4));
    let by_key = Arc::new(QueryShape {
        filter: Some(filter),
        ..w.query(TAGS, &["id", "label"])
    });
    let began = Instant::now();
    for i in 0..READS {
        let params = [key(i)];
        let read = Read {
            plan: 1,
            kept: true,
            shape: &by_key,
            params: &params,
            identity: &w.identity,
            representation: &JsonRows,
        };
        w.store.read(read).await.expect("a row");
    }
    report("by key, as JSON", READS, began);

    let mut statement = bare
        .prepare("SELECT id, label FROM tags WHERE id >= ?1 ORDER BY id LIMIT 20")
        .expect("a statement");
    let began = Instant::now();
    for i in 0..LISTS {
        let rows = statement.query_map([(i * 7919) % ROWS], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        });
        assert!(rows.expect("rows").count() <= 20);
    }
    report("list of 20, bare rusqlite", LISTS, began);

    let filter = Expr::compare(Operator::Ge, w.column(TAGS, "id"), Expr::param(0, Type::Int4));
    let order = vec![w.by(TAGS, "id")];
    let list = Arc::new(QueryShape {
        filter: Some(filter),
        order,
        limit: Some(1),
        ..w.query(TAGS, &["id", "label"])
    });
    let began = Instant::now();
    for i in 0..LISTS {
        let params = [key(i), Value::Int(20)];
        let read = Read {
            plan: 2,
            kept: true,
            shape: &list,
            params: &params,
            identity: &w.identity,
            representation: &JsonRows,
        };
        w.store.read(read).await.expect("rows");
    }
    report("list of 20, as JSON", LISTS, began);
    drop(statement);

    let insert = |relation: RelationId, columns: [&str; 1], id: i64| {
        w.write(w.insert(relation, &columns, vec![vec![Value::Int(id)]]))
    };
    let began = Instant::now();
    for i in 0..2000 {
        insert(FAMILY, ["id"], i).await.expect("an insertion");
    }
    report("insertion, one by one", 2000, began);
    for (what, relation) in [
        ("insertion, groups of 64", FAMILY),
        ("insertion, groups of 64, with its event", NODES),
    ] {
        let began = Instant::now();
        for group in 0..GROUPS {
            let ids = (0..GROUP).map(|i| 10_000 + group * GROUP + i);
            let writes = ids.map(|id| Box::pin(insert(relation, ["id"], id)) as BoxFuture<'_, Result<StepOutcome>>);
            assert!(all(writes.collect()).await.iter().all(std::result::Result::is_ok));
        }
        report(what, GROUPS * GROUP, began);
    }
    store.close().await;
}
