//! Addresses: `inet`, `cidr`, `macaddr` and `macaddr8` in the form Postgres prints.

use super::invalid;
use crate::{Error, Result};

/// A network address and the length of its prefix, as far as its text said.
struct Address {
    /// Four bytes or sixteen.
    bytes: Vec<u8>,
    bits: usize,
}

/// A host, with its network's prefix where that is not the whole address.
pub(super) fn inet(text: &str) -> Result<String> {
    let address = if text.contains(':') { v6(text) } else { v4_host(text) };
    let address = address.ok_or_else(|| invalid("inet", text))?;
    let whole = address.bits == address.bytes.len() * 8;
    Ok(if whole { host(&address) } else { network(&address) })
}

/// A network: nothing may be set to the right of its prefix.
pub(super) fn cidr(text: &str) -> Result<String> {
    let address = if text.contains(':') { v6(text) } else { v4_network(text) };
    let address = address.ok_or_else(|| invalid("cidr", text))?;
    let beyond = |(at, byte): (usize, &u8)| {
        let kept = address.bits.saturating_sub(at * 8).min(8);
        u16::from(*byte) & (0xff >> kept) != 0
    };
    if address.bytes.iter().enumerate().any(beyond) {
        let refused = Error::new("22P02", format!("invalid cidr value: \"{text}\""));
        return Err(refused.detail("Value has bits set to right of mask."));
    }
    Ok(network(&address))
}

fn network(address: &Address) -> String {
    format!("{}/{}", host(address), address.bits)
}

fn host(address: &Address) -> String {
    match address.bytes.as_slice() {
        [a, b, c, d] => format!("{a}.{b}.{c}.{d}"),
        bytes => v6_text(bytes),
    }
}

/// The longest run of zero words, the first of several, is `::`; an IPv4 address that is mapped is written as one.
fn v6_text(bytes: &[u8]) -> String {
    let words: Vec<u16> = bytes
        .chunks(2)
        .map(|p| u16::from(p[0]) << 8 | u16::from(p[1]))
        .collect();
    let (mut start, mut length) = (0, 0);
    for at in 0..words.len() {
        let run = words[at..].iter().take_while(|word| **word == 0).count();
        if run > length && run > 1 {
            (start, length) = (at, run);
        }
    }
    let mapped = start == 0 && (length == 6 || length == 5 && words[5] == 0xffff);
    let mut out = String::new();
    let mut at = 0;
    while at < words.len() {
        if length > 0 && at == start {
            out.push(':');
            at += length;
            continue;
        }
        if at > 0 {
            out.push(':');
        }
        if at == 6 && mapped {
            return out + &format!("{}.{}.{}.{}", bytes[12], bytes[13], bytes[14], bytes[15]);
        }
        out.push_str(&format!("{:x}", words[at]));
        at += 1;
    }
    if length > 0 && start + length == words.len() {
        out.push(':');
    }
    out
}

/// Decimal octets at the beginning, at most four, and what follows them. With `ends_in_dot` the last may have a dot behind it.
fn octets(text: &str, ends_in_dot: bool) -> Option<(Vec<u8>, &str)> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return (ends_in_dot && !bytes.is_empty()).then_some((bytes, rest));
        }
        let octet = rest[..digits].trim_start_matches('0');
        bytes.push(if octet.is_empty() { 0 } else { octet.parse().ok()? });
        rest = &rest[digits..];
        if bytes.len() > 4 {
            return None;
        }
        match rest.strip_prefix('.') {
            Some(tail) => rest = tail,
            None => return Some((bytes, rest)),
        }
    }
}

/// `/n`, if anything is there.
fn prefix(text: &str) -> Option<Option<usize>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.strip_prefix('/')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let bits = digits.trim_start_matches('0');
    let bits = if bits.is_empty() { 0 } else { bits.parse().ok()? };
    (plain && bits <= 32).then_some(Some(bits))
}

fn v4_host(text: &str) -> Option<Address> {
    let (mut bytes, rest) = octets(text, true)?;
    let bits = match prefix(rest)? {
        Some(bits) => bits,
        None if bytes.len() == 4 => 32,
        None => return None,
    };
    if bits / 8 > bytes.len() {
        return None;
    }
    bytes.resize(4, 0);
    Some(Address { bytes, bits })
}

fn v4_network(text: &str) -> Option<Address> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let hex = hex.filter(|hex| hex.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (mut bytes, rest) = match hex {
        Some(hex) => hex_octets(hex)?,
        None => octets(text, false)?,
    };
    let bits = prefix(rest)?.unwrap_or_else(|| class_of(&bytes));
    bytes.resize(4, 0);
    Some(Address { bytes, bits })
}

fn hex_octets(text: &str) -> Option<(Vec<u8>, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let digits: Vec<u8> = text[..end].bytes().filter_map(super::hex_digit).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0))
        .collect();
    (bytes.len() <= 4).then_some((bytes, &text[end..]))
}

/// The prefix that an IPv4 network without one has by its class, and by the octets that are written.
fn class_of(bytes: &[u8]) -> usize {
    let by_class = match bytes[0] {
        240.. => 32,
        224.. => 8,
        192.. => 24,
        128.. => 16,
        _ => 8,
    };
    match by_class.max(bytes.len() * 8) {
        8 if bytes[0] == 224 => 4,
        bits => bits,
    }
}

