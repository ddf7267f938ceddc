//! Policies are part of every level, also of one that a join may leave out.

use super::*;

#[test]
fn security_is_part_of_every_level() {
    let w = World::new();
    let owned_by_me = Expr::compare(
        Operator::Eq,
        w.column("authors", "owner"),
        Expr::new(ExprKind::Claim(Claim::Uid), Type::Uuid),
    );
    let mut secured = RelationRef::new(w.id("authors"));
    secured.security = Some(Arc::new(owned_by_me));
    // Books whose author I own: a policy with a subquery over a secured table.
    let select = Select {
        projection: vec![Projected {
            expr: Expr::literal(Value::Int(1), Type::Int4),
            name: "x".into(),
        }],
        from: vec![FromItem::Relation {
            relation: secured.clone(),
            source: SourceId(1),
        }],
        filter: Some(Expr::compare(
            Operator::Eq,
            Expr::new(
                ExprKind::Column(mainstay_model::ColumnRef {
                    source: SourceId(1),
                    column: 0,
                }),
                Type::Int4,
            ),
            w.column("books", "author_id"),
        )),
        ..Select::default()
    };
    let mut books = RelationRef::new(w.id("books"));
    books.security = Some(Arc::new(Expr::condition(ExprKind::Exists(Box::new(select)))));
    let mut shape = QueryShape::of(Source::Relation(books.clone()));
    shape.select = vec![w.field("books", "title")];
    shape.order = vec![by(w.column("books", "title"))];
    assert_eq!(w.rows(&shape, &[]), r#"[{"title":"One"},{"title":"Two"}]"#);
    let mut authors = QueryShape::of(Source::Relation(secured));
    let join = EmbedJoin::Columns(w.pair(("authors", "id"), ("books", "author_id")));
    authors.select = vec![
        w.field("authors", "name"),
        Item::Embed(embed("books", join, false, shape)),
    ];
    assert_eq!(
        w.rows(&authors, &[]),
        r#"[{"name":"Ada","books":[{"title":"One"},{"title":"Two"}]}]"#
    );
    // Nothing of a table that one may not see can be changed either.
    let delete = sqlite::compile_delete(&w.schema, &books, None, &[], None, 0).unwrap();
    assert_eq!(w.run(&delete.select, &[], &[], &[]).len(), 2);
}

#[test]
fn security_of_the_outer_side_of_a_join_hides_rows_and_keeps_the_other_side() {
    let w = World::new();
    let secured = |join: &str| {
        let ddl = format!(
            "{DDL} CREATE FUNCTION q() RETURNS void LANGUAGE SQL AS $q$ SELECT a.name, b.title FROM authors a {join} books b \
             ON b.author_id = a.id ORDER BY a.id, b.title $q$;"
        );
        let source = mainstay_schema::Source {
            file: "s.sql".into(),
            text: ddl,
            store: "main".into(),
            service: None,
        };
        let reading = mainstay_schema::read(&[source]);
        let function = reading.schema.functions.iter().find(|f| &*f.name == "q").unwrap();
        let mainstay_model::Statement::Select(mut select) = function.body[0].clone() else {
            panic!("no query")
        };
        // Only books above ten are to be seen, and only the first two authors.
        let expensive = Expr::compare(
            Operator::Gt,
            w.column("books", "price"),
            Expr::literal(
                Value::Numeric(mainstay_model::Decimal::from_i64(10)),
                Type::Numeric(None),
            ),
        );
        let first = Expr::compare(
            Operator::Lt,
            w.column("authors", "id"),
            Expr::literal(Value::Int(3), Type::Int4),
        );
        let FromItem::Join { left, right, .. } = &mut select.from[0] else {
            panic!("no join")
        };
        for (item, condition) in [(left, first), (right, expensive)] {
            let FromItem::Relation { relation, .. } = &mut **item else {
                panic!("no relation")
            };
            relation.security = Some(Arc::new(condition));
        }
        let statement = mainstay_model::Statement::Select(select);
        let plan = sqlite::compile_statement(&w.schema, &statement).unwrap();
        let text = |v: &Sql| match v {
            Sql::Text(text) => text.clone(),
            _ => "-".to_owned(),
        };
        w.run(&plan.run, &[], &[], &[])
            .iter()
            .map(|row| format!("{}:{}", text(&row[0]), text(&row[1])))
            .collect::<Vec<_>>()
    };
    assert_eq!(secured("JOIN"), ["Ada:Two"]);
    assert_eq!(secured("LEFT JOIN"), ["Ada:Two", "Bob:-"]);
    assert_eq!(secured("RIGHT JOIN"), ["Ada:Two"]);
    assert_eq!(secured("FULL JOIN"), ["Ada:Two", "Bob:-"]);
}
