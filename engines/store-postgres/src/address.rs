//! Where the server is and how it is spoken to: libpq's URLs and `key=value` strings, without printing a password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Tried in order.
    pub hosts: Vec<Host>,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    pub sslmode: SslMode,
    /// `sslrootcert`; `None` is the system's.
    pub root_certificate: Option<PathBuf>,
    /// Which hosts will do.
    pub session: SessionAttributes,
    pub application_name: Option<String>,
    pub connect_timeout: Option<Duration>,
    /// `options`, for the server's command line.
    pub options: Option<String>,
    /// `prepared=off`: ours, for poolers in transaction mode.
    pub prepared: Option<bool>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The folder of a Unix socket, and the port that is part of its name.
    Unix(PathBuf, u16),
    /// A name or an address.
    Tcp(String, u16),
}

/// `sslmode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `target_session_attrs`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionAttributes {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(folder, port) => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
            Host::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Host::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Hosts and database; never the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if at > 0 { "," } else { "" })?;
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{self}", self.user)
    }
}

impl Address {
    /// Reads a URL or a `key=value` string. `Err` is a sentence.
    pub fn parse(text: &str) -> Result<Address, String> {
        let mut given = Given::default();
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"));
        match rest {
            Some(rest) => given.url(rest)?,
            None if text.contains('=') && !text.contains("://") => given.pairs(text)?,
            None => return Err("a URL begins with postgres:// or postgresql://".to_owned()),
        }
        given.finish()
    }
}

#[derive(Default)]
struct Given {
    hosts: Vec<String>,
    ports: Vec<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    sslmode: Option<SslMode>,
    root_certificate: Option<PathBuf>,
    session: Option<SessionAttributes>,
    application_name: Option<String>,
    connect_timeout: Option<Duration>,
    options: Option<String>,
    prepared: Option<bool>,
}

