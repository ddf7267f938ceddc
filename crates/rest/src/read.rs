//! GET and HEAD of a table, a view, or one row of it.

use crate::bind::{self, Binder};
use crate::data::Data;
use crate::encode::{self, Form};
use crate::memo::{Memo, Seen};
use crate::named::Naming;
use crate::preceding::Preceding;
use crate::prefer::{Honoured, Preferences};
use crate::query_string::{self, Arguments};
use crate::response::{self, Facts, Head};
use crate::rows::Rows;
use crate::skeleton::{self, Origin, Skeleton, Slot};
use crate::zone::Zone;
use crate::{Outlet, Place, Rest, RestConfig, Route, error, handler, key, raised, range};
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Version};
use mainstay_model::{Count, Earlier, Error, Expr, Identity, Query, Representation, Schema};
use mainstay_query::{Asked, Consistency, ReadOptions, Reply, Standing};
use std::fmt::Display;
use std::sync::Arc;

/// A read that has been understood: everything but who asks.
pub(crate) struct Prepared {
    /// Of the schema under which it was understood.
    pub digest: u64,
    pub query: Query,
    pub representation: Arc<dyn Representation>,
    pub consistency: Consistency,
    pub expect: Expect,
    /// Where the page begins.
    pub offset: u64,
    /// Headers that do not depend on the answer.
    pub headers: Head,
    /// Whether it depends on when it was understood: good for this one request.
    pub momentary: bool,
    /// Where the request's values go.
    pub slots: Vec<Slot>,
    /// Values that earlier operations of a transaction yield.
    pub earlier: Vec<Earlier>,
}

/// How many rows there must be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expect {
    /// Any number.
    Rows,
    /// One: else PGRST116.
    One,
    /// The row with this key: else 404.
    Item(Arc<str>),
    /// A function's result, of at most so many rows.
    Function {
        singular: bool,
        void: bool,
        rows_max: Option<u64>,
    },
}

impl Expect {
    /// Whether the rows are those of a table or a view.
    fn is_of_relation(&self) -> bool {
        matches!(self, Expect::Rows | Expect::One)
    }
}

impl Prepared {
    /// Bytes it holds, about.
    pub fn weight(&self) -> u64 {
        (512 + self.query.shape.weight() + 160 * self.query.params.len() + 64 * self.headers.len()) as u64
    }

    /// How it is asked for.
    pub fn options<'r>(&self, headers: &HeaderMap, asked: Asked<'r>) -> ReadOptions<'r> {
        ReadOptions {
            asked,
            bypass_cache: is_no_cache(headers),
            momentary: self.momentary,
            consistency: self.consistency,
        }
    }

    /// Whether the answer may go on after its first part: where nothing is said of all of its rows before they are there.
    fn may_go_on(&self) -> bool {
        self.query.shape.count == Count::None
            && match self.expect {
                Expect::Rows => true,
                Expect::Function {
                    singular,
                    void,
                    rows_max,
                } => !singular && !void && rows_max.is_none(),
                Expect::One | Expect::Item(_) => false,
            }
    }

    /// What the data says, as this request wants to hear it.
    fn heard<T>(&self, said: Result<(Reply, T), Error>) -> Result<(Reply, T), Error> {
        match said {
            Ok((mut reply, more)) => {
                // An engine may know how many rows there are without having been asked.
                if self.query.shape.count == Count::None {
                    reply.total = None;
                }
                Ok((reply, more))
            }
            Err(error) if matches!(self.expect, Expect::Function { .. }) => Err(crate::rpc::from_function(error)),
            Err(error) => Err(error),
        }
    }

    /// The answer, once the rows are there, shaped by what the database asked of it.
    fn answer(
        &self,
        mut reply: Reply,
        route: &Route<'_>,
        request: &HeaderMap,
        head: bool,
    ) -> Result<Response<Bytes>, Error> {
        let settings = reply.response.take();
        raised::shaped(self.of_rows(reply, route, request, head)?, settings)
    }

    fn of_rows(
        &self,
        reply: Reply,
        route: &Route<'_>,
        request: &HeaderMap,
        head: bool,
    ) -> Result<Response<Bytes>, Error> {
        let offset = match &self.expect {
            Expect::Item(relation) if reply.rows == 0 => {
                let id = if let Route::Item(_, id) = route { id } else { "" };
                return Err(error::no_such_row(relation, id));
            }
            Expect::One | Expect::Function { singular: true, .. } if reply.rows != 1 => {
                return Err(error::not_singular(reply.rows));
            }
            Expect::Function {
                rows_max: Some(most), ..
            } if reply.rows > *most => return Err(error::max_affected(reply.rows)),
            Expect::Function { void: true, .. } => {
                return Ok(response::empty(
                    http::StatusCode::NO_CONTENT,
                    self.headers.fixed().clone(),
                ));
            }
            Expect::Item(_) => None,
            Expect::One | Expect::Rows | Expect::Function { .. } => Some(self.offset),
        };
        let status = match offset {
            Some(offset) => range::status(offset, reply.rows, reply.total)?,
            None => http::StatusCode::OK,
        };
        Ok(response::of_reply(status, &self.headers, offset, reply, request, head))
    }
}

