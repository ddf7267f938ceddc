//! What may not be seen does not speak through errors either: a condition that fails on a hidden row is not asked of it, whatever the
//! policy's form, the way to the row, and the order in which the database likes to evaluate. Nobody sees any of the rows here.

use mainstay_tests::{Answer, Engine, Project, engine};
use serde_json::json;
use std::fmt::Write as _;

const CALLER: &str = "00000000-0000-4000-8000-00000000000a";
const OWNER: &str = "00000000-0000-4000-8000-00000000000b";

/// Policies that let the caller see nothing.
const POLICIES: &[(&str, &str)] = &[
    ("by_claim", "owner = auth.uid()"),
    (
        "by_exists",
        "EXISTS (SELECT 1 FROM members m WHERE m.team = $.team AND m.member = auth.uid())",
    ),
    (
        "by_list",
        "team IN (SELECT m.team FROM members m WHERE m.member = auth.uid())",
    ),
    ("by_function", "is_member(team)"),
    ("by_either", "owner = auth.uid() OR is_member(team)"),
];

/// Conditions that raise an error on the hidden row, were they asked of it.
const CONDITIONS: &[&str] = &[
    "or=(amount.gt.4241,name.imatch.*b)",
    "name=imatch.*b",
    "name=match.*b",
    "share=gt.3",
    "amount=gt.4241&share=gt.3",
    "or=(share.gt.3,and(amount.gt.1,not.and(share.lt.2,name.eq.x)))",
    "name=like.pass%5C",
    "share=gt.3&order=amount.desc&limit=1",
];

