//! What every phase would do with a request, without its being sent: nothing is counted, forwarded or answered.

use crate::authenticate::{self, Authenticate};
use crate::config::Auth;
use crate::limit::Per;
use crate::refusal::Refusal;
use crate::request::{host_of, path_of};
use crate::router::{self, Found};
use crate::site::{CompiledRoute, CompiledTarget, Site};
use crate::{refusal, validate};
use http::{HeaderMap, Method, Uri};
use mainstay_model::Identity;
use std::sync::Arc;

/// Tells what a gateway would do. Cheap to clone; good for as long as anybody holds it.
#[derive(Clone)]
pub struct Explainer {
    pub(crate) site: Arc<Site>,
}

/// What would become of a request.
#[derive(Clone, Debug)]
pub struct Course {
    /// The phases that it comes to, each with what it would do.
    pub phases: Vec<(&'static str, String)>,
    /// Where it ends.
    pub end: End,
}

/// Where a request ends.
#[derive(Clone, Debug)]
pub enum End {
    /// In the phase that was told of last.
    Refused,
    /// At a service of this process, for this caller, with these headers.
    Service(Option<Arc<Identity>>, HeaderMap),
    /// At a file or another process.
    Elsewhere,
}

/// Lets a caller be somebody without a token.
struct Known(Arc<Identity>);

impl Authenticate for Known {
    fn authenticate(&self, _: &HeaderMap) -> Result<Arc<Identity>, Refusal> {
        Ok(self.0.clone())
    }
}

impl Explainer {
    /// What would become of a request. `caller` takes the place of whomever its token names.
    pub fn explain(&self, method: &Method, uri: &Uri, headers: &HeaderMap, caller: Option<Arc<Identity>>) -> Course {
        let mut phases = Vec::new();
        let end = self
            .phases(method, uri, headers, caller, &mut phases)
            .unwrap_or_else(|refusal| {
                if let Some((_, says)) = phases.last_mut() {
                    *says = told(&refusal);
                }
                End::Refused
            });
        Course { phases, end }
    }

    fn phases(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        caller: Option<Arc<Identity>>,
        phases: &mut Vec<(&'static str, String)>,
    ) -> Result<End, Refusal> {
        let site = &*self.site;
        phases.push(("validate", "one host, one meaning".to_owned()));
        validate::request(None, site, method, uri, headers)?;
        phases.push(("route", String::new()));
        let path = router::decoded(path_of(method, uri))?;
        let route = match site.find(method, host_of(headers), &path) {
            Found::Route(index) => &site.routes[index],
            Found::OtherMethods(allow) => return Err(refusal::wrong_method(method, allow)),
            Found::Nothing => return Err(refusal::no_route(method, &path)),
        };
        say(
            phases,
            format!("{route}, a body of at most {} bytes", route.body_bytes_max),
        );
        phases.push(("limit_address", rules(site, route, false)));
        phases.push(("authenticate", String::new()));
        let identity = identify(site, &route.auth, headers, caller)?;
        say(
            phases,
            match (&identity, &route.auth) {
                (None, _) => "nobody is asked for: the route wants no token".to_owned(),
                (Some(identity), auth) => format!("{}{}", who(identity), wanted(auth)),
            },
        );
        phases.push(("limit_identity", rules(site, route, true)));
        Ok(match &route.to {
            CompiledTarget::Service(_) => {
                let mut headers = headers.clone();
                route.headers.apply(&mut headers);
                End::Service(identity, headers)
            }
            CompiledTarget::Files(_) => {
                phases.push(("files", "a file of the gateway's folder".to_owned()));
                End::Elsewhere
            }
            CompiledTarget::Upstream(group) => {
                let group = &site.groups[*group];
                let servers = group.config.servers.join(", ");
                phases.push((
                    "upstream",
                    format!("\"{}\" ({servers}), attempts: {}", group.config.name, route.attempts),
                ));
                End::Elsewhere
            }
        })
    }
}

fn identify(
    site: &Site,
    auth: &Auth,
    headers: &HeaderMap,
    caller: Option<Arc<Identity>>,
) -> Result<Option<Arc<Identity>>, Refusal> {
    match caller {
        Some(caller) => authenticate::identify(Some(&Known(caller)), auth, headers),
        None => authenticate::identify(site.authenticate.as_deref(), auth, headers),
    }
}

fn say(phases: &mut [(&'static str, String)], what: String) {
    if let Some((_, says)) = phases.last_mut() {
        *says = what;
    }
}

/// The rules that count addresses, or those that count callers.
fn rules(site: &Site, route: &CompiledRoute, of_callers: bool) -> String {
    let names: Vec<String> = site
        .rules_of(route)
        .filter(|rule| matches!(rule.per, Per::User | Per::Role) == of_callers)
        .map(ToString::to_string)
        .collect();
    match names.is_empty() {
        true => "no rule".to_owned(),
        false => format!("would be counted by {}", names.join(", ")),
    }
}

fn who(identity: &Identity) -> String {
    match identity.claims.get("sub").and_then(|sub| sub.as_str()) {
        Some(sub) => format!("role {}, sub {sub}", identity.role),
        None => format!("role {}", identity.role),
    }
}

fn wanted(auth: &Auth) -> String {
    match auth {
        Auth::None | Auth::Optional => String::new(),
        Auth::Required => "; a token is required".to_owned(),
        Auth::Roles(roles) => format!("; allowed: {}", roles.join(", ")),
    }
}

fn told(refusal: &Refusal) -> String {
    let mut text = format!(
        "refused: {} {}: {}",
        refusal.status.as_u16(),
        refusal.code,
        refusal.message
    );
    for more in refusal
        .details
        .iter()
        .map(String::as_str)
        .chain(refusal.hint.as_deref())
    {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}
