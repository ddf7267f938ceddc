//! The API's description for the caller's role: OpenAPI 3.1, with every table, column and function that the role may use.

mod functions;
mod types;

use crate::data::Data;
use crate::options::Permitted;
use crate::{Description, PREFIX, Place, Rest, RestConfig, call, condition, error, media, response};
use bytes::Bytes;
use http::header::ETAG;
use http::{Method, Request, Response, StatusCode};
use mainstay_model::{Error, Function, Identity, Privilege, Relation, RelationId, Schema};
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use types::{component, schema_of, schema_of_column};

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
            describe_relation(schema, id, role, permitted, &mut paths, &mut schemas);
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
        paths.insert(format!("/rpc/{name}"), functions::describe(schema, name, &functions));
    }
    paths.insert("/".to_owned(), json!({ "post": transaction() }));
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
                "unchanged": { "description": "The client has this answer already (If-None-Match)." },
            },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
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
    let query = |name: &str, description: &str, schema: Json| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "description": description, "schema": text() });
    json!({
        "select": query("select", "Columns, aliases, casts and embedded rows: `id,name,client(name)`.", text()),
        "order": query("order", "Sort keys: `name.asc,id.desc.nullslast`.", text()),
        "limit": query("limit", "At most so many rows.", json!({ "type": "integer", "minimum": 0 })),
        "offset": query("offset", "Rows to skip.", json!({ "type": "integer", "minimum": 0 })),
        "after": query("after", "The page behind a row: the values of the sort keys, `(9.5,7)`.", text()),
        "having": query("having", "Of groups only these: `price.sum().gt.10`, `(count().gt.1,price.max().lt.5)`.", text()),
        "or": query("or", "Alternatives: `(price.lt.10,stock.gt.100)`.", text()),
        "and": query("and", "Conditions that must all hold: `(price.gt.1,price.lt.10)`.", text()),
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

fn describe_relation(
    schema: &Schema,
    id: RelationId,
    role: &str,
    permitted: Permitted,
    paths: &mut Map<String, Json>,
    schemas: &mut Map<String, Json>,
) {
    let relation = schema.relation(id);
    let name = component(&relation.name);
    let (row, insert, update) = (name.clone(), format!("{name}.insert"), format!("{name}.update"));
    schemas.insert(row.clone(), row_schema(schema, relation, role, Privilege::Select));
    if permitted.insert {
        schemas.insert(insert.clone(), row_schema(schema, relation, role, Privilege::Insert));
    }
    if permitted.update {
        schemas.insert(update.clone(), row_schema(schema, relation, role, Privilege::Update));
    }
    let tags = json!([&*relation.name]);
    let describe = |doing: &str| match &relation.comment {
        Some(comment) => json!({ "summary": format!("{doing} {}", relation.name), "description": comment }),
        None => json!({ "summary": format!("{doing} {}", relation.name) }),
    };
    let operation = |doing: &str, id: &str, parameters: Vec<Json>, body: Option<Json>, responses: Json| {
        let mut operation = describe(doing);
        operation["tags"] = tags.clone();
        operation["operationId"] = json!(format!("{id}_{name}"));
        operation["parameters"] = Json::Array(parameters);
        if let Some(body) = body {
            operation["requestBody"] =
                json!({ "required": true, "content": { "application/json": { "schema": body } } });
        }
        operation["responses"] = responses;
        operation
    };
    let filters: Vec<Json> = relation
        .columns
        .iter()
        .enumerate()
        .filter(|(i, _)| relation.allows(role, Privilege::Select, Some(*i as u32)))
        .map(|(_, column)| {
            json!({
                "name": &*column.name,
                "in": "query",
                "description": format!("A test of {}, such as `eq.value`, `in.(a,b)` or `is.null`.", column.name),
                "schema": { "type": "string" },
            })
        })
        // A column that has the name of a parameter of the dialect cannot be filtered by.
        .filter(|filter| {
            ![
                "select",
                "order",
                "limit",
                "offset",
                "or",
                "and",
                "columns",
                "on_conflict",
                "having",
                "after",
            ]
            .contains(&filter["name"].as_str().unwrap_or_default())
        })
        .collect();
    let with = |names: &[&str], filters: &[Json]| -> Vec<Json> {
        names
            .iter()
            .map(|name| parameter(name))
            .chain(filters.iter().cloned())
            .collect()
    };
    let many = json!({ "type": "array", "items": reference("schemas", &row) });
    let one = reference("schemas", &row);
    let ok = |description: &str, body: &Json| json!({ "description": description, "content": { "application/json": { "schema": body } } });
    let failed = reference("responses", "error");
    let mut path = Map::new();
    if permitted.select {
        let responses = json!({
            "200": ok("The rows.", &many), "206": ok("A page of the rows.", &many),
            "304": reference("responses", "unchanged"), "default": failed,
        });
        let shared = [
            "select",
            "order",
            "limit",
            "offset",
            "after",
            "having",
            "or",
            "and",
            "range",
            "prefer",
            "ifNoneMatch",
        ];
        path.insert(
            "get".to_owned(),
            operation("Read", "list", with(&shared, &filters), None, responses),
        );
    }
    if permitted.insert {
        let body = json!({ "oneOf": [reference("schemas", &insert), { "type": "array", "items": reference("schemas", &insert) }] });
        let responses = json!({ "201": ok("The new rows, if they are wanted.", &many), "200": ok("Rows that were merged.", &many), "default": failed });
        let shared = ["select", "columns", "on_conflict", "prefer", "idempotencyKey"];
        path.insert(
            "post".to_owned(),
            operation("Add to", "insert", with(&shared, &[]), Some(body), responses),
        );
    }
    if permitted.update {
        let responses =
            json!({ "200": ok("The changed rows.", &many), "204": reference("responses", "done"), "default": failed });
        let shared = ["select", "or", "and", "columns", "prefer", "idempotencyKey"];
        path.insert(
            "patch".to_owned(),
            operation(
                "Change",
                "update",
                with(&shared, &filters),
                Some(reference("schemas", &update)),
                responses,
            ),
        );
    }
    if permitted.delete {
        let responses =
            json!({ "200": ok("The deleted rows.", &many), "204": reference("responses", "done"), "default": failed });
        let shared = ["select", "or", "and", "prefer", "idempotencyKey"];
        path.insert(
            "delete".to_owned(),
            operation("Delete from", "delete", with(&shared, &filters), None, responses),
        );
    }
    paths.insert(format!("/{}", relation.name), Json::Object(path));
    let Ok(key) = crate::key::single_key(schema, id) else {
        return;
    };
    let mut path = Map::new();
    path.insert(
        "parameters".to_owned(),
        json!([{ "name": "id", "in": "path", "required": true, "schema": schema_of(schema, &relation.columns[key as usize].ty) }]),
    );
    if permitted.select {
        let responses =
            json!({ "200": ok("The row.", &one), "304": reference("responses", "unchanged"), "default": failed });
        path.insert(
            "get".to_owned(),
            operation(
                "Read one of",
                "get",
                with(&["select", "ifNoneMatch"], &[]),
                None,
                responses,
            ),
        );
    }
    let shared = ["select", "prefer", "ifMatch", "idempotencyKey"];
    let written = || json!({ "200": ok("The row.", &one), "204": reference("responses", "done"), "default": failed });
    if permitted.insert && permitted.update && permitted.keyed {
        let mut responses = written();
        responses["201"] = ok("The new row.", &one);
        path.insert(
            "put".to_owned(),
            operation(
                "Put one into",
                "put",
                with(&shared, &[]),
                Some(reference("schemas", &update)),
                responses,
            ),
        );
    }
    if permitted.update {
        path.insert(
            "patch".to_owned(),
            operation(
                "Change one of",
                "patch",
                with(&shared, &[]),
                Some(reference("schemas", &update)),
                written(),
            ),
        );
    }
    if permitted.delete {
        path.insert(
            "delete".to_owned(),
            operation("Delete one of", "remove", with(&shared, &[]), None, written()),
        );
    }
    paths.insert(format!("/{}/{{id}}", relation.name), Json::Object(path));
}

/// A row as it is read, inserted or updated: the columns that the role may read or give.
fn row_schema(schema: &Schema, relation: &Relation, role: &str, privilege: Privilege) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let key = relation.primary_key();
    for (i, column) in relation.columns.iter().enumerate() {
        let i = i as u32;
        let given = privilege != Privilege::Select;
        if !relation.allows(role, privilege, Some(i)) || (given && column.generated.is_some()) {
            continue;
        }
        let mut described = schema_of_column(schema, column);
        let mut about: Vec<String> = column.comment.iter().cloned().collect();
        if key.contains(&i) {
            about.push("Primary key.".to_owned());
        }
        for foreign in relation.table().iter().flat_map(|t| &t.foreign_keys) {
            if let Some(at) = foreign.columns.iter().position(|c| *c == i) {
                let target = schema.relation(foreign.target);
                about.push(format!(
                    "References {}.{}.",
                    target.name, target.columns[foreign.target_columns[at] as usize].name
                ));
            }
        }
        if let Some(default) = &column.default_text {
            about.push(format!("Default: `{default}`."));
        }
        if !about.is_empty() {
            described["description"] = json!(about.join(" "));
        }
        let optional = column.default.is_some() || column.default_text.is_some() || column.identity.is_some();
        let needed = match privilege {
            Privilege::Select => true,
            Privilege::Insert => column.not_null && !optional,
            _ => false,
        };
        if needed {
            required.push(json!(&*column.name));
        }
        properties.insert(column.name.to_string(), described);
    }
    let mut row = json!({ "type": "object", "properties": properties });
    if !required.is_empty() && privilege != Privilege::Select {
        row["required"] = Json::Array(required);
    }
    if let Some(comment) = &relation.comment {
        row["description"] = json!(comment);
    }
    row
}
