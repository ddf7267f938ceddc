//! What the database may learn of a request: the settings `request.method`, `request.path`, `request.headers` and
//! `request.cookies` of engines that have them.

use crate::PREFIX;
use http::Request;
use http::header::COOKIE;

/// The facts of a request. The path is the dialect's own, without `/rest/v1`.
pub(crate) fn of<B>(request: &Request<B>) -> mainstay_model::Request {
    let path = request.uri().path();
    let mut headers: Vec<(String, String)> = Vec::with_capacity(request.headers().len());
    let mut cookies = Vec::new();
    for (name, value) in request.headers() {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            continue;
        };
        if name == COOKIE {
            let pairs = value.split(';').filter_map(|pair| pair.trim().split_once('='));
            cookies.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            continue;
        }
        match headers.iter_mut().find(|(known, _)| known == name.as_str()) {
            Some((_, known)) => *known = value.to_owned(),
            None => headers.push((name.as_str().to_owned(), value.to_owned())),
        }
    }
    mainstay_model::Request {
        method: request.method().to_string(),
        path: path.strip_prefix(PREFIX).unwrap_or(path).to_owned(),
        headers,
        cookies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_request() {
        let request = Request::post("/rest/v1/rpc/f?a=1")
            .header("X-One", "1")
            .header("x-two", "2")
            .header("X-Two", "3")
            .header("Cookie", "a=b; c=d=e")
            .body(())
            .unwrap();
        let facts = of(&request);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!((&*facts.method, &*facts.path), ("POST", "/rpc/f"));
        assert_eq!(facts.headers, [pair("x-one", "1"), pair("x-two", "3")]);
        assert_eq!(facts.cookies, [pair("a", "b"), pair("c", "d=e")]);
    }
}
