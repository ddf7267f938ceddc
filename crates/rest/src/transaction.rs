//! `POST /rest/v1/`: several operations as one transaction. Each is what it would be as a request of its own; all of them happen or
//! none, and later ones may take values from the rows of earlier ones ([`crate::preceding`]).

use crate::data::Data;
use crate::media::{self, Content};
use crate::planned::{self, Plan, Planned, Work};
use crate::preceding::{Leaves, Preceding};
use crate::prefer::{Honoured, Preferences};
use crate::rpc::traceparent;
use crate::{PREFIX, Rest, Route, error, idempotency, raised, response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use mainstay_model::{
    Action, Error, Expr, Identity, Item, Projected, QueryShape, Schema, Source, Step, Transaction, write_json_string,
};
use mainstay_query::Asked;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One operation on the wire.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    /// With or without `/rest/v1` in front.
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON; of another `Content-Type` a string that holds it.
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

impl<D: Data> Rest<D> {
    /// Does all of the operations in a body, or none.
    pub(crate) async fn transaction(
        &self,
        request: &Request<Bytes>,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let headers = request.headers();
        let preferences = Preferences::read(headers);
        preferences.check()?;
        if media::content(headers)? != Content::Json {
            return Err(error::invalid_body(
                "Content-Type not acceptable: a transaction is JSON",
            ));
        }
        let operations = self.operations(request)?;
        let schema = self.data.schema();
        let paths = operations
            .iter()
            .enumerate()
            .map(|(i, operation)| Route::read(operation.uri().path()).map_err(|error| error.at_step(i)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut preceding = Arc::new(Preceding::default());
        let mut planned = Vec::with_capacity(operations.len());
        for (i, (operation, route)) in operations.iter().zip(&paths).enumerate() {
            let plan = self.plan(&schema, operation, route, identity, Some(&preceding)).await;
            let (leaves, plan) = plan
                .map(|plan| unfold(plan, route, operation))
                .map_err(|error| error.at_step(i))?;
            Arc::make_mut(&mut preceding).0.push(leaves);
            planned.push(plan);
        }
        let rollback = preferences.rollback == Some(true) && self.config.rollback;
        let mut transaction = Transaction {
            idempotency: idempotency::of(request, identity)?,
            dry_run: rollback,
            traceparent: traceparent(headers),
            ..Transaction::default()
        };
        let mut representations = Vec::with_capacity(planned.len());
        let mut rest = Vec::with_capacity(planned.len());
        for one in planned {
            let (step, outcome) = match one.work {
                Work::Step(step) => (step, None),
                // It keeps its number, so that references still lead where they did.
                Work::Nothing(outcome) => (Step::new(Action::Read), Some(outcome)),
            };
            transaction.steps.push(step);
            representations.push(one.representation);
            rest.push((outcome, one.finish, one.explain));
        }
        show_what_is_referred_to(&mut transaction, &schema);
        let named = self.naming(request);
        let asked = Asked(Some(&named));
        let committed = match self.data.write(transaction, identity, &representations, asked).await {
            Ok(committed) => committed,
            Err(error) => {
                let explain = error.step.and_then(|step| rest.into_iter().nth(step.into())?.2);
                let step = error.step;
                let error = match explain {
                    Some(explain) => explain(error),
                    None => error,
                };
                return Err(match step {
                    Some(step) => error.at_step(step.into()),
                    None => error,
                });
            }
        };
        let mut body = vec![b'['];
        for (i, (outcome, (nothing, finish, _))) in committed.outcomes.into_iter().zip(rest).enumerate() {
            if i > 0 {
                body.push(b',');
            }
            // That it is a repetition is said once, of the whole. What fails now is a page that a read asked for and that is not there: nothing was lost by it.
            let answer = finish(false, nothing.unwrap_or(outcome))
                .unwrap_or_else(|error| error::response(&error, self.config.is_anonymous(&identity.role), None));
            write_answer(&answer, &mut body);
        }
        body.push(b']');
        let applied = Preferences {
            count: None,
            timezone: None,
            consistency: None,
            ..preferences
        };
        let applied = applied.applied(Honoured {
            rollback: self.config.rollback,
            ..Honoured::default()
        });
        let mut headers = response::template(Some("application/json; charset=utf-8"), None, applied);
        if committed.replayed {
            headers.insert(response::REPLAYED, HeaderValue::from_static("true"));
        }
        raised::shaped(
            response::with_body(StatusCode::OK, headers, body.into()),
            committed.response,
        )
    }

    /// The operations of a body, as the requests that they are. Errors: PGRST102, 54000.
    fn operations(&self, request: &Request<Bytes>) -> Result<Vec<Request<Bytes>>, Error> {
        let not_json = |why: serde_json::Error| error::invalid_body("Empty or invalid json").detail(why.to_string());
        let text = std::str::from_utf8(request.body()).map_err(|_| error::invalid_body("Empty or invalid json"))?;
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|why| {
            not_json(why)
                .hint("a transaction is an array of operations: [{\"method\": …, \"path\": …, \"body\": …}, …]")
        })?;
        let most = self.config.limits.operations;
        if items.len() > most {
            return Err(error::too_much(
                "too many operations in a transaction",
                most,
                "limits.operations",
            ));
        }
        let read = |(i, item): (usize, &&RawValue)| {
            let wire: Wire<'_> = serde_json::from_str(item.get()).map_err(|why| {
                error::invalid_body("An operation of the transaction cannot be read")
                    .detail(why.to_string())
                    .at_step(i)
            })?;
            operation(wire, request.headers()).map_err(|error| error.at_step(i))
        };
        items.iter().enumerate().map(read).collect()
    }
}

