//! What Mainstay keeps in the database: the schema `mainstay`, the functions `auth.*` and `emit`, the roles, and the triggers that
//! record changes. All of it only where it is missing; nothing that is there is taken away.

use crate::config::Captured;
use mainstay_model::{ChangeKind, Relation, Schema, Type, change_topic, write_json_string};
use mainstay_sql::postgres::{quote_identifier, quote_literal};
use std::fmt::Write;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

/// Instances that start together install one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1835363955, 2)";

/// Made all or none.
pub(crate) const TABLES: &str = "\
CREATE SCHEMA IF NOT EXISTS mainstay;
CREATE TABLE IF NOT EXISTS mainstay.outbox (
  sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL DEFAULT gen_random_uuid()::text,
  topic text NOT NULL,
  key text NOT NULL DEFAULT '',
  time_us bigint NOT NULL DEFAULT (date_part('epoch', clock_timestamp()) * 1000000)::bigint,
  payload text NOT NULL,
  traceparent text DEFAULT nullif(current_setting('mainstay.traceparent', true), '')
);
CREATE TABLE IF NOT EXISTS mainstay.idempotency (
  scope bytea PRIMARY KEY,
  fingerprint bytea NOT NULL,
  outcomes bytea,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS mainstay.consumed (
  consumer text,
  event text,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, event)
);
CREATE INDEX IF NOT EXISTS idempotency_at ON mainstay.idempotency (at);
CREATE INDEX IF NOT EXISTS consumed_at ON mainstay.consumed (at);
";

/// Whether [`TABLES`] are. Asked of the catalogue: `to_regclass` fails where the schema may not be used.
pub(crate) const TABLES_ARE_THERE: &str = "(SELECT count(*) = 3 FROM pg_class WHERE relnamespace = to_regnamespace('mainstay') \
    AND relname IN ('outbox', 'idempotency', 'consumed'))";

/// Functions that schemas count on: (signature, definition). `emit` stands where functions without a `search_path` of ours find it.
const FUNCTIONS: [(&str, &str); 4] = [
    (
        "auth.jwt()",
        "CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS \
         $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$",
    ),
    (
        "auth.role()",
        "CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS \
         $$ SELECT coalesce(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role', current_user) $$",
    ),
    (
        // A subject that is no uuid is nobody's. The claims are read twice because a body without FROM is put into the statement that
        // calls it; another one is parsed and planned each time, at several times the cost of the statement.
        "auth.uid()",
        "CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS \
         $$ SELECT CASE WHEN nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub' \
         LIKE '________-____-____-____-____________' \
         THEN (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid END $$",
    ),
    (
        "public.emit(text, jsonb, text)",
        "CREATE OR REPLACE FUNCTION public.emit(topic text, payload jsonb, key text DEFAULT '') RETURNS void LANGUAGE plpgsql \
         SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN \
         IF coalesce(emit.topic, '') = '' THEN RAISE EXCEPTION 'emit() needs a topic' USING ERRCODE = '22004'; END IF; \
         IF emit.topic LIKE 'mainstay.%' OR emit.topic LIKE 'change.%' THEN \
         RAISE EXCEPTION 'the topic \"%\" is reserved', emit.topic USING ERRCODE = '42939', \
         HINT = 'Topics that begin with mainstay. or change. are Mainstay''s own; choose another.'; END IF; \
         INSERT INTO mainstay.outbox (topic, key, payload) \
         VALUES (emit.topic, coalesce(emit.key, ''), coalesce(emit.payload, 'null')::text); END $$; \
         COMMENT ON FUNCTION public.emit(text, jsonb, text) IS \
         'Mainstay: an event, written in the transaction that it tells of.'",
    ),
];

/// Whether `emit` is ours and of a version that let anybody name any topic.
const OLD_EMIT: &str = "EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure('public.emit(text, jsonb, text)') \
    AND obj_description(oid, 'pg_proc') LIKE 'Mainstay:%' AND prosrc NOT LIKE '%is reserved%')";

/// The roles of the surface, and what they are made with.
const ROLES: [(&str, &str); 3] = [
    ("anon", "NOLOGIN NOINHERIT"),
    ("authenticated", "NOLOGIN NOINHERIT"),
    ("service_role", "NOLOGIN NOINHERIT BYPASSRLS"),
];

/// What could not be made, a sentence each.
pub(crate) type Shortcomings = Vec<String>;

