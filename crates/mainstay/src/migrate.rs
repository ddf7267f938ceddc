//! `mainstay migrate`: what takes a database to the project's DDL, shown or done.

use crate::cli::{Migrate, MigrateVerb};
use crate::output::{complain, say};
use crate::project;
use mainstay_config::project::{Project, Store};
use mainstay_schema as schema;
use mainstay_store_postgres::migrate::{self, Options, SeedFile, Source, Statement, StatementKind};
use mainstay_store_sqlite::migrate as sqlite;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Exit status of `plan` when something is to be done.
const SOMETHING_TO_DO: u8 = 2;

/// `mainstay migrate plan` and `apply`. Exit status: 0 nothing (more) to do, 1 a problem, 2 `plan` found something to do.
pub fn run(verb: MigrateVerb) -> ExitCode {
    let (options, apply) = match verb {
        MigrateVerb::Plan(options) => (options, false),
        MigrateVerb::Apply(options) => (options, true),
    };
    match migrate(&options, apply) {
        Ok(true) => ExitCode::from(SOMETHING_TO_DO),
        Ok(false) => ExitCode::SUCCESS,
        Err(why) => {
            complain!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether something is left to do.
fn migrate(options: &Migrate, apply: bool) -> Result<bool, String> {
    let env = |name: &str| std::env::var(name).ok();
    let lines = |problems: Vec<mainstay_config::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    project::expect_one(&options.dir)?;
    let project = mainstay_config::load(&options.dir, &options.set, &env).map_err(lines)?;
    if let Some(name) = &options.store
        && !project.stores.contains_key(name)
    {
        let known: Vec<&str> = project.stores.keys().map(String::as_str).collect();
        return Err(format!("there is no [store.{name}]; there is {}", known.join(", ")));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime could be started: {e}"))?;
    let mut left = false;
    let mut plans = serde_json::Map::new();
    for (name, store) in &project.stores {
        if options.store.as_ref().is_some_and(|chosen| chosen != name) {
            continue;
        }
        if store.is_embedded() {
            left |= embedded(options, apply, name, &mut plans)?;
            continue;
        }
        let source = source(&project, name)?;
        if source.statements.is_empty() {
            if !options.json {
                say!("-- store {name}: no DDL belongs to it: it is served as it is");
            }
            continue;
        }
        left |= runtime.block_on(one(options, apply, name, store, &source, &mut plans))?;
    }
    if options.json {
        say!("{}", serde_json::Value::Object(plans));
    }
    Ok(left)
}

async fn one(
    options: &Migrate,
    apply: bool,
    name: &str,
    store: &Store,
    source: &Source,
    plans: &mut serde_json::Map<String, serde_json::Value>,
) -> Result<bool, String> {
    let failed = |e: migrate::Failure| match e.place {
        Some(_) => e.to_string(),
        None => format!("store {name}: {e}"),
    };
    let client = migrate::connect(store.url.expose()).await.map_err(failed)?;
    let how = Options {
        allow_data_loss: options.allow_data_loss,
        ..Options::default()
    };
    if apply {
        let applied = migrate::apply(&client, source, &how).await.map_err(failed)?;
        let (statements, took) = (&applied.statements, applied.duration);
        said(options, name, statements, took, plans, applied.retries, &applied.notes);
        return Ok(false);
    }
    let plan = migrate::plan(&client, source, &how).await.map_err(failed)?;
    if options.json {
        plans.insert(name.to_owned(), plan.to_json());
    } else {
        match plan.steps.len() {
            0 => say!("-- store {name}: nothing to do"),
            n => say!("-- store {name}: {n} statements"),
        }
        say!(in pieces "{plan}");
    }
    Ok(!plan.is_empty())
}

/// The same for a file: what touches no row is done at the next start too, the rest only here.
fn embedded(
    options: &Migrate,
    apply: bool,
    name: &str,
    plans: &mut serde_json::Map<String, serde_json::Value>,
) -> Result<bool, String> {
    let loaded = project::load(&options.dir, &options.set).map_err(|p| p.to_string())?;
    let config = crate::engines::sqlite_config(&loaded, name)?;
    let schema = loaded.schema_of(name);
    let seeds = crate::engines::sqlite_seeds(&loaded, name);
    let failed = |e: sqlite::Failure| format!("store {name}: {e}");
    let new = || {
        if !options.json {
            say!("-- store {name}: there is no file yet; the first start makes it");
        }
    };
    if apply {
        let how = sqlite::Options {
            allow_data_loss: options.allow_data_loss,
            hook: None,
        };
        let applied = sqlite::apply(&config, schema, &seeds, &how).map_err(failed)?;
        if applied.new {
            new();
            return Ok(false);
        }
        said(options, name, &applied.statements, applied.duration, plans, 0, &[]);
        return Ok(false);
    }
    let plan = sqlite::plan(&config, schema, &seeds).map_err(failed)?;
    if plan.new {
        new();
        return Ok(false);
    }
    if options.json {
        let place = |span: &mainstay_model::Span| serde_json::json!({"file": &*span.file, "line": span.line, "column": span.column});
        let steps: Vec<serde_json::Value> = plan
            .steps
            .iter()
            .map(|s| {
                serde_json::json!({
                    "sql": s.sql,
                    "object": s.object,
                    "place": s.place.as_ref().map(place),
                    "phase": "transaction",
                    "loses_data": s.loses_data,
                    "note": s.note,
                })
            })
            .collect();
        plans.insert(
            name.to_owned(),
            serde_json::json!({"steps": steps, "problems": plan.problems}),
        );
    } else {
        match plan.steps.len() {
            0 => say!("-- store {name}: nothing to do"),
            n => say!("-- store {name}: {n} statements"),
        }
        say!(in pieces "{plan}");
    }
    Ok(!plan.steps.is_empty() || !plan.problems.is_empty())
}

/// What was applied.
fn said(
    options: &Migrate,
    name: &str,
    statements: &[String],
    took: std::time::Duration,
    plans: &mut serde_json::Map<String, serde_json::Value>,
    retries: u32,
    notes: &[String],
) {
    if options.json {
        let json = serde_json::json!({
            "statements": statements,
            "duration_ms": took.as_millis() as u64,
            "retries": retries,
            "notes": notes,
        });
        plans.insert(name.to_owned(), json);
        return;
    }
    for statement in statements {
        say!("{statement};");
    }
    match statements.len() {
        0 => say!("-- store {name}: nothing to do"),
        n => say!("-- store {name}: {n} statements in {} ms", took.as_millis()),
    }
}

/// How many statements each server store is behind its DDL, by name; only those that are. Problems are sentences.
pub async fn pending(project: &Project) -> Vec<(String, Result<usize, String>)> {
    let mut behind = Vec::new();
    for (name, store) in project.stores.iter().filter(|(_, s)| !s.is_embedded()) {
        let found = match source(project, name) {
            Ok(source) if source.statements.is_empty() => continue,
            Ok(source) => match migrate::connect(store.url.expose()).await {
                Ok(client) => migrate::pending(&client, &source).await.map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            },
            Err(why) => Err(why),
        };
        if found != Ok(0) {
            behind.push((name.clone(), found));
        }
    }
    behind
}

/// What the project wants of one store.
fn source(project: &Project, store: &str) -> Result<Source, String> {
    let mut files = Vec::new();
    let all = project.ddl();
    for ddl in all.into_iter().filter(|ddl| *ddl.store == *store) {
        let shown = ddl
            .path
            .strip_prefix(&project.directory)
            .unwrap_or(&ddl.path)
            .display()
            .to_string();
        let text = std::fs::read_to_string(&ddl.path).map_err(|e| format!("{shown}: cannot be read: {e}"))?;
        files.push(schema::Source {
            file: shown.into(),
            text,
            store: store.into(),
            service: ddl.service.map(Into::into),
        });
    }
    let accounts = project
        .auth
        .store
        .clone()
        .or_else(|| project.default_store().map(str::to_owned));
    let auth = accounts
        .filter(|s| s == store && !project.ddl().is_empty())
        .map(Arc::from);
    let cut = schema::statements(&files, &schema::Options { auth });
    if !cut.problems.is_empty() {
        let lines: Vec<String> = cut
            .problems
            .iter()
            .map(|p| format!("{}:{}:{}: {}", p.span.file, p.span.line, p.span.column, p.message))
            .collect();
        return Err(lines.join("\n"));
    }
    Ok(Source {
        statements: cut.statements.into_iter().map(statement).collect(),
        seeds: seeds(&project.directory.join("data"))?,
    })
}

fn statement(written: schema::SourceStatement) -> Statement {
    Statement {
        kind: match written.kind {
            schema::StatementKind::Schema => StatementKind::Schema,
            schema::StatementKind::Extension => StatementKind::Extension,
            schema::StatementKind::Role => StatementKind::Role,
            schema::StatementKind::Function => StatementKind::Function,
            schema::StatementKind::Table => StatementKind::Table,
            schema::StatementKind::Index => StatementKind::Index,
            schema::StatementKind::Define => StatementKind::Define,
            schema::StatementKind::Once => StatementKind::Once,
            schema::StatementKind::Rows => StatementKind::Rows,
            schema::StatementKind::Setting => StatementKind::Setting,
            schema::StatementKind::Nothing => StatementKind::Nothing,
        },
        text: written.text,
        span: written.span,
        object: written.object,
        roles: written.roles,
        data: written.data,
    }
}

/// `data/*.csv`, each with its header.
fn seeds(dir: &Path) -> Result<Vec<SeedFile>, String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "csv"))
        .collect();
    files.sort();
    let seed = |path: std::path::PathBuf| {
        let unreadable = |e: csv::Error| format!("{}: {e}", path.display());
        let mut reader = csv::Reader::from_path(&path).map_err(unreadable)?;
        let header = reader.headers().map_err(unreadable)?;
        Ok(SeedFile {
            table: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            columns: header
                .iter()
                .map(|c| c.trim_start_matches('\u{feff}').to_owned())
                .collect(),
            path: path.clone(),
        })
    };
    files.into_iter().map(seed).collect()
}
