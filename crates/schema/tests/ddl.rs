//! DDL files in `ddl/`, each with what is read from it beside it as a compact text. `UPDATE=1 cargo test -p mainstay-schema` writes
//! the texts anew; the difference is then to be read.

mod dump;

use mainstay_schema::{Options, Source, read_with};
use std::path::{Path, PathBuf};

/// The sources of a file: `-- file: NAME, store: STORE, service: SERVICE` begins another, `-- auth: STORE` asks for accounts.
fn sources(path: &Path) -> (Vec<Source>, Options) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut options = Options::default();
    let mut sources: Vec<Source> = Vec::new();
    let source = |file: &str, store: &str, service: Option<&str>| Source {
        file: file.into(),
        text: String::new(),
        store: store.into(),
        service: service.map(Into::into),
    };
    for line in text.split_inclusive('\n') {
        if let Some(store) = line.strip_prefix("-- auth: ") {
            options.auth = Some(store.trim().into());
        }
        if let Some(head) = line.strip_prefix("-- file: ") {
            let parts: Vec<&str> = head.trim().split(", ").collect();
            let part = |name: &str| parts.iter().find_map(|p| p.strip_prefix(name));
            sources.push(source(parts[0], part("store: ").unwrap_or("main"), part("service: ")));
            continue;
        }
        if sources.is_empty() {
            sources.push(source("schema.sql", "main", None));
        }
        if let Some(last) = sources.last_mut() {
            last.text.push_str(line);
        }
    }
    (sources, options)
}

#[test]
fn files_read_as_expected() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/ddl");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "sql"));
    files.sort();
    assert!(files.len() > 5, "the files are missing");
    let mut differing = Vec::new();
    for file in files {
        let (sources, options) = sources(&file);
        let actual = dump::text(&read_with(&sources, &options));
        let expected_file = file.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected_file, &actual).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&expected_file).unwrap_or_default();
        if actual != expected {
            let line = actual.lines().zip(expected.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| actual.lines().count().min(expected.lines().count()));
            differing.push(format!(
                "{}, line {}:\n  expected {:?}\n  got      {:?}",
                expected_file.display(),
                line + 1,
                expected.lines().nth(line),
                actual.lines().nth(line)
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
