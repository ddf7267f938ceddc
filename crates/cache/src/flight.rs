//! Single flight: of many requests for one absent answer, one asks the store and the others wait for it.

use crate::{Hit, Key};
use mainstay_model::Error;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::sync::watch;

type Landing = Option<Result<Hit, Error>>;

/// The flights under way.
#[derive(Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Key, (u64, watch::Receiver<Landing>), ahash::RandomState>>,
}

/// A part in a flight.
pub enum Flight {
    /// This request asks the store.
    Lead(Lead),
    /// Another one does.
    Follow(Follow),
}

/// The request that asks the store. Dropped without a result, it lets its followers go on by themselves.
pub struct Lead {
    key: Key,
    flights: Arc<Flights>,
    sender: watch::Sender<Landing>,
}

/// A request that waits.
pub struct Follow {
    receiver: watch::Receiver<Landing>,
}

impl Flights {
    /// Joins the flight for a key. `serial` grows with every change that may void what is under way: a request that begins
    /// after a change must not wait for an answer that was read before it.
    pub(crate) fn join(self: &Arc<Flights>, key: Key, serial: u64) -> Flight {
        let mut under_way = self.under_way.lock();
        match under_way.entry(key) {
            Entry::Occupied(entry) if entry.get().0 == serial => Flight::Follow(Follow {
                receiver: entry.get().1.clone(),
            }),
            entry => {
                let (sender, receiver) = watch::channel(None);
                entry.insert_entry((serial, receiver));
                Flight::Lead(Lead {
                    key,
                    flights: self.clone(),
                    sender,
                })
            }
        }
    }
}

impl Lead {
    /// Gives the answer to all who wait.
    pub fn succeed(self, hit: Hit) {
        self.sender.send_replace(Some(Ok(hit)));
    }

    /// Gives the error to all who wait.
    pub fn fail(self, error: Error) {
        self.sender.send_replace(Some(Err(error)));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        // A later flight for the same key may have taken the place.
        if under_way
            .get(&self.key)
            .is_some_and(|(_, receiver)| receiver.same_channel(&self.sender.subscribe()))
        {
            under_way.remove(&self.key);
        }
    }
}

impl Follow {
    /// What the leader brought; `None` if it went away without a result.
    pub async fn wait(mut self) -> Option<Result<Hit, Error>> {
        if let Ok(landing) = self.receiver.wait_for(Option::is_some).await {
            return landing.clone();
        }
        self.receiver.borrow().clone()
    }
}
