//! A small shop in a store of its own, behind the dialect.

use bytes::Bytes;
use http::{Request, Response};
use mainstay_model::Identity;
use mainstay_query::Engine;
use mainstay_rest::{Rest, RestConfig};
use mainstay_schema::{Severity, Source};
use mainstay_store::Store;
use mainstay_store_sqlite::{Captured, SqliteStore};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SHOP: &str = include_str!("shop.sql");

/// A directory of a test's own, gone when the test is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The shop.
pub struct World {
    rest: Rest,
    store: Arc<SqliteStore>,
    runtime: tokio::runtime::Runtime,
    _scratch: Scratch,
}

/// What was answered.
pub struct Answer(pub Response<Bytes>);

impl Answer {
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(self.0.body()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.0.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and body, as tables of expectations have them.
    pub fn shown(&self) -> String {
        format!("{} {}", self.status(), self.text())
    }
}

impl World {
    pub fn new() -> World {
        World::with(RestConfig {
            aggregates: true,
            ..RestConfig::default()
        })
    }

    pub fn with(config: RestConfig) -> World {
        World::of(SHOP, config)
    }

    /// A store of other tables than the shop's.
    pub fn of(ddl: &str, config: RestConfig) -> World {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mainstay-rest-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let scratch = Scratch(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&scratch.0).unwrap();
        let reading = mainstay_schema::read(&[Source {
            file: "schema.sql".into(),
            text: ddl.to_owned(),
            store: "main".into(),
            service: None,
        }]);
        let errors: Vec<_> = reading
            .problems
            .iter()
            .filter(|p| p.severity == Severity::Error)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let schema = Arc::new(reading.schema);
        let mut settings = mainstay_store_sqlite::Config::new(scratch.0.join("main.db"));
        settings.bound = Duration::from_secs(20);
        let store = SqliteStore::open(settings, schema.clone(), Captured::none(), Vec::new()).unwrap();
        let engine = Engine::new(schema, vec![store.clone()], None);
        World {
            rest: Rest::new(engine, config),
            store,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            _scratch: scratch,
        }
    }

    pub fn send(&self, role: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut identity = Identity::role(role);
        if let Some((role, user)) = role.split_once(':') {
            identity = Identity::role(role);
            let claims = serde_json::json!({ "sub": user, "role": role });
            identity.claims = Arc::new(claims.as_object().unwrap().clone());
        }
        let mut request = Request::builder().method(method).uri(format!("/rest/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let (parts, _) = request.clone().into_parts();
        let asked_before = self.rest.at_hand(&parts, &identity, &"");
        request.extensions_mut().insert(Arc::new(identity.clone()));
        let answer = self.runtime.block_on(self.rest.handle(request));
        for (at_hand, _) in asked_before
            .into_iter()
            .chain(self.rest.at_hand(&parts, &identity, &""))
        {
            assert_eq!(at_hand.status(), answer.status(), "{method} {path}");
            assert_eq!(at_hand.headers(), answer.headers(), "{method} {path}");
            assert_eq!(at_hand.body(), answer.body(), "{method} {path}");
        }
        Answer(answer)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("service_role", "GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.send("service_role", "POST", path, &[], body)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.close());
    }
}
