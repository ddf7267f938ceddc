//! Requests and their responses: statuses, headers and bodies, over rows that a recorder makes up.

use super::fixture;
use super::recorder::{Recorder, request, send, send_to};
use crate::{Rest, RestConfig};
use bytes::Bytes;
use http::{Method, Response};
use mainstay_model::*;
use mainstay_query::Consistency;
use std::sync::Arc;

/// Status, body and the headers that vary, in a line.
fn line(response: &Response<Bytes>) -> String {
    let mut out = response.status().as_u16().to_string();
    for name in [
        "content-range",
        "location",
        "preference-applied",
        "content-profile",
        "allow",
        "idempotency-replayed",
        "www-authenticate",
    ] {
        if let Some(value) = response.headers().get(name) {
            out.push_str(&format!(" {name}={}", value.to_str().unwrap()));
        }
    }
    if !response.body().is_empty() {
        out.push_str(&format!(" {}", std::str::from_utf8(response.body()).unwrap()));
    }
    out
}

#[test]
fn answers() {
    let ten = || Recorder::with(2, Some(10));
    let two = || Recorder::with(2, None);
    let one = Recorder::new;
    let none = || Recorder::with(0, None);
    let object = ("accept", "application/vnd.pgrst.object+json");
    let representation = ("prefer", "return=representation");
    for (recorder, method, path, headers, body, want) in [
        (
            two(),
            "GET",
            "clients?select=id",
            &[][..],
            "",
            r#"200 content-range=0-1/* [{"id":0},{"id":1}]"#,
        ),
        (two(), "HEAD", "clients?select=id", &[], "", "200 content-range=0-1/*"),
        (none(), "GET", "clients?select=id", &[], "", "200 content-range=*/* []"),
        (
            ten(),
            "GET",
            "clients?select=id&limit=2&offset=4",
            &[("prefer", "count=exact")],
            "",
            r#"206 content-range=4-5/10 preference-applied=count=exact [{"id":0},{"id":1}]"#,
        ),
        (
            Recorder::with(0, Some(10)),
            "GET",
            "clients?offset=11",
            &[("prefer", "count=exact")],
            "",
            r#"416 content-range=*/10 {"code":"PGRST103","message":"Requested range not satisfiable","details":"An offset of 11 was requested, but there are only 10 rows.","hint":null}"#,
        ),
        (
            one(),
            "GET",
            "clients?select=id",
            &[object],
            "",
            r#"200 content-range=0-0/* {"id":0}"#,
        ),
        (
            two(),
            "GET",
            "clients",
            &[object],
            "",
            r#"406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 2 rows","hint":null}"#,
        ),
        (
            two(),
            "GET",
            "clients?select=id",
            &[("accept", "text/csv")],
            "",
            "200 content-range=0-1/* id\n0\n1",
        ),
        (
            one(),
            "GET",
            "clients",
            &[("accept", "image/png")],
            "",
            r#"406 {"code":"PGRST107","message":"None of these media types are available: image/png","details":null,"hint":null}"#,
        ),
        (one(), "GET", "clients/7?select=id", &[], "", r#"200 {"id":0}"#),
        (
            none(),
            "GET",
            "clients/7",
            &[],
            "",
            r#"404 {"code":"MS404","message":"no row of 'clients' has the key '7'","details":"The row does not exist, or the caller may not see it","hint":null}"#,
        ),
        (one(), "POST", "clients", &[], "{}", "201 content-range=*/*"),
        (
            one(),
            "POST",
            "clients",
            &[("prefer", "count=exact")],
            "{}",
            "201 content-range=*/1 preference-applied=count=exact",
        ),
        (
            one(),
            "POST",
            "clients?select=id",
            &[representation],
            "{}",
            r#"201 content-range=*/* preference-applied=return=representation [{"id":0}]"#,
        ),
        (
            one(),
            "POST",
            "clients",
            &[("prefer", "return=headers-only")],
            "{}",
            "201 content-range=*/* location=/rest/v1/clients?id=eq.4%202 preference-applied=return=headers-only",
        ),
        (
            one().set(|r| r.inserted = 0),
            "POST",
            "clients",
            &[("prefer", "resolution=merge-duplicates")],
            r#"{"id":1}"#,
            "200 content-range=*/* preference-applied=resolution=merge-duplicates",
        ),
        (
            one().set(|r| r.replayed = true),
            "POST",
            "clients",
            &[("idempotency-key", "k")],
            "{}",
            "201 content-range=*/* idempotency-replayed=true",
        ),
        (
            none(),
            "POST",
            "clients",
            &[representation],
            "[]",
            r#"201 content-range=*/* preference-applied=return=representation []"#,
        ),
        (
            two(),
            "PATCH",
            "clients?select=id",
            &[representation],
            r#"{"name":"x"}"#,
            r#"200 content-range=0-1/* preference-applied=return=representation [{"id":0},{"id":1}]"#,
        ),
        (
            two(),
            "PATCH",
            "clients",
            &[("prefer", "count=exact,missing=default")],
            r#"{"name":"x"}"#,
            "204 content-range=0-1/2 preference-applied=missing=default, count=exact",
        ),
        (
            none(),
            "PATCH",
            "clients",
            &[],
            r#"{"name":"x"}"#,
            "204 content-range=*/*",
        ),
        (
            two(),
            "DELETE",
            "clients?id=gt.1",
            &[("prefer", "count=exact")],
            "",
            "204 content-range=*/2 preference-applied=count=exact",
        ),
        (one(), "PUT", "clients?id=eq.1", &[], r#"{"id":1}"#, "204"),
        (
            one(),
            "PUT",
            "clients?id=eq.1&select=id",
            &[representation],
            r#"{"id":1}"#,
            r#"201 preference-applied=return=representation [{"id":0}]"#,
        ),
        (
            one().set(|r| r.inserted = 0),
            "PUT",
            "clients/1?select=id",
            &[representation],
            r#"{"name":"x"}"#,
            r#"200 preference-applied=return=representation {"id":0}"#,
        ),
        (
            one(),
            "PATCH",
            "clients/1?select=id",
            &[representation],
            r#"{"name":"x"}"#,
            r#"200 preference-applied=return=representation {"id":0}"#,
        ),
        (
            none(),
            "PATCH",
            "clients/1",
            &[],
            r#"{"name":"x"}"#,
            r#"404 {"code":"MS404","message":"no row of 'clients' has the key '1'","details":"The row does not exist, or the caller may not see it","hint":null}"#,
        ),
        (one(), "DELETE", "clients/1", &[], "", "204"),
        (one(), "GET", "rpc/add?a=1", &[], "", "200 content-range=0-0/* 0"),
        (two(), "GET", "rpc/names", &[], "", "200 content-range=0-1/* [0,1]"),
        (
            two(),
            "GET",
            "rpc/stats?select=n",
            &[],
            "",
            r#"200 content-range=0-1/* [{"n":0},{"n":1}]"#,
        ),
        (one(), "POST", "rpc/wipe", &[], "", "204"),
        (
            one(),
            "POST",
            "rpc/checkout?select=id",
            &[("prefer", "tx=rollback")],
            r#"{"cart":"00000000-0000-0000-0000-000000000000"}"#,
            r#"200 content-range=0-0/* preference-applied=tx=rollback [{"id":0}]"#,
        ),
        (
            two(),
            "GET",
            "rpc/stats",
            &[("prefer", "handling=strict, max-affected=1")],
            "",
            r#"400 {"code":"PGRST124","message":"Query result exceeds max-affected preference constraint","details":"The query affects 2 rows","hint":null}"#,
        ),
        (
            one(),
            "OPTIONS",
            "clients",
            &[],
            "",
            "200 allow=OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE",
        ),
        (
            one(),
            "OPTIONS",
            "clients/1",
            &[],
            "",
            "200 allow=OPTIONS,GET,HEAD,PUT,PATCH,DELETE",
        ),
        (one(), "OPTIONS", "secrets", &[], "", "200 allow=OPTIONS"),
        (one(), "OPTIONS", "rpc/add", &[], "", "200 allow=OPTIONS,GET,HEAD,POST"),
        (one(), "OPTIONS", "rpc/checkout", &[], "", "200 allow=OPTIONS,POST"),
        (one(), "OPTIONS", "", &[], "", "200 allow=OPTIONS,GET,HEAD,POST"),
    ] {
        let response = send(
            &recorder,
            "authenticated",
            request(Method::from_bytes(method.as_bytes()).unwrap(), path, headers, body),
        );
        assert_eq!(line(&response), want, "{method} {path} {headers:?}");
    }
}

#[test]
fn failures_have_their_status() {
    let failing = |error: Error| Recorder::new().set(|r| r.fails = Some(error));
    let denied = || Error::denied("permission denied for table carts");
    let check = || Error::new("23514", "new row violates check constraint").constraint("stock_check");
    let call = r#"{"cart":"00000000-0000-0000-0000-000000000000"}"#;
    for (error, role, method, path, body, want) in [
        (denied(), "none", "GET", "clients", "", "401 www-authenticate=Bearer"),
        (denied(), "authenticated", "GET", "clients", "", "403"),
        (check(), "authenticated", "POST", "clients", "{}", "400"),
        (check(), "authenticated", "POST", "rpc/checkout", call, "409"),
        (check(), "authenticated", "GET", "rpc/names", "", "409"),
        (
            Error::new("23505", "duplicate key"),
            "authenticated",
            "POST",
            "clients",
            "{}",
            "409",
        ),
        (
            Error::new("MS422", "another body"),
            "authenticated",
            "POST",
            "clients",
            "{}",
            "422",
        ),
        (
            Error::new("PT402", "pay"),
            "authenticated",
            "POST",
            "rpc/checkout",
            call,
            "402",
        ),
    ] {
        let response = send(&failing(error), role, request(method.parse().unwrap(), path, &[], body));
        let got = line(&response);
        assert_eq!(got.split(" {").next().unwrap(), want, "{method} {path}");
    }
}

#[test]
fn conditions_hold_or_not() {
    let get = |headers: &[(&str, &str)]| {
        send(
            &Recorder::new(),
            "authenticated",
            request(Method::GET, "clients/1", headers, ""),
        )
    };
    let first = get(&[]);
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    assert_eq!(
        first.headers()["vary"],
        "Authorization, apikey, Accept, Accept-Profile, Prefer, Range"
    );
    assert_eq!(first.headers()["cache-status"], "mainstay; hit");
    assert_eq!(first.headers()["age"], "3");
    assert_eq!(first.headers()["content-type"], "application/json; charset=utf-8");
    let second = get(&[("if-none-match", &tag)]);
    assert_eq!(
        (second.status().as_u16(), second.body().len(), &second.headers()["etag"]),
        (304, 0, &first.headers()["etag"])
    );

    for (method, header, value, body, want) in [
        ("PATCH", "if-match", &*tag, r#"{"name":"x"}"#, 204),
        ("PATCH", "if-match", "\"other\"", r#"{"name":"x"}"#, 412),
        ("PATCH", "if-match", "*", r#"{"name":"x"}"#, 204),
        ("DELETE", "if-match", &*tag, "", 204),
        ("DELETE", "if-match", "\"other\"", "", 412),
        ("PUT", "if-match", &*tag, r#"{"name":"x"}"#, 204),
        ("PUT", "if-match", "\"other\"", r#"{"name":"x"}"#, 412),
        ("PUT", "if-none-match", "*", r#"{"name":"x"}"#, 204),
        ("PATCH", "if-none-match", "*", r#"{"name":"x"}"#, 412),
    ] {
        let recorder = Recorder::new();
        let response = send(
            &recorder,
            "authenticated",
            request(method.parse().unwrap(), "clients/1", &[(header, value)], body),
        );
        assert_eq!(response.status().as_u16(), want, "{method} {header}: {value}");
        assert_eq!(
            recorder.written().len(),
            usize::from(want == 204),
            "{method} {header}: {value}"
        );
    }
    // The write carries the row as it was read, and the read goes past every cache.
    let recorder = Recorder::new();
    send(
        &recorder,
        "authenticated",
        request(Method::DELETE, "clients/1", &[("if-match", &tag)], ""),
    );
    assert_eq!(
        super::show::transaction(&fixture::schema(), &recorder.written()[0]),
        "delete clients where (id Eq $0::integer and (id IsNotDistinctFrom $1::integer and name IsNotDistinctFrom $2::text and \
         rating IsNotDistinctFrom $3::numeric(10,2))) with 1 0 '0' 0n singular"
    );
    let options = recorder.0.options.lock().unwrap()[0];
    assert!(options.bypass_cache && options.consistency == Consistency::Strong);
    // Somebody else was quicker: no row passes the filter.
    let late = Recorder::new();
    let seen = send(&late, "authenticated", request(Method::GET, "clients/1", &[], "")).headers()["etag"].clone();
    assert_eq!(seen.to_str().unwrap(), tag);
}

#[test]
fn caching_is_as_the_client_wants_it() {
    for (headers, bypass, consistency) in [
        (&[][..], false, Consistency::Session),
        (&[("cache-control", "no-cache")], true, Consistency::Session),
        (&[("cache-control", "max-age=0, No-Cache")], true, Consistency::Session),
        (&[("prefer", "consistency=strong")], false, Consistency::Strong),
        (&[("prefer", "consistency=bounded")], false, Consistency::Bounded),
    ] {
        let recorder = Recorder::new();
        send(&recorder, "anon", request(Method::GET, "clients", headers, ""));
        let options = recorder.0.options.lock().unwrap()[0];
        assert_eq!(
            (options.bypass_cache, options.consistency),
            (bypass, consistency),
            "{headers:?}"
        );
    }
}

#[test]
fn requests_seen_before_mean_the_same() {
    let recorder = Recorder::with(2, None);
    let rest = Rest::new(recorder.clone(), RestConfig::default());
    let get =
        |headers: &[(&str, &str)], path: &str| line(&send_to(&rest, "anon", request(Method::GET, path, headers, "")));
    for _ in 0..3 {
        assert_eq!(
            get(&[], "clients?select=id&id=gt.1"),
            r#"200 content-range=0-1/* [{"id":0},{"id":1}]"#
        );
        assert_eq!(
            get(&[("accept", "text/csv")], "clients?select=id&id=gt.1"),
            "200 content-range=0-1/* id\n0\n1"
        );
        assert_eq!(
            get(&[("range", "5-6")], "clients?select=id&id=gt.1"),
            r#"200 content-range=5-6/* [{"id":0},{"id":1}]"#
        );
        assert_eq!(
            get(&[("prefer", "handling=lenient")], "clients?select=id&id=gt.1"),
            r#"200 content-range=0-1/* preference-applied=handling=lenient [{"id":0},{"id":1}]"#
        );
        assert!(get(&[("accept-profile", "nope")], "clients?select=id&id=gt.1").starts_with("406"));
        assert!(get(&[], "clients?select=nope").starts_with("400"));
    }
    let shapes: Vec<_> = recorder.read().iter().map(|q| Arc::as_ptr(&q.shape)).collect();
    assert_eq!(shapes[0], shapes[4], "the same request has the same shape");
}

#[test]
fn values_in_a_remembered_request_are_its_own() {
    let schema = fixture::schema();
    let rest = Rest::new(Recorder::new(), RestConfig::default());
    let other = Rest::new(
        Recorder::new(),
        RestConfig {
            memo_bytes: 0,
            ..RestConfig::default()
        },
    );
    let asked = |rest: &Rest<Recorder>, path: &str| {
        let response = send_to(rest, "anon", request(Method::GET, path, &[], ""));
        let query = rest.data.read().pop().map(|query| super::show::query(&schema, &query));
        (
            response.status().as_u16(),
            query.filter(|_| response.status() == 200),
            response.into_body(),
        )
    };
    for path in [
        "clients?id=eq.1&name=eq.a",
        "clients?id=eq.2&name=eq.b",
        "clients?id=eq.2&name=eq.",
        "clients?id=eq.x&name=eq.b",
        "clients?name=eq.b&id=eq.2",
        "clients?rating=gt.1.5",
        "clients?rating=gt.1.555",
        "clients?rating=gt.2",
        "clients?id=eq.1&id=eq.1",
        "clients?id=eq.1&id=eq.2",
        "clients?id=gt.1&or=(id.eq.5,name.eq.x)&limit=3",
        "clients?id=gt.7&or=(id.eq.5,name.eq.x)&limit=3",
        "clients?select=id,projects(id)&projects.id=eq.1&id=eq.2",
        "clients?select=id,projects(id)&projects.id=eq.3&id=eq.4",
        "projects?data->>a=eq.1&state=eq.new",
        "projects?data->>a=eq.2&state=eq.done",
        "projects?data->>a=eq.2&state=eq.odd",
        "projects?name=eq.a%20b",
        "projects?name=eq.c%20d",
        "clients/1",
        "clients/2",
        "clients/x",
        "rpc/add?a=1&b=2",
        "rpc/add?a=3&b=4",
        "rpc/search?q=x&id=gt.5",
        "rpc/search?q=x&id=gt.6",
    ] {
        let path = &path.replace('>', "%3E");
        for _ in 0..2 {
            assert_eq!(asked(&rest, path), asked(&other, path), "{path}");
        }
    }
}

#[test]
fn the_description_names_what_the_role_may_use() {
    let describe = |role: &str| {
        let response = send(&Recorder::new(), role, request(Method::GET, "", &[], ""));
        assert_eq!(
            response.headers()["content-type"],
            "application/openapi+json; charset=utf-8"
        );
        let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        (response, document)
    };
    let (response, anon) = describe("anon");
    let (_, authenticated) = describe("authenticated");
    assert_eq!(anon["openapi"], "3.1.0");
    assert!(anon["paths"]["/clients"]["get"].is_object());
    assert!(anon["paths"]["/clients"]["post"].is_null());
    assert!(authenticated["paths"]["/clients"]["post"].is_object());
    assert!(authenticated["paths"]["/secrets"].is_null() && authenticated["paths"]["/hidden"].is_null());
    assert!(anon["paths"]["/rpc/checkout"].is_null());
    assert!(
        authenticated["paths"]["/rpc/checkout"]["post"].is_object()
            && authenticated["paths"]["/rpc/checkout"]["get"].is_null()
    );
    assert!(authenticated["paths"]["/rpc/on_change"].is_null());
    assert_eq!(anon["components"]["schemas"]["clients"]["description"], "Who pays.");
    let columns = &authenticated["components"]["schemas"]["projects"]["properties"];
    assert_eq!(columns["state"]["enum"], serde_json::json!(["new", "done", null]));
    assert_eq!(columns["code"]["maxLength"], 3);
    assert_eq!(columns["client_id"]["description"], "References clients.id.");
    assert_eq!(
        authenticated["components"]["schemas"]["clients.insert"]["required"],
        serde_json::json!(["id"])
    );
    assert!(authenticated["components"]["schemas"]["projects.insert"]["required"].is_null());
    let tag = response.headers()["etag"].to_str().unwrap();
    let again = send(
        &Recorder::new(),
        "anon",
        request(Method::GET, "", &[("if-none-match", tag)], ""),
    );
    assert_eq!(again.status(), 304);
    // For a look at the whole document, or for a validator.
    if let Ok(file) = std::env::var("MAINSTAY_OPENAPI_OUT") {
        std::fs::write(file, authenticated.to_string()).unwrap();
    }
}
