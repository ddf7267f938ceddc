//! A database that is served as it is, without a `schema.sql`: its catalogs are read at the start, and again whenever they change,
//! while the schema that was read before goes on serving.

use crate::current::Current;
use crate::engines;
use crate::project::Loaded;
use mainstay_model::Schema;
use mainstay_store::Store;
use mainstay_store_postgres::introspect::{self, Introspected, Options};
use mainstay_store_postgres::{Captured, Client, Config, Follower, OpenError, OpenErrorKind, PostgresStore};
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts to reach the server.
const PAUSE: Duration = Duration::from_secs(1);

/// What is wanted of the catalogs.
pub fn options(loaded: &Loaded, store: &str) -> Options {
    let api = &loaded.project.api;
    let mut options = Options::new(store);
    options.schemas.clone_from(&api.schemas);
    options.extra_search_path.clone_from(&api.search_path);
    options.roles = vec![api.anon.clone(), "authenticated".to_owned(), "service_role".to_owned()];
    options
}

/// Reads a database's catalogs, and says in the log what was found.
async fn read(client: &Client, options: &Options) -> Result<Introspected, String> {
    let found = introspect::introspect(client, options)
        .await
        .map_err(|e| e.to_string())?;
    for line in said(&found) {
        mainstay_telemetry::info!("schema", "{line}");
    }
    Ok(found)
}

/// Gives a project without DDL the schema of the database that it names; while that cannot be reached it is tried again. The digest
/// of what was read, if there was anything to read.
pub async fn take_in(loaded: &mut Loaded) -> Result<Option<u64>, String> {
    let Some(store) = loaded.adopts().cloned() else {
        return Ok(None);
    };
    let config = engines::postgres(loaded, &store, &loaded.project.stores[&store], 0);
    let options = options(loaded, &store);
    let client = reached(&config).await.map_err(|e| format!("store \"{store}\": {e}"))?;
    let found = read(&client, &options).await?;
    let digest = found.digest;
    loaded.adopt(found.schema).map_err(|p| p.to_string())?;
    Ok(Some(digest))
}

/// Connects; waits for a server that cannot be reached.
pub async fn reached(config: &Config) -> Result<Client, OpenError> {
    let mut said = false;
    loop {
        match PostgresStore::connect(config).await {
            Err(error) if error.kind == OpenErrorKind::Unreachable => {
                if !std::mem::replace(&mut said, true) {
                    let name = &config.name;
                    mainstay_telemetry::warn!(
                        "schema",
                        "store \"{name}\": {error}; it is tried again until it answers"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// Looks at the database of a project without DDL, once; `None` where a project has its own.
pub async fn look(loaded: &Loaded) -> Result<Option<Introspected>, String> {
    let Some(store) = loaded.adopts() else {
        return Ok(None);
    };
    let config = engines::postgres(loaded, store, &loaded.project.stores[store], 0);
    let client = PostgresStore::connect(&config)
        .await
        .map_err(|e| format!("store \"{store}\": {e}"))?;
    let options = options(loaded, store);
    introspect::introspect(&client, &options)
        .await
        .map(Some)
        .map_err(|e| e.to_string())
}

/// What was found, in lines for a person.
pub fn said(found: &Introspected) -> Vec<String> {
    let schema = &found.schema;
    let tables = schema.relations.iter().filter(|r| r.table().is_some()).count();
    let mut lines = vec![format!(
        "database {} read in {} ms: {tables} tables, {} views, {} functions; connected as {}",
        found.server.database,
        found.took.as_millis(),
        schema.relations.len() - tables,
        schema.functions.len(),
        found.server.user,
    )];
    let roles: Vec<String> = found
        .roles
        .iter()
        .filter(|r| r.settable_by_us && !r.name.starts_with("pg_"))
        .map(|r| match r.bypasses_rls {
            true => format!("{} (passes policies)", r.name),
            false => r.name.to_string(),
        })
        .collect();
    lines.push(format!("roles that a token may name: {}", roles.join(", ")));
    if !found.not_served.is_empty() {
        lines.push(format!(
            "{} objects are not served; `mainstay check` names them",
            found.not_served.len()
        ));
    }
    lines
}

/// Serves every schema that a database changes to, until the task is dropped.
pub async fn follow(
    mut follower: Follower,
    mut store: Arc<PostgresStore>,
    captured: impl Fn(&Schema) -> Captured + Send,
    current: Arc<Current>,
) {
    loop {
        let found = follower.changed().await;
        for line in said(&found) {
            mainstay_telemetry::info!("schema", "{line}");
        }
        let schema = Arc::new(found.schema);
        match store.with_schema(schema.clone(), &captured(&schema)).await {
            Ok(renewed) => {
                store = renewed.clone();
                current.replace(schema, vec![renewed as Arc<dyn Store>]);
            }
            Err(error) => mainstay_telemetry::warn!("schema", "the changed schema cannot be served: {error}"),
        }
    }
}