/// Makes what is missing. `Err`: the tables are neither there nor can they be made.
pub(crate) async fn install(
    client: &mut Client,
    schema: &Schema,
    captured: &Captured,
    store: &str,
) -> Result<Shortcomings, String> {
    let mut short = Shortcomings::new();
    roles(client, &mut short).await;
    let tables = one(client, &format!("SELECT {TABLES_ARE_THERE}")).await;
    if tables != Some(true) {
        in_transaction(client, TABLES).await?;
    }
    if one(client, "SELECT to_regnamespace('auth') IS NULL").await == Some(true)
        && let Err(error) = in_transaction(
            client,
            "CREATE SCHEMA IF NOT EXISTS auth; GRANT USAGE ON SCHEMA auth TO PUBLIC",
        )
        .await
    {
        short.push(format!("the schema auth with auth.uid() and its kin: {error}"));
    }
    for (signature, definition) in FUNCTIONS {
        let missing = format!(
            "SELECT to_regprocedure({0}) IS NULL OR ({0} LIKE 'public.emit%' AND {OLD_EMIT})",
            quote_literal(signature)
        );
        if one(client, &missing).await == Some(true)
            && let Err(error) = in_transaction(client, definition).await
        {
            short.push(format!("{signature}: {error}"));
        }
    }
    for id in captured.relations() {
        let relation = schema.relation(id);
        if *relation.store != *store || relation.table().is_none() {
            continue;
        }
        let kinds: Vec<&str> = [
            (ChangeKind::Insert, "INSERT"),
            (ChangeKind::Update, "UPDATE"),
            (ChangeKind::Delete, "DELETE"),
        ]
        .into_iter()
        .filter(|(kind, _)| captured.contains(id, *kind))
        .map(|(_, name)| name)
        .collect();
        if let Err(error) = capture(client, schema, relation, &kinds).await {
            short.push(format!("events of {}.{}: {error}", relation.namespace, relation.name));
        }
    }
    Ok(short)
}

/// What [`install`] makes for every schema, as one script for a transaction of somebody else's: only what is missing.
pub(crate) fn sql() -> String {
    let mut sql = String::from(TABLES);
    sql.push_str("DO $install$ BEGIN\n");
    for (role, attributes) in ROLES {
        let _ = writeln!(
            sql,
            "IF to_regrole('{role}') IS NULL THEN BEGIN CREATE ROLE {role} {attributes}; GRANT {role} TO CURRENT_USER; \
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END; END IF;"
        );
    }
    sql.push_str(
        "IF to_regnamespace('auth') IS NULL THEN CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO PUBLIC; END IF;\n",
    );
    for (signature, definition) in FUNCTIONS {
        let (signature, definition) = (quote_literal(signature), quote_literal(definition));
        let _ = writeln!(
            sql,
            "IF to_regprocedure({signature}) IS NULL THEN EXECUTE {definition}; END IF;"
        );
    }
    sql.push_str("END $install$;\n");
    sql
}

/// The roles of the surface, where they may be made; and the right to become them.
async fn roles(client: &mut Client, short: &mut Shortcomings) {
    for (role, attributes) in ROLES {
        let there = format!("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')");
        if one(client, &there).await == Some(false) {
            let made = in_transaction(client, &format!("CREATE ROLE {role} {attributes}")).await;
            if let Err(error) = made
                && one(client, &there).await == Some(false)
            {
                short.push(format!("the role {role}: {error}"));
                continue;
            }
        }
        let member = format!("SELECT pg_has_role(current_user, '{role}', 'MEMBER')");
        if one(client, &member).await == Some(false)
            && let Err(error) = in_transaction(client, &format!("GRANT {role} TO current_user")).await
        {
            short.push(format!("becoming the role {role}: {error}"));
        }
    }
}

/// A trigger that writes a table's changes to the outbox, unless it is there and writes the same.
async fn capture(client: &mut Client, schema: &Schema, relation: &Relation, kinds: &[&str]) -> Result<(), String> {
    let table = format!(
        "{}.{}",
        quote_identifier(&relation.namespace),
        quote_identifier(&relation.name)
    );
    let function = format!(
        "mainstay.{}",
        quote_identifier(&short_name(&format!(
            "capture {}.{}",
            relation.namespace, relation.name
        )))
    );
    let body = capture_body(schema, relation);
    let literal = quote_literal(&table);
    // Bits of tgtype: 4 insertion, 8 deletion, 16 update.
    let state = format!(
        "SELECT coalesce(t.tgtype::int, 0), p.prosrc, p.proconfig IS NOT NULL FROM (SELECT 1) one \
         LEFT JOIN pg_trigger t ON t.tgrelid = to_regclass({literal}) AND t.tgname = 'mainstay_capture' \
         LEFT JOIN pg_proc p ON p.oid = t.tgfoid"
    );
    let row = row(client, &state).await?;
    let cell = |at: usize| row.as_ref().and_then(|row| row.get(at));
    let known: i32 = cell(0).and_then(|bits| bits.parse().ok()).unwrap_or(0);
    let source = cell(1);
    let bits = [("INSERT", 4), ("DELETE", 8), ("UPDATE", 16)];
    let wanted = bits
        .iter()
        .filter(|(name, _)| kinds.contains(name))
        .fold(0, |all, (_, bit)| all | bit);
    // Settings of its own cost a function as much as the rest of it does. Names in the body need none.
    let settings = match relation.columns.iter().all(|column| is_written_alike(&column.ty)) {
        true => "",
        false => "SET search_path = pg_catalog, pg_temp SET \"TimeZone\" = 'UTC'",
    };
    let is_set = cell(2) == Some("t");
    if known & wanted == wanted && source == Some(&*body) && is_set != settings.is_empty() {
        return Ok(());
    }
    let events: Vec<&str> = bits
        .iter()
        .filter(|(_, bit)| (known | wanted) & bit != 0)
        .map(|(name, _)| *name)
        .collect();
    let sql = format!(
        "SET LOCAL lock_timeout = '10s'; \
         CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {settings} AS {}; \
         DROP TRIGGER IF EXISTS mainstay_capture ON {table}; \
         CREATE TRIGGER mainstay_capture AFTER {} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
        quote_literal(&body),
        events.join(" OR ")
    );
    in_transaction(client, &sql).await
}

