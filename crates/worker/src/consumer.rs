//! One subscription at work: a task of its own, so that a bad one delays nobody else.

use crate::webhook::{Sent, Webhook};
use crate::{Action, Subscription, envelope};
use mainstay_bus::{Bus, Delivery, Message};
use mainstay_model::{
    Action as Write, Call, Consumed, Error, Expr, FunctionId, Identity, Retry as Again, Step, Transaction, Type, Value,
};
use mainstay_query::Engine;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What came of an attempt.
pub(crate) enum Outcome {
    Done,
    /// Why, and the shortest pause if the other side named one.
    Failed(String, Option<Duration>),
    /// Trying again would not help.
    Hopeless(String),
}

/// Delivers what the subscription gets until the worker stops.
pub(crate) async fn run(subscription: Subscription, engine: Engine, bus: Arc<dyn Bus>, stopped: watch::Receiver<bool>) {
    let name = subscription.name.clone();
    let parallel = subscription.parallel.max(1);
    // Connections are kept per thread and the worker has one: they need no lock.
    let webhook = match &subscription.action {
        Action::Deliver { target, key, headers } => Some(Webhook::new(target.clone(), key.clone(), headers.clone())),
        _ => None,
    };
    let handle_bus = bus.clone();
    let handle = move |delivery: Delivery| {
        let (subscription, engine, bus, webhook) = (
            subscription.clone(),
            engine.clone(),
            handle_bus.clone(),
            webhook.clone(),
        );
        async move {
            let outcome = attempt(&subscription, &engine, &bus, webhook.as_ref(), &delivery.message).await;
            settle(&subscription, &bus, delivery, outcome).await;
        }
    };
    drive(&name, parallel, bus, stopped, handle).await;
}

/// Fetches and hands out, at most `parallel` at once; ends when stopped, after what is under way.
pub(crate) async fn drive<F, W>(
    name: &str,
    parallel: usize,
    bus: Arc<dyn Bus>,
    mut stopped: watch::Receiver<bool>,
    handle: F,
) where
    F: Fn(Delivery) -> W,
    W: Future<Output = ()> + 'static,
{
    let mut under_way = JoinSet::new();
    while !*stopped.borrow() {
        let room = parallel - under_way.len();
        let fetched = if room == 0 {
            Ok(Vec::new())
        } else {
            bus.fetch(name, room).await
        };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(e) => {
                mainstay_telemetry::error!("worker", "{name} cannot fetch: {e}");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    _ = stopped.changed() => break,
                }
                continue;
            }
        };
        let full = fetched.len() == room;
        for delivery in fetched {
            under_way.spawn_local(handle(delivery));
        }
        if full && under_way.len() < parallel {
            continue;
        }
        tokio::select! {
            () = bus.ready(name), if under_way.len() < parallel => {}
            Some(_) = under_way.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    while under_way.join_next().await.is_some() {}
}

async fn attempt(
    subscription: &Subscription,
    engine: &Engine,
    bus: &Arc<dyn Bus>,
    webhook: Option<&Webhook>,
    message: &Message,
) -> Outcome {
    match &subscription.action {
        Action::Deliver { .. } => match webhook {
            Some(webhook) => match webhook.post(message, subscription.timeout).await {
                Sent::Accepted => Outcome::Done,
                Sent::Failed(why, after) => Outcome::Failed(why, after),
                Sent::Gone(why) => Outcome::Hopeless(why),
            },
            None => Outcome::Hopeless("the subscription lost its receiver".into()),
        },
        Action::Call(function) => {
            let call = call(engine, *function, subscription, message);
            match tokio::time::timeout(subscription.timeout, call).await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(e)) => Outcome::Failed(e.to_string(), after(&e)),
                Err(_) => Outcome::Failed(format!("no end within {} ms", subscription.timeout.as_millis()), None),
            }
        }
        Action::Publish(topic) => {
            // Another event, by a name that is the same each time: who takes both topics gets both.
            let message = Message {
                id: format!("{}:{topic}", message.id),
                topic: topic.clone(),
                ..message.clone()
            };
            match bus.publish(vec![message]).await {
                Ok(()) => Outcome::Done,
                Err(e) => Outcome::Failed(e.to_string(), after(&e)),
            }
        }
    }
}

