//! Limits that are asked before anything is hashed.

use crate::harness::{Peer, Project, config, run};
use http::Request;
use mainstay_account::{Config, Rate};
use serde_json::json;
use std::time::Duration;

fn rate(count: u32) -> Rate {
    Rate {
        count,
        period: Duration::from_secs(3_600),
    }
}

async fn log_in(project: &Project, peer: &str, email: &str) -> (u16, Option<String>) {
    let body = json!({"email": email, "password": "password1"}).to_string();
    let mut request = Request::post("/auth/v1/token?grant_type=password")
        .body(body.into())
        .expect("a request");
    request.extensions_mut().insert(Peer(peer.parse().expect("an address")));
    let answer = project.send(request).await;
    let wait = answer
        .headers
        .get("retry-after")
        .map(|value| value.to_str().expect("text").to_owned());
    if answer.status == 429 {
        assert_eq!(answer.refusal().1, "over_request_rate_limit");
    }
    (answer.status, wait)
}

#[test]
fn an_address_has_so_many_tries_and_others_are_not_disturbed() {
    let project = Project::new(Config {
        limit: rate(3),
        ..config()
    });
    run(async {
        for number in 0..3 {
            let (status, _) = log_in(&project, "192.0.2.1", &format!("user{number}@example.com")).await;
            assert_eq!(status, 400);
        }
        let began = std::time::Instant::now();
        for _ in 0..100 {
            let refused = log_in(&project, "192.0.2.1", "ann@example.com").await;
            assert_eq!(refused, (429, Some("1200".to_owned())));
        }
        assert!(began.elapsed() < Duration::from_secs(1), "nothing was hashed for them");
        assert_eq!(log_in(&project, "192.0.2.2", "ann@example.com").await.0, 400);
        for (host, status) in [(1, 400), (2, 400), (3, 400), (4, 429)] {
            let peer = format!("2001:db8::{host}");
            assert_eq!(
                log_in(&project, &peer, "ann@example.com").await.0,
                status,
                "{peer}: one network, one caller"
            );
        }
    });
}

#[test]
fn an_account_has_so_many_tries_from_wherever_they_come() {
    let project = Project::new(Config {
        account_limit: rate(3),
        ..config()
    });
    run(async {
        for (host, status) in [(1, 400), (2, 400), (3, 400), (4, 429)] {
            let peer = format!("192.0.2.{host}");
            let email = if host % 2 == 0 {
                "ann@example.com"
            } else {
                " ANN@example.com"
            };
            assert_eq!(log_in(&project, &peer, email).await.0, status, "{peer}");
        }
        assert_eq!(log_in(&project, "192.0.2.4", "bob@example.com").await.0, 400);
    });
}

#[test]
fn sign_ups_and_changes_of_password_count_like_logins_and_refreshes_by_themselves() {
    let project = Project::new(Config {
        limit: rate(2),
        refresh_limit: rate(1),
        ..config()
    });
    run(async {
        let ann = project.sign_up("ann@example.com", "password1").await;
        assert_eq!(project.sign_up("bob@example.com", "password1").await.status, 200);
        assert_eq!(project.sign_up("eve@example.com", "password1").await.status, 429);
        let token = Some(ann.text("/access_token"));
        let change = project
            .ask("PUT", "/user", token, json!({"password": "password2"}))
            .await;
        assert_eq!(change.refusal(), (429, "over_request_rate_limit"));
        let harmless = project.ask("PUT", "/user", token, json!({"data": {"a": 1}})).await;
        assert_eq!(harmless.status, 200);
        assert_eq!(project.refresh(ann.text("/refresh_token")).await.status, 200);
        assert_eq!(project.refresh(ann.text("/refresh_token")).await.status, 429);
    });
}

#[test]
fn more_logins_than_can_be_hashed_are_told_to_come_again() {
    let project = Project::new(Config {
        hashes: 1,
        hash_queue: 2,
        ..config()
    });
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..12)
            .map(|n| {
                let project = &project;
                scope.spawn(move || run(log_in(project, "192.0.2.1", &format!("user{n}@example.com"))))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!(count(400) + count(503), 12, "{answers:?}");
    assert!(count(503) > 0 && count(400) >= 3, "{answers:?}");
    assert!(answers.iter().all(|(status, wait)| (*status == 503) == wait.is_some()));
}
