//! One log line in the making: the same calls write `key=value` text for people or a JSON object for machines.

use crate::log::Format;

/// Writes one line into a buffer.
pub(crate) struct Line<'a> {
    out: &'a mut Vec<u8>,
    json: bool,
}

impl<'a> Line<'a> {
    /// Begins a line with its time.
    pub(crate) fn begin(out: &'a mut Vec<u8>, format: Format) -> Line<'a> {
        let json = format == Format::Json;
        if json {
            out.extend_from_slice(b"{\"at\":\"");
            crate::time::push_now(out);
            out.push(b'"');
        } else {
            crate::time::push_now(out);
            // People read the clock; the date and the `Z` only take room.
            let end = out.len() - 1;
            out.truncate(end);
            out.drain(end - 23..end - 12);
        }
        Line { out, json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    fn key(&mut self, key: &str) {
        if self.json {
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else {
            self.out.push(b' ');
            self.out.extend_from_slice(key.as_bytes());
            self.out.push(b'=');
        }
    }

    /// A text under a key, escaped.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        if self.json || value.is_empty() || value.bytes().any(|b| b <= b' ' || b == b'"' || b == b'=' || b == 0x7f) {
            self.quoted(value);
        } else {
            self.out.extend_from_slice(value.as_bytes());
        }
    }

    /// A number under a key.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// In text lines only: a bare word that needs no key.
    pub(crate) fn word(&mut self, value: &str) {
        self.out.push(b' ');
        // A control character would let whoever sent it write lines of its own.
        for c in value.chars() {
            if c.is_control() {
                self.out.extend(c.escape_default().map(|c| c as u8));
            } else {
                self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    /// In JSON lines only: a nested object of numbers.
    pub(crate) fn numbers<'n>(&mut self, key: &str, values: impl Iterator<Item = (&'n str, u64)>) {
        self.key(key);
        let mut open = b'{';
        for (name, value) in values {
            self.out.extend_from_slice(&[open, b'"']);
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"\":");
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            open = b',';
        }
        if open == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }

    fn quoted(&mut self, value: &str) {
        self.out.push(b'"');
        let mut from = 0;
        for (i, b) in value.bytes().enumerate() {
            if b >= b' ' && b != b'"' && b != b'\\' && b != 0x7f {
                continue;
            }
            self.out.extend_from_slice(&value.as_bytes()[from..i]);
            from = i + 1;
            match b {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                b => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    self.out.extend_from_slice(&[
                        b'\\',
                        b'u',
                        b'0',
                        b'0',
                        HEX[usize::from(b >> 4)],
                        HEX[usize::from(b & 15)],
                    ]);
                }
            }
        }
        self.out.extend_from_slice(&value.as_bytes()[from..]);
        self.out.push(b'"');
    }

    /// Ends the line.
    pub(crate) fn end(self) {
        if self.json {
            self.out.push(b'}');
        }
        self.out.push(b'\n');
    }
}
