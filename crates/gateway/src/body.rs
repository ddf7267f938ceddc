//! The body of an answer: bytes at hand, or a stream that ends the access record when it ends.

use crate::client::AnswerBody;
use crate::compress::Gzip;
use crate::files::Reader;
use crate::record::Ending;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What hyper sends.
pub(crate) enum Body {
    /// Complete; nothing is left once it is empty.
    Full(Bytes),
    /// Still being produced.
    Stream(Box<Stream>),
}

/// A body that is produced while it is sent.
pub(crate) struct Stream {
    pub(crate) source: Source,
    pub(crate) ending: Option<Ending>,
    sent: u64,
    failed: Option<io::Error>,
}

/// How much of a body is handed over at once.
const PIECE_BYTES: usize = 64 << 10;

/// Where a stream's bytes come from.
pub(crate) enum Source {
    Upstream(Box<AnswerBody>),
    File(Reader),
    Service(Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>),
    Gzip(Box<Gzip>),
}

impl Body {
    pub(crate) fn stream(source: Source) -> Body {
        Body::Stream(Box::new(Stream {
            source,
            ending: None,
            sent: 0,
            failed: None,
        }))
    }

    /// The length, if the body is at hand.
    pub(crate) fn full_len(&self) -> Option<u64> {
        match self {
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::Stream(_) => None,
        }
    }
}

impl Source {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self {
            Source::Upstream(body) => body.poll(cx),
            Source::File(reader) => reader.poll(cx),
            Source::Service(body) => loop {
                match std::task::ready!(body.as_mut().poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => {
                        // Trailers are not passed on, nor is what would end a body that is sent in chunks.
                        if let Ok(bytes) = frame.into_data()
                            && !bytes.is_empty()
                        {
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                    }
                }
            },
            Source::Gzip(gzip) => gzip.poll(cx),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Source::Upstream(body) => body.length().map_or_else(SizeHint::new, SizeHint::with_exact),
            Source::File(reader) => SizeHint::with_exact(reader.left()),
            Source::Service(body) => body.size_hint(),
            Source::Gzip(_) => SizeHint::new(),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            // hyper copies what it gets; in pieces, a large answer is not in memory twice.
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.split_to(bytes.len().min(PIECE_BYTES)))))),
            Body::Stream(stream) => {
                if let Some(error) = stream.failed.take() {
                    return Poll::Ready(Some(Err(error)));
                }
                let next = std::task::ready!(stream.source.poll(cx));
                if let Some(Err(error)) = next {
                    // An error makes hyper drop what it has not written yet. It gets to write once more before it is told.
                    stream.end(true);
                    stream.failed = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match &next {
                    Some(Ok(bytes)) => stream.sent += bytes.len() as u64,
                    Some(Err(_)) => {}
                    None => stream.end(false),
                }
                Poll::Ready(next.map(|r| r.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(stream) => stream.source.size_hint(),
        }
    }
}

impl Stream {
    fn end(&mut self, aborted: bool) {
        if let Some(ending) = self.ending.take() {
            ending.finish(self.sent, aborted);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // hyper drops a body of known length with its last byte, without asking for the end.
        let complete = self.source.size_hint().exact() == Some(0);
        self.end(!complete);
    }
}
