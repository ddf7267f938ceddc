//! The dialect on an adopted database, where it goes beyond what a project's own schema has: one request a row.

use mainstay_tests::{Command, Postgres, Project, SECRET};
use serde_json::Value as Json;

/// Method, path, headers, body; status, headers that matter, and the body as JSON, where it is looked at.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    u16,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const WHOLE: (&str, &str) = ("prefer", "return=representation");
const TRIED: (&str, &str) = ("prefer", "tx=rollback");
const MERGED: (&str, &str) = ("prefer", "resolution=merge-duplicates");
const WHERE: (&str, &str) = ("prefer", "return=headers-only");
const COUNTED: (&str, &str) = ("prefer", "count=exact");

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Domains that say how their values are written and shown.
    ("GET", "/paints?id=eq.2", &[], "", 200, &[("content-location", "/rest/v1/paints?id=eq.2")],
        r##"[{"id":2,"name":"navy","tint":"#000080"}]"##),
    ("GET", "/paints?select=hue:tint,text:tint::text&id=eq.2", &[], "", 200, &[], r##"[{"hue":"#000080","text":"\"#000080\""}]"##),
    ("GET", "/paints?select=id&tint=eq.%23ffffff", &[], "", 200, &[], r#"[{"id":1}]"#),
    ("GET", "/paints?select=id&tint=not.in.(ffffff,000001)", &[], "", 200, &[], r#"[{"id":2}]"#),
    ("POST", "/paints?select=tint", &[TRIED, WHOLE], r##"{"id":3,"tint":"#00ff00"}"##, 201, &[], r##"[{"tint":"#00ff00"}]"##),
    ("POST", "/paints?select=tint&order=id", &[TRIED, WHOLE], r##"[{"id":3,"tint":"#00ff00"},{"id":4,"tint":null}]"##,
        201, &[], r##"[{"tint":"#00ff00"},{"tint":null}]"##),
    ("POST", "/paints?select=tint", &[TRIED, WHOLE, ("content-type", "text/csv")], "id,tint\n3,#00ff00\n", 201, &[],
        r##"[{"tint":"#00ff00"}]"##),
    ("PATCH", "/dark_paints?id=eq.2&select=tint", &[TRIED, WHOLE], r##"{"tint":"#000001"}"##, 200, &[], r##"[{"tint":"#000001"}]"##),
    // Keys of views.
    ("POST", "/dark_paints", &[TRIED, WHERE], r#"{"id":9}"#, 201, &[("location", "/rest/v1/dark_paints?id=eq.9")], ""),
    ("OPTIONS", "/dark_paints", &[], "", 200, &[("allow", "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE")], ""),
    ("PUT", "/dark_paints?id=eq.1&select=name", &[TRIED, WHOLE], r#"[{"id":1,"name":"snow"},{"id":2,"name":"x"}]"#, 201, &[],
        r#"[{"name":"snow"}]"#),
    // Rows in partitions do not say whether they are new.
    ("PUT", "/sales?shop=eq.1&year=eq.2021", &[TRIED, WHOLE], r#"{"shop":1,"year":2021,"total":6}"#, 200, &[],
        r#"[{"shop":1,"year":2021,"total":6}]"#),
    ("PUT", "/sales?shop=eq.2&year=eq.2021", &[TRIED, WHOLE], r#"{"shop":2,"year":2021,"total":6}"#, 201, &[],
        r#"[{"shop":2,"year":2021,"total":6}]"#),
    ("POST", "/sales", &[TRIED, MERGED], r#"[{"shop":1,"year":2021,"total":6},{"shop":2,"year":2022,"total":6}]"#, 201, &[], ""),
    ("POST", "/sales", &[TRIED, MERGED], r#"[{"shop":1,"year":2021,"total":6}]"#, 200, &[], ""),
    // To one, whatever the function says, and however many rows a page may have.
    ("GET", "/shelves?select=room,best(price)&order=id", &[], "", 200, &[],
        r#"[{"room":"hall","best":{"price":40}},{"room":"attic","best":{"price":30}}]"#),
    // Rows whose columns are known when they are there.
    ("POST", "/rpc/first_book", &[], "", 200, &[], r#"{"id":1,"price":10}"#),
    ("POST", "/rpc/all_books", &[], "", 200, &[], r#"[{"id":1,"price":10},{"id":2,"price":20}]"#),
    // What a spread shows is ordered by as it is called there.
    ("GET", "/books?select=...shelves(place:room),n:count()&order=shelves(place)", &[], "", 200, &[],
        r#"[{"place":"attic","n":2},{"place":"hall","n":2}]"#),
    // A relationship that is not there is told of before a column that is not.
    ("GET", "/books?select=nothing,notes(id)", &[], "", 400, &[], r#"{"code":"PGRST200"}"#),
    ("GET", "/books?select=nothing", &[], "", 400, &[], r#"{"code":"42703"}"#),
    ("GET", "/books?select=id&id=in.( )", &[], "", 200, &[], "[]"),
    ("GET", "/books?select=id&id=in.( 1, 3)", &[], "", 200, &[], r#"[{"id":1},{"id":3}]"#),
    ("GET", "/books?select=id&offset=9", &[COUNTED], "", 416, &[("content-range", "*/4")], r#"{"code":"PGRST103"}"#),
    // Exact up to the most rows of a page, and the planner's guess beyond.
    ("GET", "/many?limit=1", &[("prefer", "count=estimated")], "", 206, &[("content-range", "0-0/300")], ""),
    ("GET", "/many?limit=1&n=lt.9", &[("prefer", "count=estimated")], "", 206, &[("content-range", "0-0/8")], ""),
    ("GET", "/bokks", &[], "", 404, &[], r#"{"hint":"Perhaps you meant the table 'public.books'"}"#),
    ("GET", "/boxxx", &[], "", 404, &[], r#"{"hint":null}"#),
    ("OPTIONS", "/rpc/touch", &[], "", 200, &[("allow", "OPTIONS,GET,HEAD,POST")], ""),
    ("OPTIONS", "/rpc/first_book", &[], "", 200, &[("allow", "OPTIONS,GET,HEAD,POST")], ""),
    // A trial is held to what COMMIT would check, and says what it would have said.
    ("PATCH", "/notes?id=eq.1", &[TRIED], r#"{"text":"two"}"#, 207, &[("x-note", "told"), ("preference-applied", "tx=rollback")], ""),
    ("PATCH", "/notes?id=eq.1", &[], r#"{"text":"two"}"#, 207, &[("x-note", "told")], ""),
    ("POST", "/rpc/twice", &[TRIED], "", 409, &[], r#"{"code":"23505"}"#),
    ("GET", "/rpc/first_book", &[TRIED], "", 200, &[("preference-applied", "tx=rollback")], ""),
];

#[test]
fn what_an_adopted_database_has_is_spoken_of_in_the_dialect() {
    let server = Postgres::shared();
    let url = server.database();
    server.execute(&url, include_str!("dialect.sql"));
    let project = Project::empty();
    project.write(
        "mainstay.toml",
        &format!(
            "[store.main]\nurl = \"{url}\"\n[auth]\nsecret = \"{SECRET}\"\n[api]\nanon = \"postgres\"\naggregates = true\npage_limit = 20\nanon_page_limit = 20\n"
        ),
    );
    let process = Command::serve([project.dir().as_os_str()])
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--set",
            "log.access=false",
        ])
        .start();
    let client = process.client();
    for (method, path, headers, body, status, wanted, shown) in CASES {
        let path = format!("/rest/v1{path}").replace(' ', "%20");
        let body = Some(body.as_bytes()).filter(|body| !body.is_empty());
        let answer = client.send(method, &path, headers, body);
        let case = format!("{method} {path} {headers:?}: {}", answer.text());
        assert_eq!(answer.status, *status, "{case}");
        for (name, value) in *wanted {
            assert_eq!(answer.header(name), Some(*value), "{name} of {case}");
        }
        if shown.is_empty() {
            continue;
        }
        let shown: Json = serde_json::from_str(shown).expect("JSON");
        let got = answer.json();
        match (&shown, *status >= 400) {
            // Of an error, the members that are named.
            (Json::Object(members), true) => {
                for (name, value) in members {
                    assert_eq!(&got[name], value, "{name} of {case}");
                }
            }
            _ => assert_eq!(got, shown, "{case}"),
        }
    }
}
