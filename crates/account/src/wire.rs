//! Users as GoTrue writes them.

use crate::records::User;
use mainstay_model::time;
use serde_json::{Map, Value as Json, json};

/// A uuid's text.
pub(crate) fn uuid(id: u128) -> String {
    uuid::Uuid::from_u128(id).to_string()
}

/// A time as RFC 3339 has it, in UTC.
pub(crate) fn timestamp(micros: i64) -> String {
    let mut out = Vec::with_capacity(27);
    time::write_timestamp_json(micros, &mut out);
    out.push(b'Z');
    String::from_utf8_lossy(&out).into_owned()
}

/// A user with everything that it may know of itself.
pub(crate) fn user(user: &User, audience: &str) -> Json {
    let id = uuid(user.id);
    let (created, updated) = (timestamp(user.created_us), timestamp(user.updated_us));
    let mut identity = json!({
        "identity_id": id,
        "id": id,
        "user_id": id,
        "identity_data": {
            "email": user.email,
            "email_verified": user.confirmed_us.is_some(),
            "phone_verified": false,
            "sub": id,
        },
        "provider": "email",
    });
    let mut body = json!({
        "id": id,
        "aud": audience,
        "role": user.role,
        "email": user.email,
    });
    if let Some(confirmed) = user.confirmed_us {
        body["email_confirmed_at"] = timestamp(confirmed).into();
    }
    body["phone"] = "".into();
    if let Some(confirmed) = user.confirmed_us {
        body["confirmed_at"] = timestamp(confirmed).into();
    }
    if let Some(signed_in) = user.last_sign_in_us {
        body["last_sign_in_at"] = timestamp(signed_in).into();
        identity["last_sign_in_at"] = timestamp(signed_in).into();
    }
    identity["created_at"] = created.clone().into();
    identity["updated_at"] = updated.clone().into();
    identity["email"] = user.email.clone().into();
    body["app_metadata"] = Json::Object(user.app_metadata.clone());
    body["user_metadata"] = Json::Object(user.user_metadata.clone());
    body["identities"] = json!([identity]);
    body["created_at"] = created.into();
    body["updated_at"] = updated.into();
    body["is_anonymous"] = false.into();
    body
}

/// What a sign-up answers while the address is not confirmed: the same whether or not the address was known already, so that
/// nobody can ask who has an account. What differs from one answer to the next is random or the time.
pub(crate) fn pending_user(user: &User, audience: &str) -> Json {
    let mut body = self::user(user, audience);
    body["confirmation_sent_at"] = body["created_at"].clone();
    body["identities"] = json!([]);
    body
}

/// The `app_metadata` of somebody who signs in with a password.
pub(crate) fn email_provider() -> Map<String, Json> {
    let mut metadata = Map::new();
    metadata.insert("provider".into(), "email".into());
    metadata.insert("providers".into(), json!(["email"]));
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> User {
        User {
            id: 7,
            email: "ann@example.com".into(),
            password: Some("$argon2id$".into()),
            confirmed_us: Some(1_700_000_000_500_000),
            last_sign_in_us: None,
            app_metadata: email_provider(),
            user_metadata: Map::from_iter([("name".to_owned(), "Ann".into())]),
            role: "authenticated".into(),
            created_us: 1_700_000_000_000_000,
            updated_us: 1_700_000_000_000_000,
        }
    }

    #[test]
    fn a_user_is_written_with_all_that_auth_js_reads_and_without_its_hash() {
        let body = user(&ann(), "authenticated");
        assert_eq!(
            body,
            json!({
                "id": "00000000-0000-0000-0000-000000000007",
                "aud": "authenticated",
                "role": "authenticated",
                "email": "ann@example.com",
                "email_confirmed_at": "2023-11-14T22:13:20.5Z",
                "phone": "",
                "confirmed_at": "2023-11-14T22:13:20.5Z",
                "app_metadata": {"provider": "email", "providers": ["email"]},
                "user_metadata": {"name": "Ann"},
                "identities": [{
                    "identity_id": "00000000-0000-0000-0000-000000000007",
                    "id": "00000000-0000-0000-0000-000000000007",
                    "user_id": "00000000-0000-0000-0000-000000000007",
                    "identity_data": {
                        "email": "ann@example.com",
                        "email_verified": true,
                        "phone_verified": false,
                        "sub": "00000000-0000-0000-0000-000000000007",
                    },
                    "provider": "email",
                    "created_at": "2023-11-14T22:13:20Z",
                    "updated_at": "2023-11-14T22:13:20Z",
                    "email": "ann@example.com",
                }],
                "created_at": "2023-11-14T22:13:20Z",
                "updated_at": "2023-11-14T22:13:20Z",
                "is_anonymous": false,
            })
        );
    }

    #[test]
    fn a_pending_user_says_nothing_that_a_stranger_could_not_have_said() {
        let mut stranger = ann();
        stranger.confirmed_us = None;
        let body = pending_user(&stranger, "authenticated");
        assert_eq!(body["identities"], json!([]));
        assert_eq!(body.get("email_confirmed_at"), None);
        assert_eq!(body["confirmation_sent_at"], "2023-11-14T22:13:20Z");
    }
}
