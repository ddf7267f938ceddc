//! What roles may do, and what looks unintended, in lines for a person: `check` prints them of an adopted database.

use super::Introspected;
use mainstay_model::{Function, Privilege, Relation, Returns, Schema, Type};
use std::collections::BTreeMap;

/// So many names are listed; beyond that they are counted.
const NAMES_MAX: usize = 20;

/// What a role may read, write and call from outside, a line for each; one line where it may do nothing.
pub fn access(introspected: &Introspected, role: &str) -> Vec<String> {
    let schema = &introspected.schema;
    if !introspected.roles.iter().any(|r| *r.name == *role) {
        return vec![format!("{role}: no such role")];
    }
    let mut lines = Vec::new();
    let mut line = |verb: &str, names: Vec<String>| {
        if !names.is_empty() {
            lines.push(format!("{role} {verb} {}", listed(names)));
        }
    };
    line("reads", relations(schema, role, Privilege::Select));
    for (verb, privilege) in [
        ("inserts into", Privilege::Insert),
        ("updates", Privilege::Update),
        ("deletes from", Privilege::Delete),
    ] {
        line(verb, relations(schema, role, privilege));
    }
    let mut overloads: BTreeMap<String, usize> = BTreeMap::new();
    for function in schema
        .functions
        .iter()
        .filter(|f| served(schema, &f.namespace) && calls(f, role))
    {
        *overloads.entry(shown(&function.namespace, &function.name)).or_default() += 1;
    }
    let functions = overloads.into_iter().map(|(name, count)| match count {
        1 => name,
        count => format!("{name} ({count} forms)"),
    });
    line("calls", functions.collect());
    if lines.is_empty() {
        lines.push(format!("{role} may do nothing: no privilege is granted to it"));
    }
    lines
}

/// What is allowed to `role` and may not be meant to be.
pub fn warnings(introspected: &Introspected, role: &str) -> Vec<String> {
    let schema = &introspected.schema;
    let mut lines = Vec::new();
    let mut warn = |names: Vec<String>, what: &str| {
        if !names.is_empty() {
            lines.push(format!("{role} {what}: {}", listed(names)));
        }
    };
    let own = || schema.relations.iter().filter(|r| served(schema, &r.namespace));
    let open = own().filter(|r| {
        let writes = [Privilege::Insert, Privilege::Update, Privilege::Delete];
        r.table().is_some_and(|t| !t.row_security) && writes.iter().any(|p| allowed(r, role, *p))
    });
    warn(open.map(name).collect(), "writes every row (no row level security)");
    let around = own().filter(|r| {
        let protected = |id: mainstay_model::RelationId| schema.relation(id).table().is_some_and(|t| t.row_security);
        let view = r.view().filter(|v| !v.security_invoker);
        view.is_some_and(|v| v.origins.iter().flatten().any(|(base, _)| protected(*base)))
            && allowed(r, role, Privilege::Select)
    });
    warn(
        around.map(name).collect(),
        "reads past row level security, with the owner's rights, through the views (WITH (security_invoker = on) ends that)",
    );
    let silent = own().filter(|r| {
        let table = r.table().filter(|t| t.row_security);
        table.is_some_and(|t| t.policies.is_empty()) && allowed(r, role, Privilege::Select)
    });
    warn(silent.map(name).collect(), "sees no row, since there is no policy, of");
    let definers = schema.functions.iter().filter(|f| {
        let writes = f.writes && !matches!(&f.returns, Returns::Scalar(Type::Other(name)) if &**name == "trigger");
        f.security_definer && writes && served(schema, &f.namespace) && calls(f, role)
    });
    warn(
        definers.map(|f| shown(&f.namespace, &f.name)).collect(),
        "calls with the owner's rights (SECURITY DEFINER)",
    );
    lines
}

fn served(schema: &Schema, namespace: &str) -> bool {
    schema.namespaces.iter().any(|n| **n == *namespace)
}

fn calls(function: &Function, role: &str) -> bool {
    function.grants.iter().any(|g| **g == *role || &**g == "public")
}

fn allowed(relation: &Relation, role: &str, privilege: Privilege) -> bool {
    let possible = relation.writable();
    let possible = match privilege {
        Privilege::Insert => possible.insert,
        Privilege::Update => possible.update,
        Privilege::Delete => possible.delete,
        _ => true,
    };
    possible
        && relation
            .grants
            .iter()
            .any(|g| g.privilege == privilege && (*g.role == *role || &*g.role == "public"))
}

fn relations(schema: &Schema, role: &str, privilege: Privilege) -> Vec<String> {
    schema
        .relations
        .iter()
        .filter(|r| served(schema, &r.namespace) && allowed(r, role, privilege))
        .map(|r| {
            let mine =
                |g: &&mainstay_model::Grant| g.privilege == privilege && (*g.role == *role || &*g.role == "public");
            let granted: Vec<_> = r.grants.iter().filter(mine).collect();
            if granted.iter().any(|g| g.columns.is_none()) {
                return name(r);
            }
            let columns = granted.iter().flat_map(|g| g.columns.iter().flatten());
            let names: Vec<&str> = columns
                .filter_map(|c| r.columns.get(*c as usize))
                .map(|c| &*c.name)
                .collect();
            format!("{} ({})", name(r), names.join(", "))
        })
        .collect()
}

fn name(relation: &Relation) -> String {
    shown(&relation.namespace, &relation.name)
}

fn shown(namespace: &str, name: &str) -> String {
    if namespace == "public" {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn listed(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
