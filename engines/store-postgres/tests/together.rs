//! What is asked at once and travels together: each still gets its own answer, with its own rights, and nothing is acknowledged that a
//! crash of the server takes away.

mod server;

use mainstay_model::*;
use mainstay_store::conformance::world::{AUTHORS, TAGS, World, all, text};
use mainstay_store::conformance::{JsonRows, library};
use mainstay_store::{BoxFuture, Read, Store};
use mainstay_store_postgres::{Captured, Config, PostgresStore};
use server::Server;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

async fn world(server: &Server) -> (Arc<PostgresStore>, World) {
    let schema = Arc::new(library());
    let store = PostgresStore::open(Config::new(server.database()), schema.clone(), Captured::none())
        .await
        .unwrap();
    let client = store.client().await.unwrap();
    for statement in mainstay_sql::postgres::ddl(&schema).unwrap() {
        client.batch_execute(&statement).await.unwrap();
    }
    // Once more, with the tables: what the database's own code may do is looked up when a schema is taken.
    let store = store.with_schema(schema.clone(), &Captured::none()).await.unwrap();
    let world = World::over(store.clone() as Arc<dyn Store>, schema);
    world.fill().await;
    let past = "SELECT setval(pg_get_serial_sequence('authors', 'id'), 100)";
    client.batch_execute(past).await.unwrap();
    (store, world)
}

/// An expression that only the database understands, as the one column of a read of one row.
fn asks(world: &World, sql: &str) -> Arc<QueryShape> {
    let opaque = ExprKind::Opaque {
        sql: sql.into(),
        dependencies: Vec::new(),
    };
    Arc::new(QueryShape {
        select: vec![Item::Field(Projected {
            expr: Expr::new(opaque, Type::Text),
            name: "it".into(),
        })],
        filter: Some(world.equals(TAGS, "id", Value::Int(1))),
        ..world.query(TAGS, &[])
    })
}

fn caller(role: &str, sub: &str) -> Identity {
    let claims = serde_json::json!({ "sub": sub, "role": role });
    Identity::new(role, Arc::new(claims.as_object().cloned().unwrap()))
}

