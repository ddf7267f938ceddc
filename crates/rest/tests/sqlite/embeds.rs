//! Related rows in all their forms, and what is written by them: each a request and its whole answer.

use crate::world::World;

fn shop() -> World {
    let w = World::new();
    let products = r#"[
        {"id":1,"name":"Tea","price":2.5,"stock":10},
        {"id":2,"name":"Cup","price":7,"stock":1},
        {"id":3,"name":"Pot","price":9,"stock":2}]"#;
    assert_eq!(w.post("/products", products).status(), 201);
    assert_eq!(
        w.post(
            "/customers",
            r#"[{"id":1,"name":"Ann"},{"id":2,"name":"Bob"},{"id":3,"name":"Cyd"}]"#
        )
        .status(),
        201
    );
    let orders = r#"[
        {"id":1,"customer_id":1,"state":"new","placed":"2024-05-01T10:00:00Z"},
        {"id":2,"customer_id":1,"state":"paid","placed":null},
        {"id":3,"customer_id":2,"state":"new","placed":null}]"#;
    assert_eq!(w.post("/orders", orders).status(), 201);
    let items = "order_id,product_id,quantity\n1,1,5\n1,2,1\n2,1,2\n3,3,1";
    let csv = w.send(
        "service_role",
        "POST",
        "/order_items",
        &[("content-type", "text/csv")],
        items,
    );
    assert_eq!(csv.status(), 201, "{}", csv.text());
    let people = r#"[{"id":1,"name":"Root","boss":null,"deputy":2},{"id":2,"name":"Left","boss":1,"deputy":null},
        {"id":3,"name":"Right","boss":1,"deputy":2}]"#;
    assert_eq!(w.post("/people", people).status(), 201);
    assert_eq!(w.post("/desks", r#"[{"id":1,"owner":2,"guest":3}]"#).status(), 201);
    w
}

#[test]
fn related_rows() {
    let w = shop();
    for (path, want) in [
        // To one, to many, through a junction.
        (
            "/orders?select=id,customers(name)&id=eq.3",
            r#"200 [{"id":3,"customers":{"name":"Bob"}}]"#,
        ),
        (
            "/orders?select=id,products(name)&order=id&products.order=name.desc",
            r#"200 [{"id":1,"products":[{"name":"Tea"},{"name":"Cup"}]},{"id":2,"products":[{"name":"Tea"}]},{"id":3,"products":[{"name":"Pot"}]}]"#,
        ),
        // Which way: by constraint, by column, by the other's column; each with a join of its own.
        (
            "/desks?select=people!desks_owner_fkey(name)",
            r#"200 [{"people":{"name":"Left"}}]"#,
        ),
        (
            "/desks?select=who:people!guest!inner(name)",
            r#"200 [{"who":{"name":"Right"}}]"#,
        ),
        (
            "/desks?select=owner(name),guest(name)",
            r#"200 [{"owner":{"name":"Left"},"guest":{"name":"Right"}}]"#,
        ),
        // To itself.
        (
            "/people?select=name,boss(name)&order=id&limit=2",
            r#"200 [{"name":"Root","boss":null},{"name":"Left","boss":{"name":"Root"}}]"#,
        ),
        (
            "/people?select=name,people!boss(name)&id=eq.1&people.order=id",
            r#"200 [{"name":"Root","people":[{"name":"Left"},{"name":"Right"}]}]"#,
        ),
        // A view, a function's result, a function of the row.
        (
            "/open_orders?select=id,customers(name)&id=eq.1",
            r#"200 [{"id":1,"customers":{"name":"Ann"}}]"#,
        ),
        (
            "/rpc/orders_of?customer=1&select=id,customers(name)&state=eq.paid",
            r#"200 [{"id":2,"customers":{"name":"Ann"}}]"#,
        ),
        (
            "/orders?select=id,buyer(name)&id=eq.2",
            r#"200 [{"id":2,"buyer":{"name":"Ann"}}]"#,
        ),
        ("/products?select=label&id=eq.1", r#"200 [{"label":"Tea!"}]"#),
        // Spread: of one the columns, of many an array for each column.
        (
            "/orders?select=id,...customers(buyer:name)&id=eq.3",
            r#"200 [{"id":3,"buyer":"Bob"}]"#,
        ),
        (
            "/customers?select=name,...orders(id,state)&id=lt.3&order=id&orders.order=id",
            r#"200 [{"name":"Ann","id":[1,2],"state":["new","paid"]},{"name":"Bob","id":[3],"state":["new"]}]"#,
        ),
        // Aggregates in embeds and in spreads.
        (
            "/customers?select=name,orders(count)&order=id",
            r#"200 [{"name":"Ann","orders":[{"count":2}]},{"name":"Bob","orders":[{"count":1}]},{"name":"Cyd","orders":[{"count":0}]}]"#,
        ),
        (
            "/order_items?select=quantity.sum(),...orders(...customers(name))&order=quantity.sum().desc",
            r#"200 [{"sum":8,"name":"Ann"},{"sum":1,"name":"Bob"}]"#,
        ),
        // Rows that have related ones, or have none; any of several.
        (
            "/customers?select=name,orders()&orders=is.null",
            r#"200 [{"name":"Cyd"}]"#,
        ),
        (
            "/customers?select=name,orders!inner()&orders.state=eq.paid",
            r#"200 [{"name":"Ann"}]"#,
        ),
        (
            "/customers?select=name,orders()&or=(orders.is.null,name.eq.Bob)&order=id",
            r#"200 [{"name":"Bob"},{"name":"Cyd"}]"#,
        ),
        ("/orders?select=id&order=customers(name).desc,id", r#"400 "#),
        (
            "/orders?select=id,customers()&order=customers(name).desc,id.desc",
            r#"200 [{"id":3},{"id":2},{"id":1}]"#,
        ),
    ] {
        let shown = w.get(path).shown();
        assert!(
            shown == want || want == "400 " && shown.starts_with(want),
            "{path}\n left: {shown}\nright: {want}"
        );
    }
    let ambiguous = w.get("/desks?select=people(name)");
    let body: serde_json::Value = serde_json::from_str(ambiguous.text()).unwrap();
    assert_eq!((ambiguous.status(), &body["code"]), (300, &"PGRST201".into()));
    assert_eq!(body["details"].as_array().unwrap().len(), 2);
    assert_eq!(
        body["details"][1],
        serde_json::json!({"cardinality": "many-to-one", "embedding": "desks with people",
            "relationship": "desks_owner_fkey using desks(owner) and people(id)"})
    );
    assert_eq!(
        body["hint"],
        "Try changing 'people' to one of the following: 'people!desks_guest_fkey', 'people!desks_owner_fkey'. Find the desired \
         relationship in the 'details' key."
    );
}

#[test]
fn written_rows_and_preferences() {
    let w = shop();
    let send = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        w.send("service_role", method, path, headers, body)
    };
    let full = ("prefer", "return=representation");
    for (method, path, headers, body, want) in [
        (
            "POST",
            "/orders?select=id,customers(name)",
            &[full][..],
            r#"{"customer_id":2}"#,
            r#"201 [{"id":4,"customers":{"name":"Bob"}}]"#,
        ),
        (
            "POST",
            "/orders?columns=customer_id,state&select=id,state",
            &[("prefer", "return=representation, missing=default")],
            r#"[{"customer_id":2,"note":"unheard"},{"customer_id":3,"state":"sent"}]"#,
            r#"201 [{"id":5,"state":"new"},{"id":6,"state":"sent"}]"#,
        ),
        (
            "POST",
            "/customers?select=id,name",
            &[full, ("content-type", "application/x-www-form-urlencoded")],
            "name=Dee+Dee",
            r#"201 [{"id":4,"name":"Dee Dee"}]"#,
        ),
        (
            "PATCH",
            "/order_items?order=order_id,product_id&limit=1&select=order_id,product_id,quantity",
            &[full],
            r#"{"quantity":50}"#,
            r#"200 [{"order_id":1,"product_id":1,"quantity":50}]"#,
        ),
        (
            "PATCH",
            "/order_items?limit=1",
            &[],
            r#"{"quantity":1}"#,
            "400 PGRST109",
        ),
        (
            "DELETE",
            "/order_items?order=order_id.desc&limit=1&select=order_id",
            &[full],
            "",
            r#"200 [{"order_id":3}]"#,
        ),
        (
            "DELETE",
            "/order_items?quantity=gt.0",
            &[("prefer", "handling=strict, max-affected=2")],
            "",
            "400 PGRST124",
        ),
        (
            "POST",
            "/products?on_conflict=id&select=id,stock",
            &[("prefer", "return=representation, resolution=merge-duplicates")],
            r#"[{"id":1,"name":"Tea","price":3,"stock":4}]"#,
            r#"200 [{"id":1,"stock":4}]"#,
        ),
        (
            "POST",
            "/rpc/joined",
            &[("content-type", "application/x-www-form-urlencoded")],
            "words=a&words=b",
            r#"200 "a-b""#,
        ),
        ("GET", "/rpc/joined?words=a&words=b", &[], "", r#"200 "a-b""#),
        (
            "POST",
            "/rpc/shout",
            &[("content-type", "text/plain")],
            "hey",
            r#"200 "hey!""#,
        ),
        ("POST", "/rpc/kind", &[], r#"{"n":1}"#, r#"200 "number""#),
        ("POST", "/rpc/kind", &[], r#"{"n":1,"m":2}"#, r#"200 "numbers""#),
        ("POST", "/rpc/kind", &[], r#"{"o":1}"#, "404 PGRST202"),
        (
            "GET",
            "/orders?select=placed&id=eq.1",
            &[("prefer", "timezone=America/New_York")],
            "",
            r#"200 [{"placed":"2024-05-01T06:00:00-04:00"}]"#,
        ),
        (
            "GET",
            "/orders?select=id&order=id",
            &[("range", "1-2"), ("range-unit", "items")],
            "",
            r#"200 [{"id":2},{"id":3}]"#,
        ),
        (
            "GET",
            "/orders?select=id&offset=-1&id=eq.1",
            &[],
            "",
            r#"200 [{"id":1}]"#,
        ),
        ("GET", "/orders?limit=-1", &[], "", "416 PGRST103"),
        ("GET", "/orders?note=fts(english).a", &[], "", "400 0A000"),
        (
            "GET",
            "/orders?id=isdistinct.1&select=id&order=id&limit=1",
            &[],
            "",
            r#"200 [{"id":2}]"#,
        ),
        ("GET", "/orders", &[("accept-profile", "nope")], "", "406 PGRST106"),
        (
            "GET",
            "/orders",
            &[("prefer", "handling=strict, what=ever")],
            "",
            "400 PGRST122",
        ),
    ] {
        let shown = send(method, path, headers, body).shown();
        let refused = want.split_once(' ').filter(|(_, code)| !code.starts_with(['[', '"']));
        let holds = match refused {
            Some((status, code)) => shown.starts_with(status) && shown.contains(&format!("\"code\":\"{code}\"")),
            None => shown == want,
        };
        assert!(holds, "{method} {path} {body}\n left: {shown}\nright: {want}");
    }
    let counted = send("GET", "/orders?select=id&limit=2", &[("prefer", "count=estimated")], "");
    assert_eq!((counted.status(), counted.header("content-range")), (206, "0-1/6"));
    let head = send("HEAD", "/orders?select=id", &[("prefer", "count=exact")], "");
    assert_eq!((head.text(), head.header("content-range")), ("", "0-5/6"));
    let place = send(
        "POST",
        "/customers",
        &[("prefer", "return=headers-only")],
        r#"{"name":"Eve"}"#,
    );
    assert_eq!(place.header("location"), "/rest/v1/customers?id=eq.5");
    let csv = send(
        "GET",
        "/products?select=id,name&order=id&limit=2",
        &[("accept", "text/csv")],
        "",
    );
    assert_eq!(csv.text(), "id,name\n1,Tea\n2,Cup");
}