impl<D: Data> Rest<D> {
    /// The answer to a GET or HEAD that was asked before, where the cache has it or the store gives it at once; `None` sends the caller
    /// to [`Rest::respond`], or [`Rest::handle`] for a request of HTTP/1.0, and is what they would say. Waits for nothing. `trace` is the
    /// number of the request's trace. With it comes for how long the same request of the same caller may be told the same.
    pub fn at_hand(
        &self,
        request: &Parts,
        identity: &Identity,
        trace: &(dyn Display + Sync),
    ) -> Option<(Response<Bytes>, Option<Standing>)> {
        let head = request.method == Method::HEAD;
        if (request.method != Method::GET && !head) || self.config.facts || self.wants_requests {
            return None;
        }
        let schema = self.data.schema();
        let target = request.uri.path_and_query().map_or("/", |t| t.as_str());
        let skeleton = Skeleton::of(target);
        let anonymous = self.config.is_anonymous(&identity.role);
        let seen = Seen::of(&request.method, anonymous, &skeleton.text, &request.headers)?;
        let known = self.memo.get(&seen, schema.digest)?;
        let named = Naming::of(request, trace);
        let options = known.options(&request.headers, Asked(Some(&named)));
        // HTTP/1.0 has no chunks.
        let goes_on = known.may_go_on() && request.version != Version::HTTP_10;
        let ask = |query: &Query| {
            self.data
                .at_hand(query, identity, &known.representation, options, goes_on)
        };
        let given = if known.slots.is_empty() {
            ask(&known.query)?
        } else {
            let params = skeleton::fill(&known.query.params, &known.slots, &skeleton.values, &schema).ok()??;
            let shape = known.query.shape.clone();
            ask(&Query { shape, params })?
        };
        let route = match known.expect {
            Expect::Item(_) => Route::read(request.uri.path()).ok()?,
            // Only the row that is not there is named in its answer.
            _ => Route::Root,
        };
        let answered = known.heard(given).and_then(|(reply, standing)| {
            let mut response = known.answer(reply, &route, &request.headers, head)?;
            if known.expect.is_of_relation() {
                response::locate(&mut response, &request.uri);
            }
            Ok((response, standing))
        });
        Some(answered.unwrap_or_else(|error| {
            let (method, path) = (&request.method, request.uri.path());
            (self.refuse(method, path, &request.headers, identity, error), None)
        }))
    }

