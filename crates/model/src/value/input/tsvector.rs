//! `tsvector` literals: lexemes sorted and without duplicates, their positions merged.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Positions above this are kept as this.
const POSITION_MAX: u32 = 16_383;

/// Reads a `tsvector` literal and gives the text Postgres prints for it. Errors: 42601.
pub(super) fn normalize(text: &str) -> Result<String> {
    let refused = || Error::new("42601", format!("syntax error in tsvector: \"{text}\""));
    let no_escaped = || Error::new("42601", format!("there is no escaped character: \"{text}\""));
    // Lexeme → position → weight (0 is D, 3 is A).
    let mut lexemes: BTreeMap<String, BTreeMap<u32, u8>> = BTreeMap::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = chars.peek().copied() else {
            break;
        };
        let mut lexeme = String::new();
        if first == '\'' {
            chars.next();
            loop {
                match chars.next().ok_or_else(refused)? {
                    '\'' if chars.next_if_eq(&'\'').is_some() => lexeme.push('\''),
                    '\'' => break,
                    '\\' => lexeme.push(chars.next().ok_or_else(no_escaped)?),
                    c => lexeme.push(c),
                }
            }
        } else {
            // A colon only ends a lexeme; it may begin one.
            while let Some(c) = chars.next_if(|c| !c.is_whitespace() && (*c != ':' || lexeme.is_empty())) {
                lexeme.push(if c == '\\' {
                    chars.next().ok_or_else(no_escaped)?
                } else {
                    c
                });
            }
        }
        if lexeme.is_empty() {
            return Err(refused());
        }
        let positions = lexemes.entry(lexeme).or_default();
        if chars.next_if_eq(&':').is_none() {
            continue;
        }
        loop {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            if digits.is_empty() {
                return Err(refused());
            }
            let position = digits.parse().unwrap_or(POSITION_MAX).min(POSITION_MAX);
            if position == 0 {
                return Err(Error::new(
                    "42601",
                    format!("wrong position info in tsvector: \"{text}\""),
                ));
            }
            let weight = match chars.next_if(|c| "aAbBcCdD*".contains(*c)) {
                Some('a' | 'A' | '*') => 3,
                Some('b' | 'B') => 2,
                Some('c' | 'C') => 1,
                _ => 0,
            };
            let kept = positions.entry(position).or_default();
            *kept = weight.max(*kept);
            if chars.next_if_eq(&',').is_none() {
                break;
            }
        }
        if chars.peek().is_some_and(|c| !c.is_whitespace()) {
            return Err(refused());
        }
    }
    let mut out = String::new();
    for (lexeme, positions) in &lexemes {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push('\'');
        for c in lexeme.chars() {
            if matches!(c, '\'' | '\\') {
                out.push(c);
            }
            out.push(c);
        }
        out.push('\'');
        for (index, (position, weight)) in positions.iter().enumerate() {
            out.push(if index == 0 { ':' } else { ',' });
            out.push_str(itoa::Buffer::new().format(*position));
            out.push_str(["", "C", "B", "A"][usize::from(*weight)]);
        }
    }
    Ok(out)
}
