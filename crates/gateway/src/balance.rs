//! Which server of an upstream takes a request: the servers with their health, and whose turn it is.

use crate::config::{Balance, ConfigError, Upstream};
use crate::health::Health;
use crate::refusal::{self, Refusal};
use crate::retry::Budget;
use mainstay_telemetry::{Fact, emit, gauge_fn};
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// An upstream, compiled; shared by all workers, so that what one learns of a server all know.
pub(crate) struct Group {
    pub(crate) config: Upstream,
    pub(crate) servers: Vec<Member>,
    pub(crate) budget: Budget,
    turn: Box<dyn Turn>,
    in_flight: AtomicUsize,
    panicking: AtomicBool,
}

/// One server of a group.
pub(crate) struct Member {
    /// Its number among all servers of the gateway, which the pools are indexed by.
    pub(crate) number: usize,
    pub(crate) address: String,
    /// The address if it needs no look-up, for the access record.
    pub(crate) socket: Option<SocketAddr>,
    pub(crate) health: Health,
}

/// A way of taking turns. Other algorithms are other implementations of this.
trait Turn: Send + Sync {
    /// Picks one of the `eligible` servers (indices into the group), of which there is at least one. Another try of a
    /// request takes nobody's turn.
    fn pick(&self, eligible: &[usize], again: bool) -> usize;
}

#[derive(Default)]
struct RoundRobin {
    next: AtomicUsize,
}

impl Turn for RoundRobin {
    fn pick(&self, eligible: &[usize], again: bool) -> usize {
        let turn = if again {
            self.next.load(Relaxed)
        } else {
            self.next.fetch_add(1, Relaxed)
        };
        eligible[turn % eligible.len()]
    }
}

/// Servers that a request has been tried on.
pub(crate) type Tried = SmallVec<[usize; 4]>;

impl Group {
    /// Checks and compiles an upstream; `first` is the number of its first server.
    pub(crate) fn compile(config: Upstream, first: usize) -> Result<Group, ConfigError> {
        let fault = |message: String| ConfigError::new(format!("upstream \"{}\"", config.name), message);
        if config.servers.is_empty() {
            return Err(fault("has no servers; give at least one as `host:port`".into()));
        }
        for (i, server) in config.servers.iter().enumerate() {
            let port = server
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
            if server.contains("://") || port.is_none_or(|p| p == 0) {
                return Err(fault(format!(
                    "`{server}` is not a server; write `host:port` without a scheme"
                )));
            }
            if config.servers[..i].contains(server) {
                return Err(fault(format!("`{server}` is there twice")));
            }
        }
        if config.ejection.failures == 0 {
            return Err(fault("ejection after 0 failures would eject every server".into()));
        }
        let servers = config.servers.iter().enumerate().map(|(i, address)| Member {
            number: first + i,
            socket: address.parse().ok(),
            address: address.clone(),
            health: Health::default(),
        });
        let servers = servers.collect();
        let turn: Box<dyn Turn> = match config.balance {
            Balance::RoundRobin => Box::new(RoundRobin::default()),
        };
        Ok(Group {
            servers,
            budget: Budget::new(config.retry_ratio, config.retries_per_second),
            turn,
            in_flight: AtomicUsize::new(0),
            panicking: AtomicBool::new(false),
            config,
        })
    }

    /// Shows the requests in flight among the metrics, asked for only when those are read.
    pub(crate) fn watch(self: &Arc<Group>) {
        let group = Arc::downgrade(self);
        gauge_fn(
            "mainstay_upstream_in_flight",
            &[("upstream", &self.config.name)],
            move || {
                group
                    .upgrade()
                    .map_or(0.0, |group| group.in_flight.load(Relaxed) as f64)
            },
        );
    }

