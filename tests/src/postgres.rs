//! A throw-away PostgreSQL server, for what our answers are compared with.

use crate::until;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A running server; gone with the test.
pub struct Postgres {
    dir: PathBuf,
    bin: PathBuf,
}

impl Postgres {
    /// Starts one on a Unix socket of its own: code point order, UTC, no fsync. `Err` says why there is none.
    pub fn start() -> Result<Postgres, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mainstay-pg-{}-{n}", std::process::id()));
        Postgres::start_in(dir)
    }

    /// In a folder of the caller's, which goes with it.
    pub fn start_in(dir: PathBuf) -> Result<Postgres, String> {
        let bin = bin().ok_or("no PostgreSQL server is installed (cargo xtask engines)")?;
        std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&dir))?;
        }
        let server = Postgres { dir, bin };
        let data = server.dir.join("data");
        run(server.as_user("initdb").arg("-D").arg(&data).args([
            "--locale=C",
            "--encoding=UTF8",
            "--auth=trust",
            "-U",
            "postgres",
        ]))?;
        server.go_on("500")?;
        Ok(server)
    }

    /// Starts it, for the first time or again, with room for so many connections.
    pub fn go_on(&self, connections: &str) -> Result<(), String> {
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c timezone=UTC -c max_connections={connections}",
            self.dir.display()
        );
        run(self
            .as_user("pg_ctl")
            .arg("-D")
            .arg(self.dir.join("data"))
            .args(["-w", "-l"])
            .arg(self.dir.join("log"))
            .args(["-o", &options, "start"]))
    }

    /// Stops it as a power cut would.
    pub fn stop(&self) {
        let data = self.dir.join("data");
        let _ = run(self
            .as_user("pg_ctl")
            .arg("-D")
            .arg(data)
            .args(["-m", "immediate", "stop"]));
    }

    /// One server for all tests of this process, which goes when the process does. Panics when there is none.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<(Postgres, Child)> = OnceLock::new();
        let (server, _) = SHARED.get_or_init(|| {
            let server = Postgres::start().unwrap_or_else(|e| panic!("PostgreSQL: {e}"));
            // A static is never dropped: what stops the server is the end of this pipe, whatever ends the process.
            let mut stop = server.as_user("pg_ctl");
            stop.args(["-m", "immediate", "stop", "-D"])
                .arg(server.dir.join("data"));
            let keeper = Command::new("sh")
                .args(["-c", "dir=$1; shift; read _; \"$@\"; rm -rf \"$dir\"", "keeper"])
                .arg(&server.dir)
                .arg(stop.get_program())
                .args(stop.get_args())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("sh starts");
            (server, keeper)
        });
        server
    }

    /// A new, empty database; its URL.
    pub fn database(&self) -> String {
        let name = new_name();
        self.value(&format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// A new database with all that is in another; both by their URLs.
    pub fn copy(&self, url: &str) -> String {
        let original = url.split_once("@/").and_then(|(_, rest)| rest.split_once('?'));
        let (original, _) = original.expect("a URL of this server");
        let name = new_name();
        // Whoever used it last may not quite have left yet.
        until("the database can be copied", || {
            let mut psql = self.psql();
            psql.args(["-q", "-c", &format!("CREATE DATABASE {name} TEMPLATE {original}")]);
            run(&mut psql).ok()
        });
        self.url(&name)
    }

    /// The URL of a database, over the server's Unix socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}", self.dir.display())
    }

    /// Runs statements in the database of a URL; panics with what psql says. What they yield, as text.
    pub fn execute(&self, url: &str, sql: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        let output = psql
            .arg(url)
            .args(["-v", "ON_ERROR_STOP=1", "-qAtX", "-c", sql])
            .env("PGOPTIONS", "--client-min-messages=warning")
            .output()
            .expect("psql runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs a file of SQL; panics with what psql says.
    pub fn load(&self, file: &Path) {
        self.load_into("postgres", file);
    }

    /// Runs a file of SQL in a database; panics with what psql says.
    pub fn load_into(&self, database: &str, file: &Path) {
        let mut psql = self.psql();
        psql.args(["-d", database]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-q", "-f"]).arg(file);
        run(&mut psql).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// The one value that a query yields, as text.
    pub fn value(&self, sql: &str) -> String {
        let mut psql = self.psql();
        psql.args(["-v", "ON_ERROR_STOP=1", "-qAtX", "-c", sql]);
        let output = psql.output().expect("psql runs");
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.arg("-h")
            .arg(&self.dir)
            .args(["-U", "postgres", "-d", "postgres"])
            .env("PGOPTIONS", "--client-min-messages=warning");
        psql
    }

    /// The server refuses to run as root.
    fn as_user(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command
            .args(["-u", "postgres", "--"])
            .arg(program)
            .current_dir(&self.dir);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The name of a database that this process has not named before.
fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

/// Debian keeps the server's programs out of the path, a folder per version.
fn bin() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|e| e.path().join("bin"))
        .filter(|p| p.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}
