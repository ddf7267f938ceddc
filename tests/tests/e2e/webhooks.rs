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
                std::thread::sleep(Duration::from_millis(700));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok");
                std::thread::sleep(Duration::from_secs(60));
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
