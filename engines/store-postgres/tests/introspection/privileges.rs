//! Who may do what, as a person and the documentation are told.

use crate::{features, id, relation};
use mainstay_model::Privilege;
use mainstay_store_postgres::introspect::{access, warnings};

#[test]
fn grants_in_effect() {
    let schema = &features().1.schema;
    // (role, relation, privilege, column, allowed)
    let cases = [
        ("anon", "countries", Privilege::Select, None, true),
        ("anon", "countries", Privilege::Insert, None, false),
        ("outsider", "countries", Privilege::Select, None, true),
        ("anon", "people", Privilege::Select, None, false),
        ("anon", "people", Privilege::Select, Some(0), true),
        ("anon", "people", Privilege::Select, Some(2), false),
        ("anon", "people", Privilege::Update, Some(1), true),
        ("anon", "people", Privilege::Update, Some(0), false),
        // By membership.
        ("authenticated", "people", Privilege::Select, None, true),
        ("authenticated", "people", Privilege::Insert, None, true),
        ("authenticated", "people", Privilege::Delete, None, false),
        ("anon", "visits", Privilege::Insert, None, true),
        ("anon", "passports", Privilege::Select, None, false),
        // The owner is a superuser.
        ("postgres", "passports", Privilege::Delete, None, true),
    ];
    for (role, name, privilege, column, allowed) in cases {
        let found = relation(schema, name).allows(role, privilege, column);
        assert_eq!(found, allowed, "{role} {privilege:?} {name} {column:?}");
    }
    // A grant on a table is worth nothing where the schema may not be used.
    let odd = schema.find_relation("Odd Schema", "Odd \"Table").unwrap();
    assert!(!schema.relation(odd).allows("anon", Privilege::Select, None));
    assert!(schema.relation(odd).allows("postgres", Privilege::Select, None));
    let grants = |name: &str| -> Vec<String> {
        let function = schema.function(schema.find_functions("public", name)[0]);
        function.grants.iter().map(|g| g.to_string()).collect()
    };
    assert_eq!(grants("nothing"), ["public"], "the default of functions");
    let mut private = grants("private_part");
    private.sort();
    assert_eq!(private, ["authenticated", "postgres", "readers"]);
}

#[test]
fn policies_are_facts() {
    let schema = &features().1.schema;
    let people = relation(schema, "people").table().unwrap();
    assert!(people.row_security);
    assert!(!relation(schema, "countries").table().unwrap().row_security);
    let policies: Vec<String> = people
        .policies
        .iter()
        .map(|p| {
            let using = p.using.as_ref().map(|e| match &e.kind {
                mainstay_model::ExprKind::Opaque { sql, .. } => sql.to_string(),
                other => format!("{other:?}"),
            });
            format!(
                "{} {:?} {} {:?} {}",
                p.name,
                p.command,
                p.restrictive,
                p.roles,
                using.unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        policies,
        [
            "never Delete true [] false",
            "own Select false [\"anon\", \"authenticated\"] ((name)::text = CURRENT_USER)"
        ]
    );
}

#[test]
fn roles() {
    let found = &features().1;
    let role = |name: &str| {
        found
            .roles
            .iter()
            .find(|r| &*r.name == name)
            .unwrap_or_else(|| panic!("no role {name}"))
    };
    assert!(role("postgres").superuser && role("postgres").bypasses_rls && role("postgres").can_login);
    assert!(role("trusted").bypasses_rls && !role("trusted").superuser);
    assert!(role("outsider").can_login && !role("anon").can_login);
    assert!(role("anon").settable_by_us);
    assert_eq!(&*found.server.user, "postgres");
    assert!(found.server.version >= 130_000);
    assert!(
        found.notes.iter().any(|n| n.contains("a superuser")),
        "{:?}",
        found.notes
    );
    assert!(
        found.notes.iter().any(|n| n.contains("no role `service_role`")),
        "{:?}",
        found.notes
    );
}

#[test]
fn lines_for_a_person() {
    let found = &features().1;
    let lines = access(found, "anon");
    let line = |start: &str| {
        lines
            .iter()
            .find(|l| l.starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {lines:#?}"))
            .clone()
    };
    assert_eq!(
        line("anon reads"),
        "anon reads countries, people (id, name), secret_ids"
    );
    assert_eq!(line("anon inserts into"), "anon inserts into visits");
    assert_eq!(line("anon updates"), "anon updates people (name)");
    assert!(!lines.iter().any(|l| l.starts_with("anon deletes")), "{lines:#?}");
    assert!(line("anon calls").contains("add (2 forms)"), "{lines:#?}");
    assert!(!line("anon calls").contains("private_part"));
    assert_eq!(access(found, "nobody"), ["nobody: no such role"]);
    let warned = warnings(found, "anon");
    assert!(
        warned
            .iter()
            .any(|w| w.contains("no row level security") && w.ends_with(": visits")),
        "{warned:#?}"
    );
    assert!(id(&found.schema, "people").0 < found.schema.relations.len() as u32);
}
