//! In functions, too, policies are asked before constraints, and of rows that are left out: whoever may not write a row is not told which
//! keys there are.

use mainstay_tests::Project;
use serde_json::{Value as Json, json};

const MINE: &str = "00000000-0000-4000-8000-00000000000a";
const OTHER: &str = "00000000-0000-4000-8000-00000000000b";

const SCHEMA: &str = "
    CREATE TABLE items (
      id bigint PRIMARY KEY, owner uuid NOT NULL, code text UNIQUE, n integer NOT NULL DEFAULT 1 CHECK (n > 0),
      made timestamptz DEFAULT now(), twice integer GENERATED ALWAYS AS (n * 2) STORED);
    CREATE TABLE parts (id bigint PRIMARY KEY, item bigint NOT NULL REFERENCES items, owner uuid NOT NULL);
    ALTER TABLE items ENABLE ROW LEVEL SECURITY;
    ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
    CREATE POLICY r ON items FOR SELECT TO authenticated USING (owner = auth.uid());
    CREATE POLICY w ON items FOR INSERT TO authenticated WITH CHECK (owner = auth.uid() AND n < 100 AND twice <> 42);
    CREATE POLICY u ON items FOR UPDATE TO authenticated USING (owner = auth.uid()) WITH CHECK (owner = auth.uid() AND n < 100);
    CREATE POLICY a ON parts FOR ALL TO authenticated USING (owner = auth.uid()) WITH CHECK (owner = auth.uid());
    GRANT SELECT, INSERT, UPDATE ON items, parts TO authenticated;
    INSERT INTO items (id, owner, code) VALUES
      (1, '00000000-0000-4000-8000-00000000000a', 'mine'), (2, '00000000-0000-4000-8000-00000000000b', 'other');

    CREATE FUNCTION add(id bigint, owner uuid, code text, n integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id, owner, code, n) VALUES (add.id, add.owner, add.code, add.n); END;
    CREATE FUNCTION add_all(id bigint, owner uuid, code text, n integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id, owner, code, n)
        SELECT add_all.id + s, add_all.owner, add_all.code, add_all.n FROM generate_series(0, 0) AS s; END;
    CREATE FUNCTION add_with(id bigint, owner uuid, code text, n integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      WITH x AS (SELECT add_with.id AS a, add_with.owner AS b) INSERT INTO items (owner, id, n, code)
        SELECT x.b, x.a, add_with.n, add_with.code FROM x; END;
    CREATE FUNCTION add_new(id bigint, owner uuid, code text, n integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id, owner, code, n) VALUES (add_new.id, add_new.owner, add_new.code, add_new.n) ON CONFLICT DO NOTHING; END;
    CREATE FUNCTION move(id bigint, owner uuid, code text, n integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      UPDATE items SET id = move.id, owner = move.owner, code = move.code, n = move.n WHERE items.id = 1; END;
    CREATE FUNCTION add_part(id bigint, item bigint, owner uuid) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO parts VALUES (add_part.id, add_part.item, add_part.owner); END;
    GRANT EXECUTE ON FUNCTION add, add_all, add_with, add_new, move, add_part TO authenticated;";

#[test]
fn policies_come_before_constraints() {
    let project = Project::new(SCHEMA, "");
    let process = project.serve();
    let caller = process.client().with_token(&project.token("authenticated", Some(MINE)));
    let code = |function: &str, arguments: &Json| {
        let answer = caller.post(&format!("/rest/v1/rpc/{function}"), arguments);
        match answer.status {
            204 => "ok".to_owned(),
            _ => answer.json()["code"].as_str().expect("a code").to_owned(),
        }
    };
    let row = |id: i64, owner: &str, key: &str, n: i64| json!({"id": id, "owner": owner, "code": key, "n": n});
    for function in ["add", "add_all", "add_with", "add_new", "move"] {
        for (arguments, expected) in [
            // What is there, what is not, and whose it would be.
            (row(2, OTHER, "new", 1), "42501"),
            (row(9, OTHER, "new", 1), "42501"),
            (row(9, OTHER, "other", 1), "42501"),
            (row(9, OTHER, "new", -1), "42501"),
            (row(2, MINE, "other", 100), "42501"),
            (row(9, MINE, "new", -1), "23514"),
            (
                row(2, MINE, "new", 1),
                if function == "add_new" { "ok" } else { "23505" },
            ),
            (
                row(9, MINE, "other", 1),
                if function == "add_new" { "ok" } else { "23505" },
            ),
        ] {
            assert_eq!(code(function, &arguments), expected, "{function} {arguments}");
        }
        if function != "move" {
            // What the table computes of the row counts.
            assert_eq!(code(function, &row(2, MINE, "new", 21)), "42501", "{function}");
        }
    }
    for (item, owner, expected) in [
        (7, OTHER, "42501"),
        (2, OTHER, "42501"),
        (7, MINE, "23503"),
        (2, MINE, "ok"),
    ] {
        let arguments = json!({"id": 1, "item": item, "owner": owner});
        assert_eq!(code("add_part", &arguments), expected, "{arguments}");
    }
    let service = process.client().with_token(&project.token("service_role", None));
    let all = service.get("/rest/v1/items?select=id,code&order=id");
    if all.status == 200 {
        assert_eq!(
            all.json(),
            json!([{"id": 1, "code": "mine"}, {"id": 2, "code": "other"}])
        );
    }
    assert_eq!(code("add_new", &row(9, MINE, "new", 5)), "ok");
    assert_eq!(code("move", &row(10, MINE, "newer", 6)), "ok");
    let mine = caller
        .get("/rest/v1/items?select=id,code,n&order=id")
        .expect(200)
        .json();
    assert_eq!(
        mine,
        json!([{"id": 9, "code": "new", "n": 5}, {"id": 10, "code": "newer", "n": 6}])
    );
}

/// Policies for insertions are asked of every row given, also of one that is there; those for updates of what is updated, and of nothing else.
#[test]
fn an_upsert_is_asked_as_what_it_is() {
    let schema = "
        CREATE TABLE s (id bigint PRIMARY KEY, owner uuid DEFAULT auth.uid(), n integer DEFAULT 50, k text);
        ALTER TABLE s ENABLE ROW LEVEL SECURITY;
        CREATE POLICY r ON s FOR SELECT TO authenticated USING (owner = auth.uid());
        CREATE POLICY i ON s FOR INSERT TO authenticated WITH CHECK (owner = auth.uid() AND n < 10);
        CREATE POLICY u ON s FOR UPDATE TO authenticated USING (owner = auth.uid()) WITH CHECK (owner = auth.uid() AND k <> 'bad');
        GRANT SELECT, INSERT, UPDATE ON s TO authenticated;
        INSERT INTO s VALUES
          (1, '00000000-0000-4000-8000-00000000000a', 50, 'a'), (2, '00000000-0000-4000-8000-00000000000b', 1, 'b'),
          (3, '00000000-0000-4000-8000-00000000000a', 1, 'c');
        CREATE FUNCTION put(id bigint, n integer, k text) RETURNS void LANGUAGE SQL BEGIN ATOMIC
          INSERT INTO s (id, n, k) VALUES (put.id, put.n, put.k) ON CONFLICT (id) DO UPDATE SET k = excluded.k; END;
        GRANT EXECUTE ON FUNCTION put TO authenticated;";
    let project = Project::new(schema, "");
    let process = project.serve();
    let caller = process.client().with_token(&project.token("authenticated", Some(MINE)));
    let merge = [("prefer", "resolution=merge-duplicates,return=minimal")];
    let code = |answer: mainstay_tests::Answer| match answer.status {
        200 | 201 | 204 => "ok".to_owned(),
        _ => {
            let body = answer.json();
            format!(
                "{}: {}",
                body["code"].as_str().unwrap_or_default(),
                body["message"].as_str().unwrap_or_default()
            )
        }
    };
    let plain = "42501: new row violates row-level security policy for table \"s\"";
    let using = "42501: new row violates row-level security policy (USING expression) for table \"s\"";
    for (body, expected) in [
        // A row that may not be inserted: in the same words whether its key is there, hidden or free.
        (json!({"id": 1, "k": "z"}), plain),
        (json!({"id": 2, "k": "z"}), plain),
        (json!({"id": 7, "k": "z"}), plain),
        // One that may, and is there: what is updated must be allowed to be.
        (json!({"id": 1, "n": 5, "k": "z"}), "ok"),
        (json!({"id": 3, "n": 5, "k": "bad"}), plain),
        (json!({"id": 2, "n": 5, "k": "z"}), using),
        // One that is new is not asked what updates are.
        (json!({"id": 7, "n": 5, "k": "bad"}), "ok"),
        (json!([{"id": 8, "n": 5, "k": "x"}, {"id": 3, "n": 6, "k": "y"}]), "ok"),
    ] {
        assert_eq!(code(caller.post_with("/rest/v1/s", &merge, &body)), expected, "{body}");
    }
    for (id, n, k, expected) in [
        (1, 50, "z", plain),
        (2, 50, "z", plain),
        (9, 50, "z", plain),
        (2, 5, "z", using),
        (1, 5, "bad", plain),
        (1, 5, "fine", "ok"),
        (9, 5, "bad", "ok"),
    ] {
        let arguments = json!({"id": id, "n": n, "k": k});
        assert_eq!(
            code(caller.post("/rest/v1/rpc/put", &arguments)),
            expected,
            "{arguments}"
        );
    }
    let rows = caller.get("/rest/v1/s?select=id,n,k&order=id").expect(200).json();
    let expected = json!([
        {"id": 1, "n": 5, "k": "fine"}, {"id": 3, "n": 6, "k": "y"}, {"id": 7, "n": 5, "k": "bad"}, {"id": 8, "n": 5, "k": "x"},
        {"id": 9, "n": 5, "k": "bad"}
    ]);
    assert_eq!(rows, expected);
}

/// Of memberships: who founds an organisation is its owner, and only an owner changes what is there.
#[test]
fn upserts_of_memberships() {
    let schema = "
        CREATE TABLE members (org bigint, who uuid, role text NOT NULL, PRIMARY KEY (org, who));
        CREATE FUNCTION is_owner(o bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
          $$ SELECT EXISTS (SELECT 1 FROM members m WHERE m.org = o AND m.who = auth.uid() AND m.role = 'owner') $$;
        CREATE FUNCTION is_new(o bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
          $$ SELECT NOT EXISTS (SELECT 1 FROM members m WHERE m.org = o) $$;
        ALTER TABLE members ENABLE ROW LEVEL SECURITY;
        CREATE POLICY r ON members FOR SELECT TO authenticated USING (true);
        CREATE POLICY i ON members FOR INSERT TO authenticated WITH CHECK (is_owner(org) OR (who = auth.uid() AND role = 'owner' AND is_new(org)));
        CREATE POLICY u ON members FOR UPDATE TO authenticated USING (is_owner(org)) WITH CHECK (is_owner(org));
        GRANT SELECT, INSERT, UPDATE ON members TO authenticated;
        GRANT EXECUTE ON FUNCTION is_owner, is_new TO authenticated;
        CREATE FUNCTION join_org(org bigint, who uuid, role text) RETURNS void LANGUAGE SQL BEGIN ATOMIC
          INSERT INTO members VALUES (join_org.org, join_org.who, join_org.role) ON CONFLICT (org, who) DO UPDATE SET role = excluded.role; END;
        GRANT EXECUTE ON FUNCTION join_org TO authenticated;";
    let project = Project::new(schema, "");
    let process = project.serve();
    let client = |id: &str| process.client().with_token(&project.token("authenticated", Some(id)));
    let (mine, other) = (client(MINE), client(OTHER));
    let merge = [("prefer", "resolution=merge-duplicates,return=minimal")];
    let by_rest = |caller: &mainstay_tests::Client, org: i64, who: &str, role: &str| {
        let row = json!({"org": org, "who": who, "role": role});
        caller.post_with("/rest/v1/members", &merge, &row).status
    };
    let by_call = |caller: &mainstay_tests::Client, org: i64, who: &str, role: &str| {
        let row = json!({"org": org, "who": who, "role": role});
        caller.post("/rest/v1/rpc/join_org", &row).status
    };
    for (org, rest) in [(1, true), (2, false)] {
        let put = |caller: &mainstay_tests::Client, who: &str, role: &str| {
            let status = if rest {
                by_rest(caller, org, who, role)
            } else {
                by_call(caller, org, who, role)
            };
            if status < 300 { 200 } else { status }
        };
        assert_eq!(put(&mine, MINE, "owner"), 200, "founded {org}");
        assert_eq!(put(&other, OTHER, "owner"), 403);
        assert_eq!(put(&other, MINE, "member"), 403);
        assert_eq!(put(&mine, OTHER, "member"), 200);
        assert_eq!(put(&other, OTHER, "owner"), 403);
        assert_eq!(put(&mine, OTHER, "owner"), 200);
        assert_eq!(put(&other, MINE, "member"), 200);
    }
}
