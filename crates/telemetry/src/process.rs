//! The process' own figures, under the names Prometheus' client libraries gave them.

use crate::metrics::{describe, gauge};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// When this process started (more exactly: when telemetry was first asked), in seconds since 1970.
pub fn start_time() -> f64 {
    static START: OnceLock<f64> = OnceLock::new();
    *START.get_or_init(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |d| d.as_secs_f64())
    })
}

/// Brings the gauges up to date; called when metrics are read, never on a request.
pub(crate) fn observe() {
    describe(
        "process_cpu_seconds_total",
        "User and system CPU time spent, in seconds.",
    );
    describe("process_resident_memory_bytes", "Resident memory, in bytes.");
    describe("process_open_fds", "Open file descriptors.");
    describe("process_max_fds", "Most file descriptors the process may open.");
    describe("process_threads", "Threads of the process.");
    describe(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
    );
    gauge("process_start_time_seconds", &[]).set(start_time());
    if let Some(micros) = crate::usage::cpu_micros() {
        crate::metrics::registry().set_float_counter("process_cpu_seconds_total", micros as f64 / 1e6);
    }
    if let Ok(text) = std::fs::read_to_string("/proc/self/statm")
        && let Some(pages) = text.split_ascii_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok())
    {
        gauge("process_resident_memory_bytes", &[]).set((pages * crate::usage::page_size()) as f64);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // The directory handle that counts them is one of them.
        gauge("process_open_fds", &[]).set(entries.count().saturating_sub(1) as f64);
    }
    if let Ok(text) = std::fs::read_to_string("/proc/self/limits")
        && let Some(line) = text.lines().find(|l| l.starts_with("Max open files"))
        && let Some(soft) = line.split_ascii_whitespace().nth(3).and_then(|n| n.parse::<f64>().ok())
    {
        gauge("process_max_fds", &[]).set(soft);
    }
    if let Ok(text) = std::fs::read_to_string("/proc/self/status")
        && let Some(n) = text
            .lines()
            .find_map(|l| l.strip_prefix("Threads:"))
            .and_then(|n| n.trim().parse::<f64>().ok())
    {
        gauge("process_threads", &[]).set(n);
    }
}
