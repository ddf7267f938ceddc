//! The file: one row per message and subscription, gone when it is acknowledged.
//!
//! Of each key the oldest message that is not parked is its head, and only heads are delivered. Which those are is kept in the rows,
//! so that finding one costs the same however many wait behind them.

use crate::{failed, now_us};
use mainstay_bus::{Backlog, Delivery, Message, Subscription};
use mainstay_embedded::{Held, create_private};
use mainstay_model::{Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// Version of the file's tables, kept in `user_version`.
const VERSION: i32 = 3;

const TABLES: &str = "
CREATE TABLE message (
  serial       INTEGER PRIMARY KEY AUTOINCREMENT,
  subscription TEXT NOT NULL,
  id           TEXT NOT NULL,
  topic        TEXT NOT NULL,
  key          TEXT NOT NULL,
  time_us      INTEGER NOT NULL,
  payload      TEXT NOT NULL,
  traceparent  TEXT,
  attempts     INTEGER NOT NULL DEFAULT 0,
  due_us       INTEGER NOT NULL,
  parked_us    INTEGER,
  error        TEXT,
  head         INTEGER NOT NULL,
  UNIQUE (subscription, id)
) STRICT;
CREATE INDEX message_key  ON message (subscription, key, serial)    WHERE parked_us IS NULL;
CREATE INDEX message_head ON message (subscription, due_us, serial) WHERE head = 1;
CREATE INDEX message_dead ON message (subscription, serial)         WHERE parked_us IS NOT NULL;
CREATE TABLE schedule (subscription TEXT PRIMARY KEY, every_us INTEGER NOT NULL, next_us INTEGER NOT NULL) STRICT;
CREATE TABLE job (id TEXT PRIMARY KEY, opened_us INTEGER NOT NULL, closed_us INTEGER, result TEXT, error TEXT) STRICT;
CREATE INDEX job_closed ON job (closed_us);
";

/// What version 1 lacked.
const HEADS: &str = "
ALTER TABLE message ADD COLUMN head INTEGER NOT NULL DEFAULT 0;
DROP INDEX message_head;
DROP INDEX message_due;
CREATE INDEX message_key  ON message (subscription, key, serial)    WHERE parked_us IS NULL;
CREATE INDEX message_head ON message (subscription, due_us, serial) WHERE head = 1;
UPDATE message SET head = 1 WHERE serial IN (SELECT min(serial) FROM message WHERE parked_us IS NULL GROUP BY subscription, key);
";

/// What version 2 lacked, and a new file has after [`TABLES`].
const CLAIMS: &str = "
CREATE TABLE claim (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, at_us INTEGER NOT NULL) STRICT;
CREATE INDEX claim_at ON claim (at_us);
";

/// Whether a message to be inserted is the first of its key: `?1` is the subscription, `?4` the key.
pub(crate) const IS_HEAD: &str =
    "NOT EXISTS (SELECT 1 FROM message WHERE subscription = ?1 AND key = ?4 AND parked_us IS NULL)";

/// The queue, owned by one thread.
pub(crate) struct Queue {
    pub(crate) connection: Connection,
    pub subscriptions: Vec<Subscription>,
    /// Deliveries under way, by serial, and the keys that they hold, by subscription.
    in_flight: HashMap<u64, (String, String)>,
    held: HashMap<String, HashSet<String>>,
    /// What the present group fetched, and what it ended: it is so when the group is committed.
    fetched: Vec<u64>,
    ended: Vec<u64>,
    file: Held,
}

impl Queue {
    pub fn open(path: &Path) -> Result<Queue> {
        create_private(path);
        let unopened = |e: rusqlite::Error| unopened(path, &e);
        let connection = Connection::open(path).map_err(unopened)?;
        // Whoever has the file keeps it: there is nothing to wait for.
        connection.busy_timeout(Duration::ZERO).map_err(unopened)?;
        // Exclusive: the lock is kept until the process ends, and WAL needs no shared memory.
        connection
            .execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(unopened)?;
        connection.execute_batch("BEGIN IMMEDIATE").map_err(unopened)?;
        let version: i32 = connection
            .pragma_query_value(None, "user_version", |r| r.get(0))
            .map_err(unopened)?;
        let missing: &[&str] = match version {
            0 => &[TABLES, CLAIMS],
            1 => &[HEADS, CLAIMS],
            2 => &[CLAIMS],
            VERSION => &[],
            other => {
                return Err(Error::new(
                    "55000",
                    format!(
                        "{} has version {other}, and this program knows {VERSION}: open it with the version of Mainstay that wrote it",
                        path.display()
                    ),
                ));
            }
        };
        for tables in missing {
            connection.execute_batch(tables).map_err(unopened)?;
        }
        connection
            .pragma_update(None, "user_version", VERSION)
            .and_then(|()| connection.execute_batch("COMMIT"))
            .map_err(unopened)?;
        Ok(Queue {
            connection,
            subscriptions: Vec::new(),
            in_flight: HashMap::new(),
            held: HashMap::new(),
            fetched: Vec::new(),
            ended: Vec::new(),
            file: Held::of(path),
        })
    }

    pub fn begin(&mut self) -> Result<()> {
        self.look_at_file()?;
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)
    }

    /// Ends a group. When it fails, what the group fetched or ended is as it was.
    pub fn commit(&mut self) -> Result<()> {
        let committed = self.connection.execute_batch("COMMIT").map_err(failed);
        if committed.is_err() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let (fetched, ended) = (std::mem::take(&mut self.fetched), std::mem::take(&mut self.ended));
        for serial in if committed.is_ok() { ended } else { fetched } {
            self.free(serial);
        }
        committed.and_then(|()| self.look_at_file())
    }

    /// Nothing is acknowledged that was written to a file which nobody will find.
    fn look_at_file(&self) -> Result<()> {
        match self.file.displaced() {
            None => Ok(()),
            Some(_) => Err(Error::new(
                "58030",
                "the embedded bus' file was deleted or replaced while it was open: put it and its -wal file back, or restart to go on \
                 with the one that is there now",
            )),
        }
    }

    pub fn finish(self) {
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// The subscriptions that got something.
    pub fn publish(&mut self, messages: &[Message]) -> Result<Vec<String>> {
        let mut woken = Vec::new();
        self.connection.execute_batch("SAVEPOINT publish").map_err(failed)?;
        let result = (|| {
            let mut insert = self.connection.prepare_cached(&format!(
                "INSERT INTO message (subscription, id, topic, key, time_us, payload, traceparent, due_us, head)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, {IS_HEAD}) ON CONFLICT DO NOTHING",
            ))?;
            for message in messages {
                for subscription in self.subscriptions.iter().filter(|s| s.wants(&message.topic)) {
                    insert.execute(params![
                        subscription.name,
                        message.id,
                        message.topic,
                        message.key,
                        message.time_us,
                        message.payload,
                        message.traceparent,
                        now_us()
                    ])?;
                    if !woken.contains(&subscription.name) {
                        woken.push(subscription.name.clone());
                    }
                }
            }
            Ok(())
        })();
        self.release("publish", result)?;
        Ok(woken)
    }

    pub(crate) fn release(&self, savepoint: &str, result: rusqlite::Result<()>) -> Result<()> {
        match result {
            Ok(()) => self
                .connection
                .execute_batch(&format!("RELEASE {savepoint}"))
                .map_err(failed),
            Err(e) => {
                let _ = self
                    .connection
                    .execute_batch(&format!("ROLLBACK TO {savepoint}; RELEASE {savepoint}"));
                Err(failed(e))
            }
        }
    }

    pub fn fetch(&mut self, subscription: &str, limit: usize, now_us: i64) -> Result<Vec<Delivery>> {
        let held = self.held.entry(subscription.to_owned()).or_default();
        let found: Vec<Delivery> = {
            let mut select = self
                .connection
                .prepare_cached(
                    "SELECT serial, id, topic, key, time_us, payload, traceparent, attempts FROM message
                      WHERE subscription = ?1 AND head = 1 AND due_us <= ?2 ORDER BY due_us, serial LIMIT ?3",
                )
                .map_err(failed)?;
            let rows = select
                .query_map(params![subscription, now_us, limit + held.len()], |row| {
                    Ok(Delivery {
                        serial: row.get(0)?,
                        attempt: row.get::<_, u32>(7)? + 1,
                        message: message(row, 1)?,
                    })
                })
                .map_err(failed)?;
            rows.filter(|row| row.as_ref().map_or(true, |d| !held.contains(&d.message.key)))
                .take(limit)
                .collect::<rusqlite::Result<_>>()
                .map_err(failed)?
        };
        for delivery in &found {
            held.insert(delivery.message.key.clone());
            self.in_flight
                .insert(delivery.serial, (subscription.to_owned(), delivery.message.key.clone()));
            self.fetched.push(delivery.serial);
        }
        Ok(found)
    }

    /// When the next message is due that no held key keeps back.
    pub fn next_due(&mut self, subscription: &str) -> Result<Option<i64>> {
        let held = self.held.get(subscription);
        let mut select = self
            .connection
            .prepare_cached("SELECT key, due_us FROM message WHERE subscription = ?1 AND head = 1 ORDER BY due_us")
            .map_err(failed)?;
        let mut rows = select.query([subscription]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let key: String = row.get(0).map_err(failed)?;
            if held.is_none_or(|held| !held.contains(&key)) {
                return row.get(1).map(Some).map_err(failed);
            }
        }
        Ok(None)
    }

    /// The subscription of a delivery that ends with the present group.
    fn end(&mut self, serial: u64) -> Option<String> {
        let (subscription, _) = self.in_flight.get(&serial)?;
        self.ended.push(serial);
        Some(subscription.clone())
    }

    fn free(&mut self, serial: u64) {
        if let Some((subscription, key)) = self.in_flight.remove(&serial)
            && let Some(held) = self.held.get_mut(&subscription)
        {
            held.remove(&key);
        }
    }

    /// Makes the oldest message of a key its head.
    pub(crate) fn promote(&self, subscription: &str, key: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE message SET head = 1 WHERE head = 0 AND serial =
                   (SELECT serial FROM message WHERE subscription = ? AND key = ? AND parked_us IS NULL ORDER BY serial LIMIT 1)",
            )?
            .execute([subscription, key])?;
        Ok(())
    }

    /// Takes a message out of its key's line by a statement that returns subscription and key.
    fn leave(&self, sql: &str, params: impl rusqlite::Params) -> Result<()> {
        let left: Option<(String, String)> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row(params, |r| Ok((r.get(0)?, r.get(1)?))).optional())
            .map_err(failed)?;
        match left {
            Some((subscription, key)) => self.promote(&subscription, &key).map_err(failed),
            None => Ok(()),
        }
    }

    pub fn acknowledge(&mut self, serial: u64) -> Result<Option<String>> {
        self.leave(
            "DELETE FROM message WHERE serial = ? RETURNING subscription, key",
            [serial],
        )?;
        Ok(self.end(serial))
    }

    pub fn retry(&mut self, serial: u64, due_us: i64, error: &str) -> Result<Option<String>> {
        self.connection
            .prepare_cached("UPDATE message SET attempts = attempts + 1, due_us = ?, error = ? WHERE serial = ?")
            .and_then(|mut s| s.execute(params![due_us, error, serial]))
            .map_err(failed)?;
        Ok(self.end(serial))
    }

    pub fn park(&mut self, serial: u64, error: &str, now_us: i64) -> Result<Option<String>> {
        self.leave(
            "UPDATE message SET attempts = attempts + 1, parked_us = ?, error = ?, head = 0 WHERE serial = ? RETURNING subscription, key",
            params![now_us, error, serial],
        )?;
        Ok(self.end(serial))
    }

    pub fn backlog(&mut self) -> Result<Vec<Backlog>> {
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT subscription, count(*) FILTER (WHERE parked_us IS NULL), count(*) FILTER (WHERE parked_us IS NULL AND attempts > 0),
                        count(*) FILTER (WHERE parked_us IS NOT NULL), min(time_us) FILTER (WHERE parked_us IS NULL)
                   FROM message GROUP BY subscription",
            )
            .map_err(failed)?;
        let rows = select
            .query_map([], |row| {
                Ok(Backlog {
                    subscription: row.get(0)?,
                    waiting: row.get(1)?,
                    retrying: row.get(2)?,
                    parked: row.get(3)?,
                    oldest_us: row.get(4)?,
                })
            })
            .map_err(failed)?;
        let mut found: Vec<Backlog> = rows.collect::<rusqlite::Result<_>>().map_err(failed)?;
        for subscription in &self.subscriptions {
            if !found.iter().any(|b| b.subscription == subscription.name) {
                found.push(Backlog {
                    subscription: subscription.name.clone(),
                    ..Backlog::default()
                });
            }
        }
        found.sort_by(|a, b| a.subscription.cmp(&b.subscription));
        Ok(found)
    }
}

