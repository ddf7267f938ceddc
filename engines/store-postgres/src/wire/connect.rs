//! Opens a connection: the first host that answers and will do, TLS, the password, and what the server says of itself.

use super::response::ServerError;
use super::tls::Tls;
use crate::address::{Address, Host, SessionAttributes, SslMode};
use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::rustls::pki_types::ServerName;

/// What bytes go through.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection that is ready for its first statement.
pub(crate) struct Opened {
    pub socket: Box<dyn Socket>,
    /// Bytes that came after the start.
    pub input: BytesMut,
    pub host: Host,
    /// For cancelling: process and secret.
    pub key: (i32, i32),
    /// `server_version`, as the server says it.
    pub version: String,
    /// `in_hot_standby`, or that it refuses to write; `None` when the server does not say.
    pub read_only: Option<bool>,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) enum ConnectError {
    /// The host does not answer, or goes away while it does.
    Io(String),
    /// TLS is wanted and not to be had.
    Tls(String),
    /// The server refuses.
    Server(Box<ServerError>),
    /// It answers, but is not what `target_session_attrs` asks for.
    Role(String),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConnectError::Io(why) | ConnectError::Tls(why) | ConnectError::Role(why) => f.write_str(why),
            ConnectError::Server(error) => write!(f, "{}: {}", error.code, error.message),
        }
    }
}

/// Tries the hosts in order. `parameters` are the start's.
pub(crate) async fn open(
    address: &Address,
    tls: &Tls,
    parameters: &[(&str, &str)],
    timeout: Duration,
) -> Result<Opened, ConnectError> {
    let prefers_standby = address.session == SessionAttributes::PreferStandby;
    let mut failed = None;
    for pass in 0..=usize::from(prefers_standby) {
        for host in &address.hosts {
            let attempt = async {
                let socket = socket(host, tls).await?;
                let opened = start(socket, host, address, parameters).await?;
                let wanted = match address.session {
                    SessionAttributes::PreferStandby if pass == 0 => SessionAttributes::Standby,
                    SessionAttributes::PreferStandby => SessionAttributes::Any,
                    wanted => wanted,
                };
                will_do(opened, wanted).await
            };
            match tokio::time::timeout(timeout, attempt).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) => failed = Some(worse(failed, named(host, error))),
                Err(_) => {
                    let error = ConnectError::Io(format!("no answer within {} ms", timeout.as_millis()));
                    failed = Some(worse(failed, named(host, error)));
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| ConnectError::Io("no host is named".to_owned())))
}

/// Of two failures the one that tells more: what a server says rather than that another is not there.
fn worse(known: Option<ConnectError>, new: ConnectError) -> ConnectError {
    match (known, new) {
        (Some(known @ ConnectError::Server(_)), ConnectError::Io(_) | ConnectError::Role(_)) => known,
        (Some(known @ ConnectError::Role(_)), ConnectError::Io(_)) => known,
        (_, new) => new,
    }
}

fn named(host: &Host, error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Io(why) => ConnectError::Io(format!("{host}: {why}")),
        ConnectError::Tls(why) => ConnectError::Tls(format!("{host}: {why}")),
        ConnectError::Role(why) => ConnectError::Role(format!("{host}: {why}")),
        error => error,
    }
}

/// A socket to a host, encrypted if that is wanted.
pub(crate) async fn socket(host: &Host, tls: &Tls) -> Result<Box<dyn Socket>, ConnectError> {
    let failed = |e: io::Error| ConnectError::Io(e.to_string());
    let (name, port) = match host {
        Host::Unix(folder, port) => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            return Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?));
        }
        Host::Tcp(name, port) => (name, *port),
    };
    let mut stream = TcpStream::connect((name.as_str(), port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let Some(connector) = &tls.connector else {
        return Ok(Box::new(stream));
    };
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(failed)?;
    match stream.read_u8().await.map_err(failed)? {
        b'S' => {
            let name = ServerName::try_from(name.clone())
                .map_err(|_| ConnectError::Tls(format!("\"{name}\" is no name that a certificate may have")))?;
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(|e| ConnectError::Tls(format!("TLS: {e}")))?;
            Ok(Box::new(stream))
        }
        _ if tls.mode == SslMode::Prefer => Ok(Box::new(stream)),
        _ => Err(ConnectError::Tls(
            "the server does not do TLS, which sslmode asks for".to_owned(),
        )),
    }
}

/// Start-up and password.
async fn start(
    mut socket: Box<dyn Socket>,
    host: &Host,
    address: &Address,
    parameters: &[(&str, &str)],
) -> Result<Opened, ConnectError> {
    let failed = |e: io::Error| ConnectError::Io(e.to_string());
    let mut out = BytesMut::new();
    let own = [("user", &*address.user), ("database", &*address.database)];
    frontend::startup_message(own.into_iter().chain(parameters.iter().copied()), &mut out).map_err(failed)?;
    let mut opened = Opened {
        socket: Box::new(tokio::io::empty()),
        input: BytesMut::with_capacity(16 << 10),
        host: host.clone(),
        key: (0, 0),
        version: String::new(),
        read_only: None,
    };
    let mut scram: Option<ScramSha256> = None;
    loop {
        if !out.is_empty() {
            socket.write_all(&out).await.map_err(failed)?;
            socket.flush().await.map_err(failed)?;
            out.clear();
        }
        let (tag, mut body) = message(&mut socket, &mut opened.input).await.map_err(failed)?;
        match tag {
            b'R' => authenticate(&mut body, address, &mut scram, &mut out)?,
            b'S' => {
                let mut parts = body[..].split(|b: &u8| *b == 0);
                let (name, value) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""));
                match name {
                    b"server_version" => opened.version = String::from_utf8_lossy(value).into_owned(),
                    b"in_hot_standby" | b"default_transaction_read_only" => {
                        opened.read_only = Some(opened.read_only.unwrap_or(false) || value == b"on");
                    }
                    _ => {}
                }
            }
            b'K' if body.len() >= 8 => opened.key = (body.get_i32(), body.get_i32()),
            b'E' => return Err(ConnectError::Server(Box::new(ServerError::read(&body)))),
            b'Z' => break,
            // Notices, and versions of the protocol that are not asked for.
            _ => {}
        }
    }
    opened.socket = socket;
    Ok(opened)
}

