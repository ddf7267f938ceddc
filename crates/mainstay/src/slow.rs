//! Reads that a store was slow to answer, told of with their statement, their plan and who asked.

use mainstay_query::{Slow, SlowRead};
use std::sync::Arc;
use std::time::Duration;

/// Tells the log of reads that take so long.
pub fn told(after: Duration) -> Slow {
    Slow {
        after,
        told: Arc::new(|slow| mainstay_telemetry::warn!("slow", "{}", sentence(&slow))),
    }
}

/// Values are left out: a log is read by more people than the rows are.
fn sentence(slow: &SlowRead) -> String {
    let asked = match &slow.identity.request {
        Some(request) => format!("{} {}", request.method, request.path),
        None => "a request".to_owned(),
    };
    let (statement, role) = (&slow.statement, &slow.identity.role);
    let (sql, plan) = match &slow.explanation {
        Ok(explanation) => (explanation.sql.as_str(), explanation.plan.as_str()),
        Err(why) => ("", &*why.message),
    };
    format!(
        "{asked} by {role} waited {} ms for its store; {} calls, {} ms at most; {sql}\n{plan}",
        slow.took.as_millis(),
        statement.calls,
        statement.max_us / 1000,
    )
}
