//! Bare limit programs: hyper answering from a map, with rusqlite inline on the same thread, and with tokio-postgres. What a
//! benchmark case is measured against; nothing here is part of the product.
//!
//! `mainstay-limits ADDRESS map BODY-FILE`: the same bytes and headers for every request.
//! `mainstay-limits ADDRESS sqlite DATABASE`: `GET /item/{id}`, `GET /list` (20 rows), `POST /item` (one row, synchronous=FULL).
//! `mainstay-limits ADDRESS postgres FOLDER`: `GET /item/{id}`, `GET /list` (20 rows with the row each refers to).

mod postgres;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::rc::Rc;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What answers.
enum Limit {
    Map(HashMap<String, Bytes>),
    Sqlite(Connection),
    Postgres(postgres::Pool),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, kind, file] = &*arguments else {
        return Err("usage: ADDRESS map|sqlite|postgres FILE".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limit = match kind.as_str() {
        "postgres" => Limit::Postgres(runtime.block_on(postgres::Pool::open(file))?),
        "map" => {
            let body = Bytes::from(std::fs::read(file)?);
            Limit::Map(HashMap::from([("/".to_owned(), body)]))
        }
        _ => {
            let connection = Connection::open(file)?;
            connection
                .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA mmap_size = 268435456;")?;
            Limit::Sqlite(connection)
        }
    };
    let limit = Rc::new(limit);
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let limit = limit.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| {
                    let limit = limit.clone();
                    async move { Ok::<_, Infallible>(answer(&limit, request).await) }
                });
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

async fn answer(limit: &Limit, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match limit {
        Limit::Map(map) => map.get("/").cloned(),
        Limit::Postgres(pool) => match request.uri().path() {
            "/list" => pool.list().await.ok(),
            path => pool.item(path.rsplit('/').next().unwrap_or_default()).await,
        },
        Limit::Sqlite(connection) => {
            let (parts, body) = request.into_parts();
            match (&parts.method, parts.uri.path()) {
                (&Method::POST, _) => match body.collect().await {
                    Ok(body) => insert(connection, &body.to_bytes()),
                    Err(_) => None,
                },
                (_, "/list") => list(connection),
                (_, path) => item(connection, path.rsplit('/').next().unwrap_or_default()),
            }
        }
    };
    let mut response = Response::new(Full::new(body.clone().unwrap_or_default()));
    if body.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(
        VARY,
        HeaderValue::from_static("Authorization, apikey, Accept, Accept-Profile, Prefer, Range"),
    );
    headers.insert(ETAG, HeaderValue::from_static("\"0123456789abcdef\""));
    headers.insert("cache-status", HeaderValue::from_static("mainstay; hit"));
    headers.insert("content-range", HeaderValue::from_static("0-0/*"));
    response
}

/// One row as JSON, built in Rust.
fn write_row(row: &rusqlite::Row<'_>, out: &mut String) -> rusqlite::Result<()> {
    let id: i64 = row.get(0)?;
    let name = row.get_ref(1)?.as_str()?;
    let note = row.get_ref(2)?.as_str()?;
    let price: i64 = row.get(3)?;
    let stock: i64 = row.get(4)?;
    let _ = write!(out, "{{\"id\":{id},\"name\":");
    write_text(name, out);
    out.push_str(",\"note\":");
    write_text(note, out);
    let _ = write!(out, ",\"price\":{}.{:02},\"stock\":{stock}}}", price / 100, price % 100);
    Ok(())
}

pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn item(connection: &Connection, id: &str) -> Option<Bytes> {
    let id: i64 = id.parse().ok()?;
    let mut statement = connection
        .prepare_cached("SELECT id, name, note, price, stock FROM item WHERE id = ?")
        .ok()?;
    let mut rows = statement.query([id]).ok()?;
    let mut out = String::with_capacity(256);
    write_row(rows.next().ok()??, &mut out).ok()?;
    Some(out.into())
}

fn list(connection: &Connection) -> Option<Bytes> {
    let sql = "SELECT id, name, note, price, stock FROM item WHERE id >= ? ORDER BY id LIMIT 20";
    let mut statement = connection.prepare_cached(sql).ok()?;
    let mut rows = statement.query([100]).ok()?;
    let mut out = String::with_capacity(4096);
    out.push('[');
    while let Some(row) = rows.next().ok()? {
        if out.len() > 1 {
            out.push(',');
        }
        write_row(row, &mut out).ok()?;
    }
    out.push(']');
    Some(out.into())
}

fn insert(connection: &Connection, body: &[u8]) -> Option<Bytes> {
    let row: serde_json::Value = serde_json::from_slice(body).ok()?;
    let sql = "INSERT INTO item (name, note, price, stock) VALUES (?, ?, ?, ?)";
    let price = (row["price"].as_f64()? * 100.0).round() as i64;
    let mut statement = connection.prepare_cached(sql).ok()?;
    statement
        .execute(params![
            row["name"].as_str()?,
            row["note"].as_str()?,
            price,
            row["stock"].as_i64()?
        ])
        .ok()?;
    Some(Bytes::new())
}
