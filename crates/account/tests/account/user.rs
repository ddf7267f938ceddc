//! What users see and change of themselves.

use crate::harness::{Project, config, key, run};
use mainstay_auth::{Claims, Signer};
use mainstay_model::Identity;
use serde_json::{Value as Json, json};
use std::sync::Arc;

#[test]
fn metadata_changes_key_by_key_and_reaches_the_next_token() {
    let project = Project::new(config());
    run(async {
        let session = project.sign_up("ann@example.com", "password1").await;
        let token = Some(session.text("/access_token"));
        let body = json!({"data": {"name": "Ann", "theme": "dark"}});
        assert_eq!(project.ask("PUT", "/user", token, body).await.status, 200);
        let body = json!({"data": {"theme": null, "size": 7}});
        let changed = project.ask("PUT", "/user", token, body).await;
        assert_eq!(changed.body["user_metadata"], json!({"name": "Ann", "size": 7}));
        assert!(changed.text("/updated_at") > session.text("/user/updated_at"));
        let read = project.user(session.text("/access_token")).await;
        assert_eq!(read.body, changed.body);
        let next = project.refresh(session.text("/refresh_token")).await;
        let claims = project.verifier.verify(next.text("/access_token")).expect("verifies");
        assert_eq!(claims.claims["user_metadata"], json!({"name": "Ann", "size": 7}));
        let nothing = project
            .ask("PUT", "/user", token, json!({"email": "ANN@example.com"}))
            .await;
        assert_eq!(
            (nothing.status, &nothing.body["updated_at"]),
            (200, &read.body["updated_at"])
        );
    });
}

#[test]
fn simultaneous_changes_all_count() {
    let project = Project::new(config());
    let session = run(project.sign_up("ann@example.com", "password1"));
    let token = session.text("/access_token");
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let change = |number: usize| {
            let mut data = serde_json::Map::new();
            data.insert(format!("key{number}"), number.into());
            let project = &project;
            run(async move {
                project
                    .ask("PUT", "/user", Some(token), json!({"data": data}))
                    .await
                    .status
            })
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || change(n))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let metadata = run(project.user(token)).body["user_metadata"].clone();
    for (number, status) in statuses.iter().enumerate() {
        let there = metadata.get(format!("key{number}")).is_some();
        assert_eq!(
            (*status == 200, [200, 503].contains(status)),
            (there, true),
            "{number}: {status}"
        );
    }
    assert!(statuses.contains(&200));
}

#[test]
fn a_new_password_ends_the_other_sessions() {
    let project = Project::new(config());
    run(async {
        let here = project.sign_up("ann@example.com", "password1").await;
        let there = project.log_in("ann@example.com", "password1").await;
        let token = Some(here.text("/access_token"));
        for (body, expected) in [
            (json!({"password": "password1"}), (422, "same_password")),
            (json!({"password": "short"}), (422, "weak_password")),
            (
                json!({"password": "password2", "current_password": "password3"}),
                (400, "current_password_invalid"),
            ),
        ] {
            assert_eq!(project.ask("PUT", "/user", token, body).await.refusal(), expected);
        }
        assert_eq!(
            project.user(there.text("/access_token")).await.status,
            200,
            "so far nothing happened"
        );

        let body = json!({"password": "password2", "current_password": "password1", "data": {"changed": true}});
        let changed = project.ask("PUT", "/user", token, body).await;
        assert_eq!(
            (changed.status, &changed.body["user_metadata"]),
            (200, &json!({"changed": true}))
        );
        assert_eq!(
            project.user(there.text("/access_token")).await.refusal(),
            (403, "session_not_found")
        );
        assert_eq!(project.refresh(there.text("/refresh_token")).await.status, 400);
        assert_eq!(project.refresh(here.text("/refresh_token")).await.status, 200);
        assert_eq!(project.log_in("ann@example.com", "password1").await.status, 400);
        assert_eq!(project.log_in("ann@example.com", "password2").await.status, 200);
    });
}

