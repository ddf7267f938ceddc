//! Answers that go on: whole, of one snapshot, and let go of.

use super::world::*;
use super::{Case, World};
use crate::{Read, Rest, Streamed};
use mainstay_model::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) const CASES: &[Case] = &[
    ("streams: the parts are the whole", |w| Box::pin(whole(w))),
    ("streams: what is small or counted does not go on", |w| {
        Box::pin(small(w))
    }),
    ("streams: one snapshot", |w| Box::pin(snapshot(w))),
    ("streams: whoever lets go ends it", |w| Box::pin(let_go(w))),
];

/// More than anybody buffers of an answer that goes on: 6 MB.
async fn fill(w: &World) {
    for batch in 0..6 {
        let row = |i: i64| vec![Value::Int(i), text(&format!("{i:01000}"))];
        let rows = (batch * 1000..(batch + 1) * 1000).map(row).collect();
        w.done(w.insert(TAGS, &["id", "label"], rows)).await;
    }
}

fn all(w: &World) -> QueryShape {
    QueryShape {
        order: vec![w.by(TAGS, "id")],
        ..w.query(TAGS, &["id", "label"])
    }
}

async fn stream(w: &World, shape: QueryShape) -> Result<Streamed> {
    let shape = Arc::new(shape);
    let read = Read {
        plan: w.plans.fetch_add(1, Ordering::Relaxed),
        kept: true,
        shape: &shape,
        params: &[],
        identity: &w.identity,
        representation: &super::JsonRows,
    };
    w.store.stream(read).await
}

async fn collected(first: &[u8], mut rest: Rest) -> Result<String> {
    let mut all = first.to_vec();
    while let Some(part) = rest.next().await {
        all.extend_from_slice(&part?);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

async fn whole(w: &World) {
    fill(w).await;
    let want = w.rows(all(w)).await;
    assert!(want.len() > 6_000_000);
    // Whatever an engine has learnt from the first.
    for _ in 0..3 {
        let Streamed { answer, rest } = stream(w, all(w)).await.unwrap();
        assert!(answer.body.len() < want.len() / 2 && answer.rows < 6000 && answer.total.is_none());
        let got = collected(&answer.body, rest.expect("a rest")).await.unwrap();
        assert!(got == want, "{} bytes instead of {}", got.len(), want.len());
    }
}

async fn small(w: &World) {
    fill(w).await;
    let page = QueryShape {
        limit: Some(0),
        ..all(w)
    };
    let shape = Arc::new(page);
    let read = |rows: &'static [Value]| Read {
        plan: 1 << 40,
        kept: true,
        shape: &shape,
        params: rows,
        identity: &w.identity,
        representation: &super::JsonRows,
    };
    // One plan, of large answers and of small ones.
    for (rows, goes_on) in [
        (&[Value::Int(3)], false),
        (&[Value::Int(6000)], true),
        (&[Value::Int(3)], false),
        (&[Value::Int(6000)], true),
    ] {
        let Streamed { answer, rest } = w.store.stream(read(rows)).await.unwrap();
        assert_eq!(rest.is_some(), goes_on, "{rows:?}");
        let body = match rest {
            Some(rest) => collected(&answer.body, rest).await.unwrap(),
            None => String::from_utf8_lossy(&answer.body).into_owned(),
        };
        let Value::Int(rows) = rows[0] else { unreachable!() };
        assert_eq!(body.matches("\"id\"").count(), rows as usize);
        assert!(body.ends_with("\"}]"));
    }
    let counted = QueryShape {
        count: Count::Exact,
        ..all(w)
    };
    let Streamed { answer, rest } = stream(w, counted).await.unwrap();
    assert_eq!((answer.rows, answer.total, rest.is_some()), (6000, Some(6000), false));
}

async fn snapshot(w: &World) {
    fill(w).await;
    let want = w.rows(all(w)).await;
    let Streamed { answer, rest } = stream(w, all(w)).await.unwrap();
    w.done(w.delete(TAGS, None)).await;
    w.done(w.insert(TAGS, &["id", "label"], vec![vec![Value::Int(1), text("new")]]))
        .await;
    assert_eq!(w.rows(all(w)).await, r#"[{"id":1,"label":"new"}]"#);
    let got = collected(&answer.body, rest.expect("a rest")).await.unwrap();
    assert!(got == want, "{} bytes instead of {}", got.len(), want.len());
}

async fn let_go(w: &World) {
    fill(w).await;
    // More than may be under way at a time.
    for _ in 0..40 {
        let Streamed { rest, .. } = stream(w, all(w)).await.unwrap();
        let mut rest = rest.expect("a rest");
        rest.next().await.expect("a part").unwrap();
        drop(rest);
        assert_eq!(
            w.rows(QueryShape {
                filter: Some(w.equals(TAGS, "id", Value::Int(7))),
                ..w.query(TAGS, &["id"])
            })
            .await,
            r#"[{"id":7}]"#
        );
    }
}
