//! One user's rows are nobody else's: not to see, not to count, not to order or filter by, not to write, through whatever door.

use mainstay_tests::{Answer, Client, Engine, Process, Project, engine};
use serde_json::{Value as Json, json};

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";

const SCHEMA: &str = "
    CREATE TABLE boxes (
      id integer PRIMARY KEY, user_id uuid NOT NULL DEFAULT auth.uid(), label text NOT NULL UNIQUE, worth numeric(8,2) NOT NULL DEFAULT 0);
    CREATE TABLE things (
      id integer PRIMARY KEY, box_id integer NOT NULL REFERENCES boxes (id) ON DELETE CASCADE, name text NOT NULL);
    CREATE TABLE open_shelves (id integer PRIMARY KEY, box_id integer REFERENCES boxes (id), title text NOT NULL);
    CREATE TABLE diary (id integer PRIMARY KEY, user_id uuid NOT NULL DEFAULT auth.uid(), text text NOT NULL);
    CREATE VIEW by_owner AS SELECT * FROM boxes;
    CREATE VIEW by_caller WITH (security_invoker = true) AS SELECT * FROM boxes;
    CREATE VIEW through_caller WITH (security_invoker = true) AS SELECT id, label FROM by_caller;
    CREATE VIEW mine AS SELECT id, label FROM boxes WHERE user_id = auth.uid();
    CREATE VIEW totals WITH (security_invoker = true) AS SELECT count(*) AS n, sum(worth) AS worth FROM boxes;
    ALTER TABLE boxes ENABLE ROW LEVEL SECURITY;
    ALTER TABLE things ENABLE ROW LEVEL SECURITY;
    ALTER TABLE diary ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own_boxes ON boxes TO authenticated USING (user_id = auth.uid());
    CREATE POLICY own_things ON things TO authenticated USING (box_id IN (SELECT b.id FROM boxes b WHERE b.user_id = auth.uid()));
    -- A diary can be read by whoever wrote it; anybody may add a page in his own name; no page is ever changed.
    CREATE POLICY read_own ON diary FOR SELECT TO authenticated USING (user_id = auth.uid());
    CREATE POLICY write_own ON diary FOR INSERT TO authenticated WITH CHECK (user_id = auth.uid());
    GRANT SELECT, INSERT, UPDATE, DELETE ON boxes, things, diary TO authenticated;
    GRANT SELECT ON open_shelves, by_caller, through_caller, mine, totals TO authenticated;
    GRANT UPDATE, DELETE, INSERT ON by_caller TO authenticated;
    CREATE FUNCTION all_boxes() RETURNS SETOF boxes LANGUAGE SQL STABLE BEGIN ATOMIC SELECT * FROM boxes ORDER BY id; END;
    CREATE FUNCTION own_by_definer() RETURNS SETOF boxes LANGUAGE SQL STABLE SECURITY DEFINER SET search_path = public
      BEGIN ATOMIC SELECT * FROM boxes WHERE user_id = auth.uid() ORDER BY id; END;
    CREATE FUNCTION how_many() RETURNS bigint LANGUAGE SQL STABLE BEGIN ATOMIC SELECT count(*) FROM boxes; END;
    CREATE FUNCTION relabel(id integer, label text) RETURNS SETOF boxes LANGUAGE SQL
      BEGIN ATOMIC UPDATE boxes SET label = relabel.label WHERE boxes.id = relabel.id RETURNING *; END;
    CREATE FUNCTION empty_all() RETURNS SETOF boxes LANGUAGE SQL BEGIN ATOMIC DELETE FROM boxes RETURNING *; END;
    CREATE FUNCTION thing_count(b boxes) RETURNS bigint LANGUAGE SQL STABLE
      BEGIN ATOMIC SELECT count(*) FROM things t WHERE t.box_id = b.id; END;
    GRANT EXECUTE ON FUNCTION all_boxes, own_by_definer, how_many, relabel, empty_all, thing_count TO authenticated;
    INSERT INTO boxes (id, user_id, label, worth) VALUES
      (1, '00000000-0000-4000-8000-00000000000a', 'of A: gold', 900), (2, '00000000-0000-4000-8000-00000000000b', 'of B: wood', 5),
      (3, '00000000-0000-4000-8000-00000000000a', 'of A: silver', 300);
    INSERT INTO things (id, box_id, name) VALUES (1, 1, 'of A: crown'), (2, 2, 'of B: spoon'), (3, 3, 'of A: ring');
    INSERT INTO open_shelves (id, box_id, title) VALUES (1, 1, 'upper'), (2, 2, 'lower'), (3, NULL, 'empty');
    INSERT INTO diary (id, user_id, text) VALUES (1, '00000000-0000-4000-8000-00000000000a', 'of A: secret');
