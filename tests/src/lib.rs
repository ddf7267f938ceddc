//! The harness of the end-to-end tests: throw-away projects, the real binary on free ports, real clients. Nothing sleeps for a
//! fixed time: whoever waits, waits for something.

mod client;
mod postgres;
mod process;
mod project;
mod skip;

pub use client::{Answer, Client};
pub use postgres::Postgres;
pub use process::{Command, Process, binary, until};
pub use project::Project;
pub use skip::skip;
