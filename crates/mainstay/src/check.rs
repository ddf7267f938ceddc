//! `mainstay check`: every problem, with its place and what to do, and who reaches what.

use crate::output::say;
use crate::project::{self, Problems};
use crate::{accounts, adopted, arising, engines, secrets, seeds, translation, unserved};
use mainstay_model::{Privilege, Schema};
use mainstay_store_postgres::introspect;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

/// The schema of the product's own tables.
const OWN: &str = "auth";

/// Prints warnings and what the project exposes; fails with its problems, among them whatever `serve` would refuse.
pub fn run(dir: &Path, overrides: &[String]) -> Result<(), Box<dyn Display>> {
    let loaded = project::load(dir, overrides).map_err(|p| Box::new(p) as Box<dyn Display>)?;
    let (project, schema) = (&loaded.project, &loaded.schema.clone());
    for warning in &loaded.warnings {
        say!("warning: {warning}");
    }
    for note in &loaded.notes {
        say!("note: {note}");
    }
    let mut problems = seeds::misfits(&loaded.seeds, schema);
    problems.extend(unserved::of(project));
    problems.extend(engines::unknown(project));
    let untranslatable = translation::untranslatable(project, schema);
    problems.extend(untranslatable.tables);
    problems.extend(untranslatable.others);
    problems.extend(loaded.unkept.iter().cloned());
    for part in arising::parts(project) {
        problems.extend(
            arising::stranded(project, schema, &part)
                .iter()
                .map(ToString::to_string),
        );
    }
    let has_key = project.auth.secret.is_some() || project.auth.jwks.is_some();
    problems.extend((!has_key).then(|| secrets::development_key_refusal(project)).flatten());
    if !problems.is_empty() {
        return Err(Box::new(Problems(problems)));
    }
    if loaded.adopts().is_some() {
        return adopted(loaded).map_err(|e| Box::new(e) as Box<dyn Display>);
    }
    for role in roles(schema) {
        say!("{role}: {}", reach(schema, &role));
    }
    let own = |name: &str| name == OWN;
    let tables = schema
        .relations
        .iter()
        .filter(|r| r.table().is_some() && !own(&r.namespace))
        .count();
    let views = schema
        .relations
        .iter()
        .filter(|r| r.view().is_some() && !own(&r.namespace))
        .count();
    let functions = schema.functions.iter().filter(|f| !own(&f.namespace)).count();
    if !schema.has_grants && tables + views + functions > 0 {
        say!("no GRANT anywhere: everything is served to service_role only");
    }
    say!(
        "ok: {}, {}, {}",
        counted(tables, "table"),
        counted(views, "view"),
        counted(functions, "function")
    );
    Ok(())
}

/// What a database that is served as it is lets its roles do, what looks unintended, and what is not served.
fn adopted(mut loaded: project::Loaded) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("no runtime could be started: {e}"))?;
    let Some(found) = runtime.block_on(adopted::look(&loaded))? else {
        return Ok(());
    };
    adopted::said(&found).iter().for_each(|line| say!("{line}"));
    let anon = loaded.project.api.anon.clone();
    for role in [anon.as_str(), "authenticated"] {
        introspect::access(&found, role).iter().for_each(|line| say!("{line}"));
        let warnings = introspect::warnings(&found, role);
        warnings.iter().for_each(|line| say!("warning: {line}"));
    }
    for note in &found.notes {
        say!("note: {note}");
    }
    for not in &found.not_served {
        say!("not served: {}: {}", not.object, not.reason);
    }
    loaded.adopt(found.schema).map_err(|p| p.to_string())?;
    say!("{}", runtime.block_on(accounts::standing(&loaded))?);
    say!("ok");
    Ok(())
}

/// Every role that something is granted to, those without and with a token first.
fn roles(schema: &Schema) -> Vec<String> {
    let of_tables = schema
        .relations
        .iter()
        .flat_map(|r| r.grants.iter().map(|g| g.role.to_string()));
    let of_functions = schema
        .functions
        .iter()
        .flat_map(|f| f.grants.iter().map(|g| g.to_string()));
    let mut others: BTreeSet<String> = of_tables.chain(of_functions).collect();
    let mut roles = vec!["anon".to_owned(), "authenticated".to_owned()];
    for known in ["anon", "authenticated", "public", "service_role"] {
        others.remove(known);
    }
    roles.extend(others);
    roles
}

/// What a role may do, verb by verb.
fn reach(schema: &Schema, role: &str) -> String {
    let to = |granted: &str| granted == role || granted == "public";
    let mut parts = Vec::new();
    for (verb, privilege) in [
        ("reads", Privilege::Select),
        ("inserts into", Privilege::Insert),
        ("updates", Privilege::Update),
        ("deletes from", Privilege::Delete),
    ] {
        let may = |r: &&mainstay_model::Relation| r.grants.iter().any(|g| g.privilege == privilege && to(&g.role));
        let names: Vec<&str> = schema.relations.iter().filter(may).map(|r| &*r.name).collect();
        if !names.is_empty() {
            parts.push(format!("{verb} {}", names.join(", ")));
        }
    }
    let callable: BTreeSet<&str> = schema
        .functions
        .iter()
        .filter(|f| f.grants.iter().any(|g| to(g)))
        .map(|f| &*f.name)
        .collect();
    if !callable.is_empty() {
        parts.push(format!("calls {}", callable.into_iter().collect::<Vec<_>>().join(", ")));
    }
    if parts.is_empty() {
        "nothing".to_owned()
    } else {
        parts.join("; ")
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
