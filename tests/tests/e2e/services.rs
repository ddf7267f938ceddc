//! Services on their own: a store has one process, one service's failure is not another's, and copies come and go under load.

use crate::shop::{Shop, User};
use mainstay_tests::{Engine, Project, engine, until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `serve` that is expected to be refused: what it says.
fn refused(project: &Project, arguments: &[&str]) -> String {
    let (ok, out, errors) = project.command().args(arguments).run();
    assert!(!ok && !out.contains("ready"), "{out}{errors}");
    errors
}

/// What a second process on the same embedded engines is told: the store's file is taken, or where stores are servers the bus's.
fn is_taken(said: &str, file: &str) -> bool {
    match engine() {
        Engine::Sqlite => said.contains("has it open") && said.contains(file),
        Engine::Postgres => said.contains("in use by another process") && said.contains("/bus"),
    }
}

#[test]
fn what_is_embedded_has_one_process() {
    let project = Project::example("shop");
    let first = project.serve();
    for arguments in [
        &[][..],
        &["--only", "worker"],
        &["--service", "users"],
        &["--service", "orders", "--set", "gateway.url=http://127.0.0.1:8080"],
    ] {
        if engine() == Engine::Postgres && arguments.first() == Some(&"--service") {
            // A server has any number of processes, and a service's own has a bus of its own.
            continue;
        }
        let said = refused(&project, arguments);
        assert!(is_taken(&said, ".db"), "{arguments:?}: {said}");
    }
    first.client().get("/rest/v1/products?limit=1").expect(200);
    // It is free the moment its process is gone, however that went.
    first.kill();
    let second = project.serve();
    second.client().get("/rest/v1/products?limit=1").expect(200);
    assert!(second.terminate());
    // Parts that share no store live side by side, and each is one's own.
    let users = project.command().args(["--service", "users"]).start();
    let said = refused(&project, &["--service", "users"]);
    assert!(is_taken(&said, "users.db"), "{said}");
    let said = refused(&project, &["--service", "nobody"]);
    assert!(said.contains("nobody") && said.contains("users"), "{said}");
    let place = format!("service.users.at=[\"{}\"]", users.client().address());
    let rest = project.command().args(["--set", &place]).start();
    rest.client().get("/rest/v1/products?limit=1").expect(200);
    // A service's own process serves its own and nothing else.
    let operator = users.client().with_token(&project.token("service_role", None));
    operator.get("/rest/v1/profiles").expect(200);
    let elsewhere = operator.get("/rest/v1/products");
    assert!(
        elsewhere.status == 404 || elsewhere.status == 503,
        "{} {}",
        elsewhere.status,
        elsewhere.text()
    );
}

#[test]
fn one_service_gone_leaves_the_others() {
    let mut shop = Shop::apart();
    let user = shop.register("pat@example.com");
    let product = shop.products("select=id&stock=gte.50&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let users = shop.stop_users();
    // Who is logged in goes on; who wants to log in is told, in the gateway's own words.
    let cart = user.cart(&product, 1);
    user.checkout(&cart, "meanwhile").expect(200);
    for (method, path) in [
        ("POST", "/auth/v1/signup"),
        ("GET", "/rest/v1/profiles"),
        ("GET", "/auth/v1/user"),
    ] {
        let answer = user
            .client
            .send(method, path, &[("content-type", "application/json")], Some(b"{}"));
        let body = answer.json();
        assert!((502..=504).contains(&answer.status), "{path}: {} {body}", answer.status);
        assert!(
            body["code"].as_str().is_some_and(|c| c.starts_with("GW"))
                && body["details"].to_string().contains("service.users"),
            "{body}"
        );
    }
    shop.start_users(users);
    until("accounts are back", || {
        (user.client.get("/auth/v1/user").status == 200).then_some(())
    });
    until("profiles are back", || {
        (user.client.get("/rest/v1/profiles").status == 200).then_some(())
    });
}

/// The slowest but one in a hundred, in milliseconds, of reads and of check-outs.
#[derive(Clone, Copy, Debug)]
struct Figures {
    reads_p99_ms: f64,
    checkouts_p99_ms: f64,
    checkouts_per_s: f64,
}

/// So many check-outs by three buyers, and reads beside them.
fn load(
    shop: &Shop,
    user: &Arc<Vec<User>>,
    product: &str,
    phase: &str,
    checkouts: usize,
) -> (Figures, Vec<(usize, String)>) {
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (anon, done, product) = (shop.anon.clone(), done.clone(), product.to_owned());
        std::thread::spawn(move || {
            let mut times = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let began = Instant::now();
                anon.get(&format!("/rest/v1/products/{product}")).expect(200);
                times.push(began.elapsed());
            }
            times
        })
    };
    let began = Instant::now();
    let buyers: Vec<_> = (0..user.len())
        .map(|which| {
            let (users, product, phase, each) = (
                user.clone(),
                product.to_owned(),
                phase.to_owned(),
                checkouts / user.len(),
            );
            std::thread::spawn(move || {
                let buyer = &users[which];
                let mut bought = Vec::new();
                for n in 0..each {
                    let cart = buyer.cart(&product, 1);
                    let began = Instant::now();
                    buyer.checkout(&cart, &format!("{phase}-{n}")).expect(200);
                    bought.push((began.elapsed(), (which, cart)));
                }
                bought
            })
        })
        .collect();
    let (times, orders): (Vec<Duration>, Vec<(usize, String)>) =
        buyers.into_iter().flat_map(|b| b.join().expect("bought")).unzip();
    let took = began.elapsed();
    done.store(true, Ordering::SeqCst);
    let p99 = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[(times.len() * 99 / 100).min(times.len() - 1)].as_secs_f64() * 1000.0
    };
    let per_s = times.len() as f64 / took.as_secs_f64();
    let figures = Figures {
        reads_p99_ms: p99(reader.join().expect("read")),
        checkouts_p99_ms: p99(times),
        checkouts_per_s: per_s,
    };
    println!(
        "{phase}: GET p99 {:.1} ms, check-out p99 {:.1} ms, {:.0} check-outs a second",
        figures.reads_p99_ms, figures.checkouts_p99_ms, figures.checkouts_per_s
    );
    (figures, orders)
}

