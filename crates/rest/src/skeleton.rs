//! A request's target without the values in it: targets that differ in values alone share a skeleton, and with it everything that
//! was understood of the first of them.

use crate::{PREFIX, types};
use mainstay_model::{Error, Schema, Type, Value};
use smallvec::SmallVec;

/// Comparisons whose operand is a value and nothing else.
const COMPARISONS: [&str; 6] = ["eq.", "neq.", "gt.", "gte.", "lt.", "lte."];
/// Parameters that are no filters.
const RESERVED: [&str; 10] = [
    "select",
    "columns",
    "on_conflict",
    "order",
    "limit",
    "offset",
    "and",
    "or",
    "having",
    "after",
];

/// A target, split into what decides its meaning and the values in it.
pub(crate) struct Skeleton<'a> {
    /// The target with a zero byte, which no target has, in the place of each value.
    pub text: SmallVec<[u8; 256]>,
    /// The values, in order.
    pub values: SmallVec<[&'a str; 4]>,
}

impl<'a> Skeleton<'a> {
    pub fn of(target: &'a str) -> Skeleton<'a> {
        let mut skeleton = Skeleton {
            text: SmallVec::new(),
            values: SmallVec::new(),
        };
        let (path, query) = match target.find('?') {
            Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
            None => (target, None),
        };
        skeleton.path(path);
        if let Some(query) = query {
            skeleton.text.push(b'?');
            for (i, part) in query.split('&').enumerate() {
                if i > 0 {
                    skeleton.text.push(b'&');
                }
                skeleton.parameter(part);
            }
        }
        skeleton
    }

    fn path(&mut self, path: &'a str) {
        let item = path
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.split_once('/'));
        match item {
            Some((relation, id)) if relation != "rpc" && !id.is_empty() && !id.contains(['/', '%']) => {
                self.text.extend_from_slice(&path.as_bytes()[..path.len() - id.len()]);
                self.value(id);
            }
            _ => self.text.extend_from_slice(path.as_bytes()),
        }
    }

    fn parameter(&mut self, part: &'a str) {
        if let Some((key, operand)) = part.split_once('=')
            && let Some(comparison) = COMPARISONS.iter().find(|c| operand.starts_with(**c))
            && !RESERVED.contains(&key.rsplit('.').next().unwrap_or(key))
        {
            let value = &operand[comparison.len()..];
            if !value.bytes().any(|b| b == b'%' || b == b'+') {
                self.text
                    .extend_from_slice(&part.as_bytes()[..part.len() - value.len()]);
                return self.value(value);
            }
        }
        self.text.extend_from_slice(part.as_bytes());
    }

    fn value(&mut self, value: &'a str) {
        self.text.push(0);
        self.values.push(value);
    }
}

/// Where a parameter's value stood in the request.
pub(crate) struct Origin {
    param: u16,
    /// Address and length of the text it was read from; only compared while the request is there.
    text: (usize, usize),
    /// The type that it is compared with.
    declared: Type,
    /// The type of the parameter.
    bound: Type,
}

impl Origin {
    pub fn new(param: u16, text: &str, declared: &Type, bound: &Type) -> Origin {
        Origin {
            param,
            text: (text.as_ptr() as usize, text.len()),
            declared: declared.clone(),
            bound: bound.clone(),
        }
    }
}

/// A place for a value in what was understood.
pub(crate) struct Slot {
    param: u16,
    declared: Type,
    bound: Type,
}

/// The slot of each of a skeleton's values; `None` when one of them is not a parameter as it stands.
pub(crate) fn slots(skeleton: &Skeleton<'_>, origins: Vec<Origin>) -> Option<Vec<Slot>> {
    let find = |value: &&str| {
        let text = (value.as_ptr() as usize, value.len());
        let origin = origins.iter().find(|origin| origin.text == text)?;
        Some(Slot {
            param: origin.param,
            declared: origin.declared.clone(),
            bound: origin.bound.clone(),
        })
    };
    skeleton.values.iter().map(find).collect()
}

/// The parameters with other values in their slots; `None` when a value has another type than the one understood first,
/// or means the time at which it is read.
///
/// Errors: those of reading a value.
pub(crate) fn fill(
    params: &[Value],
    slots: &[Slot],
    values: &[&str],
    schema: &Schema,
) -> Result<Option<Vec<Value>>, Error> {
    let mut filled = params.to_vec();
    for (slot, text) in slots.iter().zip(values) {
        if types::is_momentary(text, &slot.declared) {
            return Ok(None);
        }
        let (value, ty) = types::operand(text, &slot.declared, schema)?;
        match filled.get_mut(slot.param as usize) {
            Some(place) if ty == slot.bound => *place = value,
            _ => return Ok(None),
        }
    }
    Ok(Some(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out() {
        for (target, text, values) in [
            ("/rest/v1/t", "/rest/v1/t", &[][..]),
            ("/rest/v1/t/5", "/rest/v1/t/_", &["5"]),
            ("/rest/v1/rpc/f?a=1", "/rest/v1/rpc/f?a=1", &[]),
            (
                "/rest/v1/t?id=eq.5&name=gte.x,y&select=*",
                "/rest/v1/t?id=eq._&name=gte._&select=*",
                &["5", "x,y"],
            ),
            ("/rest/v1/t?a.id=eq.&limit=5", "/rest/v1/t?a.id=eq._&limit=5", &[""]),
            (
                "/rest/v1/t?order=eq.desc&a.order=gt.asc&id=in.(1)",
                "/rest/v1/t?order=eq.desc&a.order=gt.asc&id=in.(1)",
                &[],
            ),
            (
                "/rest/v1/t?name=eq.a%20b&x=eq.a+b",
                "/rest/v1/t?name=eq.a%20b&x=eq.a+b",
                &[],
            ),
            ("/rest/v1/t/a%20b?", "/rest/v1/t/a%20b?", &[]),
            ("/rest/v1/t/1/2", "/rest/v1/t/1/2", &[]),
        ] {
            let skeleton = Skeleton::of(target);
            let shown = String::from_utf8(skeleton.text.to_vec()).unwrap().replace('\0', "_");
            assert_eq!((&*shown, &*skeleton.values), (text, values), "{target}");
        }
    }
}
