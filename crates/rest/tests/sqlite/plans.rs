//! Plans of writes: what would be done, without its being done.

use crate::world::World;
use mainstay_rest::RestConfig;

const PLAN: [(&str, &str); 1] = [("accept", "application/vnd.pgrst.plan")];

fn world() -> World {
    World::with(RestConfig {
        plan: true,
        ..RestConfig::default()
    })
}

#[test]
fn writes_are_planned_and_not_done() {
    let w = world();
    let tea = r#"{"id":1,"name":"Tea","price":2.5,"stock":10}"#;
    for (method, path, body, words) in [
        ("POST", "/products", tea, &["INSERT INTO"][..]),
        ("POST", "/products?on_conflict=id", tea, &["INSERT INTO"]),
        ("PUT", "/products?id=eq.1", tea, &["ON CONFLICT"]),
        ("PATCH", "/products?id=eq.1", r#"{"stock":1}"#, &["UPDATE", "SEARCH "]),
        ("PATCH", "/products/1", r#"{"stock":1}"#, &["SEARCH "]),
        ("DELETE", "/products?name=eq.Tea", "", &["DELETE FROM", "SCAN "]),
        ("DELETE", "/products/1", "", &["SEARCH "]),
        ("POST", "/rpc/take", r#"{"product":1,"n":1}"#, &["UPDATE", "SEARCH "]),
        ("POST", "/rpc/newest", "{}", &["SELECT", "orders"]),
    ] {
        let plan = w.send("service_role", method, path, &PLAN, body);
        assert_eq!(plan.status(), 200, "{method} {path}: {}", plan.text());
        assert_eq!(
            plan.header("content-type"),
            "application/vnd.pgrst.plan+text; for=\"application/json\"; charset=utf-8"
        );
        for word in words {
            assert!(plan.text().contains(word), "{word} is not in\n{}", plan.text());
        }
    }
    let rows = w.send("service_role", "GET", "/products", &[], "");
    assert_eq!(rows.text(), "[]");
}

#[test]
fn a_plan_shows_what_policies_ask_and_what_is_returned() {
    let w = world();
    let returning = [
        ("accept", "application/vnd.pgrst.plan+json"),
        ("prefer", "return=representation"),
    ];
    let plan = w.send(
        "authenticated",
        "PATCH",
        "/customers?id=eq.1&select=id,name",
        &returning,
        r#"{"name":"x"}"#,
    );
    let parsed: serde_json::Value = serde_json::from_str(plan.text()).unwrap();
    let texts: Vec<&str> = parsed
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| statement["Query Text"].as_str().unwrap())
        .collect();
    assert!(
        texts[0].starts_with("UPDATE") && texts[0].contains("owner"),
        "{texts:?}"
    );
    assert!(texts.last().unwrap().starts_with("SELECT"), "{texts:?}");
}

#[test]
fn plans_of_writes_are_for_those_who_may_write() {
    let w = world();
    let refused = w.send("anon", "DELETE", "/products?id=eq.1", &PLAN, "");
    assert_eq!(refused.status(), 401, "{}", refused.text());
    let closed = World::with(RestConfig::default());
    let refused = closed.send("service_role", "DELETE", "/products?id=eq.1", &PLAN, "");
    assert_eq!(refused.status(), 406, "{}", refused.text());
    let kept = [
        ("accept", "application/vnd.pgrst.plan; options=analyze"),
        ("idempotency-key", "k"),
    ];
    let refused = w.send("service_role", "DELETE", "/products?id=eq.1", &kept, "");
    assert!(refused.text().contains("PGRST127"), "{}", refused.text());
    // A body without rows has nothing to be planned.
    let nothing = w.send("service_role", "POST", "/products", &PLAN, "[]");
    assert_eq!(nothing.shown(), "200 ");
}
