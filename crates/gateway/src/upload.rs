//! A request's body on its way to an upstream, written as it arrives.

use crate::refusal::{self, Refusal};
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// What is still to be sent.
pub(crate) struct Upload {
    body: Incoming,
    chunked: bool,
    /// How many more bytes the client may send.
    left: u64,
    limit: u64,
    pending: Bytes,
    read_all: bool,
    /// Grows with everything that arrives.
    arrived: u64,
    /// How long the client may pause.
    pause: Duration,
}

/// Which side failed.
pub(crate) enum UploadError {
    Client(Refusal),
    Server,
}

impl Upload {
    /// Sends `body`, chunked unless its length is known, and refuses it after `limit` bytes or a pause that is too long.
    pub(crate) fn new(body: Incoming, limit: u64, pause: Duration) -> Upload {
        let chunked = body.size_hint().exact().is_none();
        Upload {
            body,
            chunked,
            left: limit,
            limit,
            pending: Bytes::new(),
            read_all: false,
            arrived: 0,
            pause,
        }
    }

    /// How much has arrived, and how long the client may take until more does; `None` where it is not the client that is waited for.
    pub(crate) fn progress(&self) -> (u64, Option<Duration>) {
        let waits = !self.read_all && self.pending.is_empty();
        (self.arrived, waits.then_some(self.pause))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.read_all && self.pending.is_empty()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<Result<(), UploadError>> {
        loop {
            while !self.pending.is_empty() {
                match ready!(Pin::new(&mut *stream).poll_write(cx, &self.pending)) {
                    Ok(n) if n > 0 => self.pending.advance(n),
                    _ => return Poll::Ready(Err(UploadError::Server)),
                }
            }
            if self.read_all {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    self.arrived += 1;
                    let Ok(data) = frame.into_data() else { continue };
                    let Some(left) = self.left.checked_sub(data.len() as u64) else {
                        return Poll::Ready(Err(UploadError::Client(refusal::body_too_large(self.limit))));
                    };
                    self.left = left;
                    self.pending = if self.chunked && !data.is_empty() {
                        chunk(&data)
                    } else {
                        data
                    };
                }
                Some(Err(_)) => return Poll::Ready(Err(UploadError::Client(refusal::body_broken()))),
                None => {
                    self.read_all = true;
                    if self.chunked {
                        self.pending = Bytes::from_static(b"0\r\n\r\n");
                    }
                }
            }
        }
    }
}

fn chunk(data: &[u8]) -> Bytes {
    use std::fmt::Write;
    let mut out = BytesMut::with_capacity(data.len() + 20);
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out.freeze()
}
