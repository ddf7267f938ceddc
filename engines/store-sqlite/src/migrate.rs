//! `schema.sql` → file: what takes an embedded database to its schema ([`plan`]), and doing it ([`apply`]). What touches no row is done
//! whenever the store is opened; this is for the rest, which makes tables anew or drops them. One transaction: killed at any point,
//! it leaves the old schema or the new one.

use crate::config::{Config, Seed};
use crate::open::{self, Found};
use crate::open_error::OpenError;
use crate::rebuild::Rebuild;
use crate::reconcile::{Change, Difference, compare};
use crate::{connection, context, description, duplicate, history, seed};
use mainstay_model::{Error, RelationId, Schema, Span, time};
use mainstay_sql::sqlite::quote_identifier;
use rusqlite::Connection;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One statement of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// The statement, without semicolon.
    pub sql: String,
    /// What it is about: `table public.orders`.
    pub object: String,
    /// Where schema.sql says so.
    pub place: Option<Span>,
    /// What is lost, if something is.
    pub loses_data: Option<String>,
    /// What else there is to know.
    pub note: Option<String>,
}

/// What takes a file to its schema.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which they run, in one transaction.
    pub steps: Vec<Step>,
    /// What stands in the way: nothing is applied while there is one.
    pub problems: Vec<String>,
    /// There is no file yet: the first start makes it.
    pub new: bool,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Every statement that ran, in order.
    pub statements: Vec<String>,
    /// How long it took.
    pub duration: Duration,
    /// There is no file yet: the first start makes it.
    pub new: bool,
}

/// Told of a statement before it runs.
pub type Hook = Box<dyn Fn(&str)>;

/// How a migration behaves.
#[derive(Default)]
pub struct Options {
    /// Whether steps that lose data are carried out.
    pub allow_data_loss: bool,
    /// Told of every statement before it runs, and now and then of rows that are copied.
    pub hook: Option<Hook>,
}

