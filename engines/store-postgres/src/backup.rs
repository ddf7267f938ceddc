//! Backup and restore of a database, by PostgreSQL's own `pg_dump` and `pg_restore`: they are what knows every kind of object that a
//! database may hold. The dump, and what is said of its tables, are of one exported snapshot.

use crate::address::{Address, Host, SslMode};
use crate::config::Config;
use crate::copy::{quote_literal, said};
use crate::store::PostgresStore;
use mainstay_model::{Error, Result};
use mainstay_sql::postgres::quote_identifier;
use mainstay_store::{BoxFuture, Recovery, Snapshot, TableDigest};
use serde_json::{Value as Json, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::Client;

/// Values as the same text on every server.
const SETTINGS: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; \
                        SET bytea_output = 'hex'; SET search_path = ''; SET row_security = off; SET statement_timeout = 0";

/// Tables that hold rows of their own and belong to no extension.
const TABLES: &str = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
    AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%' \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid \
                    AND d.deptype = 'e') ORDER BY 1, 2";

/// Roles that something in the database belongs to or is granted to, and who is a member of them.
const ROLES: &str = "SELECT r.rolname::text, r.rolinherit, r.rolbypassrls, \
    ARRAY(SELECT m.rolname::text FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.member \
          WHERE a.roleid = r.oid ORDER BY 1) \
    FROM pg_catalog.pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%' AND r.oid <> 10 AND EXISTS ( \
      SELECT FROM pg_catalog.pg_shdepend d WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = r.oid \
      AND d.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))) ORDER BY 1";

/// Backs up one database and brings it back.
#[derive(Clone)]
pub struct PostgresRecovery {
    name: String,
    url: String,
    /// Of a database that was made for a drill: where it is dropped from.
    made_from: Option<String>,
}

impl PostgresRecovery {
    /// Of the database behind the store `name`.
    pub fn new(name: &str, url: &str) -> PostgresRecovery {
        PostgresRecovery {
            name: name.to_owned(),
            url: url.to_owned(),
            made_from: None,
        }
    }

    async fn client(&self) -> Result<Client> {
        let config = Config {
            application_name: "mainstay backup".to_owned(),
            ..Config::new(&self.url)
        };
        PostgresStore::connect(&config)
            .await
            .map_err(|e| Error::new("08001", e.to_string()))
    }

    async fn take(&self, file: &Path) -> Result<Snapshot> {
        let dump = tool("pg_dump")?;
        let client = self.client().await?;
        run(&client, SETTINGS).await?;
        run(&client, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // One statement, so that the position and the snapshot are of one moment.
        let sql = "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot()::text, \
                   pg_catalog.current_setting('server_version')";
        let row = client.query_one(sql, &[]).await.map_err(|e| said(&e))?;
        let text = |at: usize| row.try_get::<_, String>(at).map_err(|e| said(&e));
        let (exported, position, version) = (text(0)?, text(1)?, text(2)?);
        let mut command = self.command(&dump)?;
        command
            .args(["--format=custom", "--compress=0", "--no-password"])
            .arg(format!("--snapshot={exported}"))
            .arg("--file")
            .arg(file);
        let dumping = tokio::task::spawn_blocking(move || finish(command));
        let tables = digests(&client).await;
        let notes = roles(&client).await;
        // The snapshot lives as long as this transaction.
        let dumped = dumping
            .await
            .unwrap_or_else(|_| Err(Error::internal("the dumping thread ended")));
        dumped?;
        run(&client, "COMMIT").await?;
        Ok(Snapshot {
            version: format!("PostgreSQL {version}"),
            position,
            tables: tables?,
            notes: notes?,
        })
    }

    async fn look(&self) -> Result<Vec<TableDigest>> {
        let client = self.client().await?;
        run(&client, SETTINGS).await?;
        run(&client, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        digests(&client).await
    }

    async fn why_occupied(&self) -> Result<Option<String>> {
        let client = self.client().await?;
        run(&client, SETTINGS).await?;
        let mut full = Vec::new();
        for (namespace, name) in tables(&client).await? {
            // What migrations and requests leave behind themselves, other than events.
            if namespace == "mainstay" && name != "outbox" {
                continue;
            }
            let sql = format!("SELECT EXISTS (SELECT FROM {})", quoted(&namespace, &name));
            let row = client.query_one(&sql, &[]).await.map_err(|e| said(&e))?;
            if row.try_get(0).unwrap_or(true) {
                full.push(shown(&namespace, &name));
            }
        }
        Ok((!full.is_empty()).then(|| {
            let more = full.len().saturating_sub(3);
            full.truncate(3);
            let more = if more > 0 {
                format!(" and {more} more tables")
            } else {
                String::new()
            };
            format!("the database holds rows, in {}{more}", full.join(", "))
        }))
    }

    async fn put_back(&self, file: &Path, snapshot: &Snapshot, replace: bool) -> Result<()> {
        let restore = tool("pg_restore")?;
        if !replace && let Some(why) = self.why_occupied().await? {
            return Err(Error::new("55006", why));
        }
        let client = self.client().await?;
        let (superuser, made) = make_roles(&client, &snapshot.notes).await?;
        let restored = self.run_restore(&client, &restore, file, superuser).await;
        if restored.is_err() {
            // A role that nobody needs now is not left behind.
            for role in made {
                let _ = client
                    .batch_execute(&format!("DROP ROLE {}", quote_identifier(&role)))
                    .await;
            }
        }
        restored
    }

    async fn run_restore(&self, client: &Client, restore: &Path, file: &Path, superuser: bool) -> Result<()> {
        let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%' \
                     AND n.nspname NOT LIKE 'pg\\_temp%') OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname IN ('auth', 'mainstay'))";
        let row = client.query_one(there, &[]).await.map_err(|e| said(&e))?;
        let clean: bool = row.try_get(0).map_err(|e| said(&e))?;
        let mut command = self.command(restore)?;
        command.args(["--single-transaction", "--exit-on-error", "--no-password", "--dbname"]);
        command.arg(self.address()?.database);
        if clean {
            command.args(["--clean", "--if-exists"]);
        }
        if !superuser {
            command.arg("--no-owner");
        }
        command.arg(file);
        tokio::task::spawn_blocking(move || finish(command))
            .await
            .unwrap_or_else(|_| Err(Error::internal("the restoring thread ended")))
    }

    fn address(&self) -> Result<Address> {
        Address::parse(&self.url).map_err(|why| Error::new("08001", why))
    }

    /// A program that reaches the database by libpq's variables: passwords on a command line are everybody's to read.
    fn command(&self, program: &Path) -> Result<Command> {
        let address = self.address()?;
        let join = |parts: Vec<OsString>| parts.join(&OsString::from(","));
        let (hosts, ports): (Vec<OsString>, Vec<OsString>) = address
            .hosts
            .iter()
            .map(|host| match host {
                Host::Unix(folder, port) => (folder.clone().into_os_string(), port.to_string().into()),
                Host::Tcp(host, port) => (host.into(), port.to_string().into()),
            })
            .unzip();
        let mut command = Command::new(program);
        command
            .env("PGHOST", join(hosts))
            .env("PGPORT", join(ports))
            .env("PGUSER", &address.user)
            .env("PGDATABASE", &address.database)
            .env("PGAPPNAME", "mainstay backup")
            .env(
                "PGSSLMODE",
                match address.sslmode {
                    SslMode::Disable => "disable",
                    SslMode::Prefer => "prefer",
                    SslMode::Require => "require",
                    SslMode::VerifyCa => "verify-ca",
                    SslMode::VerifyFull => "verify-full",
                },
            );
        if address.hosts.len() > 1 {
            // The one that the snapshot was exported on.
            command.env("PGTARGETSESSIONATTRS", "read-write");
        }
        if let Some(password) = &address.password {
            command.env("PGPASSWORD", password);
        }
        if let Some(file) = &address.root_certificate {
            command.env("PGSSLROOTCERT", file);
        }
        Ok(command)
    }
}

impl Recovery for PostgresRecovery {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> &'static str {
        "postgres"
    }

    fn snapshot<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(self.take(file))
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableDigest>>> {
        Box::pin(self.look())
    }

    fn occupied(&self) -> BoxFuture<'_, Result<Option<String>>> {
        Box::pin(self.why_occupied())
    }

    fn restore<'a>(&'a self, file: &'a Path, snapshot: &'a Snapshot, replace: bool) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.put_back(file, snapshot, replace))
    }

    fn scratch<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, Result<Box<dyn Recovery>>> {
        Box::pin(async move {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let database = format!("mainstay_drill_{}_{n}", std::process::id());
            let client = self.client().await?;
            run(
                &client,
                &format!("CREATE DATABASE {} TEMPLATE template0", quote_identifier(&database)),
            )
            .await
            .map_err(|e| e.hint("A drill restores into a database of its own; the role needs CREATEDB."))?;
            Ok(Box::new(PostgresRecovery {
                name: self.name.clone(),
                url: with_database(&self.url, &database),
                made_from: Some(self.url.clone()),
            }) as Box<dyn Recovery>)
        })
    }

    fn discard(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let Some(from) = &self.made_from else {
                return Err(Error::internal("only what a drill has made is dropped"));
            };
            let client = PostgresRecovery::new(&self.name, from).client().await?;
            let database = quote_identifier(&self.address()?.database);
            run(&client, &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await
        })
    }
}

