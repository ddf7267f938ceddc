//! How often one address or one account may try. Counted in this process, before anything is spent on the request.
//!
//! A rule is a generic cell rate (GCRA): its state is one time per caller. Callers have an entry each as long as there is room.
//! An entry whose time has passed says the same as no entry and may go; one that still holds something back never does, or
//! whoever brings enough callers would refill its own bucket. Without room, newcomers share cells of a fixed grid: each believes
//! the emptier of its two and writes to both. Sharing is stricter for the unlucky, never looser for anybody.

use crate::config::Rate;
use crate::fault::Fault;
use http::HeaderValue;
use http::header::{HeaderName, RETRY_AFTER};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Callers with an entry of their own; some 30 bytes each.
const ENTRIES_MAX: usize = 32_768;

/// Cells for those without; a power of two.
const CELLS: usize = 16_384;

/// How long a full table waits until it looks again for entries whose time has passed.
const SWEEP_EVERY_NANOS: u64 = 50_000_000;

/// A rule by which callers are counted.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Named in refusals.
    pub name: &'static str,
    rate: Rate,
    /// Nanoseconds that one try costs.
    interval: u64,
    /// Nanoseconds that may be owed at most.
    tolerance: u64,
}

impl Rule {
    pub fn new(name: &'static str, rate: Rate) -> Rule {
        let count = u64::from(rate.count.max(1));
        let period = u64::try_from(rate.period.as_nanos()).unwrap_or(u64::MAX / 4);
        let interval = (period / count).max(1);
        Rule {
            name,
            rate,
            interval,
            tolerance: interval.saturating_mul(count),
        }
    }
}

/// Counts.
pub(crate) struct Limiter {
    begin: Instant,
    /// Keyed at random, so that nobody can choose callers that share a cell with a victim.
    hasher: RandomState,
    entries_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    exact: HashMap<u64, u64>,
    /// Allocated when it is first needed.
    grid: Vec<u64>,
    next_sweep: u64,
}

impl Limiter {
    pub fn new() -> Limiter {
        Limiter::with_room_for(ENTRIES_MAX)
    }

    fn with_room_for(entries_max: usize) -> Limiter {
        Limiter {
            begin: Instant::now(),
            hasher: RandomState::new(),
            entries_max,
            state: Mutex::default(),
        }
    }

    /// Counts one try by `caller`, or refuses it and names the rule.
    pub fn take(&self, rule: &Rule, caller: impl Hash) -> Result<(), Fault> {
        let now = self.begin.elapsed().as_nanos() as u64;
        self.take_at(rule, caller, now).map_err(|wait| refusal(rule, wait))
    }

    /// As [`Limiter::take`]; the error is how long to wait, in nanoseconds.
    fn take_at(&self, rule: &Rule, caller: impl Hash, now: u64) -> Result<(), u64> {
        let key = self.hasher.hash_one((rule.name, caller));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if let Some(tat) = state.exact.get_mut(&key) {
            return count(tat, now, rule);
        }
        if state.exact.len() >= self.entries_max && now >= state.next_sweep {
            state.exact.retain(|_, tat| *tat > now);
            state.next_sweep = now + SWEEP_EVERY_NANOS;
        }
        let cells = [key as usize % CELLS, (key >> 32) as usize % CELLS];
        // Whoever was in the grid takes along what it used there.
        let mut tat = match state.grid.is_empty() {
            true => 0,
            false => cells.iter().map(|cell| state.grid[*cell]).min().unwrap_or(0),
        };
        let verdict = count(&mut tat, now, rule);
        if state.exact.len() < self.entries_max {
            if tat > now {
                state.exact.insert(key, tat);
            }
            return verdict;
        }
        if state.grid.is_empty() {
            state.grid = vec![0; CELLS];
        }
        if verdict.is_ok() {
            for cell in cells {
                state.grid[cell] = state.grid[cell].max(tat);
            }
        }
        verdict
    }
}

/// One try at `now`, given the time at which everything allowed before is paid off.
fn count(tat: &mut u64, now: u64, rule: &Rule) -> Result<(), u64> {
    let next = (*tat).max(now).saturating_add(rule.interval);
    match (next - now).checked_sub(rule.tolerance) {
        Some(wait) if wait > 0 => Err(wait),
        _ => {
            *tat = next;
            Ok(())
        }
    }
}

/// Who is counted as one address: of IPv6 a /64, since whoever has one address has all of those.
pub(crate) fn subject(peer: Option<IpAddr>) -> IpAddr {
    match peer {
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V4(v4)) => IpAddr::V4(v4),
        Some(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        },
    }
}

