//! Writes one step at a time: insertions, upserts, updates, deletions, what they return, what policies refuse.

use super::world::*;
use super::{Case, World};
use mainstay_model::*;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    ("writes: insertions, defaults and numbering", |w| {
        Box::pin(insertions(w))
    }),
    ("writes: upserts", |w| Box::pin(upserts(w))),
    ("writes: updates", |w| Box::pin(updates(w))),
    ("writes: deletions", |w| Box::pin(deletions(w))),
    ("writes: what is returned", |w| Box::pin(returned(w))),
    ("writes: policies on new rows", |w| Box::pin(checks(w))),
    ("writes: limits on what is touched", |w| Box::pin(limits(w))),
];

async fn insertions(w: &World) {
    let mut step = w.insert(
        AUTHORS,
        &["name", "active"],
        vec![vec![text("Ann"), Value::Bool(false)], vec![text("Bob"), Value::Null]],
    );
    if let Action::Insert { rows, .. } = &mut step.action {
        rows[1][1] = Cell::Default;
    }
    step.key = true;
    let outcome = w.done(step).await;
    assert_eq!((outcome.affected, outcome.inserted), (2, 2));
    assert_eq!(outcome.key, [(0, "1".to_owned())]);
    assert_eq!(
        w.table(AUTHORS, &["id", "name", "active", "rating"]).await,
        r#"[{"id":1,"name":"Ann","active":false,"rating":null},{"id":2,"name":"Bob","active":true,"rating":null}]"#
    );
    // An explicit number; numbering goes on above it, except where it is a sequence that does not look at the table.
    w.done(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(10), text("Cyd")]]))
        .await;
    let next = if w.store.capabilities().native_policies {
        "3"
    } else {
        "11"
    };
    let mut numbered = w.insert(AUTHORS, &["name"], vec![vec![text("Dee")]]);
    numbered.key = true;
    assert_eq!(w.done(numbered).await.key, [(0, next.to_owned())]);
    assert_eq!(w.done(w.insert(AUTHORS, &["name"], Vec::new())).await.affected, 0);
    // numeric(4,2) rounds as it stores.
    w.done(w.insert(
        AUTHORS,
        &["id", "name", "rating"],
        vec![vec![Value::Int(20), text("Eve"), number("1.005")]],
    ))
    .await;
    let eve = QueryShape {
        filter: Some(w.equals(AUTHORS, "id", Value::Int(20))),
        ..w.query(AUTHORS, &["rating"])
    };
    assert_eq!(w.rows(eve).await, r#"[{"rating":1.01}]"#);
}

fn with_conflict(mut step: Step, target: &[u32], ignores: bool) -> Step {
    if let Action::Insert { conflict, .. } = &mut step.action {
        *conflict = Some(OnConflict {
            target: target.to_vec(),
            ignore: ignores,
        });
    }
    step
}

async fn upserts(w: &World) {
    w.fill().await;
    let rows = || vec![vec![Value::Int(1), text("Anna")], vec![Value::Int(4), text("Dee")]];
    let outcome = w
        .done(with_conflict(w.insert(AUTHORS, &["id", "name"], rows()), &[0], false))
        .await;
    assert_eq!((outcome.affected, outcome.inserted), (2, 1));
    let outcome = w
        .done(with_conflict(
            w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("Nobody")]]),
            &[0],
            true,
        ))
        .await;
    assert_eq!((outcome.affected, outcome.inserted), (0, 0));
    assert_eq!(
        w.table(AUTHORS, &["id", "name", "rating"]).await,
        concat!(
            r#"[{"id":1,"name":"Anna","rating":4.50},{"id":2,"name":"Bob","rating":null},"#,
            r#"{"id":3,"name":"Cyd","rating":-1.25},{"id":4,"name":"Dee","rating":null}]"#
        )
    );
    // By another unique key.
    let outcome = w
        .done(with_conflict(
            w.insert(AUTHORS, &["name", "rating"], vec![vec![text("Bob"), number("3")]]),
            &[1],
            false,
        ))
        .await;
    assert_eq!((outcome.affected, outcome.inserted), (1, 0));
    let twice = vec![vec![Value::Int(1), text("A")], vec![Value::Int(1), text("B")]];
    let error = w
        .refused(with_conflict(w.insert(AUTHORS, &["id", "name"], twice), &[0], false))
        .await;
    assert_eq!(error.code, "21000");
}

