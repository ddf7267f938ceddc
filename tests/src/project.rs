//! A project in a folder of its own, gone with the test.

use crate::{Command, Process};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A project's folder.
pub struct Project {
    dir: PathBuf,
}

impl Project {
    /// An empty folder.
    pub fn empty() -> Project {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mainstay-e2e-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        Project { dir }
    }

    /// With a `schema.sql` and, unless it is empty, a `mainstay.toml`.
    pub fn new(schema: &str, toml: &str) -> Project {
        let project = Project::empty();
        project.write("schema.sql", schema);
        if !toml.is_empty() {
            project.write("mainstay.toml", toml);
        }
        project
    }

    /// A copy of an example, without its state.
    pub fn example(name: &str) -> Project {
        let project = Project::empty();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        copy(&from, &project.dir);
        project
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().expect("inside the project")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// Reads a file of it.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// `mainstay serve` on free ports.
    pub fn command(&self) -> Command {
        Command::serve([self.dir.as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--set", "log.access=false"])
    }

    /// The token that was made for its operators.
    pub fn admin_token(&self) -> String {
        self.read(".mainstay/admin.token").trim().to_owned()
    }

    /// Serves it.
    pub fn serve(&self) -> Process {
        self.command().start()
    }

    /// A token of its development key.
    pub fn token(&self, role: &str, sub: Option<&str>) -> String {
        let mut command = Command::new(crate::binary(), "")
            .arg("token")
            .arg(&self.dir)
            .args(["--role", role]);
        if let Some(sub) = sub {
            command = command.args(["--sub", sub]);
        }
        let (ok, token, errors) = command.run();
        assert!(ok, "mainstay token: {errors}");
        token.trim().to_owned()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from)
        .unwrap_or_else(|e| panic!("{}: {e}", from.display()))
        .flatten()
    {
        let name = entry.file_name();
        if name == ".mainstay" || name == "__pycache__" {
            continue;
        }
        let target = to.join(&name);
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
