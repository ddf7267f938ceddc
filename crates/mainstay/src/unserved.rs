//! What the file may say and nothing here does: keys that are not served yet, and paths that nothing answers to. `serve` refuses them,
//! and `check` says so before.

use crate::jobs;
use mainstay_config::Problem;
use mainstay_config::project::{Action, Delivery, Project, Target as RouteTarget};
use mainstay_worker::{SigningKey, Target};

/// Where the project's own API is, in any process that has all of it.
const API: [&str; 3] = [mainstay_rest::PREFIX, "/auth/v1", jobs::PREFIX];

/// Every such line of the file, a sentence each.
pub fn of(project: &Project) -> Vec<String> {
    let mut found = keys(project);
    found.extend(routes(project));
    found.extend(deliveries(project));
    found.iter().map(ToString::to_string).collect()
}

/// Keys that this version only knows by name.
fn keys(project: &Project) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut refuse = |path: &[&str], what: &str, help: &str| {
        let problem = project.places.find(path).problem(format!("{what} is not served yet"));
        found.push(problem.help(help));
    };
    if project.cache.shared.is_some() {
        refuse(
            &["cache", "shared"],
            "[cache] shared",
            "leave it out: each process has a cache of its own",
        );
    }
    if project.auth.jwks.is_some() {
        refuse(
            &["auth", "jwks"],
            "[auth] jwks",
            "give the one key as `secret`: an HS256 secret, or an RSA public key in PEM",
        );
    }
    if project.api.pre_request.is_some() && project.stores.values().any(|s| s.is_embedded()) {
        refuse(
            &["api", "pre_request"],
            "[api] pre_request on an embedded store",
            "leave it out, or use a server store such as postgres://",
        );
    }
    for (name, _) in project.stores.iter().filter(|(_, s)| !s.replicas.is_empty()) {
        let what = format!("[store.{name}] replicas");
        refuse(
            &["store", name, "replicas"],
            &what,
            "leave it out: the store itself is read",
        );
    }
    for (index, _) in project.routes.iter().enumerate().filter(|(_, r)| r.cache.is_some()) {
        let path = ["route", &index.to_string(), "cache"];
        refuse(
            &path,
            "[[route]] cache",
            "leave it out: the upstream is asked each time",
        );
    }
    found
}

/// Routes to the project's own API where that is not.
fn routes(project: &Project) -> Vec<Problem> {
    let own = project
        .routes
        .iter()
        .enumerate()
        .filter(|(_, r)| r.to == RouteTarget::Api);
    let lost = own.filter_map(|(index, route)| {
        let path = route
            .matches
            .text
            .split_ascii_whitespace()
            .next_back()
            .unwrap_or_default();
        if API.iter().any(|prefix| is_under(path, prefix)) {
            return None;
        }
        let at = project.places.find(&["route", &index.to_string(), "match"]);
        let problem = at.problem(format!("[[route]] match: no API is at {path}"));
        Some(problem.help(format!("the project's own are at {}", API.join(", "))))
    });
    lost.collect()
}

/// Deliveries to where nobody takes them, or signed with what is no key.
fn deliveries(project: &Project) -> Vec<Problem> {
    let lost = project
        .subscriptions
        .iter()
        .enumerate()
        .filter_map(|(index, subscription)| {
            let Action::Deliver { to, secret, .. } = &subscription.action else {
                return None;
            };
            let at = |key: &str| project.places.find(&["on", &index.to_string(), key]);
            let refused = secret
                .as_ref()
                .and_then(|secret| SigningKey::parse(secret.expose()).err());
            if let Some(why) = refused {
                return Some(at("secret").problem(format!("[[on]] secret: {why}")));
            }
            match to {
                Delivery::Url(url) => {
                    let why = Target::parse(url.expose()).err()?;
                    Some(at("deliver").problem(format!("[[on]] deliver: {why}")))
                }
                Delivery::Path(path) if is_taken(project, path) => None,
                Delivery::Path(path) => {
                    let problem = at("deliver").problem(format!("[[on]] deliver: no route takes POST {path}"));
                    Some(problem.help("add a [[route]] that does, or write an http:// or https:// URL"))
                }
            }
        });
    lost.collect()
}

/// Whether something answers a POST to a path. What is percent-encoded is given the benefit of the doubt.
fn is_taken(project: &Project, path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut routes = project.routes.iter().map(|route| &route.matches);
    path.contains('%')
        || API.iter().any(|prefix| is_under(path, prefix))
        || routes.any(|matches| matches.takes_method("POST") && matches.path.matches(path))
}

/// Whether a path is a prefix or lies below it.
pub fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
