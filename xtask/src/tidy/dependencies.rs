//! Who may use whom: the dependency tables of `docs/architecture.md` against what cargo says.
//!
//! Only normal dependencies count: a test may reach further than the code it tests.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::tables;
use crate::command::capture;

/// A member of the workspace.
struct Member {
    /// `crates/model`.
    folder: String,
    /// What it uses of the workspace, by folder.
    uses: Vec<String>,
    /// What else it uses, by name.
    external: Vec<String>,
}

/// A row of the first table.
struct Room {
    folders: Vec<String>,
    may_use: String,
}

/// What anybody may use.
const FOR_ALL: &str = "crates/telemetry";

pub fn check(root: &Path, architecture: &str) -> Result<Vec<String>, String> {
    let members = members(root)?;
    let rooms: Vec<Room> = tables::rows(architecture, &["Crate", "What lives there", "May use"])?
        .into_iter()
        .filter(|row| row.len() >= 3)
        .map(|row| Room {
            folders: tables::quoted(&row[0])
                .iter()
                .map(|name| name.trim_end_matches('/').to_string())
                .collect(),
            may_use: row[2].clone(),
        })
        .collect();
    let mut problems = Vec::new();
    for member in &members {
        let folder = &member.folder;
        let Some(room) = rooms
            .iter()
            .find(|room| room.folders.iter().any(|pattern| tables::matches(pattern, folder)))
        else {
            problems.push(format!(
                "{folder}/Cargo.toml: {} has no row for this crate",
                super::ARCHITECTURE
            ));
            continue;
        };
        let allowed = allowed(&room.may_use, folder);
        for used in &member.uses {
            let is_allowed = used == FOR_ALL || allowed.iter().any(|pattern| tables::matches(pattern, used));
            if !is_allowed {
                problems.push(format!(
                    "{folder}/Cargo.toml: may not use {used} (it may use: {})",
                    room.may_use
                ));
            }
        }
    }
    for pattern in rooms.iter().flat_map(|room| &room.folders) {
        if !members.iter().any(|member| tables::matches(pattern, &member.folder)) && !pattern.ends_with('*') {
            problems.push(format!(
                "{}: `{pattern}` is in the table and not in the workspace",
                super::ARCHITECTURE
            ));
        }
    }
    problems.extend(check_external(&members, architecture)?);
    Ok(problems)
}

/// The patterns of a `May use` cell for one folder.
fn allowed(cell: &str, folder: &str) -> Vec<String> {
    let words = cell.split([',', '·']).map(|word| word.trim().trim_matches('`'));
    words
        .filter(|word| !word.is_empty() && *word != "–" && *word != "-")
        .map(|word| match word {
            "all" => "*".to_string(),
            "its contract" => contract_of(folder),
            name => format!("crates/{name}"),
        })
        .collect()
}

/// The crate whose contract an engine fulfils: `engines/store-sqlite` that of `crates/store`.
fn contract_of(folder: &str) -> String {
    let kind = folder
        .trim_start_matches("engines/")
        .split('-')
        .next()
        .unwrap_or_default();
    match kind {
        // The limiter's contract lives where it is used.
        "limiter" => "crates/gateway".to_string(),
        kind => format!("crates/{kind}"),
    }
}

/// The second and third table: dependencies that only some crates may know, and crates that may never know some.
fn check_external(members: &[Member], architecture: &str) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for row in tables::rows(architecture, &["Dependency", "Known only to"])? {
        let [dependencies, folders, ..] = row.as_slice() else {
            continue;
        };
        let folders = tables::quoted(folders);
        for member in members {
            for dependency in tables::quoted(dependencies) {
                let is_home = folders.iter().any(|pattern| tables::matches(pattern, &member.folder));
                if !is_home && member.external.iter().any(|name| tables::matches(dependency, name)) {
                    problems.push(format!(
                        "{}/Cargo.toml: {dependency} is known only to {}",
                        member.folder,
                        folders.join(", ")
                    ));
                }
            }
        }
    }
    for row in tables::rows(architecture, &["Crate", "Never depends on"])? {
        let [folders, dependencies, ..] = row.as_slice() else {
            continue;
        };
        for member in members {
            if !tables::quoted(folders)
                .iter()
                .any(|pattern| tables::matches(pattern, &member.folder))
            {
                continue;
            }
            for dependency in tables::quoted(dependencies) {
                if member.external.iter().any(|name| tables::matches(dependency, name)) {
                    problems.push(format!("{}/Cargo.toml: never depends on {dependency}", member.folder));
                }
            }
        }
    }
    Ok(problems)
}

fn members(root: &Path) -> Result<Vec<Member>, String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let text = capture(
        command
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(root),
    )?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let relative = |path: &str| {
        Path::new(path)
            .strip_prefix(root)
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    };
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let members = packages.iter().map(|package| {
        let mut member = Member {
            folder: relative(package["manifest_path"].as_str().unwrap_or_default())
                .trim_end_matches("/Cargo.toml")
                .to_string(),
            uses: Vec::new(),
            external: Vec::new(),
        };
        let dependencies = package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        // `kind` is null for normal dependencies, "dev" or "build" for the others.
        for dependency in dependencies.iter().filter(|dependency| dependency["kind"].is_null()) {
            match dependency["path"].as_str() {
                Some(path) => member.uses.push(relative(path)),
                None => member
                    .external
                    .push(dependency["name"].as_str().unwrap_or_default().to_string()),
            }
        }
        member
    });
    Ok(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_patterns() {
        assert_eq!(
            allowed("model, store", "crates/query"),
            ["crates/model", "crates/store"]
        );
        assert_eq!(
            allowed("its contract, model, sql", "engines/store-sqlite"),
            ["crates/store", "crates/model", "crates/sql"]
        );
        assert_eq!(allowed("its contract", "engines/limiter-redis"), ["crates/gateway"]);
        assert_eq!(allowed("all", "crates/mainstay"), ["*"]);
        assert!(allowed("–", "crates/model").is_empty());
    }

    #[test]
    fn forbidden_dependencies_are_found() {
        let tables = "| Dependency | Known only to |\n|---|---|\n| `rusqlite` | `engines/store-*` |\n\n| Crate | Never depends on |\n|---|---|\n| `crates/model` | `tokio`, `hyper*` |\n";
        let member = |folder: &str, external: &[&str]| Member {
            folder: folder.to_string(),
            uses: Vec::new(),
            external: external.iter().map(|name| name.to_string()).collect(),
        };
        let members = [
            member("crates/model", &["hyper-util", "bytes"]),
            member("crates/query", &["rusqlite", "tokio"]),
            member("engines/store-sqlite", &["rusqlite"]),
        ];
        let problems = check_external(&members, tables).expect("tables");
        assert_eq!(
            problems,
            [
                "crates/query/Cargo.toml: rusqlite is known only to engines/store-*",
                "crates/model/Cargo.toml: never depends on hyper*"
            ]
        );
    }
}
