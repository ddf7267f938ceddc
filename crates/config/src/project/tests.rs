//! The project's file from outside: what the defaults are, what a full file means, and the exact words of each complaint.
//!
//! The complaints stand in `problems.txt`, a case each: a name, a file (or overrides), and the lines it must lead to. With
//! `BLESS=1` in the environment the expected lines are rewritten; read the difference before committing it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// A directory of its own for one test, removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("mainstay-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "DATABASE_URL" => "postgres://app:hunter2@db/shop",
        "JWT_SECRET" => "an-environment-secret-of-forty-bytes-or-so",
        "ADMIN_TOKEN" | "WEBHOOK_SECRET" => "whsec_environment",
        "BACKUP_KEY" | "BACKUP_SECRET" => "minio",
        "SHORT" => "hunter2",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_string())
}

fn read_ok(text: &str) -> Project {
    parse(text, Path::new("shop"), &[], &environment).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

const REFERENCE: &str = include_str!("../../../../docs/mainstay.toml");

/// The reference with the files that it names.
fn reference_directory(name: &str) -> Directory {
    let directory = Directory::new(name);
    directory.file("public/index.html", "");
    directory.file("services/orders/schema.sql", "");
    directory
}

#[test]
fn the_reference_has_every_key() {
    let directory = reference_directory("reference");
    let document = Document::parse(FILE, REFERENCE, &[], &directory.0, &environment).expect("valid TOML");
    let _ = read(&document, &directory.0);
    let asked = document.asked.borrow();
    let present: BTreeSet<&str> = asked
        .iter()
        .filter(|(_, present)| *present)
        .map(|(key, _)| key.as_str())
        .collect();
    let missing: BTreeSet<&str> = asked
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(|key| !present.contains(key))
        .collect();
    // `jwks` excludes `secret`, and `root` the description: the reference can only mention them; a `ttl` of some other table is not a key of its own.
    assert_eq!(
        missing,
        BTreeSet::from(["[api] root", "[auth] jwks"]),
        "keys that docs/mainstay.toml does not have"
    );
    assert!(REFERENCE.contains("# jwks = "));
}

#[test]
fn the_reference_shows_the_defaults() {
    let directory = reference_directory("defaults");
    let full = parse(REFERENCE, &directory.0, &[], &environment).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let empty = parse("", &directory.0, &[], &environment).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(full.warnings, []);
    assert_eq!(full.gateway.limits, empty.gateway.limits);
    assert_eq!(full.gateway.cors, empty.gateway.cors);
    assert_eq!(full.log, empty.log);
    assert_eq!(full.subscriptions[0].retry, empty_retry());
    let gateway = |project: &Project| {
        let gateway = &project.gateway;
        format!(
            "{:?}",
            (
                gateway.listen,
                gateway.workers,
                gateway.drain,
                &gateway.public,
                gateway.gzip
            )
        )
    };
    assert_eq!(gateway(&full), gateway(&empty));
    assert_eq!(full.admin.listen, empty.admin.listen);
    let cache = |project: &Project| (project.cache.memory, project.cache.bound, project.cache.max_entry);
    assert_eq!(cache(&full), cache(&empty));
    let api = |project: &Project| {
        let api = &project.api;
        let limits = (api.anon_page_limit, api.max_body, api.max_depth, api.idempotency);
        format!("{:?}", (&api.schemas, &api.anon, api.aggregates, api.plan, limits))
    };
    assert_eq!(api(&full), api(&empty));
    let auth = |project: &Project| {
        let auth = &project.auth;
        let times = (auth.leeway, auth.access_ttl, auth.refresh_ttl);
        format!(
            "{:?}",
            (
                auth.signup,
                times,
                auth.password_min,
                auth.limit,
                (auth.account_limit, auth.refresh_limit),
                auth.hashes
            )
        )
    };
    assert_eq!(auth(&full), auth(&empty));
    let store = |project: &Project| {
        let store = &project.stores["main"];
        (store.connections, store.readers, store.timeout)
    };
    assert_eq!(store(&full), store(&empty));
    assert_eq!(full.bus.url, empty.bus.url);
    let upstream = "[upstream.a]\nservers = \"127.0.0.1:9001\"\n[[route]]\nmatch = \"/a\"\nto = \"a\"\n";
    let bare = read_ok(upstream);
    let settings = |upstream: &Upstream| {
        let times = (
            upstream.connect_timeout,
            upstream.timeout,
            upstream.read_timeout,
            upstream.idle_timeout,
        );
        format!("{:?}", (times, upstream.connections, &upstream.ejection))
    };
    assert_eq!(settings(&full.upstreams["payments"]), settings(&bare.upstreams["a"]));
    assert_eq!(bare.routes[0].auth, AuthRule::None);
    // The API knows its callers, whatever else a route asks of them.
    let api = read_ok("[[route]]\nmatch = \"/rest/v1/a\"\nto = \"api\"\nlimit = { rate = \"1/s\", per = \"user\" }\n");
    assert_eq!(api.routes[0].auth, AuthRule::Optional);
    assert_eq!(
        (bare.routes[0].cache.as_ref(), bare.routes[0].retry.as_ref()),
        (None, None)
    );
}

fn empty_retry() -> Retry {
    let text = "[[on]]\nevent = \"a\"\ncall = \"b\"\n";
    read_ok(text).subscriptions.remove(0).retry
}

#[test]
fn the_example_loads() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let project = load(&shop, &[], &environment).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(project.warnings, []);
    assert!(project.ddl().len() >= 4 && !project.subscriptions.is_empty() && !project.routes.is_empty());
}

