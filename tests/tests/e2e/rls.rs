//! A table per privilege and per form of policy, and for each every way that the dialect has of looking at or touching rows: what is
//! not one's own is not read, counted, filtered on, ordered by, embedded or written.

use mainstay_tests::{Answer, Client, Process, Project, SECRET};
use serde_json::{Value as Json, json};

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";

/// Every table has (id, owner, team, secret): 1 and 2 are A's, of team red; 3 and 4 are B's, of team blue. `parents` is open to
/// all and embeds each of them.
const TABLES: &[Table] = &[
    Table { name: "no_grant", ddl: "", read: &[], write: &[], columns: false },
    Table { name: "write_only", ddl: "GRANT INSERT, UPDATE, DELETE ON $ TO authenticated;", read: &[], write: &[1, 2, 3, 4], columns: false },
    Table { name: "read_only", ddl: "GRANT SELECT ON $ TO authenticated;", read: &[1, 2, 3, 4], write: &[], columns: false },
    Table {
        name: "some_columns",
        ddl: "GRANT SELECT (id, parent_id, owner, team), UPDATE (team), INSERT (id, parent_id, owner, team) ON $ TO authenticated;",
        read: &[1, 2, 3, 4],
        write: &[1, 2, 3, 4],
        columns: true,
    },
    Table { name: "no_policy", ddl: "$RLS", read: &[], write: &[], columns: false },
    Table { name: "owner_all", ddl: "$RLS CREATE POLICY p ON $ USING (owner = auth.uid());", read: &[1, 2], write: &[1, 2], columns: false },
    Table {
        name: "owner_by_command",
        ddl: "$RLS CREATE POLICY s ON $ FOR SELECT USING (owner = auth.uid()); CREATE POLICY i ON $ FOR INSERT WITH CHECK (owner = auth.uid());
              CREATE POLICY u ON $ FOR UPDATE USING (owner = auth.uid()) WITH CHECK (owner = auth.uid());
              CREATE POLICY d ON $ FOR DELETE USING (owner = auth.uid());",
        read: &[1, 2],
        write: &[1, 2],
        columns: false,
    },
    Table { name: "select_only", ddl: "$RLS CREATE POLICY s ON $ FOR SELECT USING (owner = auth.uid());", read: &[1, 2], write: &[], columns: false },
    Table {
        name: "read_all_write_own",
        ddl: "$RLS CREATE POLICY s ON $ FOR SELECT USING (true); CREATE POLICY w ON $ USING (owner = auth.uid());",
        read: &[1, 2, 3, 4],
        write: &[1, 2],
        columns: false,
    },
    Table {
        name: "restricted",
        ddl: "$RLS CREATE POLICY a ON $ USING (true); CREATE POLICY r ON $ AS RESTRICTIVE USING (owner = auth.uid());",
        read: &[1, 2],
        write: &[1, 2],
        columns: false,
    },
    Table { name: "for_another_role", ddl: "$RLS CREATE POLICY p ON $ TO anon USING (true);", read: &[], write: &[], columns: false },
    Table {
        name: "by_claim",
        ddl: "$RLS CREATE POLICY p ON $ USING (team = auth.jwt() ->> 'team');",
        read: &[1, 2],
        write: &[1, 2],
        columns: false,
    },
    Table {
        name: "by_subquery",
        ddl: "$RLS CREATE POLICY p ON $ USING (EXISTS (SELECT 1 FROM members m WHERE m.team = $.team AND m.member = auth.uid()));",
        read: &[1, 2],
        write: &[1, 2],
        columns: false,
    },
    Table {
        name: "by_list",
        ddl: "$RLS CREATE POLICY p ON $ USING (team IN (SELECT m.team FROM members m WHERE m.member = auth.uid()) OR team IN (SELECT NULL));",
        read: &[1, 2],
        write: &[1, 2],
        columns: false,
    },
    Table {
        name: "of_several_policies",
        ddl: "$RLS CREATE POLICY one ON $ USING (owner = auth.uid() AND id = 1); CREATE POLICY two ON $ USING (owner = auth.uid() AND id = 2);",
        read: &[1, 2],
        write: &[1, 2],
        columns: false,
    },
];

struct Table {
    name: &'static str,
    ddl: &'static str,
    /// Ids that A may read.
    read: &'static [i64],
    /// Ids that A may change.
    write: &'static [i64],
    /// `secret` is not granted, the rest is.
    columns: bool,
}

