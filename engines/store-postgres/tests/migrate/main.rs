//! Migrations against a real server: every edit is planned, applied, found to be done, and compared with what psql makes of the
//! same file.

mod together;

use mainstay_schema as schema;
use mainstay_store_postgres::migrate::{self, Options, Plan, Source, Statement, StatementKind};
use mainstay_tests::{Postgres, northwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio_postgres::Client;

fn server() -> &'static Postgres {
    static ROLES: std::sync::Once = std::sync::Once::new();
    let server = Postgres::shared();
    // Roles belong to the server: tests that run at once would make them twice.
    ROLES.call_once(|| {
        server.value(
            "CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS; CREATE ROLE payments",
        );
    });
    server
}

fn source(files: &[(&str, &str)], auth: bool) -> Source {
    let sources: Vec<schema::Source> = files
        .iter()
        .map(|(file, text)| schema::Source {
            file: (*file).into(),
            text: (*text).to_owned(),
            store: "main".into(),
            service: None,
        })
        .collect();
    let cut = schema::statements(
        &sources,
        &schema::Options {
            auth: auth.then(|| "main".into()),
        },
    );
    assert_eq!(cut.problems, []);
    let statements = cut.statements.into_iter().map(|s| Statement {
        kind: match s.kind {
            schema::StatementKind::Schema => StatementKind::Schema,
            schema::StatementKind::Extension => StatementKind::Extension,
            schema::StatementKind::Role => StatementKind::Role,
            schema::StatementKind::Function => StatementKind::Function,
            schema::StatementKind::Table => StatementKind::Table,
            schema::StatementKind::Index => StatementKind::Index,
            schema::StatementKind::Define => StatementKind::Define,
            schema::StatementKind::Once => StatementKind::Once,
            schema::StatementKind::Rows => StatementKind::Rows,
            schema::StatementKind::Setting => StatementKind::Setting,
            schema::StatementKind::Nothing => StatementKind::Nothing,
        },
        text: s.text,
        span: s.span,
        object: s.object,
        roles: s.roles,
        data: s.data,
    });
    Source {
        statements: statements.collect(),
        seeds: Vec::new(),
    }
}

