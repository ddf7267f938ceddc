//! Every key of `mainstay.toml`, as plain data with its defaults: the one place that knows them all.
//!
//! [`load`] reads, checks what can be checked without a schema or a server, and returns a [`Project`] or every problem at
//! once. What names a table or a function carries its [`Location`](crate::Location), so that whoever knows the schema can go on complaining in
//! the same words.

mod auth;
mod backup;
mod check;
mod data;
mod events;
mod gateway;
mod pattern;
mod routes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use auth::{Auth, Jwks};
pub use backup::{Backup, BackupKeep};
pub use data::{Api, Cache, Ddl, Describe, Service, Store, TableCache};
pub use events::{Action, Backoff, Bus, Delivery, Operation, Retry, Subscription, Trigger};
pub use gateway::{Admin, Cors, Gateway, GatewayLimits, HostName, Log, LogFormat, LogLevel, Network};
pub use pattern::{PathPattern, RouteMatch, Segment};
pub use routes::{
    AuthRule, Ejection, HeaderEdits, HttpCache, Limit, LimitKey, Route, RouteRetry, Server, Target, Upstream,
};

use crate::document::Document;
use crate::places::Places;
use crate::problem::{Location, Problem};

/// The file's name inside the project's directory.
pub const FILE: &str = "mainstay.toml";

/// The largest `mainstay.toml` that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A project's whole configuration: what the file says, overrides and defaults included.
#[derive(Debug, Clone)]
pub struct Project {
    /// The project's directory; every path below starts from it.
    pub directory: PathBuf,
    /// `[gateway]`: the public listener and its limits.
    pub gateway: Gateway,
    /// `[admin]`: the operators' listener.
    pub admin: Admin,
    /// `[store.NAME]`; never empty.
    pub stores: BTreeMap<String, Store>,
    /// `[cache]`.
    pub cache: Cache,
    /// `[api]`.
    pub api: Api,
    /// `[auth]`.
    pub auth: Auth,
    /// `[bus]`.
    pub bus: Bus,
    /// `[service.NAME]`, and each `services/NAME/schema.sql` that no section names.
    pub services: BTreeMap<String, Service>,
    /// `schema.sql` in the project's directory, if there is one. It lives in the store [`Project::default_store`].
    pub schema: Option<PathBuf>,
    /// `[[on]]`: what happens when something has happened; in the order of the file.
    pub subscriptions: Vec<Subscription>,
    /// `[upstream.NAME]`: services of the user's own.
    pub upstreams: BTreeMap<String, Upstream>,
    /// `[[route]]`: in the order of the file. The first one that matches takes the request.
    pub routes: Vec<Route>,
    /// `[backup]`.
    pub backup: Backup,
    /// `[log]`.
    pub log: Log,
    /// Where each key stands, for whoever knows more than the file does.
    pub places: Places,
    /// What works but is likely not meant; for `check` and the log at start.
    pub warnings: Vec<Problem>,
}

impl Project {
    /// The store of whatever names none: `main`, or else the only one.
    pub fn default_store(&self) -> Option<&str> {
        default_store(&self.stores)
    }

    /// Every DDL file of the project with the store it belongs to: `schema.sql` first, then the services by name.
    pub fn ddl(&self) -> Vec<Ddl> {
        let own = self.schema.iter().filter_map(|path| {
            Some(Ddl {
                service: None,
                path: path.clone(),
                store: self.default_store()?.to_string(),
            })
        });
        let services = self.services.iter().filter_map(|(name, service)| {
            let path = service.ddl.clone()?;
            Some(Ddl {
                service: Some(name.clone()),
                path,
                store: service.store.clone(),
            })
        });
        own.chain(services).collect()
    }

    /// The directory of local state: embedded databases and the development key. Never committed.
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join(".mainstay")
    }
}

/// Reads the project in `dir`. A directory without `mainstay.toml` is a project with every default.
///
/// `overrides` are the command line's `--set KEY=VALUE`; `env` looks up environment variables. Fails with all problems found,
/// top to bottom.
pub fn load(dir: &Path, overrides: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<Project, Vec<Problem>> {
    let text = read_file(dir).map_err(|problem| vec![problem])?;
    parse(&text, dir, overrides, env)
}

/// Like [`load`], with the file's content given instead of read.
pub fn parse(
    text: &str,
    dir: &Path,
    overrides: &[String],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Project, Vec<Problem>> {
    let document = Document::parse(FILE, text, overrides, dir, env)?;
    let mut project = read(&document, dir);
    if !document.has_problems() {
        // Cross references are checked only in a file that is sound in itself: a section with a mistake in it would otherwise
        // be complained about a second time by everything that refers to it.
        check::check(&project, &document);
    }
    project.warnings = document.finish()?;
    Ok(project)
}

fn read_file(dir: &Path) -> Result<String, Problem> {
    let whole = Location::whole(FILE);
    let path = dir.join(FILE);
    if !dir.is_dir() {
        let place = Location::whole(dir.display().to_string());
        return Err(place
            .problem("no such directory")
            .help("give the project's directory, or make one with `mainstay new`"));
    }
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(whole.problem(format!("cannot be read: {error}"))),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(whole.problem(format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        Ok(_) => {}
    }
    let bytes = std::fs::read(&path).map_err(|error| whole.problem(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() as u32 + 1;
        Location {
            file: FILE.into(),
            line,
            column,
        }
        .problem("is not UTF-8 here")
        .help("save the file as UTF-8")
    })
}

fn read(document: &Document<'_>, dir: &Path) -> Project {
    let root = document.root();
    let stores = data::read_stores(&root, dir);
    let services = data::read_services(&root, dir, &stores);
    let schema = Some(dir.join("schema.sql")).filter(|path| path.is_file());
    let project = Project {
        directory: dir.to_path_buf(),
        gateway: gateway::read_gateway(&root.section("gateway"), dir),
        admin: gateway::read_admin(&root.section("admin")),
        cache: data::read_cache(&root.section("cache")),
        api: data::read_api(&root.section("api")),
        auth: auth::read(&root.section("auth")),
        backup: backup::read(&root.section("backup")),
        bus: events::read_bus(&root.section("bus")),
        subscriptions: events::read_subscriptions(&root),
        upstreams: routes::read_upstreams(&root),
        routes: routes::read_routes(&root),
        log: gateway::read_log(&root.section("log")),
        stores,
        services,
        schema,
        places: document.places(),
        warnings: Vec::new(),
    };
    root.finish();
    project
}

fn default_store(stores: &BTreeMap<String, Store>) -> Option<&str> {
    match stores.len() {
        1 => stores.keys().next().map(String::as_str),
        _ => stores.contains_key("main").then_some("main"),
    }
}

/// Whether a name that the user chose is fit for metrics, file names and URLs: letters, digits, `_`, `-`, `.`.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests;
