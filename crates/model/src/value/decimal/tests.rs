//! Decimals against what PostgreSQL 15 answered, and against integers.

use std::cmp::Ordering;

use super::{Decimal, Repr};
use crate::Result;
use crate::value::golden::{assert_no_differences, compare, error_row, rows};
use proptest::prelude::*;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
}

fn answer(op: &str, a: &Decimal, b: &str) -> Result<String> {
    let other = || decimal(b);
    let number = || b.parse::<i32>().unwrap();
    Ok(match op {
        "add" => a.add(&other())?.to_string(),
        "sub" => a.sub(&other())?.to_string(),
        "mul" => a.mul(&other())?.to_string(),
        "div" => a.div(&other())?.to_string(),
        "rem" => a.rem(&other())?.to_string(),
        "div_trunc" => a.div_trunc(&other())?.to_string(),
        "cmp" => (a.cmp_value(&other()) as i8).to_string(),
        "round" => a.round(number()).to_string(),
        "trunc" => a.trunc(number()).to_string(),
        "power" => a.power(number())?.to_string(),
        "floor" => a.floor().to_string(),
        "ceil" => a.ceil().to_string(),
        "sign" => a.sign().to_string(),
        "abs" => a.abs().to_string(),
        "trim_scale" => a.trim_scale().to_string(),
        "fit" => {
            let (precision, scale) = b.split_once(',').unwrap();
            a.fit(precision.parse().unwrap(), scale.parse().unwrap())?.to_string()
        }
        "to_i64" => crate::Value::Numeric(a.clone())
            .fit(&crate::Type::Int8)?
            .to_text(&crate::Type::Int8),
        "to_f64" => crate::Value::Float(a.to_f64()).to_text(&crate::Type::Float8),
        other => panic!("no operation {other}"),
    })
}

#[test]
fn arithmetic_is_that_of_postgres() {
    let mut differences = Vec::new();
    for row in rows(include_str!("../golden/decimal.jsonl")) {
        let (op, a, b) = (
            row[0].as_str().unwrap(),
            row[1].as_str().unwrap(),
            row[2].as_str().unwrap(),
        );
        let got = match answer(op, &decimal(a), b) {
            Ok(text) => vec!["ok".into(), text.into()],
            Err(error) => error_row(&error),
        };
        compare(&row, 3, got, &mut differences);
    }
    assert_no_differences(differences);
}

#[test]
fn limits_of_the_format() {
    assert_eq!(decimal("1e131071").to_string().len(), 131_072);
    assert_eq!(Decimal::parse("1e131072"), None);
    assert_eq!(decimal("1e-16383").scale(), 16_383);
    assert_eq!(Decimal::parse("1e-16384"), None);
    let huge = decimal("1e131071");
    assert_eq!(huge.mul(&decimal("10")).unwrap_err().code, "22003");
    assert_eq!(huge.add(&huge.mul(&decimal("9")).unwrap()).unwrap_err().code, "22003");
    let fine = decimal("1e-16383");
    assert!(fine.mul(&decimal("0.1")).unwrap().is_zero());
}

#[test]
fn one_representation_for_each_value_and_scale() {
    assert_eq!(decimal("-0.00"), decimal("0.00"));
    assert_ne!(decimal("1.0"), decimal("1.00"));
    let long = decimal("99999999999999999999999999999999999999.9");
    assert!(matches!(long.0, Repr::Big(_)));
    assert!(matches!(long.sub(&long).unwrap().0, Repr::Small(0, 1)));
    assert_eq!(long.trunc(0), decimal("99999999999999999999999999999999999999"));
}

#[test]
fn floats_become_their_shortest_or_their_cast_digits() {
    for (value, shortest, cast) in [
        (0.1, "0.1", "0.1"),
        (0.1 + 0.2, "0.30000000000000004", "0.3"),
        (1e20, "100000000000000000000", "100000000000000000000"),
        (-2.5e-7, "-0.00000025", "-0.00000025"),
        (42.0, "42", "42"),
        (f64::NAN, "NaN", "NaN"),
        (f64::NEG_INFINITY, "-Infinity", "-Infinity"),
    ] {
        assert_eq!(Decimal::from_f64_shortest(value).to_string(), shortest);
        assert_eq!(Decimal::from_float_cast(value, 15).to_string(), cast);
    }
}

#[test]
fn scaled_integers() {
    assert_eq!(Decimal::from_scaled(-5, 3).to_string(), "-0.005");
    assert_eq!(decimal("1.255").to_scaled(2), Some(126));
    assert_eq!(decimal("-1.255").to_scaled(2), Some(-126));
    assert_eq!(decimal("1.255").to_scaled_exact(2), None);
    assert_eq!(decimal("1.250").to_scaled_exact(2), Some(125));
    assert_eq!(decimal("92233720368547758.07").to_scaled(2), Some(i64::MAX));
    assert_eq!(decimal("92233720368547758.08").to_scaled(2), None);
    assert_eq!(Decimal::NAN.to_scaled(0), None);
}

