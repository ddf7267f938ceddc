//! What a transaction is told of its caller: role, claims, request, schema, time zone, one statement for all of it.

use crate::value;
use crate::wire::Batch;
use bytes::{BufMut, BytesMut};
use mainstay_model::{Identity, Result, write_json_string};
use std::sync::{Arc, OnceLock};

/// A transaction's settings; what is absent is left as the connection has it.
pub(crate) struct Settings<'a> {
    /// Who asks; `None` for what Mainstay itself does.
    pub identity: Option<&'a Identity>,
    /// `search_path`
    pub search_path: Option<&'a str>,
    /// Nothing may be written.
    pub read_only: bool,
    /// `TimeZone`
    pub time_zone: Option<&'a str>,
    /// Milliseconds, where the connection cannot have one of its own.
    pub statement_timeout_ms: Option<u64>,
    /// For the changes that are captured.
    pub traceparent: Option<&'a str>,
    /// The commit does not wait for the log; somebody else sees to that.
    pub asynchronous: bool,
}

const ROLE: usize = 1;
const REQUEST: usize = 2;
const SEARCH_PATH: usize = 4;
const READ_ONLY: usize = 8;
const TIME_ZONE: usize = 16;
const TIMEOUT: usize = 32;
const TRACE: usize = 64;
const ASYNCHRONOUS: usize = 128;

/// Numbers of statements below this one are of settings.
pub(crate) const FIRST_FREE: u64 = 256;

impl Settings<'_> {
    fn mask(&self) -> usize {
        let bit = |is: bool, bit: usize| if is { bit } else { 0 };
        bit(self.identity.is_some(), ROLE)
            | bit(self.identity.is_some_and(|i| i.request.is_some()), REQUEST)
            | bit(self.search_path.is_some(), SEARCH_PATH)
            | bit(self.read_only, READ_ONLY)
            | bit(self.time_zone.is_some(), TIME_ZONE)
            | bit(self.statement_timeout_ms.is_some(), TIMEOUT)
            | bit(self.traceparent.is_some(), TRACE)
            | bit(self.asynchronous, ASYNCHRONOUS)
    }

    /// Adds the statement to a batch, if there is anything to set. Whether there was.
    pub fn write(&self, batch: &mut Batch<'_>) -> Result<bool> {
        let mask = self.mask();
        if mask == 0 {
            return Ok(false);
        }
        let (sql, count) = statement(mask);
        const TEXTS: [bool; 16] = [false; 16];
        batch.statement(mask as u64, sql, &TEXTS[..*count], &[], |values| {
            if let Some(path) = self.search_path {
                values.bytes(path.as_bytes())?;
            }
            if let Some(zone) = self.time_zone {
                values.bytes(zone.as_bytes())?;
            }
            if let Some(ms) = self.statement_timeout_ms {
                values.bytes(ms.to_string().as_bytes())?;
            }
            if let Some(parent) = self.traceparent {
                values.bytes(parent.as_bytes())?;
            }
            if let Some(identity) = self.identity {
                values.with(|out| write_claims(identity, out))?;
                if let Some(request) = &identity.request {
                    values.bytes(request.method.as_bytes())?;
                    values.bytes(request.path.as_bytes())?;
                    values.with(|out| write_pairs(&request.headers, out))?;
                    values.with(|out| write_pairs(&request.cookies, out))?;
                }
                values.bytes(identity.role.as_bytes())?;
            }
            Ok(())
        })?;
        Ok(true)
    }
}

/// The text for a set of settings, and how many values it takes.
fn statement(mask: usize) -> &'static (String, usize) {
    static TEXTS: [OnceLock<(String, usize)>; FIRST_FREE as usize] = [const { OnceLock::new() }; FIRST_FREE as usize];
    TEXTS[mask].get_or_init(|| {
        let mut conditions = Vec::new();
        let mut count = 0;
        let mut set = |name: &str| {
            count += 1;
            conditions.push(format!("pg_catalog.set_config('{name}', ${count}, true) IS NULL"));
        };
        if mask & SEARCH_PATH != 0 {
            set("search_path");
        }
        if mask & TIME_ZONE != 0 {
            set("TimeZone");
        }
        if mask & TIMEOUT != 0 {
            set("statement_timeout");
        }
        if mask & TRACE != 0 {
            set("mainstay.traceparent");
        }
        if mask & ROLE != 0 {
            set("request.jwt.claims");
            if mask & REQUEST != 0 {
                for name in ["request.method", "request.path", "request.headers", "request.cookies"] {
                    set(name);
                }
            }
            set("role");
        }
        if mask & ASYNCHRONOUS != 0 {
            conditions.push("pg_catalog.set_config('synchronous_commit', 'off', true) IS NULL".to_owned());
        }
        if mask & READ_ONLY != 0 {
            conditions.push("pg_catalog.set_config('transaction_read_only', 'on', true) IS NULL".to_owned());
        }
        // None is NULL, so that all are set and no row comes back.
        (format!("SELECT 1 WHERE {}", conditions.join(" OR ")), count)
    })
}

