//! Forms of answers: documents that a function gives, plans, the API's description.

use crate::world::World;
use mainstay_rest::{Description, RestConfig};

fn shop(config: RestConfig) -> World {
    let w = World::with(config);
    let products = r#"[{"id":1,"name":"Tea","price":2.5,"stock":10,"data":{"a":null,"b":1},"tags":["x"]}]"#;
    assert_eq!(w.post("/products", products).status(), 201);
    w
}

#[test]
fn a_function_gives_a_document() {
    let w = shop(RestConfig::default());
    let accept = |path: &str, accept: &str| w.send("service_role", "GET", path, &[("accept", accept)], "");
    let text = accept("/rpc/names", "text/plain");
    assert_eq!(
        (text.shown().as_str(), text.header("content-type")),
        ("200 Tea", "text/plain; charset=utf-8")
    );
    let bytes = accept("/rpc/picture", "application/octet-stream");
    assert_eq!(
        (&bytes.0.body()[..], bytes.header("content-type")),
        (&[0, 1, 255][..], "application/octet-stream")
    );
    assert_eq!(accept("/rpc/picture", "*/*").text(), r#""\\x0001ff""#);
    for (path, form) in [
        ("/rpc/names", "application/octet-stream"),
        ("/rpc/twice?n=1", "text/plain"),
        ("/rpc/names", "text/xml"),
        ("/products", "text/plain"),
    ] {
        let refused = accept(path, form);
        assert_eq!(
            (refused.status(), refused.text().contains("PGRST107")),
            (406, true),
            "{path} {form}"
        );
    }
    let stripped = accept(
        "/products?select=id,data",
        "application/vnd.pgrst.array+json;nulls=stripped",
    );
    assert_eq!(stripped.text(), r#"[{"id":1,"data":{"b":1}}]"#);
    let one = accept(
        "/products?select=tags,data",
        "application/vnd.pgrst.object+json;nulls=stripped",
    );
    assert_eq!(one.text(), r#"{"tags":["x"],"data":{"b":1}}"#);
}

#[test]
fn plans_where_they_are_allowed() {
    let accept = [("accept", "application/vnd.pgrst.plan+json; for=\"text/csv\"")];
    let closed = shop(RestConfig::default());
    assert_eq!(
        closed.send("service_role", "GET", "/products", &accept, "").status(),
        406
    );
    let w = shop(RestConfig {
        plan: true,
        ..RestConfig::default()
    });
    let plan = w.send("service_role", "GET", "/products?id=eq.1", &accept, "");
    assert_eq!(
        plan.header("content-type"),
        "application/vnd.pgrst.plan+json; for=\"text/csv\"; charset=utf-8"
    );
    let parsed: serde_json::Value = serde_json::from_str(plan.text()).unwrap();
    assert!(
        parsed[0]["Plan"][0]["detail"].as_str().unwrap().contains("SEARCH"),
        "{parsed}"
    );
    let text = w.send(
        "authenticated",
        "GET",
        "/orders?select=id,order_items(quantity)",
        &[("accept", "application/vnd.pgrst.plan")],
        "",
    );
    assert_eq!(text.status(), 200, "{}", text.text());
    assert!(text.text().contains("SCAN"), "{}", text.text());
    // What may not be read may not be explained either.
    let refused = w.send(
        "anon",
        "GET",
        "/orders",
        &[("accept", "application/vnd.pgrst.plan")],
        "",
    );
    assert_eq!(refused.status(), 401);
}

const SERVED: &str = "/customers /order_items /orders /products";

#[test]
fn the_root() {
    let paths = |w: &World, role: &str| {
        let answer = w.send(role, "GET", "/", &[], "");
        let parsed: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        let mut paths: Vec<String> = parsed["paths"].as_object().unwrap().keys().cloned().collect();
        paths.retain(|path| path != "/" && !path.contains(['{']) && !path.contains("rpc"));
        paths.sort();
        paths.join(" ")
    };
    let w = World::new();
    assert_eq!(paths(&w, "anon"), "/products");
    assert_eq!(paths(&w, "authenticated"), SERVED);
    let all = World::with(RestConfig {
        description: Description::OfEverything,
        ..RestConfig::default()
    });
    assert_eq!(
        paths(&all, "anon"),
        "/customers /desks /open_orders /order_items /orders /people /products"
    );
    let none = World::with(RestConfig {
        description: Description::Disabled,
        ..RestConfig::default()
    });
    let refused = none.get("/");
    assert_eq!((refused.status(), refused.text().contains("PGRST126")), (404, true));
    assert_eq!(refused.header("proxy-status"), "Mainstay; error=PGRST126");
    let own = World::with(RestConfig {
        root: Some("twice".to_owned()),
        ..RestConfig::default()
    });
    assert_eq!(own.get("/?n=4").shown(), "200 8");
    let allowed = own.send("anon", "OPTIONS", "/", &[], "");
    assert_eq!(allowed.header("allow"), "OPTIONS,GET,HEAD,POST");
}
