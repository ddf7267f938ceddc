//! Shapes and steps to text. That the text runs, and what it yields, is shown by a server (`tests/postgres`).

use super::*;
use mainstay_model::*;
use mainstay_store::conformance::library;

const AUTHORS: RelationId = RelationId(0);
const BOOKS: RelationId = RelationId(1);

fn field(name: &str, expr: Expr) -> Item {
    Item::Field(Projected {
        expr,
        name: name.into(),
    })
}

fn query(relation: RelationId, fields: Vec<Item>) -> QueryShape {
    QueryShape {
        select: fields,
        ..QueryShape::of(Source::Relation(RelationRef::new(relation)))
    }
}

fn title() -> Item {
    field("title", Expr::column(2, Type::Varchar(Some(20))))
}

fn sql(shape: &QueryShape) -> String {
    compile_query(&library(), shape, Options::default())
        .expect("it compiles")
        .sql
}

#[test]
fn reads() {
    let by_id = || Expr::compare(Operator::Eq, Expr::column(0, Type::Int4), Expr::param(0, Type::Int4));
    let plain = QueryShape {
        filter: Some(by_id()),
        order: vec![
            OrderBy {
                expr: Expr::column(3, Type::Numeric(Some((10, 2)))),
                descending: true,
                nulls_first: false,
            },
            OrderBy {
                expr: Expr::column(0, Type::Int4),
                descending: true,
                nulls_first: true,
            },
        ],
        limit: Some(1),
        offset: Some(2),
        ..query(BOOKS, vec![title()])
    };
    let embed = |one, query| Embed {
        name: "it's \"x\"".into(),
        join: EmbedJoin::Columns(if one { vec![(1, 0)] } else { vec![(0, 1)] }),
        one,
        inner: !one,
        spread: false,
        hidden: false,
        query,
    };
    let name = || field("name", Expr::column(1, Type::Text));
    let cases = [
        (
            plain,
            "SELECT t0.\"title\" FROM \"public\".\"books\" AS t0 WHERE (t0.\"id\" = $1::integer) \
             ORDER BY t0.\"price\" DESC NULLS LAST, t0.\"id\" DESC LIMIT $2::bigint OFFSET $3::bigint",
        ),
        (
            query(
                BOOKS,
                vec![title(), Item::Embed(embed(true, query(AUTHORS, vec![name()])))],
            ),
            "SELECT t0.\"title\", (SELECT row_to_json(t2.*) FROM (SELECT t1.\"name\" AS \"name\" FROM \"public\".\"authors\" AS t1 \
             WHERE t1.\"id\" = t0.\"author_id\") AS t2) FROM \"public\".\"books\" AS t0",
        ),
        (
            query(AUTHORS, vec![Item::Embed(embed(false, query(BOOKS, vec![title()])))]),
            "SELECT array_to_json(ARRAY(SELECT row_to_json(t2.*) FROM (SELECT t1.\"title\" AS \"title\" FROM \"public\".\"books\" AS t1 \
             WHERE t1.\"author_id\" = t0.\"id\") AS t2)) FROM \"public\".\"authors\" AS t0 \
             WHERE EXISTS (SELECT 1 FROM \"public\".\"books\" AS t3 WHERE t3.\"author_id\" = t0.\"id\")",
        ),
    ];
    for (shape, want) in &cases {
        assert_eq!(sql(shape), *want);
    }
}

/// What a client writes is never part of the text, and the same constant is the same parameter.
#[test]
fn constants_are_parameters() {
    let evil = "a' -> \"b\"; DROP TABLE books; --";
    let doc = || Expr::column(9, Type::Jsonb);
    let key = || Expr::literal(Value::Text(evil.into()), Type::Text);
    let value = || {
        Expr::new(
            ExprKind::Operator(Operator::JsonGetText, vec![doc(), key()]),
            Type::Text,
        )
    };
    let mut shape = query(RelationId(5), vec![field(evil, value())]);
    shape.filter = Some(Expr::compare(Operator::Eq, value(), Expr::param(0, Type::Text)));
    let compiled = compile_query(&library(), &shape, Options::default()).expect("it compiles");
    assert_eq!(
        compiled.sql,
        "SELECT (t0.\"doc\" ->> $1::text) FROM \"public\".\"things\" AS t0 WHERE ((t0.\"doc\" ->> $1::text) = $2::text)"
    );
    let values = compiled.slots.iter().map(|slot| &slot.value);
    let literal = SlotValue::Literal(Value::Text(evil.into()));
    assert_eq!(values.collect::<Vec<_>>(), [&literal, &SlotValue::Param(0)]);
    assert_eq!(&*compiled.columns[0].name, evil);
}

