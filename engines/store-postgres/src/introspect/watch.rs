//! Noticing that a database's schema has changed: by a number that is cheap to ask for, and by `NOTIFY` on the channels that tools use.

use super::failed;
use mainstay_model::Error;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Connection, SimpleQueryMessage};

/// The channels on which it is said that the schema changed: PostgREST's, which migrations and event triggers already use, and ours.
pub const CHANNELS: [&str; 2] = ["pgrst", "mainstay"];

/// One number of everything that introspection reads: relations, columns, functions, keys, views, policies, privileges, roles.
///
/// Rows of catalogs that only DDL writes count by the transaction that wrote them; those that maintenance writes too (`pg_class`) by
/// what matters of them. Partitions and temporary tables do not count: they come and go without anything served changing.
pub(super) const DIGEST: &str = "
WITH n AS (
  SELECT oid, nspname, nspacl, nspowner FROM pg_namespace
   WHERE nspname NOT IN ('information_schema','mainstay') AND nspname !~ '^pg_'
), c AS (
  SELECT c.* FROM pg_class c JOIN n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r','v','m','f','p','c') AND NOT c.relispartition
), parts(h) AS (
  SELECT hashtextextended(concat_ws('|', 'n', oid, nspname, nspacl, nspowner), 0) FROM n
  UNION ALL
  SELECT hashtextextended(concat_ws('|', 'c', oid, relname, relnamespace, relkind, relowner, relacl, relrowsecurity, reloptions), 0)
    FROM c
  UNION ALL
  SELECT hashint8extended(a.attrelid::int8 * 65536 + a.attnum, a.xmin::text::int8)
    FROM pg_attribute a JOIN c ON c.oid = a.attrelid WHERE a.attnum > 0
  UNION ALL
  SELECT hashint8extended(e.oid::int8, e.xmin::text::int8) FROM pg_attrdef e JOIN c ON c.oid = e.adrelid
  UNION ALL
  SELECT hashint8extended(k.oid::int8, k.xmin::text::int8) FROM pg_constraint k JOIN n ON n.oid = k.connamespace
    JOIN c ON c.oid = k.conrelid
  UNION ALL
  SELECT hashtextextended(concat_ws('|', 'i', i.indexrelid, i.indisunique, i.indisvalid), 0)
    FROM pg_index i JOIN c ON c.oid = i.indrelid
  UNION ALL
  SELECT hashint8extended(w.oid::int8, w.xmin::text::int8) FROM pg_rewrite w JOIN c ON c.oid = w.ev_class
  UNION ALL
  SELECT hashint8extended(t.oid::int8, t.xmin::text::int8) FROM pg_trigger t JOIN c ON c.oid = t.tgrelid
   WHERE NOT t.tgisinternal AND c.relkind = 'v'
  UNION ALL
  SELECT hashint8extended(p.oid::int8, p.xmin::text::int8) FROM pg_policy p JOIN c ON c.oid = p.polrelid
  UNION ALL
  SELECT hashint8extended(p.oid::int8, p.xmin::text::int8) FROM pg_proc p JOIN n ON n.oid = p.pronamespace
  UNION ALL
  SELECT hashint8extended(t.oid::int8, t.xmin::text::int8) FROM pg_type t JOIN n ON n.oid = t.typnamespace
   WHERE t.typtype IN ('d','e','r')
  UNION ALL
  SELECT hashint8extended(e.oid::int8, e.xmin::text::int8) FROM pg_enum e
  UNION ALL
  SELECT hashint8extended(k.oid::int8, k.xmin::text::int8) FROM pg_cast k WHERE k.castfunc <> 0
  UNION ALL
  SELECT hashtextextended(concat_ws('|', 'r', oid, rolname, rolsuper, rolbypassrls, rolcanlogin, rolinherit), 0) FROM pg_roles
  UNION ALL
  SELECT hashint8extended(m.roleid::int8 * 4294967296 + m.member::int8, m.xmin::text::int8) FROM pg_auth_members m
  UNION ALL
  SELECT hashtextextended(concat_ws('|', 'd', d.objoid, d.classoid, d.objsubid, d.description), 0)
    FROM pg_description d WHERE d.objoid >= 16384 AND d.classoid IN ('pg_class'::regclass, 'pg_proc'::regclass)
)
SELECT coalesce(bit_xor(h), 0) # count(*) FROM parts";

