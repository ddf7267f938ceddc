//! Processes that a test starts and that end with it.

use crate::Client;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `MAINSTAY_BIN`, or the debug build beside the test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MAINSTAY_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/<profile>/deps");
    let path = folder.join("mainstay");
    assert!(path.exists(), "{} is missing: cargo build -p mainstay", path.display());
    path
}

/// How a process is started.
pub struct Command {
    command: std::process::Command,
    ready: String,
    logs: bool,
}

/// A process, killed when it is dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    log: Arc<Mutex<Vec<String>>>,
    /// What stood behind the word it printed when it was ready.
    pub ready: String,
}

impl Command {
    /// A program that prints a line beginning with `ready` once it can be used.
    pub fn new(program: impl AsRef<OsStr>, ready: &str) -> Command {
        let mut command = std::process::Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Command {
            command,
            ready: ready.to_owned(),
            logs: false,
        }
    }

    /// `mainstay serve` with arguments; its log is kept.
    pub fn serve<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary(), "ready ").arg("serve").args(args);
        command.command.stderr(Stdio::piped());
        command.logs = true;
        command
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Command {
        self.command.args(args);
        self
    }

    /// Where it runs; relative paths start from there.
    pub fn in_dir(mut self, dir: &std::path::Path) -> Command {
        self.command.current_dir(dir);
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Command {
        self.command.env(name, value);
        self
    }

    /// Standard error into a file instead of the test's.
    pub fn errors_to(mut self, path: &std::path::Path) -> Command {
        let file = std::fs::File::create(path).expect("a file for standard error");
        self.command.stderr(file);
        self.logs = false;
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(mut self) -> Process {
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|e| panic!("{:?}: {e}", self.command.get_program()));
        let (sender, lines) = sync_channel(1024);
        let output = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut logger = None;
        if let Some(errors) = child.stderr.take().filter(|_| self.logs) {
            let log = log.clone();
            logger = Some(std::thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    log.lock().unwrap_or_else(|e| e.into_inner()).push(line);
                }
            }));
        }
        let began = Instant::now();
        loop {
            match lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(&self.ready) {
                        return Process {
                            ready: rest.trim().to_owned(),
                            child,
                            lines,
                            log,
                        };
                    }
                }
                Err(_) => {
                    let _ = child.kill();
                    let status = child.wait();
                    logger.map(std::thread::JoinHandle::join);
                    let log = log.lock().unwrap_or_else(|e| e.into_inner()).join("\n");
                    panic!("{:?} was never ready ({status:?})\n{log}", self.command.get_program());
                }
            }
        }
    }

    /// Runs it to its end: whether it succeeded, standard output, standard error.
    pub fn run(mut self) -> (bool, String, String) {
        let output = self.command.stderr(Stdio::piped()).output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }
}

impl Process {
    /// A client of the address it printed.
    pub fn client(&self) -> Client {
        Client::new(&self.ready)
    }

    /// A client of the operators' listener of a `serve`.
    pub fn admin(&self) -> Client {
        const LISTENS: &str = "admin listens on ";
        let address = until("the operators' listener is logged", || {
            let log = self.log.lock().unwrap_or_else(|e| e.into_inner());
            let line = log.iter().find_map(|line| line.split_once(LISTENS))?.1;
            Some(line.trim_end_matches(['}', '"']).to_owned())
        });
        Client::new(&format!("http://{address}"))
    }

    /// What a `serve` has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|s| s.success()), "kill -{name}");
    }

    /// Waits until it has ended by itself; whether with success.
    pub fn ended(mut self) -> bool {
        until("the process ends", || {
            self.child.try_wait().expect("a child").map(|status| status.success())
        })
    }

    /// SIGTERM, and gone when this returns; whether it ended by itself with success.
    pub fn terminate(self) -> bool {
        self.signal("TERM");
        self.ended()
    }

    /// The next line it prints, if one comes in time.
    pub fn line(&self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is something, at most a minute.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
