//! The source files: each says why it exists, few are long and those only shrink, `unsafe` keeps to its modules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{read, tables};

/// A file up to this length needs no entry in the ratchet.
const LINES_MAX: usize = 600;

/// The recorded lengths of the files that are longer.
const RATCHET: &str = "xtask/ratchet.txt";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["common", "util", "utils", "helper", "helpers", "misc"];

pub fn check(root: &Path, files: &[PathBuf], architecture: &str, bless: bool) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    let mut lengths = BTreeMap::new();
    let mut with_unsafe = Vec::new();
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    {
        let name = path.display().to_string();
        let text = read(root, path)?;
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            problems.push(format!("{name}:1: open with `//!` and why this file exists"));
        }
        if path.iter().any(|part| {
            EMPTY_NAMES
                .iter()
                .any(|empty| Path::new(part).file_stem() == Some(empty.as_ref()))
        }) {
            problems.push(format!("{name}: this name says nothing: call it after what is inside"));
        }
        if let Some(line) = first_unsafe(&text) {
            with_unsafe.push((name.clone(), line));
        }
        lengths.insert(name, text.lines().count());
    }
    problems.extend(check_unsafe(&with_unsafe, architecture)?);
    problems.extend(check_lengths(root, &lengths, bless)?);
    Ok(problems)
}

fn check_unsafe(found: &[(String, usize)], architecture: &str) -> Result<Vec<String>, String> {
    let rows = tables::rows(architecture, &["Module with `unsafe`", "Why"])?;
    let allowed: Vec<&str> = rows.iter().flat_map(|row| tables::quoted(&row[0])).collect();
    let mut problems = Vec::new();
    for (file, line) in found {
        if !allowed.contains(&file.as_str()) {
            problems.push(format!(
                "{file}:{line}: `unsafe` outside the modules that {} lists for it",
                super::ARCHITECTURE
            ));
        }
    }
    for file in allowed {
        if !found.iter().any(|(known, _)| known == file) {
            problems.push(format!(
                "{}: `{file}` is listed for `unsafe` and has none",
                super::ARCHITECTURE
            ));
        }
    }
    Ok(problems)
}

/// The line of the first `unsafe` that is code and not a comment, a string or part of another word.
fn first_unsafe(text: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.lines()
        .position(|line| {
            let line = line.replace("\\\"", "");
            let code = line.split("//").next().unwrap_or_default();
            // What stands between quotes is text. (Good enough: a string of several lines that says `unsafe` would be found.)
            let outside_quotes = code.split('"').step_by(2).collect::<Vec<_>>().join(" ");
            outside_quotes.match_indices("unsafe").any(|(at, word)| {
                let before = outside_quotes[..at].chars().next_back();
                let after = outside_quotes[at + word.len()..].chars().next();
                !before.is_some_and(|c| is_word(c) || c == '`') && !after.is_some_and(|c| is_word(c) || c == '`')
            })
        })
        .map(|index| index + 1)
}

/// A long file may only become shorter; a new one may not become long.
fn check_lengths(root: &Path, lengths: &BTreeMap<String, usize>, bless: bool) -> Result<Vec<String>, String> {
    let text = read(root, RATCHET)?;
    let mut problems = Vec::new();
    let mut recorded = BTreeMap::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty())
    {
        match line
            .split_once(' ')
            .and_then(|(number, file)| Some((file.trim(), number.parse::<usize>().ok()?)))
        {
            Some((file, number)) => {
                recorded.insert(file.to_string(), number);
            }
            None => problems.push(format!("{RATCHET}:{}: write LINES FILE", index + 1)),
        }
    }
    if bless {
        recorded = lowered(&recorded, lengths);
        let comments: String = text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        let entries: String = recorded
            .iter()
            .map(|(file, number)| format!("{number} {file}\n"))
            .collect();
        std::fs::write(root.join(RATCHET), comments + &entries).map_err(|error| format!("{RATCHET}: {error}"))?;
    }
    problems.extend(compare(&recorded, lengths));
    Ok(problems)
}

fn lowered(recorded: &BTreeMap<String, usize>, lengths: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let still_long = recorded
        .iter()
        .filter_map(|(file, number)| Some((file.clone(), (*number).min(*lengths.get(file)?))));
    still_long.filter(|(_, number)| *number > LINES_MAX).collect()
}

fn compare(recorded: &BTreeMap<String, usize>, lengths: &BTreeMap<String, usize>) -> Vec<String> {
    let mut problems = Vec::new();
    for (file, length) in lengths {
        match recorded.get(file) {
            None if *length > LINES_MAX => {
                problems.push(format!(
                    "{file}: {length} lines, more than {LINES_MAX}: split it where its subject splits"
                ));
            }
            Some(number) if length > number => {
                problems.push(format!(
                    "{file}: {length} lines, and {RATCHET} allows {number}: a long file only shrinks"
                ));
            }
            _ => {}
        }
    }
    if &lowered(recorded, lengths) != recorded {
        problems.push(format!(
            "{RATCHET}: files have become shorter: `cargo xtask tidy --bless` records it"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_in_code_only() {
        for (text, line) in [
            ("fn a() {\n    unsafe { b() }\n}", Some(2)),
            ("unsafe extern \"C\" {}", Some(1)),
            ("// unsafe\n", None),
            ("/// no `unsafe` here\nlet a = 1;", None),
            ("#![deny(unsafe_code)]", None),
            ("let a = \"unsafe\";", None),
            ("let only_unsafe = 1;", None),
        ] {
            assert_eq!(first_unsafe(text), line, "for {text:?}");
        }
    }

    #[test]
    fn lengths_only_shrink() {
        let map = |entries: &[(&str, usize)]| {
            entries
                .iter()
                .map(|(file, number)| (file.to_string(), *number))
                .collect()
        };
        let recorded: BTreeMap<String, usize> = map(&[("old.rs", 900), ("grown.rs", 700)]);
        let lengths = map(&[("old.rs", 900), ("grown.rs", 701), ("new.rs", 601), ("short.rs", 600)]);
        assert_eq!(
            compare(&recorded, &lengths),
            [
                "grown.rs: 701 lines, and xtask/ratchet.txt allows 700: a long file only shrinks",
                "new.rs: 601 lines, more than 600: split it where its subject splits",
            ]
        );
        let shrunk = map(&[("old.rs", 800), ("grown.rs", 300)]);
        assert_eq!(compare(&recorded, &shrunk).len(), 1);
        assert_eq!(lowered(&recorded, &shrunk), map(&[("old.rs", 800)]));
        assert!(compare(&lowered(&recorded, &shrunk), &shrunk).is_empty());
    }
}
