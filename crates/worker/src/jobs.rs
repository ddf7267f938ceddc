//! Asynchronous calls (`Prefer: respond-async`): taken on durably, run by the worker, their state kept for a day.

use crate::consumer::drive;
use base64::Engine as _;
use mainstay_bus::{BoxFuture, Bus, Claim, Delivery, Job, Message};
use mainstay_model::{Error, Idempotency, Result};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The jobs' own subscription.
pub(crate) const SUBSCRIPTION: &str = "mainstay.jobs";

/// Its topic.
pub(crate) const TOPIC: &str = "mainstay.job";

/// A transient failure is tried so often.
const ATTEMPTS: u32 = 8;

/// Runs a job. Called at least once per job; the effect must be bound to the job's id (an idempotency key) to happen once.
pub trait JobRunner: Send + Sync + 'static {
    /// The result as JSON, or why there is none.
    fn run<'a>(&'a self, id: &'a str, payload: &'a str) -> BoxFuture<'a, std::result::Result<String, JobFailure>>;
}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// What went wrong, for whoever asks for the job's state; JSON.
    pub error: String,
    /// Whether it may succeed later.
    pub transient: bool,
}

/// Takes calls on and tells their state. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    bus: Arc<dyn Bus>,
}

impl Jobs {
    /// Over a bus.
    pub fn new(bus: Arc<dyn Bus>) -> Jobs {
        Jobs { bus }
    }

    /// Takes a job on; its id once it is durable. The same `request` twice is one job, and another one under the same key is refused
    /// (422). The id cannot be guessed: who knows it may ask for the result.
    pub async fn submit(
        &self,
        payload: String,
        request: Option<Idempotency>,
        traceparent: Option<String>,
    ) -> Result<String> {
        let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).map_err(|e| Error::internal(format!("no random numbers: {e}")))?;
        let mut id = base64.encode(random);
        if let Some(request) = request {
            let fingerprint = base64.encode(request.fingerprint);
            let claim = Claim {
                key: base64.encode(request.scope),
                fingerprint: fingerprint.clone(),
                job: id,
            };
            let first = self.bus.claim_job(claim).await?;
            if first.fingerprint != fingerprint {
                return Err(
                    Error::new("MS422", "This Idempotency-Key was used with another request")
                        .hint("Send the same body again, or use another key")
                        .status(422),
                );
            }
            id = first.job;
        }
        if self.bus.job(&id).await?.is_some() {
            return Ok(id);
        }
        let message = Message {
            id: id.clone(),
            topic: TOPIC.into(),
            key: id.clone(),
            time_us: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_micros() as i64),
            payload,
            traceparent,
        };
        // The message first: a crash between the two leaves a job that runs and whose client was promised nothing.
        self.bus.publish(vec![message]).await?;
        self.bus.open_job(id.clone()).await?;
        Ok(id)
    }

    /// A job's state.
    pub async fn state(&self, id: &str) -> Result<Option<Job>> {
        self.bus.job(id).await
    }
}

pub(crate) async fn run(
    parallel: usize,
    runner: Arc<dyn JobRunner>,
    bus: Arc<dyn Bus>,
    stopped: watch::Receiver<bool>,
) {
    let handle_bus = bus.clone();
    let handle = move |delivery: Delivery| {
        let (runner, bus) = (runner.clone(), handle_bus.clone());
        async move {
            let id = delivery.message.id.clone();
            let result = match runner.run(&id, &delivery.message.payload).await {
                Err(failure) if failure.transient && delivery.attempt < ATTEMPTS => {
                    let pause = Duration::from_millis(100 << delivery.attempt.min(8));
                    if let Err(e) = bus.retry(delivery.serial, pause, failure.error).await {
                        mainstay_telemetry::error!("worker", "job {id} waits for a restart: {e}");
                    }
                    return;
                }
                Err(failure) => Err(failure.error),
                Ok(result) => Ok(result),
            };
            // The result first: a job whose end is known may be forgotten, one whose end is not may not.
            let told = async {
                bus.open_job(id.clone()).await?;
                bus.close_job(id.clone(), result).await?;
                bus.acknowledge(delivery.serial).await
            };
            if let Err(e) = told.await {
                mainstay_telemetry::error!("worker", "the end of job {id} was not kept: {e}");
            }
        }
    };
    drive(SUBSCRIPTION, parallel, bus, stopped, handle).await;
}
