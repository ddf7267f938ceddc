//! Calls that are made later: what a key stands for, and what came of each.

use crate::failed;
use crate::queue::Queue;
use mainstay_bus::{Claim, Job};
use mainstay_model::Result;
use rusqlite::{OptionalExtension, params};
use std::time::Duration;

/// Finished jobs are kept so long.
const JOB_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Queue {
    pub fn claim_job(&mut self, claim: Claim, now_us: i64) -> Result<Claim> {
        let old = now_us - JOB_KEPT.as_micros() as i64;
        let Claim { key, fingerprint, job } = &claim;
        let noted = || {
            self.connection
                .prepare_cached("DELETE FROM claim WHERE at_us < ?")?
                .execute([old])?;
            self.connection
                .prepare_cached("INSERT INTO claim VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")?
                .execute(params![key, fingerprint, job, now_us])?;
            self.connection
                .prepare_cached("SELECT fingerprint, job FROM claim WHERE key = ?")?
                .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let (fingerprint, job) = noted().map_err(failed)?;
        Ok(Claim {
            fingerprint,
            job,
            ..claim
        })
    }

    pub fn open_job(&mut self, id: &str, now_us: i64) -> Result<()> {
        let old = now_us - JOB_KEPT.as_micros() as i64;
        self.connection
            .execute("DELETE FROM job WHERE closed_us < ?", [old])
            .map_err(failed)?;
        self.connection
            .execute(
                "INSERT INTO job (id, opened_us) VALUES (?, ?) ON CONFLICT DO NOTHING",
                params![id, now_us],
            )
            .map_err(failed)?;
        Ok(())
    }

    pub fn close_job(&mut self, id: &str, result: &Result<String, String>, now_us: i64) -> Result<()> {
        let (result, error) = match result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        self.connection
            .execute(
                "UPDATE job SET closed_us = ?, result = ?, error = ? WHERE id = ?",
                params![now_us, result, error, id],
            )
            .map_err(failed)?;
        Ok(())
    }

    pub fn job(&mut self, id: &str) -> Result<Option<Job>> {
        self.connection
            .query_row(
                "SELECT opened_us, closed_us, result, error FROM job WHERE id = ?",
                [id],
                |row| {
                    let closed: Option<i64> = row.get(1)?;
                    let result: Option<String> = row.get(2)?;
                    let error: Option<String> = row.get(3)?;
                    Ok(Job {
                        id: id.to_owned(),
                        opened_us: row.get(0)?,
                        result: closed.map(|_| match error {
                            Some(error) => Err(error),
                            None => Ok(result.unwrap_or_default()),
                        }),
                    })
                },
            )
            .optional()
            .map_err(failed)
    }
}
