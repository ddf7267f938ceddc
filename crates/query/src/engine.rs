//! The engine: one function shows a whole read, another a whole write, each stage a named call.

use crate::plan::{Place, Plan, Plans};
use crate::slow::{Asked, Slow, is_worth_telling};
use crate::statements::Statement;
use bytes::Bytes;
use mainstay_cache::{Cache, Flight, Hit, Kept, Key, Lookup};
use mainstay_model::{
    Changes, Committed, Error, Identity, Query, Representation, ResponseSettings, Result, Schema, Transaction,
};
use mainstay_store::{Answer, CommitListener, Read, Rest, Store, Streamed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers operations. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) schema: Arc<Schema>,
    /// By [`mainstay_model::Position::store`].
    stores: Vec<Arc<dyn Store>>,
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) plans: Plans,
    pub(crate) slow: Option<Slow>,
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Reflects every transaction acknowledged anywhere before the request.
    Strong,
    /// Reflects the session's own writes.
    #[default]
    Session,
    /// No older than the declared bound.
    Bounded,
}

/// What a read asks beyond the query.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions<'r> {
    /// The request that it is for.
    pub asked: Asked<'r>,
    /// `Cache-Control: no-cache`: go to the store.
    pub bypass_cache: bool,
    /// A value says `now` or the like: nobody will ask for this answer again.
    pub momentary: bool,
    /// How fresh.
    pub consistency: Consistency,
}

/// Where an answer came from, for `Cache-Status` (RFC 9211).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheVerdict {
    /// From the cache.
    Hit,
    /// From the store, and now in the cache.
    Stored,
    /// From the store, shared with a request for the same that was under way.
    Collapsed,
    /// From the store, not kept: why.
    Miss(&'static str),
    /// The cache was not asked: why.
    Bypass(&'static str),
}

impl CacheVerdict {
    /// The value of `Cache-Status`.
    pub fn header(&self) -> String {
        match self {
            CacheVerdict::Hit => "mainstay; hit".to_owned(),
            CacheVerdict::Stored => "mainstay; fwd=miss; stored".to_owned(),
            CacheVerdict::Collapsed => "mainstay; fwd=miss; collapsed".to_owned(),
            CacheVerdict::Miss(why) => format!("mainstay; fwd=miss; detail=\"{why}\""),
            CacheVerdict::Bypass(why) => format!("mainstay; fwd=bypass; detail=\"{why}\""),
        }
    }
}

/// An answer to a read.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The encoded rows.
    pub body: Bytes,
    /// Rows in the body.
    pub rows: u64,
    /// Rows that match beyond the page, when counted.
    pub total: Option<u64>,
    /// A hash of the body, for `ETag`.
    pub tag: u64,
    /// Where it came from.
    pub cache: CacheVerdict,
    /// How long it has been in the cache, in seconds.
    pub age_s: u32,
    /// How long each stage took.
    pub phases: Phases,
    /// What the database asked of the response, if it asked anything.
    pub response: Option<Box<ResponseSettings>>,
}

/// Whether an answer that was given may be given again, to whom it was given.
pub struct Standing {
    cache: Arc<Cache>,
    kept: Kept,
}

impl Standing {
    /// The answer's age in seconds, if it may be given once more.
    pub fn age(&self, now: Instant) -> Option<u32> {
        self.cache.age_of(&self.kept, now)
    }
}

/// How long the stages of an operation took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Authorising and planning.
    pub plan_us: u32,
    /// Asking the cache.
    pub cache_us: u32,
    /// The store.
    pub store_us: u32,
}

/// What a store is asked for one read.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub plan: &'a Arc<Plan>,
    pub query: &'a Query,
    /// Whose claims are seen; for a fill, reduced to the class.
    pub identity: &'a Identity,
    pub representation: &'a Arc<dyn Representation>,
    /// Whether the answer may go on.
    pub goes_on: bool,
    pub asked: Asked<'a>,
}

impl<'a> Question<'a> {
    fn read(self) -> Read<'a> {
        Read {
            plan: self.plan.id,
            kept: self.plan.kept,
            shape: &self.plan.shape,
            params: &self.query.params,
            identity: self.identity,
            representation: &**self.representation,
        }
    }
}

/// How many leaders that go away a request waits for, before it asks by itself.
const FLIGHTS_MAX: usize = 8;

