//! What the threads of one store share.

use crate::config::Config;
use crate::failure::{closed, displaced};
use mainstay_model::{Changes, Result, Schema};
use mainstay_store::CommitListener;
use parking_lot::RwLock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the threads of one store share.
pub(crate) struct Shared {
    /// How it was opened.
    pub config: Config,
    /// The model.
    pub schema: Arc<Schema>,
    /// The newest position that is visible to every read that starts now.
    pub position: AtomicU64,
    /// Answers under way that go on.
    pub streams: AtomicUsize,
    closed: AtomicBool,
    /// The open file is not the one at its path any more.
    displaced: AtomicBool,
    origin: Instant,
    /// When it was last made sure that no foreign writer came between, in nanoseconds after `origin`.
    checked_ns: AtomicU64,
    listeners: RwLock<Vec<Arc<dyn CommitListener>>>,
}

impl Shared {
    /// A store that begins at a position.
    pub fn new(config: Config, schema: Arc<Schema>, position: u64) -> Shared {
        Shared {
            config,
            schema,
            position: AtomicU64::new(position),
            streams: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            displaced: AtomicBool::new(false),
            origin: Instant::now(),
            checked_ns: AtomicU64::new(0),
            listeners: RwLock::default(),
        }
    }

    /// Whether later calls fail.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Error: why nothing can be asked: it is closed, or its file is not where it was.
    pub fn check(&self) -> Result<()> {
        if self.is_closed() {
            return Err(closed());
        }
        if self.displaced.load(Ordering::Acquire) {
            return Err(displaced());
        }
        Ok(())
    }

    /// Notes whether the file is where it was; says when that has changed.
    pub fn set_displaced(&self, is: bool) -> bool {
        self.displaced.swap(is, Ordering::AcqRel) != is
    }

    /// Makes later calls fail.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Adds a listener. It knows of nothing yet, so the latest proof holds for it as well.
    pub fn listen(&self, listener: Arc<dyn CommitListener>) {
        let mut listeners = self.listeners.write();
        listener.checked(self.config.index, self.last_checked());
        listeners.push(listener);
    }

    /// Tells of a commit. A listener that panics has not understood, and is told that everything is void.
    pub fn tell_committed(&self, changes: &Changes) {
        for listener in self.listeners.read().iter() {
            if catch_unwind(AssertUnwindSafe(|| listener.committed(changes))).is_err() {
                let void = || listener.voided(self.config.index, "a change could not be applied");
                let _ = catch_unwind(AssertUnwindSafe(void));
            }
        }
    }

    /// Tells that everything derived is void.
    pub fn tell_voided(&self, reason: &str) {
        self.listeners
            .read()
            .iter()
            .for_each(|l| l.voided(self.config.index, reason));
    }

    /// Notes that at `at` nobody else had written, and tells.
    pub fn set_checked(&self, at: Instant) {
        let ns = at.saturating_duration_since(self.origin).as_nanos();
        self.checked_ns
            .fetch_max(u64::try_from(ns).unwrap_or(u64::MAX), Ordering::AcqRel);
        self.listeners
            .read()
            .iter()
            .for_each(|l| l.checked(self.config.index, at));
    }

    /// When it was last made sure that everything committed before has been told.
    pub fn last_checked(&self) -> Instant {
        self.origin + Duration::from_nanos(self.checked_ns.load(Ordering::Acquire))
    }
}
