//! A receiver of webhooks: notes what comes, answers as it is told, and can be cut off in the middle of it all.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A delivery as it came in.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The path it was posted to.
    pub path: String,
    /// Header names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had come in.
    pub at: Instant,
    /// What it was answered; 0 while it is not.
    pub status: u16,
}

impl Delivery {
    /// The CloudEvent; panics when the body is none.
    pub fn event(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a delivery is answered; may wait before it says so.
type Decide = dyn Fn(&Delivery) -> u16 + Send + Sync;

struct Inside {
    keeps: bool,
    decide: Box<Decide>,
    seen: Mutex<Vec<Delivery>>,
    open: Mutex<Vec<TcpStream>>,
    down: AtomicBool,
}

/// A running receiver; gone with the test.
pub struct Receiver {
    address: SocketAddr,
    inside: Arc<Inside>,
    listening: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// Listens on a free port and answers what `decide` says.
    pub fn start(decide: impl Fn(&Delivery) -> u16 + Send + Sync + 'static) -> Receiver {
        Receiver::new(true, decide)
    }

    /// The same, and forgets what it has answered: for very many deliveries.
    pub fn forgetful(decide: impl Fn(&Delivery) -> u16 + Send + Sync + 'static) -> Receiver {
        Receiver::new(false, decide)
    }

    fn new(keeps: bool, decide: impl Fn(&Delivery) -> u16 + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let inside = Arc::new(Inside {
            keeps,
            decide: Box::new(decide),
            seen: Mutex::default(),
            open: Mutex::default(),
            down: AtomicBool::new(false),
        });
        let listening = Some(listen(listener, inside.clone()));
        Receiver {
            address,
            inside,
            listening,
        }
    }

    /// `http://host:port` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that came so far, in order of arrival.
    pub fn seen(&self) -> Vec<Delivery> {
        self.inside.seen.lock().expect("not poisoned").clone()
    }

    /// How many came so far.
    pub fn count(&self) -> usize {
        self.inside.seen.lock().expect("not poisoned").len()
    }

    /// Takes out everything that came so far.
    pub fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.inside.seen.lock().expect("not poisoned"))
    }

    /// Dies: nothing listens any more, and connections end wherever they are.
    pub fn kill(&mut self) {
        self.inside.down.store(true, Ordering::SeqCst);
        // Wakes the listener, which finds that it is down.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.listening.take() {
            let _ = thread.join();
        }
        for stream in self.inside.open.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Comes back on the same port, and still knows what it saw.
    pub fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).expect("the port is still ours");
        self.inside.down.store(false, Ordering::SeqCst);
        self.listening = Some(listen(listener, self.inside.clone()));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listen(listener: TcpListener, inside: Arc<Inside>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if inside.down.load(Ordering::SeqCst) {
                return;
            }
            if let Ok(clone) = stream.try_clone() {
                inside.open.lock().expect("not poisoned").push(clone);
            }
            let inside = inside.clone();
            std::thread::spawn(move || {
                let _ = converse(stream, &inside);
            });
        }
    })
}

/// Requests on one connection, until it ends or the receiver dies.
fn converse(stream: TcpStream, inside: &Inside) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = HashMap::new();
        loop {
            line.clear();
            input.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
                None => break,
            };
        }
        let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        if inside.down.load(Ordering::SeqCst) {
            return Ok(());
        }
        let delivery = Delivery {
            path,
            headers,
            body,
            at: Instant::now(),
            status: 0,
        };
        let index = inside.keeps.then(|| {
            let mut seen = inside.seen.lock().expect("not poisoned");
            seen.push(delivery.clone());
            seen.len() - 1
        });
        let status = (inside.decide)(&delivery);
        if inside.down.load(Ordering::SeqCst) {
            return Ok(());
        }
        if let Some(index) = index
            && let Some(noted) = inside.seen.lock().expect("not poisoned").get_mut(index)
        {
            noted.status = status;
        }
        // One segment: in pieces, the second would wait for the acknowledgement of the first, 40 ms.
        let answer = format!("HTTP/1.1 {status} As told\r\ncontent-length: 2\r\n\r\nok");
        out.write_all(answer.as_bytes())?;
    }
}
