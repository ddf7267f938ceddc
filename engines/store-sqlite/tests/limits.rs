//! Limits: long reads move aside, everything has a deadline, queues are bounded, one member's failure leaves the group alone, foreign
//! writers are noticed.

mod scratch;

use mainstay_model::*;
use mainstay_store::conformance::{JsonRows, World, library, world::*};
use mainstay_store::{BoxFuture, CommitListener, Read, Store};
use mainstay_store_sqlite::{Captured, Config, SqliteStore};
use scratch::Scratch;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn open(config: Config) -> World {
    let schema = Arc::new(library());
    let store =
        SqliteStore::open(config, schema.clone(), Captured::none(), Vec::new()).unwrap_or_else(|e| panic!("{e}"));
    World::over(store, schema)
}

fn config(scratch: &Scratch) -> Config {
    Config::new(scratch.path().join("main.db"))
}

async fn tags(w: &World, count: i64) {
    w.done(w.insert(
        TAGS,
        &["id", "label"],
        (0..count).map(|i| vec![Value::Int(i), text("x")]).collect(),
    ))
    .await;
}

/// One row for each author, with the number of combinations of `tables` tags: as long as one likes.
fn slow(w: &World, tables: u32) -> QueryShape {
    let count = Aggregate {
        function: AggregateFunction::Count,
        args: vec![],
        distinct: false,
        filter: None,
        order: vec![],
    };
    let from = (1..=tables)
        .map(|source| FromItem::Relation {
            relation: RelationRef::new(TAGS),
            source: SourceId(source),
        })
        .collect();
    let select = Select {
        projection: vec![Projected {
            expr: Expr::new(ExprKind::Aggregate(Box::new(count)), Type::Int8),
            name: "count".into(),
        }],
        from,
        // Keeps the engine from counting without looking.
        filter: Some(Expr::compare(
            Operator::Ge,
            Expr::new(
                ExprKind::Column(ColumnRef {
                    source: SourceId(1),
                    column: 0,
                }),
                Type::Int4,
            ),
            Expr::new(
                ExprKind::Column(ColumnRef {
                    source: SourceId(tables),
                    column: 0,
                }),
                Type::Int4,
            ),
        )),
        ..Select::default()
    };
    let expr = Expr::new(ExprKind::Scalar(Box::new(select)), Type::Int8);
    QueryShape {
        select: vec![Item::Field(Projected { expr, name: "n".into() })],
        limit: None,
        ..w.query(AUTHORS, &[])
    }
}

async fn author(w: &World) {
    w.done(w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("Ann")]]))
        .await;
}

#[tokio::test]
async fn a_long_read_does_not_hold_up_its_thread() {
    let scratch = Scratch::new();
    let w = open(Config {
        read_budget_kops: 20,
        ..config(&scratch)
    });
    author(&w).await;
    tags(&w, 60).await;
    // 60^5 combinations: nobody waits for these, so whoever asks has its thread back while they are counted.
    let mut endless = Box::pin(w.read(slow(&w, 5), &[]));
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(endless.as_mut().poll(context))).await;
    assert!(polled.is_pending(), "{:?}", polled.map_ok(|answer| answer.rows));
    // 60 × 60 × 60 combinations: too many for the budget, few enough to be counted, by another thread.
    let answer = w.read(slow(&w, 3), &[]).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&answer.body),
        format!(r#"[{{"n":{}}}]"#, 60 * (60 * 61 / 2))
    );
}

#[tokio::test]
async fn what_is_long_or_large_is_not_answered_at_once() {
    let scratch = Scratch::new();
    let w = open(Config {
        read_budget_kops: 20,
        stream_from_bytes: 100,
        ..config(&scratch)
    });
    author(&w).await;
    tags(&w, 60).await;
    let (long, large) = (Arc::new(slow(&w, 3)), Arc::new(w.query(TAGS, &["id", "label"])));
    let read = |plan, shape| Read {
        plan,
        kept: true,
        shape,
        params: &[],
        identity: &w.identity,
        representation: &JsonRows,
    };
    for _ in 0..3 {
        assert!(w.store.read_at_once(read(u64::MAX, &long), false).is_none());
        assert_eq!(w.store.read(read(u64::MAX, &long)).await.unwrap().rows, 1);
    }
    let whole = w.store.read_at_once(read(u64::MAX - 1, &large), false);
    assert_eq!(whole.unwrap().unwrap().rows, 60);
    assert!(w.store.read_at_once(read(u64::MAX - 1, &large), true).is_none());
}

