//! Answers of upstreams as bytes: their heads, and where their bodies end (RFC 9112 §6 and §7).

use crate::transform;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::ParserConfig;
use smallvec::SmallVec;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header fields of an answer.
const HEADERS_MAX: usize = 128;
/// Most bytes of a chunk's size line or of a trailer section.
const CHUNK_LINE_MAX: usize = 8 << 10;

/// An answer's head.
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// Where the names and the values of a head's fields are.
type Spans = SmallVec<[(Range<usize>, Range<usize>); 16]>;

/// How an answer's body ends (RFC 9112 §6.3).
#[derive(Debug, PartialEq)]
pub(crate) enum Framing {
    /// So many bytes to go.
    Length(u64),
    Chunked(Chunk),
    /// With the connection.
    Close,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Chunk {
    Size,
    Data(u64),
    End,
    Trailers,
}

/// Takes a head off the front of `buf` once it is complete; interim answers are skipped.
pub(crate) fn parse_head(buf: &mut BytesMut, to_head: bool) -> Result<Option<(AnswerHead, Framing, bool)>, String> {
    loop {
        let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let length = match ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, buf, &mut room) {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
            Ok(httparse::Status::Partial) if buf.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(_) => return Err(format!("a head of more than {HEAD_BYTES_MAX} bytes")),
            Err(error) => return Err(format!("not HTTP: {error}")),
        };
        let base = buf.as_ptr() as usize;
        let span = |part: &[u8]| {
            let from = part.as_ptr() as usize - base;
            from..from + part.len()
        };
        let spans = parsed.headers.iter().map(|f| (span(f.name.as_bytes()), span(f.value)));
        let spans: Spans = spans.collect();
        let (status, version) = (parsed.code.unwrap_or(0), parsed.version.unwrap_or(0));
        let head = buf.split_to(length).freeze();
        let status = StatusCode::from_u16(status).map_err(|_| format!("status {status}"))?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("101 to a request that asked for no upgrade".into());
        }
        if status.is_informational() {
            if buf.is_empty() {
                return Ok(None);
            }
            continue;
        }
        return fields(&head, spans, status, version, to_head).map(Some);
    }
}

fn fields(
    head: &Bytes,
    spans: Spans,
    status: StatusCode,
    version: u8,
    to_head: bool,
) -> Result<(AnswerHead, Framing, bool), String> {
    let mut headers = HeaderMap::with_capacity(spans.len());
    let mut length: Option<u64> = None;
    let mut length_at = 0..0;
    let mut encodings = 0;
    let mut chunked = false;
    let mut keep = version == 1;
    let mut named = Vec::new();
    for (name, value) in spans {
        let name = HeaderName::from_bytes(&head[name]).map_err(|_| "a header's name")?;
        let bytes = &head[value.clone()];
        if name == CONTENT_LENGTH {
            for part in bytes.split(|b| *b == b',') {
                let part = part.trim_ascii();
                let digits = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
                let number = std::str::from_utf8(part)
                    .ok()
                    .filter(|_| digits)
                    .and_then(|t| t.parse().ok());
                if number.is_none() || length.is_some_and(|l| Some(l) != number) {
                    return Err("Content-Length".into());
                }
                length = number;
            }
            length_at = value;
            continue;
        }
        if name == TRANSFER_ENCODING {
            encodings += 1;
            chunked = bytes.eq_ignore_ascii_case(b"chunked");
            continue;
        }
        if name == CONNECTION {
            for token in bytes.split(|b| *b == b',') {
                match token.trim_ascii() {
                    t if t.eq_ignore_ascii_case(b"close") => keep = false,
                    t if t.eq_ignore_ascii_case(b"keep-alive") => keep |= version == 0,
                    t => named.extend(HeaderName::from_bytes(t)),
                }
            }
            continue;
        }
        if transform::is_hop_by_hop(&name) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(head.slice(value)).map_err(|_| "a header's value")?;
        headers.append(name, value);
    }
    for name in named {
        headers.remove(name);
    }
    if encodings > 0 {
        // Both together is how answers are smuggled: the length is not believed, nor the connection afterwards.
        if length.take().is_some() {
            keep = false;
        }
        if encodings > 1 || !chunked || version == 0 {
            return Err("Transfer-Encoding".into());
        }
    }
    let bodiless = to_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if let Some(length) = length
        && status != StatusCode::NO_CONTENT
    {
        let written = HeaderValue::from_maybe_shared(head.slice(length_at)).ok();
        let plain = written.filter(|w| itoa::Buffer::new().format(length).as_bytes() == w);
        headers.insert(CONTENT_LENGTH, plain.unwrap_or_else(|| length.into()));
    }
    let framing = match (bodiless, chunked, length) {
        (true, ..) => Framing::Length(0),
        (_, true, _) => Framing::Chunked(Chunk::Size),
        (_, _, Some(length)) => Framing::Length(length),
        _ => {
            keep = false;
            Framing::Close
        }
    };
    Ok((AnswerHead { status, headers }, framing, keep))
}

#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    Data(Bytes),
    End,
    More,
}

