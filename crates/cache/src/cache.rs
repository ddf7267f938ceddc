//! The kept answers, and the order of events that keeps them true.
//!
//! Per store there is one lock, [`StoreState`]. It is taken by a commit (ring and index, before the commit is acknowledged) and by
//! the end of a fill; never by a hit. Three facts carry the promise:
//!
//! 1. A commit is visible to new reads before [`Cache::apply`] runs, and acknowledged only after it. So a fill that began after an
//!    acknowledgement has read the change.
//! 2. [`Cache::finish_fill`] holds the lock while it compares the fill's fence with the ring and enters index and map. A change
//!    applied before it is in the ring and is checked; one applied after it finds the entry in the index.
//! 3. The ring keeps the last changes. A fill whose fence does not see every change that has left the ring is not kept.
//!
//! Eviction takes an entry out of the map first and out of the index afterwards: an entry in the index alone costs memory, one in
//! the map alone would cost the promise.

use crate::failpoint;
use crate::flight::{Flight, Flights};
use crate::footprint::Footprint;
use crate::index::{EntryId, Index, touches};
use crate::key::{Key, body_tag};
use bytes::Bytes;
use mainstay_model::{Changes, Fence, Position, RelationId, Schema};
use parking_lot::Mutex;
use quick_cache::sync::Cache as Map;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    counters: Counters,
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
    keys: HashMap<EntryId, Key, ahash::RandomState>,
    /// Recent commits, oldest first.
    ring: VecDeque<Changes>,
    rows_in_ring: usize,
    /// The newest commit that has left the ring.
    left: Option<Position>,
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
    kept: Instant,
    ttl: Option<Duration>,
    weight: u64,
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
    /// How long it has been kept, in seconds.
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
}

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

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    bypasses: AtomicU64,
    fills: AtomicU64,
    fenced: AtomicU64,
    dropped: AtomicU64,
    voided: AtomicU64,
    evicted: AtomicU64,
    expired: AtomicU64,
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
        state.push((entry.id, entry.store));
    }
}

/// Memory that an entry costs beside its body: the entry, its slots in map and tables, the allocator's rounding.
const ENTRY_OVERHEAD_BYTES: usize = 512;

impl Cache {
    /// An empty cache.
    pub fn new(config: Config) -> Arc<Cache> {
        let capacity = config.memory_bytes as u64;
        let options = OptionsBuilder::new()
            .estimated_items_capacity((config.memory_bytes / 2048).max(64))
            .weight_capacity(capacity)
            .build()
            .unwrap_or_else(|e| unreachable!("both capacities are given: {e}"));
        Arc::new(Cache {
            map: Map::with_options(options, ByWeight, ahash::RandomState::new(), Evicted),
            flights: Arc::default(),
            stores: (0..STORES_MAX).map(|_| Store::default()).collect(),
            began: Instant::now(),
            next_entry: AtomicU64::new(1),
            counters: Counters::default(),
            config,
        })
    }

