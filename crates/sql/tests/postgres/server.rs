//! A throw-away PostgreSQL server on a Unix socket, spoken to through `psql`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A running server; gone when dropped.
pub struct Server {
    dir: PathBuf,
    bin: PathBuf,
}

impl Server {
    /// Starts one. `Err` says why there is none.
    pub fn start() -> Result<Server, String> {
        let bin = bin().ok_or("no server is installed (cargo xtask engines)")?;
        let dir = std::env::temp_dir().join(format!("mainstay-sql-pg-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&dir))?;
        }
        let server = Server { dir, bin };
        let data = server.dir.join("data");
        let options = [
            "--locale=C",
            "--encoding=UTF8",
            "--auth=trust",
            "-U",
            "postgres",
            "--no-sync",
        ];
        run(server.as_user("initdb").arg("-D").arg(&data).args(options))?;
        let settings = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c timezone=UTC",
            server.dir.display()
        );
        let log = server.dir.join("log");
        let mut start = server.as_user("pg_ctl");
        start.arg("-D").arg(&data).args(["-w", "-l"]).arg(log);
        run(start.args(["-o", &settings, "start"]).stdout(Stdio::null()))?;
        Ok(server)
    }

    /// A fresh database with the roles and functions that schemas count on.
    pub fn database(&self, name: &str) {
        self.script("postgres", &format!("CREATE DATABASE {name};"))
            .expect(name);
        self.script(name, PRELUDE).expect("the prelude");
    }

    /// Runs a script, all of it or nothing after the first error. Gives what it prints: rows as lines, columns separated by `|`.
    pub fn script(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.arg("-h")
            .arg(&self.dir)
            .args([
                "-U",
                "postgres",
                "-d",
                database,
                "-qAtX",
                "-P",
                "null=NULL",
                "-v",
                "ON_ERROR_STOP=1",
            ])
            .env("PGOPTIONS", "--client-min-messages=warning")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = psql.spawn().map_err(|e| e.to_string())?;
        let mut stdin = child.stdin.take().ok_or("no standard input")?;
        let text = sql.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let _ = writer.join();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
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

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.dir.join("data");
        let mut stop = self.as_user("pg_ctl");
        let _ = run(stop.arg("-D").arg(&data).args(["-m", "immediate", "stop"]));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

const PRELUDE: &str = "
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN
    CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS;
  END IF;
END $$;
CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO PUBLIC;
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE
  AS $$ SELECT coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb $$;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT nullif(auth.jwt() ->> 'sub', '')::uuid $$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS $$ SELECT auth.jwt() ->> 'role' $$;
CREATE TABLE public.emitted (topic text, payload jsonb, key text);
CREATE FUNCTION public.emit(topic text, payload jsonb, key text DEFAULT '') RETURNS void LANGUAGE sql
  AS $$ INSERT INTO public.emitted VALUES (topic, payload, key) $$;
";

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