fn of(text: &str) -> Source {
    source(&[("schema.sql", text)], false)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

async fn plan(client: &Client, source: &Source) -> Plan {
    migrate::plan(client, source, &Options::default())
        .await
        .unwrap_or_else(|e| panic!("{e}"))
}

async fn apply(client: &Client, source: &Source) -> Vec<String> {
    let applied = migrate::apply(client, source, &Options::default()).await;
    applied.unwrap_or_else(|e| panic!("{e}")).statements
}

/// Applies, and finds nothing left to do.
async fn settle(client: &Client, source: &Source) -> Vec<String> {
    let statements = apply(client, source).await;
    let left = plan(client, source).await;
    assert!(left.is_empty(), "still to do:\n{left}");
    statements
}

/// What pg_dump says of schemas that are the user's.
fn dump(url: &str) -> Vec<String> {
    let output = std::process::Command::new("/usr/lib/postgresql/15/bin/pg_dump")
        .args([
            "--schema-only",
            "--no-owner",
            "--no-comments",
            "-N",
            "mainstay",
            "-N",
            "auth",
            "-d",
            url,
        ])
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Order and columns' positions are a matter of history; privileges beyond the file's are ours.
    let mut statements: Vec<String> = text
        .split(";\n")
        .map(|s| {
            let lines = s.lines().filter(|l| !l.starts_with("--") && !l.trim().is_empty());
            let mut lines: Vec<&str> = lines.map(|l| l.trim().trim_end_matches(',')).collect();
            if lines
                .first()
                .is_some_and(|l| l.starts_with("CREATE TABLE") || l.starts_with("CREATE FUNCTION"))
            {
                lines.sort_unstable();
            }
            lines.join("\n")
        })
        .filter(|s| !s.is_empty() && !s.contains("emit(") && !s.starts_with("SET ") && !s.starts_with("\\"))
        .filter(|s| {
            !s.starts_with("REVOKE")
                && !s.starts_with("GRANT USAGE ON S")
                && !s.contains("service_role")
                && !s.starts_with("SELECT pg_catalog.set_config")
        })
        .collect();
    statements.sort();
    statements
}

/// The same file in two databases: by us over some history, and by psql in one go.
fn as_psql(url: &str, text: &str) -> Result<(), String> {
    let server = server();
    let fresh = server.database();
    let name = fresh
        .split('/')
        .nth(3)
        .and_then(|r| r.split('?').next())
        .expect("a name")
        .to_owned();
    let file = std::env::temp_dir().join(format!("mainstay-migrate-{}-{name}.sql", std::process::id()));
    std::fs::write(&file, text).expect("a file");
    server.load_into(&name, &file);
    let _ = std::fs::remove_file(&file);
    let (ours, theirs) = (dump(url), dump(&fresh));
    let only = |a: &[String], b: &[String]| {
        a.iter()
            .filter(|s| !b.contains(s))
            .cloned()
            .collect::<Vec<_>>()
            .join("\n---\n")
    };
    let (more, less) = (only(&ours, &theirs), only(&theirs, &ours));
    match more == less {
        true => Ok(()),
        false => Err(format!("ours alone:\n{more}\npsql's alone:\n{less}")),
    }
}

#[test]
fn the_shop_is_made_and_then_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/services");
    let files: Vec<(String, String)> = ["carts", "orders", "products", "users"]
        .iter()
        .map(|service| {
            let path = root.join(service).join("schema.sql");
            (
                format!("services/{service}/schema.sql"),
                std::fs::read_to_string(path).expect("a file"),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (f.as_str(), t.as_str())).collect();
    let source = source(&files, true);
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        let first = plan(&client, &source).await;
        let products = first
            .steps
            .iter()
            .find(|s| s.object == "table public.products")
            .expect("products");
        let place = products.place.as_ref().expect("a place");
        assert_eq!((&*place.file, place.line), ("services/products/schema.sql", 3));
        settle(&client, &source).await;
        // Nobody may call what was not granted.
        let callable = client
            .query_one(
                "SELECT has_function_privilege('anon', 'settle_payment(uuid, boolean)', 'EXECUTE'), \
                 has_function_privilege('payments', 'settle_payment(uuid, boolean)', 'EXECUTE'), \
                 has_function_privilege('anon', 'new_cart()', 'EXECUTE'), has_table_privilege('service_role', 'auth.users', 'INSERT')",
                &[],
            )
            .await
            .expect("privileges");
        let callable: Vec<bool> = (0..4).map(|i| callable.get(i)).collect();
        assert_eq!(callable, [false, true, true, true]);
        assert_eq!(migrate::pending(&client, &source).await.expect("pending"), 0);
    });
}

#[test]
fn a_dump_is_made_with_its_rows() {
    let Some(file) = northwind("migrate::a_dump_is_made_with_its_rows") else {
        return;
    };
    let text = std::fs::read_to_string(file).expect("a dump");
    let source = of(&text);
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        settle(&client, &source).await;
        let rows: i64 = client
            .query_one("SELECT count(*) FROM orders", &[])
            .await
            .expect("rows")
            .get(0);
        assert_eq!(rows, 830);
    });
    as_psql(&url, &text).unwrap_or_else(|e| panic!("{e}"));
}

