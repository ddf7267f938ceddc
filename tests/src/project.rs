//! A project in a folder of its own, gone with the test.

use crate::{Command, Postgres, Process, sign, sqlite};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a project's stores run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded: what the projects themselves say.
    Sqlite,
    /// A database for each store on a throw-away server; the project is the same, its URLs are others.
    Postgres,
}

/// The engine that the tests of this process run on: `MAINSTAY_TEST_STORE`, SQLite when it is not set.
pub fn engine() -> Engine {
    match std::env::var("MAINSTAY_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => Engine::Sqlite,
        Ok("postgres") => Engine::Postgres,
        Ok(other) => panic!("MAINSTAY_TEST_STORE={other}: sqlite or postgres"),
    }
}

/// The key of a project whose stores are servers: the development key is refused there. A project on SQLite may name it, too.
pub const SECRET: &str = "a key that only the tests sign with, of enough bytes";

/// The URLs of databases that others are copied from, made once.
type Originals = Arc<OnceLock<Vec<String>>>;

/// A project's folder.
pub struct Project {
    dir: PathBuf,
    engine: Engine,
    /// What stands behind `--set` where the stores are servers; made with the databases when it is first served.
    overrides: OnceLock<Vec<String>>,
}

impl Project {
    /// An empty folder.
    pub fn empty() -> Project {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mainstay-e2e-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        Project {
            dir,
            engine: engine(),
            overrides: OnceLock::new(),
        }
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

    /// The same on PostgreSQL, whatever the other tests run on.
    pub fn on_postgres(mut self) -> Project {
        self.engine = Engine::Postgres;
        self
    }

    /// The same on embedded engines, whatever the other tests run on.
    pub fn embedded(mut self) -> Project {
        self.engine = Engine::Sqlite;
        self
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
            .args(self.overrides())
    }

    /// The arguments that put the project on the engine under test. The first time, on PostgreSQL, its databases are made, taken to
    /// its schema and given its seed data.
    pub fn overrides(&self) -> impl Iterator<Item = &str> {
        let made = self.overrides.get_or_init(|| match self.engine {
            Engine::Sqlite => Vec::new(),
            Engine::Postgres => self.on_servers(),
        });
        made.iter().flat_map(|o| ["--set", o.as_str()])
    }

    /// `mainstay migrate apply`, which takes a server's databases to an edited schema; an embedded store does that when it is served, and
    /// is left alone. Whether it succeeded, and what it said.
    pub fn migrate(&self) -> (bool, String) {
        match self.engine {
            Engine::Sqlite => (true, String::new()),
            Engine::Postgres => self.ask(&["migrate", "apply"], self.overrides()),
        }
    }

    fn ask<'a>(&self, verb: &[&str], set: impl Iterator<Item = &'a str>) -> (bool, String) {
        // A project may name a variable for its key, which these verbs do not need and yet must find.
        let command = Command::new(crate::binary(), "")
            .args(verb)
            .arg(&self.dir)
            .args(set)
            .env("E2E_SECRET", SECRET);
        let (ok, output, errors) = command.run();
        (ok, output + &errors)
    }

    /// Runs a statement in a store of the project as a stranger to Mainstay does: by the shell of SQLite, or psql.
    pub fn foreign(&self, store: &str, sql: &str) {
        if self.engine == Engine::Postgres {
            let set = format!("store.{store}.url=");
            let url = self.overrides().find_map(|o| o.strip_prefix(&set)).expect("a store");
            Postgres::shared().execute(url, sql);
            return;
        }
        let toml = self.read("mainstay.toml");
        let file = toml
            .split_once(&format!("[store.{store}]"))
            .and_then(|(_, of_store)| of_store.split_once("sqlite:"))
            .and_then(|(_, file)| file.split_once('"'))
            .expect("a store with a file")
            .0;
        sqlite(&self.dir.join(file), sql);
    }

    /// A new database for each store that the project names.
    fn on_servers(&self) -> Vec<String> {
        let toml = std::fs::read_to_string(self.dir.join("mainstay.toml")).unwrap_or_default();
        let mut stores: Vec<&str> = toml
            .lines()
            .filter_map(|l| l.trim().strip_prefix("[store.")?.strip_suffix(']'))
            .collect();
        if stores.is_empty() {
            stores.push("main");
        }
        let server = Postgres::shared();
        let originals = self.originals(|| {
            let urls: Vec<String> = stores.iter().map(|_| server.database()).collect();
            let overrides = overrides(&toml, &stores, &urls);
            for verb in [&["migrate", "apply"][..], &["import", "--data"]] {
                let (ok, said) = self.ask(verb, overrides.iter().flat_map(|o| ["--set", o.as_str()]));
                assert!(ok, "mainstay {}: {said}", verb.join(" "));
            }
            urls
        });
        let urls: Vec<String> = originals.iter().map(|url| server.copy(url)).collect();
        overrides(&toml, &stores, &urls)
    }

    /// The databases that projects with these very files begin with, made the first time.
    fn originals(&self, make: impl FnOnce() -> Vec<String>) -> Vec<String> {
        static MADE: LazyLock<Mutex<HashMap<String, Originals>>> = LazyLock::new(Mutex::default);
        let mut files = String::new();
        contents(&self.dir, &mut files);
        let cell = MADE.lock().expect("not poisoned").entry(files).or_default().clone();
        cell.get_or_init(make).clone()
    }

    /// The token that was made for its operators.
    pub fn admin_token(&self) -> String {
        self.read(".mainstay/admin.token").trim().to_owned()
    }

    /// A token with further claims, for a project whose key is [`SECRET`].
    pub fn signed(role: &str, sub: Option<&str>, more: &Json) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let mut claims = more.clone();
        claims["role"] = role.into();
        claims["exp"] = (now.as_secs() + 3600).into();
        if let Some(sub) = sub {
            claims["sub"] = sub.into();
        }
        sign::token(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET.as_bytes())
    }

    /// Serves it.
    pub fn serve(&self) -> Process {
        self.command().start()
    }

    /// A token that it accepts: of its development key, or of the tests' own on a server.
    pub fn token(&self, role: &str, sub: Option<&str>) -> String {
        if self.engine == Engine::Postgres {
            return Project::signed(role, sub, &json!({}));
        }
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

/// The arguments that have stores stand at these URLs.
fn overrides(toml: &str, stores: &[&str], urls: &[String]) -> Vec<String> {
    let urls = stores.iter().zip(urls).map(|(s, url)| format!("store.{s}.url={url}"));
    let auth = toml.split("[auth]").nth(1).unwrap_or_default();
    let auth = auth.split("\n[").next().unwrap_or_default();
    let secret = (!auth.contains("\nsecret")).then(|| format!("auth.secret={SECRET}"));
    // With the development key a sign-up is confirmed at once, with another not.
    let confirm = (!auth.contains("\nconfirm")).then(|| "auth.confirm=false".to_owned());
    urls.chain(secret).chain(confirm).collect()
}

/// All files of a project, without its state and without what is elsewhere each time.
fn contents(dir: &Path, into: &mut String) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            if !path.ends_with(".mainstay") {
                contents(&path, into);
            }
            continue;
        }
        into.push_str(&path.file_name().unwrap_or_default().to_string_lossy());
        let bytes = std::fs::read(&path).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        text.lines()
            .filter(|line| !line.contains("http://127."))
            .for_each(|line| into.extend([line, "\n"]));
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
