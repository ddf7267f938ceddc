//! Dates and times against what PostgreSQL 15 answered.

use super::*;
use crate::value::golden::{assert_no_differences, compare, error_row, rows, type_named};
use crate::{Result, Type, Value};
use proptest::prelude::*;

fn printed(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn answer(row: &[String]) -> Result<Option<String>> {
    let argument = |index: usize| row[index].as_str();
    let timestamp = |index: usize| parse_timestamp(argument(index)).unwrap();
    let interval = |index: usize| parse_interval(argument(index)).unwrap();
    let number = |index: usize| argument(index).parse::<f64>().unwrap();
    let show_timestamp = |micros| printed(|out| write_timestamp(micros, out));
    let show_interval = |interval| printed(|out| write_interval(interval, out));
    Ok(Some(match argument(0) {
        "add" => show_timestamp(timestamp_add(timestamp(1), interval(2))?),
        "sub" => show_timestamp(timestamp_sub(timestamp(1), interval(2))?),
        "diff" => show_interval(timestamp_diff(timestamp(1), timestamp(2))?),
        "age" => show_interval(age(timestamp(1), timestamp(2))?),
        "interval_mul" => show_interval(interval_mul(interval(1), number(2))?),
        "interval_div" => show_interval(interval_div(interval(1), number(2))?),
        "interval_cmp" => (interval_cmp(interval(1), interval(2)) as i8).to_string(),
        "time_add" => printed(|out| write_time(time_add(parse_time(argument(1)).unwrap(), interval(2)), out)),
        "date_add" => {
            let days = date_add(parse_date(argument(1)).unwrap(), argument(2).parse().unwrap())?;
            printed(|out| write_date(days, out))
        }
        "extract" => {
            let ty = type_named(argument(2));
            return Ok(
                extract(argument(1), &Value::parse(argument(3), &ty).unwrap(), &ty)?.map(|number| number.to_string())
            );
        }
        "date_trunc" => {
            let ty = type_named(argument(2));
            let result = if ty == Type::Date {
                Type::TimestampTz
            } else {
                ty.clone()
            };
            date_trunc(argument(1), &Value::parse(argument(3), &ty).unwrap(), &ty)?.to_text(&result)
        }
        other => panic!("no operation {other}"),
    }))
}

#[test]
fn arithmetic_is_that_of_postgres() {
    let mut differences = Vec::new();
    for row in rows(include_str!("../golden/time.jsonl")) {
        let asked = row
            .iter()
            .position(|cell| matches!(cell.as_str(), Some("ok" | "err")))
            .unwrap();
        let arguments: Vec<String> = row[..asked]
            .iter()
            .map(|cell| cell.as_str().unwrap().to_owned())
            .collect();
        let got = match answer(&arguments) {
            Ok(text) => vec!["ok".into(), text.into()],
            Err(error) => error_row(&error),
        };
        compare(&row, asked, got, &mut differences);
    }
    assert_no_differences(differences);
}

#[test]
fn volatile_literals_are_recognised() {
    for text in ["now", " NOW ", "today", "tomorrow 12:00", "Yesterday"] {
        assert!(is_volatile_literal(text, &Type::TimestampTz), "{text}");
        assert!(is_volatile_literal(text, &Type::Date), "{text}");
        assert!(!is_volatile_literal(text, &Type::Text), "{text}");
    }
    for text in ["2024-01-31", "epoch", "infinity", "nowhere", ""] {
        assert!(!is_volatile_literal(text, &Type::TimestampTz), "{text}");
    }
    assert!(is_volatile_literal("[today,)", &Type::Other("daterange".into())));
    assert!(is_volatile_literal("{today}", &Type::Array(Box::new(Type::Date))));
}

#[test]
fn the_clock_reads_as_now() {
    let before = now();
    let read = parse_timestamptz("now").unwrap();
    assert!((before..=now()).contains(&read));
    let today = parse_date("today").unwrap();
    let tomorrow = parse_date("tomorrow").unwrap();
    assert!(tomorrow - today == 1 || parse_date("today").unwrap() > today);
}

proptest! {
    #[test]
    fn dates_survive_their_own_text(days in DAY_MIN..=DAY_MAX) {
        let (year, month, day) = civil_from_days(days);
        prop_assert_eq!(days_from_civil(year, month, day), days);
        let text = printed(|out| write_date(days as i32, out));
        prop_assert_eq!(parse_date(&text).unwrap(), days as i32);
    }

    #[test]
    fn timestamps_survive_their_own_texts(micros in TIMESTAMP_MIN..i64::MAX) {
        prop_assert_eq!(parse_timestamp(&printed(|out| write_timestamp(micros, out))).unwrap(), micros);
        prop_assert_eq!(parse_timestamptz(&printed(|out| write_timestamptz(micros, out))).unwrap(), micros);
        prop_assert_eq!(parse_timestamp(&printed(|out| write_timestamp_json(micros, out))).unwrap(), micros);
        prop_assert_eq!(parse_timestamptz(&printed(|out| write_timestamptz_json(micros, out))).unwrap(), micros);
    }

    #[test]
    fn times_survive_their_own_text(micros in 0..=MICROS_PER_DAY) {
        prop_assert_eq!(parse_time(&printed(|out| write_time(micros, out))).unwrap(), micros);
    }

    #[test]
    fn intervals_survive_their_own_text(months in any::<i32>(), days in any::<i32>(), micros in any::<i64>()) {
        let text = printed(|out| write_interval((months, days, micros), out));
        prop_assert_eq!(parse_interval(&text).unwrap(), (months, days, micros));
    }

    #[test]
    fn adding_a_difference_arrives(a in TIMESTAMP_MIN / 2..i64::MAX / 2, b in TIMESTAMP_MIN / 2..i64::MAX / 2) {
        prop_assert_eq!(timestamp_add(b, timestamp_diff(a, b).unwrap()).unwrap(), a);
    }
}
