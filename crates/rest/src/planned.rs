//! A request that has been understood and not yet done: alone it is a transaction of one step, in a transaction of the client's
//! it is one of several.

use crate::data::Data;
use crate::preceding::Preceding;
use crate::prefer::Preferences;
use crate::read::{Expect, Prepared};
use crate::rpc::traceparent;
use crate::{Outlet, Rest, Route, condition, error, idempotency, is_read, raised, range, response};
use bytes::Bytes;
use http::header::CONTENT_RANGE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use mainstay_model::{
    Action, Call, Count, Error, Identity, QueryShape, Representation, Schema, Step, StepOutcome, Transaction,
};
use mainstay_query::Asked;
use std::sync::Arc;

/// Makes the response of what came of a step. The flag: it is an earlier request's outcome.
pub(crate) type Finish<'r> = Box<dyn FnOnce(bool, StepOutcome) -> Result<Response<Bytes>, Error> + Send + 'r>;

/// What a step's failure means in the request's terms.
pub(crate) type Explain<'r> = Box<dyn FnOnce(Error) -> Error + Send + 'r>;

/// What there is to do.
#[allow(clippy::large_enum_variant, reason = "one a request, moved twice")]
pub(crate) enum Work {
    /// A step.
    Step(Step),
    /// Nothing: the body has no rows. What would have come of it.
    Nothing(StepOutcome),
}

/// A write or a call.
pub(crate) struct Planned<'r> {
    pub work: Work,
    pub representation: Arc<dyn Representation>,
    pub finish: Finish<'r>,
    pub explain: Option<Explain<'r>>,
}

impl Planned<'_> {
    /// A transaction of this step alone, to be explained; `None` where there is nothing to do.
    pub fn alone(&self, headers: &HeaderMap, dry_run: bool) -> Option<Transaction> {
        let Work::Step(step) = &self.work else { return None };
        Some(Transaction {
            steps: vec![step.clone()],
            dry_run,
            traceparent: traceparent(headers),
            ..Transaction::default()
        })
    }
}