    /// A read of any kind: understood, or remembered; then asked; then answered.
    pub(crate) async fn read(
        &self,
        request: &Request<Bytes>,
        route: &Route<'_>,
        identity: &Identity,
        outlet: &mut Outlet,
    ) -> Result<Response<Bytes>, Error> {
        let mut response = self.rows(request, route, identity, outlet).await?;
        if matches!(route, Route::Relation(_)) {
            response::locate(&mut response, request.uri());
        }
        Ok(response)
    }

    async fn rows(
        &self,
        request: &Request<Bytes>,
        route: &Route<'_>,
        identity: &Identity,
        outlet: &mut Outlet,
    ) -> Result<Response<Bytes>, Error> {
        let headers = request.headers();
        let named = self.naming(request);
        let asked = Asked(Some(&named));
        let schema = self.data.schema();
        let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
        let head = *request.method() == Method::HEAD;
        let skeleton = Skeleton::of(target);
        // The role decides how long a page may be, and nothing else of what a request means.
        let anonymous = self.config.is_anonymous(&identity.role);
        let seen = Seen::of(request.method(), anonymous, &skeleton.text, headers);
        if let Some(known) = seen.as_ref().and_then(|seen| self.memo.get(seen, schema.digest)) {
            if known.slots.is_empty() {
                let query = &known.query;
                return self
                    .ask(&known, query, route, identity, headers, head, asked, outlet)
                    .await;
            }
            if let Some(params) = skeleton::fill(&known.query.params, &known.slots, &skeleton.values, &schema)? {
                let query = Query {
                    shape: known.query.shape.clone(),
                    params,
                };
                return self
                    .ask(&known, &query, route, identity, headers, head, asked, outlet)
                    .await;
            }
        }
        let query = request.uri().query().unwrap_or_default();
        let (mut prepared, origins) = match route {
            Route::Function(name) => {
                self.prepare_call(&schema, name, query, request.method(), headers, &identity.role)?
            }
            _ => prepare(
                &schema,
                &self.config,
                &self.memo,
                route,
                query,
                request.method(),
                headers,
                &identity.role,
                None,
            )?,
        };
        let prepared = match (seen, skeleton::slots(&skeleton, origins)) {
            (Some(seen), Some(slots)) if !prepared.momentary => {
                prepared.slots = slots;
                let prepared = Arc::new(prepared);
                self.memo.put(&seen, prepared.clone());
                prepared
            }
            _ => Arc::new(prepared),
        };
        let query = &prepared.query;
        self.ask(&prepared, query, route, identity, headers, head, asked, outlet)
            .await
    }

    /// Understands a read of a relation, without remembering it.
    pub(crate) fn understand_read(
        &self,
        schema: &Schema,
        route: &Route<'_>,
        request: &Request<Bytes>,
        role: &str,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Prepared, Error> {
        let query = request.uri().query().unwrap_or_default();
        let method = match *request.method() {
            Method::HEAD => &Method::HEAD,
            _ => &Method::GET,
        };
        let (config, memo, headers) = (&self.config, &self.memo, request.headers());
        let (prepared, _) = prepare(schema, config, memo, route, query, method, headers, role, preceding)?;
        Ok(prepared)
    }

    /// Asks for the rows of a prepared read, and answers.
    #[allow(clippy::too_many_arguments, reason = "the parts of a request, named")]
    pub(crate) async fn ask(
        &self,
        prepared: &Prepared,
        query: &Query,
        route: &Route<'_>,
        identity: &Identity,
        headers: &HeaderMap,
        head: bool,
        asked: Asked<'_>,
        outlet: &mut Outlet,
    ) -> Result<Response<Bytes>, Error> {
        let options = prepared.options(headers, asked);
        let representation = &prepared.representation;
        let reply = match outlet {
            Outlet::Open(_) if prepared.may_go_on() => self.data.stream(query, identity, representation, options).await,
            _ => {
                let reply = self.data.read(query, identity, representation, options).await;
                reply.map(|reply| (reply, None))
            }
        };
        let (mut reply, rest) = prepared.heard(reply)?;
        let facts = self.config.facts.then(|| Facts {
            cache: Some(reply.cache.clone()),
            phases: reply.phases,
            rows: reply.rows,
        });
        let mut response = match &rest {
            None => prepared.answer(reply, route, headers, head)?,
            Some(_) => {
                let settings = reply.response.take();
                raised::shaped(response::of_part(&prepared.headers, reply, head), settings)?
            }
        };
        if let Outlet::Open(following) = outlet
            && !head
        {
            *following = rest;
        }
        if let Some(facts) = facts {
            response.extensions_mut().insert(facts);
        }
        Ok(response)
    }
}

/// Whether the client wants no stored answer.
fn is_no_cache(headers: &HeaderMap) -> bool {
    headers.get(CACHE_CONTROL).is_some_and(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|d| d.trim().eq_ignore_ascii_case("no-cache")))
    })
}