/// Why the file cannot be opened, for whoever started the process: which file, and what to do.
fn unopened(path: &Path, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, PermissionDenied, ReadOnly,
    };
    let (code, says) = match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => (
            "55006",
            " is in use by another process: an embedded bus serves one process at a time",
        ),
        Some(NotADatabase | DatabaseCorrupt) => (
            "58030",
            ": the file is damaged, or no SQLite database; bring it back with `mainstay restore`, or move it away: without it what \
             waited to be delivered is lost, and a new one is made",
        ),
        Some(CannotOpen) if path.is_dir() => (
            "58030",
            ": it is a directory; move it away, and a file is made in its place",
        ),
        Some(CannotOpen | PermissionDenied | ReadOnly) => (
            "58030",
            ": the file or its directory cannot be written; give the user that runs Mainstay the right to write both",
        ),
        Some(DiskFull) => ("58030", ": no space is left on the device; free some"),
        _ => return Error::new("58030", format!("{}: {error}", path.display())),
    };
    Error::new(code, format!("{}{says}", path.display()))
}

/// A message from columns that begin at `at`: id, topic, key, time, payload, traceparent.
pub(crate) fn message(row: &Row<'_>, at: usize) -> rusqlite::Result<Message> {
    Ok(Message {
        id: row.get(at)?,
        topic: row.get(at + 1)?,
        key: row.get(at + 2)?,
        time_us: row.get(at + 3)?,
        payload: row.get(at + 4)?,
        traceparent: row.get(at + 5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_bus::Selection;

    fn selection(subscription: &str) -> Selection {
        Selection {
            subscription: Some(subscription.to_owned()),
            ..Selection::default()
        }
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("mainstay-queue-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir.join("bus.db")
    }

    fn fetched(queue: &mut Queue) -> Vec<(u64, String)> {
        queue.begin().unwrap();
        let found = queue.fetch("s", 10, now_us() + 1).unwrap();
        queue.commit().unwrap();
        found.into_iter().map(|d| (d.serial, d.message.id)).collect()
    }

    fn published(queue: &mut Queue, ids: &[&str]) {
        let message = |id: &&str| Message {
            id: (*id).to_owned(),
            topic: "t".into(),
            key: id[..1].to_owned(),
            time_us: 1,
            payload: "{}".into(),
            traceparent: None,
        };
        queue.publish(&ids.iter().map(message).collect::<Vec<_>>()).unwrap();
    }

    fn done<T>(queue: &mut Queue, work: impl FnOnce(&mut Queue) -> Result<T>) -> T {
        queue.begin().unwrap();
        let result = work(queue).unwrap();
        queue.commit().unwrap();
        result
    }

    fn open(path: &Path) -> Queue {
        let mut queue = Queue::open(path).unwrap();
        queue.subscriptions = vec![Subscription {
            name: "s".into(),
            topics: vec!["t".into()],
        }];
        queue
    }

    #[test]
    fn a_replayed_message_stands_before_what_came_after_it() {
        let mut queue = open(&scratch("replay"));
        published(&mut queue, &["a1", "a2", "a3", "b1"]);
        let heads = fetched(&mut queue);
        assert_eq!(heads, [(1, "a1".to_owned()), (4, "b1".to_owned())]);
        done(&mut queue, |q| q.park(1, "no", now_us()));
        assert_eq!(fetched(&mut queue), [(2, "a2".to_owned())]);
        // The second is in flight when the first comes back: it ends, and then the first is next.
        assert_eq!(queue.replay(&selection("s")).unwrap(), (1, Some(1)));
        assert_eq!(fetched(&mut queue), []);
        done(&mut queue, |q| q.retry(2, 0, "later"));
        assert_eq!(fetched(&mut queue), [(1, "a1".to_owned())]);
        done(&mut queue, |q| q.acknowledge(1));
        assert_eq!(fetched(&mut queue), [(2, "a2".to_owned())]);
        done(&mut queue, |q| q.acknowledge(2));
        assert_eq!(fetched(&mut queue), [(3, "a3".to_owned())]);
        done(&mut queue, |q| q.acknowledge(3));
        done(&mut queue, |q| q.acknowledge(4));
        assert_eq!(fetched(&mut queue), []);
        assert_eq!(queue.next_due("s").unwrap(), None);
    }

    #[test]
    fn a_commit_that_fails_leaves_everything_as_it_was() {
        let mut queue = open(&scratch("commit"));
        published(&mut queue, &["a1", "a2", "b1", "c1"]);
        assert_eq!(fetched(&mut queue).len(), 3);
        done(&mut queue, |q| q.acknowledge(4));
        // A group that ends one delivery and fetches another, and is not committed: SQLite has no transaction to commit.
        queue.begin().unwrap();
        queue.acknowledge(1).unwrap();
        queue.connection.execute_batch("ROLLBACK").unwrap();
        assert!(queue.commit().is_err());
        // The first is still under way: its key is held, and it can be ended again.
        assert_eq!(fetched(&mut queue), []);
        done(&mut queue, |q| q.acknowledge(1));
        // What was fetched in vain is fetched again.
        queue.begin().unwrap();
        assert_eq!(queue.fetch("s", 10, now_us() + 1).unwrap().len(), 1);
        queue.connection.execute_batch("ROLLBACK").unwrap();
        assert!(queue.commit().is_err());
        assert_eq!(fetched(&mut queue), [(2, "a2".to_owned())]);
    }

    #[test]
    fn what_nobody_subscribes_to_any_more_can_be_thrown_away() {
        let mut queue = open(&scratch("removed"));
        published(&mut queue, &["a1", "a2", "b1"]);
        fetched(&mut queue);
        done(&mut queue, |q| q.park(1, "no", now_us()));
        queue.subscriptions.clear();
        assert_eq!(queue.replay(&selection("s")).unwrap(), (0, None));
        assert_eq!(queue.parked(&selection("s")).unwrap().len(), 1);
        assert_eq!(queue.discard(&selection("s")).unwrap(), 3);
        assert_eq!(queue.backlog().unwrap(), []);
    }

    #[test]
    fn a_file_that_is_gone_takes_nothing() {
        let path = scratch("gone");
        let mut queue = open(&path);
        published(&mut queue, &["a1"]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(queue.begin().unwrap_err().code, "58030");
    }

    #[test]
    fn a_file_of_version_1_goes_on() {
        let path = scratch("version");
        let mut queue = open(&path);
        published(&mut queue, &["a1", "a2", "b1", "b2"]);
        done(&mut queue, |q| q.park(1, "no", now_us()));
        queue
            .connection
            .execute_batch(
                "DROP INDEX message_head; DROP INDEX message_key; ALTER TABLE message DROP COLUMN head;
                 CREATE INDEX message_head ON message (subscription, key, serial) WHERE parked_us IS NULL;
                 CREATE INDEX message_due  ON message (subscription, due_us)      WHERE parked_us IS NULL;
                 DROP TABLE claim;
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(queue);
        let mut queue = open(&path);
        assert_eq!(fetched(&mut queue), [(2, "a2".to_owned()), (3, "b1".to_owned())]);
        done(&mut queue, |q| q.acknowledge(3));
        assert_eq!(fetched(&mut queue), [(4, "b2".to_owned())]);
    }
}
