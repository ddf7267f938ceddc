//! The kept answers, and the order of events that keeps them true.
//!
//! Per store there is one lock, [`StoreState`]. It is taken by a commit (ring and index, before the commit is acknowledged) and by
//! the end of a fill; never by a hit. Every race is one of these:
//!
//! - *A fill that begins after an acknowledgement.* A commit is visible to new reads before [`Cache::apply`] runs, and
//!   acknowledged only after it. So this fill has read the change.
//! - *A fill that read before a commit became visible.* [`Cache::finish_fill`] holds the lock while it compares the fill's fence with
//!   the ring and enters index and map. A change applied before that is in the ring, unseen by the fence, and the answer is not
//!   kept; one applied after it finds the entry in the index and drops it. Nothing can come between.
//! - *A fill so slow that what it missed has left the ring.* It is kept only if its fence sees every change that has left.
//! - *A fill across a void* (a writer nobody saw, DDL). Its epoch, noted before the store was asked, is not the present one.
//! - *A request that joins a flight.* It may only if no change came since the flight began: flights carry the store's serial, which
//!   grows before the index is looked at, thus before any acknowledgement.
//! - *Two fills of one key* (two flights may exist, for two serials). Both have passed the fences, so either may stay; the one that
//!   is replaced leaves the index under the same lock.
//! - *Eviction against all of these.* An entry leaves the map first and the index afterwards: in the index alone it costs memory,
//!   in the map alone it would cost the promise. Entry ids are never used again, and every removal from the map names the id it
//!   means, so a late removal cannot hit a successor under the same key.
//! - *An answer that somebody holds on to* ([`Kept`]). Whatever takes an entry out of the map or the index marks it as gone, under the
//!   lock or before the index forgets it, and thus before a change that it would have missed is acknowledged.
//! - *A hit while the entry is dropped.* Whoever got hold of it began before the acknowledgement, and may have the old answer.
//! - *A writer that nobody sees.* A hit needs a proof, younger than the bound, that there was none or that it was noticed; a
//!   notice voids before the proof is given.

use crate::failpoint;
use crate::flight::{Flight, Flights};
use crate::footprint::Footprint;
use crate::index::{EntryId, Filing, Index};
use crate::key::{Key, body_tag};
use crate::predicate::Truth;
use crate::ring::{Ring, condensed};
use crate::stats::{Counters, Stats, Watch};
use bytes::Bytes;
use mainstay_model::{Changes, Fence, RelationId, Schema};
use parking_lot::Mutex;
use quick_cache::sync::Cache as Map;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What the cache may use and how old an answer may be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Memory for answers, footprints and their index, in bytes.
    pub memory_bytes: usize,
    /// The declared bound on staleness: without a proof of freshness younger than this nothing is served.
    pub bound: Duration,
    /// How many recent changes are kept per store for fills under way.
    pub ring: usize,
    /// An answer larger than this is not kept, in bytes.
    pub entry_bytes_max: usize,
    /// A second limit on age, per table.
    pub ttl: HashMap<RelationId, Duration>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            memory_bytes: 64 << 20,
            bound: Duration::from_secs(1),
            ring: 4096,
            entry_bytes_max: 1 << 20,
            ttl: HashMap::new(),
        }
    }
}

/// The cache of one process.
pub struct Cache {
    config: Config,
    map: Map<Key, Arc<Entry>, ByWeight, ahash::RandomState, Evicted>,
    flights: Arc<Flights>,
    stores: Vec<Store>,
    began: Instant,
    next_entry: AtomicU64,
    ring_bytes: usize,
    counters: Counters,
    watch: OnceLock<Arc<dyn Watch>>,
}

/// How many stores a project may have; the per-store state is made up front so that no lock guards the list.
const STORES_MAX: usize = 64;

/// What belongs to one store.
#[derive(Default)]
struct Store {
    /// Grows with every commit and every void: tells flights apart.
    serial: AtomicU64,
    /// When freshness was last proved, in nanoseconds after the cache's birth; 0 is never.
    proved_ns: AtomicU64,
    /// Whether anybody proves it at all; until then a commit listener alone is the proof.
    proof_needed: AtomicBool,
    state: Mutex<StoreState>,
}

#[derive(Default)]
struct StoreState {
    index: Index,
    ring: Ring,
    /// Grows when everything is void.
    epoch: u64,
}

