//! What would come of one request, without its being sent: the phases of the gateway, what the dialect understands, the SQL and its
//! plan. The running instance tells it through its admin listener; the command line asks and prints.

use crate::admin::{self, Operations};
use crate::cli::{Explain, Instance};
use crate::output::say;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use mainstay_gateway::End;
use mainstay_model::{Error, Identity};
use mainstay_query::{CacheVerdict, Explained, Outlook};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// Where a running instance is asked.
pub const PATH: &str = "/explain";

/// Characters of a parameter that are shown.
const SHOWN: usize = 200;

/// What a caller of the admin listener asks for.
struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    caller: Option<Arc<Identity>>,
    analyze: bool,
}

/// Tells of the request that a body describes. The error says what is wrong with the description.
pub async fn told(operations: &Operations, body: &[u8]) -> Result<Json, String> {
    let asked = Asked::read(body)?;
    let explainer = operations
        .explainer
        .as_ref()
        .ok_or("this process takes no requests: it has no gateway and no API")?;
    let course = explainer.explain(&asked.method, &asked.uri, &asked.headers, asked.caller.clone());
    let mut phases: Vec<(&str, String)> = course.phases;
    let (mut statements, mut plan) = (Vec::new(), String::new());
    if let End::Service(identity, headers) = course.end {
        if !is_below(asked.uri.path(), mainstay_rest::PREFIX) {
            phases.push((
                "service",
                "a service of this process, which is no API over tables".to_owned(),
            ));
        } else {
            let now = operations.current.now();
            let mut request = Request::new(asked.body);
            *request.method_mut() = asked.method;
            *request.uri_mut() = asked.uri;
            *request.headers_mut() = headers;
            if let Some(identity) = identity {
                request.extensions_mut().insert(identity);
            }
            let wanted = mainstay_query::Explain {
                analyze: asked.analyze,
                ..mainstay_query::Explain::default()
            };
            match now.rest.explained(request, wanted).await {
                Err(refused) => phases.push(("rest", sentence(Some(refused.status.as_u16()), &refused.error))),
                Ok(explained) => {
                    phases.push(("rest", explained.does));
                    if let Some((outlook, explanation)) = explained.work {
                        outlook_phases(&outlook, &mut phases);
                        match explanation {
                            Ok(explanation) => (statements, plan) = (explanation.statements, explanation.plan),
                            Err(error) => phases.push(("plan", sentence(None, &error))),
                        }
                    }
                }
            }
        }
    }
    let statement = |statement: &Explained| json!({"sql": statement.sql, "params": statement.params});
    Ok(json!({
        "phases": phases.iter().map(|(name, says)| json!([name, says])).collect::<Vec<_>>(),
        "statements": statements.iter().map(statement).collect::<Vec<_>>(),
        "plan": plan,
    }))
}

fn outlook_phases(outlook: &Outlook, phases: &mut Vec<(&str, String)>) {
    if let Some(cache) = &outlook.cache {
        let says = match cache {
            CacheVerdict::Hit => "has the answer; the store would not be asked".to_owned(),
            CacheVerdict::Bypass(why) => format!("would not be asked: {why}"),
            _ => "would be asked, and has no answer now".to_owned(),
        };
        phases.push(("cache", says));
    }
    phases.push(("store", format!("\"{}\", {}", outlook.store, outlook.engine)));
}

