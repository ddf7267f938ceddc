//! Rotation: one use each, the same successor within the grace, the end of the session beyond it.

use crate::harness::{Project, config, run};
use mainstay_model::{Value, time};
use std::collections::HashSet;

const SECOND: i64 = 1_000_000;

#[test]
fn each_refresh_brings_a_new_pair_of_the_same_session() {
    let project = Project::new(config());
    run(async {
        let mut last = project.sign_up("ann@example.com", "password1").await;
        let session = |token: &str| {
            let identity = project.verifier.verify(token).expect("verifies");
            identity.claims["session_id"].clone()
        };
        let mut tokens = HashSet::from([last.text("/refresh_token").to_owned()]);
        for _ in 0..5 {
            let next = project.refresh(last.text("/refresh_token")).await;
            assert_eq!(next.status, 200, "{}", next.body);
            assert!(
                tokens.insert(next.text("/refresh_token").to_owned()),
                "never the same twice"
            );
            assert_eq!(session(next.text("/access_token")), session(last.text("/access_token")));
            assert_eq!(next.text("/user/id"), last.text("/user/id"));
            last = next;
        }
        assert_eq!(project.user(last.text("/access_token")).await.status, 200);
    });
}

#[test]
fn a_lost_answer_is_given_again_and_only_for_ten_seconds() {
    let project = Project::new(config());
    run(async {
        let begun = project.sign_up("ann@example.com", "password1").await;
        let (first, access) = (begun.text("/refresh_token"), begun.text("/access_token"));
        let second = project.refresh(first).await;
        let again = project.refresh(first).await;
        assert_eq!(again.status, 200, "{}", again.body);
        assert_eq!(again.text("/refresh_token"), second.text("/refresh_token"));
        assert_eq!(project.user(access).await.status, 200);

        let long_ago = Value::Timestamp(time::now() - 11 * SECOND);
        project.set_all("refresh_tokens", "updated_at", long_ago).await;
        assert_eq!(
            project.refresh(first).await.refusal(),
            (400, "refresh_token_already_used")
        );
        let current = project.refresh(second.text("/refresh_token")).await;
        assert_eq!(
            current.refusal(),
            (400, "refresh_token_already_used"),
            "the session is over with all its tokens"
        );
        assert_eq!(project.user(access).await.refusal(), (403, "session_not_found"));
        assert_eq!(
            project.log_in("ann@example.com", "password1").await.status,
            200,
            "the user may begin anew"
        );
    });
}

#[test]
fn a_grandparent_ends_the_session_even_within_the_grace() {
    let project = Project::new(config());
    run(async {
        let first = project.sign_up("ann@example.com", "password1").await;
        let other = project.log_in("ann@example.com", "password1").await;
        let second = project.refresh(first.text("/refresh_token")).await;
        let third = project.refresh(second.text("/refresh_token")).await;
        let stolen = project.refresh(first.text("/refresh_token")).await;
        assert_eq!(stolen.refusal(), (400, "refresh_token_already_used"));
        for token in [&second, &third] {
            let answer = project.refresh(token.text("/refresh_token")).await;
            assert_eq!(answer.refusal(), (400, "refresh_token_already_used"));
            assert_eq!(
                project.user(token.text("/access_token")).await.refusal(),
                (403, "session_not_found")
            );
        }
        assert_eq!(
            project.refresh(other.text("/refresh_token")).await.status,
            200,
            "the user's other session goes on"
        );
    });
}

#[test]
fn simultaneous_uses_get_one_and_the_same_successor() {
    let project = Project::new(config());
    let begun = run(project.sign_up("ann@example.com", "password1"));
    let token = begun.text("/refresh_token");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| run(project.refresh(token)))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let successors: HashSet<_> = answers.iter().map(|answer| answer.text("/refresh_token")).collect();
    assert_eq!(successors.len(), 1, "the session did not branch");
    let successor = successors.into_iter().next().expect("one");
    assert_eq!(run(project.refresh(successor)).status, 200);
}

#[test]
fn an_unused_session_expires_and_a_used_one_is_prolonged() {
    let project = Project::new(config());
    run(async {
        let begun = project.sign_up("ann@example.com", "password1").await;
        let soon = Value::Timestamp(time::now() + 60 * SECOND);
        project.set_all("sessions", "not_after", soon).await;
        let next = project.refresh(begun.text("/refresh_token")).await;
        assert_eq!(next.status, 200);
        let past = Value::Timestamp(time::now() - 1);
        project.set_all("sessions", "not_after", past).await;
        let late = project.refresh(next.text("/refresh_token")).await;
        assert_eq!(late.refusal(), (400, "session_expired"));
        assert_eq!(
            project.user(next.text("/access_token")).await.refusal(),
            (403, "session_not_found")
        );
        project.set_all("sessions", "not_after", Value::Null).await;
        assert_eq!(
            project.refresh(next.text("/refresh_token")).await.status,
            200,
            "no end is no end"
        );
    });
}

#[test]
fn what_was_never_a_token_is_not_found() {
    let project = Project::new(config());
    run(async {
        for token in ["x", "\u{0}", &"y".repeat(43), &"z".repeat(10_000)] {
            assert_eq!(
                project.refresh(token).await.refusal(),
                (400, "refresh_token_not_found"),
                "{token:.50}"
            );
        }
        let missing = project.refresh("").await;
        assert_eq!((missing.status, missing.text("/error")), (400, "invalid_request"));
    });
}
