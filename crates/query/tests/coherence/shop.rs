//! The shop whose answers are cached: its tables, the queries asked of it, and what is written to it.

use crate::world::{Random, World};
use http::Method;
use std::collections::HashSet;

/// Tables, policies, views and functions.
pub const DDL: &str = include_str!("shop.sql");

const CATEGORIES: usize = 30;
const PRODUCTS: usize = 300;
const TAGS: usize = 25;
const NOTES: usize = 200;
pub const MEMBERS: usize = 12;

/// Who a member is.
pub fn member(n: usize) -> String {
    format!("5b0d3a1c-8f53-4a6e-9c0e-0000000000{n:02}")
}

/// A shape: its name, the tables that its answer comes from, a query of it.
pub type Shape = (&'static str, &'static [&'static str], fn(&mut Random) -> String);

const P: &[&str] = &["products"];

/// Every shape.
pub const SHAPES: &[Shape] = &[
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

/// Fills the tables.
pub fn seed(world: &World, r: &mut Random) {
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
pub fn write(world: &World, r: &mut Random) -> &'static [&'static str] {
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
