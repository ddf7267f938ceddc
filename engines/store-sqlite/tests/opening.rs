//! Opening: who is refused and why, what an edited schema does, first rows, what a restart finds.

mod scratch;

use mainstay_model::*;
use mainstay_store::conformance::{World, library, world::*};
use mainstay_store_sqlite::{Captured, Config, OpenError, OpenErrorKind, Seed, SqliteStore};
use scratch::Scratch;
use std::path::Path;
use std::sync::Arc;

fn open_with(path: &Path, schema: Schema, seeds: Vec<Seed>) -> Result<Arc<SqliteStore>, OpenError> {
    SqliteStore::open(Config::new(path), Arc::new(schema), Captured::none(), seeds)
}

fn open(path: &Path) -> Result<Arc<SqliteStore>, OpenError> {
    open_with(path, library(), Vec::new())
}

fn world(store: Arc<SqliteStore>, schema: Schema) -> World {
    World::over(store, Arc::new(schema))
}

fn refusal(result: Result<Arc<SqliteStore>, OpenError>) -> OpenError {
    match result {
        Ok(_) => panic!("a store was opened that must be refused"),
        Err(error) => error,
    }
}

#[test]
fn refusals_say_why_and_what_to_do() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.path().join(name);
    let error = refusal(open(&at("missing/main.db")));
    assert_eq!(error.kind, OpenErrorKind::MissingDirectory);
    assert!(error.to_string().contains("missing does not exist"), "{error}");

    std::fs::write(
        at("text.db"),
        "not a database, but longer than a header is: ".repeat(50),
    )
    .unwrap();
    assert_eq!(refusal(open(&at("text.db"))).kind, OpenErrorKind::NotADatabase);

    std::fs::create_dir(at("folder.db")).unwrap();
    assert_eq!(refusal(open(&at("folder.db"))).kind, OpenErrorKind::NotADatabase);

    let foreign = rusqlite::Connection::open(at("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(foreign);
    assert_eq!(refusal(open(&at("foreign.db"))).kind, OpenErrorKind::Foreign);

    drop(open(&at("future.db")).unwrap());
    let future = rusqlite::Connection::open(at("future.db")).unwrap();
    future
        .execute_batch("UPDATE _mainstay_meta SET value = '2' WHERE key = 'format'")
        .unwrap();
    drop(future);
    let error = refusal(open(&at("future.db")));
    assert_eq!(error.kind, OpenErrorKind::Format);
    assert!(error.message.contains("format 2"), "{error}");
}

#[test]
fn one_process_at_a_time() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    let first = open(&path).unwrap();
    let error = refusal(open(&path));
    assert_eq!(error.kind, OpenErrorKind::InUse);
    assert!(
        error.message.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(first);
    open(&path).unwrap();
}

#[tokio::test]
async fn additions_are_applied_and_the_rest_is_refused_with_the_difference() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    let w = world(open(&path).unwrap(), library());
    w.fill().await;
    w.store.close().await;
    drop(w);

    // Again as it was: nothing to do.
    drop(open(&path).unwrap());

    let mut wider = library();
    let template = wider.relations[1].columns[3].clone();
    let column = |name: &str, ty: Type| Column {
        name: name.into(),
        ty,
        ..template.clone()
    };
    let note = Column {
        not_null: true,
        default: Some(Expr::literal(text("none"), Type::Text)),
        default_text: Some("'none'".to_owned()),
        ..column("note", Type::Text)
    };
    let pages = column("pages", Type::Int4);
    // In the middle, where the file cannot have it.
    wider.relations[0].columns.insert(2, note);
    if let RelationKind::Table(table) = &mut wider.relations[0].kind {
        table.uniques[0].columns = vec![1];
    }
    wider.relations[1].columns.push(pages);
    let price = OrderBy {
        expr: Expr::column(3, Type::Numeric(Some((10, 2)))),
        descending: false,
        nulls_first: false,
    };
    if let RelationKind::Table(table) = &mut wider.relations[1].kind {
        table.indexes.push(Index {
            name: "books_price".into(),
            keys: vec![price],
            unique: false,
            filter: None,
            method: "btree".into(),
        });
    }
    let mut extra = wider.relations[2].clone();
    extra.name = "extra".into();
    if let RelationKind::Table(table) = &mut extra.kind {
        table.primary_key_name = Some("extra_pkey".into());
    }
    wider.relations.push(extra);
    wider.index();
    let w = world(open_with(&path, wider.clone(), Vec::new()).unwrap(), wider.clone());
    assert_eq!(
        w.table(AUTHORS, &["id", "note", "rating"]).await,
        concat!(
            r#"[{"id":1,"note":"none","rating":4.50},{"id":2,"note":"none","rating":null},"#,
            r#"{"id":3,"note":"none","rating":-1.25}]"#
        )
    );
    // Images are in the schema's order, not the file's.
    let listener = Arc::new(Recorder::default());
    w.store.listen(listener.clone());
    w.done(w.update(
        AUTHORS,
        &[("note", text("new"))],
        Some(w.equals(AUTHORS, "id", Value::Int(1))),
    ))
    .await;
    let told = listener.told();
    let change = &told[0].rows[0];
    let image = |note: &str| {
        vec![
            Value::Int(1),
            text("Ann"),
            text(note),
            Value::Date(0),
            number("4.50"),
            Value::Bool(true),
        ]
    };
    assert_eq!(change.before.as_deref(), Some(&*image("none")));
    assert_eq!(change.after.as_deref(), Some(&*image("new")));
    w.store.close().await;
    drop(w);

    let mut other = wider.clone();
    other.relations[1].columns[2].ty = Type::Varchar(Some(30));
    other.relations[1].columns[5].not_null = true;
    other.relations[2].columns.remove(1);
    other.relations.pop();
    other.index();
    let error = refusal(open_with(&path, other, Vec::new()));
    assert_eq!(error.kind, OpenErrorKind::SchemaChanged);
    for line in [
        "table \"books\", column title: was character varying(20) not null, is character varying(30) not null",
        "table \"books\", column pages: was integer, is integer not null",
        "table \"tags\", column label: was text not null, is gone",
        "table \"extra\" is in the store and no longer in the schema",
    ] {
        assert!(error.message.contains(line), "{line} is missing in: {error}");
    }
    // And nothing was done.
    open_with(&path, wider, Vec::new()).unwrap();
}

