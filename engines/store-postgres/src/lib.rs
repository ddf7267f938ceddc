//! The store over PostgreSQL and what speaks its wire: privileges, policies, views and functions are the database's own; a request is
//! one pipelined round trip on a connection of the thread that asks.
//!
//! `docs/adr/0013-postgresql-store.md` says why it is so.

mod accounts;
mod address;
mod asks;
mod backup;
mod config;
mod copy;
mod explain;
mod failure;
mod follow;
mod install;
pub mod introspect;
mod kept;
mod lanes;
mod listeners;
pub mod migrate;
mod once;
mod open_error;
mod outbox;
mod pace;
mod plan;
mod pool;
mod read;
mod server;
mod settings;
mod step;
mod store;
mod stream;
mod value;
mod wire;
mod write;

pub use accounts::{AccountTables, Standing};
pub use backup::PostgresRecovery;
pub use config::{Captured, Config};
pub use follow::Follower;
pub use open_error::{OpenError, OpenErrorKind};
pub use server::Facts;
pub use store::PostgresStore;
pub use tokio_postgres::Client;