/// Digits with a point somewhere, long enough to leave the integers behind.
fn any_decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        "-?[0-9]{1,20}(\\.[0-9]{1,20})?".prop_map(|text| decimal(&text)),
        "-?[0-9]{30,60}(\\.[0-9]{1,60})?".prop_map(|text| decimal(&text)),
        "-?0\\.0{0,20}[0-9]{1,5}".prop_map(|text| decimal(&text)),
        "-?[0-9]{1,3}(0{9}){0,4}(\\.0{1,12})?".prop_map(|text| decimal(&text)),
        Just(Decimal::NAN),
        Just(Decimal::INFINITY),
        Just(Decimal::NEGATIVE_INFINITY),
    ]
}

proptest! {
    #[test]
    fn agrees_with_integers(a in -(1i128 << 62)..1i128 << 62, b in -(1i128 << 62)..1i128 << 62, s in 0u16..9) {
        let (x, y) = (Decimal::from_scaled(a as i64, s), Decimal::from_scaled(b as i64, s));
        prop_assert_eq!(x.add(&y).unwrap(), Decimal(Repr::Small(a + b, s)));
        prop_assert_eq!(x.sub(&y).unwrap(), Decimal(Repr::Small(a - b, s)));
        prop_assert_eq!(x.mul(&y).unwrap().to_string(), decimal(&format!("{}e-{}", a * b, 2 * s)).to_string());
        prop_assert_eq!(x.cmp_value(&y), a.cmp(&b));
        if b != 0 {
            prop_assert_eq!(x.rem(&y).unwrap(), Decimal(Repr::Small(a % b, s)));
            prop_assert_eq!(x.div_trunc(&y).unwrap(), Decimal(Repr::Small(a / b, 0)));
        }
    }

    #[test]
    fn long_division_is_undone_by_multiplication(a in "[1-9][0-9]{0,200}", b in "[1-9][0-9]{0,100}") {
        let (a, b) = (decimal(&a), decimal(&b));
        let (quotient, rest) = (a.div_trunc(&b).unwrap(), a.rem(&b).unwrap());
        prop_assert_eq!(rest.cmp_value(&b), Ordering::Less);
        prop_assert_eq!(quotient.mul(&b).unwrap().add(&rest).unwrap(), a);
    }

    #[test]
    fn text_round_trips(a in any_decimal()) {
        prop_assert_eq!(decimal(&a.to_string()), a);
    }

    #[test]
    fn bytes_sort_as_numbers_do(a in any_decimal(), b in any_decimal(), places in 0i32..4) {
        let bytes = a.to_ordered_bytes();
        prop_assert_eq!(Decimal::from_ordered_bytes(&bytes).unwrap(), a.clone());
        let by_value = a.cmp_value(&b).then(a.scale().cmp(&b.scale()));
        prop_assert_eq!(bytes.cmp(&b.to_ordered_bytes()), by_value);
        let padded = a.round(i32::from(a.scale()) + places);
        prop_assert_eq!(padded.cmp_value(&a), Ordering::Equal);
        let (low, high) = a.ordered_bounds();
        prop_assert!((low..=high).contains(&padded.to_ordered_bytes()));
    }

    #[test]
    fn foreign_bytes_are_refused_or_kept(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
        if let Some(read) = Decimal::from_ordered_bytes(&bytes) {
            prop_assert_eq!(read.to_ordered_bytes(), bytes);
        }
    }

    #[test]
    fn order_is_that_of_the_difference(a in any_decimal(), b in any_decimal()) {
        prop_assume!(a.is_finite() && b.is_finite());
        let sign = a.sub(&b).unwrap().sign().to_i64().unwrap();
        prop_assert_eq!(a.cmp_value(&b), sign.cmp(&0));
        prop_assert_eq!(b.cmp_value(&a), 0.cmp(&sign));
    }

    #[test]
    fn rounding_is_within_half_a_unit(a in any_decimal(), digits in -10i32..10) {
        prop_assume!(a.is_finite());
        let unit = decimal(&format!("1e{}", -digits));
        let error = a.sub(&a.round(digits)).unwrap().abs();
        prop_assert!(error.add(&error).unwrap().cmp_value(&unit).is_le());
        prop_assert!(a.trunc(digits).abs().cmp_value(&a.abs()).is_le());
        prop_assert!(a.floor().cmp_value(&a).is_le() && a.ceil().cmp_value(&a).is_ge());
    }
}
