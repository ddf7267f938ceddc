//! What a command tells: the one way to standard output and to standard error. Whoever reads may go away at any time, and what they
//! are on may be full; neither is a reason to leave work half done, and neither is a panic.

use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;

/// The first failure to write to standard output; nothing is written after it.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// A line, or with `say!(in pieces …)` a text that brings its line ends along, on standard output.
macro_rules! say {
    (in pieces $($text:tt)+) => { $crate::output::print(format_args!($($text)+), "") };
    ($($text:tt)+) => { $crate::output::print(format_args!($($text)+), "\n") };
}

/// A line on standard error, if anybody listens there.
macro_rules! complain {
    ($($text:tt)+) => { $crate::output::print_error(format_args!($($text)+)) };
}

pub(crate) use {complain, say};

/// See [`say!`].
pub fn print(text: fmt::Arguments<'_>, end: &str) {
    let mut failed = FAILED.lock().unwrap_or_else(|e| e.into_inner());
    if failed.is_none() {
        *failed = write(&mut io::stdout().lock(), text, end).err();
    }
}

fn write(to: &mut dyn Write, text: fmt::Arguments<'_>, end: &str) -> io::Result<()> {
    to.write_fmt(text)?;
    to.write_all(end.as_bytes())?;
    to.flush()
}

/// A line that is not the command's work, but only tells of it: whoever says it decides what its loss means.
pub fn announce(text: fmt::Arguments<'_>) -> io::Result<()> {
    write(&mut io::stdout().lock(), text, "\n")
}

/// See [`complain!`].
pub fn print_error(text: fmt::Arguments<'_>) {
    // Where not even this can be written, there is nowhere left to say so.
    let _ = write(&mut io::stderr().lock(), text, "\n");
}

/// Draws over the line of a terminal on standard error.
pub fn draw(text: fmt::Arguments<'_>) {
    let _ = write(&mut io::stderr().lock(), text, "");
}

/// Why what was said is not on standard output. A reader who has gone away has read enough: that is no failure.
pub fn lost() -> Option<String> {
    let failed = FAILED.lock().unwrap_or_else(|e| e.into_inner());
    let failed = failed.as_ref().filter(|e| e.kind() != io::ErrorKind::BrokenPipe)?;
    Some(format!(
        "standard output cannot be written: {failed}; what was to be done is done"
    ))
}
