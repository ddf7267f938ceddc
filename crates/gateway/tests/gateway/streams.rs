//! Services whose answers are made while they are sent.

use crate::harness::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use mainstay_gateway::{Answer, Auth, Content, Route, Service, Target};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// What a test knows of the answers of [`Tap`], and decides about them.
#[derive(Default)]
struct Handle {
    /// Parts that may be given.
    allowed: AtomicUsize,
    given: AtomicUsize,
    waker: Mutex<Option<Waker>>,
    dropped: AtomicBool,
}

impl Handle {
    fn allow(&self, parts: usize) {
        self.allowed.fetch_add(parts, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }
}

/// Answers `/{parts}/{how}` with so many parts of 64 KiB; `how` is `ends` or `breaks`.
struct Tap(Arc<Handle>);

struct Flow {
    handle: Arc<Handle>,
    left: usize,
    breaks: bool,
}

impl Body for Flow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            let broken = || Some(Err(io::Error::other("broken")));
            return Poll::Ready(self.breaks.then(broken).flatten());
        }
        *self.handle.waker.lock().unwrap() = Some(cx.waker().clone());
        if self.handle.given.load(Ordering::SeqCst) >= self.handle.allowed.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.handle.given.fetch_add(1, Ordering::SeqCst);
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 64 << 10])))))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.handle.dropped.store(true, Ordering::SeqCst);
    }
}

impl Service for Tap {
    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        let mut path = request.uri().path()[1..].split('/');
        let left = path.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let breaks = path.next() == Some("breaks");
        let handle = self.0.clone();
        Box::pin(async move {
            let mut response = Response::new(Content::Stream(Box::pin(Flow { handle, left, breaks })));
            response
                .headers_mut()
                .insert("content-type", "text/plain".parse().unwrap());
            response
        })
    }
}

fn tap(name: &str) -> (Arc<Handle>, Route) {
    let handle = Arc::new(Handle::default());
    let route = Route {
        auth: Auth::None,
        ..Route::new(name, "/**", Target::Service(Arc::new(Tap(handle.clone()))))
    };
    (handle, route)
}

#[test]
fn it_goes_out_in_chunks_and_is_recorded_at_its_end() {
    let (handle, route) = tap("a tap that ends");
    let gateway = start(config(vec![route]));
    let mut wire = Wire::connect(&gateway);
    wire.send("GET /3/ends HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut answer = wire.head().expect("the head comes before the body is there");
    assert_eq!(answer.field("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(answer.field("content-length"), None);
    let record = || {
        let log = String::from_utf8_lossy(&logged().0.lock().unwrap()).into_owned();
        log.lines().find(|l| l.contains("a tap that ends")).map(str::to_owned)
    };
    assert_eq!(record(), None);
    handle.allow(3);
    wire.body(&mut answer);
    assert!(answer.complete && answer.body.len() == 3 * (64 << 10));
    // The connection is kept, and small bodies follow.
    assert_eq!(wire.ask("GET", "/0/ends", &[]).body, b"");
    eventually("it is recorded with its bytes", || {
        record().is_some_and(|line| line.contains(&(3 * (64 << 10)).to_string()))
    });
}

#[test]
fn it_is_compressed_as_it_passes() {
    let (handle, route) = tap("compressed");
    let gateway = start(config(vec![route]));
    handle.allow(40);
    let answer = ask(&gateway, "GET", "/40/ends", &[("accept-encoding", "gzip")]);
    assert_eq!(answer.field("content-encoding").as_deref(), Some("gzip"));
    assert!(answer.complete && answer.body.len() < 100_000);
}

#[test]
fn what_breaks_is_not_taken_for_the_whole() {
    for fields in [&[][..], &[("accept-encoding", "gzip")]] {
        let (handle, route) = tap("breaks");
        let gateway = start(config(vec![route]));
        handle.allow(2);
        let answer = ask(&gateway, "GET", "/2/breaks", fields);
        assert_eq!((answer.status, answer.complete), (200, false));
    }
}

#[test]
fn it_is_made_as_fast_as_it_is_taken_and_dropped_with_its_client() {
    let (handle, route) = tap("slow");
    let gateway = start(config(vec![route]));
    let parts = 2000;
    handle.allow(parts);
    let mut wire = Wire::connect(&gateway);
    wire.send(format!("GET /{parts}/ends HTTP/1.1\r\nHost: a\r\n\r\n"));
    wire.head().expect("a head");
    // Kernel buffers take a few megabytes; then it stands.
    let mut before = 0;
    eventually("nothing more is made", || {
        let given = handle.given.load(Ordering::SeqCst);
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        std::mem::replace(&mut before, given) == given && given > 0
    });
    assert!(before < parts / 2, "{before} of {parts} parts");
    // The same worker has time for others.
    assert_eq!(get(&gateway, "/0/ends").status, 200);
    handle.dropped.store(false, Ordering::SeqCst);
    drop(wire);
    eventually("it is let go", || handle.dropped.load(Ordering::SeqCst));
}

#[test]
fn draining_waits_for_it() {
    let (handle, route) = tap("draining");
    let gateway = start(config(vec![route]));
    let mut wire = Wire::connect(&gateway);
    wire.send("GET /2/ends HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut answer = wire.head().expect("a head");
    gateway.stop();
    handle.allow(2);
    wire.body(&mut answer);
    assert!(answer.complete && answer.body.len() == 2 * (64 << 10));
    assert_eq!(gateway.wait(), 0);
}
