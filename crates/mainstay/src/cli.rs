//! Every verb of the command line.

use crate::output::complain;
use crate::{admin, backup, check, explain, import, migrate, new, output, restore, secrets, serve};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The scalable backend, from edge to data, in one binary.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a project that serves
    New {
        /// The folder to make; it must not hold a project already
        dir: PathBuf,
    },
    /// Serve a project
    Serve(Serve),
    /// Print every problem of a project, with file, line, column and what to do
    Check {
        /// The project
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Override a key of mainstay.toml: --set gateway.listen=127.0.0.1:9000
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Print a token signed with the project's development key
    Token {
        /// The project
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// The role it names: anon, authenticated, service_role or one of the project's own
        #[arg(long)]
        role: String,
        /// The subject: a user's id
        #[arg(long, value_name = "ID")]
        sub: Option<String>,
        /// How long it is good for: 30s, 15m, 1h, 30d
        #[arg(long, default_value = "1h")]
        ttl: String,
    },
    /// Take a database to the project's DDL: see how, or do it
    Migrate {
        #[command(subcommand)]
        verb: MigrateVerb,
    },
    /// Load a file's rows into a table, all or none: CSV or NDJSON
    Import(Import),
    /// Take a backup of every store, to a folder or a bucket
    Backup(Backup),
    /// Put a backup back into stores that are empty; or try whether it could be (--drill)
    Restore(Restore),
    /// What would come of a request: its route, what every phase would do, the SQL and its plan. Without a request: what reads cost,
    /// their plans, and the indexes that are missing. Of a running instance
    ///
    /// An instance that runs is asked, through its operators' listener: it alone has the routes, the schema of a database that it
    /// follows, and the cache. Nothing is opened twice, and whoever asks needs the operators' token.
    Explain(Explain),
    /// Events of a running instance: backlog, dead letters, replay
    Events {
        #[command(subcommand)]
        verb: Events,
    },
}

/// `mainstay serve`
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The project
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// The gateway's address, over the file's
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// The operators' address, over the file's
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Only these roles: gateway, api, worker
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = ["gateway", "api", "worker"])]
    pub only: Vec<String>,
    /// Only these services of the project; may be repeated
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Override a key of mainstay.toml: --set cache.memory=1GiB
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `mainstay migrate`
#[derive(Debug, Subcommand)]
pub enum MigrateVerb {
    /// Print the statements that take each database to its DDL, with their places and what they cost. Exit status: 0 nothing to do, 2
    /// something to do, 1 a problem
    Plan(Migrate),
    /// Run them: old schema or new, nothing between
    Apply(Migrate),
}

