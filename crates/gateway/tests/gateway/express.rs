//! Requests that come again byte for byte: when they are answered without being parsed, and when they must not be.

use crate::harness::*;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use mainstay_gateway::{
    Answer, Arrival, AtHand, Auth, Authenticate, Config, Content, Gateway, Network, Per, Rate, RateLimit, Refusal,
    Route, Running, Service, Standing, Target,
};
use mainstay_model::Identity;
use socket2::{Domain, Socket, Type};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A service that has every GET at hand, and counts how often it is asked.
#[derive(Default)]
struct Shelf {
    /// How often it made an answer.
    made: AtomicU32,
    /// How old its answers are.
    age: AtomicU32,
    /// Whether they have fallen.
    fallen: AtomicBool,
    /// Bytes of filling in each.
    filling: AtomicU32,
}

struct OnShelf(Arc<Shelf>);

impl Standing for OnShelf {
    fn age(&self, _: Instant) -> Option<u32> {
        (!self.0.fallen.load(SeqCst)).then(|| self.0.age.load(SeqCst))
    }
}

struct Shop(Arc<Shelf>);

impl Service for Shop {
    fn at_hand(&self, request: &Parts, identity: Option<&Arc<Identity>>, _: &Arrival) -> Option<AtHand> {
        if request.method != "GET" || request.uri.path() == "/slow" {
            return None;
        }
        let number = self.0.made.fetch_add(1, SeqCst);
        let who = identity.and_then(|i| i.subject()).unwrap_or("nobody");
        let filling = "x".repeat(self.0.filling.load(SeqCst) as usize);
        let body = format!("{} {who} {number}{filling}", request.uri);
        let mut response = Response::new(Bytes::from(body));
        response.headers_mut().insert("age", self.0.age.load(SeqCst).into());
        let standing: Option<Box<dyn Standing>> = Some(Box::new(OnShelf(self.0.clone())));
        Some(AtHand { response, standing })
    }

    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        Box::pin(async move {
            if request.uri().path() == "/slow" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Response::new(Content::Whole(Bytes::from(format!(
                "called {} {}",
                request.uri(),
                String::from_utf8_lossy(request.body())
            ))))
        })
    }
}

/// `Bearer NAME`, until the tokens are revoked.
struct Tokens(Arc<AtomicBool>);

impl Authenticate for Tokens {
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refusal> {
        if self.0.load(SeqCst) {
            return Err(Refusal::unauthorized("PGRST303", "JWT expired"));
        }
        let Some(value) = headers.get("authorization") else {
            return Ok(Arc::new(Identity::anon()));
        };
        let name = value.to_str().unwrap_or_default().trim_start_matches("Bearer ");
        let claims = serde_json::Map::from_iter([("sub".to_owned(), name.into())]);
        Ok(Arc::new(Identity::new("authenticated", Arc::new(claims))))
    }

    fn holds(&self, _: &Identity, _: u64) -> bool {
        !self.0.load(SeqCst)
    }
}

/// A gateway before a shelf, and the means to revoke its tokens.
fn shelf(change: impl FnOnce(&mut Config)) -> (Running, Arc<Shelf>, Arc<AtomicBool>) {
    logged();
    let (shelf, revoked) = (Arc::new(Shelf::default()), Arc::new(AtomicBool::new(false)));
    let service = Arc::new(Shop(shelf.clone()));
    let mut config = config(vec![Route {
        auth: Auth::Optional,
        ..Route::new("shelf", "/**", Target::Service(service))
    }]);
    change(&mut config);
    let gateway = Gateway::new(config, Some(Arc::new(Tokens(revoked.clone()))), None).expect("valid");
    (gateway.start().expect("a free port"), shelf, revoked)
}

const KNOWN: &str = "GET /known HTTP/1.1\r\nHost: shop.example\r\n\r\n";

#[test]
fn a_refusal_is_counted_once() {
    let (gateway, ..) = shelf(|c| {
        let rule = |name: &str, per, burst| RateLimit {
            name: name.to_owned(),
            rate: Rate::parse("100/h").expect("a rate"),
            burst: Some(burst),
            per,
        };
        c.rate_limits = vec![rule("many", Per::Address, 20), rule("few", Per::User, 5)];
    });
    let mut wire = Wire::connect(&gateway);
    let request = "GET /known HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer ann\r\n\r\n";
    let refused: Vec<String> = (0..20)
        .map(|_| {
            wire.send(request);
            wire.answer()
        })
        .filter(|answer| answer.status == 429)
        .map(|answer| answer.text())
        .collect();
    assert_eq!(refused.len(), 15);
    assert!(refused.iter().all(|text| text.contains("few")), "{refused:?}");
    wire.send(request);
    assert!(
        wire.answer().text().contains("many"),
        "the twenty-first is one too many for the address"
    );
}

