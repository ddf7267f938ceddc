//! One binary of all end-to-end tests; each file a subject.

mod adopted;
mod adopted_accounts;
mod backup;
mod cache;
mod cli;
mod dialect;
mod durability;
mod errors;
mod events;
mod explained;
mod faults;
mod import;
mod isolation;
mod media;
mod migrate;
mod migrate_sqlite;
mod northwind;
mod openapi;
mod postgrest_js;
mod public_schemas;
mod rls;
mod rolling;
mod scaled;
mod services;
mod shop;
mod streaming;