fn schema() -> String {
    let mut sql = "
        CREATE TABLE parents (id integer PRIMARY KEY, name text);
        INSERT INTO parents VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four');
        CREATE TABLE members (team text, member uuid, PRIMARY KEY (team, member));
        INSERT INTO members VALUES ('red', '00000000-0000-4000-8000-00000000000a'), ('blue', '00000000-0000-4000-8000-00000000000b');
        GRANT SELECT ON parents, members TO authenticated;\n"
        .to_owned();
    for table in TABLES {
        let name = table.name;
        sql.push_str(&format!(
            "CREATE TABLE {name} (id integer PRIMARY KEY, parent_id integer REFERENCES parents, owner uuid, team text, secret text);
             INSERT INTO {name} VALUES (1, 1, '{A}', 'red', 'mine 1'), (2, 2, '{A}', 'red', 'mine 2'), (3, 3, '{B}', 'blue', 'theirs 3'),
               (4, 4, '{B}', 'blue', 'theirs 4');\n"
        ));
        let enable =
            "GRANT SELECT, INSERT, UPDATE, DELETE ON $ TO authenticated; ALTER TABLE $ ENABLE ROW LEVEL SECURITY;";
        sql.push_str(&table.ddl.replace("$RLS", enable).replace('$', name));
        sql.push('\n');
    }
    sql
}

struct House {
    _project: Project,
    _process: Process,
    a: Client,
    service: Client,
}

fn house() -> House {
    let toml = format!("[api]\naggregates = true\n[auth]\nsecret = \"{SECRET}\"\n");
    let project = Project::new(&schema(), &toml);
    let process = project.serve();
    let token = |role: &str, sub| {
        process
            .client()
            .with_token(&Project::signed(role, sub, &json!({ "team": "red" })))
    };
    House {
        a: token("authenticated", Some(A)),
        service: token("service_role", None),
        _project: project,
        _process: process,
    }
}

/// The ids of an answer that may be a refusal.
fn ids(answer: &Answer) -> Vec<i64> {
    match answer.status {
        200 | 201 | 206 => {
            let mut ids: Vec<i64> = match answer.json() {
                Json::Array(rows) => rows.iter().filter_map(|row| row["id"].as_i64()).collect(),
                _ => Vec::new(),
            };
            ids.sort_unstable();
            ids
        }
        401 | 403 => Vec::new(),
        other => panic!("{other}: {}", answer.text()),
    }
}

/// Nothing that only B may see.
#[track_caller]
fn assert_silent(answer: &Answer, table: &Table, what: &str) {
    let hidden = !table.read.contains(&3) || table.columns;
    assert!(answer.status < 500, "{}: {what}: {}", table.name, answer.text());
    assert!(
        !hidden || !answer.text().contains("theirs"),
        "{}: {what}: {}",
        table.name,
        answer.text()
    );
}

#[test]
fn what_is_not_ones_own_is_not_seen() {
    let house = house();
    for table in TABLES {
        let (name, a) = (table.name, &house.a);
        let get = |query: &str| a.get(&format!("/rest/v1/{name}?{query}"));
        assert_eq!(ids(&get("select=id")), table.read, "{name}");

        let counted = a.send(
            "GET",
            &format!("/rest/v1/{name}?select=id&limit=1"),
            &[("prefer", "count=exact")],
            None,
        );
        if counted.status < 300 {
            let range = counted.header("content-range").unwrap_or_default();
            assert!(range.ends_with(&format!("/{}", table.read.len())), "{name}: {range}");
        }
        let summed = get("select=id.count()");
        if summed.status == 200 {
            assert_eq!(summed.json()[0]["count"], table.read.len(), "{name}");
        }
        // A filter, an order or an aggregate on what is hidden tells as much as showing it.
        let hides_rows = !table.read.contains(&3);
        for query in [
            "select=id&secret=eq.theirs%203",
            "select=id&secret=like.theirs*",
            "select=id&or=(secret.eq.theirs%203,id.eq.99)",
            "select=id&not.and=(secret.neq.theirs%203,id.neq.99)",
            "select=id&order=secret.desc",
            "select=secret.max()",
            "select=secret",
            "select=*",
        ] {
            let answer = get(query);
            assert_silent(&answer, table, query);
            if table.columns {
                assert_eq!(answer.status, 403, "{name}: {query}: {}", answer.text());
            } else if hides_rows {
                assert!(!ids(&answer).contains(&3), "{name}: {query}");
            }
        }
        for query in [
            format!("select=id,{name}(id,secret)&order=id"),
            format!("select=id,{name}!inner(id)&{name}.secret=eq.theirs%203"),
            format!("select=id,{name}(id)&{name}.order=secret"),
            format!("select=id,{name}(id)&{name}=not.is.null&{name}.secret=like.theirs*"),
            format!("select=id,...{name}(secret)"),
            format!("select=id,{name}(secret.max())"),
        ] {
            let answer = a.get(&format!("/rest/v1/parents?{query}"));
            assert_silent(&answer, table, &query);
            if table.columns {
                assert_eq!(answer.status, 403, "{name}: {query}: {}", answer.text());
            } else if hides_rows && (query.contains("!inner") || query.contains("not.is.null")) {
                assert_eq!(ids(&answer), [0i64; 0], "{name}: {query}");
            }
        }
        assert_eq!(
            house
                .service
                .get(&format!("/rest/v1/{name}?select=id"))
                .json()
                .as_array()
                .map(Vec::len),
            Some(4)
        );
    }
}

