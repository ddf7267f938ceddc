//! The operators' listener behind its token, and the verbs of the command line that talk to it.

use crate::api::json;
use crate::cli::{Events, Instance, Which};
use crate::current::Current;
use crate::output::{complain, say};
use crate::{explain, explain_request, secrets};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LINK};
use http::{HeaderValue, Method, Request, StatusCode};
use mainstay_bus::{Backlog, Bus, Parked, Selection};
use mainstay_gateway::{Answer, Content, Explainer, Service};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The file in the state directory that holds a generated admin token.
pub const TOKEN_FILE: &str = "admin.token";

/// Where dead letters are listed.
const PARKED: &str = "/events/parked";

/// The most dead letters of one answer; there is a next one.
pub const PAGE_MAX: usize = 1000;

/// A page ends when its payloads have so many bytes, whatever its limit.
const PAGE_BYTES: usize = 8 << 20;

/// Where a running instance is asked for a copy of what waits on its bus.
const SNAPSHOT: &str = "/bus/snapshot";

/// `/events/…`, `/statements`, `/explain` and `/bus/snapshot`
pub struct Operations {
    /// The bus, where this process has one.
    pub bus: Option<Arc<dyn Bus>>,
    /// What answers requests.
    pub current: Arc<Current>,
    /// What knows the gateway's routes, where this process has one.
    pub explainer: Option<Explainer>,
    /// The project's state, where snapshots of the bus are put.
    pub state: PathBuf,
}

impl Service for Operations {
    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        Box::pin(async move {
            let refused = |status: StatusCode, message: &str| {
                json(
                    status,
                    &json!({"code": "GW000", "message": message, "details": null, "hint": null}),
                )
            };
            if (request.method(), request.uri().path()) == (&Method::GET, "/statements") {
                return json(StatusCode::OK, &explain::statements(&self.current.now()).await);
            }
            if (request.method(), request.uri().path()) == (&Method::POST, explain_request::PATH) {
                let told = explain_request::told(self, request.body()).await;
                return match told {
                    Ok(told) => json(StatusCode::OK, &told),
                    Err(message) => refused(StatusCode::BAD_REQUEST, &message),
                };
            }
            let Some(bus) = &self.bus else {
                return refused(StatusCode::NOT_FOUND, "this process runs no worker");
            };
            if (request.method(), request.uri().path()) == (&Method::POST, SNAPSHOT) {
                let name = format!("bus-{}.snapshot", mainstay_archive::Time::now().ms());
                return match bus.snapshot(&self.state.join(&name)).await {
                    Ok(taken) => json(StatusCode::OK, &json!({"file": taken.then_some(name)})),
                    Err(e) => refused(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
                };
            }
            let (selection, all) = match selection(request.uri().query().unwrap_or_default()) {
                Ok(read) => read,
                Err(message) => return refused(StatusCode::BAD_REQUEST, &message),
            };
            if let Some(name) = &selection.subscription
                && let Ok(backlog) = bus.backlog().await
                && !backlog.iter().any(|of| of.subscription == *name)
            {
                let known: Vec<&str> = backlog.iter().map(|of| &*of.subscription).collect();
                return refused(
                    StatusCode::NOT_FOUND,
                    &format!("there is no subscription {name:?}; there is {}", known.join(", ")),
                );
            }
            if (request.method(), request.uri().path()) == (&Method::GET, PARKED) {
                return match page(&**bus, selection).await {
                    Ok(page) => page,
                    Err(e) => refused(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
                };
            }
            if selection.after.is_some() || selection.limit != PAGE_MAX {
                return refused(StatusCode::BAD_REQUEST, "after and limit are for /events/parked alone");
            }
            let result = match (request.method(), request.uri().path()) {
                (&Method::GET, "/events/backlog") => bus.backlog().await.map(|b| b.iter().map(backlog).collect()),
                (&Method::POST, "/events/replay") => {
                    if selection.subscription.is_none() && selection.serial.is_none() && !all {
                        return refused(
                            StatusCode::BAD_REQUEST,
                            "say which: ?subscription=NAME, ?id=N, or ?all=true",
                        );
                    }
                    bus.replay(selection).await.map(|n| json!({"replayed": n}))
                }
                (&Method::POST, "/events/discard") => {
                    if selection.subscription.is_none() && selection.serial.is_none() {
                        return refused(StatusCode::BAD_REQUEST, "say which: ?subscription=NAME or ?id=N");
                    }
                    bus.discard(selection).await.map(|n| json!({"discarded": n}))
                }
                _ => {
                    return refused(
                        StatusCode::NOT_FOUND,
                        "there is /events/backlog, /events/parked, /events/replay, /events/discard",
                    );
                }
            };
            match result {
                Ok(body) => json(StatusCode::OK, &body),
                Err(e) => refused(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
            }
        })
    }
}

/// A page of dead letters, and in `Link` (RFC 8288) where the next one is, if there is one.
async fn page(bus: &dyn Bus, selection: Selection) -> mainstay_model::Result<http::Response<Content>> {
    let limit = selection.limit;
    let mut next = match &selection.subscription {
        Some(name) => format!("{PARKED}?subscription={}&", encoded(name)),
        None => format!("{PARKED}?"),
    };
    let mut letters = bus
        .parked(Selection {
            limit: limit + 1,
            ..selection
        })
        .await?;
    let bytes: usize = letters.iter().map(|letter| letter.message.payload.len()).sum();
    let more = letters.len() > limit || bytes >= PAGE_BYTES;
    letters.truncate(limit);
    let listed = letters.iter().map(parked).collect::<Vec<_>>().join(",");
    let mut answer = http::Response::new(Content::Whole(format!("[{listed}]").into()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(last) = letters.last().filter(|_| more) {
        next.push_str(&format!("after={}&limit={limit}", last.serial));
        if let Ok(link) = HeaderValue::try_from(format!("<{next}>; rel=\"next\"")) {
            answer.headers_mut().insert(LINK, link);
        }
    }
    Ok(answer)
}

/// What a query selects, and whether it says that it means all.
fn selection(query: &str) -> Result<(Selection, bool), String> {
    let mut all = false;
    let mut selection = Selection {
        limit: PAGE_MAX,
        ..Selection::default()
    };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        match pair.split_once('=') {
            Some(("subscription", name)) => selection.subscription = Some(decoded(name)),
            Some(("all", "true")) => all = true,
            Some(("id", id)) => selection.serial = Some(id.parse().map_err(|_| format!("id: {id:?} is not a number"))?),
            Some(("after", id)) => {
                selection.after = Some(id.parse().map_err(|_| format!("after: {id:?} is not a number"))?);
            }
            Some(("limit", limit)) => {
                let limit = limit.parse().ok().filter(|n| (1..=PAGE_MAX).contains(n));
                selection.limit = limit.ok_or_else(|| format!("limit: give a number from 1 to {PAGE_MAX}"))?;
            }
            _ => {
                return Err(format!(
                    "unknown parameter {pair:?}; there is subscription, id, all=true, after and limit"
                ));
            }
        }
    }
    Ok((selection, all))
}

/// Percent-encoding, for a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    text.bytes().for_each(|b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(b as char),
        b => out.push_str(&format!("%{b:02X}")),
    });
    out
}

