//! Functions: what may be called, what is a column or a relationship of a row, and what is neither and why.

use super::found::{Found, FunctionRow};
use super::privileges::Privileges;
use super::relations::{Ids, opaque};
use super::types::Types;
use super::{NotServed, Options};
use mainstay_model::{
    Argument, Cardinality, Error, Function, FunctionId, MediaHandler, MediaSubject, Relationship, Returns, Schema,
    Span, Type, Volatility,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Fills [`Schema::functions`] and says which are left out. Gives for each whether a set of its rows has one row.
#[allow(clippy::too_many_arguments, reason = "everything that was read meets here")]
pub(super) fn assemble(
    schema: &mut Schema,
    options: &Options,
    namespaces: &[(u32, Arc<str>)],
    found: &Found,
    types: &Types<'_>,
    privileges: &Privileges<'_>,
    ids: &Ids,
    not_served: &mut Vec<NotServed>,
) -> Result<Vec<bool>, Error> {
    let mut one_row = Vec::new();
    let mut of_extensions: BTreeMap<&str, (usize, Vec<String>)> = BTreeMap::new();
    for row in &found.functions {
        let served = namespaces.iter().find(|(oid, _)| *oid == row.namespace);
        let Some(namespace) = found.namespaces.iter().find(|n| n.oid == row.namespace) else {
            continue;
        };
        let of_row = computed_on(row, types, ids).is_some();
        let handlers = schema.media_handlers.len();
        media(schema, row, &namespace.name, served.is_some(), types, ids)?;
        let handles = row.kind == b'a' && schema.media_handlers.len() > handlers;
        if is_of_geojson(row) {
            schema.geojson = Some(namespace.name.clone());
        }
        if is_own(row, &namespace.name) {
            continue;
        }
        let reason = match refusal(row, types, of_row) {
            None if served.is_some() || of_row => {
                let id = FunctionId(schema.functions.len() as u32);
                let settings = settings(row);
                if !settings.is_empty() {
                    schema.function_settings.insert(id, settings);
                }
                let function = function(row, &namespace.name, options, types, privileges, ids)?;
                schema.functions.push(function);
                one_row.push(row.one_row);
                continue;
            }
            None => continue,
            Some(_) if served.is_none() || handles => continue,
            Some(reason) => reason,
        };
        match &row.extension {
            Some(extension) => {
                let (count, reasons) = of_extensions.entry(extension).or_default();
                *count += 1;
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            None => not_served.push(NotServed {
                object: format!("{} {}.{}({})", noun(row), namespace.name, row.name, inputs(row, types)),
                reason,
            }),
        }
    }
    not_served.extend(
        of_extensions
            .into_iter()
            .map(|(extension, (count, reasons))| NotServed {
                object: format!("{count} functions of the extension {extension}"),
                reason: reasons.join("; or: "),
            }),
    );
    Ok(one_row)
}

/// `emit`, which functions call and nobody outside: who could, would tell of what never happened.
fn is_own(row: &FunctionRow, namespace: &str) -> bool {
    // text, jsonb, text
    namespace == "public" && &*row.name == "emit" && row.inputs == [25, 3802, 25]
}

fn noun(row: &FunctionRow) -> &'static str {
    match row.kind {
        b'p' => "procedure",
        b'a' => "aggregate",
        b'w' => "window function",
        _ => "function",
    }
}

fn inputs(row: &FunctionRow, types: &Types<'_>) -> String {
    let name = |oid: &u32| match types.pseudo(*oid) {
        Some(name) => name.to_string(),
        None => types.resolve(*oid, -1).map_or_else(
            |_| oid.to_string(),
            |(ty, domain)| match domain {
                Some(domain) => domain.to_string(),
                None => ty.to_string(),
            },
        ),
    };
    row.inputs.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Why it cannot be served, if it cannot.
fn refusal(row: &FunctionRow, types: &Types<'_>, of_row: bool) -> Option<String> {
    match row.kind {
        b'p' => return Some("a procedure has no result and is run by CALL; make it a function".to_owned()),
        b'a' => return Some("an aggregate is used inside of queries".to_owned()),
        b'w' => return Some("a window function is used inside of queries".to_owned()),
        _ => {}
    }
    if let Some(pseudo) = types.pseudo(row.returns) {
        match &*pseudo {
            "void" | "record" => {}
            "trigger" | "event_trigger" => return Some("the database calls it: it is a trigger's function".to_owned()),
            other if other.starts_with("any") => {
                return Some(format!(
                    "its result `{other}` has the type of an argument, which a request does not give"
                ));
            }
            other => {
                return Some(format!(
                    "its result is `{other}`, which exists inside of the server only"
                ));
            }
        }
    }
    for input in &row.inputs {
        if let Some(pseudo) = types.pseudo(*input) {
            return Some(match &*pseudo {
                other if other.starts_with("any") => {
                    format!("it takes `{other}`: a request's values have no type of their own to decide by")
                }
                "record" => "it takes `record`: a row of no particular type".to_owned(),
                other => format!("it takes `{other}`, which exists inside of the server only"),
            });
        }
    }
    let names = input_names(row);
    let unnamed = names.iter().filter(|n| n.is_empty()).count();
    // bytea, text, json, xml, jsonb: the whole body of a request.
    let whole_body = matches!(row.inputs.as_slice(), [17 | 25 | 114 | 142 | 3802]);
    if unnamed > 0 && !of_row && !whole_body {
        return Some(
            "its arguments have no names, by which a request gives them; only a single one of json, jsonb, text, xml or bytea needs none"
                .to_owned(),
        );
    }
    None
}

/// The modes of all arguments; where the catalogs leave them out all are inputs.
fn modes(row: &FunctionRow) -> impl Iterator<Item = (usize, u8)> {
    let count = if row.all.is_empty() {
        row.inputs.len()
    } else {
        row.all.len()
    };
    (0..count).map(|at| {
        let mode = row.modes.get(at).and_then(|m| m.as_deref()?.bytes().next());
        (at, mode.unwrap_or(b'i'))
    })
}

fn name_at(row: &FunctionRow, at: usize) -> &str {
    row.names.get(at).and_then(Option::as_deref).unwrap_or("")
}

fn input_names(row: &FunctionRow) -> Vec<&str> {
    modes(row)
        .filter(|(_, mode)| matches!(mode, b'i' | b'b' | b'v'))
        .map(|(at, _)| name_at(row, at))
        .collect()
}

fn function(
    row: &FunctionRow,
    namespace: &Arc<str>,
    options: &Options,
    types: &Types<'_>,
    privileges: &Privileges<'_>,
    ids: &Ids,
) -> Result<Function, Error> {
    let input_places: Vec<usize> = modes(row)
        .filter(|(_, mode)| matches!(mode, b'i' | b'b' | b'v'))
        .map(|(at, _)| at)
        .collect();
    let first_default = row.inputs.len().saturating_sub(row.defaults);
    let mut args = Vec::with_capacity(row.inputs.len());
    for (nth, (oid, place)) in row.inputs.iter().zip(&input_places).enumerate() {
        let ty = unlimited(types.resolve(*oid, -1)?.0);
        let text = row.default_texts.get(*place).and_then(Option::as_deref);
        args.push(Argument {
            name: name_at(row, *place).into(),
            default: (nth >= first_default).then(|| opaque(text.unwrap_or("DEFAULT"), ty.clone())),
            variadic: row.variadic && nth + 1 == row.inputs.len(),
            ty,
        });
    }
    let volatility = match row.volatility {
        b'i' => Volatility::Immutable,
        b's' => Volatility::Stable,
        _ => Volatility::Volatile,
    };
    Ok(Function {
        namespace: namespace.clone(),
        name: row.name.clone(),
        store: options.store.clone(),
        service: None,
        args,
        returns: returns(row, types, ids)?,
        volatility,
        security_definer: row.security_definer,
        strict: row.strict,
        body: Vec::new(),
        writes: volatility == Volatility::Volatile,
        comment: row.comment.clone(),
        grants: privileges.on_function(row.namespace, &row.acl),
        span: Span::default(),
    })
}

/// Arguments keep no length: `character` takes any text, `bit` any bits.
fn unlimited(ty: Type) -> Type {
    match ty {
        Type::Other(name) if &*name == "bpchar" => Type::Varchar(None),
        Type::Other(name) if &*name == "bit" => Type::Other("bit varying".into()),
        Type::Array(element) => Type::Array(Box::new(unlimited(*element))),
        ty => ty,
    }
}

fn returns(row: &FunctionRow, types: &Types<'_>, ids: &Ids) -> Result<Returns, Error> {
    let mut outputs: Vec<(Arc<str>, Type)> = Vec::new();
    for (at, _) in modes(row).filter(|(_, mode)| matches!(mode, b'o' | b'b' | b't')) {
        let Some(oid) = row.all.get(at) else { continue };
        let name = match name_at(row, at) {
            "" => format!("column{}", outputs.len() + 1).into(),
            name => name.into(),
        };
        outputs.push((name, types.resolve(*oid, -1)?.0));
    }
    if outputs.is_empty()
        && let Some(relation) = types.relation(row.returns)
    {
        if let Some(id) = ids.relations.get(&relation) {
            return Ok(if row.returns_set {
                Returns::SetOfRow(*id)
            } else {
                Returns::Row(*id)
            });
        }
        outputs = types.fields(relation)?;
    }
    if !outputs.is_empty() {
        return Ok(if row.returns_set {
            Returns::Table(outputs)
        } else {
            Returns::Record(outputs)
        });
    }
    Ok(match types.resolve(row.returns, -1)?.0 {
        Type::Void => Returns::Void,
        ty if row.returns_set => Returns::SetOfScalar(ty),
        ty => Returns::Scalar(ty),
    })
}

/// `SET name = value` of the function's own.
fn settings(row: &FunctionRow) -> Vec<(Arc<str>, Arc<str>)> {
    row.settings
        .iter()
        .flatten()
        .filter_map(|setting| setting.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The relation of whose row it is a property, if it takes just a row.
fn computed_on(row: &FunctionRow, types: &Types<'_>, ids: &Ids) -> Option<mainstay_model::RelationId> {
    let ([input], b'f') = (row.inputs.as_slice(), row.kind) else {
        return None;
    };
    ids.relations.get(&types.relation(*input)?).copied()
}

/// Notes what makes a media type: an aggregate over rows, or a function by its result.
fn media(
    schema: &mut Schema,
    row: &FunctionRow,
    namespace: &Arc<str>,
    served: bool,
    types: &Types<'_>,
    ids: &Ids,
) -> Result<(), Error> {
    let Some(media_type) = types.media_type(row.returns).filter(|_| served) else {
        return Ok(());
    };
    let subject = match (row.kind, row.inputs.as_slice()) {
        (b'f', _) if !row.returns_set => MediaSubject::Result,
        (b'a', [input]) => {
            let relation = types.relation(*input).and_then(|r| ids.relations.get(&r));
            match (relation, types.pseudo(*input).as_deref()) {
                (Some(relation), _) => MediaSubject::Rows(*relation),
                (None, Some("anyelement")) => MediaSubject::AnyRows,
                _ => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    schema.media_handlers.push(MediaHandler {
        namespace: namespace.clone(),
        name: row.name.clone(),
        media_type,
        base: types.resolve(row.returns, -1)?.0,
        subject,
    });
    Ok(())
}

/// `st_asgeojson(record, …)` of PostGIS 3.
fn is_of_geojson(row: &FunctionRow) -> bool {
    const RECORD: u32 = 2249;
    &*row.name == "st_asgeojson" && row.inputs.first() == Some(&RECORD)
}

/// Adds the relationships that functions make: from the row that one takes to the rows that it gives. `one_row` says of each function
/// whether its set has one row (`ROWS 1`).
pub(super) fn relate(schema: &mut Schema, ids: &Ids, one_row: &[bool]) {
    let by_row: std::collections::HashMap<Arc<str>, mainstay_model::RelationId> = ids
        .relations
        .values()
        .map(|id| (schema.relation(*id).row_type(), *id))
        .collect();
    for (at, function) in schema.functions.iter().enumerate() {
        let [
            Argument {
                ty: Type::Row(name), ..
            },
        ] = function.args.as_slice()
        else {
            continue;
        };
        let Some(from) = by_row.get(name).copied() else {
            continue;
        };
        let (target, one) = match function.returns {
            Returns::SetOfRow(target) => (target, one_row.get(at) == Some(&true)),
            Returns::Row(target) => (target, true),
            _ => continue,
        };
        schema.relationships[from.0 as usize].push(Relationship {
            target,
            cardinality: if one {
                Cardinality::ManyToOne
            } else {
                Cardinality::OneToMany
            },
            constraint: function.name.clone(),
            columns: Vec::new(),
            through: None,
            function: Some(FunctionId(at as u32)),
            is_self: from == target,
        });
    }
}