#[test]
fn payments_from_one_copy_to_three_and_back() {
    let shop = Shop::with_payments(3);
    let users: Arc<Vec<User>> = Arc::new(
        (0..3)
            .map(|n| shop.register(&format!("buyer{n}@example.com")))
            .collect(),
    );
    let operator = shop.anon.with_token(&shop.project.token("service_role", None));
    let product = shop.products("select=id&order=sku&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    operator
        .patch(&format!("/rest/v1/products/{product}"), &json!({"stock": 1_000_000}))
        .expect(204);
    let mut orders = Vec::new();
    let mut phase = |name: &str| {
        let (figures, more) = load(&shop, &users, &product, name, 150);
        orders.extend(more);
        figures
    };
    let (warm_up, none) = (phase("warm-up"), phase("no-copy"));
    let first = shop.payments(0);
    let one = phase("one-copy");
    let (second, third) = (shop.payments(1), shop.payments(2));
    let three = phase("three-copies");
    drop((second, third));
    let (slow, failing) = (
        shop.payments_with(1, &["--delay", "2"]),
        shop.payments_with(2, &["--fail"]),
    );
    let ill = phase("one-slow-one-failing");
    drop((slow, failing));
    let back = phase("one-copy-again");
    // What the shop answers in does not depend on what payments does.
    for (name, figures) in [("one", one), ("three", three), ("ill", ill), ("back", back)] {
        let bound = |usual: fn(&Figures) -> f64| usual(&warm_up).max(usual(&none)) * 3.0 + 100.0;
        assert!(
            figures.checkouts_p99_ms < bound(|f| f.checkouts_p99_ms)
                && figures.reads_p99_ms < bound(|f| f.reads_p99_ms),
            "{name}: {figures:?} against {warm_up:?} and {none:?}"
        );
    }
    // And each order is paid in the end, once.
    let unpaid = || -> usize {
        let counted = operator.send(
            "HEAD",
            "/rest/v1/orders?status=neq.paid",
            &[("prefer", "count=exact")],
            None,
        );
        counted
            .header("content-range")
            .and_then(|r| r.rsplit('/').next()?.parse().ok())
            .expect("a count")
    };
    let began = Instant::now();
    let mut left = unpaid();
    let mut moved = Instant::now();
    while left > 0 {
        std::thread::park_timeout(Duration::from_millis(50));
        let now = unpaid();
        if now < left {
            (left, moved) = (now, Instant::now());
        }
        assert!(moved.elapsed() < Duration::from_secs(30), "{left} orders stay unpaid");
    }
    println!(
        "{} orders, all paid {:?} after the last was placed",
        orders.len(),
        began.elapsed()
    );
    let stock = shop.stock(&product);
    assert_eq!(stock, 1_000_000 - orders.len() as i64);
    drop(first);
}
