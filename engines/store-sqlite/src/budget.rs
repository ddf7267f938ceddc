//! What a statement may cost: SQLite asks every thousand instructions whether to go on.

use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Instructions between two questions.
const INSTRUCTIONS: i32 = 1000;
/// No limit.
const UNLIMITED: i64 = i64::MAX;

/// The limit of what runs on one connection. Set before each statement or answer; SQLite reads it from the same thread.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Questions left.
    left: AtomicI64,
    /// Microseconds after `origin`; `UNLIMITED` is never.
    deadline_us: AtomicI64,
    /// Set when it said no.
    spent: AtomicBool,
    origin: Instant,
    /// Somebody else's word that nobody waits for the answer any more.
    cancelled: parking_lot::Mutex<Option<Arc<AtomicBool>>>,
    watches_cancel: AtomicBool,
}

impl Budget {
    /// Watches over a connection.
    pub fn install(conn: &mut Connection) -> rusqlite::Result<Arc<Budget>> {
        let budget = Arc::new(Budget {
            left: AtomicI64::new(UNLIMITED),
            deadline_us: AtomicI64::new(UNLIMITED),
            spent: AtomicBool::new(false),
            origin: Instant::now(),
            cancelled: parking_lot::Mutex::new(None),
            watches_cancel: AtomicBool::new(false),
        });
        let asked = budget.clone();
        conn.progress_handler(INSTRUCTIONS, Some(move || asked.refuses()))?;
        Ok(budget)
    }

    /// Allows so many thousands of instructions.
    pub fn allow_kops(&self, kops: u32) {
        self.left.store(i64::from(kops), Ordering::Relaxed);
        self.deadline_us.store(UNLIMITED, Ordering::Relaxed);
        self.spent.store(false, Ordering::Relaxed);
    }

    /// Allows so much time, unless `cancelled` becomes true before.
    pub fn allow_time(&self, time: Duration, cancelled: Option<Arc<AtomicBool>>) {
        let deadline = (self.origin.elapsed() + time).as_micros();
        self.left.store(UNLIMITED, Ordering::Relaxed);
        self.deadline_us
            .store(i64::try_from(deadline).unwrap_or(UNLIMITED), Ordering::Relaxed);
        self.spent.store(false, Ordering::Relaxed);
        self.watches_cancel.store(cancelled.is_some(), Ordering::Relaxed);
        *self.cancelled.lock() = cancelled;
    }

    /// Allows everything.
    pub fn lift(&self) {
        self.left.store(UNLIMITED, Ordering::Relaxed);
        self.deadline_us.store(UNLIMITED, Ordering::Relaxed);
        self.watches_cancel.store(false, Ordering::Relaxed);
    }

    /// Whether it has said no since it was last set.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    fn refuses(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left != UNLIMITED {
            self.left.store(left - 1, Ordering::Relaxed);
        }
        let deadline = self.deadline_us.load(Ordering::Relaxed);
        let refused = left <= 0
            || (deadline != UNLIMITED && self.origin.elapsed().as_micros() as i64 > deadline)
            || (self.watches_cancel.load(Ordering::Relaxed)
                && self
                    .cancelled
                    .lock()
                    .as_ref()
                    .is_some_and(|c| c.load(Ordering::Relaxed)));
        if refused {
            self.spent.store(true, Ordering::Relaxed);
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str = "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t";

    #[test]
    fn an_endless_query_ends_by_each_limit() {
        let mut conn = Connection::open_in_memory().unwrap();
        let budget = Budget::install(&mut conn).unwrap();
        let run = || conn.query_row(ENDLESS, [], |_| Ok(())).unwrap_err().sqlite_error_code();
        budget.allow_kops(10);
        assert_eq!(run(), Some(rusqlite::ErrorCode::OperationInterrupted));
        assert!(budget.is_spent());
        budget.allow_time(Duration::from_millis(20), None);
        assert!(!budget.is_spent());
        assert_eq!(run(), Some(rusqlite::ErrorCode::OperationInterrupted));
        budget.allow_time(Duration::from_secs(3600), Some(Arc::new(AtomicBool::new(true))));
        assert_eq!(run(), Some(rusqlite::ErrorCode::OperationInterrupted));
        budget.allow_kops(1000);
        conn.query_row("SELECT 1", [], |_| Ok(())).unwrap();
        assert!(!budget.is_spent());
    }
}
