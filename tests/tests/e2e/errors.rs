//! Bad input: the status and code of the dialect, a message that names the culprit, and a server that goes on.

use mainstay_tests::{Answer, Client, Connection, Engine, Process, Project, engine, token};
use serde_json::{Value as Json, json};

const SCHEMA: &str = "
    CREATE TYPE colour AS ENUM ('red', 'green');
    CREATE TABLE things (
      id integer PRIMARY KEY, name text NOT NULL UNIQUE CHECK (length(name) > 0), price numeric(6,2), at timestamptz, made date,
      is_on boolean, tags text[], data jsonb, colour colour, parent integer REFERENCES things (id), span int4range);
    CREATE TABLE parts (id integer PRIMARY KEY, thing integer NOT NULL REFERENCES things (id), other integer REFERENCES things (id));
    CREATE TABLE secrets (id integer PRIMARY KEY, text text);
    CREATE TABLE readable (id integer PRIMARY KEY, open text, shut text);
    CREATE VIEW names AS SELECT name FROM things;
    CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE SQL IMMUTABLE BEGIN ATOMIC SELECT n * 2; END;
    CREATE FUNCTION ratio(a integer, b integer) RETURNS integer LANGUAGE SQL IMMUTABLE BEGIN ATOMIC SELECT a / b; END;
    CREATE FUNCTION rename(id integer, name text) RETURNS SETOF things LANGUAGE SQL
      BEGIN ATOMIC UPDATE things SET name = rename.name WHERE things.id = rename.id RETURNING *; END;
    CREATE FUNCTION hidden() RETURNS integer LANGUAGE SQL BEGIN ATOMIC SELECT 1; END;
    GRANT SELECT, INSERT, UPDATE, DELETE ON things, parts TO anon, authenticated;
    GRANT SELECT ON names TO anon;
    GRANT SELECT (id, open), UPDATE (open) ON readable TO anon;
    GRANT SELECT, INSERT ON secrets TO authenticated;
    GRANT EXECUTE ON FUNCTION twice, ratio, rename TO anon;
    INSERT INTO things (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three');
";

const LIMITS: &str = "[api]\nmax_body = \"64KiB\"\n";

/// What is asked, and what must be answered: method, path, headers, body; status, code, and words of message, details or hint.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    u16,
    &'static str,
    &'static [&'static str],
);

