//! The harness of the end-to-end tests: throw-away projects, the real binary on free ports, real clients. Nothing sleeps for a
//! fixed time: whoever waits, waits for something.

mod client;
mod process;
mod project;

pub use client::{Answer, Client};
pub use process::{Command, Process, binary, until};
pub use project::Project;
