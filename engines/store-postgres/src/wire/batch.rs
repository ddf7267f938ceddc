//! What is asked in one go: statements with their values, written straight into the connection's buffer. One Sync ends it, so that all of
//! it is one transaction unless it says BEGIN.

use super::queue::SYNC;
use bytes::{BufMut, BytesMut};
use mainstay_model::{Error, Result};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A connection keeps statements whose texts have so many bytes: the server holds many times as many for them.
const BYTES_MAX: usize = 1 << 20;
/// A longer statement is prepared each time.
const TEXT_MAX: usize = 32 << 10;

/// Whether a statement may be kept for the next time.
pub(crate) fn is_worth_keeping(sql: &str) -> bool {
    sql.len() <= TEXT_MAX
}

/// Statements that a connection has prepared, by the number of their text.
pub(crate) struct Statements {
    known: FxHashMap<u64, u32>,
    /// How long the texts of those that were prepared are.
    bytes: usize,
    /// Prepared twice by requests that did not wait for one another.
    unwanted: Vec<u32>,
    next: u32,
    max: usize,
    /// Whether statements have names at all.
    named: bool,
}

/// Statements that a batch prepares: they are known once the server has said so.
pub(crate) type Parsed = SmallVec<[(u64, u32); 2]>;

/// A batch being written.
pub(crate) struct Batch<'a> {
    out: &'a mut BytesMut,
    statements: &'a mut Statements,
    parsed: Parsed,
    count: usize,
}

/// The values of a statement being written.
pub(crate) struct Values<'a> {
    out: &'a mut BytesMut,
    count: u16,
}

impl Statements {
    pub fn new(max: usize, named: bool) -> Statements {
        Statements {
            known: FxHashMap::default(),
            bytes: 0,
            unwanted: Vec::new(),
            next: 0,
            max: max.max(16),
            named,
        }
    }

    /// The server has prepared the first `count` of a batch's statements.
    pub fn learn(&mut self, parsed: &[(u64, u32)], count: usize) {
        for &(id, name) in parsed.iter().take(count) {
            if let Some(other) = self.known.insert(id, name) {
                self.unwanted.push(other);
            }
        }
    }

    /// The server knows none any more, or knows them differently.
    pub fn forget(&mut self) {
        self.bytes = 0;
        let known = std::mem::take(&mut self.known);
        self.unwanted.extend(known.into_values());
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(out: &'a mut BytesMut, statements: &'a mut Statements) -> Batch<'a> {
        if statements.known.len() >= statements.max || statements.bytes > BYTES_MAX {
            statements.forget();
        }
        for name in statements.unwanted.drain(..) {
            message(out, b'C', |out| {
                out.put_u8(b'S');
                write_name(Some(name), out);
            });
        }
        Batch {
            out,
            statements,
            parsed: Parsed::new(),
            count: 0,
        }
    }

