//! Reads along with the HTTP parser: what hyper forgives and a gateway must not.
//!
//! hyper accepts `Content-Length` beside `Transfer-Encoding` (and hides the former), repeated equal `Content-Length`s and
//! lines that end in a bare LF. Each of them is a way to make two servers disagree about where a request ends. By the time
//! a handler sees the headers the evidence is gone, so it is collected here, from the bytes on their way in: one `memchr`
//! per line of a head, and a jump over each body.

use crate::refusal::Malformed;

/// Where the next byte belongs.
#[derive(Debug)]
enum At {
    Head,
    /// Inside a body of known length, with so many bytes to go.
    Body(u64),
    /// On the line of a chunk's size, whose digits have been read so far.
    ChunkSize {
        size: u64,
        digits: u8,
        extension: bool,
        cr: bool,
    },
    /// Inside a chunk's data.
    Chunk(u64),
    /// After a chunk's data: CR LF. `true` once the CR is there.
    ChunkEnd(bool),
    /// In the trailer section: bytes of the current line so far, and whether the last was a CR.
    Trailer {
        line: u32,
        cr: bool,
    },
    /// After a fault nothing is followed any more: the connection ends with the answer to it.
    Lost,
}

/// What was found wrong, and in which request of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Counted from 0.
    pub(crate) request: u32,
    pub(crate) malformed: Malformed,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    /// The part of a head's line that came in an earlier read. Bounded, because hyper refuses a head that is too long.
    partial: Vec<u8>,
    lines: u32,
    lengths: u32,
    length: Option<u64>,
    encodings: u32,
    chunked: bool,
    fault: Option<Malformed>,
    heads: u32,
}

/// What a slice of bytes led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Fine,
    /// The head of a request is malformed: it is answered with a refusal.
    Head(Fault),
    /// A body's chunks are malformed: nothing after this can be believed.
    Body,
}

impl Framing {
    pub(crate) fn new() -> Framing {
        Framing {
            at: At::Head,
            partial: Vec::new(),
            lines: 0,
            lengths: 0,
            length: None,
            encodings: 0,
            chunked: false,
            fault: None,
            heads: 0,
        }
    }

    /// Complete heads so far.
    pub(crate) fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn inside_head(&self) -> bool {
        matches!(self.at, At::Head) && (self.lines > 0 || !self.partial.is_empty())
    }

    /// Whether all that has come is whole requests.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.at, At::Head) && !self.inside_head()
    }

    /// Follows `all`, and says how much of it may be passed on: up to the end of a malformed head, or up to the first
    /// byte that must not be in a body.
    pub(crate) fn follow(&mut self, all: &[u8]) -> (Seen, usize) {
        let mut data = all;
        while !data.is_empty() {
            match &mut self.at {
                At::Lost => return (Seen::Fine, all.len() - data.len()),
                At::Head => {
                    let Some(end) = memchr::memchr(b'\n', data) else {
                        self.partial.extend_from_slice(data);
                        return (Seen::Fine, all.len());
                    };
                    let ended = if self.partial.is_empty() {
                        self.line(&data[..end])
                    } else {
                        let mut line = std::mem::take(&mut self.partial);
                        line.extend_from_slice(&data[..end]);
                        let ended = self.line(&line);
                        line.clear();
                        self.partial = line;
                        ended
                    };
                    data = &data[end + 1..];
                    if ended && let Some(malformed) = self.head_ended() {
                        self.at = At::Lost;
                        let fault = Fault {
                            request: self.heads - 1,
                            malformed,
                        };
                        return (Seen::Head(fault), all.len() - data.len());
                    }
                }
                At::Body(left) | At::Chunk(left) => {
                    let step = (*left).min(data.len() as u64);
                    *left -= step;
                    data = &data[step as usize..];
                    if *left == 0 {
                        self.at = if matches!(self.at, At::Body(_)) {
                            At::Head
                        } else {
                            At::ChunkEnd(false)
                        };
                    }
                }
                _ => {
                    if !self.chunk_byte(data[0]) {
                        self.at = At::Lost;
                        return (Seen::Body, all.len() - data.len());
                    }
                    data = &data[1..];
                }
            }
        }
        (Seen::Fine, all.len())
    }

    /// One line of a head, without its LF. `true` if it was the empty one that ends the head.
    fn line(&mut self, line: &[u8]) -> bool {
        let line = match line.split_last() {
            Some((b'\r', line)) => line,
            _ => {
                self.fault.get_or_insert(Malformed::BareLineFeed);
                line
            }
        };
        if line.is_empty() {
            // Empty lines before a request line are skipped (RFC 9112 §2.2).
            if self.lines == 0 {
                self.fault = None;
            }
            return self.lines > 0;
        }
        self.lines += 1;
        if self.lines == 1 {
            return false;
        }
        match line[0] {
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length") {
                    self.lengths += 1;
                    self.length = number(value);
                    if self.lengths > 1 || self.length.is_none() {
                        self.fault.get_or_insert(Malformed::Length);
                    }
                }
            }
            b't' | b'T' => {
                if let Some(value) = value_of(line, b"transfer-encoding") {
                    self.encodings += 1;
                    self.chunked = value.eq_ignore_ascii_case(b"chunked");
                    if self.encodings > 1 || !self.chunked {
                        self.fault.get_or_insert(Malformed::Encoding);
                    }
                }
            }
            _ => {}
        }
        false
    }

    fn head_ended(&mut self) -> Option<Malformed> {
        let both = self.lengths > 0 && self.encodings > 0;
        let fault = if both {
            Some(Malformed::LengthAndEncoding)
        } else {
            self.fault
        };
        self.at = match (self.chunked, self.length) {
            (true, _) => CHUNK_SIZE,
            (false, Some(length)) if length > 0 => At::Body(length),
            _ => At::Head,
        };
        self.heads += 1;
        (
            self.lines,
            self.lengths,
            self.length,
            self.encodings,
            self.chunked,
            self.fault,
        ) = (0, 0, None, 0, false, None);
        fault
    }

    /// One byte of what surrounds the data of chunks (RFC 9112 §7.1). `false` if it must not be there.
    fn chunk_byte(&mut self, byte: u8) -> bool {
        match &mut self.at {
            At::ChunkSize {
                size,
                digits,
                extension,
                cr,
            } => match byte {
                b'\n' if *cr && *digits > 0 => {
                    self.at = if *size == 0 {
                        At::Trailer { line: 0, cr: false }
                    } else {
                        At::Chunk(*size)
                    };
                    true
                }
                _ if *cr || byte == b'\n' => false,
                b'\r' => {
                    *cr = true;
                    *digits > 0
                }
                _ if *extension => true,
                b';' | b' ' | b'\t' => {
                    *extension = true;
                    *digits > 0
                }
                byte => match (byte as char).to_digit(16) {
                    Some(digit) if *digits < 15 => {
                        *size = *size << 4 | u64::from(digit);
                        *digits += 1;
                        true
                    }
                    _ => false,
                },
            },
            At::ChunkEnd(cr) => match (byte, *cr) {
                (b'\r', false) => {
                    *cr = true;
                    true
                }
                (b'\n', true) => {
                    self.at = CHUNK_SIZE;
                    true
                }
                _ => false,
            },
            At::Trailer { line, cr } => match (byte, *cr) {
                (b'\n', true) => {
                    self.at = if *line == 0 {
                        At::Head
                    } else {
                        At::Trailer { line: 0, cr: false }
                    };
                    true
                }
                (b'\n', false) | (_, true) => false,
                (b'\r', false) => {
                    *cr = true;
                    true
                }
                _ => {
                    *line += 1;
                    true
                }
            },
            _ => true,
        }
    }
}

