//! The PostgREST dialect: requests under `/rest/v1` become Operations, and what comes of them becomes responses. Wire types live
//! here and nowhere further in.

mod bind;
mod call;
mod comparison;
mod condition;
mod csv;
mod cursor;
mod data;
mod encode;
mod error;
mod facts;
mod filter;
mod group;
mod handler;
mod idempotency;
mod item;
mod key;
mod level;
mod media;
mod memo;
mod named;
mod openapi;
mod options;
mod order;
mod outlook;
mod page;
mod payload;
mod plan;
mod planned;
mod preceding;
mod prefer;
mod query_string;
mod raised;
mod range;
mod raw;
mod read;
mod relationship;
mod response;
mod rows;
mod rpc;
mod select;
mod skeleton;
mod spread;
mod suggest;
#[cfg(test)]
mod tests;
mod transaction;
mod types;
mod write;
mod zone;

pub use data::Data;
pub use named::TraceOf;
pub use outlook::{Explained, Refused};
pub use response::Facts;
pub use rpc::{AsyncCall, Background};

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use mainstay_model::{Error, FunctionId, Identity, RelationId, Schema};
use mainstay_query::{Engine, Following};
use prefer::Preferences;
use std::borrow::Cow;
use std::sync::Arc;

/// Where the dialect is served.
pub const PREFIX: &str = "/rest/v1";

/// Schemas of the product's own, never served.
const PRIVATE: [&str; 4] = ["auth", "pg_catalog", "information_schema", "mainstay"];

/// How the dialect is served.
#[derive(Clone, Debug)]
pub struct RestConfig {
    /// Schemas served, the default first; empty: all of the model's.
    pub schemas: Vec<String>,
    /// The role of callers without a token.
    pub anon: String,
    /// Whether `sum()`, `avg()`, `count()`, `min()` and `max()` may be asked for.
    pub aggregates: bool,
    /// Whether `Accept: application/vnd.pgrst.plan` is answered.
    pub plan: bool,
    /// What the API's description shows.
    pub description: Description,
    /// The function that answers in the place of the API's description.
    pub root: Option<String>,
    /// At most so many rows in an answer, on every level; more are another page.
    pub page_limit: Option<u64>,
    /// The same for callers without a token, where it is lower.
    pub anon_page_limit: Option<u64>,
    /// Whether `Prefer: tx=rollback` is honoured.
    pub rollback: bool,
    /// Whether responses carry [`Facts`] for the access log.
    pub facts: bool,
    /// Bytes kept of requests that were understood before.
    pub memo_bytes: u64,
    /// The title of the API's description.
    pub title: String,
    /// How the world calls the gateway (`https://shop.example`), for the API's description.
    pub url: Option<String>,
    /// Bounds of a request.
    pub limits: Limits,
}

/// What the API's description shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Description {
    /// What the caller's role may use.
    #[default]
    OfWhatIsAllowed,
    /// Everything that is served, whoever asks.
    OfEverything,
    /// There is none: 404.
    Disabled,
}

impl Default for RestConfig {
    fn default() -> RestConfig {
        RestConfig {
            schemas: Vec::new(),
            anon: "anon".to_owned(),
            aggregates: false,
            plan: false,
            description: Description::default(),
            root: None,
            page_limit: None,
            anon_page_limit: None,
            rollback: true,
            facts: false,
            memo_bytes: 8 << 20,
            title: "Mainstay".to_owned(),
            url: None,
            limits: Limits::default(),
        }
    }
}

impl RestConfig {
    /// At most so many rows for a role.
    pub(crate) fn page_limit(&self, role: &str) -> Option<u64> {
        let own = self.anon_page_limit.filter(|_| self.is_anonymous(role));
        self.page_limit.into_iter().chain(own).min()
    }

    /// Whether the role is that of callers without a token.
    pub(crate) fn is_anonymous(&self, role: &str) -> bool {
        role == self.anon
    }
}

/// Bounds of a request; what passes one is refused with 54000, and the refusal names it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Parameters of a query string.
    pub parameters: usize,
    /// Columns, values and embedded rows of one `select`.
    pub select_items: usize,
    /// Levels of embedded rows.
    pub embed_depth: usize,
    /// Conditions of one request.
    pub conditions: usize,
    /// Levels of `and` and `or`.
    pub filter_depth: usize,
    /// Values of one request's filters, pages and arguments. At most 65,535.
    pub values: usize,
    /// Rows of one body.
    pub rows: usize,
    /// Operations of one transaction. At most 65,535.
    pub operations: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            parameters: 256,
            select_items: 1000,
            embed_depth: 16,
            conditions: 1000,
            filter_depth: 32,
            values: 4096,
            rows: 100_000,
            operations: 100,
        }
    }
}

