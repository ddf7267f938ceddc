//! `schema.sql` → database: what it takes (a [`Plan`]), and doing it.
//!
//! The database is the only judge of what its DDL means. The files are run inside a transaction that is rolled back, on empty
//! schemas of the same names (`wanted`); what came of it and what is really there are read with the same catalogue queries
//! (`catalog`, `shape`), compared object by object (`diff`), and the difference is carried out in one transaction (`apply`). What
//! was applied is kept in the schema `mainstay` (`records`): so what was made here may be dropped here, what somebody changed by
//! hand is noticed, and what was never ours is left alone.

mod apply;
mod catalog;
mod connect;
mod diff;
mod plan;
mod records;
mod shape;
mod source;
mod text;
mod wanted;

pub use apply::{Applied, Hook, apply};
pub use connect::connect;
pub use plan::{Phase, Plan, Step};
pub use shape::Kind;
pub use source::{SeedFile, Source, Statement, StatementKind};
pub use text::Failure;

use diff::Diff;
use records::Records;
use shape::Shape;
use std::time::Duration;
use tokio_postgres::Client;
use wanted::Wanted;

/// The advisory lock of migrations: two at once wait for one another.
const LOCK: i64 = 0x6d61_696e_7374_6179;

/// How a migration behaves.
#[derive(Clone)]
pub struct Options {
    /// Whether steps that lose data are carried out.
    pub allow_data_loss: bool,
    /// Tables above this size are indexed and checked while others use them.
    pub big_table_bytes: i64,
    /// How long a statement waits for a lock before it gives way and everything is tried again.
    pub lock_timeout: Duration,
    /// How often it is tried.
    pub attempts: u32,
    /// How long another migration is waited for.
    pub wait: Duration,
    /// Told of every statement before it runs.
    pub hook: Option<Hook>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            allow_data_loss: false,
            big_table_bytes: 64 << 20,
            lock_timeout: Duration::from_secs(2),
            attempts: 10,
            wait: Duration::from_secs(600),
            hook: None,
        }
    }
}

/// What a plan was made from, and what recording it needs.
pub(crate) struct Comparison {
    pub(crate) wanted: Wanted,
    pub(crate) actual: Shape,
    pub(crate) records: Records,
    pub(crate) plan: Plan,
}

/// The plan. Nothing in the database changes.
pub async fn plan(client: &Client, source: &Source, options: &Options) -> Result<Plan, Failure> {
    compare(client, source, options).await.map(|c| c.plan)
}

/// How many statements the database is behind its schema; 0 at once when nothing was edited since the last migration. For a start to say
/// so.
pub async fn pending(client: &Client, source: &Source) -> Result<usize, Failure> {
    if records::last_digest(client).await? == Some(source.digest()) {
        return Ok(0);
    }
    let plan = plan(client, source, &Options::default()).await?;
    Ok(plan.steps.len() + plan.problems.len())
}

pub(crate) async fn compare(client: &Client, source: &Source, options: &Options) -> Result<Comparison, Failure> {
    let mut attempt = 1;
    loop {
        client.batch_execute("BEGIN").await?;
        let compared = compare_inside(client, source, options).await;
        let ended = client.batch_execute("ROLLBACK").await;
        match compared {
            // Roles are made for a moment: whoever migrates another database of the server may stand in the way.
            Err(failure) if failure.is_lock() && attempt < options.attempts => {
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            compared => {
                let compared = compared?;
                ended?;
                return Ok(compared);
            }
        }
    }
}

async fn compare_inside(client: &Client, source: &Source, options: &Options) -> Result<Comparison, Failure> {
    // Whoever applies holds it; whoever compares makes no lasting change, but both rename schemas meanwhile.
    client
        .batch_execute(&format!(
            "SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = 0",
            options.wait.as_millis(),
            options.lock_timeout.as_millis()
        ))
        .await
        .map_err(|e| {
            let failure = Failure::from(e);
            match failure.is_lock() {
                true => Failure::new("another migration is running").help("try again when it has ended"),
                false => failure,
            }
        })?;
    let schemas = wanted::schemas(source);
    let records = records::read(client).await?;
    let actual = catalog::read(client, &schemas).await?;
    let wanted = wanted::build(client, source, &install_sql(), &actual).await?;
    let plan = planned(source, &wanted, &actual, &records, options);
    Ok(Comparison {
        wanted,
        actual,
        records,
        plan,
    })
}

pub(crate) fn planned(source: &Source, wanted: &Wanted, actual: &Shape, records: &Records, options: &Options) -> Plan {
    Diff::new(source, wanted, actual, records, options.big_table_bytes).plan()
}

/// What Mainstay itself needs of a database: made before anything that may call it.
pub(crate) fn install_sql() -> String {
    crate::install::sql()
}
