//! A project as it lies on disk: `mainstay.toml`, the DDL of every service, and seed data, read and checked against one another.

use mainstay_config::project::{Action, Project, Trigger};
use mainstay_config::{Location, Problem, suggest};
use mainstay_model::{RelationId, Schema};
use mainstay_schema::{Reading, Severity, Source};
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
    /// `setval` of the DDL.
    pub sequence_values: Vec<(Arc<str>, i64)>,
    /// What works but is likely not meant.
    pub warnings: Vec<String>,
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

/// Reads a project.
pub fn load(dir: &Path, overrides: &[String]) -> Result<Loaded, Problems> {
    let env = |name: &str| std::env::var(name).ok();
    let project = mainstay_config::load(dir, overrides, &env).map_err(|p| Problems(lines(p)))?;
    let mut problems: Vec<String> = Vec::new();
    let mut warnings: Vec<String> = project.warnings.iter().map(ToString::to_string).collect();
    let mut sources = Vec::new();
    for ddl in project.ddl() {
        // The directory stands before it already.
        let path = ddl.path;
        let shown = path.strip_prefix(&project.directory).unwrap_or(&path).display().to_string();
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
    let mut seeds = reading.seeds;
    if problems.is_empty() {
        problems.extend(lines(against_schema(&project, &reading.schema)));
        match csv_seeds(&project.directory.join("data"), &reading.schema) {
            Ok(more) => seeds.extend(more),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    Ok(Loaded {
        project,
        schema: Arc::new(reading.schema),
        seeds,
        sequence_values: reading.sequence_values,
        warnings,
    })
}

fn read_ddl(sources: &[Source], project: &Project) -> Reading {
    let auth = project.auth.store.clone().or_else(|| project.default_store().map(str::to_owned));
    mainstay_schema::read_with(sources, &mainstay_schema::Options { auth: auth.map(Into::into) })
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

fn lines(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// What the file names that only the schema knows.
fn against_schema(project: &Project, schema: &Schema) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (table, section) in &project.cache.tables {
        if find_table(schema, table).is_none() {
            problems.push(unknown("table", table, &section.at, table_names(schema)));
        }
    }
    for subscription in &project.subscriptions {
        if let Trigger::Change { table, .. } = &subscription.trigger
            && find_table(schema, table).is_none()
        {
            problems.push(unknown("table", table, &subscription.at, table_names(schema)));
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
                        .problem(format!("function \"{function}\" cannot take an event: it must have one argument of type jsonb"))
                        .help("declare it as (event jsonb); the event's data is event -> 'data'"),
                ),
                Some(_) => {}
            }
        }
    }
    problems
}

/// A table by the name that the file gives it: `orders` or `schema.orders`.
pub fn find_table(schema: &Schema, name: &str) -> Option<RelationId> {
    match name.split_once('.') {
        Some((namespace, name)) => schema.find_relation(namespace, name),
        None => schema.namespaces.iter().find_map(|n| schema.find_relation(n, name)),
    }
}

fn table_names(schema: &Schema) -> Vec<String> {
    schema.relations.iter().filter(|r| r.table().is_some()).map(|r| r.name.to_string()).collect()
}

fn unknown(what: &str, name: &str, at: &Location, known: Vec<String>) -> Problem {
    let problem = at.problem(format!("there is no {what} \"{name}\""));
    match suggest(name, known.iter().map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None => problem.help(format!("declare it in the project's DDL, or take the {what} out of this section")),
    }
}

/// `data/<table>.csv`, each with a header of column names. An empty unquoted field is NULL.
fn csv_seeds(dir: &Path, schema: &Schema) -> Result<Vec<mainstay_schema::Seed>, Vec<String>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut files: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "csv")).collect();
    files.sort();
    let mut seeds = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        match csv_seed(&file, schema) {
            Ok(seed) => seeds.push(seed),
            Err(problem) => problems.push(format!("data/{}", problem)),
        }
    }
    // Parents first, so that foreign keys hold row by row.
    seeds.sort_by_key(|s| depth(schema, s.relation, 0));
    if problems.is_empty() { Ok(seeds) } else { Err(problems) }
}

/// How many foreign keys lie between a table and one without any.
fn depth(schema: &Schema, relation: RelationId, hops: usize) -> usize {
    let Some(table) = schema.relation(relation).table() else { return 0 };
    if hops > schema.relations.len() {
        return hops;
    }
    let parents = table.foreign_keys.iter().filter(|k| k.target != relation);
    parents.map(|k| 1 + depth(schema, k.target, hops + 1)).max().unwrap_or(0)
}

fn csv_seed(file: &Path, schema: &Schema) -> Result<mainstay_schema::Seed, String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let table = file.file_stem().unwrap_or_default().to_string_lossy();
    let id = find_table(schema, &table).ok_or_else(|| format!("{name}: there is no table \"{table}\""))?;
    let relation = schema.relation(id);
    let mut reader = csv::ReaderBuilder::new().from_path(file).map_err(|e| format!("{name}: {e}"))?;
    let header = reader.headers().map_err(|e| format!("{name}: {e}"))?.clone();
    let columns = header
        .iter()
        .map(|column| relation.column(column).ok_or_else(|| format!("{name}:1: table \"{table}\" has no column \"{column}\"")))
        .collect::<Result<Vec<u32>, String>>()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| format!("{name}: {e}"))?;
        rows.push(record.iter().map(|field| (!field.is_empty()).then(|| field.to_owned())).collect());
    }
    let span = mainstay_model::Span { file: format!("data/{name}").into(), line: 2, column: 1, ..Default::default() };
    Ok(mainstay_schema::Seed { relation: id, columns, rows, span })
}
