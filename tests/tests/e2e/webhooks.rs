//! Deliveries on the wire: over TLS, to receivers that are slow to finish what they say, with headers of one's own.

use mainstay_tests::{Process, Project, Receiver, until};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SCHEMA: &str = "CREATE TABLE notes (id bigint PRIMARY KEY); GRANT INSERT ON notes TO anon;";

/// A receiver in Python: prints a line for each delivery.
const TLS_RECEIVER: &str = "
import http.server, json, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        print(json.dumps({'path': self.path, 'host': self.headers['host'], 'signed': 'webhook-signature' in self.headers,
                          'new': json.loads(body)['data']['new']}), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *rest):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

struct TlsReceiver {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl TlsReceiver {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line
    }
}

impl Drop for TlsReceiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn subscribed(to: &str, more: &str) -> Project {
    Project::new(
        SCHEMA,
        &format!("[[on]]\nname = \"told\"\nchange = \"notes\"\ndeliver = \"{to}\"\n{more}"),
    )
}

fn add(process: &Process, id: i64) {
    process.client().post("/rest/v1/notes", &json!({"id": id})).expect(201);
}

fn count(process: &Process, metric: &str) -> u64 {
    let metrics = process.admin().get("/metrics").text();
    let name = format!("{metric}{{subscription=\"told\"}}");
    let line = metrics.lines().find(|line| line.starts_with(&name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_default()
}

#[test]
fn receivers_behind_tls() {
    let folder = Project::empty();
    let (key, certificate) = (folder.dir().join("key.pem"), folder.dir().join("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut child = Command::new("python3")
        .args(["-c", TLS_RECEIVER])
        .args([&certificate, &key])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut receiver = TlsReceiver { child, lines };
    let port = receiver.line().trim().to_owned();

    let project = subscribed(&format!("https://localhost:{port}/hook?x=1"), "");
    let process = project.command().env("SSL_CERT_FILE", &certificate).start();
    for id in [1, 2] {
        add(&process, id);
        let told: serde_json::Value = serde_json::from_str(&receiver.line()).expect("JSON");
        let host = format!("localhost:{port}");
        assert_eq!(
            told,
            json!({"path": "/hook?x=1", "host": host, "signed": true, "new": {"id": id}})
        );
    }
    // Whom nobody vouches for, and who has another name, is told nothing.
    for (to, authorities) in [
        (format!("https://localhost:{port}/"), None),
        (format!("https://127.0.0.1:{port}/"), Some(&certificate)),
    ] {
        let project = subscribed(&to, "");
        let command = project.command();
        let command = match authorities {
            Some(file) => command.env("SSL_CERT_FILE", file),
            None => command,
        };
        let process = command.start();
        add(&process, 3);
        until("the certificate is refused", || {
            process
                .log()
                .iter()
                .any(|line| line.contains("TLS: invalid peer certificate"))
                .then_some(())
        });
        assert_eq!(count(&process, "mainstay_delivered_total"), 0);
    }
}

#[test]
fn a_status_is_an_answer_whenever_the_rest_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                // Later than half of the time, and never all of it.
                std::thread::park_timeout(Duration::from_millis(700));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok");
                std::thread::park_timeout(Duration::from_secs(60));
            });
        }
    });
    let project = subscribed(&format!("http://{address}/"), "timeout = \"1s\"\n");
    let process = project.serve();
    add(&process, 1);
    until("it is delivered", || {
        (count(&process, "mainstay_delivered_total") == 1).then_some(())
    });
    assert_eq!(count(&process, "mainstay_delivery_failures_total"), 0);
}

