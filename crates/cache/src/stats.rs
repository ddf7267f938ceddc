//! What the cache counts, and who is told what happens to each answer.

use crate::Key;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts since the start, and sizes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Served from the cache.
    pub hits: u64,
    /// Not there.
    pub misses: u64,
    /// Not asked, because freshness could not be proved.
    pub bypasses: u64,
    /// Kept after a fill.
    pub fills: u64,
    /// Not kept, since a change came between.
    pub fenced: u64,
    /// Dropped because a change may have touched them.
    pub dropped: u64,
    /// Dropped because everything of a store was void.
    pub voided: u64,
    /// Dropped for lack of room.
    pub evicted: u64,
    /// Dropped for their age.
    pub expired: u64,
    /// Kept now.
    pub entries: u64,
    /// Bytes accounted now.
    pub bytes: u64,
}

/// Is told what happens to each answer. Called under the store's lock: must be quick and must not call the cache.
pub trait Watch: Send + Sync {
    /// An answer was kept.
    fn kept(&self, key: Key);
    /// An answer was dropped for a change. `certain`: a row came, went or changed that is certainly in it; else nobody could tell.
    fn dropped(&self, key: Key, certain: bool);
}

#[derive(Default)]
pub(crate) struct Counters {
    looked_up: [Stripe; STRIPES],
    pub bypasses: AtomicU64,
    pub fills: AtomicU64,
    pub fenced: AtomicU64,
    pub dropped: AtomicU64,
    pub voided: AtomicU64,
    pub evicted: AtomicU64,
    pub expired: AtomicU64,
}

const STRIPES: usize = 16;

/// A counter of its own for each of some threads: one for all would travel between cores with every hit.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counters {
    pub fn hit(&self) {
        self.stripe().hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn miss(&self) {
        self.stripe().misses.fetch_add(1, Ordering::Relaxed);
    }

    fn stripe(&self) -> &Stripe {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        &self.looked_up[MINE.with(|mine| mine % STRIPES)]
    }

    pub fn read(&self, entries: u64, bytes: u64) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: self.looked_up.iter().map(|s| load(&s.hits)).sum(),
            misses: self.looked_up.iter().map(|s| load(&s.misses)).sum(),
            bypasses: load(&self.bypasses),
            fills: load(&self.fills),
            fenced: load(&self.fenced),
            dropped: load(&self.dropped),
            voided: load(&self.voided),
            evicted: load(&self.evicted),
            expired: load(&self.expired),
            entries,
            bytes,
        }
    }
}
