//! What a person may want to hear about the choice of schemas.

use super::found::Found;
use mainstay_model::Schema;
use std::sync::Arc;

/// Schemas that are kept for a tool's own needs, and rarely meant to be served.
const TOOLS: [&str; 9] = [
    "auth",
    "extensions",
    "graphql",
    "mainstay",
    "mainstay_auth",
    "net",
    "realtime",
    "storage",
    "vault",
];

pub(super) fn of(schema: &Schema, namespaces: &[(u32, Arc<str>)], found: &Found) -> Vec<String> {
    let served = |name: &str| namespaces.iter().any(|(_, n)| **n == *name);
    if schema.relations.iter().any(|r| served(&r.namespace)) || !schema.functions.is_empty() {
        return Vec::new();
    }
    let names = || {
        namespaces
            .iter()
            .map(|(_, n)| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut others: Vec<String> = found
        .namespaces
        .iter()
        .filter(|n| n.relations > 0 && !served(&n.name) && !TOOLS.contains(&&*n.name))
        .map(|n| format!("{} ({})", n.name, n.relations))
        .collect();
    others.sort();
    let where_else = if others.is_empty() {
        "and no other schema has any".to_owned()
    } else {
        format!(
            "these schemas have some, which `[api] schemas` may name: {}",
            others.join(", ")
        )
    };
    vec![format!(
        "there is no table, view or function in {}; {where_else}",
        names()
    )]
}
