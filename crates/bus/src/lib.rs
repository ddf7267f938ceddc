//! The bus contract: publish, fetch, acknowledge. What a broker offers, and nothing about any of them.
//!
//! Delivery is at least once. Per subscription and key, messages are delivered in the order of publication and one at a time: a
//! head that fails blocks its key until it succeeds or is parked. Consumers deduplicate by [`Message::id`].

pub mod conformance;

use mainstay_model::Result;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future of the contract.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A message broker.
pub trait Bus: Send + Sync + 'static {
    /// The engine, for people.
    fn engine(&self) -> String;

    /// Says which subscriptions there are and what they want. Messages of a subscription that is not named any more stay until
    /// it comes back or they are discarded.
    fn declare(&self, subscriptions: Vec<Subscription>) -> BoxFuture<'_, Result<()>>;

    /// Hands messages to every subscription that wants them. `Ok` means that all are durable. A message whose id a subscription
    /// still holds is not taken twice.
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<()>>;

    /// Up to `limit` deliveries that are due: for each key its head, unless it is in flight. They stay in flight until they are
    /// acknowledged, retried or parked, or the process dies.
    fn fetch<'a>(&'a self, subscription: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Delivery>>>;

    /// Waits until a fetch may find more: something was published, a retry is due, a key is free.
    fn ready<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, ()>;

    /// The delivery had its effect.
    fn acknowledge(&self, delivery: u64) -> BoxFuture<'_, Result<()>>;

    /// The delivery failed; it is due again after `delay`.
    fn retry(&self, delivery: u64, delay: Duration, error: String) -> BoxFuture<'_, Result<()>>;

    /// The delivery failed for good: it goes to the dead letters and frees its key.
    fn park(&self, delivery: u64, error: String) -> BoxFuture<'_, Result<()>>;

    /// Dead letters, the oldest first.
    fn parked(&self, selection: Selection) -> BoxFuture<'_, Result<Vec<Parked>>>;

    /// Makes dead letters due again, with their attempts forgotten. How many.
    fn replay(&self, selection: Selection) -> BoxFuture<'_, Result<u64>>;

    /// Deletes dead letters. How many.
    fn discard(&self, selection: Selection) -> BoxFuture<'_, Result<u64>>;

    /// What waits, per subscription.
    fn backlog(&self) -> BoxFuture<'_, Result<Vec<Backlog>>>;

    /// Publishes the slots of schedules that are due, each once, also across restarts; the time until the next one.
    fn tick(&self, schedules: Vec<Schedule>) -> BoxFuture<'_, Result<Option<Duration>>>;

    /// Notes which job a request's key stands for, unless that is known; what is noted then. Kept for at least as long as a job.
    fn claim_job(&self, claim: Claim) -> BoxFuture<'_, Result<Claim>>;

    /// Notes that a job was taken on.
    fn open_job(&self, id: String) -> BoxFuture<'_, Result<()>>;

    /// Notes a job's end: its result as JSON, or what went wrong.
    fn close_job(&self, id: String, result: Result<String, String>) -> BoxFuture<'_, Result<()>>;

    /// A job's state; `None` when there is no such job (any more).
    fn job<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>>>;

    /// Writes what waits into a file that does not exist yet, for a backup; `false` where the bus is a server with backups of its own.
    fn snapshot<'a>(&'a self, file: &'a std::path::Path) -> BoxFuture<'a, Result<bool>> {
        let _ = file;
        Box::pin(async { Ok(false) })
    }

    /// Finishes what is under way and closes.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Who wants which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// What positions, metrics and dead letters go by.
    pub name: String,
    /// Topics; a final `*` stands for any ending.
    pub topics: Vec<String>,
}

impl Subscription {
    /// Whether a topic is wanted. Mainstay's own (`mainstay.…`) are not among those that a `*` stands for.
    pub fn wants(&self, topic: &str) -> bool {
        let own = topic.starts_with("mainstay.");
        self.topics.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => topic.starts_with(start) && !own,
            None => topic == pattern,
        })
    }
}

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Identifies the event to consumers.
    pub id: String,
    /// What it is about.
    pub topic: String,
    /// Order holds among messages of one key.
    pub key: String,
    /// When it happened: microseconds since the Unix epoch.
    pub time_us: i64,
    /// JSON.
    pub payload: String,
    /// W3C `traceparent` of what caused it.
    pub traceparent: Option<String>,
}

/// A message on its way to one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What [`Bus::acknowledge`] and the like name.
    pub serial: u64,
    /// 1 the first time.
    pub attempt: u32,
    /// The message.
    pub message: Message,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Its delivery's serial.
    pub serial: u64,
    /// Whose.
    pub subscription: String,
    /// The message.
    pub message: Message,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    pub error: String,
    /// When it was parked: microseconds since the Unix epoch.
    pub parked_us: i64,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this subscription.
    pub subscription: Option<String>,
    /// This one.
    pub serial: Option<u64>,
    /// Where they are listed: only those that come after this one.
    pub after: Option<u64>,
    /// Where they are listed: at most so many; 0 is no limit.
    pub limit: usize,
}

/// What waits for one subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Whose.
    pub subscription: String,
    /// Waiting, in flight included.
    pub waiting: u64,
    /// Of them, failed at least once.
    pub retrying: u64,
    /// Dead letters.
    pub parked: u64,
    /// When the oldest one waiting was published: microseconds since the Unix epoch.
    pub oldest_us: Option<i64>,
}

/// Something that happens every so often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The subscription it sets off.
    pub subscription: String,
    /// How often.
    pub every: Duration,
}

/// Which job a request's key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose key it is, and for what.
    pub key: String,
    /// What the key was first used with.
    pub fingerprint: String,
    /// The job's id.
    pub job: String,
}

/// An asynchronous call's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// When it was taken on: microseconds since the Unix epoch.
    pub opened_us: i64,
    /// Its result as JSON, or what went wrong; `None` while it is under way.
    pub result: Option<Result<String, String>>,
}
