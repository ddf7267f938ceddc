//! Reads: filters, order, pages, counts, embeds, every type.

use super::world::*;
use super::{Case, World};
use mainstay_model::*;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    ("reads: filters and order", |w| Box::pin(filters(w))),
    ("reads: parameters, limit and offset", |w| Box::pin(pages(w))),
    ("reads: counts", |w| Box::pin(counts(w))),
    ("reads: embeds to one, to many and through a junction", |w| {
        Box::pin(embeds(w))
    }),
    ("reads: a filter and an order on embedded rows", |w| {
        Box::pin(embedded(w))
    }),
    ("reads: security of relations", |w| Box::pin(security(w))),
    ("reads: every type", |w| Box::pin(types(w))),
    ("reads: one plan, many values", |w| Box::pin(one_plan(w))),
    ("reads: the answer's fence", |w| Box::pin(fences(w))),
];

async fn filters(w: &World) {
    w.fill().await;
    let name = |filter: Expr| QueryShape {
        filter: Some(filter),
        order: vec![w.by(AUTHORS, "id")],
        ..w.query(AUTHORS, &["name"])
    };
    let rating = || w.column(AUTHORS, "rating");
    let literal = |text: &str| Expr::literal(number(text), Type::Numeric(None));
    let is_null = |negated| {
        Expr::condition(ExprKind::Is {
            operand: Box::new(rating()),
            test: IsTest::Null,
            negated,
        })
    };
    for (filter, expected) in [
        (
            Expr::compare(Operator::Gt, rating(), literal("4.4")),
            r#"[{"name":"Ann"}]"#,
        ),
        (
            Expr::compare(Operator::Le, rating(), literal("-1.25")),
            r#"[{"name":"Cyd"}]"#,
        ),
        (Expr::compare(Operator::Lt, rating(), literal("-1.251")), "[]"),
        (
            Expr::compare(Operator::Eq, rating(), literal("4.5")),
            r#"[{"name":"Ann"}]"#,
        ),
        (is_null(false), r#"[{"name":"Bob"}]"#),
        (is_null(true), r#"[{"name":"Ann"},{"name":"Cyd"}]"#),
        // NULL is neither true nor false.
        (
            Expr::compare(Operator::Gt, rating(), literal("0")).negate(),
            r#"[{"name":"Cyd"}]"#,
        ),
        (
            Expr::any(vec![
                w.equals(AUTHORS, "name", text("Bob")),
                w.equals(AUTHORS, "id", Value::Int(3)),
            ]),
            r#"[{"name":"Bob"},{"name":"Cyd"}]"#,
        ),
        (Expr::any(Vec::new()), "[]"),
        (
            Expr::all(Vec::new()),
            r#"[{"name":"Ann"},{"name":"Bob"},{"name":"Cyd"}]"#,
        ),
    ] {
        let shape = name(filter.clone());
        assert_eq!(w.rows(shape).await, expected, "{filter:?}");
    }
    for (descending, nulls_first, expected) in [
        (false, false, "Cyd Ann Bob"),
        (false, true, "Bob Cyd Ann"),
        (true, false, "Ann Cyd Bob"),
        (true, true, "Bob Ann Cyd"),
    ] {
        let order = vec![OrderBy {
            expr: rating(),
            descending,
            nulls_first,
        }];
        let answer = w
            .rows(QueryShape {
                order,
                ..w.query(AUTHORS, &["name"])
            })
            .await;
        let names: Vec<String> = expected.split(' ').map(|n| format!("{{\"name\":\"{n}\"}}")).collect();
        assert_eq!(
            answer,
            format!("[{}]", names.join(",")),
            "descending {descending}, nulls first {nulls_first}"
        );
    }
}

async fn pages(w: &World) {
    w.fill().await;
    let shape = QueryShape {
        filter: Some(Expr::compare(
            Operator::Ge,
            w.column(BOOKS, "id"),
            Expr::param(0, Type::Int4),
        )),
        order: vec![w.by(BOOKS, "id")],
        limit: Some(1),
        offset: Some(2),
        ..w.query(BOOKS, &["id"])
    };
    for (params, expected) in [
        (
            [Value::Int(0), Value::Int(2), Value::Int(0)],
            r#"[{"id":10},{"id":11}]"#,
        ),
        ([Value::Int(0), Value::Int(2), Value::Int(2)], r#"[{"id":12}]"#),
        ([Value::Int(11), Value::Null, Value::Null], r#"[{"id":11},{"id":12}]"#),
        ([Value::Int(0), Value::Int(0), Value::Int(0)], "[]"),
        ([Value::Null, Value::Int(5), Value::Int(0)], "[]"),
    ] {
        let answer = w.read(shape.clone(), &params).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.body), expected, "{params:?}");
        assert_eq!(answer.rows as usize, expected.matches("id").count());
    }
}

async fn counts(w: &World) {
    w.fill().await;
    let shape = QueryShape {
        limit: Some(0),
        count: Count::Exact,
        order: vec![w.by(BOOKS, "id")],
        ..w.query(BOOKS, &["id"])
    };
    let answer = w.read(shape.clone(), &[Value::Int(1)]).await.unwrap();
    assert_eq!((answer.rows, answer.total), (1, Some(3)));
    let none = QueryShape {
        filter: Some(w.equals(BOOKS, "id", Value::Int(99))),
        ..shape
    };
    let answer = w.read(none, &[Value::Int(1)]).await.unwrap();
    assert_eq!((answer.rows, answer.total), (0, Some(0)));
    assert_eq!(w.read(w.query(BOOKS, &["id"]), &[]).await.unwrap().total, None);
}

fn embed(name: &str, join: EmbedJoin, one: bool, query: QueryShape) -> Embed {
    Embed {
        name: name.into(),
        join,
        one,
        inner: false,
        spread: false,
        hidden: false,
        query,
    }
}

async fn embeds(w: &World) {
    w.fill().await;
    let tags = QueryShape {
        order: vec![w.by(TAGS, "id")],
        ..w.query(TAGS, &["label"])
    };
    let through = EmbedJoin::Through {
        junction: RelationRef::new(BOOK_TAGS),
        outer: vec![(0, 0)],
        related: vec![(1, 0)],
    };
    let mut books = QueryShape {
        order: vec![w.by(BOOKS, "id")],
        ..w.query(BOOKS, &["title"])
    };
    books.select.push(Item::Embed(embed("tags", through, false, tags)));
    let mut authors = QueryShape {
        order: vec![w.by(AUTHORS, "id")],
        ..w.query(AUTHORS, &["name"])
    };
    authors.select.push(Item::Embed(embed(
        "books",
        EmbedJoin::Columns(vec![(0, 1)]),
        false,
        books,
    )));
    assert_eq!(
        w.rows(authors).await,
        concat!(
            r#"[{"name":"Ann","books":[{"title":"Air","tags":[{"label":"old"},{"label":"new"}]},{"title":"Bees","tags":[]}]},"#,
            r#"{"name":"Bob","books":[{"title":"Cats","tags":[{"label":"new"}]}]},{"name":"Cyd","books":[]}]"#
        )
    );
    let parent = |spread| Embed {
        spread,
        ..embed(
            "parent",
            EmbedJoin::Columns(vec![(1, 0)]),
            true,
            w.query(NODES, &["parent"]),
        )
    };
    w.done(w.insert(
        NODES,
        &["id", "parent"],
        vec![vec![Value::Int(1), Value::Null], vec![Value::Int(2), Value::Int(1)]],
    ))
    .await;
    let mut nodes = QueryShape {
        order: vec![w.by(NODES, "id")],
        ..w.query(NODES, &["id"])
    };
    nodes.select.push(Item::Embed(parent(false)));
    assert_eq!(
        w.rows(nodes.clone()).await,
        r#"[{"id":1,"parent":null},{"id":2,"parent":{"parent":null}}]"#
    );
    nodes.select[1] = Item::Embed(parent(true));
    assert_eq!(
        w.rows(nodes).await,
        r#"[{"id":1,"parent":null},{"id":2,"parent":null}]"#
    );
}

async fn embedded(w: &World) {
    w.fill().await;
    let cheap = Expr::compare(
        Operator::Lt,
        w.column(BOOKS, "price"),
        Expr::literal(number("10"), Type::Numeric(None)),
    );
    let books = QueryShape {
        filter: Some(cheap),
        order: vec![w.by(BOOKS, "id")],
        ..w.query(BOOKS, &["title"])
    };
    let mut inner = QueryShape {
        order: vec![w.by(AUTHORS, "id")],
        count: Count::Exact,
        ..w.query(AUTHORS, &["name"])
    };
    let embed = embed("books", EmbedJoin::Columns(vec![(0, 1)]), false, books);
    inner.select.push(Item::Embed(Embed {
        inner: true,
        ..embed.clone()
    }));
    let answer = w.read(inner.clone(), &[]).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&answer.body),
        r#"[{"name":"Ann","books":[{"title":"Air"}]},{"name":"Bob","books":[{"title":"Cats"}]}]"#
    );
    assert_eq!(answer.total, Some(2));
    // Hidden: it decides which rows, and is not shown.
    inner.select[1] = Item::Embed(Embed {
        inner: true,
        hidden: true,
        ..embed
    });
    assert_eq!(w.rows(inner).await, r#"[{"name":"Ann"},{"name":"Bob"}]"#);
    let author = Embed {
        name: "author".into(),
        join: EmbedJoin::Columns(vec![(1, 0)]),
        one: true,
        inner: false,
        spread: false,
        hidden: false,
        query: w.query(AUTHORS, &["name"]),
    };
    let by_author = ExprKind::EmbeddedColumn(0, Box::new(w.column(AUTHORS, "name")));
    let mut by_name = QueryShape {
        order: vec![
            OrderBy {
                expr: Expr::new(by_author, Type::Text),
                descending: true,
                nulls_first: true,
            },
            w.by(BOOKS, "id"),
        ],
        ..w.query(BOOKS, &["id"])
    };
    by_name.select.push(Item::Embed(author));
    assert_eq!(
        w.rows(by_name).await,
        r#"[{"id":12,"author":{"name":"Bob"}},{"id":10,"author":{"name":"Ann"}},{"id":11,"author":{"name":"Ann"}}]"#
    );
}

async fn security(w: &World) {
    if w.store.capabilities().native_policies {
        // Nobody adds a predicate for an engine with policies of its own.
        return;
    }
    w.fill().await;
    let own = Expr::compare(
        Operator::Eq,
        w.column(AUTHORS, "name"),
        Expr::new(ExprKind::Claim(Claim::Text(vec!["name".into()])), Type::Text),
    );
    let relation = RelationRef {
        security: Some(Arc::new(own)),
        ..RelationRef::new(AUTHORS)
    };
    let shape = Arc::new(QueryShape {
        from: Source::Relation(relation),
        count: Count::Exact,
        ..w.query(AUTHORS, &["id"])
    });
    for (name, expected) in [(Some("Bob"), r#"[{"id":2}]"#), (Some("Nobody"), "[]"), (None, "[]")] {
        let claims = name.map(|name| ("name".to_owned(), name.into())).into_iter().collect();
        let identity = Identity::new("authenticated", Arc::new(claims));
        let read = crate::Read {
            plan: 1 << 40,
            kept: true,
            shape: &shape,
            params: &[],
            identity: &identity,
            representation: &super::JsonRows,
        };
        let answer = w.store.read(read).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.body), expected);
        assert_eq!(
            answer.total,
            Some(answer.rows),
            "a count tells nothing that the rows do not"
        );
    }
}

