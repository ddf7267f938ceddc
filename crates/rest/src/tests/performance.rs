//! What a request costs that was seen before: printed, and bounded loosely enough for a debug build on a shared machine.

use super::recorder::{Recorder, request};
use crate::{Rest, RestConfig};
use http::Method;
use std::time::Instant;

#[test]
fn a_request_seen_before_is_not_read_again() {
    let rest = Rest::new(Recorder::new(), RestConfig::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let time = |path: &dyn Fn(u32) -> String| {
        let requests: Vec<_> = (0..2000)
            .map(|i| request(Method::GET, &path(i), &[("accept", "application/json")], ""))
            .collect();
        let began = Instant::now();
        for request in requests {
            runtime.block_on(rest.handle(request));
        }
        began.elapsed() / 2000
    };
    let rest_of = "id,name,clients(name)&or=(id.eq.1,id.eq.2)&order=name.desc&limit=10&id=gt.";
    let seen = time(&|_| format!("projects?select={rest_of}1"));
    let values = time(&|i| format!("projects?select={rest_of}{i}"));
    let new = time(&|i| format!("projects?select=x{i}:{rest_of}1"));
    println!("seen before {seen:?}, with other values {values:?}, new {new:?}");
    assert!(
        seen < new && values < new,
        "seen before {seen:?}, with other values {values:?}, new {new:?}"
    );
}
