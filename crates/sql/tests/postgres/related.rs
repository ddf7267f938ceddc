//! Reads of related rows: embeds of every kind, spreads, and groups.

use super::project::{Project, field, key, param, text};
use mainstay_model::*;

pub fn run(p: &Project<'_>) {
    embeds(p);
    spreads(p);
    groups(p);
}

fn embeds(p: &Project<'_>) {
    let id = |table: &str| vec![key(p.column(table, "id"), false, false)];
    let by_id = |mut shape: QueryShape, table: &str| {
        shape.order = id(table);
        shape
    };
    let director = || {
        p.embed(
            "director",
            "films",
            ("director_id", "id"),
            p.query("directors", &["name"]),
            true,
        )
    };
    let films = || {
        p.embed(
            "films",
            "directors",
            ("id", "director_id"),
            by_id(p.query("films", &["id", "title"]), "films"),
            false,
        )
    };
    let mut shape = by_id(p.query("films", &["id"]), "films");
    shape.select.push(Item::Embed(director()));
    assert_eq!(
        p.read(&shape, &[]),
        "1|{\"name\":\"Agnes\"}\n2|{\"name\":\"Agnes\"}\n3|{\"name\":\"Bela\"}\n4|NULL"
    );
    // To many, nested to one, with a page of its own.
    let mut inner = films();
    inner.query.limit = Some(0);
    inner.query.select.push(Item::Embed(director()));
    let mut shape = by_id(p.query("directors", &["id"]), "directors");
    shape.select.push(Item::Embed(inner));
    assert_eq!(
        p.read(&shape, &[Value::Int(1)]),
        "1|[{\"id\":1,\"title\":\"Cleo\",\"director\":{\"name\":\"Agnes\"}}]\n\
         2|[{\"id\":3,\"title\":\"Satantango\",\"director\":{\"name\":\"Bela\"}}]\n3|[]"
    );
    // Inner, with a filter; hidden, only tested.
    let priced = Expr::compare(Operator::Gt, p.column("films", "price"), param(0, Type::Numeric(None)));
    let mut inner = films();
    inner.inner = true;
    inner.query.filter = Some(priced);
    let mut shape = by_id(p.query("directors", &["id"]), "directors");
    shape.select.push(Item::Embed(inner));
    let ten = [Value::parse("10", &Type::Numeric(None)).unwrap()];
    assert_eq!(p.read(&shape, &ten), "1|[{\"id\":2,\"title\":\"Vagabond\"}]");
    let mut hidden = films();
    hidden.hidden = true;
    let mut shape = by_id(p.query("directors", &["id"]), "directors");
    shape.select.push(Item::Embed(hidden));
    shape.filter = Some(Expr::condition(ExprKind::Embedded(0)).negate());
    shape.count = Count::Exact;
    assert_eq!(p.read(&shape, &[]), "3");
    // By a value of the related row.
    let mut shape = p.query("films", &["id"]);
    shape.select.push(Item::Embed(director()));
    let name = Expr::new(
        ExprKind::EmbeddedColumn(0, Box::new(p.column("directors", "name"))),
        Type::Text,
    );
    shape.order = vec![key(name, true, true), key(p.column("films", "id"), false, false)];
    let ids: Vec<String> = p.read(&shape, &[]).lines().map(|l| l[..1].to_owned()).collect();
    assert_eq!(ids, ["4", "3", "1", "2"]);
    // Through a junction, and by a function of the row.
    let through = EmbedJoin::Through {
        junction: RelationRef::new(p.relation("parts")),
        outer: vec![(p.at("films", "id"), p.at("parts", "film_id"))],
        related: vec![(p.at("parts", "actor_id"), p.at("actors", "id"))],
    };
    let mut actors = p.embed(
        "actors",
        "films",
        ("id", "id"),
        by_id(p.query("actors", &["name"]), "actors"),
        false,
    );
    actors.join = through;
    let row = Expr::new(ExprKind::WholeRow(SourceId::SELF), Type::Row("films".into()));
    let mut computed = actors.clone();
    computed.join = EmbedJoin::Computed(p.function("cast_of"));
    computed.query.from = Source::Call(p.call("cast_of", vec![row]));
    for embed in [actors.clone(), computed] {
        let mut shape = by_id(p.query("films", &["id"]), "films");
        shape.select.push(Item::Embed(embed));
        let got = p.read(&shape, &[]);
        assert!(
            got.starts_with("1|[{\"name\":\"Corinne\"},{\"name\":\"Sandrine\"}]\n2|"),
            "{got}"
        );
    }
    // Only its number.
    actors.query = p.query("actors", &[]);
    actors
        .query
        .select
        .push(field("count", aggregate(AggregateFunction::Count, vec![], Type::Int8)));
    let mut shape = by_id(p.query("films", &["id"]), "films");
    shape.select.push(Item::Embed(actors));
    assert!(p.read(&shape, &[]).starts_with("1|[{\"count\":2}]\n"));
}

