//! `to_char` of numbers: digits, groups, signs and blanks as Postgres places them.

use super::to_char::ordinal;
use mainstay_model::{Decimal, Error, Result};

/// `to_char(number, format)`
pub(super) fn number_to_char(number: &Decimal, format: &str) -> Result<String> {
    let (mut fill, mut before, mut after) = (true, Vec::new(), Vec::new());
    let (mut point, mut leading_sign, mut trailing_sign, mut brackets) = (false, false, false, false);
    let (mut minus_after, mut prefix, mut suffix) = (false, String::new(), String::new());
    let mut ordinal_case: Option<bool> = None;
    let mut rest = format;
    while let Some(ch) = rest.chars().next() {
        let upper = rest.get(..2).map(str::to_ascii_uppercase);
        let mut taken = ch.len_utf8();
        match (ch.to_ascii_uppercase(), upper.as_deref()) {
            (_, Some("FM")) => {
                fill = false;
                taken = 2;
            }
            (_, Some("MI")) => {
                minus_after = true;
                taken = 2;
            }
            (_, Some("PR")) => {
                brackets = true;
                taken = 2;
            }
            (_, Some("TH")) => {
                ordinal_case = Some(rest.starts_with('T'));
                taken = 2;
            }
            (_, Some("PL" | "SG" | "RN")) | ('V' | 'E', _) => {
                return Err(Error::unsupported(format!(
                    "the to_char pattern {} is not supported by this engine",
                    &rest[..2.min(rest.len())]
                )));
            }
            ('9' | '0' | ',' | 'G', _) if !point => before.push(if ch == 'G' || ch == 'g' { ',' } else { ch }),
            ('9' | '0', _) => after.push(ch),
            ('.' | 'D', _) if !point => point = true,
            ('S', _) => {
                if before.is_empty() && after.is_empty() {
                    leading_sign = true;
                } else {
                    trailing_sign = true;
                }
            }
            ('"', _) => {
                let inner = &rest[1..];
                let end = inner.find('"').unwrap_or(inner.len());
                if before.is_empty() && !point {
                    prefix.push_str(&inner[..end])
                } else {
                    suffix.push_str(&inner[..end])
                }
                taken = (end + 2).min(rest.len());
            }
            _ if before.is_empty() && !point => prefix.push(if ch == 'L' { ' ' } else { ch }),
            _ => suffix.push(ch),
        }
        rest = &rest[taken..];
    }
    if !number.is_finite() {
        return Ok("#".repeat(before.len() + after.len() + 1));
    }
    let rounded = number.round(after.len() as i32);
    let negative = rounded.cmp_value(&Decimal::ZERO).is_lt();
    let text = rounded.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut fraction = fraction.to_owned();
    if !fill {
        let needed = after.iter().rposition(|c| *c == '0').map_or(0, |at| at + 1);
        while fraction.len() > needed && fraction.ends_with('0') {
            fraction.pop();
        }
    }
    // A zero before the point is not shown where digits follow it.
    let followed = if fill { !after.is_empty() } else { !fraction.is_empty() };
    let whole = if whole == "0" && followed { "" } else { whole };
    let places = before.iter().filter(|c| **c != ',').count();
    let mut digits = String::new();
    if whole.len() > places {
        digits = before.iter().map(|c| if *c == ',' { ',' } else { '#' }).collect();
        if point {
            digits.push('.');
            digits.extend(after.iter().map(|_| '#'));
        }
    } else {
        let mut place = 0;
        let mut shown = false;
        let mut padded = false;
        for pattern in &before {
            if *pattern == ',' {
                digits.push_str(match (shown, fill) {
                    (true, _) => ",",
                    (false, true) => " ",
                    (false, false) => "",
                });
                continue;
            }
            padded |= *pattern == '0';
            if place + whole.len() >= places {
                digits.push_str(&whole[place + whole.len() - places..][..1]);
                shown = true;
            } else if padded {
                digits.push('0');
                shown = true;
            } else if fill {
                digits.push(' ');
            }
            place += 1;
        }
        if point {
            digits.push('.');
            digits.push_str(&fraction);
        }
    }
    let blanks = digits.len() - digits.trim_start().len();
    let (space, body) = digits.split_at(blanks);
    let mut body = body.to_owned();
    if let Some(upper) = ordinal_case
        && !negative
        && !point
    {
        body.push_str(&if upper {
            ordinal(whole).to_uppercase()
        } else {
            ordinal(whole).to_owned()
        });
    }
    let sign = match (negative, leading_sign || trailing_sign) {
        (true, _) => "-",
        (false, true) => "+",
        (false, false) => "",
    };
    let signed = if brackets {
        if negative {
            format!("{space}<{body}>")
        } else if fill {
            format!("{space} {body} ")
        } else {
            body
        }
    } else if trailing_sign {
        format!("{space}{body}{sign}")
    } else if minus_after {
        format!(
            "{space}{body}{}",
            if negative {
                "-"
            } else if fill {
                " "
            } else {
                ""
            }
        )
    } else if sign.is_empty() && fill {
        format!("{space} {body}")
    } else {
        format!("{space}{sign}{body}")
    };
    // A literal before the number stands before its blanks.
    Ok(format!("{prefix}{signed}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are PostgreSQL 15's.
    #[test]
    fn numbers_are_formatted_as_postgres_does() {
        for (number, format, expected) in [
            ("12.5", "999.99", "  12.50"),
            ("-12.5", "999.99", " -12.50"),
            ("1234567.891", "9,999,999.99", " 1,234,567.89"),
            ("12.50", "FM999.99", "12.5"),
            ("12", "FM999.00", "12.00"),
            ("7", "000", " 007"),
            ("-7", "FM000", "-007"),
            ("1234", "99", " ##"),
            ("0", "9", " 0"),
            ("0.5", "9.9", "  .5"),
            ("0.5", "0.9", " 0.5"),
            ("12", "S999", " +12"),
            ("-12", "999S", " 12-"),
            ("12.5", "$999.99", "$  12.50"),
            ("-12.5", "$999.99", "$ -12.50"),
            ("12.5", "FM$999.99", "$12.5"),
            ("12", "x999", "x  12"),
            ("1234567.5", "9,999.9", " #,###.#"),
            ("485", "999MI", "485 "),
            ("-485", "999MI", "485-"),
            ("485", "\"Good:\"999", "Good: 485"),
            ("-485", "999PR", "<485>"),
            ("0", "FM999.99", "0."),
            ("148.5", "FM999.990", "148.500"),
            ("1485", "9,99,9", " 1,48,5"),
            ("-12", "S0999", "-0012"),
            ("1", "9th", " 1st"),
        ] {
            assert_eq!(
                number_to_char(&Decimal::parse(number).unwrap(), format).unwrap(),
                expected,
                "{number} as {format}"
            );
        }
    }
}
