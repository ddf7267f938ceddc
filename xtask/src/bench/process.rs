//! The servers of a benchmark: started on one core, asked for the CPU time they have used, stopped without a trace.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Place;
use crate::command::{descendants, kill_with_descendants};

/// How long a server may take until it accepts connections.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server; dropping it stops it and all that it started.
pub struct Server {
    /// Where it answers.
    pub address: SocketAddr,
    /// What is measured.
    child: Child,
    /// What it needs beside it (an upstream, a database), which is not measured.
    _beside: Vec<Server>,
}

impl Server {
    /// Starts `program` pinned to the place's core and waits until `address` accepts connections. What it prints goes to
    /// `output.txt` in the place's folder.
    pub fn start(place: &Place<'_>, address: SocketAddr, program: &Path, arguments: &[&str]) -> Result<Server, String> {
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
            child,
            _beside: Vec::new(),
        };
        let end = Instant::now() + START_LIMIT;
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                return Ok(server);
            }
            let ended = server.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > end {
                let printed = std::fs::read_to_string(place.folder.join("output.txt")).unwrap_or_default();
                let reason = ended.map_or("does not listen".to_string(), |status| format!("ended with {status}"));
                return Err(format!("{} {reason}:\n{}", program.display(), printed.trim_end()));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The same server with others that it needs, which live as long as it does and are not measured.
    #[allow(dead_code, reason = "for cases with an upstream or a database")]
    pub fn beside(mut self, others: Vec<Server>) -> Server {
        self._beside.extend(others);
        self
    }

    /// The server's own process: what `taskset` became.
    pub fn process(&self) -> Result<u32, String> {
        Ok(self.child.id())
    }

    /// CPU time used so far by the server and all processes below it, in microseconds.
    pub fn cpu_us(&self) -> Result<f64, String> {
        let total: f64 = descendants(self.child.id()).into_iter().filter_map(cpu_us_of).sum();
        if total > 0.0 {
            Ok(total)
        } else {
            Err("the server is gone".to_string())
        }
    }
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
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
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
