//! Files of Debian packages, for databases that others designed.

use crate::skip;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

static FETCHING: Mutex<()> = Mutex::new(());

/// The files of a Debian package, fetched once and not installed; none where that cannot be, which is said.
pub fn debian_package(name: &str) -> Option<PathBuf> {
    let _one_at_a_time = FETCHING.lock().unwrap_or_else(|e| e.into_inner());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/packages")
        .join(name);
    if folder.join("usr").exists() {
        return Some(folder);
    }
    let fetched = fetch(name, &folder);
    if let Err(reason) = fetched {
        skip(name, &reason);
        return None;
    }
    Some(folder)
}

fn fetch(name: &str, folder: &Path) -> Result<(), String> {
    let incoming = folder.with_extension("incoming");
    let _ = std::fs::remove_dir_all(&incoming);
    std::fs::create_dir_all(&incoming).map_err(|e| e.to_string())?;
    let download = || {
        let output = Command::new("apt-get")
            .args(["download", "-q", name])
            .current_dir(&incoming)
            .output();
        output.is_ok_and(|o| o.status.success())
    };
    // The lists of packages may be missing or old.
    if !download() {
        let _ = Command::new("apt-get").args(["update", "-q"]).output();
        if !download() {
            return Err(format!("the Debian package {name} cannot be fetched here"));
        }
    }
    let mut files = std::fs::read_dir(&incoming)
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|e| e.path());
    let archive = files.next().ok_or("apt-get fetched nothing")?;
    let unpacked = incoming.join("files");
    let status = Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked).status();
    if !status.is_ok_and(|s| s.success()) {
        return Err(format!("{} cannot be unpacked", archive.display()));
    }
    std::fs::rename(&unpacked, folder).map_err(|e| e.to_string())?;
    let _ = std::fs::remove_dir_all(&incoming);
    Ok(())
}
