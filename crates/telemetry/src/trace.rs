//! W3C Trace Context: `traceparent` read, made and passed on (<https://www.w3.org/TR/trace-context/>, version 00).

use std::cell::Cell;
use std::fmt;

/// The 16 bytes that name a whole trace. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The 8 bytes that name one span of a trace. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Where this request stands in a trace: the trace, the span of ours, and whether it is sampled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The trace; taken from the caller where it sent one.
    pub trace: TraceId,
    /// Our own span, which what we call sees as its parent.
    pub span: SpanId,
    /// The caller's span, if there was a caller with one.
    pub parent: Option<SpanId>,
    /// The caller's wish that this trace be recorded (flag 01).
    pub sampled: bool,
}

impl TraceContext {
    /// A new trace that begins here.
    pub fn generate() -> TraceContext {
        let (a, b, c) = (random(), random(), random());
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&a.to_be_bytes());
        trace[8..].copy_from_slice(&(b | 1).to_be_bytes());
        TraceContext {
            trace: TraceId(trace),
            span: SpanId((c | 1).to_be_bytes()),
            parent: None,
            sampled: false,
        }
    }

    /// Continues the trace of a `traceparent` header under a new span of ours, or begins one where the header is absent
    /// or malformed (section 3.2: a malformed header is treated as if it were not there).
    pub fn from_header(header: Option<&[u8]>) -> TraceContext {
        let Some((trace, parent, sampled)) = header.and_then(parse) else {
            return Self::generate();
        };
        TraceContext {
            trace,
            span: SpanId((random() | 1).to_be_bytes()),
            parent: Some(parent),
            sampled,
        }
    }

    /// The value of `traceparent` for a request that we send: our span is its parent.
    pub fn header(&self) -> [u8; 55] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex_into(&mut out[3..35], &self.trace.0);
        hex_into(&mut out[36..52], &self.span.0);
        out[54] = b'0' + u8::from(self.sampled);
        out
    }
}

/// Version 00 is fixed; of a later version only the fields that 00 has are read (section 4).
fn parse(header: &[u8]) -> Option<(TraceId, SpanId, bool)> {
    if header.len() < 55 || header[2] != b'-' || header[35] != b'-' || header[52] != b'-' {
        return None;
    }
    let version = unhex::<1>(&header[0..2])?[0];
    if version == 0xff || (version == 0 && header.len() != 55) || (header.len() > 55 && header[55] != b'-') {
        return None;
    }
    let trace = unhex::<16>(&header[3..35])?;
    let span = unhex::<8>(&header[36..52])?;
    let flags = unhex::<1>(&header[53..55])?[0];
    (trace != [0; 16] && span != [0; 8]).then_some((TraceId(trace), SpanId(span), flags & 1 == 1))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex_into(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

/// Lower case only, as section 3.2.2 demands.
fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// Trace identifiers need to be unique, not unguessable: a per-thread generator seeded once by the system.
fn random() -> u64 {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0) });
    STATE.with(|state| {
        let mut x = state.get();
        if x == 0 {
            let mut seed = [0; 8];
            if getrandom::fill(&mut seed).is_err() {
                seed = (crate::time::now_millis() ^ (std::process::id() as u64) << 40).to_be_bytes();
            }
            x = u64::from_be_bytes(seed) | 1;
        }
        // splitmix64
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(x);
        let mut z = x;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

impl TraceId {
    /// The 32 lower-case hexadecimal digits.
    pub fn hex(&self) -> [u8; 32] {
        let mut out = [0; 32];
        hex_into(&mut out, &self.0);
        out
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or(""))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = [0; 16];
        hex_into(&mut out, &self.0);
        f.write_str(std::str::from_utf8(&out).unwrap_or(""))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_trace_is_continued() {
        let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let ours = TraceContext::from_header(Some(header));
        assert_eq!(ours.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(ours.parent.map(|p| p.to_string()).as_deref(), Some("b7ad6b7169203331"));
        assert!(ours.sampled);
        let next = ours.header();
        assert_eq!(&next[..36], &header[..36]);
        assert_ne!(
            &next[36..52],
            &header[36..52],
            "the next hop's parent is our span, not our caller's"
        );
        let further = TraceContext::from_header(Some(&next));
        assert_eq!(further.parent, Some(ours.span));
    }

    #[test]
    fn what_is_malformed_begins_a_new_trace() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            let made = TraceContext::from_header(Some(bad.as_bytes()));
            assert_eq!(made.parent, None, "{bad}");
            assert_ne!(made.trace.0, [0; 16]);
        }
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(
            TraceContext::from_header(Some(later.as_bytes())).parent.is_some(),
            "a later version may say more"
        );
    }

    #[test]
    fn made_identifiers_differ() {
        let all: std::collections::HashSet<_> = (0..10_000).map(|_| TraceContext::generate().trace).collect();
        assert_eq!(all.len(), 10_000);
    }
}