/// A kept answer.
struct Entry {
    id: EntryId,
    store: u16,
    body: Bytes,
    rows: u64,
    total: Option<u64>,
    tag: u64,
    /// When the store was asked: what an age is counted from.
    read: Instant,
    ttl: Option<Duration>,
    weight: u64,
    /// Whether it has left the map, or is about to: nobody may serve it any more.
    gone: AtomicBool,
}

/// An answer that was served, held on to: whoever gives it again asks [`Cache::age_of`] each time.
pub struct Kept {
    key: Key,
    entry: Arc<Entry>,
    /// The age when it was last given.
    given_s: Cell<u32>,
}

/// An answer out of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The encoded rows.
    pub body: Bytes,
    /// Rows in the body.
    pub rows: u64,
    /// Rows that match beyond the page, when counted.
    pub total: Option<u64>,
    /// [`body_tag`] of the body.
    pub tag: u64,
    /// How long ago it was read, in seconds.
    pub age_s: u32,
}

/// What the cache says to a request.
#[derive(Debug)]
pub enum Lookup {
    /// Here it is.
    Hit(Hit),
    /// Not here; fill it.
    Miss,
    /// Freshness cannot be proved: go to the store and keep nothing.
    Bypass(&'static str),
}

/// A fill under way.
pub struct Pending {
    key: Key,
    store: u16,
    footprint: Footprint,
    epoch: u64,
    began: Instant,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Arc<Entry>> for ByWeight {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        entry.weight
    }
}

/// Collects what an insertion pushed out.
#[derive(Clone)]
struct Evicted;

impl Lifecycle<Key, Arc<Entry>> for Evicted {
    type RequestState = Vec<(EntryId, u16)>;

    fn on_evict(&self, state: &mut Self::RequestState, _: Key, entry: Arc<Entry>) {
        entry.leave();
        state.push((entry.id, entry.store));
    }
}

/// Memory that an entry costs beside its body, its values and what it is filed under: the entry, its slots in map and tables at
/// their emptiest, the allocator's headers. Measured, see `tests/memory.rs`.
const ENTRY_OVERHEAD_BYTES: usize = 704;

impl Cache {
    /// An empty cache.
    pub fn new(config: Config) -> Arc<Cache> {
        // Recent commits are kept out of the same memory.
        let ring_bytes = (config.memory_bytes / 16).min(16 << 20);
        let options = OptionsBuilder::new()
            .estimated_items_capacity((config.memory_bytes / 2048).max(64))
            .weight_capacity((config.memory_bytes - ring_bytes) as u64)
            .build()
            .unwrap_or_else(|e| unreachable!("both capacities are given: {e}"));
        Arc::new(Cache {
            map: Map::with_options(options, ByWeight, ahash::RandomState::new(), Evicted),
            flights: Arc::default(),
            stores: (0..STORES_MAX).map(|_| Store::default()).collect(),
            began: Instant::now(),
            next_entry: AtomicU64::new(1),
            ring_bytes,
            counters: Counters::default(),
            watch: OnceLock::new(),
            config,
        })
    }

    /// Asks for an answer.
    pub fn look_up(&self, key: &Key, store: u16) -> Lookup {
        let now = Instant::now();
        if let Some(why) = self.unproved(store, now) {
            self.counters.bypasses.fetch_add(1, Ordering::Relaxed);
            return Lookup::Bypass(why);
        }
        let Some(entry) = self.map.get(key) else {
            self.counters.miss();
            return Lookup::Miss;
        };
        let age = now.saturating_duration_since(entry.read);
        if entry.is_expired(age) {
            self.take_out(key, entry.id);
            self.forget(&[(entry.id, entry.store)]);
            self.counters.expired.fetch_add(1, Ordering::Relaxed);
            self.counters.miss();
            return Lookup::Miss;
        }
        self.counters.hit();
        Lookup::Hit(entry.hit(age))
    }

    /// An answer that is there and may be served. Whoever gets none asks [`Cache::look_up`], which counts why.
    pub fn at_hand(&self, key: &Key, store: u16) -> Option<(Hit, Kept)> {
        let now = Instant::now();
        if self.unproved(store, now).is_some() {
            return None;
        }
        let entry = self.map.get(key)?;
        let age = now.saturating_duration_since(entry.read);
        if entry.is_expired(age) {
            return None;
        }
        self.counters.hit();
        let hit = entry.hit(age);
        let kept = Kept {
            key: *key,
            given_s: Cell::new(hit.age_s),
            entry,
        };
        Some((hit, kept))
    }

