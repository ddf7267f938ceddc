//! What a request is called in a log: made when there is something to tell of it, and not before.

use crate::data::Data;
use crate::{Rest, rpc};
use bytes::Bytes;
use http::{Extensions, Request};
use mainstay_query::Named;

/// Finds the number of a request's trace among what came with it.
pub type TraceOf = fn(&Extensions) -> Option<String>;

/// A request, by reference.
pub(crate) struct Naming<'r> {
    request: &'r Request<Bytes>,
    trace: Option<TraceOf>,
}

impl<D: Data> Rest<D> {
    /// Has requests named with the trace that `trace` finds, rather than with the one that a header says.
    pub fn with_trace(mut self, trace: TraceOf) -> Rest<D> {
        self.trace = Some(trace);
        self
    }

    pub(crate) fn naming<'r>(&self, request: &'r Request<Bytes>) -> Naming<'r> {
        Naming {
            request,
            trace: self.trace,
        }
    }
}

impl Named for Naming<'_> {
    fn name(&self) -> String {
        // Without the query string, in which there are values.
        let (method, path) = (self.request.method(), self.request.uri().path());
        let found = self.trace.and_then(|trace| trace(self.request.extensions()));
        // https://www.w3.org/TR/trace-context/#traceparent-header
        let told = || {
            rpc::traceparent(self.request.headers())?
                .split('-')
                .nth(1)
                .map(str::to_owned)
        };
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
            .body(Bytes::new())
            .unwrap();
        let name = |trace| {
            let request = &request;
            Naming { request, trace }.name()
        };
        assert_eq!(
            name(None),
            "GET /rest/v1/things (trace 4bf92f3577b34da6a3ce929d0e0e4736)"
        );
        assert_eq!(name(Some(|_| Some("1f".to_owned()))), "GET /rest/v1/things (trace 1f)");
    }
}