fn aggregate(function: AggregateFunction, args: Vec<Expr>, ty: Type) -> Expr {
    let call = Aggregate {
        function,
        args,
        distinct: false,
        filter: None,
        order: Vec::new(),
    };
    Expr::new(ExprKind::Aggregate(Box::new(call)), ty)
}

fn spreads(p: &Project<'_>) {
    let by_id = |mut shape: QueryShape, table: &str| {
        shape.order = vec![key(p.column(table, "id"), false, false)];
        shape
    };
    let films = || {
        p.embed(
            "films",
            "directors",
            ("id", "director_id"),
            by_id(p.query("films", &["id", "title"]), "films"),
            false,
        )
    };
    let mut director = p.embed(
        "director",
        "films",
        ("director_id", "id"),
        p.query("directors", &["name"]),
        true,
    );
    director.spread = true;
    // What is embedded in the spread comes out with it.
    director.query.select.push(Item::Embed(films()));
    let mut shape = by_id(p.query("films", &["id"]), "films");
    shape.select.push(Item::Embed(director.clone()));
    let got = p.read(&shape, &[]);
    assert!(
        got.starts_with("1|Agnes|[{\"id\":1,\"title\":\"Cleo\"},{\"id\":2,"),
        "{got}"
    );
    assert!(got.ends_with("\n4|NULL|NULL"), "{got}");
    director.inner = true;
    shape.select[1] = Item::Embed(director.clone());
    assert_eq!(p.read(&shape, &[]).lines().count(), 3);
    // To many: each value an array.
    let mut many = films();
    many.spread = true;
    many.query.select.push(field("tags", p.column("films", "tags")));
    let mut shape = by_id(p.query("directors", &["id"]), "directors");
    shape.select.push(Item::Embed(many));
    assert_eq!(
        p.read(&shape, &[]),
        "1|[1,2]|[\"Cleo\",\"Vagabond\"]|[[\"a\",\"b\"],[]]\n2|[3]|[\"Satantango\"]|[null]\n3|[]|[]|[]"
    );
    // Aggregates lifted out of a spread.
    director.hidden = true;
    let name = Expr::new(
        ExprKind::EmbeddedColumn(0, Box::new(p.column("directors", "name"))),
        Type::Text,
    );
    let mut shape = p.query("films", &[]);
    shape.select = vec![
        field("name", name.clone()),
        field("n", aggregate(AggregateFunction::Count, vec![], Type::Int8)),
        Item::Embed(director),
    ];
    shape.order = vec![key(name, false, false)];
    assert_eq!(p.read(&shape, &[]), "Agnes|2\nBela|1");
}

fn groups(p: &Project<'_>) {
    let sum = aggregate(
        AggregateFunction::Sum,
        vec![p.column("films", "price")],
        Type::Numeric(None),
    );
    let mut shape = p.query("films", &["director_id"]);
    shape.select.push(field("sum", sum.clone()));
    shape.having = Some(Expr::compare(Operator::Gt, sum.clone(), param(0, Type::Numeric(None))));
    shape.order = vec![key(sum, true, true)];
    shape.count = Count::Exact;
    shape.select.push(Item::Embed(p.embed(
        "director",
        "films",
        ("director_id", "id"),
        p.query("directors", &["name"]),
        true,
    )));
    let zero = Value::parse("0", &Type::Numeric(None)).unwrap();
    assert_eq!(p.read(&shape, &[zero]), "1|17.50|{\"name\":\"Agnes\"}\nNULL|1.00|NULL");
    let mut shape = p.query("films", &[]);
    let mut filtered = aggregate(
        AggregateFunction::StringAgg,
        vec![p.column("films", "slug"), Expr::literal(text("+"), Type::Text)],
        Type::Text,
    );
    if let ExprKind::Aggregate(call) = &mut filtered.kind {
        call.order = vec![key(p.column("films", "slug"), true, true)];
        call.filter = Some(Expr::compare(
            Operator::Lt,
            p.column("films", "id"),
            Expr::literal(Value::Int(3), Type::Int4),
        ));
    }
    shape.select.push(field("s", filtered));
    assert_eq!(p.read(&shape, &[]), "vagabond+cleo");
}