async fn ask(store: &dyn Store, plan: u64, shape: &Arc<QueryShape>, identity: &Identity) -> Result<String> {
    let read = Read {
        plan,
        kept: true,
        shape,
        params: &[],
        identity,
        representation: &JsonRows,
    };
    let answer = store.read(read).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

async fn at_once<'a, T>(futures: impl Iterator<Item = impl Future<Output = T> + Send + 'a>) -> Vec<T> {
    all(futures.map(|future| Box::pin(future) as BoxFuture<'a, T>).collect()).await
}

#[tokio::test]
async fn reads_of_one_caller_share_a_transaction_and_those_of_others_do_not() {
    let server = Server::start("");
    let (store, world) = world(&server).await;
    let client = store.client().await.unwrap();
    client
        .batch_execute("GRANT SELECT ON tags TO authenticated")
        .await
        .unwrap();
    let shape = asks(
        &world,
        "(current_setting('request.jwt.claims')::json ->> 'sub' || ' ' || current_user || ' ' || transaction_timestamp())",
    );
    let callers: Vec<Identity> = (0..8)
        .flat_map(|n| ["authenticated", "service_role"].map(|role| caller(role, &format!("user-{n}"))))
        .collect();
    let (mut asked, mut transactions) = (0, HashSet::new());
    for round in 0..20 {
        // What was never asked, or was slow, travels alone.
        for identity in &callers {
            ask(&*store, 1, &shape, identity).await.unwrap();
        }
        // In an order that has the callers alternate, and one that has them come in a row.
        let order = (0..96).map(|n| if round % 2 == 0 { n % 16 } else { n / 6 });
        let order: Vec<usize> = order.collect();
        let answers = at_once(order.iter().map(|n| ask(&*store, 1, &shape, &callers[*n]))).await;
        for (n, answer) in order.iter().zip(answers) {
            let answer = answer.unwrap();
            let whose = format!("user-{} {} ", n / 2, callers[*n].role);
            assert!(answer.contains(&whose), "{whose} got {answer}");
            asked += 1;
            transactions.insert(answer);
        }
    }
    println!("{asked} reads in {} transactions", transactions.len());
    assert!(transactions.len() < asked, "they travelled alone");
}

#[tokio::test]
async fn one_that_fails_takes_nobody_with_it() {
    let server = Server::start("");
    let (store, world) = world(&server).await;
    let good = asks(&world, "(1 / 1)::text");
    let bad = asks(&world, "(1 / (random() * 0)::integer)::text");
    let service = Identity::service();
    for plan_and_shape in [(1, &good), (2, &bad)] {
        for _ in 0..3 {
            let _ = ask(&*store, plan_and_shape.0, plan_and_shape.1, &service).await;
        }
    }
    for at in 0..24 {
        let answers = at_once((0..24).map(|n| match n == at {
            true => ask(&*store, 2, &bad, &service),
            false => ask(&*store, 1, &good, &service),
        }))
        .await;
        for (n, answer) in answers.iter().enumerate() {
            match answer {
                Ok(answer) => assert!(n != at && answer.contains('1'), "{n} of {at}: {answer}"),
                Err(error) => assert!(n == at && error.code == "22012", "{n} of {at}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn insertions_are_transactions_of_their_own() {
    let server = Server::start("");
    let (store, world) = world(&server).await;
    let client = store.client().await.unwrap();
    let insert = |name: String| world.write(world.insert(AUTHORS, &["name"], vec![vec![text(&name)]]));
    for n in 0..5 {
        insert(format!("first {n}")).await.unwrap();
    }
    // Every third exists already.
    let outcomes = at_once((0..300).map(|n| {
        insert(match n % 3 {
            0 => format!("first {}", n % 5),
            _ => format!("author {n}"),
        })
    }))
    .await;
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(outcome) => assert!(n % 3 > 0 && outcome.affected == 1, "{n}"),
            Err(error) => assert!(n % 3 == 0 && error.code == "23505", "{n}: {error}"),
        }
    }
    let counted = client
        .query_one(
            "SELECT count(*), count(DISTINCT xmin::text) FROM authors WHERE name LIKE 'author %'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((counted.get::<_, i64>(0), counted.get::<_, i64>(1)), (200, 200));
}

/// The log's buffers are the server's own memory: what they hold is lost when it is killed. Nothing acknowledged may be only there.
#[tokio::test]
async fn no_acknowledged_insertion_is_lost_with_the_server() {
    // What is not waited for is written late.
    let server = Arc::new(Server::start(
        "-c wal_writer_delay=10s -c wal_buffers=16MB -c wal_writer_flush_after=1GB",
    ));
    let (store, world) = world(&server).await;
    let (mut sent, mut acknowledged) = (0_u64, Vec::new());
    for round in 0..4 {
        let stopped = AtomicBool::new(false);
        let stop = async {
            tokio::time::sleep(Duration::from_millis(200 + 70 * round)).await;
            let server = server.clone();
            let _ = tokio::task::spawn_blocking(move || server.stop("immediate")).await;
            stopped.store(true, Ordering::Relaxed);
        };
        let (sent, acknowledged) = (&mut sent, &mut acknowledged);
        let (world, stopped) = (&world, &stopped);
        let write = async move {
            while !stopped.load(Ordering::Relaxed) {
                // Every other time the one that would wait for the log is refused.
                let first = *sent;
                *sent += 24;
                let names = (first..first + 24).map(|n| match (n == first, first % 48) {
                    (true, 24) => "Ann".to_owned(),
                    _ => format!("author {n}"),
                });
                let writes = names
                    .clone()
                    .map(|name| world.write(world.insert(AUTHORS, &["name"], vec![vec![text(&name)]])));
                let outcomes = at_once(writes).await;
                let done = names
                    .zip(outcomes)
                    .filter_map(|(name, outcome)| outcome.is_ok().then_some(name));
                acknowledged.extend(done);
                // A server that is gone is refused at once.
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(write, stop);
        server.resume();
        while store.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let client = store.client().await.unwrap();
    let rows = client.query("SELECT name FROM authors", &[]).await.unwrap();
    let there: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !there.contains(*name)).collect();
    println!("{} of {sent} insertions acknowledged", acknowledged.len());
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    assert!(
        lost.is_empty(),
        "{} of {} lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
}