/// The dialect over an engine. One per process.
pub struct Rest<D = Engine> {
    data: D,
    config: RestConfig,
    memo: memo::Memo,
    descriptions: openapi::Descriptions,
    background: Option<Arc<dyn Background>>,
    /// Whether callers' requests travel with them.
    wants_requests: bool,
    /// What finds a request's trace.
    trace: Option<TraceOf>,
}

/// Where what follows the first part of an answer goes.
pub(crate) enum Outlet {
    /// The caller takes whole answers.
    Closed,
    /// It takes answers that go on, and this is what follows.
    Open(Option<Following>),
}

/// What a path means.
#[derive(Debug, PartialEq)]
pub(crate) enum Route<'a> {
    /// The API's description.
    Root,
    /// `/{relation}`
    Relation(Cow<'a, str>),
    /// `/{relation}/{id}`
    Item(Cow<'a, str>, Cow<'a, str>),
    /// `/rpc/{function}`
    Function(Cow<'a, str>),
}

impl<'a> Route<'a> {
    /// Reads a path in full. Errors: PGRST125.
    fn read(path: &'a str) -> Result<Route<'a>, Error> {
        let rest = path.strip_prefix(PREFIX).ok_or_else(error::invalid_path)?;
        let rest = match rest.strip_prefix('/') {
            Some(rest) => rest,
            None if rest.is_empty() => return Ok(Route::Root),
            None => return Err(error::invalid_path()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segment = query_string::decode_segment;
        Ok(match rest.split_once('/') {
            None if rest.is_empty() => Route::Root,
            None => Route::Relation(segment(rest)?),
            Some((_, more)) if more.contains('/') || more.is_empty() => return Err(error::invalid_path()),
            Some(("rpc", name)) => Route::Function(segment(name)?),
            Some((name, id)) => Route::Item(segment(name)?, segment(id)?),
        })
    }
}

impl<D: Data> Rest<D> {
    /// The dialect over an engine.
    pub fn new(data: D, config: RestConfig) -> Rest<D> {
        let memo = memo::Memo::new(config.memo_bytes);
        let wants_requests = data.wants_requests();
        Rest {
            data,
            config,
            memo,
            descriptions: openapi::Descriptions::default(),
            background: None,
            wants_requests,
            trace: None,
        }
    }

    /// Hands asynchronous calls to `background`; without it `Prefer: respond-async` is not honoured.
    pub fn with_background(mut self, background: Arc<dyn Background>) -> Rest<D> {
        self.background = Some(background);
        self
    }

    /// Answers a request. The path arrives in full; the caller's `Arc<Identity>` is an extension of the request, and who has none
    /// is anonymous. Never fails: what goes wrong is a response too.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.respond_with(request, &mut Outlet::Closed).await
    }

    /// As [`Rest::handle`], for a caller that can take an answer that goes on: where something follows, the response's body is the first
    /// part of it. An error in what follows must not look like its end.
    pub async fn respond(&self, request: Request<Bytes>) -> (Response<Bytes>, Option<Following>) {
        let mut outlet = Outlet::Open(None);
        let response = self.respond_with(request, &mut outlet).await;
        match outlet {
            Outlet::Open(rest) => (response, rest),
            Outlet::Closed => (response, None),
        }
    }

    async fn respond_with(&self, request: Request<Bytes>, outlet: &mut Outlet) -> Response<Bytes> {
        let identity = match request.extensions().get::<Arc<Identity>>() {
            Some(identity) => identity.clone(),
            None => Arc::new(Identity::role(&self.config.anon)),
        };
        let identity = match self.wants_requests {
            true => Arc::new(identity.asking(Arc::new(facts::of(&request)))),
            false => identity,
        };
        match self.answer(&request, &identity, outlet).await {
            Ok(response) => response,
            Err(error) => self.refuse(
                request.method(),
                request.uri().path(),
                request.headers(),
                &identity,
                error,
            ),
        }
    }

    /// The answer to a request that went wrong.
    fn refuse(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        identity: &Identity,
        error: Error,
    ) -> Response<Bytes> {
        let error = self
            .refused_method(method, path, headers, identity, &error)
            .unwrap_or(error);
        let is_transaction = *method == Method::POST && Route::read(path) == Ok(Route::Root);
        let operation = error.step.filter(|_| is_transaction);
        let mut response = error::response(&error, self.config.is_anonymous(&identity.role), operation);
        // RFC 9110 §15.5.6: which methods there are instead.
        if response.status() == StatusCode::METHOD_NOT_ALLOWED
            && let Ok(route) = Route::read(path)
            && let Ok(options) = self.options(&route, headers, identity)
            && let Some(allow) = options.headers().get(ALLOW)
        {
            response.headers_mut().insert(ALLOW, allow.clone());
        }
        response
    }

    async fn answer(
        &self,
        request: &Request<Bytes>,
        identity: &Arc<Identity>,
        outlet: &mut Outlet,
    ) -> Result<Response<Bytes>, Error> {
        let route = Route::read(request.uri().path())?;
        if *request.method() != Method::OPTIONS
            && route != Route::Root
            && let Some(wanted) = self.wanted_plan(request)
        {
            return Box::pin(self.explain(request, &route, identity, wanted)).await;
        }
        // Writes are boxed, so that a read, which may be answered in a microsecond, does not carry the room for them.
        match (&route, request.method().as_str()) {
            (Route::Root, "GET" | "HEAD") if self.config.root.is_some() => {
                let name = self.config.root.as_deref().unwrap_or_default();
                self.read(request, &Route::Function(name.into()), identity, outlet)
                    .await
            }
            (Route::Root, "GET" | "HEAD") => self.describe(request, identity),
            (_, "OPTIONS") => self.options(&route, request.headers(), identity),
            (Route::Relation(_) | Route::Item(..) | Route::Function(_), "GET" | "HEAD") => {
                self.read(request, &route, identity, outlet).await
            }
            (Route::Root, "POST") => Box::pin(self.transaction(request, identity)).await,
            (Route::Function(name), "POST") if Preferences::read(request.headers()).respond_async => {
                match Box::pin(self.call_later(request, name, identity)).await? {
                    Some(accepted) => Ok(accepted),
                    None => Box::pin(self.write(request, &route, identity, outlet)).await,
                }
            }
            (Route::Root, _) => Err(error::unsupported_method(request.method())),
            _ => Box::pin(self.write(request, &route, identity, outlet)).await,
        }
    }
}

/// The schema that a request is about.
pub(crate) struct Place {
    pub namespace: Arc<str>,
    /// There are several, so the answer says which it was.
    negotiated: bool,
}

impl Place {
    /// By `Accept-Profile`, of a write by `Content-Profile`. Errors: PGRST106.
    pub fn of(schema: &Schema, config: &RestConfig, headers: &HeaderMap, write: bool) -> Result<Place, Error> {
        let wanted = headers.get(if write { "content-profile" } else { "accept-profile" });
        let mut served = served(schema, config);
        let Some(wanted) = wanted else {
            let first = served.next().ok_or_else(|| error::unknown_namespace("", &[]))?;
            return Ok(Place {
                namespace: first.into(),
                negotiated: served.next().is_some(),
            });
        };
        let wanted = wanted.to_str().unwrap_or_default();
        match self::served(schema, config).find(|name| *name == wanted) {
            Some(name) => Ok(Place {
                namespace: name.into(),
                negotiated: true,
            }),
            None => Err(error::unknown_namespace(wanted, &served.collect::<Vec<_>>())),
        }
    }

    /// The value of `Content-Profile` in the answer.
    pub fn profile(&self) -> Option<&str> {
        self.negotiated.then_some(&*self.namespace)
    }

    /// A relation by name. Errors: PGRST205, which suggests only what the role may see.
    pub fn relation(&self, schema: &Schema, name: &str, role: &str) -> Result<RelationId, Error> {
        if let Some(id) = schema.find_relation(&self.namespace, name) {
            return Ok(id);
        }
        let message = format!(
            "Could not find the table '{}.{name}' in the schema cache",
            self.namespace
        );
        let visible = schema.relations.iter().filter(|r| {
            *r.namespace == *self.namespace
                && (role == "service_role" || r.grants.iter().any(|g| *g.role == *role || &*g.role == "public"))
        });
        let error = Error::new("PGRST205", message);
        Err(match suggest::nearest(name, visible.map(|r| &*r.name), suggest::NAME) {
            Some(near) => error.hint(format!("Perhaps you meant the table '{}.{near}'", self.namespace)),
            None => error,
        })
    }

    /// A function's overloads that may be called from outside.
    pub fn functions<'s>(&self, schema: &'s Schema, name: &str) -> Vec<FunctionId> {
        let all: &'s [FunctionId] = schema.find_functions(&self.namespace, name);
        all.iter()
            .copied()
            .filter(|&id| call::is_callable(schema.function(id)))
            .collect()
    }
}

/// The schemas served, the default first.
pub(crate) fn served<'a>(schema: &'a Schema, config: &'a RestConfig) -> impl Iterator<Item = &'a str> {
    let own = config.schemas.iter().map(String::as_str);
    let all = schema
        .namespaces
        .iter()
        .map(|n| &**n)
        .filter(|_| config.schemas.is_empty());
    own.chain(all).filter(|name| !PRIVATE.contains(name))
}

/// Whether a method only reads.
pub(crate) fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}