fn authenticate(
    body: &mut BytesMut,
    address: &Address,
    scram: &mut Option<ScramSha256>,
    out: &mut BytesMut,
) -> Result<(), ConnectError> {
    let failed = |e: io::Error| ConnectError::Io(format!("authentication: {e}"));
    let refused = |message: &str| {
        ConnectError::Server(Box::new(ServerError {
            code: "28000".to_owned(),
            message: message.to_owned(),
            ..ServerError::default()
        }))
    };
    if body.len() < 4 {
        return Err(ConnectError::Io("an answer that is cut short".to_owned()));
    }
    let kind = body.get_i32();
    let password = || {
        address
            .password
            .as_deref()
            .ok_or_else(|| refused("the server wants a password and the URL has none"))
    };
    match kind {
        0 => {}
        3 => frontend::password_message(password()?.as_bytes(), out).map_err(failed)?,
        5 if body.len() >= 4 => {
            let salt = [body[0], body[1], body[2], body[3]];
            let hashed = md5_hash(address.user.as_bytes(), password()?.as_bytes(), salt);
            frontend::password_message(hashed.as_bytes(), out).map_err(failed)?;
        }
        10 => {
            if !body[..]
                .split(|b: &u8| *b == 0)
                .any(|name| name == SCRAM_SHA_256.as_bytes())
            {
                return Err(refused("the server offers no SCRAM-SHA-256"));
            }
            let state = ScramSha256::new(password()?.as_bytes(), ChannelBinding::unsupported());
            frontend::sasl_initial_response(SCRAM_SHA_256, state.message(), out).map_err(failed)?;
            *scram = Some(state);
        }
        11 => {
            let state = scram.as_mut().ok_or_else(|| refused("SCRAM goes on before it began"))?;
            state.update(body).map_err(failed)?;
            frontend::sasl_response(state.message(), out).map_err(failed)?;
        }
        12 => {
            let state = scram.as_mut().ok_or_else(|| refused("SCRAM ends before it began"))?;
            state.finish(body).map_err(failed)?;
        }
        other => {
            return Err(refused(&format!(
                "the server asks for a kind of authentication (number {other}) that is not spoken here"
            )));
        }
    }
    Ok(())
}

/// Asks what the start has not told, and refuses a host of the wrong kind.
async fn will_do(mut opened: Opened, wanted: SessionAttributes) -> Result<Opened, ConnectError> {
    if wanted == SessionAttributes::Any {
        return Ok(opened);
    }
    let failed = |e: io::Error| ConnectError::Io(e.to_string());
    if opened.read_only.is_none() {
        let mut out = BytesMut::new();
        frontend::query("SHOW transaction_read_only", &mut out).map_err(failed)?;
        opened.socket.write_all(&out).await.map_err(failed)?;
        opened.socket.flush().await.map_err(failed)?;
        loop {
            let (tag, body) = message(&mut opened.socket, &mut opened.input).await.map_err(failed)?;
            match tag {
                b'D' => opened.read_only = Some(body.ends_with(b"on")),
                b'Z' => break,
                b'E' => return Err(ConnectError::Server(Box::new(ServerError::read(&body)))),
                _ => {}
            }
        }
    }
    let read_only = opened.read_only.unwrap_or(false);
    let wants_standby = matches!(wanted, SessionAttributes::ReadOnly | SessionAttributes::Standby);
    if read_only == wants_standby {
        return Ok(opened);
    }
    let is = if read_only { "takes no writes" } else { "is the primary" };
    Err(ConnectError::Role(format!(
        "it {is}, which target_session_attrs does not want"
    )))
}

/// The next message: its tag and its body.
async fn message(socket: &mut Box<dyn Socket>, input: &mut BytesMut) -> io::Result<(u8, BytesMut)> {
    loop {
        if input.len() >= 5 {
            let length = u32::from_be_bytes([input[1], input[2], input[3], input[4]]) as usize;
            // Nothing that comes before the first statement is long: this is no PostgreSQL.
            if !(4..=1 << 20).contains(&length) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the answer is not PostgreSQL's",
                ));
            }
            if input.len() > length {
                let mut body = input.split_to(length + 1);
                let tag = body[0];
                body.advance(5);
                return Ok((tag, body));
            }
        }
        if socket.read_buf(input).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ));
        }
    }
}
