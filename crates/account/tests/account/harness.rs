//! A store in a directory of its own, accounts over it, and requests.

use bytes::Bytes;
use http::{HeaderMap, Request};
use mainstay_account::{Account, Config};
use mainstay_auth::{Key, Signer, Verifier};
use mainstay_model::{
    Action, Cell, Expr, Identity, Operator, OutboxRecord, RelationRef, Schema, Step, Transaction, Type, Value,
};
use mainstay_query::Engine;
use mainstay_store::Store;
use mainstay_store_sqlite::{Captured, SqliteStore};
use serde_json::{Value as Json, json};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The peer's address, as a gateway would note it.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

/// A project with accounts and nothing else.
pub struct Project {
    pub account: Account,
    pub verifier: Arc<Verifier>,
    store: Arc<dyn Store>,
    engine: Engine,
    schema: Arc<Schema>,
    directory: PathBuf,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Json,
}

impl Answer {
    /// A text of the body.
    pub fn text(&self, pointer: &str) -> &str {
        let found = self.body.pointer(pointer).and_then(Json::as_str);
        found.unwrap_or_else(|| panic!("no text at {pointer}: {}", self.body))
    }

    /// The status and GoTrue's code.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.text("/error_code"))
    }
}

/// A key that signs and verifies.
pub fn key() -> Key {
    Key::hs256(SECRET).expect("long enough")
}

/// A confirmed-at-once project.
pub fn config() -> Config {
    Config {
        confirm: false,
        limit: generous(),
        account_limit: generous(),
        refresh_limit: generous(),
        ..Config::default()
    }
}

fn generous() -> mainstay_account::Rate {
    mainstay_account::Rate {
        count: 10_000,
        period: Duration::from_secs(1),
    }
}

impl Project {
    pub fn new(config: Config) -> Project {
        Project::with_signer(config, Signer::new(&key()))
    }

    pub fn with_signer(config: Config, signer: Option<Signer>) -> Project {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("account-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let options = mainstay_schema::Options {
            auth: Some("main".into()),
        };
        let reading = mainstay_schema::read_with(&[], &options);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let schema = Arc::new(reading.schema);
        let store_config = mainstay_store_sqlite::Config::new(directory.join("main.db"));
        let store = SqliteStore::open(store_config, schema.clone(), Captured::none(), Vec::new()).expect("opens");
        let engine = Engine::new(schema.clone(), vec![store.clone()], None);
        let verifier = Arc::new(Verifier::new(vec![key()], mainstay_auth::Config::default()));
        let peer = Arc::new(|extensions: &http::Extensions| extensions.get::<Peer>().map(|peer| peer.0));
        let account = Account::new(engine.clone(), signer, verifier.clone(), peer, config).expect("can be served");
        Project {
            account,
            verifier,
            store,
            engine,
            schema,
            directory,
        }
    }

    /// Asks, with a token if one is given.
    pub async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Json) -> Answer {
        let body = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let mut request = Request::builder().method(method).uri(format!("/auth/v1{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(body).expect("a request")).await
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Bytes>) -> Answer {
        let response = self.account.handle(request).await;
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers["cache-control"], "no-store");
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: match body.is_empty() {
                true => Json::Null,
                false => serde_json::from_slice(&body).expect("JSON"),
            },
        }
    }

    pub async fn sign_up(&self, email: &str, password: &str) -> Answer {
        self.ask("POST", "/signup", None, json!({"email": email, "password": password}))
            .await
    }

    pub async fn log_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.ask("POST", "/token?grant_type=password", None, body).await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        let body = json!({"refresh_token": token});
        self.ask("POST", "/token?grant_type=refresh_token", None, body).await
    }

    pub async fn user(&self, token: &str) -> Answer {
        self.ask("GET", "/user", Some(token), Json::Null).await
    }

    /// What waits to be told.
    pub async fn outbox(&self) -> Vec<OutboxRecord> {
        self.store.outbox(0, 100).await.expect("an outbox")
    }

    /// Sets a column of every row of a table of schema `auth`, past the accounts.
    pub async fn set_all(&self, table: &str, column: &str, value: Value) {
        self.write(table, |relation, found| Action::Update {
            relation,
            set: vec![(found(column).0, Cell::Value(value))],
            filter: None,
            order: Vec::new(),
            limit: None,
            offset: 0,
            check: None,
        })
        .await;
    }

    /// Deletes a user, past the accounts.
    pub async fn delete_user(&self, email: &str) {
        self.write("users", |relation, found| {
            let (column, ty) = found("email");
            let email = Expr::literal(Value::Text(email.to_owned()), Type::Text);
            Action::Delete {
                relation,
                filter: Some(Expr::compare(Operator::Eq, Expr::column(column, ty), email)),
                order: Vec::new(),
                limit: None,
                offset: 0,
            }
        })
        .await;
    }

    async fn write(&self, table: &str, action: impl FnOnce(RelationRef, &dyn Fn(&str) -> (u32, Type)) -> Action) {
        let id = self.schema.find_relation("auth", table).expect("a table");
        let relation = self.schema.relation(id);
        let found = |column: &str| {
            let index = relation.column(column).expect("a column");
            (index, relation.columns[index as usize].ty.clone())
        };
        let transaction = Transaction {
            steps: vec![Step::new(action(RelationRef::new(id), &found))],
            ..Transaction::default()
        };
        let done = self
            .engine
            .write(transaction, &Identity::service())
            .await
            .expect("written");
        assert!(done.outcomes[0].affected > 0, "nothing was there to be changed");
    }

    /// Everything that lies on the disk.
    pub fn files(&self) -> Vec<u8> {
        let entries = std::fs::read_dir(&self.directory).expect("a directory");
        entries
            .flat_map(|entry| std::fs::read(entry.expect("an entry").path()).expect("readable"))
            .collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// Runs a test's future.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Whether `needle` lies in `haystack`.
pub fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
