//! Limits, identities, browsers and compression, seen through the whole gateway.

use crate::harness::*;
use bytes::Bytes;
use http::{HeaderMap, Response};
use mainstay_gateway::{
    Auth, Authenticate, Config, Cors, Gateway, Network, Origins, Per, Rate, RateLimit, Refusal, Route, Running, Target,
};
use mainstay_model::Identity;
use std::sync::Arc;

/// `Bearer role:subject`; anything else is a bad token.
struct Tokens;

impl Authenticate for Tokens {
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refusal> {
        let Some(value) = headers.get("authorization") else {
            return Ok(Arc::new(Identity::anon()));
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|v| v.strip_prefix("Bearer "))
            .and_then(|t| t.split_once(':'));
        let Some((role, subject)) = token else {
            return Err(Refusal::unauthorized("PGRST301", "No good token"));
        };
        let mut claims = serde_json::Map::new();
        claims.insert("sub".into(), subject.into());
        Ok(Arc::new(Identity::new(role, Arc::new(claims))))
    }
}

fn guarded(config: Config) -> Running {
    logged();
    Gateway::new(config, Some(Arc::new(Tokens)), None)
        .expect("valid")
        .start()
        .expect("a free port")
}

fn limit(name: &str, rate: &str, per: Per) -> RateLimit {
    RateLimit {
        name: name.into(),
        rate: Rate::parse(rate).expect("a rate"),
        burst: None,
        per,
    }
}

/// Says who the service was told is asking.
fn whoami(name: &str, pattern: &str, auth: Auth) -> Route {
    let service = Local(|request: http::Request<Bytes>| {
        let who = request
            .extensions()
            .get::<Arc<Identity>>()
            .map(|i| format!("{}:{}", i.role, i.subject().unwrap_or("-")));
        let arrival = request
            .extensions()
            .get::<mainstay_gateway::Arrival>()
            .expect("an arrival");
        Response::new(Bytes::from(format!(
            "{} {}",
            who.unwrap_or_else(|| "nobody".into()),
            arrival.peer
        )))
    });
    Route {
        auth,
        ..Route::new(name, pattern, Target::Service(Arc::new(service)))
    }
}

