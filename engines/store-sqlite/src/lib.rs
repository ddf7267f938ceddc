//! The embedded store: SQLite behind the store contract. Reads run inline on the thread that asks; writes share one thread and, when
//! several wait, one COMMIT; every changed row is seen by the pre-update hook, for the outbox and for the cache.
//!
//! `docs/adr/0007-sqlite-format.md` says how Postgres' types lie in the file.

mod backup;
mod beforehand;
mod bind;
mod budget;
mod call;
mod capture;
mod config;
mod connection;
mod constraint;
pub mod context;
mod counter;
mod description;
mod duplicate;
mod explain;
mod failure;
mod foreign_key;
pub mod functions;
mod history;
mod insert;
mod kept;
mod level;
mod load;
mod member;
pub mod migrate;
mod modify;
mod open;
mod open_error;
mod outbox;
mod parts;
mod pool;
mod preupdate;
mod proposed;
mod reader;
mod rebuild;
mod reconcile;
mod row_argument;
mod seed;
mod shared;
mod statement;
mod step;
mod store;
mod trial;
mod writer;
mod zone;

pub use backup::SqliteRecovery;
pub use config::{Captured, Config, Seed};
pub use open_error::{OpenError, OpenErrorKind};
pub use store::SqliteStore;
pub use trial::Trial;
