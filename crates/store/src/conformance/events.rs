//! The outbox: what goes in, in which order, and how it is forgotten.

use super::world::*;
use super::{Case, World};
use mainstay_model::*;

pub(super) const CASES: &[Case] = &[
    ("events: captured changes with both images", |w| Box::pin(changes(w))),
    ("events: emitted ones, by the request and by functions", |w| {
        Box::pin(emitted(w))
    }),
    ("events: order and confirmation", |w| Box::pin(order(w))),
];

async fn changes(w: &World) {
    w.done(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("Ann")]]))
        .await;
    let added = Value::Timestamp(1_000_000);
    let row = vec![Value::Int(10), Value::Int(1), text("Air"), number("1.50"), added];
    w.done(w.insert(BOOKS, &["id", "author_id", "title", "price", "added"], vec![row]))
        .await;
    w.done(w.update(BOOKS, &[("title", text("Ai\"r"))], None)).await;
    // Not captured.
    w.done(w.update(AUTHORS, &[("name", text("Anna"))], None)).await;
    // The cascade is.
    w.done(w.delete(AUTHORS, None)).await;
    let records = w.outbox().await;
    let air = r#"{"id":10,"author_id":1,"title":"Air","price":1.50,"added":"1970-01-01T00:00:01+00:00"}"#;
    let changed = air.replace("Air", "Ai\\\"r");
    let told: Vec<(&str, &str, &str)> = records.iter().map(|r| (&*r.topic, &*r.key, &*r.payload)).collect();
    assert_eq!(
        told,
        [
            (
                "change.authors.insert",
                "1",
                r#"{"schema":"public","table":"authors","op":"insert","old":null,"new":{"id":1,"name":"Ann","born":null,"rating":null,"active":true}}"#
            ),
            (
                "change.books.insert",
                "10",
                &*format!(r#"{{"schema":"public","table":"books","op":"insert","old":null,"new":{air}}}"#)
            ),
            (
                "change.books.update",
                "10",
                &*format!(r#"{{"schema":"public","table":"books","op":"update","old":{air},"new":{changed}}}"#)
            ),
            (
                "change.books.delete",
                "10",
                &*format!(r#"{{"schema":"public","table":"books","op":"delete","old":{changed},"new":null}}"#)
            ),
        ]
    );
    assert!(
        records
            .iter()
            .all(|r| r.time_us > 1_600_000_000_000_000 && r.id.len() == 36)
    );
}

async fn emitted(w: &World) {
    let record = |id: &str, topic: &str| OutboxRecord {
        sequence: 0,
        id: id.into(),
        topic: topic.into(),
        key: "k".into(),
        time_us: 5,
        payload: "{}".into(),
        traceparent: None,
    };
    let given = "01890a5d-ac96-774b-bcce-b302099a8057";
    let transaction = Transaction {
        steps: vec![Step::new(Action::Call(w.call(ANNOUNCE, vec![text("news")])))],
        emit: vec![record(given, "first"), record("", "second")],
        traceparent: Some("00-1-2-01".into()),
        ..Transaction::default()
    };
    w.transact(transaction).await.unwrap();
    let failed = Transaction {
        steps: vec![
            Step::new(Action::Call(w.call(ANNOUNCE, vec![text("lost")]))),
            w.insert(AUTHORS, &["name"], vec![vec![Value::Null]]),
        ],
        emit: vec![record("", "lost")],
        ..Transaction::default()
    };
    w.transact(failed).await.unwrap_err();
    let records = w.outbox().await;
    let mut topics: Vec<&str> = records.iter().map(|r| &*r.topic).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["first", "news", "second"]);
    assert!(
        records
            .iter()
            .all(|r| r.traceparent.as_deref() == Some("00-1-2-01") && r.key == "k")
    );
    for r in &records {
        match &*r.topic {
            "first" => assert_eq!((&*r.id, r.time_us), (given, 5)),
            "news" => assert_eq!(r.payload, r#"{"told": true}"#),
            _ => assert_eq!(r.id.len(), 36),
        }
    }
    let ids: std::collections::HashSet<&str> = records.iter().map(|r| &*r.id).collect();
    assert_eq!(ids.len(), 3);
}

async fn order(w: &World) {
    for name in ["a", "b", "c", "d"] {
        w.done(w.insert(AUTHORS, &["name"], vec![vec![text(name)]])).await;
    }
    let records = w.outbox().await;
    assert_eq!(records.len(), 4);
    assert!(records.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let page = w.store.outbox(records[0].sequence, 2).await.unwrap();
    assert_eq!(page, records[1..3]);
    w.store.confirm(records[1].sequence).await.unwrap();
    assert_eq!(w.outbox().await, records[2..]);
    w.store.confirm(records[3].sequence).await.unwrap();
    assert!(w.outbox().await.is_empty());
    w.done(w.insert(AUTHORS, &["name"], vec![vec![text("e")]])).await;
    assert!(
        w.outbox().await[0].sequence > records[3].sequence,
        "a sequence never comes again"
    );
}
