//! What happens when something has happened: the outbox goes to the bus, the bus' messages go to webhooks and functions, until
//! each had its effect or lies among the dead letters where somebody can see it.

mod backoff;
mod consumer;
mod envelope;
mod jobs;
mod relay;
mod sign;
mod webhook;

pub use backoff::Retry;
pub use jobs::{JobFailure, JobRunner, Jobs};
pub use sign::{SecretError, SigningKey};
pub use webhook::{Target, TargetError};

use mainstay_bus::{Bus, Schedule};
use mainstay_model::{FunctionId, Result};
use mainstay_query::Engine;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

/// What the worker does.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Who wants what.
    pub subscriptions: Vec<Subscription>,
    /// Calls taken on with `Prefer: respond-async`: at most so many run at once.
    pub jobs_parallel: usize,
    /// The stores whose events are relayed here, by name: others have a process of their own for that.
    pub relayed: Vec<String>,
}

/// One `[[on]]`.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// What positions, metrics and dead letters go by.
    pub name: String,
    /// What sets it off.
    pub trigger: Trigger,
    /// What it does.
    pub action: Action,
    /// When it is tried again.
    pub retry: Retry,
    /// The longest that one attempt may take.
    pub timeout: Duration,
    /// Keys worked on at once.
    pub parallel: usize,
}

/// What sets a subscription off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Topics: `user.registered`, `change.orders.insert`.
    Topics(Vec<String>),
    /// A schedule.
    Every(Duration),
}

/// What a subscription does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Posts the event as a CloudEvent.
    Deliver {
        /// Where to.
        target: Target,
        /// Signs it.
        key: Option<SigningKey>,
        /// Sent along.
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
    },
    /// Calls a function with the event as its one jsonb argument, in one transaction with the note that it has seen it.
    Call(FunctionId),
    /// Publishes it under another topic.
    Publish(String),
}

/// The running worker.
pub struct Worker {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Worker {
    /// Starts relays, consumers, schedules and jobs on a thread of their own.
    pub async fn start(
        config: Config,
        engine: Engine,
        bus: Arc<dyn Bus>,
        jobs: Option<Arc<dyn JobRunner>>,
    ) -> Result<Worker> {
        let declared = declared(&config, jobs.is_some());
        let known: HashSet<String> = declared.iter().map(|s| s.name.clone()).collect();
        bus.declare(declared).await?;
        for lost in bus
            .backlog()
            .await?
            .iter()
            .filter(|of| !known.contains(&of.subscription))
        {
            let name = &lost.subscription;
            mainstay_telemetry::warn!(
                "worker",
                "{} messages and {} dead letters are for \"{name}\", and no [[on]] has that name any more: bring it back, or throw them \
                 away with mainstay events discard --subscription {name}",
                lost.waiting,
                lost.parked
            );
        }
        let (stop, stopped) = watch::channel(false);
        let relays: Vec<relay::Relay> = engine
            .stores()
            .iter()
            .filter(|store| config.relayed.iter().any(|name| name == store.name()))
            .map(|store| relay::Relay::new(store.clone(), bus.clone()))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| mainstay_model::Error::internal(format!("the worker's runtime could not be started: {e}")))?;
        let thread = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || LocalSet::new().block_on(&runtime, run(config, engine, bus, jobs, relays, stopped)))
            .map_err(|e| mainstay_model::Error::internal(format!("the worker's thread could not be started: {e}")))?;
        Ok(Worker {
            stop,
            thread: Some(thread),
        })
    }

    /// Lets what is in flight end, and ends. What was not acknowledged comes again at the next start.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The subscriptions as the bus knows them.
fn declared(config: &Config, jobs: bool) -> Vec<mainstay_bus::Subscription> {
    let own = config
        .subscriptions
        .iter()
        .map(|subscription| mainstay_bus::Subscription {
            name: subscription.name.clone(),
            topics: match &subscription.trigger {
                Trigger::Topics(topics) => topics.clone(),
                Trigger::Every(_) => Vec::new(),
            },
        });
    let jobs = jobs.then(|| mainstay_bus::Subscription {
        name: jobs::SUBSCRIPTION.into(),
        topics: vec![jobs::TOPIC.into()],
    });
    own.chain(jobs).collect()
}

async fn run(
    config: Config,
    engine: Engine,
    bus: Arc<dyn Bus>,
    jobs: Option<Arc<dyn JobRunner>>,
    relays: Vec<relay::Relay>,
    stopped: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    for relay in relays {
        tasks.spawn_local(relay.run(stopped.clone()));
    }
    let schedules: Vec<Schedule> = config
        .subscriptions
        .iter()
        .filter_map(|s| match s.trigger {
            Trigger::Every(every) => Some(Schedule {
                subscription: s.name.clone(),
                every,
            }),
            Trigger::Topics(_) => None,
        })
        .collect();
    if !schedules.is_empty() {
        tasks.spawn_local(tick(schedules, bus.clone(), stopped.clone()));
    }
    for subscription in config.subscriptions {
        tasks.spawn_local(consumer::run(
            subscription,
            engine.clone(),
            bus.clone(),
            stopped.clone(),
        ));
    }
    if let Some(runner) = jobs {
        tasks.spawn_local(jobs::run(config.jobs_parallel.max(1), runner, bus, stopped));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(e) = ended {
            mainstay_telemetry::error!("worker", "a task of the worker died: {e}");
        }
    }
}

async fn tick(schedules: Vec<Schedule>, bus: Arc<dyn Bus>, mut stopped: watch::Receiver<bool>) {
    loop {
        let wait = match bus.tick(schedules.clone()).await {
            Ok(next) => next.unwrap_or(Duration::from_secs(60)).min(Duration::from_secs(60)),
            Err(e) => {
                mainstay_telemetry::error!("worker", "schedules could not be looked at: {e}");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
            _ = stopped.changed() => return,
        }
    }
}
