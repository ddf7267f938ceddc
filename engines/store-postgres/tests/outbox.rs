//! The outbox as a set: what commits late is not lost, what others write is told, one process relays.

mod server;

use mainstay_model::{ChangeKind, Column, OutboxRecord, Type};
use mainstay_store::Store;
use mainstay_store::conformance::library;
use mainstay_store::conformance::world::TAGS;
use mainstay_store_postgres::{Captured, Config, PostgresStore};
use server::Server;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn open(url: &str) -> Arc<PostgresStore> {
    let mut captured = Captured::none();
    captured.add(TAGS, ChangeKind::Insert);
    PostgresStore::open(Config::new(url), Arc::new(library()), captured)
        .await
        .unwrap()
}

async fn tables(url: &str) -> tokio_postgres::Client {
    let store = PostgresStore::open(Config::new(url), Arc::new(library()), Captured::none())
        .await
        .unwrap();
    let client = store.client().await.unwrap();
    for statement in mainstay_sql::postgres::ddl(store.schema()).unwrap() {
        client.batch_execute(&statement).await.unwrap();
    }
    client
}

fn keys(records: &[OutboxRecord]) -> Vec<&str> {
    records.iter().map(|r| &*r.key).collect()
}

#[tokio::test]
async fn what_commits_late_is_not_lost() {
    let server = Server::start("");
    let url = server.database();
    let mut late = tables(&url).await;
    let store = open(&url).await;
    let client = store.client().await.unwrap();
    let transaction = late.transaction().await.unwrap();
    transaction
        .batch_execute("INSERT INTO tags VALUES (1, 'late')")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO tags VALUES (2, 'early')")
        .await
        .unwrap();
    let records = store.outbox(0, 10).await.unwrap();
    assert_eq!(keys(&records), ["2"]);
    let early = records[0].sequence;
    store.confirm(early).await.unwrap();
    transaction.commit().await.unwrap();
    let records = store.outbox(early, 10).await.unwrap();
    assert_eq!(keys(&records), ["1"]);
    assert!(records[0].sequence > early);
    assert_eq!(
        records[0].payload,
        r#"{"schema":"public","table":"tags","op":"insert","old":null,"new":{"id":1,"label":"late"}}"#
    );
    // Not confirmed: whoever begins from the start gets it again, under its number.
    assert_eq!(store.outbox(0, 10).await.unwrap(), records);
    store.confirm(records[0].sequence).await.unwrap();
    assert!(store.outbox(0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn times_are_told_of_alike_whoever_writes_them() {
    let server = Server::start("");
    let url = server.database();
    let client = tables(&url).await;
    drop(open(&url).await);
    let mut schema = library();
    let tags = &mut schema.relations[TAGS.0 as usize];
    tags.columns.push(Column {
        not_null: false,
        ..tags.columns[1].clone()
    });
    let at = tags.columns.last_mut().unwrap();
    (at.name, at.ty) = ("at".into(), Type::TimestampTz);
    client
        .batch_execute("ALTER TABLE tags ADD COLUMN at timestamptz")
        .await
        .unwrap();
    let mut captured = Captured::none();
    captured.add(TAGS, ChangeKind::Insert);
    let store = PostgresStore::open(Config::new(&url), Arc::new(schema), captured)
        .await
        .unwrap();
    client
        .batch_execute("SET TimeZone = 'Asia/Tokyo'; INSERT INTO tags VALUES (1, 'a', '2024-01-01 00:00:00+00')")
        .await
        .unwrap();
    let records = store.outbox(0, 10).await.unwrap();
    assert!(
        records[0].payload.contains(r#""at":"2024-01-01T00:00:00+00:00""#),
        "{}",
        records[0].payload
    );
}

#[tokio::test]
async fn one_process_relays() {
    let server = Server::start("");
    let url = server.database();
    let client = tables(&url).await;
    let (first, second) = (open(&url).await, open(&url).await);
    client
        .batch_execute("INSERT INTO tags VALUES (1, 'a'), (2, 'b')")
        .await
        .unwrap();
    assert_eq!(keys(&first.outbox(0, 1).await.unwrap()), ["1"]);
    assert!(second.outbox(0, 10).await.unwrap().is_empty());
    first.close().await;
    drop(first);
    let began = Instant::now();
    loop {
        let records = second.outbox(0, 10).await.unwrap();
        if !records.is_empty() {
            assert_eq!(keys(&records), ["1", "2"], "what was not confirmed is handed out again");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "nobody took over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
