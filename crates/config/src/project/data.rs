//! `[store.*]`, `[service.*]`, `[cache]` and `[api]`: where the data lives and how it is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::gateway::size_within;
use super::routes::Server;
use super::{default_store, is_plain_name};
use crate::problem::Location;
use crate::section::{Section, Text};
use crate::url::Url;

/// `[store.NAME]`: one database.
#[derive(Debug, Clone)]
pub struct Store {
    /// `url`; default, for a project without any store, `sqlite:.mainstay/main.db` as `main`. The path of an embedded store is
    /// already relative to nothing: the project's directory has been put before it.
    pub url: Url,
    /// `replicas`: read copies of a server store.
    pub replicas: Vec<Url>,
    /// `connections`: at most so many to a server store, and as many to each replica; default 16.
    pub connections: u32,
    /// `readers`: threads for reads that take longer than the inline budget of an embedded store; default 4.
    pub readers: u32,
    /// `timeout`: the longest a statement may run; default 10 s.
    pub timeout: Duration,
    /// Where the section stands.
    pub at: Location,
}

impl Store {
    /// The database file of an embedded store; `None` for servers.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        self.is_embedded().then(|| PathBuf::from(self.url.rest()))
    }

    /// Whether the store lives inside the process.
    pub fn is_embedded(&self) -> bool {
        self.url.scheme() == "sqlite"
    }
}

/// `[service.NAME]`: a part of the project with its own DDL.
#[derive(Debug, Clone)]
pub struct Service {
    /// `ddl`; default `services/NAME/schema.sql`, if it exists. `None`: the store already holds the tables.
    pub ddl: Option<PathBuf>,
    /// `store`; default `main`, or the only store.
    pub store: String,
    /// `at`: other processes that serve it, to which the gateway routes; default empty, this process serves it.
    pub servers: Vec<Server>,
    /// Where the section stands; the DDL file itself for a service that no section names.
    pub at: Location,
}

/// A DDL file and where its tables live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// The service it belongs to; `None` for the project's own `schema.sql`.
    pub service: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// The store's name.
    pub store: String,
}

/// `[cache]`: the coherent query cache.
#[derive(Debug, Clone)]
pub struct Cache {
    /// `memory`: bytes it may take in this process; default 256 MiB; 0 switches it off.
    pub memory: u64,
    /// `bound`: the most that an answer may lag behind the writes of other instances; default 1 s.
    pub bound: Duration,
    /// `shared`: a tier that several instances share (`redis://…`); default none.
    pub shared: Option<Url>,
    /// `max_entry`: the largest answer that is kept, in bytes; default 1 MiB.
    pub max_entry: u64,
    /// `[cache.table.NAME]`, by table.
    pub tables: BTreeMap<String, TableCache>,
}

/// `[cache.table.NAME]`.
#[derive(Debug, Clone)]
pub struct TableCache {
    /// `ttl`: a second limit on the age of answers that read this table, on top of coherence.
    pub ttl: Option<Duration>,
    /// Where the section stands, for whoever knows the tables.
    pub at: Location,
}

/// What the API's description shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Describe {
    /// `allowed`: what the caller's role may use.
    Allowed,
    /// `everything`: all that is served, whoever asks.
    Everything,
    /// `nothing`: there is no description.
    Nothing,
}

/// `[api]`: what REST and GraphQL serve.
#[derive(Debug, Clone)]
pub struct Api {
    /// `schemas`: the exposed schemas, the first one the default; default `public`.
    pub schemas: Vec<String>,
    /// `anon`: the role of a request without a token; default `anon`.
    pub anon: String,
    /// `aggregates`: whether clients may aggregate; default false.
    pub aggregates: bool,
    /// `plan`: whether clients may ask for query plans; default false.
    pub plan: bool,
    /// `describe`: what the API's description shows; default `allowed`.
    pub describe: Describe,
    /// `root`: the function that answers at `/rest/v1/` in the place of the description; default none.
    pub root: Option<String>,
    /// `pre_request`: a function without arguments that a server store calls before each request (`schema.name`); default none.
    pub pre_request: Option<String>,
    /// `search_path`: schemas that are not served, in which a server store finds functions and types; default `public`, `extensions`.
    pub search_path: Vec<String>,
    /// `page_limit`: the most rows that one answer holds; default none.
    pub page_limit: Option<u32>,
    /// `anon_page_limit`: the same for requests without a token; default 1,000.
    pub anon_page_limit: u32,
    /// `max_body`: bytes of a request's body; default 10 MiB.
    pub max_body: u64,
    /// `max_depth`: how deep embedding may nest, and trees of `and` and `or`; default 10.
    pub max_depth: u32,
    /// `idempotency`: how long an `Idempotency-Key` is remembered; default 24 h.
    pub idempotency: Duration,
    /// Where the section stands.
    pub at: Location,
}

