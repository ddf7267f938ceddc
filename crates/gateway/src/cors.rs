//! Who may call from a browser (the Fetch standard's CORS protocol): preflights answered here, answers marked.

use crate::config::ConfigError;
use http::header::{
    self, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request};
use std::time::Duration;

/// Which pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Pages of every origin.
    Any,
    /// Pages of these origins (`https://shop.example`).
    List(Vec<String>),
    /// No page of another origin: preflights are not answered, answers not marked.
    None,
}

/// What browsers are told.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Which pages may call. Default: all.
    pub origins: Origins,
    /// Whether browsers may send cookies along. Not together with [`Origins::Any`], which would let every page act as
    /// its visitor. Default: no.
    pub credentials: bool,
    /// Methods that pages may use.
    pub methods: Vec<Method>,
    /// Headers that pages may send; empty allows whatever a preflight asks for.
    pub headers: Vec<String>,
    /// Headers of an answer that pages may read.
    pub expose: Vec<String>,
    /// How long a browser may remember a preflight. Default 1 h.
    pub max_age: Duration,
}

impl Default for Cors {
    fn default() -> Cors {
        let expose = [
            "Age",
            "Allow",
            "Cache-Status",
            "Content-Encoding",
            "Content-Location",
            "Content-Range",
            "ETag",
            "Link",
            "Location",
            "Mainstay-Session",
            "Preference-Applied",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
        ];
        Cors {
            origins: Origins::Any,
            credentials: false,
            methods: vec![
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
                Method::OPTIONS,
            ],
            headers: Vec::new(),
            expose: expose.map(String::from).to_vec(),
            max_age: Duration::from_secs(3_600),
        }
    }
}

/// [`Cors`] as header values.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    any: bool,
    origins: Vec<HeaderValue>,
    credentials: bool,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
}

impl Rules {
    pub(crate) fn compile(cors: &Cors, place: &str) -> Result<Option<Rules>, ConfigError> {
        let fault = |message: String| ConfigError::new(format!("{place}, cors"), message);
        let value = |text: String| {
            HeaderValue::try_from(&text).map_err(|_| fault(format!("`{text}` cannot be a header's value")))
        };
        let origins = match &cors.origins {
            Origins::None => return Ok(None),
            Origins::Any if cors.credentials => {
                return Err(fault(
                    "credentials for all origins would let every page act as its visitor; list the origins".into(),
                ));
            }
            Origins::Any => Vec::new(),
            Origins::List(list) => {
                for origin in list {
                    let host = origin.split_once("://").map(|(_, host)| host);
                    if host.is_none_or(|h| h.is_empty() || h.contains(['/', '*'])) {
                        return Err(fault(format!(
                            "`{origin}` is not an origin; write `https://shop.example` without a path"
                        )));
                    }
                }
                list.iter()
                    .map(|o| value(o.to_ascii_lowercase()))
                    .collect::<Result<_, _>>()?
            }
        };
        let methods = cors.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        Ok(Some(Rules {
            any: cors.origins == Origins::Any,
            origins,
            credentials: cors.credentials,
            methods: value(methods)?,
            headers: if cors.headers.is_empty() {
                None
            } else {
                Some(value(cors.headers.join(", "))?)
            },
            expose: if cors.expose.is_empty() {
                None
            } else {
                Some(value(cors.expose.join(", "))?)
            },
            max_age: HeaderValue::from(cors.max_age.as_secs()),
        }))
    }

    /// Marks the answer to a request of a page. Costs nothing for requests without `Origin`.
    pub(crate) fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if !self.any {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = origin else { return };
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) || !self.allow(origin, headers) {
            return;
        }
        if let Some(expose) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) -> bool {
        let value = if self.any {
            HeaderValue::from_static("*")
        } else if self
            .origins
            .iter()
            .any(|o| o.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        {
            origin.clone()
        } else {
            return false;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    /// The headers of the answer to a preflight. For an origin that may not call they do not say that it may.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        let Some(origin) = request.get(ORIGIN) else {
            return headers;
        };
        if !self.allow(origin, &mut headers) {
            return headers;
        }
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        match (&self.headers, request.get(ACCESS_CONTROL_REQUEST_HEADERS)) {
            (Some(list), _) => {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, list.clone());
            }
            (None, Some(asked))
                if asked
                    .as_bytes()
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b", !#$%&'*+-.^_`|~".contains(b)) =>
            {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
            _ => {}
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        headers
    }
}

/// The method that a preflight asks about; `None` for any other request.
pub(crate) fn preflight_method<B>(request: &Request<B>) -> Option<Method> {
    if request.method() != Method::OPTIONS || !request.headers().contains_key(header::ORIGIN) {
        return None;
    }
    Method::from_bytes(request.headers().get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        headers.insert(
            ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static("apikey, prefer"),
        );
        headers
    }

    #[test]
    fn all_origins_get_a_star_and_their_headers() {
        let rules = Rules::compile(&Cors::default(), "here").expect("valid").expect("on");
        let answer = rules.preflight(&asked("https://a.example"));
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_HEADERS], "apikey, prefer");
        assert!(
            answer[ACCESS_CONTROL_ALLOW_METHODS]
                .to_str()
                .is_ok_and(|m| m.contains("PATCH"))
        );
        let mut headers = HeaderMap::new();
        rules.mark(Some(&HeaderValue::from_static("https://a.example")), &mut headers);
        assert!(
            headers[ACCESS_CONTROL_EXPOSE_HEADERS]
                .to_str()
                .is_ok_and(|h| h.contains("Content-Range"))
        );
        assert!(!headers.contains_key(VARY), "a star is the same for everybody");
        let mut without = HeaderMap::new();
        rules.mark(None, &mut without);
        assert!(without.is_empty());
    }

    #[test]
    fn listed_origins_are_named_and_others_are_not() {
        let cors = Cors {
            origins: Origins::List(vec!["https://shop.example".into()]),
            credentials: true,
            ..Cors::default()
        };
        let rules = Rules::compile(&cors, "here").expect("valid").expect("on");
        let good = rules.preflight(&asked("https://shop.example"));
        assert_eq!(good[ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
        assert_eq!(good[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        for other in [
            "https://evil.example",
            "https://shop.example.evil",
            "null",
            "http://shop.example",
        ] {
            assert!(
                !rules.preflight(&asked(other)).contains_key(ACCESS_CONTROL_ALLOW_ORIGIN),
                "{other}"
            );
            let mut headers = HeaderMap::new();
            rules.mark(Some(&HeaderValue::from_static(other)), &mut headers);
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
            assert_eq!(headers[VARY], "Origin", "a cache must not mix them up");
        }
    }

    #[test]
    fn what_would_be_dangerous_is_refused() {
        assert!(
            Rules::compile(
                &Cors {
                    credentials: true,
                    ..Cors::default()
                },
                "here"
            )
            .is_err()
        );
        for bad in ["shop.example", "https://*.example", "https://a/b", "https://"] {
            let cors = Cors {
                origins: Origins::List(vec![bad.into()]),
                ..Cors::default()
            };
            assert!(Rules::compile(&cors, "here").is_err(), "{bad}");
        }
        assert!(
            Rules::compile(
                &Cors {
                    origins: Origins::None,
                    ..Cors::default()
                },
                "here"
            )
            .expect("valid")
            .is_none()
        );
    }
}
