//! The coherent cache from outside: what is kept, for how long, for whom, and what drops it.
//!
//! A store without a change feed, which PostgreSQL is so far, has nothing kept and says so on every answer; that every read sees every
//! write is asked of it all the same.

use mainstay_tests::{Answer, Client, Connection, Engine, Process, Project, engine, until};
use serde_json::json;
use std::time::{Duration, Instant};

const HIT: &str = "mainstay; hit";
const STORED: &str = "mainstay; fwd=miss; stored";

/// Of an answer that nothing is kept of for want of a change feed.
const NO_FEED: &str = "mainstay; fwd=bypass; detail=\"no change feed\"";

/// What `Cache-Status` says where this is said of a store with a change feed.
fn said(with_feed: &'static str) -> &'static str {
    if has_feed() { with_feed } else { NO_FEED }
}

/// Whether the engine under test has a change feed, without which the cache keeps nothing.
fn has_feed() -> bool {
    engine() == Engine::Sqlite
}

/// The shop's `[cache] bound`.
const BOUND: Duration = Duration::from_secs(1);

fn shop(set: &[&str]) -> (Project, Process) {
    let project = Project::example("shop");
    let mut command = project.command();
    for set in set {
        command = command.args(["--set", set]);
    }
    let process = command.start();
    proved(&process.client(), "/rest/v1/products?limit=1");
    (project, process)
}

fn serve(schema: &str, path: &str) -> (Project, Process) {
    let project = Project::new(schema, "");
    let process = project.serve();
    proved(&process.client(), path);
    (project, process)
}

/// Waits until the first proof of freshness is there; before it nothing is kept. The tests ask for `path` no more.
fn proved(client: &Client, path: &str) {
    until("freshness is proved", || {
        (!client.get(path).expect(200).cache().contains("unproved")).then_some(())
    });
}

fn a_product(client: &Client) -> String {
    let list = client
        .get("/rest/v1/products?select=id&order=sku&limit=1")
        .expect(200)
        .json();
    format!("/rest/v1/products/{}", list[0]["id"].as_str().expect("an id"))
}

#[test]
fn miss_hit_expired_written_absent_malformed() {
    let (project, process) = shop(&["cache.table.products.ttl=1s"]);
    let client = process.client();
    let path = a_product(&client);

    let began = Instant::now();
    let miss = client.get(&path).expect(200);
    assert_eq!((miss.cache(), miss.header("age")), (said(STORED), None));
    let hit = client.get(&path).expect(200);
    assert_eq!(hit.cache(), said(HIT));
    assert_eq!(hit.body, miss.body, "the same bytes");
    assert_eq!(hit.header("etag"), miss.header("etag"));
    assert_eq!(hit.header("age"), has_feed().then_some("0"));

    // It expires, and not before its time.
    if has_feed() {
        let expired = until("the answer has expired", || {
            let answer = client.get(&path).expect(200);
            (answer.cache() != HIT).then_some(answer)
        });
        let age = began.elapsed();
        assert!(age >= Duration::from_secs(1), "expired after {age:?}");
        assert!(age < Duration::from_secs(10), "expired after {age:?}");
        assert_eq!(expired.cache(), STORED);
        assert_eq!(expired.body, miss.body);
    }

    // A write through the API: the very next read is fresh.
    let operator = client.with_token(&project.token("service_role", None));
    let mut before = client.get(&path).expect(200);
    for price in ["12.34", "56.78", "90.12"] {
        let written = operator.patch(&path, &json!({"price": price})).expect(204);
        assert_eq!(
            written.header("cache-status"),
            None,
            "a write is no matter of the cache"
        );
        let fresh = client.get(&path).expect(200);
        assert_eq!(fresh.json()["price"].to_string(), price);
        assert_ne!(fresh.cache(), HIT);
        assert_ne!(fresh.header("etag"), before.header("etag"));
        before = fresh;
    }

    // Another row's write leaves it where it is.
    assert_eq!(client.get(&path).cache(), said(HIT));
    let others = operator
        .get("/rest/v1/products?select=id&order=sku.desc&limit=1")
        .expect(200)
        .json();
    operator
        .patch(
            &format!("/rest/v1/products/{}", others[0]["id"].as_str().expect("an id")),
            &json!({"stock": 7}),
        )
        .expect(204);
    assert_eq!(client.get(&path).cache(), said(HIT));

    let absent = client
        .get("/rest/v1/products/00000000-0000-4000-8000-000000000000")
        .expect(404)
        .json();
    assert!(
        absent["message"]
            .as_str()
            .is_some_and(|m| m.contains("00000000-0000-4000-8000-000000000000")),
        "{absent}"
    );
    let malformed = client.get("/rest/v1/products/shoe").expect(400).json();
    assert_eq!(malformed["code"], json!("22P02"));
    assert!(
        malformed["message"].as_str().is_some_and(|m| m.contains("shoe")),
        "{malformed}"
    );
}

#[test]
fn a_row_that_comes_and_goes_is_seen_at_once() {
    let (project, process) = shop(&[]);
    let client = process.client();
    let operator = client.with_token(&project.token("service_role", None));
    let id = "11111111-1111-4111-8111-111111111111";
    let path = format!("/rest/v1/products/{id}");
    let list = "/rest/v1/products?category=eq.Attic&select=name,stock&order=price";
    let row = json!({"id": id, "sku": "ATT-1", "name": "Trunk", "category": "Attic", "price": 10, "stock": 1});
    for _ in 0..3 {
        for _ in 0..2 {
            client.get(&path).expect(404);
            assert_eq!(client.get(list).expect(200).json(), json!([]));
        }
        operator.post("/rest/v1/products", &row).expect(201);
        for _ in 0..2 {
            assert_eq!(client.get(&path).expect(200).json()["name"], json!("Trunk"));
            assert_eq!(
                client.get(list).expect(200).json(),
                json!([{"name": "Trunk", "stock": 1}])
            );
        }
        // Moved out of the list's filter and back in.
        operator.patch(&path, &json!({"category": "Cellar"})).expect(204);
        assert_eq!(client.get(list).expect(200).json(), json!([]));
        operator
            .patch(&path, &json!({"category": "Attic", "stock": 5}))
            .expect(204);
        assert_eq!(
            client.get(list).expect(200).json(),
            json!([{"name": "Trunk", "stock": 5}])
        );
        assert_eq!(client.get(list).cache(), said(HIT));
        operator.delete(&path).expect(204);
    }
}

#[test]
fn a_view_and_a_function_follow_what_they_are_made_of() {
    let (project, process) = shop(&[]);
    let client = process.client();
    let operator = client.with_token(&project.token("service_role", None));
    let kitchen = "/rest/v1/categories?category=eq.Kitchen";
    let search = |words: &str| {
        client
            .post("/rest/v1/rpc/search_products?select=name", &json!({"query": words}))
            .expect(200)
            .json()
    };
    let before = client.get(kitchen).expect(200).json()[0]["products"]
        .as_i64()
        .expect("a count");
    assert_eq!(client.get(kitchen).cache(), said(HIT));
    assert_eq!(search("unheard-of"), json!([]));
    let row = json!({"sku": "KIT-X", "name": "Unheard-of Spoon", "category": "Kitchen", "price": "0.01", "stock": 1});
    operator.post("/rest/v1/products", &row).expect(201);
    let after = client.get(kitchen).expect(200).json();
    assert_eq!(
        (after[0]["products"].as_i64(), after[0]["cheapest"].to_string().as_str()),
        (Some(before + 1), "0.01")
    );
    assert_eq!(search("unheard-of"), json!([{"name": "Unheard-of Spoon"}]));
}

#[test]
fn a_client_may_ask_past_the_cache() {
    let (_project, process) = shop(&[]);
    let client = process.client();
    let path = a_product(&client);
    client.get(&path).expect(200);
    assert_eq!(client.get(&path).cache(), said(HIT));
    let past = client
        .send("GET", &path, &[("cache-control", "no-cache")], None)
        .expect(200);
    assert_eq!(past.cache(), said("mainstay; fwd=bypass; detail=\"no-cache\""));
    assert_eq!(past.header("age"), None);
    assert_eq!(client.get(&path).cache(), said(HIT), "what is kept stays");
    // What the client has already is not sent again, out of the cache or not.
    let tag = past.header("etag").expect("a tag").to_owned();
    for further in [
        &[("if-none-match", &*tag)][..],
        &[("if-none-match", &*tag), ("cache-control", "no-cache")],
    ] {
        let same = client.send("GET", &path, further, None).expect(304);
        assert!(same.body.is_empty());
    }
}

#[test]
fn the_cache_can_be_switched_off() {
    let (_project, process) = shop(&["cache.memory=\"0\""]);
    let client = process.client();
    let path = a_product(&client);
    for _ in 0..3 {
        assert_eq!(
            client.get(&path).expect(200).cache(),
            "mainstay; fwd=bypass; detail=\"off\""
        );
    }
}

#[test]
fn a_foreign_writer_is_noticed_within_the_bound() {
    let (project, process) = shop(&[]);
    let client = process.client();
    let path = a_product(&client);
    let id = path.rsplit('/').next().expect("an id");
    for stock in [1001, 1002, 1003] {
        until("it is in the cache", || {
            (client.get(&path).expect(200).cache() == said(HIT)).then_some(())
        });
        project.foreign(
            "main",
            &format!("UPDATE products SET stock = {stock} WHERE id = '{id}'"),
        );
        let written = Instant::now();
        let mut stale = 0;
        until("the foreign write is seen", || {
            let asked = written.elapsed();
            let fresh = client.get(&path).expect(200).json()["stock"] == json!(stock);
            assert!(
                fresh || has_feed() && asked <= BOUND,
                "an answer asked for {asked:?} after the write does not reflect it"
            );
            stale += usize::from(!fresh);
            fresh.then_some(())
        });
        println!(
            "a foreign write was seen after {:?}, {stale} stale answers before",
            written.elapsed()
        );
    }
}

#[test]
fn what_cannot_be_kept_says_why() {
    let (_project, process) = serve(
        "CREATE TABLE entries (id integer PRIMARY KEY, at timestamptz NOT NULL, text text NOT NULL);
         CREATE VIEW recent AS SELECT id FROM entries WHERE at > now() - interval '1 hour';
         CREATE FUNCTION dice() RETURNS double precision LANGUAGE SQL VOLATILE BEGIN ATOMIC SELECT random(); END;
         CREATE FUNCTION latest() RETURNS SETOF entries LANGUAGE SQL STABLE BEGIN ATOMIC SELECT * FROM entries WHERE at < now(); END;
         CREATE FUNCTION all_entries() RETURNS SETOF entries LANGUAGE SQL STABLE BEGIN ATOMIC SELECT * FROM entries ORDER BY id; END;
         GRANT SELECT ON entries, recent TO anon;
         GRANT EXECUTE ON FUNCTION dice, latest, all_entries TO anon;
         INSERT INTO entries VALUES (1, '2001-01-01T00:00:00Z', 'old'), (2, '2999-01-01T00:00:00Z', 'new');",
        "/rest/v1/entries?limit=1",
    );
    let client = process.client();
    // Each twice: the second answer is the one that could come from the cache.
    for (path, why) in [
        ("/rest/v1/entries", None),
        ("/rest/v1/entries?at=gt.2020-01-01", None),
        ("/rest/v1/entries?text=ilike.*O*", None),
        ("/rest/v1/rpc/all_entries", None),
        ("/rest/v1/entries?at=gt.now", Some("depends on the clock")),
        ("/rest/v1/entries?at=gt.2020-01-01", None),
        ("/rest/v1/entries?at=gt.now", Some("depends on the clock")),
        ("/rest/v1/entries?at=lt.%20Tomorrow", Some("depends on the clock")),
        ("/rest/v1/entries?at=in.(now,2001-01-01)", Some("depends on the clock")),
        ("/rest/v1/entries?or=(id.eq.1,at.gt.now)", Some("depends on the clock")),
        ("/rest/v1/entries?text=neq.now", None),
        ("/rest/v1/recent", Some("depends on the clock")),
        ("/rest/v1/rpc/latest", Some("depends on the clock")),
    ] {
        client.get(path).expect(200);
        let answer = client.get(path).expect(200);
        match why {
            _ if !has_feed() => assert_eq!(answer.cache(), NO_FEED, "{path}"),
            None => assert_eq!(answer.cache(), HIT, "{path}"),
            Some(why) => assert!(
                answer.cache().starts_with("mainstay; fwd=bypass; detail=\"") && answer.cache().contains(why),
                "{path}: {:?}",
                answer.cache()
            ),
        }
    }
    // A volatile function is called each time.
    let throw = || client.post("/rest/v1/rpc/dice", &json!({})).expect(200).text();
    assert_ne!(throw(), throw());
    assert_ne!(
        client.get("/rest/v1/rpc/dice").expect(200).text(),
        client.get("/rest/v1/rpc/dice").expect(200).text()
    );
}

/// Policies of every kind; whoever asks first must not decide what the next one gets.
const POLICIES: &str = "
    CREATE TABLE teams (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE members (team_id integer NOT NULL REFERENCES teams (id), user_id uuid NOT NULL, PRIMARY KEY (team_id, user_id));
    CREATE TABLE own (id integer PRIMARY KEY, user_id uuid NOT NULL, text text NOT NULL);
    CREATE TABLE of_team (id integer PRIMARY KEY, team_id integer NOT NULL REFERENCES teams (id), text text NOT NULL);
    CREATE TABLE of_tenant (id integer PRIMARY KEY, tenant text NOT NULL, text text NOT NULL);
    CREATE TABLE of_role (id integer PRIMARY KEY, role text NOT NULL, text text NOT NULL);
    CREATE VIEW own_by_owner AS SELECT * FROM own;
    CREATE VIEW own_by_caller WITH (security_invoker = true) AS SELECT * FROM own;
    CREATE VIEW mine AS SELECT id, text FROM own WHERE user_id = auth.uid();
    CREATE FUNCTION my_texts() RETURNS SETOF text LANGUAGE SQL STABLE SECURITY DEFINER SET search_path = public
      BEGIN ATOMIC SELECT text FROM own WHERE user_id = auth.uid() ORDER BY id; END;
    CREATE FUNCTION visible_texts() RETURNS SETOF text LANGUAGE SQL STABLE BEGIN ATOMIC SELECT text FROM own ORDER BY id; END;
    CREATE FUNCTION who() RETURNS text LANGUAGE SQL STABLE
      BEGIN ATOMIC SELECT coalesce(auth.uid()::text, '') || ' ' || auth.role() || ' ' || coalesce(auth.jwt() ->> 'sub', ''); END;
    ALTER TABLE own ENABLE ROW LEVEL SECURITY;
    ALTER TABLE of_team ENABLE ROW LEVEL SECURITY;
    ALTER TABLE of_tenant ENABLE ROW LEVEL SECURITY;
    ALTER TABLE of_role ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON own USING (user_id = auth.uid());
    CREATE POLICY of_team ON of_team USING (team_id IN (SELECT m.team_id FROM members m WHERE m.user_id = auth.uid()));
    CREATE POLICY of_tenant ON of_tenant USING (tenant = (auth.jwt() ->> 'sub'));
    CREATE POLICY of_role ON of_role USING (role = auth.role());
    GRANT SELECT ON teams, members, own, of_team, of_tenant, of_role, own_by_caller, mine TO anon, authenticated;
    GRANT EXECUTE ON FUNCTION my_texts, visible_texts, who TO anon, authenticated;
    INSERT INTO teams VALUES (1, 'red'), (2, 'blue');
    INSERT INTO members VALUES (1, '00000000-0000-4000-8000-00000000000a'), (2, '00000000-0000-4000-8000-00000000000b');
    INSERT INTO own VALUES (1, '00000000-0000-4000-8000-00000000000a', 'only A'), (2, '00000000-0000-4000-8000-00000000000b', 'only B');
    INSERT INTO of_team VALUES (1, 1, 'only A'), (2, 2, 'only B');
    INSERT INTO of_tenant VALUES (1, '00000000-0000-4000-8000-00000000000a', 'only A'), (2, '00000000-0000-4000-8000-00000000000b', 'only B');
    INSERT INTO of_role VALUES (1, 'authenticated', 'A, B'), (2, 'anon', 'nobody');
";

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";

#[test]
fn no_answer_of_one_is_served_to_another() {
    let (project, process) = serve(POLICIES, "/rest/v1/teams?limit=1");
    let anon = process.client();
    let a = anon.with_token(&project.token("authenticated", Some(A)));
    let b = anon.with_token(&project.token("authenticated", Some(B)));
    let paths = [
        "/rest/v1/own",
        "/rest/v1/own?select=text",
        "/rest/v1/own?select=text&order=user_id",
        "/rest/v1/own/1",
        "/rest/v1/own/2",
        "/rest/v1/of_team?select=text,teams(name)",
        "/rest/v1/teams?select=name,of_team(text)&order=id",
        "/rest/v1/teams?select=name,of_team!inner(text)",
        "/rest/v1/of_tenant",
        "/rest/v1/of_role?select=text",
        "/rest/v1/own_by_caller?select=text",
        "/rest/v1/mine",
        "/rest/v1/rpc/my_texts",
        "/rest/v1/rpc/visible_texts",
        "/rest/v1/rpc/who",
    ];
    let mut hits = 0;
    for path in paths {
        // Cold in every order, then warm; each asked past the cache too, which is what it must equal.
        for order in [[&a, &b, &anon], [&b, &anon, &a], [&anon, &a, &b]] {
            for client in order {
                let truth = client.send("GET", path, &[("cache-control", "no-cache")], None);
                let answer = client.get(path);
                hits += usize::from(answer.cache() == HIT);
                assert_eq!((answer.status, answer.text()), (truth.status, truth.text()), "{path}");
            }
        }
        let (of_a, of_b, of_anon) = (a.get(path).text(), b.get(path).text(), anon.get(path).text());
        if path != "/rest/v1/of_role?select=text" {
            assert!(
                !of_a.contains("only B") && !of_b.contains("only A"),
                "{path}: {of_a} {of_b}"
            );
        }
        assert!(
            !of_anon.contains("only A") && !of_anon.contains("only B"),
            "{path}: {of_anon}"
        );
        assert!(of_a != of_anon || path.ends_with("/2"), "{path}: {of_a}");
    }
    assert!(
        hits >= paths.len() * 3 || !has_feed(),
        "{hits} answers came from the cache: too few for the test to mean anything"
    );
    println!("{hits} answers came from the cache, each its own asker's");
    a.get("/rest/v1/own_by_owner").expect(403);
    anon.get("/rest/v1/own_by_owner").expect(401);
}

#[test]
fn who_may_see_the_same_shares_one_answer() {
    let (project, process) = serve(POLICIES, "/rest/v1/teams?limit=1");
    let user = |id: &str| process.client().with_token(&project.token("authenticated", Some(id)));
    let (a, b) = (user(A), user(B));
    // A policy on the role alone: the subject is no part of the key.
    assert_eq!(a.get("/rest/v1/of_role").expect(200).cache(), said(STORED));
    assert_eq!(b.get("/rest/v1/of_role").expect(200).cache(), said(HIT));
    assert_eq!(
        process.client().get("/rest/v1/of_role").expect(200).cache(),
        said(STORED),
        "another role has another answer"
    );
    // Without any policy too.
    assert_eq!(a.get("/rest/v1/teams").expect(200).cache(), said(STORED));
    assert_eq!(b.get("/rest/v1/teams").expect(200).cache(), said(HIT));
    // Two tokens of one user are one user.
    assert_eq!(a.get("/rest/v1/own").expect(200).cache(), said(STORED));
    assert_eq!(user(A).get("/rest/v1/own").expect(200).cache(), said(HIT));
    assert_eq!(b.get("/rest/v1/own").expect(200).cache(), said(STORED));
}

#[test]
fn a_policys_own_tables_drop_what_they_allowed() {
    let (project, process) = serve(POLICIES, "/rest/v1/teams?limit=1");
    let a = process.client().with_token(&project.token("authenticated", Some(A)));
    let operator = process.client().with_token(&project.token("service_role", None));
    let seen = || -> Answer { a.get("/rest/v1/of_team?select=text&order=id").expect(200) };
    assert_eq!(seen().json(), json!([{"text": "only A"}]));
    assert_eq!(seen().cache(), said(HIT));
    operator
        .post("/rest/v1/members", &json!({"team_id": 2, "user_id": A}))
        .expect(201);
    assert_eq!(seen().json(), json!([{"text": "only A"}, {"text": "only B"}]));
    assert_eq!(seen().cache(), said(HIT));
    operator.delete(&format!("/rest/v1/members?user_id=eq.{A}")).expect(204);
    assert_eq!(seen().json(), json!([]));
}

#[test]
fn many_askers_are_one_question() {
    let (_project, process) = shop(&[]);
    let client = process.client();
    let list = "/rest/v1/products?select=*&description=ilike.*made*&order=description,name";
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || client.get(list).expect(200))
        })
        .collect();
    let answers: Vec<Answer> = threads.into_iter().map(|t| t.join().expect("answered")).collect();
    assert!(answers.iter().all(|a| a.body == answers[0].body), "all alike");
    let led = answers.iter().filter(|a| a.cache() == said(STORED)).count();
    assert_eq!(
        led,
        if has_feed() { 1 } else { answers.len() },
        "{:?}",
        answers.iter().map(Answer::cache).collect::<Vec<_>>()
    );
}

