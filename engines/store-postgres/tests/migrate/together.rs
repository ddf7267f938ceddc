//! Migrations beside others: while the table is in use, two at once, killed at every step, and as an owner without privileges.

use super::*;

#[test]
fn a_large_table_is_worked_on_while_others_use_it() {
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        settle(&client, &of(BASE)).await;
        client
            .batch_execute("INSERT INTO people (name) VALUES ('Ann'); INSERT INTO pets (owner, name) SELECT 1, 'pet ' || n FROM generate_series(1, 2000) n")
            .await
            .expect("rows");
        let text = BASE
            .replace(
                "CREATE VIEW owners",
                "CREATE UNIQUE INDEX pets_names ON pets (name);\nCREATE VIEW owners",
            )
            .replace("  born date\n", "  born date,\n  CONSTRAINT named CHECK (name <> '')\n");
        let options = Options {
            big_table_bytes: 1 << 14,
            ..Options::default()
        };
        let edited = of(&text);
        let shown = migrate::plan(&client, &edited, &options)
            .await
            .expect("a plan")
            .to_string();
        for word in [
            "NOT VALID",
            "VALIDATE CONSTRAINT named",
            "CREATE UNIQUE INDEX CONCURRENTLY pets_names",
        ] {
            assert!(shown.contains(word), "{shown}");
        }
        // Interrupted before what follows the transaction: found again.
        let (stopped, url2) = (Arc::new(AtomicUsize::new(0)), url.clone());
        let hooked = Options {
            hook: Some(killer(&url2, "VALIDATE CONSTRAINT", stopped.clone())),
            ..options.clone()
        };
        let _ = migrate::apply(&client, &edited, &hooked).await.expect_err("killed");
        let client = migrate::connect(&url).await.expect("a connection");
        let again = migrate::plan(&client, &edited, &options).await.expect("a plan");
        assert_eq!(again.steps.len(), 2, "{again}");
        migrate::apply(&client, &edited, &options)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(plan(&client, &edited).await.is_empty());
    });
}

/// Ends our own backend when a statement with a word in it, or the n-th, is about to run.
fn killer(url: &str, word: &'static str, seen: Arc<AtomicUsize>) -> migrate::Hook {
    let database = url
        .split('/')
        .nth(3)
        .and_then(|r| r.split('?').next())
        .expect("a name")
        .to_owned();
    Arc::new(move |statement: &str| {
        seen.fetch_add(1, Ordering::Relaxed);
        if statement.contains(word) {
            kill(&database);
        }
    })
}

fn kill(database: &str) {
    server().value(&format!(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'mainstay migrate'"
    ));
}

#[test]
fn two_at_once_wait_for_one_another() {
    let url = server().database();
    let results: Arc<Mutex<Vec<usize>>> = Arc::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                run(async {
                    let client = migrate::connect(&url).await.expect("a connection");
                    let applied = apply(&client, &of(BASE)).await;
                    results.lock().expect("no panic").push(applied.len());
                });
            });
        }
    });
    let mut results = results.lock().expect("no panic").clone();
    results.sort_unstable();
    assert_eq!(results[..3], [0, 0, 0], "one does it, the others find nothing to do");
    assert!(results[3] > 10);
}

#[test]
fn killed_at_every_step_it_leaves_the_old_schema_or_the_new() {
    let text = BASE
        .replace("name varchar(20)", "name text")
        .replace("age >= 18", "age >= 21")
        .replace("  born date\n", "  born date,\n  weight real NOT NULL DEFAULT 1\n")
        .replace(
            "GRANT SELECT ON owners TO anon;",
            "CREATE TABLE toys (id serial PRIMARY KEY, pet bigint REFERENCES pets);",
        );
    let (old, new) = (of(BASE), of(&text));
    let url = server().database();
    let database = url
        .split('/')
        .nth(3)
        .and_then(|r| r.split('?').next())
        .expect("a name")
        .to_owned();
    let mut kills = 0;
    for n in 1.. {
        let killed = run(async {
            let client = migrate::connect(&url).await.expect("a connection");
            apply(&client, &old).await;
            let left = plan(&client, &old).await;
            assert!(left.is_empty(), "{left}");
            let seen = Arc::new(AtomicUsize::new(0));
            let (counter, database) = (seen.clone(), database.clone());
            let hook: migrate::Hook = Arc::new(move |_: &str| {
                if counter.fetch_add(1, Ordering::Relaxed) + 1 == n {
                    kill(&database);
                }
            });
            let options = Options {
                hook: Some(hook),
                ..Options::default()
            };
            let applied = migrate::apply(&client, &new, &options).await;
            let client = migrate::connect(&url).await.expect("a connection");
            let is_old = plan(&client, &old).await.is_empty();
            let is_new = plan(&client, &new).await.is_empty();
            assert!(is_old != is_new, "killed at {n}: neither the old schema nor the new");
            assert_eq!(applied.is_ok(), is_new, "killed at {n}");
            applied.is_err()
        });
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 10, "only {kills} steps");
}

#[test]
fn a_lock_that_is_held_is_not_waited_for_long() {
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        settle(&client, &of(BASE)).await;
        let other = migrate::connect(&url).await.expect("a connection");
        other
            .batch_execute("BEGIN; LOCK TABLE pets IN ROW EXCLUSIVE MODE")
            .await
            .expect("a lock");
        let edited = of(&BASE.replace("  born date\n", "  born date,\n  weight real\n"));
        let options = Options {
            lock_timeout: std::time::Duration::from_millis(50),
            attempts: 2,
            ..Options::default()
        };
        let failure = migrate::apply(&client, &edited, &options)
            .await
            .expect_err("locked out");
        assert!(failure.to_string().contains("nothing was changed"), "{failure}");
        assert!(plan(&client, &of(BASE)).await.is_empty());
        other.batch_execute("COMMIT").await.expect("free");
        settle(&client, &edited).await;
    });
}

#[test]
fn the_owner_of_a_database_migrates_it_without_being_a_superuser() {
    let server = server();
    let url = server.database();
    let name = url.split('/').nth(3).and_then(|r| r.split('?').next()).expect("a name");
    let owner = format!("owner_of_{name}");
    server.value(&format!("CREATE ROLE {owner} LOGIN"));
    server.value(&format!("ALTER DATABASE {name} OWNER TO {owner}"));
    let url = url.replace("postgres@", &format!("{owner}@"));
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        let source = source(&[("schema.sql", BASE)], true);
        settle(&client, &source).await;
        let edited = BASE.replace("name varchar(20)", "name text");
        settle(&client, &self::source(&[("schema.sql", &edited)], true)).await;
    });
}
