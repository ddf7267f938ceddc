//! What a request is called in a log: made when there is something to tell of it, and not before.

use crate::data::Data;
use crate::{Rest, rpc};
use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Request, Uri};
use mainstay_query::Named;
use std::fmt::Display;

/// Finds the number of a request's trace among what came with it.
pub type TraceOf = fn(&Extensions) -> Option<String>;

/// A request, by reference.
pub(crate) struct Naming<'r> {
    method: &'r Method,
    uri: &'r Uri,
    headers: &'r HeaderMap,
    trace: Trace<'r>,
}

/// Where the number of a request's trace is found.
enum Trace<'r> {
    /// In a header, if anywhere.
    Told,
    /// Among what came with it, or else in a header.
    Among(&'r Extensions, TraceOf),
    /// Here.
    Known(&'r (dyn Display + Sync)),
}

impl<D: Data> Rest<D> {
    /// Has requests named with the trace that `trace` finds, rather than with the one that a header says.
    pub fn with_trace(mut self, trace: TraceOf) -> Rest<D> {
        self.trace = Some(trace);
        self
    }

    pub(crate) fn naming<'r>(&self, request: &'r Request<Bytes>) -> Naming<'r> {
        Naming {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            trace: match self.trace {
                Some(find) => Trace::Among(request.extensions(), find),
                None => Trace::Told,
            },
        }
    }
}

impl<'r> Naming<'r> {
    /// Of a request of a known trace.
    pub fn of(request: &'r Parts, trace: &'r (dyn Display + Sync)) -> Naming<'r> {
        Naming {
            method: &request.method,
            uri: &request.uri,
            headers: &request.headers,
            trace: Trace::Known(trace),
        }
    }
}

impl Named for Naming<'_> {
    fn name(&self) -> String {
        // Without the query string, in which there are values.
        let (method, path) = (self.method, self.uri.path());
        let found = match &self.trace {
            Trace::Told => None,
            Trace::Among(extensions, find) => find(extensions),
            Trace::Known(trace) => Some(trace.to_string()),
        };
        // https://www.w3.org/TR/trace-context/#traceparent-header
        let told = || rpc::traceparent(self.headers)?.split('-').nth(1).map(str::to_owned);
        match found.or_else(told) {
            Some(trace) => format!("{method} {path} (trace {trace})"),
            None => format!("{method} {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_values() {
        let request = Request::get("/rest/v1/things?name=eq.secret")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let name = |trace| {
            let known = Naming::of(&parts, &"");
            Naming { trace, ..known }.name()
        };
        let told = "GET /rest/v1/things (trace 4bf92f3577b34da6a3ce929d0e0e4736)";
        assert_eq!(name(Trace::Told), told);
        assert_eq!(name(Trace::Among(&parts.extensions, |_| None)), told);
        let found = "GET /rest/v1/things (trace 1f)";
        assert_eq!(name(Trace::Among(&parts.extensions, |_| Some("1f".to_owned()))), found);
        assert_eq!(name(Trace::Known(&"1f")), found);
    }
}
