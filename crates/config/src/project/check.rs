//! What one section says about another: names that must exist, addresses that must differ, routes that never get a request.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Project, Route, Target};
use crate::document::Document;
use crate::problem::{Problem, suggest};

pub(super) fn check(project: &Project, document: &Document<'_>) {
    check_listeners(project, document);
    check_stores(project, document);
    check_without_effect(project, document);
    check_routes(project, document);
    check_subscriptions(project, document);
}

fn check_listeners(project: &Project, document: &Document<'_>) {
    let (public, admin) = (project.gateway.listen, project.admin.listen);
    let same_address = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
    if public.port() != 0 && public.port() == admin.port() && same_address {
        let at = project.places.find(&["admin", "listen"]);
        let message = format!("[admin] listen: {admin} is taken by [gateway] listen, {public}");
        document.report(at.problem(message).help("give each listener a port of its own"));
    }
}

fn check_stores(project: &Project, document: &Document<'_>) {
    let mut files: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for (name, store) in &project.stores {
        let Some(file) = store.sqlite_file() else { continue };
        if let Some(other) = files.insert(file, name) {
            let message = format!("[store.{name}]: the same database file as [store.{other}]");
            document.report(
                store
                    .at
                    .problem(message)
                    .help("two stores on one file would each miss the other's writes"),
            );
        }
    }
    for (name, service) in &project.services {
        if !service.store.is_empty() && !project.stores.contains_key(&service.store) {
            let what = format!("[service.{name}] store");
            document.report(unknown(
                &project.places.find(&["service", name, "store"]),
                &what,
                "store",
                &service.store,
                project.stores.keys(),
            ));
        }
    }
    if let Some(store) = &project.auth.store
        && !project.stores.contains_key(store)
    {
        document.report(unknown(
            &project.places.find(&["auth", "store"]),
            "[auth] store",
            "store",
            store,
            project.stores.keys(),
        ));
    }
}

/// What is written and does nothing, as it is for stores of another kind.
fn check_without_effect(project: &Project, document: &Document<'_>) {
    let unheeded = |path: &[&str], message: String, help: &str| {
        if project.places.has(path) {
            document.warn(project.places.find(path).problem(message).help(help));
        }
    };
    for (name, _) in project.stores.iter().filter(|(_, store)| store.is_embedded()) {
        let message = format!("[store.{name}] connections: has no effect");
        let help = "an embedded store has none; `readers` are the threads of its long reads";
        unheeded(&["store", name, "connections"], message, help);
    }
    if project.stores.values().all(super::Store::is_embedded) {
        let message = "[api] search_path: has no effect".to_owned();
        unheeded(
            &["api", "search_path"],
            message,
            "it is for server stores, and no store is one",
        );
    }
}

fn check_routes(project: &Project, document: &Document<'_>) {
    for (index, route) in project.routes.iter().enumerate() {
        if let Target::Upstream(name) = &route.to
            && !project.upstreams.contains_key(name)
        {
            let at = project.places.find(&["route", &index.to_string(), "to"]);
            document.report(unknown(&at, "[[route]] to", "upstream", name, project.upstreams.keys()));
        }
        if let Some(earlier) = project.routes[..index].iter().find(|earlier| shadows(earlier, route)) {
            let message = format!(
                "[[route]]: {:?} never gets a request: {:?} at {} comes first",
                route.matches.text, earlier.matches.text, earlier.at
            );
            let at = project.places.find(&["route", &index.to_string(), "match"]);
            document.report(at.problem(message).help("put the more particular route first"));
        }
    }
    for (name, upstream) in &project.upstreams {
        let is_used = project
            .routes
            .iter()
            .any(|route| route.to == Target::Upstream(name.clone()));
        if !is_used {
            let warning = upstream.at.problem(format!("[upstream.{name}]: no route leads to it"));
            document.warn(warning.help(format!("add a [[route]] with to = \"{name}\"")));
        }
    }
}

/// Whether `earlier` takes every request that `later` could take.
fn shadows(earlier: &Route, later: &Route) -> bool {
    let host_covered = earlier.host.is_none() || earlier.host == later.host;
    let methods_covered = match (earlier.matches.methods.is_empty(), later.matches.methods.is_empty()) {
        (true, _) => true,
        (false, true) => false,
        (false, false) => later
            .matches
            .methods
            .iter()
            .all(|method| earlier.matches.takes_method(method)),
    };
    host_covered && methods_covered && covers(&earlier.matches.path.segments, &later.matches.path.segments)
}

/// Whether every path of `narrow` is one of `wide`.
fn covers(wide: &[super::Segment], narrow: &[super::Segment]) -> bool {
    use super::Segment::{Literal, One, Rest};
    match (wide.split_first(), narrow.split_first()) {
        (Some((Rest, _)), _) => true,
        (None, None) => true,
        (Some((One, wide)), Some((One, narrow))) => covers(wide, narrow),
        (Some((One, wide)), Some((Literal(text), narrow))) => !text.is_empty() && covers(wide, narrow),
        (Some((Literal(a), wide)), Some((Literal(b), narrow))) => a == b && covers(wide, narrow),
        _ => false,
    }
}

fn check_subscriptions(project: &Project, document: &Document<'_>) {
    let mut names = BTreeMap::new();
    for subscription in &project.subscriptions {
        if let Some(earlier) = names.insert(&subscription.name, &subscription.at) {
            let message = format!(
                "[[on]]: `{}` is the name of the one at {earlier} as well",
                subscription.name
            );
            document.report(subscription.at.problem(message).help("give each a `name` of its own"));
        }
    }
}

fn unknown<'n>(
    at: &crate::Location,
    what: &str,
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'n String> + Clone,
) -> Problem {
    let problem = at.problem(format!("{what}: no {kind} is called `{name}`"));
    match suggest(name, known.clone().map(String::as_str)) {
        Some(close) => problem.help(format!("did you mean `{close}`?")),
        None if known.clone().next().is_none() => problem.help(format!("write [{kind}.{name}]")),
        None => {
            let names: Vec<String> = known.map(|name| format!("`{name}`")).collect();
            problem.help(format!("known are {}", names.join(", ")))
        }
    }
}
