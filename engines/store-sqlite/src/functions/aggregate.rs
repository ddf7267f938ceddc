//! Aggregates: exact sums and averages, texts and documents put together. Over no rows each is NULL, as in Postgres.

use super::json::{Json, put};
use super::number::{decimal, wide};
use super::{Args, PURE, moment::interval_key, raise};
use mainstay_model::{Decimal, Error, Result, Type, Value, time, write_json_string};
use mainstay_sql::json_text::{elements, unquote};
use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context};
use rusqlite::types::Value as Sql;
use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// An aggregate of ours: a state, what a row adds to it, and what it is in the end.
struct Fold<S> {
    /// Whether a row whose argument is NULL is passed over.
    skips_null: bool,
    step: fn(&mut S, &Args<'_, '_>) -> Result<()>,
    finish: fn(S) -> Result<Sql>,
}

impl<S: Default + UnwindSafe + RefUnwindSafe> Aggregate<Option<S>, Sql> for Fold<S> {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Option<S>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, state: &mut Option<S>) -> rusqlite::Result<()> {
        let args = Args(context);
        if self.skips_null && args.is_null(0) {
            return Ok(());
        }
        (self.step)(state.get_or_insert_default(), &args).map_err(raise)
    }

    fn finalize(&self, _: &mut Context<'_>, state: Option<Option<S>>) -> rusqlite::Result<Sql> {
        match state.flatten() {
            Some(state) => (self.finish)(state).map_err(raise),
            None => Ok(Sql::Null),
        }
    }
}

fn fold<S: Default + UnwindSafe + RefUnwindSafe + Send + 'static>(
    c: &Connection,
    name: &str,
    skips_null: bool,
    step: fn(&mut S, &Args<'_, '_>) -> Result<()>,
    finish: fn(S) -> Result<Sql>,
) -> rusqlite::Result<()> {
    c.create_aggregate_function(
        name,
        1,
        PURE,
        Fold {
            skips_null,
            step,
            finish,
        },
    )
}

/// A sum of numbers and how many there were.
struct Sum {
    total: Decimal,
    count: i64,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum {
            total: Decimal::ZERO,
            count: 0,
        }
    }
}

fn add_number(sum: &mut Sum, args: &Args<'_, '_>) -> Result<()> {
    sum.total = sum.total.add(&decimal(args, 0)?)?;
    sum.count += 1;
    Ok(())
}

#[derive(Default)]
struct Floats {
    total: f64,
    count: f64,
}

#[derive(Default)]
struct Intervals {
    total: time::Interval,
    count: i64,
    best: Option<time::Interval>,
}

fn interval(args: &Args<'_, '_>) -> Result<time::Interval> {
    time::parse_interval(args.text(0)?)
}

