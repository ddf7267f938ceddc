//! How identity enters an expression: every way in which Supabase's and PostgREST's schemas ask who the caller is becomes a
//! [`Claim`], so that a cached answer's class can name what it read.

use mainstay_model::{Claim, Expr, ExprKind, Type, Value};
use std::sync::Arc;

fn claim(claim: Claim, ty: Type) -> Expr {
    Expr::new(ExprKind::Claim(claim), ty)
}

/// A call that asks for the caller: `auth.uid()` and its kin, `current_setting('request.jwt.…')`.
pub(super) fn identity_call(namespace: Option<&str>, name: &str, args: &[Expr]) -> Option<Expr> {
    match (namespace, name) {
        (Some("auth"), "uid") if args.is_empty() => Some(claim(Claim::Uid, Type::Uuid)),
        (Some("auth"), "role") if args.is_empty() => Some(claim(Claim::Role, Type::Text)),
        (Some("auth"), "jwt") if args.is_empty() => Some(claim(Claim::All, Type::Jsonb)),
        (Some("auth"), "email") if args.is_empty() => Some(claim(Claim::Text(vec!["email".into()]), Type::Text)),
        (None | Some("pg_catalog"), "current_setting") => setting(args.first()?),
        _ => None,
    }
}

/// `current_user`, `session_user`, `current_role`, `user`
pub(super) fn role() -> Expr {
    claim(Claim::Role, Type::Text)
}

fn setting(name: &Expr) -> Option<Expr> {
    let ExprKind::Literal(Value::Text(name)) = &name.kind else {
        return None;
    };
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "request.jwt.claims" => Some(claim(Claim::All, Type::Text)),
        "role" | "request.jwt.claim.role" => Some(role()),
        _ => {
            let path = name.strip_prefix("request.jwt.claim.")?;
            Some(claim(Claim::Text(vec![path.into()]), Type::Text))
        }
    }
}

/// `claims -> 'a'`, `claims ->> 'a'`, `claims #>> '{a,b}'`: a claim further in.
pub(super) fn fold_json(symbol: &str, left: &Expr, right: &Expr) -> Option<Expr> {
    if !left.ty.is_json() {
        return None;
    }
    let mut path: Vec<Arc<str>> = match &left.kind {
        ExprKind::Claim(Claim::All) => Vec::new(),
        ExprKind::Claim(Claim::Json(path)) => path.clone(),
        _ => return None,
    };
    let text = match symbol {
        "->" | "#>" => false,
        "->>" | "#>>" => true,
        _ => return None,
    };
    match (&right.kind, symbol.starts_with('#')) {
        (ExprKind::Literal(Value::Text(key)), false) => path.push(key_of_object(key)?),
        (ExprKind::Literal(Value::Text(keys)), true) if right.ty == Type::Unknown => {
            // '{a,b}' of plain names; anything else is left to the operator.
            let inner = keys.strip_prefix('{')?.strip_suffix('}')?;
            if inner.contains(['"', '\\', '{', ' ']) || inner.is_empty() {
                return None;
            }
            for key in inner.split(',') {
                path.push(key_of_object(key)?);
            }
        }
        (ExprKind::Array(keys), true) => {
            for key in keys {
                let ExprKind::Literal(Value::Text(key)) = &key.kind else {
                    return None;
                };
                path.push(key_of_object(key)?);
            }
        }
        _ => return None,
    }
    Some(match text {
        true => claim(Claim::Text(path), Type::Text),
        false => claim(Claim::Json(path), left.ty.clone()),
    })
}

/// A key that can only be an object's: a number would be an array's index in one reading and not in the other.
fn key_of_object(key: &str) -> Option<Arc<str>> {
    let number = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
    (!number).then(|| key.into())
}
