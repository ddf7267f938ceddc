//! What schema.sql means, asked of the database itself: inside a transaction that is rolled back, the schemas it names step aside,
//! its statements run on empty ones of the same names, and the catalogue is read. So the database's own grammar, types and
//! extensions decide, and whatever it can hold can be compared. Nobody else sees any of it, and no lock is taken on a table.

use super::catalog;
use super::shape::{Key, Kind, Shape};
use super::source::{Source, Statement, StatementKind};
use super::text::{Failure, identifier, literal, mentions, parts, schema_of, within};
use mainstay_model::Span;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, SimpleQueryMessage};

/// What a schema is called while it stands aside.
const ASIDE: &str = "mainstay_aside_";

/// The search path that a file starts with.
pub(crate) const SEARCH_PATH: &str = "public";

/// What is wanted, and where each part of it was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) shape: Shape,
    /// Names of the schemas that are compared.
    pub(crate) schemas: Vec<String>,
    /// Objects of Mainstay's own, which are nobody else's business.
    pub(crate) internal: BTreeSet<Key>,
    /// Per statement: the search path in force.
    pub(crate) paths: Vec<String>,
    /// Statements in the order in which they could be run: what needs a later file waits for it.
    sequence: Vec<usize>,
    /// Per place in that order: the highest oid afterwards.
    marks: Vec<u32>,
    /// Per statement of rows: the table or sequence, quoted and qualified.
    pub(crate) targets: BTreeMap<usize, (Kind, String)>,
    /// Roles that are missing.
    pub(crate) roles: Vec<String>,
    /// Every role that the project knows: whose privileges are decided here.
    pub(crate) known_roles: BTreeSet<String>,
    /// Extensions that are missing, by statement.
    pub(crate) extensions: Vec<usize>,
    /// CREATE ROLE statements whose role is missing.
    pub(crate) role_statements: Vec<usize>,
}

impl Wanted {
    /// The statement during which something with an oid was made.
    pub(crate) fn statement_of(&self, oid: u32) -> usize {
        let position = self.marks.partition_point(|mark| *mark < oid);
        self.sequence.get(position).copied().unwrap_or(usize::MAX)
    }

    /// When a statement ran.
    pub(crate) fn position(&self, statement: usize) -> usize {
        let position = self.sequence.iter().position(|s| *s == statement);
        position.unwrap_or(usize::MAX)
    }

    /// Where a column was written: in its table's statement, or in a later one about the table.
    pub(crate) fn column_statement(&self, source: &Source, table: &str, oid: u32, column: &str) -> usize {
        let made = self.statement_of(oid);
        let relation = parts(table).pop().unwrap_or_default();
        let about = |s: &Statement| {
            let object = s.object.as_deref().unwrap_or_default();
            object.rsplit('.').next() == Some(relation.as_str()) && mentions(&s.text, column)
        };
        let candidates = (made..source.statements.len()).filter(|i| {
            let s = &source.statements[*i];
            matches!(s.kind, StatementKind::Table | StatementKind::Define)
                && !s.text.starts_with("GRANT")
                && !s.text.starts_with("COMMENT")
                && about(s)
        });
        candidates.min().unwrap_or(made)
    }
}

/// The line of a statement that starts with a word, else the statement's own place.
pub(crate) fn line_of(statement: &Statement, word: &str) -> Span {
    let mut offset = 0;
    for line in statement.text.split_inclusive('\n') {
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let first = line.trim_start().split([' ', '\t', '\n']).next().unwrap_or_default();
        if first == word {
            return within(&statement.text, &statement.span, offset + indent);
        }
        offset += line.chars().count();
    }
    match statement.text.find(word) {
        Some(at) if mentions(&statement.text, word) => {
            within(&statement.text, &statement.span, statement.text[..at].chars().count())
        }
        _ => statement.span.clone(),
    }
}

/// Schemas that the source declares something in.
pub(crate) fn schemas(source: &Source) -> Vec<String> {
    let mut schemas = vec!["public".to_owned()];
    for statement in &source.statements {
        let name = match statement.kind {
            StatementKind::Schema => statement.object.clone(),
            _ => statement
                .object
                .as_deref()
                .filter(|o| o.starts_with("auth."))
                .map(|_| "auth".to_owned()),
        };
        schemas.extend(name.filter(|n| !schemas.contains(n)));
    }
    schemas
}

