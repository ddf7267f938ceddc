//! Reads: every kind of type and operator, functions and counts.

use super::project::{Project, field, key, list, named, param, text, texts};
use mainstay_model::*;
use mainstay_sql::postgres::{Options, compile_query};

pub fn run(p: &Project<'_>) {
    types(p);
    operators(p);
    functions(p);
    counts(p);
}

fn types(p: &Project<'_>) {
    let columns = [
        "id", "title", "year", "price", "during", "words", "tags", "moods", "code", "doc", "shown", "slug",
    ];
    let mut shape = p.query("films", &columns);
    shape.limit = Some(0);
    shape.order = vec![key(p.column("films", "id"), false, false)];
    let row = r#"1|Cleo|1962|5.00|"[1,5)"|"'cat':3 'fat':2 'sat':4"|{a,b}|{happy,sad}|c  |{"k":1}|2020-01-02 03:04:05+00|cleo"#;
    assert_eq!(p.read(&shape, &[Value::Int(1)]), row);
    let csv = Options {
        texts: true,
        ..Options::default()
    };
    let row = row
        .replace("\"[1,5)\"", "[1,5)")
        .replace("\"'cat':3 'fat':2 'sat':4\"", "'cat':3 'fat':2 'sat':4");
    assert_eq!(p.read_with(&shape, &[Value::Int(1)], csv), row);
    // No limit at all.
    assert_eq!(p.read(&shape, &[Value::Null]).lines().count(), 4);
    let strip = Options {
        strips_nulls: true,
        ..Options::default()
    };
    let mut shape = p.query("directors", &["data", "mood"]);
    shape.select.push(field(
        "j",
        Expr::new(ExprKind::Cast(Box::new(p.column("directors", "data"))), Type::Json),
    ));
    shape.filter = Some(Expr::compare(
        Operator::Eq,
        p.column("directors", "id"),
        param(0, Type::Int8),
    ));
    let got = p.read_with(&shape, &[Value::Int(1)], strip);
    assert_eq!(
        got,
        r#"{"born": {"year": 1928}, "list": [1, null]}|happy|{"born":{"year":1928},"list":[1,null]}"#
    );
}

