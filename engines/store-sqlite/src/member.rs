//! One member of a group: its idempotency record, the events it consumes, its steps, the events it leaves.

use crate::capture::Touched;
use crate::context;
use crate::failure::plain;
use crate::outbox::{Entry, change_event};
use crate::statement::Failure;
use crate::step::StepContext;
use crate::writer::{Done, Submission, Writer};
use crate::zone;
use mainstay_model::{Error, Idempotency, Result, Row, StepOutcome, Transaction, time};
use mainstay_sql::sqlite::Stored;
use std::borrow::Cow;

impl Writer {
    /// Does a transaction in the savepoint at hand.
    pub(crate) fn transaction(&mut self, submission: &Submission) -> Result<Done> {
        let Submission {
            transaction,
            identity,
            representations,
            ..
        } = submission;
        let now_us = time::now();
        context::begin_write(now_us);
        if let Some(idempotency) = &transaction.idempotency
            && let Some(outcomes) = self.replay(idempotency, now_us)?
        {
            return Ok(Done::Nothing {
                outcomes,
                replayed: true,
            });
        }
        for consumed in &transaction.consumed {
            if !self.consume(&consumed.consumer, &consumed.event, now_us)? {
                return Ok(Done::Nothing {
                    outcomes: vec![StepOutcome::default(); transaction.steps.len()],
                    replayed: true,
                });
            }
        }
        let mut outcomes = Vec::with_capacity(transaction.steps.len());
        let mut earlier: Vec<Vec<Row>> = Vec::new();
        for (index, step) in transaction.steps.iter().enumerate() {
            let representation = representations.get(index);
            if step.returning.is_some() && representation.is_none() {
                return Err(Error::internal(
                    "a step returns rows and nobody says how they are encoded",
                ));
            }
            if let (Some(shape), Some(representation)) = (&step.returning, representation) {
                zone::check(shape, representation.time_zone()).map_err(|error| error.at_step(index))?;
            }
            let context = StepContext {
                identity,
                now_us,
                representation,
                earlier: &earlier,
                keep_rows: transaction.refers_to(index),
            };
            let (outcome, rows) = self.steps.run(step, &context).map_err(|error| error.at_step(index))?;
            outcomes.push(outcome);
            earlier.push(rows);
        }
        if let Some(error) = self.steps.deferred_violation(0, identity, now_us) {
            return Err(error);
        }
        if transaction.dry_run {
            return Ok(Done::Nothing {
                outcomes,
                replayed: false,
            });
        }
        let touched = self.steps.capture().take(0);
        self.write_events(transaction, &touched, now_us)?;
        if let Some(idempotency) = &transaction.idempotency {
            self.remember(idempotency, &outcomes, now_us)?;
        }
        Ok(Done::Changed {
            outcomes,
            changes: touched.into_iter().map(|t| t.change).collect(),
        })
    }

    fn write_events(&mut self, transaction: &Transaction, touched: &[Touched], now_us: i64) -> Result<()> {
        let traceparent = transaction.traceparent.as_deref();
        for Touched { change, .. } in touched {
            if self.captured.contains(change.relation, change.kind) {
                let (topic, key, payload) = change_event(&self.shared.schema, change);
                let entry = Entry {
                    id: "",
                    topic: &topic,
                    key: &key,
                    time_us: now_us,
                    payload: &payload,
                    traceparent,
                };
                self.outbox.append(self.sequence.take(), &entry)?;
            }
        }
        for record in &transaction.emit {
            self.outbox
                .append(self.sequence.take(), &Entry::of(record, traceparent))?;
        }
        for event in context::take_emitted() {
            let entry = Entry {
                id: "",
                topic: &event.topic,
                key: &event.key,
                time_us: now_us,
                payload: &event.payload,
                traceparent,
            };
            self.outbox.append(self.sequence.take(), &entry)?;
        }
        Ok(())
    }

    /// The outcomes of the same request before. Error: MS422 when it was another request.
    fn replay(&mut self, idempotency: &Idempotency, now_us: i64) -> Result<Option<Vec<StepOutcome>>> {
        let failed = |failure: Failure| plain(&failure);
        let oldest = now_us.saturating_sub(self.shared.config.idempotency_kept.as_micros() as i64);
        let statement = &mut self.statements.find_idempotency;
        statement
            .bind(1, &Stored::Blob(Cow::Borrowed(&idempotency.scope)))
            .map_err(failed)?;
        statement.bind(2, &Stored::Integer(oldest)).map_err(failed)?;
        if !statement.step().map_err(failed)? {
            return Ok(None);
        }
        let same = matches!(statement.value(0), Stored::Blob(bytes) if *bytes == idempotency.fingerprint);
        let outcomes = match statement.value(1) {
            Stored::Blob(bytes) => mainstay_store::outcomes::read(&bytes),
            _ => None,
        };
        statement.reset();
        if !same {
            return Err(Error::new("MS422", "this Idempotency-Key was used for another request")
                .hint("Use a new key for a new request; repeat a request unchanged.")
                .status(422));
        }
        outcomes
            .map(Some)
            .ok_or_else(|| Error::new("XX001", "a recorded outcome cannot be read"))
    }

    fn remember(&mut self, idempotency: &Idempotency, outcomes: &[StepOutcome], now_us: i64) -> Result<()> {
        let failed = |failure: Failure| plain(&failure);
        let statement = &mut self.statements.put_idempotency;
        statement
            .bind(1, &Stored::Blob(Cow::Borrowed(&idempotency.scope)))
            .map_err(failed)?;
        statement
            .bind(2, &Stored::Blob(Cow::Borrowed(&idempotency.fingerprint)))
            .map_err(failed)?;
        statement
            .bind(3, &Stored::Blob(Cow::Owned(mainstay_store::outcomes::write(outcomes))))
            .map_err(failed)?;
        statement.bind(4, &Stored::Integer(now_us)).map_err(failed)?;
        statement.run().map_err(failed)
    }

    /// Notes that a consumer has had an event; `false` if it had it before.
    fn consume(&mut self, consumer: &str, event: &str, now_us: i64) -> Result<bool> {
        let failed = |failure: Failure| plain(&failure);
        let statement = &mut self.statements.put_consumed;
        statement
            .bind(1, &Stored::Text(Cow::Borrowed(consumer)))
            .map_err(failed)?;
        statement.bind(2, &Stored::Text(Cow::Borrowed(event))).map_err(failed)?;
        statement.bind(3, &Stored::Integer(now_us)).map_err(failed)?;
        let mut is_new = false;
        while statement.step().map_err(failed)? {
            is_new = true;
        }
        Ok(is_new)
    }
}
