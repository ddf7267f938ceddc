//! Functions in the description: what they take and what they give.

use super::types::{component, input_of, nullable, schema_of, text_of};
use super::{parameter, reference};
use crate::call;
use mainstay_model::{Argument, Function, RelationId, Returns, Schema, Type};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

pub(super) fn describe(schema: &Schema, name: &str, functions: &[&Function]) -> Json {
    let tags = json!(["(rpc)"]);
    let bodies: Vec<Json> = functions.iter().map(|f| arguments_schema(schema, f)).collect();
    let body = if let [only] = &*bodies {
        only.clone()
    } else {
        json!({ "anyOf": bodies })
    };
    let results: Vec<Option<Json>> = functions.iter().map(|f| result_schema(schema, &f.returns)).collect();
    let mut responses = json!({ "default": reference("responses", "error") });
    for result in results.iter().flatten() {
        responses["200"] =
            json!({ "description": "What it gives.", "content": { "application/json": { "schema": result } } });
    }
    if results.iter().any(Option::is_none) {
        responses["204"] = reference("responses", "done");
    }
    let comment = functions.iter().find_map(|f| f.comment.clone());
    let operation = |id: &str, parameters: Vec<Json>| {
        let mut operation = json!({
            "tags": tags,
            "summary": format!("Call {name}"),
            "operationId": format!("{id}_{}", component(name)),
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(comment) = &comment {
            operation["description"] = json!(comment);
        }
        operation
    };
    let mut post = operation("call", vec![parameter("prefer"), parameter("idempotencyKey")]);
    let needed = functions.iter().all(|f| f.args.iter().any(|a| a.default.is_none()));
    post["requestBody"] = json!({ "required": needed, "content": { "application/json": { "schema": body } } });
    let mut path = Map::new();
    path.insert("post".to_owned(), post);
    let readers: Vec<&Function> = functions.iter().copied().filter(|f| call::is_readable(f)).collect();
    if !readers.is_empty() {
        let mut parameters: Vec<Json> = vec![parameter("prefer"), parameter("ifNoneMatch")];
        let mut names: Vec<&str> = Vec::new();
        for argument in readers.iter().flat_map(|f| &f.args) {
            if names.contains(&&*argument.name) {
                continue;
            }
            names.push(&argument.name);
            let everywhere = readers
                .iter()
                .all(|f| f.args.iter().any(|a| a.name == argument.name && a.default.is_none()));
            parameters.push(json!({
                "name": &*argument.name, "in": "query", "required": everywhere, "schema": in_query(schema, argument),
            }));
        }
        let mut get = operation("query", parameters);
        if readers.iter().any(|f| f.writes) {
            get["summary"] = json!(format!(
                "Call {name} as far as it only reads: a write is refused with 405"
            ));
        }
        get["responses"]["304"] = reference("responses", "unchanged");
        path.insert("get".to_owned(), get);
    }
    Json::Object(path)
}

/// A variadic argument comes once for each value.
fn in_query(schema: &Schema, argument: &Argument) -> Json {
    match &argument.ty {
        Type::Array(element) if argument.variadic => json!({ "type": "array", "items": text_of(schema, element) }),
        ty => text_of(schema, ty),
    }
}

fn arguments_schema(schema: &Schema, function: &Function) -> Json {
    if let [only] = &*function.args
        && only.name.is_empty()
    {
        return nullable(input_of(schema, &only.ty));
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for argument in &function.args {
        properties.insert(argument.name.to_string(), nullable(input_of(schema, &argument.ty)));
        if argument.default.is_none() {
            required.push(json!(&*argument.name));
        }
    }
    let mut all = json!({ "type": "object", "properties": properties });
    if required.is_empty() {
        return json!({ "anyOf": [all, { "description": "What is no object names no arguments." }] });
    }
    all["required"] = Json::Array(required);
    all
}

fn result_schema(schema: &Schema, returns: &Returns) -> Option<Json> {
    let columns = |columns: &[(Arc<str>, Type)]| {
        let properties: Map<String, Json> = columns
            .iter()
            .map(|(name, ty)| (name.to_string(), nullable(schema_of(schema, ty))))
            .collect();
        json!({ "type": "object", "properties": properties })
    };
    let row = |id: RelationId| {
        let relation = schema.relation(id);
        let all: Vec<(Arc<str>, Type)> = relation
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.ty.clone()))
            .collect();
        columns(&all)
    };
    let many = |items: Json| json!({ "type": "array", "items": items });
    Some(match returns {
        Returns::Void => return None,
        Returns::Scalar(ty) => nullable(schema_of(schema, ty)),
        Returns::SetOfScalar(ty) => many(nullable(schema_of(schema, ty))),
        Returns::Row(id) => nullable(row(*id)),
        Returns::SetOfRow(id) => many(row(*id)),
        Returns::Table(all) => many(columns(all)),
        Returns::Record(all) => columns(all),
    })
}
