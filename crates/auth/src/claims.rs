//! What a verified token's claims must be: when it is good, for whom, and from whom. Each refusal names the claim.

use crate::verify::{Config, refused};
use mainstay_model::{Error, Result};
use serde_json::{Map, Value as Json};

/// Checks the claims of a token whose signature is good; `now` in seconds since 1970. Error: PGRST303.
pub(crate) fn check(claims: &Map<String, Json>, config: &Config, now: u64) -> Result<()> {
    let (now, leeway) = (now as f64, config.leeway_s as f64);
    let expires = number(claims, "exp")?;
    let begins = number(claims, "nbf")?;
    let issued = number(claims, "iat")?;
    let audience = audience(claims)?;
    if expires.is_some_and(|at| at < now - leeway) {
        return Err(unfit("JWT expired"));
    }
    if begins.is_some_and(|at| at > now + leeway) {
        return Err(unfit("JWT not yet valid"));
    }
    if issued.is_some_and(|at| at > now + leeway) {
        return Err(unfit("JWT issued at future"));
    }
    if !config.audience.is_empty() {
        let audience = audience.ok_or_else(|| missing("aud"))?;
        if !audience
            .iter()
            .any(|one| config.audience.iter().any(|ours| ours == one))
        {
            return Err(unfit("JWT not in audience"));
        }
    }
    if let Some(issuer) = &config.issuer {
        match claims.get("iss") {
            None | Some(Json::Null) => return Err(missing("iss")),
            Some(Json::String(own)) if own == issuer => {}
            Some(_) => return Err(unfit("JWT not from the expected issuer")),
        }
    }
    // A token that is good for ever cannot be taken back.
    expires.map(drop).ok_or_else(|| missing("exp"))
}

fn number(claims: &Map<String, Json>, name: &str) -> Result<Option<f64>> {
    match claims.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(unfit(&format!("The JWT '{name}' claim must be a number"))),
        },
    }
}

fn audience(claims: &Map<String, Json>) -> Result<Option<Vec<&str>>> {
    let wrong = || unfit("The JWT 'aud' claim must be a string or an array of strings");
    match claims.get("aud") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(one)) => Ok(Some(vec![one])),
        Some(Json::Array(all)) => all
            .iter()
            .map(|one| one.as_str().ok_or_else(wrong))
            .collect::<Result<_>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

fn missing(claim: &str) -> Error {
    unfit(&format!("the token has no \"{claim}\" claim"))
}

fn unfit(why: &str) -> Error {
    refused("PGRST303", why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_claim_is_held_to_its_meaning() {
        let config = Config {
            audience: vec!["shop".into(), "desk".into()],
            issuer: Some("us".into()),
            ..Config::default()
        };
        for (claims, want) in [
            (r#"{"exp":2000,"aud":"shop","iss":"us"}"#, ""),
            (
                r#"{"exp":970,"nbf":1030.0,"iat":1030,"aud":["bank","desk"],"iss":"us"}"#,
                "",
            ),
            (r#"{"exp":969,"aud":"shop","iss":"us"}"#, "JWT expired"),
            (
                r#"{"exp":2000,"nbf":1031,"aud":"shop","iss":"us"}"#,
                "JWT not yet valid",
            ),
            (
                r#"{"exp":2000,"iat":1031,"aud":"shop","iss":"us"}"#,
                "JWT issued at future",
            ),
            (r#"{"aud":"shop","iss":"us"}"#, "the token has no \"exp\" claim"),
            (
                r#"{"exp":null,"aud":"shop","iss":"us"}"#,
                "the token has no \"exp\" claim",
            ),
            (r#"{"exp":"2000"}"#, "The JWT 'exp' claim must be a number"),
            (r#"{"nbf":true}"#, "The JWT 'nbf' claim must be a number"),
            (r#"{"iat":[]}"#, "The JWT 'iat' claim must be a number"),
            (
                r#"{"aud":5}"#,
                "The JWT 'aud' claim must be a string or an array of strings",
            ),
            (
                r#"{"aud":["shop",5]}"#,
                "The JWT 'aud' claim must be a string or an array of strings",
            ),
            (r#"{"exp":2000,"aud":[],"iss":"us"}"#, "JWT not in audience"),
            (r#"{"exp":2000,"aud":"bank","iss":"us"}"#, "JWT not in audience"),
            (r#"{"exp":2000,"iss":"us"}"#, "the token has no \"aud\" claim"),
            (r#"{"exp":2000,"aud":"shop"}"#, "the token has no \"iss\" claim"),
            (
                r#"{"exp":2000,"aud":"shop","iss":"them"}"#,
                "JWT not from the expected issuer",
            ),
        ] {
            let parsed = serde_json::from_str(claims).expect("JSON");
            let got = check(&parsed, &config, 1000)
                .err()
                .map(|e| e.message.clone())
                .unwrap_or_default();
            assert_eq!(got, want, "{claims}");
        }
    }
}
