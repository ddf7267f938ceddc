//! A gateway from its configuration to its end.

use crate::authenticate::Authenticate;
use crate::config::{Config, ConfigError};
use crate::explain::Explainer;
use crate::limit::Limiter;
use crate::listener;
use crate::site::Site;
use crate::worker::{self, Shared};
use mainstay_telemetry::{Fact, emit, gauge_fn};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::watch;

/// A gateway that is ready to start.
pub struct Gateway {
    config: Config,
    site: Arc<Site>,
    name: &'static str,
}

/// Why a gateway does not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// No thread could be had.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(error) => error.fmt(f),
            StartError::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{address} is in use: another process listens there. Stop it, or choose another `listen` address"
                )
            }
            StartError::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            StartError::Thread(error) => write!(f, "cannot start a worker thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> StartError {
        StartError::Config(error)
    }
}

impl Gateway {
    /// Checks and compiles a configuration. Without `authenticate`, no route may ask for a token and nobody has an
    /// identity; without `limiter`, requests are counted in this process' memory.
    pub fn new(
        config: Config,
        authenticate: Option<Arc<dyn Authenticate>>,
        limiter: Option<Arc<dyn Limiter>>,
    ) -> Result<Gateway, ConfigError> {
        let site = Arc::new(Site::compile(&config, authenticate, limiter)?);
        Ok(Gateway {
            config,
            site,
            name: "gateway",
        })
    }

    pub(crate) fn named(mut self, name: &'static str) -> Gateway {
        self.name = name;
        self
    }

    /// What tells of requests without their being sent.
    pub fn explainer(&self) -> Explainer {
        Explainer {
            site: self.site.clone(),
        }
    }

    /// Listens and serves, on threads of its own.
    pub fn start(self) -> Result<Running, StartError> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if self.config.workers == 0 {
            cores()
        } else {
            self.config.workers
        };
        let (listeners, addresses) = listener::bind(&self.config.listen, workers, self.config.share_port)
            .map_err(|(address, error)| StartError::Listen(address, error))?;
        let shared = Arc::new(Shared {
            open: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            by_address: Default::default(),
            in_flight_max: self.config.limits.in_flight_max.div_ceil(workers),
        });
        let (stop, stopping) = watch::channel(false);
        let mut threads = Vec::new();
        for (i, listeners) in listeners.into_iter().enumerate() {
            let (site, shared, stopping) = (self.site.clone(), shared.clone(), stopping.clone());
            let name = self.name;
            let spawned = std::thread::Builder::new().name(format!("{name}-{i}")).spawn(move || {
                if let Err(error) = worker::run(listeners, site, shared, stopping) {
                    mainstay_telemetry::error!("gateway", "a worker of the {name} could not run: {error}");
                }
            });
            threads.push(spawned.map_err(StartError::Thread)?);
        }
        for address in &addresses {
            emit(&Fact::Listening {
                what: self.name,
                address: *address,
            });
        }
        let open = Arc::downgrade(&shared);
        gauge_fn("mainstay_connections", &[("listener", self.name)], move || {
            open.upgrade().map_or(0.0, |shared| shared.open.load(Relaxed) as f64)
        });
        Ok(Running {
            addresses,
            shared,
            stop,
            threads,
        })
    }
}

/// A gateway that runs. Dropping it tells it to stop without waiting for it.
pub struct Running {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where it listens, with the ports that it got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// Takes no new connections, and lets requests in flight end. Returns at once; [`Running::wait`] waits.
    pub fn stop(&self) {
        emit(&Fact::Draining {
            connections: self.connections(),
        });
        self.stop.send_replace(true);
    }

    /// Blocks until all workers have ended, at the latest `drain_timeout` after [`Running::stop`]. The number of
    /// connections that had to be cut.
    pub fn wait(mut self) -> usize {
        let begin = Instant::now();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let cut = self.shared.cut.load(Relaxed);
        emit(&Fact::Drained {
            cut,
            took: begin.elapsed(),
        });
        cut
    }

    /// [`Running::stop`] and [`Running::wait`].
    pub fn shutdown(self) -> usize {
        self.stop();
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
