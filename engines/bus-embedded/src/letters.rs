//! Dead letters: listed, delivered again, thrown away.

use crate::failed;
use crate::queue::{Queue, message};
use mainstay_bus::{Parked, Selection};
use mainstay_model::{Result, write_json_string};
use rusqlite::params;
use std::collections::HashSet;

/// A list of dead letters ends after so many bytes; there is a next one.
const LIST_BYTES_MAX: usize = 8 << 20;

impl Queue {
    pub fn parked(&mut self, selection: &Selection) -> Result<Vec<Parked>> {
        let limit = if selection.limit == 0 {
            -1
        } else {
            selection.limit as i64
        };
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT serial, id, topic, key, time_us, payload, traceparent, subscription, attempts, error, parked_us FROM message
                  WHERE parked_us IS NOT NULL AND (?1 IS NULL OR subscription = ?1) AND (?2 IS NULL OR serial = ?2)
                    AND (?3 IS NULL OR serial > ?3)
                  ORDER BY serial LIMIT ?4",
            )
            .map_err(failed)?;
        let asked = params![selection.subscription, selection.serial, selection.after, limit];
        let mut bytes = 0;
        let rows = select
            .query_map(asked, |row| {
                Ok(Parked {
                    serial: row.get(0)?,
                    message: message(row, 1)?,
                    subscription: row.get(7)?,
                    attempts: row.get(8)?,
                    error: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
                    parked_us: row.get(10)?,
                })
            })
            .map_err(failed)?;
        // One is always given, however large.
        let rows = rows.take_while(|row| {
            let fits = bytes < LIST_BYTES_MAX;
            bytes += row
                .as_ref()
                .map_or(0, |letter| letter.message.payload.len() + letter.error.len());
            fits
        });
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// As many as are selected, and the last of them. What nobody subscribes to any more stays where it can be seen.
    pub fn replay(&mut self, selection: &Selection) -> Result<(u64, Option<u64>)> {
        self.connection.execute_batch("SAVEPOINT replay").map_err(failed)?;
        let result = self.return_to_line(selection);
        let done = result.as_ref().copied().unwrap_or_default();
        self.release("replay", result.map(|_| ()))?;
        Ok(done)
    }

    /// Parked messages get back to where they stood: before what came after them.
    fn return_to_line(&self, selection: &Selection) -> rusqlite::Result<(u64, Option<u64>)> {
        let mut update = self.connection.prepare_cached(
            "UPDATE message SET parked_us = NULL, attempts = 0, due_us = unixepoch() * 1000000 WHERE serial IN (
               SELECT serial FROM message
                WHERE parked_us IS NOT NULL AND (?1 IS NULL OR subscription = ?1) AND (?2 IS NULL OR serial = ?2)
                  AND (?3 IS NULL OR serial > ?3) AND subscription IN (SELECT value FROM json_each(?4))
                ORDER BY serial LIMIT ?5)
              RETURNING subscription, key, serial",
        )?;
        let limit = if selection.limit == 0 {
            -1
        } else {
            selection.limit as i64
        };
        let asked = params![
            selection.subscription,
            selection.serial,
            selection.after,
            self.names(),
            limit
        ];
        let rows = update.query_map(asked, |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)))?;
        let returned: Vec<((String, String), u64)> = rows.collect::<rusqlite::Result<_>>()?;
        let keys: HashSet<&(String, String)> = returned.iter().map(|(key, _)| key).collect();
        for (subscription, key) in keys {
            self.connection
                .prepare_cached(
                    "UPDATE message SET head = 0 WHERE subscription = ? AND key = ? AND parked_us IS NULL AND head = 1",
                )?
                .execute([subscription, key])?;
            self.promote(subscription, key)?;
        }
        Ok((returned.len() as u64, returned.iter().map(|(_, serial)| *serial).max()))
    }

    /// The names of the subscriptions, as a JSON array.
    fn names(&self) -> String {
        let mut names = b"[".to_vec();
        for (at, subscription) in self.subscriptions.iter().enumerate() {
            names.extend_from_slice(if at > 0 { b"," } else { b"" });
            write_json_string(&subscription.name, &mut names);
        }
        names.push(b']');
        String::from_utf8_lossy(&names).into_owned()
    }

    /// Dead letters, and whatever waits for a subscription that is no more.
    pub fn discard(&mut self, selection: &Selection) -> Result<u64> {
        let discarded = self
            .connection
            .execute(
                "DELETE FROM message
                  WHERE (parked_us IS NOT NULL OR subscription NOT IN (SELECT value FROM json_each(?3)))
                    AND (?1 IS NULL OR subscription = ?1) AND (?2 IS NULL OR serial = ?2)",
                params![selection.subscription, selection.serial, self.names()],
            )
            .map_err(failed)?;
        Ok(discarded as u64)
    }
}
