//! Which server of an upstream takes a request: the servers with their health, and whose turn it is.

use crate::config::{Balance, ConfigError, Upstream};
use crate::health::Health;
use crate::refusal::{self, Refusal};

use mainstay_telemetry::gauge_fn;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An upstream, compiled; shared by all workers, so that what one learns of a server all know.
pub(crate) struct Group {
    pub(crate) config: Upstream,
    pub(crate) servers: Vec<Member>,
    turn: Box<dyn Turn>,
}

/// One server of a group.
pub(crate) struct Member {
    /// Its number among all servers of the gateway, which the pools are indexed by.
    pub(crate) number: usize,
    pub(crate) address: String,
    /// The address if it needs no look-up, for the access record.
    pub(crate) socket: Option<SocketAddr>,
    pub(crate) health: Health,
    in_flight: AtomicUsize,
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

        let servers = config.servers.iter().enumerate().map(|(i, address)| Member {
            number: first + i,
            socket: address.parse().ok(),
            address: address.clone(),
            health: Health::default(),
            in_flight: AtomicUsize::new(0),
        });
        let servers = servers.collect();
        let turn: Box<dyn Turn> = match config.balance {
            Balance::RoundRobin => Box::new(RoundRobin::default()),
        };
        Ok(Group { servers, turn, config })
    }

    /// Shows the requests in flight among the metrics, asked for only when those are read.
    pub(crate) fn watch(self: &Arc<Group>) {
        let group = Arc::downgrade(self);
        gauge_fn(
            "mainstay_upstream_in_flight",
            &[("upstream", &self.config.name)],
            move || {
                group.upgrade().map_or(0.0, |group| {
                    group.servers.iter().map(|s| s.in_flight.load(Relaxed)).sum::<usize>() as f64
                })
            },
        );
    }

    /// Phase: the server whose turn it is, among those not tried, not ejected and not full. The error is that all are full.
    pub(crate) fn pick(
        self: &Arc<Group>,
        tried: &[usize],
        now_ms: impl Fn() -> u64,
    ) -> Result<Option<(usize, InFlight)>, Refusal> {
        let limit = self.config.in_flight_max;
        let mut fit = SmallVec::<[usize; 16]>::new();
        let mut full = false;
        for (i, member) in self.servers.iter().enumerate() {
            if tried.contains(&i) || member.health.is_ejected(&now_ms) {
                continue;
            }
            if member.in_flight.load(Relaxed) < limit {
                fit.push(i);
            } else {
                full = true;
            }
        }
        if fit.is_empty() {
            return if full {
                Err(refusal::upstream_full(&self.config.name, limit))
            } else {
                Ok(None)
            };
        }
        let index = self.turn.pick(&fit, !tried.is_empty());
        // Workers that pick at the same instant may exceed the limit by their number; it need not be more exact than that.
        self.servers[index].in_flight.fetch_add(1, Relaxed);
        Ok(Some((
            index,
            InFlight {
                group: self.clone(),
                index,
            },
        )))
    }

    /// The server failed once more.
    pub(crate) fn failed(&self, index: usize, reason: &str, now_ms: u64) {
        let member = &self.servers[index];
        member.health.failed(&self.config, &member.address, reason, now_ms, || {
            let out = self.servers.iter().filter(|m| m.health.is_ejected(|| now_ms)).count();
            out < self.ejected_max()
        });
    }

    /// The server gave a good answer.
    pub(crate) fn succeeded(&self, index: usize, now_ms: impl Fn() -> u64) {
        let member = &self.servers[index];
        member.health.succeeded(&self.config, &member.address, now_ms);
    }

    /// How many servers may be out at once; at least one always stays.
    fn ejected_max(&self) -> usize {
        let share = (self.servers.len() as f64 * self.config.ejection.share.clamp(0.0, 1.0)).ceil() as usize;
        share.min(self.servers.len() - 1)
    }
}

/// One request in flight to a server, until its answer's last byte.
pub(crate) struct InFlight {
    group: Arc<Group>,
    index: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.group.servers[self.index].in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Ejection;
    use std::collections::HashMap;

    fn group(servers: usize, share: f64) -> Arc<Group> {
        let servers = (1..=servers).map(|i| format!("127.0.0.1:{i}")).collect();
        let ejection = Ejection {
            failures: 1,
            share,
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

    fn pick(group: &Arc<Group>, tried: &[usize]) -> Option<usize> {
        group.pick(tried, || 11).expect("not full").map(|(index, _)| index)
    }

    #[test]
    fn turns_are_fair_also_without_an_ejected_server() {
        let group = group(4, 0.5);
        group.failed(1, "test", 10);
        let mut counts = HashMap::new();
        for _ in 0..300 {
            *counts.entry(pick(&group, &[]).expect("a server")).or_insert(0) += 1;
        }
        assert_eq!(counts, HashMap::from([(0, 100), (2, 100), (3, 100)]));
    }

    #[test]
    fn tried_servers_are_not_asked_again_and_only_so_many_are_out() {
        for (servers, share, out) in [
            (1, 0.5, 0),
            (1, 1.0, 0),
            (2, 0.5, 1),
            (3, 0.5, 2),
            (3, 1.0, 2),
            (4, 0.5, 2),
            (4, 0.0, 0),
        ] {
            let group = group(servers, share);
            assert_eq!(pick(&group, &(0..servers).collect::<Vec<_>>()), None);
            (0..servers).for_each(|i| group.failed(i, "test", 10));
            let asked: std::collections::HashSet<_> = (0..100).filter_map(|_| pick(&group, &[])).collect();
            assert_eq!(asked.len(), servers - out, "{servers} servers, share {share}");
        }
    }

    #[test]
    fn full_servers_are_passed_over_and_all_full_is_a_refusal() {
        let mut config = Upstream::new("u", vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()]);
        config.in_flight_max = 1;
        let group = Arc::new(Group::compile(config, 0).expect("a group"));
        let first = group.pick(&[], || 1).expect("room").expect("a server");
        let second = group.pick(&[], || 1).expect("room").expect("a server");
        assert_ne!(first.0, second.0);
        assert_eq!(
            group.pick(&[], || 1).err().map(|r| r.code.clone()),
            Some("GW403".into())
        );
        let freed = first.0;
        drop(first);
        assert_eq!(group.pick(&[], || 1).expect("room").map(|(i, _)| i), Some(freed));
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
