//! How far an import has come, on one line of a terminal.

use super::source::Progress;
use crate::output::draw;
use mainstay_config::units::{display_duration, display_size};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const WIDTH: u64 = 24;
const BETWEEN: Duration = Duration::from_millis(100);

/// A line that is redrawn until it is dropped; nothing where standard error is no terminal.
pub struct Bar(Option<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Bar {
    /// Of an import into `table`; `total` is the file's length.
    pub fn start(table: &str, progress: Arc<Progress>, total: Option<u64>) -> Bar {
        if !std::io::stderr().is_terminal() {
            return Bar(None);
        }
        let ended = Arc::new(AtomicBool::new(false));
        let (table, until, began) = (table.to_owned(), ended.clone(), Instant::now());
        let drawn = std::thread::spawn(move || {
            while !until.load(Ordering::Acquire) {
                let bytes = progress.bytes.load(Ordering::Relaxed);
                let rows = progress.rows.load(Ordering::Relaxed);
                let line = line(&table, bytes, total, rows, began.elapsed());
                draw(format_args!("\r{line}\x1b[K"));
                std::thread::park_timeout(BETWEEN);
            }
            draw(format_args!("\r\x1b[K"));
        });
        Bar(Some((ended, drawn)))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((ended, drawn)) = self.0.take() {
            ended.store(true, Ordering::Release);
            drawn.thread().unpark();
            let _ = drawn.join();
        }
    }
}

fn line(table: &str, bytes: u64, total: Option<u64>, rows: u64, elapsed: Duration) -> String {
    let rate = (bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let speed = display_size(rate >> 20 << 20);
    let Some(total) = total.filter(|t| *t > 0) else {
        return format!("{table}  {rows} rows  {speed}/s");
    };
    let done = (bytes.min(total) * WIDTH / total) as usize;
    let bar = format!("{}{}", "=".repeat(done), " ".repeat(WIDTH as usize - done));
    let left = total.saturating_sub(bytes).checked_div(rate).map(Duration::from_secs);
    let left = left
        .map(|left| format!("  {} left", display_duration(left)))
        .unwrap_or_default();
    format!(
        "{table}  [{bar}] {:>3}%  {rows} rows  {speed}/s{left}",
        bytes.min(total) * 100 / total
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far() {
        let second = Duration::from_secs(2);
        for (bytes, total, expected) in [
            (
                32 << 20,
                Some(64 << 20),
                "t  [============            ]  50%  7 rows  16MiB/s  2s left",
            ),
            (
                64 << 20,
                Some(64 << 20),
                "t  [========================] 100%  7 rows  32MiB/s  0s left",
            ),
            (32 << 20, None, "t  7 rows  16MiB/s"),
            (0, Some(0), "t  7 rows  0B/s"),
            (0, Some(9), "t  [                        ]   0%  7 rows  0B/s"),
        ] {
            assert_eq!(line("t", bytes, total, 7, second), expected);
        }
    }
}
