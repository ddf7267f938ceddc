//! The one composition root: what a project says becomes a running process here, and only here do all rooms meet.

mod admin;
mod api;
mod check;
pub mod cli;
mod engines;
mod instance;
mod new;
mod project;
mod routes;
mod secrets;
mod seeds;
mod serve;
mod subscriptions;
