//! Groups that are chosen among and ordered, pages that begin behind a row.

use crate::world::World;

fn shop() -> World {
    let w = World::new();
    let products = r#"[
        {"id":1,"name":"Tea","price":2.5,"stock":10,"tags":["hot"],"data":{"kg":1}},
        {"id":2,"name":"Cup","price":7,"stock":1,"tags":["set","new"],"data":null},
        {"id":3,"name":"Pot","price":7,"stock":2,"tags":["set"],"data":{"kg":3}},
        {"id":4,"name":"Jug","price":1,"stock":2,"tags":[],"data":{"kg":2}}]"#;
    assert_eq!(w.post("/products", products).status(), 201);
    assert_eq!(
        w.post("/customers", r#"[{"id":1,"name":"Ann"},{"id":2,"name":"Bob"}]"#)
            .status(),
        201
    );
    let orders = r#"[
        {"id":1,"customer_id":1,"state":"new","note":"b"},
        {"id":2,"customer_id":1,"state":"paid","note":null},
        {"id":3,"customer_id":2,"state":"new","note":"a"},
        {"id":4,"customer_id":1,"state":"new","note":null},
        {"id":5,"customer_id":2,"state":"sent","note":"b"}]"#;
    assert_eq!(w.post("/orders", orders).status(), 201);
    w
}

#[test]
fn groups() {
    let w = shop();
    for (path, want) in [
        (
            "/products?select=stock,price.sum()&order=stock",
            r#"200 [{"stock":1,"sum":7.00},{"stock":2,"sum":8.00},{"stock":10,"sum":2.50}]"#,
        ),
        (
            "/products?select=stock,price.sum()&having=price.sum().gt.7&order=stock",
            r#"200 [{"stock":2,"sum":8.00}]"#,
        ),
        (
            "/products?select=stock,total:price.sum()&having=total.gte.7&order=total.desc",
            r#"200 [{"stock":2,"total":8.00},{"stock":1,"total":7.00}]"#,
        ),
        (
            "/orders?select=customer_id&having=count().gt.2",
            r#"200 [{"customer_id":1}]"#,
        ),
        (
            "/orders?select=state,count()&having=or(count().eq.1,state.eq.new)&order=count().desc,state",
            r#"200 [{"state":"new","count":3},{"state":"paid","count":1},{"state":"sent","count":1}]"#,
        ),
        (
            "/orders?select=state,count()&having=not.and(count().eq.1,state.neq.sent)&order=state",
            r#"200 [{"state":"new","count":3},{"state":"sent","count":1}]"#,
        ),
        (
            "/orders?select=state&having=note.max().is.null&order=id.max()",
            r#"200 [{"state":"paid"}]"#,
        ),
        (
            "/orders?select=state&having=count().in.(1,2)&order=id.max().desc",
            r#"200 [{"state":"sent"},{"state":"paid"}]"#,
        ),
        (
            "/customers?select=name,orders(state,count())&orders.having=count().gt.1&order=id",
            r#"200 [{"name":"Ann","orders":[{"state":"new","count":2}]},{"name":"Bob","orders":[]}]"#,
        ),
    ] {
        assert_eq!(w.get(path).shown(), want, "{path}");
    }
    let counted = w.send(
        "service_role",
        "GET",
        "/orders?select=state,count()&having=count().eq.1",
        &[("prefer", "count=exact")],
        "",
    );
    assert_eq!(counted.header("content-range"), "0-1/2");
    for (path, code) in [
        ("/orders?select=state,count()&order=note", "42803"),
        ("/orders?select=state,count()&having=note.eq.a", "42803"),
        ("/orders?select=state,count()&having=nope.sum().eq.1", "42703"),
        ("/orders?select=state,count()&having=count()", "PGRST100"),
        ("/orders?select=state,count()&having=(count().gt.1", "PGRST100"),
        (
            "/orders?select=id,...customers(name)&customers.having=count().gt.1",
            "PGRST127",
        ),
    ] {
        let answer = w.get(path);
        assert_eq!(
            (answer.status(), answer.text().contains(code)),
            (400, true),
            "{path}: {}",
            answer.text()
        );
    }
}

#[test]
fn pages_behind_a_row() {
    let w = shop();
    // Page after page, every row comes once, whatever the order is.
    for order in [
        "id",
        "id.desc",
        "note,id",
        "note.desc,id",
        "note.nullsfirst,id.desc",
        "note.desc.nullslast,state.desc,id",
        "state,note.desc,id",
    ] {
        let all: Vec<serde_json::Value> =
            serde_json::from_str(w.get(&format!("/orders?order={order}")).text()).unwrap();
        let keys: Vec<&str> = order.split(',').map(|key| key.split('.').next().unwrap()).collect();
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = w.get(&format!("/orders?order={order}&limit=2{after}"));
            let page: Vec<serde_json::Value> = serde_json::from_str(page.text()).unwrap();
            let Some(last) = page.last() else { break };
            let values: Vec<String> = keys.iter().map(|key| last[key].to_string()).collect();
            after = format!("&after=({})", values.join(",").replace('"', "%22"));
            seen.extend(page);
            assert!(seen.len() <= all.len(), "{order}");
        }
        assert_eq!(seen, all, "{order}");
    }
    for (path, want) in [
        (
            "/products?select=id&order=price.desc,id&after=(7,2)",
            r#"200 [{"id":3},{"id":1},{"id":4}]"#,
        ),
        (
            "/products?select=id&order=id&after=(1)&id=neq.3&limit=1",
            r#"200 [{"id":2}]"#,
        ),
        (
            "/products?select=id&order=data-%3Ekg,id&after=(1,1)",
            r#"200 [{"id":4},{"id":3},{"id":2}]"#,
        ),
        (
            "/customers?select=name,orders(id)&orders.order=id&orders.after=(2)&order=id",
            r#"200 [{"name":"Ann","orders":[{"id":4}]},{"name":"Bob","orders":[{"id":3},{"id":5}]}]"#,
        ),
    ] {
        assert_eq!(w.get(path).shown(), want, "{path}");
    }
    for (path, code) in [
        ("/products?order=price&after=(7)", "PGRST109"),
        ("/products?order=price,id&after=(7)", "PGRST100"),
        ("/products?after=(7)", "PGRST100"),
        ("/products?order=id&after=7", "PGRST100"),
        ("/products?order=id&after=(x)", "22P02"),
        (
            "/orders?select=id,customers(name)&order=customers(name),id&after=(Ann,1)",
            "PGRST127",
        ),
    ] {
        let answer = w.get(path);
        assert_eq!(
            (answer.status(), answer.text().contains(code)),
            (400, true),
            "{path}: {}",
            answer.text()
        );
    }
}

#[test]
fn null_arrays_and_functions_of_several_rows() {
    let w = shop();
    for (path, want) in [
        // The first of several rows, as a function of Postgres gives it.
        ("/rpc/names", r#"200 "Tea""#),
        (
            "/orders?select=id,first_note&id=eq.1",
            r#"200 [{"id":1,"first_note":"b"}]"#,
        ),
        ("/rpc/not_among?n=1&list=%7B2%7D", "200 true"),
        ("/rpc/not_among?n=1&list=%7B1%7D", "200 false"),
        ("/rpc/not_among?n=1", "200 null"),
    ] {
        assert_eq!(w.get(path).shown(), want, "{path}");
    }
}
