//! Whole files of others, as they are: a sample database where it is at hand.

use mainstay_schema::{Options, Reading, Source, read_with};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn source(path: &Path, service: Option<&str>, store: &str) -> Source {
    Source {
        file: path.file_name().unwrap().to_string_lossy().into(),
        text: std::fs::read_to_string(path).unwrap(),
        store: store.into(),
        service: service.map(Into::into),
    }
}

fn problems(reading: &Reading) -> String {
    let lines = reading
        .problems
        .iter()
        .map(|p| format!("{}:{}:{} {}", p.span.file, p.span.line, p.span.column, p.message));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn northwind_reads_without_a_problem() {
    let beside = || root().join("../shared/data/northwind.sql");
    let path = std::env::var_os("NORTHWIND_SQL").map_or_else(beside, PathBuf::from);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI");
        return;
    }
    let reading = read_with(&[source(&path, None, "main")], &Options::default());
    assert_eq!(problems(&reading), "");
    let tables = reading.schema.relations.iter().filter_map(|r| r.table());
    assert_eq!(
        (
            tables.clone().count(),
            tables.map(|t| t.foreign_keys.len()).sum::<usize>()
        ),
        (14, 13)
    );
    assert_eq!(reading.seeds.iter().map(|s| s.rows.len()).sum::<usize>(), 3362);
    let orders = reading.schema.find_relation("public", "orders").unwrap();
    assert!(reading.schema.relationships[orders.0 as usize].len() >= 5);
}
