//! The manifests: every dependency of the workspace has its reason beside it and a user, and every crate inherits.

use std::path::Path;

use super::read;

pub fn check(root: &Path) -> Result<Vec<String>, String> {
    let workspace = read(root, "Cargo.toml")?;
    let mut manifests = Vec::new();
    for group in ["crates", "engines"] {
        let folder = root.join(group);
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{group}: {error}"))?;
        for entry in entries.flatten() {
            let path = format!("{group}/{}/Cargo.toml", entry.file_name().to_string_lossy());
            if root.join(&path).is_file() {
                manifests.push((path.clone(), read(root, &path)?));
            }
        }
    }
    for path in ["tests/Cargo.toml", "xtask/Cargo.toml"] {
        manifests.push((path.to_string(), read(root, path)?));
    }
    Ok(check_texts(&workspace, &manifests))
}

fn check_texts(workspace: &str, manifests: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    let used: Vec<&str> = manifests
        .iter()
        .flat_map(|(_, text)| dependency_lines(text))
        .map(|(_, line)| name_of(line))
        .collect();
    for (number, line) in dependency_lines(workspace) {
        let name = name_of(line);
        let is_ours = line.contains("path = ");
        if !is_ours && line.rsplit_once('#').is_none_or(|(_, reason)| reason.trim().len() <= 5) {
            problems.push(format!(
                "Cargo.toml:{number}: {name} has no reason: add `# why` to its line"
            ));
        }
        if !is_ours && !used.contains(&name) {
            problems.push(format!("Cargo.toml:{number}: {name} is used by no crate: remove it"));
        }
    }
    for (path, text) in manifests {
        for (number, line) in dependency_lines(text) {
            if !line.contains("workspace = true") {
                let name = name_of(line);
                problems.push(format!(
                    "{path}:{number}: {name}: write `{name}.workspace = true`, and its version and reason in the root"
                ));
            }
        }
        let inherits_lints = text
            .split("[lints]")
            .nth(1)
            .is_some_and(|rest| rest.trim_start().starts_with("workspace = true"));
        if !inherits_lints {
            problems.push(format!(
                "{path}:1: does not inherit the lints: add [lints] workspace = true"
            ));
        }
    }
    problems
}

/// The lines of every table of dependencies, with their numbers.
fn dependency_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
            return None;
        }
        (inside && !line.is_empty() && !line.starts_with('#')).then_some((index + 1, line))
    })
}

fn name_of(line: &str) -> &str {
    line.split(['.', '=', ' ']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_held_to_the_rules() {
        let workspace = "[workspace.dependencies]\nours = { path = \"crates/ours\" }\nbytes = \"1\" # shared buffers\nhttp = \"1\"\nunused = \"1\" # nobody knows\n";
        let good = "[lints]\nworkspace = true\n\n[dependencies]\nbytes.workspace = true\nhttp = { workspace = true, features = [\"x\"] }\n";
        let bad = "[dependencies]\nours.workspace = true\n\n[dev-dependencies]\nrand = \"1\"\n";
        let manifests = [
            ("a/Cargo.toml".to_string(), good.to_string()),
            ("b/Cargo.toml".to_string(), bad.to_string()),
        ];
        assert_eq!(
            check_texts(workspace, &manifests),
            [
                "Cargo.toml:4: http has no reason: add `# why` to its line",
                "Cargo.toml:5: unused is used by no crate: remove it",
                "b/Cargo.toml:5: rand: write `rand.workspace = true`, and its version and reason in the root",
                "b/Cargo.toml:1: does not inherit the lints: add [lints] workspace = true",
            ]
        );
    }
}
