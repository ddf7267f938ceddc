//! Northwind, the sample database that everybody knows. Its licence is its own, so it is beside the project and not in it.

use crate::skip;
use std::path::PathBuf;

/// The dump that `NORTHWIND_SQL` names, else the one beside the project; none where there is none, which is said.
#[track_caller]
pub fn northwind(test: &str) -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/northwind.sql").into();
    let file = PathBuf::from(std::env::var_os("NORTHWIND_SQL").unwrap_or_else(beside));
    if file.exists() {
        return Some(file);
    }
    skip(
        test,
        &format!("{} is not there; NORTHWIND_SQL may name another", file.display()),
    );
    None
}
