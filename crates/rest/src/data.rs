//! What the dialect asks of the rest of the product: one read, one write, and the model.

use mainstay_model::{Committed, Identity, Query, Representation, Result, Schema, Transaction};
use mainstay_query::{Engine, ReadOptions, Reply};
use std::future::Future;
use std::sync::Arc;

/// Answers operations. [`Engine`] is the one that the product uses.
pub trait Data: Send + Sync + 'static {
    /// The model.
    fn schema(&self) -> Arc<Schema>;

    /// A read, from authorisation to the encoded answer.
    fn read(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions,
    ) -> impl Future<Output = Result<Reply>> + Send;

    /// A write, from authorisation to the acknowledged commit. `representation` is the form of what its steps return.
    fn write(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
    ) -> impl Future<Output = Result<Committed>> + Send;
}

impl Data for Engine {
    fn schema(&self) -> Arc<Schema> {
        Engine::schema(self).clone()
    }

    async fn read(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions,
    ) -> Result<Reply> {
        Engine::read(self, query, identity, representation, options).await
    }

    async fn write(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
    ) -> Result<Committed> {
        let representations = vec![representation.clone(); transaction.steps.len()];
        Engine::write_as(self, transaction, identity, &representations).await
    }
}
