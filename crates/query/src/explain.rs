//! What would come of an operation: who would answer it, whether the cache would be asked, and how the store would go about it.

use crate::engine::{CacheVerdict, Engine, ReadOptions};
use crate::statements::Statement;
use mainstay_model::{Error, Identity, Query, Representation, Result, Transaction};
use mainstay_store::{Explain, Explanation, Read};
use std::sync::Arc;

/// Who would answer an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The store's name.
    pub store: String,
    /// Its engine, for people.
    pub engine: String,
    /// What the cache would say; of a write nothing.
    pub cache: Option<CacheVerdict>,
}

impl Engine {
    /// How a statement's slowest call would be answered by its store.
    pub async fn explain(
        &self,
        statement: &Statement,
        identity: &Identity,
        representation: &dyn Representation,
        wanted: Explain,
    ) -> Result<Explanation> {
        let read = Read {
            plan: statement.plan,
            kept: true,
            shape: &statement.shape,
            params: &statement.params,
            identity,
            representation,
        };
        self.store(statement.store)?.explain(read, wanted).await
    }

    /// How a read would be answered by its store, for the caller.
    pub async fn explain_read(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &dyn Representation,
        wanted: Explain,
    ) -> Result<Explanation> {
        let inner = &self.inner;
        let plan = inner.plans.authorised(&inner.schema, &query.shape, &identity.role)?;
        let read = Read {
            plan: plan.id,
            kept: plan.kept,
            shape: &plan.shape,
            params: &query.params,
            identity,
            representation,
        };
        self.store(plan.store)?.explain(read, wanted).await
    }

    /// How the one step of a transaction would be done, for the caller. With [`Explain::analyze`], where the engine measures, it is
    /// done, and stays unless the transaction is a dry run.
    pub async fn explain_write(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        wanted: Explain,
    ) -> Result<Explanation> {
        let (transaction, store) = self.authorised(transaction, identity)?;
        let representations = std::slice::from_ref(representation);
        let explained = store.explain_write(&transaction, identity, representations, wanted);
        let first = explained.await?.into_iter().next();
        first.ok_or_else(|| Error::internal("a transaction without a step has no plan"))
    }

    /// Who would answer a read, and whether the cache would be asked.
    pub fn outlook_of_read(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &dyn Representation,
        options: ReadOptions<'_>,
    ) -> Result<Outlook> {
        let inner = &self.inner;
        let plan = inner.plans.authorised(&inner.schema, &query.shape, &identity.role)?;
        let store = self.store(plan.store)?;
        let cache = match self.cache_for(&plan, options) {
            Err(why) => CacheVerdict::Bypass(why),
            Ok(cache) => {
                let key = plan.key(&inner.schema, &query.params, identity, representation.id());
                match cache.is_at_hand(&key, plan.store) {
                    true => CacheVerdict::Hit,
                    false => CacheVerdict::Stored,
                }
            }
        };
        Ok(Outlook {
            store: store.name().to_owned(),
            engine: store.capabilities().engine.clone(),
            cache: Some(cache),
        })
    }

    /// Who would do a transaction.
    pub fn outlook_of_write(&self, transaction: Transaction, identity: &Identity) -> Result<Outlook> {
        let (_, store) = self.authorised(transaction, identity)?;
        Ok(Outlook {
            store: store.name().to_owned(),
            engine: store.capabilities().engine.clone(),
            cache: None,
        })
    }
}
