//! Passwords for sessions, and sessions' ends.

use crate::harness::{Answer, Project, config, run};
use mainstay_model::Value;
use serde_json::Value as Json;

#[test]
fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let project = Project::new(config());
    run(async {
        project.sign_up("ann@example.com", "password1").await;
        let wrong = project.log_in("ann@example.com", "password2").await;
        let unknown = project.log_in("bob@example.com", "password1").await;
        assert_eq!(wrong.refusal(), (400, "invalid_credentials"));
        assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
        let long = project.log_in("ann@example.com", &"x".repeat(2_000)).await;
        assert_eq!(wrong.body, long.body);
        let right = project.log_in(" ANN@example.com", "password1").await;
        assert_eq!(right.status, 200, "{}", right.body);
        assert!(right.text("/user/last_sign_in_at") >= right.text("/user/created_at"));
    });
}

#[test]
fn a_user_without_a_password_of_ours_cannot_log_in() {
    let project = Project::new(config());
    run(async {
        project.sign_up("ann@example.com", "password1").await;
        for hash in [Value::Null, Value::Text(String::new()), Value::Text("password1".into())] {
            project.set_all("users", "encrypted_password", hash).await;
            for password in ["password1", ""] {
                let answer = project.log_in("ann@example.com", password).await;
                assert_eq!(answer.refusal(), (400, "invalid_credentials"));
            }
        }
    });
}

async fn three_sessions(project: &Project, email: &str) -> [Answer; 3] {
    [
        project.sign_up(email, "password1").await,
        project.log_in(email, "password1").await,
        project.log_in(email, "password1").await,
    ]
}

/// Which of the sessions are still there, by what their tokens are good for.
async fn alive(project: &Project, sessions: &[Answer; 3]) -> Vec<bool> {
    let mut alive = Vec::new();
    for session in sessions {
        let user = project.user(session.text("/access_token")).await;
        let refreshed = project.refresh(session.text("/refresh_token")).await;
        match (user.status, refreshed.status) {
            (200, 200) => alive.push(true),
            (403, 400) => {
                assert_eq!(user.refusal().1, "session_not_found");
                assert_eq!(refreshed.refusal().1, "refresh_token_not_found");
                alive.push(false);
            }
            other => panic!("half alive: {other:?}"),
        }
    }
    alive
}

#[test]
fn logout_ends_what_its_scope_says() {
    let project = Project::new(config());
    run(async {
        let bystander = project.sign_up("bob@example.com", "password1").await;
        for (number, (scope, expected)) in [
            ("", [false, false, false]),
            ("?scope=global", [false, false, false]),
            ("?scope=local", [true, false, true]),
            ("?scope=others", [false, true, false]),
        ]
        .into_iter()
        .enumerate()
        {
            let sessions = three_sessions(&project, &format!("ann{number}@example.com")).await;
            let token = Some(sessions[1].text("/access_token"));
            let answer = project.ask("POST", &format!("/logout{scope}"), token, Json::Null).await;
            assert_eq!((answer.status, answer.body), (204, Json::Null));
            assert_eq!(alive(&project, &sessions).await, expected, "{scope}");
        }
        let token = bystander.text("/access_token");
        assert_eq!(project.user(token).await.status, 200, "nobody else is touched");
        let unknown = project.ask("POST", "/logout?scope=some", Some(token), Json::Null).await;
        assert_eq!(unknown.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn with_the_user_everything_goes() {
    let project = Project::new(config());
    run(async {
        let session = project.sign_up("ann@example.com", "password1").await;
        project.sign_up("bob@example.com", "password1").await;
        project.delete_user("ann@example.com").await;
        assert_eq!(
            project.user(session.text("/access_token")).await.refusal(),
            (403, "user_not_found")
        );
        let refreshed = project.refresh(session.text("/refresh_token")).await;
        assert_eq!(refreshed.refusal(), (400, "refresh_token_not_found"));
        assert_eq!(
            project.log_in("ann@example.com", "password1").await.refusal(),
            (400, "invalid_credentials")
        );
        assert_eq!(project.log_in("bob@example.com", "password1").await.status, 200);
    });
}