#[test]
fn writes() {
    let insert = |columns: &[u32], rows: Vec<Vec<Cell>>, conflict: Option<OnConflict>| {
        Step::new(Action::Insert {
            relation: RelationRef::new(BOOKS),
            columns: columns.to_vec(),
            rows,
            conflict,
            check: None,
            updated: None,
        })
    };
    let one = || Cell::Value(Value::Int(1));
    let merge = Some(OnConflict {
        target: vec![0],
        ignore: false,
    });
    let update = |limit| {
        Step::new(Action::Update {
            relation: RelationRef::new(BOOKS),
            set: vec![(2, Cell::Value(Value::Text("x".into()))), (4, Cell::Default)],
            filter: None,
            order: Vec::new(),
            limit,
            offset: 0,
            check: None,
        })
    };
    let returning = |step: Step| Step {
        returning: Some(query(BOOKS, vec![title()])),
        ..step
    };
    let key = Options {
        key: true,
        ..Options::default()
    };
    let plain = Options::default();
    let cases = [
        (
            insert(&[0, 4], vec![vec![one(), Cell::Default]], None),
            plain,
            "INSERT INTO \"public\".\"books\" AS t0 (\"id\") VALUES ($1::integer)",
        ),
        (
            insert(&[0, 4], vec![vec![one(), Cell::Default], vec![one(), one()]], None),
            plain,
            "INSERT INTO \"public\".\"books\" AS t0 (\"id\", \"added\") VALUES ($1::integer, DEFAULT), \
             ($2::integer, $3::timestamp with time zone)",
        ),
        (
            insert(&[0, 1], vec![vec![one(), one()]; 9], None),
            plain,
            "INSERT INTO \"public\".\"books\" AS t0 (\"id\", \"author_id\") SELECT v.c0, v.c1 \
             FROM unnest($1::integer[], $2::bigint[]) AS v(c0, c1)",
        ),
        (
            insert(&[0], vec![vec![one()]], None),
            key,
            "INSERT INTO \"public\".\"books\" AS t0 (\"id\") VALUES ($1::integer) RETURNING t0.\"id\"::text",
        ),
        (
            insert(&[0, 1], vec![vec![one(), one()]], merge),
            plain,
            "WITH w AS (INSERT INTO \"public\".\"books\" AS t0 (\"id\", \"author_id\") VALUES ($1::integer, $2::bigint) \
             ON CONFLICT (\"id\") DO UPDATE SET \"author_id\" = EXCLUDED.\"author_id\" RETURNING (t0.xmax = 0) AS \"?new\") \
             SELECT count(*), count(*) FILTER (WHERE w.\"?new\") FROM w",
        ),
        (
            returning(update(None)),
            plain,
            "UPDATE \"public\".\"books\" AS t0 SET \"title\" = $1::character varying, \"added\" = DEFAULT RETURNING t0.\"title\"",
        ),
        (
            update(Some(3)),
            plain,
            "UPDATE \"public\".\"books\" AS t0 SET \"title\" = $1::character varying, \"added\" = DEFAULT \
             WHERE (t0.\"id\") IN (SELECT t1.\"id\" FROM \"public\".\"books\" AS t1 LIMIT 3)",
        ),
    ];
    for (step, options, want) in cases {
        let compiled = compile_step(&library(), &step, options).expect("it compiles");
        assert_eq!(compiled.sql, want);
        for slot in &compiled.slots {
            assert!(slot.resolve(&step.params, Some(&step.action)).is_ok(), "{slot:?}");
        }
    }
}

/// What authorisation adds for engines that have no policies is not passed over.
#[test]
fn what_cannot_be_handed_over_is_refused() {
    let schema = library();
    let mut expanded = query(BOOKS, vec![title()]);
    if let Source::Relation(relation) = &mut expanded.from {
        relation.expansion = Some(std::sync::Arc::default());
    }
    let refused = compile_query(&schema, &expanded, Options::default()).unwrap_err();
    assert_eq!(refused.code, "0A000");
    let mut checked = Step::new(Action::Insert {
        relation: RelationRef::new(BOOKS),
        columns: vec![0],
        rows: vec![vec![Cell::Value(Value::Int(1))]],
        conflict: None,
        check: Some(std::sync::Arc::new(Expr::literal(Value::Bool(true), Type::Bool))),
        updated: None,
    });
    let refused = compile_step(&schema, &checked, Options::default()).unwrap_err();
    assert_eq!(refused.code, "0A000");
    let many = vec![vec![Cell::Value(Value::Int(1)), Cell::Default]; 40_000];
    if let Action::Insert {
        columns, rows, check, ..
    } = &mut checked.action
    {
        (*columns, *rows, *check) = (vec![0, 1], many, None);
        rows[0][1] = Cell::Value(Value::Int(1));
        rows.extend(vec![vec![Cell::Value(Value::Int(1)); 2]; 20_000]);
    }
    let refused = compile_step(&schema, &checked, Options::default()).unwrap_err();
    assert_eq!(refused.code, "54000");
}
