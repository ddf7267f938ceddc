//! What understanding a request costs, from its target to the authorised plan and back to the head of the answer, over a store that
//! answers nothing at once. `cargo xtask bench parse` runs it; it prints a table.

use bytes::Bytes;
use http::Request;
use mainstay_model::{Committed, Error, Fence, Identity, OutboxRecord, Position, Representation, Result, Transaction};
use mainstay_query::Engine;
use mainstay_rest::{Rest, RestConfig};
use mainstay_store::{Answer, BoxFuture, Capabilities, CommitListener, Load, LoadFailure, Loaded, Read, Store};
use std::sync::Arc;

/// The binary's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCHEMA: &str = "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, note text NOT NULL, price numeric(10,2) NOT NULL, \
     stock integer NOT NULL, made timestamptz NOT NULL); GRANT SELECT ON item TO anon;";

/// Requests of a round. Fewer than the plans that an engine keeps.
const REQUESTS: usize = 4000;
const ROUNDS: usize = 9;

/// Answers every read with no rows.
struct Nothing(Capabilities);

impl Store for Nothing {
    fn name(&self) -> &str {
        "main"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async {
            Ok(Answer {
                body: Bytes::from_static(b"[]"),
                rows: 0,
                total: None,
                fence: Fence::UpTo(self.position()),
                response: None,
            })
        })
    }

    fn write_as<'a>(
        &'a self,
        _: &'a Transaction,
        _: &'a Identity,
        _: &'a [Arc<dyn Representation>],
    ) -> BoxFuture<'a, Result<Committed>> {
        Box::pin(async { Err(Error::unsupported("it holds nothing")) })
    }

    fn outbox(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<OutboxRecord>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn confirm(&self, _: u64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn load<'a>(
        &'a self,
        _: Vec<Load>,
        _: &'a [(Arc<str>, i64)],
    ) -> BoxFuture<'a, std::result::Result<Vec<Loaded>, LoadFailure>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn listen(&self, _: Arc<dyn CommitListener>) {}

    fn position(&self) -> Position {
        Position { store: 0, token: 0 }
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// `native`: the store decides about privileges and policies itself, as PostgreSQL does.
fn rest(native: bool) -> std::result::Result<Rest, String> {
    let reading = mainstay_schema::read(&[mainstay_schema::Source {
        file: "schema.sql".into(),
        text: SCHEMA.to_owned(),
        store: "main".into(),
        service: None,
    }]);
    if let Some(problem) = reading.problems.first() {
        return Err(problem.message.clone());
    }
    let store = Arc::new(Nothing(Capabilities {
        engine: "nothing".to_owned(),
        store: 0,
        before_images: false,
        multi_row_transactions: true,
        change_feed: false,
        native_policies: native,
        single_process: false,
        full_text: true,
        postgres_types: true,
    }));
    let engine = Engine::new(Arc::new(reading.schema), vec![store], None);
    Ok(Rest::new(engine, RestConfig::default()))
}

/// Five filters and a page; `shape` chooses their operators, another combination for each number below 7776.
fn target(shape: usize, value: usize) -> String {
    let operators = ["eq", "neq", "gt", "gte", "lt", "lte"];
    let mut rest = shape;
    let mut operator = || {
        let found = operators[rest % 6];
        rest /= 6;
        found
    };
    let (a, b, c, d, e) = (operator(), operator(), operator(), operator(), operator());
    format!(
        "/rest/v1/item?select=id,name,price&id={a}.{value}&name={b}.chair&stock={c}.{value}&price={d}.12.50&made={e}.2024-05-01&order=id&limit=20"
    )
}

/// CPU time of this thread so far, in microseconds, by the scheduler: what else runs on the core is not in it.
fn cpu_us() -> std::result::Result<f64, String> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").map_err(|e| e.to_string())?;
    let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    nanoseconds.map(|n| n / 1e3).ok_or_else(|| "no schedstat".to_owned())
}

/// CPU-microseconds for each of the requests.
fn time(
    runtime: &tokio::runtime::Runtime,
    rest: &Rest,
    targets: &dyn Fn(usize) -> String,
) -> std::result::Result<f64, String> {
    let requests: Vec<_> = (0..REQUESTS)
        .map(|n| {
            Request::get(targets(n))
                .header("accept", "application/json")
                .body(Bytes::new())
        })
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let began = cpu_us()?;
        for request in requests {
            let response = rest.handle(request).await;
            if !response.status().is_success() {
                return Err(format!("{}: {:?}", response.status(), response.body()));
            }
        }
        Ok((cpu_us()? - began) / REQUESTS as f64)
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> std::result::Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| e.to_string())?;
    println!(
        "| Request with five filters, an order and a page | CPU-µs from target to head | of which understanding it |"
    );
    println!("|---|---|---|");
    for (native, engine) in [(true, "the database authorises"), (false, "authorised here")] {
        let (mut new, mut values, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            // A dialect that has seen nothing yet.
            let rest = rest(native)?;
            let mut times = [0.0; 3];
            times[0] = time(&runtime, &rest, &|n| target(n, 7))?;
            times[1] = time(&runtime, &rest, &|n| target(0, n))?;
            times[2] = time(&runtime, &rest, &|_| target(0, 7))?;
            if round > 0 {
                for (all, time) in [&mut new, &mut values, &mut seen].into_iter().zip(times) {
                    all.push(time);
                }
            }
        }
        let (new, values, seen) = (median(new), median(values), median(seen));
        println!("| {engine}: seen before | {seen:.2} | – |");
        println!(
            "| {engine}: seen before with other values | {values:.2} | {:.2} |",
            (values - seen).max(0.0)
        );
        println!("| {engine}: of a shape that is new | {new:.2} | {:.2} |", new - seen);
    }
    Ok(())
}
