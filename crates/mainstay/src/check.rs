//! `mainstay check`: every problem, with its place and what to do.

use crate::project;
use std::fmt::Display;
use std::path::Path;

/// Prints warnings and what the project exposes; fails with its problems.
pub fn run(dir: &Path, overrides: &[String]) -> Result<(), Box<dyn Display>> {
    let loaded = project::load(dir, overrides).map_err(|p| Box::new(p) as Box<dyn Display>)?;
    for warning in &loaded.warnings {
        println!("warning: {warning}");
    }
    let schema = &loaded.schema;
    let exposed = |role: &str| {
        let tables = schema.relations.iter().filter(|r| r.grants.iter().any(|g| &*g.role == role || &*g.role == "public"));
        let functions = schema.functions.iter().filter(|f| f.grants.iter().any(|g| &**g == role || &**g == "public"));
        (tables.map(|r| r.name.to_string()).collect::<Vec<_>>(), functions.map(|f| f.name.to_string()).collect::<Vec<_>>())
    };
    for role in ["anon", "authenticated"] {
        let (tables, functions) = exposed(role);
        println!("{role} can reach {}; call {}", list(&tables), list(&functions));
    }
    if !schema.has_grants && !schema.relations.is_empty() {
        println!("no GRANT anywhere: everything is served to service_role only");
    }
    println!("ok: {} relations, {} functions", schema.relations.len(), schema.functions.len());
    Ok(())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
