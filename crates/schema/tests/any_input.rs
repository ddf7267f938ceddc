//! Whatever the input, reading ends, does not panic, and every problem has a place inside its file.

use mainstay_schema::{Options, Source, read_with};
use proptest::prelude::*;
use std::path::Path;

fn samples() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ddl");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "sql"));
    files.sort();
    files.iter().map(|f| std::fs::read_to_string(f).unwrap()).collect()
}

fn check(text: &str) {
    let source = Source {
        file: "f.sql".into(),
        text: text.into(),
        store: "main".into(),
        service: None,
    };
    let reading = read_with(
        &[source],
        &Options {
            auth: Some("main".into()),
        },
    );
    for problem in &reading.problems {
        assert!(!problem.message.contains("Mainstay's own"), "panicked on:\n{text}");
        let (start, end) = (problem.span.start as usize, problem.span.end as usize);
        assert!(
            start <= end && (end <= text.len() || &*problem.span.file != "f.sql"),
            "{problem:?} on:\n{text}"
        );
        assert!(
            text.is_char_boundary(start) || &*problem.span.file != "f.sql",
            "{problem:?}"
        );
        assert!(problem.span.line >= 1 && problem.span.column >= 1);
    }
    for seed in &reading.seeds {
        assert!(seed.rows.iter().all(|r| r.len() == seed.columns.len()));
    }
    for relation in &reading.schema.relations {
        let columns = relation.columns.len() as u32;
        if let Some(table) = relation.table() {
            let keys = table
                .foreign_keys
                .iter()
                .flat_map(|k| &k.columns)
                .chain(&table.primary_key);
            assert!(
                keys.chain(table.uniques.iter().flat_map(|u| &u.columns))
                    .all(|c| *c < columns)
            );
            for key in &table.foreign_keys {
                let target = reading.schema.relation(key.target).columns.len() as u32;
                assert!(
                    key.target_columns.iter().all(|c| *c < target) && key.target_columns.len() == key.columns.len()
                );
            }
        }
    }
}

#[test]
fn files_cut_short_are_read() {
    for sample in samples() {
        for cut in (0..sample.len()).step_by(61).filter(|c| sample.is_char_boundary(*c)) {
            check(&sample[..cut]);
        }
    }
}

#[test]
fn hostile_shapes_are_read() {
    let long = "x".repeat(5000);
    for text in [
        "(".repeat(100_000),
        format!("CREATE VIEW v AS SELECT {}1{};", "(".repeat(50_000), ")".repeat(50_000)),
        format!("CREATE VIEW v AS SELECT {}1;", "NOT ".repeat(50_000)),
        format!("CREATE VIEW v AS SELECT 1{};", " + 1".repeat(50_000)),
        format!("CREATE VIEW v AS SELECT 1{};", " UNION SELECT 1".repeat(5_000)),
        format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $${}$$;", "(".repeat(50_000)),
        format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS '{}';", "- ".repeat(50_000)),
        format!("CREATE TABLE {long} ({long} int REFERENCES {long});"),
        format!("CREATE TABLE t (a {}int{});", "", "[]".repeat(10_000)),
        "$".repeat(10_000),
        "'".repeat(10_001),
        "/*".repeat(50_000),
        "\\".repeat(1000),
        "COPY t FROM stdin;".to_owned(),
        "COPY t FROM stdin;\n\\".to_owned(),
        "\u{feff}\u{feff}\0CREATE TABLE \0 (é int);".to_owned(),
        "CREATE TABLE a (LIKE a INCLUDING ALL); CREATE TABLE b (x int) PARTITION BY HASH (x); ALTER TABLE b ATTACH PARTITION b DEFAULT;".to_owned(),
        "CREATE TABLE a (x int) PARTITION BY LIST (x); CREATE TABLE b (x int) PARTITION BY LIST (x);
         ALTER TABLE a ATTACH PARTITION b DEFAULT; ALTER TABLE b ATTACH PARTITION a DEFAULT; INSERT INTO a VALUES (1);".to_owned(),
        "CREATE DOMAIN d AS d; CREATE DOMAIN e AS f; CREATE DOMAIN f AS e; CREATE TYPE c AS (c c);".to_owned(),
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT f() $$;".to_owned(),
    ] {
        check(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pieces of the samples removed, doubled or replaced.
    #[test]
    fn mutated_files_are_read(which in 0usize..64, edits in prop::collection::vec((0u32..u32::MAX, 0usize..40, 0u8..6), 1..6)) {
        let samples = samples();
        let mut text = samples[which % samples.len()].clone();
        for (place, length, kind) in edits {
            let mut start = place as usize % (text.len() + 1);
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let piece = text[start..end.max(start)].to_owned();
            let replacement = match kind {
                0 => String::new(),
                1 => piece.repeat(2),
                2 => "(".into(),
                3 => "'".into(),
                4 => "; ".into(),
                _ => piece.chars().rev().collect(),
            };
            text.replace_range(start..end.max(start), &replacement);
        }
        check(&text);
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,200}") {
        check(&text);
    }
}