/// What both take.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// The project
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Only this store
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// Print JSON, by store
    #[arg(long)]
    pub json: bool,
    /// Also run what loses data: dropped tables and columns, narrower types
    #[arg(long)]
    pub allow_data_loss: bool,
    /// Override a key of mainstay.toml: --set store.main.url=postgres://localhost/shop
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `mainstay import`
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The table, as in mainstay.toml: orders, or schema.orders
    #[arg(required_unless_present = "data", conflicts_with = "data")]
    pub table: Option<String>,
    /// The file, or - for standard input. A CSV file begins with the names of its columns; an empty field is NULL, "" is not
    #[arg(required_unless_present = "data")]
    pub file: Option<String>,
    /// The project
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// What the file is, where its name does not say so
    #[arg(long, value_parser = ["csv", "ndjson"])]
    pub format: Option<String>,
    /// The columns of a CSV file that has no line with their names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Option<Vec<String>>,
    /// What stands between the fields of a CSV file
    #[arg(long, default_value = ",")]
    pub delimiter: String,
    /// Instead: load the rows of schema.sql and data/*.csv into tables that are empty
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".")]
    pub data: Option<PathBuf>,
    /// Override a key of mainstay.toml: --set store.main.url=postgres://localhost/shop
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `mainstay backup`
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// The project
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A folder or s3://bucket/prefix, over the file's
    #[arg(long, value_name = "PLACE")]
    pub to: Option<String>,
    /// Instead: print what there is, the newest first
    #[arg(long)]
    pub list: bool,
    /// The operators' address of a running instance, over the file's
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Override a key of mainstay.toml: --set backup.to=backups
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `mainstay restore`
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The project
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// An archive's file, its name, or a place; without it the newest of where backups are kept
    #[arg(long, value_name = "ARCHIVE")]
    pub from: Option<String>,
    /// Restore elsewhere, compare, print what would be lost and how long it took, and throw it away
    #[arg(long)]
    pub drill: bool,
    /// Restore over what is there
    #[arg(long, conflicts_with = "drill")]
    pub force: bool,
    /// Override a key of mainstay.toml: --set store.main.url=postgres://localhost/shop
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `mainstay explain`
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The project, for its admin address and token, and the request: "GET /rest/v1/orders?id=eq.1". Nothing of it is done
    #[arg(value_name = "DIR|REQUEST", num_args = 0..=2)]
    pub what: Vec<String>,
    /// Ask as this role
    #[arg(long)]
    pub role: Option<String>,
    /// Ask as this subject: a user's id
    #[arg(long, value_name = "ID", requires = "role")]
    pub sub: Option<String>,
    /// A header of the request, such as the token that its caller would send: -H "Authorization: Bearer …"
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The body of the request
    #[arg(short = 'd', long = "data", value_name = "TEXT")]
    pub data: Option<String>,
    /// Measure: the statement is run in a transaction that writes nothing or is undone (PostgreSQL). What a sequence has given, or a
    /// function has done elsewhere, stays
    #[arg(long)]
    pub analyze: bool,
    /// The operators' address, over the file's
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Override a key of mainstay.toml, as it was for the instance
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `mainstay events`
#[derive(Debug, Subcommand)]
pub enum Events {
    /// What waits, per subscription
    Backlog(Instance),
    /// Dead letters: what was parked, and why
    Parked {
        /// The instance
        #[command(flatten)]
        instance: Instance,
        /// Only those of this subscription
        #[arg(long, value_name = "NAME")]
        subscription: Option<String>,
        /// Only those after the one with this id, as the page before says
        #[arg(long, value_name = "ID")]
        after: Option<u64>,
        /// At most so many at once
        #[arg(long, value_name = "N", default_value_t = admin::PAGE_MAX as u64, value_parser = clap::value_parser!(u64).range(1..=admin::PAGE_MAX as u64))]
        limit: u64,
    },
    /// Deliver dead letters again: one by its id, those of a subscription, or all
    Replay {
        /// The instance
        #[command(flatten)]
        instance: Instance,
        /// Which
        #[command(flatten)]
        which: Which,
        /// Those of every subscription
        #[arg(long, conflicts_with_all = ["subscription", "id"])]
        all: bool,
    },
    /// Throw dead letters away, and whatever waits for a subscription that is no more
    Discard {
        /// The instance
        #[command(flatten)]
        instance: Instance,
        /// Which
        #[command(flatten)]
        which: Which,
    },
}

/// Some of what lies on the bus.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Of this subscription
    #[arg(long, value_name = "NAME")]
    pub subscription: Option<String>,
    /// The one with this id
    #[arg(long)]
    pub id: Option<u64>,
}

impl Which {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.subscription.is_none() && self.id.is_none()
    }
}

/// A running instance.
#[derive(Debug, clap::Args)]
pub struct Instance {
    /// The project, for its admin address and token
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// The operators' address, over the file's
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Override a key of mainstay.toml, as it was for the instance
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What the command line asks; where it asks for help or is off, that is told, and this is the exit status.
pub fn parsed() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|told| match told.print() {
        Err(lost) if !told.use_stderr() && lost.kind() != std::io::ErrorKind::BrokenPipe => {
            complain!("standard output cannot be written: {lost}");
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2)),
    })
}

/// Runs a verb. Exit status: 0 done, 1 the project or the work has a problem or what was said could not be written, 2 the command line is
/// off (clap's own), or `migrate plan` found something to do.
pub fn run(cli: Cli) -> ExitCode {
    let code = done(cli.verb);
    match output::lost() {
        Some(why) => {
            complain!("{why}");
            ExitCode::FAILURE
        }
        None => code,
    }
}

fn done(verb: Verb) -> ExitCode {
    let result = match verb {
        Verb::Migrate { verb } => return migrate::run(verb),
        Verb::New { dir } => new::run(&dir),
        Verb::Serve(options) => serve::run(options),
        Verb::Check { dir, set } => check::run(&dir, &set),
        Verb::Token { dir, role, sub, ttl } => secrets::print_token(&dir, role, sub, &ttl),
        Verb::Import(options) => import::run(options),
        Verb::Backup(options) => backup::run(options),
        Verb::Restore(options) => restore::run(options),
        Verb::Explain(options) => explain::run(&options),
        Verb::Events { verb } => admin::events(&verb),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain!("{failure}");
            ExitCode::FAILURE
        }
    }
}