    /// Adds a statement: the number and the text it is known by, which values come in binary, and which columns are wanted so.
    /// Says which it is.
    pub fn statement(
        &mut self,
        id: u64,
        sql: &str,
        binary: &[bool],
        results: &[bool],
        values: impl FnOnce(&mut Values<'_>) -> Result<()>,
    ) -> Result<usize> {
        self.bind("", id, sql, binary, results, values)?;
        Ok(self.execute("", 0))
    }

    /// Adds the execution of a portal, as far as so many rows; zero is all that are left. Says which it is.
    pub fn execute(&mut self, portal: &str, rows: u32) -> usize {
        message(self.out, b'E', |out| {
            out.put_slice(portal.as_bytes());
            out.put_u8(0);
            out.put_u32(rows);
        });
        self.count += 1;
        self.count - 1
    }

    /// As [`Batch::statement`], as a portal that is not executed yet.
    pub fn bind(
        &mut self,
        portal: &str,
        id: u64,
        sql: &str,
        binary: &[bool],
        results: &[bool],
        values: impl FnOnce(&mut Values<'_>) -> Result<()>,
    ) -> Result<()> {
        let name = if !self.statements.named || !is_worth_keeping(sql) {
            self.parse(None, sql);
            None
        } else if let Some(name) = self.statements.known.get(&id) {
            Some(*name)
        } else if let Some((_, name)) = self.parsed.iter().find(|(known, _)| *known == id) {
            Some(*name)
        } else {
            let name = self.statements.next;
            self.statements.next = name.wrapping_add(1);
            self.statements.bytes += sql.len();
            self.parse(Some(name), sql);
            self.parsed.push((id, name));
            Some(name)
        };
        self.out.put_u8(b'B');
        let start = self.out.len();
        self.out.put_u32(0);
        self.out.put_slice(portal.as_bytes());
        self.out.put_u8(0);
        write_name(name, self.out);
        self.out.put_u16(binary.len() as u16);
        for binary in binary {
            self.out.put_u16(u16::from(*binary));
        }
        let at = self.out.len();
        self.out.put_u16(0);
        let mut written = Values {
            out: self.out,
            count: 0,
        };
        values(&mut written)?;
        let count = written.count;
        if usize::from(count) != binary.len() {
            return Err(Error::internal("a statement's parameters are not those of its text"));
        }
        self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
        self.out.put_u16(results.len() as u16);
        for binary in results {
            self.out.put_u16(u16::from(*binary));
        }
        close_message(self.out, start)
    }

    /// A statement without values whose columns come as text.
    pub fn plain(&mut self, id: u64, sql: &str) -> Result<usize> {
        self.statement(id, sql, &[], &[], |_| Ok(()))
    }

    fn parse(&mut self, name: Option<u32>, sql: &str) {
        message(self.out, b'P', |out| {
            write_name(name, out);
            // A NUL would end the text: the server then says what is wrong with the rest.
            out.put_slice(sql.as_bytes());
            out.put_u8(0);
            out.put_u16(0);
        });
    }

    /// Ends it. What it prepares, and how many statements it is.
    pub(super) fn finish(self) -> (Parsed, usize) {
        self.out.put_slice(SYNC);
        (self.parsed, self.count)
    }
}

impl Values<'_> {
    /// NULL.
    pub fn null(&mut self) {
        self.count += 1;
        self.out.put_i32(-1);
    }

    /// These bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.with(|out| out.put_slice(bytes))
    }

    /// What is written.
    pub fn with(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<()> {
        self.count = self
            .count
            .checked_add(1)
            .ok_or_else(|| Error::new("54000", "a statement has more than 65535 parameters"))?;
        let start = self.out.len();
        self.out.put_u32(0);
        write(self.out);
        let length = i32::try_from(self.out.len() - start - 4)
            .map_err(|_| Error::new("54000", "a value is larger than 2 GB"))?;
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

fn write_name(name: Option<u32>, out: &mut BytesMut) {
    if let Some(mut name) = name {
        let mut digits = [0; 11];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (name % 10) as u8;
            name /= 10;
            if name == 0 {
                break;
            }
        }
        out.put_u8(b'm');
        out.put_slice(&digits[at..]);
    }
    out.put_u8(0);
}

fn message(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    write(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn close_message(out: &mut BytesMut, start: usize) -> Result<()> {
    let length = i32::try_from(out.len() - start)
        .map_err(|_| Error::new("54000", "a statement with its values is larger than 2 GB"))?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_prepared_once() {
        let mut out = BytesMut::new();
        let mut statements = Statements::new(100, true);
        let mut write = |statements: &mut Statements| {
            out.clear();
            let mut batch = Batch::new(&mut out, statements);
            batch
                .statement(7, "select $1", &[false], &[true], |values| values.bytes(b"x"))
                .unwrap();
            let (parsed, _) = batch.finish();
            (out.to_vec(), parsed)
        };
        let (first, parsed) = write(&mut statements);
        assert!(first.starts_with(b"P\0\0\0\x13m0\0select $1\0\0\0"), "{first:?}");
        assert_eq!(&parsed[..], [(7, 0)]);
        // Whoever does not wait for the answer prepares again, under another name.
        let (_, again) = write(&mut statements);
        assert_eq!(&again[..], [(7, 1)]);
        statements.learn(&parsed, 1);
        statements.learn(&again, 1);
        let (bytes, none) = write(&mut statements);
        assert!(bytes.starts_with(b"C\0\0\0\x08Sm0\0B"), "{bytes:?}");
        assert!(none.is_empty());
        assert_eq!(
            &write(&mut statements).0[..],
            b"B\0\0\0\x17\0m1\0\0\x01\0\0\0\x01\0\0\0\x01x\0\x01\0\x01E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"
        );
    }
}