const JSON: (&str, &str) = ("content-type", "application/json");

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Places that do not exist.
    ("GET", "/nowhere", &[], "", 404, "GW201", &["/nowhere"]),
    ("GET", "/rest/v1/nope", &[], "", 404, "PGRST205", &["nope"]),
    ("GET", "/rest/v1/thing", &[], "", 404, "PGRST205", &["thing", "things"]),
    ("POST", "/rest/v1/nope", &[JSON], "{}", 404, "PGRST205", &["nope"]),
    ("GET", "/rest/v1/rpc/nope", &[], "", 404, "PGRST202", &["nope"]),
    ("POST", "/rest/v1/rpc/twise", &[JSON], "{\"n\":1}", 404, "PGRST202", &["twise", "twice"]),
    ("POST", "/rest/v1/rpc/twice", &[JSON], "{\"m\":1}", 404, "PGRST202", &["twice", "m"]),
    ("POST", "/rest/v1/rpc/twice", &[JSON], "{}", 404, "PGRST202", &["twice"]),
    ("GET", "/rest/v1/things/1/2", &[], "", 404, "PGRST125", &["path"]),
    ("GET", "/rest/v1/things/77", &[], "", 404, "MS404", &["things", "77"]),
    ("GET", "/rest/v1/things/seven", &[], "", 400, "22P02", &["integer", "seven"]),
    ("GET", "/rest/v1/names/one", &[], "", 404, "MS404", &["names"]),
    ("GET", "/jobs/v1/nope", &[], "", 404, "MS404", &["job"]),
    // select
    ("GET", "/rest/v1/things?select=nope", &[], "", 400, "42703", &["things.nope"]),
    ("GET", "/rest/v1/things?select=id,,name", &[], "", 400, "PGRST100", &["select", ","]),
    ("GET", "/rest/v1/things?select=parts(id", &[], "", 400, "PGRST100", &["select"]),
    ("GET", "/rest/v1/things?select=nope(id)", &[], "", 400, "PGRST200", &["things", "nope"]),
    ("GET", "/rest/v1/things?select=parts(id)", &[], "", 300, "PGRST201", &["things", "parts", "thing"]),
    ("GET", "/rest/v1/parts?select=things(id)", &[], "", 300, "PGRST201", &["things", "other"]),
    ("GET", "/rest/v1/parts?select=things!nope(id)", &[], "", 400, "PGRST200", &["nope"]),
    ("GET", "/rest/v1/things?select=name::shoe", &[], "", 400, "42704", &["shoe"]),
    ("GET", "/rest/v1/things?select=data-%3E", &[], "", 400, "PGRST100", &["select"]),
    ("GET", "/rest/v1/things?select=price.sum()", &[], "", 400, "PGRST123", &["aggregate"]),
    // Filters
    ("GET", "/rest/v1/things?nope=eq.1", &[], "", 400, "42703", &["things.nope"]),
    ("GET", "/rest/v1/things?id=eq", &[], "", 400, "PGRST100", &["eq"]),
    ("GET", "/rest/v1/things?id=1", &[], "", 400, "PGRST100", &["\"1\""]),
    ("GET", "/rest/v1/things?id=equals.1", &[], "", 400, "PGRST100", &["equals.1"]),
    ("GET", "/rest/v1/things?id=not.1", &[], "", 400, "PGRST100", &["not.1"]),
    ("GET", "/rest/v1/things?id=eq.x", &[], "", 400, "22P02", &["integer", "\"x\""]),
    ("GET", "/rest/v1/things?id=eq.99999999999", &[], "", 400, "22003", &["99999999999", "integer"]),
    ("GET", "/rest/v1/things?id=in.(1,b)", &[], "", 400, "22P02", &["\"b\""]),
    ("GET", "/rest/v1/things?id=in.(1", &[], "", 400, "PGRST100", &["in.(1"]),
    ("GET", "/rest/v1/things?id=in.1", &[], "", 400, "PGRST100", &["in.1"]),
    ("GET", "/rest/v1/things?price=gt.dear", &[], "", 400, "22P02", &["numeric", "dear"]),
    ("GET", "/rest/v1/things?at=gt.yesteryear", &[], "", 400, "22007", &["timestamp with time zone", "yesteryear"]),
    ("GET", "/rest/v1/things?at=gt.2024-02-30", &[], "", 400, "22008", &["2024-02-30"]),
    ("GET", "/rest/v1/things?made=eq.2024-13-01", &[], "", 400, "22008", &["2024-13-01"]),
    ("GET", "/rest/v1/things?is_on=eq.maybe", &[], "", 400, "22P02", &["boolean", "maybe"]),
    ("GET", "/rest/v1/things?is_on=is.maybe", &[], "", 400, "PGRST100", &["is.maybe"]),
    ("GET", "/rest/v1/things?colour=eq.blue", &[], "", 400, "22P02", &["colour", "blue"]),
    ("GET", "/rest/v1/things?data=eq.%7B", &[], "", 400, "22P02", &["json"]),
    ("GET", "/rest/v1/things?tags=cs.%7Ba", &[], "", 400, "22P02", &["array", "{a"]),
    ("GET", "/rest/v1/things?id=like.1*", &[], "", 404, "42883", &["integer", "~~"]),
    ("GET", "/rest/v1/things?name=match.%5B", &[], "", 400, "2201B", &["regular expression"]),
    ("GET", "/rest/v1/things?name=fts.x", &[], "", 400, "0A000", &["full text search"]),
    ("GET", "/rest/v1/things?name=fts(english).x", &[], "", 400, "0A000", &["full text search"]),
    ("GET", "/rest/v1/things?span=sl.%5B1,2%5D", &[], "", 400, "0A000", &["SQLite"]),
    ("GET", "/rest/v1/things?or=(id.eq.1", &[], "", 400, "PGRST100", &["(id.eq.1"]),
    ("GET", "/rest/v1/things?or=()", &[], "", 400, "PGRST100", &["()"]),
    ("GET", "/rest/v1/things?or=(id.near.1)", &[], "", 400, "PGRST100", &["near"]),
    ("GET", "/rest/v1/things?and=(nope.eq.1)", &[], "", 400, "42703", &["nope"]),
    ("GET", "/rest/v1/things?parts.id=eq.1", &[], "", 400, "PGRST108", &["parts"]),
    ("GET", "/rest/v1/things?name=eq.%FF", &[], "", 400, "22021", &["UTF8", "0xff"]),
    ("GET", "/rest/v1/things?name=eq.a%00b", &[], "", 400, "22021", &["0x00"]),
    ("GET", "/rest/v1/things?n%00=eq.a", &[], "", 400, "22021", &["0x00"]),
    // Order and page
    ("GET", "/rest/v1/things?order=nope", &[], "", 400, "42703", &["nope"]),
    ("GET", "/rest/v1/things?order=id.up", &[], "", 400, "PGRST100", &["id.up"]),
    ("GET", "/rest/v1/things?order=id.desc.nullsmiddle", &[], "", 400, "PGRST100", &["nullsmiddle"]),
    ("GET", "/rest/v1/things?order=parts(id)", &[], "", 400, "PGRST108", &["parts"]),
    ("GET", "/rest/v1/things?limit=-1", &[], "", 416, "PGRST103", &["Limit"]),
    ("GET", "/rest/v1/things", &[("range", "10-5")], "", 416, "PGRST103", &["range"]),
    ("GET", "/rest/v1/things", &[("range", "100-200"), ("prefer", "count=exact")], "", 416, "PGRST103", &["100", "3"]),
    // Bodies
    ("POST", "/rest/v1/things", &[JSON], "{", 400, "PGRST102", &["JSON", "line 1 column 1"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":1,}", 400, "PGRST102", &["JSON", "line 1 column 9"]),
    ("POST", "/rest/v1/things", &[JSON], "nonsense", 400, "PGRST102", &["JSON"]),
    ("POST", "/rest/v1/things", &[JSON], "[7]", 400, "PGRST102", &["object"]),
    ("POST", "/rest/v1/things", &[JSON], "[{\"id\":9,\"name\":\"x\"},{\"id\":10}]", 400, "PGRST102", &["keys must match"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"nope\":1}", 400, "PGRST204", &["nope", "things"]),
    ("POST", "/rest/v1/things?columns=id,nope", &[JSON], "{\"id\":9}", 400, "PGRST204", &["nope"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":\"x\",\"name\":\"x\"}", 400, "22P02", &["integer", "\"x\""]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":{},\"name\":\"x\"}", 400, "22P02", &["integer", "{}"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":1.5,\"name\":\"x\"}", 400, "22P02", &["integer", "1.5"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":9}", 400, "23502", &["name", "things"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":9,\"name\":\"\"}", 400, "23514", &["things_name_check", "things"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":1,\"name\":\"x\"}", 409, "23505", &["things_pkey", "(id)=(1)"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":9,\"name\":\"one\"}", 409, "23505", &["things_name_key", "(name)=(one)"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":9,\"name\":\"x\",\"parent\":77}", 409, "23503", &["things_parent_fkey", "(parent)=(77)"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":9,\"name\":\"x\",\"price\":12345.6}", 400, "22003", &["numeric field overflow", "precision 6, scale 2"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":9,\"name\":\"x\",\"colour\":\"blue\"}", 400, "22P02", &["colour", "blue"]),
    ("POST", "/rest/v1/things", &[JSON], "{\"id\":9,\"name\":\"a\\u0000b\"}", 400, "22P05", &["\\u0000"]),
    ("POST", "/rest/v1/things?on_conflict=nope", &[JSON, ("prefer", "resolution=merge-duplicates")], "{\"id\":9,\"name\":\"x\"}", 400, "42703", &["nope"]),
    ("POST", "/rest/v1/things?on_conflict=price", &[JSON, ("prefer", "resolution=merge-duplicates")], "{\"id\":9,\"name\":\"x\"}", 400, "42P10", &["ON CONFLICT"]),
    ("PATCH", "/rest/v1/things?id=eq.1", &[JSON], "{\"nope\":1}", 400, "PGRST204", &["nope"]),
    ("PATCH", "/rest/v1/things?id=eq.x", &[JSON], "{\"name\":\"x\"}", 400, "22P02", &["\"x\""]),
    ("PATCH", "/rest/v1/things/77", &[JSON], "{\"name\":\"x\"}", 404, "MS404", &["77"]),
    ("PATCH", "/rest/v1/things/1", &[JSON, ("if-match", "\"other\"")], "{\"name\":\"x\"}", 412, "MS412", &["If-Match"]),
    ("PUT", "/rest/v1/things", &[JSON], "{\"id\":9,\"name\":\"x\"}", 405, "PGRST105", &["primary key"]),
    ("PUT", "/rest/v1/things?name=eq.x", &[JSON], "{\"id\":9,\"name\":\"x\"}", 405, "PGRST105", &["primary key"]),
    ("PUT", "/rest/v1/things?id=eq.8", &[JSON], "{\"id\":9,\"name\":\"x\"}", 400, "PGRST115", &["primary key"]),
    ("PUT", "/rest/v1/things?id=eq.9&limit=1", &[JSON], "{\"id\":9,\"name\":\"x\"}", 400, "PGRST114", &["limit"]),
    ("DELETE", "/rest/v1/things?nope=eq.1", &[], "", 400, "42703", &["nope"]),
    ("POST", "/rest/v1/rpc/twice", &[JSON], "{\"n\":\"x\"}", 400, "22P02", &["\"x\""]),
    ("POST", "/rest/v1/rpc/twice", &[JSON], "{\"n\":2000000000}", 400, "22003", &["integer out of range"]),
    ("POST", "/rest/v1/rpc/ratio", &[JSON], "{\"a\":1,\"b\":0}", 400, "22012", &["division by zero"]),
    ("POST", "/rest/v1/rpc/twice", &[JSON], "[1]", 404, "PGRST202", &["twice(n)"]),
    ("POST", "/rest/v1/rpc/rename", &[JSON], "{\"id\":1,\"name\":\"two\"}", 409, "23505", &["things_name_key"]),
    // Media types
    ("POST", "/rest/v1/things", &[("content-type", "application/xml")], "<id/>", 400, "PGRST102", &["application/xml"]),
    ("GET", "/rest/v1/things", &[("accept", "application/xml")], "", 406, "PGRST107", &["application/xml"]),
    ("GET", "/rest/v1/things", &[("accept", "application/vnd.pgrst.object+json")], "", 406, "PGRST116", &["3 rows"]),
    ("GET", "/rest/v1/things", &[("accept-profile", "nope")], "", 406, "PGRST106", &["nope", "public"]),
    ("POST", "/rest/v1/things", &[JSON, ("content-profile", "nope")], "{}", 406, "PGRST106", &["nope"]),
    // Methods
    ("TRACE", "/rest/v1/things", &[], "", 405, "GW115", &["TRACE"]),
    ("BREW", "/rest/v1/things", &[], "", 405, "PGRST117", &["BREW"]),
    ("POST", "/rest/v1/", &[JSON], "{}", 400, "PGRST102", &["array of operations"]),
    ("DELETE", "/rest/v1/rpc/twice", &[], "", 405, "PGRST101", &["DELETE"]),
    ("GET", "/rest/v1/rpc/rename?id=1&name=x", &[], "", 405, "25006", &["rename"]),
    ("POST", "/rest/v1/things/1", &[JSON], "{}", 405, "PGRST117", &["POST"]),
    // Preferences
    ("GET", "/rest/v1/things", &[("prefer", "handling=strict, colour=green")], "", 400, "PGRST122", &["colour=green"]),
    ("POST", "/rest/v1/things", &[JSON, ("prefer", "handling=strict, return=everything")], "{\"id\":9,\"name\":\"x\"}", 400, "PGRST122", &["return=everything"]),
    ("DELETE", "/rest/v1/things?id=gt.1", &[("prefer", "handling=strict, max-affected=1")], "", 400, "PGRST124", &["2 rows"]),
    ("GET", "/rest/v1/things", &[("prefer", "timezone=Jupiter/Red_Spot")], "", 400, "22023", &["Jupiter/Red_Spot"]),
    ("POST", "/rest/v1/rpc/twice", &[JSON, ("prefer", "params=single-object")], "{\"n\":1}", 400, "PGRST122", &["params=single-object"]),
    ("POST", "/rest/v1/things", &[JSON, ("idempotency-key", "")], "{\"id\":9,\"name\":\"x\"}", 400, "MS400", &["Idempotency-Key"]),
    // Rights
    ("GET", "/rest/v1/secrets", &[], "", 401, "42501", &["permission denied", "secrets"]),
    ("POST", "/rest/v1/rpc/hidden", &[JSON], "{}", 401, "42501", &["permission denied", "hidden"]),
    ("GET", "/rest/v1/readable", &[], "", 401, "42501", &["readable"]),
    ("GET", "/rest/v1/readable?select=shut", &[], "", 401, "42501", &["readable"]),
    ("GET", "/rest/v1/readable?select=id&shut=eq.x", &[], "", 401, "42501", &["readable"]),
    ("GET", "/rest/v1/readable?select=id&order=shut", &[], "", 401, "42501", &["readable"]),
    ("PATCH", "/rest/v1/readable?id=eq.1", &[JSON], "{\"shut\":\"x\"}", 401, "42501", &["readable"]),
    ("POST", "/rest/v1/names", &[JSON], "{\"name\":\"x\"}", 401, "42501", &["names"]),
    ("GET", "/rest/v1/things", &[("authorization", "Basic YTpi")], "", 401, "PGRST301", &["Bearer"]),
    ("GET", "/rest/v1/things", &[("authorization", "Bearer")], "", 401, "PGRST301", &["Empty JWT"]),
    ("GET", "/rest/v1/things", &[("authorization", "Bearer garbage")], "", 401, "PGRST301", &[]),
    ("GET", "/rest/v1/things", &[("authorization", "Bearer a.b.c")], "", 401, "PGRST301", &[]),
    ("GET", "/rest/v1/things", &[("apikey", "garbage")], "", 401, "PGRST301", &[]),
    // Paths that climb or do not decode
    ("GET", "/rest/v1/../v1/things", &[], "", 400, "GW108", &["path"]),
    ("GET", "/rest/v1/%2e%2e/things", &[], "", 400, "GW108", &["path"]),
    ("GET", "/rest/v1//things", &[], "", 400, "GW108", &["path"]),
    ("GET", "/rest/v1/%FF", &[], "", 400, "GW108", &["path"]),
    ("GET", "/rest/v1/a%00b", &[], "", 400, "GW108", &["path"]),
];

fn start() -> (Project, Process) {
    let project = Project::new(SCHEMA, LIMITS);
    let process = project.serve();
    (project, process)
}

/// What an answer to bad input lacks, if anything.
fn flaw(answer: &Answer, status: u16, code: &str, words: &[&str]) -> Option<String> {
    let body: Json = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(e) => return Some(format!("{} and no JSON ({e}): {:?}", answer.status, answer.text())),
    };
    let members: Vec<&str> = body
        .as_object()
        .map(|o| o.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let mut sorted = members.clone();
    sorted.sort_unstable();
    if sorted != ["code", "details", "hint", "message"] {
        return Some(format!("{} with members {members:?}", answer.status));
    }
    let said = answer.text().replace("\\\"", "\"").replace("\\\\", "\\");
    let missing: Vec<&&str> = words
        .iter()
        .filter(|w| !said.to_lowercase().contains(&w.to_lowercase()))
        .collect();
    if answer.status != status || body["code"] != json!(code) || !missing.is_empty() {
        return Some(format!(
            "{} {said}; wanted {status} {code}, and it lacks {missing:?}",
            answer.status
        ));
    }
    if body["message"].as_str().is_none_or(str::is_empty) {
        return Some("no message".into());
    }
    if !answer
        .header("content-type")
        .is_some_and(|t| t.starts_with("application/json"))
    {
        return Some(format!("content-type {:?}", answer.header("content-type")));
    }
    if status == 401 && answer.header("www-authenticate").is_none() {
        return Some("401 without WWW-Authenticate".into());
    }
    if status == 405 && answer.header("allow").is_none() {
        return Some("405 without Allow".into());
    }
    None
}

fn assert_intact(project: &Project, client: &Client) {
    let operator = client.with_token(&project.token("service_role", None));
    let rows = operator
        .get("/rest/v1/things?select=id,name&order=id")
        .expect(200)
        .json();
    assert_eq!(
        rows,
        json!([{"id": 1, "name": "one"}, {"id": 2, "name": "two"}, {"id": 3, "name": "three"}]),
        "nothing was changed"
    );
}

#[test]
fn each_mistake_has_its_answer() {
    let (project, process) = start();
    let client = process.client();
    let mut flaws = Vec::new();
    for (method, path, headers, body, status, code, words) in CASES {
        if engine() == Engine::Postgres && (path.contains("fts") || path.contains("=sl.")) {
            continue; // what only SQLite refuses
        }
        let body = (!body.is_empty()).then_some(body.as_bytes());
        let answer = client.send(method, path, headers, body);
        if let Some(flaw) = flaw(&answer, *status, code, words) {
            flaws.push(format!(
                "{method} {path} {headers:?} {:?}\n    {flaw}",
                body.map(String::from_utf8_lossy)
            ));
        }
    }
    let good = CASES.len() - flaws.len();
    println!("{} mistakes, {good} answered as they should be", CASES.len());
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
    assert_intact(&project, &client);
}

#[test]
fn tokens_that_nobody_issued() {
    let (project, process) = start();
    let client = process.client();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let claims = json!({"role": "service_role", "exp": now + 3600});
    let other: &[u8] = b"another key, which is long enough";
    let good = project.token("service_role", None);
    let parts: Vec<&str> = good.split('.').collect();
    let flipped = format!(
        "{}.{}.{}",
        parts[0],
        parts[1],
        parts[2].chars().rev().collect::<String>()
    );
    let none = token(&json!({"alg": "none", "typ": "JWT"}), &claims, other);
    let without_signature = format!("{}.", &none[..none.rfind('.').expect("a dot")]);
    let cases = [
        (
            "another key",
            token(&json!({"alg": "HS256", "typ": "JWT"}), &claims, other),
        ),
        ("alg none", none),
        ("alg none, no signature", without_signature),
        ("another algorithm", token(&json!({"alg": "HS512"}), &claims, other)),
        ("RS256 by a shared key", token(&json!({"alg": "RS256"}), &claims, other)),
        ("a flipped signature", flipped),
        (
            "an embedded key",
            token(
                &json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}),
                &claims,
                other,
            ),
        ),
        ("an empty key", token(&json!({"alg": "HS256"}), &claims, b"")),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.x")),
        ("blank", " ".into()),
        ("long", "x".repeat(20_000)),
    ];
    for (what, token) in &cases {
        for header in [("authorization", format!("Bearer {token}")), ("apikey", token.clone())] {
            if header.0 == "apikey" && token.trim().is_empty() {
                continue;
            }
            let answer = client.send("GET", "/rest/v1/secrets", &[(header.0, &header.1)], None);
            assert_eq!(answer.status, 401, "{what}: {}", answer.text());
            let body = answer.json();
            assert_eq!(body["code"], json!("PGRST301"), "{what}: {body}");
            assert!(
                answer
                    .header("www-authenticate")
                    .is_some_and(|v| v.starts_with("Bearer")),
                "{what}"
            );
        }
    }
    client.with_token(&good).get("/rest/v1/secrets").expect(200);

    // Signed with the right key, and still not good.
    let configured = Project::new(
        SCHEMA,
        "[auth]\nsecret = { env = \"E2E_SECRET\" }\naudience = [\"us\"]\nissuer = \"me\"\nleeway = \"5s\"\n",
    );
    let secret = "0123456789abcdef0123456789abcdef";
    let process = configured.command().env("E2E_SECRET", secret).start();
    let client = process.client();
    let sign = |claims: &Json| token(&json!({"alg": "HS256", "typ": "JWT"}), claims, secret.as_bytes());
    let full = json!({"role": "authenticated", "exp": now + 60, "aud": "us", "iss": "me"});
    client.with_token(&sign(&full)).get("/rest/v1/secrets").expect(200);
    let changed = |name: &str, value: Json| {
        let mut claims = full.clone();
        match value {
            Json::Null => claims.as_object_mut().expect("an object").remove(name),
            value => claims.as_object_mut().expect("an object").insert(name.into(), value),
        };
        claims
    };
    for (what, claims, status, code, word) in [
        ("expired", changed("exp", json!(now - 60)), 401, "PGRST303", "expired"),
        ("never expires", changed("exp", Json::Null), 401, "PGRST303", "exp"),
        ("exp is text", changed("exp", json!("tomorrow")), 401, "PGRST303", "exp"),
        ("not yet", changed("nbf", json!(now + 600)), 401, "PGRST303", ""),
        ("for others", changed("aud", json!("them")), 401, "PGRST303", "aud"),
        ("for nobody", changed("aud", Json::Null), 401, "PGRST303", "aud"),
        ("by others", changed("iss", json!("you")), 401, "PGRST303", "iss"),
        (
            "a role that is no text",
            changed("role", json!(7)),
            401,
            "PGRST303",
            "role",
        ),
    ] {
        let answer = client.with_token(&sign(&claims)).get("/rest/v1/secrets");
        let body = answer.json();
        assert_eq!(
            (answer.status, body["code"].as_str()),
            (status, Some(code)),
            "{what}: {body}"
        );
        assert!(answer.text().to_lowercase().contains(word), "{what}: {body}");
    }
    // A role that nobody granted anything may try, and see nothing.
    let answer = client
        .with_token(&sign(&changed("role", json!("intruder"))))
        .get("/rest/v1/secrets");
    assert!(
        (401..=403).contains(&answer.status),
        "{} {}",
        answer.status,
        answer.text()
    );
    // No header that a token's owner could not have sent gets through: the refusal never repeats the token.
    assert!(
        !client
            .with_token(&sign(&changed("exp", json!(1))))
            .get("/rest/v1/secrets")
            .text()
            .contains("eyJ")
    );
}

#[test]
fn sizes_and_depths_have_limits_with_names() {
    let (project, process) = start();
    let client = process.client();
    let check = |what: &str, answer: Answer, status: u16, code: &str, words: &[&str]| {
        if let Some(flaw) = flaw(&answer, status, code, words) {
            panic!("{what}: {flaw}");
        }
    };
    let big = format!("{{\"id\":9,\"name\":\"{}\"}}", "x".repeat(70_000));
    check(
        "a large body",
        client.send("POST", "/rest/v1/things", &[JSON], Some(big.as_bytes())),
        413,
        "GW113",
        &["65536"],
    );
    let path = format!("/rest/v1/things?name=eq.{}", "x".repeat(17_000));
    check("a long target", client.get(&path), 414, "GW110", &["16384"]);
    let value = "x".repeat(40_000);
    check(
        "a large head",
        client.send("GET", "/rest/v1/things", &[("x-large", &value)], None),
        431,
        "GW109",
        &["head"],
    );
    let nested = |depth: usize| {
        format!(
            "/rest/v1/things?and={}id.eq.1{}",
            "(not.and".repeat(depth) + "(",
            ")".repeat(depth + 1)
        )
    };
    check("deep logic", client.get(&nested(200)), 400, "54000", &["at most"]);
    let embedded = |depth: usize| {
        format!(
            "/rest/v1/things?select={}id{}",
            "things!parent(".repeat(depth),
            ")".repeat(depth)
        )
    };
    client.get(&embedded(3)).expect(200);
    check("deep embedding", client.get(&embedded(50)), 400, "54000", &["at most"]);
    let arrays = format!(
        "{{\"id\":9,\"name\":\"x\",\"data\":{}{}}}",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    check(
        "deep JSON",
        client.send("POST", "/rest/v1/things", &[JSON], Some(arrays.as_bytes())),
        400,
        "54001",
        &["levels"],
    );
    let many = format!(
        "/rest/v1/things?id=in.({})",
        (0..3000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
    );
    let answer = client.get(&many);
    assert!(
        answer.status == 200 || answer.status == 400,
        "{} {}",
        answer.status,
        answer.text()
    );
    let filters = format!(
        "/rest/v1/things?{}",
        (0..1500).map(|n| format!("id=gt.{n}")).collect::<Vec<_>>().join("&")
    );
    let answer = client.get(&filters);
    assert!(
        answer.status == 200 || answer.status == 400,
        "{} {}",
        answer.status,
        answer.text()
    );
    let names = (0..150).map(|n| (format!("x-{n}"), "1".to_owned())).collect::<Vec<_>>();
    let headers: Vec<(&str, &str)> = names.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    check(
        "many fields",
        client.send("GET", "/rest/v1/things", &headers, None),
        431,
        "GW109",
        &["fields"],
    );
    // Not UTF-8.
    let answer = client.send(
        "POST",
        "/rest/v1/things",
        &[JSON],
        Some(b"{\"id\":9,\"name\":\"\xff\"}"),
    );
    check(
        "a body that is not text",
        answer,
        400,
        "PGRST102",
        &["UTF-8", "byte 16"],
    );
    assert_intact(&project, &client);
}

#[test]
fn framing_has_one_meaning() {
    let (project, process) = start();
    let client = process.client();
    let host = process.ready.trim_start_matches("http://").to_owned();
    let get = |line: &str, rest: &str| format!("{line}\r\n{rest}connection: close\r\n\r\n").into_bytes();
    let host_line = format!("host: {host}\r\n");
    let with = |line: &str, more: &str| get(line, &format!("{host_line}{more}"));
    let mut cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("no host", get("GET /rest/v1/things HTTP/1.1", ""), &[400]),
        (
            "two hosts",
            get("GET /rest/v1/things HTTP/1.1", &format!("{host_line}host: other\r\n")),
            &[400],
        ),
        (
            "a host that is none",
            get("GET /rest/v1/things HTTP/1.1", "host: a b\r\n"),
            &[400],
        ),
        (
            "a user in the host",
            get("GET /rest/v1/things HTTP/1.1", "host: user@a\r\n"),
            &[400],
        ),
        (
            "length and encoding",
            with(
                "POST /rest/v1/things HTTP/1.1",
                "content-length: 3\r\ntransfer-encoding: chunked\r\n",
            ),
            &[400],
        ),
        (
            "two lengths",
            with(
                "POST /rest/v1/things HTTP/1.1",
                "content-length: 3\r\ncontent-length: 4\r\n",
            ),
            &[400],
        ),
        (
            "a length with a sign",
            with("POST /rest/v1/things HTTP/1.1", "content-length: +3\r\n"),
            &[400],
        ),
        (
            "a length that is none",
            with("POST /rest/v1/things HTTP/1.1", "content-length: three\r\n"),
            &[400],
        ),
        (
            "a negative length",
            with("POST /rest/v1/things HTTP/1.1", "content-length: -3\r\n"),
            &[400],
        ),
        (
            "a length beyond all",
            with(
                "POST /rest/v1/things HTTP/1.1",
                "content-length: 99999999999999999999999\r\n",
            ),
            &[400, 413],
        ),
        (
            "another encoding",
            with("POST /rest/v1/things HTTP/1.1", "transfer-encoding: gzip, chunked\r\n"),
            &[400, 501],
        ),
        (
            "an encoding with a tab",
            with("POST /rest/v1/things HTTP/1.1", "transfer-encoding: \x0bchunked\r\n"),
            &[400],
        ),
        (
            "a space before the colon",
            with("GET /rest/v1/things HTTP/1.1", "x-a : b\r\n"),
            &[400],
        ),
        (
            "a folded line",
            with("GET /rest/v1/things HTTP/1.1", "x-a: b\r\n c: d\r\n"),
            &[400],
        ),
        (
            "a nul in a field",
            with("GET /rest/v1/things HTTP/1.1", "x-a: b\0c\r\n"),
            &[400],
        ),
        ("another version", with("GET /rest/v1/things HTTP/3.0", ""), &[400, 505]),
        ("no version", b"GET /rest/v1/things\r\n\r\n".to_vec(), &[400]),
        (
            "a target with a space",
            with("GET /rest/v1/thi ngs HTTP/1.1", ""),
            &[400],
        ),
        (
            "an authority of another",
            with("GET http://other/rest/v1/things HTTP/1.1", ""),
            &[400],
        ),
        ("CONNECT", with("CONNECT other:80 HTTP/1.1", ""), &[400, 405]),
        ("binary", (0u8..=255).collect(), &[400]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400]),
    ];
    cases.push((
        "bare line feeds",
        format!("GET /rest/v1/things HTTP/1.1\nhost: {host}\n\n").into_bytes(),
        &[400],
    ));
    let chunks = |body: &str| {
        let head = format!(
            "POST /rest/v1/things HTTP/1.1\r\n{host_line}content-type: application/json\r\ntransfer-encoding: chunked\r\n"
        );
        format!("{head}connection: close\r\n\r\n{body}").into_bytes()
    };
    cases.push(("a chunk of no size", chunks("x\r\n{}\r\n0\r\n\r\n"), &[400]));
    cases.push(("a chunk longer than it says", chunks("1\r\n{}\r\n0\r\n\r\n"), &[400]));
    cases.push((
        "a chunk beyond all",
        chunks("ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        &[400, 413],
    ));
    cases.push(("chunks that break off", chunks("2\r\n{"), &[400]));
    for (what, bytes, statuses) in &cases {
        let answer = String::from_utf8_lossy(&client.raw(bytes)).into_owned();
        // Nothing is an answer too, where there was nothing that could be answered; but silence only then.
        let status: Option<u16> = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        assert!(status.is_some_and(|s| statuses.contains(&s)), "{what}: {answer:?}");
        assert!(
            answer.matches("HTTP/1.1 ").count() == 1,
            "{what}: one answer: {answer:?}"
        );
    }
    // Smuggled: what follows an ambiguous request is never read as another one.
    let smuggled = format!(
        "POST /rest/v1/things HTTP/1.1\r\n{host_line}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nDELETE /rest/v1/things?id=gt.0 HTTP/1.1\r\n{host_line}\r\n"
    );
    let answer = String::from_utf8_lossy(&client.raw(smuggled.as_bytes())).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1 ").count() == 1,
        "{answer:?}"
    );
    assert_intact(&project, &client);
}

/// A small generator: the run is the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[test]
fn five_thousand_mutations_break_nothing() {
    let (project, process) = start();
    let client = process.client();
    let operator = format!("Bearer {}", project.token("service_role", None));
    let host = process.ready.trim_start_matches("http://").to_owned();
    // Good requests of every kind, as seeds, besides the mistakes above.
    let good: &[(&str, &str, &str)] = &[
        (
            "GET",
            "/rest/v1/things?select=id,name,parts!thing(id,thing)&order=price.desc.nullslast,id&limit=2&offset=1",
            "",
        ),
        (
            "GET",
            "/rest/v1/things?or=(id.eq.1,and(name.like.*o*,price.gte.1.5))&at=lt.2024-01-01T00:00:00Z",
            "",
        ),
        (
            "GET",
            "/rest/v1/things?data-%3E%3Ea=eq.1&tags=cs.%7Ba,b%7D&span=cs.%5B1,2%5D",
            "",
        ),
        (
            "GET",
            "/rest/v1/things?select=name::text,d:data-%3Ea-%3E0,count()&name=fts(english).x",
            "",
        ),
        ("GET", "/rest/v1/things/1?select=*", ""),
        ("GET", "/rest/v1/", ""),
        (
            "POST",
            "/rest/v1/things?columns=id,name&on_conflict=id",
            "[{\"id\":5,\"name\":\"five\",\"price\":1.25,\"data\":{\"a\":[1,null,\"x\"]}}]",
        ),
        (
            "PATCH",
            "/rest/v1/things?id=eq.2",
            "{\"name\":\"zwei\",\"tags\":[\"a\",\"b\"],\"at\":\"2024-01-01T00:00:00Z\"}",
        ),
        ("PUT", "/rest/v1/things?id=eq.6", "{\"id\":6,\"name\":\"six\"}"),
        ("POST", "/rest/v1/rpc/ratio", "{\"a\":7,\"b\":2}"),
        ("GET", "/rest/v1/rpc/twice?n=4", ""),
        (
            "POST",
            "/auth/v1/signup",
            "{\"email\":\"a@example.com\",\"password\":\"\"}",
        ),
        (
            "POST",
            "/auth/v1/token?grant_type=refresh_token",
            "{\"refresh_token\":\"x\"}",
        ),
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut seed = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {operator}\r\n");
        headers
            .iter()
            .for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        seeds.push(format!("{head}\r\n{body}").into_bytes());
    };
    for (method, path, body) in good {
        seed(
            method,
            path,
            &[JSON, ("prefer", "return=representation, count=exact"), ("range", "0-5")],
            body,
        );
    }
    for (method, path, headers, body, ..) in CASES.iter().filter(|c| c.0 != "TRACE") {
        let headers: Vec<(&str, &str)> = headers.iter().copied().filter(|(n, _)| *n != "authorization").collect();
        seed(method, path, &headers, body);
    }
    let words: &[&[u8]] = &[
        b"(",
        b")",
        b",",
        b".",
        b"->>",
        b"::",
        b"*",
        b"!inner",
        b"not.",
        b"eq.",
        b"in.(",
        b"%00",
        b"%FF",
        b"%",
        b"\xff",
        b"\0",
        b"\"",
        b"\\",
        b"{",
        b"[",
        b"null",
        b"-1",
        b"9223372036854775808",
        b"1e999",
        b"NaN",
        b"infinity",
        b"and=(",
        b"or(",
        b"select=",
        b"order=",
        b"'",
        b"id",
        b"things",
        b"parts",
        b"\xc3\xa9",
        b"%F0%9F%98%80",
        b"now",
        b"0001-01-01 BC",
        b"294277-01-01",
        b"&",
        b"=",
        b"?",
        b"/",
        b"#",
        b"\r\n",
        b"limit=",
        b"offset=18446744073709551615",
        b"count=exact",
        b"tx=rollback",
        b"Infinity",
        b"1e-400",
        b"\\u0000",
        b"\\ud800",
    ];
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut connection: Option<Connection> = None;
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    let mut broken = 0;
    for round in 0..5000 {
        let kinds = if random.below(2) == 0 { good.len() } else { seeds.len() };
        let mut bytes = seeds[random.below(kinds)].clone();
        let framed = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        for _ in 0..random.below(4) {
            // Mostly the target and the body: the head's framing has tests of its own.
            let line = bytes.iter().position(|b| *b == b'\r').unwrap_or(bytes.len());
            let at = match random.below(8) {
                0 => random.below(bytes.len()),
                1 | 2 if bytes.len() > framed + 4 => {
                    (framed + 4 + random.below(bytes.len() - framed - 4)).min(bytes.len() - 1)
                }
                _ => 5 + random.below(line.saturating_sub(14).max(1)),
            };
            let at = at.min(bytes.len() - 1);
            match random.below(5) {
                0 => bytes[at] = (random.next() & 0xff) as u8,
                1 => {
                    bytes.remove(at);
                }
                2 => {
                    let length = random.below(12).min(bytes.len() - at);
                    let again = bytes[at..at + length].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => {
                    let word = words[random.below(words.len())].to_vec();
                    bytes.splice(at..at, word);
                }
            }
        }
        // The length follows the body, so that most requests are whole.
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let length = bytes.len() - end - 4;
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            if let Some(begin) = head.find("content-length: ").filter(|_| head.is_ascii()) {
                let stop = head[begin..].find("\r\n").map_or(end, |n| begin + n);
                bytes.splice(begin..stop, format!("content-length: {length}").into_bytes());
            }
        } else {
            bytes.extend_from_slice(b"\r\n\r\n");
        }
        let head_only = bytes.starts_with(b"HEAD ");
        let mut open = match connection.take() {
            Some(open) => open,
            None => {
                Connection::open(&process.ready).unwrap_or_else(|e| panic!("round {round}: the server is gone: {e}"))
            }
        };
        open.patience(std::time::Duration::from_millis(500));
        match open.send_raw(&bytes, head_only) {
            Ok(answer) => {
                *statuses.entry(answer.status).or_default() += 1;
                let allowed = answer.status < 500 || answer.status == 501;
                assert!(
                    allowed,
                    "round {round}: {} {}\n{}",
                    answer.status,
                    answer.text(),
                    String::from_utf8_lossy(&bytes)
                );
                let ends = answer
                    .header("connection")
                    .is_some_and(|c| c.eq_ignore_ascii_case("close"));
                connection = (!ends && answer.status != 400).then_some(open);
            }
            // The head never ended, or more than one request came of it.
            Err(_) => broken += 1,
        }
    }
    println!("5000 mutations: {statuses:?}, {broken} without an answer");
    assert!(broken < 500, "{broken} requests had no answer");
    assert!(
        statuses.get(&200).copied().unwrap_or(0) > 100 && statuses.get(&400).copied().unwrap_or(0) > 500,
        "{statuses:?}"
    );
    client.get("/rest/v1/things?limit=1").expect(200);
    let operator = client.with_token(&project.token("service_role", None));
    operator.get("/rest/v1/things?select=*,parts!thing(*)").expect(200);
}
