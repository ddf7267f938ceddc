//! Many at once: nothing lost, nothing twice, every position its own.

use super::world::*;
use super::{Case, World};
use mainstay_model::*;

pub(super) const CASES: &[Case] = &[
    ("together: 64 writers", |w| Box::pin(writers(w))),
    ("together: a guard that only some can pass", |w| Box::pin(guarded(w))),
    ("together: reads beside writes see whole transactions", |w| {
        Box::pin(snapshots(w))
    }),
    ("together: after the end", |w| Box::pin(after_the_end(w))),
];

async fn writers(w: &World) {
    let rounds = 4;
    let task = |task: i64| {
        Box::pin(async move {
            let mut positions = Vec::new();
            for round in 0..rounds {
                let step = w.insert(
                    TAGS,
                    &["id", "label"],
                    vec![vec![Value::Int(task * 100 + round), text("x")]],
                );
                let committed = w
                    .transact(Transaction {
                        steps: vec![step],
                        ..Transaction::default()
                    })
                    .await
                    .unwrap();
                assert!(w.store.position() >= committed.position);
                positions.push(committed.position.token);
            }
            assert!(positions.windows(2).all(|pair| pair[0] < pair[1]), "positions grow");
            positions
        }) as crate::BoxFuture<'_, Vec<u64>>
    };
    let mut positions = all((0..64).map(task).collect()).await.concat();
    positions.sort_unstable();
    let before = positions.len();
    positions.dedup();
    assert_eq!(positions.len(), before, "no two transactions have one position");
    let shape = QueryShape {
        count: Count::Exact,
        ..w.query(TAGS, &["id"])
    };
    assert_eq!(w.read(shape, &[]).await.unwrap().total, Some(64 * rounds as u64));
}

async fn guarded(w: &World) {
    w.fill().await;
    // Each takes the same unique name; one gets it.
    let task = |task: i64| {
        let step = w.insert(
            AUTHORS,
            &["id", "name"],
            vec![vec![Value::Int(100 + task), text("the one")]],
        );
        Box::pin(w.write(step)) as crate::BoxFuture<'_, Result<StepOutcome>>
    };
    let results = all((0..32).map(task).collect()).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .filter_map(|r| r.as_ref().err())
            .all(|e| e.code == "23505")
    );
}

async fn snapshots(w: &World) {
    // Two tags that always carry one label.
    let tag = |id: i64| vec![Value::Int(id), text("0")];
    w.done(w.insert(TAGS, &["id", "label"], vec![tag(1), tag(2)])).await;
    let write = |n: i64| {
        Box::pin(async move {
            let step = || w.update(TAGS, &[("label", Value::Text(n.to_string()))], None);
            // Two that change both rows in another order run into one another; who is told to may try again.
            while let Err(error) = w.write(step()).await {
                assert_ne!(error.retry, Retry::Never, "{error}");
            }
        }) as crate::BoxFuture<'_, ()>
    };
    let read = || {
        Box::pin(async move {
            let body = w.table(TAGS, &["label"]).await;
            let labels: Vec<&str> = body
                .split("\"label\":")
                .skip(1)
                .map(|rest| rest.split('}').next().unwrap_or(""))
                .collect();
            assert_eq!(labels.len(), 2, "{body}");
            assert_eq!(labels[0], labels[1], "{body}");
        }) as crate::BoxFuture<'_, ()>
    };
    let tasks = (0..200).map(|n| if n % 2 == 0 { write(n) } else { read() }).collect();
    all(tasks).await;
}

async fn after_the_end(w: &World) {
    w.store.ping().await.unwrap();
    w.store.close().await;
    assert_eq!(
        w.refused(w.insert(TAGS, &["id", "label"], vec![vec![Value::Int(1), text("x")]]))
            .await
            .code,
        "57P03"
    );
    assert_eq!(w.read(w.query(TAGS, &["id"]), &[]).await.unwrap_err().code, "57P03");
    assert_eq!(w.store.ping().await.unwrap_err().code, "57P03");
    w.store.close().await;
}