async fn run(client: &Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|e| said(&e))
}

async fn tables(client: &Client) -> Result<Vec<(String, String)>> {
    let rows = client.query(TABLES, &[]).await.map_err(|e| said(&e))?;
    rows.iter()
        .map(|row| {
            Ok((
                row.try_get(0).map_err(|e| said(&e))?,
                row.try_get(1).map_err(|e| said(&e))?,
            ))
        })
        .collect()
}

async fn digests(client: &Client) -> Result<Vec<TableDigest>> {
    let mut found = Vec::new();
    for (namespace, name) in tables(client).await? {
        let sql = format!(
            "SELECT count(*)::text, coalesce(sum(pg_catalog.hashtextextended(t::text COLLATE \"C\", 0)::numeric), 0)::text \
             FROM ONLY {} t",
            quoted(&namespace, &name)
        );
        let row = client.query_one(&sql, &[]).await.map_err(|e| said(&e))?;
        let text = |at: usize| row.try_get::<_, String>(at).map_err(|e| said(&e));
        found.push(TableDigest {
            name: shown(&namespace, &name),
            rows: text(0)?.parse().unwrap_or(0),
            digest: text(1)?,
        });
    }
    Ok(found)
}

fn quoted(namespace: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(namespace), quote_identifier(name))
}

