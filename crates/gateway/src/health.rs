//! Whether a server is worth asking: learned from the answers it gives, without asking it anything extra.

use crate::config::Upstream;
use http::StatusCode;
use mainstay_telemetry::{Fact, emit};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What is known of one server. Times are milliseconds since the gateway began.
#[derive(Default)]
pub(crate) struct Health {
    failures: AtomicU32,
    /// When the present or last ejection ends; 0 once the server has answered since.
    until: AtomicU64,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// When the last ejection ended or will end.
    last_end: AtomicU64,
}

/// Statuses that say something about the server and not about the request.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

impl Health {
    /// Whether the server gets no requests now.
    pub(crate) fn is_ejected(&self, now_ms: impl Fn() -> u64) -> bool {
        let until = self.until.load(Relaxed);
        until != 0 && until > now_ms()
    }

    /// The server gave a good answer.
    pub(crate) fn succeeded(&self, config: &Upstream, server: &str, now_ms: impl Fn() -> u64) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        let until = self.until.load(Relaxed);
        // An answer to a request from before the ejection does not end it.
        if until != 0 && until <= now_ms() && self.until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok() {
            emit(&Fact::ServerReturned {
                upstream: &config.name,
                server,
            });
        }
    }

    /// The server failed once more; after too many times in a row, or once right after an ejection, it is left alone, if
    /// `may_go` says that there are enough others.
    pub(crate) fn failed(&self, config: &Upstream, server: &str, reason: &str, now_ms: u64, may_go: impl Fn() -> bool) {
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        let until = self.until.load(Relaxed);
        if until > now_ms {
            return;
        }
        let on_probation = until != 0;
        if config.ejection.failures == 0 || (failures < config.ejection.failures && !on_probation) || !may_go() {
            return;
        }
        let ejection = &config.ejection;
        let behaved_for = now_ms.saturating_sub(self.last_end.load(Relaxed));
        let before = if behaved_for >= ejection.max.as_millis() as u64 && !on_probation {
            0
        } else {
            self.ejections.load(Relaxed)
        };
        let duration = ejection
            .base
            .saturating_mul(1 << before.min(16))
            .min(ejection.max)
            .max(Duration::from_millis(1));
        let end = now_ms + duration.as_millis() as u64;
        // Several workers may see failures at once; one of them ejects.
        if self.until.compare_exchange(until, end, Relaxed, Relaxed).is_ok() {
            self.ejections.store(before + 1, Relaxed);
            self.last_end.store(end, Relaxed);
            emit(&Fact::ServerEjected {
                upstream: &config.name,
                server,
                failures,
                ejected_for: duration,
                reason,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Ejection;

    fn config() -> Upstream {
        let ejection = Ejection {
            failures: 3,
            base: Duration::from_millis(100),
            max: Duration::from_millis(1_000),
            share: 0.5,
        };
        Upstream {
            ejection,
            ..Upstream::new("u", vec!["a:1".into()])
        }
    }

    #[test]
    fn ejection_comes_after_failures_in_a_row_and_lasts_longer_each_time() {
        let (config, health) = (config(), Health::default());
        let fail = |now| health.failed(&config, "a:1", "test", now, || true);
        let succeed = |now| health.succeeded(&config, "a:1", || now);
        let is_ejected = |now| health.is_ejected(|| now);
        fail(1);
        fail(2);
        succeed(3);
        fail(4);
        fail(5);
        assert!(!is_ejected(6), "a success in between starts the count again");
        fail(6);
        assert!(is_ejected(7) && is_ejected(105) && !is_ejected(106));
        succeed(50);
        assert!(is_ejected(60), "a late answer does not end it");
        fail(110);
        assert!(
            is_ejected(309) && !is_ejected(310),
            "back and failing at once: twice as long"
        );
        for round in 0..10 {
            fail(10_000 * (round + 1));
        }
        assert!(
            is_ejected(100_999) && !is_ejected(101_001),
            "never longer than the longest"
        );
        succeed(101_001);
        for _ in 0..3 {
            fail(200_000);
        }
        assert!(
            is_ejected(200_099) && !is_ejected(200_100),
            "it behaved for long: from the beginning"
        );
    }

    #[test]
    fn what_says_nothing_about_the_server_is_no_failure() {
        for (status, failure) in [
            (200, false),
            (404, false),
            (429, false),
            (500, false),
            (501, false),
            (502, true),
            (503, true),
            (504, true),
            (505, false),
        ] {
            assert_eq!(
                StatusCode::from_u16(status).map(is_failure).ok(),
                Some(failure),
                "{status}"
            );
        }
    }
}
