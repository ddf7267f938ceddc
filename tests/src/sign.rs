//! Signatures made and checked independently of the product: tokens that nobody issued, and Standard Webhooks.

use crate::Delivery;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value as Json;
use sha2::Sha256;

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// A JWT of any header and claims, signed by HMAC-SHA256 whatever the header says.
pub fn token(header: &Json, claims: &Json, key: &[u8]) -> String {
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = mac(key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Panics unless a delivery is signed with the secret as Standard Webhooks say, now.
#[track_caller]
pub fn assert_signed(delivery: &Delivery, secret: &str) {
    let key = STANDARD
        .decode(secret.trim().trim_start_matches("whsec_"))
        .expect("base64");
    let (id, stamp) = (delivery.header("webhook-id"), delivery.header("webhook-timestamp"));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let sent: u64 = stamp.parse().unwrap_or_else(|_| panic!("webhook-timestamp: {stamp:?}"));
    assert!(now.abs_diff(sent) < 300, "sent at {sent}, now it is {now}");
    let mut text = format!("{id}.{stamp}.").into_bytes();
    text.extend_from_slice(&delivery.body);
    let expected = format!("v1,{}", STANDARD.encode(mac(&key, &text)));
    let given = delivery.header("webhook-signature");
    assert!(given.split(' ').any(|s| s == expected), "{given:?} is not {expected:?}");
}
