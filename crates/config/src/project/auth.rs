//! `[auth]`: whose tokens are believed, and who may register.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Location;
use crate::secret::Secret;
use crate::section::Section;
use crate::units::Rate;
use crate::url::Url;

/// `[auth]`.
#[derive(Debug, Clone)]
pub struct Auth {
    /// `secret`: the HS256 key (at least 32 bytes), or a PEM public key for RS256. Not together with `jwks`; without either the
    /// development key is used.
    pub secret: Option<Secret>,
    /// `jwks`: a key set, as a file or a URL.
    pub jwks: Option<Jwks>,
    /// `audience`: a token must name one of these in `aud`; default empty, not checked.
    pub audience: Vec<String>,
    /// `issuer`: a token must have this `iss`; default not checked.
    pub issuer: Option<String>,
    /// `leeway`: how far clocks may differ for `exp` and `nbf`; default 30 s.
    pub leeway: Duration,
    /// `signup`: whether anyone may register; default true.
    pub signup: bool,
    /// `confirm`: whether an address must be confirmed before the first login. Default: yes, except with the development key.
    pub confirm: Option<bool>,
    /// `store`: where accounts live; default `main`, or the only store.
    pub store: Option<String>,
    /// `access_ttl`: the life of an access token; default 1 h.
    pub access_ttl: Duration,
    /// `refresh_ttl`: the life of an unused refresh token; default 30 d.
    pub refresh_ttl: Duration,
    /// `password_min`: the fewest characters of a password; default 8.
    pub password_min: u32,
    /// `limit`: sign-ups and logins by one address, counted before any hashing; default 30/5m.
    pub limit: Rate,
    /// `account_limit`: the same for one account, whatever addresses ask; default 300/5m.
    pub account_limit: Rate,
    /// `refresh_limit`: refreshes by one address; default 150/5m.
    pub refresh_limit: Rate,
    /// `hashes`: passwords hashed at once, each with 19 MiB of memory; default 2.
    pub hashes: u32,
    /// Where the section stands.
    pub at: Location,
}

/// Where a key set is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// A file.
    File(PathBuf),
    /// An http or https URL.
    Url(Url),
}

/// RFC 7518, section 3.2: a key of the hash's size or larger.
const HS256_BYTES_MIN: usize = 32;

pub(super) fn read(section: &Section<'_>) -> Auth {
    let rate = |key, count, secs| {
        section.rate(key).unwrap_or(Rate {
            count,
            period: Duration::from_secs(secs),
        })
    };
    let seconds = |key, default| section.positive_duration(key).unwrap_or(Duration::from_secs(default));
    let secret = section.secret("secret");
    if let Some(secret) = &secret {
        let length = secret.expose().len();
        if length < HS256_BYTES_MIN && !secret.expose().starts_with("-----BEGIN") {
            let message = format!("a key of {length} bytes is too short for HS256 (RFC 7518, section 3.2)");
            section.report(
                "secret",
                message,
                Some("use at least 32 bytes, for example from `openssl rand -base64 32`"),
            );
        }
    }
    let jwks = read_jwks(section);
    if section.has("secret") && section.has("jwks") {
        // RFC 8725, section 3.1: one key, one algorithm; with both, a public key could be passed off as a secret.
        section.report("jwks", "cannot be combined with `secret`", Some("keep one of them"));
    }
    let leeway = section.duration("leeway").unwrap_or(Duration::from_secs(30));
    if leeway > Duration::from_secs(600) {
        section.report(
            "leeway",
            "is longer than ten minutes, which would keep expired tokens alive",
            None,
        );
    }
    let (access_ttl, refresh_ttl) = (seconds("access_ttl", 3_600), seconds("refresh_ttl", 30 * 86_400));
    if refresh_ttl < access_ttl {
        section.report("refresh_ttl", "is shorter than `access_ttl`", None);
    }
    Auth {
        secret,
        jwks,
        audience: section.strings("audience").unwrap_or_default(),
        issuer: section.string("issuer"),
        leeway,
        signup: section.boolean("signup").unwrap_or(true),
        confirm: section.boolean("confirm"),
        store: section.string("store"),
        access_ttl,
        refresh_ttl,
        password_min: section.count("password_min", 6..=128).unwrap_or(8),
        limit: rate("limit", 30, 300),
        account_limit: rate("account_limit", 300, 300),
        refresh_limit: rate("refresh_limit", 150, 300),
        hashes: section.count("hashes", 1..=256).unwrap_or(2),
        at: section.at(),
    }
}

fn read_jwks(section: &Section<'_>) -> Option<Jwks> {
    let text = section.text("jwks")?;
    match Url::parse(&text.text).map(|url| (url.scheme(), url)) {
        Some((scheme, url)) if scheme == "http" || scheme == "https" => Some(Jwks::Url(url)),
        _ => {
            let path = section.path("jwks")?;
            if !path.is_file() {
                section.report(
                    "jwks",
                    format!("no such file: {}", path.display()),
                    Some("give a file or an https:// URL"),
                );
                return None;
            }
            Some(Jwks::File(path))
        }
    }
}