#[test]
fn routes_let_in_whom_they_say_and_tell_the_service() {
    let gateway = guarded(config(vec![
        whoami("open", "/open", Auth::None),
        whoami("rest", "/rest/**", Auth::Optional),
        whoami("mine", "/mine/*", Auth::Required),
        whoami("staff", "/staff/**", Auth::Roles(vec!["staff".into()])),
    ]));
    let mut wire = Wire::connect(&gateway);
    for (path, token, status, wanted) in [
        ("/open", Some("Bearer bad"), 200, "nobody 127.0.0.1"),
        ("/rest/x", None, 200, "anon:- 127.0.0.1"),
        (
            "/rest/x",
            Some("Bearer authenticated:u1"),
            200,
            "authenticated:u1 127.0.0.1",
        ),
        ("/rest/x", Some("Bearer bad"), 401, "PGRST301"),
        ("/mine/x", None, 401, "GW301"),
        ("/%6dine/x", None, 401, "GW301"),
        (
            "/mine/x",
            Some("Bearer authenticated:u1"),
            200,
            "authenticated:u1 127.0.0.1",
        ),
        ("/staff", Some("Bearer authenticated:u1"), 403, "GW302"),
        ("/staff/a/b", Some("Bearer staff:u2"), 200, "staff:u2 127.0.0.1"),
    ] {
        let fields: Vec<_> = token.iter().map(|t| ("Authorization", *t)).collect();
        let answer = wire.ask("GET", path, &fields);
        let got = if status == 200 { answer.text() } else { answer.code() };
        assert_eq!((answer.status, got.as_str()), (status, wanted), "{path} {token:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401, "{path}");
    }
}

#[test]
fn an_upstream_is_told_who_asks_and_the_client_cannot() {
    let backend = Backend::saying("ok");
    let mut config = config(vec![Route::upstream("up", "/**", "up")]);
    config.upstreams = vec![mainstay_gateway::Upstream::new("up", vec![backend.address.to_string()])];
    let gateway = guarded(config);
    for (fields, role, user) in [
        (
            vec![("Mainstay-Role", "service_role"), ("Mainstay-User", "root")],
            Some("anon"),
            None,
        ),
        (
            vec![("Authorization", "Bearer authenticated:u 1"), ("mainstay-user", "root")],
            Some("authenticated"),
            Some("u%201"),
        ),
    ] {
        assert_eq!(ask(&gateway, "GET", "/", &fields).status, 200);
        let request = backend.last();
        assert_eq!(request.field("mainstay-role").as_deref(), role, "{fields:?}");
        assert_eq!(request.field("mainstay-user").as_deref(), user, "{fields:?}");
    }
}

#[test]
fn limits_refuse_by_name_and_say_when_to_come_back() {
    let mut config = config(vec![
        Route {
            limits: vec![limit("pay", "3/min", Per::User)],
            ..whoami("pay", "/pay", Auth::Optional)
        },
        whoami("rest", "/rest", Auth::Optional),
        Route {
            limits: vec![limit("quick", "2/s", Per::Address)],
            ..whoami("quick", "/quick", Auth::Optional)
        },
    ]);
    config.workers = 2;
    let gateway = guarded(config);
    let pay = |token: &str| ask(&gateway, "GET", "/pay", &[("Authorization", token)]);
    let first = pay("Bearer a:1");
    assert_eq!(first.field("ratelimit-policy").as_deref(), Some("\"pay\";q=3;w=60"));
    assert_eq!(first.field("ratelimit").as_deref(), Some("\"pay\";r=2;t=20"));
    // Each request on a connection of its own, so on either worker: they count together.
    assert_eq!(
        [
            pay("Bearer a:1").status,
            pay("Bearer a:1").status,
            pay("Bearer a:1").status
        ],
        [200, 200, 429]
    );
    let refused = pay("Bearer a:1");
    assert_eq!(
        (refused.code().as_str(), refused.field("retry-after").as_deref()),
        ("GW401", Some("20"))
    );
    assert!(
        refused.text().contains("\\\"pay\\\""),
        "the rule is named: {}",
        refused.text()
    );
    assert_eq!(refused.field("ratelimit").as_deref(), Some("\"pay\";r=0;t=20"));
    assert_eq!(pay("Bearer a:2").status, 200, "another user has a bucket of its own");
    assert_eq!(
        ask(&gateway, "GET", "/pay", &[]).status,
        200,
        "and so has an address without a user"
    );
    assert_eq!(
        ask(&gateway, "GET", "/rest", &[]).field("ratelimit"),
        None,
        "other routes are not limited"
    );

    let quick = || get(&gateway, "/quick").status;
    assert_eq!([quick(), quick(), quick()], [200, 200, 429]);
    eventually("time gives it back", || quick() == 200);
}

#[test]
fn addresses_are_those_of_clients_only_behind_a_trusted_proxy() {
    let routes = || {
        vec![Route {
            limits: vec![limit("a", "1/min", Per::Address)],
            ..whoami("r", "/**", Auth::None)
        }]
    };
    let from = |gateway: &Running, client: &str| ask(gateway, "GET", "/", &[("X-Forwarded-For", client)]);
    let believing = start(Config {
        trusted_proxies: vec![Network::parse("127.0.0.0/8").expect("a block")],
        ..config(routes())
    });
    assert!(from(&believing, "9.9.9.1").text().ends_with(" 9.9.9.1"));
    assert_eq!(
        [from(&believing, "9.9.9.2").status, from(&believing, "9.9.9.1").status],
        [200, 429]
    );
    let not_believing = start(config(routes()));
    assert!(from(&not_believing, "9.9.9.1").text().ends_with(" 127.0.0.1"));
    assert_eq!(
        from(&not_believing, "9.9.9.2").status,
        429,
        "an address that one may choose is no bucket"
    );
}

#[test]
fn an_address_is_refused_before_its_token_is_looked_at() {
    let mut config = config(vec![whoami("r", "/**", Auth::Required)]);
    config.rate_limits = vec![limit("all", "2/min", Per::Address)];
    let gateway = guarded(config);
    let guess = || ask(&gateway, "GET", "/", &[("Authorization", "Bearer wrong")]).status;
    assert_eq!([guess(), guess(), guess()], [401, 401, 429]);
}

#[test]
fn browsers_are_answered_by_the_gateway() {
    let backend = Backend::saying("ok");
    let mut config = config(vec![
        whoami("rest", "/rest/**", Auth::Required),
        Route {
            cors: Some(Cors {
                origins: Origins::List(vec!["https://shop.example".into()]),
                ..Cors::default()
            }),
            ..Route::upstream("up", "GET|POST /up", "up")
        },
        Route::upstream("other", "/other", "up"),
    ]);
    config.upstreams = vec![mainstay_gateway::Upstream::new("up", vec![backend.address.to_string()])];
    let gateway = guarded(config);
    let mut wire = Wire::connect(&gateway);
    let mut preflight = |path: &str, origin: &str| {
        let fields = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "apikey,prefer"),
        ];
        wire.ask("OPTIONS", path, &fields)
    };
    let rest = preflight("/rest/x", "https://any.example");
    assert_eq!(
        (rest.status, rest.field("access-control-allow-origin").as_deref()),
        (204, Some("*")),
        "no token is asked for"
    );
    assert_eq!(
        rest.field("access-control-allow-headers").as_deref(),
        Some("apikey,prefer")
    );
    assert_eq!(
        preflight("/up", "https://shop.example")
            .field("access-control-allow-origin")
            .as_deref(),
        Some("https://shop.example")
    );
    assert_eq!(
        preflight("/up", "https://evil.example").field("access-control-allow-origin"),
        None
    );
    assert_eq!(
        preflight("/other", "https://any.example").text(),
        "ok",
        "a route without rules leaves it to its servers"
    );

    let mut wire = Wire::connect(&gateway);
    let answer = wire.ask(
        "GET",
        "/rest/x",
        &[("Origin", "https://any.example"), ("Authorization", "Bearer a:1")],
    );
    assert_eq!(answer.field("access-control-allow-origin").as_deref(), Some("*"));
    assert!(
        answer
            .field("access-control-expose-headers")
            .is_some_and(|h| h.contains("Content-Range") && h.contains("Mainstay-Session"))
    );
    let refused = wire.ask("GET", "/rest/x", &[("Origin", "https://any.example")]);
    assert_eq!(
        (refused.status, refused.field("access-control-allow-origin").as_deref()),
        (401, Some("*")),
        "a page can read the refusal"
    );
    assert_eq!(
        wire.ask("GET", "/up", &[("Origin", "https://evil.example")])
            .field("access-control-allow-origin"),
        None
    );
}

