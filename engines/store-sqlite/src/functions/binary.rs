//! Bytes: encodings, digests and random identifiers.

use super::{IMPURE, lenient, strict};
use crate::context;
use base64::Engine;
use mainstay_model::{Error, Result};
use mainstay_sql::sqlite::uuid_text;
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use sha2::Digest;

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    strict(c, "mainstay_encode", 2, |args| {
        let bytes = args.blob(0)?;
        Ok(Sql::Text(match lower(args.text(1)?).as_str() {
            "hex" => hex(bytes),
            "base64" => base64_lines(bytes),
            "escape" => escape(bytes),
            other => return Err(Error::new("22023", format!("unrecognized encoding: \"{other}\""))),
        }))
    })?;
    strict(c, "mainstay_decode", 2, |args| {
        let text = args.text(0)?;
        Ok(Sql::Blob(match lower(args.text(1)?).as_str() {
            "hex" => unhex(text)?,
            "base64" => {
                let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                base64::engine::general_purpose::STANDARD.decode(compact).map_err(|_| {
                    Error::new("22023", "invalid base64 end sequence")
                        .hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
                })?
            }
            "escape" => unescape(text)?,
            other => return Err(Error::new("22023", format!("unrecognized encoding: \"{other}\""))),
        }))
    })?;
    strict(c, "mainstay_digest", 2, |args| {
        let data = args.blob(0)?;
        Ok(Sql::Blob(match lower(args.text(1)?).as_str() {
            "md5" => md5(data).to_vec(),
            "sha224" => sha2::Sha224::digest(data).to_vec(),
            "sha256" => sha2::Sha256::digest(data).to_vec(),
            "sha384" => sha2::Sha384::digest(data).to_vec(),
            "sha512" => sha2::Sha512::digest(data).to_vec(),
            other => {
                return Err(Error::new(
                    "22023",
                    format!("Cannot use \"{other}\": No such hash algorithm"),
                ));
            }
        }))
    })?;
    strict(c, "mainstay_md5", 1, |args| Ok(Sql::Text(hex(&md5(args.blob(0)?)))))?;
    strict(c, "mainstay_bytea_concat", 2, |args| {
        let mut bytes = args.blob(0)?.to_vec();
        bytes.extend_from_slice(args.blob(1)?);
        Ok(Sql::Blob(bytes))
    })?;
    lenient(c, "mainstay_uuid", 0, IMPURE, |_| {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|e| Error::internal(format!("no random numbers: {e}")))?;
        // RFC 9562, section 5.4: version 4, variant 10.
        let value = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        Ok(Sql::Text(uuid_text(value)))
    })?;
    lenient(c, "mainstay_nextval", 1, IMPURE, |args| {
        Ok(Sql::Integer(context::next_value(args.text(0)?)?))
    })?;
    lenient(c, "mainstay_emit", 3, IMPURE, |args| {
        let text = |at| if args.is_null(at) { Ok("") } else { args.text(at) };
        context::emit(text(0)?, text(2)?, args.text(1)?)?;
        Ok(Sql::Null)
    })
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char])
        .collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    for ch in text.chars().filter(|c| !c.is_ascii_whitespace()) {
        let digit = ch
            .to_digit(16)
            .ok_or_else(|| Error::new("22023", format!("invalid hexadecimal digit: \"{ch}\"")))?;
        digits.push(digit as u8);
    }
    if digits.len() % 2 == 1 {
        return Err(Error::new("22023", "invalid hexadecimal data: odd number of digits"));
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Lines of 76 characters, as Postgres breaks them.
fn base64_lines(bytes: &[u8]) -> String {
    let whole = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut out = String::with_capacity(whole.len() + whole.len() / 76);
    for (at, ch) in whole.chars().enumerate() {
        if at > 0 && at % 76 == 0 {
            out.push('\n');
        }
        out.push(ch);
    }
    out
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
            byte => out.push(byte as char),
        }
    }
    out
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else {
            let octal = bytes
                .get(at + 1..at + 4)
                .and_then(|d| std::str::from_utf8(d).ok())
                .and_then(|d| u8::from_str_radix(d, 8).ok())
                .ok_or_else(|| Error::new("22P02", "invalid input syntax for type bytea"))?;
            out.push(octal);
            at += 4;
        }
    }
    Ok(out)
}

/// MD5 (RFC 1321): for fingerprints such as avatar addresses, not for security.
fn md5(data: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let constants: Vec<u32> = (1..=64)
        .map(|i| (f64::from(i).sin().abs() * 4_294_967_296.0) as u32)
        .collect();
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut message = data.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend_from_slice(&((data.len() as u64).wrapping_mul(8)).to_le_bytes());
    for block in message.chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, word) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let sum = a.wrapping_add(mix).wrapping_add(constants[i]).wrapping_add(words[word]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut out = [0; 16];
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321, section A.5.
    #[test]
    fn md5_of_the_standards_examples() {
        for (input, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(&md5(input.as_bytes())), expected);
        }
    }

    #[test]
    fn bytes_come_back() {
        let bytes = [0, 92, 200, 65];
        assert_eq!(unescape(&escape(&bytes)).unwrap(), bytes);
        assert_eq!(unhex(&hex(&bytes)).unwrap(), bytes);
        assert_eq!(unhex("abc").unwrap_err().code, "22023");
    }
}
