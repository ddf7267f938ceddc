//! What the cache says it uses against what it does use: every byte asked of the allocator is counted.

#![allow(unsafe_code, reason = "an allocator that counts can only be written so")]

use bytes::Bytes;
use mainstay_cache::*;
use mainstay_model::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

/// What an allocator hands out for a size: the next multiple of 16, or of an eighth of the power of two below it.
fn rounded(size: usize) -> isize {
    let step = (size.next_power_of_two() / 16).max(16);
    size.next_multiple_of(step) as isize
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(rounded(layout.size()), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(rounded(layout.size()), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LIMIT: usize = 8 << 20;

fn int(n: u16) -> Expr {
    Expr::param(n, Type::Int8)
}

fn column(n: u32) -> Expr {
    Expr::column(n, Type::Int8)
}

fn table(relation: u32, filter: Option<Expr>) -> TableReads {
    TableReads {
        relation: RelationId(relation),
        columns: Columns::All,
        filter,
        certain: true,
    }
}

/// The shapes of answers: how large, what they read, with which values.
type Shape = (&'static str, usize, Vec<TableReads>, fn(i64) -> Vec<Value>);

fn shapes() -> Vec<Shape> {
    let eq = |c, p| Expr::compare(Operator::Eq, column(c), int(p));
    let between = Expr::all(vec![
        Expr::compare(Operator::Ge, column(1), int(0)),
        Expr::compare(Operator::Le, column(1), int(1)),
    ]);
    let array = Type::Array(Box::new(Type::Int8));
    let any = Expr::condition(ExprKind::Quantified {
        operator: Operator::Eq,
        all: false,
        operand: Box::new(column(0)),
        array: Box::new(Expr::param(0, array)),
    });
    let like = Expr::compare(Operator::Like, Expr::column(2, Type::Text), Expr::param(0, Type::Text));
    let text = Expr::compare(Operator::Eq, Expr::column(2, Type::Text), Expr::param(0, Type::Text));
    let long = |n: i64| vec![Value::Text(format!("{n}{}", "x".repeat(600)))];
    vec![
        ("empty answers by key", 2, vec![table(0, Some(eq(0, 0)))], |n| {
            vec![Value::Int(n)]
        }),
        ("rows by key", 600, vec![table(0, Some(eq(0, 0)))], |n| {
            vec![Value::Int(n)]
        }),
        ("ranges", 900, vec![table(0, Some(between))], |n| {
            vec![Value::Int(n), Value::Int(n + 9)]
        }),
        ("in lists", 300, vec![table(0, Some(any))], |n| {
            vec![Value::Array((0..40).map(|i| Value::Int(n * 40 + i)).collect())]
        }),
        ("long texts", 100, vec![table(0, Some(text))], long),
        ("patterns", 100, vec![table(0, Some(like))], long),
        ("everything", 700, vec![table(0, None)], |_| vec![]),
        (
            "embeds",
            2500,
            vec![
                table(0, Some(eq(0, 0))),
                table(1, Some(eq(1, 0))),
                table(2, None),
                table(3, None),
            ],
            |n| vec![Value::Int(n)],
        ),
        ("large answers", 60_000, vec![table(0, Some(eq(0, 0)))], |n| {
            vec![Value::Int(n)]
        }),
    ]
}

fn fill(cache: &Cache, read_set: &Arc<ReadSet>, plan: u64, n: i64, bytes: usize, values: fn(i64) -> Vec<Value>) {
    let key = Key::new(plan, 0, &[Value::Int(n)], &Identity::anon(), &[], "");
    let footprint = Footprint::new(read_set.clone(), values(n).into_iter().map(Some).collect());
    let pending = cache.begin_fill(&key, 0, footprint);
    // A buffer that has grown, as encoders' do.
    let mut body = Vec::with_capacity(bytes.next_power_of_two());
    body.resize(bytes, b'x');
    let fence = Fence::UpTo(Position {
        store: 0,
        token: u64::MAX,
    });
    let _ = cache.finish_fill(pending, Bytes::from(body), 1, None, &fence, None);
    if let Lookup::Hit(hit) = cache.look_up(&key, 0) {
        assert_eq!(hit.body.len(), bytes);
    }
}

#[test]
fn a_full_cache_uses_what_it_may() {
    let schema = Schema::default();
    for (plan, (name, bytes, tables, values)) in shapes().into_iter().enumerate() {
        let before = ALLOCATED.load(Ordering::Relaxed);
        let cache = Cache::new(Config {
            memory_bytes: LIMIT,
            ..Config::default()
        });
        let read_set = Arc::new(ReadSet::new(tables));
        let mut worst = 0;
        let fills = (2 * LIMIT / (bytes + 500)) as i64;
        for n in 0..fills {
            fill(&cache, &read_set, plan as u64, n, bytes, values);
            if n % 7 == 0 {
                // Writes drop some, and fill the ring.
                let row: Row = [Value::Int(n - 50), Value::Int(n - 50), Value::Text("y".repeat(500))].into();
                let change = Change {
                    relation: RelationId(if n % 1001 == 0 { 0 } else { 9 }),
                    kind: ChangeKind::Insert,
                    before: None,
                    after: Some(row),
                };
                let position = Position {
                    store: 0,
                    token: n as u64 + 1,
                };
                cache.apply(
                    &schema,
                    &Changes {
                        position,
                        rows: vec![change],
                    },
                );
            }
            worst = worst.max(ALLOCATED.load(Ordering::Relaxed) - before);
        }
        let stats = cache.stats();
        let share = worst as f64 / LIMIT as f64;
        println!(
            "{name}: at most {share:.2} of the limit, {} entries, {} bytes accounted",
            stats.entries, stats.bytes
        );
        assert!(share <= 1.0, "{name}: {worst} bytes are used of {LIMIT}");
        let crowded = ["patterns", "everything"].contains(&name);
        assert!(crowded || share >= 0.4, "{name}: only {share:.2} of the memory is used");
        drop((cache, read_set));
        let left = ALLOCATED.load(Ordering::Relaxed) - before;
        assert!(left < 4096, "{name}: {left} bytes are left behind");
    }
}