#[test]
fn a_tag_of_a_compressed_answer_can_be_written_under() {
    let gateway = start(config(vec![local(|request| {
        let tag = request
            .headers()
            .get("if-match")
            .map_or("none", |v| v.to_str().unwrap_or("?"));
        Response::new(Bytes::from(tag.to_owned()))
    })]));
    for (sent, seen) in [("W/\"t\"", "\"t\""), ("\"t\"", "\"t\""), ("*", "*")] {
        assert_eq!(ask(&gateway, "PATCH", "/", &[("If-Match", sent)]).text(), seen);
    }
}

#[test]
fn large_answers_are_compressed_for_those_who_take_it() {
    let text = "some words, some words, and some more. ".repeat(200);
    let of_service = text.clone();
    let of_backend = text.clone();
    let backend = Backend::new(move |wire, request| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"t\"\r\nVary: Prefer\r\n";
        if request.first_line.contains("chunked") {
            wire.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
            for part in of_backend.as_bytes().chunks(1_000) {
                wire.send(format!("{:x}\r\n", part.len()));
                wire.send(part);
                wire.send("\r\n");
            }
            wire.send("0\r\n\r\n");
        } else {
            wire.send(format!(
                "{head}Content-Length: {}\r\n\r\n{of_backend}",
                of_backend.len()
            ));
        }
        Then::Keep
    });
    let mut config = config(vec![
        Route {
            pattern: "/local".into(),
            ..local(move |_| {
                let mut response = Response::new(Bytes::from(of_service.clone()));
                response
                    .headers_mut()
                    .insert("content-type", http::HeaderValue::from_static("application/json"));
                response
                    .headers_mut()
                    .insert("etag", http::HeaderValue::from_static("\"t\""));
                response
                    .headers_mut()
                    .insert("vary", http::HeaderValue::from_static("Prefer"));
                response
            })
        },
        Route {
            auth: Auth::None,
            ..Route::upstream("up", "/up/**", "up")
        },
    ]);
    config.upstreams = vec![mainstay_gateway::Upstream::new("up", vec![backend.address.to_string()])];
    let gateway = start(config);
    let mut wire = Wire::connect(&gateway);
    for path in ["/local", "/up/length", "/up/chunked"] {
        let plain = wire.ask("GET", path, &[]);
        assert_eq!(
            (plain.text(), plain.field("etag").as_deref()),
            (text.clone(), Some("\"t\"")),
            "{path}"
        );
        let packed = wire.ask("GET", path, &[("Accept-Encoding", "gzip")]);
        assert_eq!(packed.field("content-encoding").as_deref(), Some("gzip"), "{path}");
        assert_eq!(packed.field("etag").as_deref(), Some("W/\"t\""), "{path}");
        let mut unpacked = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked)
            .expect("gzip");
        assert!(unpacked == text && packed.body.len() * 4 < text.len(), "{path}");
        for answer in [&plain, &packed] {
            assert_eq!(
                answer.field("vary").as_deref(),
                Some("Prefer, Accept-Encoding"),
                "{path}"
            );
        }
    }
}