/// Runs the source on schemas of its own and reads what became of it. The caller's transaction must be rolled back afterwards.
pub(crate) async fn build(client: &Client, source: &Source, install: &str, actual: &Shape) -> Result<Wanted, Failure> {
    let mut wanted = Wanted {
        schemas: schemas(source),
        ..Wanted::default()
    };
    roles(client, source, &mut wanted).await?;
    let seen = step_aside(client, &wanted.schemas, actual).await?;
    client
        .batch_execute("SET LOCAL search_path = public; SET LOCAL client_min_messages = warning")
        .await?;
    client.batch_execute(install).await.map_err(|e| internal(&e))?;
    if wanted.schemas.iter().any(|s| s == "auth") {
        client.batch_execute("CREATE SCHEMA IF NOT EXISTS auth").await?;
    }
    let own = catalog::read(client, &wanted.schemas).await?;
    let own = own.keys().into_iter();
    wanted.internal = own
        .filter(|(kind, _)| !matches!(kind, Kind::Extension | Kind::Schema))
        .collect();
    client
        .batch_execute(
            "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; \
             ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO service_role; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO service_role; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO service_role",
        )
        .await?;
    run(client, source, &seen, &mut wanted).await?;
    let mut shape = catalog::read(client, &wanted.schemas).await?;
    if seen.visible {
        shape = returned(shape, &wanted.schemas);
    }
    shape
        .objects
        .retain(|key, _| !wanted.internal.contains(key) && key.0 != Kind::Extension);
    implied(&mut shape);
    wanted.shape = shape;
    Ok(wanted)
}

fn internal(error: &tokio_postgres::Error) -> Failure {
    let mut failure = Failure::new("Mainstay's own schema cannot be made in this database");
    if let Some(db) = error.as_db_error() {
        failure.message = format!("{}: {}", failure.message, db.message());
        failure.sqlstate = Some(db.code().code().to_owned());
    }
    failure.help("let a role migrate that owns the database, and may create roles the first time")
}

/// Makes the roles that are named and missing, until the roll-back.
async fn roles(client: &Client, source: &Source, wanted: &mut Wanted) -> Result<(), Failure> {
    wanted.known_roles = ["anon", "authenticated", "service_role"].map(str::to_owned).into();
    for statement in &source.statements {
        wanted.known_roles.extend(statement.roles.iter().cloned());
    }
    let there: BTreeSet<String> = column(client, "SELECT rolname FROM pg_roles")
        .await?
        .into_iter()
        .collect();
    for (at, statement) in source.statements.iter().enumerate() {
        let declared = statement
            .object
            .as_ref()
            .filter(|_| statement.kind == StatementKind::Role);
        if declared.is_some_and(|role| !there.contains(role)) {
            wanted.role_statements.push(at);
        }
    }
    let declared = |role: &String| {
        let mut own = wanted.role_statements.iter();
        own.any(|at| source.statements[*at].object.as_ref() == Some(role))
    };
    // What install makes is not listed.
    let installed = ["anon", "authenticated", "service_role"];
    wanted.roles = wanted
        .known_roles
        .iter()
        .filter(|role| !there.contains(*role) && !declared(role) && !installed.contains(&role.as_str()))
        .cloned()
        .collect();
    let texts = wanted
        .role_statements
        .iter()
        .map(|at| source.statements[*at].text.clone());
    let missing: Vec<String> = texts.chain(wanted.roles.iter().map(|r| create_role(r))).collect();
    for sql in missing {
        client.batch_execute(&sql).await.map_err(|e| {
            Failure::from(e).help("make the role as a superuser, or let a role migrate that has CREATEROLE")
        })?;
    }
    Ok(())
}

/// The statement behind a role that GRANT or a policy names and nobody made.
pub(crate) fn create_role(role: &str) -> String {
    let role = identifier(role);
    unless_made(&format!("CREATE ROLE {role} NOLOGIN; GRANT {role} TO CURRENT_USER"))
}

