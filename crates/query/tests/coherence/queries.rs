//! A thousand cached queries of many shapes, a thousand random writes, and after each write everything recomputed from SQLite: an
//! answer that changed must have been dropped.

use crate::turn;
use crate::world::{Answer, Ask, Event, Random, World, caller, escaped};
use http::Method;
use mainstay_cache::Key;
use mainstay_model::Identity;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

const DDL: &str = "
CREATE TYPE level AS ENUM ('low', 'mid', 'high');
CREATE TABLE categories (id integer PRIMARY KEY, name text NOT NULL, parent integer REFERENCES categories (id));
CREATE TABLE products (
  id integer PRIMARY KEY, category integer REFERENCES categories (id), name text NOT NULL, price numeric(10,2),
  stock integer, rating double precision, active boolean, level level, added timestamptz NOT NULL DEFAULT '2026-01-01T00:00:00Z',
  details jsonb, gross numeric(12,2) GENERATED ALWAYS AS (price * 2) STORED);
CREATE TABLE tags (id integer PRIMARY KEY, label text NOT NULL);
CREATE TABLE product_tags (
  product integer REFERENCES products (id) ON DELETE CASCADE, tag integer REFERENCES tags (id) ON DELETE CASCADE,
  PRIMARY KEY (product, tag));
CREATE TABLE members (id uuid PRIMARY KEY, team integer, admin boolean NOT NULL DEFAULT false);
CREATE TABLE notes (id integer PRIMARY KEY, owner uuid, team integer, body text NOT NULL, rank integer, public boolean NOT NULL);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes TO authenticated USING (owner = auth.uid());
CREATE POLICY team ON notes TO authenticated
  USING (EXISTS (SELECT 1 FROM members m WHERE m.id = auth.uid() AND m.team = notes.team AND NOT m.admin));
CREATE POLICY everyone ON notes USING (public);
CREATE VIEW cheap AS SELECT id, name, price, category FROM products WHERE price < 40 AND active;
CREATE VIEW per_category AS
  SELECT category, count(*) AS products, sum(stock) AS stock, max(price) AS dearest FROM products GROUP BY category;
CREATE VIEW shelf AS
  SELECT p.id, p.name, c.name AS category, c.id AS category_id FROM products p JOIN categories c ON c.id = p.category;
CREATE VIEW untagged AS
  SELECT p.id, p.name FROM products p LEFT JOIN product_tags t ON t.product = p.id WHERE t.tag IS NULL;
CREATE VIEW dearest AS SELECT id, name, price FROM products ORDER BY price DESC NULLS LAST, id LIMIT 20;
CREATE VIEW named AS SELECT DISTINCT name, category FROM products WHERE stock > 2;
CREATE VIEW either AS SELECT id, name FROM products WHERE active UNION SELECT id, name FROM categories;
CREATE VIEW sides AS
  SELECT p.id AS product, c.id AS category FROM products p FULL JOIN categories c ON c.id = p.category AND p.stock > 10;
CREATE VIEW backwards AS
  SELECT c.id, p.name FROM products p RIGHT JOIN categories c ON c.id = p.category AND p.active
   WHERE p.stock IS NULL OR p.stock > 3;
CREATE VIEW busy AS SELECT category, count(*) AS products FROM products GROUP BY category HAVING count(*) > 9;
CREATE VIEW dear AS WITH d AS (SELECT * FROM products WHERE price > 50)
  SELECT d.id, c.name FROM d JOIN categories c ON c.id = d.category;
CREATE VIEW overview AS
  SELECT c.id, (SELECT max(p.price) FROM products p WHERE p.category = c.id) AS most,
         EXISTS (SELECT 1 FROM products p WHERE p.category = c.id AND p.level = 'high') AS high FROM categories c;
CREATE VIEW cheapest AS SELECT category, min(price) AS price FROM cheap GROUP BY category;
CREATE FUNCTION in_category(c integer) RETURNS SETOF products LANGUAGE SQL STABLE
BEGIN ATOMIC SELECT * FROM products WHERE category = c; END;
CREATE FUNCTION tagged(l text) RETURNS TABLE (id integer, name text) LANGUAGE SQL STABLE SECURITY DEFINER
BEGIN ATOMIC
  SELECT p.id, p.name FROM products p JOIN product_tags pt ON pt.product = p.id JOIN tags t ON t.id = pt.tag
   WHERE t.label = l ORDER BY p.id;
