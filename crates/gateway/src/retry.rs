//! When a request is tried again on another server: only where that is safe, and within a budget, so that retries never
//! become the load that keeps a struggling service down.

use crate::client::Failure;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use std::time::Instant;

/// How many retries a route may cause: a share of its requests, and a few per second in any case.
pub(crate) struct Budget {
    ratio: f64,
    per_second: f64,
    state: Mutex<State>,
}

struct State {
    tokens: f64,
    at: Instant,
}

/// Seconds of allowance that may be saved up.
const SAVED_SECONDS: f64 = 10.0;

impl Budget {
    pub(crate) fn new(ratio: f64, per_second: f64) -> Budget {
        Budget {
            ratio,
            per_second,
            state: Mutex::new(State {
                tokens: per_second,
                at: Instant::now(),
            }),
        }
    }

    /// A request was sent for the first time.
    pub(crate) fn deposit(&self) {
        if self.ratio > 0.0 {
            let mut state = self.state.lock();
            let most = self.per_second.max(1.0) * SAVED_SECONDS;
            state.tokens = (state.tokens + self.ratio).min(most.max(state.tokens));
        }
    }

    /// Whether one more retry is allowed; if so, it is taken.
    pub(crate) fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let earned = now.duration_since(state.at).as_secs_f64() * self.per_second;
        state.at = now;
        // What time alone gives is not saved beyond one second's worth.
        if state.tokens < self.per_second {
            state.tokens = (state.tokens + earned).min(self.per_second);
        }
        let allowed = state.tokens >= 1.0;
        if allowed {
            state.tokens -= 1.0;
        }
        allowed
    }
}

/// Methods that may be sent twice with the effect of once (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
    )
}

/// Whether a failure allows another try of a request that can be sent again in full.
pub(crate) fn failure_allows(failure: &Failure, idempotent: bool) -> bool {
    match failure {
        Failure::Connect(_) => true,
        // Whether there is any time left is looked at by whoever asks.
        Failure::Stale | Failure::Broken(_) | Failure::Timeout => idempotent,
        Failure::Client(_) => false,
    }
}

/// Statuses by which a server, or a proxy before it, says that somebody else should be asked.
pub(crate) fn status_allows(status: StatusCode, idempotent: bool) -> bool {
    idempotent
        && matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_a_share_of_requests() {
        let budget = Budget::new(0.2, 0.0);
        assert!(!budget.withdraw());
        for _ in 0..50 {
            budget.deposit();
        }
        assert_eq!(
            (0..100).filter(|_| budget.withdraw()).count(),
            9,
            "a fifth of 50, less what rounding takes"
        );
    }

    #[test]
    fn a_few_are_always_allowed_but_not_saved_up() {
        let budget = Budget::new(0.0, 10.0);
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
    }

    #[test]
    fn only_what_is_safe_is_sent_twice() {
        let connect = Failure::Connect("refused".into());
        let broken = Failure::Broken("eof".into());
        for (failure, idempotent, wanted) in [
            (&connect, false, true),
            (&connect, true, true),
            (&broken, false, false),
            (&broken, true, true),
            (&Failure::Stale, false, false),
            (&Failure::Timeout, true, true),
            (&Failure::Timeout, false, false),
        ] {
            assert_eq!(failure_allows(failure, idempotent), wanted, "{failure:?}");
        }
        assert!(
            status_allows(StatusCode::SERVICE_UNAVAILABLE, true)
                && !status_allows(StatusCode::SERVICE_UNAVAILABLE, false)
        );
        assert!(!status_allows(StatusCode::INTERNAL_SERVER_ERROR, true));
        assert!(is_idempotent(&Method::PUT) && !is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH));
    }
}
