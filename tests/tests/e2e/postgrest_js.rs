//! `@supabase/postgrest-js` as npm delivers it, against the binary: `tests/postgrest-js` holds a schema and the cases, which are
//! those of the client's own tests in our words, with our data.

use mainstay_tests::{Engine, Project, engine, npm_install, skip};
use std::path::Path;
use std::process::Command;

/// What the client's own tests ask and the cases do not ask so, on any engine.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("GeoJSON", "needs PostGIS: 406"),
    ("explain", "plans of Postgres: 406 unless `plan` is served"),
    (
        "the place of updated rows without an order",
        "Postgres moves them to the end of its heap; embedded they keep their place",
    ),
    ("messages of PostgREST 12", "the dialect is that of version 14"),
];

/// What only Postgres has. The first two are cases embedded as well: the refusal by name is the answer.
const EMBEDDED_EXCEPTIONS: &[(&str, &str)] = &[
    (
        "operators of ranges (@> <@ << >> &< &> -|- &&)",
        "Postgres' own types: stored, compared for equality, else refused by name",
    ),
    ("full text search (@@)", "Postgres' own: refused by name"),
    (
        "planned and estimated counts",
        "statistics of Postgres: counted exactly, so never 206 where all rows fit",
    ),
    (
        "numbers after explicit or rolled back ones",
        "gaps of a sequence; here the number after the greatest",
    ),
];

#[test]
fn the_client_from_npm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgrest-js");
    if let Err(reason) = npm_install(&folder, "@supabase/postgrest-js") {
        return skip("postgrest_js::the_client_from_npm", &reason);
    }
    let schema = std::fs::read_to_string(folder.join("schema.sql")).expect("the schema");
    let project = Project::new(
        &schema,
        "[api]\nschemas = [\"public\", \"archive\"]\naggregates = true\n",
    );
    let process = project.serve();
    let output = Command::new("node")
        .args(["--test-reporter=tap", "all.mjs"])
        .current_dir(&folder)
        .env("MAINSTAY_URL", format!("{}/rest/v1", process.ready))
        .output()
        .expect("node runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let count = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    let (passed, failed) = (count("ok "), count("not ok "));
    println!("@supabase/postgrest-js: {passed} passed, {failed} failed");
    let of_engine = if engine() == Engine::Sqlite {
        EMBEDDED_EXCEPTIONS
    } else {
        &[]
    };
    for (what, why) in EXCEPTIONS.iter().chain(of_engine) {
        println!("  not asked as the client's own tests do: {what}: {why}");
    }
    assert!(
        output.status.success() && failed == 0 && passed > 200,
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
