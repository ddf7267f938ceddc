//! The store contract's suite against SQLite.

mod scratch;

use mainstay_model::{ChangeKind, RelationId, Schema};
use mainstay_store::{BoxFuture, Store, conformance};
use mainstay_store_sqlite::{Captured, Config, SqliteStore};
use scratch::Scratch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

struct Files {
    scratch: Scratch,
    next: AtomicU32,
}

impl conformance::Factory for Files {
    fn open<'a>(
        &'a self,
        schema: Arc<Schema>,
        captured: &'a [(RelationId, ChangeKind)],
    ) -> BoxFuture<'a, Arc<dyn Store>> {
        Box::pin(async move {
            let mut wanted = Captured::none();
            captured
                .iter()
                .for_each(|(relation, kind)| wanted.add(*relation, *kind));
            let path = self
                .scratch
                .path()
                .join(format!("{}.db", self.next.fetch_add(1, Ordering::Relaxed)));
            SqliteStore::open(Config::new(path), schema, wanted, Vec::new()).unwrap_or_else(|e| panic!("{e}"))
                as Arc<dyn Store>
        })
    }
}

/// Runs every case; says all that fail, not the first alone.
#[tokio::test]
async fn sqlite_is_a_store() {
    let files = Arc::new(Files {
        scratch: Scratch::new(),
        next: AtomicU32::new(0),
    });
    let mut failed = Vec::new();
    for (name, case) in conformance::cases() {
        let files = files.clone();
        let task = tokio::task::spawn(async move { conformance::run(&*files, name, case).await });
        if task.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "cases that failed: {failed:#?}");
}