async fn updates(w: &World) {
    w.fill().await;
    let outcome = w
        .done(w.update(
            BOOKS,
            &[("price", number("5"))],
            Some(w.equals(BOOKS, "author_id", Value::Int(1))),
        ))
        .await;
    assert_eq!((outcome.affected, outcome.inserted), (2, 0));
    let outcome = w
        .done(w.update(
            BOOKS,
            &[("title", text("x"))],
            Some(w.equals(BOOKS, "id", Value::Int(99))),
        ))
        .await;
    assert_eq!(outcome.affected, 0);
    let mut limited = w.update(BOOKS, &[("price", number("1"))], None);
    if let Action::Update {
        order, limit, offset, ..
    } = &mut limited.action
    {
        *order = vec![OrderBy {
            expr: w.column(BOOKS, "id"),
            descending: true,
            nulls_first: false,
        }];
        (*limit, *offset) = (Some(1), 1);
    }
    assert_eq!(w.done(limited).await.affected, 1);
    assert_eq!(
        w.table(BOOKS, &["id", "price"]).await,
        r#"[{"id":10,"price":5.00},{"id":11,"price":1.00},{"id":12,"price":0.50}]"#
    );
    // A key may move.
    w.done(w.update(
        TAGS,
        &[("label", text("older"))],
        Some(w.equals(TAGS, "id", Value::Int(1))),
    ))
    .await;
    w.done(w.insert(NODES, &["id"], vec![vec![Value::Int(1)]])).await;
    w.done(w.update(NODES, &[("id", Value::Int(7))], None)).await;
    assert_eq!(w.table(NODES, &["id"]).await, r#"[{"id":7}]"#);
}

async fn deletions(w: &World) {
    w.fill().await;
    assert_eq!(
        w.done(w.delete(BOOK_TAGS, Some(w.equals(BOOK_TAGS, "book_id", Value::Int(10)))))
            .await
            .affected,
        2
    );
    // The cascade takes the books with it; they do not count.
    assert_eq!(
        w.done(w.delete(AUTHORS, Some(w.equals(AUTHORS, "id", Value::Int(1)))))
            .await
            .affected,
        1
    );
    assert_eq!(w.table(BOOKS, &["id"]).await, r#"[{"id":12}]"#);
    assert_eq!(w.done(w.delete(BOOKS, None)).await.affected, 1);
    assert_eq!(w.table(BOOK_TAGS, &["tag_id"]).await, "[]");
}

async fn returned(w: &World) {
    w.fill().await;
    let returning = |mut step: Step, shape: QueryShape| {
        step.returning = Some(shape);
        step
    };
    let body = |outcome: StepOutcome| String::from_utf8_lossy(&outcome.body).into_owned();
    let step = returning(
        w.insert(
            AUTHORS,
            &["id", "name"],
            vec![vec![Value::Int(4), text("Dee")], vec![Value::Int(5), text("Eve")]],
        ),
        w.query(AUTHORS, &["id", "name", "active"]),
    );
    let outcome = w.done(step).await;
    assert_eq!(outcome.rows, 2);
    assert_eq!(
        body(outcome),
        r#"[{"id":4,"name":"Dee","active":true},{"id":5,"name":"Eve","active":true}]"#
    );
    let mut with_author = w.query(BOOKS, &["title"]);
    with_author.select.push(Item::Embed(Embed {
        name: "author".into(),
        join: EmbedJoin::Columns(vec![(1, 0)]),
        one: true,
        inner: false,
        spread: false,
        hidden: false,
        query: w.query(AUTHORS, &["name"]),
    }));
    let step = returning(
        w.update(
            BOOKS,
            &[("title", text("Atoms"))],
            Some(w.equals(BOOKS, "id", Value::Int(10))),
        ),
        QueryShape {
            count: Count::Exact,
            ..with_author.clone()
        },
    );
    let outcome = w.done(step).await;
    assert_eq!(outcome.total, Some(1));
    assert_eq!(body(outcome), r#"[{"title":"Atoms","author":{"name":"Ann"}}]"#);
    // Of what is deleted, what it was.
    let shape = QueryShape {
        order: vec![w.by(BOOKS, "id")],
        ..with_author
    };
    let outcome = w
        .done(returning(
            w.delete(BOOKS, Some(w.equals(BOOKS, "author_id", Value::Int(1)))),
            shape,
        ))
        .await;
    assert_eq!(outcome.affected, 2);
    assert_eq!(
        body(outcome),
        r#"[{"title":"Atoms","author":{"name":"Ann"}},{"title":"Bees","author":{"name":"Ann"}}]"#
    );
    let outcome = w
        .done(returning(
            w.delete(BOOKS, Some(w.equals(BOOKS, "id", Value::Int(99)))),
            w.query(BOOKS, &["id"]),
        ))
        .await;
    assert_eq!(body(outcome), "[]");
}

async fn checks(w: &World) {
    if w.store.capabilities().native_policies {
        // Nobody hands a check to an engine with policies of its own.
        return;
    }
    w.fill().await;
    let positive = Expr::compare(
        Operator::Gt,
        w.column(AUTHORS, "rating"),
        Expr::literal(number("0"), Type::Numeric(None)),
    );
    let visible_names = Expr::compare(
        Operator::Lt,
        w.column(AUTHORS, "name"),
        Expr::literal(text("X"), Type::Text),
    );
    let insert = |rating: Value, name: &str, id: i64| {
        let mut step = w.insert(
            AUTHORS,
            &["id", "name", "rating"],
            vec![vec![Value::Int(id), text(name), rating]],
        );
        if let Action::Insert { check, .. } = &mut step.action {
            *check = Some(Arc::new(Expr::all(vec![positive.clone(), visible_names.clone()])));
        }
        step
    };
    w.done(insert(number("1"), "Dee", 4)).await;
    for step in [
        insert(number("0"), "Eve", 5),
        insert(Value::Null, "Eve", 5),
        insert(number("1"), "Zoe", 5),
    ] {
        let error = w.refused(step).await;
        assert_eq!(error.code, "42501");
        assert_eq!(
            error.message,
            r#"new row violates row-level security policy for table "authors""#
        );
    }
    let mut update = w.update(AUTHORS, &[("rating", number("-1"))], None);
    if let Action::Update { check, .. } = &mut update.action {
        *check = Some(Arc::new(positive.clone()));
    }
    assert_eq!(w.refused(update).await.code, "42501");
    // Rows that may not be seen are not there.
    let hidden = |step: Step| {
        let relation = RelationRef {
            security: Some(Arc::new(positive.clone())),
            ..RelationRef::new(AUTHORS)
        };
        let mut step = step;
        match &mut step.action {
            Action::Update { relation: of, .. } | Action::Delete { relation: of, .. } => *of = relation,
            _ => {}
        }
        step
    };
    assert_eq!(
        w.done(hidden(w.update(AUTHORS, &[("active", Value::Bool(false))], None)))
            .await
            .affected,
        2
    );
    assert_eq!(
        w.done(hidden(w.delete(AUTHORS, Some(w.equals(AUTHORS, "id", Value::Int(3))))))
            .await
            .affected,
        0
    );
    // An upsert may not take over a row that may not be updated.
    let mut upsert = with_conflict(
        w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(3), text("Mine")]]),
        &[0],
        false,
    );
    if let Action::Insert { relation, .. } = &mut upsert.action {
        relation.security = Some(Arc::new(positive.clone()));
    }
    assert_eq!(w.refused(upsert).await.code, "42501");
    assert_eq!(
        w.table(AUTHORS, &["id", "active"]).await,
        r#"[{"id":1,"active":false},{"id":2,"active":true},{"id":3,"active":true},{"id":4,"active":false}]"#
    );
}

async fn limits(w: &World) {
    w.fill().await;
    let many = Step {
        max_affected: Some(1),
        ..w.update(BOOKS, &[("price", number("1"))], None)
    };
    assert_eq!(w.refused(many).await.code, "PGRST124");
    for filter in [None, Some(w.equals(BOOKS, "id", Value::Int(99)))] {
        let singular = Step {
            singular: true,
            ..w.delete(BOOKS, filter)
        };
        let error = w.refused(singular).await;
        assert_eq!((&*error.code, error.status), ("PGRST116", Some(406)));
    }
    assert_eq!(
        w.table(BOOKS, &["price"]).await,
        r#"[{"price":9.90},{"price":20.00},{"price":0.50}]"#
    );
}
