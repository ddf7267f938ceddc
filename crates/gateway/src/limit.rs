//! Rate limits: the rules, the contract of the engine that counts, and the two phases that ask it.
//!
//! A rule is a generic cell rate (GCRA): requests flow at `rate`, up to `burst` at once. Its state is one time per caller,
//! which is why an engine can be small and exact. The engine in memory is [`crate::limit_memory::Memory`].

use crate::forwarded;
use crate::refusal::Refusal;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mainstay_model::Identity;
use mainstay_telemetry::{Fact, emit};
use smallvec::SmallVec;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Whose requests share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// One client address; of IPv6 one /64.
    Address,
    /// One user (the token's subject); without one, the address.
    User,
    /// One role.
    Role,
    /// Everybody together.
    All,
}

/// So many requests in so much time: `100/min`, `5/s`, `1000/h`, `20/10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many requests.
    pub requests: u32,
    /// In how much time.
    pub period: Duration,
}

impl Rate {
    /// Reads `100/min`. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Rate, String> {
        let fault = || format!("`{text}` is not a rate; write for example `100/min`, `5/s` or `20/10s`");
        let (requests, per) = text.split_once('/').ok_or_else(fault)?;
        let requests: u32 = requests.trim().parse().map_err(|_| fault())?;
        let per = per.trim();
        let digits = per.find(|c: char| !c.is_ascii_digit()).unwrap_or(per.len());
        let count: u64 = if digits == 0 {
            1
        } else {
            per[..digits].parse().map_err(|_| fault())?
        };
        let unit = match per[digits..].trim() {
            "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => 86_400,
            _ => return Err(fault()),
        };
        let period = count
            .checked_mul(unit)
            .filter(|s| (1..=31 * 86_400).contains(s))
            .ok_or_else(fault)?;
        if requests == 0 {
            return Err(format!("`{text}` lets nobody through; to close a route, remove it"));
        }
        Ok(Rate {
            requests,
            period: Duration::from_secs(period),
        })
    }
}

/// A rate limit as it is configured.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// The name in refusals, headers and metrics.
    pub name: String,
    /// How much is allowed.
    pub rate: Rate,
    /// How much at once; `None` means as much as `rate` allows in its period.
    pub burst: Option<u32>,
    /// Whose requests share a bucket.
    pub per: Per,
}

/// What an engine needs to know of a rule: the time that one request takes, and how far ahead a caller may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Nanoseconds between two requests at exactly the rate.
    pub interval: u64,
    /// Nanoseconds that a caller may be ahead of that: `interval` × burst.
    pub tolerance: u64,
}

/// Who is counted: a rule and a caller under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// The rule's number, stable for a configuration.
    pub rule: u32,
    /// The rule's name, stable across processes.
    pub name: &'a str,
    /// The caller: an address' number, or the bytes of a subject or role.
    pub caller: Caller<'a>,
}

/// A caller under a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller<'a> {
    /// An address, or its /64.
    Address(u128),
    /// A user's subject.
    User(&'a str),
    /// A role.
    Role(&'a str),
    /// Everybody.
    All,
}

/// What an engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may pass; if not, nothing was counted.
    pub allowed: bool,
    /// How many more may follow at once.
    pub remaining: u32,
    /// Nanoseconds until the caller has its whole burst again.
    pub reset: u64,
    /// Nanoseconds until a refused request would be allowed.
    pub retry_after: u64,
}

/// An engine's answer: at once, or after asking somebody else. Memory answers at once and allocates nothing.
pub enum Verdict<'a> {
    /// Decided.
    Now(Decision),
    /// Decided elsewhere.
    Later(Pin<Box<dyn Future<Output = Decision> + Send + 'a>>),
}