#[test]
fn an_answer_asked_for_after_a_write_reflects_it() {
    let (project, process) = shop(&[]);
    let client = process.client();
    let operator = client.with_token(&project.token("service_role", None));
    let path = a_product(&client);
    let id = path.rsplit('/').next().expect("an id").to_owned();
    let list = format!("/rest/v1/products?id=eq.{id}&select=stock");
    // Readers keep the answer hot, so that fills and writes meet; on kept connections, so that their requests are known by their bytes.
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let acknowledged = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (client, list, done, acknowledged) = (client.clone(), list.clone(), done.clone(), acknowledged.clone());
            std::thread::spawn(move || {
                let mut hits = 0;
                let mut connection = Connection::open(client.address()).expect("a connection");
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    let least = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
                    let answer = connection.send("GET", &list, &[], None).expect("an answer").expect(200);
                    let stock = answer.json()[0]["stock"].as_i64().expect("a number");
                    assert!(
                        stock >= least,
                        "{stock} was answered after {least} was acknowledged ({})",
                        answer.cache()
                    );
                    hits += usize::from(answer.cache() == HIT);
                }
                hits
            })
        })
        .collect();
    operator.patch(&path, &json!({"stock": 0})).expect(204);
    for stock in 1..=300 {
        operator.patch(&path, &json!({"stock": stock})).expect(204);
        acknowledged.store(stock, std::sync::atomic::Ordering::SeqCst);
    }
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    let hits: usize = readers.into_iter().map(|r| r.join().expect("no stale answer")).sum();
    println!("300 writes; {hits} answers out of the cache meanwhile, none stale");
    assert_eq!(hits > 0, has_feed());
    let metrics = process.admin().get("/metrics").expect(200).text();
    let known = metrics
        .lines()
        .find_map(|line| line.strip_prefix("mainstay_express_answers_total "))
        .and_then(|count| count.parse::<f64>().ok());
    println!("{known:?} of them to requests known by their bytes");
    assert_eq!(known.is_some_and(|count| count > 0.0), has_feed());
}