    /// Asks for an answer.
    pub fn look_up(&self, key: &Key, store: u16) -> Lookup {
        if let Some(why) = self.unproved(store) {
            self.counters.bypasses.fetch_add(1, Ordering::Relaxed);
            return Lookup::Bypass(why);
        }
        let Some(entry) = self.map.get(key) else {
            self.counters.misses.fetch_add(1, Ordering::Relaxed);
            return Lookup::Miss;
        };
        let age = entry.kept.elapsed();
        if entry.ttl.is_some_and(|ttl| age >= ttl) {
            self.map.remove_if(key, |there| there.id == entry.id);
            self.forget(&[(entry.id, entry.store)]);
            self.counters.expired.fetch_add(1, Ordering::Relaxed);
            self.counters.misses.fetch_add(1, Ordering::Relaxed);
            return Lookup::Miss;
        }
        self.counters.hits.fetch_add(1, Ordering::Relaxed);
        Lookup::Hit(entry.hit(age))
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
        let tag = body_tag(&body);
        let hit = Hit {
            body: body.clone(),
            rows,
            total,
            tag,
            age_s: 0,
        };
        if body.len() > self.config.entry_bytes_max {
            return (hit, Err("too large"));
        }
        let Some(store) = self.stores.get(pending.store as usize) else {
            return (hit, Err("unknown store"));
        };
        let weight = (body.len() + ENTRY_OVERHEAD_BYTES + weigh(&pending.footprint)) as u64;
        let id = self.next_entry.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            id,
            store: pending.store,
            body,
            rows,
            total,
            tag,
            kept: Instant::now(),
            ttl,
            weight,
        });
        let mut evicted = Vec::new();
        {
            let mut state = store.state.lock();
            if state.epoch != pending.epoch {
                self.counters.fenced.fetch_add(1, Ordering::Relaxed);
                return (hit, Err("voided meanwhile"));
            }
            if !failpoint::is_set("no-fence") {
                if state.left.is_some_and(|left| !fence.sees(left)) {
                    self.counters.fenced.fetch_add(1, Ordering::Relaxed);
                    return (hit, Err("older than the ring"));
                }
                let unseen = state.ring.iter().rev().take_while(|c| !fence.sees(c.position));
                if unseen
                    .flat_map(|c| &c.rows)
                    .any(|change| touches(&pending.footprint, change))
                {
                    self.counters.fenced.fetch_add(1, Ordering::Relaxed);
                    return (hit, Err("changed meanwhile"));
                }
            }
            // Two fills of one key may end here one after the other; the second takes the first's place in the index as well.
            if let Some(there) = self.map.peek(&pending.key) {
                state.index.remove(there.id);
                state.keys.remove(&there.id);
            }
            state.index.insert(id, Arc::new(pending.footprint));
            state.keys.insert(id, pending.key);
            self.map.insert_with_lifecycle(pending.key, entry, &mut evicted);
        }
        self.counters.fills.fetch_add(1, Ordering::Relaxed);
        self.counters.evicted.fetch_add(evicted.len() as u64, Ordering::Relaxed);
        self.forget(&evicted);
        (hit, Ok(()))
    }

    /// Takes in a commit: after it is visible, before it is acknowledged.
    pub fn apply(&self, _schema: &Schema, changes: &Changes) {
        let Some(store) = self.stores.get(changes.position.store as usize) else {
            return;
        };
        if changes.rows.is_empty() {
            return;
        }
        store.serial.fetch_add(1, Ordering::AcqRel);
        let mut state = store.state.lock();
        let StoreState {
            index,
            keys,
            ring,
            rows_in_ring,
            left,
            ..
        } = &mut *state;
        let mut touched: Vec<EntryId> = Vec::new();
        for change in &changes.rows {
            index.probe(change, &mut |id| touched.push(id));
        }
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            if failpoint::is_set("drop-1-in-1000") && id % 1000 == 0 {
                continue;
            }
            index.remove(id);
            if let Some(key) = keys.remove(&id) {
                self.map.remove_if(&key, |entry| entry.id == id);
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        *rows_in_ring += changes.rows.len();
        ring.push_back(changes.clone());
        while *rows_in_ring > self.config.ring {
            let Some(oldest) = ring.pop_front() else { break };
            *rows_in_ring -= oldest.rows.len();
            *left = Some(oldest.position);
        }
    }

    /// Everything of a store is void: a writer that nobody saw, DDL.
    pub fn void(&self, store: u16, _reason: &str) {
        let Some(of) = self.stores.get(store as usize) else {
            return;
        };
        of.serial.fetch_add(1, Ordering::AcqRel);
        let mut state = of.state.lock();
        state.epoch += 1;
        state.index.clear();
        let keys = std::mem::take(&mut state.keys);
        self.counters.voided.fetch_add(keys.len() as u64, Ordering::Relaxed);
        for (id, key) in keys {
            self.map.remove_if(&key, |entry| entry.id == id);
        }
    }

    /// From now on a store's answers are served only while its freshness has been proved within the bound.
    pub fn require_proof(&self, store: u16) {
        if let Some(store) = self.stores.get(store as usize) {
            store.proof_needed.store(true, Ordering::Release);
        }
    }

    /// At `at` everything acknowledged on the store, by whomever, had been taken in.
    pub fn proved(&self, store: u16, at: Instant) {
        if let Some(store) = self.stores.get(store as usize) {
            let ns = at.saturating_duration_since(self.began).as_nanos().max(1) as u64;
            store.proved_ns.fetch_max(ns, Ordering::AcqRel);
        }
    }

    fn unproved(&self, store: u16) -> Option<&'static str> {
        let Some(store) = self.stores.get(store as usize) else {
            return Some("unknown store");
        };
        if !store.proof_needed.load(Ordering::Acquire) {
            return None;
        }
        let proved = self.began + Duration::from_nanos(store.proved_ns.load(Ordering::Acquire));
        (proved.elapsed() > self.config.bound).then_some("freshness unproved")
    }

    /// The age limit of a table's answers.
    pub fn ttl(&self, relation: RelationId) -> Option<Duration> {
        self.config.ttl.get(&relation).copied()
    }

    /// Counts and sizes.
    pub fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: load(&self.counters.hits),
            misses: load(&self.counters.misses),
            bypasses: load(&self.counters.bypasses),
            fills: load(&self.counters.fills),
            fenced: load(&self.counters.fenced),
            dropped: load(&self.counters.dropped),
            voided: load(&self.counters.voided),
            evicted: load(&self.counters.evicted),
            expired: load(&self.counters.expired),
            entries: self.map.len() as u64,
            bytes: self.map.weight(),
        }
    }

    /// Takes entries that have left the map out of the index.
    fn forget(&self, entries: &[(EntryId, u16)]) {
        for &(id, store) in entries {
            if let Some(store) = self.stores.get(store as usize) {
                let mut state = store.state.lock();
                state.index.remove(id);
                state.keys.remove(&id);
            }
        }
    }
}

impl Entry {
    fn hit(&self, age: Duration) -> Hit {
        Hit {
            body: self.body.clone(),
            rows: self.rows,
            total: self.total,
            tag: self.tag,
            age_s: age.as_secs().min(u64::from(u32::MAX)) as u32,
        }
    }
}

/// What a footprint costs in memory, roughly and rather too much.
fn weigh(footprint: &Footprint) -> usize {
    footprint
        .tables
        .iter()
        .map(|table| {
            let mut nodes = 0;
            if let Some(filter) = &table.filter {
                filter.walk(&mut |_| nodes += 1);
            }
            128 + nodes * 160
        })
        .sum()
}
