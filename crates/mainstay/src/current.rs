//! What answers requests now. A schema that changed under a running process gets a new engine and a new dialect beside the old ones;
//! requests that are under way end with what they began with.

use arc_swap::{ArcSwap, Guard};
use mainstay_model::Schema;
use mainstay_query::Engine;
use mainstay_rest::Rest;
use mainstay_store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An engine and the dialect over it, of one schema.
pub struct Generation {
    /// The engine.
    pub engine: Engine,
    /// The dialect.
    pub rest: Rest,
}

/// Makes a generation of a schema and its stores.
pub type Make = Box<dyn Fn(Arc<Schema>, Vec<Arc<dyn Store>>) -> Generation + Send + Sync>;

/// The generation in use.
pub struct Current {
    now: ArcSwap<Generation>,
    /// Grows after each replacement: who reads it before `now` knows which generation it has at most.
    number: AtomicU64,
    make: Make,
}

impl Current {
    /// The first generation.
    pub fn new(make: Make, schema: Arc<Schema>, stores: Vec<Arc<dyn Store>>) -> Current {
        Current {
            now: ArcSwap::from_pointee(make(schema, stores)),
            number: AtomicU64::new(0),
            make,
        }
    }

    /// What a request that arrives now uses until it ends.
    pub fn now(&self) -> Arc<Generation> {
        self.now.load_full()
    }

    /// As [`Current::now`], for what is answered at once: without counting a reference.
    pub fn at_once(&self) -> Guard<Arc<Generation>> {
        self.now.load()
    }

    /// Which generation it is: read before [`Current::at_once`], it is never ahead of what that gives.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Requests from now on are answered by another schema and other stores.
    pub fn replace(&self, schema: Arc<Schema>, stores: Vec<Arc<dyn Store>>) {
        self.now.store(Arc::new((self.make)(schema, stores)));
        self.number.fetch_add(1, Ordering::Release);
    }
}