impl Engine {
    /// An engine over a schema and its stores, which stand at the index their positions carry.
    pub fn new(schema: Arc<Schema>, stores: Vec<Arc<dyn Store>>, cache: Option<Arc<Cache>>) -> Engine {
        if let Some(cache) = &cache {
            for store in &stores {
                if store.capabilities().change_feed {
                    cache.require_proof(store.capabilities().store);
                }
                store.listen(Arc::new(Applies {
                    cache: cache.clone(),
                    schema: schema.clone(),
                }));
            }
        }
        let places = stores
            .iter()
            .map(|s| (Arc::from(s.name()), Place::of(s.capabilities())))
            .collect();
        Engine {
            inner: Arc::new(Inner {
                schema,
                stores,
                cache,
                plans: Plans::new(places),
                slow: None,
            }),
        }
    }

    /// Has somebody told of what is slow. Before the first clone is handed out; later it does nothing.
    pub fn with_slow(mut self, slow: Slow) -> Engine {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.slow = Some(slow);
        }
        self
    }

    /// What reads have cost their stores, each with its plan.
    pub fn statements(&self) -> Vec<Statement> {
        self.inner.plans.statements()
    }

    /// The model.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.inner.schema
    }

    /// The stores, by index.
    pub fn stores(&self) -> &[Arc<dyn Store>] {
        &self.inner.stores
    }

    /// The cache, if there is one.
    pub fn cache(&self) -> Option<&Arc<Cache>> {
        self.inner.cache.as_ref()
    }

    /// A read, from authorisation to the encoded answer.
    pub async fn read(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
    ) -> Result<Reply> {
        let answered = self.answer(query, identity, representation, options, false).await;
        answered.map(|(reply, _)| reply)
    }

    /// As [`Engine::read`], for a caller that can take an answer that goes on ([`Store::stream`]). Where something follows, the reply is
    /// its first part: it has no tag, and is in no cache.
    pub async fn stream(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
    ) -> Result<(Reply, Option<Rest>)> {
        let goes_on = representation.streams();
        self.answer(query, identity, representation, options, goes_on).await
    }

    async fn answer(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
        goes_on: bool,
    ) -> Result<(Reply, Option<Rest>)> {
        let began = Instant::now();
        let plan = self
            .inner
            .plans
            .authorised(&self.inner.schema, &query.shape, &identity.role)?;
        let mut phases = Phases {
            plan_us: micros(began.elapsed()),
            ..Phases::default()
        };
        let question = Question {
            plan: &plan,
            query,
            identity,
            representation,
            goes_on,
            asked: options.asked,
        };
        let cache = match self.cache_for(&plan, options) {
            Ok(cache) => cache,
            Err(why) => {
                let answer = self.ask(question, &mut phases).await?;
                return Ok(reply(answer, CacheVerdict::Bypass(why), phases));
            }
        };
        let asked = Instant::now();
        let key = plan.key(&self.inner.schema, &query.params, identity, representation.id());
        let looked_up = cache.look_up(&key, plan.store);
        phases.cache_us = micros(asked.elapsed());
        match looked_up {
            Lookup::Hit(hit) => Ok((from_hit(hit, CacheVerdict::Hit, phases), None)),
            Lookup::Bypass(why) => {
                let answer = self.ask(question, &mut phases).await?;
                Ok(reply(answer, CacheVerdict::Bypass(why), phases))
            }
            Lookup::Miss => {
                // Boxed: a hit should not carry the room for a miss.
                Box::pin(self.fill(cache, key, question, phases)).await
            }
        }
    }

    /// The answer to a read that the cache has or, where the cache is not asked, that the store can give at once: without waiting for
    /// anything and without its times. `None` sends the caller to [`Engine::stream`] if the answer may go on, else to [`Engine::read`].
    pub fn at_hand(
        &self,
        query: &Query,
        identity: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
        goes_on: bool,
    ) -> Option<Result<(Reply, Option<Standing>)>> {
        let schema = &self.inner.schema;
        let plan = match self.inner.plans.authorised(schema, &query.shape, &identity.role) {
            Ok(plan) => plan,
            Err(refused) => return Some(Err(refused)),
        };
        let cache = match self.cache_for(&plan, options) {
            Ok(cache) => cache,
            Err(why) => {
                let answer = self.ask_at_once(Question {
                    plan: &plan,
                    query,
                    identity,
                    representation,
                    goes_on,
                    asked: options.asked,
                })?;
                let whole = |answer| reply(Streamed::from(answer), CacheVerdict::Bypass(why), Phases::default()).0;
                return Some(answer.map(|answer| (whole(answer), None)));
            }
        };
        let key = plan.key(schema, &query.params, identity, representation.id());
        let (hit, kept) = cache.at_hand(&key, plan.store)?;
        let cache = cache.clone();
        let reply = from_hit(hit, CacheVerdict::Hit, Phases::default());
        Some(Ok((reply, Some(Standing { cache, kept }))))
    }

    /// The cache, if the answer of a plan may come from it; else why not.
    pub(crate) fn cache_for(
        &self,
        plan: &Plan,
        options: ReadOptions<'_>,
    ) -> std::result::Result<&Arc<Cache>, &'static str> {
        match (&self.inner.cache, &plan.cacheable) {
            (None, _) => Err("off"),
            (_, Err(why)) => Err(*why),
            _ if options.bypass_cache => Err("no-cache"),
            _ if options.momentary => Err("depends on the clock"),
            _ if !self.store_feeds(plan.store) => Err("no change feed"),
            _ if options.consistency == Consistency::Strong && self.inner.stores.len() > 1 => Err("consistency=strong"),
            (Some(cache), Ok(())) => Ok(cache),
        }
    }

    fn store_feeds(&self, index: u16) -> bool {
        self.store(index).is_ok_and(|store| store.capabilities().change_feed)
    }

    /// Asks the store once for all who want the same answer, and keeps it if the fences allow.
    async fn fill(
        &self,
        cache: &Arc<Cache>,
        key: Key,
        question: Question<'_>,
        mut phases: Phases,
    ) -> Result<(Reply, Option<Rest>)> {
        let Question { plan, query, .. } = question;
        // The fill sees only what the key names: a claim that was overlooked reads as NULL and does not leak.
        let class = plan.class(question.identity);
        let question = Question {
            identity: &class,
            ..question
        };
        let began = Instant::now();
        for _ in 0..FLIGHTS_MAX {
            match cache.join(&key, plan.store) {
                Flight::Lead(lead) => {
                    let pending = cache.begin_fill(&key, plan.store, plan.footprint(&query.params, &class));
                    let answer = match self.ask(question, &mut phases).await {
                        Ok(Streamed { answer, rest: None }) => answer,
                        // It is this client's alone: the others ask for themselves.
                        Ok(large) => return Ok(reply(large, CacheVerdict::Miss("large"), phases)),
                        Err(error) => {
                            lead.fail(error.clone());
                            return Err(error);
                        }
                    };
                    let ttl = plan.ttl(cache);
                    let (hit, kept) =
                        cache.finish_fill(pending, answer.body, answer.rows, answer.total, &answer.fence, ttl);
                    lead.succeed(hit.clone());
                    let verdict = match kept {
                        Ok(()) => CacheVerdict::Stored,
                        Err(why) => CacheVerdict::Miss(why),
                    };
                    return Ok((from_hit(hit, verdict, phases), None));
                }
                Flight::Follow(follow) => match follow.wait().await {
                    Some(Ok(hit)) => {
                        phases.store_us = micros(began.elapsed());
                        return Ok((from_hit(hit, CacheVerdict::Collapsed, phases), None));
                    }
                    Some(Err(error)) => return Err(error),
                    // The leader's client went away before the store answered: one of those who waited takes over.
                    None => {}
                },
            }
        }
        let answer = self.ask(question, &mut phases).await?;
        Ok(reply(answer, CacheVerdict::Miss("leaders gone"), phases))
    }

    async fn ask(&self, question: Question<'_>, phases: &mut Phases) -> Result<Streamed> {
        let began = Instant::now();
        let store = self.store(question.plan.store)?;
        let answer = match question.goes_on {
            true => store.stream(question.read()).await,
            false => store.read(question.read()).await.map(Streamed::from),
        };
        let took = began.elapsed();
        phases.store_us = micros(took);
        self.answered(question, took, answer.as_ref().map(|streamed| streamed.answer.rows));
        answer
    }

    /// As [`Engine::ask`], of a store that can answer at once.
    fn ask_at_once(&self, question: Question<'_>) -> Option<Result<Answer>> {
        let began = Instant::now();
        let store = self.store(question.plan.store).ok()?;
        let answer = store.read_at_once(question.read(), question.goes_on)?;
        self.answered(question, began.elapsed(), answer.as_ref().map(|answer| answer.rows));
        Some(answer)
    }

    /// Notes what an answer of the store has cost.
    fn answered(&self, question: Question<'_>, took: Duration, rows: std::result::Result<u64, &Error>) {
        let params = &question.query.params;
        let cost = &question.plan.cost;
        cost.add(u64::from(micros(took)), rows.unwrap_or_default(), params);
        if self.inner.slow.as_ref().is_some_and(|slow| took >= slow.after) && is_worth_telling(rows.err()) {
            self.slow_read(question, took);
        }
    }

    /// A write, from authorisation to the acknowledged commit.
    pub async fn write(&self, transaction: Transaction, identity: &Identity) -> Result<Committed> {
        self.write_as(transaction, identity, &[], Asked::default()).await
    }

    /// As [`Engine::write`]; `representations` has one for each step, which encodes what that step returns.
    pub async fn write_as(
        &self,
        transaction: Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
        asked: Asked<'_>,
    ) -> Result<Committed> {
        let (transaction, store) = self.authorised(transaction, identity)?;
        let Some(slow) = &self.inner.slow else {
            return store.write_as(&transaction, identity, representations).await;
        };
        let began = Instant::now();
        let committed = store.write_as(&transaction, identity, representations).await;
        let took = began.elapsed();
        if took >= slow.after && is_worth_telling(committed.as_ref().err()) {
            slow.write(store, transaction, identity, representations, took, asked);
        }
        committed
    }

    /// A transaction as the caller may do it, and where.
    pub(crate) fn authorised(
        &self,
        transaction: Transaction,
        identity: &Identity,
    ) -> Result<(Transaction, &Arc<dyn Store>)> {
        let is_native = |name: &str| {
            let mut stores = self.inner.stores.iter();
            stores.any(|s| s.name() == name && s.capabilities().native_policies)
        };
        if let Some(store) = crate::native::of_transaction(&self.inner.schema, &transaction, &is_native)? {
            // Privileges and policies are the database's own.
            return Ok((transaction, self.inner.store_named(&store)?));
        }
        let (transaction, store) = crate::authorise::transaction(&self.inner.schema, transaction, identity)?;
        Ok((transaction, self.inner.store_named(&store)?))
    }

    pub(crate) fn store(&self, index: u16) -> Result<&Arc<dyn Store>> {
        self.inner
            .stores
            .get(index as usize)
            .ok_or_else(|| Error::internal("a plan names a store that does not exist"))
    }
}

