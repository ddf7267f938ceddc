//! Steps: every way to insert, update, delete and call, with and without an answer. Each is undone.

use super::project::{Project, field, key, param, text, texts};
use mainstay_model::*;
use mainstay_sql::postgres::{Options, compile_step};

pub fn run(p: &Project<'_>) {
    inserts(p);
    rows_in_rows(p);
    upserts(p);
    updates(p);
    calls(p);
    policies(p);
}

fn insert(p: &Project<'_>, table: &str, columns: &[&str], rows: Vec<Vec<Cell>>, conflict: Option<OnConflict>) -> Step {
    Step::new(Action::Insert {
        relation: RelationRef::new(p.relation(table)),
        columns: columns.iter().map(|c| p.at(table, c)).collect(),
        rows,
        conflict,
        check: None,
        updated: None,
    })
}

fn cells<const N: usize>(values: [Value; N]) -> Vec<Cell> {
    values.into_iter().map(Cell::Value).collect()
}

fn film(id: i64, title: &str) -> Vec<Cell> {
    cells([
        Value::Int(id),
        text(title),
        texts(&["x y", "z\""]),
        texts(&["so so"]),
        text("[1,2)"),
        Value::Int(2000),
        text("q"),
    ])
}

const FILM: [&str; 7] = ["id", "title", "tags", "moods", "during", "year", "code"];

fn inserts(p: &Project<'_>) {
    // One row and many, of every type; the text of many does not depend on how many.
    for rows in [vec![film(10, "One")], vec![film(10, "One"), film(11, "Two")]] {
        let n = rows.len();
        let mut step = insert(p, "films", &FILM, rows, None);
        assert_eq!(p.step(&step), Ok(String::new()), "no answer, no right to read needed");
        step.returning = Some(p.query("films", &["id", "tags", "moods", "during", "code", "slug"]));
        p.script("DELETE FROM films WHERE id >= 10").unwrap();
        let want = [
            "10|{\"x y\",\"z\\\"\"}|{\"so so\"}|\"[1,2)\"|q  |one",
            "11|{\"x y\",\"z\\\"\"}|{\"so so\"}|\"[1,2)\"|q  |two",
        ];
        assert_eq!(p.step(&step), Ok(want[..n].join("\n")));
        p.script("DELETE FROM films WHERE id >= 10").unwrap();
    }
    let two = compile_step(
        &p.schema,
        &insert(p, "films", &FILM, vec![film(1, "a"); 2], None),
        Options::default(),
    )
    .unwrap();
    let three = compile_step(
        &p.schema,
        &insert(p, "films", &FILM, vec![film(1, "a"); 3], None),
        Options::default(),
    )
    .unwrap();
    assert_eq!(two.sql, three.sql);
    // Defaults: of all columns, of some, of none given; the key is told when it is wanted.
    let some = vec![
        vec![Cell::Default, Cell::Value(text("D"))],
        vec![Cell::Value(Value::Int(50)), Cell::Value(text("E"))],
    ];
    let key_wanted = Options {
        key: true,
        ..Options::default()
    };
    p.script("ALTER SEQUENCE numbers RESTART 100").unwrap();
    for (columns, rows, want, affected) in [
        (&["id", "title"][..], some, "2|100", Some(0)),
        (
            &["id", "title"],
            vec![vec![Cell::Default, Cell::Value(text("F"))]; 1],
            "105",
            None,
        ),
    ] {
        let step = insert(p, "films", columns, rows, None);
        let (compiled, got) = p.step_with(&step, key_wanted).unwrap();
        assert_eq!(got, want, "{}", compiled.sql);
        let status = compiled.status.unwrap();
        let at = usize::from(affected.is_some());
        assert_eq!((status.affected, status.key), (affected, vec![(0, at)]));
    }
    p.script("DELETE FROM films WHERE id >= 10; ALTER TABLE directors ALTER name DROP NOT NULL")
        .unwrap();
    for n in [1, 2] {
        assert_eq!(
            p.step(&insert(p, "directors", &[], vec![vec![]; n], None)),
            Ok(String::new())
        );
    }
    p.script("DELETE FROM directors WHERE name IS NULL; ALTER TABLE directors ALTER name SET NOT NULL")
        .unwrap();
    // An answer with related rows, in an order, with a function of the row.
    let mut step = insert(
        p,
        "films",
        &["id", "title", "director_id"],
        vec![
            cells([Value::Int(60), text("Z"), Value::Int(2)]),
            cells([Value::Int(61), text("A"), Value::Null]),
        ],
        None,
    );
    let mut answer = p.query("films", &["title"]);
    let row = Expr::new(ExprKind::WholeRow(SourceId::SELF), Type::Row("films".into()));
    let upper = Expr::new(ExprKind::UserCall(p.function("upper_title"), vec![row]), Type::Text);
    answer.select.push(field("u", upper));
    let mut director = p.embed(
        "director",
        "films",
        ("director_id", "id"),
        p.query("directors", &["name"]),
        true,
    );
    answer.select.push(Item::Embed(director.clone()));
    answer.order = vec![key(p.column("films", "title"), false, false)];
    step.returning = Some(answer.clone());
    assert_eq!(p.step(&step), Ok("A|A|NULL\nZ|Z|{\"name\":\"Bela\"}".to_owned()));
    p.script("DELETE FROM films WHERE id >= 10").unwrap();
    // Some of the rows touched are not in the answer, or they are one: the counts stand beside.
    director.inner = true;
    answer.select[2] = Item::Embed(director);
    step.returning = Some(answer);
    let (compiled, got) = p.step_with(&step, key_wanted).unwrap();
    assert_eq!(got, "2|60|t|Z|Z|{\"name\":\"Bela\"}", "{}", compiled.sql);
    assert_eq!(compiled.status.unwrap().present, Some(2));
    let of_nothing = Action::Delete {
        relation: RelationRef::new(p.relation("films")),
        filter: Some(Expr::condition(ExprKind::Or(vec![]))),
        order: Vec::new(),
        limit: None,
        offset: 0,
    };
    let nothing = Step {
        action: of_nothing,
        ..step.clone()
    };
    assert_eq!(p.step(&nothing), Ok("0|NULL|NULL|NULL|NULL".to_owned()));
    p.script("DELETE FROM films WHERE id >= 10").unwrap();
}

