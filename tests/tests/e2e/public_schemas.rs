//! Databases that others designed, served from their URL alone: every table is read, and every foreign key embedded both ways.

use mainstay_tests::{Command, Postgres, Project, SECRET, debian_package};
use std::time::Instant;

/// Serves a database and asks for everything in it.
fn serve_all(what: &str, url: &str, tables: usize) {
    let project = Project::empty();
    project.write(
        "mainstay.toml",
        &format!("[store.main]\nurl = \"{url}\"\n[auth]\nsecret = \"{SECRET}\"\n[api]\nanon = \"postgres\"\n"),
    );
    let began = Instant::now();
    let process = Command::serve([project.dir().as_os_str()])
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--set",
            "log.access=false",
        ])
        .start();
    let ready = began.elapsed();
    let client = process.client();
    let server = Postgres::shared();
    let relations = server.execute(
        url,
        "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r','p','v','m','f') AND NOT c.relispartition
            AND c.relnamespace = 'public'::regnamespace ORDER BY 1",
    );
    let keys = server.execute(
        url,
        "SELECT k.conname, c.relname, t.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
           JOIN pg_class t ON t.oid = k.confrelid
          WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
            AND t.relnamespace = 'public'::regnamespace",
    );
    let mut failures = Vec::new();
    let mut ask = |path: String| {
        let answer = client.get(&path);
        if answer.status != 200 {
            failures.push(format!("{path}: {} {}", answer.status, answer.text()));
        }
    };
    for relation in relations.lines() {
        ask(format!("/rest/v1/{relation}?limit=2"));
    }
    for key in keys.lines() {
        let [name, from, to] = key.split('|').collect::<Vec<_>>()[..] else {
            panic!("{key}");
        };
        // A table that refers to itself has two ways of one name; the column leads to the parent.
        if from == to {
            continue;
        }
        ask(format!("/rest/v1/{from}?select=*,{to}!{name}(*)&limit=2"));
        ask(format!("/rest/v1/{to}?select=*,{from}!{name}(*)&limit=2"));
    }
    println!(
        "{what}: {} relations read, {} foreign keys embedded both ways, {} failures; ready in {} ms",
        relations.lines().count(),
        keys.lines().count(),
        failures.len(),
        ready.as_millis()
    );
    assert!(failures.is_empty(), "{what}: {}", failures.join("\n"));
    assert!(
        relations.lines().count() >= tables,
        "{what} has fewer tables than it should"
    );
    let (ok, said, errors) = Command::new(mainstay_tests::binary(), "")
        .arg("check")
        .arg(project.dir())
        .run();
    assert!(ok, "{said}{errors}");
    let left_out: Vec<&str> = said.lines().filter(|l| l.starts_with("not served: ")).collect();
    println!(
        "{what}: {} objects are not served, each with its reason",
        left_out.len()
    );
    for line in left_out {
        assert!(line.matches(": ").count() >= 2, "no reason: {line}");
    }
}

#[test]
fn northwind() {
    let Some(file) = mainstay_tests::northwind("public_schemas::northwind") else {
        return;
    };
    let url = Postgres::shared().database();
    Postgres::shared().load_into(name(&url), &file);
    serve_all("Northwind", &url, 14);
}

#[test]
fn zabbix() {
    let Some(package) = debian_package("zabbix-server-pgsql") else {
        return;
    };
    let archive = package.join("usr/share/zabbix-server-pgsql/schema.sql.gz");
    let unpacked = std::process::Command::new("gzip").arg("-dkf").arg(&archive).status();
    assert!(
        unpacked.is_ok_and(|s| s.success()),
        "{} is no archive",
        archive.display()
    );
    let url = Postgres::shared().database();
    Postgres::shared().load_into(name(&url), &archive.with_extension(""));
    serve_all("Zabbix", &url, 150);
}

#[test]
fn ledgersmb() {
    let Some(package) = debian_package("ledgersmb") else {
        return;
    };
    let url = Postgres::shared().database();
    Postgres::shared().load_into(name(&url), &package.join("usr/share/ledgersmb/sql/Pg-database.sql"));
    serve_all("LedgerSMB", &url, 150);
}

/// The database of a URL of the harness.
fn name(url: &str) -> &str {
    let (_, rest) = url.rsplit_once("@/").expect("a URL of the harness");
    rest.split('?').next().unwrap_or(rest)
}
