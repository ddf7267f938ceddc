//! Accounts as a process serves them: which store holds them, in which schema, and as whom they are read.

use crate::engines::Opened;
use crate::project::{self, Loaded};
use crate::{adopted, engines};
use mainstay_account::Account;
use mainstay_auth::{Key, Signer, Verifier};
use mainstay_config::Project;
use mainstay_model::Schema;
use mainstay_query::Engine;
use mainstay_store::Store;
use mainstay_store_postgres::{AccountTables, PostgresStore, Standing};
use std::sync::Arc;

/// Where accounts live.
pub fn auth_store(project: &Project) -> Option<&str> {
    project.auth.store.as_deref().or_else(|| project.default_store())
}

/// The tables of accounts of a project whose schema is its database's.
pub struct Accounts {
    /// The store that holds them.
    pub store: String,
    /// The schema that they are in.
    pub namespace: &'static str,
    /// They and nothing else.
    pub schema: Arc<Schema>,
    /// What makes them.
    pub ddl: String,
}

/// Asked for by `[auth] store`. On a server they are in a schema that nobody else has; a file that is ours has them where a
/// `schema.sql` would look for them.
pub fn beside(project: &Project) -> Option<Accounts> {
    project::adopted(project)?;
    let store = project.auth.store.clone()?;
    let namespace = match project.stores.get(&store)?.is_embedded() {
        true => "auth",
        false => "mainstay_auth",
    };
    let (schema, ddl) = mainstay_schema::accounts(&store, namespace);
    Some(Accounts {
        store,
        namespace,
        schema: Arc::new(schema),
        ddl,
    })
}

/// The service, where a store of this process holds accounts. `role` has to use the tables of a server that is not ours.
pub fn served(
    loaded: &Loaded,
    opened: &Opened,
    engine: &Engine,
    role: Option<&str>,
    (key, development): (&Key, bool),
    verifier: &Arc<Verifier>,
) -> Result<Option<Account>, String> {
    let project = &loaded.project;
    let Some(name) = auth_store(project).filter(|name| opened.stores.iter().any(|s| s.name() == *name)) else {
        return Ok(None);
    };
    let beside = match (&loaded.accounts, loaded.adopts()) {
        (None, Some(_)) => return Ok(None),
        (accounts, _) => accounts.as_ref(),
    };
    let engine = match beside {
        None => engine.clone(),
        Some(tables) => {
            let mut stores = opened.stores.clone();
            for store in opened.postgres.iter().filter(|s| s.name() == name) {
                let aside = store.aside(tables.schema.clone());
                let place = usize::from(store.capabilities().store);
                stores[place] = aside;
            }
            Engine::new(tables.schema.clone(), stores, None)
        }
    };
    let auth = &project.auth;
    let rate = |rate: mainstay_config::Rate| mainstay_account::Rate {
        count: rate.count,
        period: rate.period,
    };
    let defaults = mainstay_account::Config::default();
    let config = mainstay_account::Config {
        signup: auth.signup,
        confirm: auth.confirm.unwrap_or(!development),
        access_ttl: auth.access_ttl,
        refresh_ttl: auth.refresh_ttl,
        password_min: auth.password_min,
        limit: rate(auth.limit),
        account_limit: rate(auth.account_limit),
        refresh_limit: rate(auth.refresh_limit),
        hashes: auth.hashes as usize,
        issuer: auth.issuer.clone(),
        audience: auth.audience.first().cloned().unwrap_or(defaults.audience.clone()),
        namespace: beside.map_or(defaults.namespace.clone(), |tables| tables.namespace.to_owned()),
        role: role.map_or(defaults.role.clone(), str::to_owned),
        ..defaults
    };
    let peer = Arc::new(|extensions: &http::Extensions| {
        extensions
            .get::<mainstay_gateway::Arrival>()
            .map(|arrival| arrival.peer)
    });
    Account::new(engine, Signer::new(key), verifier.clone(), peer, config)
        .map(Some)
        .map_err(|e| e.to_string())
}

/// Makes the tables of accounts where they are missing. The role that has to use them; `None` where they are not on a server.
pub async fn settle(loaded: &Loaded, accounts: &Accounts) -> Result<Option<String>, String> {
    let store = &loaded.project.stores[&accounts.store];
    if store.is_embedded() {
        return Ok(None);
    }
    let config = engines::postgres(loaded, &accounts.store, store, 0);
    let told = |error: String| format!("store \"{}\": {error}", accounts.store);
    let mut client = adopted::reached(&config).await.map_err(|e| told(e.to_string()))?;
    tables(accounts).make(&mut client).await.map(Some).map_err(told)
}

/// What `check` says of accounts.
pub async fn standing(loaded: &Loaded) -> Result<String, String> {
    let Some(accounts) = &loaded.accounts else {
        return Ok("accounts: none; `[auth] store` asks for them".to_owned());
    };
    let (name, namespace) = (&accounts.store, accounts.namespace);
    let store = &loaded.project.stores[name];
    if store.is_embedded() {
        return Ok(format!("accounts: in the store \"{name}\""));
    }
    let told = |error: String| format!("store \"{name}\": {error}");
    let client = PostgresStore::connect(&engines::postgres(loaded, name, store, 0))
        .await
        .map_err(|e| told(e.to_string()))?;
    match tables(accounts).standing(&client).await.map_err(told)? {
        Standing::Complete => Ok(format!(
            "accounts: in the schema \"{namespace}\" of the store \"{name}\""
        )),
        Standing::Absent => Ok(format!(
            "accounts: `serve` makes the schema \"{namespace}\" in the store \"{name}\""
        )),
    }
}

fn tables(accounts: &Accounts) -> AccountTables<'_> {
    AccountTables {
        namespace: accounts.namespace,
        schema: &accounts.schema,
        ddl: &accounts.ddl,
    }
}
