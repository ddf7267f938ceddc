//! The connections for reads: a few for each serving thread, on which its requests are pipelined. They are opened when they are needed,
//! and the least busy one is taken.

use crate::failure;
use crate::server::Server;
use crate::wire::{Connection, Together};
use mainstay_model::Result;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A thread's connections to one server.
pub(crate) struct Lanes {
    lanes: Box<[Lane]>,
}

#[derive(Default)]
struct Lane {
    current: Mutex<Option<Connection>>,
    /// One opens, the others wait for it.
    opening: tokio::sync::Mutex<()>,
    /// One more is being opened behind everybody's back.
    growing: AtomicBool,
}

impl Lane {
    fn get(&self) -> Option<Connection> {
        let mut current = self.current.lock();
        match &*current {
            Some(connection) if connection.is_closed() => {
                *current = None;
                None
            }
            current => current.clone(),
        }
    }
}

thread_local! {
    static HERE: RefCell<Vec<(u64, Arc<Lanes>)>> = const { RefCell::new(Vec::new()) };
}

impl Lanes {
    /// This thread's.
    fn here(server: &Server) -> Arc<Lanes> {
        HERE.with_borrow_mut(|here| {
            if let Some((_, lanes)) = here.iter().find(|(id, _)| *id == server.id) {
                return lanes.clone();
            }
            let count = server.config.read_connections.max(1);
            let lanes = Arc::new(Lanes {
                lanes: (0..count).map(|_| Lane::default()).collect(),
            });
            let mut all = server.lanes.lock();
            all.retain(|lanes| lanes.strong_count() > 0);
            all.push(Arc::downgrade(&lanes));
            // Of stores that are gone nothing is kept.
            here.retain(|(_, lanes)| lanes.lanes.iter().any(|lane| lane.current.lock().is_some()));
            here.push((server.id, lanes.clone()));
            lanes
        })
    }

    /// Lets go of all.
    pub fn clear(&self) {
        for lane in &self.lanes {
            lane.current.lock().take();
        }
    }

    /// A connection on which a read would join others.
    pub fn joinable(server: &Server, together: &Together) -> Option<Connection> {
        let lanes = Lanes::here(server);
        let mut open = lanes.lanes.iter().filter_map(Lane::get);
        open.find(|connection| connection.can_join(together))
    }

    /// A connection to send a read on. Errors: 08001 and the like when there is none to be had, 53300 when too many wait.
    pub async fn take(server: &Arc<Server>) -> Result<Connection> {
        if server.is_closed() {
            return Err(failure::closed());
        }
        let lanes = Lanes::here(server);
        let mut best: Option<(usize, Connection)> = None;
        let mut vacant = None;
        for (at, lane) in lanes.lanes.iter().enumerate() {
            let Some(connection) = lane.get() else {
                vacant.get_or_insert(at);
                continue;
            };
            let busy = connection.in_flight();
            if busy == 0 {
                return Ok(connection);
            }
            if best.as_ref().is_none_or(|(least, _)| busy < *least) {
                best = Some((busy, connection));
            }
        }
        match (best, vacant) {
            (Some((_, connection)), Some(at)) => {
                if !lanes.lanes[at].growing.swap(true, Ordering::AcqRel) {
                    let (lanes, server) = (lanes.clone(), server.clone());
                    tokio::spawn(async move {
                        if let Ok(connection) = server.connect().await {
                            *lanes.lanes[at].current.lock() = Some(connection);
                        }
                        lanes.lanes[at].growing.store(false, Ordering::Release);
                    });
                }
                Ok(connection)
            }
            (Some((busy, _)), None) if busy >= server.config.read_queue => Err(failure::queue_full(
                "reads",
                server.config.read_queue * lanes.lanes.len(),
            )),
            (Some((_, connection)), None) => Ok(connection),
            (None, vacant) => {
                let lane = &lanes.lanes[vacant.unwrap_or(0)];
                let _one = lane.opening.lock().await;
                if let Some(connection) = lane.get() {
                    return Ok(connection);
                }
                let connection = match server.connect().await {
                    Ok(connection) => connection,
                    // A server that has no more to give has given them for writes.
                    Err(error) => server.pool.idle().ok_or_else(|| server.refusal(&error))?,
                };
                if server.is_closed() {
                    return Err(failure::closed());
                }
                *lane.current.lock() = Some(connection.clone());
                Ok(connection)
            }
        }
    }
}