fn operators(p: &Project<'_>) {
    let c = |name: &str| p.column("films", name);
    let op = |operator, left: Expr, ty: Type| Expr::compare(operator, left, param(0, ty));
    let quantified = |operator, all, left: Expr, ty: Type| {
        Expr::condition(ExprKind::Quantified {
            operator,
            all,
            operand: Box::new(left),
            array: Box::new(param(0, list(ty))),
        })
    };
    let is = |left: Expr, test, negated| {
        Expr::condition(ExprKind::Is {
            operand: Box::new(left),
            test,
            negated,
        })
    };
    let search = |operator, column: &str, language: bool| {
        let mut operands = vec![c(column), param(0, Type::Text)];
        if language {
            operands.push(Expr::literal(text("english"), Type::Text));
        }
        Expr::condition(ExprKind::Operator(operator, operands))
    };
    let range = named("int4range");
    let priced = || is(c("price"), IsTest::Null, true);
    let cases: Vec<(Expr, Value, &str)> = vec![
        (op(Operator::Eq, c("id"), Type::Int4), Value::Int(2), "2"),
        (op(Operator::Ne, c("title"), Type::Varchar(None)), text("Cleo"), "2,3,4"),
        (op(Operator::Ge, c("year"), Type::Int4), Value::Int(1985), "2,3"),
        (op(Operator::Eq, c("code"), Type::Char(3)), text("c"), "1"),
        (
            op(Operator::Lt, c("price"), Type::Numeric(None)),
            Value::parse("5.001", &Type::Numeric(None)).unwrap(),
            "1,4",
        ),
        (
            op(Operator::IsDistinctFrom, c("year"), Type::Int4),
            Value::Int(1985),
            "1,3,4",
        ),
        (op(Operator::Like, c("title"), Type::Text), text("%l%o"), "1"),
        (op(Operator::ILike, c("title"), Type::Text), text("l%"), "4"),
        (op(Operator::Match, c("title"), Type::Text), text("^[CV]"), "1,2"),
        (op(Operator::IMatch, c("title"), Type::Text), text("^s"), "3"),
        (
            quantified(Operator::Like, false, c("title"), Type::Text),
            texts(&["C%", "V%"]),
            "1,2",
        ),
        (
            quantified(Operator::ILike, true, c("title"), Type::Text),
            texts(&["%a%", "%t%"]),
            "3",
        ),
        (
            quantified(Operator::Eq, false, c("id"), Type::Int4),
            Value::Array([Value::Int(4), Value::Int(1)].into()),
            "1,4",
        ),
        (
            quantified(Operator::Eq, false, c("id"), Type::Int4),
            Value::Array([].into()),
            "",
        ),
        (
            op(Operator::Contains, c("tags"), list(Type::Text)),
            texts(&["a"]),
            "1,4",
        ),
        (
            op(Operator::ContainedBy, c("tags"), list(Type::Text)),
            texts(&["a"]),
            "2,4",
        ),
        (
            op(Operator::Overlaps, c("tags"), list(Type::Text)),
            texts(&["b", "z"]),
            "1",
        ),
        (
            op(Operator::Contains, c("moods"), list(Type::Enum("mood".into()))),
            texts(&["sad"]),
            "1",
        ),
        (op(Operator::Overlaps, c("during"), range.clone()), text("[4,6)"), "1,2"),
        (op(Operator::Contains, c("during"), range.clone()), text("[6,7)"), "2"),
        (
            op(Operator::StrictlyLeft, c("during"), range.clone()),
            text("[6,7)"),
            "1",
        ),
        (
            op(Operator::StrictlyRight, c("during"), range.clone()),
            text("[1,3)"),
            "2",
        ),
        (
            op(Operator::NotExtendsRight, c("during"), range.clone()),
            text("[1,6)"),
            "1",
        ),
        (
            op(Operator::NotExtendsLeft, c("during"), range.clone()),
            text("[2,6)"),
            "2",
        ),
        (op(Operator::Adjacent, c("during"), range.clone()), text("[9,12)"), "2"),
        (search(Operator::TextSearch, "words", false), text("cat & fat"), "1"),
        (
            search(Operator::TextSearchPlain, "words", true),
            text("running dog"),
            "2",
        ),
        (search(Operator::TextSearchPhrase, "words", true), text("fat cats"), "1"),
        (
            search(Operator::TextSearchWeb, "title", true),
            text("lost or cleo"),
            "1,4",
        ),
        (search(Operator::TextSearchWeb, "doc", false), text("nothing"), ""),
        (is(c("director_id"), IsTest::Null, false), Value::Null, "4"),
        (priced().negate(), Value::Null, "3"),
        (Expr::all(vec![priced(), Expr::any(vec![])]), Value::Null, ""),
        (
            Expr::any(vec![
                op(Operator::Eq, c("id"), Type::Int4),
                Expr::condition(ExprKind::In {
                    operand: Box::new(c("id")),
                    list: vec![
                        Expr::literal(Value::Int(3), Type::Int4),
                        Expr::literal(Value::Int(4), Type::Int4),
                    ],
                    negated: false,
                }),
            ]),
            Value::Int(1),
            "1,3,4",
        ),
    ];
    for (filter, value, want) in cases {
        let mut shape = p.query("films", &["id"]);
        shape.filter = Some(filter);
        shape.order = vec![key(c("id"), false, false)];
        let got = p.read(&shape, std::slice::from_ref(&value)).replace('\n', ",");
        assert_eq!(got, want, "{:?}", shape.filter);
    }
    // Inside JSON, in the values, the filter and the order, with the same constants.
    let data = p.column("directors", "data");
    let step = |value: Expr, operator, key: &str, ty| {
        let key = Expr::literal(text(key), Type::Text);
        Expr::new(ExprKind::Operator(operator, vec![value, key]), ty)
    };
    let year = step(
        step(data, Operator::JsonGet, "born", Type::Jsonb),
        Operator::JsonGetText,
        "year",
        Type::Text,
    );
    let mut shape = p.query("directors", &["id"]);
    shape.select.push(field("year", year.clone()));
    shape.filter = Some(is(year.clone(), IsTest::Null, true));
    shape.order = vec![key(year, true, false)];
    shape.distinct = true;
    assert_eq!(p.read(&shape, &[]), "1|1928");
    let mut shape = p.query("directors", &["name"]);
    let mood = Type::Enum("mood".into());
    shape.filter = Some(Expr::compare(
        Operator::Gt,
        p.column("directors", "mood"),
        param(0, mood),
    ));
    assert_eq!(p.read(&shape, &[text("so so")]), "Agnes");
}

