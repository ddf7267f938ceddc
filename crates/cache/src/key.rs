//! What makes two requests the same: 128 bits under keys that nobody outside the process knows, so that nobody can make two
//! requests collide. Nothing is allocated for it.

use crate::failpoint;
use ahash::RandomState;
use mainstay_model::{Claim, Identity, Value};
use serde_json::Value as Json;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::OnceLock;

/// The key of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) u128);

fn states() -> &'static (RandomState, RandomState) {
    static STATES: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    STATES.get_or_init(|| (RandomState::new(), RandomState::new()))
}

impl Key {
    /// Of the caller exactly that counts which [`Identity::reduced_to`] keeps for `claims`: whoever fills the answer must see no
    /// more.
    pub fn new(
        plan: u64,
        schema_digest: u64,
        params: &[Value],
        caller: &Identity,
        claims: &[Claim],
        representation: &str,
    ) -> Key {
        let (first, second) = states();
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            (plan, schema_digest, params, &*caller.role, representation).hash(&mut hasher);
            if !failpoint::is_set("forget-claims") {
                hash_class(caller, claims, &mut hasher);
            }
            hasher.finish()
        };
        Key(u128::from(half(first)) << 64 | u128::from(half(second)))
    }
}

fn hash_class(caller: &Identity, claims: &[Claim], hasher: &mut impl Hasher) {
    for claim in claims {
        match root(claim) {
            Root::None => hasher.write_u8(0),
            Root::Of(name) => match caller.claims.get(name) {
                None => hasher.write_u8(1),
                Some(json) => {
                    hasher.write_u8(2);
                    hash_json(json, hasher);
                }
            },
            Root::All => {
                hasher.write_u8(3);
                hash_object(&caller.claims, hasher);
            }
        }
    }
}

/// The part of a token that a claim is read from.
enum Root<'a> {
    /// The role, which every key has.
    None,
    /// One member.
    Of(&'a str),
    /// Every member.
    All,
}

fn root(claim: &Claim) -> Root<'_> {
    match claim {
        Claim::Role => Root::None,
        Claim::Uid => Root::Of("sub"),
        Claim::All => Root::All,
        Claim::Json(path) | Claim::Text(path) => path.first().map_or(Root::All, |first| Root::Of(first)),
    }
}

fn hash_json(json: &Json, hasher: &mut impl Hasher) {
    match json {
        Json::Null => hasher.write_u8(0),
        Json::Bool(v) => (1u8, v).hash(hasher),
        Json::Number(v) => match (v.as_u64(), v.as_i64()) {
            (Some(v), _) => (2u8, v).hash(hasher),
            (_, Some(v)) => (3u8, v).hash(hasher),
            // As it is printed: what a policy sees of it.
            _ => (4u8, v.to_string()).hash(hasher),
        },
        Json::String(v) => (5u8, v).hash(hasher),
        Json::Array(items) => {
            (6u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash_json(item, hasher));
        }
        Json::Object(fields) => {
            hasher.write_u8(7);
            hash_object(fields, hasher);
        }
    }
}

fn hash_object(fields: &serde_json::Map<String, Json>, hasher: &mut impl Hasher) {
    hasher.write_usize(fields.len());
    for (name, value) in fields {
        name.hash(hasher);
        hash_json(value, hasher);
    }
}

/// A hash of an answer's bytes, the same in every process of this version: what `ETag` is made of.
pub fn body_tag(body: &[u8]) -> u64 {
    static FIXED: RandomState = RandomState::with_seeds(
        0x6d61_696e_7374_6179,
        0x6574_6167_0000_0001,
        0x9e37_79b9_7f4a_7c15,
        0xd1b5_4a32_d192_ed03,
    );
    FIXED.hash_one(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::HashSet;
    use std::sync::Arc;

    fn caller(role: &str, claims: Json) -> Identity {
        let Json::Object(claims) = claims else { unreachable!() };
        Identity::new(role, Arc::new(claims))
    }

    fn text(path: &[&str]) -> Claim {
        Claim::Text(path.iter().map(|p| Arc::from(*p)).collect())
    }

    /// Two callers share an answer if, and only if, they reduce to the same class.
    #[test]
    fn a_key_tells_apart_what_a_class_tells_apart() {
        let callers = [
            caller("a", json!({})),
            caller("b", json!({})),
            caller("a", json!({"sub": "1"})),
            caller("a", json!({"sub": 1})),
            caller("a", json!({"sub": null})),
            caller("a", json!({"sub": "1", "org": "x"})),
            caller("a", json!({"sub": "2", "org": "x"})),
            caller("a", json!({"sub": "1", "org": "x", "n": {"r": "admin"}})),
            caller("a", json!({"sub": "1", "org": "x", "n": {"r": "user"}})),
            caller("a", json!({"sub": "1", "org": "x", "n": ["admin"]})),
            caller("a", json!({"sub": "1", "org": "x", "n": [["admin"]]})),
            caller("a", json!({"sub": "1", "org": "x", "n": 1.5})),
            caller("a", json!({"sub": "1", "org": "x", "n": 1})),
            caller("a", json!({"sub": "1", "org": "x", "n": -0.0})),
            caller("a", json!({"sub": "1", "org": "x", "n": 0.0})),
            caller("a", json!({"org": "1"})),
        ];
        let plans = [
            vec![],
            vec![Claim::Role],
            vec![Claim::Uid],
            vec![Claim::Uid, text(&["org"])],
            vec![text(&["n", "r"])],
            vec![text(&["n"]), Claim::Uid],
            vec![Claim::All],
            vec![text(&[])],
        ];
        for claims in &plans {
            for a in &callers {
                for b in &callers {
                    let same_class = format!("{:?}", a.reduced_to(claims)) == format!("{:?}", b.reduced_to(claims));
                    let key = |caller| Key::new(1, 2, &[], caller, claims, "json");
                    assert_eq!(key(a) == key(b), same_class, "{claims:?}\n{a:?}\n{b:?}");
                }
            }
        }
    }

    #[test]
    fn everything_else_counts() {
        let anon = Identity::anon();
        let text = |t: &str| Value::Text(t.to_owned());
        let keys: HashSet<Key> = [
            Key::new(1, 1, &[], &anon, &[], "json"),
            Key::new(2, 1, &[], &anon, &[], "json"),
            Key::new(1, 2, &[], &anon, &[], "json"),
            Key::new(1, 1, &[], &anon, &[], "csv"),
            Key::new(1, 1, &[], &Identity::service(), &[], "json"),
            Key::new(1, 1, &[Value::Null], &anon, &[], "json"),
            Key::new(1, 1, &[text("a"), text("b")], &anon, &[], "json"),
            Key::new(1, 1, &[text("ab"), text("")], &anon, &[], "json"),
            Key::new(1, 1, &[text("1")], &anon, &[], "json"),
            Key::new(1, 1, &[Value::Int(1)], &anon, &[], "json"),
            Key::new(1, 1, &[Value::Date(1)], &anon, &[], "json"),
        ]
        .into();
        assert_eq!(keys.len(), 11);
    }

    #[test]
    fn the_tag_of_a_body_never_changes() {
        assert_eq!(body_tag(b"[]"), body_tag(b"[]"));
        assert_ne!(body_tag(b"[]"), body_tag(b"[] "));
    }
}