fn refusal(rule: &Rule, wait: u64) -> Fault {
    mainstay_telemetry::emit(&mainstay_telemetry::Fact::LimitRefused { rule: rule.name });
    let seconds = wait.div_ceil(1_000_000_000);
    let (name, count, period) = (rule.name, rule.rate.count, rule.rate.period.as_secs());
    let text = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    Fault::new(
        429,
        "over_request_rate_limit",
        format!("Request rate limit reached: rule \"{name}\" allows {count} in {period} s; try again in {seconds} s"),
    )
    .header(RETRY_AFTER, HeaderValue::from(seconds))
    .header(
        HeaderName::from_static("ratelimit"),
        text(format!("\"{name}\";r=0;t={seconds}")),
    )
    .header(
        HeaderName::from_static("ratelimit-policy"),
        text(format!("\"{name}\";q={count};w={period}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rule(count: u32) -> Rule {
        Rule::new(
            "test",
            Rate {
                count,
                period: Duration::from_secs(u64::from(count)),
            },
        )
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (limiter, rule) = (Limiter::new(), rule(3));
        for _ in 0..3 {
            assert_eq!(limiter.take_at(&rule, "a", 7), Ok(()));
        }
        assert_eq!(limiter.take_at(&rule, "a", 7), Err(SECOND));
        assert_eq!(limiter.take_at(&rule, "b", 7), Ok(()), "others are counted apart");
        let other = Rule::new("other", rule.rate);
        assert_eq!(limiter.take_at(&other, "a", 7), Ok(()), "and so are other rules");
        assert_eq!(limiter.take_at(&rule, "a", 7 + SECOND), Ok(()));
        assert_eq!(limiter.take_at(&rule, "a", 7 + SECOND), Err(SECOND));
        let later = 7 + 100 * SECOND;
        let passed = (0..9).filter(|_| limiter.take_at(&rule, "a", later).is_ok()).count();
        assert_eq!(passed, 3, "time fills it up to the burst and no further");
    }

    #[test]
    fn a_flood_of_callers_refills_nobodys_bucket() {
        let (limiter, rule) = (Limiter::with_room_for(64), rule(3));
        let mut passed = vec![0; 4_000];
        for now in 1..=6 {
            for (caller, passed) in passed.iter_mut().enumerate() {
                *passed += u32::from(limiter.take_at(&rule, caller, now).is_ok());
            }
        }
        assert!(passed.iter().all(|n| *n <= 3), "somebody got more than its burst");
        assert_eq!(passed[..64], [3; 64], "those with an entry are not disturbed");
        let hour = 3_600 * SECOND;
        assert_eq!(
            limiter.take_at(&rule, 3_999, hour),
            Ok(()),
            "an hour later all is forgiven"
        );
        assert!(limiter.state.lock().expect("unpoisoned").exact.len() <= 64);
    }

    #[test]
    fn leaving_the_grid_does_not_refill_either() {
        let (limiter, slow) = (Limiter::with_room_for(8), rule(3));
        let quick = Rule::new(
            "quick",
            Rate {
                count: 1,
                period: Duration::from_nanos(50),
            },
        );
        for caller in 0..8 {
            limiter.take_at(&quick, caller, 1).expect("first");
        }
        let first = (0..9).filter(|_| limiter.take_at(&slow, "late", 2).is_ok()).count();
        assert_eq!(first, 3, "served from the grid");
        assert_eq!(
            limiter.take_at(&slow, "late", SWEEP_EVERY_NANOS * 2),
            Err(SECOND - SWEEP_EVERY_NANOS * 2 + 2)
        );
        assert_eq!(
            limiter.state.lock().expect("unpoisoned").exact.len(),
            1,
            "and has an entry now"
        );
    }

    #[test]
    fn neighbours_in_a_64_are_one_caller() {
        let ip = |text: &str| subject(Some(text.parse().expect("an address")));
        assert_eq!(ip("2001:db8:1:2:3:4:5:6"), ip("2001:db8:1:2::1"));
        assert_ne!(ip("2001:db8:1:3::1"), ip("2001:db8:1:2::1"));
        assert_eq!(ip("::ffff:192.0.2.7"), ip("192.0.2.7"));
        assert_ne!(ip("192.0.2.8"), ip("192.0.2.7"));
    }

    #[test]
    fn a_refusal_names_its_rule_and_the_wait() {
        let (limiter, rule) = (Limiter::new(), rule(1));
        limiter.take(&rule, 1).expect("the first passes");
        let fault = limiter.take(&rule, 1).expect_err("the second does not");
        let response = fault.response(false);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()["ratelimit-policy"], "\"test\";q=1;w=1");
        let body = String::from_utf8_lossy(response.body());
        assert!(
            body.contains("over_request_rate_limit") && body.contains("rule \\\"test\\\""),
            "{body}"
        );
    }
}
