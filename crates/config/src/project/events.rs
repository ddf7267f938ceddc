//! `[bus]` and `[[on]]`: what happens when something has happened.

use std::path::Path;
use std::time::Duration;

use crate::problem::Location;
use crate::secret::Secret;
use crate::section::Section;
use crate::url::Url;

/// `[bus]`.
#[derive(Debug, Clone)]
pub struct Bus {
    /// `url`; default `embedded:`.
    pub url: Url,
    /// Where the section stands.
    pub at: Location,
}

/// `[[on]]`: one trigger, one action.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// `name`: what its position, its metrics and its dead letters go by. Default: made from the trigger and the action, so a
    /// subscription whose action changes starts anew unless it has a name.
    pub name: String,
    /// What sets it off: exactly one of `change`, `event`, `topic`, `every`.
    pub trigger: Trigger,
    /// What it does: exactly one of `deliver`, `call`, `publish`.
    pub action: Action,
    /// `retry`.
    pub retry: Retry,
    /// `timeout`: the longest one attempt may take; default 10 s.
    pub timeout: Duration,
    /// `parallel`: keys worked on at once (one key never has two deliveries in flight); default 16.
    pub parallel: u32,
    /// Where the entry stands.
    pub at: Location,
}

/// What sets a subscription off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// `change = { table = "orders", op = "insert" }`, or `change = "orders"` for all three operations.
    Change {
        /// The table; whoever knows the schema checks it.
        table: String,
        /// Without repetition; all three when `op` is not written.
        operations: Vec<Operation>,
    },
    /// `event = "user.registered"`: an explicit `emit` with this topic.
    Event(String),
    /// `topic = "payments"`: a message of the broker.
    Topic(String),
    /// `every = "1h"`: a schedule.
    Every(Duration),
}

/// What a change did to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A new row.
    Insert,
    /// A changed row.
    Update,
    /// A row that is gone.
    Delete,
}

/// What a subscription does.
#[derive(Debug, Clone)]
pub enum Action {
    /// `deliver`: a signed webhook.
    Deliver {
        /// Where to.
        to: Delivery,
        /// `secret`: the Standard Webhooks signing key (`whsec_…`); without it requests are not signed.
        secret: Option<Secret>,
        /// `headers`: sent along, in order of name; values may be secret.
        headers: Vec<(String, Secret)>,
    },
    /// `call`: a function of the project.
    Call(String),
    /// `publish`: a topic of the bus.
    Publish(String),
}

/// Where a webhook goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// An http or https URL. It stands in the operator's own file and so may be private.
    Url(Url),
    /// A path through this project's own gateway (`"/pay/hooks"`), with its routes, balancing and retries.
    Path(String),
}

/// `retry`: what a failure leads to, until the message is parked among the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// `attempts`: the first one included; default 8.
    pub attempts: u32,
    /// `backoff`: `"exponential"` (the default) or `"fixed"`.
    pub backoff: Backoff,
    /// `initial`: the pause after the first failure; default 1 s.
    pub initial: Duration,
    /// `max`: the longest pause; default 5 min.
    pub max: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 8,
            backoff: Backoff::Exponential,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
        }
    }
}

/// How pauses grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Doubled after each failure, with jitter.
    Exponential,
    /// Always the initial pause, with jitter.
    Fixed,
}

pub(super) fn read_bus(section: &Section<'_>) -> Bus {
    let url = section
        .url("url")
        .unwrap_or_else(|| Url::of_file("embedded", Path::new("")));
    if url.scheme() == "embedded" && !url.rest().is_empty() {
        section.report(
            "url",
            format!("\"{url}\" names something, and the embedded bus has no name"),
            Some("write \"embedded:\"; its file is .mainstay/bus.db"),
        );
    }
    Bus { url, at: section.at() }
}

pub(super) fn read_subscriptions(root: &Section<'_>) -> Vec<Subscription> {
    root.list("on")
        .into_iter()
        .filter_map(|section| read_subscription(&section))
        .collect()
}

