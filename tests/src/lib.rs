//! The harness of the end-to-end tests: throw-away projects, the real binary on free ports, real clients. Nothing sleeps for a
//! fixed time: whoever waits, waits for something.

mod adopted;
mod client;
mod connection;
mod northwind;
mod npm;
mod package;
mod port;
mod postgres;
mod process;
mod project;
mod receiver;
mod sign;
mod skip;
mod sqlite;

pub use adopted::AdoptedDatabase;
pub use client::{Answer, Client};
pub use connection::Connection;
pub use northwind::northwind;
pub use npm::npm_install;
pub use package::debian_package;
pub use port::free_port;
pub use postgres::Postgres;
pub use process::{Command, Process, binary, until};
pub use project::{Engine, Project, SECRET, engine};
pub use receiver::{Delivery, Receiver};
pub use sign::{assert_signed, token};
pub use skip::skip;
pub use sqlite::sqlite;