";

struct House {
    project: Project,
    process: Process,
    a: Client,
    b: Client,
}

impl House {
    fn new() -> House {
        let project = Project::new(SCHEMA, "[api]\naggregates = true\n");
        let process = project.serve();
        let user = |id| process.client().with_token(&project.token("authenticated", Some(id)));
        let (a, b) = (user(A), user(B));
        House { project, process, a, b }
    }

    /// Everything there is, as only an operator sees it.
    fn everything(&self) -> Json {
        let operator = self
            .process
            .client()
            .with_token(&self.project.token("service_role", None));
        let all = |table: &str| operator.get(&format!("/rest/v1/{table}?order=id")).expect(200).json();
        json!([all("boxes"), all("things"), all("open_shelves"), all("diary")])
    }

    /// What the second user asks, each time warm and cold, must not show a trace of the first one's rows.
    #[track_caller]
    fn b_sees(&self, path: &str, expected: &Json) {
        // The first user asks first: what is kept for him must not be served to another.
        self.a.get(path);
        for _ in 0..2 {
            let answer = self.b.get(path).expect(200);
            assert_eq!(&answer.json(), expected, "{path} ({})", answer.cache());
            assert_untold(path, &answer);
        }
        let past = self
            .b
            .send("GET", path, &[("cache-control", "no-cache")], None)
            .expect(200);
        assert_eq!(&past.json(), expected, "{path}, past the cache");
    }
}

#[track_caller]
fn assert_untold(what: &str, answer: &Answer) {
    assert!(!answer.text().contains("of A"), "{what}: {}", answer.text());
    assert!(
        !answer.headers.iter().any(|(_, v)| v.contains("of A")),
        "{what}: {:?}",
        answer.headers
    );
}