/// The contract of an engine that counts requests.
///
/// Two things must hold: of concurrent requests no more than the quota allows pass, and forgetting a caller never gives
/// it back what it has used.
pub trait Limiter: Send + Sync + 'static {
    /// Takes one request out of a caller's bucket, if it is there.
    fn take<'a>(&'a self, key: Key<'a>, quota: Quota) -> Verdict<'a>;

    /// Whether every verdict is [`Verdict::Now`].
    fn decides_at_once(&self) -> bool {
        false
    }
}

/// The decision for a bucket whose theoretical arrival time is `tat`, and the time to store if it passes.
pub fn gcra(tat: u64, now: u64, quota: Quota) -> (Decision, u64) {
    let next = tat.max(now) + quota.interval;
    let ahead = next - now;
    if ahead > quota.tolerance {
        let decision = Decision {
            allowed: false,
            remaining: 0,
            reset: tat.saturating_sub(now),
            retry_after: ahead - quota.tolerance,
        };
        return (decision, tat);
    }
    let remaining = ((quota.tolerance - ahead) / quota.interval.max(1)).min(u64::from(u32::MAX)) as u32;
    (
        Decision {
            allowed: true,
            remaining,
            reset: ahead,
            retry_after: 0,
        },
        next,
    )
}

/// A rule, compiled.
#[derive(Debug)]
pub(crate) struct Rule {
    number: u32,
    name: String,
    quota: Quota,
    pub(crate) per: Per,
    policy: String,
}

impl Rule {
    pub(crate) fn compile(limit: &RateLimit, number: u32) -> Rule {
        let burst = limit.burst.unwrap_or(limit.rate.requests).max(1);
        let interval = (limit.rate.period.as_nanos() as u64 / u64::from(limit.rate.requests)).max(1);
        let name: String = limit
            .name
            .chars()
            .map(|c| {
                if matches!(c, ' '..='~') && c != '"' && c != '\\' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        Rule {
            number,
            quota: Quota {
                interval,
                tolerance: interval.saturating_mul(u64::from(burst)),
            },
            per: limit.per,
            policy: format!("\"{name}\";q={};w={}", limit.rate.requests, limit.rate.period.as_secs()),
            name,
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} per {:?}", self.policy, self.per)
    }
}

/// What the rules said about a request that passed, for its answer's headers.
pub(crate) type Passed = SmallVec<[(Arc<Rule>, Decision); 2]>;

/// What the rules of a request say, where they all decide at once.
pub(crate) fn at_once<T>(asking: impl Future<Output = T>) -> Option<T> {
    match pin!(asking).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(said) => Some(said),
        Poll::Pending => None,
    }
}

/// Phase: the rules that count addresses or everybody, before anything is spent on the request.
pub(crate) async fn by_address<'r>(
    rules: impl Iterator<Item = &'r Arc<Rule>>,
    limiter: &dyn Limiter,
    peer: IpAddr,
    passed: &mut Passed,
) -> Result<(), Refusal> {
    for rule in rules {
        let caller = match rule.per {
            Per::Address => Caller::Address(forwarded::limit_subject(peer)),
            Per::All => Caller::All,
            Per::User | Per::Role => continue,
        };
        ask(rule, limiter, caller, passed).await?;
    }
    Ok(())
}

/// Phase: the rules that count users and roles, once it is known who asks.
pub(crate) async fn by_identity<'r>(
    rules: impl Iterator<Item = &'r Arc<Rule>>,
    limiter: &dyn Limiter,
    peer: IpAddr,
    identity: Option<&Identity>,
    passed: &mut Passed,
) -> Result<(), Refusal> {
    for rule in rules.filter(|r| matches!(r.per, Per::User | Per::Role)) {
        let caller = match (rule.per, identity) {
            (Per::Role, Some(identity)) => Caller::Role(&identity.role),
            (Per::Role, None) => Caller::Role("anon"),
            (_, identity) => match identity.and_then(Identity::subject) {
                Some(subject) => Caller::User(subject),
                None => Caller::Address(forwarded::limit_subject(peer)),
            },
        };
        ask(rule, limiter, caller, passed).await?;
    }
    Ok(())
}