pub(super) fn read_stores(root: &Section<'_>, dir: &Path) -> BTreeMap<String, Store> {
    let mut stores = BTreeMap::new();
    for (name, section) in root.named("store") {
        check_name(&section, "store", &name);
        section.require(
            "url",
            "write for example url = \"sqlite:.mainstay/main.db\" or url = { env = \"DATABASE_URL\" }",
        );
        let url = section.url("url").map(|url| resolve_sqlite(&section, url, dir));
        let replicas: Vec<Url> = section
            .texts("replicas")
            .unwrap_or_default()
            .iter()
            .filter_map(|text| section.url_of("replicas", text))
            .collect();
        if let Some(url) = &url
            && url.scheme() == "sqlite"
            && !replicas.is_empty()
        {
            section.report(
                "replicas",
                "an embedded store has no replicas",
                Some("use a server store such as postgres://"),
            );
        }
        let store = Store {
            url: url.unwrap_or_else(|| default_url(dir)),
            replicas,
            connections: section.count("connections", 1..=10_000).unwrap_or(16),
            readers: section.count("readers", 1..=256).unwrap_or(4),
            timeout: section.positive_duration("timeout").unwrap_or(Duration::from_secs(10)),
            at: section.at(),
        };
        stores.insert(name, store);
    }
    if stores.is_empty() {
        let at = Location::whole(super::FILE);
        let timeout = Duration::from_secs(10);
        let url = default_url(dir);
        stores.insert(
            "main".to_string(),
            Store {
                url,
                replicas: Vec::new(),
                connections: 16,
                readers: 4,
                timeout,
                at,
            },
        );
    }
    stores
}

fn default_url(dir: &Path) -> Url {
    Url::of_file("sqlite", &dir.join(".mainstay/main.db"))
}

/// Puts the project's directory before the path of an embedded store, which must be a file's.
fn resolve_sqlite(section: &Section<'_>, url: Url, dir: &Path) -> Url {
    if url.scheme() != "sqlite" {
        return url;
    }
    let path = Path::new(url.rest());
    let help = "write for example \"sqlite:.mainstay/main.db\"";
    if url.rest() == ":memory:" {
        section.report("url", "an embedded store is a file, and this names none", Some(help));
    } else if path.file_name().is_none()
        || url.rest().ends_with('/')
        || url.rest().ends_with("/.")
        || dir.join(path).is_dir()
    {
        section.report("url", format!("\"{url}\" names no file"), Some(help));
    }
    Url::of_file("sqlite", &dir.join(path))
}

/// Checks the name of a section that the user chose.
pub(super) fn check_name(section: &Section<'_>, kind: &str, name: &str) {
    if !is_plain_name(name) {
        let help = "use at most 64 letters, digits, `_`, `-` and `.`, beginning with a letter or digit";
        section.report_whole(format!("`{name}` is not fit for the name of a {kind}"), Some(help));
    }
}

pub(super) fn read_services(
    root: &Section<'_>,
    dir: &Path,
    stores: &BTreeMap<String, Store>,
) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    let usual_store = default_store(stores);
    for (name, section) in root.named("service") {
        check_name(&section, "service", &name);
        let ddl = match section.path("ddl") {
            Some(path) if !path.is_file() => {
                section.report("ddl", format!("no such file: {}", path.display()), None);
                None
            }
            Some(path) => Some(path),
            None => Some(dir.join("services").join(&name).join("schema.sql")).filter(|path| path.is_file()),
        };
        let store = section
            .string("store")
            .or_else(|| usual_store.map(str::to_string))
            .unwrap_or_else(|| {
                section.require("store", "there is more than one store and none is called main");
                String::new()
            });
        let servers = read_servers(&section, "at");
        let embedded = stores.get(&store).is_some_and(Store::is_embedded);
        if ddl.is_none() && !section.has("ddl") && embedded {
            let help = format!("write ddl = \"services/{name}/schema.sql\" and create that file");
            section.report_whole("a service on an embedded store needs its DDL", Some(&help));
        }
        services.insert(
            name,
            Service {
                ddl,
                store,
                servers,
                at: section.at(),
            },
        );
    }
    for (name, path) in discover_services(dir) {
        if services.contains_key(&name) {
            continue;
        }
        let at = Location::whole(format!("services/{name}/schema.sql"));
        let Some(store) = usual_store else {
            root.report_elsewhere(
                at.problem("no store is called main, so this file's store must be named")
                    .help(format!("write [service.{name}] with store = \"…\" into mainstay.toml")),
            );
            continue;
        };
        services.insert(
            name,
            Service {
                ddl: Some(path),
                store: store.to_string(),
                servers: Vec::new(),
                at,
            },
        );
    }
    services
}

