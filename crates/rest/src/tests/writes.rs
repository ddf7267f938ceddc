//! Writes and calls, and the transactions that they become.

use super::fixture;
use super::recorder::{Recorder, request, send};
use super::show;
use http::Method;

/// What a request made the engine do, or its refusal.
fn effect(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let recorder = Recorder::new();
    let response = send(
        &recorder,
        "authenticated",
        request(Method::from_bytes(method.as_bytes()).unwrap(), path, headers, body),
    );
    let schema = fixture::schema();
    let mut done: Vec<String> = recorder
        .written()
        .iter()
        .map(|t| show::transaction(&schema, t))
        .collect();
    done.extend(
        recorder
            .read()
            .iter()
            .map(|q| format!("read {}", show::query(&schema, q))),
    );
    if response.status().as_u16() >= 300 {
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        done.push(format!(
            "{} {}: {}",
            response.status().as_u16(),
            body["code"].as_str().unwrap(),
            body["message"].as_str().unwrap()
        ));
    }
    done.join("; ")
}

const REPRESENTATION: (&str, &str) = ("prefer", "return=representation");

#[test]
fn writes_become_transactions() {
    let merge = ("prefer", "resolution=merge-duplicates");
    let object = ("accept", "application/vnd.pgrst.object+json");
    for (method, path, headers, body, want) in [
        (
            "POST",
            "clients",
            &[][..],
            r#"{"id":1,"name":"a"}"#,
            "insert clients(id,name) (1 'a')",
        ),
        (
            "POST",
            "clients",
            &[],
            r#"[{"id":1,"name":"a"},{"name":null,"id":2}]"#,
            "insert clients(id,name) (1 'a') (2 null)",
        ),
        (
            "POST",
            "clients?columns=id,name",
            &[],
            r#"[{"id":1,"x":1},{"id":2,"name":"b"}]"#,
            "insert clients(id,name) (1 null) (2 'b')",
        ),
        (
            "POST",
            "clients?columns=id,name",
            &[("prefer", "missing=default")],
            r#"[{"id":1}]"#,
            "insert clients(id,name) (1 default)",
        ),
        ("POST", "clients", &[], "{}", "insert clients() ()"),
        ("POST", "clients", &[], "[]", ""),
        (
            "POST",
            "clients",
            &[("content-type", "application/x-www-form-urlencoded")],
            "id=7&name=x+y",
            "insert clients(id,name) (7 'x y')",
        ),
        (
            "POST",
            "clients",
            &[("content-type", "text/csv")],
            "id,name\n7,NULL",
            "insert clients(id,name) (7 null)",
        ),
        (
            "POST",
            "clients",
            &[merge],
            r#"{"id":1}"#,
            "insert clients(id) (1) on id merge",
        ),
        (
            "POST",
            "places?on_conflict=range",
            &[("prefer", "resolution=ignore-duplicates")],
            r#"{"x":1}"#,
            "insert places(x) (1) on range ignore",
        ),
        (
            "POST",
            "projects",
            &[],
            r#"{"data":{"a":[1,null]},"tags":["x","y"],"code":"abc","state":"done","open":true,"raw":"s"}"#,
            r#"insert projects(data,tags,code,state,open,raw) ('{"a": [1, null]}' {'x','y'} 'abc' 'done' true '"s"')"#,
        ),
        (
            "POST",
            "clients",
            &[],
            r#"{"rating":12345678.99}"#,
            "insert clients(rating) (12345678.99n)",
        ),
        (
            "POST",
            "clients?select=name",
            &[REPRESENTATION],
            r#"{"id":1}"#,
            "insert clients(id) (1) returning clients[name]",
        ),
        (
            "POST",
            "projects?select=id,clients(name)&clients.name=eq.x",
            &[REPRESENTATION],
            r#"{"id":1}"#,
            "insert projects(id) (1) returning projects[id,clients<client_id=id one>clients[name] where name Eq $0::text] with 'x'",
        ),
        (
            "POST",
            "clients",
            &[object],
            r#"{"id":1}"#,
            "insert clients(id) (1) singular",
        ),
        (
            "POST",
            "clients",
            &[("prefer", "tx=rollback")],
            r#"{"id":1}"#,
            "insert clients(id) (1); rollback",
        ),
        (
            "PATCH",
            "clients?id=eq.1",
            &[],
            r#"{"name":"b"}"#,
            "update clients set name='b' where id Eq $0::integer with 1",
        ),
        (
            "PATCH",
            "clients?id=eq.1&select=id",
            &[REPRESENTATION],
            r#"{"name":"b"}"#,
            "update clients set name='b' where id Eq $0::integer returning clients[id] with 1",
        ),
        (
            "PATCH",
            "clients",
            &[("prefer", "handling=strict, max-affected=3")],
            r#"{"name":"b"}"#,
            "update clients set name='b' at most 3",
        ),
        (
            "PATCH",
            "clients",
            &[("prefer", "max-affected=3")],
            r#"{"name":"b"}"#,
            "update clients set name='b'",
        ),
        (
            "PATCH",
            "clients?limit=2&order=id",
            &[],
            r#"{"name":"b"}"#,
            "update clients set name='b' order id limit Some(2) offset 0",
        ),
        ("PATCH", "clients?id=eq.1", &[], "{}", ""),
        (
            "DELETE",
            "clients?id=in.(1,2)",
            &[],
            "",
            "delete clients where id Eq any($0::integer[]) with {1,2}",
        ),
        (
            "DELETE",
            "clients?or=(id.eq.1,id.eq.2)",
            &[REPRESENTATION],
            "",
            "delete clients where (id Eq $0::integer or id Eq $1::integer) returning clients[id,name,rating] with 1 2",
        ),
        (
            "PUT",
            "clients?id=eq.1",
            &[],
            r#"{"id":1,"name":"a"}"#,
            "insert clients(id,name) (1 'a') on id merge",
        ),
        (
            "PUT",
            "places?x=eq.1&y=eq.2",
            &[],
            r#"{"x":1,"y":2,"range":"[1,2)"}"#,
            "insert places(x,y,range) (1 2 '[1,2)') on x,y merge",
        ),
        (
            "PUT",
            "clients/1",
            &[],
            r#"{"name":"a"}"#,
            "insert clients(name,id) ('a' 1) on id merge singular",
        ),
        (
            "PATCH",
            "clients/1",
            &[],
            r#"{"name":"a"}"#,
            "update clients set name='a' where id Eq $0::integer with 1 singular",
        ),
        (
            "DELETE",
            "clients/1",
            &[],
            "",
            "delete clients where id Eq $0::integer with 1 singular",
        ),
        (
            "PUT",
            "clients/1",
            &[("if-none-match", "*")],
            r#"{"name":"a"}"#,
            "insert clients(name,id) ('a' 1) singular",
        ),
        (
            "POST",
            "rpc/checkout",
            &[],
            r#"{"cart":"00000000-0000-0000-0000-00000000002a"}"#,
            "call checkout($0::uuid) returning checkout($0::uuid)[id,billing_id,shipping_id] with uuid:2a",
        ),
        (
            "POST",
            "rpc/checkout?select=id&id=gt.1&order=id.desc&limit=1",
            &[],
            r#"{"cart":"00000000-0000-0000-0000-00000000002a"}"#,
            "call checkout($0::uuid) returning checkout($0::uuid)[id] where id Gt $1::bigint order id desc first limit $2 with uuid:2a 1 1",
        ),
        ("POST", "rpc/wipe", &[], "", "call wipe()"),
    ] {
        assert_eq!(effect(method, path, headers, body), want, "{method} {path} {body}");
    }
}

