//! How long a statement takes, as far as it decides whether others may be made to wait for it: what is slow travels alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a read may take beyond the way to the server and back, and still have others wait behind it.
pub(crate) const READ: Duration = Duration::from_millis(1);
/// The same of an insertion, whose commit waits for a disk.
pub(crate) const INSERTION: Duration = Duration::from_millis(20);

/// A statement's time, or the shortest of all: the way there and back.
#[derive(Debug)]
pub(crate) struct Pace {
    us: AtomicU32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            us: AtomicU32::new(u32::MAX),
        }
    }
}

impl Pace {
    /// It took so long this time: the later, the more it counts.
    pub fn took(&self, since: Instant) {
        let us = micros(since);
        let known = self.us.load(Ordering::Relaxed);
        let us = match known {
            u32::MAX => us,
            known => known - known / 8 + us / 8,
        };
        self.us.store(us, Ordering::Relaxed);
    }

    /// Nothing took less.
    pub fn at_least(&self, since: Instant) {
        self.us.fetch_min(micros(since), Ordering::Relaxed);
    }

    /// Whether it takes no more than `limit` beyond the shortest of all. What was never asked is slow.
    pub fn is_quick(&self, shortest: &Pace, limit: Duration) -> bool {
        let us = self.us.load(Ordering::Relaxed);
        let most = shortest
            .us
            .load(Ordering::Relaxed)
            .saturating_add(limit.as_micros() as u32);
        us < u32::MAX && us <= most
    }
}

fn micros(since: Instant) -> u32 {
    since.elapsed().as_micros().min(u128::from(u32::MAX - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_once_is_slow_for_a_while() {
        let (shortest, pace) = (Pace::default(), Pace::default());
        assert!(!pace.is_quick(&shortest, READ), "nobody knows");
        let ago = |ms: u64| {
            Instant::now()
                .checked_sub(Duration::from_millis(ms))
                .expect("the clock runs")
        };
        shortest.at_least(ago(1));
        pace.took(ago(1));
        assert!(pace.is_quick(&shortest, READ));
        pace.took(ago(100));
        assert!(!pace.is_quick(&shortest, READ));
        for _ in 0..40 {
            pace.took(ago(1));
        }
        assert!(pace.is_quick(&shortest, READ));
    }
}
