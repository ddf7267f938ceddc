//! Violated constraints, reported as Postgres reports them.

use super::world::*;
use super::{Case, World};
use mainstay_model::*;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    ("constraints: unique keys", |w| Box::pin(unique(w))),
    ("constraints: not null and checks", |w| Box::pin(rows(w))),
    ("constraints: foreign keys, both ways", |w| Box::pin(foreign_keys(w))),
    ("constraints: rows of one statement may refer to each other", |w| {
        Box::pin(among_themselves(w))
    }),
    ("constraints: deferred foreign keys", |w| Box::pin(deferred(w))),
    ("constraints: what does not fit a type", |w| Box::pin(ranges(w))),
    (
        "constraints: policies come first, and what may not be read is not told",
        |w| Box::pin(told(w)),
    ),
];

fn assert_error(error: &Error, code: &str, message: &str, details: &str, constraint: Option<&str>) {
    assert_eq!(
        (
            &*error.code,
            &*error.message,
            error.details.as_deref(),
            error.constraint.as_deref(),
            error.outcome
        ),
        (
            code,
            message,
            (!details.is_empty()).then_some(details),
            constraint,
            Outcome::None
        )
    );
}

async fn unique(w: &World) {
    w.fill().await;
    let error = w
        .refused(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("X")]]))
        .await;
    let message = r#"duplicate key value violates unique constraint "authors_pkey""#;
    assert_error(
        &error,
        "23505",
        message,
        "Key (id)=(1) already exists.",
        Some("authors_pkey"),
    );
    let error = w
        .refused(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(9), text("Ann")]]))
        .await;
    let message = r#"duplicate key value violates unique constraint "authors_name_key""#;
    assert_error(
        &error,
        "23505",
        message,
        "Key (name)=(Ann) already exists.",
        Some("authors_name_key"),
    );
    let row = vec![Value::Int(20), Value::Int(1), text("Air")];
    let error = w
        .refused(w.insert(BOOKS, &["id", "author_id", "title"], vec![row]))
        .await;
    let message = r#"duplicate key value violates unique constraint "books_author_id_title_key""#;
    assert_error(
        &error,
        "23505",
        message,
        "Key (author_id, title)=(1, Air) already exists.",
        Some("books_author_id_title_key"),
    );
    // Only one of the key's columns is given; the other is the row's.
    let error = w
        .refused(w.update(
            BOOKS,
            &[("title", text("Air"))],
            Some(w.equals(BOOKS, "id", Value::Int(11))),
        ))
        .await;
    assert_error(
        &error,
        "23505",
        message,
        "Key (author_id, title)=(1, Air) already exists.",
        Some("books_author_id_title_key"),
    );
}

async fn rows(w: &World) {
    w.fill().await;
    let error = w
        .refused(w.insert(AUTHORS, &["id", "born"], vec![vec![Value::Int(9), Value::Date(1)]]))
        .await;
    let message = r#"null value in column "name" of relation "authors" violates not-null constraint"#;
    assert_error(
        &error,
        "23502",
        message,
        "Failing row contains (9, null, 1970-01-02, null, t).",
        None,
    );
    let error = w
        .refused(w.update(
            AUTHORS,
            &[("name", Value::Null)],
            Some(w.equals(AUTHORS, "id", Value::Int(1))),
        ))
        .await;
    assert_error(
        &error,
        "23502",
        message,
        "Failing row contains (1, null, 1970-01-01, 4.50, t).",
        None,
    );
    // A key that nothing numbers is not made up.
    let keyless = [
        w.insert(TAGS, &["label"], vec![vec![text("keyless")]]),
        w.insert(TAGS, &["id", "label"], vec![vec![Value::Null, text("keyless")]]),
    ];
    for step in keyless {
        let error = w.refused(step).await;
        let message = r#"null value in column "id" of relation "tags" violates not-null constraint"#;
        let row = "Failing row contains (null, keyless).";
        assert_error(&error, "23502", message, row, None);
    }
    let error = w
        .refused(w.update(
            BOOKS,
            &[("price", number("-1"))],
            Some(w.equals(BOOKS, "id", Value::Int(10))),
        ))
        .await;
    assert_eq!(
        (&*error.code, error.constraint.as_deref()),
        ("23514", Some("books_price_check"))
    );
    assert_eq!(
        error.message,
        r#"new row for relation "books" violates check constraint "books_price_check""#
    );
    let details = error.details.clone().unwrap_or_default();
    assert!(
        details.starts_with("Failing row contains (10, 1, Air, -1.00, "),
        "{details}"
    );
    let row = vec![Value::Int(20), Value::Int(1), text("X"), number("-0.01")];
    let error = w
        .refused(w.insert(BOOKS, &["id", "author_id", "title", "price"], vec![row]))
        .await;
    assert_eq!(
        (&*error.code, error.constraint.as_deref()),
        ("23514", Some("books_price_check"))
    );
}

