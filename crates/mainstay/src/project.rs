//! A project as it lies on disk: `mainstay.toml`, the DDL of every service, and seed data, read and checked against one another.

use crate::accounts::{self, Accounts};
use crate::seeds;
use mainstay_config::project::{Action, Project, Subscription, Trigger};
use mainstay_config::{Location, Problem, suggest};
use mainstay_model::{RelationId, Schema};
use mainstay_schema::{Reading, Severity, Source};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Everything that is known before anything is opened.
pub struct Loaded {
    /// What the file says.
    pub project: Project,
    /// What the DDL says.
    pub schema: Arc<Schema>,
    /// Rows that the DDL and `data/` bring, as text.
    pub seeds: Vec<mainstay_schema::Seed>,
    /// Where accounts live beside an adopted database: without the wish none do.
    pub accounts: Option<Arc<Accounts>>,
    /// `setval` of the DDL.
    pub sequence_values: Vec<(Arc<str>, i64)>,
    /// What works but is likely not meant.
    pub warnings: Vec<String>,
    /// What of the DDL has no effect here.
    pub notes: Vec<String>,
    /// Rules of the DDL that its embedded store does not keep.
    pub unkept: Vec<String>,
}

/// Why a project cannot be served: every problem, a line each.
pub struct Problems(pub Vec<String>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 problem"),
            n => write!(f, "{n} problems"),
        }
    }
}

impl Loaded {
    /// The store that is served as it is: a server, in a project without any DDL.
    pub fn adopts(&self) -> Option<&String> {
        adopted(&self.project)
    }

    /// What a store is opened with: everything, or only accounts where it has nothing else.
    pub fn schema_of(&self, store: &str) -> &Arc<Schema> {
        match &self.accounts {
            Some(accounts) if accounts.store == store => &accounts.schema,
            _ => &self.schema,
        }
    }

    /// Takes the schema of the adopted database, and holds against it what the file names.
    pub fn adopt(&mut self, schema: Schema) -> Result<(), Problems> {
        let problems = lines(against_schema(&self.project, &schema));
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        self.schema = Arc::new(schema);
        Ok(())
    }
}

/// See [`Loaded::adopts`].
pub fn adopted(project: &Project) -> Option<&String> {
    let mut servers = project.stores.iter().filter(|(_, s)| !s.is_embedded());
    let (name, _) = servers.next().filter(|_| project.ddl().is_empty())?;
    Some(name)
}

