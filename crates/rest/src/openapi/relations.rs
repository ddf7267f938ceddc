//! Tables and views in the description: what their rows are, and what may be done with them.

use super::types::{component, schema_of_column, text_of};
use super::{parameter, reference, segment};
use crate::filter;
use crate::options::Permitted;
use mainstay_model::{Privilege, Relation, RelationId, Schema, Type};
use serde_json::{Map, Value as Json, json};

/// Parameters that are no filters, whatever columns there are.
const PARAMETERS: [&str; 10] = [
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
];

/// The paths of a relation and of its rows, and what their bodies are.
pub(super) fn describe(
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
                "schema": { "type": "string", "pattern": filter::PATTERN },
                "example": example(schema, &column.ty),
            })
        })
        // A column that has the name of a parameter of the dialect cannot be filtered by.
        .filter(|filter| !PARAMETERS.contains(&filter["name"].as_str().unwrap_or_default()))
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
        let body = rows_or_one(&insert);
        let responses = json!({
            "201": reference("responses", "created"), "200": reference("responses", "merged"), "default": failed,
        });
        let shared = ["select", "columns", "on_conflict", "prefer", "idempotencyKey"];
        path.insert(
            "post".to_owned(),
            operation("Add to", "insert", with(&shared, &[]), Some(body), responses),
        );
    }
    if permitted.insert && permitted.update && permitted.keyed {
        let keys: Vec<Json> = relation
            .primary_key()
            .iter()
            .map(|key| key_filter(relation, *key as usize))
            .collect();
        let responses = json!({
            "200": ok("The row.", &many), "201": ok("The new row.", &many), "204": reference("responses", "done"),
            "default": failed,
        });
        path.insert(
            "put".to_owned(),
            operation(
                "Put one by its key into",
                "replace",
                with(&["select", "prefer", "idempotencyKey"], &keys),
                Some(rows_or_one(&insert)),
                responses,
            ),
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
                Some(rows_or_one(&update)),
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
    paths.insert(format!("/{}", segment(&relation.name)), Json::Object(path));
    let Ok(key) = crate::key::single_key(schema, id) else {
        return;
    };
    let mut path = Map::new();
    path.insert(
        "parameters".to_owned(),
        json!([{ "name": "id", "in": "path", "required": true, "schema": text_of(schema, &relation.columns[key as usize].ty) }]),
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
                Some(rows_or_one(&update)),
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
                Some(rows_or_one(&update)),
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
    paths.insert(format!("/{}/{{id}}", segment(&relation.name)), Json::Object(path));
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
        let mut described = schema_of_column(schema, column, given);
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
    if privilege != Privilege::Select {
        row["additionalProperties"] = json!(false);
    }
    if !required.is_empty() && privilege != Privilege::Select {
        row["required"] = Json::Array(required);
    }
    if let Some(comment) = &relation.comment {
        row["description"] = json!(comment);
    }
    row
}

/// A body of one row, or of an array. Where one row is meant the first counts.
fn rows_or_one(name: &str) -> Json {
    json!({ "oneOf": [reference("schemas", name), { "type": "array", "items": reference("schemas", name) }] })
}

/// A column of the key, by which PUT names the row.
fn key_filter(relation: &Relation, key: usize) -> Json {
    json!({
        "name": &*relation.columns[key].name,
        "in": "query",
        "required": true,
        "description": "A column of the key of the row: `eq.value`.",
        "schema": { "type": "string", "pattern": "^eq\\." },
    })
}

/// A filter that a column of a type takes.
fn example(schema: &Schema, ty: &Type) -> String {
    match ty {
        Type::Bool => "is.true".to_owned(),
        Type::Int2 | Type::Int4 | Type::Int8 => "gte.1".to_owned(),
        Type::Float4 | Type::Float8 | Type::Numeric(_) => "lt.9.5".to_owned(),
        Type::Text | Type::Varchar(_) | Type::Char(_) => "ilike.*a*".to_owned(),
        Type::Uuid => "neq.123e4567-e89b-12d3-a456-426614174000".to_owned(),
        Type::Date | Type::Timestamp | Type::TimestampTz => "gte.2024-01-01".to_owned(),
        Type::Enum(name) => match schema.enums.get(name).and_then(|labels| labels.first()) {
            Some(label) => format!("eq.{label}"),
            None => "not.is.null".to_owned(),
        },
        _ => "not.is.null".to_owned(),
    }
}