/// Roles belong to the whole server: somebody who migrates another database of it may be faster.
pub(crate) fn unless_made(statement: &str) -> String {
    format!("DO $role$ BEGIN {statement}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $role$")
}

struct Aside {
    /// Whether something of an extension had to be left in a schema that stands aside.
    visible: bool,
    extensions: BTreeSet<String>,
}

impl Aside {
    fn path(&self, schemas: &[String]) -> String {
        let mut path = SEARCH_PATH.to_owned();
        if self.visible {
            for schema in schemas {
                path.push_str(&format!(", {}", identifier(&format!("{ASIDE}{schema}"))));
            }
        }
        path
    }
}

/// Renames the schemas that are there and makes empty ones in their place.
async fn step_aside(client: &Client, schemas: &[String], actual: &Shape) -> Result<Aside, Failure> {
    let mut aside = Aside {
        visible: false,
        extensions: column(client, "SELECT extname FROM pg_extension")
            .await?
            .into_iter()
            .collect(),
    };
    for schema in schemas {
        let there = column(
            client,
            &format!("SELECT 1 FROM pg_namespace WHERE nspname = {}", literal(schema)),
        )
        .await?;
        let name = identifier(schema);
        if there.is_empty() {
            if schema == "public" {
                client.batch_execute("CREATE SCHEMA public").await?;
            }
            continue;
        }
        let away = identifier(&format!("{ASIDE}{schema}"));
        client
            .batch_execute(&format!("ALTER SCHEMA {name} RENAME TO {away}"))
            .await
            .map_err(|e| {
                Failure::from(e).help(format!(
                    "let a role migrate that owns the database and its schema {schema}"
                ))
            })?;
        // A schema that the file declares is made by its own statement.
        if schema == "public" || schema == "auth" {
            client.batch_execute(&format!("CREATE SCHEMA {name}")).await?;
            let object = actual.get(Kind::Schema, schema);
            for ((grantee, privilege), _) in object.iter().flat_map(|o| &o.acl) {
                let grant = format!("GRANT {privilege} ON SCHEMA {name} TO {grantee}");
                client.batch_execute(&grant).await?;
            }
        }
        let moving = format!(
            "SELECT extname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE n.nspname = {}",
            literal(&format!("{ASIDE}{schema}"))
        );
        for extension in column(client, &moving).await? {
            let moved = format!("ALTER EXTENSION {} SET SCHEMA {name}", identifier(&extension));
            client.batch_execute("SAVEPOINT moving").await?;
            let target = schema == "public" || schema == "auth";
            if !target || client.batch_execute(&moved).await.is_err() {
                client.batch_execute("ROLLBACK TO SAVEPOINT moving").await?;
                aside.visible = true;
            }
            client.batch_execute("RELEASE SAVEPOINT moving").await?;
        }
    }
    Ok(aside)
}