const CHUNK_SIZE: At = At::ChunkSize {
    size: 0,
    digits: 0,
    extension: false,
    cr: false,
};

/// The trimmed value of a header line, if it has that name.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then_some(())?;
    Some(value.strip_prefix(b":")?.trim_ascii())
}

/// Digits and nothing else (RFC 9110 §8.6); a list, a sign or a blank is no length.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows `text` in steps of `step` bytes, as a network might deliver it.
    fn follow(text: &[u8], step: usize) -> (Seen, u32) {
        let mut framing = Framing::new();
        for part in text.chunks(step) {
            let (seen, passed) = framing.follow(part);
            assert!(passed <= part.len() && (seen != Seen::Fine || passed == part.len()));
            if seen != Seen::Fine {
                return (seen, framing.heads());
            }
        }
        (Seen::Fine, framing.heads())
    }

    #[test]
    fn good_requests_are_counted_whatever_their_framing() {
        let text = b"\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Type: x\r\n\r\n\
            POST /a HTTP/1.1\r\nHost: a\r\ncontent-length: 12\r\n\r\nGET / HTTP/1POST /b HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
            5;a=b\r\nab\ncd\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nPUT /c HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /d HTTP/1.1\r\n\r\n";
        for step in 1..=text.len() {
            assert_eq!(follow(text, step), (Seen::Fine, 5), "in steps of {step}");
        }
    }

    #[test]
    fn what_could_split_a_request_in_two_is_found() {
        use Malformed::*;
        for (head, malformed) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LengthAndEncoding),
            ("content-length: 5\r\nCONTENT-LENGTH: 5\r\n", Length),
            ("Content-Length: 5, 5\r\n", Length),
            ("Content-Length: +5\r\n", Length),
            ("Content-Length: 0x5\r\n", Length),
            ("Content-Length:\r\n", Length),
            ("Content-Length: 99999999999999999999999\r\n", Length),
            ("Transfer-Encoding: gzip, chunked\r\n", Encoding),
            ("Transfer-Encoding: identity\r\n", Encoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Encoding),
            ("Transfer-Encoding: \"chunked\"\r\n", Encoding),
            ("Transfer-Encoding: xchunked\r\n", Encoding),
            ("X: a\nY: b\r\n", BareLineFeed),
        ] {
            let text =
                format!("GET /first HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\n{head}\r\n0\r\n\r\n");
            for step in [1, 3, 7, text.len()] {
                let (seen, _) = follow(text.as_bytes(), step);
                assert_eq!(
                    seen,
                    Seen::Head(Fault { request: 1, malformed }),
                    "{head} in steps of {step}"
                );
            }
        }
        let bare = b"GET / HTTP/1.1\nHost: a\n\n";
        assert_eq!(
            follow(bare, 5).0,
            Seen::Head(Fault {
                request: 0,
                malformed: BareLineFeed
            })
        );
    }

    #[test]
    fn broken_chunks_are_found() {
        for body in [
            "5\nhello\r\n",
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "5\r\nhello0\r\n",
            "5\r\nhello\n0\r\n",
            "5 \rx",
            "0\r\n\n",
            "0000000000000000\r\n",
        ] {
            let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            for step in [1, text.len()] {
                assert_eq!(
                    follow(text.as_bytes(), step).0,
                    Seen::Body,
                    "{body:?} in steps of {step}"
                );
            }
        }
    }
}