#[test]
fn a_project_without_a_file_has_one_embedded_store() {
    let directory = Directory::new("nothing");
    let project = load(&directory.0, &[], &environment).expect("defaults");
    assert_eq!(project.stores.keys().collect::<Vec<_>>(), ["main"]);
    assert_eq!(
        project.stores["main"].sqlite_file(),
        Some(directory.0.join(".mainstay/main.db"))
    );
    assert!(project.stores["main"].is_embedded());
    assert_eq!(project.default_store(), Some("main"));
    assert_eq!(project.bus.url.scheme(), "embedded");
    assert_eq!(project.gateway.listen.to_string(), "127.0.0.1:8080");
    assert_eq!((project.schema.as_ref(), project.gateway.public.as_ref()), (None, None));
    assert_eq!(project.ddl(), []);
}

#[test]
fn ddl_is_found_by_name_and_by_place() {
    let directory = Directory::new("ddl");
    directory.file("schema.sql", "");
    directory.file("services/orders/schema.sql", "");
    directory.file("services/users/schema.sql", "");
    directory.file("elsewhere.sql", "");
    directory.file(FILE, "[store.main]\nurl = \"sqlite:a.db\"\n[store.people]\nurl = \"sqlite:b.db\"\n[service.users]\nstore = \"people\"\n[service.mail]\nddl = \"elsewhere.sql\"\n");
    let project = load(&directory.0, &[], &environment).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let ddl: Vec<(String, String, String)> = project
        .ddl()
        .into_iter()
        .map(|ddl| {
            let path = ddl
                .path
                .strip_prefix(&directory.0)
                .expect("inside")
                .display()
                .to_string();
            (ddl.service.unwrap_or_default(), path, ddl.store)
        })
        .collect();
    let expected = [
        ("", "schema.sql", "main"),
        ("mail", "elsewhere.sql", "main"),
        ("orders", "services/orders/schema.sql", "main"),
        ("users", "services/users/schema.sql", "people"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string()));
    assert_eq!(ddl, expected);
}

