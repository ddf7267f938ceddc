//! The conformance suite of the store contract: what a store must do to be one, as cases that every engine runs against the real thing.
//! An engine's test calls [`run_all`] with a [`Factory`] that opens an empty store for a schema.

mod constraints;
mod encoder;
mod events;
mod functions;
mod library;
mod listeners;
mod reads;
mod steps;
mod streams;
mod together;
pub mod world;
mod writes;

pub use encoder::JsonRows;
pub use library::library;
pub use world::World;

use crate::{BoxFuture, Store};
use mainstay_model::{ChangeKind, RelationId, Schema};
use std::sync::Arc;

/// Opens stores for the suite.
pub trait Factory: Sync {
    /// An empty store that holds every relation of the schema, as the only store of the project (index 0, name `main`), and whose outbox
    /// records the given changes.
    fn open<'a>(
        &'a self,
        schema: Arc<Schema>,
        captured: &'a [(RelationId, ChangeKind)],
    ) -> BoxFuture<'a, Arc<dyn Store>>;
}

/// A case: its name, and what is done in a world of its own.
pub type Case = (&'static str, for<'a> fn(&'a World) -> BoxFuture<'a, ()>);

/// Every case of the suite.
pub fn cases() -> Vec<Case> {
    [
        reads::CASES,
        streams::CASES,
        writes::CASES,
        steps::CASES,
        constraints::CASES,
        functions::CASES,
        events::CASES,
        listeners::CASES,
        together::CASES,
    ]
    .concat()
}

/// Runs every case, each with a store of its own. Panics at the first that fails, after saying which.
pub async fn run_all(factory: &dyn Factory) {
    for (name, case) in cases() {
        run(factory, name, case).await;
    }
}

/// Runs one case.
pub async fn run(factory: &dyn Factory, name: &str, case: for<'a> fn(&'a World) -> BoxFuture<'a, ()>) {
    println!("conformance: {name}");
    let world = World::open(factory).await;
    case(&world).await;
    world.store.close().await;
}
