//! The engine that counts in this process' memory, shared by all workers and bounded.
//!
//! Each caller has an entry of its own as long as there is room. An entry whose time has passed says the same as no entry,
//! so it may go; one that still holds something back never does, or whoever creates enough callers would empty the memory
//! of the limiter and refill its own bucket. When there is no room, further callers are kept in a fixed grid in which
//! several share a cell: each looks at two cells and believes the emptier one, and writes to both. Sharing makes a limit
//! stricter for the unlucky, never looser for anybody.

use crate::limit::{Key, Limiter, Quota, Verdict, gcra};
use ahash::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

const SHARDS: usize = 32;

/// How long a full shard waits until it looks again for entries whose time has passed.
const SWEEP_EVERY_NANOS: u64 = 50_000_000;

/// Counts in memory.
pub struct Memory {
    begin: Instant,
    /// Keyed at random, so that nobody can choose addresses that share a cell with a victim.
    hashers: [RandomState; 2],
    shards: Box<[Mutex<Shard>]>,
    keys_max: usize,
}

#[derive(Default)]
struct Shard {
    exact: HashMap<u128, u64, BuildHasherDefault<Hashed>>,
    /// Cells of those for whom there was no room; allocated when that first happens.
    grid: Vec<u64>,
    next_sweep: u64,
}

/// The keys are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

impl Memory {
    /// An engine that remembers up to `keys_max` callers one by one, some 50 bytes each.
    pub fn new(keys_max: usize) -> Memory {
        Memory {
            begin: Instant::now(),
            hashers: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys_max: (keys_max / SHARDS).max(16),
        }
    }

    fn take_at(&self, key: Key<'_>, quota: Quota, now: u64) -> crate::limit::Decision {
        let (high, low) = (self.hashers[0].hash_one(key), self.hashers[1].hash_one(key));
        let hash = u128::from(high) << 64 | u128::from(low);
        let mut shard = self.shards[high as usize % SHARDS].lock();
        let shard = &mut *shard;
        if let Some(tat) = shard.exact.get_mut(&hash) {
            let (decision, next) = gcra(*tat, now, quota);
            *tat = next;
            return decision;
        }
        if shard.exact.len() >= self.keys_max && now >= shard.next_sweep {
            shard.exact.retain(|_, tat| *tat > now);
            shard.next_sweep = now + SWEEP_EVERY_NANOS;
        }
        // Whoever was in the grid takes along what it had used there.
        let cells = (!shard.grid.is_empty()).then(|| cells(high, low, shard.grid.len()));
        let used = cells.map_or(0, |(a, b)| shard.grid[a].min(shard.grid[b]));
        let (decision, next) = gcra(used, now, quota);
        if shard.exact.len() < self.keys_max {
            // A refused newcomer is remembered too: its cells are others' as well and may fill up meanwhile.
            if next > now {
                shard.exact.insert(hash, next);
            }
            return decision;
        }
        if shard.grid.is_empty() {
            shard.grid = vec![0; self.keys_max.next_power_of_two()];
        }
        let (a, b) = cells.unwrap_or_else(|| self::cells(high, low, shard.grid.len()));
        if decision.allowed {
            for cell in [a, b] {
                shard.grid[cell] = shard.grid[cell].max(next);
            }
        }
        decision
    }

    #[cfg(test)]
    fn entries(&self) -> usize {
        self.shards.iter().map(|s| s.lock().exact.len()).sum()
    }
}

fn cells(high: u64, low: u64, len: usize) -> (usize, usize) {
    ((high >> 16) as usize % len, low as usize % len)
}

impl Limiter for Memory {
    fn take<'a>(&'a self, key: Key<'a>, quota: Quota) -> Verdict<'a> {
        Verdict::Now(self.take_at(key, quota, self.begin.elapsed().as_nanos() as u64))
    }

    fn decides_at_once(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Caller;

    const QUOTA: Quota = Quota {
        interval: 1_000_000_000,
        tolerance: 3_000_000_000,
    };

    fn key(caller: u128) -> Key<'static> {
        Key {
            rule: 1,
            name: "r",
            caller: Caller::Address(caller),
        }
    }

    #[test]
    fn callers_and_rules_are_counted_apart() {
        let memory = Memory::new(1_000);
        for _ in 0..3 {
            assert!(memory.take_at(key(1), QUOTA, 5).allowed);
        }
        assert!(!memory.take_at(key(1), QUOTA, 5).allowed);
        assert!(memory.take_at(key(2), QUOTA, 5).allowed);
        assert!(memory.take_at(Key { rule: 2, ..key(1) }, QUOTA, 5).allowed);
        assert!(
            memory
                .take_at(
                    Key {
                        caller: Caller::User("1"),
                        ..key(1)
                    },
                    QUOTA,
                    5
                )
                .allowed
        );
        assert!(
            memory.take_at(key(1), QUOTA, 1_000_000_005).allowed,
            "a second later there is one more"
        );
    }

    #[test]
    fn a_flood_of_callers_refills_nobodys_bucket() {
        let memory = Memory::new(SHARDS * 64);
        let mut passed = HashMap::<u128, u32>::new();
        // Everybody uses up its burst while far more callers come than there is room for, several times over.
        for round in 0..6u64 {
            for caller in 0..20_000u128 {
                let now = round * 1_000 + 1;
                *passed.entry(caller).or_default() += u32::from(memory.take_at(key(caller), QUOTA, now).allowed);
            }
        }
        assert!(
            passed.values().all(|n| *n <= 3),
            "somebody got more than its burst: {:?}",
            passed.values().max()
        );
        assert!(memory.entries() <= SHARDS * 64);
        let within = passed.values().filter(|n| **n == 3).count();
        assert!(
            within >= SHARDS * 64 / 2,
            "those with an entry of their own are not disturbed: {within}"
        );
        // An hour later all is forgiven, and the room is used again.
        let hour = 3_600_000_000_000;
        assert_eq!(
            (0..4)
                .filter(|_| memory.take_at(key(19_999), QUOTA, hour).allowed)
                .count(),
            3
        );
    }

    #[test]
    fn leaving_the_grid_does_not_refill_either() {
        let memory = Memory::new(SHARDS * 16);
        for caller in 0..10_000 {
            memory.take_at(
                key(caller),
                Quota {
                    interval: 10,
                    tolerance: 30,
                },
                1,
            );
        }
        // These find no room, and use up in the grid what they get there (sharing may leave them less than their burst).
        let late: Vec<u128> = (20_000..20_050).collect();
        let all = |now| {
            late.iter()
                .map(|c| (0..9).filter(|_| memory.take_at(key(*c), QUOTA, now).allowed).count())
                .collect::<Vec<_>>()
        };
        let before = all(2);
        assert!(before.iter().filter(|n| **n >= 2).count() > 25, "{before:?}");
        // The short-lived ones are over: there is room again, and what was used goes along.
        let after = all(SWEEP_EVERY_NANOS * 2);
        assert!(memory.entries() >= late.len());
        for (before, after) in before.iter().zip(&after) {
            assert!(before + after <= 3, "{before} + {after}");
        }
    }

    #[test]
    fn many_threads_together_get_no_more_than_one() {
        let memory = Memory::new(1_000);
        let passed = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let allowed = memory
                            .take_at(
                                key(1),
                                Quota {
                                    interval: 1_000,
                                    tolerance: 100_000,
                                },
                                1,
                            )
                            .allowed;
                        passed.fetch_add(u32::from(allowed), std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 100);
    }
}
