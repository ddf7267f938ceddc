//! Which route takes a request: patterns compiled into a tree of path segments, most specific first.
//!
//! At every segment a literal beats `*`, and `*` beats `**`; at the end a route for the method beats one for all
//! methods. Two routes can therefore never match equally well unless they are the same, which is refused at start.
//!
//! Routing sees the path *decoded*, so that `/p%61y` is `/pay` and no rule can be passed by spelling. An encoded slash
//! stays encoded: it is part of its segment. What would climb or is ambiguous (`..`, `.`, `//`, also when encoded) is
//! refused and never repaired, because whoever stands behind the gateway might repair it differently.

use crate::config::ConfigError;
use crate::refusal::Refusal;
use http::{Method, StatusCode};
use rustc_hash::FxHashMap;
use std::borrow::Cow;

/// A set of methods; `None` of a pattern means all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Methods(Option<Vec<Method>>);

impl Methods {
    fn overlap(&self, other: &Methods) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => a.iter().any(|m| b.contains(m)),
            _ => false,
        }
    }
}

#[derive(Default, Debug)]
struct Node {
    literal: FxHashMap<Box<str>, Node>,
    any: Option<Box<Node>>,
    /// Routes whose pattern ends here.
    here: Vec<(Methods, usize)>,
    /// Routes whose pattern ends here with `**`.
    below: Vec<(Methods, usize)>,
}

/// Compiled patterns; what they yield is the index with which a pattern was added.
#[derive(Default, Debug)]
pub(crate) struct Router {
    root: Node,
    patterns: FxHashMap<usize, String>,
}

/// What the tree says about a path and a method.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Route(usize),
    /// The path exists, for these methods.
    OtherMethods(String),
    Nothing,
}

impl Router {
    /// Adds a pattern; `index` is what it yields.
    pub(crate) fn add(&mut self, index: usize, name: &str, pattern: &str) -> Result<(), ConfigError> {
        let fault = |message: String| ConfigError::new(format!("route \"{name}\""), message);
        let (methods, path) = match pattern.split_once(' ') {
            Some((methods, path)) => {
                let parsed: Result<Vec<Method>, _> = methods
                    .split([',', '|'])
                    .filter(|m| !m.is_empty())
                    .map(|m| m.trim().parse())
                    .collect();
                let parsed = parsed
                    .map_err(|_| fault(format!("`{methods}` is not a method; write `GET /x` or `GET,POST /x`")))?;
                if let Some(odd) = parsed
                    .iter()
                    .find(|m| m.as_str().bytes().any(|b| b.is_ascii_lowercase()))
                {
                    return Err(fault(format!(
                        "methods are written in capitals: `{}`",
                        odd.as_str().to_uppercase()
                    )));
                }
                // Whoever may GET may HEAD (RFC 9110 §9.3.2).
                let mut parsed = parsed;
                if parsed.contains(&Method::GET) && !parsed.contains(&Method::HEAD) {
                    parsed.push(Method::HEAD);
                }
                (Methods(Some(parsed)), path.trim())
            }
            None => (Methods(None), pattern),
        };
        let Some(rest) = path.strip_prefix('/') else {
            return Err(fault(format!("the path `{path}` must begin with `/`")));
        };

        let mut node = &mut self.root;
        let segments: Vec<&str> = if rest.is_empty() {
            Vec::new()
        } else {
            rest.split('/').collect()
        };
        let mut tail = false;
        for (i, segment) in segments.iter().enumerate() {
            let last = i + 1 == segments.len();
            match *segment {
                "**" if last => tail = true,
                "**" => {
                    return Err(fault(
                        "`**` stands for the rest of the path and must be its last segment".into(),
                    ));
                }
                "*" => node = node.any.get_or_insert_default(),
                s if s.starts_with('{') && s.ends_with('}') => node = node.any.get_or_insert_default(),
                "" if !last => return Err(fault(format!("`{path}` has an empty segment"))),
                "." | ".." => return Err(fault(format!("`{path}` must not climb"))),
                s if s.contains(['*', '{', '}']) => {
                    return Err(fault(format!(
                        "`{s}`: a wildcard stands for a whole segment (`*`) or for the rest (`**`)"
                    )));
                }
                s => {
                    let text = format!("/{s}");
                    let text = decoded(&text).map_err(|_| fault(format!("`{s}` cannot be percent-decoded")))?;
                    node = node.literal.entry(text[1..].into()).or_default();
                }
            }
        }
        let routes = if tail { &mut node.below } else { &mut node.here };
        if let Some((_, other)) = routes.iter().find(|(m, _)| m.overlap(&methods)) {
            let other = &self.patterns[other];
            return Err(fault(format!(
                "`{pattern}` and `{other}` match the same requests; remove one or narrow its methods"
            )));
        }
        routes.push((methods, index));
        // Those for one method before those for all.
        routes.sort_by_key(|(m, _)| m.0.is_none());
        self.patterns.insert(index, pattern.to_owned());
        Ok(())
    }