#[tokio::test]
async fn a_read_that_takes_too_long_ends() {
    let scratch = Scratch::new();
    let w = open(Config {
        read_budget_kops: 1,
        statement_timeout: Duration::from_millis(100),
        ..config(&scratch)
    });
    author(&w).await;
    tags(&w, 200).await;
    let began = Instant::now();
    let error = w.read(slow(&w, 5), &[]).await.unwrap_err();
    assert_eq!(error.code, "57014");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // The store is well.
    assert_eq!(w.table(AUTHORS, &["id"]).await, r#"[{"id":1}]"#);
}

#[tokio::test]
async fn too_many_long_reads_are_refused_and_abandoned_ones_end() {
    let scratch = Scratch::new();
    let w = open(Config {
        read_budget_kops: 1,
        long_read_threads: 1,
        long_read_queue: 1,
        statement_timeout: Duration::from_secs(600),
        ..config(&scratch)
    });
    author(&w).await;
    tags(&w, 200).await;
    {
        let mut endless: Vec<BoxFuture<'_, Result<mainstay_store::Answer>>> = (0..3)
            .map(|_| Box::pin(w.read(slow(&w, 6), &[])) as BoxFuture<'_, _>)
            .collect();
        // One runs, one waits; a third is refused. Until the first has been taken up, the second is.
        let refused = loop {
            let mut refused = None;
            for future in &mut endless {
                let polled =
                    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context))).await;
                if let std::task::Poll::Ready(answer) = polled {
                    refused = Some(answer);
                    break;
                }
            }
            if let Some(answer) = refused {
                break answer.unwrap_err();
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((&*refused.code, refused.retry), ("53300", Retry::After(1)));
        assert_eq!(refused.status, Some(503));
    }
    // Whoever waited is gone, so the threads are free again, long before the timeout.
    let began = Instant::now();
    loop {
        match w.read(slow(&w, 2), &[]).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code, "53300"),
        }
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn an_answer_may_not_grow_without_end() {
    let scratch = Scratch::new();
    let w = open(Config {
        answer_bytes_max: 1000,
        ..config(&scratch)
    });
    tags(&w, 100).await;
    let error = w.read(w.query(TAGS, &["id", "label"]), &[]).await.unwrap_err();
    assert_eq!((&*error.code, error.status), ("54000", Some(413)));
    assert_eq!(w.table(AUTHORS, &["id"]).await, "[]");
}

#[tokio::test]
async fn a_write_that_takes_too_long_fails_alone() {
    let scratch = Scratch::new();
    let w = open(Config {
        statement_timeout: Duration::from_millis(200),
        ..config(&scratch)
    });
    author(&w).await;
    tags(&w, 200).await;
    let long = Step {
        returning: Some(slow(&w, 6)),
        ..Step::new(Action::Read)
    };
    let requests: Vec<Step> = (0..9)
        .map(|i| match i {
            4 => long.clone(),
            i => w.insert(NODES, &["id"], vec![vec![Value::Int(i)]]),
        })
        .collect();
    let results = all(requests
        .into_iter()
        .map(|s| Box::pin(w.write(s)) as BoxFuture<'_, Result<StepOutcome>>)
        .collect())
    .await;
    for (i, result) in results.iter().enumerate() {
        match result {
            Err(error) => assert_eq!((i, &*error.code), (4, "57014")),
            Ok(outcome) => assert_eq!(outcome.affected, 1, "request {i}"),
        }
    }
    assert_eq!(w.read(w.query(NODES, &["id"]), &[]).await.unwrap().rows, 8);
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let scratch = Scratch::new();
    let w = open(Config {
        write_queue: 2,
        group_max: 1,
        ..config(&scratch)
    });
    let requests: Vec<Step> = (0..200)
        .map(|i| w.insert(NODES, &["id"], vec![vec![Value::Int(i)]]))
        .collect();
    let results = all(requests
        .into_iter()
        .map(|s| Box::pin(w.write(s)) as BoxFuture<'_, Result<StepOutcome>>)
        .collect())
    .await;
    let refused = results.iter().filter(|r| r.is_err()).count();
    assert!(refused > 0);
    assert!(
        results
            .iter()
            .filter_map(|r| r.as_ref().err())
            .all(|e| e.code == "53300" && e.retry == Retry::After(1))
    );
    assert_eq!(
        w.read(w.query(NODES, &["id"]), &[]).await.unwrap().rows as usize,
        200 - refused
    );
}

#[derive(Default)]
struct Voids {
    voided: AtomicU32,
    checked: AtomicU32,
}

impl CommitListener for Voids {
    fn committed(&self, _: &Changes) {}

    fn voided(&self, _: u16, _: &str) {
        self.voided.fetch_add(1, Ordering::SeqCst);
    }

    fn checked(&self, _: u16, at: Instant) {
        assert!(at <= Instant::now());
        self.checked.fetch_add(1, Ordering::SeqCst);
    }
}

async fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(30), "waited too long");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn shell(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

#[tokio::test]
async fn a_foreign_writer_is_noticed_within_the_bound() {
    let scratch = Scratch::new();
    let schema = Arc::new(library());
    let settings = Config {
        bound: Duration::from_millis(400),
        ..config(&scratch)
    };
    let path = settings.path.clone();
    let store = SqliteStore::open(settings, schema.clone(), Captured::none(), Vec::new()).unwrap();
    let voids = Arc::new(Voids::default());
    store.listen(voids.clone());
    let w = World::over(store.clone(), schema);
    // Own writes are not foreign.
    tags(&w, 10).await;
    until(|| voids.checked.load(Ordering::SeqCst) > 3).await;
    assert_eq!(voids.voided.load(Ordering::SeqCst), 0);
    let foreign = shell(&path);
    foreign
        .execute_batch("INSERT INTO tags VALUES (100, 'by hand')")
        .unwrap();
    let written = Instant::now();
    // Idle: the tick notices.
    until(|| voids.voided.load(Ordering::SeqCst) == 1).await;
    assert!(store.last_checked() + Duration::from_millis(200) > written);
    // Busy: the next transaction notices before it commits.
    foreign
        .execute_batch("INSERT INTO tags VALUES (101, 'by hand')")
        .unwrap();
    w.done(w.insert(NODES, &["id"], vec![vec![Value::Int(1)]])).await;
    assert_eq!(voids.voided.load(Ordering::SeqCst), 2);
    let checked = store.last_checked();
    until(|| store.last_checked() > checked).await;
}

#[tokio::test]
async fn a_foreign_lock_is_waited_for_and_then_reported() {
    let scratch = Scratch::new();
    let w = open(Config {
        busy_timeout: Duration::from_millis(50),
        ..config(&scratch)
    });
    let foreign = shell(&scratch.path().join("main.db"));
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = w.refused(w.insert(NODES, &["id"], vec![vec![Value::Int(1)]])).await;
    assert_eq!(
        (&*error.code, error.retry, error.outcome),
        ("55P03", Retry::Safe, Outcome::None)
    );
    // Reads go on.
    assert_eq!(w.table(NODES, &["id"]).await, "[]");
    foreign.execute_batch("ROLLBACK").unwrap();
    w.done(w.insert(NODES, &["id"], vec![vec![Value::Int(1)]])).await;
}

#[tokio::test]
async fn a_plan_reads_through_an_edited_index() {
    // A statement that is kept is prepared again by SQLite when the tables change under it.
    let scratch = Scratch::new();
    let w = open(config(&scratch));
    tags(&w, 3).await;
    let shape = Arc::new(QueryShape {
        order: vec![w.by(TAGS, "id")],
        ..w.query(TAGS, &["id"])
    });
    let read = || Read {
        plan: 7,
        kept: true,
        shape: &shape,
        params: &[],
        identity: &w.identity,
        representation: &JsonRows,
    };
    let before = w.store.read(read()).await.unwrap().body;
    shell(&scratch.path().join("main.db"))
        .execute_batch("CREATE INDEX by_hand ON tags (label)")
        .unwrap();
    assert_eq!(w.store.read(read()).await.unwrap().body, before);
}
