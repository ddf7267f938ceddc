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
