//! Registration.

use crate::harness::{Project, config, contains, run};
use mainstay_account::Config;
use mainstay_model::Value;
use serde_json::{Value as Json, json};

#[test]
fn a_sign_up_is_a_login_and_tells_of_itself() {
    let project = Project::new(config());
    run(async {
        let body = json!({"email": " Ann@Example.com ", "password": "correct horse", "data": {"name": "Ann"}});
        let answer = project.ask("POST", "/signup", None, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(
            (answer.text("/token_type"), &answer.body["expires_in"]),
            ("bearer", &json!(3600))
        );
        assert_eq!(answer.text("/user/email"), "ann@example.com");
        assert_eq!(answer.body["user"]["user_metadata"], json!({"name": "Ann"}));
        assert!(answer.body["user"]["email_confirmed_at"].is_string());

        let token = answer.text("/access_token");
        let identity = project.verifier.verify(token).expect("verifies");
        assert_eq!(&*identity.role, "authenticated");
        assert_eq!(identity.subject(), Some(answer.text("/user/id")));
        for (claim, value) in [
            ("aud", json!("authenticated")),
            ("email", json!("ann@example.com")),
            ("app_metadata", json!({"provider": "email", "providers": ["email"]})),
            ("user_metadata", json!({"name": "Ann"})),
            ("exp", answer.body["expires_at"].clone()),
            ("is_anonymous", json!(false)),
        ] {
            assert_eq!(identity.claims.get(claim), Some(&value), "{claim}");
        }
        assert_eq!(project.user(token).await.body, answer.body["user"]);

        let outbox = project.outbox().await;
        assert_eq!(outbox.len(), 1);
        assert_eq!(
            (outbox[0].topic.as_str(), outbox[0].key.as_str()),
            ("user.registered", answer.text("/user/id"))
        );
        let payload: Json = serde_json::from_str(&outbox[0].payload).expect("JSON");
        assert_eq!(
            payload,
            json!({"id": answer.text("/user/id"), "email": "ann@example.com", "created_at": answer.text("/user/created_at")})
        );

        let files = project.files();
        assert!(contains(&files, "$argon2id$v=19$m=19456,t=2,p=1$"), "the hash is there");
        assert!(!contains(&files, "correct horse"), "and the password is not");
        assert!(
            !contains(&files, answer.text("/refresh_token")),
            "nor is the refresh token"
        );
    });
}

#[test]
fn an_address_registers_once() {
    let project = Project::new(config());
    run(async {
        assert_eq!(project.sign_up("ann@example.com", "password1").await.status, 200);
        let again = project.sign_up("ANN@example.com", "password2").await;
        assert_eq!(again.refusal(), (422, "user_already_exists"));
        assert_eq!(project.outbox().await.len(), 1, "what did not happen is not told");
        assert_eq!(project.log_in("ann@example.com", "password1").await.status, 200);
        assert_eq!(project.log_in("ann@example.com", "password2").await.status, 400);
    });
}

#[test]
fn where_addresses_are_confirmed_nobody_learns_who_has_an_account() {
    let project = Project::new(Config {
        confirm: true,
        ..config()
    });
    run(async {
        let first = project.sign_up("ann@example.com", "password1").await;
        let second = project.sign_up("ann@example.com", "password2").await;
        assert_eq!((first.status, second.status), (200, 200));
        assert!(first.body["access_token"].is_null());
        let keys = |body: &Json| body.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&first.body), keys(&second.body));
        for (key, value) in first.body.as_object().expect("an object") {
            let differs = ["id", "created_at", "updated_at", "confirmation_sent_at"].contains(&key.as_str());
            assert_eq!(*value == second.body[key], !differs, "{key}");
        }
        assert_eq!(project.outbox().await.len(), 1);

        assert_eq!(
            project.log_in("ann@example.com", "password1").await.refusal(),
            (400, "email_not_confirmed")
        );
        assert_eq!(
            project.log_in("ann@example.com", "password2").await.refusal(),
            (400, "invalid_credentials")
        );
        project
            .set_all("users", "email_confirmed_at", Value::Timestamp(1))
            .await;
        assert_eq!(project.log_in("ann@example.com", "password1").await.status, 200);
    });
}

#[test]
fn registration_can_be_closed_while_logins_go_on() {
    let open = Project::new(config());
    let closed = Project::new(Config {
        signup: false,
        ..config()
    });
    run(async {
        assert_eq!(
            closed.sign_up("ann@example.com", "password1").await.refusal(),
            (422, "signup_disabled")
        );
        for (project, disabled) in [(&open, false), (&closed, true)] {
            let settings = project.ask("GET", "/settings", None, Json::Null).await;
            assert_eq!(settings.body["disable_signup"], json!(disabled));
            assert_eq!(settings.body["mailer_autoconfirm"], json!(true));
            assert_eq!(settings.body["external"]["email"], json!(true));
        }
    });
}

#[test]
fn without_a_key_that_signs_nobody_gets_in() {
    let project = Project::with_signer(config(), None);
    run(async {
        for answer in [
            project.sign_up("ann@example.com", "password1").await,
            project.log_in("ann@example.com", "password1").await,
            project.refresh("x").await,
        ] {
            assert_eq!(answer.refusal(), (422, "email_provider_disabled"));
        }
        assert!(project.outbox().await.is_empty());
    });
}
