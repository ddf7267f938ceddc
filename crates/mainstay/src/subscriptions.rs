//! `[[on]]` as the worker takes it.

use crate::instance::Part;
use crate::secrets;
use mainstay_config::Project;
use mainstay_config::project::{Action, Backoff, Delivery, Operation, Subscription, Trigger};
use mainstay_model::{Schema, change_topic};
use mainstay_worker::{Retry, SigningKey, Target};

/// Asynchronous calls that run at once.
const JOBS_PARALLEL: usize = 16;

/// This process' own gateway, for deliveries to paths.
pub struct Own {
    /// Where it is: `http://127.0.0.1:8080`.
    pub url: String,
    /// What it knows the process' own requests by.
    pub key: http::HeaderValue,
}

/// The worker's configuration for a part of the project.
pub fn worker(project: &Project, schema: &Schema, part: &Part, own: &Own) -> Result<mainstay_worker::Config, String> {
    let mut subscriptions = Vec::new();
    for subscription in &project.subscriptions {
        if concerns(project, subscription, schema, part) {
            subscriptions.push(one(project, schema, subscription, own)?);
        }
    }
    Ok(mainstay_worker::Config {
        subscriptions,
        jobs_parallel: JOBS_PARALLEL,
        relayed: project
            .stores
            .keys()
            .filter(|s| part.relays(project, s))
            .cloned()
            .collect(),
    })
}

/// Whether a subscription belongs to this part: its table or function is worked for here. One that names neither goes where events
/// arise, which is everywhere, and a schedule that names neither to the whole.
fn concerns(project: &Project, subscription: &Subscription, schema: &Schema, part: &Part) -> bool {
    let of_function = |name: &str| {
        let function = schema.functions.iter().find(|f| *f.name == *name)?;
        Some(part.works(project, function.service.as_deref(), &function.store))
    };
    let of_table = |name: &str| {
        let relation = schema.relation(crate::project::find_table(schema, name)?);
        Some(part.works(project, relation.service.as_deref(), &relation.store))
    };
    let trigger = match &subscription.trigger {
        Trigger::Change { table, .. } => of_table(table).unwrap_or(true),
        Trigger::Every(_) => matches!(subscription.action, Action::Call(_)) || part.own_schema,
        Trigger::Event(_) | Trigger::Topic(_) => true,
    };
    let action = match &subscription.action {
        Action::Call(function) => of_function(function).unwrap_or(true),
        Action::Deliver { .. } | Action::Publish(_) => true,
    };
    trigger && action
}

fn one(
    project: &Project,
    schema: &Schema,
    subscription: &Subscription,
    own: &Own,
) -> Result<mainstay_worker::Subscription, String> {
    let at = &subscription.at;
    let trigger = match &subscription.trigger {
        Trigger::Event(topic) => mainstay_worker::Trigger::Topics(vec![topic.clone()]),
        Trigger::Topic(topic) => mainstay_worker::Trigger::Topics(vec![topic.clone()]),
        Trigger::Every(every) => mainstay_worker::Trigger::Every(*every),
        Trigger::Change { table, operations } => {
            let relation = crate::project::find_table(schema, table);
            let relation = relation.ok_or_else(|| format!("{at}: there is no table \"{table}\""))?;
            let topic = |operation: &Operation| {
                let operation = match operation {
                    Operation::Insert => "insert",
                    Operation::Update => "update",
                    Operation::Delete => "delete",
                };
                change_topic(schema, schema.relation(relation), operation)
            };
            mainstay_worker::Trigger::Topics(operations.iter().map(topic).collect())
        }
    };
    let action = match &subscription.action {
        Action::Publish(topic) => mainstay_worker::Action::Publish(topic.clone()),
        Action::Call(name) => {
            let function = schema.functions.iter().position(|f| *f.name == **name);
            let function = function.ok_or_else(|| format!("{at}: there is no function \"{name}\""))?;
            mainstay_worker::Action::Call(mainstay_model::FunctionId(function as u32))
        }
        Action::Deliver { to, secret, headers } => {
            let url = match to {
                Delivery::Url(url) => url.expose().to_owned(),
                Delivery::Path(path) => format!("{}{path}", own.url),
            };
            let target = Target::parse(&url).map_err(|e| format!("{at}: deliver: {e}"))?;
            let text = match secret {
                Some(secret) => secret.expose().to_owned(),
                None => {
                    let file = format!("webhook-{}.secret", file_name(&subscription.name));
                    secrets::generated(&project.state_directory(), &file, "whsec_").map_err(|e| format!("{at}: {e}"))?
                }
            };
            let key = SigningKey::parse(&text).map_err(|e| format!("{at}: secret: {e}"))?;
            let mut headers: Vec<(http::HeaderName, http::HeaderValue)> = headers
                .iter()
                .map(|(name, value)| {
                    let name =
                        http::HeaderName::try_from(name.as_str()).map_err(|e| format!("{at}: headers: {name}: {e}"))?;
                    let value = http::HeaderValue::try_from(value.expose())
                        .map_err(|_| format!("{at}: headers: {name}: not a header's value"))?;
                    Ok((name, value))
                })
                .collect::<Result<_, String>>()?;
            if matches!(to, Delivery::Path(_)) {
                headers.push((mainstay_gateway::OWN_KEY, own.key.clone()));
            }
            mainstay_worker::Action::Deliver {
                target,
                key: Some(key),
                headers,
            }
        }
    };
    Ok(mainstay_worker::Subscription {
        name: subscription.name.clone(),
        trigger,
        action,
        retry: Retry {
            attempts: subscription.retry.attempts,
            exponential: subscription.retry.backoff == Backoff::Exponential,
            initial: subscription.retry.initial,
            max: subscription.retry.max,
        },
        timeout: subscription.timeout,
        parallel: subscription.parallel as usize,
    })
}

/// A name that is safe as a part of a file's.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect()
}