async fn types(w: &World) {
    let columns = [
        "id", "flag", "small", "real", "exact", "raw", "day", "clock", "at", "doc", "words",
    ];
    let given = [
        (
            "550e8400-e29b-41d4-a716-446655440000",
            r#""550e8400-e29b-41d4-a716-446655440000""#,
        ),
        ("t", "true"),
        ("-32768", "-32768"),
        ("0.1", "0.1"),
        ("12345678901234567890.1200", "12345678901234567890.1200"),
        ("\\x00ff", r#""\\x00ff""#),
        ("2024-02-29", r#""2024-02-29""#),
        ("23:59:59.5", r#""23:59:59.5""#),
        ("2024-02-29 12:00:00+02", r#""2024-02-29T10:00:00+00:00""#),
        (r#"{"b": [1, null], "a": "é"}"#, r#"{"a": "é", "b": [1, null]}"#),
        (r#"{a,NULL,"b c"}"#, r#"["a",null,"b c"]"#),
    ];
    let types = &w.schema.relation(THINGS).columns;
    let row: Vec<Value> = given
        .iter()
        .zip(types)
        .map(|((text, _), c)| Value::parse(text, &c.ty).unwrap())
        .collect();
    w.done(w.insert(THINGS, &columns, vec![row.clone()])).await;
    let shown: Vec<String> = columns
        .iter()
        .zip(&given)
        .map(|(name, (_, json))| format!("\"{name}\":{json}"))
        .collect();
    assert_eq!(w.table(THINGS, &columns).await, format!("[{{{}}}]", shown.join(",")));
    for (index, name) in columns.iter().enumerate() {
        if !types[index].ty.equal_bytes_are_equal() && !types[index].ty.is_number() {
            continue;
        }
        let shape = QueryShape {
            filter: Some(w.equals(THINGS, name, row[index].clone())),
            ..w.query(THINGS, &["small"])
        };
        assert_eq!(w.rows(shape).await, r#"[{"small":-32768}]"#, "{name} = its own value");
    }
    // All NULL but the key, which has a default.
    w.done(w.insert(THINGS, &["flag"], vec![vec![Value::Null]])).await;
    let nulls = Expr::condition(ExprKind::Is {
        operand: Box::new(w.column(THINGS, "small")),
        test: IsTest::Null,
        negated: false,
    });
    let shown: Vec<String> = columns[1..].iter().map(|name| format!("\"{name}\":null")).collect();
    let shape = QueryShape {
        filter: Some(nulls),
        ..w.query(THINGS, &columns[1..])
    };
    assert_eq!(w.rows(shape).await, format!("[{{{}}}]", shown.join(",")));
}

async fn one_plan(w: &World) {
    w.fill().await;
    let filter = Expr::compare(Operator::Eq, w.column(BOOKS, "id"), Expr::param(0, Type::Int4));
    let shape = Arc::new(QueryShape {
        filter: Some(filter),
        ..w.query(BOOKS, &["title"])
    });
    for (id, expected) in [
        (10, r#"[{"title":"Air"}]"#),
        (12, r#"[{"title":"Cats"}]"#),
        (10, r#"[{"title":"Air"}]"#),
        (1, "[]"),
    ] {
        let params = [Value::Int(id)];
        let read = crate::Read {
            plan: 1 << 41,
            kept: true,
            shape: &shape,
            params: &params,
            identity: &w.identity,
            representation: &super::JsonRows,
        };
        assert_eq!(
            String::from_utf8_lossy(&w.store.read(read).await.unwrap().body),
            expected
        );
    }
}

async fn fences(w: &World) {
    let before = w.read(w.query(AUTHORS, &["id"]), &[]).await.unwrap();
    let step = w.insert(AUTHORS, &["name"], vec![vec![text("Ann")]]);
    let committed = w
        .transact(Transaction {
            steps: vec![step],
            ..Transaction::default()
        })
        .await
        .unwrap();
    assert!(
        !before.fence.sees(committed.position),
        "a read that came before has not seen what came after"
    );
    let after = w.read(w.query(AUTHORS, &["id"]), &[]).await.unwrap();
    assert!(
        after.fence.sees(committed.position),
        "a read sees what was acknowledged before it"
    );
    assert!(w.store.position() >= committed.position);
    assert_eq!(committed.position.store, w.store.capabilities().store);
}
