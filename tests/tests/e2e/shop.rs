//! The shop from registration to a paid order, and what goes wrong on the way.

use mainstay_tests::{Client, Command, Process, Project, free_port, until};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// A running shop; its payments start when asked.
pub struct Shop {
    pub project: Project,
    pub process: Process,
    /// Where the users are a process of their own.
    users: Option<Process>,
    pub anon: Client,
    pub ports: Vec<u16>,
}

impl Shop {
    /// All of it in one process.
    pub fn start() -> Shop {
        Shop::with_payments(2)
    }

    /// With room for so many copies of payments.
    pub fn with_payments(copies: usize) -> Shop {
        let (project, ports) = prepared(copies);
        Shop::serve(project, ports, None)
    }

    /// The users in a process of their own, behind the gateway.
    pub fn apart() -> Shop {
        let (project, ports) = prepared(2);
        let users = project.command().args(["--service", "users"]).start();
        Shop::serve(project, ports, Some(users))
    }

    /// On PostgreSQL, with the gateway and everything else in one process and one service served by others.
    pub fn with_elsewhere(project: Project, service: &str, at: &[&Process]) -> Shop {
        let places: Vec<String> = at.iter().map(|p| format!("\"{}\"", p.client().address())).collect();
        let place = format!("service.{service}.at=[{}]", places.join(","));
        let process = project.command().args(["--set", &place]).start();
        let anon = process.client();
        Shop {
            project,
            process,
            users: None,
            anon,
            ports: Vec::new(),
        }
    }

    fn serve(project: Project, ports: Vec<u16>, users: Option<Process>) -> Shop {
        let mut command = project.command();
        if let Some(users) = &users {
            command = command.args(["--set", &format!("service.users.at=[\"{}\"]", users.client().address())]);
        }
        let process = command.start();
        let anon = process.client();
        Shop {
            project,
            process,
            users,
            anon,
            ports,
        }
    }

    /// SIGKILL, and served again from what is on disk.
    fn killed_and_back(self) -> Shop {
        let Shop {
            project,
            process,
            users,
            ports,
            ..
        } = self;
        process.kill();
        Shop::serve(project, ports, users)
    }

    pub fn payments(&self, which: usize) -> Process {
        self.payments_with(which, &[])
    }

    /// Ends the users' own process; where it was.
    pub fn stop_users(&mut self) -> String {
        let users = self.users.take().expect("users apart");
        let place = users.client().address().to_owned();
        users.kill();
        place
    }

    /// Starts it again where it was.
    pub fn start_users(&mut self, place: String) {
        let command =
            Command::serve([self.project.dir().as_os_str()]).args(["--admin", "127.0.0.1:0", "--listen", &place]);
        self.users = Some(
            command
                .args(["--service", "users", "--set", "log.access=false"])
                .args(self.project.overrides())
                .start(),
        );
    }

    /// One copy of payments, with further arguments.
    pub fn payments_with(&self, which: usize, arguments: &[&str]) -> Process {
        Command::new("python3", "payments on ")
            .arg(self.project.dir().join("payments/payments.py"))
            .arg(self.ports[which].to_string())
            .args(["--gateway", &self.process.ready])
            .args(arguments)
            .env("MAINSTAY", mainstay_tests::binary())
            .env("PAYMENTS_TOKEN", self.project.token("payments", None))
            .start()
    }

    pub fn register(&self, email: &str) -> User {
        let answer = self
            .anon
            .post("/auth/v1/signup", &json!({"email": email, "password": "correct horse"}))
            .expect(200)
            .json();
        let token = answer["access_token"].as_str().expect("a session").to_owned();
        User {
            client: self.anon.with_token(&token),
            token,
            id: answer["user"]["id"].as_str().expect("an id").to_owned(),
        }
    }

    pub fn products(&self, query: &str) -> Vec<Json> {
        self.anon
            .get(&format!("/rest/v1/products?{query}"))
            .expect(200)
            .json()
            .as_array()
            .expect("a list")
            .clone()
    }

    pub fn stock(&self, product: &str) -> i64 {
        self.anon
            .get(&format!("/rest/v1/products/{product}?select=stock"))
            .expect(200)
            .json()["stock"]
            .as_i64()
            .expect("a number")
    }
}