/// Reads a project.
pub fn load(dir: &Path, overrides: &[String]) -> Result<Loaded, Problems> {
    let env = |name: &str| std::env::var(name).ok();
    // Before anything else: whatever the command line sets, there must be something that it is set for.
    expect_one(dir).map_err(|problem| Problems(vec![problem]))?;
    let project = mainstay_config::load(dir, overrides, &env).map_err(|p| Problems(lines(p)))?;
    let mut problems: Vec<String> = Vec::new();
    let mut warnings: Vec<String> = project.warnings.iter().map(ToString::to_string).collect();
    let mut sources = Vec::new();
    for ddl in project.ddl() {
        // The directory stands before it already.
        let path = ddl.path;
        let shown = path
            .strip_prefix(&project.directory)
            .unwrap_or(&path)
            .display()
            .to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => sources.push(Source {
                file: shown.into(),
                text,
                store: ddl.store.into(),
                service: ddl.service.map(Into::into),
            }),
            Err(e) => problems.push(format!("{shown}: cannot be read: {e}")),
        }
    }
    let reading = read_ddl(&sources, &project);
    for problem in &reading.problems {
        let line = ddl_line(problem);
        match problem.severity {
            Severity::Warning => warnings.push(line),
            Severity::Error => problems.push(line),
        }
    }
    let embedded = |file: &Arc<str>| {
        let store = sources.iter().find(|s| s.file == *file).map(|s| &s.store);
        store.is_some_and(|store| project.stores.get(&**store).is_some_and(|s| s.is_embedded()))
    };
    let unkept = reading.unkept.iter().filter(|note| embedded(&note.span.file));
    let unkept = unkept.map(note_line).collect();
    let mut rows = reading.seeds;
    let mut loaded_schema = reading.schema;
    if adopted(&project).is_some() {
        // What the file names is held against the database's own schema once that has been read.
        loaded_schema = Schema::default();
        rows.clear();
    } else if problems.is_empty() {
        problems.extend(lines(against_schema(&project, &loaded_schema)));
        warnings.extend(anon_without_grants(&project, &loaded_schema).map(|w| w.to_string()));
        warnings.extend(policies_for_nobody(&loaded_schema));
        match seeds::read(&project.directory.join("data"), &loaded_schema) {
            Ok(more) => rows.extend(more),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    Ok(Loaded {
        schema: Arc::new(loaded_schema),
        seeds: rows,
        sequence_values: reading.sequence_values,
        accounts: accounts::beside(&project).map(Arc::new),
        warnings,
        notes: reading.notes.iter().map(note_line).collect(),
        unkept,
        project,
    })
}

/// Refuses a folder that holds no project: an empty one is most likely the wrong one.
pub fn expect_one(dir: &Path) -> Result<(), String> {
    let shown = dir.display();
    if !dir.is_dir() {
        return Err(format!(
            "{shown}: no such directory; give the project's directory, or make one with `mainstay new`"
        ));
    }
    if holds_one(dir) {
        return Ok(());
    }
    Err(format!(
        "{shown}: there is no project here, neither mainstay.toml nor schema.sql; make one with `mainstay new {shown}`"
    ))
}

/// Whether anything of a project lies in a folder: its file, its DDL, that of a service, or pages.
fn holds_one(dir: &Path) -> bool {
    let own = [mainstay_config::project::FILE, "schema.sql"];
    let services = std::fs::read_dir(dir.join("services")).into_iter().flatten().flatten();
    own.iter().any(|name| dir.join(name).exists())
        || dir.join("public").is_dir()
        || services
            .into_iter()
            .any(|service| service.path().join("schema.sql").exists())
}

fn read_ddl(sources: &[Source], project: &Project) -> Reading {
    let auth = project
        .auth
        .store
        .clone()
        .or_else(|| project.default_store().map(str::to_owned));
    mainstay_schema::read_with(
        sources,
        &mainstay_schema::Options {
            auth: auth.map(Into::into),
        },
    )
}

fn ddl_line(problem: &mainstay_schema::Problem) -> String {
    let span = &problem.span;
    let mut line = match span.line {
        0 => format!("{}: {}", span.file, problem.message),
        n => format!("{}:{}:{}: {}", span.file, n, span.column, problem.message),
    };
    if let Some(help) = &problem.help {
        line.push_str("; ");
        line.push_str(help);
    }
    line
}

fn note_line(note: &mainstay_schema::Note) -> String {
    let span = &note.span;
    format!("{}:{}:{}: {}", span.file, span.line, span.column, note.message)
}

fn lines(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// What the file names that only the schema knows.
fn against_schema(project: &Project, schema: &Schema) -> Vec<Problem> {
    let mut problems = against_api(project, schema);
    for (table, section) in &project.cache.tables {
        if find_table(schema, table).is_none() {
            problems.push(unknown_table(schema, table, &section.at));
        }
    }
    for subscription in &project.subscriptions {
        let at = &subscription.at;
        match &subscription.trigger {
            Trigger::Change { table, .. } => match find_table(schema, table) {
                None => problems.push(unknown_table(schema, table, at)),
                Some(id) if schema.relation(id).table().is_none() => problems.push(
                    at.problem(format!("\"{table}\" is a view: rows change in tables"))
                        .help("name the tables that it reads, each in an [[on]] of its own"),
                ),
                Some(_) => {}
            },
            Trigger::Event(_) | Trigger::Topic(_) | Trigger::Every(_) => {}
        }
        if let Action::Publish(topic) = &subscription.action {
            problems.extend(returns(project, subscription, topic));
        }
        if let Action::Call(function) = &subscription.action {
            match schema.functions.iter().find(|f| *f.name == **function) {
                None => {
                    let names = schema.functions.iter().map(|f| f.name.to_string()).collect();
                    problems.push(unknown("function", function, &subscription.at, names));
                }
                Some(f) if f.args.len() != 1 || !f.args[0].ty.is_json() => problems.push(
                    subscription
                        .at
                        .problem(format!(
                            "function \"{function}\" cannot take an event: it must have one argument of type jsonb"
                        ))
                        .help("declare it as (event jsonb); the event's data is event -> 'data'"),
                ),
                Some(_) => {}
            }
        }
    }
    problems
}

/// What `[api]` names.
fn against_api(project: &Project, schema: &Schema) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, name) in project.api.schemas.iter().enumerate() {
        // Without any DDL there is nothing that it could be in.
        if schema.namespaces.is_empty() || schema.namespaces.iter().any(|n| **n == **name) || name == "public" {
            continue;
        }
        let at = project.places.find(&["api", "schemas", &index.to_string()]);
        if name == "auth" {
            problems
                .push(at.problem("[api] schemas: \"auth\" holds what Mainstay keeps for itself and is never served"));
            continue;
        }
        let known = schema.namespaces.iter().map(ToString::to_string).collect();
        problems.push(unknown("schema", name, &at, known));
    }
    if let Some(name) = &project.api.root
        && !schema.functions.iter().any(|f| *f.name == **name)
    {
        let known = schema.functions.iter().map(|f| f.name.to_string()).collect();
        problems.push(unknown("function", name, &project.places.find(&["api", "root"]), known));
    }
    problems
}

