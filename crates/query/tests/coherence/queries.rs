//! A thousand cached queries of many shapes, a thousand random writes, and after each write everything recomputed from SQLite: an
//! answer that changed must have been dropped.

use crate::shop::{DDL, MEMBERS, SHAPES, member, seed, write};
use crate::turn;
use crate::world::{Answer, Ask, Event, Random, World, caller, escaped};
use mainstay_cache::Key;
use mainstay_model::Identity;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// A cached query.
struct Cached {
    shape: usize,
    ask: Ask,
    key: Key,
    answer: Answer,
}

/// What came of a run.
#[derive(Debug, Default)]
struct Found {
    stale: Vec<String>,
    recomputed: usize,
    dropped: usize,
    changed: usize,
    undecided: usize,
    /// Dropped because a row that is certainly in the answer came, went or changed.
    certain: usize,
    certain_changed: usize,
    by_shape: HashMap<&'static str, [usize; 3]>,
}

impl Found {
    fn add(&mut self, other: Found) {
        self.stale.extend(other.stale);
        self.recomputed += other.recomputed;
        self.dropped += other.dropped;
        self.changed += other.changed;
        self.undecided += other.undecided;
        self.certain += other.certain;
        self.certain_changed += other.certain_changed;
        for (name, counts) in other.by_shape {
            let sum = self.by_shape.entry(name).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    fn print(&self, began: Instant) {
        let good = self.changed + self.undecided;
        println!(
            "{} answers recomputed in {:.1} s; {} dropped: {} ({:.0} %) had changed, {} more ({:.0} %) could not be decided",
            self.recomputed,
            began.elapsed().as_secs_f64(),
            self.dropped,
            self.changed,
            100.0 * self.changed as f64 / self.dropped as f64,
            self.undecided,
            100.0 * self.undecided as f64 / self.dropped as f64,
        );
        println!(
            "changed or undecided: {:.1} % of those dropped",
            100.0 * good as f64 / self.dropped as f64
        );
        println!(
            "where the row alone decides: {} dropped, {:.1} % of them had changed",
            self.certain,
            100.0 * self.certain_changed as f64 / self.certain as f64
        );
        for (shape, ..) in SHAPES {
            let [dropped, changed, undecided] = self.by_shape.get(shape).copied().unwrap_or_default();
            println!("  {shape}: {dropped} dropped, {changed} changed, {undecided} undecided");
        }
    }
}

/// So many queries, so many writes; ends early when something stale was found and `first` says so.
fn check(queries: usize, writes: usize, seed_of: u64, first: bool) -> Found {
    let world = World::new(DDL);
    let mut r = Random(seed_of);
    seed(&world, &mut r);
    let service: Arc<Identity> = Arc::new(Identity::service());
    let mut all: Vec<Cached> = Vec::new();
    let mut known = HashSet::new();
    let mut tries = 0;
    while all.len() < queries {
        let shape = tries % SHAPES.len();
        tries += 1;
        assert!(tries < 100 * queries, "the shapes have too few queries");
        let (name, _, make) = &SHAPES[shape];
        let path = escaped(&make(&mut r));
        let identity = match r.below(3) {
            _ if *name == "policies with a subquery" => caller(
                "authenticated",
                &format!("{{\"sub\":\"{}\"}}", member(r.below(MEMBERS))),
            ),
            0 => caller("anon", "{}"),
            1 => caller(
                "authenticated",
                &format!("{{\"sub\":\"{}\"}}", member(r.below(MEMBERS))),
            ),
            _ => service.clone(),
        };
        let prefer = if *name == "counted" { "count=exact" } else { "" };
        let ask = Ask { path, identity, prefer };
        world.seen.take();
        let (answer, status) = world.ask(&world.cached, &ask);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.status < 300, "{name}: {} {}: {text}", ask.path, answer.status);
        if status == "mainstay; hit" {
            continue;
        }
        assert_eq!(status, "mainstay; fwd=miss; stored", "{name}: {}", ask.path);
        let &[Event::Kept(key)] = &*world.seen.take() else {
            panic!("{name} was not kept")
        };
        assert!(known.insert(key));
        all.push(Cached {
            shape,
            ask,
            key,
            answer,
        });
    }
    let right = all.split_off(all.len() / 2);
    let found = std::thread::scope(|scope| {
        // Each has its share of the queries, on a thread and a connection of its own.
        let workers = [all, right].map(|mut share| {
            let (go, written) = sync_channel::<Written>(1);
            let (done, checked) = sync_channel::<Found>(1);
            let world = &world;
            scope.spawn(move || {
                while let Ok(written) = written.recv() {
                    let mut found = Found::default();
                    share
                        .iter_mut()
                        .for_each(|cached| check_one(world, cached, &written, &mut found));
                    let _ = done.send(found);
                }
            });
            (go, checked)
        });
        let mut found = Found::default();
        for number in 0..writes {
            world.seen.take();
            let tables = write(&world, &mut r);
            let dropped = world.seen.take().into_iter().filter_map(|event| match event {
                Event::Dropped(key, certain) => Some((key, certain)),
                Event::Kept(_) => None,
            });
            let dropped: Arc<HashMap<Key, bool>> = Arc::new(dropped.collect());
            for (go, _) in &workers {
                let written = Written {
                    number,
                    tables,
                    dropped: dropped.clone(),
                };
                go.send(written).unwrap();
            }
            for (_, checked) in &workers {
                found.add(checked.recv().expect("a worker failed"));
            }
            if first && !found.stale.is_empty() {
                break;
            }
        }
        found
    });
    let stats = world.stats();
    assert_eq!((stats.evicted, stats.voided, stats.bypasses), (0, 0, 0), "{stats:?}");
    found
}

/// A write that was acknowledged.
struct Written {
    number: usize,
    tables: &'static [&'static str],
    dropped: Arc<HashMap<Key, bool>>,
}