/// The claims as JSON, with the role that was found for the caller.
fn write_claims(identity: &Identity, out: &mut BytesMut) {
    if !identity.claims.contains_key("role") {
        let mut role = Vec::with_capacity(32);
        write_json_string(&identity.role, &mut role);
        out.put_slice(b"{\"role\":");
        out.put_slice(&role);
        if identity.claims.is_empty() {
            out.put_u8(b'}');
            return;
        }
        out.put_u8(b',');
        let start = out.len();
        let _ = serde_json::to_writer((&mut *out).writer(), &*identity.claims);
        // The brace of the claims' own object.
        out.as_mut()[start] = b' ';
        return;
    }
    let _ = serde_json::to_writer(out.writer(), &*identity.claims);
}

fn write_pairs(pairs: &[(String, String)], out: &mut BytesMut) {
    let mut json = Vec::with_capacity(256);
    json.push(b'{');
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        write_json_string(name, &mut json);
        json.push(b':');
        write_json_string(value, &mut json);
    }
    json.push(b'}');
    out.put_slice(&json);
}

/// `search_path` with a schema first.
pub(crate) fn search_path(namespace: &str, more: &[Arc<str>]) -> String {
    let mut path = mainstay_sql::postgres::quote_identifier(namespace);
    for other in more.iter().filter(|other| ***other != *namespace) {
        path.push_str(", ");
        path.push_str(&mainstay_sql::postgres::quote_identifier(other));
    }
    path
}

/// Reads what the database asked of the response: the two columns of [`RESPONSE`].
pub(crate) fn response(row: &[u8]) -> Option<Box<mainstay_model::ResponseSettings>> {
    let mut cells = crate::wire::cells(row).map(|cell| {
        let text = value::text(cell?).ok()?;
        (!text.is_empty()).then(|| text.to_owned())
    });
    let response = mainstay_model::ResponseSettings {
        status: cells.next().flatten(),
        headers: cells.next().flatten(),
    };
    (!response.is_empty()).then(|| Box::new(response))
}

/// What the database asked of the response.
pub(crate) const RESPONSE: &str =
    "SELECT pg_catalog.current_setting('response.status', true), pg_catalog.current_setting('response.headers', true)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_sets_everything() {
        let (sql, count) = statement(ROLE | READ_ONLY | SEARCH_PATH);
        assert_eq!(
            sql,
            "SELECT 1 WHERE pg_catalog.set_config('search_path', $1, true) IS NULL \
             OR pg_catalog.set_config('request.jwt.claims', $2, true) IS NULL \
             OR pg_catalog.set_config('role', $3, true) IS NULL \
             OR pg_catalog.set_config('transaction_read_only', 'on', true) IS NULL"
        );
        assert_eq!(*count, 3);
        assert_eq!(
            search_path("api", &["public".into(), "api".into()]),
            "\"api\", \"public\""
        );
    }

    #[test]
    fn claims_have_the_role() {
        let claims = |json: &str| {
            let mut out = BytesMut::new();
            let identity = Identity::new("anon", Arc::new(serde_json::from_str(json).unwrap()));
            write_claims(&identity, &mut out);
            serde_json::from_slice::<serde_json::Value>(&out).unwrap().to_string()
        };
        assert_eq!(claims("{}"), r#"{"role":"anon"}"#);
        assert_eq!(claims(r#"{"sub":"a\"b"}"#), r#"{"role":"anon","sub":"a\"b"}"#);
        assert_eq!(claims(r#"{"role":"anon","n":1}"#), r#"{"role":"anon","n":1}"#);
    }
}
