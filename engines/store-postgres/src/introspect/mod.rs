//! What an existing database is: its catalogs read into a [`Schema`], so that it is served without a `schema.sql`.
//!
//! Two round trips in one snapshot: the first finds what is served and what that depends on, the second reads it in detail. Each is
//! one message of several statements whose rows come as text, which needs no prepared statement and works through a pooler.
//! Partitions are read through their table and not served themselves, as PostgREST does.

mod catalog;
mod found;
mod functions;
mod node_tree;
mod privileges;
mod relations;
mod report;
mod rows;
mod suggestions;
mod types;
mod watch;

use mainstay_model::{Error, Schema};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

pub use report::{access, warnings};
pub use watch::{CHANNELS, Change, Reload, Watch, digest, drive, listen, notification};

/// What is read of a database.
#[derive(Clone, Debug)]
pub struct Options {
    /// The store's name: `[store.NAME]`.
    pub store: Arc<str>,
    /// The schemas that are served, the default one first. None is `public`.
    pub schemas: Vec<String>,
    /// Schemas that are not served, in which functions of a row are looked for too.
    pub extra_search_path: Vec<String>,
    /// Roles whose privileges matter, besides those that the connection may switch to.
    pub roles: Vec<String>,
}

impl Options {
    /// Everything as it is without configuration.
    pub fn new(store: impl Into<Arc<str>>) -> Options {
        Options {
            store: store.into(),
            schemas: Vec::new(),
            extra_search_path: vec!["public".to_owned(), "extensions".to_owned()],
            roles: Vec::new(),
        }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Introspected {
    /// The model. Privileges are effective ones: memberships, defaults, ownership and the schema's own `USAGE` are in them.
    /// Relations of schemas that are not served are in it only where a served one depends on them.
    pub schema: Schema,
    /// What is in the served schemas and is not served, and why.
    pub not_served: Vec<NotServed>,
    /// The database's roles, by name.
    pub roles: Vec<RoleFacts>,
    /// Changes when anything that is read here does; the same as [`digest`]'s at that moment.
    pub digest: u64,
    /// What a person should know at start.
    pub notes: Vec<String>,
    /// The server and how we are connected.
    pub server: Server,
    /// How long it took, the server's time and the way there included.
    pub took: Duration,
}

/// Something that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotServed {
    /// `function public.f(internal)`, `partition public.events_2024`
    pub object: String,
    /// Why not, and what would help.
    pub reason: String,
}

/// What is known of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleFacts {
    /// Its name.
    pub name: Arc<str>,
    /// `BYPASSRLS`, or a superuser.
    pub bypasses_rls: bool,
    /// `SUPERUSER`
    pub superuser: bool,
    /// `LOGIN`
    pub can_login: bool,
    /// The role that we are connected as may `SET ROLE` to it.
    pub settable_by_us: bool,
}

/// The server as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `server_version_num`: 150004
    pub version: u32,
    /// Whom we are connected as.
    pub user: Arc<str>,
    /// The database's name.
    pub database: Arc<str>,
}

/// Reads the catalogs. The connection must be free: nobody else may send statements on it meanwhile.
///
/// # Errors
/// 3F000 for a schema that is not there; whatever the database refuses, with its own code.
pub async fn introspect(client: &Client, options: &Options) -> Result<Introspected, Error> {
    let started = Instant::now();
    let read = read(client, options).await;
    if read.is_err() {
        // A failed statement leaves its transaction open; the connection is to be usable again.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    let (found, details) = read?;
    let mut introspected = assemble(options, &found, &details)?;
    introspected.took = started.elapsed();
    Ok(introspected)
}

async fn read(client: &Client, options: &Options) -> Result<(found::Found, found::Details), Error> {
    let found = catalog::find(client, options).await?;
    // Before anything is read of a schema that is not there.
    found.served(options)?;
    let details = catalog::details(client, &found).await?;
    Ok((found, details))
}

fn assemble(options: &Options, found: &found::Found, details: &found::Details) -> Result<Introspected, Error> {
    let namespaces = found.served(options)?;
    let types = types::Types::new(found, details);
    let privileges = privileges::Privileges::new(options, found, details)?;
    let mut schema = Schema {
        namespaces: namespaces.iter().map(|(_, name)| name.clone()).collect(),
        extra_search_path: options
            .extra_search_path
            .iter()
            .map(|n| Arc::from(n.as_str()))
            .collect(),
        has_grants: true,
        digest: found.digest,
        ..Schema::default()
    };
    types.declare(&mut schema)?;
    let ids = relations::assemble(&mut schema, options, &namespaces, found, details, &types, &privileges)?;
    let mut not_served = relations::partitions(found);
    let one_row = functions::assemble(
        &mut schema,
        options,
        &namespaces,
        found,
        &types,
        &privileges,
        &ids,
        &mut not_served,
    )?;
    schema.index();
    schema.relate();
    functions::relate(&mut schema, &ids, &one_row);
    let mut notes = privileges.notes();
    notes.extend(suggestions::of(&schema, &namespaces, found));
    Ok(Introspected {
        schema,
        not_served,
        roles: found.roles.iter().map(privileges::facts).collect(),
        digest: found.digest,
        notes,
        server: found.server.clone(),
        took: Duration::ZERO,
    })
}

/// The database's complaint under its own code; a lost connection as one that may be tried again.
pub(crate) fn failed(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(db) => {
            let mut out = Error::new(
                db.code().code().to_owned(),
                format!("reading the catalogs: {}", db.message()),
            );
            if let Some(detail) = db.detail() {
                out = out.detail(detail);
            }
            match db.hint() {
                Some(hint) => out.hint(hint),
                None => out,
            }
        }
        None => Error::new("08006", format!("reading the catalogs: {error}")).retry(mainstay_model::Retry::Safe),
    }
}
