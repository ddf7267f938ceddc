//! Numbers that never repeat and never go back, also across restarts, without a write for each: the file holds a bound that no number
//! has reached yet, and the next start goes on from there.

use rusqlite::Connection;

/// Numbers between two writes of the bound.
const BLOCK: u64 = 1 << 20;

/// A counter kept in `_mainstay_meta`.
#[derive(Debug)]
pub(crate) struct Counter {
    key: &'static str,
    next: u64,
    reserved: u64,
}

impl Counter {
    /// Goes on where the file says; writes the new bound. `at_least`: a number that has been used already.
    pub fn open(conn: &Connection, key: &'static str, at_least: u64) -> rusqlite::Result<Counter> {
        let stored: Option<String> = conn.query_row(
            "SELECT (SELECT value FROM _mainstay_meta WHERE key = ?1)",
            [key],
            |row| row.get(0),
        )?;
        let next = stored.and_then(|text| text.parse().ok()).unwrap_or(0).max(at_least) + 1;
        let mut counter = Counter {
            key,
            next,
            reserved: next,
        };
        counter.reserve(conn, 0)?;
        Ok(counter)
    }

    /// Makes sure that the bound lies `more` numbers ahead; part of the open transaction.
    pub fn reserve(&mut self, conn: &Connection, more: u64) -> rusqlite::Result<()> {
        if self.next + more < self.reserved {
            return Ok(());
        }
        let reserved = self.next + more + BLOCK;
        conn.execute(
            "INSERT INTO _mainstay_meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [self.key, &reserved.to_string()],
        )?;
        self.reserved = reserved;
        Ok(())
    }

    /// Whether a bound was written that a rollback takes back; then it is written again.
    pub fn forget_reservation(&mut self) {
        self.reserved = self.next;
    }

    /// The number used last.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// The next number.
    pub fn take(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_goes_on_above() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(mainstay_sql::sqlite::meta_tables()[0]).unwrap();
        let mut counter = Counter::open(&conn, "position", 0).unwrap();
        let used = (counter.take(), counter.take());
        assert!(used.0 < used.1);
        let mut again = Counter::open(&conn, "position", 0).unwrap();
        assert!(again.take() > used.1);
        let mut far = Counter::open(&conn, "position", 1 << 40).unwrap();
        assert!(far.take() > 1 << 40);
        far.next = far.reserved;
        far.reserve(&conn, 5).unwrap();
        assert!(far.reserved > far.next + 5);
    }
}