/// Digits without a leading zero, up to `most`.
fn strict_number(text: &str, most: usize) -> Option<usize> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let short = text == "0" || !text.starts_with('0');
    (plain && short).then(|| text.parse().ok())?.filter(|n| *n <= most)
}

fn v6(text: &str) -> Option<Address> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, strict_number(bits, 128)?),
        None => (text, 128),
    };
    let mut bytes = Vec::with_capacity(16);
    let mut gap = None;
    let mut rest = match address.strip_prefix(':') {
        Some(tail) if !tail.starts_with(':') => return None,
        Some(tail) => tail,
        None => address,
    };
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix(':') {
            if gap.replace(bytes.len()).is_some() {
                return None;
            }
            rest = tail;
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if rest[digits..].starts_with('.') {
            let (mut last, tail) = octets(rest, false)?;
            let spelled = rest.split('.').all(|octet| strict_number(octet, 255).is_some());
            if !tail.is_empty() || !spelled {
                return None;
            }
            last.resize(4, 0);
            bytes.extend(last);
            break;
        }
        if !(1..=4).contains(&digits) {
            return None;
        }
        let word = u16::from_str_radix(&rest[..digits], 16).ok()?;
        bytes.extend(word.to_be_bytes());
        rest = &rest[digits..];
        match rest.strip_prefix(':') {
            Some("") => return None,
            Some(tail) => rest = tail,
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    let missing = 16usize.checked_sub(bytes.len())?;
    match gap {
        Some(at) if missing > 0 => drop(bytes.splice(at..at, vec![0; missing])),
        None if missing == 0 => {}
        _ => return None,
    }
    Some(Address { bytes, bits })
}

/// The ways of writing six bytes: digits in each group (`None`: as many as there are), groups between separators, the separator.
const MAC_FORMS: [(Option<usize>, usize, &str); 7] = [
    (None, 1, ":"),
    (None, 1, "-"),
    (Some(2), 3, ":"),
    (Some(2), 3, "-"),
    (Some(2), 2, "."),
    (Some(2), 2, "-"),
    (Some(2), 6, ""),
];

/// Six bytes, in any of the ways they are written.
pub(super) fn macaddr(text: &str) -> Result<String> {
    let found = MAC_FORMS
        .iter()
        .find_map(|(width, run, separator)| mac_octets(text, *width, *run, separator));
    let octets = found.ok_or_else(|| invalid("macaddr", text))?;
    if octets.iter().any(|octet| *octet > 0xff) {
        let message = format!("invalid octet value in \"macaddr\" value: \"{text}\"");
        return Err(Error::new("22003", message));
    }
    Ok(pairs(&octets))
}

fn mac_octets(text: &str, width: Option<usize>, run: usize, separator: &str) -> Option<Vec<u32>> {
    let (mut octets, mut rest) = (Vec::with_capacity(6), text);
    for index in 0..6 {
        if index > 0 && index % run == 0 {
            rest = rest.strip_prefix(separator)?;
        }
        rest = rest.trim_start_matches(super::kept::is_space);
        let digits = rest
            .bytes()
            .take(width.unwrap_or(usize::MAX))
            .take_while(u8::is_ascii_hexdigit)
            .count();
        if digits == 0 {
            return None;
        }
        octets.push(u32::from_str_radix(&rest[..digits], 16).unwrap_or(u32::MAX));
        rest = &rest[digits..];
    }
    rest.chars().all(super::kept::is_space).then_some(octets)
}

fn pairs(octets: &[u32]) -> String {
    let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    pairs.join(":")
}

/// Eight bytes, or six with `ff:fe` put into their middle; one separator throughout, between any two of them.
pub(super) fn macaddr8(text: &str) -> Result<String> {
    let mut octets = eui64(text).ok_or_else(|| invalid("macaddr8", text))?;
    if octets.len() == 6 {
        octets.splice(3..3, [0xff, 0xfe]);
    }
    Ok(pairs(&octets))
}

fn eui64(text: &str) -> Option<Vec<u32>> {
    let mut octets = Vec::with_capacity(8);
    let mut separator = None;
    let mut rest = text.trim_start_matches(super::kept::is_space).as_bytes();
    while let [high, low, tail @ ..] = rest {
        let (high, low) = (super::hex_digit(*high)?, super::hex_digit(*low)?);
        octets.push(u32::from(high << 4 | low));
        rest = tail;
        if let [mark @ (b':' | b'-' | b'.'), tail @ ..] = rest {
            if *separator.get_or_insert(*mark) != *mark {
                return None;
            }
            rest = tail;
        }
        if matches!(octets.len(), 6 | 8)
            && rest
                .first()
                .is_some_and(|byte| super::kept::is_space(char::from(*byte)))
        {
            let blank = rest.iter().all(|byte| super::kept::is_space(char::from(*byte)));
            return blank.then_some(octets);
        }
    }
    matches!(octets.len(), 6 | 8).then_some(octets)
}
