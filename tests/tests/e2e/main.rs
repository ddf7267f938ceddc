//! One binary of all end-to-end tests; each file a subject.

mod northwind;
mod shop;