const BASE: &str = "
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE people (
  id serial PRIMARY KEY,
  name varchar(20) NOT NULL,
  address email,
  mood mood DEFAULT 'sad',
  age integer CHECK (age > 0)
);
CREATE TABLE pets (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner integer REFERENCES people ON DELETE CASCADE,
  name text,
  born date
);
CREATE INDEX pets_name ON pets (name);
CREATE VIEW owners AS SELECT p.id, p.name, count(*) AS pets FROM people p JOIN pets ON pets.owner = p.id GROUP BY p.id;
CREATE FUNCTION adults() RETURNS SETOF people LANGUAGE SQL STABLE BEGIN ATOMIC SELECT * FROM people WHERE age >= 18; END;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = trim(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER pets_touch BEFORE INSERT ON pets FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY grown ON people FOR SELECT TO authenticated USING (age >= 18);
GRANT SELECT, INSERT (name) ON people TO authenticated;
GRANT SELECT ON owners TO anon;
GRANT EXECUTE ON FUNCTION adults TO anon;
COMMENT ON TABLE people IS 'Everybody.';
";

/// One edit: what is replaced by what, and words that the plan must hold.
const EDITS: &[(&str, &str, &[&str])] = &include!("edits.in");

#[test]
fn every_edit_is_planned_applied_and_then_done() {
    let wrong: Vec<String> = EDITS
        .iter()
        .enumerate()
        .filter_map(|(at, edit)| edited(at, edit).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n=====\n"));
}

fn edited(at: usize, (from, to, words): &(&str, &str, &[&str])) -> Result<(), String> {
    assert!(BASE.contains(from), "edit {at}: {from} is not there");
    let text = BASE.replacen(from, to, 1);
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        settle(&client, &of(BASE)).await;
        client
            .batch_execute("INSERT INTO people (name, address, age) VALUES ('Ann', 'a@b.c', 30); INSERT INTO pets (owner, name) VALUES (1, 'Rex')")
            .await
            .expect("rows");
        let edited = of(&text);
        let planned = migrate::plan(&client, &edited, &Options::default())
            .await
            .map_err(|e| format!("edit {at}: {e}"))?;
        let shown = planned.to_string();
        for word in *words {
            if !shown.contains(word) {
                return Err(format!("edit {at}: the plan has no `{word}`:\n{shown}"));
            }
        }
        if planned.losses().next().is_some() {
            return Err(format!("edit {at} loses data:\n{shown}"));
        }
        migrate::apply(&client, &edited, &Options::default())
            .await
            .map_err(|e| format!("edit {at}: {e}\n{shown}"))?;
        let left = plan(&client, &edited).await;
        if !left.is_empty() {
            return Err(format!("edit {at}: still to do:\n{left}\nafter\n{shown}"));
        }
        let rows: i64 = client
            .query_one("SELECT count(*) FROM people JOIN pets ON pets.owner = people.id", &[])
            .await
            .expect("rows")
            .get(0);
        assert_eq!(rows, 1, "edit {at}");
        Ok(())
    })?;
    as_psql(&url, &text).map_err(|e| format!("edit {at} ({to}): {e}"))
}

#[test]
fn what_loses_data_is_refused_unless_allowed() {
    for (from, to, word) in [
        ("  age integer CHECK (age > 0)\n", "  age integer CHECK (age > 0)\n", ""),
        ("name text,\n  born date", "name text", "DROP COLUMN born"),
        ("name varchar(20)", "name varchar(2)", "TYPE character varying(2)"),
        ("age integer", "age smallint", "TYPE smallint"),
    ] {
        let text = BASE.replacen(from, to, 1);
        if word.is_empty() {
            continue;
        }
        let url = server().database();
        run(async {
            let client = migrate::connect(&url).await.expect("a connection");
            settle(&client, &of(BASE)).await;
            let edited = of(&text);
            let refused = migrate::apply(&client, &edited, &Options::default())
                .await
                .expect_err(word);
            assert!(
                refused.message.contains("data would be lost") && refused.message.contains(word),
                "{refused}"
            );
            assert!(
                plan(&client, &of(BASE)).await.is_empty(),
                "{word}: something was changed"
            );
            let allowed = Options {
                allow_data_loss: true,
                ..Options::default()
            };
            migrate::apply(&client, &edited, &allowed)
                .await
                .unwrap_or_else(|e| panic!("{word}: {e}"));
            assert!(plan(&client, &edited).await.is_empty(), "{word}");
        });
    }
}