/// An operation as the request that it is. Schemas that it does not name are the transaction's.
fn operation(wire: Wire<'_>, outer: &HeaderMap) -> Result<Request<Bytes>, Error> {
    let method = Method::from_bytes(wire.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| error::invalid_body("The method of an operation is none"))?;
    let path = match wire.path.strip_prefix(PREFIX) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => &wire.path,
    };
    if !path.starts_with('/') {
        return Err(error::invalid_path().hint("the path of an operation is like /orders?id=eq.1"));
    }
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{PREFIX}{}", encoded(path)))
        .body(Bytes::new())
        .map_err(|_| error::invalid_path())?;
    let headers = request.headers_mut();
    for (name, value) in &wire.headers {
        let name = HeaderName::try_from(name).map_err(|_| error::bad_header(name, "the name of a header"))?;
        if name == "idempotency-key" {
            return Err(error::bad_header(
                "Idempotency-Key",
                "a header of the transaction, not of one of its operations",
            ));
        }
        let value =
            HeaderValue::try_from(value).map_err(|_| error::bad_header(name.as_str(), "visible ASCII characters"))?;
        headers.insert(name, value);
    }
    let own = Preferences::read(headers);
    if own.rollback.is_some() || own.respond_async {
        return Err(error::bad_header(
            "Prefer",
            "without tx and respond-async, which are the transaction's",
        ));
    }
    for name in ["accept-profile", "content-profile"] {
        if !headers.contains_key(name)
            && let Some(value) = outer.get("content-profile")
        {
            headers.insert(name, value.clone());
        }
    }
    let body = match (wire.body.map(RawValue::get), media::content(headers)?) {
        (None, _) => Bytes::new(),
        (Some(json), Content::Json) => Bytes::copy_from_slice(json.as_bytes()),
        (Some(json), _) => {
            let text: String = serde_json::from_str(json)
                .map_err(|_| error::invalid_body("A body that is not JSON must be given as a string"))?;
            text.into()
        }
    };
    *request.body_mut() = body;
    Ok(request)
}

/// A path as a URL has it: what may stand in one stays, also what is encoded already.
fn encoded(path: &str) -> Cow<'_, str> {
    let may_stand = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'"' | b'<' | b'>' | b'#' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
            )
    };
    if path.bytes().all(may_stand) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if may_stand(byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

/// A plan as a step, and what it leaves behind for later ones.
fn unfold<'r>(plan: Plan<'r>, route: &Route<'_>, operation: &Request<Bytes>) -> (Leaves, Planned<'r>) {
    let planned = match plan {
        Plan::Read(prepared, _) => planned::of_read(*prepared, route, operation.method()),
        Plan::Reading(prepared, call) => planned::of_call(*prepared, call),
        Plan::Write(planned) => planned,
    };
    let leaves = match &planned.work {
        Work::Nothing(_) => Leaves::Nothing,
        Work::Step(step) => match (step.relation(), &step.returning) {
            (Some(relation), _) => Leaves::Rows(relation),
            (None, Some(shape)) => Leaves::Values(values(shape)),
            (None, None) => Leaves::Nothing,
        },
    };
    (leaves, planned)
}

/// The values of a row of an answer. Behind columns that are spread into the row their place is not known.
fn values(shape: &QueryShape) -> Vec<(Arc<str>, mainstay_model::Type)> {
    let known = shape
        .select
        .iter()
        .take_while(|item| !matches!(item, Item::Embed(embed) if embed.spread && !embed.hidden));
    known
        .filter_map(|item| match item {
            Item::Field(field) => Some((field.name.clone(), field.expr.ty.clone())),
            Item::Embed(_) => None,
        })
        .collect()
}

/// Whoever refers to a column reads it, so the step that wrote it returns it: the rules for reading are looked at then.
fn show_what_is_referred_to(transaction: &mut Transaction, schema: &Schema) {
    let all: Vec<(u16, u32, u32)> = transaction.steps.iter().flat_map(Step::references).collect();
    for (of, _, column) in all {
        let Some(step) = transaction.steps.get_mut(usize::from(of)) else {
            continue;
        };
        let Some(relation) = step.relation() else { continue };
        if step.returning.is_some() {
            continue;
        }
        let Some(found) = schema.relation(relation).columns.get(column as usize) else {
            continue;
        };
        let field = Projected {
            expr: Expr::column(column, found.ty.clone()),
            name: found.name.clone(),
        };
        step.returning = Some(QueryShape {
            select: vec![Item::Field(field)],
            ..QueryShape::of(Source::Relation(mainstay_model::RelationRef::new(relation)))
        });
    }
}

/// `{"status":201,"headers":{…},"body":…}`; a body that is not JSON is a string.
fn write_answer(answer: &Response<Bytes>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"status\":{},\"headers\":{{", answer.status().as_u16()).as_bytes());
    // These are about a response on its own.
    let mut first = true;
    for (name, value) in answer.headers() {
        if name == CACHE_CONTROL || name == VARY {
            continue;
        }
        let Ok(value) = value.to_str() else { continue };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_json_string(name.as_str(), out);
        out.push(b':');
        write_json_string(value, out);
    }
    out.extend_from_slice(b"},\"body\":");
    let json = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.split(';').next().is_some_and(|name| name.ends_with("json")));
    match (answer.body(), json) {
        (body, _) if body.is_empty() => out.extend_from_slice(b"null"),
        (body, true) => out.extend_from_slice(body),
        (body, false) => write_json_string(&String::from_utf8_lossy(body), out),
    }
    out.push(b'}');
}