#[test]
fn headers_of_ones_own_take_the_place_of_ours() {
    let receiver = Receiver::start(|_| 204);
    let headers =
        "headers = { User-Agent = \"shop\", Authorization = \"Bearer x\", Content-Type = \"application/json\" }\n";
    let project = subscribed(&receiver.url("/"), headers);
    let process = project.serve();
    add(&process, 1);
    until("it is delivered", || (receiver.count() == 1).then_some(()));
    let delivery = receiver.take().remove(0);
    for (name, value) in [
        ("user-agent", "shop"),
        ("authorization", "Bearer x"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(delivery.header(name), value, "{name}");
    }
}

#[test]
fn what_cannot_be_delivered_is_refused_before() {
    for (on, says) in [
        (
            "deliver = \"https://user:pass@shop.example/\"",
            "must not carry a password",
        ),
        (
            "deliver = \"http://localhost/\"\nsecret = \"nonsense\"",
            "[[on]] secret",
        ),
    ] {
        let project = Project::new(SCHEMA, &format!("[[on]]\nname = \"told\"\nchange = \"notes\"\n{on}\n")).embedded();
        let check = mainstay_tests::Command::new(mainstay_tests::binary(), "").arg("check");
        for command in [check.arg(project.dir()), project.command()] {
            let (ok, _, said) = command.run();
            assert!(
                !ok && said.contains(says) && said.contains("mainstay.toml:"),
                "{on}: {said}"
            );
        }
    }
}

/// A project that delivers to a path of its own gateway, behind which the receiver is.
fn through_gateway(receiver: &Receiver, gateway: &str) -> Project {
    let address = receiver.url("").replace("http://", "");
    subscribed(
        "/hooks/in",
        &format!(
            "retry = {{ attempts = 3, initial = \"100ms\" }}\n[gateway]\n{gateway}\n[upstream.there]\nservers = [\"{address}\"]\n\
             [[route]]\nmatch = \"POST /hooks/**\"\nto = \"there\"\nauth = \"none\"\n"
        ),
    )
}

#[test]
fn the_gateways_own_deliveries_are_not_for_hosts_and_limits() {
    let receiver = Receiver::start(|_| 204);
    let project = through_gateway(
        &receiver,
        "hosts = [\"shop.example\"]\n[[gateway.limit]]\nper = \"address\"\nrate = \"2/h\"\n[[gateway.limit]]\nper = \"all\"\nrate = \"6/h\"\n",
    );
    let process = project.serve();
    let client = process.client();
    let send = |id: i64, host: &str, own: &str| {
        let body = json!({"id": id}).to_string();
        let request = format!(
            "POST /rest/v1/notes HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nmainstay-own: {own}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = String::from_utf8_lossy(&client.raw(request.as_bytes())).into_owned();
        answer[9..12].parse::<u16>().expect("a status")
    };
    // Whoever claims to be the gateway is not.
    assert_eq!(send(1, "other.example", "x"), 421);
    let added: Vec<u16> = (2..6).map(|id| send(id, "shop.example", "")).collect();
    assert_eq!(added, [201, 201, 429, 429]);
    until("both are delivered", || (receiver.count() == 2).then_some(()));
    for delivery in receiver.take() {
        assert_eq!(delivery.header("mainstay-own"), "", "the key is passed on");
    }
    assert_eq!(count(&process, "mainstay_delivery_failures_total"), 0);
}

#[test]
fn deliveries_under_way_end_before_the_gateway_does() {
    let receiver = Receiver::start(|_| {
        std::thread::park_timeout(Duration::from_secs(1));
        204
    });
    let project = through_gateway(&receiver, "");
    let process = project.serve();
    add(&process, 1);
    until("it is under way", || (receiver.count() == 1).then_some(()));
    assert!(process.terminate());
    assert_eq!(receiver.take()[0].status, 204);
    // It is not delivered a second time.
    let process = project.serve();
    add(&process, 2);
    until("the next is delivered", || {
        (count(&process, "mainstay_delivered_total") == 1).then_some(())
    });
    assert_eq!(receiver.count(), 1);
}

#[test]
fn nobody_holds_up_the_end() {
    for (drain, second) in [
        ("1s", None),
        ("1h", Some("TERM")),
        ("1h", Some("INT")),
        ("1h", Some("HUP")),
    ] {
        let receiver = Receiver::start(|_| {
            std::thread::park_timeout(Duration::from_secs(20));
            204
        });
        let project = subscribed(&receiver.url("/"), &format!("[gateway]\ndrain = \"{drain}\"\n"));
        let process = project.serve();
        add(&process, 1);
        until("it is under way", || (receiver.count() == 1).then_some(()));
        let began = std::time::Instant::now();
        process.signal("HUP");
        if let Some(second) = second {
            until("it has begun to end", || {
                (process.admin().get("/readyz").status == 503).then_some(())
            });
            process.signal(second);
        }
        assert!(process.ended(), "{drain} {second:?}");
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{drain} {second:?}: {:?}",
            began.elapsed()
        );
    }
}