/// Recomputes one answer after a write.
fn check_one(world: &World, cached: &mut Cached, written: &Written, found: &mut Found) {
    let Written {
        number,
        tables,
        dropped,
    } = written;
    let (name, of, _) = SHAPES[cached.shape];
    let dropped = dropped.get(&cached.key).copied();
    if !of.iter().any(|table| tables.contains(table)) {
        assert_eq!(dropped, None, "{name} does not read {tables:?}");
        return;
    }
    found.recomputed += 1;
    let (now, _) = world.ask(&world.fresh, &cached.ask);
    let changed = now != cached.answer;
    if let Some(certain) = dropped {
        let undecided = !changed && !certain;
        let shape = found.by_shape.entry(name).or_default();
        for (count, more) in shape.iter_mut().zip([true, changed, undecided]) {
            *count += usize::from(more);
        }
        found.dropped += 1;
        found.changed += usize::from(changed);
        found.undecided += usize::from(undecided);
        found.certain += usize::from(certain);
        found.certain_changed += usize::from(certain && changed);
        // Back into the cache, and the same from there as from the store.
        let (again, status) = world.ask(&world.cached, &cached.ask);
        assert_eq!((&again, &*status), (&now, "mainstay; fwd=miss; stored"), "{name}");
    } else if changed {
        found.stale.push(format!(
            "{name}: {} after write {number} to {tables:?}",
            cached.ask.path
        ));
    }
    if number % 16 == 0 {
        let (hit, status) = world.ask(&world.cached, &cached.ask);
        assert_eq!(&*status, "mainstay; hit", "{name}: {}", cached.ask.path);
        if hit != now {
            found.stale.push(format!(
                "{name}: {} is served as it was before write {number}",
                cached.ask.path
            ));
        }
    }
    cached.answer = now;
}

#[test]
fn every_changed_answer_is_dropped() {
    let _turn = turn();
    let began = Instant::now();
    let found = check(1000, 1000, 0x51ee_7001, false);
    found.print(began);
    assert_eq!(found.stale, Vec::<String>::new());
    assert!(
        found.dropped > 1000 && found.by_shape.len() == SHAPES.len(),
        "too little happened: {found:?}"
    );
    let good = found.changed + found.undecided;
    assert!(good * 10 >= found.dropped * 8, "dropped for nothing too often");
    assert!(found.certain_changed * 10 >= found.certain * 8, "certain too often");
}

/// The check finds what is wrong: with each failpoint set, an answer goes stale.
#[cfg(feature = "failpoints")]
#[test]
fn every_failpoint_is_found() {
    let _turn = turn();
    for name in ["ignore-before-images", "forget-order-columns", "drop-1-in-1000"] {
        mainstay_cache::failpoint::set(name, true);
        let found = check(1000, 1000, 0x51ee_7002, true);
        mainstay_cache::failpoint::set(name, false);
        assert!(!found.stale.is_empty(), "{name} went unnoticed");
        println!("{name}: {}", found.stale[0]);
    }
}
