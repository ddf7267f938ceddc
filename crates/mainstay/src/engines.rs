//! Every engine, by the scheme of its URL: the one list to add to.

use crate::project::Loaded;
use mainstay_bus::Bus;
use mainstay_bus_embedded::EmbeddedBus;
use mainstay_config::Project;
use mainstay_config::project::{Operation, Trigger};
use mainstay_model::{ChangeKind, FunctionId, Schema};
use mainstay_store::Store;
use mainstay_store_sqlite::{Captured, Config, Seed, SqliteStore};
use std::sync::Arc;

/// Stores and buses whose URLs nobody speaks, a sentence each.
pub fn unknown(project: &Project) -> Vec<String> {
    let stores = project
        .stores
        .values()
        .filter(|s| s.url.scheme() != "sqlite")
        .map(no_store);
    let bus = Some(&project.bus).filter(|b| b.url.scheme() != "embedded").map(no_bus);
    stores.chain(bus).collect()
}

/// Functions whose bodies their engine cannot run, each with its place and the reason.
pub fn untranslatable(project: &Project, schema: &Schema) -> Vec<String> {
    let embedded = |store: &str| project.stores.get(store).is_some_and(|s| s.is_embedded());
    let mut found = Vec::new();
    for (index, function) in schema.functions.iter().enumerate().filter(|(_, f)| embedded(&f.store)) {
        let translated = mainstay_query::body_of(schema, FunctionId(index as u32)).and_then(|body| {
            body.iter()
                .try_for_each(|statement| mainstay_sql::sqlite::compile_statement(schema, statement).map(drop))
        });
        if let Err(error) = translated {
            let span = &function.span;
            let (file, line, column) = (&span.file, span.line, span.column);
            let mut problem = format!("{file}:{line}:{column}: function {}: {}", function.name, error.message);
            for more in error.details.iter().chain(&error.hint) {
                problem.push_str("; ");
                problem.push_str(more);
            }
            found.push(problem);
        }
    }
    found
}

fn no_store(store: &mainstay_config::project::Store) -> String {
    format!(
        "{}: no store speaks \"{}:\" yet; there is sqlite:",
        store.at,
        store.url.scheme()
    )
}

fn no_bus(bus: &mainstay_config::project::Bus) -> String {
    format!(
        "{}: no bus speaks \"{}:\" yet; there is embedded:",
        bus.at,
        bus.url.scheme()
    )
}

/// Opens every store that something in `wanted` lives in, each at its index in the project's order of names.
pub fn stores(loaded: &Loaded, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Arc<dyn Store>>, String> {
    let mut open: Vec<Arc<dyn Store>> = Vec::new();
    for (name, store) in &loaded.project.stores {
        if !wanted(name) {
            continue;
        }
        let index = open.len() as u16;
        open.push(match store.url.scheme().as_str() {
            "sqlite" => sqlite(loaded, name, store, index)?,
            _ => return Err(no_store(store)),
        });
    }
    Ok(open)
}

fn sqlite(
    loaded: &Loaded,
    name: &str,
    store: &mainstay_config::project::Store,
    index: u16,
) -> Result<Arc<dyn Store>, String> {
    let path = store.sqlite_file().ok_or_else(|| {
        format!(
            "{}: an embedded store needs a file, as in sqlite:.mainstay/{name}.db",
            store.at
        )
    })?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| format!("{}: {}: {e}", store.at, parent.display()))?;
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
    let config = Config {
        name: name.to_owned(),
        index,
        bound: loaded.project.cache.bound,
        long_read_threads: store.readers as usize,
        statement_timeout: store.timeout,
        idempotency_kept: loaded.project.api.idempotency,
        sequences: loaded
            .sequence_values
            .iter()
            .map(|(name, next)| (name.to_string(), *next))
            .collect(),
        ..Config::new(path)
    };
    let opened = SqliteStore::open(config, loaded.schema.clone(), captured(loaded), seeds);
    opened
        .map(|store| store as Arc<dyn Store>)
        .map_err(|e| format!("store \"{name}\": {e}"))
}

/// The changes that somebody subscribes to.
fn captured(loaded: &Loaded) -> Captured {
    let mut captured = Captured::none();
    for subscription in &loaded.project.subscriptions {
        let Trigger::Change { table, operations } = &subscription.trigger else {
            continue;
        };
        let Some(relation) = crate::project::find_table(&loaded.schema, table) else {
            continue;
        };
        for operation in operations {
            captured.add(
                relation,
                match operation {
                    Operation::Insert => ChangeKind::Insert,
                    Operation::Update => ChangeKind::Update,
                    Operation::Delete => ChangeKind::Delete,
                },
            );
        }
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