/// Calls the function with the event; a second delivery finds that the event was consumed and does nothing.
async fn call(
    engine: &Engine,
    function: FunctionId,
    subscription: &Subscription,
    message: &Message,
) -> mainstay_model::Result<()> {
    let event = Value::parse(&envelope::cloud_event(message), &Type::Jsonb)?;
    let call = Call {
        function,
        args: vec![Expr::param(0, Type::Jsonb)],
        body: None,
    };
    let mut step = Step::new(Write::Call(call));
    step.params = vec![event];
    let transaction = Transaction {
        steps: vec![step],
        consumed: vec![Consumed {
            consumer: subscription.name.clone(),
            event: message.id.clone(),
        }],
        traceparent: message.traceparent.clone(),
        ..Transaction::default()
    };
    engine.write(transaction, &Identity::service()).await?;
    Ok(())
}

pub(crate) fn after(error: &Error) -> Option<Duration> {
    match error.retry {
        Again::After(seconds) => Some(Duration::from_secs(u64::from(seconds))),
        _ => None,
    }
}

/// Tells the bus how it went; repeated until the bus takes it, since a lost acknowledgement is a second delivery.
async fn settle(subscription: &Subscription, bus: &Arc<dyn Bus>, delivery: Delivery, outcome: Outcome) {
    let name = &*subscription.name;
    let count = |what: &'static str| mainstay_telemetry::counter(what, &[("subscription", name)]).inc();
    let mut pause = Duration::from_millis(100);
    loop {
        let told = match &outcome {
            Outcome::Done => bus.acknowledge(delivery.serial).await,
            Outcome::Hopeless(why) => bus.park(delivery.serial, why.clone()).await,
            Outcome::Failed(why, least) => match subscription.retry.pause(delivery.attempt) {
                Some(pause) => {
                    // The receiver may ask for more time, and not for more than the subscription gives.
                    let least = least.unwrap_or_default().min(subscription.retry.max);
                    bus.retry(delivery.serial, pause.max(least), why.clone()).await
                }
                None => bus.park(delivery.serial, why.clone()).await,
            },
        };
        match told {
            Ok(()) => break,
            // The bus is closing: in flight it stays, and comes again.
            Err(e) if e.code == "57P03" => {
                mainstay_telemetry::error!(
                    "worker",
                    "{name}: the bus did not take the end of {}: {e}",
                    delivery.message.id
                );
                return;
            }
            Err(e) => {
                mainstay_telemetry::warn!("worker", "{name}: the end of {} waits: {e}", delivery.message.id);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
    match &outcome {
        Outcome::Done => {
            count("mainstay_delivered_total");
            let now_us = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_micros() as i64);
            let latency = Duration::from_micros((now_us - delivery.message.time_us).max(0) as u64);
            mainstay_telemetry::histogram("mainstay_delivery_seconds", &[("subscription", name)]).observe(latency);
        }
        Outcome::Failed(why, _) if subscription.retry.pause(delivery.attempt).is_some() => {
            count("mainstay_delivery_failures_total");
            mainstay_telemetry::warn!(
                "worker",
                "{name}: attempt {} of {} failed: {why}",
                delivery.attempt,
                delivery.message.id
            );
        }
        Outcome::Failed(why, _) | Outcome::Hopeless(why) => {
            count("mainstay_parked_total");
            mainstay_telemetry::error!(
                "worker",
                "{name}: {} is a dead letter after {} attempts: {why}; see: mainstay events parked",
                delivery.message.id,
                delivery.attempt
            );
        }
    }
}
