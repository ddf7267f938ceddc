//! What the dialect asks of the rest of the product: one read, one write, and the model.

use mainstay_model::{Committed, Identity, Query, Representation, Result, Schema, Transaction};
use mainstay_query::{Asked, Engine, Explain, Explanation, Following, ReadOptions, Reply, Standing};
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
        options: ReadOptions<'_>,
    ) -> impl Future<Output = Result<Reply>> + Send;

    /// As [`Data::read`], of an answer that may go on after what the reply has of it.
    fn stream(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
    ) -> impl Future<Output = Result<(Reply, Option<Following>)>> + Send {
        async move {
            let reply = self.read(query, identity, representation, options).await;
            reply.map(|reply| (reply, None))
        }
    }

    /// The answer to a read, if it can be given without waiting for anything. `goes_on`: else the caller asks [`Data::stream`].
    fn at_hand(
        &self,
        _query: &Query,
        _identity: &Identity,
        _representation: &Arc<dyn Representation>,
        _options: ReadOptions<'_>,
        _goes_on: bool,
    ) -> Option<Result<(Reply, Option<Standing>)>> {
        None
    }

    /// How a read would be answered.
    fn explain(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        wanted: Explain,
    ) -> impl Future<Output = Result<Explanation>> + Send;

    /// How a write of one step would be done. With `analyze`, where the engine measures, it is.
    fn explain_write(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        wanted: Explain,
    ) -> impl Future<Output = Result<Explanation>> + Send;

    /// Whether anything looks at the requests that callers make ([`Identity::request`]).
    fn wants_requests(&self) -> bool;

    /// A write, from authorisation to the acknowledged commit, for the request that asked for it. `representations` has the form of what
    /// each step returns.
    fn write(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
        asked: Asked<'_>,
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
        options: ReadOptions<'_>,
    ) -> Result<Reply> {
        Engine::read(self, query, identity, representation, options).await
    }

    async fn stream(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
    ) -> Result<(Reply, Option<Following>)> {
        Engine::stream(self, query, identity, representation, options).await
    }

    fn at_hand(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
        goes_on: bool,
    ) -> Option<Result<(Reply, Option<Standing>)>> {
        Engine::at_hand(self, query, identity, representation, options, goes_on)
    }

    async fn explain(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        wanted: Explain,
    ) -> Result<Explanation> {
        Engine::explain_read(self, query, identity, &**representation, wanted).await
    }

    async fn explain_write(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        wanted: Explain,
    ) -> Result<Explanation> {
        Engine::explain_write(self, transaction, identity, representation, wanted).await
    }

    fn wants_requests(&self) -> bool {
        self.stores().iter().any(|store| store.wants_requests())
    }

    async fn write(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
        asked: Asked<'_>,
    ) -> Result<Committed> {
        Engine::write_as(self, transaction, identity, representations, asked).await
    }
}