fn seed(relation: RelationId, columns: &[u32], rows: &[&[Option<&str>]]) -> Seed {
    Seed {
        relation,
        columns: columns.to_vec(),
        rows: rows
            .iter()
            .map(|row| row.iter().map(|v| v.map(str::to_owned)).collect())
            .collect(),
        origin: "data/seed.csv".to_owned(),
    }
}

#[tokio::test]
async fn seeds_are_loaded_once() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    // Books come before the authors they refer to.
    let seeds = || {
        vec![
            seed(
                BOOKS,
                &[0, 1, 2, 3],
                &[&[Some("1"), Some("7"), Some("Air"), Some("1.5")]],
            ),
            seed(
                AUTHORS,
                &[0, 1, 2],
                &[
                    &[Some("7"), Some("Ann"), Some("1970-01-02")],
                    &[Some("8"), Some("Bob"), None],
                ],
            ),
        ]
    };
    let w = world(open_with(&path, library(), seeds()).unwrap(), library());
    assert_eq!(
        w.table(AUTHORS, &["id", "name", "born", "active"]).await,
        r#"[{"id":7,"name":"Ann","born":"1970-01-02","active":true},{"id":8,"name":"Bob","born":null,"active":true}]"#
    );
    assert_eq!(w.table(BOOKS, &["id", "price"]).await, r#"[{"id":1,"price":1.50}]"#);
    let mut numbered = w.insert(AUTHORS, &["name"], vec![vec![text("Cyd")]]);
    numbered.key = true;
    assert_eq!(w.done(numbered).await.key, [(0, "9".to_owned())]);
    w.store.close().await;
    drop(w);
    let w = world(open_with(&path, library(), seeds()).unwrap(), library());
    assert_eq!(w.table(AUTHORS, &["id"]).await, r#"[{"id":7},{"id":8},{"id":9}]"#);
}

#[test]
fn a_seed_that_does_not_fit_names_its_row_and_column() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    for (seed, expected) in [
        (
            seed(
                AUTHORS,
                &[0, 1, 2],
                &[&[Some("1"), Some("Ann"), None], &[Some("2"), Some("Bob"), Some("soon")]],
            ),
            "data/seed.csv, row 2 of table \"authors\", column \"born\": invalid input syntax for type date: \"soon\"",
        ),
        (
            seed(AUTHORS, &[0, 1], &[&[Some("1"), None]]),
            "data/seed.csv, row 1 of table \"authors\": null value in column \"name\" of relation \"authors\" violates",
        ),
        (
            seed(AUTHORS, &[0, 1], &[&[Some("1"), Some("a")], &[Some("1"), Some("b")]]),
            "row 2 of table \"authors\": duplicate key value violates unique constraint \"authors_pkey\" (Key (id)=(1) already",
        ),
        (
            seed(BOOKS, &[0, 1, 2], &[&[Some("5"), Some("9"), Some("Air")]]),
            "table \"books\", row (5), refers to a row of \"authors\" that is not there",
        ),
    ] {
        let error = refusal(open_with(&path, library(), vec![seed]));
        assert_eq!(error.kind, OpenErrorKind::Seed);
        assert!(error.message.contains(expected), "{error}");
    }
    // Nothing of it stayed, so that the corrected data is loaded.
    let good = seed(AUTHORS, &[0, 1], &[&[Some("1"), Some("Ann")]]);
    open_with(&path, library(), vec![good]).unwrap();
}

