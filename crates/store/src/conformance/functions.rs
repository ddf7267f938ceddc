//! Functions: called on the writer and in reads, their results shaped, their failures undone.

use super::world::*;
use super::{Case, World};
use mainstay_model::*;

pub(super) const CASES: &[Case] = &[
    ("functions: a scalar", |w| Box::pin(scalar(w))),
    ("functions: rows of a table, as they are and shaped", |w| {
        Box::pin(rows(w))
    }),
    ("functions: a failure undoes every statement", |w| Box::pin(undone(w))),
];

fn calling(call: Call, shape: QueryShape) -> Step {
    Step {
        returning: Some(QueryShape {
            from: Source::Call(call.clone()),
            ..shape
        }),
        ..Step::new(Action::Call(call))
    }
}

async fn scalar(w: &World) {
    let field = Projected {
        expr: Expr::column(0, Type::Int4),
        name: "twice".into(),
    };
    let shape = |call: Call| QueryShape {
        select: vec![Item::Field(field.clone())],
        ..QueryShape::of(Source::Call(call))
    };
    for (given, expected) in [(Value::Int(21), "42"), (Value::Null, "null")] {
        let call = w.call(TWICE, vec![given]);
        assert_eq!(w.rows(shape(call.clone())).await, expected);
        let outcome = w.done(calling(call.clone(), shape(call))).await;
        assert_eq!(String::from_utf8_lossy(&outcome.body), expected);
    }
}

async fn rows(w: &World) {
    w.fill().await;
    let call = w.call(RENAME_AUTHOR, vec![Value::Int(1), text("Anna")]);
    let outcome = w.done(calling(call, w.query(AUTHORS, &["name", "id"]))).await;
    assert_eq!(
        (outcome.rows, &*outcome.body),
        (1, br#"[{"name":"Anna","id":1}]"#.as_slice())
    );
    let call = w.call(RENAME_AUTHOR, vec![Value::Int(99), text("Nobody")]);
    assert_eq!(&*w.done(calling(call, w.query(AUTHORS, &["name"]))).await.body, b"[]");
    // A filter and an embed over the result.
    let mut shape = w.query(AUTHORS, &["name"]);
    shape.filter = Some(w.equals(AUTHORS, "active", Value::Bool(true)));
    shape.select.push(Item::Embed(Embed {
        name: "books".into(),
        join: EmbedJoin::Columns(vec![(0, 1)]),
        one: false,
        inner: false,
        spread: false,
        hidden: false,
        query: QueryShape {
            order: vec![w.by(BOOKS, "id")],
            ..w.query(BOOKS, &["title"])
        },
    }));
    for name in ["Ann", "Anne"] {
        let call = w.call(RENAME_AUTHOR, vec![Value::Int(1), text(name)]);
        let outcome = w.done(calling(call, shape.clone())).await;
        assert_eq!(
            String::from_utf8_lossy(&outcome.body),
            format!(r#"[{{"name":"{name}","books":[{{"title":"Air"}},{{"title":"Bees"}}]}}]"#)
        );
    }
}

async fn undone(w: &World) {
    let listener = std::sync::Arc::new(Recorder::default());
    w.store.listen(listener.clone());
    let call = w.call(ADD_PAIR, vec![text("Ann")]);
    let error = w.refused(calling(call, w.query(AUTHORS, &["id"]))).await;
    assert_eq!(error.code, "23502");
    assert_eq!(w.table(AUTHORS, &["id"]).await, "[]");
    assert!(listener.told().is_empty());
    assert!(w.outbox().await.is_empty());
}
