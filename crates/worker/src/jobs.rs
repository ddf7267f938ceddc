//! Asynchronous calls (`Prefer: respond-async`): taken on durably, run by the worker, their state kept for a day.

use crate::consumer::{after, drive};
use base64::Engine as _;
use mainstay_bus::{Bus, Delivery, Job, Message};
use mainstay_model::{
    Action, Call, Consumed, Error, Expr, FunctionId, Identity, QueryShape, Result, Retry, Step, Transaction, Type, Value,
};
use mainstay_query::Engine;
use serde_json::{Map, Value as Json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The jobs' own subscription.
pub(crate) const SUBSCRIPTION: &str = "mainstay.jobs";

/// Its topic.
pub(crate) const TOPIC: &str = "mainstay.job";

/// A transient failure is tried so often.
const ATTEMPTS: u32 = 8;

/// Takes calls on and tells their state. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    bus: Arc<dyn Bus>,
}

/// A call to be made later, with the rights of who asked.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The function.
    pub function: FunctionId,
    /// Its arguments, as JSON by position, each read as the argument's type.
    pub args: Vec<Json>,
    /// Who asked.
    pub identity: Identity,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

impl Jobs {
    /// Over a bus.
    pub fn new(bus: Arc<dyn Bus>) -> Jobs {
        Jobs { bus }
    }

    /// Takes a call on; its id once it is durable. The id is unguessable: who knows it may ask for the result.
    pub async fn submit(&self, request: JobRequest) -> Result<String> {
        let mut random = [0u8; 18];
        getrandom::fill(&mut random).map_err(|e| Error::internal(format!("no random numbers: {e}")))?;
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
        let payload = serde_json::json!({
            "function": request.function.0,
            "args": request.args,
            "role": &*request.identity.role,
            "claims": &*request.identity.claims,
        });
        self.bus.open_job(id.clone()).await?;
        let message = Message {
            id: id.clone(),
            topic: TOPIC.into(),
            key: id.clone(),
            time_us: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64),
            payload: payload.to_string(),
            traceparent: request.traceparent,
        };
        self.bus.publish(vec![message]).await?;
        Ok(id)
    }

    /// A job's state.
    pub async fn state(&self, id: &str) -> Result<Option<Job>> {
        self.bus.job(id).await
    }
}

pub(crate) async fn run(parallel: usize, engine: Engine, bus: Arc<dyn Bus>, stopped: watch::Receiver<bool>) {
    let handle_bus = bus.clone();
    let handle = move |delivery: Delivery| {
        let (engine, bus) = (engine.clone(), handle_bus.clone());
        async move {
            let id = delivery.message.id.clone();
            let result = call(&engine, &delivery.message).await;
            if let Err(e) = &result
                && e.retry != Retry::Never
                && delivery.attempt < ATTEMPTS
            {
                let pause = after(e).unwrap_or(Duration::from_millis(100 << delivery.attempt.min(8)));
                if let Err(e) = bus.retry(delivery.serial, pause, e.to_string()).await {
                    mainstay_telemetry::error!("worker", "job {id} waits for a restart: {e}");
                }
                return;
            }
            // The result first: a job whose end is known may be forgotten, one whose end is not may not.
            let told = match bus.close_job(id.clone(), result.map_err(|e| e.to_string())).await {
                Ok(()) => bus.acknowledge(delivery.serial).await,
                Err(e) => Err(e),
            };
            if let Err(e) = told {
                mainstay_telemetry::error!("worker", "the end of job {id} was not kept: {e}");
            }
        }
    };
    drive(SUBSCRIPTION, parallel, bus, stopped, handle).await;
}

/// Makes the call. The job's id is consumed in its transaction: a second delivery has no second effect.
async fn call(engine: &Engine, message: &Message) -> Result<String> {
    let broken = || Error::internal("the job cannot be read");
    let job: Map<String, Json> = serde_json::from_str(&message.payload).map_err(|_| broken())?;
    let function = FunctionId(job.get("function").and_then(Json::as_u64).ok_or_else(broken)? as u32);
    let role = job.get("role").and_then(Json::as_str).ok_or_else(broken)?;
    let claims = job.get("claims").and_then(Json::as_object).cloned().unwrap_or_default();
    let identity = Identity { role: role.into(), claims: Arc::new(claims) };
    let schema = engine.schema();
    let declared = schema.functions.get(function.0 as usize).ok_or_else(broken)?;
    let given = job.get("args").and_then(Json::as_array).ok_or_else(broken)?;
    let mut params = Vec::new();
    let mut args = Vec::new();
    for (i, argument) in declared.args.iter().enumerate() {
        let ty: &Type = &argument.ty;
        let value = match given.get(i) {
            Some(json) => Value::from_json(json, ty)?,
            None => Value::Null,
        };
        params.push(value);
        args.push(Expr::param(i as u16, ty.clone()));
    }
    let call = Call { function, args, body: None };
    let mut step = Step::new(Action::Call(call.clone()));
    step.params = params;
    step.returning = Some(QueryShape::of(mainstay_model::Source::Call(call)));
    let transaction = Transaction {
        steps: vec![step],
        consumed: vec![Consumed { consumer: SUBSCRIPTION.into(), event: message.id.clone() }],
        traceparent: message.traceparent.clone(),
        ..Transaction::default()
    };
    let committed = engine.write(transaction, &identity).await?;
    let body = committed.outcomes.first().map(|o| o.body.clone()).unwrap_or_default();
    Ok(String::from_utf8_lossy(&body).into_owned())
}
