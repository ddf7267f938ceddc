//! Rights where they are easily forgotten: computed columns over what a function wrote, the order of a write, what an insertion reads,
//! functions and views that are barriers, and what is computed from a row before it is known to be one's own. On every store the same.

use mainstay_tests::{Answer, Client, Project};
use serde_json::{Value as Json, json};

const A: &str = "00000000-0000-4000-8000-00000000000a";

const SCHEMA: &str = "
    CREATE TABLE members (team text, member uuid, PRIMARY KEY (team, member));
    INSERT INTO members VALUES ('open', '00000000-0000-4000-8000-00000000000a');
    CREATE FUNCTION is_member(t text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
      $$ SELECT EXISTS (SELECT 1 FROM members m WHERE m.team = t AND m.member = auth.uid()) $$;
    CREATE TABLE o (id integer PRIMARY KEY);
    INSERT INTO o VALUES (1);
    CREATE TABLE h (id integer PRIMARY KEY, o_id integer REFERENCES o, owner uuid, team text, qty integer, price numeric, name text, data jsonb);
    INSERT INTO h VALUES
      (1, 1, '00000000-0000-4000-8000-00000000000a', 'open', 5, 2, 'mine', '[1, 2]'),
      (2, 1, '00000000-0000-4000-8000-00000000000b', 'closed', 0, 0, 'hunter2', '{\"a\": 1}'),
      (3, 1, '00000000-0000-4000-8000-00000000000a', 'open', 5, 2, 'third', '[3]');
    ALTER TABLE h ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON h FOR ALL TO authenticated
      USING (EXISTS (SELECT 1 FROM members m WHERE m.team = h.team AND m.member = auth.uid())) WITH CHECK (true);
    CREATE TABLE priv (id integer PRIMARY KEY, v text);
    INSERT INTO priv VALUES (1, 'noaccess');
    CREATE TABLE cp (id integer PRIMARY KEY, pub text, secret text DEFAULT 'top');
    INSERT INTO cp VALUES (1, 'p', 'topsecret1');
    CREATE TABLE items (id integer PRIMARY KEY, owner uuid, n integer);
    INSERT INTO items VALUES (1, '00000000-0000-4000-8000-00000000000a', 1), (2, '00000000-0000-4000-8000-00000000000b', 5);
    ALTER TABLE items ENABLE ROW LEVEL SECURITY;
    CREATE POLICY r ON items FOR SELECT TO authenticated USING (owner = auth.uid());
    CREATE POLICY i ON items FOR INSERT TO authenticated WITH CHECK (true);
    CREATE POLICY u ON items FOR UPDATE TO authenticated USING (true) WITH CHECK (true);
    GRANT SELECT, INSERT, UPDATE, DELETE ON h, items TO authenticated;
    GRANT SELECT ON members, o TO authenticated;
    GRANT SELECT (id, pub), INSERT (id, pub), UPDATE (pub) ON cp TO authenticated;

    CREATE FUNCTION peek(r h) RETURNS text LANGUAGE sql STABLE AS $$ SELECT string_agg(x.name, ',' ORDER BY x.id) FROM h x $$;
    CREATE FUNCTION peek2(r h) RETURNS text LANGUAGE sql STABLE AS $$ SELECT v FROM priv $$;
    CREATE FUNCTION noexec(r h) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS $$ SELECT v FROM priv $$;
    CREATE FUNCTION k(r h) RETURNS integer LANGUAGE sql STABLE AS
      $$ SELECT CASE WHEN (SELECT count(*) FROM h x WHERE x.name = 'hunter2') > 0 THEN -r.id ELSE r.id END $$;
    CREATE FUNCTION k2(r h) RETURNS text LANGUAGE sql STABLE AS $$ SELECT v FROM priv $$;
    CREATE FUNCTION share(r h) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 100 / r.qty $$;
    CREATE FUNCTION touch() RETURNS SETOF h LANGUAGE SQL BEGIN ATOMIC UPDATE h SET name = name WHERE id > 0 RETURNING *; END;

    CREATE FUNCTION c1(i integer) RETURNS SETOF text LANGUAGE SQL BEGIN ATOMIC INSERT INTO cp (id, pub) VALUES (i, 'x') RETURNING secret; END;
    CREATE FUNCTION c2(i integer) RETURNS SETOF text LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO cp (id, pub) VALUES (i, 'x') ON CONFLICT (id) DO UPDATE SET pub = cp.secret RETURNING pub; END;
    CREATE FUNCTION c3(i integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO cp (id, pub) VALUES (i, 'x') ON CONFLICT (id) DO UPDATE SET pub = 'y' WHERE cp.secret > 'a'; END;
    CREATE FUNCTION c4(i integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO cp (id, pub) VALUES (i, 'x') ON CONFLICT (id) DO UPDATE SET pub = excluded.secret; END;
    CREATE FUNCTION c5(i integer) RETURNS SETOF text LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO cp (id, pub) VALUES (i, 'x') ON CONFLICT (id) DO UPDATE SET pub = excluded.pub RETURNING pub; END;

    CREATE FUNCTION steal(i integer) RETURNS SETOF integer LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id) VALUES (i) ON CONFLICT (id) DO UPDATE SET owner = auth.uid() RETURNING n; END;
    CREATE FUNCTION steal_quietly(i integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id, owner) VALUES (i, auth.uid()) ON CONFLICT (id) DO UPDATE SET owner = auth.uid(); END;
    CREATE FUNCTION bump(i integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id, owner, n) VALUES (i, auth.uid(), 1) ON CONFLICT (id) DO UPDATE SET n = items.n + 1; END;
    CREATE FUNCTION ignore(i integer) RETURNS void LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id, owner) VALUES (i, '00000000-0000-4000-8000-00000000000b') ON CONFLICT (id) DO NOTHING; END;

    CREATE FUNCTION quiet(i integer) RETURNS SETOF integer LANGUAGE SQL BEGIN ATOMIC
      INSERT INTO items (id, owner) VALUES (i, '00000000-0000-4000-8000-00000000000b') RETURNING 1; END;
    CREATE FUNCTION l1() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT o.id FROM o LEFT JOIN (h JOIN jsonb_array_elements(h.data) g ON true) ON h.o_id = o.id $$;
    CREATE FUNCTION l2() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT o.id FROM h CROSS JOIN jsonb_array_elements(h.data) g RIGHT JOIN o ON h.o_id = o.id $$;
    CREATE FUNCTION l3() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT x.id FROM (SELECT h.id, h.qty FROM h CROSS JOIN LATERAL (SELECT 100 / h.qty AS id) g) x
           LEFT JOIN LATERAL (SELECT 100 / x.qty AS id) g2 ON true $$;
    CREATE FUNCTION l4() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT o.id FROM o JOIN (SELECT h.o_id FROM h, jsonb_array_elements(h.data) g) x ON x.o_id = o.id LEFT JOIN o o3 ON o3.id = x.o_id $$;
    CREATE FUNCTION l5() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT o.id FROM o LEFT JOIN (h LEFT JOIN jsonb_array_elements(h.data) g ON true) ON h.o_id = o.id $$;
    CREATE FUNCTION l6() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT o.id FROM o WHERE EXISTS
           (SELECT 1 FROM h JOIN jsonb_array_elements(h.data) g ON true RIGHT JOIN o p ON p.id = h.o_id WHERE p.id = o.id) $$;
    CREATE FUNCTION l7() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT 1 FROM (SELECT 1.5::numeric AS x EXCEPT SELECT 100.0 / price FROM h) q WHERE x < 2 $$;
    CREATE FUNCTION l8() RETURNS SETOF integer LANGUAGE sql STABLE AS
      $$ SELECT 2 FROM (SELECT '{}'::jsonb AS x INTERSECT SELECT data FROM h WHERE 100 / qty > 1) q $$;
    CREATE VIEW lv WITH (security_invoker = true) AS
      SELECT o.id FROM o LEFT JOIN (h JOIN jsonb_array_elements(h.data) g ON true) ON h.o_id = o.id;

    CREATE FUNCTION mine() RETURNS SETOF h LANGUAGE sql STABLE SECURITY DEFINER AS
      $$ SELECT * FROM h WHERE EXISTS (SELECT 1 FROM members m WHERE m.team = h.team AND m.member = auth.uid()) $$;
    CREATE FUNCTION through_mine() RETURNS SETOF integer LANGUAGE sql STABLE AS $$ SELECT m.id FROM mine() m WHERE 100 / m.qty > 3 $$;
    CREATE VIEW bar WITH (security_barrier) AS SELECT * FROM h WHERE is_member(h.team);
    CREATE FUNCTION share(r bar) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 100 / r.qty $$;
    GRANT SELECT ON lv, bar TO authenticated;
    GRANT EXECUTE ON FUNCTION is_member, peek, peek2, k, k2, touch, c1, c2, c3, c4, c5, steal, steal_quietly, bump, ignore, quiet, l1, l2, l3, l4, l5, l6, l7, l8,
      mine, through_mine TO authenticated;
    GRANT EXECUTE ON FUNCTION share(h), share(bar) TO authenticated;";

/// What was answered: rows, or the code of an error.
fn said(answer: &Answer) -> Json {
    match answer.status {
        204 => json!(null),
        200 | 201 if answer.text().is_empty() => json!(null),
        200 | 201 => answer.json(),
        _ => answer.json()["code"].clone(),
    }
}

fn call(caller: &Client, path: &str, arguments: &Json) -> Json {
    said(&caller.post(&format!("/rest/v1/rpc/{path}"), arguments))
}

#[test]
fn rights_hold_wherever_something_is_computed() {
    let project = Project::new(SCHEMA, "");
    let process = project.serve();
    let caller = process.client().with_token(&project.token("authenticated", Some(A)));

    // Over the rows that a function wrote.
    for (query, expected) in [
        (
            "select=id,peek&order=id&limit=1",
            json!([{"id": 1, "peek": "mine,third"}]),
        ),
        ("select=id,peek2", json!("42501")),
        ("select=id,noexec", json!("42501")),
        ("peek=like.*hunter*&select=id", json!([])),
        ("order=peek2&select=id", json!("42501")),
        ("order=k.desc&select=id", json!([{"id": 3}, {"id": 1}])),
    ] {
        assert_eq!(
            call(&caller, &format!("touch?{query}"), &json!({})),
            expected,
            "{query}"
        );
    }
    // The order of a write.
    let representation = [
        ("prefer", "return=representation"),
        ("content-type", "application/json"),
    ];
    for (method, query, expected) in [
        ("PATCH", "order=k,id&limit=1&select=id", json!([{"id": 1}])),
        ("PATCH", "order=k2,id&limit=1&select=id", json!("42501")),
        ("DELETE", "order=noexec,id&limit=1&select=id", json!("42501")),
    ] {
        let path = format!("/rest/v1/h?{query}");
        let answer = caller.send(method, &path, &representation, Some(b"{\"price\": 2}"));
        assert_eq!(said(&answer), expected, "{method} {query}");
    }
    // What an insertion reads takes the privilege to read it.
    for function in ["c1", "c2", "c3", "c4"] {
        for i in [1, 7] {
            assert_eq!(
                call(&caller, function, &json!({"i": i})),
                json!("42501"),
                "{function} {i}"
            );
        }
    }
    assert_eq!(call(&caller, "c5", &json!({"i": 1})), json!(["x"]));
    // Whoever names a key reads it: of rows that he may not see nothing is taken, changed or told.
    for function in ["steal", "steal_quietly", "bump"] {
        assert_eq!(call(&caller, function, &json!({"i": 2})), json!("42501"), "{function}");
    }
    for i in [1, 2, 7] {
        assert_eq!(call(&caller, "ignore", &json!({"i": i})), json!("42501"), "{i}");
    }
    assert_eq!(call(&caller, "bump", &json!({"i": 1})), json!(null));
    // What reads nothing of the row needs no right to see it.
    assert_eq!(call(&caller, "quiet", &json!({"i": 20})), json!([1]));
    for resolution in ["merge", "ignore"] {
        let prefer = format!("resolution={resolution}-duplicates,return=minimal");
        let other = json!({"id": 9, "owner": "00000000-0000-4000-8000-00000000000b"});
        let answer = caller.post_with("/rest/v1/items", &[("prefer", &prefer)], &other);
        assert_eq!(said(&answer), json!("42501"), "{resolution}");
    }
    let own = caller.get("/rest/v1/items?select=id,n&order=id").expect(200).json();
    assert_eq!(own, json!([{"id": 1, "n": 2}]));

    // What is computed from rows in FROM is computed from those that may be seen.
    for (function, expected) in [
        ("l1", json!([1, 1, 1])),
        ("l2", json!([1, 1, 1])),
        ("l3", json!([1, 3])),
        ("l4", json!([1, 1, 1])),
        ("l5", json!([1, 1, 1])),
        ("l6", json!([1])),
        ("l7", json!([1])),
        ("l8", json!([])),
        ("through_mine", json!([1, 3])),
    ] {
        let mut found = call(&caller, function, &json!({}));
        if let Some(list) = found.as_array_mut() {
            list.sort_by_key(Json::to_string);
        }
        assert_eq!(found, expected, "{function}");
    }
    let view = caller.get("/rest/v1/lv?select=id").expect(200).json();
    assert_eq!(view, json!([{"id": 1}, {"id": 1}, {"id": 1}]));
    // A function that runs as its owner, and a view that says so, are asked of what they give.
    for source in ["rpc/mine", "bar"] {
        for (condition, expected) in [
            ("share=gt.3&select=id&order=id", json!([{"id": 1}, {"id": 3}])),
            (
                "or=(name.lt.a,id.eq.1,name.like.hunter%5C)&id=neq.3&select=id",
                json!([{"id": 1}]),
            ),
        ] {
            let path = format!("/rest/v1/{source}?{condition}");
            assert_eq!(said(&caller.get(&path)), expected, "{path}");
        }
    }
}
