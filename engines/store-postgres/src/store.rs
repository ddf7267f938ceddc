//! The store as the contract asks for it, for one generation of the schema; generations share the server and its connections.

use crate::config::{Captured, Config};
use crate::failure;
use crate::install;
use crate::lanes::Lanes;
use crate::open_error::{OpenError, OpenErrorKind};
use crate::outbox;
use crate::server::{Facts, Server};
use crate::wire::ConnectError;
use mainstay_model::{
    Committed, Error, Identity, OutboxRecord, Position, Representation, Result, Retry, Schema, Transaction,
};
use mainstay_sql::postgres::quote_identifier;
use mainstay_store::{
    Answer, BoxFuture, Capabilities, CommitListener, Explain, Explanation, Load, LoadFailure, Loaded, Read, Store,
    Streamed,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A store on PostgreSQL, or on what speaks its wire.
pub struct PostgresStore {
    pub(crate) server: Arc<Server>,
    pub(crate) schema: Arc<Schema>,
    /// Tells what was compiled for this schema from what was for another.
    pub(crate) generation: u64,
    pub(crate) pre_request_sql: Option<String>,
    capabilities: Capabilities,
}

impl PostgresStore {
    /// Connects, looks what the server is, and makes what Mainstay keeps in it. Where [`Config::must_answer`] is off, a server that
    /// cannot be reached is no error: it is tried again in the background, and requests get 503 meanwhile.
    pub async fn open(
        config: Config,
        schema: Arc<Schema>,
        captured: Captured,
    ) -> Result<Arc<PostgresStore>, OpenError> {
        let server = PostgresStore::server(config, &schema)?;
        let looked = match server.look().await {
            Ok(_) => install_now(&server, &schema, &captured).await,
            Err(error) => Err(open_error(&server, error)),
        };
        match looked {
            Ok(()) => {}
            Err(error) if error.kind == OpenErrorKind::Unreachable && !server.config.must_answer => {
                let (server, schema) = (server.clone(), schema.clone());
                tokio::spawn(async move { install_later(server, schema, captured).await });
            }
            Err(error) => return Err(error),
        }
        Ok(PostgresStore::over(server, schema))
    }

    /// The same server with another schema. What is under way goes on with the old one.
    pub async fn with_schema(&self, schema: Arc<Schema>, captured: &Captured) -> Result<Arc<PostgresStore>, OpenError> {
        if self.server.config.install {
            install_now(&self.server, &schema, captured).await?;
        } else {
            // Not looked for again, so it may be there now.
            self.server.asks.forget();
        }
        Ok(PostgresStore::over(self.server.clone(), schema))
    }

    /// The same server for what Mainstay keeps there for itself: another schema, for which nothing is made and nobody is asked before.
    pub fn aside(&self, schema: Arc<Schema>) -> Arc<PostgresStore> {
        let mut store = PostgresStore::over(self.server.clone(), schema);
        if let Some(store) = Arc::get_mut(&mut store) {
            store.pre_request_sql = None;
        }
        store
    }

    /// What the server is; empty before it was reached.
    pub fn facts(&self) -> Arc<Facts> {
        self.server.facts()
    }

    /// The schema of this generation.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// A connection of its own for introspection, migrations and bulk loads, as the role that connections log in as.
    pub async fn client(&self) -> Result<tokio_postgres::Client> {
        if self.server.is_closed() {
            return Err(failure::closed());
        }
        self.server.client().await.map_err(|e| self.server.refusal(&e))
    }

    /// A connection without a store, for what comes before one: introspection at the start, `migrate`.
    pub async fn connect(config: &Config) -> Result<tokio_postgres::Client, OpenError> {
        let server = PostgresStore::server(config.clone(), &Schema::default())?;
        server.client().await.map_err(|error| open_error(&server, error))
    }

    fn server(config: Config, schema: &Schema) -> Result<Arc<Server>, OpenError> {
        let namespace = schema.namespaces.first().map_or("public", |n| &**n).to_owned();
        Server::new(config, &namespace).map_err(|message| {
            OpenError::new(
                OpenErrorKind::Url,
                "",
                message,
                "A URL reads postgres://user:password@host:5432/database?sslmode=require.",
            )
        })
    }

    fn over(server: Arc<Server>, schema: Arc<Schema>) -> Arc<PostgresStore> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let facts = server.facts();
        let pre_request_sql = server.config.pre_request.as_ref().map(|function| {
            let name: Vec<String> = function.splitn(2, '.').map(quote_identifier).collect();
            format!("SELECT {}()", name.join("."))
        });
        Arc::new(PostgresStore {
            capabilities: Capabilities {
                engine: if facts.engine.is_empty() {
                    "PostgreSQL".to_owned()
                } else {
                    facts.engine.clone()
                },
                store: server.config.index,
                before_images: false,
                multi_row_transactions: true,
                change_feed: false,
                native_policies: true,
                single_process: false,
                full_text: true,
                postgres_types: true,
            },
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
            pre_request_sql,
            server,
            schema,
        })
    }
}