async fn run(client: &Client, source: &Source, aside: &Aside, wanted: &mut Wanted) -> Result<(), Failure> {
    let mut path = aside.path(&wanted.schemas);
    client.batch_execute(&format!("SET LOCAL search_path = {path}")).await?;
    let mut shown = SEARCH_PATH.to_owned();
    let mut file = None;
    let mut waiting: Vec<(usize, String, Failure)> = Vec::new();
    let mut mark = watermark(client).await?;
    for (at, statement) in source.statements.iter().enumerate() {
        if file.as_ref() != Some(&statement.span.file) {
            file = Some(statement.span.file.clone());
            path = aside.path(&wanted.schemas);
            SEARCH_PATH.clone_into(&mut shown);
            client
                .batch_execute(&format!(
                    "SET LOCAL search_path = {path}; SET LOCAL check_function_bodies = on"
                ))
                .await?;
        }
        if statement.kind == StatementKind::Setting {
            let text = statement.text.to_ascii_lowercase();
            if text.contains("search_path") || text.contains("check_function_bodies") {
                let refused = |e| Failure::of_statement(&e, &statement.text, &statement.span);
                client.batch_execute(&statement.text).await.map_err(refused)?;
                let now = column(client, "SELECT current_setting('search_path')").await?;
                let now = now.into_iter().next().unwrap_or_default();
                if now != path {
                    path.clone_from(&now);
                    shown = now;
                }
            }
        }
        wanted.paths.push(shown.clone());
        match one(client, at, statement, aside, wanted).await? {
            None => {}
            Some(failure) => {
                waiting.push((at, path.clone(), failure));
                continue;
            }
        }
        if !matches!(statement.kind, StatementKind::Nothing | StatementKind::Setting) {
            mark = watermark(client).await?;
        }
        wanted.sequence.push(at);
        wanted.marks.push(mark);
    }
    // What needed something that another file declares: again, until nothing more succeeds.
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut left = Vec::new();
        for (at, path, _) in waiting {
            client.batch_execute(&format!("SET LOCAL search_path = {path}")).await?;
            match one(client, at, &source.statements[at], aside, wanted).await? {
                None => {
                    wanted.sequence.push(at);
                    wanted.marks.push(watermark(client).await?);
                }
                Some(failure) => left.push((at, path, failure)),
            }
        }
        waiting = left;
        if waiting.len() == before {
            let (_, _, failure) = waiting.swap_remove(0);
            return Err(failure);
        }
    }
    Ok(())
}

/// Runs one statement. A failure because something is not there (yet) is given back.
async fn one(
    client: &Client,
    at: usize,
    statement: &Statement,
    aside: &Aside,
    wanted: &mut Wanted,
) -> Result<Option<Failure>, Failure> {
    let name = statement.object.clone().unwrap_or_default();
    let text = match statement.kind {
        StatementKind::Nothing | StatementKind::Role | StatementKind::Setting => return Ok(None),
        StatementKind::Rows => {
            if let Some(target) = target(client, statement).await? {
                wanted.targets.insert(at, target);
            }
            return Ok(None);
        }
        StatementKind::Extension => {
            if aside.extensions.contains(&name) {
                return Ok(None);
            }
            wanted.extensions.push(at);
            statement.text.clone()
        }
        StatementKind::Schema => {
            let there = format!("SELECT 1 FROM pg_namespace WHERE nspname = {}", literal(&name));
            if !column(client, &there).await?.is_empty() {
                return Ok(None);
            }
            statement.text.clone()
        }
        StatementKind::Index => without_concurrently(&statement.text),
        StatementKind::Once | StatementKind::Function | StatementKind::Table | StatementKind::Define => {
            statement.text.clone()
        }
    };
    client.batch_execute("SAVEPOINT statement").await?;
    let run = client.batch_execute(&text).await;
    let Err(error) = run else {
        client.batch_execute("RELEASE SAVEPOINT statement").await?;
        return Ok(None);
    };
    let failure = Failure::of_statement(&error, &text, &statement.span);
    if error.as_db_error().is_none() {
        return Err(failure);
    }
    client
        .batch_execute("ROLLBACK TO SAVEPOINT statement; RELEASE SAVEPOINT statement")
        .await?;
    match failure.sqlstate.as_deref() {
        _ if statement.kind == StatementKind::Once && is_duplicate(&error) => Ok(None),
        // An undefined table, function, object, column or schema.
        Some("42P01" | "42883" | "42704" | "42703" | "3F000") => {
            wanted.extensions.retain(|e| *e != at);
            Ok(Some(failure))
        }
        _ => Err(failure),
    }
}

/// Whether something is there already, whatever it is.
pub(crate) fn is_duplicate(error: &tokio_postgres::Error) -> bool {
    let code = error.as_db_error().map(|e| e.code().code().to_owned());
    matches!(code.as_deref(), Some("42710" | "42P07" | "42723" | "42P06" | "23505"))
}

/// Draws an oid: whatever was made before has a lower one.
async fn watermark(client: &Client) -> Result<u32, Failure> {
    let drawn = column(client, "SELECT pg_catalog.lo_creat(-1)").await?;
    Ok(drawn.first().and_then(|t| t.parse().ok()).unwrap_or_default())
}

