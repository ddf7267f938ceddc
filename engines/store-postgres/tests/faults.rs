//! A database that misbehaves: each fault is caused for real, and what the client is told, and that it is well again afterwards, is
//! looked at.

mod server;

use mainstay_model::*;
use mainstay_store::conformance::world::{BOOKS, TAGS, World, text};
use mainstay_store::conformance::{JsonRows, library};
use mainstay_store::{Read, Store};
use mainstay_store_postgres::{Captured, Config, OpenErrorKind, PostgresStore};
use server::Server;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn world(server: &Server, change: impl FnOnce(&mut Config)) -> (Arc<PostgresStore>, World, String) {
    let url = server.database();
    let database = url.split(['/', '?']).nth(3).unwrap().to_owned();
    let schema = Arc::new(library());
    let mut config = Config::new(url);
    change(&mut config);
    let store = PostgresStore::open(config, schema.clone(), Captured::none())
        .await
        .unwrap();
    let client = store.client().await.unwrap();
    for statement in mainstay_sql::postgres::ddl(&schema).unwrap() {
        client.batch_execute(&statement).await.unwrap();
    }
    let world = World::over(store.clone() as Arc<dyn Store>, schema);
    world.fill().await;
    (store, world, database)
}

/// Asks until it answers, for as long as a recovery may take.
async fn until_well(world: &World) -> Duration {
    let began = Instant::now();
    loop {
        match world.read(world.query(TAGS, &["id"]), &[]).await {
            Ok(_) => return began.elapsed(),
            Err(error) => {
                assert_eq!(error.status, Some(503), "{error}");
                assert!(matches!(error.retry, Retry::After(_)), "{error}");
                assert!(
                    began.elapsed() < Duration::from_secs(20),
                    "it is not well again: {error}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A filter that takes so many seconds.
fn slow(world: &World, seconds: f64) -> QueryShape {
    QueryShape {
        filter: Some(Expr::condition(ExprKind::Is {
            operand: Box::new(Expr::new(
                ExprKind::Opaque {
                    sql: format!("pg_sleep({seconds})::text").into(),
                    dependencies: Vec::new(),
                },
                Type::Text,
            )),
            test: IsTest::Null,
            negated: true,
        })),
        limit: None,
        ..world.query(TAGS, &["id"])
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start() {
    let server = Server::start("");
    let url = server.database();
    server.stop("fast");
    let schema = Arc::new(library());
    let config = Config {
        connect_timeout: Duration::from_secs(1),
        ..Config::new(&url)
    };
    let error = PostgresStore::open(config.clone(), schema.clone(), Captured::none())
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, OpenErrorKind::Unreachable, "{error}");
    let config = Config {
        must_answer: false,
        ..config
    };
    let store = PostgresStore::open(config, schema.clone(), Captured::none())
        .await
        .unwrap();
    let world = World::over(store.clone() as Arc<dyn Store>, schema.clone());
    assert_eq!(store.ping().await.unwrap_err().status, Some(503));
    let error = world.read(world.query(TAGS, &["id"]), &[]).await.unwrap_err();
    assert_eq!((&*error.code, error.status), ("08001", Some(503)));
    let error = world.refused(world.delete(TAGS, None)).await;
    assert_eq!((&*error.code, error.outcome), ("08001", Outcome::None));
    server.resume();
    let began = Instant::now();
    while store.ping().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again() {
    let server = Server::start("");
    let (_, world, _) = world(&server, |_| {}).await;
    for mode in ["immediate", "fast"] {
        let shape = slow(&world, 30.0);
        let asked = world.read(shape, &[]);
        let stopped = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.stop(mode);
        };
        let (answer, ()) = tokio::join!(asked, stopped);
        let error = answer.unwrap_err();
        assert_eq!(error.status, Some(503), "{mode}: {error}");
        let error = world.refused(world.delete(TAGS, None)).await;
        assert_eq!(
            (error.status, error.outcome),
            (Some(503), Outcome::None),
            "{mode}: {error}"
        );
        server.resume();
        until_well(&world).await;
        world.done(world.update(TAGS, &[("label", text(mode))], None)).await;
    }
}

#[tokio::test]
async fn a_commit_without_an_answer_is_unknown() {
    let server = Server::start("");
    let (_, world, database) = world(&server, |_| {}).await;
    // The commit waits for a deferred trigger that sleeps; the connection is cut meanwhile.
    server.sql(
        &database,
        "CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER sleeps AFTER INSERT ON nodes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleeps()",
    );
    let write = world.write(world.insert(
        mainstay_store::conformance::world::NODES,
        &["id"],
        vec![vec![Value::Int(1)]],
    ));
    let cut = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.stop("immediate");
    };
    let (result, ()) = tokio::join!(write, cut);
    let error = result.unwrap_err();
    assert_eq!(
        (&*error.code, error.outcome, error.status),
        ("08007", Outcome::Unknown, Some(503))
    );
}

#[tokio::test]
async fn a_statement_that_takes_too_long() {
    let server = Server::start("");
    let (_, world, _) = world(&server, |config| config.statement_timeout = Duration::from_millis(300)).await;
    let began = Instant::now();
    let error = world.read(slow(&world, 30.0), &[]).await.unwrap_err();
    assert_eq!((&*error.code, error.outcome), ("57014", Outcome::None));
    assert!(began.elapsed() < Duration::from_secs(5));
    until_well(&world).await;
}

#[tokio::test]
async fn a_client_that_goes_away() {
    let server = Server::start("");
    let (_, world, database) = world(&server, |_| {}).await;
    let shape = slow(&world, 30.0);
    let gone = tokio::time::timeout(Duration::from_millis(300), world.read(shape, &[])).await;
    assert!(gone.is_err());
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
    let began = Instant::now();
    while server.sql(&database, running) != "0" {
        assert!(began.elapsed() < Duration::from_secs(5), "the query is not cancelled");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Those behind it on the same connection are not hit.
    for _ in 0..20 {
        world.read(world.query(TAGS, &["id"]), &[]).await.unwrap();
    }
}

#[tokio::test]
async fn too_many_connections() {
    let server = Server::start("-c max_connections=12 -c superuser_reserved_connections=3");
    let (store, world, _) = world(&server, |config| {
        config.write_connections = 40;
        config.queue_timeout = Duration::from_secs(10);
    })
    .await;
    // More writes at once than the server has connections: they wait for one another.
    let writes = (0..40).map(|n| {
        let step = world.insert(TAGS, &["id", "label"], vec![vec![Value::Int(100 + n), text("x")]]);
        let write = async { world.write(step).await.map(|_| ()) };
        Box::pin(write) as mainstay_store::BoxFuture<'_, Result<()>>
    });
    for result in mainstay_store::conformance::world::all(writes.collect()).await {
        result.unwrap();
    }
    // A read takes over one of theirs.
    let shape = QueryShape {
        count: Count::Exact,
        ..world.query(TAGS, &["id"])
    };
    assert_eq!(world.read(shape, &[]).await.unwrap().total, Some(42));
    store.close().await;
}

#[tokio::test]
async fn deadlocks_are_done_again() {
    let server = Server::start("-c deadlock_timeout=100ms");
    let (_, world, _) = world(&server, |_| {}).await;
    let update = |relation, id: i64, column, value: &str| {
        world.update(
            relation,
            &[(column, text(value))],
            Some(world.equals(relation, "id", Value::Int(id))),
        )
    };
    for round in 0..5 {
        let label = round.to_string();
        let one = vec![update(TAGS, 1, "label", &label), update(BOOKS, 10, "title", &label)];
        let two = vec![update(BOOKS, 10, "title", &label), update(TAGS, 1, "label", &label)];
        let transact = |steps: Vec<Step>| {
            world.transact(Transaction {
                steps,
                ..Transaction::default()
            })
        };
        let (one, two) = tokio::join!(transact(one), transact(two));
        one.unwrap();
        two.unwrap();
    }
}

#[tokio::test]
async fn serialisation_failures_are_done_again() {
    let server = Server::start("-c default_transaction_isolation=serializable");
    let (_, world, _) = world(&server, |_| {}).await;
    let collided = || {
        let log = std::fs::read_to_string(format!("{}/log", server.folder())).unwrap();
        log.contains("could not serialize access")
    };
    for round in 0..500 {
        // As often as it takes: when two meet is the scheduler's affair.
        if round >= 20 && collided() {
            break;
        }
        let transact = |label: String| {
            let tag = world.equals(TAGS, "id", Value::Int(1));
            let book = world.equals(BOOKS, "id", Value::Int(10));
            world.transact(Transaction {
                steps: vec![
                    world.update(TAGS, &[("label", text(&label))], Some(tag)),
                    world.update(BOOKS, &[("title", text(&label))], Some(book)),
                ],
                ..Transaction::default()
            })
        };
        let (one, two) = tokio::join!(transact(format!("a{round}")), transact(format!("b{round}")));
        one.unwrap();
        two.unwrap();
    }
    assert!(collided(), "nothing collided");
}

#[tokio::test]
async fn a_schema_that_changes_under_prepared_statements() {
    let server = Server::start("");
    let (_, world, database) = world(&server, |_| {}).await;
    let shape = Arc::new(world.query(TAGS, &["label"]));
    let read = Read {
        plan: u64::MAX,
        kept: true,
        shape: &shape,
        params: &[],
        identity: &world.identity,
        representation: &JsonRows,
    };
    let before = world.store.read(read).await.unwrap();
    server.sql(&database, "ALTER TABLE tags ALTER COLUMN label TYPE varchar(50)");
    let after = world.store.read(read).await.unwrap();
    assert_eq!(before.body, after.body);
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let server = Server::start("");
    let (_, world, database) = world(&server, |config| {
        config.write_connections = 1;
        config.queue_timeout = Duration::from_millis(300);
        config.write_queue = 1;
    })
    .await;
    server.sql(
        &database,
        "CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NEW; END $$; \
         CREATE TRIGGER sleeps BEFORE INSERT ON nodes FOR EACH ROW EXECUTE FUNCTION sleeps()",
    );
    let write = |id| {
        world.write(world.insert(
            mainstay_store::conformance::world::NODES,
            &["id"],
            vec![vec![Value::Int(id)]],
        ))
    };
    let (first, second, third) = tokio::join!(write(1), write(2), write(3));
    first.unwrap();
    for error in [second.unwrap_err(), third.unwrap_err()] {
        assert_eq!((&*error.code, error.status), ("53300", Some(503)), "{error}");
        assert!(matches!(error.retry, Retry::After(_)));
    }
}
