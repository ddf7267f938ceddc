//! Every engine, by the scheme of its URL: the one list to add to.

use crate::project::Loaded;
use mainstay_bus::Bus;
use mainstay_bus_embedded::EmbeddedBus;
use mainstay_config::Project;
use mainstay_config::project::{Operation, Trigger};
use mainstay_model::{ChangeKind, Error, FunctionId, RelationId, Schema, Span};
use mainstay_store::{Recovery, Store};
use mainstay_store_postgres::{PostgresRecovery, PostgresStore};
use mainstay_store_sqlite::{Seed, SqliteRecovery, SqliteStore};
use std::sync::Arc;

/// The schemes of stores.
const STORES: [&str; 3] = ["sqlite", "postgres", "postgresql"];

/// Stores and buses whose URLs nobody speaks, a sentence each.
pub fn unknown(project: &Project) -> Vec<String> {
    let stores = project
        .stores
        .values()
        .filter(|s| !STORES.contains(&s.url.scheme().as_str()))
        .map(no_store);
    let bus = Some(&project.bus).filter(|b| b.url.scheme() != "embedded").map(no_bus);
    stores.chain(bus).collect()
}

/// Functions whose bodies their engine cannot run and types that it does not keep, each with its place and the reason.
pub fn untranslatable(project: &Project, schema: &Schema) -> Vec<String> {
    let embedded = |store: &str| project.stores.get(store).is_some_and(|s| s.is_embedded());
    let mut found = Vec::new();
    for (index, function) in schema.functions.iter().enumerate().filter(|(_, f)| embedded(&f.store)) {
        let translated = mainstay_query::body_of(schema, FunctionId(index as u32)).and_then(|body| {
            body.iter()
                .try_for_each(|statement| mainstay_sql::sqlite::compile_statement(schema, statement).map(drop))
        });
        if let Err(error) = translated {
            let message = format!("function {}: {}", function.name, error.message);
            found.push(placed(&function.span, &message, &error));
        }
    }
    for (span, error) in mainstay_sql::sqlite::unkept_types(schema, embedded) {
        found.push(placed(&span, &error.message, &error));
    }
    found
}

fn placed(span: &Span, message: &str, error: &Error) -> String {
    let mut problem = format!("{}:{}:{}: {message}", span.file, span.line, span.column);
    for more in error.details.iter().chain(&error.hint) {
        problem.push_str("; ");
        problem.push_str(more);
    }
    problem
}

fn no_store(store: &mainstay_config::project::Store) -> String {
    format!(
        "{}: no store speaks \"{}:\" yet; there is {}:",
        store.at,
        store.url.scheme(),
        STORES.join(":, ")
    )
}

fn no_bus(bus: &mainstay_config::project::Bus) -> String {
    format!(
        "{}: no bus speaks \"{}:\" yet; there is embedded:",
        bus.at,
        bus.url.scheme()
    )
}

/// The stores of a process.
pub struct Opened {
    /// Each at its index in the project's order of names.
    pub stores: Vec<Arc<dyn Store>>,
    /// Those on PostgreSQL.
    pub postgres: Vec<Arc<PostgresStore>>,
}

/// Opens every store whose name is wanted. An adopted database has been read before ([`adopted::take_in`]).
pub async fn stores(loaded: &Loaded, wanted: &dyn Fn(&str) -> bool) -> Result<Opened, String> {
    let mut opened = Opened {
        stores: Vec::new(),
        postgres: Vec::new(),
    };
    for (name, store) in loaded.project.stores.iter().filter(|(name, _)| wanted(name)) {
        let index = opened.stores.len() as u16;
        opened.stores.push(match store.url.scheme().as_str() {
            "sqlite" => sqlite(loaded, name, index)?,
            "postgres" | "postgresql" => {
                let captured = captured_by_postgres(loaded, &loaded.schema);
                let store = PostgresStore::open(postgres(loaded, name, store, index), loaded.schema.clone(), captured)
                    .await
                    .map_err(|e| format!("store \"{name}\": {e}"))?;
                opened.postgres.push(store.clone());
                store
            }
            _ => return Err(no_store(store)),
        });
    }
    Ok(opened)
}

/// How a store on PostgreSQL is opened.
pub fn postgres(
    loaded: &Loaded,
    name: &str,
    store: &mainstay_config::project::Store,
    index: u16,
) -> mainstay_store_postgres::Config {
    let api = &loaded.project.api;
    mainstay_store_postgres::Config {
        name: name.to_owned(),
        index,
        write_connections: store.connections as usize,
        statement_timeout: store.timeout,
        idempotency_kept: api.idempotency,
        search_path: api.search_path.iter().map(|s| s.as_str().into()).collect(),
        pre_request: api.pre_request.clone(),
        must_answer: false,
        stream_from_bytes: stream_from(loaded),
        ..mainstay_store_postgres::Config::new(store.url.expose())
    }
}

/// From how many bytes on an answer is handed over as it is read: what a cache would keep is read as a whole.
fn stream_from(loaded: &Loaded) -> usize {
    loaded.project.cache.max_entry.max(1 << 20) as usize
}

/// How a store in a file is opened.
pub fn sqlite_config(loaded: &Loaded, name: &str) -> Result<mainstay_store_sqlite::Config, String> {
    let store = &loaded.project.stores[name];
    let path = store.sqlite_file().ok_or_else(|| {
        format!(
            "{}: an embedded store needs a file, as in sqlite:.mainstay/{name}.db",
            store.at
        )
    })?;
    Ok(mainstay_store_sqlite::Config {
        name: name.to_owned(),
        bound: loaded.project.cache.bound,
        long_read_threads: store.readers as usize,
        statement_timeout: store.timeout,
        idempotency_kept: loaded.project.api.idempotency,
        stream_from_bytes: stream_from(loaded),
        sequences: loaded
            .sequence_values
            .iter()
            .map(|(name, next)| (name.to_string(), *next))
            .collect(),
        ..mainstay_store_sqlite::Config::new(path)
    })
}

