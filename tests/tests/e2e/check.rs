//! `mainstay check` on what the embedded engine cannot do: whatever `serve` would refuse, and whatever would answer with an error.

use mainstay_tests::{Project, binary, until};
use serde_json::json;
use std::process::Command;

/// A verb to its end: whether it succeeded, what it printed, what it complained of.
fn run(verb: &str, project: &Project) -> (bool, String, String) {
    let mut command = Command::new(binary());
    command.arg(verb).arg(project.dir());
    if verb == "serve" {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let output = command.output().expect("mainstay runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// DDL, and how its complaint begins.
const TABLES: &[(&str, &str)] = &[
    (
        "CREATE TABLE t (a int, UNIQUE NULLS NOT DISTINCT (a));",
        "table t: UNIQUE NULLS NOT DISTINCT",
    ),
    (
        "CREATE TABLE one (a int);\nCREATE TABLE \"One\" (a int);",
        "table One: tables \"one\" and \"One\" differ in upper and lower case only",
    ),
    (
        "CREATE TABLE t (a int, \"A\" int);",
        "table t: columns \"a\" and \"A\" of table \"t\" differ in upper and lower case only",
    ),
    ("CREATE TABLE sqlite_x (a int);", "table sqlite_x: a table called"),
    ("CREATE TABLE _mainstay_x (a int);", "table _mainstay_x: a table called"),
    ("CREATE TABLE t ();", "table t: table \"t\" has no columns"),
    (
        "CREATE TABLE t (a timestamptz CHECK (a < now()));",
        "table t: SQLite cannot keep a table's definition that depends on the time",
    ),
    (
        "CREATE FUNCTION f(x int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT x > 0';\nCREATE TABLE t (a int CHECK (f(a)));",
        "table t: SQLite cannot keep a table's definition that depends on a subquery or a function",
    ),
    (
        "CREATE TABLE t (a text[] CHECK ('x' = ANY (a)));",
        "table t: SQLite cannot keep a table's definition that looks into an array",
    ),
    (
        "CREATE TABLE t (a int, b float8 GENERATED ALWAYS AS (random()) STORED);",
        "table t: SQLite cannot keep the generated column \"b\" that depends on a volatile function",
    ),
    (
        "CREATE TABLE t (a int);\nCREATE INDEX i ON t ((random()));",
        "table t: SQLite cannot keep the index \"i\" that depends on a volatile function",
    ),
];

/// What is served all the same, and answers with an error.
const OTHERS: &[(&str, &str)] = &[
    (
        "CREATE TABLE t (b bytea);\nCREATE VIEW v AS SELECT substring(b, 1, 1) FROM t;",
        "schema.sql:2:13: view v: ",
    ),
    (
        "CREATE TABLE t (b text);\nCREATE VIEW v AS SELECT current_setting(b) FROM t;",
        "schema.sql:2:13: view v: ",
    ),
    (
        "CREATE TABLE t (b text);\nALTER TABLE t ENABLE ROW LEVEL SECURITY;\nCREATE POLICY p ON t USING (current_setting(b) = 'x');",
        "schema.sql:3:15: policy p of table t: ",
    ),
    (
        "CREATE DOMAIN pos AS int CHECK (VALUE > 0);\nCREATE VIEW v AS SELECT (-1)::pos AS n;",
        "schema.sql:2:31: the constraints of the domain `pos` are kept in columns of tables, not here",
    ),
    (
        "CREATE DOMAIN pos AS int CHECK (VALUE > 0);\nCREATE FUNCTION f(n pos) RETURNS int LANGUAGE sql AS 'SELECT n';",
        "schema.sql:2:21: the constraints of the domain `pos`",
    ),
    (
        "CREATE DOMAIN pos AS int CHECK (VALUE > 0);\nCREATE TABLE t (a pos[]);",
        "schema.sql:2:19: the constraints of the domain `pos`",
    ),
    (
        "CREATE TABLE t (a int, b text DEFAULT current_setting(concat('a', 'b')));",
        "schema.sql:1:14: the defaults of table t: ",
    ),
];

#[test]
fn what_serve_would_refuse_is_said_with_its_place() {
    for (ddl, wanted) in TABLES {
        let project = Project::new(ddl, "");
        let (ok, _, said) = run("check", &project);
        assert!(
            !ok && said.starts_with("schema.sql:") && said.contains(wanted),
            "{ddl}\n{said}"
        );
        // The same words, and no file.
        let (ok, out, served) = run("serve", &project);
        assert!(!ok && out.is_empty(), "{ddl}\n{out}");
        assert!(served.contains(said.trim_end()), "{ddl}\n{served}");
        assert!(!project.dir().join(".mainstay/main.db").exists(), "{ddl}");
    }
}

#[test]
fn what_would_answer_with_an_error_is_said_with_its_place() {
    for (ddl, wanted) in OTHERS {
        let (ok, _, said) = run("check", &Project::new(ddl, ""));
        assert!(!ok && said.starts_with(wanted), "{ddl}\n{said}");
    }
}

#[test]
fn what_looks_like_a_subquery_and_is_none_is_taken() {
    let ddl = "CREATE TABLE t (a text CHECK (a <> 'SELECT 1'), \"SELECT \" text CHECK (\"SELECT \" IS NOT NULL));";
    let (ok, _, said) = run("check", &Project::new(ddl, ""));
    assert!(ok, "{said}");
}

#[test]
fn what_has_no_effect_is_told_by_check_and_by_serve() {
    let ddl = "CREATE TABLE t (a int);\nALTER TABLE t FORCE ROW LEVEL SECURITY;\n\
               CREATE MATERIALIZED VIEW m AS SELECT a FROM t;\nGRANT SELECT ON t TO anon WITH GRANT OPTION;\n\
               ALTER DEFAULT PRIVILEGES FOR ROLE bob GRANT SELECT ON TABLES TO anon;\nCREATE TABLE u (a int);\n";
    let project = Project::new(ddl, "");
    let (ok, out, said) = run("check", &project);
    assert!(ok, "{said}");
    let notes = [
        "schema.sql:2:15: FORCE has no effect",
        "schema.sql:3:",
        "schema.sql:4:",
        "schema.sql:5:1: default privileges FOR ROLE bob have no effect",
    ];
    for note in notes {
        assert!(out.contains(&format!("note: {note}")), "{note} is missing in\n{out}");
    }
    assert!(out.contains("anon: reads t\n"), "{out}");
    // On a file, whatever the other tests run on: a server has no role bob.
    let served = mainstay_tests::Command::serve([project.dir().as_os_str()])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .start();
    until("it is logged", || {
        served.log().iter().any(|line| line.contains(notes[3])).then_some(())
    });
}

#[test]
fn a_domain_over_a_domain_keeps_what_both_say() {
    let ddl = "CREATE DOMAIN whole AS int NOT NULL CHECK (VALUE >= 0);\nCREATE DOMAIN small AS whole CHECK (VALUE < 100);\n\
               CREATE TABLE t (id int PRIMARY KEY, n small);\nGRANT ALL ON t TO service_role;\n";
    let project = Project::new(ddl, &format!("[auth]\nsecret = \"{}\"\n", mainstay_tests::SECRET));
    let served = project.serve();
    let operator = served
        .client()
        .with_token(&Project::signed("service_role", None, &json!({})));
    for (row, status) in [
        (json!({"id": 1, "n": 5}), 201),
        (json!({"id": 2, "n": -5}), 400),
        (json!({"id": 3, "n": 500}), 400),
        (json!({"id": 4}), 400),
    ] {
        let answer = operator.post("/rest/v1/t", &row);
        assert_eq!(answer.status, status, "{row}: {}", answer.text());
    }
}

#[test]
fn a_policy_for_a_role_that_nobody_has_is_told() {
    let schema = |role: &str| {
        format!(
            "CREATE TABLE t (id bigint PRIMARY KEY);\nALTER TABLE t ENABLE ROW LEVEL SECURITY;\n\
             CREATE POLICY p ON t FOR SELECT TO {role} USING (true);\nGRANT SELECT ON t TO authenticated, editor;"
        )
    };
    let (ok, out, said) = run("check", &Project::new(&schema("authentcated"), ""));
    let told = format!("{out}{said}");
    assert!(ok, "{told}");
    let wanted = "policy \"p\" of \"t\" is for the role \"authentcated\", to which nothing is granted; did you mean \"authenticated\"?";
    assert!(
        told.contains("warning: schema.sql:3:") && told.contains(wanted),
        "{told}"
    );
    for role in ["editor", "anon", "public"] {
        let (ok, out, said) = run("check", &Project::new(&schema(role), ""));
        assert!(ok && !out.contains("nothing is granted"), "{role}: {out}{said}");
    }
}