/// A role for callers without a token that no GRANT names: they reach nothing.
fn anon_without_grants(project: &Project, schema: &Schema) -> Option<Problem> {
    let anon = &project.api.anon;
    let known = ["anon", "authenticated", "service_role"].contains(&anon.as_str());
    let of_relations = schema.relations.iter().flat_map(|r| r.grants.iter().map(|g| &g.role));
    let mut granted = of_relations.chain(schema.functions.iter().flat_map(|f| f.grants.iter()));
    if known || granted.any(|role| **role == **anon) {
        return None;
    }
    let at = project.places.find(&["api", "anon"]);
    Some(
        at.problem(format!("[api] anon: nothing is granted to a role \"{anon}\""))
            .help("callers without a token reach only what is granted to public"),
    )
}

/// Policies for roles that nothing is granted to: most likely the role is called otherwise.
fn policies_for_nobody(schema: &Schema) -> Vec<String> {
    if !schema.has_grants {
        return Vec::new();
    }
    let of_relations = schema.relations.iter().flat_map(|r| r.grants.iter().map(|g| &*g.role));
    let of_functions = schema
        .functions
        .iter()
        .flat_map(|f| f.grants.iter().map(|role| &**role));
    let known: BTreeSet<&str> = of_relations
        .chain(of_functions)
        .chain(["anon", "authenticated", "service_role", "public"])
        .collect();
    let mut found = Vec::new();
    for relation in &schema.relations {
        let policies = relation.table().into_iter().flat_map(|table| &table.policies);
        for (policy, role) in policies.flat_map(|p| p.roles.iter().map(move |role| (p, role))) {
            if known.contains(&**role) {
                continue;
            }
            let span = &policy.span;
            let help = suggest(role, known.iter().copied()).map(|near| format!("; did you mean \"{near}\"?"));
            found.push(format!(
                "{}:{}:{}: policy \"{}\" of \"{}\" is for the role \"{role}\", to which nothing is granted{}",
                span.file,
                span.line,
                span.column,
                policy.name,
                relation.name,
                help.unwrap_or_default()
            ));
        }
    }
    found
}

/// A table by the name that the file gives it: `orders` or `schema.orders`.
pub fn find_table(schema: &Schema, name: &str) -> Option<RelationId> {
    match name.split_once('.') {
        Some((namespace, name)) => schema.find_relation(namespace, name),
        None => schema.namespaces.iter().find_map(|n| schema.find_relation(n, name)),
    }
}

/// Every table as [`find_table`] finds it: with its schema where the name alone is not enough.
pub fn table_names(schema: &Schema) -> Vec<String> {
    let tables = schema.relations.iter().filter(|r| r.table().is_some());
    tables
        .map(|r| match find_table(schema, &r.name) {
            Some(found) if schema.relation(found).namespace == r.namespace => r.name.to_string(),
            _ => format!("{}.{}", r.namespace, r.name),
        })
        .collect()
}

/// The table that was likely meant: of this name in another schema, or of a name like it.
pub fn near_table(name: &str, known: &[String]) -> Option<String> {
    let elsewhere = known
        .iter()
        .find(|full| full.split_once('.').is_some_and(|(_, bare)| bare == name));
    elsewhere
        .cloned()
        .or_else(|| suggest(name, known.iter().map(String::as_str)).map(str::to_owned))
}

/// A topic that is published under and, by way of other subscriptions, leads back to the one that publishes it: without an end.
fn returns(project: &Project, subscription: &Subscription, topic: &str) -> Option<Problem> {
    let takes = |s: &Subscription, topic: &str| matches!(&s.trigger, Trigger::Event(wanted) | Trigger::Topic(wanted) if wanted == topic);
    let mut reached = vec![topic];
    let mut at = 0;
    while let Some(topic) = reached.get(at).copied() {
        if takes(subscription, topic) {
            let name = &subscription.name;
            let problem = format!("[[on]] \"{name}\" is set off again by what it publishes: there would be no end");
            return Some(
                subscription
                    .at
                    .problem(problem)
                    .help("publish under a topic that does not lead back"),
            );
        }
        for other in project.subscriptions.iter().filter(|s| takes(s, topic)) {
            if let Action::Publish(next) = &other.action
                && !reached.contains(&next.as_str())
            {
                reached.push(next);
            }
        }
        at += 1;
    }
    None
}

fn unknown_table(schema: &Schema, name: &str, at: &Location) -> Problem {
    let known = table_names(schema);
    match near_table(name, &known) {
        Some(near) => at
            .problem(format!("there is no table \"{name}\""))
            .help(format!("did you mean \"{near}\"?")),
        None => unknown("table", name, at, known),
    }
}

fn unknown(what: &str, name: &str, at: &Location, known: Vec<String>) -> Problem {
    let problem = at.problem(format!("there is no {what} \"{name}\""));
    match suggest(name, known.iter().map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None => problem.help(format!(
            "declare it in the project's DDL, or take the {what} out of this section"
        )),
    }
}