/// What a request comes to.
#[allow(clippy::large_enum_variant, reason = "one a request, moved twice")]
pub(crate) enum Plan<'r> {
    /// A read of its own kind, which may be answered from the cache.
    Read(Box<Prepared>, Route<'r>),
    /// The call of a function that only reads.
    Reading(Box<Prepared>, Call),
    /// Everything that changes something.
    Write(Planned<'r>),
}

impl<D: Data> Rest<D> {
    /// Understands any request but those of the API's description.
    pub(crate) async fn plan<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        route: &'r Route<'r>,
        identity: &'r Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Plan<'r>, Error> {
        if let Route::Relation(name) = route
            && !is_read(request.method())
        {
            condition::refuse(request.headers(), name)?;
        }
        let planned = match (route, request.method().as_str()) {
            (Route::Relation(_) | Route::Item(..), "GET" | "HEAD") => {
                let prepared = self.understand_read(schema, route, request, &identity.role, preceding)?;
                let again = match route {
                    Route::Relation(name) => Route::Relation((&**name).into()),
                    Route::Item(name, id) => Route::Item((&**name).into(), (&**id).into()),
                    _ => Route::Root,
                };
                return Ok(Plan::Read(Box::new(prepared), again));
            }
            (Route::Function(name), "GET" | "HEAD" | "POST") => {
                return self.plan_call(schema, request, name, identity, preceding);
            }
            (Route::Function(_), _) => return Err(error::function_method(request.method())),
            (Route::Relation(name), "POST") => self.insert(schema, request, name, identity, preceding)?,
            (Route::Relation(name), "PUT") => self.put(schema, request, name, identity, preceding)?,
            (Route::Relation(name), "PATCH") => self.update(schema, request, name, identity, preceding)?,
            (Route::Relation(name), "DELETE") => self.delete(schema, request, name, identity, preceding)?,
            (Route::Item(name, id), "PUT") => self.put_item(schema, request, name, id, identity, preceding).await?,
            (Route::Item(name, id), "PATCH") => {
                return self.update_item(schema, request, name, id, identity, preceding).await;
            }
            (Route::Item(name, id), "DELETE") => {
                self.delete_item(schema, request, name, id, identity, preceding).await?
            }
            _ => return Err(error::unsupported_method(request.method())),
        };
        Ok(Plan::Write(planned))
    }

    /// A request that changes something, in a transaction of its own.
    pub(crate) async fn write(
        &self,
        request: &Request<Bytes>,
        route: &Route<'_>,
        identity: &Identity,
        outlet: &mut Outlet,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let named = self.naming(request);
        let asked = Asked(Some(&named));
        match self.plan(&schema, request, route, identity, None).await? {
            Plan::Read(prepared, route) => {
                let none = http::HeaderMap::new();
                let query = &prepared.query;
                self.ask(
                    &prepared,
                    query,
                    &route,
                    identity,
                    &none,
                    false,
                    asked,
                    &mut Outlet::Closed,
                )
                .await
            }
            Plan::Reading(prepared, call) => {
                if request.headers().contains_key("idempotency-key") {
                    let planned = of_call(*prepared, call);
                    return self.perform(planned, request, identity).await;
                }
                let (query, headers) = (&prepared.query, request.headers());
                self.ask(&prepared, query, route, identity, headers, false, asked, outlet)
                    .await
            }
            Plan::Write(planned) => self.perform(planned, request, identity).await,
        }
    }

    /// Commits a transaction of one step, and answers.
    async fn perform(
        &self,
        planned: Planned<'_>,
        request: &Request<Bytes>,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let step = match planned.work {
            Work::Nothing(outcome) => return (planned.finish)(false, outcome),
            Work::Step(step) => step,
        };
        let preferences = Preferences::read(request.headers());
        let transaction = Transaction {
            steps: vec![step],
            idempotency: idempotency::of(request, identity)?,
            dry_run: preferences.rollback == Some(true) && self.config.rollback,
            traceparent: traceparent(request.headers()),
            ..Transaction::default()
        };
        let representations = std::slice::from_ref(&planned.representation);
        let named = self.naming(request);
        let asked = Asked(Some(&named));
        let committed = self.data.write(transaction, identity, representations, asked).await;
        let committed = match (committed, planned.explain) {
            (Err(error), Some(explain)) => return Err(explain(error)),
            (committed, _) => committed?,
        };
        let replayed = committed.replayed;
        let outcome = committed.outcomes.into_iter().next().unwrap_or_default();
        raised::shaped((planned.finish)(replayed, outcome)?, committed.response)
    }
}

/// A read as a step of a transaction.
pub(crate) fn of_read<'r>(prepared: Prepared, route: &Route<'_>, method: &Method) -> Planned<'r> {
    let singular = matches!(prepared.expect, Expect::One | Expect::Item(_));
    let step = Step {
        params: prepared.query.params,
        earlier: prepared.earlier,
        returning: Some(QueryShape::clone(&prepared.query.shape)),
        singular,
        ..Step::new(Action::Read)
    };
    let item = match (&prepared.expect, route) {
        (Expect::Item(relation), Route::Item(_, id)) => Some((relation.clone(), id.to_string())),
        _ => None,
    };
    let is_item = item.is_some();
    let counted = prepared.query.shape.count != Count::None;
    let (mut headers, offset, head) = (
        prepared.headers.fixed().clone(),
        prepared.offset,
        *method == Method::HEAD,
    );
    let finish: Finish<'r> = Box::new(move |_, outcome| {
        let total = outcome.total.filter(|_| counted);
        let mut status = StatusCode::OK;
        if !is_item {
            status = range::status_of_done(outcome.rows, total);
            headers.insert(CONTENT_RANGE, range::content_range(offset, outcome.rows, total));
        }
        let body = if head { Bytes::new() } else { outcome.body };
        Ok(response::with_body(status, headers, body))
    });
    let explain = item.map(|(relation, id)| -> Explain<'r> {
        Box::new(move |error| match &*error.code {
            "PGRST116" => error::no_such_row(&relation, &id),
            _ => error,
        })
    });
    Planned {
        work: Work::Step(step),
        representation: prepared.representation,
        finish,
        explain,
    }
}

/// A call as a step of a transaction.
pub(crate) fn of_call<'r>(prepared: Prepared, call: Call) -> Planned<'r> {
    let (singular, void, max_affected) = match prepared.expect {
        Expect::Function {
            singular,
            void,
            rows_max,
        } => (singular, void, rows_max),
        _ => (false, false, None),
    };
    let counted = prepared.query.shape.count != Count::None;
    let step = Step {
        params: prepared.query.params,
        earlier: prepared.earlier,
        returning: (!void).then(|| QueryShape::clone(&prepared.query.shape)),
        max_affected,
        singular: singular && !void,
        ..Step::new(Action::Call(call))
    };
    let (mut headers, offset) = (prepared.headers.fixed().clone(), prepared.offset);
    let finish: Finish<'r> = Box::new(move |replayed, outcome| {
        if replayed {
            headers.insert(response::REPLAYED, http::HeaderValue::from_static("true"));
        }
        if void {
            return Ok(response::empty(StatusCode::NO_CONTENT, headers));
        }
        if singular && outcome.rows != 1 {
            return Err(error::not_singular(outcome.rows));
        }
        let total = outcome.total.filter(|_| counted);
        let status = range::status_of_done(outcome.rows, total);
        headers.insert(CONTENT_RANGE, range::content_range(offset, outcome.rows, total));
        Ok(response::with_body(status, headers, outcome.body))
    });
    Planned {
        work: Work::Step(step),
        representation: prepared.representation,
        finish,
        explain: Some(Box::new(crate::rpc::from_function)),
    }
}