END;
CREATE FUNCTION label_count(products) RETURNS bigint LANGUAGE SQL STABLE
BEGIN ATOMIC SELECT count(*) FROM product_tags WHERE product = $1.id AND $1.stock > 3; END;
CREATE FUNCTION siblings(products) RETURNS SETOF products LANGUAGE SQL STABLE
BEGIN ATOMIC SELECT * FROM products s WHERE s.category = $1.category AND s.id <> $1.id; END;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO anon, authenticated;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO anon, authenticated;
";

const CATEGORIES: usize = 30;
const PRODUCTS: usize = 300;
const TAGS: usize = 25;
const NOTES: usize = 200;
const MEMBERS: usize = 12;

fn member(n: usize) -> String {
    format!("5b0d3a1c-8f53-4a6e-9c0e-0000000000{n:02}")
}

/// A shape: its name, the tables that its answer comes from, a query of it.
type Shape = (&'static str, &'static [&'static str], fn(&mut Random) -> String);

const P: &[&str] = &["products"];

const SHAPES: &[Shape] = &[
    ("by key", P, |r| format!("products?id=eq.{}", r.below(PRODUCTS))),
    ("range, ordered by what is not selected", P, |r| {
        let low = r.below(95);
        format!(
            "products?select=id,name&price=gte.{low}&price=lt.{}&order=stock.desc.nullslast,id",
            low + 1 + r.below(3)
        )
    }),
    ("ordered by what is not selected, a page", P, |r| {
        format!(
            "products?select=id&active=is.true&category=eq.{}&order=rating.desc.nullslast,id&limit=5",
            r.below(CATEGORIES)
        )
    }),
    ("to one, embedded", &["products", "categories"], |r| {
        let ids: Vec<String> = (0..2).map(|_| r.below(PRODUCTS).to_string()).collect();
        format!(
            "products?select=id,name,categories(name)&id=in.({})&order=id",
            ids.join(",")
        )
    }),
    ("to many, embedded", &["products", "categories"], |r| {
        format!(
            "categories?select=id,name,products(id,price)&id=eq.{}&products.order=price.desc.nullslast,id",
            r.below(CATEGORIES)
        )
    }),
    ("many to many, embedded", &["products", "product_tags", "tags"], |r| {
        format!(
            "products?select=id,tags(label)&id=eq.{}&tags.order=id",
            r.below(PRODUCTS)
        )
    }),
    ("counted", P, |r| {
        format!(
            "products?select=id&category=eq.{}&order=id&limit=2",
            r.below(CATEGORIES)
        )
    }),
    ("policies with a subquery", &["notes", "members"], |r| {
        format!("notes?select=id,body&rank=eq.{}&order=rank,id", r.below(50))
    }),
    ("a view", P, |r| {
        format!(
            "cheap?price=gt.{}&category=eq.{}&order=price,id",
            r.below(40),
            r.below(CATEGORIES)
        )
    }),
    ("a grouped view", P, |r| {
        format!("per_category?category=eq.{}", r.below(CATEGORIES))
    }),
    ("a joined view", &["products", "categories"], |r| {
        format!("shelf?category_id=eq.{}&order=id", r.below(CATEGORIES))
    }),
    ("an outer join", &["products", "product_tags"], |r| {
        format!("untagged?id=eq.{}", r.below(PRODUCTS))
    }),
    ("a view with a limit", P, |r| {
        format!("dearest?id=eq.{}", r.below(PRODUCTS))
    }),
    ("a distinct view", P, |r| {
        format!("named?category=eq.{}&order=name", r.below(CATEGORIES))
    }),
    ("a union", &["products", "categories"], |r| {
        format!("either?id=eq.{}&order=name", r.below(PRODUCTS))
    }),
    ("a full join", &["products", "categories"], |r| {
        format!("sides?category=eq.{}&order=product", r.below(CATEGORIES))
    }),
    ("a right join", &["products", "categories"], |r| {
        format!("backwards?id=eq.{}&order=name", r.below(CATEGORIES))
    }),
    ("a view with having", P, |r| {
        format!("busy?category=eq.{}", r.below(CATEGORIES))
    }),
    ("a view with WITH", &["products", "categories"], |r| {
        format!("dear?id=eq.{}", r.below(PRODUCTS))
    }),
    ("a view with subqueries", &["products", "categories"], |r| {
        format!("overview?id=eq.{}", r.below(CATEGORIES))
    }),
    ("a view over a view", P, |r| {
        format!("cheapest?category=eq.{}", r.below(CATEGORIES))
    }),
    ("a policy's subquery and a key", &["notes", "members"], |r| {
        format!("notes?select=id,body&id=eq.{}", r.below(NOTES))
    }),
    ("json", P, |r| {
        format!(
            "products?select=id&details->>color=eq.c{}&category=eq.{}&order=id",
            r.below(4),
            r.below(CATEGORIES)
        )
    }),
    ("alternatives", P, |r| {
        let (a, b) = (r.below(PRODUCTS), r.below(CATEGORIES));
        format!("products?select=id,level&or=(id.eq.{a},and(category.eq.{b},level.eq.high))&order=id")
    }),
    ("a function", P, |r| {
        format!("rpc/in_category?c={}&order=id&select=id,price", r.below(CATEGORIES))
    }),
    ("a definer's function", &["products", "product_tags", "tags"], |r| {
        format!("rpc/tagged?l=l{}", r.below(TAGS))
    }),
    ("a computed column", &["products", "product_tags"], |r| {
        format!("products?select=id,label_count&id=eq.{}", r.below(PRODUCTS))
    }),
    ("a computed relationship", P, |r| {
        format!(
            "products?select=id,siblings(id)&id=eq.{}&siblings.order=id",
            r.below(PRODUCTS)
        )
    }),
    ("an inner embed", &["products", "categories"], |r| {
        format!(
            "products?select=id,categories!inner(id)&categories.name=eq.c{}&order=id",
            r.below(CATEGORIES)
        )
    }),
    ("ordered by an embedded column", &["products", "categories"], |r| {
        format!(
            "products?select=id,categories(id)&stock=eq.{}&order=categories(name),id",
            r.below(20)
        )
    }),
    ("a pattern", P, |r| {
        format!("products?select=id,name&name=like.*{}*&order=id", r.below(PRODUCTS))
    }),
    ("negated", P, |r| {
        format!(
            "products?select=id&category=eq.{}&not.and=(price.gt.50,active.is.true)&order=id",
            r.below(CATEGORIES)
        )
    }),
    ("generated", P, |r| {
        format!("products?select=id,gross&gross=eq.{}&order=id", 2 * r.below(100))
    }),
    ("grouped", P, |r| {
        format!(
            "products?select=stock.sum(),count()&category=eq.{}",
            r.below(CATEGORIES)
        )
    }),
    ("moments", P, |r| {
        let day = 1 + r.below(27);
        format!(
            "products?select=id&added=gte.2026-01-{day:02}T00:00:00Z&added=lt.2026-01-{:02}T00:00:00Z&order=added,id",
            day + 1
        )
    }),
    ("a tree", &["categories"], |r| {
        format!(
            "categories?select=id,name,parent(id,name)&id=eq.{}",
            r.below(CATEGORIES)
        )
    }),
];

fn product(r: &mut Random, id: Option<usize>) -> String {
    let mut fields: Vec<String> = id.map(|id| format!("\"id\":{id}")).into_iter().collect();
    let whole = id.is_some();
    let only = r.below(8);
    let mut put = |n: usize, name: &str, value: String| {
        if whole || n == only {
            fields.push(format!("\"{name}\":{value}"));
        }
    };
    let null = |r: &mut Random, value: String| if r.one_in(8) { "null".to_owned() } else { value };
    let category = r.below(CATEGORIES).to_string();
    put(0, "category", null(r, category));
    put(1, "name", format!("\"p{}\"", r.below(PRODUCTS)));
    let price = format!("{}.{}", r.below(100), r.of(&["0", "00", "5", "25"]));
    put(2, "price", null(r, price));
    let stock = r.below(20).to_string();
    put(3, "stock", null(r, stock));
    let rating = format!("{}.5", r.below(5));
    put(4, "rating", null(r, rating));
    let active = r.of(&["true", "false"]).to_owned();
    put(5, "active", null(r, active));
    let level = r.of(&["\"low\"", "\"mid\"", "\"high\""]).to_owned();
    put(6, "level", null(r, level));
    put(
        7,
        "details",
        format!("{{\"color\":\"c{}\",\"n\":{}}}", r.below(4), r.below(9)),
    );
    if whole {
        put(
            only,
            "added",
            format!("\"2026-01-{:02}T{:02}:00:00Z\"", 1 + r.below(28), r.below(24)),
        );
    }
    format!("{{{}}}", fields.join(","))
}

fn note(r: &mut Random, id: usize) -> String {
    let owner = if r.one_in(4) {
        "null".to_owned()
    } else {
        format!("\"{}\"", member(r.below(MEMBERS)))
    };
    format!(
        "{{\"id\":{id},\"owner\":{owner},\"team\":{},\"body\":\"b{}\",\"rank\":{},\"public\":{}}}",
        r.below(4),
        r.below(100),
        r.below(50),
        r.one_in(6)
    )
}

fn seed(world: &World, r: &mut Random) {
    let rows = |rows: Vec<String>| format!("[{}]", rows.join(","));
    let post = |table: &str, body: String| assert!(world.write(Method::POST, table, &body));
    let category = |n: usize| match n {
        0 => "{\"id\":0,\"name\":\"c0\",\"parent\":null}".to_owned(),
        n => format!("{{\"id\":{n},\"name\":\"c{n}\",\"parent\":{}}}", n / 2),
    };
    post("categories", rows((0..CATEGORIES).map(category).collect()));
    post("products", rows((0..PRODUCTS).map(|n| product(r, Some(n))).collect()));
    post(
        "tags",
        rows(
            (0..TAGS)
                .map(|n| format!("{{\"id\":{n},\"label\":\"l{n}\"}}"))
                .collect(),
        ),
    );
    let pairs: HashSet<(usize, usize)> = (0..400).map(|_| (r.below(PRODUCTS), r.below(TAGS))).collect();
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_unstable();
    post(
        "product_tags",
        rows(
            pairs
                .iter()
                .map(|(p, t)| format!("{{\"product\":{p},\"tag\":{t}}}"))
                .collect(),
        ),
    );
    let members = (0..MEMBERS).map(|n| {
        format!(
            "{{\"id\":\"{}\",\"team\":{},\"admin\":{}}}",
            member(n),
            n % 4,
            n % 5 == 0
        )
    });
    post("members", rows(members.collect()));
    post("notes", rows((0..NOTES).map(|n| note(r, n)).collect()));
}

/// A random write, and the tables that it may change.
fn write(world: &World, r: &mut Random) -> &'static [&'static str] {
    let id = r.below(PRODUCTS + 20);
    match r.below(20) {
        0..=6 => {
            world.write(Method::PATCH, &format!("products?id=eq.{id}"), &product(r, None));
            P
        }
        7 => {
            let (stock, to) = (r.below(20), r.below(20));
            world.write(
                Method::PATCH,
                &format!("products?stock=eq.{stock}&active=is.false"),
                &format!("{{\"stock\":{to}}}"),
            );
            P
        }
        8 => {
            world.write(Method::DELETE, &format!("products?id=eq.{id}"), "");
            &["products", "product_tags"]
        }
        9 | 10 => {
            world.write(Method::POST, "products", &product(r, Some(id)));
            P
        }
        11 => {
            let n = r.below(CATEGORIES);
            world.write(
                Method::PATCH,
                &format!("categories?id=eq.{n}"),
                &format!("{{\"name\":\"c{}\"}}", r.below(CATEGORIES)),
            );
            &["categories"]
        }
        12 | 13 => {
            let body = format!("{{\"product\":{},\"tag\":{}}}", r.below(PRODUCTS), r.below(TAGS));
            world.write(Method::POST, "product_tags", &body);
            &["product_tags"]
        }
        14 => {
            world.write(Method::DELETE, &format!("product_tags?product=eq.{id}"), "");
            &["product_tags"]
        }
        15 => {
            let n = r.below(TAGS);
            world.write(
                Method::PATCH,
                &format!("tags?id=eq.{n}"),
                &format!("{{\"label\":\"l{}\"}}", r.below(TAGS)),
            );
            &["tags"]
        }
        16 => {
            let path = format!("members?id=eq.{}", member(r.below(MEMBERS)));
            world.write(
                Method::PATCH,
                &path,
                &format!("{{\"team\":{},\"admin\":{}}}", r.below(4), r.one_in(3)),
            );
            &["members"]
        }
        17 => {
            world.write(Method::DELETE, &format!("notes?id=eq.{}", r.below(NOTES)), "");
            &["notes"]
        }
        18 => {
            let id = r.below(NOTES);
            world.write(Method::POST, "notes", &note(r, id));
            &["notes"]
        }
        _ => {
            let body = note(r, 0).replacen("\"id\":0,", "", 1);
            world.write(Method::PATCH, &format!("notes?id=eq.{}", r.below(NOTES)), &body);
            &["notes"]
        }
    }
}

/// A cached query.
struct Cached {
    shape: usize,
    ask: Ask,
    key: Key,
    answer: Answer,
}

/// What came of a run.
#[derive(Debug, Default)]
struct Found {
    stale: Vec<String>,
    recomputed: usize,
    dropped: usize,
    changed: usize,
    undecided: usize,
    /// Dropped because a row that is certainly in the answer came, went or changed.
    certain: usize,
    certain_changed: usize,
    by_shape: HashMap<&'static str, [usize; 3]>,
}

impl Found {
    fn add(&mut self, other: Found) {
        self.stale.extend(other.stale);
        self.recomputed += other.recomputed;
        self.dropped += other.dropped;
        self.changed += other.changed;
        self.undecided += other.undecided;
        self.certain += other.certain;
        self.certain_changed += other.certain_changed;
        for (name, counts) in other.by_shape {
            let sum = self.by_shape.entry(name).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    fn print(&self, began: Instant) {
        let good = self.changed + self.undecided;
        println!(
            "{} answers recomputed in {:.1} s; {} dropped: {} ({:.0} %) had changed, {} more ({:.0} %) could not be decided",
            self.recomputed,
            began.elapsed().as_secs_f64(),
            self.dropped,
            self.changed,
            100.0 * self.changed as f64 / self.dropped as f64,
            self.undecided,
            100.0 * self.undecided as f64 / self.dropped as f64,
        );
        println!(
            "changed or undecided: {:.1} % of those dropped",
            100.0 * good as f64 / self.dropped as f64
        );
        println!(
            "where the row alone decides: {} dropped, {:.1} % of them had changed",
            self.certain,
            100.0 * self.certain_changed as f64 / self.certain as f64
        );
        for (shape, ..) in SHAPES {
            let [dropped, changed, undecided] = self.by_shape.get(shape).copied().unwrap_or_default();
            println!("  {shape}: {dropped} dropped, {changed} changed, {undecided} undecided");
        }
    }
}

/// So many queries, so many writes; ends early when something stale was found and `first` says so.
fn check(queries: usize, writes: usize, seed_of: u64, first: bool) -> Found {
    let world = World::new(DDL);
    let mut r = Random(seed_of);
    seed(&world, &mut r);
    let service: Arc<Identity> = Arc::new(Identity::service());
    let mut all: Vec<Cached> = Vec::new();
    let mut known = HashSet::new();
    let mut tries = 0;
    while all.len() < queries {
        let shape = tries % SHAPES.len();
        tries += 1;
        assert!(tries < 100 * queries, "the shapes have too few queries");
        let (name, _, make) = &SHAPES[shape];
        let path = escaped(&make(&mut r));
        let identity = match r.below(3) {
            _ if *name == "policies with a subquery" => caller(
                "authenticated",
                &format!("{{\"sub\":\"{}\"}}", member(r.below(MEMBERS))),
            ),
            0 => caller("anon", "{}"),
            1 => caller(
                "authenticated",
                &format!("{{\"sub\":\"{}\"}}", member(r.below(MEMBERS))),
            ),
            _ => service.clone(),
        };
        let prefer = if *name == "counted" { "count=exact" } else { "" };
        let ask = Ask { path, identity, prefer };
        world.seen.take();
        let (answer, status) = world.ask(&world.cached, &ask);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.status < 300, "{name}: {} {}: {text}", ask.path, answer.status);
        if status == "mainstay; hit" {
            continue;
        }
        assert_eq!(status, "mainstay; fwd=miss; stored", "{name}: {}", ask.path);
        let &[Event::Kept(key)] = &*world.seen.take() else {
            panic!("{name} was not kept")
        };
        assert!(known.insert(key));
        all.push(Cached {
            shape,
            ask,
            key,
            answer,
        });
    }
    let right = all.split_off(all.len() / 2);
    let found = std::thread::scope(|scope| {
        // Each has its share of the queries, on a thread and a connection of its own.
        let workers = [all, right].map(|mut share| {
            let (go, written) = sync_channel::<Written>(1);
            let (done, checked) = sync_channel::<Found>(1);
            let world = &world;
            scope.spawn(move || {
                while let Ok(written) = written.recv() {
                    let mut found = Found::default();
                    share
                        .iter_mut()
                        .for_each(|cached| check_one(world, cached, &written, &mut found));
                    let _ = done.send(found);
                }
            });
            (go, checked)
        });
        let mut found = Found::default();
        for number in 0..writes {
            world.seen.take();
            let tables = write(&world, &mut r);
            let dropped = world.seen.take().into_iter().filter_map(|event| match event {
                Event::Dropped(key, certain) => Some((key, certain)),
                Event::Kept(_) => None,
            });
            let dropped: Arc<HashMap<Key, bool>> = Arc::new(dropped.collect());
            for (go, _) in &workers {
                let written = Written {
                    number,
                    tables,
                    dropped: dropped.clone(),
                };
                go.send(written).unwrap();
            }
            for (_, checked) in &workers {
                found.add(checked.recv().expect("a worker failed"));
            }
            if first && !found.stale.is_empty() {
                break;
            }
        }
        found
    });
    let stats = world.stats();
    assert_eq!((stats.evicted, stats.voided, stats.bypasses), (0, 0, 0), "{stats:?}");
    found
}

/// A write that was acknowledged.
struct Written {
    number: usize,
    tables: &'static [&'static str],
    dropped: Arc<HashMap<Key, bool>>,
}

/// Recomputes one answer after a write.
fn check_one(world: &World, cached: &mut Cached, written: &Written, found: &mut Found) {
    let Written {
        number,
        tables,
        dropped,
    } = written;
    let (name, of, _) = SHAPES[cached.shape];
    let dropped = dropped.get(&cached.key).copied();
    if !of.iter().any(|table| tables.contains(table)) {
        assert_eq!(dropped, None, "{name} does not read {tables:?}");
        return;
    }
    found.recomputed += 1;
    let (now, _) = world.ask(&world.fresh, &cached.ask);
    let changed = now != cached.answer;
    if let Some(certain) = dropped {
        let undecided = !changed && !certain;
        let shape = found.by_shape.entry(name).or_default();
        for (count, more) in shape.iter_mut().zip([true, changed, undecided]) {
            *count += usize::from(more);
        }
        found.dropped += 1;
        found.changed += usize::from(changed);
        found.undecided += usize::from(undecided);
        found.certain += usize::from(certain);
        found.certain_changed += usize::from(certain && changed);
        // Back into the cache, and the same from there as from the store.
        let (again, status) = world.ask(&world.cached, &cached.ask);
        assert_eq!((&again, &*status), (&now, "mainstay; fwd=miss; stored"), "{name}");
    } else if changed {
        found.stale.push(format!(
            "{name}: {} after write {number} to {tables:?}",
            cached.ask.path
        ));
    }
    if number % 16 == 0 {
        let (hit, status) = world.ask(&world.cached, &cached.ask);
        assert_eq!(&*status, "mainstay; hit", "{name}: {}", cached.ask.path);
        if hit != now {
            found.stale.push(format!(
                "{name}: {} is served as it was before write {number}",
                cached.ask.path
            ));
        }
    }
    cached.answer = now;
}

#[test]
fn every_changed_answer_is_dropped() {
    let _turn = turn();
    let began = Instant::now();
    let found = check(1000, 1000, 0x51ee_7001, false);
    found.print(began);
    assert_eq!(found.stale, Vec::<String>::new());
    assert!(
        found.dropped > 1000 && found.by_shape.len() == SHAPES.len(),
        "too little happened: {found:?}"
    );
    let good = found.changed + found.undecided;
    assert!(good * 10 >= found.dropped * 8, "dropped for nothing too often");
    assert!(found.certain_changed * 10 >= found.certain * 8, "certain too often");
}

/// The check finds what is wrong: with each failpoint set, an answer goes stale.
#[cfg(feature = "failpoints")]
#[test]
fn every_failpoint_is_found() {
    let _turn = turn();
    for name in ["ignore-before-images", "forget-order-columns", "drop-1-in-1000"] {
        mainstay_cache::failpoint::set(name, true);
        let found = check(1000, 1000, 0x51ee_7002, true);
        mainstay_cache::failpoint::set(name, false);
        assert!(!found.stale.is_empty(), "{name} went unnoticed");
        println!("{name}: {}", found.stale[0]);
    }
}
