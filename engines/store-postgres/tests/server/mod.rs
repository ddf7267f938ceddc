//! A PostgreSQL server of a test's own, which can be stopped, killed and started again.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A server; gone with the test.
pub struct Server {
    dir: PathBuf,
    bin: PathBuf,
    options: String,
    pooler: Mutex<Option<Child>>,
}

impl Server {
    /// Initialises and starts one, on a Unix socket alone. Panics where no server is installed.
    pub fn start(more: &str) -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mainstay-store-pg-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let server = Server {
            options: format!(
                "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c max_connections=100 {more}",
                dir.display()
            ),
            bin: bin(),
            dir,
            pooler: Mutex::default(),
        };
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&server.dir));
        }
        let data = server.data();
        run(server.command("initdb").arg("-D").arg(data).args([
            "--locale=C",
            "--encoding=UTF8",
            "--auth=trust",
            "-U",
            "postgres",
            "-N",
        ]));
        server.resume();
        server
    }

    /// Where its socket is.
    pub fn folder(&self) -> String {
        self.dir.display().to_string()
    }

    /// Gives files of its folder to the user that it runs as, for that user alone.
    pub fn own(&self, files: &[&str]) {
        for file in files {
            let file = self.dir.join(file);
            run(Command::new("chmod").arg("600").arg(&file));
            if is_root() {
                run(Command::new("chown").arg("postgres").arg(&file));
            }
        }
    }

    /// Replaces who may connect, and how.
    pub fn allow(&self, rules: &str) {
        std::fs::write(self.data().join("pg_hba.conf"), rules).unwrap();
    }

    /// Starts it again.
    pub fn resume(&self) {
        self.resume_with("");
    }

    /// Starts it again with other options.
    pub fn resume_with(&self, more: &str) {
        run(self
            .command("pg_ctl")
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-l"])
            .arg(self.dir.join("log"))
            .args(["-o", &format!("{} {more}", self.options), "start"]));
    }

    /// Stops it: `fast` as an administrator does, `immediate` as a crash does.
    pub fn stop(&self, mode: &str) {
        run(self
            .command("pg_ctl")
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-m", mode, "stop"]));
    }

    /// PgBouncer in transaction mode, on port 6432 of the same folder. Whether it is installed.
    pub fn start_pooler(&self) -> bool {
        let Some(program) = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|p| Path::new(p).exists())
        else {
            return false;
        };
        let folder = self.dir.display();
        let config = self.dir.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={folder} user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {folder}\nauth_type = any\npool_mode = transaction\nmax_client_conn = 2000\ndefault_pool_size = 20\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", program]);
            command
        } else {
            Command::new(program)
        };
        let child = command
            .arg(&config)
            .current_dir(&self.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        *self.pooler.lock().unwrap() = Some(child);
        let began = std::time::Instant::now();
        while std::os::unix::net::UnixStream::connect(self.dir.join(".s.PGSQL.6432")).is_err() {
            assert!(began.elapsed().as_secs() < 10, "PgBouncer does not start");
            std::thread::yield_now();
        }
        true
    }

    /// A new database; its URL.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("db{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}", self.dir.display())
    }

    /// Runs SQL in a database; its output.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .arg("-h")
            .arg(&self.dir)
            .args([
                "-U",
                "postgres",
                "-d",
                database,
                "-v",
                "ON_ERROR_STOP=1",
                "-qAtX",
                "-c",
                sql,
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The server refuses to run as root.
    fn command(&self, program: &str) -> Command {
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

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut pooler) = self.pooler.lock().unwrap().take() {
            // runuser hands SIGTERM on; a kill it could not.
            let _ = Command::new("kill").arg(pooler.id().to_string()).output();
            let _ = pooler.wait();
        }
        let mut stop = self.command("pg_ctl");
        let _ = stop
            .arg("-D")
            .arg(self.data())
            .args(["-m", "immediate", "stop"])
            .output();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Debian keeps the server's programs out of the path, a folder per version.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("no PostgreSQL server is installed");
    let mut versions: Vec<PathBuf> = versions
        .flatten()
        .map(|e| e.path().join("bin"))
        .filter(|p: &PathBuf| Path::exists(&p.join("initdb")))
        .collect();
    versions.sort();
    versions.pop().expect("no PostgreSQL server is installed")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
