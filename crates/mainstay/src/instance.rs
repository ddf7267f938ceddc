//! A running process: which part of the project it is, and all its rooms put together, in the order in which they depend on
//! one another.

use crate::accounts::{self, auth_store};
use crate::admin::{self, Operations};
use crate::adopted;
use crate::api::{AccountService, RestService, Tokens};
use crate::cli::Serve;
use crate::current::{Current, Generation};
use crate::jobs::{self, Calls, JobStates, Later};
use crate::project::{Loaded, Problems};
use crate::{arising, backup, engines, metrics, routes, secrets, subscriptions, unserved};
use mainstay_auth::Verifier;
use mainstay_bus::Bus;
use mainstay_cache::Cache;
use mainstay_config::Project;
use mainstay_gateway::{AdminConfig, AdminServer, Gateway, Running};
use mainstay_model::Schema;
use mainstay_query::Engine;
use mainstay_rest::{Rest, RestConfig};
use mainstay_store::Store;
use mainstay_worker::{Jobs, Worker};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Which part of the project a process is.
#[derive(Clone, Debug)]
pub struct Part {
    /// Routes, static files and services elsewhere.
    pub gateway: bool,
    /// The API over the stores.
    pub api: bool,
    /// Relay, subscriptions and jobs.
    pub worker: bool,
    /// The services whose relations and functions are served here.
    pub services: BTreeSet<String>,
    /// Whether `schema.sql` at the top, which belongs to no service, is served here.
    pub own_schema: bool,
    /// Told apart from the whole: `users` of `--service users`.
    pub suffix: String,
}

impl Part {
    /// What the command line asks of a project.
    pub fn of(project: &Project, only: &[String], services: &[String]) -> Result<Part, String> {
        for name in services {
            if !project.services.contains_key(name) {
                let known: Vec<&str> = project.services.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                return Err(format!(
                    "--service {name}: there is no such service; the project has {known}"
                ));
            }
        }
        let whole = services.is_empty();
        let wanted: BTreeSet<&str> = services.iter().map(String::as_str).collect();
        let role = |name: &str| match only.is_empty() {
            true => whole || name != "gateway",
            false => only.iter().any(|o| o == name),
        };
        let local = |name: &String, service: &mainstay_config::project::Service| match whole {
            true => service.servers.is_empty(),
            false => wanted.contains(name.as_str()),
        };
        let api = role("api");
        let services = project
            .services
            .iter()
            .filter(|(n, s)| local(n, s))
            .map(|(n, _)| n.clone())
            .collect();
        Ok(Part {
            gateway: role("gateway"),
            api,
            worker: role("worker"),
            services,
            own_schema: whole,
            // In one order, however they were named: the bus' file is called by it.
            suffix: wanted.into_iter().collect::<Vec<_>>().join("+"),
        })
    }

    /// Whether what a service owns is served here; `None` is the project's own `schema.sql`.
    pub fn serves(&self, service: Option<&str>) -> bool {
        match service {
            Some(name) => self.services.contains(name),
            None => self.own_schema,
        }
    }

    /// Whether the events of a store are relayed here. What is embedded belongs to its process; a server is relayed by the whole, or by
    /// a part that alone holds everything in it.
    pub fn relays(&self, project: &Project, store: &str) -> bool {
        let embedded = project.stores.get(store).is_some_and(|s| s.is_embedded());
        let mut others = project
            .services
            .iter()
            .filter(|(name, _)| !self.services.contains(*name));
        self.opens(project, store) && (embedded || self.own_schema || others.all(|(_, service)| service.store != store))
    }

    /// Whether subscriptions to what a service has in a store are worked off here.
    pub fn works(&self, project: &Project, service: Option<&str>, store: &str) -> bool {
        match project.stores.get(store).is_some_and(|s| s.is_embedded()) {
            true => self.serves(service),
            false => self.relays(project, store),
        }
    }

    /// Whether a store is opened here.
    pub fn opens(&self, project: &Project, store: &str) -> bool {
        if !self.api && !self.worker {
            return false;
        }
        let own = self.own_schema && (project.schema.is_some() || project.services.is_empty());
        let auth = auth_store(project).is_some_and(|auth| auth == store);
        let somebody = project.services.values().any(|s| s.store == store);
        self.services.iter().any(|name| project.services[name].store == store)
            || own && project.default_store().is_some_and(|default| default == store)
            || auth && self.own_schema && !somebody
    }
}

/// A process that answers.
pub struct Instance {
    gateway: Option<Running>,
    admin: Running,
    worker: Option<Worker>,
    stores: Vec<Arc<dyn Store>>,
    bus: Option<Arc<dyn Bus>>,
    draining: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    backups: Option<tokio::task::JoinHandle<()>>,
}

