//! The server behind all connections of a store: how one is opened, what the server is, and when it is not worth asking.

use crate::address::Address;
use crate::asks::Asks;
use crate::config::Config;
use crate::failure;
use crate::introspect::{self, Reload};
use crate::lanes::Lanes;
use crate::listeners::Listeners;
use crate::outbox::Handed;
use crate::pace::Pace;
use crate::pool::Pool;
use crate::settings::{FIRST_FREE, search_path};
use crate::wire::{
    self, ConnectError, Connection, Limits, Lost, Opened, Single, SingleLimits, Tls, cells, is_worth_keeping,
};
use mainstay_model::{Error, Result};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// After a failed attempt nobody tries again for so long; it doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Texts of statements that have a number.
const TEXTS_MAX: usize = 4096;
const TEXTS_BYTES_MAX: usize = 8 << 20;

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `PostgreSQL 15.6`, for people.
    pub engine: String,
    /// `server_version_num`: 150006.
    pub version: u32,
    /// The role that connections log in as.
    pub login: String,
    /// A pooler in transaction mode stands between: nothing may be kept on a connection.
    pub pooled: bool,
    /// What it lacks, by name, and what does not work therefore.
    pub missing: Vec<String>,
}

/// Everything that a store's generations share.
pub(crate) struct Server {
    /// Tells this store's thread-locals from another's.
    pub id: u64,
    pub config: Config,
    pub address: Address,
    tls: Tls,
    /// `search_path` that connections begin with.
    pub default_path: String,
    facts: RwLock<Arc<Facts>>,
    login: OnceLock<String>,
    pooled: AtomicBool,
    gate: Mutex<Gate>,
    closed: AtomicBool,
    /// The last attempt to connect had no answer, and nobody has had one since.
    pub unreachable: Arc<AtomicBool>,
    pub pool: Pool,
    pub lanes: Mutex<Vec<Weak<Lanes>>>,
    pub listeners: Listeners,
    pub handed: tokio::sync::Mutex<Handed>,
    texts: RwLock<Texts>,
    next_text: AtomicU64,
    pub installed: AtomicBool,
    pub asks: Asks,
    /// PostgreSQL itself, and not what speaks its wire.
    is_postgres: AtomicBool,
    /// The shortest way to the server and back.
    pub shortest: Pace,
    /// Answers that go on, each with a connection of its own.
    pub streams: Arc<Semaphore>,
}

/// The texts that have a number.
#[derive(Default)]
struct Texts {
    known: HashMap<Arc<str>, u64, ahash::RandomState>,
    bytes: usize,
}

#[derive(Default)]
struct Gate {
    until: Option<Instant>,
    pause: Duration,
    error: Option<ConnectError>,
}

