//! One worker: a thread with a runtime of its own, its share of the connections, and its pool towards every server.
//!
//! Nothing on the way of a request is shared with other workers but counters, health and the limiter.

use crate::client::Pools;
use crate::compress::Memo;
use crate::connection::{Driven, Order, Socket, State, Watch};
use crate::express::Express;
use crate::forwarded;
use crate::refusal::{self, Refusal};
use crate::request;
use crate::site::Site;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_telemetry::{Fact, emit};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a connection whose client still sends is listened to after a refusal, so that the refusal arrives: closing
/// with unread bytes would have the kernel reset the connection and throw the answer away.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 << 20;

/// What all workers share about the gateway as it runs.
pub(crate) struct Shared {
    pub(crate) open: AtomicUsize,
    pub(crate) cut: AtomicUsize,
    /// Open connections by client address.
    pub(crate) by_address: Mutex<HashMap<IpAddr, usize>>,
    /// How many requests each worker may have in flight.
    pub(crate) in_flight_max: usize,
}

/// What the requests of one worker share.
pub(crate) struct Worker {
    pub(crate) site: Arc<Site>,
    pub(crate) pools: Rc<Pools>,
    pub(crate) memo: Memo,
    pub(crate) express: Express,
    /// Requests that this worker is answering.
    in_flight: Cell<usize>,
    /// Milliseconds since the worker began, as of its last tick.
    clock: Rc<Cell<u64>>,
    /// Seconds since 1970, as of the same.
    unix: Cell<u64>,
    connections: RefCell<FxHashMap<u64, Rc<State>>>,
    shared: Arc<Shared>,
}

impl Shared {
    /// Counts a connection in, unless there are too many already.
    fn admit(&self, peer: IpAddr, site: &Site) -> Result<(), &'static str> {
        if self.open.fetch_add(1, Relaxed) >= site.limits.connections_max {
            self.open.fetch_sub(1, Relaxed);
            return Err("The gateway has as many connections as it may have (gateway.limits.connections)");
        }
        let mut by_address = self.by_address.lock();
        let own = by_address.entry(peer).or_default();
        // A proxy that speaks for many is one address.
        if *own >= site.limits.connections_per_address_max && !site.proxies.iter().any(|p| p.contains(peer)) {
            self.open.fetch_sub(1, Relaxed);
            return Err("Your address has as many connections as it may have (gateway.limits.connections_per_address)");
        }
        *own += 1;
        Ok(())
    }

    fn leave(&self, peer: IpAddr) {
        self.open.fetch_sub(1, Relaxed);
        let mut by_address = self.by_address.lock();
        if let Some(own) = by_address.get_mut(&peer) {
            *own -= 1;
            if *own == 0 {
                by_address.remove(&peer);
            }
        }
    }
}

impl Worker {
    /// The worker's clock, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.get()
    }

    /// Seconds since 1970, to within a quarter of one.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.unix.get()
    }

    /// Takes one of the requests that may be in flight.
    pub(crate) fn take(self: &Rc<Worker>) -> Result<Taken, Refusal> {
        if self.in_flight.get() >= self.shared.in_flight_max {
            return Err(refusal::gateway_full(self.site.limits.in_flight_max));
        }
        self.in_flight.set(self.in_flight.get() + 1);
        Ok(Taken(self.clone()))
    }
}

/// One request in flight.
pub(crate) struct Taken(Rc<Worker>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// Serves `listeners` until told to stop, then drains.
pub(crate) fn run(
    listeners: Vec<std::net::TcpListener>,
    site: Arc<Site>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    runtime.block_on(async move {
        let clock = Rc::new(Cell::new(0));
        let worker = Rc::new(Worker {
            pools: Rc::new(Pools::new(site.servers(), clock.clone())),
            memo: Memo::default(),
            express: Express::new(site.limits.express_bytes_max),
            in_flight: Cell::default(),
            clock,
            unix: Cell::new(unix_seconds()),
            connections: RefCell::default(),
            shared,
            site,
        });
        let ticking = tokio::task::spawn_local(tick(worker.clone()));
        let mut accepting = Vec::new();
        for listener in listeners {
            let listener = TcpListener::from_std(listener)?;
            accepting.push(tokio::task::spawn_local(accept(worker.clone(), listener, stop.clone())));
        }
        for task in accepting {
            let _ = task.await;
        }
        drain(&worker).await;
        ticking.abort();
        Ok(())
    })
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let builder = Rc::new(builder(&worker.site));
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                number += 1;
                welcome(&worker, &builder, stream, forwarded::canonical(address.ip()), number);
            }
            // Out of descriptors or memory: what is there must end before there can be more.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) =>
            {
                mainstay_telemetry::warn!("gateway", "a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(_) => {}
        }
    }
}

