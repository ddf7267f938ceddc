//! Listeners: told of every commit, in order, with the right images, before the client is.

use super::world::*;
use super::{Case, World};
use crate::CommitListener;
use mainstay_model::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) const CASES: &[Case] = &[
    ("listeners: images of every kind of change", |w| Box::pin(images(w))),
    ("listeners: told before the client", |w| Box::pin(before_the_client(w))),
    ("listeners: nothing of what was rolled back", |w| {
        Box::pin(rolled_back(w))
    }),
];

fn short(change: &Change) -> (RelationId, ChangeKind, Option<Vec<Value>>, Option<Vec<Value>>) {
    (
        change.relation,
        change.kind,
        change.before.as_ref().map(|r| r.to_vec()),
        change.after.as_ref().map(|r| r.to_vec()),
    )
}

async fn images(w: &World) {
    if !w.store.capabilities().before_images {
        return;
    }
    let listener = Arc::new(Recorder::default());
    w.store.listen(listener.clone());
    let tag = |id: i64, label: &str| vec![Value::Int(id), text(label)];
    w.done(w.insert(TAGS, &["id", "label"], vec![tag(1, "a")])).await;
    let mut upsert = w.insert(TAGS, &["id", "label"], vec![tag(1, "b"), tag(2, "c")]);
    if let Action::Insert { conflict, .. } = &mut upsert.action {
        *conflict = Some(OnConflict {
            target: vec![0],
            ignore: false,
        });
    }
    w.done(upsert).await;
    w.done(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("Ann")]]))
        .await;
    let book = vec![
        Value::Int(10),
        Value::Int(1),
        text("Air"),
        number("1.5"),
        Value::Timestamp(7),
    ];
    w.done(w.insert(BOOKS, &["id", "author_id", "title", "price", "added"], vec![book]))
        .await;
    w.done(w.insert(
        BOOK_TAGS,
        &["book_id", "tag_id"],
        vec![vec![Value::Int(10), Value::Int(2)]],
    ))
    .await;
    // Takes the book with it, and the book its tag.
    w.done(w.delete(AUTHORS, None)).await;
    let told = listener.told();
    assert!(told.windows(2).all(|pair| pair[0].position < pair[1].position));
    let told: Vec<Vec<_>> = told.iter().map(|c| c.rows.iter().map(short).collect()).collect();
    use ChangeKind::{Delete, Insert, Update};
    assert_eq!(told[0], [(TAGS, Insert, None, Some(tag(1, "a")))]);
    assert_eq!(
        told[1],
        [
            (TAGS, Update, Some(tag(1, "a")), Some(tag(1, "b"))),
            (TAGS, Insert, None, Some(tag(2, "c")))
        ]
    );
    let ann = vec![Value::Int(1), text("Ann"), Value::Null, Value::Null, Value::Bool(true)];
    assert_eq!(told[2], [(AUTHORS, Insert, None, Some(ann.clone()))]);
    let air = vec![
        Value::Int(10),
        Value::Int(1),
        text("Air"),
        number("1.50"),
        Value::Timestamp(7),
    ];
    assert_eq!(told[3], [(BOOKS, Insert, None, Some(air.clone()))]);
    let mut last = told[5].clone();
    last.sort_by_key(|change| change.0);
    assert_eq!(
        last,
        [
            (AUTHORS, Delete, Some(ann), None),
            (BOOKS, Delete, Some(air), None),
            (BOOK_TAGS, Delete, Some(vec![Value::Int(10), Value::Int(2)]), None),
        ]
    );
    assert_eq!(told.len(), 6);
}

#[derive(Default)]
struct Newest(AtomicU64);

impl CommitListener for Newest {
    fn committed(&self, changes: &Changes) {
        let before = self.0.swap(changes.position.token, Ordering::SeqCst);
        assert!(before < changes.position.token, "told in the order of commits");
    }

    fn voided(&self, _: u16, _: &str) {}
}

async fn before_the_client(w: &World) {
    let newest = Arc::new(Newest::default());
    w.store.listen(newest.clone());
    let write = |i: usize| {
        let newest = newest.clone();
        Box::pin(async move {
            let step = w.insert(TAGS, &["id", "label"], vec![vec![Value::Int(i as i64), text("x")]]);
            let committed = w
                .transact(Transaction {
                    steps: vec![step],
                    ..Transaction::default()
                })
                .await
                .unwrap();
            assert!(
                newest.0.load(Ordering::SeqCst) >= committed.position.token,
                "acknowledged before the listeners were told"
            );
        }) as crate::BoxFuture<'_, ()>
    };
    all((0..64).map(write).collect()).await;
}

async fn rolled_back(w: &World) {
    let listener = Arc::new(Recorder::default());
    w.store.listen(listener.clone());
    let tag = |id: i64| vec![Value::Int(id), text("x")];
    // The second row fails after the first was written.
    w.refused(w.insert(TAGS, &["id", "label"], vec![tag(1), tag(1)])).await;
    w.refused(w.insert(NODES, &["id", "parent"], vec![vec![Value::Int(1), Value::Int(9)]]))
        .await;
    w.done(w.insert(TAGS, &["id", "label"], vec![tag(2)])).await;
    let told = listener.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].rows.len(), 1);
}
