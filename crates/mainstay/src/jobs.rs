//! Calls that are made later (`Prefer: respond-async`): how they are kept, made and asked for.

use crate::api;
use crate::current::Current;
use crate::instance::Part;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{ALLOW, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode};
use mainstay_gateway::{Answer, Service};
use mainstay_model::{Error, Idempotency, Identity};
use mainstay_rest::{AsyncCall, Background};
use mainstay_worker::{JobFailure, JobRunner, Jobs};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Where the states of asynchronous calls are asked for.
pub const PREFIX: &str = "/jobs/v1";

/// Where the states of jobs are asked for. Jobs of a part of the project have its first service in their path: by it the gateway finds them.
fn place(part: &Part) -> String {
    match part.services.first().filter(|_| !part.own_schema) {
        Some(service) => format!("{PREFIX}/{service}/"),
        None => format!("{PREFIX}/"),
    }
}

/// Takes on calls that are made later.
pub struct Later {
    /// What keeps them.
    pub jobs: Jobs,
    /// Which part of the project this is.
    pub part: Part,
}

impl Background for Later {
    fn submit(&self, call: AsyncCall) -> Pin<Box<dyn Future<Output = Result<String, Error>> + Send + '_>> {
        Box::pin(async move {
            let headers = call.headers.iter();
            let headers: Vec<_> = headers
                .map(|(name, value)| json!([name.as_str(), BASE64.encode(value)]))
                .collect();
            let known = call.idempotency.as_ref();
            let payload = json!({
                "target": call.target,
                "headers": headers,
                "body": call.body,
                "role": &*call.identity.role,
                "claims": &*call.identity.claims,
                "idempotency": known.map(|known| [BASE64.encode(known.scope), BASE64.encode(known.fingerprint)]),
            });
            let submitted = self
                .jobs
                .submit(payload.to_string(), call.idempotency, call.traceparent);
            Ok(place(&self.part) + &submitted.await?)
        })
    }
}

/// Makes the calls: each through the dialect, as its client would have. Of a client without a key the job's id is the key.
pub struct Calls(pub Arc<Current>);

impl JobRunner for Calls {
    fn run<'a>(
        &'a self,
        id: &'a str,
        payload: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<String, JobFailure>> + Send + 'a>> {
        Box::pin(async move {
            let request = request_of(id, payload).map_err(|what| JobFailure {
                error: format!("the job cannot be read: {what}"),
                transient: false,
            })?;
            let response = self.0.now().rest.handle(request).await;
            let body = String::from_utf8_lossy(response.body()).into_owned();
            if response.status().is_success() {
                return Ok(body);
            }
            Err(JobFailure {
                error: body,
                transient: response.status().is_server_error(),
            })
        })
    }
}

fn request_of(id: &str, payload: &str) -> Result<Request<Bytes>, String> {
    let job: Value = serde_json::from_str(payload).map_err(|e| e.to_string())?;
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("a text is missing");
    let bytes = |value: &Value| BASE64.decode(text(value)?).map_err(|e| e.to_string());
    let hash = |value: &Value| <[u8; 32]>::try_from(bytes(value)?).map_err(|_| "a hash is too short".to_owned());
    let mut request = Request::post(text(&job["target"])?)
        .body(Bytes::from(text(&job["body"])?))
        .map_err(|e| e.to_string())?;
    for header in job["headers"].as_array().into_iter().flatten() {
        let name: HeaderName = text(&header[0])?.parse().map_err(|_| "a header has no name")?;
        let value = HeaderValue::from_maybe_shared(Bytes::from(bytes(&header[1])?)).map_err(|e| e.to_string())?;
        request.headers_mut().append(name, value);
    }
    match &job["idempotency"] {
        Value::Null => {
            let key = HeaderValue::try_from(format!("job-{id}")).map_err(|e| e.to_string())?;
            request.headers_mut().insert("idempotency-key", key);
        }
        known => {
            let (scope, fingerprint) = (hash(&known[0])?, hash(&known[1])?);
            request.extensions_mut().insert(Idempotency { scope, fingerprint });
        }
    }
    let claims = Arc::new(job["claims"].as_object().cloned().unwrap_or_default());
    let identity = Identity::new(text(&job["role"])?, claims);
    request.extensions_mut().insert(Arc::new(identity));
    Ok(request)
}

/// `/jobs/v1/{id}`: the state of an asynchronous call. The id is the permission.
pub struct JobStates {
    jobs: Jobs,
    place: String,
}

impl JobStates {
    /// Those that a part of the project keeps.
    pub fn of(jobs: Jobs, part: &Part) -> JobStates {
        JobStates {
            jobs,
            place: place(part),
        }
    }
}

impl Service for JobStates {
    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        Box::pin(async move {
            let refused = |status, code: &str, message: &str| {
                api::json(
                    status,
                    &json!({"code": code, "message": message, "details": null, "hint": null}),
                )
            };
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                let message = format!("A job's state is asked for with GET, not {}", request.method());
                let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "MS405", &message);
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                return response;
            }
            let id = request.uri().path().strip_prefix(&*self.place).unwrap_or_default();
            match self.jobs.state(id).await {
                Ok(Some(job)) => api::json(StatusCode::OK, &job_json(&job)),
                Ok(None) => {
                    let message = "There is no such job, or it ended more than a day ago";
                    refused(StatusCode::NOT_FOUND, "MS404", message)
                }
                Err(e) => refused(StatusCode::SERVICE_UNAVAILABLE, &e.code, &e.message),
            }
        })
    }
}

/// What is said of a job. Its result stays as it was written: numbers have digits that no float holds.
fn job_json(job: &mainstay_bus::Job) -> String {
    let written = |text: &str| match serde_json::from_str::<&RawValue>(text) {
        // Of a function that returns nothing.
        _ if text.is_empty() => "null".to_owned(),
        Ok(_) => text.to_owned(),
        Err(_) => Value::from(text).to_string(),
    };
    let id = Value::from(&*job.id);
    match &job.result {
        None => format!(r#"{{"id":{id},"state":"running"}}"#),
        Some(Ok(result)) => format!(r#"{{"id":{id},"state":"done","result":{}}}"#, written(result)),
        Some(Err(error)) => format!(r#"{{"id":{id},"state":"failed","error":{}}}"#, written(error)),
    }
}
