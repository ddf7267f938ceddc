//! Schedules: the next slot of each is kept in the file, and a slot that is due becomes a message.

use crate::failed;
use crate::queue::{IS_HEAD, Queue};
use mainstay_bus::Schedule;
use mainstay_model::Result;
use rusqlite::{OptionalExtension, params};

/// So many slots of a schedule lie in the file: one under way, and one behind it. Of those that a slow receiver misses beyond, as of those
/// that were missed while nobody was there, nothing is left to do when the next one is done.
const SLOTS_MAX: i64 = 2;

impl Queue {
    /// Publishes due slots; when the next one is due.
    pub fn tick(&mut self, schedules: &[Schedule], now_us: i64) -> Result<Option<i64>> {
        let mut next_of_all: Option<i64> = None;
        for schedule in schedules {
            let every_us = i64::try_from(schedule.every.as_micros()).unwrap_or(i64::MAX).max(1);
            let known: Option<(i64, i64)> = self
                .connection
                .query_row(
                    "SELECT every_us, next_us FROM schedule WHERE subscription = ?",
                    [&schedule.subscription],
                    |r| Ok((r.get(0)?, r.get(1)?)),
                )
                .optional()
                .map_err(failed)?;
            let first = now_us.saturating_add(every_us);
            let mut next_us = match known {
                // Further away than one slot only if the clock went back.
                Some((every, next)) if every == every_us => next.min(first),
                _ => first,
            };
            if next_us <= now_us {
                let slot = next_us + (now_us - next_us) / every_us * every_us;
                self.publish_slot(&schedule.subscription, slot, now_us)?;
                next_us = slot.saturating_add(every_us);
            }
            self.connection
                .execute(
                    "INSERT INTO schedule VALUES (?, ?, ?) ON CONFLICT (subscription) DO UPDATE SET every_us = excluded.every_us, next_us = excluded.next_us",
                    params![schedule.subscription, every_us, next_us],
                )
                .map_err(failed)?;
            next_of_all = Some(next_of_all.map_or(next_us, |n| n.min(next_us)));
        }
        Ok(next_of_all)
    }

    fn publish_slot(&self, subscription: &str, slot: i64, now_us: i64) -> Result<()> {
        // Numbered as `IS_HEAD` has them: ?1 is the subscription, ?4 the key.
        let insert = format!(
            "INSERT INTO message (subscription, id, topic, key, time_us, payload, due_us, head)
             SELECT ?1, ?2, 'schedule', ?4, ?3, '{{}}', ?5, {IS_HEAD}
              WHERE (SELECT count(*) FROM message WHERE subscription = ?1 AND key = ?4 AND parked_us IS NULL) < {SLOTS_MAX}
             ON CONFLICT DO NOTHING"
        );
        let id = format!("{subscription}@{slot}");
        self.connection
            .execute(&insert, params![subscription, id, slot, subscription, now_us])
            .map(drop)
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn slots_do_not_pile_up_and_clocks_may_go_back() {
        let dir = std::env::temp_dir().join(format!("mainstay-schedule-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let mut queue = Queue::open(&dir.join("bus.db")).unwrap();
        let schedule = |every: Duration| {
            vec![Schedule {
                subscription: "s".into(),
                every,
            }]
        };
        let second = schedule(Duration::from_secs(1));
        let at = |s: i64| s * 1_000_000;
        assert_eq!(queue.tick(&second, at(10)).unwrap(), Some(at(11)));
        for now in 11..20 {
            assert_eq!(queue.tick(&second, at(now)).unwrap(), Some(at(now + 1)));
        }
        let waiting: i64 = queue
            .connection
            .query_row("SELECT count(*) FROM message", [], |r| r.get(0))
            .unwrap();
        assert_eq!(waiting, SLOTS_MAX);
        // An hour back: the next slot is a second away, not an hour.
        assert_eq!(queue.tick(&second, at(-3600)).unwrap(), Some(at(-3599)));
        // As long as can be said, and longer.
        for every in [Duration::from_secs(1 << 50), Duration::MAX] {
            assert!(queue.tick(&schedule(every), at(20)).unwrap() > Some(at(1 << 40)));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
