//! Decimals against what PostgreSQL 15 answered, and against integers.

use std::cmp::Ordering;

use super::Decimal;
use proptest::prelude::*;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
}