#[test]
fn calls_that_only_read_are_reads() {
    for (method, path, headers, body, want) in [
        (
            "GET",
            "rpc/add?a=1&b=2",
            &[][..],
            "",
            "read add($0::integer, $1::integer)[add] with 1 2",
        ),
        ("GET", "rpc/add?a=1", &[], "", "read add($0::integer, 10)[add] with 1"),
        (
            "POST",
            "rpc/add",
            &[],
            r#"{"b":5,"a":1}"#,
            "read add($0::integer, $1::integer)[add] with 1 5",
        ),
        (
            "POST",
            "rpc/add?columns=a",
            &[],
            r#"{"b":5,"a":1}"#,
            "read add($0::integer, 10)[add] with 1",
        ),
        (
            "POST",
            "rpc/add",
            &[("content-type", "application/x-www-form-urlencoded")],
            "a=1",
            "read add($0::integer, 10)[add] with 1",
        ),
        (
            "GET",
            "rpc/sum_all?numbers=1&numbers=2",
            &[],
            "",
            "read sum_all($0::integer[])[sum_all] with {1,2}",
        ),
        (
            "POST",
            "rpc/sum_all",
            &[],
            r#"{"numbers":[1,2]}"#,
            "read sum_all($0::integer[])[sum_all] with {1,2}",
        ),
        (
            "GET",
            "rpc/search?q=x&select=id,clients(name)&id=gt.5&order=id&limit=3",
            &[],
            "",
            "read search($0::text)[id,clients<client_id=id one>clients[name]] where id Gt $1::integer order id limit $2 with 'x' 5 3",
        ),
        ("GET", "rpc/names", &[], "", "read names()[names]"),
        ("GET", "rpc/stats?select=label", &[], "", "read stats()[label]"),
        (
            "POST",
            "rpc/take_json",
            &[],
            r#"{"any": [1]}"#,
            r#"read take_json($0::json)[take_json] with '{"any": [1]}'"#,
        ),
        (
            "POST",
            "rpc/take_json",
            &[],
            "[1, 2]",
            "read take_json($0::json)[take_json] with '[1, 2]'",
        ),
        (
            "POST",
            "rpc/add",
            &[("idempotency-key", "k1")],
            r#"{"a":1}"#,
            "call add($0::integer, 10) returning add($0::integer, 10)[add] with 1",
        ),
    ] {
        assert_eq!(effect(method, path, headers, body), want, "{method} {path} {body}");
    }
}

