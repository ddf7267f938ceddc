//! Set-returning functions as JSON arrays, which `json_each` goes through: so they may refer to their neighbours in FROM.

use super::json::{each_element, each_member, listed, text_of};
use super::number::decimal;
use super::{Args, PURE, json_strings, lenient, strict};
use mainstay_model::{Error, Result, time};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use std::borrow::Cow;

/// A series has at most so many members (54000): it is made at once.
const MEMBERS_MAX: usize = 1_000_000;

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    strict(c, "mainstay_json_elements", 2, |args| {
        let items = each_element(args.text(0)?, args.text(1)?, "array_elements")?;
        Ok(listed(items.into_iter().map(|raw| Some(Cow::Borrowed(raw)))))
    })?;
    strict(c, "mainstay_json_elements_text", 2, |args| {
        Ok(listed(
            each_element(args.text(0)?, args.text(1)?, "array_elements_text")?
                .into_iter()
                .map(text_of),
        ))
    })?;
    strict(c, "mainstay_json_keys", 2, |args| {
        Ok(listed(
            each_member(args.text(0)?, args.text(1)?, "object_keys")?
                .into_iter()
                .map(|(key, _)| Some(key)),
        ))
    })?;
    for (name, as_text) in [("mainstay_json_each", false), ("mainstay_json_each_text", true)] {
        strict(c, name, 2, move |args| {
            let mut pairs = Vec::new();
            for (key, raw) in each_member(args.text(0)?, args.text(1)?, if as_text { "each_text" } else { "each" })? {
                let value = if as_text {
                    text_of(raw)
                } else {
                    Some(Cow::Borrowed(raw))
                };
                pairs.push(json_strings([Some(key), value]));
            }
            Ok(Sql::Text(format!("[{}]", pairs.join(","))))
        })?;
    }
    lenient(c, "mainstay_series_int", -1, PURE, |args| {
        let Some((first, last, step)) = three(args)? else {
            return Ok(Sql::Null);
        };
        numbers(first, last, step)
    })?;
    lenient(c, "mainstay_series_numeric", -1, PURE, |args| {
        if (0..args.len()).any(|at| args.is_null(at)) {
            return Ok(Sql::Null);
        }
        let (mut at, last) = (decimal(args, 0)?, decimal(args, 1)?);
        let step = if args.len() > 2 {
            decimal(args, 2)?
        } else {
            mainstay_model::Decimal::ONE
        };
        if step.is_zero() {
            return Err(zero_step());
        }
        if !at.is_finite() || !last.is_finite() || !step.is_finite() {
            return Err(Error::new("22023", "start value cannot be NaN or infinity"));
        }
        let up = step.cmp_value(&mainstay_model::Decimal::ZERO).is_gt();
        let mut out = Vec::new();
        while if up {
            at.cmp_value(&last).is_le()
        } else {
            at.cmp_value(&last).is_ge()
        } {
            out.push(Some(Cow::Owned(at.to_string())));
            if out.len() > MEMBERS_MAX {
                return Err(too_many());
            }
            at = at.add(&step)?;
        }
        Ok(listed(out))
    })?;
    for (name, unit) in [
        ("mainstay_series_timestamp", 1i64),
        ("mainstay_series_date", 86_400_000_000),
    ] {
        lenient(c, name, -1, PURE, move |args| {
            if (0..args.len()).any(|at| args.is_null(at)) {
                return Ok(Sql::Null);
            }
            if args.len() < 3 {
                return Err(Error::new("42883", "generate_series of timestamps needs a step"));
            }
            let scaled = |at: usize| {
                args.int(at)?
                    .checked_mul(unit)
                    .ok_or_else(|| Error::new("22008", "timestamp out of range"))
            };
            let (mut at, last) = (scaled(0)?, scaled(1)?);
            let step = time::parse_interval(args.text(2)?)?;
            let direction = time::interval_cmp(step, (0, 0, 0));
            if direction.is_eq() {
                return Err(zero_step());
            }
            let mut out = String::from("[");
            let mut count = 0;
            while if direction.is_gt() { at <= last } else { at >= last } {
                if count > 0 {
                    out.push(',');
                }
                out.push_str(&at.to_string());
                count += 1;
                if count > MEMBERS_MAX {
                    return Err(too_many());
                }
                at = time::timestamp_add(at, step)?;
            }
            out.push(']');
            Ok(Sql::Text(out))
        })?;
    }
    Ok(())
}

fn zero_step() -> Error {
    Error::new("22023", "step size cannot equal zero")
}

fn too_many() -> Error {
    Error::new(
        "54000",
        format!("a series has at most {MEMBERS_MAX} members on this engine"),
    )
}

fn three(args: &Args<'_, '_>) -> Result<Option<(i64, i64, i64)>> {
    if (0..args.len()).any(|at| args.is_null(at)) {
        return Ok(None);
    }
    Ok(Some((
        args.int(0)?,
        args.int(1)?,
        if args.len() > 2 { args.int(2)? } else { 1 },
    )))
}

fn numbers(first: i64, last: i64, step: i64) -> Result<Sql> {
    if step == 0 {
        return Err(zero_step());
    }
    let mut out = String::from("[");
    let (mut at, mut count) = (first, 0);
    while if step > 0 { at <= last } else { at >= last } {
        if count > 0 {
            out.push(',');
        }
        out.push_str(&at.to_string());
        count += 1;
        if count > MEMBERS_MAX {
            return Err(too_many());
        }
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    out.push(']');
    Ok(Sql::Text(out))
}
