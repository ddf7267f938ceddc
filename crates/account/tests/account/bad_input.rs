//! Whatever is sent, the answer names what is wrong with it.

use crate::harness::{Project, config, run};
use bytes::Bytes;
use http::Request;
use serde_json::{Value as Json, json};

#[test]
fn malformed_requests_are_refused_by_name() {
    let project = Project::new(config());
    let password = "/token?grant_type=password";
    run(async {
        for (path, body, status, code) in [
            ("/signup", "{", 400, "bad_json"),
            ("/signup", "[]", 400, "bad_json"),
            ("/signup", "", 422, "anonymous_provider_disabled"),
            ("/signup", "{}", 422, "anonymous_provider_disabled"),
            ("/signup", r#"{"email":"a@b.c"}"#, 400, "validation_failed"),
            ("/signup", r#"{"password":"password1"}"#, 400, "validation_failed"),
            (
                "/signup",
                r#"{"phone":"1","password":"password1"}"#,
                400,
                "phone_provider_disabled",
            ),
            (
                "/signup",
                r#"{"email":"a","password":"password1"}"#,
                400,
                "validation_failed",
            ),
            (
                "/signup",
                r#"{"email":["a@b.c"],"password":"password1"}"#,
                400,
                "validation_failed",
            ),
            (
                "/signup",
                r#"{"email":"a@b.c","password":"passwor"}"#,
                422,
                "weak_password",
            ),
            (
                "/signup",
                r#"{"email":"a@b.c","password":"password1","data":[]}"#,
                400,
                "validation_failed",
            ),
            (
                "/signup",
                r#"{"email":"a@b.c","password":"password1","data":{"a":"\u0000"}}"#,
                400,
                "validation_failed",
            ),
            (password, "{}", 400, "validation_failed"),
            (password, r#"{"email":"a@b.c"}"#, 400, "invalid_credentials"),
            (
                password,
                r#"{"email":"'; --","password":"x"}"#,
                400,
                "invalid_credentials",
            ),
            (
                password,
                r#"{"phone":"1","password":"x"}"#,
                422,
                "phone_provider_disabled",
            ),
            (password, r#"{"email":{},"password":"x"}"#, 400, "validation_failed"),
            ("/token", "{}", 400, "invalid_credentials"),
            ("/token?grant_type=pkce", "{}", 400, "invalid_credentials"),
            (
                "/token?grant_type=refresh_token",
                r#"{"refresh_token":7}"#,
                400,
                "validation_failed",
            ),
            ("/verify", "{}", 422, "feature_disabled"),
            ("/recover", "{}", 422, "feature_disabled"),
            ("/magiclink", "{}", 422, "feature_disabled"),
            ("/otp", "{}", 422, "feature_disabled"),
            ("/admin/users", "{}", 422, "feature_disabled"),
            ("/user/identities/authorize", "{}", 422, "feature_disabled"),
            ("/verifyx", "{}", 404, "not_found"),
            ("/", "{}", 404, "not_found"),
            ("/user", "{}", 405, "method_not_allowed"),
            ("/settings", "{}", 405, "method_not_allowed"),
        ] {
            let request = Request::post(format!("/auth/v1{path}"))
                .body(Bytes::from(body))
                .expect("a request");
            let answer = project.send(request).await;
            assert_eq!(answer.refusal(), (status, code), "{path} {body}");
            assert_eq!(answer.headers["x-sb-error-code"], code);
        }
        assert!(project.outbox().await.is_empty());
    });
}

#[test]
fn a_body_beyond_the_limit_is_not_read() {
    let project = Project::new(config());
    run(async {
        let body = json!({"email": "x".repeat(70_000)});
        let answer = project.ask("POST", "/signup", None, body).await;
        assert_eq!(answer.refusal(), (413, "request_entity_too_large"));
    });
}

#[test]
fn the_small_paths_answer() {
    let project = Project::new(config());
    run(async {
        let health = project.ask("GET", "/health", None, Json::Null).await;
        assert_eq!((health.status, health.text("/name")), (200, "Mainstay"));
        let keys = project.ask("GET", "/.well-known/jwks.json", None, Json::Null).await;
        assert_eq!(keys.body, json!({"keys": []}));
        let options = project.ask("OPTIONS", "/user", None, Json::Null).await;
        assert_eq!(
            (options.status, &options.headers["allow"]),
            (204, &"GET, HEAD, PUT, OPTIONS".parse().expect("a value"))
        );
        for (path, status) in [("/settings", 200), ("/user", 401)] {
            let get = project.ask("GET", path, None, Json::Null).await;
            let head = project.ask("HEAD", path, None, Json::Null).await;
            assert_eq!((get.status, head.status), (status, status), "{path}");
            assert_ne!(get.body, Json::Null);
            assert_eq!(head.body, Json::Null, "HEAD {path} has no content");
            assert_eq!(head.headers["content-type"], get.headers["content-type"]);
            assert_ne!(head.headers["content-length"], "0");
        }
        let named = Request::get("/auth/v1/user")
            .header("x-supabase-api-version", "2024-01-01")
            .body(Bytes::new())
            .expect("a request");
        let named = project.send(named).await;
        assert_eq!(named.headers["x-supabase-api-version"], "2024-01-01");
        assert_eq!(
            named.body,
            json!({"code": "no_authorization", "message": "This endpoint requires a valid Bearer token"})
        );
    });
}