    /// How old an answer that was served before is, in seconds, if it may be served once more; that counts as a hit.
    pub fn age_of(&self, kept: &Kept, now: Instant) -> Option<u32> {
        let entry = &*kept.entry;
        let age = now.saturating_duration_since(entry.read);
        if entry.gone.load(Ordering::Acquire) || self.unproved(entry.store, now).is_some() || entry.is_expired(age) {
            return None;
        }
        let age_s = seconds(age);
        if kept.given_s.replace(age_s) != age_s {
            // So that the map knows it to be in use; once a second is often enough.
            self.map.get(&kept.key);
        }
        self.counters.hit();
        Some(age_s)
    }

    /// Whether there is an answer that may be served. Counts nothing.
    pub fn is_at_hand(&self, key: &Key, store: u16) -> bool {
        let now = Instant::now();
        let is_young = |entry: &Entry| !entry.is_expired(now.saturating_duration_since(entry.read));
        self.unproved(store, now).is_none() && self.map.get(key).is_some_and(|entry| is_young(&entry))
    }

    /// Joins the single flight for an answer.
    pub fn join(&self, key: &Key, store: u16) -> Flight {
        let serial = self
            .stores
            .get(store as usize)
            .map_or(0, |s| s.serial.load(Ordering::Acquire));
        self.flights.join(*key, serial)
    }

    /// A fill begins, before the store is asked.
    pub fn begin_fill(&self, key: &Key, store: u16, footprint: Footprint) -> Pending {
        let epoch = self.stores.get(store as usize).map_or(0, |s| s.state.lock().epoch);
        Pending {
            key: *key,
            store,
            footprint,
            epoch,
            began: Instant::now(),
        }
    }

    /// A fill ends: the answer, and whether it was kept, or why not.
    pub fn finish_fill(
        &self,
        pending: Pending,
        body: Bytes,
        rows: u64,
        total: Option<u64>,
        fence: &Fence,
        ttl: Option<Duration>,
    ) -> (Hit, Result<(), &'static str>) {
        let hit = Hit {
            tag: body_tag(&body),
            body,
            rows,
            total,
            age_s: 0,
        };
        let kept = self.keep(pending, &hit, fence, ttl);
        (hit, kept)
    }