fn schema() -> String {
    let mut sql = "
        CREATE TABLE members (team text, member uuid, PRIMARY KEY (team, member));
        CREATE FUNCTION is_member(t text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
          $$ SELECT EXISTS (SELECT 1 FROM members m WHERE m.team = t AND m.member = auth.uid()) $$;
        CREATE TABLE parents (id integer PRIMARY KEY, name text);
        INSERT INTO members VALUES ('open', '00000000-0000-4000-8000-00000000000a');
        INSERT INTO parents VALUES (1, 'b');
        GRANT SELECT ON members, parents TO authenticated;
        GRANT EXECUTE ON FUNCTION is_member TO authenticated;
    "
    .to_owned();
    for (name, policy) in POLICIES {
        let policy = policy.replace('$', name);
        write!(
            sql,
            "CREATE TABLE {name} (
               id integer PRIMARY KEY, parent_id integer REFERENCES parents, owner uuid, team text, amount integer, qty integer, name text);
             CREATE INDEX {name}_amount ON {name} (amount, name, qty);
             CREATE INDEX {name}_parent ON {name} (parent_id);
             INSERT INTO {name} VALUES
               (1, 1, '00000000-0000-4000-8000-00000000000b', 'closed', 4242, 0, 'password'), (2, 1, NULL, 'closed', 1, 0, 'pass');
             ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON {name} FOR ALL TO authenticated USING ({policy}) WITH CHECK (true);
             GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO authenticated;
             CREATE FUNCTION share(r {name}) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 100 / r.qty $$;
             CREATE VIEW {name}_seen WITH (security_invoker = true) AS SELECT *, 100 / qty AS share FROM {name};
             CREATE VIEW {name}_kinds WITH (security_invoker = true) AS SELECT DISTINCT id, parent_id, amount, qty, name, 100 / qty AS share FROM {name};
             CREATE VIEW {name}_both WITH (security_invoker = true) AS
               SELECT id, amount, name, qty FROM {name} UNION ALL SELECT id, amount, name, qty FROM {name};
             CREATE FUNCTION share(r {name}_both) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 100 / r.qty $$;
             CREATE VIEW {name}_sums WITH (security_invoker = true) AS
               SELECT amount, name, qty, count(*) AS n FROM {name} GROUP BY amount, name, qty;
             CREATE FUNCTION share(r {name}_sums) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 100 / r.qty $$;
             CREATE FUNCTION {name}_shares(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT id FROM {name} WHERE 100 / qty > bound $$;
             CREATE FUNCTION {name}_joined(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT p.id FROM parents p JOIN {name} c ON 100 / c.qty > bound AND c.parent_id = p.id $$;
             CREATE FUNCTION {name}_outer(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT p.id FROM parents p LEFT JOIN {name} c ON 100 / c.qty > bound AND c.parent_id = p.id
                  WHERE coalesce(100 / c.qty, 1) < bound $$;
             CREATE FUNCTION {name}_with(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ WITH mine AS (SELECT * FROM {name}) SELECT id FROM mine WHERE 100 / qty > bound $$;
             CREATE FUNCTION {name}_inside(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT q.id FROM (SELECT c.id, 100 / c.qty AS s FROM {name} c) q WHERE q.s > bound $$;
             CREATE FUNCTION {name}_nested(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT p.id FROM parents p JOIN ({name} c JOIN parents q ON 100 / c.qty > bound) ON c.parent_id = p.id $$;
             CREATE FUNCTION {name}_listed(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT p.id FROM parents p, ({name} c JOIN {name} d ON 100 / (c.qty + d.qty) > bound) $$;
             CREATE FUNCTION {name}_beside(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT c.id FROM parents p LEFT JOIN ({name} c JOIN parents q ON 100 / c.qty > bound) ON c.parent_id = p.id
                  WHERE c.id IS NOT NULL $$;
             CREATE FUNCTION {name}_groups(bound integer) RETURNS SETOF integer LANGUAGE sql STABLE AS
               $$ SELECT qty FROM {name} GROUP BY qty HAVING 100 / qty > bound $$;
             CREATE FUNCTION {name}_change(bound integer) RETURNS SETOF integer LANGUAGE SQL
               BEGIN ATOMIC UPDATE {name} SET name = 'x' WHERE 100 / qty > bound RETURNING id; END;
             CREATE FUNCTION {name}_remove(bound integer) RETURNS SETOF integer LANGUAGE SQL
               BEGIN ATOMIC DELETE FROM {name} WHERE 100 / qty > bound RETURNING id; END;
             GRANT SELECT ON {name}_seen, {name}_kinds, {name}_both, {name}_sums TO authenticated;
             GRANT EXECUTE ON FUNCTION {name}_shares, {name}_joined, {name}_outer, {name}_with, {name}_inside, {name}_groups,
               {name}_nested, {name}_listed, {name}_beside,
               {name}_change, {name}_remove TO authenticated;
             GRANT EXECUTE ON FUNCTION share({name}), share({name}_both), share({name}_sums) TO authenticated;",
        )
        .expect("a string");
    }
    sql
}

/// An answer that tells of no row.
fn assert_silent(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    assert_eq!(answer.json(), json!([]), "{what}");
}

#[test]
fn hidden_rows_raise_no_errors() {
    let project = Project::new(&schema(), "");
    let process = project.serve();
    let caller = process
        .client()
        .with_token(&project.token("authenticated", Some(CALLER)));
    // Postgres' planner reads a regular expression whatever rows there are, so that its error tells of none.
    let asked = |condition: &&&str| engine() == Engine::Sqlite || !condition.contains("match");
    for (name, _) in POLICIES {
        for condition in CONDITIONS.iter().filter(asked) {
            for kind in ["", "_seen", "_kinds", "_both", "_sums"] {
                let path = format!("/rest/v1/{name}{kind}?{condition}");
                assert_silent(&caller.get(&path), &path);
            }
            let path = format!("/rest/v1/{name}?{condition}");
            let counted = [("prefer", "count=exact")];
            assert_silent(&caller.send("GET", &path, &counted, None), &path);
            let representation = [
                ("prefer", "return=representation"),
                ("content-type", "application/json"),
            ];
            for method in ["PATCH", "DELETE"] {
                // PostgREST orders and limits writes too; ours want an order by a unique column then.
                let path = path.replace("&order=amount.desc&limit=1", "&order=id&limit=1");
                let answer = caller.send(method, &path, &representation, Some(b"{\"name\": \"x\"}"));
                assert_silent(&answer, &format!("{method} {path}"));
            }
            // Through an embed, whose filter is asked of the related rows.
            let condition = condition.replace("&order=amount.desc&limit=1", "");
            let embedded = condition
                .split('&')
                .map(|part| format!("{name}.{part}"))
                .collect::<Vec<_>>()
                .join("&");
            let path = format!("/rest/v1/parents?select=id,{name}(id)&{embedded}");
            let answer = caller.get(&path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(answer.json(), json!([{"id": 1, (*name): []}]), "{path}");
            let path = format!("/rest/v1/parents?select=id,{name}!inner(id)&{embedded}");
            assert_silent(&caller.get(&path), &path);
            let path = format!("/rest/v1/parents?select=id,{name}()&{name}=not.is.null&{embedded}");
            assert_silent(&caller.get(&path), &path);
        }
        for function in [
            "shares", "joined", "outer", "with", "inside", "groups", "nested", "listed", "beside", "change", "remove",
        ] {
            let path = format!("/rest/v1/rpc/{name}_{function}");
            let answer = caller.post(&path, &json!({"bound": 3}));
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            // The outer join has its row of the table that all see.
            let expected = if function == "outer" { json!([1]) } else { json!([]) };
            assert_eq!(answer.json(), expected, "{path}");
        }
    }
    // The condition does fail where the row is seen.
    let owner = process
        .client()
        .with_token(&project.token("authenticated", Some(OWNER)));
    for path in [
        "by_claim?share=gt.3",
        "by_either?name=imatch.*b",
        "by_claim_seen?share=gt.3",
    ] {
        let answer = owner.get(&format!("/rest/v1/{path}")).expect(400).json();
        assert!(
            ["22012", "2201B"].contains(&answer["code"].as_str().expect("a code")),
            "{answer}"
        );
    }
}
