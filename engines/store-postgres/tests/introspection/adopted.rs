//! Databases that others designed: every table is there and every foreign key leads both ways.

use crate::{connect, database, name, run, served};
use mainstay_model::Schema;
use mainstay_store_postgres::introspect::{Introspected, Options, introspect};
use mainstay_tests::{Postgres, debian_package};
use std::process::Command;
use std::time::{Duration, Instant};

/// Reads a database and holds what was found against what the database says of itself.
fn adopt(what: &str, url: &str, options: &Options, tables: usize) -> Introspected {
    let (first, again) = run(async {
        let client = connect(url).await;
        let first = introspect(&client, options)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        (
            first,
            introspect(&client, options)
                .await
                .unwrap_or_else(|e| panic!("{what}: {e}")),
        )
    });
    let schema = &first.schema;
    let functions = schema.functions.len();
    println!(
        "{what}: {} relations, {} columns, {} relationships, {functions} functions, {} not served; {} ms, again {} ms",
        schema.relations.len(),
        schema.relations.iter().map(|r| r.columns.len()).sum::<usize>(),
        schema.relationships.iter().map(Vec::len).sum::<usize>(),
        first.not_served.len(),
        first.took.as_millis(),
        again.took.as_millis()
    );
    let rows = |sql: &str| -> Vec<Vec<String>> {
        run(async {
            let client = connect(url).await;
            let rows = client.query(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            rows.iter()
                .map(|row| (0..row.len()).map(|i| row.get::<_, String>(i)).collect())
                .collect()
        })
    };
    let own = format!("n.nspname = ANY (ARRAY['{}'])", schema.namespaces.join("','"));
    let all = rows(&format!(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r','p','v','m','f') AND NOT c.relispartition AND {own}"
    ));
    assert!(all.len() >= tables, "{what} has {} relations only", all.len());
    for row in &all {
        assert!(
            schema.find_relation(&row[0], &row[1]).is_some(),
            "{what}: {}.{} is missing",
            row[0],
            row[1]
        );
    }
    let columns = rows(&format!(
        "SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r','p','v','m','f') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped AND {own}"
    ));
    for row in &columns {
        let relation = schema.relation(schema.find_relation(&row[0], &row[1]).unwrap());
        assert!(
            relation.column(&row[2]).is_some(),
            "{what}: {}.{}.{} is missing",
            row[0],
            row[1],
            row[2]
        );
    }
    let keys = rows(&format!(
        "SELECT n.nspname::text, c.relname::text, m.nspname::text, t.relname::text, k.conname::text
           FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_class t ON t.oid = k.confrelid JOIN pg_namespace m ON m.oid = t.relnamespace
          WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT c.relispartition AND {own}"
    ));
    for row in &keys {
        both_ways(what, schema, row);
    }
    println!(
        "{what}: {} foreign keys, each a relationship in both directions",
        keys.len()
    );
    first
}

fn both_ways(what: &str, schema: &Schema, key: &[String]) {
    let from = schema.find_relation(&key[0], &key[1]).unwrap();
    let to = schema.find_relation(&key[2], &key[3]).unwrap();
    let leads = |from: mainstay_model::RelationId, to| {
        let ways = schema.relationships[from.0 as usize].iter();
        ways.filter(|w| w.target == to && w.through.is_none() && *w.constraint == *key[4])
            .count()
    };
    // A table that refers to itself has both on one side.
    let wanted = if from == to { 2 } else { 1 };
    assert_eq!((leads(from, to), leads(to, from)), (wanted, wanted), "{what}: {key:?}");
}

#[test]
fn northwind() {
    let Some(file) = mainstay_tests::northwind("introspection::northwind") else {
        return;
    };
    let found = adopt("Northwind", &database(&file), &served(&[]), 14);
    assert!(found.not_served.is_empty(), "{:?}", found.not_served);
}

#[test]
fn zabbix() {
    let Some(package) = debian_package("zabbix-server-pgsql") else {
        return;
    };
    let archive = package.join("usr/share/zabbix-server-pgsql/schema.sql.gz");
    let file = archive.with_extension("");
    let unpacked = Command::new("gzip").arg("-dkf").arg(&archive).status();
    assert!(
        unpacked.is_ok_and(|s| s.success()),
        "{} is no archive",
        archive.display()
    );
    adopt("Zabbix", &database(&file), &served(&[]), 150);
}

#[test]
fn ledgersmb() {
    let Some(package) = debian_package("ledgersmb") else {
        return;
    };
    let sql = package.join("usr/share/ledgersmb/sql");
    let url = database(&sql.join("Pg-database.sql"));
    // The modules that need no later change of the tables.
    for module in [
        "Settings",
        "Util",
        "App_Module",
        "Menu",
        "Entity",
        "Drafts",
        "Account",
        "Session",
        "Business_type",
    ] {
        Postgres::shared().load_into(name(&url), &sql.join(format!("modules/{module}.sql")));
    }
    let found = adopt("LedgerSMB", &url, &served(&[]), 150);
    assert!(found.schema.functions.len() > 50, "{}", found.schema.functions.len());
    for left_out in &found.not_served {
        assert!(!left_out.reason.is_empty(), "{left_out:?}");
    }
}

/// A thousand tables of twenty columns, each with three references, a comment and grants: as large as what is large.
#[test]
fn a_thousand_tables() {
    // Roles are the whole server's, and are in the digest.
    let server = Postgres::start().unwrap();
    let url = server.database();
    let sql = "DO $$ BEGIN
      FOR i IN 0..999 LOOP
        EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY, %s)', i,
          (SELECT string_agg(format('c%s %s', n, (ARRAY['text DEFAULT ''x''','int NOT NULL DEFAULT 0','timestamptz DEFAULT now()','jsonb'])[n % 4 + 1]), ', ')
             FROM generate_series(1, 16) n));
        EXECUTE format('ALTER TABLE t%s ADD r1 bigint REFERENCES t%s, ADD r2 bigint REFERENCES t%s, ADD r3 bigint REFERENCES t%s',
          i, i / 2, i / 3, i / 7);
        EXECUTE format('CREATE INDEX ON t%s (r1); CREATE INDEX ON t%s (c1, c2)', i, i);
      END LOOP; END $$";
    run(async { connect(&url).await.batch_execute(sql).await.unwrap() });
    let found = adopt("a thousand tables", &url, &served(&[]), 1000);
    run(async {
        let client = connect(&url).await;
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let started = Instant::now();
            let digest = mainstay_store_postgres::introspect::digest(&client).await.unwrap();
            best = best.min(started.elapsed());
            assert_eq!(digest, found.digest);
        }
        println!("a thousand tables: the digest alone {} ms", best.as_millis());
    });
    // Generous: other tests run beside this one, and the code is not optimised.
    assert!(found.took < Duration::from_secs(20), "{:?}", found.took);
}