pub struct User {
    pub client: Client,
    token: String,
    id: String,
}

impl User {
    /// The same user at another start of the shop.
    fn on(&self, shop: &Shop) -> User {
        User {
            client: shop.anon.with_token(&self.token),
            token: self.token.clone(),
            id: self.id.clone(),
        }
    }

    /// A cart with so many of a product.
    pub fn cart(&self, product: &str, quantity: i64) -> String {
        let cart = self.client.post("/rest/v1/rpc/new_cart", &json!({})).expect(200).json()[0]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let line = json!({"cart": cart, "product": product, "quantity": quantity});
        self.client.post("/rest/v1/rpc/add_to_cart", &line).expect(200);
        cart
    }

    pub fn checkout(&self, cart: &str, key: &str) -> mainstay_tests::Answer {
        self.client.post_with(
            "/rest/v1/rpc/checkout",
            &[("idempotency-key", key)],
            &json!({"cart": cart}),
        )
    }

    pub fn order_status(&self, id: &str) -> String {
        let orders = self
            .client
            .get(&format!("/rest/v1/orders?id=eq.{id}&select=status"))
            .expect(200)
            .json();
        orders[0]["status"].as_str().unwrap_or("none").to_owned()
    }
}

/// The project, with free ports for so many copies of payments.
fn prepared(copies: usize) -> (Project, Vec<u16>) {
    let project = Project::example("shop");
    let ports: Vec<u16> = (0..copies).map(|_| free_port()).collect();
    let toml = project.read("mainstay.toml");
    let servers: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let servers = format!("servers = [{}]", servers.join(", "));
    assert!(
        toml.contains("servers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]"),
        "the example's payments"
    );
    project.write(
        "mainstay.toml",
        &toml.replace("servers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]", &servers),
    );
    (project, ports)
}

/// Every test of the shop, however its services are spread over processes.
macro_rules! every_test {
    ($arrangement:ident, $start:path) => {
        mod $arrangement {
            every_test!(@ $start: from_registration_to_a_paid_order a_declined_card_gives_the_stock_back twenty_checkouts_with_one_key_buy_once a_crash_amid_checkouts_buys_once too_little_stock_changes_nothing anothers_cart_is_invisible orders_are_taken_without_payments_and_paid_when_they_return);
        }
    };
    (@ $start:path: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                super::$name($start());
            }
        )*
    };
}

every_test!(in_one_process, super::Shop::start);
every_test!(users_apart, super::Shop::apart);