fn sentence(status: Option<u16>, error: &Error) -> String {
    let mut text = match status {
        Some(status) => format!("refused: {status} {}: {}", error.code, error.message),
        None => format!("none: {}: {}", error.code, error.message),
    };
    for more in error.details.iter().chain(&error.hint) {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Asked {
    fn read(body: &[u8]) -> Result<Asked, String> {
        let asked: Json = serde_json::from_slice(body).map_err(|e| format!("the body is no JSON: {e}"))?;
        let text = |name: &str| asked[name].as_str();
        let method = text("method").unwrap_or("GET");
        let target = text("target").ok_or("the target is missing")?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        for pair in asked["headers"].as_array().into_iter().flatten() {
            let (name, value) = (
                pair[0].as_str().unwrap_or_default(),
                pair[1].as_str().unwrap_or_default(),
            );
            let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is not the name of a header"))?;
            let value = HeaderValue::try_from(value).map_err(|_| format!("{value:?} is not the value of a header"))?;
            match name == HOST {
                true => drop(headers.insert(name, value)),
                false => drop(headers.append(name, value)),
            }
        }
        let caller = text("role").map(|role| {
            let mut claims = serde_json::Map::new();
            claims.insert("role".to_owned(), role.into());
            if let Some(sub) = text("sub") {
                claims.insert("sub".to_owned(), sub.into());
            }
            Arc::new(Identity::new(role, Arc::new(claims)))
        });
        Ok(Asked {
            method: method.parse().map_err(|_| format!("{method:?} is not a method"))?,
            uri: target.parse().map_err(|e| format!("{target:?} is not a target: {e}"))?,
            headers,
            body: Bytes::copy_from_slice(text("body").unwrap_or_default().as_bytes()),
            caller,
            analyze: asked["analyze"].as_bool().unwrap_or(false),
        })
    }
}

/// Whether an argument of the command line is a request rather than a folder: `GET /x`.
pub fn is_request(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(method, target)| {
        !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase()) && target.trim_start().starts_with('/')
    })
}

/// A target with what a URL cannot hold percent-encoded, as clients do.
fn encoded(target: &str) -> String {
    let mut out = String::with_capacity(target.len());
    for byte in target.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0..=31 | 127.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            byte => out.push(byte as char),
        }
    }
    out
}

/// `mainstay explain "GET /x"`
pub fn run(instance: &Instance, request: &str, options: &Explain) -> Result<(), String> {
    let (method, target) = request.split_once(' ').unwrap_or(("GET", request));
    let target = encoded(target.trim());
    let mut headers = Vec::new();
    for header in &options.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| format!("-H {header:?}: write \"Name: value\""))?;
        headers.push(json!([name.trim(), value.trim()]));
    }
    let asked = json!({
        "method": method, "target": target, "headers": headers, "body": options.data.as_deref().unwrap_or_default(),
        "role": options.role, "sub": options.sub, "analyze": options.analyze,
    });
    let answer = admin::ask_with(instance, "POST", PATH, &asked.to_string())?;
    let answer: Json = serde_json::from_str(&answer).map_err(|e| format!("the answer cannot be read: {e}"))?;
    say!("{method} {target}");
    for phase in answer["phases"].as_array().into_iter().flatten() {
        let (name, says) = (
            phase[0].as_str().unwrap_or_default(),
            phase[1].as_str().unwrap_or_default(),
        );
        say!("  {name:<15} {says}");
    }
    for statement in answer["statements"].as_array().into_iter().flatten() {
        say!("sql");
        statement["sql"]
            .as_str()
            .unwrap_or_default()
            .lines()
            .for_each(|line| say!("  {line}"));
        for (at, value) in statement["params"].as_array().into_iter().flatten().enumerate() {
            let value = value.as_str().unwrap_or_default();
            let shown: String = value.chars().take(SHOWN).collect();
            let more = if shown.len() < value.len() { "…" } else { "" };
            say!("    {} = {shown}{more}", at + 1);
        }
    }
    let plan = answer["plan"].as_str().unwrap_or_default();
    if !plan.is_empty() {
        say!("plan");
        plan.lines().for_each(|line| say!("  {line}"));
        if options.analyze && !plan.contains("actual time") {
            say!("  (this store measures nothing)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_folders() {
        for (text, is) in [
            ("GET /rest/v1/x?a=eq.1", true),
            ("DELETE /x", true),
            ("/srv/shop", false),
            ("get /x", false),
            ("examples/my shop", false),
            ("A b", false),
        ] {
            assert_eq!(is_request(text), is, "{text}");
        }
        assert_eq!(encoded("/x?data->>a=eq.ü b"), "/x?data-%3E%3Ea=eq.%C3%BC%20b");
    }
}
