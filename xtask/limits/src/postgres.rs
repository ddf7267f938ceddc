//! hyper with tokio-postgres: four connections driven by the thread that answers, statements prepared once, requests pipelined, rows
//! decoded from binary and written here.

use crate::write_text;
use bytes::Bytes;
use std::cell::Cell;
use std::error::Error;
use std::fmt::Write;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, NoTls, Row, Statement};

const CONNECTIONS: usize = 4;

const ITEM: &str = "SELECT id, name, note, price, stock FROM item WHERE id = $1";
/// As Mainstay asks for it.
const LIST: &str = "SELECT t0.id, t0.name, t0.note, t0.price, t0.stock, (SELECT row_to_json(t2.*) FROM (SELECT t1.id AS id, t1.name AS name \
     FROM public.maker AS t1 WHERE t1.id = t0.maker LIMIT $1::bigint) AS t2) FROM public.item AS t0 WHERE (t0.id >= $2::bigint) \
     ORDER BY t0.id LIMIT $3::bigint";

/// The connections.
pub struct Pool {
    connections: Vec<(Client, Statement, Statement)>,
    next: Cell<usize>,
}

/// A value's bytes as they come.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Raw<'a>, Box<dyn Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Pool {
    /// Over the Unix socket in a folder.
    pub async fn open(folder: &str) -> Result<Pool, Box<dyn Error>> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(folder).user("postgres").dbname("postgres");
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            let (item, list) = (client.prepare(ITEM).await?, client.prepare(LIST).await?);
            connections.push((client, item, list));
        }
        Ok(Pool {
            connections,
            next: Cell::new(0),
        })
    }

    fn next(&self) -> &(Client, Statement, Statement) {
        let next = self.next.get();
        self.next.set(next + 1);
        &self.connections[next % CONNECTIONS]
    }

    /// One row by its key.
    pub async fn item(&self, id: &str) -> Option<Bytes> {
        let id: i64 = id.parse().ok()?;
        let (client, statement, _) = self.next();
        let row = client.query_opt(statement, &[&id]).await.ok()??;
        let mut out = String::with_capacity(256);
        write_row(&row, &mut out).ok()?;
        out.push('}');
        Some(out.into())
    }

    /// Twenty rows, each with the row it refers to.
    pub async fn list(&self) -> Result<Bytes, Box<dyn Error>> {
        let (client, _, statement) = self.next();
        let rows = client.query(statement, &[&1000i64, &100i64, &20i64]).await?;
        let mut out = String::with_capacity(4096);
        out.push('[');
        for row in &rows {
            if out.len() > 1 {
                out.push(',');
            }
            write_row(row, &mut out)?;
            let maker: Option<Raw<'_>> = row.try_get(5)?;
            out.push_str(",\"maker\":");
            out.push_str(maker.map_or(Ok("null"), |json| std::str::from_utf8(json.0))?);
            out.push('}');
        }
        out.push(']');
        Ok(out.into())
    }
}

/// The columns of a row, as JSON without the last brace.
fn write_row(row: &Row, out: &mut String) -> Result<(), Box<dyn Error>> {
    let (id, stock): (i64, i32) = (row.try_get(0)?, row.try_get(4)?);
    write!(out, "{{\"id\":{id},\"name\":")?;
    write_text(row.try_get(1)?, out);
    out.push_str(",\"note\":");
    write_text(row.try_get(2)?, out);
    let cents = cents(row.try_get::<_, Raw<'_>>(3)?.0);
    write!(out, ",\"price\":{}.{:02},\"stock\":{stock}", cents / 100, cents % 100)?;
    Ok(())
}

/// `numeric(10,2)`, not negative, in hundredths: digits of base 10,000, the first of which stands for its multiple of 10,000^weight.
fn cents(raw: &[u8]) -> i64 {
    let word = |at: usize| {
        raw.get(at..at + 2)
            .map_or(0, |w| i64::from(i16::from_be_bytes([w[0], w[1]])))
    };
    let (count, weight) = (word(0), word(2));
    let digit = |power: i64| match weight - power {
        at if (0..count).contains(&at) => word(8 + 2 * at as usize),
        _ => 0,
    };
    let whole = (0..=weight.max(0))
        .rev()
        .fold(0, |sum, power| sum * 10_000 + digit(power));
    whole * 100 + digit(-1) / 100
}