/// Has a request become known, and gives what is answered from then on.
fn make_known(wire: &mut Wire, request: &str) -> Message {
    let answers: Vec<Message> = (0..3)
        .map(|_| {
            wire.send(request);
            wire.answer()
        })
        .collect();
    assert_ne!(answers[0].text(), answers[1].text(), "the first is not kept");
    assert_eq!(answers[1].text(), answers[2].text(), "the second is");
    answers[2].clone()
}

#[test]
fn an_answer_is_given_again_while_it_stands() {
    let (gateway, shelf, _) = shelf(|_| {});
    let mut wire = Wire::connect(&gateway);
    let known = make_known(&mut wire, KNOWN);
    assert_eq!(known.text(), "/known nobody 1");
    assert_eq!(shelf.made.load(SeqCst), 2);

    // But for its age, whatever its length; and its date.
    for age in [9, 10, 4_294_967_295, 7] {
        shelf.age.store(age, SeqCst);
        wire.send(KNOWN);
        let again = wire.answer();
        assert_eq!(again.field("age"), Some(age.to_string()));
        assert_eq!(again.text(), known.text());
        let date = |m: &Message| m.field("date").expect("a date");
        assert_eq!(date(&again).len(), date(&known).len());
        assert!(date(&again).ends_with(" GMT"), "{}", date(&again));
        let others = |m: &Message| -> Vec<(String, String)> {
            let mut fields = m.fields.clone();
            fields.retain(|(name, _)| name != "age" && name != "date");
            fields
        };
        assert_eq!(others(&again), others(&known));
    }
    // Stamped anew where the age's length has moved it.
    shelf.age.store(12, SeqCst);
    wire.send(KNOWN);
    assert_eq!(wire.answer().field("age").as_deref(), Some("12"));
    std::thread::park_timeout(Duration::from_millis(1300));
    wire.send(KNOWN);
    let later = wire.answer();
    assert_ne!(later.field("date"), known.field("date"));
    assert!(
        later
            .field("date")
            .is_some_and(|d| d.len() == 29 && d.ends_with(" GMT"))
    );
    assert_eq!(shelf.made.load(SeqCst), 2);

    // On other connections too.
    assert_eq!(raw(&gateway, KNOWN).text(), known.text());

    shelf.fallen.store(true, SeqCst);
    wire.send(KNOWN);
    assert_eq!(wire.answer().text(), "/known nobody 2");
    shelf.fallen.store(false, SeqCst);
    wire.send(KNOWN);
    assert_eq!(
        wire.answer().text(),
        "/known nobody 2",
        "what came of asking anew is kept"
    );
}

