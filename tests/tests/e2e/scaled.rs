//! The shop on PostgreSQL with a service in several processes of its own, which are killed under load.

use crate::shop::{Shop, User};
use mainstay_tests::{Process, Project};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients that read the catalogue all the time.
const READERS: usize = 4;

fn p99_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)].as_secs_f64() * 1000.0
}

/// So many check-outs, one after the other; the slowest but one in a hundred.
fn checkouts(user: &User, product: &str, phase: &str, count: usize) -> f64 {
    let times = (0..count).map(|n| {
        let cart = user.cart(product, 1);
        let began = Instant::now();
        user.checkout(&cart, &format!("{phase}-{n}")).expect(200);
        began.elapsed()
    });
    p99_ms(times.collect())
}

#[test]
fn products_by_three_processes_killed_one_by_one() {
    let project = Project::example("shop").on_postgres();
    let part = |_| {
        project
            .command()
            .args(["--service", "products", "--only", "api"])
            .start()
    };
    let mut copies: Vec<Process> = (0..3).map(part).collect();
    let shop = Shop::with_elsewhere(project, "products", &copies.iter().collect::<Vec<_>>());
    let user = shop.register("ann@example.com");
    let product = shop.products("select=id&order=sku&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let operator = shop.anon.with_token(&shop.project.token("service_role", None));
    operator
        .patch(
            &format!("/rest/v1/products?id=eq.{product}"),
            &json!({"stock": 1_000_000}),
        )
        .expect(204);

    let (done, failed, answered) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (anon, done, product) = (shop.anon.clone(), done.clone(), product.clone());
            let (failed, answered): (Arc<AtomicUsize>, Arc<AtomicUsize>) = (Arc::clone(&failed), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let answer = anon.get(&format!("/rest/v1/products/{product}"));
                    match answer.status {
                        200 => answered.fetch_add(1, Ordering::SeqCst),
                        _ => {
                            println!("a read failed: {} {}", answer.status, answer.text());
                            failed.fetch_add(1, Ordering::SeqCst)
                        }
                    };
                }
            })
        })
        .collect();

    checkouts(&user, &product, "warm-up", 50);
    let before = checkouts(&user, &product, "three", 150);
    let mut while_killing = Vec::new();
    for left in [2, 1] {
        copies.remove(0).kill();
        while_killing.push(checkouts(&user, &product, &format!("left-{left}"), 150));
    }
    done.store(true, Ordering::SeqCst);
    readers.into_iter().for_each(|r| r.join().expect("it read on"));
    let (failed, answered) = (failed.load(Ordering::SeqCst), answered.load(Ordering::SeqCst));
    println!(
        "{answered} reads answered, {failed} failed; check-out p99 {before:.1} ms with three copies, {:.1} with two, {:.1} with one",
        while_killing[0], while_killing[1]
    );
    assert!(answered > 100, "reads went on");
    assert!(
        failed <= 2 * READERS,
        "{failed} reads failed: more than were in flight at two kills"
    );
    for after in while_killing {
        assert!(
            after < before * 4.0 + 50.0,
            "check-outs went from {before:.1} to {after:.1} ms"
        );
    }
}