/// Percent-decoding; what is not encoded right stays as it is.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
        match byte {
            b'%' => {
                let mut ahead = bytes.clone();
                if let (Some(high), Some(low)) = (hex(ahead.next()), hex(ahead.next())) {
                    out.push((high * 16 + low) as u8);
                    bytes = ahead;
                } else {
                    out.push(byte);
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn backlog(of: &Backlog) -> Json {
    json!({"subscription": of.subscription, "waiting": of.waiting, "retrying": of.retrying, "parked": of.parked, "oldest_us": of.oldest_us})
}

/// A dead letter as JSON; its payload as it was written, digit by digit.
fn parked(letter: &Parked) -> String {
    let head = json!({
        "id": letter.serial, "subscription": letter.subscription, "event": letter.message.id, "topic": letter.message.topic,
        "key": letter.message.key, "attempts": letter.attempts, "error": letter.error, "parked_us": letter.parked_us,
    });
    let head = head.to_string();
    let payload = serde_json::from_str::<&RawValue>(&letter.message.payload).map_or("null", RawValue::get);
    format!("{},\"payload\":{payload}}}", &head[..head.len() - 1])
}

/// `mainstay events`
pub fn events(verb: &Events) -> Result<(), Box<dyn Display>> {
    let fail = |text: String| Box::new(text) as Box<dyn Display>;
    let (instance, method, path) = match verb {
        Events::Backlog(instance) => (instance, "GET", "/events/backlog".to_owned()),
        Events::Parked {
            instance,
            subscription,
            after,
            limit,
        } => {
            let subscription = subscription
                .as_ref()
                .map(|name| format!("&subscription={}", encoded(name)));
            let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
            let path = format!("{PARKED}?limit={limit}{after}{}", subscription.unwrap_or_default());
            (instance, "GET", path)
        }
        Events::Replay { which, all: false, .. } if which.is_empty() => {
            return Err(fail("say which: --subscription NAME, --id N, or --all".to_owned()));
        }
        Events::Discard { which, .. } if which.is_empty() => {
            return Err(fail("say which: --subscription NAME or --id N".to_owned()));
        }
        Events::Replay { instance, which, all } => {
            let all = if *all { "all=true" } else { "" };
            (instance, "POST", format!("/events/replay?{}{all}", query(which)))
        }
        Events::Discard { instance, which } => (instance, "POST", format!("/events/discard?{}", query(which))),
    };
    let (head, answer) = exchange(instance, method, &path, "").map_err(fail)?;
    match serde_json::from_str::<Vec<&RawValue>>(&answer) {
        Ok(rows) if rows.is_empty() => say!("nothing"),
        Ok(rows) => rows.iter().for_each(|row| say!("{row}")),
        Err(_) => say!("{answer}"),
    }
    if let Some(next) = next_after(&head) {
        complain!("note: there are more; go on with --after {next}");
    }
    Ok(())
}

/// The query that selects messages, with a `&` behind each part.
fn query(which: &Which) -> String {
    let subscription = which
        .subscription
        .iter()
        .map(|name| format!("subscription={}&", encoded(name)));
    let id = which.id.iter().map(|id| format!("id={id}&"));
    subscription.chain(id).collect()
}

/// What the next page of dead letters comes after, as the head of an answer says.
fn next_after(head: &str) -> Option<&str> {
    let links = head.lines().filter_map(|line| line.split_once(':'));
    let (_, link) = links.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("link"))?;
    link.split(['?', '&', '>']).find_map(|part| part.strip_prefix("after="))
}

/// Asks a running instance for a copy of what waits on its bus, which nobody else can read; the file is the caller's to remove.
pub fn snapshot_of_bus(instance: &Instance) -> Result<Option<PathBuf>, String> {
    let answer = ask(instance, "POST", SNAPSHOT)?;
    let answer: Json = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
    // A name, no path: it lies in this project's state, or the instance is another project's.
    let name = answer["file"].as_str().filter(|name| !name.contains(['/', '\\']));
    Ok(name.map(|name| instance.dir.join(".mainstay").join(name)))
}

/// One request without a body to a running instance's admin listener.
pub fn ask(instance: &Instance, method: &str, path: &str) -> Result<String, String> {
    ask_with(instance, method, path, "")
}

/// One request to a running instance's admin listener.
pub fn ask_with(instance: &Instance, method: &str, path: &str, body: &str) -> Result<String, String> {
    exchange(instance, method, path, body).map(|(_, body)| body)
}

/// The same, with the head of the answer.
fn exchange(instance: &Instance, method: &str, path: &str, body: &str) -> Result<(String, String), String> {
    let env = |name: &str| std::env::var(name).ok();
    let project = mainstay_config::load(&instance.dir, &instance.set, &env)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let address = match &instance.admin {
        None => project.admin.listen,
        Some(text) => text
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("--admin {text}: not an address; write for example 127.0.0.1:8081"))?,
    };
    let token = match &project.admin.token {
        Some(token) => token.expose().to_owned(),
        None => {
            let file = project.state_directory().join(TOKEN_FILE);
            let token = std::fs::read_to_string(&file).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "no instance answers for {}: none was ever started there, {} is missing",
                    instance.dir.display(),
                    file.display()
                ),
                _ => secrets::unusable(&file, "cannot be read", &e),
            })?;
            secrets::not_empty(&file, token.trim())?.to_owned()
        }
    };
    let unreachable =
        |e: std::io::Error| format!("no instance answers at {address}: {e}; is it running? (--admin names another)");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(unreachable)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .map_err(unreachable)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .map_err(unreachable)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(unreachable)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    if head.split(' ').nth(1) == Some("200") {
        return Ok((head.to_owned(), body.to_owned()));
    }
    let refusal: Json = serde_json::from_str(body).unwrap_or_default();
    let message = refusal["message"].as_str().unwrap_or("it did not say why");
    Err(match refusal["code"].as_str() {
        Some("GW801") => format!(
            "{address} does not take this project's token: another project is served there (--admin names another), or [admin] token is another than what it was started with"
        ),
        _ => format!("{address} refused: {message}"),
    })
}