fn functions(p: &Project<'_>) {
    let of = |call: Call, fields: Vec<Item>| QueryShape {
        select: fields,
        ..QueryShape::of(Source::Call(call))
    };
    let one = |name: &str, ty: Type| vec![field(name, Expr::column(0, ty))];
    let default = p.schema.function(p.function("add")).args[1]
        .default
        .clone()
        .expect("a default");
    let add = p.call("add", vec![param(0, Type::Int4), default]);
    let shape = of(add, one("add", Type::Int4));
    let compiled = compile_query(&p.schema, &shape, Options::default()).expect("it compiles");
    assert!(compiled.sql.contains("(\"a\" => $1::integer) AS"), "{}", compiled.sql);
    assert_eq!(p.read(&shape, &[Value::Int(2)]), "42");
    let words = p.call("joined", vec![param(0, list(Type::Text))]);
    assert_eq!(
        p.read(&of(words, one("joined", Type::Text)), &[texts(&["x", "y"])]),
        "x-y"
    );
    let mut moods = of(p.call("moods_of", vec![]), one("mood", Type::Enum("mood".into())));
    moods.select.push(field("n", Expr::column(1, Type::Int8)));
    moods.order = vec![key(Expr::column(0, Type::Enum("mood".into())), false, false)];
    assert_eq!(p.read(&moods, &[]), "sad|1\nso so|1\nhappy|1");
    // Rows of a relation: embeds and computed columns as on the relation itself.
    let mut since = p.query("films", &["id"]);
    since.from = Source::Call(p.call("films_since", vec![param(0, Type::Int4)]));
    let row = Expr::new(ExprKind::WholeRow(SourceId::SELF), Type::Row("films".into()));
    let upper = Expr::new(ExprKind::UserCall(p.function("upper_title"), vec![row]), Type::Text);
    since.select.push(field("upper_title", upper.clone()));
    since.select.push(Item::Embed(p.embed(
        "director",
        "films",
        ("director_id", "id"),
        p.query("directors", &["name"]),
        true,
    )));
    since.order = vec![key(upper, false, false)];
    assert_eq!(
        p.read(&since, &[Value::Int(1980)]),
        "3|SATANTANGO|{\"name\":\"Bela\"}\n2|VAGABOND|{\"name\":\"Agnes\"}"
    );
}

fn counts(p: &Project<'_>) {
    for count in [Count::Exact, Count::Planned, Count::Estimated(2)] {
        for distinct in [false, true] {
            let mut shape = p.query("cheap", &["title"]);
            shape.count = count;
            shape.distinct = distinct;
            shape.offset = Some(0);
            shape.filter = Some(Expr::compare(
                Operator::Ne,
                p.column("cheap", "id"),
                param(1, Type::Int4),
            ));
            let params = [Value::Int(7), Value::Int(1)];
            assert_eq!(p.read(&shape, &params), "", "a page past the end");
            let compiled = compile_query(&p.schema, &shape, Options::default()).expect("it compiles");
            let counting = compiled.count.expect("counted");
            if let Some(exact) = &counting.exact {
                assert_eq!(p.execute(exact, &counting.slots, &params, None).expect(exact), "3");
            }
            if let Some(planned) = &counting.planned {
                let plan = p.execute(planned, &counting.slots, &params, None).expect(planned);
                assert!(plan.contains("\"Plan Rows\""), "{plan}");
            }
        }
    }
}