fn from_registration_to_a_paid_order(shop: Shop) {
    let _payments = [shop.payments(0), shop.payments(1)];

    // Register: profile and two mails are written without the registration waiting for them.
    let user = shop.register("ada@example.com");
    let mails = until("both mails are written", || {
        let mails = user
            .client
            .get("/rest/v1/mails?select=kind&order=kind")
            .expect(200)
            .json();
        (mails.as_array()?.len() == 2).then_some(mails)
    });
    assert_eq!(mails, json!([{"kind": "verification"}, {"kind": "welcome"}]));
    until("the profile is there", || {
        let profiles = user
            .client
            .get("/rest/v1/profiles?select=display_name")
            .expect(200)
            .json();
        (profiles == json!([{"display_name": "ada"}])).then_some(())
    });

    // Log in again.
    let session = shop
        .anon
        .post(
            "/auth/v1/token?grant_type=password",
            &json!({"email": "ada@example.com", "password": "correct horse"}),
        )
        .expect(200)
        .json();
    assert_eq!(session["user"]["id"], json!(user.id));

    // Browse and search.
    assert_eq!(shop.products("select=id&category=eq.Kitchen").len(), 60);
    let found = shop
        .anon
        .post(
            "/rest/v1/rpc/search_products?select=name&limit=3",
            &json!({"query": "kettle"}),
        )
        .expect(200)
        .json();
    assert!(found[0]["name"].as_str().expect("a name").contains("Kettle"), "{found}");
    let product = shop
        .products("select=id,price,stock&stock=gte.10&order=price&limit=1")
        .remove(0);
    let (id, price) = (product["id"].as_str().expect("an id"), product["price"].to_string());

    // A guest's cart, merged at login.
    let guest = shop.anon.post("/rest/v1/rpc/new_cart", &json!({})).expect(200).json()[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    shop.anon
        .post(
            "/rest/v1/rpc/add_to_cart",
            &json!({"cart": guest, "product": id, "quantity": 2}),
        )
        .expect(200);
    let own = user.cart(id, 1);
    let merged = user
        .client
        .post("/rest/v1/rpc/merge_cart", &json!({"guest": guest}))
        .expect(200)
        .json();
    assert_eq!(merged[0]["id"], json!(own));
    let lines = user
        .client
        .post("/rest/v1/rpc/cart_contents", &json!({"cart": own}))
        .expect(200)
        .json();
    assert_eq!(
        (lines.as_array().map(Vec::len), &lines[0]["quantity"]),
        (Some(1), &json!(3))
    );
    assert_eq!(
        shop.anon
            .post("/rest/v1/rpc/cart_contents", &json!({"cart": guest}))
            .expect(200)
            .json(),
        json!([])
    );

    // Check out: the stock is less at once, the payment follows.
    let before = shop.stock(id);
    let order = user.checkout(&own, "first").expect(200).json();
    assert_eq!(order[0]["status"], json!("placed"));
    let total: f64 = price.parse::<f64>().expect("a price") * 3.0;
    assert!(
        (order[0]["total"].as_f64().expect("a total") - total).abs() < 0.001,
        "{order}"
    );
    assert_eq!(shop.stock(id), before - 3);
    until("the order is paid", || {
        (user.order_status(&own) == "paid").then_some(())
    });
}

fn a_declined_card_gives_the_stock_back(shop: Shop) {
    let _payments = shop.payments(0);
    let user = shop.register("bob@example.com");
    let product = shop.products("select=id&stock=gte.10&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let before = shop.stock(&product);
    let cart = user.cart(&product, 4);
    user.client
        .post("/rest/v1/rpc/checkout", &json!({"cart": cart, "card": "tok_declined"}))
        .expect(200);
    until("the order has failed", || {
        (user.order_status(&cart) == "failed").then_some(())
    });
    assert_eq!(shop.stock(&product), before);
}

fn twenty_checkouts_with_one_key_buy_once(shop: Shop) {
    let user = Arc::new(shop.register("eve@example.com"));
    let product = shop.products("select=id&stock=gte.10&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let before = shop.stock(&product);
    let cart = user.cart(&product, 2);
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let (user, cart) = (user.clone(), cart.clone());
            std::thread::spawn(move || user.checkout(&cart, "the-one").expect(200).body)
        })
        .collect();
    let bodies: Vec<Vec<u8>> = threads.into_iter().map(|t| t.join().expect("answered")).collect();
    assert!(bodies.iter().all(|b| *b == bodies[0]), "all answers are alike");
    assert_eq!(shop.stock(&product), before - 2, "bought once");
    let other = user.client.post_with(
        "/rest/v1/rpc/checkout",
        &[("idempotency-key", "the-one")],
        &json!({"cart": product}),
    );
    assert_eq!(other.status, 422, "{}", other.text());
}

/// Killed somewhere between taking the request and answering it, again and again: whoever asks again with the same key gets the
/// one order, and the stock is less once.
fn a_crash_amid_checkouts_buys_once(mut shop: Shop) {
    let user = shop.register("zoe@example.com");
    let product = shop.products("select=id&stock=gte.100&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut committed_unanswered = 0;
    for round in 0..12u64 {
        let cart = user.on(&shop).cart(&product, 2);
        let before = shop.stock(&product);
        let key = format!("round-{round}");
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let (client, cart, key) = (user.on(&shop).client, cart.clone(), key.clone());
                std::thread::spawn(move || {
                    let headers = [("content-type", "application/json"), ("idempotency-key", &*key)];
                    let body = json!({"cart": cart}).to_string();
                    client
                        .try_send("POST", "/rest/v1/rpc/checkout", &headers, Some(body.as_bytes()))
                        .ok()
                })
            })
            .collect();
        // A moment that moves through the whole of a check-out from round to round.
        std::thread::park_timeout(std::time::Duration::from_micros(300 * round));
        shop = shop.killed_and_back();
        let answered: Vec<Vec<u8>> = threads
            .into_iter()
            .filter_map(|t| t.join().expect("no panic"))
            .map(|a| a.expect(200).body)
            .collect();
        let taken = shop.stock(&product) < before;
        assert!(taken || answered.is_empty(), "an acknowledged order is lost");
        committed_unanswered += u32::from(taken && answered.is_empty());
        let again = user.on(&shop).checkout(&cart, &key).expect(200).body;
        assert!(
            answered.iter().all(|body| *body == again),
            "the answer after the crash is the answer before it"
        );
        assert_eq!(shop.stock(&product), before - 2, "bought once");
        assert_eq!(user.on(&shop).order_status(&cart), "placed");
    }
    println!(
        "12 crashes amid 20 check-outs each: bought once every time; {committed_unanswered} fell between commit and reply"
    );
}

