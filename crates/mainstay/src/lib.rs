//! The one composition root: what a project says becomes a running process here, and only here do all rooms meet.

// Writing to a pipe that nobody reads any more must not be a panic: `output` is where it is written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod accounts;
mod admin;
mod adopted;
mod api;
mod arising;
mod backup;
mod check;
pub mod cli;
mod current;
mod engines;
mod explain;
mod explain_request;

mod import;
mod instance;
mod jobs;
pub mod kernel;
mod metrics;
mod migrate;
mod new;
mod output;
mod project;
mod restore;
mod routes;
mod secrets;
mod seeds;
mod serve;
mod slow;
mod subscriptions;
mod translation;
mod unserved;