#[test]
fn what_cannot_be_changed_is_refused_by_name() {
    let project = Project::new(config());
    run(async {
        let session = project.sign_up("ann@example.com", "password1").await;
        let token = Some(session.text("/access_token"));
        for (body, expected) in [
            (json!({"email": "bob@example.com"}), (422, "feature_disabled")),
            (json!({"email": "bob"}), (400, "validation_failed")),
            (json!({"phone": "+4930"}), (400, "phone_provider_disabled")),
            (json!({"app_metadata": {"role": "admin"}}), (403, "not_admin")),
            (json!({"data": 7}), (400, "validation_failed")),
            (json!({"data": {"a": "x".repeat(5_000)}}), (422, "validation_failed")),
            (json!({"data": {"a": "\u{0}"}}), (400, "validation_failed")),
            (json!({"password": 7}), (400, "validation_failed")),
        ] {
            let answer = project.ask("PUT", "/user", token, body.clone()).await;
            assert_eq!(answer.refusal(), expected, "{body:.60}");
        }
        let role = project
            .ask("PUT", "/user", token, json!({"role": "service_role"}))
            .await;
        assert_eq!((role.status, role.text("/role")), (200, "authenticated"));
        assert_eq!(
            project.user(session.text("/access_token")).await.body,
            session.body["user"]
        );
    });
}

#[test]
fn only_a_token_of_a_user_with_a_session_is_let_in() {
    let project = Project::new(config());
    run(async {
        let ann = project.sign_up("ann@example.com", "password1").await;
        let bob = project.sign_up("bob@example.com", "password1").await;
        let sign = |subject: Option<&str>, session: Option<&Json>| {
            let mut more = serde_json::Map::new();
            if let Some(session) = session {
                more.insert("session_id".into(), session.clone());
            }
            let claims = Claims {
                role: "authenticated".into(),
                subject: subject.map(str::to_owned),
                ttl_s: 60,
                more,
                ..Claims::default()
            };
            Signer::new(&key()).expect("can sign").sign(&claims).expect("signs").0
        };
        let session_of = |answer: &crate::harness::Answer| {
            let identity = project.verifier.verify(answer.text("/access_token")).expect("verifies");
            identity.claims["session_id"].clone()
        };
        let id = Some(ann.text("/user/id"));
        for (token, status, code) in [
            (None, 401, "no_authorization"),
            (Some("x.y.z".to_owned()), 403, "bad_jwt"),
            (Some(format!("{}x", ann.text("/access_token"))), 403, "bad_jwt"),
            (Some(sign(None, None)), 403, "bad_jwt"),
            (Some(sign(Some("7"), None)), 403, "bad_jwt"),
            (Some(sign(id, Some(&json!(7)))), 403, "bad_jwt"),
            (
                Some(sign(Some("00000000-0000-0000-0000-000000000000"), None)),
                403,
                "user_not_found",
            ),
            (
                Some(sign(id, Some(&json!("00000000-0000-0000-0000-000000000000")))),
                403,
                "session_not_found",
            ),
            (Some(sign(id, Some(&session_of(&bob)))), 403, "session_not_found"),
        ] {
            for (method, path) in [("GET", "/user"), ("PUT", "/user"), ("POST", "/logout")] {
                let answer = project.ask(method, path, token.as_deref(), Json::Null).await;
                assert_eq!(answer.refusal(), (status, code), "{method} {path} {token:?}");
            }
        }
        let made_elsewhere = sign(id, None);
        assert_eq!(
            project.user(&made_elsewhere).await.status,
            200,
            "a development token names no session"
        );

        // What the gateway found out counts, and the header is not read again.
        let mut request = http::Request::get("/auth/v1/user")
            .body(Default::default())
            .expect("a request");
        let identity = project.verifier.verify(ann.text("/access_token")).expect("verifies");
        request.extensions_mut().insert(identity);
        assert_eq!(project.send(request).await.body, ann.body["user"]);
        let mut request = http::Request::get("/auth/v1/user")
            .header("authorization", format!("Bearer {}", ann.text("/access_token")))
            .body(Default::default())
            .expect("a request");
        request.extensions_mut().insert(Arc::new(Identity::anon()));
        assert_eq!(project.send(request).await.refusal(), (401, "no_authorization"));
    });
}