#[test]
fn a_full_file_is_read() {
    let project = read_ok(
        r#"
        [gateway]
        listen = "localhost:9000"
        limit = "100/s"
        [store.main]
        url = { env = "DATABASE_URL" }
        replicas = ["postgres://replica-1/shop"]
        [cache.table.products]
        ttl = "1h"
        [[on]]
        change = { table = "orders", op = "insert" }
        deliver = "http://127.0.0.1:9000/hooks"
        retry = { attempts = 3, backoff = "fixed" }
        [[on]]
        change = "carts"
        publish = "carts"
        [[on]]
        every = "90s"
        call = "tidy"
        [upstream.payments]
        servers = ["127.0.0.1:9001", "http://Pay.example:80/", "[::1]:9003"]
        [[route]]
        match = "POST /pay/**"
        to = "payments"
        auth = "required"
        limit = [{ rate = "100/min", per = "user" }, { rate = "1000/min", per = "all", burst = 50, name = "till" }]
        headers = { X-From = "shop", Cookie = false }
        [[route]]
        match = "GET /rates/**"
        to = "payments"
        retry = { budget = "10%" }
        cache = true
        [[route]]
        match = "POST /auth/v1/**"
        to = "api"
        limit = "5/s"
        "#,
    );
    assert_eq!(project.gateway.listen.to_string(), "127.0.0.1:9000");
    let limit = &project.gateway.limit[0];
    assert_eq!(
        (limit.rate.count, limit.burst, limit.per, limit.name.as_str()),
        (100, 100, LimitKey::Address, "address")
    );
    let store = &project.stores["main"];
    assert_eq!(
        (store.url.expose(), store.is_embedded()),
        ("postgres://app:hunter2@db/shop", false)
    );
    assert!(!format!("{project:?}").contains("hunter2"), "a password is shown");
    assert_eq!(
        project.cache.tables["products"].ttl,
        Some(std::time::Duration::from_secs(3600))
    );
    let names: Vec<&str> = project.subscriptions.iter().map(|on| on.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "orders.insert -> 127.0.0.1:9000/hooks",
            "carts -> carts",
            "every 1m30s -> tidy"
        ]
    );
    assert_eq!(
        (
            project.subscriptions[0].retry.attempts,
            project.subscriptions[0].retry.backoff
        ),
        (3, Backoff::Fixed)
    );
    let servers: Vec<String> = project.upstreams["payments"]
        .servers
        .iter()
        .map(Server::to_string)
        .collect();
    assert_eq!(servers, ["127.0.0.1:9001", "pay.example:80", "[::1]:9003"]);
    let pay = &project.routes[0];
    assert_eq!(
        (&pay.to, pay.auth),
        (&Target::Upstream("payments".into()), AuthRule::Required)
    );
    assert_eq!(
        (pay.limit[1].burst, pay.limit[1].name.as_str(), pay.limit[0].per),
        (50, "till", LimitKey::User)
    );
    assert_eq!(pay.headers.set, [("x-from".to_string(), "shop".to_string())]);
    assert_eq!(pay.headers.remove, ["cookie"]);
    assert_eq!(
        project.routes[1].retry,
        Some(RouteRetry {
            attempts: 2,
            budget: 0.1,
            timeout: None
        })
    );
    assert_eq!(project.routes[1].cache, Some(HttpCache::default()));
    assert_eq!(project.routes[2].to, Target::Api);
}

#[test]
fn overrides_win() {
    let set = |assignments: &[&str]| {
        let overrides: Vec<String> = assignments.iter().map(|text| text.to_string()).collect();
        let text = "[cache]\nmemory = \"1MiB\"\n[[route]]\nmatch = \"/a\"\nto = \"api\"\n";
        parse(text, Path::new("shop"), &overrides, &environment).unwrap_or_else(|problems| panic!("{problems:#?}"))
    };
    let project = set(&[
        "gateway.listen=127.0.0.1:9",
        "cache.memory=2MiB",
        "api.max_depth = 3",
        "api.schemas=[\"a\", \"b\"]",
        "auth.issuer=\"quoted\"",
        "log.access=false",
        "cache.table.\"my table\".ttl=5s",
        "route.0.timeout=7s",
        "store.main.url=sqlite:x=y.db",
    ]);
    assert_eq!(project.gateway.listen.port(), 9);
    assert_eq!(project.cache.memory, 2 << 20);
    assert_eq!(
        (project.api.max_depth, project.api.schemas),
        (3, vec!["a".to_string(), "b".to_string()])
    );
    assert_eq!(project.auth.issuer.as_deref(), Some("quoted"));
    assert!(!project.log.access);
    assert!(project.cache.tables.contains_key("my table"));
    assert_eq!(project.routes[0].timeout, Some(std::time::Duration::from_secs(7)));
    assert_eq!(project.stores["main"].url.expose(), "sqlite:shop/x=y.db");
    // The last one wins, and a secret given on the command line is no secret in the file.
    let project = set(&[
        "api.anon=a",
        "api.anon=b",
        "auth.secret=0123456789012345678901234567890123456789",
    ]);
    assert_eq!(project.api.anon, "b");
    assert_eq!(project.warnings, []);
}

