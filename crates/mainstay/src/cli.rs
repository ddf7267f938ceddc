//! Every verb of the command line.

use crate::{admin, check, new, secrets, serve};
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

/// `mainstay events`
#[derive(Debug, Subcommand)]
pub enum Events {
    /// What waits, per subscription
    Backlog(Instance),
    /// Dead letters: what was parked, and why
    Parked(Instance),
    /// Deliver parked messages again: one by its id, or all of a subscription
    Replay {
        /// The instance
        #[command(flatten)]
        instance: Instance,
        /// The subscription
        #[arg(long)]
        subscription: Option<String>,
        /// One message
        #[arg(long)]
        id: Option<u64>,
    },
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
}

/// Runs a verb. Exit status: 0 done, 1 the project or the work has a problem, 2 the command line is off (clap's own).
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.verb {
        Verb::New { dir } => new::run(&dir),
        Verb::Serve(options) => serve::run(options),
        Verb::Check { dir, set } => check::run(&dir, &set),
        Verb::Token { dir, role, sub, ttl } => secrets::print_token(&dir, role, sub, &ttl),
        Verb::Events { verb } => admin::events(&verb),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