/// `{"schema","table","op","old","new"}`; the key a row had before decides: all that happens to one row stays in one order also when its key
/// moves.
fn capture_body(schema: &Schema, relation: &Relation) -> String {
    let mut names = b"{\"schema\":".to_vec();
    write_json_string(&relation.namespace, &mut names);
    names.extend_from_slice(b",\"table\":");
    write_json_string(&relation.name, &mut names);
    let names = String::from_utf8_lossy(&names);
    let key = |row: &str| {
        let columns: Vec<String> = relation
            .primary_key()
            .iter()
            .map(|column| {
                let name = quote_identifier(&relation.columns[*column as usize].name);
                format!("{row}.{name}::pg_catalog.text")
            })
            .collect();
        match columns.as_slice() {
            [] => "''".to_owned(),
            [one] => one.clone(),
            several => format!("pg_catalog.concat({})", several.join(", ',', ")),
        }
    };
    let mut body = String::from("BEGIN ");
    for (op, name, old, new) in [
        ("INSERT", "insert", None, Some("NEW")),
        ("UPDATE", "update", Some("OLD"), Some("NEW")),
        ("DELETE", "delete", Some("OLD"), None),
    ] {
        let branch = if op == "INSERT" { "IF" } else { "ELSIF" };
        let image = |row: Option<&str>| match row {
            Some(row) => format!("pg_catalog.row_to_json({row})"),
            None => "'null'".to_owned(),
        };
        let topic = quote_literal(&change_topic(schema, relation, name));
        let head = quote_literal(&format!("{names},\"op\":\"{name}\",\"old\":"));
        let _ = write!(
            body,
            "{branch} TG_OP OPERATOR(pg_catalog.=) '{op}' THEN \
             INSERT INTO mainstay.outbox (topic, key, time_us, payload) VALUES ({topic}, {key}, \
             (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, \
             pg_catalog.concat({head}, {old}, ',\"new\":', {new}, '}}')); ",
            key = key(old.or(new).unwrap_or("NEW")),
            old = image(old),
            new = image(new),
        );
    }
    body.push_str("END IF; RETURN NULL; END");
    body
}

/// Whether values of a type are the same text whatever the time zone and the path of who writes them.
fn is_written_alike(ty: &Type) -> bool {
    match ty {
        Type::Array(of) => is_written_alike(of),
        Type::TimestampTz | Type::Row(_) | Type::Void | Type::Unknown | Type::Other(_) => false,
        _ => true,
    }
}

/// A name that fits PostgreSQL's 63 bytes, told apart by a hash where it is cut.
fn short_name(name: &str) -> String {
    if name.len() <= 63 {
        return name.to_owned();
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut end = 46;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} {hash:016x}", &name[..end])
}

/// A statement or several, all or none, one instance at a time.
pub(crate) async fn in_transaction(client: &mut Client, sql: &str) -> Result<(), String> {
    let transaction = client.transaction().await.map_err(told)?;
    transaction.batch_execute(LOCK).await.map_err(told)?;
    transaction.batch_execute(sql).await.map_err(told)?;
    transaction.commit().await.map_err(told)
}

/// A question's yes or no; `None` when it cannot be asked.
async fn one(client: &Client, sql: &str) -> Option<bool> {
    let row = row(client, sql).await.ok()??;
    Some(row.get(0)? == "t")
}

/// The one row of a question. Asked without preparing it, which poolers do not bear.
pub(crate) async fn row(client: &Client, sql: &str) -> Result<Option<SimpleQueryRow>, String> {
    let messages = client.simple_query(sql).await.map_err(told)?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    }))
}

fn told(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    }
}
