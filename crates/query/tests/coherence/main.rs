//! Whether the cache keeps its promise, against real SQLite: the predicate index, whole queries after each write, and who sees what.
//!
//! Failpoints are the whole process's, so the tests of this program take turns.

mod evolution;
mod isolation;
mod ordered;
mod predicates;
mod queries;
mod racing;
mod shop;
mod world;

use std::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}
