//! The outbox: changes and emitted events, written in the transaction that they tell of.

use crate::failure::plain;
use crate::statement::{Failure, Statement};
use mainstay_model::{
    Change, ChangeKind, OutboxRecord, Relation, Result, Row, Schema, change_topic, write_json_string,
};
use mainstay_sql::sqlite::{Stored, uuid_text};
use rusqlite::Connection;
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

/// What an outbox row is made of, besides its sequence.
pub(crate) struct Entry<'a> {
    /// Identifies the event; made here when empty.
    pub id: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Deliveries with one key keep their order.
    pub key: &'a str,
    /// Microseconds since the Unix epoch.
    pub time_us: i64,
    /// JSON.
    pub payload: &'a str,
    /// W3C `traceparent`.
    pub traceparent: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// An event as it was given.
    pub fn of(record: &'a OutboxRecord, traceparent: Option<&'a str>) -> Entry<'a> {
        Entry {
            id: &record.id,
            topic: &record.topic,
            key: &record.key,
            time_us: record.time_us,
            payload: &record.payload,
            traceparent: record.traceparent.as_deref().or(traceparent),
        }
    }
}

/// Writes into the outbox.
pub(crate) struct Outbox {
    insert: Statement,
    delete: Statement,
    /// Random for each process: with the sequence it makes an id that no other has.
    salt: u64,
}

impl Outbox {
    /// Prepares.
    pub fn new(conn: &Rc<Connection>) -> Result<Outbox, Failure> {
        Ok(Outbox {
            insert: Statement::prepare(
                conn,
                "INSERT INTO _mainstay_outbox (sequence, id, topic, key, time_us, payload, traceparent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            delete: Statement::prepare(conn, "DELETE FROM _mainstay_outbox WHERE sequence <= ?1")?,
            salt: RandomState::new().hash_one(0),
        })
    }

    /// Appends an event.
    pub fn append(&mut self, sequence: u64, entry: &Entry<'_>) -> Result<()> {
        let made;
        let id = match entry.id {
            "" => {
                made = uuid_text(self.id(sequence, entry.time_us));
                &made
            }
            id => id,
        };
        let text = |text| Stored::Text(Cow::Borrowed(text));
        let values = [
            Stored::Integer(sequence as i64),
            text(id),
            text(entry.topic),
            text(entry.key),
            Stored::Integer(entry.time_us),
            text(entry.payload),
            entry.traceparent.map_or(Stored::Null, text),
        ];
        for (index, value) in values.iter().enumerate() {
            self.insert.bind(index + 1, value).map_err(|failure| plain(&failure))?;
        }
        self.insert.run().map_err(|failure| plain(&failure))
    }

    /// Forgets everything up to and including a sequence.
    pub fn forget(&mut self, sequence: u64) -> Result<()> {
        let sequence = Stored::Integer(i64::try_from(sequence).unwrap_or(i64::MAX));
        self.delete.bind(1, &sequence).map_err(|failure| plain(&failure))?;
        self.delete.run().map_err(|failure| plain(&failure))
    }

    /// A UUID of version 7 (RFC 9562 §5.7): the time, then 74 bits of which the last 62 never repeat within a process.
    fn id(&self, sequence: u64, time_us: i64) -> u128 {
        let millis = u128::from((time_us / 1000).max(0) as u64 & 0xffff_ffff_ffff);
        let fraction = u128::from(((time_us.rem_euclid(1000) * 4096) / 1000) as u64 & 0xfff);
        let tail = u128::from(self.salt.wrapping_add(sequence) & 0x3fff_ffff_ffff_ffff);
        millis << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | tail
    }
}

/// A change as an event: its topic, its key, and `{"schema","table","op","old","new"}`.
pub(crate) fn change_event(schema: &Schema, change: &Change) -> (String, String, String) {
    let relation = schema.relation(change.relation);
    let op = match change.kind {
        ChangeKind::Insert => "insert",
        ChangeKind::Update => "update",
        ChangeKind::Delete => "delete",
        ChangeKind::Truncate => "truncate",
    };
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"schema\":");
    write_json_string(&relation.namespace, &mut out);
    out.extend_from_slice(b",\"table\":");
    write_json_string(&relation.name, &mut out);
    out.extend_from_slice(b",\"op\":\"");
    out.extend_from_slice(op.as_bytes());
    out.extend_from_slice(b"\",\"old\":");
    write_row(relation, change.before.as_ref(), &mut out);
    out.extend_from_slice(b",\"new\":");
    write_row(relation, change.after.as_ref(), &mut out);
    out.push(b'}');
    // The key a row had before decides: all that happens to one row stays in one order also when its key moves.
    let row = change.before.as_ref().or(change.after.as_ref());
    let key = row.map_or_else(String::new, |row| key_text(relation, row));
    (
        change_topic(schema, relation, op),
        key,
        String::from_utf8_lossy(&out).into_owned(),
    )
}

fn write_row(relation: &Relation, row: Option<&Row>, out: &mut Vec<u8>) {
    let Some(row) = row else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'{');
    for (index, (column, value)) in relation.columns.iter().zip(row.iter()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_string(&column.name, out);
        out.push(b':');
        value.as_ref().write_json(&column.ty, out);
    }
    out.push(b'}');
}

/// The primary key's text, its parts separated by commas; the whole table's events share one key where there is none.
fn key_text(relation: &Relation, row: &Row) -> String {
    let parts: Vec<String> = relation
        .primary_key()
        .iter()
        .filter_map(|c| Some(row.get(*c as usize)?.to_text(&relation.columns[*c as usize].ty)))
        .collect();
    parts.join(",")
}
