//! Values of types that SQLite does not know: what is read, kept, compared and shown is what PostgreSQL 15 answers.

use crate::world::World;
use mainstay_rest::RestConfig;

fn world() -> World {
    let config = RestConfig {
        aggregates: true,
        ..RestConfig::default()
    };
    World::of(include_str!("types.sql"), config)
}

fn answers(w: &World, table: &[(&str, &str)]) {
    for (path, want) in table {
        assert_eq!(w.get(path).shown(), *want, "{path}");
    }
}

fn hosts() -> World {
    let w = world();
    let host = r#"{"id":1,"address":"10.0.0.1/32","network":"10/8","mac":"08002b010203","mac8":"08002b010203","flags":"101",
        "mask":"x5","price":12.3,"object":42,"at":"12:00","seen":["10.0.0.1/32","::1/128"]}"#;
    assert_eq!(w.post("/hosts", host).shown(), "201 ");
    w
}

#[test]
fn types_kept_as_text_are_canonical() {
    let w = hosts();
    answers(
        &w,
        &[
            (
                "/hosts",
                r#"200 [{"id":1,"address":"10.0.0.1","network":"10.0.0.0/8","mac":"08:00:2b:01:02:03","mac8":"08:00:2b:ff:fe:01:02:03","flags":"101","mask":"0101","price":"$12.30","object":"42","at":"12:00:00+00","seen":["10.0.0.1","::1"]}]"#,
            ),
            ("/hosts?select=id&address=eq.10.0.0.1/32", r#"200 [{"id":1}]"#),
            (
                "/hosts?select=id&address=in.(10.0.0.1/32,10.0.0.2)",
                r#"200 [{"id":1}]"#,
            ),
            ("/hosts?select=id&network=eq.10/8", r#"200 [{"id":1}]"#),
            ("/hosts?select=id&mac=eq.0800.2b01.0203", r#"200 [{"id":1}]"#),
            ("/hosts?select=id&price=eq.12.30", r#"200 [{"id":1}]"#),
            ("/hosts?select=id&at=eq.12:00Z", r#"200 [{"id":1}]"#),
            ("/hosts?select=id&flags=eq.1010", "200 []"),
            ("/hosts?select=id&seen=cs.{10.0.0.1/32}", r#"200 [{"id":1}]"#),
            (
                "/hosts?select=address::text,price::text,flags::text",
                r#"200 [{"address":"10.0.0.1/32","price":"$12.30","flags":"101"}]"#,
            ),
        ],
    );
    let csv = [("content-type", "text/csv")];
    let answer = w.send(
        "service_role",
        "POST",
        "/hosts?select=address,at",
        &csv,
        "id,address,at\n2,::1/128,12:00+02",
    );
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answers(
        &w,
        &[(
            "/hosts?select=address,at&id=eq.2",
            r#"200 [{"address":"::1","at":"12:00:00+02"}]"#,
        )],
    );
}

#[test]
fn texts_that_are_none_of_the_type_are_refused() {
    let w = hosts();
    for (body, code, message) in [
        (
            r#"{"id":9,"address":"10.0.0.256"}"#,
            "22P02",
            "invalid input syntax for type inet: \\\"10.0.0.256\\\"",
        ),
        (
            r#"{"id":9,"network":"10.0.0.1/8"}"#,
            "22P02",
            "invalid cidr value: \\\"10.0.0.1/8\\\"",
        ),
        (
            r#"{"id":9,"mac":"08"}"#,
            "22P02",
            "invalid input syntax for type macaddr: \\\"08\\\"",
        ),
        (
            r#"{"id":9,"flags":"10"}"#,
            "22026",
            "bit string length 2 does not match type bit(3)",
        ),
        (
            r#"{"id":9,"mask":"10101"}"#,
            "22001",
            "bit string too long for type bit varying(4)",
        ),
        (
            r#"{"id":9,"object":4294967296}"#,
            "22003",
            "value \\\"4294967296\\\" is out of range for type oid",
        ),
        (
            r#"{"id":9,"price":"abc"}"#,
            "22P02",
            "invalid input syntax for type money: \\\"abc\\\"",
        ),
        (
            r#"{"id":9,"at":"25:00"}"#,
            "22008",
            "date/time field value out of range: \\\"25:00\\\"",
        ),
        (
            r#"{"id":9,"seen":["x"]}"#,
            "22P02",
            "invalid input syntax for type inet: \\\"x\\\"",
        ),
    ] {
        let answer = w.post("/hosts", body);
        let text = answer.text();
        assert!(
            answer.status() == 400 && text.contains(code) && text.contains(message),
            "{body}: {text}"
        );
    }
    for (path, code) in [
        ("/hosts?address=eq.abc", "22P02"),
        ("/hosts?address=gt.10.0.0.1", "0A000"),
        ("/hosts?order=price", "0A000"),
    ] {
        let answer = w.get(path);
        assert!(
            answer.status() == 400 && answer.text().contains(code),
            "{path}: {}",
            answer.text()
        );
    }
}

fn padded() -> World {
    let w = world();
    let rows = r#"[{"id":1,"c":"ab","t":"ab  x","i2":1,"ok":true},{"id":2,"c":"abcd","t":"q","i2":0,"ok":false},
        {"id":3,"c":"a b","t":null,"i2":null,"ok":null}]"#;
    assert_eq!(w.post("/padded", rows).shown(), "201 ");
    w
}

#[test]
fn characters_are_padded_where_they_are_shown_and_matched() {
    let w = padded();
    answers(
        &w,
        &[
            (
                "/padded?select=c&order=id",
                r#"200 [{"c":"ab  "},{"c":"abcd"},{"c":"a b "}]"#,
            ),
            (
                "/padded_view?order=id",
                r#"200 [{"id":1,"c":"ab  ","octets":4,"characters":2,"text":"ab|"},{"id":2,"c":"abcd","octets":4,"characters":4,"text":"abcd|"},{"id":3,"c":"a b ","octets":4,"characters":3,"text":"a b|"}]"#,
            ),
            ("/rpc/padded_of?p=1&select=c", r#"200 [{"c":"ab  "}]"#),
            ("/rpc/code?p=1", r#"200 "ab  ""#),
            ("/rpc/cut", r#"200 "ab""#),
            ("/padded?select=id&c=like.ab", "200 []"),
            ("/padded?select=id&c=like.ab__&order=id", r#"200 [{"id":1},{"id":2}]"#),
            ("/padded?select=id&c=ilike.AB__&order=id", r#"200 [{"id":1},{"id":2}]"#),
            ("/padded?select=id&c=match.b$", "200 []"),
            ("/padded?select=id&c=eq.ab", r#"200 [{"id":1}]"#),
            ("/padded?select=id&c=eq.ab%20%20%20", r#"200 [{"id":1}]"#),
            (
                "/padded?select=id&c=in.(ab,abcd)&order=id",
                r#"200 [{"id":1},{"id":2}]"#,
            ),
            (
                "/padded?select=t::bpchar,cc:c::bpchar&id=eq.1",
                r#"200 [{"t":"ab  x","cc":"ab  "}]"#,
            ),
            ("/padded?select=c::text&id=eq.1", r#"200 [{"c":"ab"}]"#),
            ("/padded?select=c.max()", r#"200 [{"max":"abcd"}]"#),
        ],
    );
    let csv = w.send(
        "service_role",
        "GET",
        "/padded?select=id,c&id=eq.1",
        &[("accept", "text/csv")],
        "",
    );
    assert_eq!(csv.text(), "id,c\n1,\"ab  \"");
    let prefer = [("prefer", "return=representation")];
    let written = w.send(
        "service_role",
        "PATCH",
        "/padded?id=eq.1&select=c",
        &prefer,
        r#"{"c":"z"}"#,
    );
    assert_eq!(written.shown(), r#"200 [{"c":"z   "}]"#);
}

#[test]
fn casts_and_aggregates_that_postgres_lacks() {
    let w = padded();
    for (path, status, code, message) in [
        (
            "/padded?select=i2::boolean",
            400,
            "42846",
            "cannot cast type smallint to boolean",
        ),
        (
            "/padded?select=ok::smallint",
            400,
            "42846",
            "cannot cast type boolean to smallint",
        ),
        (
            "/arrays?select=m::integer",
            400,
            "42846",
            "cannot cast type mood to integer",
        ),
        (
            "/padded?select=ok.max()",
            404,
            "42883",
            "function max(boolean) does not exist",
        ),
        (
            "/padded?select=key.max()",
            404,
            "42883",
            "function max(uuid) does not exist",
        ),
        (
            "/padded?select=raw.min()",
            404,
            "42883",
            "function min(bytea) does not exist",
        ),
    ] {
        let answer = w.get(path);
        let text = answer.text();
        let as_wanted = answer.status() == status && text.contains(code) && text.contains(message);
        assert!(as_wanted, "{path}: {} {text}", answer.status());
    }
}

#[test]
fn arrays_are_contained_whatever_their_dimensions() {
    let w = world();
    let rows = r#"[{"id":1,"ia":"{1,2,3}","ta":"{x,y}"},{"id":2,"ia":"{{1,2},{3,4}}","ta":"{{x,z},{q,r}}"},
        {"id":3,"ia":null,"ta":null}]"#;
    assert_eq!(w.post("/arrays", rows).shown(), "201 ");
    let (one, two, both) = (r#"200 [{"id":1}]"#, r#"200 [{"id":2}]"#, r#"200 [{"id":1},{"id":2}]"#);
    for (filter, want) in [
        ("ia=cs.{{1,2}}", both),
        ("ia=cs.{4,1}", two),
        ("ta=cs.{{x}}", both),
        ("ta=ov.{{x,q}}", both),
        ("ta=ov.{{q,n}}", two),
        ("ta=cd.{{x,y}}", one),
        ("ta=cd.{{x,y,z},{q,r,s}}", both),
    ] {
        let path = format!("/arrays?select=id&order=id&{filter}");
        assert_eq!(w.get(&path).shown(), want, "{path}");
    }
}

#[test]
fn functions_of_one_row_always_have_one() {
    let w = world();
    assert_eq!(w.post("/things", r#"{"id":1,"name":"Tea"}"#).shown(), "201 ");
    answers(
        &w,
        &[
            (
                "/rpc/thing?p=9",
                r#"200 {"id":null,"name":null,"price":null,"made":null,"tags":null}"#,
            ),
            ("/rpc/thing?p=9&select=name", r#"200 {"name":null}"#),
            ("/rpc/thing?p=9&select=n:name::text", r#"200 {"n":null}"#),
            ("/rpc/thing?p=1&select=name", r#"200 {"name":"Tea"}"#),
            ("/rpc/pair?p=9", r#"200 {"a":null,"b":null}"#),
        ],
    );
    assert_eq!(w.get("/rpc/thing?p=9").header("content-range"), "0-0/*");
    assert_eq!(
        w.post("/rpc/pair", r#"{"p":null}"#).shown(),
        r#"200 {"a":null,"b":null}"#
    );
}

#[test]
fn rows_as_arguments_are_read_column_by_column() {
    let w = world();
    for (body, want) in [
        (
            r#"{"t":{"id":1,"name":"q","price":12.345,"other":1}}"#,
            r#"200 "Q12.35""#,
        ),
        (r#"{"t":"(1,abc,,,)"}"#, r#"200 "ABC-""#),
        (
            r#"{"t":"(1,\"a \"\"b\"\" \\\\c,\",1.239,2024-01-01,\"{a,b}\") "}"#,
            r#"200 "A \"B\" \\C,1.24""#,
        ),
        (r#"{"t":" ( 1, a b ,2,,)"}"#, r#"200 " A B 2.00""#),
        (r#"{"t":null}"#, "200 null"),
    ] {
        assert_eq!(w.post("/rpc/shout", body).shown(), want, "{body}");
    }
    for (body, code, message, detail) in [
        (
            r#"{"t":5}"#,
            "22P02",
            "malformed record literal: \"5\"",
            "Missing left parenthesis.",
        ),
        (
            r#"{"t":[1]}"#,
            "22P02",
            "malformed record literal: \"[1]\"",
            "Missing left parenthesis.",
        ),
        (
            r#"{"t":{"id":1,"price":"abc"}}"#,
            "22P02",
            "invalid input syntax for type numeric: \"abc\"",
            "",
        ),
        (
            r#"{"t":{"id":1,"price":1234567.891}}"#,
            "22003",
            "numeric field overflow",
            "A field with precision 8",
        ),
        (
            r#"{"t":{"id":1,"tags":"x"}}"#,
            "22P02",
            "malformed array literal: \"x\"",
            "",
        ),
        (
            r#"{"t":"(1,abc,,)"}"#,
            "22P02",
            "malformed record literal: \"(1,abc,,)\"",
            "Too few columns.",
        ),
        (
            r#"{"t":"(1,abc,,,,)"}"#,
            "22P02",
            "malformed record literal: \"(1,abc,,,,)\"",
            "Too many columns.",
        ),
        (
            r#"{"t":"(1,a"}"#,
            "22P02",
            "malformed record literal: \"(1,a\"",
            "Unexpected end of input.",
        ),
        (
            r#"{"t":"(1,abc,,,)x"}"#,
            "22P02",
            "malformed record literal: \"(1,abc,,,)x\"",
            "Junk after right parenthesis.",
        ),
        (
            r#"{"t":"(x,abc,1,,)"}"#,
            "22P02",
            "invalid input syntax for type integer: \"x\"",
            "",
        ),
    ] {
        let answer = w.post("/rpc/shout", body);
        let error: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(
            (answer.status(), &error["code"]),
            (400, &code.into()),
            "{body}: {error}"
        );
        assert_eq!(error["message"], message, "{body}");
        assert!(
            error["details"].as_str().unwrap_or_default().starts_with(detail),
            "{body}: {error}"
        );
    }
    let literal = w.get("/rpc/shout?t=1");
    assert!(
        literal.text().contains("malformed record literal"),
        "{}",
        literal.text()
    );
}

#[test]
fn casts_that_another_time_zone_would_decide_are_refused() {
    let w = world();
    let moment = r#"{"id":1,"tz":"2024-05-01T23:30:00Z","d":"2024-05-01"}"#;
    assert_eq!(w.post("/moments", moment).shown(), "201 ");
    let berlin = [("prefer", "timezone=Europe/Berlin")];
    let ask = |prefer: &[(&str, &str)], select: &str| {
        let path = format!("/moments?select={select}");
        w.send("service_role", "GET", &path, prefer, "").shown()
    };
    for select in ["tz::text", "tz::date", "tz::timestamp", "d::timestamptz"] {
        let answer = ask(&berlin, select);
        assert!(
            answer.starts_with("400") && answer.contains("0A000"),
            "{select}: {answer}"
        );
    }
    assert_eq!(
        ask(&berlin, "tz,d"),
        r#"200 [{"tz":"2024-05-02T01:30:00+02:00","d":"2024-05-01"}]"#
    );
    assert_eq!(
        ask(&[("prefer", "timezone=UTC")], "tz::date"),
        r#"200 [{"tz":"2024-05-01"}]"#
    );
    assert_eq!(ask(&[], "tz::date"), r#"200 [{"tz":"2024-05-01"}]"#);
    let prefer = [("prefer", "timezone=Europe/Berlin, return=representation")];
    let written = w.send(
        "service_role",
        "PATCH",
        "/moments?id=eq.1&select=tz::date",
        &prefer,
        r#"{"d":null}"#,
    );
    assert!(written.shown().contains("0A000"), "{}", written.shown());
    assert_eq!(w.get("/moments?select=d").shown(), r#"200 [{"d":"2024-05-01"}]"#);
}
