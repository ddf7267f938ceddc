//! The connections for reads: a few for each serving thread, on which its requests are pipelined. They are opened when they are needed,
//! and the least busy one is taken. Where all of them wait for one answer that does not come (a locked table), reads of other tables get
//! connections of their own.

use crate::about::About;
use crate::failure;
use crate::server::Server;
use crate::wire::{Connection, Together};
use mainstay_model::Result;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A connection whose front waits longer holds up those behind it.
const STUCK: Duration = Duration::from_millis(100);

/// Connections that a thread opens beside its own for those who would be held up, each for what one table or function is asked.
const SPARE: usize = 4;

/// A thread's connections to one server.
pub(crate) struct Lanes {
    lanes: Box<[Lane]>,
    spare: Mutex<Vec<(About, Connection)>>,
    /// How many those are.
    spares: AtomicUsize,
    /// One opens, the others wait for it.
    sparing: tokio::sync::Mutex<()>,
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
                spare: Mutex::default(),
                spares: AtomicUsize::new(0),
                sparing: tokio::sync::Mutex::default(),
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
        self.spare.lock().clear();
        self.spares.store(0, Ordering::Relaxed);
    }

    /// A connection on which a read would join others.
    pub fn joinable(server: &Server, together: &Together) -> Option<Connection> {
        let lanes = Lanes::here(server);
        let mut open = lanes.lanes.iter().filter_map(Lane::get);
        open.find(|connection| connection.can_join(together))
    }

    /// A connection to send a read on. Errors: 08001 and the like when there is none to be had, 53300 when too many wait.
    pub async fn take(server: &Arc<Server>, about: About) -> Result<Connection> {
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
                lanes.let_spares_go();
                return Ok(connection);
            }
            if best.as_ref().is_none_or(|(least, _)| busy < *least) {
                best = Some((busy, connection));
            }
        }
        if let Some((_, least)) = &best
            && least.front_waits() > STUCK
        {
            return lanes.past(server, about, least.clone(), vacant).await;
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
            (None, vacant) => lanes.open(server, vacant.unwrap_or(0)).await,
        }
    }

    /// A connection for a read that was held up on one: what looks as if it moved may not.
    pub async fn beside(server: &Arc<Server>, about: About) -> Result<Connection> {
        if server.is_closed() {
            return Err(failure::closed());
        }
        match Lanes::here(server).spare(server, about).await {
            Some(connection) => Ok(connection),
            None => Lanes::take(server, about).await,
        }
    }

    async fn open(&self, server: &Arc<Server>, at: usize) -> Result<Connection> {
        let lane = &self.lanes[at];
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

    /// A connection when the least busy one is held up: another that is not, else one beside them.
    async fn past(
        &self,
        server: &Arc<Server>,
        about: About,
        least: Connection,
        vacant: Option<usize>,
    ) -> Result<Connection> {
        if let Some(at) = vacant {
            return Ok(self.open(server, at).await.unwrap_or(least));
        }
        let lanes = self.lanes.iter().filter_map(Lane::get);
        let lively = lanes
            .filter(|lane| lane.front_waits() <= STUCK)
            .min_by_key(Connection::in_flight);
        let connection = match lively {
            Some(lane) => lane,
            None => self.spare(server, about).await.unwrap_or(least),
        };
        match connection.in_flight() >= server.config.read_queue {
            true => Err(failure::queue_full(
                "reads",
                server.config.read_queue * self.lanes.len(),
            )),
            false => Ok(connection),
        }
    }

    /// The connection beside the others for what is asked about one thing; without one to be had, one that others use and that moves. What
    /// is held up there as well is no better than the rest.
    async fn spare(&self, server: &Arc<Server>, about: About) -> Option<Connection> {
        let _one = self.sparing.lock().await;
        {
            let mut spare = self.spare.lock();
            spare.retain(|(_, connection)| !connection.is_closed());
            self.spares.store(spare.len(), Ordering::Relaxed);
            if let Some((_, own)) = spare.iter().find(|(of, _)| *of == about) {
                return (own.front_waits() <= STUCK).then(|| own.clone());
            }
            if spare.len() >= SPARE {
                let mut lively = spare.iter().filter(|(_, connection)| connection.front_waits() <= STUCK);
                return lively.next().map(|(_, connection)| connection.clone());
            }
        }
        let connection = server.connect().await.ok()?;
        let mut spare = self.spare.lock();
        spare.push((about, connection.clone()));
        self.spares.store(spare.len(), Ordering::Relaxed);
        Some(connection)
    }

    /// What was opened beside the others is closed when they move again.
    fn let_spares_go(&self) {
        if self.spares.load(Ordering::Relaxed) > 0 {
            let mut spare = self.spare.lock();
            spare.retain(|(_, connection)| connection.in_flight() > 0);
            self.spares.store(spare.len(), Ordering::Relaxed);
        }
    }
}