#[test]
fn a_table_goes_only_if_it_was_made_here() {
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        client
            .batch_execute("CREATE TABLE theirs (id int)")
            .await
            .expect("a table");
        settle(&client, &of(BASE)).await;
        let less = of("CREATE TABLE one (id int);");
        let planned = plan(&client, &less).await;
        let shown = planned.to_string();
        assert!(
            shown.contains("DROP TABLE public.people, public.pets")
                || shown.contains("DROP TABLE public.pets, public.people"),
            "{shown}"
        );
        assert!(
            !shown.contains("DROP TABLE public.theirs") && planned.notes.iter().any(|n| n.contains("public.theirs")),
            "{shown}"
        );
        let allowed = Options {
            allow_data_loss: true,
            ..Options::default()
        };
        migrate::apply(&client, &less, &allowed)
            .await
            .unwrap_or_else(|e| panic!("{e}\n{shown}"));
        let left: String = client
            .query_one("SELECT string_agg(relname::text, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace", &[])
            .await
            .expect("tables")
            .get(0);
        assert_eq!(left, "one theirs");
    });
}

#[test]
fn what_was_changed_by_hand_is_shown_and_put_right() {
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        let source = of(BASE);
        settle(&client, &source).await;
        client
            .batch_execute(
                "ALTER POLICY grown ON people USING (true); DROP INDEX pets_name; GRANT ALL ON pets TO anon; \
                 ALTER TABLE pets ADD COLUMN theirs int; CREATE ROLE reporting_of_theirs; GRANT SELECT ON pets TO reporting_of_theirs",
            )
            .await
            .expect("changes");
        let shown = plan(&client, &source).await.to_string();
        for word in [
            "NOTE: it was changed by hand since the last migration",
            "USING (true)",
            "it was dropped by hand",
            "REVOKE ALL ON TABLE public.pets FROM anon",
            "column public.pets.theirs is not in schema.sql",
        ] {
            assert!(shown.contains(word), "no `{word}` in\n{shown}");
        }
        assert!(!shown.contains("reporting_of_theirs"), "{shown}");
        settle(&client, &source).await;
        client
            .batch_execute("DROP OWNED BY reporting_of_theirs; DROP ROLE reporting_of_theirs")
            .await
            .expect("gone");
    });
}

#[test]
fn a_database_that_is_there_is_adopted() {
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        client.batch_execute(BASE).await.expect("made by hand");
        let source = of(BASE);
        let shown = plan(&client, &source).await.to_string();
        // Structure is equal: only privileges are to be decided.
        let others: Vec<&str> = shown
            .lines()
            .filter(|l| !l.starts_with("--") && !l.is_empty() && !l.starts_with("GRANT") && !l.starts_with("REVOKE"))
            .collect();
        assert_eq!(others, ["BEGIN;", "COMMIT;"], "{shown}");
        settle(&client, &source).await;
        // What was found is not dropped, what is a rule of the schema goes.
        let without = BASE
            .replace("  born date\n", "")
            .replace("  name text,\n);", "  name text\n);");
        let without = without.replace(
            "CREATE POLICY grown ON people FOR SELECT TO authenticated USING (age >= 18);",
            "",
        );
        let planned = plan(&client, &of(&without)).await.to_string();
        assert!(
            !planned.contains("DROP COLUMN") && planned.contains("DROP POLICY"),
            "{planned}"
        );
    });
}

#[test]
fn mistakes_are_told_with_their_place() {
    let url = server().database();
    run(async {
        let client = migrate::connect(&url).await.expect("a connection");
        let broken = of("CREATE TABLE a (id int);\nCREATE TABLE b (\n  id int,\n  a real REFERENCES nowhere\n);");
        let failure = migrate::plan(&client, &broken, &Options::default())
            .await
            .expect_err("refused");
        assert!(
            failure
                .to_string()
                .starts_with("schema.sql:2:1: relation \"nowhere\" does not exist"),
            "{failure}"
        );
        let broken = of("CREATE TABLE a (\n  id intt\n);");
        let failure = migrate::plan(&client, &broken, &Options::default())
            .await
            .expect_err("refused");
        assert!(
            failure
                .to_string()
                .starts_with("schema.sql:2:6: type \"intt\" does not exist"),
            "{failure}"
        );
    });
}