fn sqlite(loaded: &Loaded, name: &str, index: u16) -> Result<Arc<dyn Store>, String> {
    let config = mainstay_store_sqlite::Config {
        index,
        ..sqlite_config(loaded, name)?
    };
    if let Some(parent) = config.path.parent() {
        let at = &loaded.project.stores[name].at;
        std::fs::create_dir_all(parent).map_err(|e| format!("{at}: {}: {e}", parent.display()))?;
    }
    let seeds = loaded
        .seeds
        .iter()
        .filter(|seed| *loaded.schema.relation(seed.relation).store == *name)
        .map(|seed| Seed {
            relation: seed.relation,
            columns: seed.columns.clone(),
            rows: seed.rows.clone(),
            origin: format!("{}:{}", seed.span.file, seed.span.line),
        })
        .collect();
    let schema = loaded.schema_of(name).clone();
    // Beside an adopted database a file has nothing but accounts in it.
    let captured = match Arc::ptr_eq(&schema, &loaded.schema) {
        true => captured_by_sqlite(loaded),
        false => mainstay_store_sqlite::Captured::none(),
    };
    let opened = SqliteStore::open(config, schema, captured, seeds);
    opened
        .map(|store| store as Arc<dyn Store>)
        .map_err(|e| format!("store \"{name}\": {e}"))
}

/// The changes that somebody subscribes to, by a schema.
fn subscribed(loaded: &Loaded, schema: &Schema) -> Vec<(RelationId, ChangeKind)> {
    let mut found = Vec::new();
    for subscription in &loaded.project.subscriptions {
        let Trigger::Change { table, operations } = &subscription.trigger else {
            continue;
        };
        let Some(relation) = crate::project::find_table(schema, table) else {
            continue;
        };
        found.extend(operations.iter().map(|operation| {
            let kind = match operation {
                Operation::Insert => ChangeKind::Insert,
                Operation::Update => ChangeKind::Update,
                Operation::Delete => ChangeKind::Delete,
            };
            (relation, kind)
        }));
    }
    found
}

fn captured_by_sqlite(loaded: &Loaded) -> mainstay_store_sqlite::Captured {
    let mut captured = mainstay_store_sqlite::Captured::none();
    for (relation, kind) in subscribed(loaded, &loaded.schema) {
        captured.add(relation, kind);
    }
    captured
}

/// Whose changes PostgreSQL records, by a schema, which may be another than the one at the start.
pub fn captured_by_postgres(loaded: &Loaded, schema: &Schema) -> mainstay_store_postgres::Captured {
    let mut captured = mainstay_store_postgres::Captured::none();
    for (relation, kind) in subscribed(loaded, schema) {
        captured.add(relation, kind);
    }
    captured
}

/// Opens the bus; a process that is a part of the project has an embedded one of its own, told apart by `suffix`.
pub fn bus(loaded: &Loaded, suffix: &str) -> Result<Arc<dyn Bus>, String> {
    let bus = &loaded.project.bus;
    match bus.url.scheme().as_str() {
        "embedded" => {
            let state = loaded.project.state_directory();
            std::fs::create_dir_all(&state).map_err(|e| format!("{}: {e}", state.display()))?;
            let file = if suffix.is_empty() {
                "bus.db".to_owned()
            } else {
                format!("bus-{suffix}.db")
            };
            EmbeddedBus::open(&state.join(file))
                .map(|b| b as Arc<dyn Bus>)
                .map_err(|e| format!("bus: {}", e.message))
        }
        _ => Err(no_bus(bus)),
    }
}

/// What the embedded bus of the whole project is called in an archive, and how the names of its parts' begin. No store can be called so.
pub const BUS: &str = "@bus";

/// What backs up the stores, in their order.
pub fn recoveries(project: &Project) -> Result<Vec<Box<dyn Recovery>>, String> {
    let names = project.stores.keys();
    names.map(|name| recovery(project, name)).collect()
}

/// What backs up and restores one store, or one embedded bus.
pub fn recovery(project: &Project, name: &str) -> Result<Box<dyn Recovery>, String> {
    if let Some(part) = name.strip_prefix(BUS) {
        let file = project.state_directory().join(format!("bus{part}.db"));
        return Ok(Box::new(SqliteRecovery::new(name, file)));
    }
    let Some(store) = project.stores.get(name) else {
        return Err(format!("there is no store \"{name}\""));
    };
    match store.sqlite_file() {
        Some(file) => Ok(Box::new(SqliteRecovery::new(name, file))),
        None if store.url.scheme().starts_with("postgres") => {
            Ok(Box::new(PostgresRecovery::new(name, store.url.expose())))
        }
        None => Err(no_store(store)),
    }
}

/// The embedded buses whose files there are, by their names in an archive.
pub fn buses(project: &Project) -> Vec<String> {
    let files = std::fs::read_dir(project.state_directory())
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| {
            let part = file
                .file_name()
                .to_str()?
                .strip_prefix("bus")?
                .strip_suffix(".db")?
                .to_owned();
            (part.is_empty() || part.starts_with('-')).then(|| format!("{BUS}{part}"))
        })
        .collect();
    names.sort();
    names
}

/// A copy of a bus' file, which anybody can read.
pub fn copy_of_bus(name: &str, file: &std::path::Path) -> Box<dyn Recovery> {
    Box::new(SqliteRecovery::new(name, file))
}