    /// Phase: the server whose turn it is, among those not tried and not ejected. If too few are left, ejection is
    /// ignored: when all seem to fail, the fault may be elsewhere, and a few servers would only fall next.
    pub(crate) fn pick(&self, tried: &[usize], now_ms: u64) -> Option<usize> {
        let mut fit = SmallVec::<[usize; 16]>::new();
        let mut untried = SmallVec::<[usize; 16]>::new();
        let mut healthy = 0;
        for (i, member) in self.servers.iter().enumerate() {
            let up = !member.health.is_ejected(now_ms);
            healthy += usize::from(up);
            if !tried.contains(&i) {
                untried.push(i);
                if up {
                    fit.push(i);
                }
            }
        }
        let panic = healthy == 0 || healthy * 100 < self.servers.len() * self.config.ejection.panic_percent as usize;
        if panic != self.panicking.load(Relaxed) && !self.panicking.swap(panic, Relaxed) && panic {
            emit(&Fact::UpstreamPanics {
                upstream: &self.config.name,
            });
        }
        let eligible = if panic { &untried } else { &fit };
        (!eligible.is_empty()).then(|| self.turn.pick(eligible, !tried.is_empty()))
    }

    /// Takes one of the requests that may be in flight.
    pub(crate) fn enter(self: &Arc<Group>) -> Result<InFlight, Refusal> {
        let limit = self.config.in_flight_max;
        if self.in_flight.fetch_add(1, Relaxed) >= limit {
            self.in_flight.fetch_sub(1, Relaxed);
            return Err(refusal::upstream_full(&self.config.name, limit));
        }
        Ok(InFlight(self.clone()))
    }
}

/// One request in flight to a group, until its answer's last byte.
pub(crate) struct InFlight(Arc<Group>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Ejection;
    use std::collections::HashMap;

    fn group(servers: usize) -> Arc<Group> {
        let servers = (1..=servers).map(|i| format!("127.0.0.1:{i}")).collect();
        let ejection = Ejection {
            failures: 1,
            ..Ejection::default()
        };
        Arc::new(
            Group::compile(
                Upstream {
                    ejection,
                    ..Upstream::new("u", servers)
                },
                0,
            )
            .expect("a group"),
        )
    }

    #[test]
    fn turns_are_fair_also_without_an_ejected_server() {
        let group = group(4);
        group.servers[1]
            .health
            .failed(&group.config, &group.servers[1].address, "test", 10);
        let mut counts = HashMap::new();
        for _ in 0..300 {
            *counts.entry(group.pick(&[], 11).expect("a server")).or_insert(0) += 1;
        }
        assert_eq!(counts, HashMap::from([(0, 100), (2, 100), (3, 100)]));
    }

    #[test]
    fn tried_servers_are_not_asked_again_and_never_are_all_ejected() {
        let group = group(3);
        assert!(!matches!(group.pick(&[0, 2], 1), Some(0 | 2)));
        assert_eq!(group.pick(&[0, 1, 2], 1), None);
        for member in &group.servers[..2] {
            member.health.failed(&group.config, &member.address, "test", 10);
        }
        assert_eq!((0..6).filter_map(|_| group.pick(&[], 11)).collect::<Vec<_>>(), [2; 6]);
        group.servers[2]
            .health
            .failed(&group.config, &group.servers[2].address, "test", 10);
        let picked: std::collections::HashSet<_> = (0..6).filter_map(|_| group.pick(&[], 11)).collect();
        assert_eq!(picked.len(), 3, "all fail: all are asked");
    }

    #[test]
    fn a_full_group_refuses_and_recovers() {
        let mut config = Upstream::new("u", vec!["127.0.0.1:1".into()]);
        config.in_flight_max = 2;
        let group = Arc::new(Group::compile(config, 0).expect("a group"));
        let (a, _b) = (group.enter(), group.enter());
        assert_eq!(group.enter().err().map(|r| r.status.as_u16()), Some(503));
        drop(a);
        assert!(group.enter().is_ok());
    }

    #[test]
    fn nonsense_is_refused_with_a_word_about_it() {
        for bad in ["http://a:1", "a", "a:0", ":80", "a:99999", ""] {
            let error = Group::compile(Upstream::new("u", vec![bad.into()]), 0)
                .err()
                .expect(bad);
            assert!(error.to_string().starts_with("upstream \"u\""), "{error}");
        }
        assert!(Group::compile(Upstream::new("u", vec![]), 0).is_err());
        assert!(Group::compile(Upstream::new("u", vec!["a:1".into(), "a:1".into()]), 0).is_err());
    }
}
