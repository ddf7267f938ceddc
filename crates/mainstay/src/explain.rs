//! What reads cost, which indexes are missing for them, and how one would be answered: of a running instance, which alone knows.

use crate::admin::ask;
use crate::cli::{Explain, Instance};
use crate::current::Generation;
use crate::explain_request;
use crate::output::say;
use crate::slow::without_texts;
use mainstay_model::{Encoder, Identity, Representation, Source, Type, ValueRef};
use mainstay_query::{Statement, missing_indexes};
use serde_json::{Value as Json, json};
use std::fmt::Display;

/// Statements listed.
const LISTED: usize = 50;

/// Statements by the time that stores took for them, and the indexes that would have helped. Values are not among them.
pub async fn statements(generation: &Generation) -> Json {
    let engine = &generation.engine;
    let schema = engine.schema();
    let mut statements = engine.statements();
    statements.retain(|s| s.calls > 0);
    statements.sort_by_key(|s| std::cmp::Reverse(s.total_us));
    let missing: Vec<Json> = missing_indexes(schema, &statements)
        .iter()
        .map(|m| json!({"index": m.ddl(schema), "calls": m.calls, "total_us": m.total_us}))
        .collect();
    let mut listed = Vec::new();
    for statement in statements.iter().take(LISTED) {
        let identity = Identity::role(&statement.role);
        let wanted = mainstay_store::Explain::default();
        let (sql, plan) = match engine.explain(statement, &identity, &Nothing, wanted).await {
            Ok(explanation) => (explanation.sql(), without_texts(&explanation.plan)),
            Err(why) => (String::new(), why.message.clone()),
        };
        listed.push(json!({
            "of": of(generation, statement), "role": &*statement.role, "calls": statement.calls, "total_us": statement.total_us,
            "max_us": statement.max_us, "rows": statement.rows, "sql": sql, "plan": plan,
        }));
    }
    json!({"statements": listed, "missing_indexes": missing})
}

/// The relation or function that a statement reads first.
fn of(generation: &Generation, statement: &Statement) -> String {
    let schema = generation.engine.schema();
    match &statement.shape.from {
        Source::Relation(relation) => schema.relation(relation.relation).name.to_string(),
        Source::Call(call) => format!("{}()", schema.function(call.function).name),
    }
}

/// A form without an answer: a plan has none.
struct Nothing;

impl Representation for Nothing {
    fn id(&self) -> &str {
        "nothing"
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Nothing)
    }
}

impl Encoder for Nothing {
    fn begin_row(&mut self) {}
    fn field(&mut self, _: &str, _: &Type, _: ValueRef<'_>) {}
    fn begin_one(&mut self, _: &str) {}
    fn end_one(&mut self) {}
    fn begin_many(&mut self, _: &str) {}
    fn end_many(&mut self) {}
    fn end_row(&mut self) {}
    fn scalar(&mut self, _: &Type, _: ValueRef<'_>) {}
    fn len(&self) -> usize {
        0
    }
    fn finish(self: Box<Self>) -> bytes::Bytes {
        bytes::Bytes::new()
    }
}

/// `mainstay explain`
pub fn run(options: &Explain) -> Result<(), Box<dyn Display>> {
    let fail = |text: String| Box::new(text) as Box<dyn Display>;
    let (requests, places): (Vec<&String>, Vec<&String>) =
        options.what.iter().partition(|what| explain_request::is_request(what));
    let instance = match (requests.len(), places.as_slice()) {
        (2.., _) => return Err(fail("one request at a time".to_owned())),
        (_, []) => ".",
        (_, [dir]) => dir,
        _ => {
            return Err(fail(format!(
                "{:?} is no request; write for example \"GET /rest/v1/orders\"",
                places[1]
            )));
        }
    };
    let instance = Instance {
        dir: instance.into(),
        admin: options.admin.clone(),
        set: options.set.clone(),
    };
    if let Some(request) = requests.first() {
        return explain_request::run(&instance, request, options).map_err(fail);
    }
    let answer = ask(&instance, "GET", "/statements").map_err(fail)?;
    let answer: Json = serde_json::from_str(&answer).map_err(|e| fail(format!("the answer cannot be read: {e}")))?;
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let ms = |us: &Json| us.as_f64().unwrap_or_default() / 1000.0;
    let statements = list("statements");
    if statements.is_empty() {
        say!("no store has answered a read yet");
    }
    for statement in statements {
        say!(
            "{:.1} ms in {} calls, {:.1} ms at most, {} rows: {} as {}",
            ms(&statement["total_us"]),
            statement["calls"],
            ms(&statement["max_us"]),
            statement["rows"],
            statement["of"].as_str().unwrap_or_default(),
            statement["role"].as_str().unwrap_or_default(),
        );
        for text in [&statement["sql"], &statement["plan"]] {
            text.as_str()
                .unwrap_or_default()
                .lines()
                .for_each(|line| say!("    {line}"));
        }
    }
    for missing in list("missing_indexes") {
        say!(
            "missing: {};  -- {} calls waited {:.1} ms",
            missing["index"].as_str().unwrap_or_default(),
            missing["calls"],
            ms(&missing["total_us"])
        );
    }
    Ok(())
}