#[test]
fn secrets_come_from_files() {
    let directory = Directory::new("secret-file");
    directory.file("key", "a-secret-from-a-file-with-many-bytes\n");
    directory.file(FILE, "[auth]\nsecret = { file = \"key\" }\n");
    let project = load(&directory.0, &[], &environment).expect("a project");
    assert_eq!(
        project.auth.secret.expect("a secret").expose(),
        "a-secret-from-a-file-with-many-bytes"
    );
}

#[test]
fn a_file_that_is_no_text_is_refused_where_it_begins() {
    let directory = Directory::new("latin");
    fs::write(directory.0.join(FILE), b"[api]\nanon = \"caf\xe9\"\n").expect("a file");
    let problems = load(&directory.0, &[], &environment).expect_err("not UTF-8");
    assert_eq!(
        problems[0].to_string(),
        "mainstay.toml:2:12: is not UTF-8 here; save the file as UTF-8"
    );
    let problems = load(&directory.0.join("missing"), &[], &environment).expect_err("no directory");
    assert!(
        problems[0]
            .to_string()
            .ends_with("no such directory; give the project's directory, or make one with `mainstay new`")
    );
}

/// One case of `problems.txt`.
struct Case<'t> {
    name: &'t str,
    file: &'t str,
    overrides: Vec<String>,
    expected: Vec<&'t str>,
}

/// Cases are separated by lines beginning `=== `; `--set …` lines before the file are overrides; `> ` lines are expected.
fn cases(text: &str) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for part in text.split("\n=== ").skip(1) {
        let (name, rest) = part.split_once('\n').expect("a name");
        let end = rest
            .find("\n> ")
            .or_else(|| rest.starts_with("> ").then_some(0))
            .map_or(rest.len(), |at| at + 1);
        let body = &rest[..end];
        let start = body
            .split_inclusive('\n')
            .take_while(|line| line.starts_with("--set "))
            .map(str::len)
            .sum();
        let overrides = body[..start]
            .lines()
            .map(|line| line["--set ".len()..].to_string())
            .collect();
        let expected = rest[end..]
            .trim_start_matches('\n')
            .lines()
            .filter_map(|line| line.strip_prefix("> "))
            .collect();
        cases.push(Case {
            name,
            file: &body[start..],
            overrides,
            expected,
        });
    }
    cases
}

#[test]
fn every_mistake_gets_its_words() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/project/problems.txt");
    let text = fs::read_to_string(&path).expect("the cases");
    let bless = std::env::var_os("BLESS").is_some();
    let mut blessed = text.split("\n=== ").next().unwrap_or_default().to_string();
    let cases = cases(&text);
    assert!(cases.len() > 80, "only {} cases were read", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let got: Vec<String> = match parse(case.file, Path::new("shop"), &case.overrides, &environment) {
            Ok(project) => project
                .warnings
                .iter()
                .map(|warning| format!("warning: {warning}"))
                .collect(),
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        };
        if got != case.expected {
            failures.push(format!(
                "--- {}\nexpected {:#?}\ngot {:#?}",
                case.name, case.expected, got
            ));
        }
        let overrides: String = case.overrides.iter().map(|text| format!("--set {text}\n")).collect();
        let expected: String = got.iter().map(|line| format!("> {line}\n")).collect();
        blessed.push_str(&format!("\n=== {}\n{overrides}{}{expected}", case.name, case.file));
    }
    if bless {
        fs::write(&path, blessed).expect("the cases are written");
        return;
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
    // A case without any line would pass for every reason and none.
    assert!(cases.iter().all(|case| !case.expected.is_empty()));
}
