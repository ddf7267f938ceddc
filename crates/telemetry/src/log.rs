//! Where lines go: a buffer per thread, one background writer, and the level and format that everybody obeys.

use crate::line::Line;
use crate::metrics::counter;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How bad or how detailed a line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// Something failed that an operator has to look at.
    Error = 0,
    /// Something is not as it should be, and the process copes.
    Warn = 1,
    /// What an operator wants to read on an ordinary day.
    Info = 2,
    /// Everything, for finding a fault.
    Debug = 3,
}

impl Level {
    /// The level's name as it is written and configured.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The level of that name.
    pub fn parse(name: &str) -> Option<Level> {
        [Level::Error, Level::Warn, Level::Info, Level::Debug]
            .into_iter()
            .find(|l| l.name() == name)
    }
}

/// What a line looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `Text` if the output is a terminal, `Json` otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// Where lines are written.
pub enum Output {
    /// Standard error, so that standard output stays free for what a program prints on purpose.
    Stderr,
    /// Standard output.
    Stdout,
    /// Anything else.
    Writer(Box<dyn Write + Send>),
}

/// What logging is to do.
pub struct Config {
    /// Lines above this level are not written.
    pub level: Level,
    /// What a line looks like.
    pub format: Format,
    /// Where lines go.
    pub output: Output,
    /// Whether every request leaves a line. Metrics count requests either way.
    pub access_log: bool,
    /// Most bytes one thread may hold unwritten; what exceeds it is dropped and counted in
    /// `mainstay_log_lines_dropped_total`.
    pub buffer_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            level: Level::Info,
            format: Format::Auto,
            output: Output::Stderr,
            access_log: true,
            buffer_bytes_max: 1 << 20,
        }
    }
}

const WRITE_EVERY: Duration = Duration::from_millis(100);

/// One thread's unwritten lines. The lock is contended only in the moment the writer swaps the buffer out.
type Buffer = Arc<Mutex<Vec<u8>>>;

struct Log {
    format: Format,
    buffer_bytes_max: usize,
    buffers: Mutex<Vec<Buffer>>,
    output: Mutex<Output>,
    wake: (Mutex<bool>, Condvar),
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static ACCESS: AtomicBool = AtomicBool::new(true);
static LOG: OnceLock<Log> = OnceLock::new();

/// Says how to log, once, at start. `false` if something has logged before, which fixes the defaults.
pub fn install(config: Config) -> bool {
    crate::process::start_time();
    let mut config = Some(config);
    let log = LOG.get_or_init(|| {
        let config = config.take().unwrap_or_default();
        LEVEL.store(config.level as u8, Relaxed);
        ACCESS.store(config.access_log, Relaxed);
        let terminal = match &config.output {
            Output::Stderr => std::io::stderr().is_terminal(),
            Output::Stdout => std::io::stdout().is_terminal(),
            Output::Writer(_) => false,
        };
        let format = match config.format {
            Format::Auto if terminal => Format::Text,
            Format::Auto => Format::Json,
            chosen => chosen,
        };
        let spawned = std::thread::Builder::new().name("log".into()).spawn(write_out);
        if spawned.is_err() {
            let text = b"mainstay: no thread for the log writer; lines are written only when the process ends\n";
            let _ = std::io::stderr().write_all(text);
        }
        Log {
            format,
            buffer_bytes_max: config.buffer_bytes_max,
            buffers: Mutex::default(),
            output: Mutex::new(config.output),
            wake: Default::default(),
        }
    });
    let _ = log;
    config.is_none()
}

fn installed() -> &'static Log {
    if let Some(log) = LOG.get() {
        return log;
    }
    install(Config::default());
    LOG.wait()
}

/// Whether lines of that level are written.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Relaxed)
}

/// Whether requests leave a line.
#[inline]
pub fn access_log_enabled() -> bool {
    ACCESS.load(Relaxed)
}

/// Writes one line. `room` is the part of the house that speaks.
pub fn log(level: Level, room: &str, text: fmt::Arguments<'_>) {
    log_fields(level, room, text, &[]);
}

/// Writes one line with named values beside its text.
pub fn log_fields(level: Level, room: &str, text: fmt::Arguments<'_>, fields: &[(&str, &dyn fmt::Display)]) {
    if !enabled(level) {
        return;
    }
    write_line(level <= Level::Warn, |line| {
        let text = match text.as_str() {
            Some(fixed) => std::borrow::Cow::Borrowed(fixed),
            None => text.to_string().into(),
        };
        if line.is_json() {
            line.text("level", level.name());
            line.text("room", room);
            line.text("text", &text);
        } else {
            line.word(level.name());
            line.word(room);
            line.word(&text);
        }
        for (key, value) in fields {
            line.text(key, &value.to_string());
        }
    });
}

thread_local!(static MINE: Buffer = {
    let buffer = Buffer::default();
    installed().buffers.lock().push(buffer.clone());
    buffer
});

/// Formats a line into this thread's buffer. `urgent` wakes the writer at once.
pub(crate) fn write_line(urgent: bool, fill: impl FnOnce(&mut Line<'_>)) {
    let log = installed();
    // A thread that is going away has no buffer any more; its last words are lost, and counted.
    let kept = MINE.try_with(|buffer| {
        let mut buffer = buffer.lock();
        if buffer.len() >= log.buffer_bytes_max {
            return false;
        }
        let mut line = Line::begin(&mut buffer, log.format);
        fill(&mut line);
        line.end();
        true
    });
    if kept != Ok(true) {
        counter("mainstay_log_lines_dropped_total", &[]).inc();
    }
    if urgent {
        *log.wake.0.lock() = true;
        log.wake.1.notify_one();
    }
}

fn write_out() {
    let log = LOG.wait();
    loop {
        {
            let mut woken = log.wake.0.lock();
            if !*woken {
                log.wake.1.wait_for(&mut woken, WRITE_EVERY);
            }
            *woken = false;
        }
        flush();
    }
}

/// Writes out everything that has been logged so far, by the caller's own hand: what a process does last.
pub fn flush() {
    let Some(log) = LOG.get() else { return };
    let mut output = log.output.lock();
    let buffers: Vec<Buffer> = log.buffers.lock().clone();
    for buffer in &buffers {
        let lines = std::mem::take(&mut *buffer.lock());
        if lines.is_empty() {
            continue;
        }
        // An output that fails (a closed pipe) must not take the process down: there is nobody to tell.
        let _ = match &mut *output {
            Output::Stderr => std::io::stderr().lock().write_all(&lines),
            Output::Stdout => std::io::stdout()
                .lock()
                .write_all(&lines)
                .and_then(|()| std::io::stdout().flush()),
            Output::Writer(writer) => writer.write_all(&lines).and_then(|()| writer.flush()),
        };
        // Hand the memory back, so that a busy thread does not grow a new buffer ten times a second.
        let mut mine = buffer.lock();
        if mine.is_empty() && lines.capacity() <= 256 * 1024 {
            *mine = lines;
            mine.clear();
        }
    }
    drop(buffers);
    // Buffers of threads that have ended: only the list knows them, and they are empty now.
    log.buffers
        .lock()
        .retain(|buffer| Arc::strong_count(buffer) > 1 || !buffer.lock().is_empty());
}
