//! `cargo xtask tidy`: the house rules that a compiler does not know. Every rule reports all its violations; a violation says
//! where it is and what to do.
//!
//! What is allowed stands in tables of `docs/architecture.md`, so that the document and the check cannot disagree.

mod dependencies;
mod links;
mod manifest;
mod sources;
mod tables;

use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const SKIPPED_FOLDERS: [&str; 6] = ["target", ".git", "node_modules", ".mainstay", "__pycache__", ".venv"];

/// Where the tables are.
const ARCHITECTURE: &str = "docs/architecture.md";

/// The task. `bless` lowers the recorded file lengths to what they are now.
pub fn run(root: &Path, bless: bool) -> Result<(), String> {
    let architecture = read(root, ARCHITECTURE)?;
    let files = files(root);
    let mut problems = Vec::new();
    problems.extend(dependencies::check(root, &architecture)?);
    problems.extend(manifest::check(root)?);
    problems.extend(sources::check(root, &files, &architecture, bless)?);
    problems.extend(links::check(root, &files));
    if problems.is_empty() {
        println!("tidy: {} files", files.len());
        return Ok(());
    }
    problems.sort();
    Err(format!("{}\ntidy: {} problems", problems.join("\n"), problems.len()))
}

/// Every file of the project, relative to its root, in order.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name();
            if kind.is_dir() && !SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped) {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(relative) = entry.path().strip_prefix(root)
            {
                found.push(relative.to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn read(root: &Path, path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    std::fs::read_to_string(root.join(path)).map_err(|error| format!("{}: {error}", path.display()))
}
