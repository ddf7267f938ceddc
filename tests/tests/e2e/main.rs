//! One binary of all end-to-end tests; each file a subject.

mod cache;
mod errors;
mod northwind;
mod shop;