async fn ask(rule: &Arc<Rule>, limiter: &dyn Limiter, caller: Caller<'_>, passed: &mut Passed) -> Result<(), Refusal> {
    let key = Key {
        rule: rule.number,
        name: &rule.name,
        caller,
    };
    let decision = match limiter.take(key, rule.quota) {
        Verdict::Now(decision) => decision,
        Verdict::Later(answer) => answer.await,
    };
    if decision.allowed {
        passed.push((rule.clone(), decision));
        return Ok(());
    }
    emit(&Fact::LimitRefused { rule: &rule.name });
    let seconds = up(decision.retry_after);
    let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "GW401", "Too many requests")
        .details(format!("rule \"{}\" allows {}", rule.name, rule.policy))
        .hint(format!("Try again in {seconds} s"))
        .header(RETRY_AFTER, HeaderValue::from(seconds));
    let decided = [(rule.clone(), decision)];
    refusal.headers.extend([
        (RATE_LIMIT, value(state(&decided))),
        (RATE_LIMIT_POLICY, value(policy(&decided))),
    ]);
    Err(refusal)
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Tells the client where it stands (draft-ietf-httpapi-ratelimit-headers).
pub(crate) fn tell(passed: &[(Arc<Rule>, Decision)], headers: &mut HeaderMap) {
    if !passed.is_empty() {
        headers.insert(RATE_LIMIT, value(state(passed)));
        headers.insert(RATE_LIMIT_POLICY, value(policy(passed)));
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn policy(decisions: &[(Arc<Rule>, Decision)]) -> String {
    let policies: SmallVec<[&str; 2]> = decisions.iter().map(|(rule, _)| rule.policy.as_str()).collect();
    policies.join(", ")
}

/// The value of `RateLimit`.
pub(crate) fn state(decisions: &[(Arc<Rule>, Decision)]) -> String {
    let mut limit = String::with_capacity(32);
    for (i, (rule, decision)) in decisions.iter().enumerate() {
        if i > 0 {
            limit.push_str(", ");
        }
        limit.push('"');
        limit.push_str(&rule.name);
        limit.push_str("\";r=");
        limit.push_str(itoa::Buffer::new().format(decision.remaining));
        limit.push_str(";t=");
        let wait = if decision.allowed {
            decision.reset
        } else {
            decision.retry_after
        };
        limit.push_str(itoa::Buffer::new().format(up(wait)));
    }
    limit
}

/// Whole seconds, never too few.
fn up(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_or_refused_by_name() {
        for (text, requests, seconds) in [
            ("100/min", 100, 60),
            ("5/s", 5, 1),
            ("20/10s", 20, 10),
            ("1/2h", 1, 7_200),
            ("3 / day", 3, 86_400),
        ] {
            assert_eq!(
                Rate::parse(text),
                Ok(Rate {
                    requests,
                    period: Duration::from_secs(seconds)
                }),
                "{text}"
            );
        }
        for bad in [
            "",
            "100",
            "x/min",
            "1/fortnight",
            "0/s",
            "1/0s",
            "-1/s",
            "1/999999999999h",
        ] {
            assert!(Rate::parse(bad).expect_err(bad).contains(bad));
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let quota = Quota {
            interval: 1_000,
            tolerance: 3_000,
        };
        let mut tat = 0;
        let mut take = |now| {
            let (decision, next) = gcra(tat, now, quota);
            tat = next;
            decision
        };
        let now = 1_000_000;
        assert_eq!(
            [take(now).remaining, take(now).remaining, take(now).remaining],
            [2, 1, 0]
        );
        let refused = take(now);
        assert_eq!((refused.allowed, refused.retry_after), (false, 1_000));
        assert!(!take(now + 999).allowed);
        assert!(take(now + 1_000).allowed);
        assert!(!take(now + 1_000).allowed);
        assert_eq!(take(now + 100_000).remaining, 2, "time fills it, up to the burst");
    }
}