    /// The most specific route for a decoded path and a method.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        let mut allowed = Vec::new();
        let rest = path.strip_prefix('/').unwrap_or(path);
        let rest = if rest.is_empty() { None } else { Some(rest) };
        match descend(&self.root, rest, method, &mut allowed) {
            Some(index) => Found::Route(index),
            None if allowed.is_empty() => Found::Nothing,
            None => {
                let mut names: Vec<&str> = Vec::new();
                for method in &allowed {
                    if !names.contains(&method.as_str()) {
                        names.push(method.as_str());
                    }
                }
                if !names.contains(&"OPTIONS") {
                    names.push("OPTIONS");
                }
                Found::OtherMethods(names.join(", "))
            }
        }
    }
}

/// Below `node` with `rest` of the path to go; `None` is the path's end.
fn descend(node: &Node, rest: Option<&str>, method: &Method, allowed: &mut Vec<Method>) -> Option<usize> {
    match rest {
        None => {
            if let Some(found) = pick(&node.here, method, allowed) {
                return Some(found);
            }
        }
        Some(rest) => {
            let (segment, rest) = match memchr::memchr(b'/', rest.as_bytes()) {
                Some(at) => (&rest[..at], Some(&rest[at + 1..])),
                None => (rest, None),
            };
            if let Some(child) = node.literal.get(segment)
                && let Some(found) = descend(child, rest, method, allowed)
            {
                return Some(found);
            }
            if !segment.is_empty()
                && let Some(child) = &node.any
                && let Some(found) = descend(child, rest, method, allowed)
            {
                return Some(found);
            }
        }
    }
    pick(&node.below, method, allowed)
}

fn pick(routes: &[(Methods, usize)], method: &Method, allowed: &mut Vec<Method>) -> Option<usize> {
    for (methods, index) in routes {
        match &methods.0 {
            None => return Some(*index),
            Some(list) if list.contains(method) => return Some(*index),
            Some(list) => allowed.extend_from_slice(list),
        }
    }
    None
}

/// The path as routing sees it: percent-decoded except for slashes. Borrowed where nothing is encoded.
pub(crate) fn decoded(path: &str) -> Result<Cow<'_, str>, Refusal> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(bad_path(path, "must begin with `/`"));
    }
    let mut previous = 0;
    let plain = bytes.iter().all(|&b| {
        let suspicious = b == b'%' || b == b'\\' || (previous == b'/' && (b == b'/' || b == b'.'));
        previous = b;
        !suspicious
    });
    if plain {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(bad_path(path, "has an empty segment"));
        }
        out.push('/');
        push_segment(&mut out, segment, path)?;
    }
    Ok(Cow::Owned(out))
}

fn push_segment(out: &mut String, segment: &str, path: &str) -> Result<(), Refusal> {
    let mut decoded = Vec::with_capacity(segment.len());
    let bytes = segment.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'%' {
            decoded.push(bytes[i]);
            i += 1;
            continue;
        }
        let digits = bytes
            .get(i + 1..i + 3)
            .and_then(|d| Some((hex(d[0])? << 4) | hex(d[1])?));
        let Some(byte) = digits else {
            return Err(bad_path(path, "has a `%` without two hexadecimal digits"));
        };
        if byte < 0x20 || byte == 0x7f {
            return Err(bad_path(path, "has an encoded control character"));
        }
        decoded.push(byte);
        i += 3;
    }
    let Ok(text) = std::str::from_utf8(&decoded) else {
        return Err(bad_path(path, "does not decode to UTF-8"));
    };
    // Behind us somebody may decode once more or take `\` for `/`.
    if text.split(['/', '\\']).any(|part| part == ".." || part == ".") {
        return Err(bad_path(path, "climbs (`.` or `..`)"));
    }
    for (i, part) in text.split('/').enumerate() {
        if i > 0 {
            out.push_str("%2F");
        }
        out.push_str(part);
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|d| d as u8)
}

