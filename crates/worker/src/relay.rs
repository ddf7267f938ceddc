//! From a store's outbox to the bus: in commit order, confirmed only when the bus has it.

use mainstay_bus::{Bus, Message};
use mainstay_model::{Changes, OutboxRecord};
use mainstay_store::{CommitListener, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// So many records go to the bus at once.
const BATCH: usize = 256;

/// How often the outbox is looked at when no commit of this process wakes the relay.
const TICK: Duration = Duration::from_secs(1);

/// The relay of one store.
pub(crate) struct Relay {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    wake: Arc<Notify>,
}

/// Wakes the relay when something was committed.
struct Waker(Arc<Notify>);

impl CommitListener for Waker {
    fn committed(&self, _: &Changes) {
        self.0.notify_one();
    }

    fn voided(&self, _: u16, _: &str) {}
}

impl Relay {
    pub fn new(store: Arc<dyn Store>, bus: Arc<dyn Bus>) -> Relay {
        let wake = Arc::new(Notify::new());
        store.listen(Arc::new(Waker(wake.clone())));
        Relay { store, bus, wake }
    }

    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let relayed = mainstay_telemetry::counter("mainstay_relayed_total", &[("store", self.store.name())]);
        let mut after = 0;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.batch(after).await {
                Ok(None) => {
                    pause = Duration::from_millis(50);
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(TICK) => {}
                        _ = stopped.changed() => return,
                    }
                }
                Ok(Some((last, count))) => {
                    after = last;
                    relayed.add(count as u64);
                    pause = Duration::from_millis(50);
                }
                Err(e) => {
                    mainstay_telemetry::warn!("worker", "the outbox of {} waits: {e}", self.store.name());
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stopped.changed() => return,
                    }
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
            if *stopped.borrow() {
                return;
            }
        }
    }

    /// Moves one batch; the last sequence and the count, or `None` when there was nothing.
    async fn batch(&self, after: u64) -> mainstay_model::Result<Option<(u64, usize)>> {
        let records = self.store.outbox(after, BATCH).await?;
        let Some(last) = records.last().map(|r| r.sequence) else {
            return Ok(None);
        };
        let count = records.len();
        let (refused, records): (Vec<_>, Vec<_>) = records.into_iter().partition(|r| r.topic.starts_with("mainstay."));
        for record in refused {
            // Calls that are made later travel under such topics, with their caller's rights.
            mainstay_telemetry::error!(
                "worker",
                "an event of the topic {} was written into the outbox of {} and is not delivered: topics that begin with mainstay. are Mainstay's own",
                record.topic,
                self.store.name()
            );
        }
        self.bus.publish(records.into_iter().map(message).collect()).await?;
        self.store.confirm(last).await?;
        Ok(Some((last, count)))
    }
}

fn message(record: OutboxRecord) -> Message {
    Message {
        id: record.id,
        topic: record.topic,
        key: record.key,
        time_us: record.time_us,
        payload: record.payload,
        traceparent: record.traceparent,
    }
}
