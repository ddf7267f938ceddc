//! The embedded bus: a durable queue per subscription in an SQLite file of its own. One thread owns the file and commits what has
//! gathered together, so that a hundred acknowledgements cost one sync.

mod jobs;
mod letters;
mod queue;
mod schedule;
mod snapshot;
mod thread;

use mainstay_bus::{Backlog, BoxFuture, Bus, Claim, Delivery, Job, Message, Parked, Schedule, Selection, Subscription};
use mainstay_model::{Error, Result};
use parking_lot::Mutex;
use queue::Queue;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thread::Thread;
use tokio::sync::Notify;

/// So many dead letters are replayed in one transaction.
const REPLAY_MAX: usize = 2000;

/// The bus of one process.
pub struct EmbeddedBus {
    thread: Thread,
    /// Wakes whoever waits on a subscription.
    wakers: Wakers,
}

/// By subscription.
#[derive(Clone, Default)]
struct Wakers(Arc<Mutex<HashMap<String, Arc<Notify>>>>);

impl Wakers {
    fn of(&self, subscription: &str) -> Arc<Notify> {
        self.0.lock().entry(subscription.to_owned()).or_default().clone()
    }

    fn wake(&self, subscription: &str) {
        self.of(subscription).notify_one();
    }

    fn wake_all(&self) {
        self.0.lock().values().for_each(|waker| waker.notify_one());
    }
}

impl EmbeddedBus {
    /// Opens or makes the file. Fails when another process has it, or when it is of another version.
    pub fn open(path: &Path) -> Result<Arc<EmbeddedBus>> {
        let path = path.to_owned();
        let thread = Thread::start(move || Queue::open(&path))?;
        Ok(Arc::new(EmbeddedBus {
            thread,
            wakers: Wakers::default(),
        }))
    }
}

pub(crate) fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as i64)
}

impl Bus for EmbeddedBus {
    fn engine(&self) -> String {
        "embedded".to_owned()
    }

    fn declare(&self, subscriptions: Vec<Subscription>) -> BoxFuture<'_, Result<()>> {
        for subscription in &subscriptions {
            self.wakers.wake(&subscription.name);
        }
        self.thread.run(move |queue| {
            queue.subscriptions = subscriptions;
            Ok(())
        })
    }

    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let woken = self.thread.run(move |queue| queue.publish(&messages)).await?;
            woken.iter().for_each(|subscription| self.wakers.wake(subscription));
            Ok(())
        })
    }

    fn fetch<'a>(&'a self, subscription: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Delivery>>> {
        let subscription = subscription.to_owned();
        self.thread
            .run(move |queue| queue.fetch(&subscription, limit, now_us()))
    }

    fn ready<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let waker = self.wakers.of(subscription);
            let name = subscription.to_owned();
            let due = self.thread.run(move |queue| queue.next_due(&name)).await;
            let wait = match due {
                Ok(Some(due_us)) => Duration::from_micros((due_us - now_us()).max(0) as u64),
                Ok(None) => Duration::from_secs(3600),
                // The file cannot be read just now; neither can it be asked in a tight loop.
                Err(_) => Duration::from_secs(1),
            };
            let _ = tokio::time::timeout(wait, waker.notified()).await;
        })
    }

    fn acknowledge(&self, delivery: u64) -> BoxFuture<'_, Result<()>> {
        self.settle(move |queue| queue.acknowledge(delivery))
    }

    fn retry(&self, delivery: u64, delay: Duration, error: String) -> BoxFuture<'_, Result<()>> {
        let delay_us = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
        let due_us = now_us().saturating_add(delay_us);
        self.settle(move |queue| queue.retry(delivery, due_us, &error))
    }

    fn park(&self, delivery: u64, error: String) -> BoxFuture<'_, Result<()>> {
        self.settle(move |queue| queue.park(delivery, &error, now_us()))
    }

    fn parked(&self, selection: Selection) -> BoxFuture<'_, Result<Vec<Parked>>> {
        self.thread.run(move |queue| queue.parked(&selection))
    }

    fn replay(&self, selection: Selection) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            // In portions: others are not held up, and what is parked again meanwhile is not replayed again.
            let (mut count, mut next) = (0, selection.after);
            loop {
                let portion = Selection {
                    after: next,
                    limit: REPLAY_MAX,
                    ..selection.clone()
                };
                let (done, last) = self.thread.run(move |queue| queue.replay(&portion)).await?;
                self.wakers.wake_all();
                count += done;
                match last {
                    Some(last) => next = Some(last),
                    None => return Ok(count),
                }
            }
        })
    }

    fn discard(&self, selection: Selection) -> BoxFuture<'_, Result<u64>> {
        self.thread.run(move |queue| queue.discard(&selection))
    }

    fn snapshot<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, Result<bool>> {
        let file = file.to_owned();
        self.thread.run(move |queue| queue.snapshot(&file).map(|()| true))
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Vec<Backlog>>> {
        self.thread.run(|queue| queue.backlog())
    }

    fn tick(&self, schedules: Vec<Schedule>) -> BoxFuture<'_, Result<Option<Duration>>> {
        Box::pin(async move {
            let names: Vec<String> = schedules.iter().map(|s| s.subscription.clone()).collect();
            let next = self.thread.run(move |queue| queue.tick(&schedules, now_us())).await?;
            names.iter().for_each(|name| self.wakers.wake(name));
            Ok(next.map(|due_us| Duration::from_micros((due_us - now_us()).max(0) as u64)))
        })
    }

    fn claim_job(&self, claim: Claim) -> BoxFuture<'_, Result<Claim>> {
        self.thread.run(move |queue| queue.claim_job(claim, now_us()))
    }

    fn open_job(&self, id: String) -> BoxFuture<'_, Result<()>> {
        self.thread.run(move |queue| queue.open_job(&id, now_us()))
    }

    fn close_job(&self, id: String, result: Result<String, String>) -> BoxFuture<'_, Result<()>> {
        self.thread.run(move |queue| queue.close_job(&id, &result, now_us()))
    }

    fn job<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>>> {
        let id = id.to_owned();
        self.thread.run(move |queue| queue.job(&id))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.thread.close()
    }
}

impl EmbeddedBus {
    /// Ends a delivery and wakes its subscription: its key is free.
    fn settle(
        &self,
        work: impl FnOnce(&mut Queue) -> Result<Option<String>> + Send + 'static,
    ) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if let Some(subscription) = self.thread.run(work).await? {
                self.wakers.wake(&subscription);
            }
            Ok(())
        })
    }
}

/// An engine error as the product's.
pub(crate) fn failed(error: rusqlite::Error) -> Error {
    Error::new("58030", format!("the embedded bus failed: {error}"))
}
