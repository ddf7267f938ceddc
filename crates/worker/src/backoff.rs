//! When a failed attempt is made again.

use std::time::Duration;

/// How often, and how long apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; after the last the message is parked.
    pub attempts: u32,
    /// Whether pauses double.
    pub exponential: bool,
    /// The pause after the first failure.
    pub initial: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Retry {
    /// The pause after attempt `attempt` (from 1): between half of its length and all of it, so that those who failed together do not
    /// come back together. `None` when there is no further attempt.
    pub fn pause(&self, attempt: u32) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doublings = if self.exponential { (attempt - 1).min(30) } else { 0 };
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        let mut random = [0u8; 4];
        // Without randomness all pauses are full; nothing else depends on it.
        let share = match getrandom::fill(&mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        Some(full.mul_f64(0.5 + share / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_then_end() {
        let retry = Retry {
            attempts: 5,
            exponential: true,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(3),
        };
        for (attempt, full) in [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0)] {
            let pause = retry.pause(attempt).expect("another attempt").as_secs_f64();
            assert!((full / 2.0..=full).contains(&pause), "attempt {attempt}: {pause}");
        }
        assert_eq!(retry.pause(5), None);
        assert_eq!(Retry { attempts: 1, ..retry }.pause(1), None);
    }
}