impl Instance {
    /// Opens, connects and starts everything; when it returns, requests are answered.
    pub async fn start(mut loaded: Loaded, options: &Serve) -> Result<Instance, String> {
        metrics::describe();
        let part = Part::of(&loaded.project, &options.only, &options.services)?;
        let unserved = unserved::of(&loaded.project);
        if !unserved.is_empty() {
            return Err(Problems(unserved).to_string());
        }
        let (key, development) = secrets::key(&loaded.project)?;
        if let Some(why) = development
            .then(|| secrets::development_key_refusal(&loaded.project))
            .flatten()
        {
            return Err(why);
        }
        let digest = adopted::take_in(&mut loaded).await?;
        let role = match &loaded.accounts {
            Some(tables) if part.api && part.opens(&loaded.project, &tables.store) => {
                accounts::settle(&loaded, tables).await?
            }
            _ => None,
        };
        let stranded = arising::stranded(&loaded.project, &loaded.schema, &part);
        if !stranded.is_empty() {
            return Err(Problems(stranded.iter().map(ToString::to_string).collect()).to_string());
        }
        let loaded = Arc::new(loaded);
        let opened = engines::stores(&loaded, &|name| part.opens(&loaded.project, name)).await?;
        let project = &loaded.project;
        let stores = opened.stores.clone();
        let cache = cache(&loaded);
        let bus = if part.worker && !stores.is_empty() {
            Some(engines::bus(&loaded, &part.suffix)?)
        } else {
            None
        };
        let verifier = Arc::new(Verifier::new(vec![key.clone()], verifier_config(project)?));
        let jobs = bus.clone().map(Jobs::new);
        let make = generations(loaded.clone(), part.clone(), cache.clone(), jobs.clone());
        let current = Arc::new(Current::new(make, loaded.schema.clone(), stores.clone()));
        let engine = current.now().engine.clone();
        let account = match part.api {
            true => accounts::served(
                &loaded,
                &opened,
                &engine,
                role.as_deref(),
                (&key, development),
                &verifier,
            )?,
            false => None,
        };
        let mut services: Vec<(&'static str, Arc<dyn mainstay_gateway::Service>)> = Vec::new();
        if part.api {
            services.push((mainstay_rest::PREFIX, Arc::new(RestService(current.clone()))));
            if let Some(account) = account {
                services.push(("/auth/v1", Arc::new(AccountService(account))));
            }
            if let Some(jobs) = &jobs {
                services.push((jobs::PREFIX, Arc::new(JobStates::of(jobs.clone(), &part))));
            }
        }
        let own_key = http::HeaderValue::try_from(secrets::random()?).map_err(|e| e.to_string())?;
        let draining = Arc::new(AtomicBool::new(false));
        let problem: Arc<Mutex<Option<String>>> = Arc::default();
        let gateway = if part.gateway || part.api {
            let config = routes::gateway(project, &loaded.schema, &part, services, own_key.clone())?;
            let tokens = Arc::new(Tokens::new(verifier));
            Some(Gateway::new(config, Some(tokens), None).map_err(|e| e.to_string())?)
        } else {
            None
        };
        let operations = Operations {
            bus: bus.clone(),
            current: current.clone(),
            explainer: gateway.as_ref().map(Gateway::explainer),
            state: project.state_directory(),
        };
        let admin = start_admin(project, operations, draining.clone(), problem.clone())?;
        let gateway = gateway.map(Gateway::start).transpose().map_err(|e| e.to_string())?;
        let worker = match &bus {
            None => None,
            Some(bus) => {
                let listens = gateway.as_ref().and_then(|g| g.addresses().first().copied());
                let own = subscriptions::Own {
                    url: match &project.gateway.url {
                        // What answers here is not the gateway.
                        Some(url) if part.api && !part.gateway => url.clone(),
                        _ => format!("http://{}", listens.unwrap_or(project.gateway.listen)),
                    },
                    key: own_key,
                };
                let config = subscriptions::worker(project, &loaded.schema, &part, &own)?;
                let runner = Arc::new(Calls(current.clone()));
                Some(
                    Worker::start(config, engine, bus.clone(), Some(runner))
                        .await
                        .map_err(|e| e.to_string())?,
                )
            }
        };
        let backups = match &bus {
            Some(bus) if part.own_schema => backup::schedule(loaded.clone(), bus.clone())?,
            _ => None,
        };
        let mut tasks = vec![tokio::spawn(watch(stores.clone(), cache, bus.clone(), problem))];
        if let Some(digest) = digest
            && let Some(store) = opened.postgres.into_iter().next()
        {
            let follower = store.follow(adopted::options(&loaded, mainstay_store::Store::name(&*store)), digest);
            let loaded = loaded.clone();
            let captured = move |schema: &Schema| engines::captured_by_postgres(&loaded, schema);
            tasks.push(tokio::spawn(adopted::follow(follower, store, captured, current)));
        }
        Ok(Instance {
            gateway,
            admin,
            worker,
            stores,
            bus,
            draining,
            tasks,
            backups,
        })
    }

    /// Waits until every store answers. Requests are answered meanwhile, as well as they can be.
    pub async fn ready(&self) {
        for store in &self.stores {
            while store.ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        let running = self.gateway.as_ref().unwrap_or(&self.admin);
        running
            .addresses()
            .first()
            .map(|a| format!("http://{a}"))
            .unwrap_or_default()
    }

    /// Not ready, then drained: deliveries under way end, which may go through the gateway, then requests in flight, then the stores
    /// close. What is not delivered within `drain` comes again at the next start.
    pub async fn stop(self, drain: Duration) {
        self.draining.store(true, Ordering::Release);
        if let Some(worker) = self.worker
            && tokio::time::timeout(drain, worker.stop()).await.is_err()
        {
            mainstay_telemetry::warn!(
                "serve",
                "deliveries were cut off after {drain:?}, and come again at the next start"
            );
        }
        if let Some(gateway) = self.gateway {
            gateway.stop();
            let _ = tokio::task::spawn_blocking(move || gateway.wait()).await;
        }
        self.tasks.iter().for_each(|task| task.abort());
        if let Some(backups) = self.backups {
            backups.abort();
        }
        for store in &self.stores {
            store.close().await;
        }
        if let Some(bus) = &self.bus {
            bus.close().await;
        }
        self.admin.stop();
    }
}

/// How the engine and the dialect over a schema are made.
fn generations(loaded: Arc<Loaded>, part: Part, cache: Option<Arc<Cache>>, jobs: Option<Jobs>) -> crate::current::Make {
    Box::new(move |schema, stores| {
        let project = &loaded.project;
        let mut engine = Engine::new(schema, stores, cache.clone());
        if !project.log.slow.is_zero() {
            engine = engine.with_slow(crate::slow::told(project.log.slow));
        }
        let mut rest = Rest::new(engine.clone(), rest_config(project)).with_trace(crate::api::trace_of);
        if let Some(jobs) = &jobs {
            rest = rest.with_background(Arc::new(Later {
                jobs: jobs.clone(),
                part: part.clone(),
            }));
        }
        Generation { engine, rest }
    })
}

fn cache(loaded: &Loaded) -> Option<Arc<Cache>> {
    let config = &loaded.project.cache;
    let ttl: HashMap<_, _> = config
        .tables
        .iter()
        .filter_map(|(name, table)| Some((crate::project::find_table(&loaded.schema, name)?, table.ttl?)))
        .collect();
    (config.memory > 0).then(|| {
        Cache::new(mainstay_cache::Config {
            memory_bytes: (config.memory - memo_bytes(config.memory).min(config.memory / 2)) as usize,
            bound: config.bound,
            entry_bytes_max: config.max_entry as usize,
            ttl,
            ..mainstay_cache::Config::default()
        })
    })
}

/// What the dialect may keep of requests that it has understood: taken out of the cache's limit, so that the limit is the process'.
fn memo_bytes(cache: u64) -> u64 {
    (cache / 16).clamp(256 << 10, 8 << 20)
}

fn verifier_config(project: &Project) -> Result<mainstay_auth::Config, String> {
    let auth = &project.auth;
    Ok(mainstay_auth::Config {
        audience: auth.audience.clone(),
        issuer: auth.issuer.clone(),
        leeway_s: auth.leeway.as_secs(),
        anon: project.api.anon.as_str().into(),
    })
}

fn rest_config(project: &Project) -> RestConfig {
    let api = &project.api;
    let defaults = RestConfig::default();
    let depth = api.max_depth as usize;
    RestConfig {
        schemas: api.schemas.clone(),
        anon: api.anon.clone(),
        aggregates: api.aggregates,
        plan: api.plan,
        description: match api.describe {
            mainstay_config::project::Describe::Allowed => mainstay_rest::Description::OfWhatIsAllowed,
            mainstay_config::project::Describe::Everything => mainstay_rest::Description::OfEverything,
            mainstay_config::project::Describe::Nothing => mainstay_rest::Description::Disabled,
        },
        root: api.root.clone(),
        page_limit: api.page_limit.map(u64::from),
        anon_page_limit: Some(api.anon_page_limit.into()),
        url: project.gateway.url.clone(),
        memo_bytes: memo_bytes(project.cache.memory),
        limits: mainstay_rest::Limits {
            embed_depth: depth,
            filter_depth: depth,
            ..defaults.limits
        },
        ..defaults
    }
}

fn start_admin(
    project: &Project,
    operations: Operations,
    draining: Arc<AtomicBool>,
    problem: Arc<Mutex<Option<String>>>,
) -> Result<Running, String> {
    let token = match &project.admin.token {
        Some(token) => token.expose().to_owned(),
        None => secrets::generated(&project.state_directory(), admin::TOKEN_FILE, "")?,
    };
    let ready = move || {
        if draining.load(Ordering::Acquire) {
            return Err("draining".to_owned());
        }
        match &*problem.lock().unwrap_or_else(|e| e.into_inner()) {
            Some(problem) => Err(problem.clone()),
            None => Ok(()),
        }
    };
    AdminServer::start(AdminConfig {
        listen: project.admin.listen,
        token: Some(token),
        hosts: project.admin.hosts.iter().map(|h| h.name.clone()).collect(),
        ready: Arc::new(ready),
        handler: Some(Arc::new(operations)),
    })
    .map_err(|e| e.to_string())
}

/// Keeps what stands in the way of being ready, and says when it changes.
fn note(problem: &Mutex<Option<String>>, found: Option<String>) {
    let mut known = problem.lock().unwrap_or_else(|e| e.into_inner());
    if *known != found {
        match &found {
            Some(why) => mainstay_telemetry::error!("serve", "not ready: {why}"),
            None => mainstay_telemetry::info!("serve", "ready again"),
        }
        *known = found;
    }
}

/// Once a second: whether the stores answer, and what cache and bus have to tell.
async fn watch(
    stores: Vec<Arc<dyn Store>>,
    cache: Option<Arc<Cache>>,
    bus: Option<Arc<dyn Bus>>,
    problem: Arc<Mutex<Option<String>>>,
) {
    let mut before = mainstay_cache::Stats::default();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    let (mut next_count, mut counted) = (Instant::now(), Vec::<String>::new());
    loop {
        beat.tick().await;
        let mut found = None;
        for store in &stores {
            if let Err(e) = store.ping().await {
                found = Some(format!("store {}: {e}", store.name()));
            }
        }
        note(&problem, found);
        if let Some(cache) = &cache {
            let now = cache.stats();
            for (name, was, is) in [
                ("mainstay_cache_hits_total", before.hits, now.hits),
                ("mainstay_cache_misses_total", before.misses, now.misses),
                ("mainstay_cache_bypasses_total", before.bypasses, now.bypasses),
                ("mainstay_cache_fills_total", before.fills, now.fills),
                ("mainstay_cache_fenced_total", before.fenced, now.fenced),
                ("mainstay_cache_dropped_total", before.dropped, now.dropped),
                ("mainstay_cache_voided_total", before.voided, now.voided),
                ("mainstay_cache_evicted_total", before.evicted, now.evicted),
                ("mainstay_cache_expired_total", before.expired, now.expired),
            ] {
                mainstay_telemetry::counter(name, &[]).add(is - was);
            }
            mainstay_telemetry::gauge("mainstay_cache_entries", &[]).set(now.entries as f64);
            mainstay_telemetry::gauge("mainstay_cache_bytes", &[]).set(now.bytes as f64);
            before = now;
        }
        let began = Instant::now();
        if let Some(bus) = &bus
            && began >= next_count
            && let Ok(backlog) = bus.backlog().await
        {
            // Counting reads all that waits: of much, it is done less often.
            next_count = began + began.elapsed() * 20;
            // What is gone has nothing left.
            for gone in counted
                .iter()
                .filter(|name| !backlog.iter().any(|of| of.subscription == **name))
            {
                for gauge in [
                    "mainstay_events_waiting",
                    "mainstay_events_retrying",
                    "mainstay_events_parked",
                ] {
                    mainstay_telemetry::gauge(gauge, &[("subscription", gone)]).set(0.0);
                }
            }
            counted = backlog.iter().map(|of| of.subscription.clone()).collect();
            for of in backlog {
                let label = [("subscription", &*of.subscription)];
                mainstay_telemetry::gauge("mainstay_events_waiting", &label).set(of.waiting as f64);
                mainstay_telemetry::gauge("mainstay_events_retrying", &label).set(of.retrying as f64);
                mainstay_telemetry::gauge("mainstay_events_parked", &label).set(of.parked as f64);
            }
        }
    }
}
