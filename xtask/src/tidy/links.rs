//! Links between the documents: the file and the heading must exist. So must whatever they name as a path between backticks.

use std::path::{Path, PathBuf};

pub fn check(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut problems = Vec::new();
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let Ok(text) = std::fs::read_to_string(root.join(path)) else {
            continue;
        };
        for (line, target) in links(&text) {
            if let Err(reason) = resolve(root, path, &text, &target) {
                problems.push(format!("{}:{line}: {target}: {reason}", path.display()));
            }
        }
        for (line, name) in named(&text) {
            if !is_there(root, files, name) {
                problems.push(format!("{}:{line}: `{name}`: no such file", path.display()));
            }
        }
    }
    problems
}

/// What a document calls by its path, `crates/rest/src/read.rs`, or a test by its file's name, `shop.rs`; with the line.
fn named(text: &str) -> Vec<(usize, &str)> {
    let of_line = |(number, line)| -> Vec<(usize, &str)> {
        let quoted = str::split(line, '`').skip(1).step_by(2);
        quoted.filter(|name| is_path(name)).map(|name| (number, name)).collect()
    };
    outside_code(text).flat_map(of_line).collect()
}

fn is_path(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let in_folder = FOLDERS.iter().any(|folder| name.starts_with(folder));
    plain && (in_folder || name.ends_with(".rs") && !name.contains('/'))
}

/// The folders whose files documents speak of.
const FOLDERS: [&str; 6] = ["crates/", "engines/", "tests/", "xtask/", "docs/", "examples/"];

fn is_there(root: &Path, files: &[PathBuf], name: &str) -> bool {
    match name.contains('/') {
        true => root.join(name).exists(),
        false => files
            .iter()
            .any(|path| path.file_name().is_some_and(|file| file == name)),
    }
}

fn resolve(root: &Path, from: &Path, text: &str, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, heading) = match target.split_once('#') {
        Some((file, heading)) => (file, Some(heading)),
        None => (target, None),
    };
    let path = match file {
        "" => root.join(from),
        file => root.join(from.parent().unwrap_or(Path::new(""))).join(file),
    };
    if !path.exists() {
        return Err("no such file".to_string());
    }
    let Some(heading) = heading.filter(|_| path.extension().is_some_and(|extension| extension == "md")) else {
        return Ok(());
    };
    let linked = if file.is_empty() {
        text.to_string()
    } else {
        std::fs::read_to_string(&path).unwrap_or_default()
    };
    let exists = outside_code(&linked).any(|(_, line)| line.starts_with('#') && anchor(line) == heading);
    if exists {
        Ok(())
    } else {
        Err("no such heading".to_string())
    }
}

/// The targets of `[text](target)` with their lines, leaving out code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in outside_code(text) {
        // Between backticks a bracket is only a bracket.
        let prose = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for part in prose.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                let target = target.split(' ').next().unwrap_or_default();
                found.push((number, target.trim_matches(['<', '>']).to_string()));
            }
        }
    }
    found
}

/// The lines that are not inside a fenced block, with their numbers.
fn outside_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// The anchor that a forge gives a heading: lower case, punctuation gone, spaces as hyphens.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text = "[a](b.md) and [c](d.md#e \"title\")\n`[x](y)` in code\n```\n[in](fence)\n```\n![picture](p.png)\n";
        let found: Vec<(usize, String)> = links(text);
        let expected = [(1, "b.md"), (1, "d.md#e"), (6, "p.png")];
        assert_eq!(found, expected.map(|(line, target)| (line, target.to_string())));
    }

    #[test]
    fn paths_are_told_from_other_words_in_backticks() {
        let text = "`crates/rest/src/read.rs` and `shop.rs`, `crates/*`, `GET /x`, `mainstay serve examples/shop`, `engines.rs`\n```\n`docs/x`\n```\n`docs/gone.md`\n";
        let found = named(text);
        let expected = [
            (1, "crates/rest/src/read.rs"),
            (1, "shop.rs"),
            (1, "engines.rs"),
            (5, "docs/gone.md"),
        ];
        assert_eq!(found, expected);
        let files = [PathBuf::from("tests/tests/e2e/shop.rs")];
        assert!(is_there(Path::new("/none"), &files, "shop.rs") && !is_there(Path::new("/none"), &files, "cart.rs"));
    }

    #[test]
    fn anchors() {
        for (heading, expected) in [
            ("## The house", "the-house"),
            ("# What's `new`, 2?", "whats-new-2"),
            ("### a_b - c", "a_b---c"),
        ] {
            assert_eq!(anchor(heading), expected);
        }
        assert!(resolve(Path::new("/"), Path::new("none.md"), "# Here\n", "#gone").is_err());
    }
}
