//! No input panics, whatever it is.

use super::recorder::{Recorder, request, send_to};
use crate::{Rest, RestConfig};
use http::Method;
use proptest::prelude::*;

/// Pieces of the little languages, so that more than the first character is reached.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "select",
            "order",
            "and",
            "or",
            "not",
            "limit",
            "offset",
            "columns",
            "on_conflict",
            "id",
            "name",
            "clients",
            "projects",
            "tasks",
            "data",
            "eq",
            "in",
            "is",
            "null",
            "like",
            "any",
            "fts",
            "count()",
            "sum()",
            "=",
            "&",
            ".",
            ",",
            "(",
            ")",
            "{",
            "}",
            "->",
            "->>",
            "::",
            ":",
            "!",
            "inner",
            "...",
            "*",
            "\"",
            "\\",
            "%",
            "+",
            "-",
            " ",
            "1",
            "é",
            "\u{1F600}",
            "desc",
            "nullsfirst",
            "[",
            "]",
            "'",
            "_int4",
            "rpc",
            "add",
            "a",
            "%22",
            "%00",
            "%ff",
            "%E2%82%AC"
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,3}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn parsers_take_anything(query in text(), plain in any::<String>()) {
        let limits = crate::Limits::default();
        for text in [&query, &plain] {
            let _ = crate::select::parse(text, &limits);
            let _ = crate::order::parse(text);
            let _ = crate::filter::parse_test(text);
            let _ = crate::filter::parse_path(text);
            let _ = crate::filter::parse_logic("or", text, &limits);
            let _ = crate::filter::parse_logic(text, "(a.eq.1)", &limits);
            let _ = crate::query_string::split(text, &limits);
            let _ = crate::payload::rows(text.as_bytes(), crate::media::Content::Csv, None, &limits);
            let _ = crate::payload::rows(text.as_bytes(), crate::media::Content::Form, None, &limits);
            let _ = crate::payload::rows(text.as_bytes(), crate::media::Content::Json, None, &limits);
        }
    }

    #[test]
    fn requests_take_anything(
        path in prop::sample::select(vec!["clients", "projects", "clients/1", "rpc/add", "rpc/search", "tasks/x", ""]),
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        query in text(),
        body in text(),
        prefer in text(),
        accept in text(),
    ) {
        let query: String = query.bytes().map(|b| if b.is_ascii_graphic() && !b"#<>\"{}|\\^`".contains(&b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect();
        let rest = Rest::new(Recorder::new(), RestConfig::default());
        let clean = |text: &str| text.bytes().filter(|b| (0x20..0x7f).contains(b)).map(char::from).collect::<String>();
        let (prefer, accept) = (clean(&prefer), clean(&accept));
        let headers = [("prefer", &*prefer), ("accept", &*accept), ("range", &*accept), ("if-match", &*accept)];
        let response = send_to(&rest, "authenticated", request(method.parse::<Method>().unwrap(), &format!("{path}?{query}"), &headers, &body));
        prop_assert!(response.status().as_u16() != 500, "{:?}", response.body());
    }
}