fn builder(site: &Site) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // One buffer and one `write` per answer, as measured the fastest. hyper's `pipeline_flush` has the same effect and two
    // more: an answer that ends the connection is lost if the client has sent anything after its request, and a stream is
    // buffered without bound for a client that reads slowly.
    builder
        .writev(false)
        .header_read_timeout(None)
        .max_header_size(site.limits.head_bytes_max);
    // hyper keeps up to 100 fields without an allocation, unless it is told a number.
    if site.limits.headers_max != 100 {
        builder.max_headers(site.limits.headers_max);
    }
    builder
}

fn welcome(worker: &Rc<Worker>, builder: &Rc<http1::Builder>, stream: TcpStream, peer: IpAddr, number: u64) {
    if let Err(message) = worker.shared.admit(peer, &worker.site) {
        emit(&Fact::ConnectionClosed { reason: "limit" });
        let words = refusal::raw(&Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "GW402", message));
        // Kept until the client has had a moment to send its request, lest the answer be reset away.
        tokio::task::spawn_local(async move {
            let _ = stream.try_write(&words);
            linger(stream).await;
        });
        return;
    }
    let _ = stream.set_nodelay(true);
    let state = Rc::new(State::new(peer, worker.clock.get()));
    // Listeners number their connections each for itself; the address of the state tells them apart for its lifetime.
    let key = Rc::as_ptr(&state) as u64 ^ number.rotate_left(48);
    worker.connections.borrow_mut().insert(key, state.clone());
    let socket = Socket::new(stream, state.clone(), worker.clone());
    let service = {
        let (worker, state) = (worker.clone(), state.clone());
        service_fn(move |request| request::answer(&worker, &state, request))
    };
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    let leaving = Leaving {
        worker: worker.clone(),
        key,
        peer,
    };
    tokio::task::spawn_local(async move {
        let ended = Driven::new(connection, state).await;
        // The client no longer counts, but what it still sends is taken for a moment.
        drop(leaving);
        if let Some(stream) = ended {
            linger(stream).await;
        }
    });
}

async fn linger(mut stream: TcpStream) {
    let _ = tokio::time::timeout(LINGER, async {
        let mut buf = vec![0; 16 << 10];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(n) = stream.read(&mut buf).await {
            left = left.saturating_sub(n);
            if n == 0 || left == 0 {
                break;
            }
        }
    })
    .await;
}

/// Takes a connection off the books however its task ends.
struct Leaving {
    worker: Rc<Worker>,
    key: u64,
    peer: IpAddr,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.key);
        self.worker.shared.leave(self.peer);
    }
}

/// Moves the worker's clock, and looks after connections whose time is up.
async fn tick(worker: Rc<Worker>) {
    let begin = Instant::now();
    let limits = &worker.site.limits;
    let watch = Watch {
        head: limits.head_timeout.as_millis() as u64,
        idle: limits.idle_timeout.as_millis() as u64,
        stall: limits.stall_timeout.as_millis() as u64,
        request: limits.request_timeout.as_millis() as u64,
    };
    let shortest = limits
        .head_timeout
        .min(limits.idle_timeout)
        .min(limits.stall_timeout)
        .min(limits.request_timeout);
    let every = (shortest / 4).clamp(Duration::from_millis(20), Duration::from_millis(250));
    let timeouts: Vec<Duration> = worker
        .site
        .groups
        .iter()
        .flat_map(|g| g.servers.iter().map(|_| g.config.idle_timeout))
        .collect();
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u64;
    loop {
        interval.tick().await;
        let now = begin.elapsed().as_millis() as u64;
        worker.clock.set(now);
        worker.unix.set(unix_seconds());
        for state in worker.connections.borrow().values() {
            if let Some((order, reason)) = state.overdue(now, &watch) {
                emit(&Fact::ConnectionClosed { reason });
                state.order(order);
            }
        }
        ticks += 1;
        if ticks.is_multiple_of(8) {
            worker
                .pools
                .sweep(|server| timeouts.get(server).copied().unwrap_or_default());
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Lets what is in flight end, as long as there is time.
async fn drain(worker: &Worker) {
    for state in worker.connections.borrow().values() {
        state.order(Order::Drain);
    }
    let deadline = tokio::time::Instant::now() + worker.site.limits.drain_timeout;
    while !worker.connections.borrow().is_empty() {
        if tokio::time::Instant::now() >= deadline {
            worker.shared.cut.fetch_add(worker.connections.borrow().len(), Relaxed);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