#[test]
fn reads() {
    let house = House::new();
    let wood = json!([{"id": 2, "user_id": B, "label": "of B: wood", "worth": 5.00}]);
    for (path, expected) in [
        ("boxes", wood.clone()),
        ("boxes?select=label", json!([{"label": "of B: wood"}])),
        ("boxes?id=eq.1", json!([])),
        ("boxes?id=in.(1,2,3)", wood.clone()),
        ("boxes?id=neq.2", json!([])),
        (
            "boxes?or=(id.eq.1,user_id.eq.00000000-0000-4000-8000-00000000000a)",
            json!([]),
        ),
        ("boxes?not.or=(id.eq.2)", json!([])),
        ("boxes?label=ilike.*gold*", json!([])),
        ("boxes?worth=gt.100", json!([])),
        ("boxes?order=worth.desc&limit=1", wood.clone()),
        ("boxes?offset=1", json!([])),
        ("boxes?select=count()", json!([{"count": 1}])),
        (
            "boxes?select=worth.sum(),worth.max()",
            json!([{"sum": 5.00, "max": 5.00}]),
        ),
        ("boxes?select=user_id,worth.sum()", json!([{"user_id": B, "sum": 5.00}])),
        (
            "boxes?select=label,things(name)",
            json!([{"label": "of B: wood", "things": [{"name": "of B: spoon"}]}]),
        ),
        ("boxes?select=id,thing_count", json!([{"id": 2, "thing_count": 1}])),
        ("things?select=name", json!([{"name": "of B: spoon"}])),
        (
            "things?select=name,boxes(label)&order=boxes(worth).desc",
            json!([{"name": "of B: spoon", "boxes": {"label": "of B: wood"}}]),
        ),
        ("things?select=name&boxes.worth=gt.0", json!(null)),
        ("things?select=name,boxes!inner(label)&boxes.worth=gt.100", json!([])),
        (
            "open_shelves?select=title,boxes(label)&order=id",
            json!([
                {"title": "upper", "boxes": null}, {"title": "lower", "boxes": {"label": "of B: wood"}}, {"title": "empty", "boxes": null}]),
        ),
        (
            "open_shelves?select=title,boxes!inner(label)",
            json!([{"title": "lower", "boxes": {"label": "of B: wood"}}]),
        ),
        ("open_shelves?select=title&boxes=not.is.null&order=id", json!(null)),
        (
            "open_shelves?select=title,boxes()&boxes=not.is.null",
            json!([{"title": "lower"}]),
        ),
        (
            "open_shelves?select=title,boxes(things(name))&boxes=not.is.null",
            json!([{"title": "lower", "boxes": {"things": [{"name": "of B: spoon"}]}}]),
        ),
        ("by_caller", wood.clone()),
        ("by_caller?worth=gt.100", json!([])),
        (
            "by_caller?select=label,things(name)",
            json!([{"label": "of B: wood", "things": [{"name": "of B: spoon"}]}]),
        ),
        ("through_caller", json!([{"id": 2, "label": "of B: wood"}])),
        ("mine", json!([{"id": 2, "label": "of B: wood"}])),
        ("totals", json!([{"n": 1, "worth": 5.00}])),
        ("diary", json!([])),
        ("rpc/all_boxes", wood.clone()),
        ("rpc/all_boxes?worth=gt.100", json!([])),
        ("rpc/own_by_definer", wood.clone()),
        ("rpc/how_many", json!(1)),
    ] {
        let path = format!("/rest/v1/{path}");
        if expected.is_null() {
            // Not embedded: refused, and nothing told by it.
            assert_untold(&path, &house.b.get(&path).expect(400));
            continue;
        }
        house.b_sees(&path, &expected);
    }
    // By its key: as if it were not there.
    let absent = house.b.get("/rest/v1/boxes/77").expect(404).text().replace("77", "1");
    assert_eq!(house.b.get("/rest/v1/boxes/1").expect(404).text(), absent);
    // Counts and ranges, in headers.
    for count in ["exact", "planned", "estimated"] {
        if engine() == Engine::Postgres && count == "planned" {
            // The planner guesses how many rows a policy leaves; what it guesses from, every role may see in Postgres.
            continue;
        }
        let counted = house
            .b
            .send("HEAD", "/rest/v1/boxes", &[("prefer", &format!("count={count}"))], None);
        assert!(
            counted.header("content-range").is_some_and(|r| r.ends_with("/1")),
            "{count}: {:?}",
            counted.headers
        );
        let beyond = house.b.send(
            "GET",
            "/rest/v1/boxes?offset=2",
            &[("prefer", &format!("count={count}"))],
            None,
        );
        assert!(
            beyond.header("content-range").is_none_or(|r| r.ends_with("/1")),
            "{:?}",
            beyond.headers
        );
    }
    // The view of its owner sees all and is nobody's.
    assert_untold("by_owner", &house.b.get("/rest/v1/by_owner").expect(403));
    // Without a token there is nothing at all.
    for path in [
        "boxes",
        "things",
        "diary",
        "by_caller",
        "mine",
        "rpc/all_boxes",
        "open_shelves",
    ] {
        assert_untold(
            path,
            &house.process.client().get(&format!("/rest/v1/{path}")).expect(401),
        );
    }
    // What it must not see it cannot tell from a condition's failing, either: the same ETag-less 412 for both.
    for id in [1, 77] {
        let answer = house
            .b
            .send("GET", &format!("/rest/v1/boxes/{id}"), &[("if-none-match", "*")], None);
        assert_eq!(answer.status, 404);
    }
}