fn read_subscription(section: &Section<'_>) -> Option<Subscription> {
    // Everything is read before anything is given up, so that all problems show at once.
    let trigger = read_trigger(section);
    let action = read_action(section);
    let retry = read_retry(section);
    let timeout = section.positive_duration("timeout").unwrap_or(Duration::from_secs(10));
    let parallel = section.count("parallel", 1..=10_000).unwrap_or(16);
    let name = section.string("name");
    if let Some(name) = &name
        && !super::is_plain_name(name)
    {
        section.report(
            "name",
            format!("{name:?} is not fit for a name"),
            Some("use letters, digits, `_`, `-` and `.`"),
        );
    }
    let (trigger, action) = (trigger?, action?);
    let name = name.unwrap_or_else(|| format!("{} -> {}", describe_trigger(&trigger), describe_action(&action)));
    Some(Subscription {
        name,
        trigger,
        action,
        retry,
        timeout,
        parallel,
        at: section.at(),
    })
}

/// The one key of `keys` that is written; a problem when there are none or several.
fn exactly_one<'k>(section: &Section<'_>, keys: &[&'k str]) -> Option<&'k str> {
    let written: Vec<&str> = keys.iter().copied().filter(|key| section.has(key)).collect();
    let list = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    match written.as_slice() {
        [one] => Some(one),
        [] => {
            section.report_whole(format!("needs one of {}", list(keys)), None);
            None
        }
        several => {
            let message = format!("has {}, of which only one is allowed", list(several));
            section.report_whole(message, Some("write one [[on]] for each"));
            None
        }
    }
}

fn read_trigger(section: &Section<'_>) -> Option<Trigger> {
    match exactly_one(section, &["change", "event", "topic", "every"])? {
        "change" => read_change(section),
        "event" => topic(section, "event").map(Trigger::Event),
        "topic" => topic(section, "topic").map(Trigger::Topic),
        _ => {
            let every = section.positive_duration("every")?;
            if every < Duration::from_secs(1) {
                section.report("every", "is shorter than a second", None);
                return None;
            }
            Some(Trigger::Every(every))
        }
    }
}

/// A topic that begins with none of those that Mainstay keeps for itself.
fn topic(section: &Section<'_>, key: &str) -> Option<String> {
    let topic = non_empty(section, key)?;
    if let Some(start) = ["mainstay.", "change."]
        .into_iter()
        .find(|start| topic.starts_with(start))
    {
        let message = format!("names {topic:?}, and topics that begin with {start} are Mainstay's own");
        let help = match start {
            "change." if key != "publish" => "changes of rows are asked for by their table: change = \"orders\"",
            _ => "name another",
        };
        section.report(key, message, Some(help));
        return None;
    }
    Some(topic)
}

fn read_change(section: &Section<'_>) -> Option<Trigger> {
    use Operation::{Delete, Insert, Update};
    let all = vec![Insert, Update, Delete];
    if !section.is_table("change") {
        return non_empty(section, "change").map(|table| Trigger::Change { table, operations: all });
    }
    let change = section.optional_section("change")?;
    change.require(
        "table",
        "write for example change = { table = \"orders\", op = \"insert\" }",
    );
    let words = [("insert", Insert), ("update", Update), ("delete", Delete)];
    let mut operations = change.choices("op", &words).unwrap_or(all);
    if change.is_empty_array("op") {
        change.report("op", "names no operation", Some("leave it out for all of them"));
    }
    operations.sort();
    operations.dedup();
    Some(Trigger::Change {
        table: non_empty(&change, "table")?,
        operations,
    })
}

fn read_action(section: &Section<'_>) -> Option<Action> {
    let kind = exactly_one(section, &["deliver", "call", "publish"])?;
    let secret = section.secret("secret");
    let headers = read_headers(section);
    if kind != "deliver" {
        for key in ["secret", "headers"] {
            if section.has(key) {
                section.report(key, "belongs to `deliver` only", None);
            }
        }
    }
    match kind {
        "deliver" => Some(Action::Deliver {
            to: read_delivery(section)?,
            secret,
            headers,
        }),
        "call" => non_empty(section, "call").map(Action::Call),
        _ => topic(section, "publish").map(Action::Publish),
    }
}

fn read_delivery(section: &Section<'_>) -> Option<Delivery> {
    let text = section.text("deliver")?;
    if text.text.starts_with('/') && !text.text.starts_with("//") {
        return Some(Delivery::Path(text.text));
    }
    match Url::parse(&text.text) {
        Some(url) if matches!(url.scheme().as_str(), "http" | "https") && url.authority().is_some() => {
            Some(Delivery::Url(url))
        }
        _ => {
            let help = "write an http:// or https:// URL, or a path of this gateway such as \"/pay/hooks\"";
            section.report_at(
                &text.at,
                "deliver",
                format!("{} is nowhere to deliver to", text.quoted()),
                Some(help),
            );
            None
        }
    }
}

fn read_headers(section: &Section<'_>) -> Vec<(String, Secret)> {
    let Some(mut headers) = section.optional_section("headers") else {
        return Vec::new();
    };
    let mut read = Vec::new();
    for (name, at) in headers.keys() {
        let Some(text) = headers.text(&name) else { continue };
        let lower = name.to_ascii_lowercase();
        if let Err(reason) = super::routes::check_header(&name, &text.text) {
            headers.report_at(&at, &name, reason, None);
        } else if lower.starts_with("webhook-") {
            let help = "leave it out; `secret` decides what it says";
            headers.report_at(&at, &name, "is the signature's and cannot be set", Some(help));
        } else {
            read.push((lower, Secret::new(text.text)));
        }
    }
    read
}

fn read_retry(section: &Section<'_>) -> Retry {
    let usual = Retry::default();
    let retry = section.section("retry");
    let words = [("exponential", Backoff::Exponential), ("fixed", Backoff::Fixed)];
    let read = Retry {
        attempts: retry.count("attempts", 1..=100).unwrap_or(usual.attempts),
        backoff: retry.choice("backoff", &words).unwrap_or(usual.backoff),
        initial: retry.positive_duration("initial").unwrap_or(usual.initial),
        max: retry.positive_duration("max").unwrap_or(usual.max),
    };
    if retry.has("max") && read.max < read.initial {
        retry.report("max", "is shorter than `initial`", None);
    }
    Retry {
        max: read.max.max(read.initial),
        ..read
    }
}

fn non_empty(section: &Section<'_>, key: &str) -> Option<String> {
    let text = section.text(key)?;
    if text.text.trim().is_empty() {
        section.report_at(&text.at, key, "is empty", None);
        return None;
    }
    Some(text.text)
}

fn describe_trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Change { table, operations } if operations.len() == 3 => table.clone(),
        Trigger::Change { table, operations } => {
            let words: Vec<&str> = operations
                .iter()
                .map(|operation| match operation {
                    Operation::Insert => "insert",
                    Operation::Update => "update",
                    Operation::Delete => "delete",
                })
                .collect();
            format!("{table}.{}", words.join("+"))
        }
        Trigger::Event(topic) | Trigger::Topic(topic) => topic.clone(),
        Trigger::Every(period) => format!("every {}", crate::units::display_duration(*period)),
    }
}

fn describe_action(action: &Action) -> String {
    match action {
        Action::Deliver {
            to: Delivery::Url(url), ..
        } => {
            format!("{}{}", url.authority().unwrap_or_default(), url.path())
        }
        Action::Deliver {
            to: Delivery::Path(path),
            ..
        } => path.clone(),
        Action::Call(function) => function.clone(),
        Action::Publish(topic) => topic.clone(),
    }
}
