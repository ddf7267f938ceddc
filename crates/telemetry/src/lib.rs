//! What happened, told once: facts in, log lines and metrics out.
//!
//! The other rooms say *what* happened (`emit(&Fact::…)`, `counter(…).inc()`, `info!("room", …)`) and never how it is
//! shown. Here it is decided which line a fact becomes, which counters it moves, and where the bytes go. Nothing in this
//! room blocks the caller on a terminal or a disk: lines are formatted into a buffer of the calling thread, and one
//! background thread writes the buffers out. Every buffer is bounded; what does not fit is dropped and counted.

mod exposition;
mod fact;
mod line;
mod log;
mod metrics;
mod process;
mod record;
mod time;
mod trace;
mod usage;

pub use fact::{Fact, emit};
pub use log::{Config, Format, Level, Output, access_log_enabled, enabled, flush, install, log, log_fields};
pub use metrics::{
    Counter, Gauge, Histogram, MAX_SERIES_PER_FAMILY, Registry, SECONDS_BUCKETS, SIZE_BUCKETS, counter, describe,
    gauge, gauge_fn, histogram, registry,
};
pub use process::start_time;
pub use record::{PhaseTime, RequestRecord, RouteMetrics};
pub use time::{rfc3339_millis, rfc3339_now};
pub use trace::{SpanId, TraceContext, TraceId};

/// Everything the process has counted, in the Prometheus text format (version 0.0.4), with the process' own CPU time,
/// memory and file descriptors. The answer of `/metrics`.
pub fn render_metrics() -> String {
    process::observe();
    exposition::render(registry())
}

/// Logs at level error: something failed that an operator has to look at. `error!("room", "text {}", value)`.
#[macro_export]
macro_rules! error {
    ($room:expr, $($text:tt)+) => { $crate::log($crate::Level::Error, $room, format_args!($($text)+)) };
}

/// Logs at level warn: something is not as it should be, and the process copes.
#[macro_export]
macro_rules! warn {
    ($room:expr, $($text:tt)+) => { $crate::log($crate::Level::Warn, $room, format_args!($($text)+)) };
}

/// Logs at level info: what an operator wants to read on an ordinary day.
#[macro_export]
macro_rules! info {
    ($room:expr, $($text:tt)+) => { $crate::log($crate::Level::Info, $room, format_args!($($text)+)) };
}

/// Logs at level debug: off unless asked for; costs one atomic load when off.
#[macro_export]
macro_rules! debug {
    ($room:expr, $($text:tt)+) => {
        if $crate::enabled($crate::Level::Debug) { $crate::log($crate::Level::Debug, $room, format_args!($($text)+)) }
    };
}