async fn install_now(server: &Arc<Server>, schema: &Schema, captured: &Captured) -> Result<(), OpenError> {
    let mut client = server.client().await.map_err(|error| open_error(server, error))?;
    let name = &server.config.name;
    server.asks.ask(&client).await;
    if !server.config.install {
        let there = install::row(&client, "SELECT to_regclass('mainstay.outbox') IS NOT NULL").await;
        let there = there.is_ok_and(|row| row.is_some_and(|row| row.get(0) == Some("t")));
        server.installed.store(there, Ordering::Relaxed);
        return Ok(());
    }
    match install::install(&mut client, schema, captured, name).await {
        Ok(short) => {
            server.installed.store(true, Ordering::Relaxed);
            for missing in short {
                mainstay_telemetry::warn!("store", "{name}: cannot make {missing}");
            }
        }
        // An adopted database may be read without anything of ours in it.
        Err(error) => mainstay_telemetry::warn!(
            "store",
            "{name}: the schema \"mainstay\" cannot be made ({error}): no events, no idempotency keys"
        ),
    }
    Ok(())
}

/// Tries until the server answers or the store is closed.
async fn install_later(server: Arc<Server>, schema: Arc<Schema>, captured: Captured) {
    let mut pause = Duration::from_millis(100);
    while !server.is_closed() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
        if server.look().await.is_ok() && install_now(&server, &schema, &captured).await.is_ok() {
            return;
        }
    }
}

fn open_error(server: &Server, error: ConnectError) -> OpenError {
    let at = server.address.to_string();
    let (kind, hint) = match &error {
        ConnectError::Io(_) => (
            OpenErrorKind::Unreachable,
            "Is the server running, and is the address right?",
        ),
        ConnectError::Role(_) => (OpenErrorKind::Unreachable, "Which of the hosts is the primary?"),
        ConnectError::Tls(_) => (
            OpenErrorKind::Tls,
            "sslmode says how much is asked for; sslrootcert names the authority.",
        ),
        ConnectError::Server(error) if matches!(&error.code[..], "53300" | "57P01" | "57P02" | "57P03") => (
            OpenErrorKind::Unreachable,
            "The server is there, and does not take connections at the moment.",
        ),
        ConnectError::Server(_) => (
            OpenErrorKind::Refused,
            "Check the user, the password and the database of the URL, and the server's pg_hba.conf.",
        ),
    };
    OpenError::new(kind, &at, error.to_string(), hint)
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // The last generation takes the connections with it.
        if Arc::strong_count(&self.server) == 1 {
            self.server.close();
        }
    }
}

impl Store for PostgresStore {
    fn name(&self) -> &str {
        &self.server.config.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn wants_requests(&self) -> bool {
        // What is asked before each request may come and look at it at any time.
        self.server.config.pre_request.is_some() || self.server.asks.requests.load(Ordering::Relaxed)
    }

    fn read<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(self.answer(read))
    }

    fn stream<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, Result<Streamed>> {
        Box::pin(self.streamed(read))
    }

    fn write_as<'a>(
        &'a self,
        transaction: &'a Transaction,
        identity: &'a Identity,
        representations: &'a [Arc<dyn Representation>],
    ) -> BoxFuture<'a, Result<Committed>> {
        Box::pin(self.transact(transaction, identity, representations))
    }

    fn outbox(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxRecord>>> {
        Box::pin(outbox::read(&self.server, after, limit))
    }

    fn confirm(&self, sequence: u64) -> BoxFuture<'_, Result<()>> {
        Box::pin(outbox::confirm(&self.server, sequence))
    }

    fn load<'a>(
        &'a self,
        loads: Vec<Load>,
        sequences: &'a [(Arc<str>, i64)],
    ) -> BoxFuture<'a, Result<Vec<Loaded>, LoadFailure>> {
        Box::pin(self.copy_in(loads, sequences))
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.server.listeners.add(listener);
    }

    fn position(&self) -> Position {
        self.server.listeners.position()
    }

    fn explain<'a>(&'a self, read: Read<'a>, wanted: Explain) -> BoxFuture<'a, Result<Explanation>> {
        Box::pin(self.explained(read, wanted))
    }

    fn explain_write<'a>(
        &'a self,
        transaction: &'a Transaction,
        identity: &'a Identity,
        representations: &'a [Arc<dyn Representation>],
        wanted: Explain,
    ) -> BoxFuture<'a, Result<Vec<Explanation>>> {
        Box::pin(self.explained_steps(transaction, identity, representations, wanted))
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let connection = Lanes::take(&self.server).await?;
            let sql = "SELECT 1";
            let (_, exchange) = connection.send(|batch| batch.plain(self.server.text(sql), sql))?;
            let silent = || {
                Error::new("08006", "the database does not answer")
                    .status(503)
                    .retry(Retry::After(1))
            };
            let answered = tokio::time::timeout(Duration::from_secs(5), exchange.wait()).await;
            let response = answered
                .map_err(|_| silent())?
                .map_err(|lost| failure::lost(lost, usize::MAX))?;
            match response.error() {
                Some(error) => Err(failure::failed(error)),
                None => Ok(()),
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.server.close() })
    }
}