/// Composite values, in Postgres' form and as JSON, and names that want quoting.
fn rows_in_rows(p: &Project<'_>) {
    let columns = ["id", "at", "we\"ird $1"];
    let row = |id, at: &str| cells([Value::Int(id), text(at), text("'; DROP TABLE houses; --")]);
    let json = "{\"town\":\"Ulm\",\"zip\":89073}";
    let mut step = insert(p, "houses", &columns, vec![row(1, "(Ulm,89073)"), row(2, json)], None);
    let mut answer = p.query("houses", &["at", "we\"ird $1"]);
    let town = Expr::literal(text("town"), Type::Text);
    let at = Expr::new(
        ExprKind::Call(Builtin::ToJsonb, vec![p.column("houses", "at")]),
        Type::Jsonb,
    );
    let town = Expr::new(ExprKind::Operator(Operator::JsonGetText, vec![at, town]), Type::Text);
    answer.select.push(field("it's \"town\"", town));
    step.returning = Some(answer);
    let want = "{\"town\":\"Ulm\",\"zip\":89073}|'; DROP TABLE houses; --|Ulm";
    assert_eq!(p.step(&step), Ok(format!("{want}\n{want}")));
    if let Action::Insert { rows, .. } = &mut step.action {
        *rows = vec![row(3, json)];
    }
    assert_eq!(p.step(&step), Ok(want.to_owned()));
}

fn upserts(p: &Project<'_>) {
    let conflict = |ignore| {
        Some(OnConflict {
            target: vec![0],
            ignore,
        })
    };
    let rows = || {
        vec![
            cells([Value::Int(1), text("Cleo")]),
            cells([Value::Int(90), text("New")]),
        ]
    };
    let merge = insert(p, "films", &["id", "title"], rows(), conflict(false));
    let (compiled, got) = p.step_with(&merge, Options::default()).unwrap();
    assert_eq!(got, "2|1");
    let status = compiled.status.unwrap();
    assert_eq!((status.affected, status.inserted), (Some(0), Some(1)));
    let answering = Step {
        returning: Some(p.query("films", &["title"])),
        ..merge
    };
    assert_eq!(p.step(&answering), Ok("Cleo|0\nNew|0".to_owned()));
    p.script("DELETE FROM films WHERE id = 90").unwrap();
    let mut ignore = insert(p, "films", &["id", "title"], rows(), conflict(true));
    ignore.returning = Some(p.query("films", &["id"]));
    assert_eq!(p.step(&ignore), Ok("90".to_owned()));
    assert_eq!(p.step(&ignore), Ok(String::new()));
    p.script("DELETE FROM films WHERE id = 90").unwrap();
    // Nothing but the key: the row is touched all the same.
    let pair = insert(
        p,
        "parts",
        &["film_id", "actor_id"],
        vec![cells([Value::Int(1), Value::Int(1)])],
        Some(OnConflict {
            target: vec![0, 1],
            ignore: false,
        }),
    );
    assert_eq!(p.step(&pair), Ok("1|0".to_owned()));
}

