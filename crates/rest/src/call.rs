//! Which function a call means, and what it is called with.

use crate::bind::Binder;
use crate::media::Content;
use crate::payload::{self, Object, Raw};
use crate::{Place, suggest, types};
use mainstay_model::{Argument, Call, Error, Expr, Function, FunctionId, Returns, Schema, Type, Value};
use std::sync::Arc;

/// Whether a function may be called from outside at all: not what only a trigger can run, nor what takes a row without a name for it,
/// which is a computed column.
pub(crate) fn is_callable(function: &Function) -> bool {
    let trigger = |ty: &Type| matches!(ty, Type::Other(name) if matches!(&**name, "trigger" | "event_trigger"));
    let is_column = matches!(&*function.args, [Argument { name, ty: Type::Row(_), .. }] if name.is_empty());
    !is_column && !matches!(&function.returns, Returns::Scalar(ty) if trigger(ty))
}

/// Whether it may be called by GET: its arguments have names, and it only reads, or it is the database that knows what it does, which
/// refuses a write then.
pub(crate) fn is_readable(function: &Function) -> bool {
    (!function.writes || function.body.is_empty()) && function.args.iter().all(|a| !a.name.is_empty())
}

/// What a call is made with.
pub(crate) enum Given<'a> {
    /// Parameters of a query string; a name may come several times.
    Texts(&'a [(&'a str, &'a str)]),
    /// A body.
    Body {
        object: &'a Object<'a>,
        content: Content,
        body: &'a [u8],
        columns: Option<&'a [std::borrow::Cow<'a, str>]>,
    },
}

impl<'a> Given<'a> {
    fn names(&self) -> Vec<&'a str> {
        let mut names: Vec<&'a str> = match self {
            Given::Texts(pairs) => pairs.iter().map(|(name, _)| *name).collect(),
            Given::Body {
                columns: Some(columns), ..
            } => columns.iter().map(|c| &**c).collect(),
            Given::Body { object, .. } => object.0.iter().map(|(name, _)| &**name).collect(),
        };
        names.sort_unstable();
        names.dedup();
        names
    }

    fn is_post(&self) -> bool {
        matches!(self, Given::Body { .. })
    }

    fn content(&self) -> Content {
        match self {
            Given::Texts(_) => Content::Form,
            Given::Body { content, .. } => *content,
        }
    }
}

/// Finds the overload that takes just these arguments. `true`: it takes the whole body as its one unnamed argument.
///
/// Errors: PGRST202 when there is none, PGRST203 when there are several.
pub(crate) fn resolve(
    schema: &Schema,
    place: &Place,
    name: &str,
    given: &Given<'_>,
    role: &str,
) -> Result<(FunctionId, bool), Error> {
    let overloads = place.functions(schema, name);
    let names = given.names();
    let raw = matches!(given.content(), Content::Text | Content::Xml | Content::Bytes);
    let matching = |id: &&FunctionId| takes(&schema.function(**id).args, &names, raw && given.is_post());
    let named: Vec<FunctionId> = overloads.iter().filter(matching).copied().collect();
    match &*named {
        [only] => return Ok((*only, false)),
        [] => {}
        several => return Err(ambiguous(schema, several)),
    }
    let unnamed: Vec<FunctionId> = overloads
        .iter()
        .copied()
        .filter(|id| given.is_post() && takes_body(&schema.function(*id).args, given.content()))
        .collect();
    match &*unnamed {
        [only] => Ok((*only, true)),
        [] => Err(none(schema, place, name, &names, given, &overloads, role)),
        several => Err(ambiguous(schema, several)),
    }
}

/// Whether arguments of these names, and no others, can be passed.
fn takes(args: &[Argument], names: &[&str], raw: bool) -> bool {
    if args.is_empty() {
        return names.is_empty() && !raw;
    }
    let known = names.iter().all(|name| args.iter().any(|arg| *arg.name == **name));
    known
        && args
            .iter()
            .all(|arg| arg.default.is_some() || names.contains(&&*arg.name))
}

/// Whether the one argument is unnamed and of the kind that the body is.
fn takes_body(args: &[Argument], content: Content) -> bool {
    let [only] = args else { return false };
    only.name.is_empty()
        && match content {
            Content::Json => only.ty.is_json(),
            Content::Text => only.ty == Type::Text,
            Content::Xml => matches!(&only.ty, Type::Other(name) if **name == *"xml"),
            Content::Bytes => only.ty == Type::Bytea,
            Content::Csv | Content::Form => false,
        }
}

/// The call with one expression per argument.
pub(crate) fn bind(
    binder: &mut Binder<'_>,
    function: FunctionId,
    unnamed: bool,
    given: &Given<'_>,
) -> Result<Call, Error> {
    let schema = binder.schema;
    let mut args = Vec::new();
    for argument in &schema.function(function).args {
        let ty = types::comparable(&argument.ty);
        if let (Some(preceding), Given::Body { object, .. }, false) = (binder.preceding.clone(), given, unnamed)
            && let Some(Raw::Json(json)) = object.get(&argument.name)
            && let Some(reference) = preceding.in_json(json, schema)?
        {
            args.push(binder.referred(reference, &ty)?);
            continue;
        }
        let value = if unnamed {
            whole_body(given, &ty)?
        } else {
            named(binder, argument, &ty, given)?
        };
        args.push(match (value, &argument.default) {
            (Some(value), _) => binder.param(value, ty)?,
            (None, Some(default)) => default.clone(),
            (None, None) => Expr::literal(Value::Null, ty),
        });
    }
    Ok(Call {
        function,
        args,
        body: None,
    })
}

