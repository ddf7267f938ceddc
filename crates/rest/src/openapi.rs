//! The API's description for the caller's role: OpenAPI 3.1, with every table, column and function that the role may use.

mod functions;
mod relations;
mod types;

use crate::data::Data;
use crate::options::Permitted;
use crate::{Description, PREFIX, Place, Rest, RestConfig, call, condition, error, media, response};
use bytes::Bytes;
use http::header::ETAG;
use http::{Method, Request, Response, StatusCode};
use mainstay_model::{Error, Function, Identity, RelationId, Schema};
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// At most so many descriptions are kept; beyond it all are forgotten and made anew.
const DESCRIPTIONS_MAX: usize = 64;

/// Schema digest, role and namespace.
type Described = (u64, Arc<str>, Arc<str>);

/// Descriptions made before.
#[derive(Default)]
pub(crate) struct Descriptions {
    known: Mutex<HashMap<Described, Bytes>>,
}

impl<D: Data> Rest<D> {
    /// Answers GET and HEAD of the root.
    pub(crate) fn describe(&self, request: &Request<Bytes>, identity: &Identity) -> Result<Response<Bytes>, Error> {
        let role: Arc<str> = match self.config.description {
            Description::Disabled => return Err(error::no_description()),
            Description::OfEverything => "service_role".into(),
            Description::OfWhatIsAllowed => identity.role.clone(),
        };
        let headers = request.headers();
        let schema = self.data.schema();
        let place = Place::of(&schema, &self.config, headers, false)?;
        let content_type = media::negotiate_description(headers)?;
        let key = (schema.digest, role.clone(), place.namespace.clone());
        let mut known = self.descriptions.known.lock().unwrap_or_else(|e| e.into_inner());
        let body = match known.get(&key) {
            Some(body) => body.clone(),
            None => {
                let body = Bytes::from(document(&schema, &self.config, &place.namespace, &role).to_string());
                if known.len() >= DESCRIPTIONS_MAX {
                    known.clear();
                }
                known.insert(key, body.clone());
                body
            }
        };
        drop(known);
        let tag = condition::tag(condition::hash(&body), None);
        let seen = condition::client_has(headers, &tag);
        let mut answer = response::template(Some(content_type), place.profile(), None);
        answer.insert(ETAG, tag);
        Ok(match seen {
            true => response::empty(StatusCode::NOT_MODIFIED, answer),
            false => response::with_body(
                StatusCode::OK,
                answer,
                if *request.method() == Method::HEAD {
                    Bytes::new()
                } else {
                    body
                },
            ),
        })
    }
}

/// The whole document.
pub(crate) fn document(schema: &Schema, config: &RestConfig, namespace: &str, role: &str) -> Json {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert("error".to_owned(), error_schema());
    let own = |name: &str| name == namespace;
    for (i, relation) in schema.relations.iter().enumerate() {
        let id = RelationId(i as u32);
        let permitted = Permitted::of(schema, id, role);
        if own(&relation.namespace) && permitted.any() {
            relations::describe(schema, id, role, permitted, &mut paths, &mut schemas);
        }
    }
    let mut overloads: Vec<(&str, Vec<&Function>)> = Vec::new();
    let callable = schema
        .functions
        .iter()
        .filter(|f| own(&f.namespace) && call::is_callable(f) && call::may_call(f, role));
    for function in callable {
        match overloads.iter_mut().find(|(name, _)| *name == &*function.name) {
            Some((_, all)) => all.push(function),
            None => overloads.push((&function.name, vec![function])),
        }
    }
    for (name, functions) in overloads {
        paths.insert(
            format!("/rpc/{}", segment(name)),
            functions::describe(schema, name, &functions),
        );
    }
    paths.insert("/".to_owned(), json!({ "get": description(), "post": transaction() }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": config.title,
            "version": format!("{:016x}", schema.digest),
            "description": format!("The tables and functions of schema {namespace} that the role {role} may use, in the PostgREST dialect."),
        },
        "servers": [{ "url": format!("{}{PREFIX}", config.url.as_deref().unwrap_or_default()) }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": shared_parameters(),
            "responses": {
                "error": {
                    "description": "What went wrong, by a stable code.",
                    "content": { "application/json": { "schema": reference("schemas", "error") } },
                },
                "done": { "description": "Done; nothing to give back." },
                "created": {
                    "description": "The rows are there. With `Prefer: return=representation` they are the body, as reading has them.",
                },
                "merged": {
                    "description": "The rows were there already and have been merged. With `Prefer: return=representation` they are the body.",
                },
                "unchanged": { "description": "The client has this answer already (If-None-Match)." },
            },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
        },
    })
}

