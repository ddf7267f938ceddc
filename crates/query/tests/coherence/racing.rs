//! Fills while others write: whatever is in the cache when all is quiet again must be what SQLite says.

use crate::shop::{DDL, MEMBERS, SHAPES, member, seed, write};
use crate::turn;
use crate::world::{Ask, Random, World, caller, escaped};
use mainstay_cache::Stats;
use mainstay_model::Identity;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A thousand queries of all shapes, by three kinds of callers.
fn queries(count: usize, r: &mut Random) -> Vec<Ask> {
    let service: Arc<Identity> = Arc::new(Identity::service());
    (0..count)
        .map(|n| {
            let (name, _, make) = &SHAPES[n % SHAPES.len()];
            let someone = caller(
                "authenticated",
                &format!("{{\"sub\":\"{}\"}}", member(r.below(MEMBERS))),
            );
            Ask {
                path: escaped(&make(r)),
                identity: if r.one_in(2) { someone } else { service.clone() },
                prefer: if *name == "counted" { "count=exact" } else { "" },
            }
        })
        .collect()
}

/// Queries of one round: few, lest a later write drops again what was kept wrongly.
const AT_ONCE: usize = 100;

/// So many rounds, in each of which some queries are filled anew while another thread writes; then all of them are compared. Ends
/// early when something stale was found and `first` says so.
fn race(count: usize, rounds: usize, seed_of: u64, first: bool) -> (Vec<String>, usize, Stats) {
    let world = World::new(DDL);
    let mut r = Random(seed_of);
    seed(&world, &mut r);
    let asks = queries(count, &mut r);
    let mut writing = Random(seed_of ^ 0xf00d);
    let (mut stale, mut hits) = (Vec::new(), 0);
    for round in 0..rounds {
        world.cache.void(0, "all is filled again");
        world.seen.take();
        let filled = AtomicBool::new(false);
        let turn: Vec<&Ask> = (0..AT_ONCE)
            .map(|n| &asks[(round * AT_ONCE + n) % asks.len()])
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for ask in &turn {
                    world.ask(&world.cached, ask);
                }
                filled.store(true, Ordering::Release);
            });
            while !filled.load(Ordering::Acquire) {
                write(&world, &mut writing);
            }
        });
        for ask in turn {
            let (kept, status) = world.ask(&world.cached, ask);
            if status != "mainstay; hit" {
                continue;
            }
            hits += 1;
            let (now, _) = world.ask(&world.fresh, ask);
            if kept != now {
                stale.push(format!(
                    "{} is served as it was before a write of round {round}",
                    ask.path
                ));
            }
        }
        if first && !stale.is_empty() {
            break;
        }
    }
    (stale, hits, world.stats())
}

#[test]
fn what_is_filled_while_others_write_is_never_stale() {
    let _turn = turn();
    let began = Instant::now();
    let (stale, hits, stats) = race(1001, 120, 0x51ee_7003, false);
    println!(
        "{hits} kept answers compared in {:.1} s; {} fills were refused by the fence",
        began.elapsed().as_secs_f64(),
        stats.fenced
    );
    assert_eq!(stale, Vec::<String>::new());
    assert!(hits > 1000 && stats.fenced > 0, "too little happened: {stats:?}");
}

/// The check finds what is wrong: without the fence, what was read before a change is kept after it.
#[cfg(feature = "failpoints")]
#[test]
fn a_missing_fence_is_found() {
    let _turn = turn();
    mainstay_cache::failpoint::set("no-fence", true);
    let (stale, ..) = race(1001, 1000, 0x51ee_7004, true);
    mainstay_cache::failpoint::set("no-fence", false);
    assert!(!stale.is_empty(), "no-fence went unnoticed");
    println!("no-fence: {}", stale[0]);
}