fn shown(namespace: &str, name: &str) -> String {
    match namespace {
        "public" => name.to_owned(),
        other => format!("{other}.{name}"),
    }
}

/// A dump holds no roles: they are the server's, not the database's.
async fn roles(client: &Client) -> Result<Vec<String>> {
    let rows = client.query(ROLES, &[]).await.map_err(|e| said(&e))?;
    rows.iter()
        .map(|row| {
            let get = |e: tokio_postgres::Error| said(&e);
            let (name, inherit): (String, bool) = (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
            let (bypass, members): (bool, Vec<String>) = (row.try_get(2).map_err(get)?, row.try_get(3).map_err(get)?);
            Ok(json!({"role": name, "inherit": inherit, "bypassrls": bypass, "members": members}).to_string())
        })
        .collect()
}

/// Makes the roles that are missing, without a login; says whether we are a superuser, and which were made.
async fn make_roles(client: &Client, notes: &[String]) -> Result<(bool, Vec<String>)> {
    let sql = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let row = client.query_one(sql, &[]).await.map_err(|e| said(&e))?;
    let superuser = row.try_get(0).unwrap_or(false);
    let roles: Vec<Json> = notes
        .iter()
        .filter_map(|note| serde_json::from_str(note).ok())
        .collect();
    let mut made = Vec::new();
    for role in &roles {
        let Some(name) = role["role"].as_str() else { continue };
        let there = format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {})",
            quote_literal(name)
        );
        let row = client.query_one(&there, &[]).await.map_err(|e| said(&e))?;
        if row.try_get(0).unwrap_or(false) {
            continue;
        }
        let inherit = if role["inherit"] == true {
            "INHERIT"
        } else {
            "NOINHERIT"
        };
        let bypass = if role["bypassrls"] == true { " BYPASSRLS" } else { "" };
        let sql = format!("CREATE ROLE {} NOLOGIN {inherit}{bypass}", quote_identifier(name));
        run(client, &sql).await.map_err(|e| {
            e.hint(format!(
                "The archive's objects belong or are granted to role \"{name}\", which the server lacks; make it first."
            ))
        })?;
        made.push(name.to_owned());
    }
    for role in &roles {
        let Some(name) = role["role"].as_str().filter(|name| made.iter().any(|m| m == name)) else {
            continue;
        };
        for member in role["members"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
        {
            let sql = format!("GRANT {} TO {}", quote_identifier(name), quote_identifier(member));
            // Logins are this server's own affair; one that is not here is not missed.
            let _ = client.batch_execute(&sql).await;
        }
        let own = format!("GRANT {} TO CURRENT_USER", quote_identifier(name));
        let _ = client.batch_execute(&own).await;
    }
    Ok((superuser, made))
}

/// The same server with another database.
fn with_database(url: &str, database: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return format!("{url} dbname={database}");
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, format!("?{query}")),
        None => (rest, String::new()),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{authority}/{database}{query}")
}

/// Where a program of PostgreSQL's is: in the path, or where Debian keeps the newest version.
fn tool(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    // The newest first: a newer one reads older servers, an older one no newer.
    let folders = versions
        .into_iter()
        .rev()
        .map(|(_, folder)| folder)
        .chain(std::env::split_paths(&path));
    let found = folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    found.ok_or_else(|| {
        Error::new(
            "58P01",
            format!("{name} is not installed, and a database is backed up and restored by it"),
        )
        .hint(
            "Install PostgreSQL's client programs (Debian: postgresql-client), of the server's version or a newer one.",
        )
    })
}

fn finish(mut command: Command) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| Error::new("58030", format!("{name}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(6).collect();
    Err(Error::new("58030", format!("{name} failed: {}", lines.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_is_another() {
        for (url, expected) in [
            (
                "postgres://u:p@h:1,g:2/shop?sslmode=require",
                "postgres://u:p@h:1,g:2/x?sslmode=require",
            ),
            ("postgresql:///shop?host=/run", "postgresql:///x?host=/run"),
            ("postgres://h", "postgres://h/x"),
            ("host=/run dbname=shop", "host=/run dbname=shop dbname=x"),
        ] {
            assert_eq!(with_database(url, "x"), expected);
            assert_eq!(Address::parse(expected).unwrap().database, "x");
        }
    }
}
