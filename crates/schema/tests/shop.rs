//! The example shop's DDL reads without a problem.

use mainstay_schema::{Options, Source, read_with};

#[test]
fn the_shop_reads() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/services");
    let sources: Vec<Source> = [
        ("users", "users"),
        ("products", "main"),
        ("carts", "main"),
        ("orders", "main"),
    ]
    .into_iter()
    .map(|(service, store)| Source {
        file: format!("services/{service}/schema.sql").into(),
        text: std::fs::read_to_string(format!("{root}/{service}/schema.sql")).expect("the example is there"),
        store: store.into(),
        service: Some(service.into()),
    })
    .collect();
    let reading = read_with(
        &sources,
        &Options {
            auth: Some("users".into()),
        },
    );
    let problems: Vec<String> = reading
        .problems
        .iter()
        .map(|p| format!("{}:{}:{}: {}", p.span.file, p.span.line, p.span.column, p.message))
        .collect();
    assert_eq!(problems, Vec::<String>::new());
    assert!(reading.schema.has_grants);
    assert_eq!(reading.schema.functions.iter().filter(|f| f.writes).count(), 8);
}
