//! Related rows on every level: embedded, spread, ordered, aggregated, called, and found by their indexes.

use super::*;

#[test]
fn embeds_give_the_related_rows() {
    let w = World::new();
    let mut tags = w.of("tags");
    tags.select = vec![w.field("tags", "label")];
    tags.order = vec![by(w.column("tags", "id"))];
    let mut books = w.of("books");
    books.select = vec![
        w.field("books", "title"),
        w.field("books", "price"),
        Item::Embed(embed(
            "tags",
            EmbedJoin::Through {
                junction: RelationRef::new(w.id("book_tags")),
                outer: w.pair(("books", "id"), ("book_tags", "book_id")),
                related: w.pair(("book_tags", "tag_id"), ("tags", "id")),
            },
            false,
            tags,
        )),
    ];
    books.order = vec![OrderBy {
        expr: w.column("books", "title"),
        descending: true,
        nulls_first: true,
    }];
    books.limit = Some(0);
    let mut authors = w.of("authors");
    let join = EmbedJoin::Columns(w.pair(("authors", "id"), ("books", "author_id")));
    authors.select = vec![
        w.field("authors", "name"),
        Item::Embed(embed("books", join.clone(), false, books.clone())),
    ];
    authors.order = vec![by(w.column("authors", "id"))];
    assert_eq!(
        w.rows(&authors, &[Value::Int(1)]),
        r#"[{"name":"Ada","books":[{"title":"Two","price":20.00,"tags":[]}]},{"name":"Bob","books":[{"title":"Three","price":null,"tags":[{"label":"old"}]}]},{"name":"Eve","books":[]}]"#
    );

    // `!inner` leaves out authors without a book that passes the filter; Embedded asks the same in a filter.
    let cheap = Expr::compare(
        Operator::Lt,
        w.column("books", "price"),
        Expr::param(1, Type::Numeric(None)),
    );
    let mut inner = embed("books", join.clone(), false, w.of("books"));
    inner.inner = true;
    inner.query.select = vec![w.field("books", "title")];
    inner.query.filter = Some(cheap);
    let mut shape = w.of("authors");
    shape.select = vec![w.field("authors", "name"), Item::Embed(inner.clone())];
    shape.count = Count::Exact;
    let params = [Value::Null, Value::parse("1.505", &Type::Numeric(None)).unwrap()];
    assert_eq!(w.rows(&shape, &params), r#"[{"name":"Ada","books":[{"title":"One"}]}]"#);
    let count = sqlite::compile_query(&w.schema, &shape).unwrap().count.unwrap();
    assert_eq!(w.run(&count, &params, &[], &[]), [[Sql::Integer(1)]]);
    inner.inner = false;
    inner.hidden = true;
    shape.select = vec![w.field("authors", "name"), Item::Embed(inner)];
    shape.filter = Some(Expr::condition(ExprKind::Embedded(0)).negate());
    assert_eq!(w.rows(&shape, &params), r#"[{"name":"Bob"},{"name":"Eve"}]"#);
}

#[test]
fn to_one_embeds_spread_and_order() {
    let w = World::new();
    let mut author = w.of("authors");
    author.select = vec![w.field("authors", "name")];
    let join = EmbedJoin::Columns(w.pair(("books", "author_id"), ("authors", "id")));
    let mut one = embed("author", join, true, author);
    let mut shape = w.of("books");
    shape.select = vec![w.field("books", "title"), Item::Embed(one.clone())];
    shape.order = vec![
        OrderBy {
            expr: Expr::new(
                ExprKind::EmbeddedColumn(0, Box::new(w.column("authors", "name"))),
                Type::Text,
            ),
            descending: true,
            nulls_first: true,
        },
        by(w.column("books", "title")),
    ];
    assert_eq!(
        w.rows(&shape, &[]),
        r#"[{"title":"Three","author":{"name":"Bob"}},{"title":"One","author":{"name":"Ada"}},{"title":"Two","author":{"name":"Ada"}}]"#
    );
    one.spread = true;
    shape.select = vec![w.field("books", "title"), Item::Embed(one)];
    assert!(w.rows(&shape, &[]).starts_with(r#"[{"title":"Three","name":"Bob"}"#));
    // The related row is found by its primary key.
    let compiled = sqlite::compile_query(&w.schema, &shape).unwrap();
    let LevelItem::Embed { level, .. } = &compiled.root.items[1] else {
        panic!("no embed")
    };
    assert!(
        w.plan(&level.select).contains("INTEGER PRIMARY KEY"),
        "{}",
        w.plan(&level.select)
    );
}

#[test]
fn to_many_spreads_are_arrays() {
    let w = World::new();
    let mut books = w.of("books");
    books.select = vec![w.field("books", "title"), w.field("books", "price")];
    books.order = vec![by(w.column("books", "title"))];
    let mut many = embed(
        "books",
        EmbedJoin::Columns(w.pair(("authors", "id"), ("books", "author_id"))),
        false,
        books,
    );
    many.spread = true;
    let mut shape = w.of("authors");
    shape.select = vec![w.field("authors", "name"), Item::Embed(many)];
    assert_eq!(
        w.rows(&shape, &[]),
        r#"[{"name":"Ada","title":["One","Two"],"price":[1.50,20.00]},{"name":"Bob","title":["Three"],"price":[null]},{"name":"Eve","title":[],"price":[]}]"#
    );
}

#[test]
fn aggregates_group_by_the_other_fields() {
    let w = World::new();
    let aggregate = |function, args: Vec<Expr>, ty| {
        let aggregate = Aggregate {
            function,
            args,
            distinct: false,
            filter: None,
            order: vec![],
        };
        Expr::new(ExprKind::Aggregate(Box::new(aggregate)), ty)
    };
    let mut shape = w.of("books");
    shape.select = vec![
        w.field("books", "author_id"),
        Item::Field(Projected {
            expr: aggregate(AggregateFunction::Count, vec![], Type::Int8),
            name: "count".into(),
        }),
        Item::Field(Projected {
            expr: aggregate(
                AggregateFunction::Sum,
                vec![w.column("books", "price")],
                Type::Numeric(None),
            ),
            name: "sum".into(),
        }),
    ];
    shape.order = vec![by(w.column("books", "author_id"))];
    shape.count = Count::Exact;
    assert_eq!(
        w.rows(&shape, &[]),
        r#"[{"author_id":1,"count":2,"sum":21.50},{"author_id":2,"count":1,"sum":null}]"#
    );
    let count = sqlite::compile_query(&w.schema, &shape).unwrap().count.unwrap();
    assert_eq!(w.run(&count, &[], &[], &[]), [[Sql::Integer(2)]]);
    // Inside an embed without keys there is one row, also of none.
    shape.select.remove(0);
    shape.order.clear();
    let join = EmbedJoin::Columns(w.pair(("authors", "id"), ("books", "author_id")));
    let mut authors = w.of("authors");
    authors.select = vec![
        w.field("authors", "id"),
        Item::Embed(embed("books", join, false, shape)),
    ];
    authors.filter = Some(Expr::compare(
        Operator::Eq,
        w.column("authors", "id"),
        Expr::param(0, Type::Int4),
    ));
    assert_eq!(
        w.rows(&authors, &[Value::Int(3)]),
        r#"[{"id":3,"books":[{"count":0,"sum":null}]}]"#
    );
}

#[test]
fn keys_and_filters_use_indexes() {
    let w = World::new();
    let plan = |table: &str, filter: Expr| {
        let mut shape = w.of(table);
        shape.select = vec![w.field(table, "id")];
        shape.filter = Some(filter);
        w.plan(&sqlite::compile_query(&w.schema, &shape).unwrap().root.select)
    };
    let eq = |column: &str, ty: Type| Expr::compare(Operator::Eq, w.column("books", column), Expr::param(0, ty));
    let list = |column: &str, ty: Type| {
        Expr::condition(ExprKind::Quantified {
            operator: Operator::Eq,
            all: false,
            operand: Box::new(w.column("books", column)),
            array: Box::new(Expr::param(0, Type::Array(Box::new(ty)))),
        })
    };
    let lower = Expr::compare(
        Operator::Eq,
        Expr::new(
            ExprKind::Call(mainstay_model::Builtin::Lower, vec![w.column("books", "title")]),
            Type::Text,
        ),
        Expr::param(0, Type::Text),
    );
    let cheap = Expr::all(vec![
        eq("price", Type::Numeric(Some((10, 2)))),
        Expr::compare(
            Operator::Gt,
            w.column("books", "price"),
            Expr::literal(
                Value::Numeric(mainstay_model::Decimal::from_i64(1)),
                Type::Numeric(None),
            ),
        ),
    ]);
    for (table, filter, index) in [
        ("books", eq("id", Type::Uuid), "sqlite_autoindex_books_1 (id=?)"),
        ("books", list("id", Type::Uuid), "sqlite_autoindex_books_1 (id=?)"),
        ("books", eq("author_id", Type::Int4), "books_author (author_id=?)"),
        ("books", list("author_id", Type::Int4), "books_author (author_id=?)"),
        ("books", cheap, "books_price (price=?)"),
        (
            "books",
            eq("weight", Type::Numeric(None)),
            "books_weight (weight>? AND weight<?)",
        ),
        ("books", lower, "books_lower (<expr>=?)"),
    ] {
        let found = plan(table, filter);
        assert!(found.contains(index), "wanted {index}, got {found}");
        assert!(!found.contains("SCAN books"), "{found}");
    }
    let found = plan(
        "authors",
        Expr::compare(Operator::Eq, w.column("authors", "id"), Expr::param(0, Type::Int4)),
    );
    assert_eq!(found, "SEARCH t0 USING INTEGER PRIMARY KEY (rowid=?)");
    // An order that an index has is not sorted again; a view is flattened into the query that reads it.
    let mut shape = w.of("authors");
    shape.select = vec![w.field("authors", "name")];
    shape.order = vec![by(w.column("authors", "id"))];
    assert!(
        !w.plan(&sqlite::compile_query(&w.schema, &shape).unwrap().root.select)
            .contains("TEMP B-TREE")
    );
    let mut shape = w.of("cheap");
    shape.select = vec![w.field("cheap", "title")];
    shape.filter = Some(Expr::compare(
        Operator::Eq,
        w.column("cheap", "id"),
        Expr::param(0, Type::Uuid),
    ));
    let found = w.plan(&sqlite::compile_query(&w.schema, &shape).unwrap().root.select);
    assert!(found.contains("sqlite_autoindex_books_1 (id=?)"), "{found}");
    assert_eq!(
        w.rows(&shape, &[Value::parse(&uuid(1), &Type::Uuid).unwrap()]),
        r#"[{"title":"One"}]"#
    );
}

#[test]
fn calls_of_one_select_are_part_of_the_query() {
    let w = World::new();
    let function = w.schema.find_functions("public", "by_author")[0];
    let call = Call {
        function,
        args: vec![Expr::param(0, Type::Int4)],
        body: None,
    };
    assert!(sqlite::is_one_select(&w.schema, &call));
    let mut shape = QueryShape::of(Source::Call(call));
    shape.select = vec![w.field("books", "title")];
    shape.order = vec![OrderBy {
        expr: w.column("books", "title"),
        descending: true,
        nulls_first: true,
    }];
    assert_eq!(w.rows(&shape, &[Value::Int(1)]), r#"[{"title":"Two"},{"title":"One"}]"#);
    let found = w.plan(&sqlite::compile_query(&w.schema, &shape).unwrap().root.select);
    assert!(found.contains("books_author (author_id=?)"), "{found}");
    // The same from a temporary table.
    w.connection
        .execute_batch("CREATE TEMP TABLE results AS SELECT title AS c0 FROM books")
        .unwrap();
    let columns = vec![sqlite::OutputColumn {
        name: "title".into(),
        ty: Type::Text,
        form: sqlite::Form::Plain,
    }];
    shape.select = vec![Item::Field(Projected {
        expr: Expr::column(0, Type::Text),
        name: "title".into(),
    })];
    shape.order = vec![by(Expr::column(0, Type::Text))];
    let over = sqlite::compile_query_over(&w.schema, &shape, &RowsFrom::TempTable("results".into(), columns)).unwrap();
    assert_eq!(
        w.level(&over.root, &[], &[]),
        r#"[{"title":"One"},{"title":"Three"},{"title":"Two"}]"#
    );
}