#[test]
fn what_is_not_ones_own_is_not_written() {
    let house = house();
    let now = |name: &str| house.service.get(&format!("/rest/v1/{name}?order=id")).json();
    for table in TABLES {
        let (name, a) = (table.name, &house.a);
        let before = now(name);
        let may = |id: i64| table.write.contains(&id);
        let path = |query: &str| format!("/rest/v1/{name}?{query}");
        let minimal = [("prefer", "return=minimal")];

        // B's rows as they are: no update, no delete, no upsert reaches them.
        if !may(3) {
            for (method, query, body) in [
                ("PATCH", "id=eq.3", Some(json!({ "team": "red" }))),
                ("PATCH", "id=gt.2", Some(json!({ "owner": A }))),
                ("DELETE", "id=eq.3", None),
                ("DELETE", "owner=neq.00000000-0000-4000-8000-00000000000a", None),
            ] {
                let bytes = body.map(|b| b.to_string());
                let headers = [("content-type", "application/json"), ("prefer", "return=minimal")];
                let answer = a.send(method, &path(query), &headers, bytes.as_deref().map(str::as_bytes));
                assert!(
                    [204, 401, 403].contains(&answer.status),
                    "{name}: {method} {query}: {} {}",
                    answer.status,
                    answer.text()
                );
                assert_eq!(now(name), before, "{name}: {method} {query}");
            }
            let theirs = json!({ "id": 3, "parent_id": 3, "owner": A, "team": "red", "secret": "taken" });
            let upsert = [("prefer", "resolution=merge-duplicates,return=minimal")];
            let answer = a.post_with(&path(""), &upsert, &theirs);
            assert!(
                [401, 403].contains(&answer.status),
                "{name}: upsert: {} {}",
                answer.status,
                answer.text()
            );
            assert_eq!(now(name), before, "{name}: upsert");
            // Nor can a row be made or given away in B's name.
            let named = a.post_with(&path(""), &minimal, &json!({ "id": 9, "owner": B, "team": "blue" }));
            assert_eq!(named.status, 403, "{name}: insert for another: {}", named.text());
            if may(1) {
                let given = a.patch(&path("id=eq.1"), &json!({ "owner": B, "team": "blue" }));
                assert_eq!(given.status, 403, "{name}: given away: {}", given.text());
            }
            assert_eq!(now(name), before, "{name}: in another's name");
        }
        if table.columns {
            for body in [json!({ "secret": "x" }), json!({ "owner": B })] {
                assert_eq!(a.patch(&path("id=eq.1"), &body).status, 403, "{name}: {body}");
            }
            let insert = a.post_with(
                &path(""),
                &minimal,
                &json!({ "id": 9, "owner": A, "team": "red", "secret": "x" }),
            );
            assert_eq!(insert.status, 403, "{name}: {}", insert.text());
            assert_eq!(now(name), before, "{name}");
        }
        // One's own.
        if may(1) && table.read.contains(&1) {
            let changed = a.send(
                "PATCH",
                &path("id=eq.1&select=id"),
                &[
                    ("content-type", "application/json"),
                    ("prefer", "return=representation"),
                ],
                Some(br#"{"team":"red"}"#),
            );
            assert_eq!(ids(&changed), [1], "{name}: {}", changed.text());
        }
    }
}