async fn foreign_keys(w: &World) {
    w.fill().await;
    let error = w
        .refused(w.insert(
            BOOKS,
            &["id", "author_id", "title"],
            vec![vec![Value::Int(20), Value::Int(99), text("X")]],
        ))
        .await;
    let message = r#"insert or update on table "books" violates foreign key constraint "books_author_id_fkey""#;
    let details = r#"Key (author_id)=(99) is not present in table "authors"."#;
    assert_error(&error, "23503", message, details, Some("books_author_id_fkey"));
    let error = w
        .refused(w.update(
            BOOK_TAGS,
            &[("tag_id", Value::Int(9))],
            Some(w.equals(BOOK_TAGS, "book_id", Value::Int(12))),
        ))
        .await;
    let message = r#"insert or update on table "book_tags" violates foreign key constraint "book_tags_tag_id_fkey""#;
    assert_error(
        &error,
        "23503",
        message,
        r#"Key (tag_id)=(9) is not present in table "tags"."#,
        Some("book_tags_tag_id_fkey"),
    );
    let error = w
        .refused(w.delete(TAGS, Some(w.equals(TAGS, "id", Value::Int(2)))))
        .await;
    let message = r#"update or delete on table "tags" violates foreign key constraint "book_tags_tag_id_fkey" on table "book_tags""#;
    let details = r#"Key (id)=(2) is still referenced from table "book_tags"."#;
    assert_error(&error, "23503", message, details, Some("book_tags_tag_id_fkey"));
    let error = w
        .refused(w.update(
            TAGS,
            &[("id", Value::Int(8))],
            Some(w.equals(TAGS, "id", Value::Int(2))),
        ))
        .await;
    assert_error(&error, "23503", message, details, Some("book_tags_tag_id_fkey"));
    assert_eq!(w.table(TAGS, &["id"]).await, r#"[{"id":1},{"id":2}]"#);
}

fn pair(id: i64, parent: Option<i64>) -> Vec<Value> {
    vec![Value::Int(id), parent.map_or(Value::Null, Value::Int)]
}

async fn among_themselves(w: &World) {
    w.done(w.insert(FAMILY, &["id", "parent"], vec![pair(1, Some(2)), pair(2, None)]))
        .await;
    let error = w
        .refused(w.insert(FAMILY, &["id", "parent"], vec![pair(3, Some(4)), pair(5, None)]))
        .await;
    let message = r#"insert or update on table "family" violates foreign key constraint "family_parent_fkey""#;
    assert_error(
        &error,
        "23503",
        message,
        r#"Key (parent)=(4) is not present in table "family"."#,
        Some("family_parent_fkey"),
    );
    // Not in two steps: the key is not deferred.
    let two = vec![
        w.insert(FAMILY, &["id", "parent"], vec![pair(6, Some(7))]),
        w.insert(FAMILY, &["id", "parent"], vec![pair(7, None)]),
    ];
    let error = w
        .transact(Transaction {
            steps: two,
            ..Transaction::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.code, "23503");
    assert_eq!(w.table(FAMILY, &["id"]).await, r#"[{"id":1},{"id":2}]"#);
}

async fn deferred(w: &World) {
    let step = |id, parent| w.insert(NODES, &["id", "parent"], vec![pair(id, parent)]);
    let transaction = |steps: Vec<Step>| Transaction {
        steps,
        ..Transaction::default()
    };
    w.transact(transaction(vec![step(1, Some(2)), step(2, None)]))
        .await
        .unwrap();
    let error = w
        .transact(transaction(vec![step(3, Some(4)), step(5, None)]))
        .await
        .unwrap_err();
    let message = r#"insert or update on table "nodes" violates foreign key constraint "nodes_parent_fkey""#;
    assert_error(
        &error,
        "23503",
        message,
        r#"Key (parent)=(4) is not present in table "nodes"."#,
        Some("nodes_parent_fkey"),
    );
    let error = w
        .refused(w.delete(NODES, Some(w.equals(NODES, "id", Value::Int(2)))))
        .await;
    let message =
        r#"update or delete on table "nodes" violates foreign key constraint "nodes_parent_fkey" on table "nodes""#;
    assert_error(
        &error,
        "23503",
        message,
        r#"Key (id)=(2) is still referenced from table "nodes"."#,
        Some("nodes_parent_fkey"),
    );
    // Among many who are committed together, only the culprit fails.
    let requests = (10..74).map(|id| transaction(vec![step(id, if id % 8 == 0 { Some(1000) } else { None })]));
    let results = all(requests
        .map(|t| Box::pin(w.transact(t)) as crate::BoxFuture<'_, Result<Committed>>)
        .collect())
    .await;
    for (id, result) in (10..74).zip(results) {
        assert_eq!(result.is_err(), id % 8 == 0, "node {id}");
    }
    let shape = QueryShape {
        count: Count::Exact,
        ..w.query(NODES, &["id"])
    };
    assert_eq!(w.read(shape, &[]).await.unwrap().total, Some(2 + 64 - 8));
}

async fn ranges(w: &World) {
    w.fill().await;
    let long = vec![Value::Int(20), Value::Int(1), text("a title of 21 letters")];
    let error = w
        .refused(w.insert(BOOKS, &["id", "author_id", "title"], vec![long]))
        .await;
    assert_error(
        &error,
        "22001",
        "value too long for type character varying(20)",
        "",
        None,
    );
    let error = w.refused(w.update(AUTHORS, &[("rating", number("100"))], None)).await;
    let details = "A field with precision 4, scale 2 must round to an absolute value less than 10^2.";
    assert_error(&error, "22003", "numeric field overflow", details, None);
    let error = w
        .refused(w.insert(THINGS, &["small"], vec![vec![Value::Int(40_000)]]))
        .await;
    assert_error(&error, "22003", "smallint out of range", "", None);
}

async fn told(w: &World) {
    if w.store.capabilities().native_policies {
        // The order of policies and constraints, and what is told of rows, is such an engine's own affair.
        return;
    }
    w.fill().await;
    let positive = Expr::compare(
        Operator::Gt,
        w.column(AUTHORS, "rating"),
        Expr::literal(number("0"), Type::Numeric(None)),
    );
    let insert = |rating: &str| {
        let row = vec![Value::Int(1), text("Eve"), number(rating)];
        let mut step = w.insert(AUTHORS, &["id", "name", "rating"], vec![row]);
        if let Action::Insert { check, .. } = &mut step.action {
            *check = Some(Arc::new(positive.clone()));
        }
        step
    };
    assert_eq!(w.refused(insert("-1")).await.code, "42501");
    assert_eq!(w.refused(insert("1")).await.code, "23505");
    let update = |rating: &str| {
        let mut step = w.update(AUTHORS, &[("name", Value::Null), ("rating", number(rating))], None);
        if let Action::Update { check, .. } = &mut step.action {
            *check = Some(Arc::new(positive.clone()));
        }
        step
    };
    assert_eq!(w.refused(update("-1")).await.code, "42501");
    assert_eq!(w.refused(update("1")).await.code, "23502");
    // A caller without the privilege to read.
    let stranger = Identity::role("anon");
    let refused = async |step: Step| {
        let transaction = Transaction {
            steps: vec![step],
            ..Transaction::default()
        };
        w.store.write(&transaction, &stranger).await.unwrap_err()
    };
    let error = refused(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("X")]])).await;
    assert_eq!((&*error.code, error.details.as_deref()), ("23505", None));
    let error = refused(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(9), Value::Null]])).await;
    assert_eq!(
        error.details.as_deref(),
        Some("Failing row contains (id, name) = (9, null).")
    );
    let error = refused(w.delete(TAGS, None)).await;
    assert_eq!(
        error.details.as_deref(),
        Some("Key is still referenced from table \"book_tags\".")
    );
}
