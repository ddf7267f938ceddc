//! The outbox: every visible record that was not handed out yet, in the order of their numbers. A set difference and no cursor, since
//! numbers are drawn before the commit: what becomes visible late has a low one.

use crate::failure;
use crate::server::Server;
use crate::value;
use crate::wire::{Batch, Connection, Response, cells};
use mainstay_model::{OutboxRecord, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Adds an event; its id is made where it is empty.
pub(crate) const EMIT: &str = "INSERT INTO mainstay.outbox (id, topic, key, time_us, payload, traceparent) VALUES \
     (coalesce(nullif($1::text, ''), gen_random_uuid()::text), $2::text, $3::text, $4::text::bigint, $5::text, $6::text)";

const NEW: &str = "SELECT sequence, id, topic, key, time_us, payload, traceparent FROM mainstay.outbox \
     WHERE NOT (sequence = ANY ($1::bigint[])) ORDER BY sequence LIMIT $2::text::bigint";
const AGAIN: &str = "SELECT sequence, id, topic, key, time_us, payload, traceparent FROM mainstay.outbox \
     WHERE sequence = ANY ($1::bigint[]) ORDER BY sequence LIMIT $2::text::bigint";
const DELETE: &str = "DELETE FROM mainstay.outbox WHERE sequence = ANY ($1::bigint[])";
/// One process relays; the lock goes with the connection that took it.
const LOCK: &str = "SELECT pg_catalog.pg_try_advisory_lock(1835363955, 1)";
const SWEEP: [&str; 2] = [
    "DELETE FROM mainstay.idempotency WHERE at < now() - $1::text::interval",
    "DELETE FROM mainstay.consumed WHERE at < now() - $1::text::interval",
];

/// How often what is kept for a limited time is looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// What was handed out and not confirmed.
#[derive(Default)]
pub(crate) struct Handed {
    /// By the number under which it was handed out: the record's own.
    records: BTreeMap<u64, i64>,
    last: u64,
    connection: Option<Connection>,
    swept: Option<Instant>,
}

impl Handed {
    /// The connection that holds the lock; `None` while another process relays.
    async fn connection(&mut self, server: &Arc<Server>) -> Result<Option<Connection>> {
        if server.is_closed() {
            self.connection = None;
            return Err(failure::closed());
        }
        if let Some(connection) = self.connection.as_ref().filter(|c| !c.is_closed()) {
            return Ok(Some(connection.clone()));
        }
        let connection = server.connect().await.map_err(|e| server.refusal(&e))?;
        if !server.is_pooled() {
            let response = ask(server, &connection, |batch| {
                batch
                    .statement(server.text(LOCK), LOCK, &[], &[true], |_| Ok(()))
                    .map(drop)
            })
            .await?;
            let locked = response.rows(0).flat_map(cells).next().flatten() == Some(&[1]);
            if !locked {
                return Ok(None);
            }
        }
        self.connection = Some(connection.clone());
        Ok(Some(connection))
    }

    /// Gives the lock back.
    pub fn release(&mut self) {
        self.connection = None;
    }

    fn number(&mut self, sequence: i64) -> u64 {
        self.last = (self.last + 1).max(sequence.max(0) as u64);
        self.records.insert(self.last, sequence);
        self.last
    }
}

/// Records above `after`, the oldest first.
pub(crate) async fn read(server: &Arc<Server>, after: u64, limit: usize) -> Result<Vec<OutboxRecord>> {
    if !server.installed.load(Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let mut handed = server.handed.lock().await;
    let Some(connection) = handed.connection(server).await? else {
        return Ok(Vec::new());
    };
    if handed.swept.is_none_or(|at| at.elapsed() > SWEEP_EVERY) {
        handed.swept = Some(Instant::now());
        sweep(server, &connection).await?;
    }
    let mut records = Vec::new();
    let again: Vec<(u64, i64)> = handed
        .records
        .range(after.saturating_add(1)..)
        .map(|(n, s)| (*n, *s))
        .collect();
    if !again.is_empty() {
        let mut found = select(server, &connection, AGAIN, again.iter().map(|(_, s)| *s), limit).await?;
        for (number, sequence) in again {
            match found.iter().position(|record| record.sequence == sequence as u64) {
                Some(at) => {
                    let mut record = found.swap_remove(at);
                    record.sequence = number;
                    records.push(record);
                }
                // Somebody else has confirmed it.
                None if records.len() + found.len() < limit => drop(handed.records.remove(&number)),
                None => {}
            }
        }
        records.truncate(limit);
    }
    if records.len() < limit {
        let known: Vec<i64> = handed.records.values().copied().collect();
        let room = limit - records.len();
        for mut record in select(server, &connection, NEW, known.into_iter(), room).await? {
            record.sequence = handed.number(record.sequence as i64);
            records.push(record);
        }
    }
    Ok(records)
}

/// Forgets records up to and including a number.
pub(crate) async fn confirm(server: &Arc<Server>, number: u64) -> Result<()> {
    let mut handed = server.handed.lock().await;
    let gone: Vec<(u64, i64)> = handed.records.range(..=number).map(|(n, s)| (*n, *s)).collect();
    if gone.is_empty() {
        return Ok(());
    }
    let Some(connection) = handed.connection(server).await? else {
        return Ok(());
    };
    let list = array(gone.iter().map(|(_, sequence)| *sequence));
    ask(server, &connection, |batch| {
        let write = |values: &mut crate::wire::Values<'_>| values.bytes(list.as_bytes());
        batch
            .statement(server.text(DELETE), DELETE, &[false], &[], write)
            .map(drop)
    })
    .await?;
    for (number, _) in gone {
        handed.records.remove(&number);
    }
    Ok(())
}

async fn sweep(server: &Server, connection: &Connection) -> Result<()> {
    let kept = [server.config.idempotency_kept, server.config.consumed_kept];
    ask(server, connection, |batch| {
        for (sql, kept) in SWEEP.iter().zip(kept) {
            let kept = format!("{} s", kept.as_secs());
            batch.statement(server.text(sql), sql, &[false], &[], |values| {
                values.bytes(kept.as_bytes())
            })?;
        }
        Ok(())
    })
    .await
    .map(drop)
}

async fn select(
    server: &Server,
    connection: &Connection,
    sql: &str,
    sequences: impl Iterator<Item = i64>,
    limit: usize,
) -> Result<Vec<OutboxRecord>> {
    let list = array(sequences);
    let limit = limit.min(i64::MAX as usize).to_string();
    let results = [true, false, false, false, true, false, false];
    let response = ask(server, connection, |batch| {
        batch
            .statement(server.text(sql), sql, &[false, false], &results, |values| {
                values.bytes(list.as_bytes())?;
                values.bytes(limit.as_bytes())
            })
            .map(drop)
    })
    .await?;
    let mut records = Vec::new();
    for row in response.rows(0) {
        let mut cells = cells(row);
        let mut next = || cells.next().flatten();
        let number = |cell: Option<&[u8]>| cell.and_then(value::integer).unwrap_or(0);
        let text = |cell: Option<&[u8]>| value::text(cell.unwrap_or_default()).map(str::to_owned);
        records.push(OutboxRecord {
            sequence: number(next()) as u64,
            id: text(next())?,
            topic: text(next())?,
            key: text(next())?,
            time_us: number(next()),
            payload: text(next())?,
            traceparent: match next() {
                None => None,
                parent => Some(text(parent)?),
            },
        });
    }
    Ok(records)
}

/// `{1,2,3}`
fn array(sequences: impl Iterator<Item = i64>) -> String {
    let mut list = "{".to_owned();
    for (at, sequence) in sequences.enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(list, "{comma}{sequence}");
    }
    list.push('}');
    list
}

async fn ask(
    server: &Server,
    connection: &Connection,
    write: impl FnOnce(&mut Batch<'_>) -> Result<()>,
) -> Result<Response> {
    let ((), exchange) = connection.send(write)?;
    let bytes_max = server.config.answer_bytes_max;
    let response = exchange.wait().await.map_err(|lost| failure::lost(lost, bytes_max))?;
    match response.error() {
        Some(error) => Err(failure::failed(error)),
        None => Ok(response),
    }
}
