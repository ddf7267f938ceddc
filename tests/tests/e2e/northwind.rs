//! Northwind, a real database dump, served as it is: every answer equals what PostgreSQL says of the same file.

use mainstay_tests::{Postgres, Project, northwind, skip};
use serde_json::Value as Json;

/// A path under `/rest/v1` and the SQL that yields the same JSON.
const QUERIES: &[(&str, &str)] = &include!("northwind_queries.in");

#[test]
fn answers_equal_postgres() {
    let Some(file) = northwind("northwind::answers_equal_postgres") else {
        return;
    };
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(e) => return skip("northwind::answers_equal_postgres", &e),
    };
    postgres.load(&file);
    let project = Project::new(
        &std::fs::read_to_string(&file).expect("readable"),
        "[api]\naggregates = true\n",
    );
    let process = project.serve();
    let client = process.client().with_token(&project.token("service_role", None));
    process.client().get("/rest/v1/products").expect(401);
    let mut wrong = Vec::new();
    for (path, sql) in QUERIES {
        let answer = client.get(&format!("/rest/v1/{path}"));
        let expected = postgres.value(sql);
        let expected: Json = serde_json::from_str(&expected).unwrap_or_else(|e| panic!("{sql}: {e}: {expected}"));
        if answer.status >= 300 || answer.json() != expected {
            wrong.push(format!(
                "GET {path}\n  {} {}\n  expected {expected}",
                answer.status,
                answer.text()
            ));
        }
    }
    println!(
        "{} queries, {} equal to PostgreSQL's answers",
        QUERIES.len(),
        QUERIES.len() - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Counts and ranges are in headers.
    let paged = client.send(
        "GET",
        "/rest/v1/orders?select=order_id&order=order_id",
        &[("range", "10-19"), ("prefer", "count=exact")],
        None,
    );
    assert_eq!(
        (paged.status, paged.header("content-range")),
        (206, Some("10-19/830")),
        "{}",
        paged.text()
    );
    let beyond = client.send(
        "GET",
        "/rest/v1/orders",
        &[("range", "900-910"), ("prefer", "count=exact")],
        None,
    );
    assert_eq!((beyond.status, beyond.json()["code"].as_str()), (416, Some("PGRST103")));
    let counted = client.send(
        "HEAD",
        "/rest/v1/order_details?discount=gt.0",
        &[("prefer", "count=exact")],
        None,
    );
    let expected = postgres.value("SELECT count(*) FROM order_details WHERE discount > 0");
    assert!(
        counted
            .header("content-range")
            .is_some_and(|r| r.ends_with(&format!("/{expected}"))),
        "{:?}",
        counted.headers
    );
}