/// A name as a segment of a path.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The document itself.
fn description() -> Json {
    let any = json!({ "schema": { "type": "object" } });
    json!({
        "summary": "This document, for the role of the caller",
        "operationId": "describe",
        "parameters": [reference("parameters", "ifNoneMatch")],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "content": { "application/openapi+json": any, "application/json": any },
            },
            "304": reference("responses", "unchanged"),
            "default": reference("responses", "error"),
        },
    })
}

fn reference(kind: &str, name: &str) -> Json {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// Several operations as one.
fn transaction() -> Json {
    let headers = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let operation = json!({
        "type": "object",
        "required": ["method", "path"],
        "additionalProperties": false,
        "properties": {
            "method": { "type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] },
            "path": { "type": "string", "description": "As it would be behind /rest/v1: `/things?id=eq.1`." },
            "headers": headers,
            "body": { "description": "A value may be `{\"$ref\": \"0/0/id\"}`: operation, row and column, counted from 0." },
        },
    });
    let answer = json!({
        "type": "object",
        "required": ["status", "headers", "body"],
        "properties": { "status": { "type": "integer" }, "headers": headers, "body": {} },
    });
    let all = json!({ "type": "array", "items": operation });
    let ok = json!({
        "description": "What came of each operation.",
        "content": { "application/json": { "schema": { "type": "array", "items": answer } } },
    });
    json!({
        "summary": "Several operations as one transaction: all of them happen or none",
        "operationId": "transaction",
        "parameters": [reference("parameters", "prefer"), reference("parameters", "idempotencyKey")],
        "requestBody": { "required": true, "content": { "application/json": { "schema": all } } },
        "responses": { "200": ok, "default": reference("responses", "error") },
    })
}

fn error_schema() -> Json {
    json!({
        "type": "object",
        "required": ["code", "message", "details", "hint"],
        "properties": {
            "code": { "type": "string", "description": "A SQLSTATE, or a code of the dialect." },
            "message": { "type": "string" },
            "details": { "type": ["string", "array", "null"], "items": {} },
            "hint": { "type": ["string", "null"] },
        },
    })
}

fn shared_parameters() -> Json {
    let text = || json!({ "type": "string" });
    let group = || json!({ "type": "string", "pattern": "^\\s*\\(" });
    let query = |name: &str, description: &str, schema: Json| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "description": description, "schema": text() });
    json!({
        "select": query("select", "Columns, aliases, casts and embedded rows: `id,name,client(name)`.", text()),
        "order": query("order", "Sort keys: `name.asc,id.desc.nullslast`.", text()),
        "limit": query("limit", "At most so many rows.", json!({ "type": ["integer", "string"], "example": 10 })),
        "offset": query("offset", "Rows to skip.", json!({ "type": ["integer", "string"], "example": 0 })),
        "after": query("after", "The page behind a row: the values of the sort keys, `(9.5,7)`.", text()),
        "having": query("having", "Of groups only these: `price.sum().gt.10`, `(count().gt.1,price.max().lt.5)`.", text()),
        "or": query("or", "Alternatives: `(price.lt.10,stock.gt.100)`.", group()),
        "and": query("and", "Conditions that must all hold: `(price.gt.1,price.lt.10)`.", group()),
        "columns": query("columns", "Columns of the body to take; others are ignored.", text()),
        "on_conflict": query("on_conflict", "Columns that decide whether a row is there already.", text()),
        "prefer": header("Prefer", "Such as `return=representation`, `count=exact`, `resolution=merge-duplicates`."),
        "range": header("Range", "Rows of the page, such as `0-9`."),
        "ifNoneMatch": header("If-None-Match", "The ETag of the answer that the client has."),
        "ifMatch": header("If-Match", "The ETag of the row as the client saw it; otherwise 412."),
        "idempotencyKey": header("Idempotency-Key", "1 to 255 visible characters; the same request again has no second effect."),
    })
}

fn parameter(name: &str) -> Json {
    reference("parameters", name)
}
