//! What makes two requests the same: 128 bits under keys that nobody outside the process knows, so that nobody can make two
//! requests collide.

use ahash::RandomState;
use mainstay_model::{Identity, Value};
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
    /// `class` is the caller reduced to what the plan's policies name; nothing else of the caller may decide the answer.
    pub fn new(plan: u64, schema_digest: u64, params: &[Value], class: &Identity, representation: &str) -> Key {
        let (first, second) = states();
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            (plan, schema_digest, params, &*class.role, representation).hash(&mut hasher);
            class.claims.len().hash(&mut hasher);
            for (name, value) in &*class.claims {
                name.hash(&mut hasher);
                hash_json(value, &mut hasher);
            }
            hasher.finish()
        };
        Key(u128::from(half(first)) << 64 | u128::from(half(second)))
    }
}

fn hash_json(json: &Json, hasher: &mut impl Hasher) {
    match json {
        Json::Null => hasher.write_u8(0),
        Json::Bool(v) => (1u8, v).hash(hasher),
        Json::Number(v) => (2u8, v.to_string()).hash(hasher),
        Json::String(v) => (3u8, v).hash(hasher),
        Json::Array(items) => {
            (4u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash_json(item, hasher));
        }
        Json::Object(fields) => {
            (5u8, fields.len()).hash(hasher);
            for (name, value) in fields {
                name.hash(hasher);
                hash_json(value, hasher);
            }
        }
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