impl Inner {
    fn store_named(&self, name: &str) -> Result<&Arc<dyn Store>> {
        self.stores
            .iter()
            .find(|s| s.name() == name)
            .ok_or_else(|| Error::new("MS503", format!("store \"{name}\" is not open in this process")).status(503))
    }
}

/// Hands a store's commits to the cache.
struct Applies {
    cache: Arc<Cache>,
    schema: Arc<Schema>,
}

impl CommitListener for Applies {
    fn committed(&self, changes: &Changes) {
        self.cache.apply(&self.schema, changes);
    }

    fn voided(&self, store: u16, reason: &str) {
        self.cache.void(store, reason);
    }

    fn checked(&self, store: u16, at: Instant) {
        self.cache.proved(store, at);
    }
}

fn micros(took: Duration) -> u32 {
    took.as_micros().min(u128::from(u32::MAX)) as u32
}

fn reply(answer: Streamed, cache: CacheVerdict, phases: Phases) -> (Reply, Option<Rest>) {
    let Streamed { answer, rest } = answer;
    let tag = match &rest {
        None => mainstay_cache::body_tag(&answer.body),
        // A part says nothing of the whole.
        Some(_) => 0,
    };
    let reply = Reply {
        body: answer.body,
        rows: answer.rows,
        total: answer.total,
        tag,
        cache,
        age_s: 0,
        phases,
        response: answer.response,
    };
    (reply, rest)
}

fn from_hit(hit: Hit, cache: CacheVerdict, phases: Phases) -> Reply {
    Reply {
        body: hit.body,
        rows: hit.rows,
        total: hit.total,
        tag: hit.tag,
        cache,
        age_s: hit.age_s,
        phases,
        response: None,
    }
}
