//! Carries a plan out: one transaction for all that Postgres can undo, and around it what it cannot hold, each step of which may be
//! interrupted and is found again by the next plan.

use super::plan::{Phase, Plan, Rows, Step};
use super::records::{self, Records};
use super::source::Source;
use super::text::Failure;
use super::wanted::SEARCH_PATH;
use super::{Comparison, LOCK, Options, catalog, compare, planned};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio_postgres::Client;

/// Told of a statement before it runs.
pub type Hook = Arc<dyn Fn(&str) + Send + Sync>;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Every statement that ran, in order.
    pub statements: Vec<String>,
    /// How long it took.
    pub duration: Duration,
    /// How often everything was tried again because a lock was not to be had.
    pub retries: u32,
    /// What is left alone.
    pub notes: Vec<String>,
}

/// Bytes of a file of rows that are sent at once.
const CHUNK_BYTES: usize = 1 << 16;

/// Takes the database to its schema. Killed at any point, it leaves the old schema or the new one; at most an index or the proof of
/// a constraint is missing, and the next call makes up for it. Whoever comes second waits, and finds nothing to do.
pub async fn apply(client: &Client, source: &Source, options: &Options) -> Result<Applied, Failure> {
    let began = Instant::now();
    lock(client, options).await?;
    let applied = locked(client, source, options, began).await;
    // On failure the connection may be gone, and the lock with it.
    let _ = client
        .batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})"))
        .await;
    applied
}

async fn lock(client: &Client, options: &Options) -> Result<(), Failure> {
    let wait = options.wait.as_millis();
    client
        .batch_execute(&format!(
            "SET lock_timeout = {wait}; SET statement_timeout = 0; SET client_min_messages = warning; SELECT pg_advisory_lock({LOCK})"
        ))
        .await
        .map_err(|e| {
            let failure = Failure::from(e);
            match failure.is_lock() {
                true => Failure::new("another migration is running").help("try again when it has ended"),
                false => failure,
            }
        })
}

async fn locked(client: &Client, source: &Source, options: &Options, began: Instant) -> Result<Applied, Failure> {
    let mut applied = Applied::default();
    loop {
        let compared = compare(client, source, options).await?;
        refuse(&compared.plan, options)?;
        applied.notes.clone_from(&compared.plan.notes);
        match attempt(client, source, options, &compared, began, &mut applied).await {
            Ok(()) => break,
            Err(failure) if failure.is_lock() && applied.retries + 1 < options.attempts => {
                applied.retries += 1;
                applied.statements.clear();
                let wait = Duration::from_millis(100 << applied.retries.min(6));
                tokio::time::sleep(wait).await;
            }
            Err(failure) if failure.is_lock() => {
                return Err(failure.help(format!(
                    "somebody held a lock through {} attempts; nothing was changed: try again when the database is quieter",
                    options.attempts
                )));
            }
            Err(failure) => return Err(failure),
        }
    }
    applied.duration = began.elapsed();
    Ok(applied)
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
        .losses()
        .map(|s| format!("{}: {}", s.sql, s.loses_data.clone().unwrap_or_default()))
        .collect();
    if !losses.is_empty() && !options.allow_data_loss {
        return Err(Failure::new(format!(
            "data would be lost:\n  - {}\nnothing was changed",
            losses.join("\n  - ")
        ))
        .help("look at `mainstay migrate plan`; --allow-data-loss does it"));
    }
    Ok(())
}