/// The next bytes of a body that are in `buf`.
pub(crate) fn take_frame(framing: &mut Framing, buf: &mut BytesMut) -> Result<Taken, &'static str> {
    match framing {
        Framing::Length(0) => Ok(Taken::End),
        Framing::Close if buf.is_empty() => Ok(Taken::More),
        Framing::Close => Ok(Taken::Data(buf.split().freeze())),
        Framing::Length(_) if buf.is_empty() => Ok(Taken::More),
        Framing::Length(left) => {
            let step = (*left).min(buf.len() as u64);
            *left -= step;
            Ok(Taken::Data(buf.split_to(step as usize).freeze()))
        }
        Framing::Chunked(chunk) => loop {
            match chunk {
                Chunk::Size => {
                    let Some(line) = take_line(buf)? else {
                        return Ok(Taken::More);
                    };
                    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                    let rest = line[digits..].trim_ascii_start();
                    if !(1..=15).contains(&digits) || !(rest.is_empty() || rest[0] == b';') {
                        return Err("a chunk's size");
                    }
                    let size = std::str::from_utf8(&line[..digits])
                        .ok()
                        .and_then(|t| u64::from_str_radix(t, 16).ok());
                    *chunk = match size {
                        Some(0) => Chunk::Trailers,
                        Some(size) => Chunk::Data(size),
                        None => return Err("a chunk's size"),
                    };
                }
                Chunk::Data(_) if buf.is_empty() => return Ok(Taken::More),
                Chunk::Data(left) => {
                    let step = (*left).min(buf.len() as u64);
                    *left -= step;
                    if *left == 0 {
                        *chunk = Chunk::End;
                    }
                    return Ok(Taken::Data(buf.split_to(step as usize).freeze()));
                }
                Chunk::End => {
                    if buf.len() < 2 {
                        return Ok(Taken::More);
                    }
                    if &buf[..2] != b"\r\n" {
                        return Err("the end of a chunk");
                    }
                    buf.advance(2);
                    *chunk = Chunk::Size;
                }
                // Trailers are not passed on (RFC 9110 §6.5.1 allows that); they only have to end.
                Chunk::Trailers => match take_line(buf)? {
                    Some(line) if line.is_empty() => return Ok(Taken::End),
                    Some(_) => {}
                    None => return Ok(Taken::More),
                },
            }
        },
    }
}

fn take_line(buf: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
    match memchr::memchr(b'\n', buf) {
        None if buf.len() > CHUNK_LINE_MAX => Err("a line between chunks is too long"),
        None => Ok(None),
        Some(end) if end == 0 || buf[end - 1] != b'\r' => Err("a line between chunks without CR"),
        Some(end) => {
            let mut line = buf.split_to(end + 1);
            line.truncate(end - 1);
            Ok(Some(line.freeze()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, to_head: bool) -> Result<Option<(u16, Framing, bool, String)>, String> {
        let mut buf = BytesMut::from(text);
        let parsed = parse_head(&mut buf, to_head)?;
        Ok(parsed.map(|(head, framing, keep)| {
            let names: Vec<_> = head
                .headers
                .iter()
                .map(|(n, v)| format!("{n}={}", v.to_str().unwrap_or("?")))
                .collect();
            (head.status.as_u16(), framing, keep, names.join(" "))
        }))
    }

    #[test]
    fn framing_follows_the_rules() {
        let chunked = || Framing::Chunked(Chunk::Size);
        for (text, to_head, framing, keep, headers) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\n",
                false,
                Framing::Length(5),
                true,
                "a=b content-length=5",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                true,
                Framing::Length(0),
                true,
                "content-length=5",
            ),
            (
                "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
                false,
                Framing::Length(0),
                true,
                "",
            ),
            (
                "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n",
                false,
                Framing::Length(0),
                true,
                "content-length=5",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                false,
                chunked(),
                true,
                "",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
                chunked(),
                false,
                "",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", false, Framing::Close, false, ""),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
                false,
                Framing::Length(1),
                false,
                "content-length=1",
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                false,
                Framing::Length(1),
                true,
                "content-length=1",
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: Close, X\r\nX: 1\r\nUpgrade: a\r\nContent-Length: 1\r\n\r\n",
                false,
                Framing::Length(1),
                false,
                "content-length=1",
            ),
            (
                "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                false,
                Framing::Length(0),
                true,
                "content-length=0",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\n",
                false,
                Framing::Length(4),
                true,
                "content-length=4",
            ),
        ] {
            let (_, got, kept, names) = parse(text, to_head).expect(text).expect(text);
            assert_eq!((got, kept, names.as_str()), (framing, keep, headers), "{text}");
        }
        for partial in ["HTTP/1.1 200 OK\r\nA: b", "HTTP/1.1 100 C\r\n\r\n", "HT"] {
            assert_eq!(parse(partial, false), Ok(None), "{partial}");
        }
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(parse(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn chunks_come_out_whole_however_they_arrive() {
        let wire = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: a\r\n\r\n";
        for step in 1..=wire.len() {
            let (mut framing, mut buf, mut out, mut ended) =
                (Framing::Chunked(Chunk::Size), BytesMut::new(), Vec::new(), false);
            for part in wire.chunks(step) {
                buf.extend_from_slice(part);
                loop {
                    match take_frame(&mut framing, &mut buf).expect("good chunks") {
                        Taken::Data(bytes) => out.extend_from_slice(&bytes),
                        Taken::More => break,
                        Taken::End => {
                            ended = true;
                            break;
                        }
                    }
                }
            }
            assert_eq!(
                (out.as_slice(), ended, buf.is_empty()),
                (&b"hello world"[..], true, true),
                "in steps of {step}"
            );
        }
        for bad in [
            "x\r\n",
            "5\nhello\r\n",
            "5\r\nhelloX\r\n",
            "\r\n",
            "fffffffffffffffff\r\n",
            "5 5\r\n",
        ] {
            let (mut framing, mut buf) = (Framing::Chunked(Chunk::Size), BytesMut::from(bad));
            let mut last = take_frame(&mut framing, &mut buf);
            while matches!(last, Ok(Taken::Data(_))) {
                last = take_frame(&mut framing, &mut buf);
            }
            assert!(last.is_err(), "{bad:?}");
        }
    }
}