impl Server {
    /// Reads the configuration; connects to nothing. `Err` is a sentence.
    pub fn new(config: Config, default_namespace: &str) -> Result<Arc<Server>, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let address = Address::parse(&config.url)?;
        let tls = Tls::new(&address)?;
        Ok(Arc::new(Server {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            default_path: search_path(default_namespace, &config.search_path),
            pooled: AtomicBool::new(!address.prepared.unwrap_or(config.prepared)),
            pool: Pool::new(config.write_connections, config.write_queue),
            listeners: Listeners::new(config.index),
            address,
            tls,
            facts: RwLock::default(),
            login: OnceLock::new(),
            gate: Mutex::default(),
            closed: AtomicBool::new(false),
            unreachable: Arc::default(),
            lanes: Mutex::default(),
            handed: tokio::sync::Mutex::default(),
            texts: RwLock::default(),
            next_text: AtomicU64::new(FIRST_FREE),
            installed: AtomicBool::new(false),
            asks: Asks::default(),
            is_postgres: AtomicBool::new(false),
            shortest: Pace::default(),
            streams: Arc::new(Semaphore::new(config.stream_connections)),
            config,
        }))
    }

    /// A new connection, driven on the runtime at hand. Errors: why there is none; soon after a failure without trying.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let opened = self.open().await?;
        let config = &self.config;
        let silence = match config.statement_timeout {
            // Several statements may be one batch.
            timeout if timeout.is_zero() => Duration::ZERO,
            timeout => timeout * 4 + Duration::from_secs(10),
        };
        let limits = Limits {
            answer_bytes_max: config.answer_bytes_max,
            silence,
            unreachable: self.unreachable.clone(),
            statements_max: config.plans_max,
            named: !self.pooled.load(Ordering::Relaxed),
        };
        Ok(Connection::drive(opened, limits, self.tls.clone()))
    }

    /// A new connection for one answer that goes on. The limit on statements' time is kept by the one who reads it: the server's would
    /// count the time in which a client is slow.
    pub async fn single(&self) -> Result<Single, ConnectError> {
        let opened = self.open().await?;
        let limits = SingleLimits {
            silence: self.config.statement_timeout,
            message_bytes_max: self.config.answer_bytes_max,
        };
        Ok(Single::new(opened, self.tls.clone(), limits))
    }

    async fn open(&self) -> Result<Opened, ConnectError> {
        {
            let gate = self.gate.lock();
            if let (Some(until), Some(error)) = (gate.until, &gate.error)
                && Instant::now() < until
            {
                return Err(error.clone());
            }
        }
        let result = self.try_connect().await;
        let silent = matches!(&result, Err(ConnectError::Io(_)));
        self.unreachable.store(silent, Ordering::Relaxed);
        let mut gate = self.gate.lock();
        match &result {
            Ok(_) => *gate = Gate::default(),
            Err(error) => {
                if gate.error.is_none() {
                    mainstay_telemetry::warn!(
                        "store",
                        "{}: no connection to {}: {error}",
                        self.config.name,
                        self.address
                    );
                }
                gate.pause = (gate.pause * 2).clamp(BACKOFF.0, BACKOFF.1);
                gate.until = Some(Instant::now() + gate.pause);
                gate.error = Some(error.clone());
            }
        }
        result
    }

    async fn try_connect(&self) -> Result<Opened, ConnectError> {
        let timeout = self.address.connect_timeout.unwrap_or(self.config.connect_timeout);
        let name = self.address.application_name.as_deref();
        let name = name.unwrap_or(&self.config.application_name);
        let options = self.session_options();
        let base = [
            ("client_encoding", "UTF8"),
            ("application_name", name),
            ("DateStyle", "ISO, MDY"),
            ("TimeZone", "UTC"),
        ];
        loop {
            let pooled = self.pooled.load(Ordering::Relaxed);
            let mut parameters = base.to_vec();
            if !pooled {
                parameters.push(("options", &options));
            }
            match wire::open(&self.address, &self.tls, &parameters, timeout).await {
                // Only a pooler refuses what every server takes.
                Err(ConnectError::Server(error))
                    if !pooled && error.message.contains("unsupported startup parameter") =>
                {
                    mainstay_telemetry::info!(
                        "store",
                        "{}: {} is a pooler: statements are not kept on connections",
                        self.config.name,
                        self.address
                    );
                    self.pooled.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
    }

    /// The start's `options`, blanks and backslashes escaped.
    fn session_options(&self) -> String {
        let mut options = self.address.options.clone().unwrap_or_default();
        let mut set = |name: &str, value: &str| {
            if !options.is_empty() {
                options.push(' ');
            }
            options.push_str("-c ");
            options.push_str(name);
            options.push('=');
            for c in value.chars() {
                if c == '\\' || c.is_whitespace() {
                    options.push('\\');
                }
                options.push(c);
            }
        };
        set("search_path", &self.default_path);
        let config = &self.config;
        for (name, timeout) in [
            ("statement_timeout", config.statement_timeout),
            ("lock_timeout", config.lock_timeout),
        ] {
            if !timeout.is_zero() {
                set(name, &timeout.as_millis().to_string());
            }
        }
        set("idle_in_transaction_session_timeout", "60000");
        set("IntervalStyle", "postgres");
        set("bytea_output", "hex");
        options
    }

    /// A connection for introspection, migrations and bulk loads, which speaks through tokio-postgres. It is driven on the runtime at
    /// hand until the client is dropped; no limit on statements' time is set on it.
    pub async fn client(&self) -> Result<tokio_postgres::Client, ConnectError> {
        self.client_told(None).await
    }

    /// As [`Server::client`]; what notifications on the connection ask for is told.
    pub async fn client_told(
        &self,
        told: Option<mpsc::Sender<Reload>>,
    ) -> Result<tokio_postgres::Client, ConnectError> {
        let timeout = self.address.connect_timeout.unwrap_or(self.config.connect_timeout);
        let mut failed = ConnectError::Io("no host is named".to_owned());
        for host in &self.address.hosts {
            let attempt = async {
                let socket = wire::socket(host, &self.tls).await?;
                let mut config = tokio_postgres::Config::new();
                config
                    .user(&self.address.user)
                    .dbname(&self.address.database)
                    .application_name(&self.config.application_name)
                    .ssl_mode(tokio_postgres::config::SslMode::Disable);
                if let Some(password) = &self.address.password {
                    config.password(password);
                }
                let connected = config.connect_raw(socket, tokio_postgres::NoTls).await;
                let (client, connection) = connected.map_err(|e| match e.as_db_error() {
                    Some(db) => ConnectError::Server(Box::new(wire::ServerError {
                        code: db.code().code().to_owned(),
                        message: db.message().to_owned(),
                        ..wire::ServerError::default()
                    })),
                    None => ConnectError::Io(e.to_string()),
                })?;
                match told.clone() {
                    Some(told) => tokio::spawn(async move { drop(introspect::drive(connection, told).await) }),
                    None => tokio::spawn(async move { drop(connection.await) }),
                };
                if self.address.hosts.len() > 1 {
                    let row = client.simple_query("SHOW transaction_read_only").await;
                    let writes = row.is_ok_and(|messages| {
                        messages.iter().any(|m| match m {
                            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some("off"),
                            _ => false,
                        })
                    });
                    if !writes {
                        return Err(ConnectError::Role(format!("{host}: it takes no writes")));
                    }
                }
                Ok(client)
            };
            match tokio::time::timeout(timeout, attempt).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = ConnectError::Io(format!("{host}: no answer within {} ms", timeout.as_millis())),
            }
        }
        Err(failed)
    }

    /// Asks the server what it is.
    pub async fn look(&self) -> Result<Arc<Facts>, ConnectError> {
        let connection = self.connect().await?;
        let sql = "SELECT pg_catalog.version(), pg_catalog.current_setting('server_version_num'), current_user::text";
        let asked = connection.send(|batch| batch.plain(self.text(sql), sql));
        let (_, exchange) = asked.map_err(|e| ConnectError::Io(e.message.clone()))?;
        let response = exchange.wait().await.map_err(|lost| match lost {
            Lost::Connection(why, server) => match server {
                Some(server) => ConnectError::Server(server),
                None => ConnectError::Io(why),
            },
            Lost::TooLarge | Lost::Behind => ConnectError::Io("the answer cannot be used".to_owned()),
        })?;
        if let Some(error) = response.error() {
            return Err(ConnectError::Server(Box::new(error)));
        }
        let row: Vec<String> = response
            .rows(0)
            .flat_map(cells)
            .map(|cell| String::from_utf8_lossy(cell.unwrap_or_default()).into_owned())
            .collect();
        let text = |at: usize| row.get(at).cloned().unwrap_or_default();
        let banner = text(0);
        let engine: String = banner.split(" on ").next().unwrap_or("").chars().take(80).collect();
        let mut facts = Facts {
            engine,
            version: text(1).parse().unwrap_or(0),
            login: text(2),
            pooled: self.pooled.load(Ordering::Relaxed),
            missing: Vec::new(),
        };
        if banner.contains("CockroachDB") {
            facts
                .missing
                .push("LISTEN, advisory locks, triggers before 24.3: events of the database's own changes".to_owned());
        } else if banner.contains("-YB-") {
            facts
                .missing
                .push("advisory locks before 2.25: one process alone may relay events".to_owned());
        } else if facts.version < 140_000 {
            facts
                .missing
                .push("PostgreSQL before 14 is not supported; what works, works".to_owned());
        }
        if facts.pooled {
            facts
                .missing
                .push("kept statements: each request is parsed anew (a pooler in transaction mode)".to_owned());
        }
        let known = self.facts.read().clone();
        if *known != facts {
            mainstay_telemetry::info!("store", "{}: {} at {}", self.config.name, facts.engine, self.address);
            for missing in &facts.missing {
                mainstay_telemetry::warn!("store", "{}: missing: {missing}", self.config.name);
            }
        }
        let itself = banner.starts_with("PostgreSQL") && !banner.contains("CockroachDB") && !banner.contains("-YB-");
        self.is_postgres.store(itself, Ordering::Relaxed);
        let facts = Arc::new(facts);
        let _ = self.login.set(facts.login.clone());
        *self.facts.write() = facts.clone();
        // The connection goes: the runtime that opens a store need not be one that goes on running.
        Ok(facts)
    }

    /// What is known of the server; empty before it was reached.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.read().clone()
    }

    /// The role that connections log in as; empty before the server was reached.
    pub fn login(&self) -> &str {
        self.login.get().map_or("", String::as_str)
    }

    /// Whether nothing may be kept on a connection.
    pub fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Relaxed)
    }

    /// The number of a statement's text, under which connections know it. Never used for another text.
    pub fn text(&self, sql: &str) -> u64 {
        if let Some(id) = self.texts.read().known.get(sql) {
            return *id;
        }
        let next = || self.next_text.fetch_add(1, Ordering::Relaxed);
        if !is_worth_keeping(sql) {
            return next();
        }
        let mut texts = self.texts.write();
        if texts.known.len() >= TEXTS_MAX || texts.bytes + sql.len() > TEXTS_BYTES_MAX {
            *texts = Texts::default();
        }
        texts.bytes += sql.len();
        *texts.known.entry(sql.into()).or_insert_with(next)
    }

    /// The number of a text for a role. The server plans a statement over tables with policies anew whenever another role runs it:
    /// each role has its own.
    pub fn text_for(&self, role: &str, sql: &str) -> u64 {
        self.text(&format!("{role}\0{sql}"))
    }

    /// Whether an insertion that was committed has reached the log, if its commit waits for that: whatever it inserted into.
    pub fn logs_insertions(&self) -> bool {
        !self.is_pooled() && !self.asks.unlogged.load(Ordering::Relaxed) && self.is_postgres.load(Ordering::Relaxed)
    }

    /// Why there is no connection, for a client.
    pub fn refusal(&self, error: &ConnectError) -> Error {
        let until = self.gate.lock().until;
        let wait = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        failure::unreachable(error, wait.as_secs() as u32 + 1)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes no more, and lets go of the connections once they have answered.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.pool.close();
        self.streams.close();
        self.drop_connections();
        // Somebody else may relay at once; whoever is at it lets go when it is done.
        if let Ok(mut handed) = self.handed.try_lock() {
            handed.release();
        }
    }

    /// Lets go of every connection that nobody uses: another server may be the one to ask now.
    pub fn drop_connections(&self) {
        self.pool.drain();
        for lanes in self.lanes.lock().iter().filter_map(Weak::upgrade) {
            lanes.clear();
        }
    }
}