fn too_little_stock_changes_nothing(shop: Shop) {
    let user = shop.register("kim@example.com");
    let product = shop.products("select=id&stock=eq.5&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let cart = user.cart(&product, 6);
    let refused = user.checkout(&cart, "greedy");
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (409, Some("23514")),
        "{}",
        refused.text()
    );
    assert_eq!(shop.stock(&product), 5);
    let lines = user
        .client
        .post("/rest/v1/rpc/cart_contents", &json!({"cart": cart}))
        .expect(200)
        .json();
    assert_eq!(lines[0]["quantity"], json!(6), "the cart is as it was");
    assert_eq!(user.client.get("/rest/v1/orders").expect(200).json(), json!([]));
}

fn anothers_cart_is_invisible(shop: Shop) {
    let (owner, thief) = (shop.register("own@example.com"), shop.register("thief@example.com"));
    let product = shop.products("select=id&stock=gte.10&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let cart = owner.cart(&product, 2);
    for client in [&thief.client, &shop.anon] {
        let looked = client
            .post("/rest/v1/rpc/cart_contents", &json!({"cart": cart}))
            .expect(200);
        assert_eq!(looked.json(), json!([]));
        let added = client.post("/rest/v1/rpc/add_to_cart", &json!({"cart": cart, "product": product}));
        assert_eq!(added.json(), json!([]), "{}", added.status);
    }
    assert_eq!(
        thief
            .client
            .get(&format!("/rest/v1/carts?id=eq.{cart}"))
            .expect(200)
            .json(),
        json!([])
    );
    assert_eq!(
        thief
            .client
            .get(&format!("/rest/v1/cart_items?cart_id=eq.{cart}"))
            .expect(200)
            .json(),
        json!([])
    );
    shop.anon.get("/rest/v1/carts").expect(401);
    assert_eq!(thief.checkout(&cart, "theft").expect(200).json(), json!([]));
    thief
        .client
        .post("/rest/v1/rpc/merge_cart", &json!({"guest": cart}))
        .expect(200);
    let lines = owner
        .client
        .post("/rest/v1/rpc/cart_contents", &json!({"cart": cart}))
        .expect(200)
        .json();
    assert_eq!(lines[0]["quantity"], json!(2), "untouched");
    shop.anon
        .post("/rest/v1/rpc/settle_payment", &json!({"order_id": cart, "paid": true}))
        .expect(401);
    thief
        .client
        .post("/rest/v1/rpc/settle_payment", &json!({"order_id": cart, "paid": true}))
        .expect(403);
}

fn orders_are_taken_without_payments_and_paid_when_they_return(shop: Shop) {
    let user = shop.register("max@example.com");
    let product = shop.products("select=id&stock=gte.50&limit=1").remove(0)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let buy = |key: &str| {
        let cart = user.cart(&product, 1);
        user.checkout(&cart, key).expect(200);
        cart
    };
    let both = [shop.payments(0), shop.payments(1)];
    let first = buy("both");
    until("paid by either", || (user.order_status(&first) == "paid").then_some(()));
    let [one, two] = both;
    one.kill();
    let second = buy("one");
    until("paid by the other", || {
        (user.order_status(&second) == "paid").then_some(())
    });
    two.kill();
    let third = buy("none");
    assert_eq!(user.order_status(&third), "placed");
    let _back = shop.payments(0);
    until("paid when it is back", || {
        (user.order_status(&third) == "paid").then_some(())
    });
}
