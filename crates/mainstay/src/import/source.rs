//! Where rows come from, and where in it a row stands.

use mainstay_model::{Error, Result};
use mainstay_store::{Rows, TextRow};
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A place in a file, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The character in it.
    pub column: u64,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Where, unless it is the file as a whole.
    pub place: Option<Place>,
    /// What.
    pub what: String,
}

impl Trouble {
    /// Of the file as a whole.
    pub fn of(what: impl Into<String>) -> Trouble {
        Trouble {
            place: None,
            what: what.into(),
        }
    }

    /// At a place.
    pub fn at(place: Place, what: impl Into<String>) -> Trouble {
        Trouble {
            place: Some(place),
            what: what.into(),
        }
    }

    /// `products.csv:17:5: what`
    pub fn line_in(&self, file: &str) -> String {
        match self.place {
            Some(Place { line, column }) => format!("{file}:{line}:{column}: {}", self.what),
            None => format!("{file}: {}", self.what),
        }
    }
}

/// A file's rows.
pub trait Records: Send {
    /// The next row; `false` at the end.
    fn next(&mut self, row: &mut TextRow) -> Result<bool, Trouble>;

    /// The line that the last row begins on.
    fn line(&self) -> u64;

    /// Where a value of the last row begins.
    fn place(&self, field: usize) -> Place;
}

impl Records for Box<dyn Records> {
    fn next(&mut self, row: &mut TextRow) -> Result<bool, Trouble> {
        (**self).next(row)
    }

    fn line(&self) -> u64 {
        (**self).line()
    }

    fn place(&self, field: usize) -> Place {
        (**self).place(field)
    }
}

/// What is known while rows go into the store, shared with the progress bar and with whoever reports what went wrong.
#[derive(Default)]
pub struct Progress {
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Rows read.
    pub rows: AtomicU64,
    /// Where the file does not go on as the last entry says, at one line for each row: (row, its line).
    lines: Mutex<Vec<(u64, u64)>>,
    /// What is wrong with the file itself, when that is what ended it.
    trouble: Mutex<Option<Trouble>>,
}

impl Progress {
    /// The line that a row begins on.
    pub fn line_of(&self, row: u64) -> u64 {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let after = lines.partition_point(|(first, _)| *first <= row);
        match after.checked_sub(1).map(|at| lines[at]) {
            Some((first, line)) => line + (row - first),
            None => row + 1,
        }
    }

    /// What was wrong with the file.
    pub fn take_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A file's rows on their way into a store.
pub struct Feed {
    records: Box<dyn Records>,
    width: usize,
    progress: Arc<Progress>,
    rows: u64,
    /// The line that the next row begins on if every row takes one.
    expected_line: u64,
}

impl Feed {
    /// Of rows with `width` values each.
    pub fn new(records: Box<dyn Records>, width: usize, progress: Arc<Progress>) -> Feed {
        Feed {
            records,
            width,
            progress,
            rows: 0,
            expected_line: 0,
        }
    }

    fn fail(&self, trouble: Trouble) -> Error {
        let error = Error::new("22P04", trouble.what.clone());
        *self.progress.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        error
    }
}

impl Rows for Feed {
    fn next(&mut self, row: &mut TextRow) -> Result<bool> {
        match self.records.next(row) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(trouble) => return Err(self.fail(trouble)),
        }
        if let Some(trouble) = misshapen(&*self.records, row, self.width) {
            return Err(self.fail(trouble));
        }
        let line = self.records.line();
        if line != self.expected_line {
            let mut lines = self.progress.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push((self.rows, line));
        }
        self.expected_line = line + 1;
        self.rows += 1;
        self.progress.rows.store(self.rows, Ordering::Relaxed);
        Ok(true)
    }
}

/// Whether a row has another number of values than there are columns.
pub fn misshapen(records: &dyn Records, row: &TextRow, width: usize) -> Option<Trouble> {
    (row.len() != width).then(|| {
        let field = width.min(row.len().saturating_sub(1));
        let place = if row.len() > width {
            records.place(field)
        } else {
            records.place(usize::MAX)
        };
        Trouble::at(
            place,
            format!("the row has {} values, and there are {width} columns", row.len()),
        )
    })
}

/// Counts what is read through it.
pub struct Counted<R> {
    inner: R,
    progress: Arc<Progress>,
}

impl<R> Counted<R> {
    /// Into `progress.bytes`.
    pub fn new(inner: R, progress: Arc<Progress>) -> Counted<R> {
        Counted { inner, progress }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::csv::Csv;
    use super::*;

    #[test]
    fn a_rows_line_is_known_afterwards() {
        let text = b"a,1\n\n\"b\nb\",2\nc,3\nd,4\n";
        let progress = Arc::new(Progress::default());
        let mut feed = Feed::new(Box::new(Csv::new(&text[..], b',')), 2, progress.clone());
        let mut row = TextRow::default();
        while feed.next(&mut row).unwrap() {}
        assert_eq!([0, 1, 2, 3].map(|row| progress.line_of(row)), [1, 3, 5, 6]);
        assert_eq!(progress.lines.lock().unwrap().len(), 3);
        let mut short = Feed::new(Box::new(Csv::new(&b"a,1\nb\nc,d,e\n"[..], b',')), 2, progress.clone());
        assert!(short.next(&mut row).unwrap());
        assert!(short.next(&mut row).is_err());
        assert_eq!(
            progress.take_trouble().unwrap().line_in("f.csv"),
            "f.csv:2:2: the row has 1 values, and there are 2 columns"
        );
    }
}