fn updates(p: &Project<'_>) {
    let update = |set: Vec<(u32, Cell)>, filter, limit, offset| {
        Step::new(Action::Update {
            relation: RelationRef::new(p.relation("films")),
            set,
            filter,
            order: vec![key(p.column("films", "id"), true, false)],
            limit,
            offset,
            check: None,
        })
    };
    let year = p.at("films", "year");
    let set = || {
        vec![
            (year, Cell::Value(Value::Int(2001))),
            (p.at("films", "shown"), Cell::Default),
        ]
    };
    let by_id = Expr::compare(Operator::Le, p.column("films", "id"), param(0, Type::Int4));
    let mut step = update(set(), Some(by_id), Some(1), 1);
    step.params = vec![Value::Int(3)];
    step.returning = Some(p.query("films", &["id", "year"]));
    assert_eq!(p.step(&step), Ok("2|2001".to_owned()));
    p.script("UPDATE films SET year = 1985 WHERE id = 2").unwrap();
    let long = update(
        vec![(p.at("films", "title"), Cell::Value(text("more than twenty letters")))],
        None,
        None,
        0,
    );
    assert!(
        p.step(&long)
            .unwrap_err()
            .contains("value too long for type character varying(20)")
    );
    let domain = update(vec![(year, Cell::Value(Value::Int(-1)))], None, None, 0);
    assert!(p.step(&domain).unwrap_err().contains("violates check constraint"));
    p.script("CREATE TABLE loose (a integer); INSERT INTO loose VALUES (1), (2)")
        .unwrap();
    let delete = Step::new(Action::Delete {
        relation: RelationRef::new(p.relation("parts")),
        filter: Some(Expr::compare(
            Operator::Eq,
            p.column("parts", "part"),
            param(0, Type::Text),
        )),
        order: vec![key(p.column("parts", "film_id"), false, false)],
        limit: Some(5),
        offset: 0,
    });
    let delete = Step {
        params: vec![text("friend")],
        returning: Some(p.query("parts", &["film_id", "actor_id"])),
        ..delete
    };
    assert_eq!(p.step(&delete), Ok("1|2".to_owned()));
    p.script("INSERT INTO parts VALUES (1, 2, 'friend')").unwrap();
    let view = Step::new(Action::Delete {
        relation: RelationRef::new(p.relation("cheap")),
        filter: None,
        order: Vec::new(),
        limit: Some(1),
        offset: 0,
    });
    assert!(p.step(&view).unwrap_err().contains("a limited write"));
}

fn calls(p: &Project<'_>) {
    let keep = Step {
        params: vec![Value::Int(3)],
        ..Step::new(Action::Call(p.call("keep", vec![param(0, Type::Int4)])))
    };
    for _ in 0..2 {
        p.step(&keep).unwrap();
    }
    let parts = "SELECT part FROM parts WHERE film_id = 3 AND actor_id = 1";
    assert_eq!(p.script(parts).unwrap(), "keeper!");
    let call = p.call("raise_prices", vec![param(0, Type::Numeric(None))]);
    let mut answer = p.query("films", &["id", "price"]);
    answer.from = Source::Call(call.clone());
    answer.order = vec![key(p.column("films", "price"), true, false)];
    answer.limit = Some(1);
    let two = Value::parse("2", &Type::Numeric(None)).unwrap();
    let mut raise = Step {
        params: vec![two, Value::Int(1)],
        returning: Some(answer),
        ..Step::new(Action::Call(call))
    };
    assert_eq!(p.step(&raise), Ok("2|25.00".to_owned()));
    assert_eq!(
        p.script("SELECT topic, payload FROM emitted").unwrap(),
        "raised|{\"by\": 2}"
    );
    // Counted as well, it runs once.
    if let Some(shape) = &mut raise.returning {
        shape.count = Count::Exact;
    }
    let (compiled, got) = p.step_with(&raise, Options::default()).unwrap();
    assert_eq!(got, "4|t|2|50.00");
    let status = compiled.status.unwrap();
    assert_eq!((status.total, status.present), (Some(0), Some(1)));
    p.script("UPDATE films SET price = price / 4").unwrap();
}

/// Row security holds as it was declared.
fn policies(p: &Project<'_>) {
    let own = "00000000-0000-0000-0000-000000000001";
    let other = "00000000-0000-0000-0000-000000000002";
    let as_user = |sql: &str| {
        p.script(&format!(
            "BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{{\"sub\":\"{own}\"}}'; {sql}; COMMIT"
        ))
    };
    p.script(&format!(
        "INSERT INTO notes VALUES ('mine', '{own}'), ('theirs', '{other}')"
    ))
    .unwrap();
    assert_eq!(as_user("SELECT body FROM notes").unwrap(), "mine");
    let refused = as_user(&format!("INSERT INTO notes VALUES ('nobody', '{own}')")).unwrap_err();
    assert!(
        refused.contains("permission denied") || refused.contains("row-level security"),
        "{refused}"
    );
    assert!(
        as_user("UPDATE notes SET owner = NULL")
            .unwrap_err()
            .contains("permission denied")
    );
    let step = insert(
        p,
        "notes",
        &["body", "owner"],
        vec![cells([text("as owner"), Value::Null])],
        None,
    );
    assert_eq!(p.step(&step), Ok(String::new()));
}