/// The number that changes when introspection would find something else; a few milliseconds of the server for a thousand tables.
///
/// # Errors
/// What the database refuses, with its own code.
pub async fn digest(client: &Client) -> Result<u64, Error> {
    // Compiling the statement would cost more than running it.
    let statements = format!("BEGIN READ ONLY; SET LOCAL jit = off; {DIGEST}; COMMIT");
    let messages = match client.simple_query(&statements).await {
        Ok(messages) => messages,
        Err(error) => {
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(failed(&error));
        }
    };
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
            _ => None,
        })
        .map(|digest| digest as u64)
        .ok_or_else(|| Error::internal("the catalogs gave no digest"))
}

/// What a notification asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The schema may have changed: `NOTIFY pgrst` or `NOTIFY pgrst, 'reload schema'`.
    Schema,
    /// Settings may have changed: `NOTIFY pgrst, 'reload config'`.
    Config,
}

/// What a message on a connection asks for, if it is one of ours.
pub fn notification(message: &AsyncMessage) -> Option<Reload> {
    let AsyncMessage::Notification(notification) = message else {
        return None;
    };
    asked(notification.channel(), notification.payload())
}

fn asked(channel: &str, payload: &str) -> Option<Reload> {
    if !CHANNELS.contains(&channel) {
        return None;
    }
    match payload.trim() {
        "" | "reload schema" => Some(Reload::Schema),
        "reload config" => Some(Reload::Config),
        _ => None,
    }
}

/// Subscribes a connection to [`CHANNELS`]. It must be a connection of its own: a pooler in transaction mode hands notifications to
/// nobody in particular, and then only the polling of [`Watch`] notices.
///
/// # Errors
/// What the database refuses, with its own code.
pub async fn listen(client: &Client) -> Result<(), Error> {
    let statements: Vec<String> = CHANNELS.iter().map(|channel| format!("LISTEN {channel}")).collect();
    client
        .batch_execute(&statements.join(";"))
        .await
        .map_err(|e| failed(&e))
}

/// Drives a connection and hands on what its notifications ask for; ends with the connection. While nobody takes them, one is kept and
/// the others are as good as that one.
///
/// # Errors
/// What ended the connection.
pub async fn drive<S, T>(
    mut connection: Connection<S, T>,
    reloads: mpsc::Sender<Reload>,
) -> Result<(), tokio_postgres::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        if let Some(reload) = notification(&message?) {
            // Full: somebody is about to look anyway.
            let _ = reloads.try_send(reload);
        }
    }
    Ok(())
}

/// What a watcher found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The schema is another; introspect again.
    Schema,
    /// Somebody asked to read the settings again.
    Config,
}

/// Waits for a schema to change.
pub struct Watch {
    /// The digest of the schema that is being served.
    known: u64,
    /// How often to look without being told.
    every: Duration,
    /// Whether anybody can tell.
    told: bool,
}

impl Watch {
    /// A watcher of a schema with this digest that looks at least so often.
    pub fn new(known: u64, every: Duration) -> Watch {
        Watch {
            known,
            every,
            told: true,
        }
    }

    /// The schema that is now served.
    pub fn serve(&mut self, digest: u64) {
        self.known = digest;
    }

    /// Waits until the digest is another than the known one, or settings are to be read again. A notification makes it look at once; one
    /// without a change is no change. May be dropped while it waits.
    ///
    /// # Errors
    /// What [`digest`] refuses; a lost connection above all. The watcher can be used again with another one.
    pub async fn changed(&mut self, client: &Client, reloads: &mut mpsc::Receiver<Reload>) -> Result<Change, Error> {
        loop {
            let reload = if self.told {
                match tokio::time::timeout(self.every, reloads.recv()).await {
                    Ok(None) => {
                        self.told = false;
                        None
                    }
                    Ok(reload) => reload,
                    Err(_) => None,
                }
            } else {
                tokio::time::sleep(self.every).await;
                None
            };
            if reload == Some(Reload::Config) {
                return Ok(Change::Config);
            }
            let digest = digest(client).await?;
            if digest != self.known {
                self.known = digest;
                return Ok(Change::Schema);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_notifications_ask() {
        let cases = [
            ("pgrst", "", Some(Reload::Schema)),
            ("pgrst", "reload schema", Some(Reload::Schema)),
            ("mainstay", " reload schema ", Some(Reload::Schema)),
            ("pgrst", "reload config", Some(Reload::Config)),
            ("pgrst", "drop everything", None),
            ("other", "", None),
        ];
        for (channel, payload, wanted) in cases {
            assert_eq!(asked(channel, payload), wanted, "{channel} {payload}");
        }
    }
}
