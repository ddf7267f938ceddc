//! A kept connection: requests one after another on it, and in threads of their own many at once.

use crate::Answer;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection that is kept between requests.
pub struct Connection {
    stream: TcpStream,
    host: String,
    /// Bytes that came after the last answer.
    rest: Vec<u8>,
}

impl Connection {
    /// Connects to `http://host:port`.
    pub fn open(url: &str) -> Result<Connection> {
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Connection {
            stream,
            host,
            rest: Vec::new(),
        })
    }

    /// How long it waits for an answer from now on.
    pub fn patience(&self, patience: Duration) {
        // A socket that cannot be told waits a minute.
        let _ = self.stream.set_read_timeout(Some(patience));
    }

    /// One request and its answer. An error is a connection that broke off: whether the request was done is unknown.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        self.send_raw(&request, method == "HEAD")
    }

    /// One request as bytes and its answer; `head`: the answer has no body whatever its head says.
    pub fn send_raw(&mut self, request: &[u8], head: bool) -> Result<Answer> {
        self.stream.write_all(request)?;
        loop {
            let answer = self.answer(head)?;
            // 1xx come before the answer.
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    fn answer(&mut self, head: bool) -> Result<Answer> {
        let end = loop {
            if let Some(end) = self.rest.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let text = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest.drain(..end + 4);
        let bad = |what: &str| Error::new(ErrorKind::InvalidData, format!("{what} in {text:?}"));
        let mut lines = text.split("\r\n");
        let status: u16 = lines
            .next()
            .and_then(|l| l.split(' ').nth(1)?.parse().ok())
            .ok_or_else(|| bad("no status"))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let bodiless = head || status < 200 || status == 204 || status == 304;
        let body = match (header("transfer-encoding"), header("content-length")) {
            _ if bodiless => Vec::new(),
            (Some("chunked"), _) => self.chunked()?,
            (_, Some(length)) => {
                let length = length.parse().map_err(|_| bad("no length"))?;
                self.exactly(length)?
            }
            _ => return Err(bad("neither length nor chunks")),
        };
        Ok(Answer { status, headers, body })
    }

    fn chunked(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.rest.windows(2).position(|w| w == b"\r\n") {
                    break end;
                }
                self.more()?;
            };
            let size = usize::from_str_radix(String::from_utf8_lossy(&self.rest[..line]).trim(), 16)
                .map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
            self.rest.drain(..line + 2);
            let mut chunk = self.exactly(size + 2)?;
            chunk.truncate(size);
            if size == 0 {
                return Ok(body);
            }
            body.append(&mut chunk);
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.rest.len() < length {
            self.more()?;
        }
        Ok(self.rest.drain(..length).collect())
    }

    fn more(&mut self) -> Result<()> {
        let mut buffer = [0u8; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended")),
            n => {
                self.rest.extend_from_slice(&buffer[..n]);
                Ok(())
            }
        }
    }
}