impl Given {
    fn url(&mut self, rest: &str) -> Result<(), String> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = match authority.rsplit_once('@') {
            Some((login, hosts)) => {
                let (user, password) = match login.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (login, None),
                };
                self.user = Some(decoded(user)?).filter(|u| !u.is_empty());
                self.password = password.map(decoded).transpose()?;
                hosts
            }
            None => authority,
        };
        if !hosts.is_empty() {
            for host in hosts.split(',') {
                let (name, port) = match host.strip_prefix('[') {
                    Some(inner) => {
                        let (address, after) = inner.split_once(']').ok_or("a host lacks its ]")?;
                        (address, after.strip_prefix(':').unwrap_or(""))
                    }
                    None => host.split_once(':').unwrap_or((host, "")),
                };
                self.hosts.push(decoded(name)?);
                self.ports.push(port.to_owned());
            }
        }
        self.database = Some(decoded(database)?).filter(|d| !d.is_empty());
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("\"{pair}\" has no value"))?;
            self.set(&decoded(key)?, decoded(value)?)?;
        }
        Ok(())
    }

    /// `host=a user=b password='it''s'`
    fn pairs(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=').ok_or("a key has no value")?;
            let after = after.trim_start();
            let mut value = String::new();
            let quoted = after.starts_with('\'');
            let mut chars = after.char_indices().skip(usize::from(quoted));
            let mut end = after.len();
            let mut closed = !quoted;
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => value.extend(chars.next().map(|(_, c)| c)),
                    '\'' if quoted => {
                        end = at + 1;
                        closed = true;
                        break;
                    }
                    c if !quoted && c.is_whitespace() => {
                        end = at;
                        break;
                    }
                    c => value.push(c),
                }
            }
            if !closed {
                return Err("a quoted value is not closed".to_owned());
            }
            self.set(key.trim(), value)?;
            rest = after[end..].trim_start();
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let unknown = |what: &str| format!("{key}={value}: {what}");
        match key {
            "host" | "hostaddr" => self.hosts = value.split(',').map(str::to_owned).collect(),
            "port" => self.ports = value.split(',').map(str::to_owned).collect(),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "application_name" => self.application_name = Some(value),
            "options" => self.options = Some(value),
            "connect_timeout" => {
                let seconds = value.parse().map_err(|_| unknown("not a number of seconds"))?;
                self.connect_timeout = Some(Duration::from_secs(seconds)).filter(|d| !d.is_zero());
            }
            "sslmode" => {
                self.sslmode = Some(match value.as_str() {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    _ => return Err(unknown("disable, prefer, require, verify-ca or verify-full")),
                })
            }
            "sslrootcert" => self.root_certificate = Some(PathBuf::from(value)).filter(|p| p.as_os_str() != "system"),
            "target_session_attrs" => {
                self.session = Some(match value.as_str() {
                    "any" => SessionAttributes::Any,
                    "read-write" => SessionAttributes::ReadWrite,
                    "read-only" => SessionAttributes::ReadOnly,
                    "primary" => SessionAttributes::Primary,
                    "standby" => SessionAttributes::Standby,
                    "prefer-standby" => SessionAttributes::PreferStandby,
                    _ => {
                        return Err(unknown(
                            "any, read-write, read-only, primary, standby or prefer-standby",
                        ));
                    }
                })
            }
            "prepared" => {
                self.prepared = Some(match value.as_str() {
                    "on" | "true" => true,
                    "off" | "false" => false,
                    _ => return Err(unknown("on or off")),
                })
            }
            // Of libpq's own, without a meaning here: what they ask for is done anyway, or not at all.
            "keepalives"
            | "keepalives_idle"
            | "keepalives_interval"
            | "keepalives_count"
            | "tcp_user_timeout"
            | "channel_binding"
            | "client_encoding"
            | "gssencmode"
            | "fallback_application_name"
            | "sslcompression"
            | "sslsni"
            | "load_balance_hosts"
            | "pgbouncer" => {}
            _ => {
                return Err(format!(
                    "\"{key}\" is not a parameter of a connection that is known here"
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Address, String> {
        let mut hosts = Vec::new();
        let names = if self.hosts.is_empty() {
            vec![String::new()]
        } else {
            self.hosts
        };
        for (at, name) in names.iter().enumerate() {
            let port = match self.ports.len() {
                0 => "",
                1 => &self.ports[0],
                _ => self.ports.get(at).map_or("", String::as_str),
            };
            let port = match port {
                "" => 5432,
                port => port.parse().map_err(|_| format!("\"{port}\" is not a port"))?,
            };
            hosts.push(match name.as_str() {
                "" => match ["/var/run/postgresql", "/tmp"]
                    .iter()
                    .find(|folder| PathBuf::from(folder).join(format!(".s.PGSQL.{port}")).exists())
                {
                    Some(folder) => Host::Unix(PathBuf::from(folder), port),
                    None => Host::Tcp("localhost".to_owned(), port),
                },
                name if name.starts_with('/') => Host::Unix(PathBuf::from(name), port),
                name => Host::Tcp(name.to_owned(), port),
            });
        }
        let user = self
            .user
            .or_else(|| std::env::var("PGUSER").ok())
            .or_else(|| std::env::var("USER").ok())
            .unwrap_or_else(|| "postgres".to_owned());
        // Several hosts are one cluster: writes go to the one that takes them.
        let several = hosts.len() > 1;
        Ok(Address {
            hosts,
            database: self.database.unwrap_or_else(|| user.clone()),
            user,
            password: self.password.or_else(|| std::env::var("PGPASSWORD").ok()),
            sslmode: self.sslmode.unwrap_or(SslMode::Prefer),
            root_certificate: self.root_certificate,
            session: self.session.unwrap_or(if several {
                SessionAttributes::ReadWrite
            } else {
                SessionAttributes::Any
            }),
            application_name: self.application_name,
            connect_timeout: self.connect_timeout,
            options: self.options,
            prepared: self.prepared,
        })
    }
}

/// Percent-decoding.
fn decoded(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err("a % is not followed by two hexadecimal digits".to_owned()),
        }
    }
    String::from_utf8(out).map_err(|_| "a value is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        let tcp = |host: &str, port| Host::Tcp(host.to_owned(), port);
        for (url, hosts, user, password, database) in [
            (
                "postgres://u:p%40s@db:6543/shop",
                vec![tcp("db", 6543)],
                "u",
                Some("p@s"),
                "shop",
            ),
            ("postgresql://u@[::1]/", vec![tcp("::1", 5432)], "u", None, "u"),
            (
                "postgres://u@a,b:1/d",
                vec![tcp("a", 5432), tcp("b", 1)],
                "u",
                None,
                "d",
            ),
            (
                "postgres://u@/d?host=/run/pg&port=7",
                vec![Host::Unix("/run/pg".into(), 7)],
                "u",
                None,
                "d",
            ),
            (
                "host=a,b port=1,2 user=u password='it\\'s x' dbname=d",
                vec![tcp("a", 1), tcp("b", 2)],
                "u",
                Some("it's x"),
                "d",
            ),
            (
                "postgres://%2Frun%2Fpg/d?user=u",
                vec![Host::Unix("/run/pg".into(), 5432)],
                "u",
                None,
                "d",
            ),
        ] {
            let address = Address::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(address.hosts, hosts, "{url}");
            assert_eq!((&*address.user, &*address.database), (user, database), "{url}");
            if password.is_some() {
                assert_eq!(address.password.as_deref(), password, "{url}");
            }
            assert!(!format!("{address:?} {address}").contains("p@s"), "{url}");
        }
        let several = Address::parse("postgres://u@a,b/d").unwrap();
        assert_eq!(several.session, SessionAttributes::ReadWrite);
        let full = Address::parse("postgres://u@a/d?sslmode=verify-full&sslrootcert=ca.pem&prepared=off").unwrap();
        assert_eq!((full.sslmode, full.prepared), (SslMode::VerifyFull, Some(false)));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (url, says) in [
            ("mysql://x", "postgres://"),
            ("postgres://a/d?sslmode=yes", "verify-full"),
            ("postgres://a/d?sslmod=require", "\"sslmod\""),
            ("postgres://a:x/d", "\"x\" is not a port"),
            ("postgres://a%4/d", "hexadecimal"),
            ("host='a", "not closed"),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(error.contains(says), "{url}: {error}");
        }
    }
}