/// `CREATE INDEX` without CONCURRENTLY, which no transaction can hold.
fn without_concurrently(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let head = lower.find(" on ").unwrap_or(lower.len());
    match lower[..head].find(" concurrently") {
        Some(at) => format!("{}{}", &text[..at], &text[at + " concurrently".len()..]),
        None => text.to_owned(),
    }
}

/// The table or sequence that a statement of rows is about.
async fn target(client: &Client, statement: &Statement) -> Result<Option<(Kind, String)>, Failure> {
    let setval = statement.text.to_ascii_lowercase().starts_with("select");
    let name = if setval {
        let mut quoted = statement.text.split('\'');
        quoted.nth(1).map(str::to_owned)
    } else {
        statement.object.as_ref().map(|o| {
            let parts: Vec<String> = o.split('.').map(identifier).collect();
            parts.join(".")
        })
    };
    let Some(name) = name else { return Ok(None) };
    let sql = format!(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = to_regclass({})",
        literal(&name)
    );
    let found = column(client, &sql).await?.into_iter().next();
    let kind = if setval { Kind::Sequence } else { Kind::Table };
    Ok(found.map(|name| (kind, name)))
}

/// The first column of a query's rows, as text.
pub(crate) async fn column(client: &Client, sql: &str) -> Result<Vec<String>, Failure> {
    let messages = client.simple_query(sql).await?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.collect())
}

/// Names as they are when nothing stands aside.
fn returned(shape: Shape, schemas: &[String]) -> Shape {
    let back = |text: &str| {
        let mut text = text.to_owned();
        for schema in schemas {
            text = text.replace(&format!("{ASIDE}{schema}."), &format!("{schema}."));
        }
        text
    };
    let mut shape = shape;
    for object in shape.objects.values_mut() {
        object.definition = back(&object.definition);
        object.create = back(&object.create);
        if let super::shape::Detail::Column(column) = &mut object.detail {
            column.ty = back(&column.ty);
            column.generated = column.generated.as_deref().map(back);
        }
    }
    shape
}

/// What a privilege is no use without: USAGE of the schema for whoever has something in it, and of a `serial` column's sequence for
/// whoever may insert.
fn implied(shape: &mut Shape) {
    let mut of_schemas: BTreeSet<(String, String)> = BTreeSet::new();
    let mut of_sequences: BTreeSet<(String, String)> = BTreeSet::new();
    let inserts = |table: &str| {
        let relation = shape.get(Kind::Table, table).into_iter();
        let all = relation
            .chain(shape.parts(Kind::Column, table))
            .flat_map(|o| o.acl.keys());
        all.filter(|(_, p)| p == "INSERT")
            .map(|(g, _)| g.clone())
            .collect::<Vec<_>>()
    };
    for object in shape.objects.values() {
        if !matches!(object.kind, Kind::Schema | Kind::Type) {
            let schema = schema_of(&object.name);
            of_schemas.extend(object.acl.keys().map(|(grantee, _)| (schema.clone(), grantee.clone())));
        }
        if let super::shape::Detail::Sequence { owner: Some(owner) } = &object.detail
            && let Some((table, _)) = owner.rsplit_once('.')
        {
            of_sequences.extend(inserts(table).into_iter().map(|g| (object.name.clone(), g)));
        }
    }
    for object in shape.objects.values_mut() {
        let wanted = match object.kind {
            Kind::Schema => &of_schemas,
            Kind::Sequence => &of_sequences,
            _ => continue,
        };
        let name = match object.kind {
            Kind::Schema => schema_of(&object.name),
            _ => object.name.clone(),
        };
        let everyone = object.acl.contains_key(&("PUBLIC".to_owned(), "USAGE".to_owned()));
        for (_, grantee) in wanted.iter().filter(|(n, _)| *n == name && !everyone) {
            object.acl.entry((grantee.clone(), "USAGE".to_owned())).or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_made_inside_the_transaction() {
        assert_eq!(
            without_concurrently("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)"),
            "CREATE UNIQUE INDEX i ON t (a)"
        );
        assert_eq!(
            without_concurrently("CREATE INDEX i ON concurrently (a)"),
            "CREATE INDEX i ON concurrently (a)"
        );
    }
}
