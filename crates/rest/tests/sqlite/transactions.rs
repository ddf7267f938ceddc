//! `POST /rest/v1/`: all or nothing, later operations with values of earlier ones.

use crate::world::World;
use serde_json::{Value, json};

const USER: &str = "6b1f7c9e-3c1b-4a53-9d1e-5f1c7a4d2b10";

fn shop() -> World {
    let w = World::new();
    let products = r#"[{"id":1,"name":"Tea","price":2.5,"stock":10},{"id":2,"name":"Cup","price":7,"stock":1}]"#;
    assert_eq!(w.post("/products", products).status(), 201);
    w
}

fn operations(answer: &crate::world::Answer) -> Vec<Value> {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_str(answer.text()).unwrap()
}

#[test]
fn later_operations_use_rows_of_earlier_ones() {
    let w = shop();
    let answer = w.post(
        "/",
        &json!([
            {"method": "POST", "path": "/customers", "body": [{"name": "Ann"}, {"name": "Bob"}]},
            {"method": "POST", "path": "/rest/v1/orders?select=id,state", "body": {"customer_id": {"$ref": "0/1/id"}},
             "headers": {"Prefer": "return=representation", "Accept": "application/vnd.pgrst.object+json"}},
            {"method": "POST", "path": "/order_items",
             "body": [{"order_id": {"$ref": "1/0/id"}, "product_id": 1, "quantity": 2},
                      {"order_id": {"$ref": "1/0/id"}, "product_id": 2, "quantity": 1}]},
            {"method": "POST", "path": "/rpc/take?select=stock", "body": {"product": 1, "n": 2}},
            {"method": "PATCH", "path": "/orders?id=eq.$ref(1/0/id)", "body": {"state": "paid"},
             "headers": {"prefer": "return=representation"}},
            {"method": "GET", "path": "/orders?select=oid:id,state,order_items(quantity)&order=id", "headers": {"prefer": "count=exact"}},
            {"method": "PATCH", "path": "/order_items?order_id=eq.$ref(5/0/oid)&product_id=eq.2", "body": {"quantity": 3}},
            {"method": "POST", "path": "/rpc/newest"},
            {"method": "POST", "path": "/rpc/twice", "body": {"n": {"$ref": "7/0/newest"}}},
            {"method": "DELETE", "path": "/customers/1"},
            {"method": "POST", "path": "/products", "body": []}
        ])
        .to_string(),
    );
    let all = operations(&answer);
    let statuses: Vec<u64> = all.iter().map(|o| o["status"].as_u64().unwrap()).collect();
    assert_eq!(
        statuses,
        [201, 201, 201, 200, 200, 200, 204, 200, 200, 204, 201],
        "{}",
        answer.text()
    );
    assert_eq!(all[0]["body"], Value::Null);
    assert_eq!(all[1]["body"], json!({"id": 1, "state": "new"}));
    assert_eq!(
        all[1]["headers"]["content-type"],
        "application/vnd.pgrst.object+json; charset=utf-8"
    );
    assert_eq!(all[3]["body"], json!([{"stock": 8}]));
    assert_eq!(all[4]["body"][0]["state"], "paid");
    assert_eq!(
        all[5]["body"],
        json!([{"oid": 1, "state": "paid", "order_items": [{"quantity": 2}, {"quantity": 1}]}])
    );
    assert_eq!(all[5]["headers"]["content-range"], "0-0/1");
    assert_eq!((&all[7]["body"], &all[8]["body"]), (&json!(1), &json!(2)));
    assert_eq!(w.get("/customers?select=id,name").text(), r#"[{"id":2,"name":"Bob"}]"#);
    assert_eq!(
        w.get("/order_items?order=product_id").text(),
        r#"[{"order_id":1,"product_id":1,"quantity":2},{"order_id":1,"product_id":2,"quantity":3}]"#
    );
}

#[test]
fn a_page_behind_the_last_row_undoes_nothing() {
    let w = shop();
    let customer = json!({"method": "POST", "path": "/customers", "body": {"name": "Ann"}});
    let page = json!({"method": "GET", "path": "/customers?offset=99", "headers": {"prefer": "count=exact"}});
    let all = operations(&w.post("/", &json!([customer, page]).to_string()));
    assert_eq!((&all[1]["status"], &all[1]["body"]), (&json!(206), &json!([])));
    assert_eq!(all[1]["headers"]["content-range"], "*/1");
}

#[test]
fn a_failure_undoes_everything_and_says_where_it_was() {
    let w = shop();
    let customer = json!({"method": "POST", "path": "/customers", "body": {"name": "Ann"}});
    for (operations, status, code, operation) in [
        (
            json!([customer, {"method": "POST", "path": "/orders", "body": {"customer_id": 99}}]),
            409,
            "23503",
            json!(1),
        ),
        (
            json!([customer, {"method": "POST", "path": "/rpc/take", "body": {"product": 2, "n": 5}}]),
            409,
            "23514",
            json!(1),
        ),
        (
            json!([customer, {"method": "PATCH", "path": "/customers/77", "body": {"name": "x"}}]),
            404,
            "MS404",
            json!(1),
        ),
        (
            json!([customer, {"method": "GET", "path": "/orders", "headers": {"accept": "application/vnd.pgrst.object+json"}}]),
            406,
            "PGRST116",
            json!(1),
        ),
        (
            json!([customer, {"method": "GET", "path": "/nothing"}]),
            404,
            "PGRST205",
            json!(1),
        ),
        (
            json!([customer, {"method": "POST", "path": "/orders", "body": {"customer_id": {"$ref": "0/1/id"}}}]),
            400,
            "22023",
            json!(1),
        ),
        (
            json!([customer, {"method": "POST", "path": "/orders", "body": {"customer_id": {"$ref": "1/0/id"}}}]),
            400,
            "PGRST100",
            json!(1),
        ),
        (
            json!([customer, {"method": "POST", "path": "/orders", "body": {"customer_id": {"$ref": "0/0/name"}}}]),
            400,
            "42804",
            json!(1),
        ),
        (
            json!([customer, {"method": "DELETE", "path": "/orders?id=eq.$ref(0/0/nope)"}]),
            400,
            "PGRST100",
            json!(1),
        ),
        (
            json!([customer, {"method": "TRACE", "path": "/orders"}]),
            405,
            "PGRST117",
            json!(1),
        ),
        (
            json!([customer, {"method": "GET", "path": "orders"}]),
            404,
            "PGRST125",
            json!(1),
        ),
        (
            json!([customer, {"method": "GET", "path": "/orders", "boddy": 1}]),
            400,
            "PGRST102",
            json!(1),
        ),
        (
            json!([customer, {"method": "GET", "path": "/orders", "headers": {"prefer": "tx=commit"}}]),
            400,
            "MS400",
            json!(1),
        ),
        (
            json!([customer, {"method": "GET", "path": "/orders", "headers": {"idempotency-key": "a"}}]),
            400,
            "MS400",
            json!(1),
        ),
        (json!(vec![customer.clone(); 101]), 400, "54000", Value::Null),
        (
            json!({"method": "GET", "path": "/orders"}),
            400,
            "PGRST102",
            Value::Null,
        ),
    ] {
        let answer = w.post("/", &operations.to_string());
        let body: Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(
            (answer.status(), body["code"].as_str(), &body["operation"]),
            (status, Some(code), &operation),
            "{operations}: {body}"
        );
        assert_eq!(w.get("/customers").text(), "[]", "{operations}");
    }
    assert_eq!(w.get("/products?select=stock&id=eq.2").text(), r#"[{"stock":1}]"#);
}

#[test]
fn policies_and_privileges_hold_for_each_operation() {
    let w = shop();
    let user = format!("authenticated:{USER}");
    let send = |operations: Value| w.send(&user, "POST", "/", &[], &operations.to_string());
    let mine = json!({"method": "POST", "path": "/customers", "body": {"name": "Ann", "owner": USER}});
    let order = json!({"method": "POST", "path": "/orders", "body": {"customer_id": {"$ref": "0/0/id"}}});
    assert_eq!(send(json!([mine, order])).status(), 200);
    // Somebody else's row may be made, but not be read, so nothing may be taken from it either.
    let theirs = json!({"method": "POST", "path": "/customers", "body": {"name": "Eve"}});
    let refused = send(json!([theirs, order]));
    assert_eq!(refused.status(), 403, "{}", refused.text());
    assert_eq!(send(json!([theirs])).status(), 200);
    // A column that the role may not see leaks through no reference.
    let note = json!({"method": "POST", "path": "/orders",
        "body": {"customer_id": {"$ref": "0/0/id"}, "note": {"$ref": "0/0/secret"}}});
    let refused = send(json!([mine, note]));
    assert_eq!((refused.status(), refused.text().contains("42501")), (403, true));
    let anonymous = w.send("anon", "POST", "/", &[], &json!([mine]).to_string());
    assert_eq!(anonymous.status(), 401);
}

#[test]
fn the_whole_is_repeated_and_tried_out_as_one() {
    let w = shop();
    let body = json!([{"method": "POST", "path": "/customers", "body": {"name": "Ann"}},
        {"method": "GET", "path": "/customers?select=name"}])
    .to_string();
    let tried = w.send("service_role", "POST", "/", &[("prefer", "tx=rollback")], &body);
    assert_eq!(operations(&tried)[1]["body"], json!([{"name": "Ann"}]));
    assert_eq!(tried.header("preference-applied"), "tx=rollback");
    assert_eq!(w.get("/customers").text(), "[]");
    let key = [("idempotency-key", "k1")];
    let first = w.send("service_role", "POST", "/", &key, &body);
    let again = w.send("service_role", "POST", "/", &key, &body);
    assert_eq!(operations(&first), operations(&again));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(w.get("/customers?select=name").text(), r#"[{"name":"Ann"}]"#);
    let other = w.send("service_role", "POST", "/", &key, "[]");
    assert_eq!(other.status(), 422);
}

#[test]
fn bodies_of_other_forms_are_strings() {
    let w = shop();
    let answer = w.post(
        "/",
        &json!([
            {"method": "POST", "path": "/customers", "body": "id,name\n5,Ann\n6,Bob", "headers": {"Content-Type": "text/csv"}},
            {"method": "GET", "path": "/customers?select=name&name=like.*n*&id=gt.1", "headers": {"Accept": "text/csv"}},
            {"method": "GET", "path": "/customers?name=eq.a b<c>"}
        ])
        .to_string(),
    );
    let all = operations(&answer);
    assert_eq!((&all[1]["body"], &all[2]["body"]), (&json!("name\nAnn"), &json!([])));
    assert_eq!(w.post("/", "[]").shown(), "200 []");
}