#[test]
fn writes() {
    let house = House::new();
    let before = house.everything();
    let b = &house.b;
    let all = ("prefer", "return=representation, count=exact");
    let merge = ("prefer", "resolution=merge-duplicates, return=representation");
    let ignore = ("prefer", "resolution=ignore-duplicates, return=representation");
    let json_body = ("content-type", "application/json");
    let tag = house
        .a
        .get("/rest/v1/boxes/1")
        .expect(200)
        .header("etag")
        .expect("a tag")
        .to_owned();
    let tag = ("if-match", &*tag);
    // Method, path, headers, body, and the statuses that are right. Nothing may change, and nothing may be told.
    #[allow(clippy::type_complexity, reason = "a table: method, path, headers, body, statuses")]
    let attempts: &[(&str, &str, &[(&str, &str)], &str, &[u16])] = &[
        ("PATCH", "boxes?id=eq.1", &[all], r#"{"label":"mine"}"#, &[200]),
        ("PATCH", "boxes?id=neq.2", &[all], r#"{"label":"mine"}"#, &[200]),
        ("PATCH", "boxes?label=like.*gold*", &[all], r#"{"worth":0}"#, &[200]),
        (
            "PATCH",
            "boxes?id=eq.1&select=label,things(name)",
            &[all],
            r#"{"worth":0}"#,
            &[200],
        ),
        ("PATCH", "boxes/1", &[all], r#"{"label":"mine"}"#, &[404]),
        ("PATCH", "boxes/1", &[tag], r#"{"label":"mine"}"#, &[404, 412]),
        ("PUT", "boxes/1", &[tag], r#"{"id":1,"label":"mine"}"#, &[404, 412]),
        ("DELETE", "boxes/1", &[tag], "", &[404, 412]),
        ("DELETE", "boxes?id=eq.1", &[all], "", &[200]),
        ("DELETE", "boxes?worth=gt.100", &[all], "", &[200]),
        ("DELETE", "boxes/1", &[], "", &[404]),
        // Taken over by an upsert of its key, or of its unique label.
        ("POST", "boxes", &[merge], r#"{"id":1,"label":"mine"}"#, &[403, 409]),
        (
            "POST",
            "boxes",
            &[merge],
            r#"[{"id":2,"label":"of B: wood"},{"id":1,"label":"mine"}]"#,
            &[403, 409],
        ),
        (
            "POST",
            "boxes?on_conflict=label",
            &[merge],
            r#"{"id":9,"label":"of A: gold"}"#,
            &[403, 409],
        ),
        (
            "POST",
            "boxes",
            &[ignore],
            r#"{"id":1,"label":"mine"}"#,
            &[200, 201, 403],
        ),
        (
            "PUT",
            "boxes?id=eq.1",
            &[all],
            r#"{"id":1,"label":"mine"}"#,
            &[403, 409],
        ),
        ("PUT", "boxes/1", &[], r#"{"id":1,"label":"mine"}"#, &[403, 404, 409]),
        // In another's name.
        (
            "POST",
            "boxes",
            &[all],
            r#"{"id":9,"label":"x","user_id":"00000000-0000-4000-8000-00000000000a"}"#,
            &[403],
        ),
        (
            "PATCH",
            "boxes?id=eq.2",
            &[all],
            r#"{"user_id":"00000000-0000-4000-8000-00000000000a"}"#,
            &[403],
        ),
        (
            "POST",
            "diary",
            &[all],
            r#"{"id":9,"text":"x","user_id":"00000000-0000-4000-8000-00000000000a"}"#,
            &[403],
        ),
        ("PATCH", "diary?id=eq.1", &[all], r#"{"text":"x"}"#, &[200]),
        ("DELETE", "diary?id=eq.1", &[all], "", &[200]),
        // Into another's box.
        ("POST", "things", &[all], r#"{"id":9,"box_id":1,"name":"x"}"#, &[403]),
        ("PATCH", "things?id=eq.2", &[all], r#"{"box_id":1}"#, &[403]),
        ("PATCH", "things?id=eq.1", &[all], r#"{"box_id":2}"#, &[200]),
        ("DELETE", "things?box_id=eq.1", &[all], "", &[200]),
        // Through views, which SQLite does not write through at all, and functions.
        ("PATCH", "by_caller?id=eq.1", &[all], r#"{"label":"mine"}"#, &[400]),
        ("DELETE", "by_caller?id=eq.1", &[all], "", &[400]),
        (
            "POST",
            "by_caller",
            &[all],
            r#"{"id":9,"label":"x","user_id":"00000000-0000-4000-8000-00000000000a"}"#,
            &[400],
        ),
        ("PATCH", "by_owner?id=eq.1", &[all], r#"{"label":"mine"}"#, &[403]),
        ("PATCH", "mine?id=eq.1", &[all], r#"{"label":"mine"}"#, &[403]),
        ("POST", "rpc/relabel", &[], r#"{"id":1,"label":"mine"}"#, &[200]),
    ];
    for (method, path, headers, body, statuses) in attempts {
        let mut sent = vec![json_body];
        sent.extend(*headers);
        let body = (!body.is_empty()).then_some(body.as_bytes());
        let answer = b.send(method, &format!("/rest/v1/{path}"), &sent, body);
        let what = format!("{method} {path} {headers:?}");
        // Postgres writes through a view, and then the table's policies decide.
        let through_view = engine() == Engine::Postgres && path.starts_with("by_caller");
        assert!(
            statuses.contains(&answer.status) || through_view && [200, 403].contains(&answer.status),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
        assert_untold(&what, &answer);
        if answer.status == 200 {
            assert_eq!(answer.json(), json!([]), "{what}");
            assert!(
                answer
                    .header("content-range")
                    .is_none_or(|r| r.ends_with("/0") || r.ends_with("/*")),
                "{:?}",
                answer.headers
            );
        }
        assert_eq!(house.everything(), before, "{what} changed something");
    }
    // All of it is only what one may see; the open shelf holds it, until it does no more.
    let held = b.post("/rest/v1/rpc/empty_all", &json!({})).expect(409);
    assert!(held.text().contains("open_shelves_box_id_fkey"), "{}", held.text());
    let operator = house
        .process
        .client()
        .with_token(&house.project.token("service_role", None));
    operator
        .patch("/rest/v1/open_shelves?id=eq.2", &json!({"box_id": null}))
        .expect(204);
    let emptied = b.post("/rest/v1/rpc/empty_all", &json!({})).expect(200);
    assert_untold("rpc/empty_all", &emptied);
    assert_eq!(emptied.json().as_array().map(Vec::len), Some(1));
    let left = house.everything();
    assert_eq!(
        left[0].as_array().map(Vec::len),
        Some(2),
        "the first user's boxes are there"
    );
    assert_eq!(left[1].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_conflict_tells_only_that_there_is_one() {
    let house = House::new();
    // Postgres says so too: a unique key is taken, by whomever. The row itself is not told.
    for body in [json!({"id": 1, "label": "x"}), json!({"id": 9, "label": "of A: gold"})] {
        let answer = house
            .b
            .post_with("/rest/v1/boxes", &[("prefer", "return=representation")], &body)
            .expect(409);
        assert_eq!(answer.json()["code"], json!("23505"));
        for secret in ["900", "silver", "crown"] {
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }
    }
    // A reference to a row that cannot be seen is checked by the database, not by the policy; nothing of the row is told.
    let operator = house
        .process
        .client()
        .with_token(&house.project.token("service_role", None));
    assert_eq!(
        operator.get("/rest/v1/boxes?select=id&order=id").expect(200).json(),
        json!([{"id": 1}, {"id": 2}, {"id": 3}])
    );
}

#[test]
fn idempotency_keys_and_jobs_are_ones_own() {
    let house = House::new();
    let key = [("idempotency-key", "same"), ("prefer", "return=representation")];
    let of_a = house
        .a
        .post_with("/rest/v1/diary", &key, &json!({"id": 10, "text": "of A: page"}))
        .expect(201);
    // The same key of another user is another request: the first one's answer is not replayed to him.
    let of_b = house
        .b
        .post_with("/rest/v1/diary", &key, &json!({"id": 11, "text": "of B: page"}))
        .expect(201);
    assert_untold("replayed", &of_b);
    let again = house
        .a
        .post_with("/rest/v1/diary", &key, &json!({"id": 10, "text": "of A: page"}))
        .expect(201);
    assert_eq!(again.body, of_a.body);
    // The very same body, too.
    let same = json!({"id": 10, "text": "of A: page"});
    let stolen = house.b.post_with(
        "/rest/v1/diary",
        &[("idempotency-key", "other"), ("prefer", "return=representation")],
        &same,
    );
    assert_eq!(stolen.status, 409);
}

#[test]
fn what_mainstay_keeps_is_nobodys() {
    let project = Project::new(
        "CREATE TABLE notes (id integer PRIMARY KEY, text text NOT NULL);
         CREATE FUNCTION shout(notes) RETURNS text LANGUAGE SQL STABLE BEGIN ATOMIC SELECT upper($1.text); END;
         CREATE FUNCTION say(word text) RETURNS void LANGUAGE SQL
           BEGIN ATOMIC SELECT emit('said', jsonb_build_object('word', say.word)); END;
         GRANT ALL ON notes TO service_role;
         GRANT EXECUTE ON FUNCTION say, shout TO service_role;
         INSERT INTO notes VALUES (1, 'hello');",
        "[api]\n",
    );
    let told = |process: &Process| {
        let operator = process.client().with_token(&project.token("service_role", None));
        // Inside of a function, and as a column, they work.
        operator.post("/rest/v1/rpc/say", &json!({"word": "x"})).expect(204);
        assert_eq!(
            operator.get("/rest/v1/notes?select=shout").expect(200).json(),
            json!([{"shout": "HELLO"}])
        );
        for (path, body) in [
            ("/rest/v1/rpc/emit", json!({"topic": "said", "payload": {}})),
            ("/rest/v1/rpc/emit", json!({"topic": "said", "payload": {}, "key": "k"})),
            ("/rest/v1/rpc/uid", json!({})),
            ("/rest/v1/rpc/shout", json!({})),
            ("/rest/v1/rpc/shout", json!({"id": 1, "text": "x"})),
            ("/rest/v1/outbox", json!({"topic": "said", "payload": "{}"})),
        ] {
            operator.post(path, &body).expect(404);
        }
        for profile in ["mainstay", "auth", "pg_catalog"] {
            let answer = operator.send("GET", "/rest/v1/outbox", &[("accept-profile", profile)], None);
            assert_eq!(answer.status, 406, "{profile}: {}", answer.text());
        }
        let description = operator.get("/rest/v1/").expect(200).json();
        let mut paths: Vec<&String> = description["paths"].as_object().expect("an object").keys().collect();
        paths.sort_unstable();
        assert_eq!(paths, ["/", "/notes", "/notes/{id}", "/rpc/say"]);
    };
    let process = project.serve();
    told(&process);
    if engine() == Engine::Postgres {
        // The same database as one that was there before, whose functions only its catalogue tells of.
        process.kill();
        std::fs::remove_file(project.dir().join("schema.sql")).expect("it is there");
        told(&project.serve());
    }
}

/// Relations behind an ordinary view are read with its owner's rights; everything else in it is done by whoever asks.
const LENT: &str = "
    CREATE TABLE docs (id integer PRIMARY KEY, public boolean NOT NULL);
    CREATE TABLE hidden (id integer PRIMARY KEY);
    CREATE TABLE sealed (id integer PRIMARY KEY);
    CREATE TABLE letters (id integer PRIMARY KEY);
    ALTER TABLE letters ENABLE ROW LEVEL SECURITY;
    CREATE POLICY anybody_writes ON letters FOR INSERT TO authenticated WITH CHECK (id > 0);
    GRANT SELECT, INSERT ON letters TO authenticated;
    ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
    ALTER TABLE sealed ENABLE ROW LEVEL SECURITY;
    CREATE POLICY public_docs ON docs FOR SELECT TO authenticated USING (public);
    CREATE POLICY all_seen ON sealed FOR SELECT TO authenticated USING (true);
    CREATE VIEW of_caller WITH (security_invoker = true) AS SELECT * FROM docs;
    CREATE VIEW over_of_caller AS SELECT * FROM of_caller;
    CREATE FUNCTION count_hidden() RETURNS bigint LANGUAGE SQL STABLE BEGIN ATOMIC SELECT count(*) FROM hidden; END;
    CREATE FUNCTION count_as_owner() RETURNS bigint LANGUAGE SQL STABLE SECURITY DEFINER SET search_path = public
      BEGIN ATOMIC SELECT count(*) FROM hidden; END;
    CREATE FUNCTION not_granted() RETURNS integer LANGUAGE SQL IMMUTABLE BEGIN ATOMIC SELECT 7; END;
    CREATE FUNCTION list_docs() RETURNS SETOF docs LANGUAGE SQL STABLE BEGIN ATOMIC SELECT * FROM docs; END;
    CREATE VIEW by_function AS SELECT count_hidden() AS n;
    CREATE VIEW by_condition AS SELECT id FROM hidden WHERE count_hidden() > 0;
    CREATE VIEW by_owner AS SELECT count_as_owner() AS n;
    CREATE VIEW by_not_granted AS SELECT not_granted() AS n;
    CREATE VIEW by_list AS SELECT id FROM list_docs();
    CREATE TABLE logs (id integer PRIMARY KEY, n bigint DEFAULT count_hidden(), m bigint DEFAULT count_as_owner());
    GRANT SELECT ON docs, sealed, of_caller, over_of_caller, by_function, by_condition, by_owner, by_not_granted, by_list TO authenticated;
    GRANT SELECT, INSERT ON logs, sealed TO authenticated;
    GRANT EXECUTE ON FUNCTION count_hidden, count_as_owner, list_docs TO authenticated;
    INSERT INTO docs (id, public) VALUES (1, false), (2, true);
    INSERT INTO hidden (id) VALUES (1), (2), (3);
    INSERT INTO sealed (id) VALUES (1);
";

#[test]
fn a_view_lends_its_owners_rights_to_its_relations_alone() {
    let project = Project::new(LENT, "");
    let process = project.serve();
    let user = process.client().with_token(&project.token("authenticated", Some(A)));
    for (path, expected) in [
        ("of_caller", json!([{"id": 2, "public": true}])),
        ("over_of_caller", json!([{"id": 2, "public": true}])),
        ("by_list", json!([{"id": 2}])),
        ("by_owner", json!([{"n": 3}])),
    ] {
        assert_eq!(
            user.get(&format!("/rest/v1/{path}")).expect(200).json(),
            expected,
            "{path}"
        );
    }
    for path in ["by_function", "by_condition", "by_not_granted"] {
        let refused = user.get(&format!("/rest/v1/{path}"));
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (403, &json!("42501")),
            "{path}"
        );
    }
    // So is a default.
    user.post("/rest/v1/logs", &json!({"id": 1})).expect(403);
    user.post("/rest/v1/logs", &json!([{"id": 1, "n": 0}, {"id": 2, "n": 0}]))
        .expect(201);
    let logs = user.get("/rest/v1/logs?order=id").expect(200).json();
    assert_eq!(logs, json!([{"id": 1, "n": 0, "m": 3}, {"id": 2, "n": 0, "m": 3}]));
    // What may be written and not read is written, unless something of it is to be told.
    user.post("/rest/v1/letters", &json!({"id": 1})).expect(201);
    user.post_with(
        "/rest/v1/letters",
        &[("prefer", "return=minimal")],
        &json!([{"id": 2}, {"id": 3}]),
    )
    .expect(201);
    user.post_with(
        "/rest/v1/letters",
        &[("prefer", "return=representation")],
        &json!({"id": 4}),
    )
    .expect(403);
    user.post("/rest/v1/letters", &json!({"id": 0})).expect(403);
    let operator = process.client().with_token(&project.token("service_role", None));
    let letters = operator.get("/rest/v1/letters?order=id").expect(200).json();
    assert_eq!(letters, json!([{"id": 1}, {"id": 2}, {"id": 3}]));
    // Whoever may add no row does not learn which are there.
    for id in [1, 9] {
        let ignoring = [("prefer", "resolution=ignore-duplicates")];
        let refused = user.post_with("/rest/v1/sealed", &ignoring, &json!({"id": id}));
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (403, &json!("42501")),
            "{id}"
        );
    }
}
