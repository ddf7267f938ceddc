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

/// Texts are left out: a log is read by more people than the rows are.
fn sentence(slow: &SlowRead) -> String {
    let asked = match &slow.identity.request {
        Some(request) => format!("{} {}", request.method, request.path),
        None => "a request".to_owned(),
    };
    let (statement, role) = (&slow.statement, &slow.identity.role);
    let (sql, plan) = match &slow.explanation {
        Ok(explanation) => (explanation.sql(), explanation.plan.as_str()),
        Err(why) => (String::new(), &*why.message),
    };
    format!(
        "{asked} by {role} waited {} ms for its store; {} calls, {} ms at most; {sql}\n{}",
        slow.took.as_millis(),
        statement.calls,
        statement.max_us / 1000,
        without_texts(plan),
    )
}

/// A plan without what stands between its quotes. A doubled quote ends one literal and begins another, which comes to the same.
pub fn without_texts(plan: &str) -> String {
    let mut out = String::with_capacity(plan.len());
    for (index, part) in plan.split('\'').enumerate() {
        match index % 2 {
            0 => out.push_str(part),
            _ => out.push_str("'…'"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn plans_are_told_without_texts() {
        for (plan, told) in [
            ("Seq Scan on t (cost=0.00)", "Seq Scan on t (cost=0.00)"),
            ("Filter: (name = 'a secret'::text)", "Filter: (name = '…'::text)"),
            (
                "((a = 'it''s'::text) AND (b = ''::text))",
                "((a = '…''…'::text) AND (b = '…'::text))",
            ),
        ] {
            assert_eq!(super::without_texts(plan), told);
        }
    }
}
