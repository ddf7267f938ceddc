//! A store's way into a backup and out of it again. It needs no open [`crate::Store`]: a backup runs beside the process that
//! serves, and a restore before there is one.

use crate::BoxFuture;
use mainstay_model::Result;
use std::path::Path;

/// What backs a store up and brings it back.
pub trait Recovery: Send + Sync {
    /// The store's name in the project.
    fn name(&self) -> &str;

    /// The kind of engine: what one kind wrote no other can read.
    fn engine(&self) -> &'static str;

    /// Writes everything that was committed when this was called, and nothing of what is committed later, into a file that does not
    /// exist yet; writers are not held up.
    fn snapshot<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, Result<Snapshot>>;

    /// What the store holds now. An absent store holds nothing.
    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableDigest>>>;

    /// Why something would be lost if a snapshot were restored over what is there; `None` when nothing would.
    fn occupied(&self) -> BoxFuture<'_, Result<Option<String>>>;

    /// Makes the store what a snapshot's file holds: all of it or, when this fails, as it was. `replace`: what is there goes.
    fn restore<'a>(&'a self, file: &'a Path, snapshot: &'a Snapshot, replace: bool) -> BoxFuture<'a, Result<()>>;

    /// An empty store of the same kind elsewhere, for a drill; `folder` is its to use. It goes with [`Recovery::discard`].
    fn scratch<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Box<dyn Recovery>>>;

    /// Removes a scratch store.
    fn discard(&self) -> BoxFuture<'_, Result<()>>;
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The engine with its version, for people: `SQLite 3.50.4`.
    pub version: String,
    /// Where in the store's history it stands, for people and for comparing: a position, an LSN.
    pub position: String,
    /// Its tables, the product's own included.
    pub tables: Vec<TableDigest>,
    /// What the engine needs besides to restore, in its own words.
    pub notes: Vec<String>,
}

/// A table's content in a few words: two tables with the same one hold the same rows, in whatever order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableDigest {
    /// The table, with its schema where that is not `public`.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// The sum of the rows' hashes.
    pub digest: String,
}