/// Understands a read of a relation.
#[allow(clippy::too_many_arguments, reason = "the parts of a request, named")]
pub(crate) fn prepare(
    schema: &Schema,
    config: &RestConfig,
    memo: &Memo,
    route: &Route<'_>,
    query: &str,
    method: &Method,
    headers: &HeaderMap,
    role: &str,
    preceding: Option<&Arc<Preceding>>,
) -> Result<(Prepared, Vec<Origin>), Error> {
    let place = Place::of(schema, config, headers, false)?;
    let preferences = Preferences::read(headers);
    let pairs = query_string::split(query, &config.limits)?;
    let (name, id) = match route {
        Route::Relation(name) => (name, None),
        Route::Item(name, id) => (name, Some(id)),
        Route::Root | Route::Function(_) => return Err(error::invalid_path()),
    };
    let relation = place.relation(schema, name, role)?;
    let rows = Rows::of_relation(schema, relation);
    let mut asked = query_string::Request::read(&pairs, rows.name, Arguments::None, &config.limits)?;
    let chosen = handler::choose(schema, headers, handler::Of::Relation(relation, asked.root.is_whole()))?;
    let media = chosen.media;
    let mut binder = Binder::new(schema, &place.namespace, config);
    binder.page_limit = config.page_limit(role);
    binder.preceding = preceding.cloned();
    let key = match id {
        Some(id) => {
            (asked.root.limit, asked.root.offset) = (None, 0);
            binder.page_limit = None;
            Some(key::key_equals(&mut binder, schema, relation, id)?)
        }
        None => None,
    };
    let offset = range::narrow(&mut asked.root, method, headers)?;
    let mut shape = binder.root(&asked.root, &rows, bind::relation_source(relation))?;
    if let Some(key) = key {
        shape.filter = Some(match shape.filter.take() {
            Some(filter) => Expr::all(vec![key, filter]),
            None => key,
        });
    }
    shape.document.clone_from(&chosen.document);
    if id.is_none() {
        shape.count = preferences.counted(config.page_limit(role));
    }
    preferences.check()?;
    let zone = preferences.timezone.map(Zone::named).transpose()?;
    let applied = preferences.applied(Honoured {
        rollback: config.rollback,
        ..Honoured::default()
    });
    let mut fixed = response::template(Some(media.content_type()), place.profile(), applied);
    chosen.announce(&mut fixed);
    let prepared = Prepared {
        digest: schema.digest,
        query: Query {
            shape: memo.share(shape),
            params: binder.params,
        },
        representation: encode::representation(media, Form::Rows, id.is_some(), zone.as_ref()),
        consistency: preferences.consistency.unwrap_or_default(),
        expect: match id {
            Some(_) => Expect::Item(rows.name.into()),
            None if media.is_singular() => Expect::One,
            None => Expect::Rows,
        },
        offset,
        headers: Head::new(fixed, id.is_none()),
        momentary: binder.momentary,
        slots: Vec::new(),
        earlier: binder.earlier,
    };
    Ok((prepared, binder.origins))
}
