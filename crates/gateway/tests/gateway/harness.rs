//! A gateway on a free port, a client that writes what it likes, and upstreams that answer what they like.

use bytes::Bytes;
use http::{Request, Response};
use mainstay_gateway::{Answer, Auth, Config, Content, Gateway, Limits, Route, Running, Service, Target, Upstream};
use mainstay_telemetry as telemetry;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long anything may take before a test has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A service made of a function.
pub struct Local<F>(pub F);

impl<F: Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static> Service for Local<F> {
    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        Box::pin(async move { (self.0)(request).map(Content::Whole) })
    }
}

/// A route for everything below `/` that a function answers.
pub fn local(function: impl Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static) -> Route {
    Route {
        auth: Auth::None,
        ..Route::new("local", "/**", Target::Service(Arc::new(Local(function))))
    }
}

/// Answers with method, path and body, so that it can be seen what arrived.
pub fn echo() -> Route {
    local(|request| {
        let text = format!(
            "{} {} {}",
            request.method(),
            request.uri(),
            String::from_utf8_lossy(request.body())
        );
        Response::new(Bytes::from(text))
    })
}

/// A configuration on a free port with one worker.
pub fn config(routes: Vec<Route>) -> Config {
    let limits = Limits {
        drain_timeout: Duration::from_secs(5),
        ..Limits::default()
    };
    Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        workers: 1,
        limits,
        routes,
        ..Config::default()
    }
}

pub fn start(config: Config) -> Running {
    logged();
    Gateway::new(config, None, None)
        .expect("a valid configuration")
        .start()
        .expect("a free port")
}

/// A gateway before one upstream of these servers, with what the test changes about it.
pub fn proxy(servers: &[&Backend], change: impl FnOnce(&mut Config)) -> Running {
    let addresses = servers.iter().map(|s| s.address.to_string()).collect();
    let mut config = config(vec![Route {
        auth: Auth::None,
        ..Route::upstream("up", "/**", "up")
    }]);
    config.upstreams = vec![Upstream::new("up", addresses)];
    change(&mut config);
    start(config)
}

/// What this process logs, kept instead of shown.
#[derive(Clone, Default)]
pub struct Captured(pub Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("captured").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log of this process, which is captured from the first gateway on.
pub fn logged() -> &'static Captured {
    static LOG: OnceLock<Captured> = OnceLock::new();
    LOG.get_or_init(|| {
        let captured = Captured::default();
        let output = telemetry::Output::Writer(Box::new(captured.clone()));
        telemetry::install(telemetry::Config {
            output,
            ..telemetry::Config::default()
        });
        captured
    })
}

/// Waits until `what` is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A message as it was read.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub first_line: String,
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
}

impl Message {
    /// The value of a field; several lines joined as RFC 9110 §5.3 says.
    pub fn field(&self, name: &str) -> Option<String> {
        let all: Vec<&str> = self
            .fields
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .collect();
        if all.is_empty() { None } else { Some(all.join(", ")) }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `code` of a refusal's JSON body.
    pub fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json["code"].as_str().unwrap_or("").to_owned()
    }
}

/// One connection with its unread bytes.
pub struct Wire {
    pub stream: TcpStream,
    buf: Vec<u8>,
}

impl Wire {
    pub fn connect(running: &Running) -> Wire {
        Wire::of(TcpStream::connect(running.addresses()[0]).expect("the gateway accepts"))
    }