#[test]
fn what_is_different_is_another_request() {
    let (gateway, _, _) = shelf(|_| {});
    let mut wire = Wire::connect(&gateway);
    let known = make_known(&mut wire, KNOWN);
    for other in [
        "GET /known HTTP/1.1\r\nhost: shop.example\r\n\r\n",
        "GET /known HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer eve\r\n\r\n",
        "GET /known? HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    ] {
        wire.send(other);
        assert_ne!(wire.answer().text(), known.text(), "{other}");
    }
    let head = wire.ask("HEAD", "/known", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for ends in ["HTTP/1.1\r\nHost: a\r\nConnection: close", "HTTP/1.0\r\nHost: a"] {
        for _ in 0..3 {
            let mut wire = Wire::connect(&gateway);
            wire.send(format!("GET /known {ends}\r\n\r\n"));
            assert_eq!(wire.answer().status, 200);
            assert!(wire.ended(), "{ends}");
        }
    }
}

/// Bytes that were a request once are none where they are part of something else.
#[test]
fn what_is_inside_another_message_is_no_request() {
    let (gateway, shelf, _) = shelf(|_| {});
    let pause = || std::thread::park_timeout(Duration::from_millis(30));
    let mut wire = Wire::connect(&gateway);
    make_known(&mut wire, KNOWN);
    let made = shelf.made.load(SeqCst);

    // A body.
    wire.send(format!(
        "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        KNOWN.len()
    ));
    pause();
    wire.send(KNOWN);
    assert_eq!(wire.answer().text(), format!("called /body {KNOWN}"));
    wire.send("POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    pause();
    wire.send(format!("{:x}\r\n", KNOWN.len()));
    pause();
    wire.send(KNOWN);
    pause();
    wire.send("\r\n0\r\n\r\n");
    assert_eq!(wire.answer().text(), format!("called /body {KNOWN}"));

    // The rest of a head: now with two hosts.
    let mut torn = Wire::connect(&gateway);
    torn.send("GET /other HTTP/1.1\r\nHost: a\r\nX: ");
    pause();
    torn.send(KNOWN);
    assert_eq!(torn.answer().status, 400);

    // A head after its first line.
    let mut torn = Wire::connect(&gateway);
    torn.send("GET /other HTTP/1.1\r\n");
    pause();
    torn.send(KNOWN);
    assert_eq!(torn.answer().status, 400);
    assert_eq!(shelf.made.load(SeqCst), made);
}

#[test]
fn answers_keep_the_order_of_their_requests() {
    let (gateway, _, _) = shelf(|_| {});
    let mut wire = Wire::connect(&gateway);
    let known = make_known(&mut wire, KNOWN).text();
    let slow = "GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n";

    // While another is being answered, in a segment of its own.
    wire.send(slow);
    std::thread::park_timeout(Duration::from_millis(50));
    wire.send(KNOWN);
    assert_eq!(wire.answer().text(), "called /slow ");
    assert!(wire.answer().text().starts_with("/known nobody"));

    // Several at once.
    wire.send([KNOWN, slow, KNOWN, KNOWN].concat());
    let texts: Vec<String> = (0..4).map(|_| wire.answer().text()).collect();
    assert_eq!(texts[1], "called /slow ");
    assert!(
        [0, 2, 3].iter().all(|i| texts[*i].starts_with("/known nobody")),
        "{texts:?}"
    );

    // Several that always come together are never taken for one.
    for _ in 0..4 {
        wire.send([KNOWN, KNOWN].concat());
        for _ in 0..2 {
            assert!(wire.answer().text().starts_with("/known nobody"));
        }
    }

    // And the connection goes on.
    for _ in 0..3 {
        wire.send(KNOWN);
        assert!(wire.answer().text().starts_with(known.split_at(13).0));
    }
}

#[test]
fn a_client_that_reads_late_gets_every_byte() {
    let (gateway, shelf, _) = shelf(|_| {});
    shelf.filling.store(30_000, SeqCst);
    let mut wire = Wire::connect(&gateway);
    make_known(&mut wire, KNOWN);
    let filling = "x".repeat(30_000);
    let made = shelf.made.load(SeqCst);
    let count = 400;
    let mut writing = wire.stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        for _ in 0..count {
            std::io::Write::write_all(&mut writing, KNOWN.as_bytes()).expect("sent");
            // Each in a segment of its own.
            std::thread::park_timeout(Duration::from_micros(200));
        }
    });
    std::thread::park_timeout(Duration::from_millis(300));
    for n in 0..count {
        let answer = wire.answer();
        let text = answer.text();
        let number = text
            .strip_prefix("/known nobody ")
            .and_then(|t| t.strip_suffix(&filling));
        assert!(
            answer.complete && number.is_some_and(|n| n.parse::<u32>().is_ok()),
            "answer {n}"
        );
    }
    sender.join().expect("the sender");
    assert!(shelf.made.load(SeqCst) < made + count, "none was given again");
    // Nothing is left over.
    wire.stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    assert!(wire.stream.read(&mut [0; 1]).is_err());
}

#[test]
fn a_token_is_asked_for_each_time() {
    let (gateway, _, revoked) = shelf(|_| {});
    let mut wire = Wire::connect(&gateway);
    let ada = "GET /known HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer ada\r\n\r\n";
    assert_eq!(make_known(&mut wire, ada).text(), "/known ada 1");
    assert_eq!(make_known(&mut wire, KNOWN).text(), "/known nobody 3");
    revoked.store(true, SeqCst);
    wire.send(ada);
    assert_eq!(wire.answer().status, 401);
}

