//! What a request costs that was seen before: printed, and bounded loosely enough for a debug build on a shared machine.

use super::requests::{Recorder, request};
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
    let query = "projects?select=id,name,clients(name)&or=(id.eq.1,id.eq.2)&order=name.desc&limit=10&id=gt.";
    let seen = time(&|_| format!("{query}1"));
    let new = time(&|i| format!("{query}{i}"));
    println!("seen before {seen:?}, new {new:?}");
    assert!(seen < new, "seen before {seen:?}, new {new:?}");
}