fn interval_text(interval: time::Interval) -> Sql {
    let mut out = Vec::new();
    time::write_interval(interval, &mut out);
    Sql::Text(String::from_utf8(out).unwrap_or_default())
}

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    fold::<Sum>(c, "mainstay_num_sum", true, add_number, |sum| Ok(wide(&sum.total)))?;
    fold::<Sum>(c, "mainstay_num_avg", true, add_number, |sum| {
        Ok(wide(&sum.total.div(&Decimal::from_i64(sum.count))?))
    })?;
    fn add_once((sum, seen): &mut (Sum, HashSet<Vec<u8>>), args: &Args<'_, '_>) -> Result<()> {
        let number = decimal(args, 0)?;
        let mut key = number.to_ordered_bytes();
        key.truncate(key.len().saturating_sub(2));
        if seen.insert(key) {
            sum.total = sum.total.add(&number)?;
            sum.count += 1;
        }
        Ok(())
    }
    type Once = (Sum, HashSet<Vec<u8>>);
    fold::<Once>(c, "mainstay_num_sum_distinct", true, add_once, |(sum, _)| {
        Ok(wide(&sum.total))
    })?;
    fold::<Once>(c, "mainstay_num_avg_distinct", true, add_once, |(sum, _)| {
        Ok(wide(&sum.total.div(&Decimal::from_i64(sum.count))?))
    })?;
    fn add_float(sum: &mut Floats, args: &Args<'_, '_>) -> Result<()> {
        let value = args.real(0)?;
        let finite = sum.total.is_finite() && value.is_finite();
        sum.total += value;
        sum.count += 1.0;
        if sum.total.is_infinite() && finite {
            return Err(Error::new("22003", "value out of range: overflow"));
        }
        Ok(())
    }
    fold::<Floats>(c, "mainstay_float_sum", true, add_float, |sum| Ok(Sql::Real(sum.total)))?;
    fold::<Floats>(c, "mainstay_float_avg", true, add_float, |sum| {
        Ok(Sql::Real(sum.total / sum.count))
    })?;
    fold::<Floats>(
        c,
        "mainstay_float4_sum",
        true,
        |sum, args| {
            sum.total = f64::from((sum.total as f32) + (args.real(0)? as f32));
            Ok(())
        },
        |sum| Ok(Sql::Real(sum.total)),
    )?;
    fn add_interval(sum: &mut Intervals, args: &Args<'_, '_>) -> Result<()> {
        sum.total = time::interval_add(sum.total, interval(args)?)?;
        sum.count += 1;
        Ok(())
    }
    fold::<Intervals>(c, "mainstay_interval_sum", true, add_interval, |sum| {
        Ok(interval_text(sum.total))
    })?;
    fold::<Intervals>(c, "mainstay_interval_avg", true, add_interval, |sum| {
        Ok(interval_text(time::interval_div(sum.total, sum.count as f64)?))
    })?;
    fold::<Intervals>(
        c,
        "mainstay_interval_min",
        true,
        |sum, args| {
            let value = interval(args)?;
            if sum.best.is_none_or(|best| interval_key(value) < interval_key(best)) {
                sum.best = Some(value);
            }
            Ok(())
        },
        |sum| Ok(sum.best.map_or(Sql::Null, interval_text)),
    )?;
    fold::<Intervals>(
        c,
        "mainstay_interval_max",
        true,
        |sum, args| {
            let value = interval(args)?;
            if sum.best.is_none_or(|best| interval_key(value) > interval_key(best)) {
                sum.best = Some(value);
            }
            Ok(())
        },
        |sum| Ok(sum.best.map_or(Sql::Null, interval_text)),
    )?;
    // A subquery used as a value: the second row is one too many.
    fold::<Option<Sql>>(
        c,
        "mainstay_single",
        false,
        |only, args| {
            if only.is_some() {
                return Err(Error::new(
                    "21000",
                    "more than one row returned by a subquery used as an expression",
                ));
            }
            *only = Some(super::sql(args.stored(0)?));
            Ok(())
        },
        |only| Ok(only.unwrap_or(Sql::Null)),
    )?;
    // Each argument is a JSON array of the value and the delimiter that stands before it.
    fold::<Option<String>>(
        c,
        "mainstay_string_agg",
        true,
        |text, args| {
            let pair = elements(args.text(0)?).unwrap_or_default();
            let part = |at: usize| pair.get(at).and_then(|raw| unquote(raw)).unwrap_or(Cow::Borrowed(""));
            match text {
                Some(text) => {
                    text.push_str(&part(1));
                    text.push_str(&part(0));
                }
                None => *text = Some(part(0).into_owned()),
            }
            Ok(())
        },
        |text| Ok(text.map_or(Sql::Null, Sql::Text)),
    )?;
    fold::<Vec<u8>>(
        c,
        "mainstay_array_agg",
        false,
        |out, args| join(out, args, b","),
        close_array,
    )?;
    fold::<Vec<u8>>(
        c,
        "mainstay_json_agg",
        false,
        |out, args| join(out, args, b", "),
        close_array,
    )?;
    fold::<Vec<u8>>(
        c,
        "mainstay_json_agg_rows",
        false,
        |out, args| join(out, args, b", \n "),
        close_array,
    )?;
    fold::<Vec<u8>>(
        c,
        "mainstay_json_object_agg",
        false,
        |out, args| {
            let (key, value) = pair(args)?;
            out.extend_from_slice(if out.is_empty() { b"{ " } else { b", " });
            write_json_string(&key, out);
            out.extend_from_slice(b" : ");
            out.extend_from_slice(value.as_bytes());
            Ok(())
        },
        |mut out| {
            out.extend_from_slice(b" }");
            Ok(Sql::Text(String::from_utf8(out).unwrap_or_default()))
        },
    )?;
    fold::<Vec<(String, Json)>>(
        c,
        "mainstay_jsonb_object_agg",
        false,
        |fields, args| {
            let (key, value) = pair(args)?;
            put(fields, key, Json::parse(&value)?);
            Ok(())
        },
        |fields| match Value::Text(Json::Object(fields).write()).cast(&Type::Json, &Type::Jsonb)? {
            Value::Text(text) => Ok(Sql::Text(text)),
            _ => Err(Error::internal("a document is no text")),
        },
    )
}

/// Adds a JSON text to an array under construction.
fn join(out: &mut Vec<u8>, args: &Args<'_, '_>, separator: &[u8]) -> Result<()> {
    if out.is_empty() {
        out.push(b'[');
    } else {
        out.extend_from_slice(separator);
    }
    out.extend_from_slice(args.text(0)?.as_bytes());
    Ok(())
}

fn close_array(mut out: Vec<u8>) -> Result<Sql> {
    out.push(b']');
    Ok(Sql::Text(String::from_utf8(out).unwrap_or_default()))
}

/// The key and the value of `json_object_agg`: a JSON array of the key's text and the value's JSON text.
fn pair(args: &Args<'_, '_>) -> Result<(String, String)> {
    let parts = elements(args.text(0)?).unwrap_or_default();
    let (Some(key), Some(value)) = (parts.first(), parts.get(1)) else {
        return Err(Error::internal("json_object_agg got no pair"));
    };
    let key = unquote(key).ok_or_else(|| Error::new("22004", "field name must not be null"))?;
    Ok((
        key.into_owned(),
        unquote(value).unwrap_or(Cow::Borrowed("null")).into_owned(),
    ))
}