#[test]
fn limits_count_what_is_given_again() {
    let (gateway, shelf, _) = shelf(|config| {
        config.rate_limits = vec![RateLimit {
            name: "all".into(),
            rate: Rate::parse("12/h").expect("a rate"),
            burst: None,
            per: Per::Address,
        }];
    });
    let mut wire = Wire::connect(&gateway);
    let mut left = Vec::new();
    for _ in 0..12 {
        wire.send(KNOWN);
        let answer = wire.answer();
        assert_eq!(answer.status, 200);
        let field = answer.field("ratelimit").expect("where the client stands");
        left.push(
            field
                .split([';', '='])
                .nth(2)
                .and_then(|r| r.parse::<u32>().ok())
                .expect("a number"),
        );
    }
    assert_eq!(left, (0..12).rev().collect::<Vec<_>>());
    assert_eq!(shelf.made.load(SeqCst), 2);
    wire.send(KNOWN);
    let refused = wire.answer();
    assert_eq!((refused.status, refused.code()), (429, "GW401".to_owned()));
}

/// A connection from another address of this machine.
fn wire_from(address: &str, gateway: &Running) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{address}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("bound");
    socket.connect(&gateway.addresses()[0].into()).expect("connected");
    Wire::of(socket.into())
}

#[test]
fn a_proxys_clients_are_told_apart() {
    let believed = Network::parse("127.0.0.1/32").expect("a network");
    let (gateway, _, _) = shelf(|config| {
        config.trusted_proxies = vec![believed];
        config.rate_limits = vec![RateLimit {
            name: "each".into(),
            rate: Rate::parse("4/h").expect("a rate"),
            burst: None,
            per: Per::Address,
        }];
    });
    let mut wire = Wire::connect(&gateway);
    let of = |client: &str| format!("GET /known HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: {client}\r\n\r\n");
    for client in ["192.0.2.1", "192.0.2.2"] {
        make_known(&mut wire, &of(client));
        // Who is no proxy says the same, and is not believed.
        let mut stranger = wire_from("127.0.0.2", &gateway);
        stranger.send(of(client));
        assert_eq!(stranger.answer().status, 200, "the stranger's");
        wire.send(of(client));
        assert_eq!(wire.answer().status, 200, "the fourth of {client}");
        wire.send(of(client));
        assert_eq!(wire.answer().status, 429, "the fifth of {client}");
    }
}

#[test]
fn what_is_given_again_is_recorded_like_any_other() {
    let (gateway, _, _) = shelf(|_| {});
    let mut wire = Wire::connect(&gateway);
    let request = "GET /recorded?token=s3cret HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer ada\r\n\r\n";
    make_known(&mut wire, request);
    let lines = || -> Vec<String> {
        let log = logged().0.lock().expect("the log");
        let text = String::from_utf8_lossy(&log).into_owned();
        text.lines()
            .filter(|l| l.contains("/recorded?token=[redacted]"))
            .map(str::to_owned)
            .collect()
    };
    eventually("three records", || lines().len() == 3);
    let lines = lines();
    for line in &lines {
        for part in ["200", "GET", "shelf", "ada", "127.0.0.1"] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("s3cret"));
    }
}

#[test]
fn a_gateway_that_ends_closes_connections_that_are_known() {
    let (gateway, _, _) = shelf(|_| {});
    let mut wire = Wire::connect(&gateway);
    make_known(&mut wire, KNOWN);
    gateway.stop();
    assert!(wire.ended());
    assert_eq!(gateway.wait(), 0);
}

/// A client that has not read yet what it was given, when the gateway is told to end.
#[test]
fn a_gateway_that_ends_cuts_no_answer_short() {
    let (gateway, shelf, _) = shelf(|_| {});
    shelf.filling.store(30_000, SeqCst);
    let mut wire = Wire::connect(&gateway);
    make_known(&mut wire, KNOWN);
    for _ in 0..400 {
        wire.send(KNOWN);
        std::thread::park_timeout(Duration::from_micros(200));
    }
    gateway.stop();
    std::thread::park_timeout(Duration::from_millis(100));
    let mut whole = 0;
    while let Some(mut answer) = wire.head() {
        wire.body(&mut answer);
        assert!(answer.complete, "answer {whole} is cut short");
        whole += 1;
    }
    assert!(whole > 20, "{whole}");
    assert_eq!(gateway.wait(), 0);
}

#[test]
fn nothing_is_kept_where_there_is_no_room_for_it() {
    let (gateway, shelf, _) = shelf(|config| config.limits.express_bytes_max = 0);
    let mut wire = Wire::connect(&gateway);
    for n in 1..=4 {
        wire.send(KNOWN);
        assert_eq!(wire.answer().status, 200);
        assert_eq!(shelf.made.load(SeqCst), n);
    }
}