    fn keep(&self, pending: Pending, hit: &Hit, fence: &Fence, ttl: Option<Duration>) -> Result<(), &'static str> {
        let Pending {
            key,
            store: store_index,
            footprint,
            epoch,
            began,
        } = pending;
        if hit.body.len() > self.config.entry_bytes_max {
            return Err("too large");
        }
        let store = self.stores.get(store_index as usize).ok_or("unknown store")?;
        let filing = Filing::of(&footprint);
        let bytes = hit.body.len() + ENTRY_OVERHEAD_BYTES + footprint.bytes() + filing.bytes();
        // An allocator hands out more than is asked for, and keeps pages that are only partly in use.
        let weight = (bytes + bytes / 8) as u64;
        let id = self.next_entry.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            id,
            store: store_index,
            // Of its own size: an encoder's buffer may be twice as large, or a part of something larger still.
            body: Bytes::copy_from_slice(&hit.body),
            rows: hit.rows,
            total: hit.total,
            tag: hit.tag,
            read: began,
            ttl,
            weight,
            gone: AtomicBool::new(false),
        });
        let mut evicted = Vec::new();
        {
            let mut state = store.state.lock();
            if state.epoch != epoch {
                self.counters.fenced.fetch_add(1, Ordering::Relaxed);
                return Err("voided meanwhile");
            }
            if let Some(why) = state.ring.missed(fence, &footprint)
                && !failpoint::is_set("no-fence")
            {
                self.counters.fenced.fetch_add(1, Ordering::Relaxed);
                return Err(why);
            }
            if let Some(there) = self.map.peek(&key) {
                there.leave();
                state.index.remove(there.id);
            }
            state.index.insert(id, key, footprint, filing);
            self.map.insert_with_lifecycle(key, entry, &mut evicted);
            for id in state.index.crowded_out() {
                if let Some(key) = state.index.remove(id) {
                    self.take_out(&key, id);
                    self.counters.evicted.fetch_add(1, Ordering::Relaxed);
                }
            }
            if let Some(watch) = self.watch.get() {
                watch.kept(key);
            }
        }
        self.forget(&evicted);
        self.counters.evicted.fetch_add(evicted.len() as u64, Ordering::Relaxed);
        if evicted.iter().any(|(gone, _)| *gone == id) {
            return Err("no room");
        }
        self.counters.fills.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes in a commit: after it is visible, before it is acknowledged.
    pub fn apply(&self, _schema: &Schema, changes: &Changes) {
        let Some(store) = self.stores.get(changes.position.store as usize) else {
            return;
        };
        if changes.rows.is_empty() {
            return;
        }
        let changes = condensed(changes);
        store.serial.fetch_add(1, Ordering::AcqRel);
        let mut state = store.state.lock();
        let StoreState { index, ring, .. } = &mut *state;
        let mut touched: Vec<(EntryId, Truth)> = Vec::new();
        for change in &changes.rows {
            index.probe(change, &mut |id, truth| touched.push((id, truth)));
        }
        // Of several findings on one entry the surest.
        touched.sort_unstable_by(|a, b| b.cmp(a));
        touched.dedup_by_key(|(id, _)| *id);
        for (id, truth) in touched {
            if failpoint::is_set("drop-1-in-1000") && id % 1000 == 0 {
                continue;
            }
            let Some(key) = index.remove(id) else { continue };
            self.take_out(&key, id);
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(watch) = self.watch.get() {
                watch.dropped(key, truth == Truth::Yes);
            }
        }
        ring.push(changes, self.config.ring, self.ring_bytes);
    }

    /// Everything of a store is void: a writer that nobody saw, DDL.
    pub fn void(&self, store: u16, _reason: &str) {
        let Some(of) = self.stores.get(store as usize) else {
            return;
        };
        of.serial.fetch_add(1, Ordering::AcqRel);
        let mut state = of.state.lock();
        state.epoch += 1;
        let gone = state.index.clear();
        self.counters.voided.fetch_add(gone.len() as u64, Ordering::Relaxed);
        for (id, key) in gone {
            self.take_out(&key, id);
        }
    }

    /// Has somebody told what happens to each answer; the first one stays.
    pub fn watch(&self, watch: Arc<dyn Watch>) {
        let _ = self.watch.set(watch);
    }

    /// From now on a store's answers are served only while its freshness has been proved within the bound.
    pub fn require_proof(&self, store: u16) {
        if let Some(store) = self.stores.get(store as usize) {
            store.proof_needed.store(true, Ordering::Release);
        }
    }

    /// At `at` everything acknowledged on the store, by whomever, had been taken in.
    pub fn proved(&self, store: u16, at: Instant) {
        // What was proved before the cache was made says nothing of it.
        if let (Some(store), Some(since)) = (self.stores.get(store as usize), at.checked_duration_since(self.began)) {
            let ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1);
            store.proved_ns.fetch_max(ns, Ordering::AcqRel);
        }
    }

    fn unproved(&self, store: u16, now: Instant) -> Option<&'static str> {
        let Some(store) = self.stores.get(store as usize) else {
            return Some("unknown store");
        };
        if !store.proof_needed.load(Ordering::Acquire) {
            return None;
        }
        let proved_ns = store.proved_ns.load(Ordering::Acquire);
        let since = now
            .saturating_duration_since(self.began)
            .saturating_sub(Duration::from_nanos(proved_ns));
        (proved_ns == 0 || since > self.config.bound).then_some("freshness unproved")
    }

    /// The age limit of a table's answers.
    pub fn ttl(&self, relation: RelationId) -> Option<Duration> {
        self.config.ttl.get(&relation).copied()
    }

    /// Counts and sizes.
    pub fn stats(&self) -> Stats {
        self.counters.read(self.map.len() as u64, self.map.weight())
    }

    /// Takes one entry out of the map, unless another is there under its key.
    fn take_out(&self, key: &Key, id: EntryId) {
        self.map.remove_if(key, |there| {
            let is_meant = there.id == id;
            if is_meant {
                there.leave();
            }
            is_meant
        });
    }

    /// Takes entries that have left the map out of the index.
    fn forget(&self, entries: &[(EntryId, u16)]) {
        for &(id, store) in entries {
            if let Some(store) = self.stores.get(store as usize) {
                store.state.lock().index.remove(id);
            }
        }
    }
}

impl Entry {
    fn is_expired(&self, age: Duration) -> bool {
        self.ttl.is_some_and(|ttl| age >= ttl)
    }

    fn leave(&self) {
        if !failpoint::is_set("forget-kept") {
            self.gone.store(true, Ordering::Release);
        }
    }

    fn hit(&self, age: Duration) -> Hit {
        Hit {
            body: self.body.clone(),
            rows: self.rows,
            total: self.total,
            tag: self.tag,
            age_s: seconds(age),
        }
    }
}

fn seconds(age: Duration) -> u32 {
    age.as_secs().min(u64::from(u32::MAX)) as u32
}
