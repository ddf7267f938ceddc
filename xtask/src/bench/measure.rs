//! The load and the check: wrk for many requests, a few lines of HTTP for the one that is looked at.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Server;
use crate::command::capture;

/// A request, repeated.
#[derive(Debug, Clone)]
pub struct Load {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Headers beside `Host`.
    pub headers: Vec<(String, String)>,
    /// The body; none for GET.
    pub body: Option<String>,
    /// Lua for wrk that replaces the fixed request: a function `request()` that returns `wrk.format(…)`, for cases in which no
    /// two requests may be alike. The fixed request is still the one that is checked.
    pub script: Option<String>,
    /// Instead of requests: transactions of pgbench, whose script this is (empty: its own `-S`). The server is the database.
    pub pgbench: Option<String>,
}

impl Load {
    /// A GET without headers.
    pub fn get(path: &str) -> Load {
        Load {
            method: "GET",
            path: path.to_string(),
            headers: Vec::new(),
            body: None,
            script: None,
            pgbench: None,
        }
    }

    /// Transactions of pgbench, prepared.
    pub fn pgbench(script: &str) -> Load {
        Load {
            pgbench: Some(script.to_string()),
            ..Load::get("/")
        }
    }

    fn lua(&self) -> String {
        let mut text = format!(
            "wrk.method = {}\nwrk.path = {}\n",
            lua_string(self.method),
            lua_string(&self.path)
        );
        for (name, value) in &self.headers {
            text += &format!("wrk.headers[{}] = {}\n", lua_string(name), lua_string(value));
        }
        if let Some(body) = &self.body {
            text += &format!("wrk.body = {}\n", lua_string(body));
        }
        text + self.script.as_deref().unwrap_or_default()
    }
}

/// What one request got.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, lower case.
    pub head: String,
    /// The body as it came, chunk sizes included.
    pub body: String,
}

impl Answer {
    /// The usual check: this status, and this text in the body.
    pub fn expect(&self, status: u16, contains: &str) -> Result<(), String> {
        if self.status == status && self.body.contains(contains) {
            return Ok(());
        }
        let (head, body) = (&self.head, &self.body);
        Err(format!("expected {status} with {contains:?}, got {head}\n\n{body}"))
    }
}

/// The circumstances of one measurement.
pub struct Run<'r> {
    pub core: u32,
    pub seconds: u32,
    pub connections: u32,
    pub script: &'r Path,
}

/// Sends the request once.
pub fn fetch(server: &Server, load: &Load) -> Result<Answer, String> {
    let say = |error: std::io::Error| format!("{} {}: {error}", load.method, load.path);
    let mut stream = TcpStream::connect(server.address).map_err(say)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(say)?;
    let mut request = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        load.method, load.path, server.address
    );
    for (name, value) in &load.headers {
        request += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = &load.body {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    request += load.body.as_deref().unwrap_or_default();
    stream.write_all(request.as_bytes()).map_err(say)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(say)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("{} {}: no answer", load.method, load.path))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or("no status line")?;
    Ok(Answer {
        status,
        head: head.to_lowercase(),
        body: body.to_string(),
    })
}

/// Sends as many requests as fit into the time, and returns how many were answered. One failure fails the run.
pub fn load(server: &Server, load: &Load, run: &Run<'_>) -> Result<u64, String> {
    if let Some(script) = &load.pgbench {
        return pgbench(server, script, run);
    }
    std::fs::write(run.script, load.lua()).map_err(|error| format!("{}: {error}", run.script.display()))?;
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", &run.core.to_string(), "wrk", "-t1"])
        .arg(format!("-c{}", run.connections))
        .arg(format!("-d{}s", run.seconds))
        .arg("-s")
        .arg(run.script)
        .arg(format!("http://{}{}", server.address, load.path));
    read_wrk(&capture(&mut wrk)?)
}

fn pgbench(server: &Server, script: &str, run: &Run<'_>) -> Result<u64, String> {
    let mut pgbench = Command::new("taskset");
    pgbench
        .args([
            "-c",
            &run.core.to_string(),
            "pgbench",
            "-n",
            "-M",
            "prepared",
            "-j1",
            "-U",
            "postgres",
            "-h",
        ])
        .arg(&server.folder)
        .arg(format!("-c{}", run.connections))
        .arg(format!("-T{}", run.seconds));
    if script.is_empty() {
        pgbench.arg("-S");
    } else {
        std::fs::write(run.script, script).map_err(|error| format!("{}: {error}", run.script.display()))?;
        pgbench.arg("-f").arg(run.script);
    }
    read_pgbench(&capture(pgbench.arg("postgres"))?)
}

fn read_pgbench(report: &str) -> Result<u64, String> {
    let find = |name: &str| report.lines().find_map(|line| line.strip_prefix(name));
    if let Some(failed) = find("number of failed transactions: ").filter(|n| !n.starts_with("0 ")) {
        return Err(format!("pgbench: {failed} transactions failed"));
    }
    let count = find("number of transactions actually processed: ").and_then(|n| n.trim().parse().ok());
    count.ok_or_else(|| format!("pgbench said: {report}"))
}

fn read_wrk(report: &str) -> Result<u64, String> {
    let failed = |line: &&str| line.contains("Non-2xx") || line.contains("Socket errors");
    if let Some(line) = report.lines().find(failed) {
        return Err(line.trim().to_string());
    }
    let line = report
        .lines()
        .find(|line| line.contains(" requests in "))
        .ok_or_else(|| format!("wrk said: {report}"))?;
    let count = line.split_whitespace().next().and_then(|word| word.parse().ok());
    count.ok_or_else(|| format!("wrk said: {line}"))
}

fn lua_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(byte as char);
            }
            b' '..=b'~' => quoted.push(byte as char),
            other => quoted += &format!("\\{other:03}"),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  5123 requests in 1.00s, 4.10MB read\nRequests/sec:   5120.01\n";
        assert_eq!(read_wrk(report), Ok(5123));
        let errors = format!("{report}  Non-2xx or 3xx responses: 12\n");
        assert_eq!(read_wrk(&errors), Err("Non-2xx or 3xx responses: 12".to_string()));
        let sockets = format!("{report}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert!(read_wrk(&sockets).is_err());
    }

    #[test]
    fn a_report_of_pgbench_is_read() {
        let report = "scaling factor: 1\nnumber of transactions actually processed: 4711\nnumber of failed transactions: 0 (0.000%)\n";
        assert_eq!(read_pgbench(report), Ok(4711));
        assert!(read_pgbench(&report.replace("s: 0 (", "s: 3 (")).is_err());
        assert!(read_pgbench("").is_err());
    }

    #[test]
    fn strings_for_lua() {
        assert_eq!(lua_string("a\"b\\c\nd"), "\"a\\\"b\\\\c\\010d\"");
        let load = Load {
            body: Some("{\"a\":1}".to_string()),
            headers: vec![("A".into(), "b".into())],
            ..Load::get("/x")
        };
        assert_eq!(
            load.lua(),
            "wrk.method = \"GET\"\nwrk.path = \"/x\"\nwrk.headers[\"A\"] = \"b\"\nwrk.body = \"{\\\"a\\\":1}\"\n"
        );
    }
}