    pub fn of(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Wire {
            stream,
            buf: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A peer that has closed is a legitimate answer to what is being sent.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// More bytes; `false` at the end.
    fn more(&mut self) -> bool {
        let mut part = [0; 16 << 10];
        match self.stream.read(&mut part) {
            Ok(0) => false,
            Ok(n) => {
                self.buf.extend_from_slice(&part[..n]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("reading: {error}; so far {:?}", String::from_utf8_lossy(&self.buf)),
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buf.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buf.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn exactly(&mut self, n: usize) -> (Vec<u8>, bool) {
        while self.buf.len() < n {
            if !self.more() {
                return (std::mem::take(&mut self.buf), false);
            }
        }
        (self.buf.drain(..n).collect(), true)
    }

    /// Whether the other side has closed, with nothing left to read.
    pub fn ended(&mut self) -> bool {
        self.buf.is_empty() && !self.more()
    }

    /// The head of the next message; `None` if the connection ends instead.
    pub fn head(&mut self) -> Option<Message> {
        let first_line = self.line()?;
        let mut fields = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => break,
                line => {
                    let (name, value) = line.split_once(':').expect("a field");
                    fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
            }
        }
        let status = first_line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Some(Message {
            first_line,
            status,
            fields,
            body: Vec::new(),
            complete: true,
        })
    }

    /// The body that belongs to a head.
    pub fn body(&mut self, message: &mut Message) {
        if message.field("transfer-encoding").is_some() {
            loop {
                let Some(size) = self.line() else {
                    message.complete = false;
                    return;
                };
                let size =
                    usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16).expect("a chunk's size");
                let (data, complete) = self.exactly(size);
                message.body.extend(data);
                let end = complete && self.line().is_some();
                if !end || size == 0 {
                    message.complete = end;
                    return;
                }
            }
        }
        match message
            .field("content-length")
            .map(|l| l.parse::<usize>().expect("a length"))
        {
            Some(length) => (message.body, message.complete) = self.exactly(length),
            None if message.status != 0 => {
                while self.more() {}
                message.body = std::mem::take(&mut self.buf);
            }
            None => {}
        }
    }

    /// The next answer to a request with that method.
    pub fn answer_to(&mut self, method: &str) -> Message {
        loop {
            let mut message = self.head().expect("an answer");
            if message.status / 100 == 1 {
                continue;
            }
            if method != "HEAD" && message.status != 204 && message.status != 304 {
                self.body(&mut message);
            }
            return message;
        }
    }

    pub fn answer(&mut self) -> Message {
        self.answer_to("GET")
    }

    /// Sends a request without a body on this connection and reads its answer.
    pub fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Message {
        self.ask_with(method, path, fields, "")
    }

    pub fn ask_with(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Message {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.send(text);
        self.answer_to(method)
    }
}

/// One request on a connection of its own.
pub fn ask(running: &Running, method: &str, path: &str, fields: &[(&str, &str)]) -> Message {
    Wire::connect(running).ask(method, path, fields)
}

pub fn get(running: &Running, path: &str) -> Message {
    ask(running, "GET", path, &[])
}

/// Raw bytes on a connection of their own, and the answer to them.
pub fn raw(running: &Running, bytes: impl AsRef<[u8]>) -> Message {
    let mut wire = Wire::connect(running);
    wire.send(bytes);
    wire.answer()
}

/// An upstream server whose answers a test writes by hand.
pub struct Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    /// The requests it has seen.
    pub seen: Arc<Mutex<Vec<Message>>>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    _reserved: Option<socket2::Socket>,
}

/// What a backend does after an answer.
pub enum Then {
    Keep,
    Close,
}

impl Backend {
    /// Reads each request whole and has `answer` write to the connection.
    pub fn new(answer: impl Fn(&mut Wire, &Message) -> Then + Send + Sync + 'static) -> Backend {
        Backend::raw(move |wire, seen| {
            while let Some(mut request) = wire.head() {
                wire.body(&mut request);
                // Before the answer: whoever has that may ask what was seen.
                seen.lock().expect("seen").push(request.clone());
                let then = answer(wire, &request);
                if matches!(then, Then::Close) {
                    return;
                }
            }
        })
    }

    /// Has `serve` do everything with each connection.
    pub fn raw(serve: impl Fn(&mut Wire, &Mutex<Vec<Message>>) + Send + Sync + 'static) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let backend = Backend {
            address,
            connections: Arc::default(),
            seen: Arc::default(),
            stop: Arc::default(),
            _reserved: None,
        };
        let (connections, seen, stop) = (backend.connections.clone(), backend.seen.clone(), backend.stop.clone());
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { return };
                connections.fetch_add(1, Ordering::SeqCst);
                let (serve, seen) = (serve.clone(), seen.clone());
                std::thread::spawn(move || serve(&mut Wire::of(stream), &seen));
            }
        });
        backend
    }

    /// Answers every request with a text.
    pub fn saying(text: &'static str) -> Backend {
        Backend::new(move |wire, _| {
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{text}",
                text.len()
            ));
            Then::Keep
        })
    }

    /// An address where nobody listens, nor anybody can: bound, and no more.
    pub fn absent() -> Backend {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("a free port");
        let address = socket
            .local_addr()
            .expect("an address")
            .as_socket()
            .expect("an IP address");
        Backend {
            address,
            connections: Arc::default(),
            seen: Arc::default(),
            stop: Arc::default(),
            _reserved: Some(socket),
        }
    }

    pub fn requests(&self) -> usize {
        self.seen.lock().expect("seen").len()
    }

    /// The last request that it saw.
    pub fn last(&self) -> Message {
        self.seen.lock().expect("seen").pop().expect("a request")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The accepting thread looks at it when it wakes up once more.
        let _ = TcpStream::connect(self.address);
    }
}

/// How often each text was answered.
pub fn tally(texts: impl Iterator<Item = String>) -> HashMap<String, usize> {
    texts.fold(HashMap::new(), |mut counts, text| {
        *counts.entry(text).or_default() += 1;
        counts
    })
}
