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
        if let Some(earlier) = project.routes[..index].iter().find(|earlier| same(earlier, route)) {
            let message = format!(
                "[[route]]: {:?} matches the same requests as {:?} at {}",
                route.matches.text, earlier.matches.text, earlier.at
            );
            let at = project.places.find(&["route", &index.to_string(), "match"]);
            document.report(at.problem(message).help("remove one, or narrow its methods"));
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

/// Whether two routes match the same requests: of others the more particular one takes what both match.
fn same(a: &Route, b: &Route) -> bool {
    let (own, others) = (&a.matches.methods, &b.matches.methods);
    let methods = match own.is_empty() || others.is_empty() {
        true => own.is_empty() && others.is_empty(),
        false => own.iter().any(|m| b.matches.takes_method(m)) || others.iter().any(|m| a.matches.takes_method(m)),
    };
    methods && a.host == b.host && a.matches.path == b.matches.path
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