/// The folders `services/NAME` that hold a `schema.sql`.
fn discover_services(dir: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir.join("services")) else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let path = entry.path().join("schema.sql");
            (is_plain_name(&name) && path.is_file()).then_some((name, path))
        })
        .collect()
}

/// A list of `HOST:PORT`.
pub(super) fn read_servers(section: &Section<'_>, key: &str) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for text in section.texts(key).unwrap_or_default() {
        match parse_server(&text) {
            Ok(server) if servers.contains(&server) => {
                section.report_at(&text.at, key, format!("{} is listed twice", text.quoted()), None);
            }
            Ok(server) => servers.push(server),
            Err(help) => section.report_at(&text.at, key, format!("{} is not a server", text.quoted()), Some(help)),
        }
    }
    servers
}

fn parse_server(text: &Text) -> Result<Server, &'static str> {
    let usual = "write HOST:PORT, for example \"127.0.0.1:9001\"";
    let rest = text.text.strip_prefix("http://").unwrap_or(&text.text);
    if rest.starts_with("https://") {
        return Err("only plain HTTP to upstreams is served so far: write HOST:PORT");
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('/') {
        return Err("a server has no path: write HOST:PORT, and `rewrite` or `strip_prefix` in the route");
    }
    let (host, port) = rest.rsplit_once(':').ok_or(usual)?;
    let port: u16 = port.parse().map_err(|_| usual)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let is_v6 = bracketed && host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
    if port == 0 || !(plain || is_v6) {
        return Err(usual);
    }
    Ok(Server {
        host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
        port,
    })
}

pub(super) fn read_cache(section: &Section<'_>) -> Cache {
    let mut tables = BTreeMap::new();
    for (name, table) in section.named("table") {
        tables.insert(
            name,
            TableCache {
                ttl: table.positive_duration("ttl"),
                at: table.at(),
            },
        );
    }
    let memory = section.size("memory").unwrap_or(256 << 20);
    let max_entry = size_within(section, "max_entry", 1, 1 << 30).unwrap_or(1 << 20);
    if section.has("max_entry") && memory > 0 && max_entry > memory {
        section.report("max_entry", "is larger than `memory`", None);
    }
    let bound = section.positive_duration("bound").unwrap_or(Duration::from_secs(1));
    if bound < Duration::from_millis(20) {
        // The proof of freshness is a heartbeat a few times per bound; below this it would be most of the work.
        section.report("bound", "is too short to be proved", Some("20ms is the least"));
    }
    Cache {
        memory,
        bound,
        shared: section.url("shared"),
        max_entry,
        tables,
    }
}

/// The schemas that are served, each once.
fn read_schemas(section: &Section<'_>) -> Vec<String> {
    let Some(written) = section.texts("schemas") else {
        return vec!["public".to_string()];
    };
    if written.is_empty() {
        section.report("schemas", "at least one schema is needed", None);
    }
    let mut schemas = Vec::new();
    for text in written {
        if schemas.contains(&text.text) {
            let message = format!("{} is listed twice", text.quoted());
            section.report_at(&text.at, "schemas", message, None);
        } else {
            schemas.push(text.text);
        }
    }
    schemas
}

pub(super) fn read_api(section: &Section<'_>) -> Api {
    Api {
        schemas: read_schemas(section),
        anon: section.string("anon").unwrap_or_else(|| "anon".to_string()),
        aggregates: section.boolean("aggregates").unwrap_or(false),
        plan: section.boolean("plan").unwrap_or(false),
        describe: section
            .choice(
                "describe",
                &[
                    ("allowed", Describe::Allowed),
                    ("everything", Describe::Everything),
                    ("nothing", Describe::Nothing),
                ],
            )
            .unwrap_or(Describe::Allowed),
        root: section.string("root"),
        pre_request: section.string("pre_request"),
        search_path: section
            .strings("search_path")
            .unwrap_or_else(|| vec!["public".to_owned(), "extensions".to_owned()]),
        page_limit: section.count("page_limit", 1..=u32::MAX),
        anon_page_limit: section.count("anon_page_limit", 1..=u32::MAX).unwrap_or(1_000),
        max_body: size_within(section, "max_body", 1, 1 << 40).unwrap_or(10 << 20),
        max_depth: section.count("max_depth", 1..=64).unwrap_or(10),
        idempotency: section
            .positive_duration("idempotency")
            .unwrap_or(Duration::from_secs(86_400)),
        at: section.at(),
    }
}
