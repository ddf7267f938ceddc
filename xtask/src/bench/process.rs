//! The servers of a benchmark: started on one core, asked for the CPU time they have used, stopped without a trace.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Place;
use crate::command::{descendants, kill_with_descendants};

/// How long a server may take until it accepts connections.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long after a load the CPU time of processes that ended with it is known.
pub const SETTLES: Duration = Duration::from_millis(300);

/// A running server; dropping it stops it and all that it started.
pub struct Server {
    /// Where it answers.
    pub address: SocketAddr,
    /// Its folder, where a database has its socket.
    pub folder: PathBuf,
    /// What is measured.
    child: Child,
    /// What it needs beside it (an upstream), which is not measured.
    _beside: Vec<Server>,
    /// The database that it asks, which is measured by itself.
    database: Option<Box<Server>>,
    /// Whether it is itself the database, and asked without a server between.
    is_database: bool,
}

impl Server {
    /// Starts `program` pinned to the place's core and waits until `address` accepts connections. What it prints goes to
    /// `output.txt` in the place's folder.
    pub fn start(place: &Place<'_>, address: SocketAddr, program: &Path, arguments: &[&str]) -> Result<Server, String> {
        let listens = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok();
        Server::start_until(place, address, program, arguments, &listens)
    }

    /// As [`Server::start`], for what does not listen on an address: `is_ready` says when it answers.
    pub fn start_until(
        place: &Place<'_>,
        address: SocketAddr,
        program: &Path,
        arguments: &[&str],
        is_ready: &dyn Fn() -> bool,
    ) -> Result<Server, String> {
        let output = std::fs::File::create(place.folder.join("output.txt")).map_err(|error| error.to_string())?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new("taskset")
            .args(["-c", &place.core.to_string()])
            .arg(program)
            .args(arguments)
            .current_dir(place.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("taskset {}: {error}", program.display()))?;
        let mut server = Server {
            address,
            folder: place.folder.to_owned(),
            child,
            _beside: Vec::new(),
            database: None,
            is_database: false,
        };
        let end = Instant::now() + START_LIMIT;
        loop {
            let ended = server.child.try_wait().ok().flatten();
            // Only what still runs is ready: another server's socket may lie where its own will.
            if ended.is_none() && is_ready() {
                return Ok(server);
            }
            if ended.is_some() || Instant::now() > end {
                let printed = std::fs::read_to_string(place.folder.join("output.txt")).unwrap_or_default();
                let reason = ended.map_or("does not listen".to_string(), |status| format!("ended with {status}"));
                return Err(format!("{} {reason}:\n{}", program.display(), printed.trim_end()));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The same server with others that it needs, which live as long as it does and are not measured.
    pub fn beside(mut self, others: Vec<Server>) -> Server {
        self._beside.extend(others);
        self
    }

    /// The same server with the database that it asks.
    pub fn over(mut self, database: Server) -> Server {
        self.database = Some(Box::new(database));
        self
    }

    /// The same server as a database that is asked without a server between.
    pub fn as_database(mut self) -> Server {
        self.is_database = true;
        self
    }

    /// The server's own process: what `taskset` became.
    pub fn process(&self) -> Result<u32, String> {
        Ok(self.child.id())
    }

    /// CPU time used so far: by the server and all processes below it, and by its database.
    pub fn used(&self) -> Result<Used, String> {
        // A database's process for a connection is gone when the connection is; its parent knows what it used.
        let processes = descendants(self.child.id()).into_iter();
        let total: f64 = processes
            .filter_map(|process| Some(cpu_us_of(process)? + ended_cpu_us(process)))
            .sum();
        if total <= 0.0 {
            return Err("the server is gone".to_string());
        }
        if self.is_database {
            return Ok(Used {
                server: 0.0,
                database: total,
            });
        }
        let database = match &self.database {
            Some(database) => database.used()?.server,
            None => 0.0,
        };
        Ok(Used {
            server: total,
            database,
        })
    }
}

/// CPU time in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    pub server: f64,
    pub database: f64,
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_with_descendants(self.child.id());
        let _ = self.child.wait();
    }
}

/// CPU time of one process: the scheduler's nanoseconds of its threads, or the kernel's ticks of 10 ms where those are not kept.
fn cpu_us_of(process: u32) -> Option<f64> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    let sum: u64 = nanoseconds.sum();
    if sum > 0 {
        return Some(sum as f64 / 1_000.0);
    }
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    ticks_us(&stat, 11)
}

/// CPU time of a process' children that have ended, in microseconds; the kernel counts it in ticks of 10 ms.
pub fn ended_cpu_us(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    ticks_us(&stat, 13).unwrap_or(0.0)
}

/// Two numbers of ticks in a `stat` file, behind the name.
fn ticks_us(stat: &str, at: usize) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(at)?.parse::<u64>().ok()? + fields.get(at + 1)?.parse::<u64>().ok()?;
    Some(ticks as f64 * 10_000.0)
}

/// A local address that nobody listens on at the moment.
pub fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// A temporary folder, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new(name: &str) -> Result<Folder, String> {
        let path = std::env::temp_dir().join(format!("mainstay-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A folder inside it, created.
    pub fn inside(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
