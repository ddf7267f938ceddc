//! Nanoseconds of a look-up and of taking in a change, with ten thousand answers kept by key: `cargo run -p mainstay-cache --example
//! probe --release`. A look-up should take at most 250, a change 2,000.

use bytes::Bytes;
use mainstay_cache::*;
use mainstay_model::*;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const ANSWERS: i64 = 10_000;
const ROUNDS: i64 = 1_000_000;

fn main() {
    let cache = Cache::new(Config::default());
    let filter = Expr::compare(Operator::Eq, Expr::column(0, Type::Int8), Expr::param(0, Type::Int8));
    let reads = TableReads {
        relation: RelationId(0),
        columns: Columns::All,
        filter: Some(filter),
        certain: true,
    };
    let read_set = Arc::new(ReadSet::new(vec![reads]));
    let claims = [Claim::Uid];
    let told = [("sub".to_owned(), "5b0d3a1c-8f53-4a6e-9c0e-0d8b0a1c2d3e".into())];
    let caller = Identity::new("authenticated", Arc::new(told.into_iter().collect()));
    let body = Bytes::from(vec![b'x'; 604]);
    let fill = |n: i64| {
        let key = Key::new(1, 1, &[Value::Int(n)], &caller, &claims, "json");
        let footprint = Footprint::new(read_set.clone(), vec![Some(Value::Int(n))]);
        let pending = cache.begin_fill(&key, 0, footprint);
        let fence = Fence::UpTo(Position {
            store: 0,
            token: u64::MAX,
        });
        let _ = cache.finish_fill(pending, body.clone(), 1, None, &fence, None);
    };
    (0..ANSWERS).for_each(fill);
    let timed = |what: &str, rounds: i64, work: &mut dyn FnMut(i64)| {
        let began = Instant::now();
        (0..rounds).for_each(work);
        println!("{what}: {:.0} ns", began.elapsed().as_nanos() as f64 / rounds as f64);
    };
    timed("key", ROUNDS, &mut |n| {
        let params = [Value::Int(n % ANSWERS)];
        black_box(Key::new(1, 1, &params, &caller, &claims, "json"));
    });
    timed("key and look-up", ROUNDS, &mut |n| {
        let params = [Value::Int(n * 7919 % ANSWERS)];
        let key = Key::new(1, 1, &params, &caller, &claims, "json");
        assert!(matches!(black_box(cache.look_up(&key, 0)), Lookup::Hit(_)));
    });
    let schema = Schema::default();
    let mut token = 0;
    let mut change = |id: i64| {
        token += 1;
        let row: Row = [Value::Int(id), Value::Int(token as i64)].into();
        let change = Change {
            relation: RelationId(0),
            kind: ChangeKind::Update,
            before: Some([Value::Int(id), Value::Null].into()),
            after: Some(row),
        };
        let position = Position { store: 0, token };
        cache.apply(
            &schema,
            &Changes {
                position,
                rows: vec![change],
            },
        );
    };
    timed("change that touches none", ROUNDS / 10, &mut |n| change(ANSWERS + n));
    timed("change that touches one", ANSWERS, &mut change);
    timed("fill", ANSWERS, &mut |n| fill(n));
    println!("{:?}", cache.stats());
}
