//! What a store was slow to answer or to do, told of with its statements, their plan and the request behind it.

use mainstay_query::{Slow, SlowOperation};
use std::time::Duration;

/// Tells the log of what takes so long.
pub fn told(after: Duration) -> Slow {
    Slow::new(after, |slow| mainstay_telemetry::warn!("slow", "{}", sentence(&slow)))
}

/// Texts are left out: a log is read by more people than the rows are.
fn sentence(slow: &SlowOperation) -> String {
    let request = slow.request.as_deref().unwrap_or("a task");
    let (sql, plan) = match &slow.explanation {
        Ok(explanation) => (explanation.sql(), explanation.plan.as_str()),
        Err(why) => (String::new(), &*why.message),
    };
    let before = match &slow.statement {
        Some(statement) => format!("{} calls, {} ms at most; ", statement.calls, statement.max_us / 1000),
        None => String::new(),
    };
    format!(
        "{request} by {} waited {} ms for its store; {before}{sql}\n{}",
        slow.role,
        slow.took.as_millis(),
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
