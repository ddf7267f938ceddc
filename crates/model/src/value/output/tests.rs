//! JSON strings byte by byte, and what a borrowed value shares with an owned one. How each type prints is in the table that input
//! is tested with.

use crate::{Type, Value, ValueRef, write_json_string};
use proptest::prelude::*;

fn json(text: &str) -> String {
    let mut out = Vec::new();
    write_json_string(text, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn strings_are_escaped_as_escape_json_does() {
    for (text, expected) in [
        ("", "\"\""),
        (
            "plain text longer than eight bytes",
            "\"plain text longer than eight bytes\"",
        ),
        ("\u{8}\u{c}\n\r\t", "\"\\b\\f\\n\\r\\t\""),
        ("a\"b\\c/d", "\"a\\\"b\\\\c/d\""),
        ("\u{1}\u{1f}\u{7f}", "\"\\u0001\\u001f\u{7f}\""),
        ("é漢😀\u{2028}", "\"é漢😀\u{2028}\""),
    ] {
        assert_eq!(json(text), expected);
    }
}

#[test]
fn borrowed_and_owned_print_alike() {
    let price = Type::Numeric(Some((10, 2)));
    for (borrowed, ty, expected) in [
        (ValueRef::Scaled(-5, 2), &price, "-0.05"),
        (ValueRef::Scaled(100, 2), &price, "1.00"),
        (ValueRef::Scaled(i64::MIN, 0), &price, "-9223372036854775808"),
        (ValueRef::NumericText("1.500"), &price, "1.500"),
        (ValueRef::NumericText("NaN"), &price, "\"NaN\""),
        (ValueRef::Float(f64::NAN), &Type::Float8, "\"NaN\""),
        (ValueRef::Float(f64::from(1.1f32)), &Type::Float4, "1.1"),
        (ValueRef::Null, &Type::Text, "null"),
    ] {
        let mut out = Vec::new();
        borrowed.write_json(ty, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(borrowed.to_owned().to_json_text(ty), expected);
    }
}

#[test]
fn a_cast_to_text_differs_from_output_in_two_types() {
    assert_eq!(Value::Bool(true).to_text(&Type::Bool), "t");
    assert_eq!(Value::Bool(false).to_cast_text(&Type::Bool), "false");
    let padded = Value::Text("ab   ".to_owned());
    assert_eq!(padded.to_text(&Type::Char(5)), "ab   ");
    assert_eq!(padded.to_cast_text(&Type::Char(5)), "ab");
    assert_eq!(ValueRef::Owned(&padded).to_owned(), padded);
}

proptest! {
    #[test]
    fn any_string_reads_back(text in any::<String>()) {
        prop_assert_eq!(serde_json::from_str::<String>(&json(&text)).unwrap(), text);
    }

    #[test]
    fn floats_read_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(!value.is_nan());
        let read = Value::parse(&Value::Float(value).to_text(&Type::Float8), &Type::Float8).unwrap();
        prop_assert_eq!(read, Value::Float(value));
        let single = f64::from(f32::from_bits(bits as u32));
        prop_assume!(!single.is_nan());
        let read = Value::parse(&Value::Float(single).to_text(&Type::Float4), &Type::Float4).unwrap();
        prop_assert_eq!(read, Value::Float(single));
    }

    #[test]
    fn large_integers_as_floats_read_back(mantissa in 1u64..1000, exponent in 0i32..25) {
        let value = format!("{mantissa}e{exponent}").parse::<f64>().unwrap();
        let read = Value::parse(&Value::Float(value).to_text(&Type::Float8), &Type::Float8).unwrap();
        prop_assert_eq!(read, Value::Float(value));
    }
}
