//! How a transaction ends: what is written last, COMMIT, and ROLLBACK, of a trial after what a commit would have checked.

use super::{Attempt, Failed, Part, REMEMBER, RESET};
use crate::failure;
use crate::outbox::EMIT;
use crate::settings::{self, RESPONSE};
use crate::wire::{Batch, Response};
use bytes::BufMut;
use mainstay_model::{Action, Result, StepOutcome};
use std::sync::atomic::Ordering;

impl Attempt<'_> {
    /// What is written last, and COMMIT.
    pub(super) fn tail(
        &self,
        batch: &mut Batch<'_>,
        parts: &mut Vec<Part>,
        outcomes: &[StepOutcome],
        commits: bool,
    ) -> Result<()> {
        let server = &self.store.server;
        let transaction = self.transaction;
        if self.may_shape() {
            batch.plain(server.text(RESPONSE), RESPONSE)?;
            parts.push(Part::Response);
        }
        if !transaction.emit.is_empty() || transaction.idempotency.is_some() {
            batch.plain(server.text(RESET), RESET)?;
            parts.push(Part::Plain);
        }
        for record in &transaction.emit {
            batch.statement(server.text(EMIT), EMIT, &[false; 6], &[], |values| {
                values.bytes(record.id.as_bytes())?;
                values.bytes(record.topic.as_bytes())?;
                values.bytes(record.key.as_bytes())?;
                values.bytes(record.time_us.to_string().as_bytes())?;
                values.bytes(record.payload.as_bytes())?;
                match record.traceparent.as_ref().or(transaction.traceparent.as_ref()) {
                    Some(parent) => values.bytes(parent.as_bytes())?,
                    None => values.null(),
                }
                Ok(())
            })?;
            parts.push(Part::Plain);
        }
        if let Some(idempotency) = &transaction.idempotency {
            batch.statement(server.text(REMEMBER), REMEMBER, &[true, true], &[], |values| {
                values.bytes(&idempotency.scope)?;
                values.with(|out| out.put_slice(&mainstay_store::outcomes::write(outcomes)))
            })?;
            parts.push(Part::Plain);
        }
        if commits {
            batch.plain(server.text("COMMIT"), "COMMIT")?;
            parts.push(Part::Commit);
        }
        Ok(())
    }

    /// Whether the database may say something of the response.
    pub(super) fn may_shape(&self) -> bool {
        let server = &self.store.server;
        let calls = |step: &mainstay_model::Step| {
            matches!(step.action, Action::Call(_))
                || step.returning.as_ref().is_some_and(|shape| shape.document.is_some())
        };
        server.config.pre_request.is_some()
            || server.asks.responses.load(Ordering::Relaxed)
            || self.transaction.steps.iter().any(calls)
    }

    /// What COMMIT would check is checked, and what would be answered is read.
    pub(super) async fn as_if_committed(&mut self) -> Result<(), Failed> {
        const NOW: &str = "SET CONSTRAINTS ALL IMMEDIATE";
        let server = &self.store.server;
        let shapes = self.may_shape();
        let mut parts = vec![Part::Plain];
        let sent = self.held.connection().send(|batch| {
            batch.plain(server.text(NOW), NOW)?;
            if shapes {
                batch.plain(server.text(RESPONSE), RESPONSE)?;
                parts.push(Part::Response);
            }
            Ok(())
        });
        let ((), exchange) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                self.rollback().await?;
                return Err((error, true));
            }
        };
        let response = self.wait(exchange, &parts, false).await?;
        self.take_response(&response, &parts);
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), Failed> {
        let mut parts = Vec::new();
        let sent = self
            .held
            .connection()
            .send(|batch| self.tail(batch, &mut parts, &self.outcomes, true));
        let ((), exchange) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                self.rollback().await?;
                return Err((error, true));
            }
        };
        let response = self.wait(exchange, &parts, true).await?;
        self.open = false;
        self.take_response(&response, &parts);
        Ok(())
    }

    pub(super) fn take_response(&mut self, response: &Response, parts: &[Part]) {
        let at = parts.iter().position(|part| *part == Part::Response);
        if let Some(row) = at.and_then(|at| response.rows(at).next()) {
            self.response = settings::response(row);
        }
    }

    pub async fn rollback(&mut self) -> Result<(), Failed> {
        let server = &self.store.server;
        self.open = false;
        let sent = self
            .held
            .connection()
            .send(|batch| batch.plain(server.text("ROLLBACK"), "ROLLBACK"));
        let bytes_max = server.config.answer_bytes_max;
        let lost = |lost| (failure::lost(lost, bytes_max), false);
        match sent {
            Ok((_, exchange)) => exchange.wait().await.map(drop).map_err(lost),
            Err(error) => Err((error, false)),
        }
    }
}