/// Why there is no plan, or why it could not be carried out.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What and why.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn of(error: &Error) -> Failure {
        Failure {
            message: seed::said(error),
            help: error.hint.clone(),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure {
            message: format!("{}: {}", error.path.display(), error.message),
            help: Some(error.hint).filter(|hint| !hint.is_empty()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Whether there is no file; a folder that may not be looked into is no answer.
fn is_absent(path: &Path) -> Result<bool, Failure> {
    match path.try_exists() {
        Ok(there) => Ok(!there),
        Err(error) => Err(Failure::new(format!("{}: {error}", path.display()))),
    }
}

/// The plan. Nothing in the file changes, and whoever serves it is not held up.
pub fn plan(config: &Config, schema: &Schema, seeds: &[Seed]) -> Result<Plan, Failure> {
    let path = &*config.path;
    if is_absent(path)? {
        return Ok(Plan {
            new: true,
            ..Plan::default()
        });
    }
    let failed = |error: rusqlite::Error| Failure::from(open::explain(path, &error));
    let conn = Rc::new(connection::open_reader(config).map_err(failed)?);
    let found = Found::look(&conn).map_err(failed)?;
    found.check(path)?;
    if found.is_new() {
        return Ok(Plan {
            new: true,
            ..Plan::default()
        });
    }
    let differences = compare(&conn, schema, &config.name, path)?;
    planned(&conn, schema, config, &differences, seeds)
}

/// Takes the file to its schema, with the lock of whoever would serve it, and loads the rows of the tables that this makes.
pub fn apply(config: &Config, schema: &Schema, seeds: &[Seed], options: &Options) -> Result<Applied, Failure> {
    let began = Instant::now();
    let path = &*config.path;
    if is_absent(path)? {
        return Ok(Applied {
            new: true,
            ..Applied::default()
        });
    }
    let _lock = open::lock(path).map_err(|error| Failure {
        help: Some("stop it, migrate, and start it again".to_owned()),
        ..Failure::from(error)
    })?;
    let failed = |error: rusqlite::Error| Failure::from(open::explain(path, &error));
    let conn = Rc::new(connection::open_writer(config).map_err(failed)?);
    let found = Found::look(&conn).map_err(failed)?;
    found.check(path)?;
    if found.is_new() {
        return Ok(Applied {
            new: true,
            ..Applied::default()
        });
    }
    connection::set_up_writer(&conn, config).map_err(failed)?;
    // Not possible inside a transaction: a table is dropped while others refer to it by name, and all of it is checked at the end.
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")
        .map_err(failed)?;
    let done = inside(&conn, schema, config, seeds, options, began);
    let tell = |what: &str| options.hook.iter().for_each(|hook| hook(what));
    let done = done.and_then(|statements| {
        tell("COMMIT");
        conn.execute_batch("COMMIT").map_err(failed)?;
        tell("-- committed");
        Ok(statements)
    });
    match done {
        Ok(statements) => {
            // What was copied lies in the log as well; the next start would do it otherwise.
            let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            Ok(Applied {
                statements,
                duration: began.elapsed(),
                new: false,
            })
        }
        Err(failure) => {
            let _ = conn.execute_batch("ROLLBACK");
            Err(failure)
        }
    }
}

fn inside(
    conn: &Rc<Connection>,
    schema: &Schema,
    config: &Config,
    seeds: &[Seed],
    options: &Options,
    began: Instant,
) -> Result<Vec<String>, Failure> {
    let path = &*config.path;
    let failed = |error: rusqlite::Error| Failure::from(open::explain(path, &error));
    let tell = |what: &str| options.hook.iter().for_each(|hook| hook(what));
    open::own_tables(conn).map_err(failed)?;
    let differences = compare(conn, schema, &config.name, path)?;
    let plan = planned(conn, schema, config, &differences, seeds)?;
    refuse(&plan, options)?;
    if differences.is_empty() {
        return Ok(Vec::new());
    }
    context::begin_write(time::now());
    context::set_sequences(open::sequences(conn, schema).map_err(failed)?);
    let mut made = Vec::new();
    for Difference { name, had, change } in &differences {
        match change {
            Change::InPlace { id, wanted, statements } => {
                made.extend(had.is_none().then_some(*id));
                for sql in statements {
                    tell(sql);
                    conn.execute_batch(sql).map_err(|error| {
                        Failure::new(match duplicate::found(conn, schema, *id, sql) {
                            Some(duplicate) => format!("table \"{name}\": {duplicate}; nothing was changed"),
                            None => format!("table \"{name}\": {error} (in: {sql})"),
                        })
                    })?;
                }
                description::store(conn, name, wanted).map_err(failed)?;
            }
            Change::Rebuild { id, wanted, .. } => {
                let had = had.as_ref().unwrap_or(wanted);
                rebuild(conn, schema, config, *id, had).run(&tell)?;
                description::store(conn, name, wanted).map_err(failed)?;
            }
            Change::Drop => {
                let sql = drop_table(name);
                tell(&sql);
                conn.execute_batch(&sql).map_err(failed)?;
                description::forget(conn, name).map_err(failed)?;
            }
        }
    }
    seed::save_sequences(conn).map_err(failed)?;
    seed::load(conn, schema, config, seeds, &made)?;
    tell("PRAGMA foreign_key_check");
    let dangling = seed::dangling(conn, schema);
    if !dangling.is_empty() {
        return Err(Failure::new(format!("{dangling}; nothing was changed")));
    }
    let statements: Vec<String> = plan.steps.into_iter().map(|step| step.sql).collect();
    history::record(conn, &statements, began.elapsed()).map_err(failed)?;
    Ok(statements)
}

fn refuse(plan: &Plan, options: &Options) -> Result<(), Failure> {
    if let Some(problem) = plan.problems.first() {
        let more = match plan.problems.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        return Err(Failure::new(format!("{problem}{more}")));
    }
    let losses: Vec<String> = plan
        .steps
        .iter()
        .filter_map(|step| Some(format!("{}: {}", step.sql, step.loses_data.as_ref()?)))
        .collect();
    if !losses.is_empty() && !options.allow_data_loss {
        return Err(Failure {
            message: format!(
                "data would be lost:\n  - {}\nnothing was changed",
                losses.join("\n  - ")
            ),
            help: Some("look at `mainstay migrate plan`; --allow-data-loss does it".to_owned()),
        });
    }
    Ok(())
}

fn planned(
    conn: &Rc<Connection>,
    schema: &Schema,
    config: &Config,
    differences: &[Difference],
    seeds: &[Seed],
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    for Difference { name, had, change } in differences {
        let step = |sql: String| Step {
            sql,
            object: format!("table {name}"),
            place: None,
            loses_data: None,
            note: None,
        };
        match change {
            Change::InPlace { id, statements, .. } => {
                let rows = if had.is_none() { rows_of(seeds, *id) } else { 0 };
                plan.steps.extend(statements.iter().enumerate().map(|(at, sql)| Step {
                    place: Some(schema.relation(*id).span.clone()),
                    note: (at == 0 && rows > 0).then(|| format!("{rows} rows of the project are loaded into it")),
                    ..step(sql.clone())
                }));
            }
            Change::Rebuild {
                id,
                wanted,
                differences,
            } => {
                let rebuild = rebuild(conn, schema, config, *id, had.as_ref().unwrap_or(wanted));
                let failed = |error: rusqlite::Error| Failure::from(open::explain(&config.path, &error));
                plan.problems.extend(rebuild.problems().map_err(failed)?);
                let losses = rebuild.losses();
                let statements = rebuild.statements().map_err(|e| Failure::of(&e))?;
                for (at, sql) in statements.into_iter().enumerate() {
                    let loses = sql.starts_with("DROP TABLE") && !losses.is_empty();
                    plan.steps.push(Step {
                        place: Some(schema.relation(*id).span.clone()),
                        loses_data: loses.then(|| losses.join("; ")),
                        note: (at == 0).then(|| differences.join("; ")),
                        ..step(sql)
                    });
                }
            }
            Change::Drop => plan.steps.push(Step {
                loses_data: Some("every row".to_owned()),
                note: Some("schema.sql no longer has it".to_owned()),
                ..step(drop_table(name))
            }),
        }
    }
    Ok(plan)
}

fn rows_of(seeds: &[Seed], id: RelationId) -> usize {
    let own = seeds.iter().filter(|seed| seed.relation == id);
    own.map(|seed| seed.rows.len()).sum()
}

fn rebuild<'a>(
    conn: &'a Rc<Connection>,
    schema: &'a Schema,
    config: &'a Config,
    id: RelationId,
    had: &'a description::Description,
) -> Rebuild<'a> {
    Rebuild {
        conn,
        schema,
        store: &config.name,
        id,
        had,
    }
}

fn drop_table(name: &str) -> String {
    format!("DROP TABLE {}", quote_identifier(name))
}

/// The plan as SQL, with comments that say why.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.steps.is_empty() {
            writeln!(f, "BEGIN;")?;
        }
        for step in &self.steps {
            match &step.place {
                Some(place) => writeln!(f, "-- {}:{}:{}  {}", place.file, place.line, place.column, step.object)?,
                None => writeln!(f, "-- {}", step.object)?,
            }
            for (word, text) in [("LOSES DATA", &step.loses_data), ("NOTE", &step.note)] {
                if let Some(text) = text {
                    writeln!(f, "-- {word}: {text}")?;
                }
            }
            writeln!(f, "{};", step.sql)?;
        }
        if !self.steps.is_empty() {
            writeln!(f, "COMMIT;")?;
        }
        for problem in &self.problems {
            writeln!(f, "-- PROBLEM: {problem}")?;
        }
        Ok(())
    }
}
