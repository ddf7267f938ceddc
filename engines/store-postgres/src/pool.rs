//! The connections for writes: each belongs to one transaction at a time. A bounded number of transactions wait, for a bounded time.

use crate::failure;
use crate::server::Server;
use crate::wire::{ConnectError, Connection, Together, WeakConnection};
use mainstay_model::Result;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The connections that are not in use.
pub(crate) struct Pool {
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
}

/// A connection for one transaction. Given back with [`Held::release`]; dropped otherwise, it is closed, and with it what it was doing.
pub(crate) struct Held<'a> {
    connection: Option<Connection>,
    server: &'a Arc<Server>,
    /// `None`: it is held by somebody else, with whom it is shared.
    permit: Option<SemaphorePermit<'a>>,
}

thread_local! {
    /// Connections on which an insertion of this thread has been begun, and has perhaps not left yet.
    static BEGUN: RefCell<Vec<(u64, WeakConnection)>> = const { RefCell::new(Vec::new()) };
}

struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub fn new(connections: usize, queue: usize) -> Pool {
        Pool {
            idle: Mutex::default(),
            permits: Semaphore::new(connections.max(1)),
            waiting: AtomicUsize::new(0),
            queue,
        }
    }

    /// A connection on which an insertion would join others.
    pub fn joinable<'a>(server: &'a Arc<Server>, together: &Together) -> Option<Held<'a>> {
        BEGUN.with_borrow_mut(|begun| {
            let mut found = None;
            begun.retain(|(id, connection)| {
                if *id != server.id || found.is_some() {
                    return true;
                }
                let Some(connection) = connection.upgrade().filter(Connection::is_joinable) else {
                    return false;
                };
                if connection.can_join(together) {
                    found = Some(connection);
                }
                true
            });
            found.map(|connection| Held {
                connection: Some(connection),
                server,
                permit: None,
            })
        })
    }

    /// A connection. Errors: 53300 when too many wait or one waits too long, 08001 and the like when there is none to be had.
    pub async fn take(server: &Arc<Server>) -> Result<Held<'_>> {
        if server.is_closed() {
            return Err(failure::closed());
        }
        let pool = &server.pool;
        let timeout = server.config.queue_timeout;
        let permit = match pool.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                if pool.waiting.fetch_add(1, Ordering::Relaxed) >= pool.queue {
                    pool.waiting.fetch_sub(1, Ordering::Relaxed);
                    return Err(failure::queue_full("writes", pool.queue));
                }
                let _queued = Queued(&pool.waiting);
                match tokio::time::timeout(timeout, pool.permits.acquire()).await {
                    Ok(Ok(permit)) => permit,
                    Ok(Err(_)) => return Err(failure::closed()),
                    Err(_) => return Err(failure::queue_timeout(timeout.as_millis())),
                }
            }
        };
        let connection = match pool.idle() {
            Some(connection) => connection,
            None => pool.open(server).await?,
        };
        Ok(Held {
            connection: Some(connection),
            server,
            permit: Some(permit),
        })
    }

    /// One that is driven on this thread, or any.
    pub fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|connection| !connection.is_closed());
        let at = idle.iter().rposition(Connection::is_at_home);
        match at {
            Some(at) => Some(idle.swap_remove(at)),
            None => idle.pop(),
        }
    }

    /// A new one; where the server has no more to give, one that becomes free.
    async fn open(&self, server: &Arc<Server>) -> Result<Connection> {
        let until = tokio::time::Instant::now() + server.config.queue_timeout;
        loop {
            let error = match server.connect().await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let full = matches!(&error, ConnectError::Server(server) if server.code == "53300");
            if !full || tokio::time::Instant::now() >= until {
                return Err(server.refusal(&error));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            if let Some(connection) = self.idle() {
                return Ok(connection);
            }
        }
    }

    /// Gives a connection back.
    pub fn put(&self, server: &Server, connection: Connection) {
        if !connection.is_closed() && !server.is_closed() {
            self.idle.lock().push(connection);
        }
    }

    /// Closes what nobody uses.
    pub fn drain(&self) {
        self.idle.lock().clear();
    }

    /// Nobody gets one any more.
    pub fn close(&self) {
        self.permits.close();
    }
}

impl Held<'_> {
    /// The connection.
    pub fn connection(&self) -> &Connection {
        // It is there until it is released, which takes `self`.
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("a connection was used after it was given back"),
        }
    }

    /// Others may join what was sent on it, until that leaves.
    pub fn has_begun(&self) {
        if self.permit.is_some() {
            let begun = (self.server.id, self.connection().downgrade());
            BEGUN.with_borrow_mut(|all| all.push(begun));
        }
    }

    /// Gives it back: its transaction is over.
    pub fn release(mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.permit.is_some()) {
            self.server.pool.put(self.server, connection);
        }
    }
}
