//! `/rpc/{function}`: calls. What only reads is a read like any other, by GET, HEAD or POST; what writes is a transaction, by POST.

use crate::bind::Binder;
use crate::call::{self, Given};
use crate::data::Data;
use crate::encode::{self, Form};
use crate::level::Level;
use crate::media;
use crate::payload;
use crate::planned::{self, Plan};
use crate::preceding::Preceding;
use crate::prefer::{Honoured, Preferences};
use crate::query_string::{self, Arguments};
use crate::read::{Expect, Prepared};
use crate::rows::Rows;
use crate::select::Selected;
use crate::skeleton::Origin;
use crate::zone::Zone;
use crate::{Place, Rest, error, handler, idempotency, is_read, range, response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use mainstay_model::{Call, Count, Error, FunctionId, Idempotency, Identity, Query, Returns, Schema, Source};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Takes calls that are made later (`Prefer: respond-async`). The composition root provides it.
pub trait Background: Send + Sync {
    /// Keeps the call durably; returns the URL at which its status can be asked for.
    fn submit(&self, call: AsyncCall) -> Pin<Box<dyn Future<Output = Result<String, Error>> + Send + '_>>;
}

/// A call to be made later, with the caller's rights. It has been understood, and would be made as it stands.
#[derive(Clone, Debug)]
pub struct AsyncCall {
    /// Path and query of its URL.
    pub target: String,
    /// Headers that decide what it does and answers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// The caller.
    pub identity: Arc<Identity>,
    /// The request's identity, if it has one. The call that is made later carries it on, so that the key has one effect however
    /// it is used.
    pub idempotency: Option<Idempotency>,
    /// W3C `traceparent` of the request.
    pub traceparent: Option<String>,
}

/// A call that has been understood.
struct Understood {
    prepared: Prepared,
    call: Call,
    origins: Vec<Origin>,
}

impl<D: Data> Rest<D> {
    /// A call by GET or HEAD, with its arguments in the query string.
    pub(crate) fn prepare_call(
        &self,
        schema: &Schema,
        name: &str,
        query: &str,
        method: &Method,
        headers: &HeaderMap,
        role: &str,
    ) -> Result<(Prepared, Vec<Origin>), Error> {
        let understood = self.understand_get(schema, name, query, method, headers, role, None)?;
        Ok((understood.prepared, understood.origins))
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a call, named")]
    fn understand_get(
        &self,
        schema: &Schema,
        name: &str,
        query: &str,
        method: &Method,
        headers: &HeaderMap,
        role: &str,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Understood, Error> {
        let place = Place::of(schema, &self.config, headers, false)?;
        let pairs = query_string::split(query, &self.config.limits)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::Function, &self.config.limits)?;
        let given = Given::Texts(&asked.arguments);
        let (function, unnamed) = call::resolve(schema, &place, name, &given, role)?;
        // Of a body that only the database knows, the database says what it does: it runs in a transaction that cannot write.
        let called = schema.function(function);
        if called.writes && !called.body.is_empty() {
            let error = Error::new(
                "25006",
                format!("function {name} writes and cannot be called with {method}"),
            );
            return Err(error.hint("call it with POST"));
        }
        let preferences = Preferences::read(headers);
        self.understand(
            schema,
            &place,
            function,
            unnamed,
            &given,
            asked.root,
            &preferences,
            method,
            headers,
            role,
            preceding,
        )
    }

    /// A call made now.
    pub(crate) fn plan_call<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &str,
        identity: &Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Plan<'r>, Error> {
        let (headers, method) = (request.headers(), request.method());
        if is_read(method) {
            let query = request.uri().query().unwrap_or_default();
            let understood = self.understand_get(schema, name, query, method, headers, &identity.role, preceding)?;
            return Ok(Plan::Reading(Box::new(understood.prepared), understood.call));
        }
        let Understood { prepared, call, .. } =
            self.understand_post(schema, request, name, &identity.role, preceding)?;
        Ok(match schema.function(call.function).writes {
            true => Plan::Write(planned::of_call(prepared, call)),
            false => Plan::Reading(Box::new(prepared), call),
        })
    }

    /// A call by POST, with its arguments in the body.
    fn understand_post(
        &self,
        schema: &Schema,
        request: &Request<Bytes>,
        name: &str,
        role: &str,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Understood, Error> {
        let (headers, method) = (request.headers(), request.method());
        let place = Place::of(schema, &self.config, headers, true)?;
        let preferences = Preferences::read(headers);
        preferences.check()?;
        let pairs = query_string::split(request.uri().query().unwrap_or_default(), &self.config.limits)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let content = media::content(headers)?;
        let object = payload::arguments(request.body(), content)?;
        let given = Given::Body {
            object: &object,
            content,
            body: request.body(),
            columns: asked.columns.as_deref(),
        };
        let (function, unnamed) = call::resolve(schema, &place, name, &given, role)?;
        self.understand(
            schema,
            &place,
            function,
            unnamed,
            &given,
            asked.root,
            &preferences,
            method,
            headers,
            role,
            preceding,
        )
    }

    /// A call made later (`Prefer: respond-async`); `None` where there is nobody to make it. What is refused now is refused at once.
    pub(crate) async fn call_later(
        &self,
        request: &Request<Bytes>,
        name: &str,
        identity: &Arc<Identity>,
    ) -> Result<Option<Response<Bytes>>, Error> {
        let Some(background) = &self.background else {
            return Ok(None);
        };
        let schema = self.data.schema();
        let Understood { prepared, call, .. } = self.understand_post(&schema, request, name, &identity.role, None)?;
        if !call::may_call(schema.function(call.function), &identity.role) {
            return Err(Error::denied(format!("permission denied for function {name}")));
        }
        let media = prepared.headers.fixed().get(CONTENT_TYPE);
        if media.is_some_and(|media| !media::is_text(media)) {
            return Err(error::not_implemented("respond-async answers with text"));
        }
        let body = String::from_utf8(request.body().to_vec())
            .map_err(|_| error::not_implemented("respond-async takes a body of text"))?;
        let target = request.uri().path_and_query();
        let call = AsyncCall {
            target: target.map_or("/", |target| target.as_str()).to_owned(),
            headers: later(request.headers()),
            body,
            identity: identity.clone(),
            idempotency: idempotency::of(request, identity)?,
            traceparent: traceparent(request.headers()),
        };
        accepted(background.submit(call).await?).map(Some)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a call, named")]
    fn understand(
        &self,
        schema: &Schema,
        place: &Place,
        function: FunctionId,
        unnamed: bool,
        given: &Given<'_>,
        mut root: Level<'_>,
        preferences: &Preferences<'_>,
        method: &Method,
        headers: &HeaderMap,
        role: &str,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Understood, Error> {
        let declared = schema.function(function);
        let chosen = handler::choose(schema, headers, handler::Of::Function(declared, root.is_whole()))?;
        let media = chosen.media;
        preferences.check()?;
        let max_affected = preferences.enforced_max_affected();
        if max_affected.is_some() && !declared.returns.is_set() {
            return Err(error::max_affected_function());
        }
        let (form, one, void) = match declared.returns {
            Returns::Void => (Form::Bare, true, true),
            Returns::Scalar(_) => (Form::Bare, true, false),
            Returns::SetOfScalar(_) => (Form::Bare, false, false),
            Returns::Row(_) | Returns::Record(_) => (Form::Rows, true, false),
            Returns::SetOfRow(_) | Returns::Table(_) => (Form::Rows, false, false),
        };
        if form == Form::Bare {
            // A bare value has no columns to choose from.
            root = Level {
                filters: root.filters,
                order: root.order,
                limit: root.limit,
                offset: root.offset,
                ..Level::root("", vec![Selected::Star])
            };
        }
        let offset = range::narrow(&mut root, method, headers)?;
        let rows = Rows::of_function(schema, function);
        let mut binder = Binder::new(schema, &place.namespace, &self.config);
        binder.page_limit = self.config.page_limit(role).filter(|_| declared.returns.is_set());
        binder.preceding = preceding.cloned();
        let call = call::bind(&mut binder, function, unnamed, given)?;
        let mut shape = binder.root(&root, &rows, Source::Call(call.clone()))?;
        shape.document.clone_from(&chosen.document);
        shape.count = if void {
            Count::None
        } else {
            preferences.counted(self.config.page_limit(role))
        };
        let zone = preferences.timezone.map(Zone::named).transpose()?;
        let honoured = Honoured {
            rollback: self.config.rollback,
            max_affected: true,
            ..Honoured::default()
        };
        let applied = preferences.applied(honoured);
        let content_type = (!void).then(|| media.content_type());
        let mut answer_headers = response::template(content_type, place.profile(), applied);
        chosen.announce(&mut answer_headers);
        let prepared = Prepared {
            digest: schema.digest,
            query: Query {
                shape: self.memo.share(shape),
                params: binder.params,
            },
            representation: encode::representation(media, form, one, zone.as_ref()),
            consistency: preferences.consistency.unwrap_or_default(),
            expect: Expect::Function {
                singular: media.is_singular(),
                void,
                rows_max: max_affected,
            },
            offset,
            headers: response::Head::new(answer_headers, false),
            momentary: binder.momentary,
            slots: Vec::new(),
            earlier: binder.earlier,
        };
        Ok(Understood {
            prepared,
            call,
            origins: binder.origins,
        })
    }
}

/// A violated CHECK inside a function's body says that the state does not allow the call, not that the request is wrong: 409.
pub(crate) fn from_function(error: Error) -> Error {
    if error.code == "23514" && error.status.is_none() {
        error.status(409)
    } else {
        error
    }
}

/// The header by which a trace goes on, if the request has it.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// The headers of a call that is made later: it is then made at once.
fn later(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in idempotency::DECISIVE {
        for value in headers.get_all(name) {
            if name != "prefer" {
                kept.append(name, value.clone());
                continue;
            }
            let preferences = value.to_str().unwrap_or_default().split(',').map(str::trim);
            let preferences: Vec<&str> = preferences.filter(|one| *one != "respond-async").collect();
            if let Ok(value) = HeaderValue::try_from(preferences.join(", ")) {
                kept.append(name, value);
            }
        }
    }
    kept
}

fn accepted(status_url: String) -> Result<Response<Bytes>, Error> {
    let location =
        HeaderValue::try_from(&status_url).map_err(|_| Error::internal("a status URL is no header value"))?;
    let mut headers = response::template(
        Some("application/json; charset=utf-8"),
        None,
        Some("respond-async".to_owned()),
    );
    headers.insert(LOCATION, location);
    let mut body = b"{\"status\":".to_vec();
    mainstay_model::write_json_string(&status_url, &mut body);
    body.push(b'}');
    Ok(response::with_body(StatusCode::ACCEPTED, headers, body.into()))
}