#[test]
fn thousands_of_seeds_load_fast() {
    let scratch = Scratch::new();
    let rows = (0..20_000)
        .map(|i| vec![Some(i.to_string()), Some(format!("a label of tag {i}"))])
        .collect();
    let seed = Seed {
        relation: TAGS,
        columns: vec![0, 1],
        rows,
        origin: "data/tags.csv".to_owned(),
    };
    let began = std::time::Instant::now();
    open_with(&scratch.path().join("main.db"), library(), vec![seed]).unwrap();
    // Unoptimised, on a busy machine; it takes a tenth of that otherwise.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_restart_finds_everything_and_goes_on_above() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    let captured = || {
        let mut captured = Captured::none();
        captured.add_all(TAGS);
        captured
    };
    let open = || SqliteStore::open(Config::new(&path), Arc::new(library()), captured(), Vec::new()).unwrap();
    let request = || Transaction {
        steps: vec![],
        idempotency: Some(Idempotency {
            scope: [1; 32],
            fingerprint: [2; 32],
        }),
        consumed: vec![Consumed {
            consumer: "c".into(),
            event: "e".into(),
        }],
        ..Transaction::default()
    };
    let w = world(open(), library());
    let with_step = |w: &World, id: i64| Transaction {
        steps: vec![w.insert(TAGS, &["id", "label"], vec![vec![Value::Int(id), text("x")]])],
        ..request()
    };
    let first = w.transact(with_step(&w, 1)).await.unwrap();
    let record = w.outbox().await.remove(0);
    w.store.confirm(record.sequence).await.unwrap();
    w.store.close().await;
    drop(w);
    let w = world(open(), library());
    assert!(w.store.position() >= first.position);
    let again = w.transact(with_step(&w, 1)).await.unwrap();
    assert!(again.replayed && again.outcomes == first.outcomes);
    let other_key = Transaction {
        idempotency: None,
        ..with_step(&w, 2)
    };
    assert!(
        w.transact(other_key.clone()).await.unwrap().replayed,
        "the event was consumed before"
    );
    let plain = Transaction {
        consumed: Vec::new(),
        ..other_key
    };
    let second = w.transact(plain).await.unwrap();
    assert!(second.position > first.position);
    assert!(w.outbox().await[0].sequence > record.sequence);
}

#[tokio::test]
async fn the_shell_can_read_and_write_what_the_store_keeps() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    let w = world(open(&path).unwrap(), library());
    w.fill().await;
    let shell = rusqlite::Connection::open(&path).unwrap();
    let rating: i64 = shell
        .query_row("SELECT rating FROM authors WHERE id = 1", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rating, 450);
    shell.execute_batch("INSERT INTO tags VALUES (9, 'by hand')").unwrap();
    assert!(shell.execute_batch("INSERT INTO tags VALUES ('x', 'by hand')").is_err());
    assert!(
        shell
            .execute_batch("INSERT INTO books (id, author_id, title, price, added) VALUES (99, 1, 'x', -1, 0)")
            .is_err()
    );
    assert_eq!(w.table(TAGS, &["id"]).await, r#"[{"id":1},{"id":2},{"id":9}]"#);
}

#[tokio::test]
async fn sequences_begin_where_they_were_set() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    let sequences = vec![("authors_id_seq".to_owned(), 41)];
    let config = Config {
        sequences,
        ..Config::new(&path)
    };
    let store = SqliteStore::open(config, Arc::new(library()), Captured::none(), Vec::new()).unwrap();
    let w = world(store, library());
    let mut step = w.insert(AUTHORS, &["name"], vec![vec![text("Ann")]]);
    step.key = true;
    let outcome = w.done(step).await;
    assert_eq!(outcome.key, [(0, "41".to_owned())]);
}

#[cfg(unix)]
#[test]
fn a_new_store_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    let _store = open(&path).unwrap();
    for name in ["main.db", "main.db-wal"] {
        let mode = std::fs::metadata(scratch.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