fn named(binder: &mut Binder<'_>, argument: &Argument, ty: &Type, given: &Given<'_>) -> Result<Option<Value>, Error> {
    let schema = binder.schema;
    match given {
        Given::Texts(pairs) => {
            let mut texts = pairs
                .iter()
                .filter(|(name, _)| *name == &*argument.name)
                .map(|(_, text)| *text)
                .peekable();
            if texts.peek().is_none() {
                return Ok(None);
            }
            binder.momentary |= texts.clone().any(|text| types::is_momentary(text, ty));
            if let (true, Type::Array(element)) = (argument.variadic, ty) {
                let values = texts
                    .map(|text| types::parse(text, element, schema))
                    .collect::<Result<Vec<_>, _>>()?;
                return Ok(Some(Value::Array(values.into())));
            }
            texts.last().map(|text| types::parse(text, ty, schema)).transpose()
        }
        Given::Body { object, columns, .. } => {
            let wanted = columns.is_none_or(|columns| columns.iter().any(|c| **c == *argument.name));
            if let (true, true, Type::Array(element)) = (wanted, argument.variadic, ty) {
                // A form repeats the name for each value.
                let texts = object.0.iter().filter(|(name, _)| **name == *argument.name);
                let texts: Option<Vec<&str>> = texts
                    .map(|(_, raw)| match raw {
                        Raw::Text(text) => Some(&**text),
                        Raw::Json(_) | Raw::Null => None,
                    })
                    .collect();
                if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
                    let values = texts.into_iter().map(|text| types::parse(text, element, schema));
                    return Ok(Some(Value::Array(values.collect::<Result<Vec<_>, _>>()?.into())));
                }
            }
            match object.get(&argument.name).filter(|_| wanted) {
                Some(raw) => payload::value(raw, ty, schema).map(Some),
                // Named in `columns`, but not in the body.
                None if wanted && columns.is_some() => Ok(Some(Value::Null)),
                None => Ok(None),
            }
        }
    }
}

fn whole_body(given: &Given<'_>, ty: &Type) -> Result<Option<Value>, Error> {
    let Given::Body { body, .. } = given else {
        return Ok(None);
    };
    if *ty == Type::Bytea {
        return Ok(Some(Value::Bytes(body.to_vec())));
    }
    let text =
        std::str::from_utf8(body).map_err(|_| Error::new("22021", "invalid byte sequence for encoding \"UTF8\""))?;
    if ty.is_json() {
        Value::parse(text, ty).map(Some)
    } else if text.contains('\0') {
        Err(Error::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"))
    } else {
        Ok(Some(Value::Text(text.to_owned())))
    }
}

fn ambiguous(schema: &Schema, functions: &[FunctionId]) -> Error {
    let signature = |id: &FunctionId| {
        let function = schema.function(*id);
        let args: Vec<String> = function
            .args
            .iter()
            .map(|a| format!("{} => {}", a.name, a.ty))
            .collect();
        format!("{}.{}({})", function.namespace, function.name, args.join(", "))
    };
    let all: Vec<String> = functions.iter().map(signature).collect();
    Error::new(
        "PGRST203",
        format!(
            "Could not choose the best candidate function between: {}",
            all.join(", ")
        ),
    )
    .hint("Try renaming the parameters or the function itself in the database so function overloading can be resolved")
}

fn none(
    schema: &Schema,
    place: &Place,
    name: &str,
    names: &[&str],
    given: &Given<'_>,
    overloads: &[FunctionId],
    role: &str,
) -> Error {
    let full = format!("{}.{name}", place.namespace);
    let raw = match given.content() {
        Content::Text if given.is_post() => Some("text"),
        Content::Xml if given.is_post() => Some("xml"),
        Content::Bytes if given.is_post() => Some("bytea"),
        _ => None,
    };
    let list = names.join(", ");
    let (in_message, in_details) = match (names, raw) {
        (_, Some(_)) => (String::new(), String::new()),
        ([], None) => (" without parameters".to_owned(), " without parameters".to_owned()),
        ([_], None) => (format!("({list})"), format!(" with parameter {list}")),
        (_, None) => (format!("({list})"), format!(" with parameters {list}")),
    };
    let or = match (raw, given.content()) {
        (Some(raw), _) => format!(" with a single unnamed {raw} parameter"),
        (None, Content::Json) if given.is_post() => " or with a single unnamed json/jsonb parameter".to_owned(),
        _ => String::new(),
    };
    let error = Error::new(
        "PGRST202",
        format!("Could not find the function {full}{in_message} in the schema cache"),
    )
    .detail(format!(
        "Searched for the function {full}{in_details}{or}, but no matches were found in the schema cache."
    ));
    if raw.is_some() {
        return error;
    }
    let hint = if overloads.is_empty() {
        let callable = schema
            .functions
            .iter()
            .filter(|f| *f.namespace == *place.namespace && is_callable(f) && may_call(f, role));
        suggest::nearest(name, callable.map(|f| &*f.name), suggest::NAME).map(str::to_owned)
    } else {
        let signatures: Vec<String> = overloads
            .iter()
            .map(|id| {
                let mut names: Vec<&str> = schema.function(*id).args.iter().map(|a| &*a.name).collect();
                names.sort_unstable();
                format!("({})", names.join(", "))
            })
            .collect();
        let asked = format!("({list})");
        suggest::nearest(&asked, signatures.iter().map(String::as_str), suggest::NEAR)
            .map(|near| format!("{name}{near}"))
    };
    match hint {
        Some(near) => error.hint(format!(
            "Perhaps you meant to call the function {}.{near}",
            place.namespace
        )),
        None => error,
    }
}

/// Whether a role may call a function.
pub(crate) fn may_call(function: &Function, role: &str) -> bool {
    role == "service_role"
        || function
            .grants
            .iter()
            .any(|g: &Arc<str>| **g == *role || &**g == "public")
}
