//! `Accept: application/vnd.pgrst.plan`: how the store would go about a request, in the place of its answer. Only where `[api] plan`
//! allows it, because it tells what a role may not see: indexes, numbers of rows, policies.

use crate::data::Data;
use crate::media;
use crate::planned::{Plan, Planned};
use crate::prefer::{Honoured, Preferences};
use crate::{Rest, Route, error, response};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use mainstay_model::{Error, Identity};
use mainstay_query::Explain;

/// The plan that a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub explain: Explain,
    /// The form of answer whose plan it is.
    pub of: String,
    /// The value of `Content-Type`.
    pub content_type: String,
}

impl Wanted {
    /// Reads one member of `Accept`.
    pub fn read(range: &str) -> Option<Wanted> {
        let (name, mut rest) = range.split_once(';').unwrap_or((range, ""));
        let json = match &*name.trim().to_ascii_lowercase() {
            "application/vnd.pgrst.plan" | "application/vnd.pgrst.plan+text" => false,
            "application/vnd.pgrst.plan+json" => true,
            _ => return None,
        };
        let mut explain = Explain {
            json,
            ..Explain::default()
        };
        let mut of = "application/json".to_owned();
        let mut options = Vec::new();
        while let Some((key, after)) = rest.split_once('=') {
            let after = after.trim_start();
            // A quoted value may hold a semicolon.
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_at(after.find(';').unwrap_or(after.len())),
            };
            rest = next.trim_start().trim_start_matches(';');
            match &*key.trim().to_ascii_lowercase() {
                "for" => of = full_name(value.trim()).to_owned(),
                "options" => {
                    for option in value.split('|').map(str::trim) {
                        let flag = match option {
                            "analyze" => &mut explain.analyze,
                            "verbose" => &mut explain.verbose,
                            "settings" => &mut explain.settings,
                            "buffers" => &mut explain.buffers,
                            "wal" => &mut explain.wal,
                            _ => continue,
                        };
                        *flag = true;
                        options.push(option.to_owned());
                    }
                }
                _ => {}
            }
        }
        let mut content_type = format!(
            "application/vnd.pgrst.plan+{}; for=\"{of}\"",
            if json { "json" } else { "text" }
        );
        if !options.is_empty() {
            content_type.push_str(&format!("; options={}", options.join("|")));
        }
        content_type.push_str("; charset=utf-8");
        Some(Wanted {
            explain,
            of,
            content_type,
        })
    }
}

/// Forms of our own have two names.
fn full_name(of: &str) -> &str {
    match of {
        "application/vnd.pgrst.object" => "application/vnd.pgrst.object+json",
        "application/vnd.pgrst.array" => "application/vnd.pgrst.array+json",
        of => of,
    }
}

impl<D: Data> Rest<D> {
    /// Answers with the plan of a request. Nothing is done, unless the plan is to be measured: then everything is, and stays unless
    /// `Prefer: tx=rollback` says otherwise. Errors: PGRST107 where the store shows none.
    pub(crate) async fn explain(
        &self,
        request: &Request<Bytes>,
        route: &Route<'_>,
        identity: &Identity,
        wanted: Wanted,
    ) -> Result<Response<Bytes>, Error> {
        if wanted.explain.analyze && request.headers().contains_key("idempotency-key") {
            return Err(error::not_implemented("a plan is kept under no Idempotency-Key"));
        }
        let schema = self.data.schema();
        let of = HeaderValue::try_from(&wanted.of).map_err(|_| error::not_acceptable(&wanted.of))?;
        let mut of_answer = request.clone();
        of_answer.headers_mut().insert(ACCEPT, of);
        let mut applied = None;
        let explained = match self.plan(&schema, &of_answer, route, identity, None).await? {
            Plan::Read(prepared, _) | Plan::Reading(prepared, _) => {
                let (query, representation) = (&prepared.query, &prepared.representation);
                self.data
                    .explain(query, identity, representation, wanted.explain)
                    .await
                    .map(|explanation| explanation.plan)
            }
            Plan::Write(planned) => {
                let preferences = Preferences::read(request.headers());
                let honoured = Honoured {
                    rollback: self.config.rollback,
                    ..Honoured::default()
                };
                applied = preferences.applied(honoured).filter(|_| wanted.explain.analyze);
                let dry_run = preferences.rollback == Some(true) && self.config.rollback;
                self.plan_of_write(planned, request.headers(), identity, wanted.explain, dry_run)
                    .await
            }
        };
        let plan = explained.map_err(|error| match &*error.code {
            "0A000" => error::not_acceptable(&wanted.content_type).detail(error.message.clone()),
            _ => error,
        })?;
        let mut headers = response::template(None, None, applied);
        if let Ok(value) = HeaderValue::try_from(&wanted.content_type) {
            headers.insert(CONTENT_TYPE, value);
        }
        let body = match *request.method() == Method::HEAD {
            true => Bytes::new(),
            false => plan.into(),
        };
        Ok(response::with_body(StatusCode::OK, headers, body))
    }

    async fn plan_of_write(
        &self,
        planned: Planned<'_>,
        headers: &HeaderMap,
        identity: &Identity,
        wanted: Explain,
        dry_run: bool,
    ) -> Result<String, Error> {
        let Some(transaction) = planned.alone(headers, dry_run) else {
            return Ok(if wanted.json { "[]" } else { "" }.to_owned());
        };
        let explained = self
            .data
            .explain_write(transaction, identity, &planned.representation, wanted);
        match (explained.await, planned.explain) {
            (Err(error), Some(meant)) => Err(meant(error)),
            (explained, _) => explained.map(|explanation| explanation.plan),
        }
    }

    /// The plan that a request wants, where it may have one.
    pub(crate) fn wanted_plan(&self, request: &Request<Bytes>) -> Option<Wanted> {
        if !self.config.plan {
            return None;
        }
        media::first(request.headers()).and_then(Wanted::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_of_a_plan() {
        for (range, content_type, flags) in [
            (
                "application/vnd.pgrst.plan",
                "application/vnd.pgrst.plan+text; for=\"application/json\"; charset=utf-8",
                "",
            ),
            (
                "application/vnd.pgrst.plan+json; options=analyze|wal",
                "application/vnd.pgrst.plan+json; for=\"application/json\"; options=analyze|wal; charset=utf-8",
                "json analyze wal",
            ),
            (
                "Application/vnd.pgrst.plan+json;for=\"application/vnd.pgrst.object+json;nulls=stripped\" ; options=verbose|what",
                "application/vnd.pgrst.plan+json; for=\"application/vnd.pgrst.object+json;nulls=stripped\"; options=verbose; charset=utf-8",
                "json verbose",
            ),
        ] {
            let wanted = Wanted::read(range).unwrap();
            let Explain {
                analyze,
                verbose,
                settings,
                buffers,
                wal,
                json,
            } = wanted.explain;
            let all = [
                (json, "json"),
                (analyze, "analyze"),
                (verbose, "verbose"),
                (settings, "settings"),
                (buffers, "buffers"),
                (wal, "wal"),
            ];
            let shown: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            assert_eq!((&*wanted.content_type, &*shown.join(" ")), (content_type, flags));
        }
        assert_eq!(Wanted::read("application/json"), None);
    }
}
