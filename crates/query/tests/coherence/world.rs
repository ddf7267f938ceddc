//! A shop with every way of looking at it, served twice over one store: with a cache and without.

use bytes::Bytes;
use http::{Method, Request};
use mainstay_cache::{Cache, Config, Key, Stats, Watch};
use mainstay_model::{Identity, Schema};
use mainstay_query::Engine;
use mainstay_rest::{Rest, RestConfig};
use mainstay_schema::{Severity, Source};
use mainstay_store::Store;
use mainstay_store_sqlite::{Captured, SqliteStore};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A small xorshift: the same cases in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

/// A directory of a test's own, gone when the test is.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mainstay-query-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Reads DDL that must have no mistake.
pub fn schema(text: &str) -> Arc<Schema> {
    let source = Source {
        file: "schema.sql".into(),
        text: text.to_owned(),
        store: "main".into(),
        service: None,
    };
    let reading = mainstay_schema::read(&[source]);
    let errors: Vec<_> = reading
        .problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    Arc::new(reading.schema)
}

/// Opens a store in a scratch directory.
pub fn open(scratch: &Scratch, schema: &Arc<Schema>) -> Arc<SqliteStore> {
    let mut config = mainstay_store_sqlite::Config::new(scratch.path().join("main.db"));
    // Nobody else writes here; a machine under load may let a tick come late.
    config.bound = Duration::from_secs(20);
    config.read_budget_kops = 100_000;
    SqliteStore::open(config, schema.clone(), Captured::none(), Vec::new()).unwrap_or_else(|e| panic!("{e}"))
}

/// Runs to its end on this thread.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// One store behind an engine with a cache and one without.
pub struct World {
    pub cached: Rest,
    pub fresh: Rest,
    pub cache: Arc<Cache>,
    pub seen: Arc<Seen>,
    store: Arc<SqliteStore>,
    scratch: Option<Scratch>,
}

/// What was kept and dropped.
#[derive(Default)]
pub struct Seen(pub Mutex<Vec<Event>>);

/// What happened to an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    Kept(Key),
    Dropped(Key, bool),
}

impl Watch for Seen {
    fn kept(&self, key: Key) {
        self.0.lock().unwrap().push(Event::Kept(key));
    }

    fn dropped(&self, key: Key, certain: bool) {
        self.0.lock().unwrap().push(Event::Dropped(key, certain));
    }
}

impl Seen {
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub range: String,
    pub body: Bytes,
}

/// Who asks what.
#[derive(Clone)]
pub struct Ask {
    pub path: String,
    pub identity: Arc<Identity>,
    pub prefer: &'static str,
}

impl World {
    pub fn new(ddl: &str) -> World {
        World::in_scratch(ddl, Scratch::new())
    }

    /// The same data under another schema.
    pub fn reopened(mut self, ddl: &str) -> World {
        wait(self.store.close());
        let scratch = self.scratch.take().unwrap();
        drop(self);
        World::in_scratch(ddl, scratch)
    }

    fn in_scratch(ddl: &str, scratch: Scratch) -> World {
        let schema = schema(ddl);
        let store = open(&scratch, &schema);
        let cache = Cache::new(Config {
            memory_bytes: 256 << 20,
            bound: Duration::from_secs(20),
            ..Config::default()
        });
        let seen = Arc::new(Seen::default());
        cache.watch(seen.clone());
        let stores = || vec![store.clone() as Arc<dyn Store>];
        let config = || RestConfig {
            aggregates: true,
            ..RestConfig::default()
        };
        let cached = Rest::new(Engine::new(schema.clone(), stores(), Some(cache.clone())), config());
        let fresh = Rest::new(Engine::new(schema, stores(), None), config());
        // The store's first proof of freshness to the cache; only writes and ticks bring one.
        cache.proved(0, std::time::Instant::now());
        World {
            cached,
            fresh,
            cache,
            seen,
            store,
            scratch: Some(scratch),
        }
    }

    /// Asks one of the two; the answer, and what the cache had to do with it.
    pub fn ask(&self, rest: &Rest, ask: &Ask) -> (Answer, String) {
        let mut request = Request::get(format!("/rest/v1/{}", ask.path))
            .body(Bytes::new())
            .unwrap();
        if !ask.prefer.is_empty() {
            request.headers_mut().insert("prefer", ask.prefer.parse().unwrap());
        }
        request.extensions_mut().insert(ask.identity.clone());
        let response = wait(rest.handle(request));
        let header = |name| {
            response
                .headers()
                .get(name)
                .map_or("", |v| v.to_str().unwrap())
                .to_owned()
        };
        let answer = Answer {
            status: response.status().as_u16(),
            range: header("content-range"),
            body: response.body().clone(),
        };
        (answer, header("cache-status"))
    }

    /// A write as `service_role`, which must succeed or break a rule of the data.
    pub fn write(&self, method: Method, path: &str, body: &str) -> bool {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("/rest/v1/{path}"))
            .body(Bytes::from(body.to_owned()))
            .unwrap();
        if !body.is_empty() {
            request
                .headers_mut()
                .insert("content-type", "application/json".parse().unwrap());
        }
        request.extensions_mut().insert(Arc::new(Identity::service()));
        let response = wait(self.cached.handle(request));
        let status = response.status().as_u16();
        let text = String::from_utf8_lossy(response.body());
        assert!(status < 300 || status == 409, "{method} {path} {body}: {status} {text}");
        status < 300
    }

    pub fn stats(&self) -> Stats {
        self.cache.stats()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        wait(self.store.close());
    }
}

/// A caller with a role and claims.
pub fn caller(role: &str, claims: &str) -> Arc<Identity> {
    let claims = serde_json::from_str(claims).unwrap();
    Arc::new(Identity::new(role, Arc::new(claims)))
}

/// A text as it stands in a URL.
pub fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~*(),:&=?/!".contains(&b);
    text.bytes()
        .map(|b| {
            if plain(b) {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