fn bad_path(path: &str, why: &str) -> Refusal {
    let shown: String = path.chars().take(200).collect();
    Refusal::new(StatusCode::BAD_REQUEST, "GW108", "The path is not acceptable").details(format!("`{shown}` {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(patterns: &[&str]) -> Router {
        let mut router = Router::default();
        for (i, pattern) in patterns.iter().enumerate() {
            router.add(i, "r", pattern).expect(pattern);
        }
        router
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order() {
        let patterns = [
            "/**",
            "/rest/v1/**",
            "/rest/v1/orders/**",
            "/rest/v1/rpc/checkout",
            "/rest/v1/rpc/*",
            "POST /pay/**",
            "GET /pay/*/status",
            "/pay/special/**",
            "/a/*/c",
            "/a/b/**",
            "GET /m",
            "/m",
            "/",
        ];
        for rotate in 0..patterns.len() {
            let mut turned = patterns.to_vec();
            turned.rotate_left(rotate);
            let router = router(&turned);
            for (method, path, wanted) in [
                ("GET", "/", "/"),
                ("GET", "/index.html", "/**"),
                ("GET", "/rest/v1", "/rest/v1/**"),
                ("GET", "/rest/v1/", "/rest/v1/**"),
                ("GET", "/rest/v1/products", "/rest/v1/**"),
                ("GET", "/rest/v1/orders", "/rest/v1/orders/**"),
                ("GET", "/rest/v1/orders/7", "/rest/v1/orders/**"),
                ("GET", "/rest/v1/ordersx", "/rest/v1/**"),
                ("POST", "/rest/v1/rpc/checkout", "/rest/v1/rpc/checkout"),
                ("POST", "/rest/v1/rpc/other", "/rest/v1/rpc/*"),
                ("POST", "/rest/v1/rpc/other/more", "/rest/v1/**"),
                ("POST", "/pay/7/status", "POST /pay/**"),
                ("GET", "/pay/7/status", "GET /pay/*/status"),
                ("HEAD", "/pay/7/status", "GET /pay/*/status"),
                ("GET", "/pay/7", "/**"),
                ("GET", "/pay/special/x", "/pay/special/**"),
                ("GET", "/a/b/c", "/a/b/**"),
                ("GET", "/a/x/c", "/a/*/c"),
                ("GET", "/a/x/d", "/**"),
                ("GET", "/m", "GET /m"),
                ("PUT", "/m", "/m"),
            ] {
                let found = router.find(&method.parse().expect("a method"), path);
                let index = turned.iter().position(|p| *p == wanted).expect("a pattern");
                assert_eq!(found, Found::Route(index), "{method} {path}");
            }
        }
    }

    #[test]
    fn a_known_path_with_another_method_names_those_allowed() {
        let router = router(&["POST /pay/**", "GET|PUT /pay/x"]);
        assert_eq!(
            router.find(&Method::DELETE, "/pay/x"),
            Found::OtherMethods("GET, PUT, HEAD, POST, OPTIONS".into())
        );
        assert_eq!(router.find(&Method::GET, "/nowhere"), Found::Nothing);
    }

    #[test]
    fn the_same_pattern_twice_and_nonsense_are_refused() {
        for (first, second) in [
            ("/a/*", "/a/{id}"),
            ("GET /a", "GET,POST /a"),
            ("/a/**", "/a/**"),
            ("GET /x", "HEAD /x"),
        ] {
            let mut router = Router::default();
            router.add(0, "one", first).expect(first);
            let error = router.add(1, "two", second).expect_err(second);
            assert!(
                error.to_string().contains(first) && error.to_string().contains("two"),
                "{error}"
            );
        }
        for bad in ["a", "/a/**/b", "/a*", "/a//b", "get /a", "/../x", "/{a}b", "G@T /a"] {
            assert!(Router::default().add(0, "bad", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_decoded_once_and_never_repaired() {
        for (path, wanted) in [
            ("/a/b", "/a/b"),
            ("/", "/"),
            ("/a/", "/a/"),
            ("/p%61y", "/pay"),
            ("/a%20b", "/a b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb", "/a%2Fb"),
            ("/.well-known/x", "/.well-known/x"),
            ("/%C3%A9", "/é"),
            ("/a..b/...", "/a..b/..."),
            ("/a%252e", "/a%2e"),
        ] {
            assert_eq!(decoded(path).expect(path), wanted);
        }
        for bad in [
            "",
            "x",
            "*",
            "//",
            "/a//b",
            "/..",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.%2E",
            "/./a",
            "/a%2F..%2Fb",
            "/a%5C..%5Cb",
            "/a\\..\\b",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "/%0a",
            "/%ff",
        ] {
            assert_eq!(decoded(bad).expect_err(bad).code, "GW108");
        }
    }
}