async fn attempt(
    client: &Client,
    source: &Source,
    options: &Options,
    compared: &Comparison,
    began: Instant,
    applied: &mut Applied,
) -> Result<(), Failure> {
    let digest = source.digest();
    let plan = &compared.plan;
    let runner = Runner { client, options };
    for step in plan.of(Phase::Before) {
        runner.run(step, "SET").await?;
        applied.statements.push(step.sql.clone());
    }
    client.batch_execute("BEGIN").await?;
    let history = match transaction(source, compared, &runner, &digest, began, applied).await {
        Ok(history) => history,
        Err(failure) => {
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(failure);
        }
    };
    runner.tell("COMMIT");
    client.batch_execute("COMMIT").await?;
    if plan.of(Phase::After).next().is_none() {
        return Ok(());
    }
    for step in plan.of(Phase::After) {
        runner.patiently(step).await?;
        applied.statements.push(step.sql.clone());
    }
    client.batch_execute("BEGIN").await?;
    let now = catalog::read(client, &compared.wanted.schemas).await?;
    let had = records::read(client).await?;
    let left = records::after(&compared.wanted, source, &had, &compared.actual, &now);
    records::write(client, &had, &left).await?;
    if let Some(history) = history {
        records::finish(client, &history, began).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// Everything between BEGIN and COMMIT; the entry of the history.
async fn transaction(
    source: &Source,
    compared: &Comparison,
    runner: &Runner<'_>,
    digest: &str,
    began: Instant,
    applied: &mut Applied,
) -> Result<Option<String>, Failure> {
    let (client, options, plan) = (runner.client, runner.options, &compared.plan);
    client
        .batch_execute(&format!(
            "SET LOCAL lock_timeout = {}; SET LOCAL check_function_bodies = off; SET LOCAL search_path = {SEARCH_PATH}",
            options.lock_timeout.as_millis()
        ))
        .await?;
    let public = super::wanted::column(client, "SELECT 1 WHERE to_regnamespace('public') IS NULL").await?;
    if !public.is_empty() {
        client.batch_execute("CREATE SCHEMA public").await?;
    }
    client.batch_execute(&super::install_sql()).await?;
    records::prepare(client).await?;
    let schemas = &compared.wanted.schemas;
    for step in plan.of(Phase::Main) {
        runner.run(step, "SET LOCAL").await?;
        applied.statements.push(step.sql.clone());
    }
    // What the server's own defaults added (privileges, above all) is put right before anybody sees it.
    let mut now = catalog::read(client, schemas).await?;
    let mut left = records::after(&compared.wanted, source, &compared.records, &compared.actual, &now);
    let rest = planned(source, &compared.wanted, &now, &left, options);
    let rest: Vec<&Step> = rest
        .steps
        .iter()
        .filter(|s| s.phase == Phase::Main && s.loses_data.is_none() && s.rows.is_none())
        .collect();
    if !rest.is_empty() {
        for step in rest {
            runner.run(step, "SET LOCAL").await?;
            applied.statements.push(step.sql.clone());
        }
        now = catalog::read(client, schemas).await?;
        left = records::after(&compared.wanted, source, &compared.records, &compared.actual, &now);
    }
    runner.tell("-- records");
    write(client, &compared.records, &left, plan, digest, began).await
}

async fn write(
    client: &Client,
    had: &Records,
    left: &Records,
    plan: &Plan,
    digest: &str,
    began: Instant,
) -> Result<Option<String>, Failure> {
    records::write(client, had, left).await?;
    if plan.steps.is_empty() && records::last_digest(client).await?.as_deref() == Some(digest) {
        return Ok(None);
    }
    let statements: Vec<String> = plan.steps.iter().map(|s| s.sql.clone()).collect();
    let history = records::begin(client, digest, &statements).await?;
    if plan.of(Phase::After).next().is_none() {
        records::finish(client, &history, began).await?;
    }
    Ok(Some(history))
}

struct Runner<'r> {
    client: &'r Client,
    options: &'r Options,
}

impl Runner<'_> {
    fn tell(&self, statement: &str) {
        if let Some(hook) = &self.options.hook {
            hook(statement);
        }
    }

    async fn run(&self, step: &Step, set: &str) -> Result<(), Failure> {
        self.tell(&step.sql);
        let path = match step.search_path.as_deref() {
            None => SEARCH_PATH,
            Some("") => "''",
            Some(path) => path,
        };
        let refused = |e: tokio_postgres::Error| {
            let mut failure = Failure::from(e).at(step.place.clone());
            failure.message = format!("{} (in: {})", failure.message, step.sql);
            failure
        };
        let path = format!("{set} search_path = {path}");
        self.client.batch_execute(&path).await.map_err(refused)?;
        match &step.rows {
            Some(rows) => self.copy(step, rows).await.map_err(|e| e.at(step.place.clone())),
            None => self.client.batch_execute(&step.sql).await.map_err(refused),
        }
    }

    /// Outside of the transaction: a lock that is not to be had is waited for in small portions.
    async fn patiently(&self, step: &Step) -> Result<(), Failure> {
        // What building it concurrently left behind when it failed.
        let undo = step.sql.contains(" CONCURRENTLY ").then(|| {
            let name = step.object.strip_prefix("index ").unwrap_or_default();
            format!("DROP INDEX IF EXISTS {name}")
        });
        for attempt in 0.. {
            let timeout = self.options.lock_timeout.as_millis();
            self.client
                .batch_execute(&format!("SET lock_timeout = {timeout}"))
                .await?;
            match self.run(step, "SET").await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is_lock() && attempt + 1 < self.options.attempts => {
                    if let Some(undo) = &undo {
                        self.client.batch_execute(undo).await?;
                    }
                    tokio::time::sleep(Duration::from_millis(100 << attempt.min(6))).await;
                }
                Err(failure) => {
                    if let Some(undo) = &undo {
                        let _ = self.client.batch_execute(undo).await;
                    }
                    return Err(failure.help("the rest of the migration is in place; apply again to finish it"));
                }
            }
        }
        Ok(())
    }

    async fn copy(&self, step: &Step, rows: &Rows) -> Result<(), Failure> {
        let sink = self.client.copy_in::<_, bytes::Bytes>(step.sql.as_str()).await?;
        let mut sink = pin!(sink);
        match rows {
            Rows::Text(text) => {
                for chunk in text.as_bytes().chunks(CHUNK_BYTES) {
                    send(&mut sink, chunk).await?;
                }
            }
            Rows::File(path) => {
                let unreadable = |e: std::io::Error| Failure::new(format!("{}: {e}", path.display()));
                let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
                let mut chunk = vec![0; CHUNK_BYTES];
                loop {
                    let n = file.read(&mut chunk).await.map_err(unreadable)?;
                    if n == 0 {
                        break;
                    }
                    send(&mut sink, &chunk[..n]).await?;
                }
            }
        }
        let finished = sink.as_mut().finish().await;
        finished.map(drop).map_err(|e| {
            let mut failure = Failure::from(e);
            if let Rows::File(path) = rows {
                failure.message = format!("{}: {}", path.display(), failure.message);
            }
            failure
        })
    }
}

async fn send(
    sink: &mut std::pin::Pin<&mut tokio_postgres::CopyInSink<bytes::Bytes>>,
    chunk: &[u8],
) -> Result<(), tokio_postgres::Error> {
    use futures_sink::Sink;
    std::future::poll_fn(|cx| sink.as_mut().poll_ready(cx)).await?;
    sink.as_mut().start_send(bytes::Bytes::copy_from_slice(chunk))?;
    std::future::poll_fn(|cx| sink.as_mut().poll_flush(cx)).await
}
