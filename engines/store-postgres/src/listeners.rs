//! Positions of this process's commits, and who is told of them: in one order, between the commit and its acknowledgement.

use mainstay_model::{Changes, Position};
use mainstay_store::CommitListener;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts commits and tells of them. The count is this process's own: what others commit has no position here.
pub(crate) struct Listeners {
    store: u16,
    token: AtomicU64,
    told: Mutex<Vec<Arc<dyn CommitListener>>>,
}

impl Listeners {
    pub fn new(store: u16) -> Listeners {
        Listeners {
            store,
            token: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// One more is told.
    pub fn add(&self, listener: Arc<dyn CommitListener>) {
        self.told.lock().push(listener);
    }

    /// The newest position that a read started now is sure to see.
    pub fn position(&self) -> Position {
        Position {
            store: self.store,
            token: self.token.load(Ordering::Acquire),
        }
    }

    /// A transaction has been committed; its position, once all have been told.
    pub fn committed(&self, rows: Vec<mainstay_model::Change>) -> Position {
        let told = self.told.lock();
        let position = Position {
            store: self.store,
            token: self.token.load(Ordering::Relaxed) + 1,
        };
        self.token.store(position.token, Ordering::Release);
        if !told.is_empty() {
            let changes = Changes { position, rows };
            told.iter().for_each(|listener| listener.committed(&changes));
        }
        position
    }
}