#[test]
fn writes_that_mean_nothing_are_refused() {
    for (method, path, headers, body, want) in [
        ("POST", "clients", &[][..], "", "400 PGRST102: Empty or invalid json"),
        (
            "POST",
            "clients",
            &[],
            "[{\"id\":1},{\"name\":1}]",
            "400 PGRST102: All object keys must match",
        ),
        (
            "POST",
            "clients",
            &[],
            "{\"nope\":1}",
            "400 PGRST204: Could not find the 'nope' column of 'clients' in the schema cache",
        ),
        (
            "POST",
            "clients",
            &[],
            "{\"id\":\"x\"}",
            "400 22P02: invalid input syntax for type integer: \"x\"",
        ),
        (
            "POST",
            "projects",
            &[],
            "{\"code\":\"abcd\"}",
            "400 22001: value too long for type character varying(3)",
        ),
        (
            "POST",
            "projects",
            &[],
            "{\"state\":\"odd\"}",
            "400 22P02: invalid input value for enum state: \"odd\"",
        ),
        (
            "POST",
            "clients",
            &[],
            "{\"name\":\"a\\u0000b\"}",
            "400 22P05: unsupported Unicode escape sequence",
        ),
        (
            "POST",
            "clients",
            &[("content-type", "image/png")],
            "x",
            "400 PGRST102: Content-Type not acceptable: image/png",
        ),
        (
            "POST",
            "clients?on_conflict=name",
            &[("prefer", "resolution=merge-duplicates")],
            "{\"id\":1}",
            "400 42P10: there is no unique or exclusion constraint matching the ON CONFLICT specification",
        ),
        (
            "POST",
            "clients?columns=",
            &[],
            "{}",
            "400 PGRST100: \"failed to parse columns parameter ()\" (line 1, column 1)",
        ),
        (
            "POST",
            "clients",
            &[("prefer", "handling=strict, nonsense")],
            "{}",
            "400 PGRST122: Invalid preferences given with handling=strict",
        ),
        (
            "POST",
            "clients",
            &[("idempotency-key", "has space")],
            "{}",
            "400 MS400: Idempotency-Key must be one value of 1 to 255 visible ASCII characters, or such a string in quotes",
        ),
        (
            "POST",
            "clients",
            &[("prefer", "timezone=Nowhere/None")],
            "{}",
            "400 22023: invalid value for parameter \"TimeZone\": \"Nowhere/None\"",
        ),
        (
            "PATCH",
            "clients?limit=1",
            &[],
            "{\"id\":1}",
            "400 PGRST109: A 'limit' was applied without an explicit 'order'",
        ),
        (
            "DELETE",
            "clients?limit=-1&order=id",
            &[],
            "",
            "416 PGRST103: Requested range not satisfiable",
        ),
        (
            "PUT",
            "clients?id=eq.1&limit=1",
            &[],
            "{\"id\":1}",
            "400 PGRST114: limit/offset querystring parameters are not allowed for PUT",
        ),
        (
            "PUT",
            "clients?id=gt.1",
            &[],
            "{\"id\":1}",
            "405 PGRST105: Filters must include all and only primary key columns with 'eq' operators",
        ),
        (
            "PUT",
            "clients?name=eq.a&id=eq.1",
            &[],
            "{\"id\":1}",
            "405 PGRST105: Filters must include all and only primary key columns with 'eq' operators",
        ),
        (
            "PUT",
            "places?x=eq.1",
            &[],
            "{\"x\":1}",
            "405 PGRST105: Filters must include all and only primary key columns with 'eq' operators",
        ),
        (
            "PUT",
            "clients?id=eq.1",
            &[],
            "{\"id\":2}",
            "400 PGRST115: Payload values do not match URL in primary key column(s)",
        ),
        (
            "PUT",
            "clients?id=eq.1",
            &[],
            "[{\"id\":2},{\"id\":1}]",
            "400 PGRST115: Payload values do not match URL in primary key column(s)",
        ),
        (
            "PUT",
            "clients/1",
            &[],
            "{\"id\":2}",
            "400 PGRST115: Payload values do not match URL in primary key column(s)",
        ),
        (
            "PATCH",
            "clients?id=eq.1",
            &[("if-match", "\"x\"")],
            "{\"name\":\"a\"}",
            "400 MS400: If-Match must be absent, or for one row by its key: /clients/{id}",
        ),
        (
            "DELETE",
            "clients?id=eq.1",
            &[("if-match", "*")],
            "",
            "400 MS400: If-Match must be absent, or for one row by its key: /clients/{id}",
        ),
        (
            "PATCH",
            "clients/x",
            &[],
            "{\"name\":\"a\"}",
            "400 22P02: invalid input syntax for type integer: \"x\"",
        ),
        (
            "POST",
            "clients/1",
            &[],
            "{}",
            "405 PGRST117: Unsupported HTTP method: POST",
        ),
        (
            "PATCH",
            "clients?id=eq.1",
            &[("accept", "application/vnd.pgrst.object+json")],
            "{}",
            "406 PGRST116: Cannot coerce the result to a single JSON object",
        ),
        (
            "GET",
            "rpc/checkout?cart=00000000-0000-0000-0000-00000000002a",
            &[],
            "",
            "405 25006: function checkout writes and cannot be called with GET",
        ),
        (
            "PATCH",
            "rpc/add",
            &[],
            "{}",
            "405 PGRST101: Cannot use the PATCH method on RPC",
        ),
        (
            "POST",
            "rpc/nothing",
            &[],
            "{}",
            "404 PGRST202: Could not find the function public.nothing without parameters in the schema cache",
        ),
        (
            "POST",
            "rpc/add",
            &[],
            "{\"x\":1}",
            "404 PGRST202: Could not find the function public.add(x) in the schema cache",
        ),
        (
            "POST",
            "rpc/on_change",
            &[],
            "{}",
            "404 PGRST202: Could not find the function public.on_change without parameters in the schema cache",
        ),
        (
            "POST",
            "rpc/over",
            &[],
            "{\"a\":1}",
            "300 PGRST203: Could not choose the best candidate function between: public.over(a => integer), public.over(a => text)",
        ),
        (
            "POST",
            "rpc/add",
            &[("prefer", "params=single-object")],
            "{}",
            "400 PGRST122: The preference params=single-object is no longer supported",
        ),
        (
            "POST",
            "rpc/add",
            &[("prefer", "handling=strict, max-affected=1")],
            "{\"a\":1}",
            "400 PGRST128: Function must return SETOF or TABLE when max-affected preference is used with handling=strict",
        ),
        (
            "POST",
            "clients",
            &[("content-profile", "nope")],
            "{}",
            "406 PGRST106: Invalid schema: nope",
        ),
        (
            "POST",
            "clients",
            &[("content-profile", "auth")],
            "{}",
            "406 PGRST106: Invalid schema: auth",
        ),
    ] {
        assert_eq!(effect(method, path, headers, body), want, "{method} {path} {body}");
    }
}
