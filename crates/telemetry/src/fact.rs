//! What can happen, as data, and the one place where it is interpreted: which line, which counter.

use crate::log::{Level, access_log_enabled, log_fields};
use crate::metrics::{counter, gauge};
use crate::record::{self, RequestRecord, RouteMetrics};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Something that happened. Whoever saw it emits it once; it becomes log lines and metrics here.
#[non_exhaustive]
pub enum Fact<'a> {
    /// A request is over.
    Request(&'a RequestRecord<'a>, &'a RouteMetrics),
    /// A listener takes connections.
    Listening {
        /// What listens: `gateway`, `admin`.
        what: &'a str,
        /// Where.
        address: SocketAddr,
    },
    /// No new connections are taken; what is in flight is finished.
    Draining {
        /// Connections that are open.
        connections: usize,
    },
    /// The gateway has stopped.
    Drained {
        /// Connections that had to be cut because the time was up.
        cut: usize,
        /// How long draining took.
        took: Duration,
    },
    /// A server failed too often in a row and gets no requests for a while.
    ServerEjected {
        /// The upstream's name.
        upstream: &'a str,
        /// The server.
        server: &'a str,
        /// Failures in a row.
        failures: u32,
        /// For how long.
        ejected_for: Duration,
        /// The last failure.
        reason: &'a str,
    },
    /// An ejected server answered again.
    ServerReturned {
        /// The upstream's name.
        upstream: &'a str,
        /// The server.
        server: &'a str,
    },
    /// A request was tried again on another server.
    Retried {
        /// The upstream's name.
        upstream: &'a str,
        /// The server that failed.
        server: &'a str,
        /// What failed.
        reason: &'a str,
    },
    /// A request could have been tried again, and the budget forbade it.
    RetryBudgetEmpty {
        /// The upstream's name.
        upstream: &'a str,
    },
    /// A rate limit refused a request.
    LimitRefused {
        /// The rule's name.
        rule: &'a str,
    },
    /// A connection was closed before it carried a request, or between two.
    ConnectionClosed {
        /// Why: `limit`, `head timeout`, `idle`, `stalled`.
        reason: &'static str,
    },
    /// A service panicked; the client got a 500 and the worker goes on.
    Panicked {
        /// The route.
        route: &'a str,
        /// What the panic said.
        message: &'a str,
    },
}

/// Tells the log and the metrics what happened.
pub fn emit(fact: &Fact<'_>) {
    match fact {
        Fact::Request(request, metrics) => {
            metrics.count(request.status, request.bytes, request.total);
            if let Some(code) = request.code {
                counter("mainstay_refusals_total", &[("code", code)]).inc();
            }
            if access_log_enabled() {
                record::write(request);
            }
        }
        Fact::Listening { what, address } => {
            say(Level::Info, format_args!("{what} listens on {address}"), &[]);
        }
        Fact::Draining { connections } => {
            say(
                Level::Info,
                format_args!("draining: no new connections, {connections} open"),
                &[],
            );
        }
        Fact::Drained { cut: 0, took } => {
            say(Level::Info, format_args!("drained in {} ms", took.as_millis()), &[]);
        }
        Fact::Drained { cut, took } => {
            say(
                Level::Warn,
                format_args!("{cut} connections cut after draining for {} ms", took.as_millis()),
                &[],
            );
        }
        Fact::ServerEjected {
            upstream,
            server,
            failures,
            ejected_for,
            reason,
        } => {
            counter(
                "mainstay_upstream_ejections_total",
                &[("upstream", upstream), ("server", server)],
            )
            .inc();
            gauge(
                "mainstay_upstream_ejected",
                &[("upstream", upstream), ("server", server)],
            )
            .set(1.0);
            let ms = ejected_for.as_millis();
            say(
                Level::Warn,
                format_args!("{server} of {upstream} gets no requests for {ms} ms after {failures} failures in a row"),
                &[("upstream", upstream), ("server", server), ("reason", reason)],
            );
        }
        Fact::ServerReturned { upstream, server } => {
            gauge(
                "mainstay_upstream_ejected",
                &[("upstream", upstream), ("server", server)],
            )
            .set(0.0);
            say(
                Level::Info,
                format_args!("{server} of {upstream} answers again"),
                &[("upstream", upstream), ("server", server)],
            );
        }
        Fact::Retried {
            upstream,
            server,
            reason,
        } => {
            counter("mainstay_upstream_retries_total", &[("upstream", upstream)]).inc();
            crate::debug!(
                "gateway",
                "{upstream}: {server} failed ({reason}), trying another server"
            );
        }
        Fact::RetryBudgetEmpty { upstream } => {
            counter("mainstay_upstream_retries_refused_total", &[("upstream", upstream)]).inc();
        }
        Fact::LimitRefused { rule } => counter("mainstay_limit_refusals_total", &[("rule", rule)]).inc(),
        Fact::ConnectionClosed { reason } => counter("mainstay_connections_closed_total", &[("reason", reason)]).inc(),
        Fact::Panicked { route, message } => {
            counter("mainstay_panics_total", &[("route", route)]).inc();
            say(
                Level::Error,
                format_args!("a service panicked: {message}"),
                &[("route", route)],
            );
        }
    }
}

fn say(level: Level, text: fmt::Arguments<'_>, fields: &[(&str, &dyn fmt::Display)]) {
    log_fields(level, "gateway", text, fields);
}
