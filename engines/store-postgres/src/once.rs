//! What was done before is not done again: a request with its idempotency key, an event that a consumer has had.

use crate::wire::{Response, cells, command_rows};
use crate::write::{Attempt, Failed, Part, begin};
use mainstay_model::{Error, Result, StepOutcome};

const CLAIM: &str = "INSERT INTO mainstay.idempotency AS i (scope, fingerprint) VALUES ($1, $2) ON CONFLICT (scope) DO UPDATE \
     SET fingerprint = excluded.fingerprint, outcomes = NULL, at = now() WHERE i.at < now() - $3::text::interval";
const FOUND: &str = "SELECT fingerprint, outcomes FROM mainstay.idempotency WHERE scope = $1";
const CONSUME: &str =
    "INSERT INTO mainstay.consumed (consumer, event) VALUES ($1::text, $2::text) ON CONFLICT DO NOTHING";

impl Attempt<'_> {
    /// Whether it was done before; else it is now this transaction's to do.
    pub async fn before(&mut self) -> Result<Option<Vec<StepOutcome>>, Failed> {
        let server = &self.store.server;
        let transaction = self.transaction;
        let mut parts = Vec::new();
        let sent = self.held.connection().send(|batch| {
            begin(self.store, batch, &mut parts)?;
            if let Some(idempotency) = &transaction.idempotency {
                let kept = format!("{} s", server.config.idempotency_kept.as_secs());
                batch.statement(server.text(CLAIM), CLAIM, &[true, true, false], &[], |values| {
                    values.bytes(&idempotency.scope)?;
                    values.bytes(&idempotency.fingerprint)?;
                    values.bytes(kept.as_bytes())
                })?;
                batch.statement(server.text(FOUND), FOUND, &[true], &[true, true], |values| {
                    values.bytes(&idempotency.scope)
                })?;
                parts.extend([Part::Plain, Part::Found]);
            }
            for consumed in &transaction.consumed {
                batch.statement(server.text(CONSUME), CONSUME, &[false, false], &[], |values| {
                    values.bytes(consumed.consumer.as_bytes())?;
                    values.bytes(consumed.event.as_bytes())
                })?;
                parts.push(Part::Consumed);
            }
            Ok(())
        });
        self.open = true;
        let ((), exchange) = sent.map_err(|e| (e, true))?;
        let response = self.wait(exchange, &parts, false).await?;
        for (at, part) in parts.iter().enumerate() {
            let replayed = match part {
                Part::Found => match self.found(&response, at) {
                    Ok(replayed) => replayed,
                    Err(error) => {
                        self.rollback().await?;
                        return Err((error, true));
                    }
                },
                Part::Consumed if response.tag(at).map_or(0, command_rows) == 0 => {
                    Some(vec![StepOutcome::default(); transaction.steps.len()])
                }
                _ => None,
            };
            if replayed.is_some() {
                self.rollback().await?;
                return Ok(replayed);
            }
        }
        Ok(None)
    }

    fn found(&self, response: &Response, at: usize) -> Result<Option<Vec<StepOutcome>>> {
        let Some(idempotency) = &self.transaction.idempotency else {
            return Ok(None);
        };
        let mut row = response.rows(at).flat_map(cells);
        if row.next().flatten() != Some(&idempotency.fingerprint) {
            return Err(Error::new("MS422", "this Idempotency-Key was used for another request")
                .hint("Use a new key for a new request; repeat a request unchanged.")
                .status(422));
        }
        match row.next().flatten() {
            None => Ok(None),
            Some(outcomes) => mainstay_store::outcomes::read(outcomes)
                .map(Some)
                .ok_or_else(|| Error::new("XX001", "a recorded outcome cannot be read")),
        }
    }
}
