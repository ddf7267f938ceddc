//! A database that was there before a test's process, served from its URL alone.

use crate::{Client, Command, Postgres, Process, Project, SECRET};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A process over a database of its own, which knows nothing of it but where it is.
pub struct AdoptedDatabase {
    /// The server that it is on.
    pub server: &'static Postgres,
    /// The database.
    pub url: String,
    /// The project, which is a `mainstay.toml`.
    pub project: Project,
    /// The process.
    pub process: Process,
    /// A caller without a token; `anon` stands for its role in the SQL.
    pub anon: Client,
    /// That role.
    pub role: String,
}

impl AdoptedDatabase {
    /// Runs statements in a new database, and serves it. `ANON` in them is the role of callers without a token, a new one; `more`
    /// goes into the table `[api]` and what follows it.
    pub fn start(sql: &str, more: &str) -> AdoptedDatabase {
        let server = Postgres::shared();
        let url = server.database();
        // Roles belong to the server, which the tests of this process share.
        let role = format!("nobody_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.execute(&url, &format!("CREATE ROLE {role}; {}", sql.replace("ANON", &role)));
        let project = Project::empty();
        project.write(
            "mainstay.toml",
            &format!("[store.main]\nurl = \"{url}\"\n[auth]\nsecret = \"{SECRET}\"\n[api]\nanon = \"{role}\"\n{more}"),
        );
        // The harness would make databases of its own.
        let process = Command::serve([project.dir().as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--set", "log.access=false"])
            .start();
        let anon = process.client();
        AdoptedDatabase {
            server,
            url,
            project,
            process,
            anon,
            role,
        }
    }

    /// Runs statements in the database; what they yield, as text.
    pub fn execute(&self, sql: &str) -> String {
        self.server.execute(&self.url, sql)
    }
}