#[test]
fn hosts_choose_routes_and_unknown_ones_are_not_served() {
    let said = |name: &str, text: &'static str, host: Option<&str>| Route {
        name: name.into(),
        host: host.map(String::from),
        ..local(move |_| Response::new(Bytes::from_static(text.as_bytes())))
    };
    let mut config = config(vec![
        said("any", "any", None),
        said("admin", "admin", Some("admin.example")),
        Route {
            pattern: "/x/y".into(),
            ..said("deep", "deep", None)
        },
    ]);
    config.hosts = vec!["*.example".into(), "localhost".into()];
    let gateway = start(config);
    let from = |host: &str, path: &str| raw(&gateway, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    for (host, path, wanted) in [
        ("shop.example", "/", "any"),
        ("localhost:8080", "/x/y", "deep"),
        ("ADMIN.example:8080", "/", "admin"),
        ("admin.example", "/x/y", "admin"),
    ] {
        assert_eq!(from(host, path).text(), wanted, "{host}{path}");
    }
    let twice =
        "GET / HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer a:b\r\nAuthorization: Bearer c:d\r\n\r\n";
    let refused = raw(&gateway, twice);
    assert_eq!((refused.status, refused.code().as_str()), (400, "GW117"));
    let refused = from("evil.test", "/");
    assert_eq!((refused.status, refused.code().as_str()), (421, "GW116"));
}

#[test]
fn headers_and_paths_are_changed_as_the_route_says() {
    let backend = Backend::new(|wire, _| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: leaky/1.0\r\nX-Keep: 1\r\n\r\n");
        Then::Keep
    });
    let edits = |set: &'static str, remove: &'static str| mainstay_gateway::HeaderEdits {
        set: vec![(
            http::HeaderName::from_static(set),
            http::HeaderValue::from_static("ours"),
        )],
        remove: vec![http::HeaderName::from_static(remove)],
    };
    let mut config = config(vec![
        Route {
            auth: Auth::None,
            rewrite: Some("/v2/pay/**".into()),
            headers: edits("x-from", "cookie"),
            response_headers: edits("x-answer", "server"),
            ..Route::upstream("pay", "/pay/**", "up")
        },
        Route {
            pattern: "/here".into(),
            headers: edits("x-from", "cookie"),
            response_headers: edits("x-answer", "server"),
            ..local(|request| {
                let has = |name: &str| request.headers().get(name).map_or("-", |v| v.to_str().unwrap_or("?"));
                Response::new(Bytes::from(format!("{} {}", has("x-from"), has("cookie"))))
            })
        },
    ]);
    config.upstreams = vec![mainstay_gateway::Upstream::new("up", vec![backend.address.to_string()])];
    let gateway = start(config);
    let answer = ask(
        &gateway,
        "GET",
        "/pay/a/b?c",
        &[("Cookie", "session=1"), ("X-From", "theirs")],
    );
    assert_eq!(
        (
            answer.field("x-answer").as_deref(),
            answer.field("server"),
            answer.field("x-keep").as_deref()
        ),
        (Some("ours"), None, Some("1"))
    );
    let request = backend.last();
    assert_eq!(request.first_line, "GET /v2/pay/a/b?c HTTP/1.1");
    assert_eq!(
        (request.field("x-from").as_deref(), request.field("cookie")),
        (Some("ours"), None)
    );
    let here = ask(&gateway, "GET", "/here", &[("Cookie", "session=1")]);
    assert_eq!(
        (here.text().as_str(), here.field("x-answer").as_deref()),
        ("ours -", Some("ours"))
    );
}

#[test]
fn a_limit_for_everybody_counts_everybody() {
    let mut config = config(vec![whoami("r", "/**", Auth::Optional)]);
    config.rate_limits = vec![limit("all", "2/min", Per::All)];
    let gateway = guarded(config);
    let from = |token: &str| ask(&gateway, "GET", "/", &[("Authorization", token)]).status;
    assert_eq!(
        [from("Bearer a:1"), from("Bearer a:2"), from("Bearer a:3")],
        [200, 200, 429]
    );
}
