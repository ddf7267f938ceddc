//! Postgres' casts: which there are, when they happen by themselves, and how one type is found for several values.

use super::{At, Binder, Bound};
use mainstay_model::{Claim, Decimal, Expr, ExprKind, Type, Value, time};
use std::sync::Arc;

/// What a cast is for: the more is asked for, the more is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CastContext {
    /// Nobody wrote it: an operand, an argument.
    Implicit,
    /// A value for a column or a function's result.
    Assignment,
    /// `CAST`, `::`
    Explicit,
}

/// Postgres' type categories, as far as there are types for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Boolean,
    Number,
    Text,
    DateTime,
    Timespan,
    Array,
    Enum,
    Composite,
    Unknown,
    User,
}

/// A type without its length, precision or scale. `character` of unsaid length is `Char(0)`, which no column has.
pub(super) fn base(ty: &Type) -> Type {
    match ty {
        Type::Numeric(_) => Type::Numeric(None),
        Type::Varchar(_) => Type::Varchar(None),
        Type::Char(_) => Type::Char(0),
        Type::Array(element) => Type::Array(Box::new(base(element))),
        ty => ty.clone(),
    }
}

/// A type as messages of Postgres name it: without length.
pub(super) fn shown(ty: &Type) -> String {
    match base(ty) {
        Type::Char(_) => "character".into(),
        Type::Array(element) => format!("{}[]", shown(&element)),
        ty => ty.to_string(),
    }
}

/// Whether two types differ in length at most.
pub(super) fn same(a: &Type, b: &Type) -> bool {
    a == b || base(a) == base(b)
}

pub(super) fn category(ty: &Type) -> Category {
    match ty {
        Type::Bool => Category::Boolean,
        ty if ty.is_number() => Category::Number,
        ty if ty.is_text() => Category::Text,
        Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => Category::DateTime,
        Type::Interval => Category::Timespan,
        Type::Array(_) => Category::Array,
        Type::Enum(_) => Category::Enum,
        Type::Row(_) => Category::Composite,
        Type::Unknown => Category::Unknown,
        _ => Category::User,
    }
}

/// Whether a type is the one that its category falls back to.
pub(super) fn preferred(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool | Type::Float8 | Type::Text | Type::TimestampTz | Type::Interval
    )
}

/// Whether a cast exists and may happen in a context.
pub(super) fn castable(from: &Type, to: &Type, context: CastContext) -> bool {
    let (from, to) = (&base(from), &base(to));
    if from == to || *from == Type::Unknown {
        return true;
    }
    if let (Type::Array(from), Type::Array(to)) = (from, to) {
        return castable(from, to, context);
    }
    match cast_context(from, to) {
        Some(needed) => context >= needed,
        None => false,
    }
}

/// What a cast between two different base types needs.
fn cast_context(from: &Type, to: &Type) -> Option<CastContext> {
    use CastContext::{Assignment, Explicit, Implicit};
    use Type::*;
    let number = |ty: &Type| match ty {
        Int2 => 0,
        Int4 => 1,
        Int8 => 2,
        Numeric(_) => 3,
        Float4 => 4,
        Float8 => 5,
        _ => 6,
    };
    Some(match (from, to) {
        (from, to) if from.is_number() && to.is_number() => {
            if number(from) < number(to) {
                Implicit
            } else {
                Assignment
            }
        }
        (from, to) if from.is_text() && to.is_text() => Implicit,
        (Date, Timestamp | TimestampTz) | (Timestamp, TimestampTz) | (Time, Interval) => Implicit,
        (Timestamp | TimestampTz, Date | Time) | (TimestampTz, Timestamp) | (Interval, Time) => Assignment,
        (Json, Jsonb) | (Jsonb, Json) => Assignment,
        (Int4, Bool) | (Bool, Int4) => Explicit,
        (Jsonb, to) if to.is_number() || *to == Bool => Explicit,
        // Through text, in and out.
        (_, to) if to.is_text() => Assignment,
        (from, Void) if *from != Void => return None,
        (from, _) if from.is_text() => Explicit,
        (Row(_), Row(_)) => Explicit,
        _ => return None,
    })
}

impl Binder<'_> {
    /// An expression as another type; the type of a literal that has none yet is decided here.
    ///
    /// # Errors
    /// No such cast, or a literal that is no value of the type, in Postgres' words.
    pub(super) fn coerce(&mut self, expr: Expr, at: At, to: &Type, context: CastContext) -> Bound<Expr> {
        if expr.ty == Type::Unknown {
            return self.decide(expr, at, to);
        }
        if !castable(&expr.ty, to, context) {
            let (from, into) = (shown(&expr.ty), shown(to));
            return Err(match context {
                CastContext::Explicit => self.problem(at, format!("cannot cast type {from} to {into}")),
                _ => self
                    .problem(at, format!("{into} is needed here, not {from}"))
                    .help(format!("cast it: …::{into}")),
            });
        }
        Ok(cast(expr, to, context == CastContext::Explicit))
    }

    /// A value for a column: cast as an assignment does, to the column's type without its length. The length is applied when the
    /// row is stored, where a value that is too long is an error and not cut as a cast would.
    pub(super) fn assign(&mut self, expr: Expr, at: At, to: &Type) -> Bound<Expr> {
        match &expr.kind {
            ExprKind::Literal(_) if expr.ty == Type::Unknown => self.decide(expr, at, to),
            _ => self.coerce(expr, at, &unsized_type(to), CastContext::Assignment),
        }
    }

    /// A condition of a clause.
    pub(super) fn condition(&mut self, expr: Expr, at: At, clause: &str) -> Bound<Expr> {
        if expr.ty != Type::Bool && expr.ty != Type::Unknown {
            let message = format!(
                "argument of {clause} must be type boolean, not type {}",
                shown(&expr.ty)
            );
            return Err(self
                .problem(at, message)
                .help("compare it with something, or cast it to boolean"));
        }
        self.coerce(expr, at, &Type::Bool, CastContext::Implicit)
    }

    /// A literal whose type nothing decides is text.
    pub(super) fn settle(&mut self, expr: Expr) -> Expr {
        match expr.ty {
            Type::Unknown => Expr { ty: Type::Text, ..expr },
            _ => expr,
        }
    }

    /// Gives a literal without a type the one that its surroundings ask for.
    fn decide(&mut self, expr: Expr, at: At, to: &Type) -> Bound<Expr> {
        match &expr.kind {
            ExprKind::Literal(Value::Null) => Ok(Expr { ty: to.clone(), ..expr }),
            ExprKind::Literal(Value::Text(text)) => self.literal_of(text, at, to),
            _ if *to == Type::Text || *to == Type::Unknown => Ok(Expr { ty: Type::Text, ..expr }),
            _ => Ok(Expr::new(
                ExprKind::Cast(Box::new(Expr { ty: Type::Text, ..expr })),
                to.clone(),
            )),
        }
    }

    /// A string as a constant of a type.
    pub(super) fn literal_of(&mut self, text: &str, at: At, to: &Type) -> Bound<Expr> {
        let dated = matches!(to, Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz);
        if dated && time::is_volatile_literal(text, to) {
            let problem = self.problem(
                at,
                format!("'{text}' as a {} would be fixed once and for all", shown(to)),
            );
            return Err(problem.help("write now(), current_date or localtimestamp for the time of each statement"));
        }
        // A comparison with character(n) is one of padded values, whatever the literal's own length.
        let padded = match to {
            Type::Char(n) => Some(Type::Char(
                (*n).max(text.trim_end_matches(' ').chars().count() as u32).max(1),
            )),
            _ => None,
        };
        let value = match &padded {
            Some(ty) => Value::parse(text.trim_end_matches(' '), ty),
            None => Value::parse(text, to),
        };
        let value = value.map_err(|error| self.problem(at, error.message.clone()))?;
        self.check_labels(&value, to, at)?;
        Ok(Expr::literal(value, padded.unwrap_or_else(|| to.clone())))
    }

    fn check_labels(&self, value: &Value, ty: &Type, at: At) -> Bound<()> {
        match (value, ty) {
            (Value::Text(text), Type::Enum(name)) => match self.schema.enums.get(name) {
                Some(labels) if !labels.iter().any(|l| **l == **text) => {
                    let problem = self.problem(at, format!("invalid input value for enum {name}: \"{text}\""));
                    Err(problem.did_you_mean(text, labels.iter().map(|l| &**l)))
                }
                _ => Ok(()),
            },
            (Value::Array(values), Type::Array(element)) => values
                .iter()
                .try_for_each(|value| self.check_labels(value, element, at)),
            _ => Ok(()),
        }
    }

    /// One type for several values, as CASE, COALESCE, IN, VALUES and UNION find it. `what` names the construct.
    pub(super) fn common_type<'t>(&self, types: impl IntoIterator<Item = (&'t Type, At)>, what: &str) -> Bound<Type> {
        let mut common: Option<Type> = None;
        let mut literals = false;
        for (ty, at) in types {
            literals |= *ty == Type::Unknown;
            let Some(current) = &mut common else {
                common = (*ty != Type::Unknown).then(|| ty.clone());
                continue;
            };
            if *ty == Type::Unknown || *ty == *current {
                continue;
            }
            if same(ty, current) {
                *current = base_or_text(current);
            } else if category(ty) != category(current) {
                let message = format!("{what} types {} and {} cannot be matched", shown(current), shown(ty));
                return Err(self.problem(at, message).help("cast one of them to the other's type"));
            } else if !preferred(current)
                && castable(current, ty, CastContext::Implicit)
                && !castable(ty, current, CastContext::Implicit)
            {
                *current = base_or_text(ty);
            } else if current.is_text() && ty.is_text() {
                *current = Type::Text;
            } else if !castable(ty, current, CastContext::Implicit) {
                let message = format!("{what} could not convert type {} to {}", shown(ty), shown(current));
                return Err(self.problem(at, message).help("cast one of them to the other's type"));
            } else {
                *current = base_or_text(current);
            }
        }
        // A literal among them is not bound to the others' length, precision or scale.
        let common = common.unwrap_or(Type::Text);
        Ok(if literals { unsized_type(&common) } else { common })
    }

    /// Several values as one type.
    pub(super) fn unify(&mut self, values: Vec<(Expr, At)>, what: &str) -> Bound<(Vec<Expr>, Type)> {
        let common = self.common_type(values.iter().map(|(e, at)| (&e.ty, *at)), what)?;
        let mut unified = Vec::with_capacity(values.len());
        for (expr, at) in values {
            unified.push(self.coerce(expr, at, &common, CastContext::Implicit)?);
        }
        Ok((unified, common))
    }
}

/// A type without its length, as something that an expression may have.
pub(super) fn unsized_type(ty: &Type) -> Type {
    match ty {
        Type::Char(_) => ty.clone(),
        ty => base(ty),
    }
}

fn base_or_text(ty: &Type) -> Type {
    match ty {
        Type::Varchar(_) => Type::Varchar(None),
        Type::Char(_) => Type::Text,
        ty => base(ty),
    }
}

/// A cast that exists, folded where it is of a constant or says nothing.
fn cast(expr: Expr, to: &Type, explicit: bool) -> Expr {
    // `character` of unsaid length takes the length that is there.
    if *to == Type::Char(0) && (expr.ty.is_text()) {
        return expr;
    }
    if expr.ty == *to || (same(&expr.ty, to) && (!explicit || base(to) == *to)) {
        return expr;
    }
    if matches!(
        (&expr.ty, to),
        (Type::Varchar(_), Type::Text) | (Type::Text, Type::Varchar(None))
    ) {
        return match expr.kind {
            ExprKind::Literal(_) | ExprKind::Claim(_) => Expr { ty: to.clone(), ..expr },
            _ => expr,
        };
    }
    match (expr.kind, to) {
        (ExprKind::Literal(value), to) => match folded(&value, &expr.ty, to) {
            Some(value) => Expr::literal(value, to.clone()),
            None => wrap(ExprKind::Literal(value), expr.ty, to),
        },
        // The claims are the same document, whichever JSON type they are read as.
        (ExprKind::Claim(claim @ (Claim::All | Claim::Json(_))), Type::Json | Type::Jsonb) => {
            Expr::new(ExprKind::Claim(claim), to.clone())
        }
        // ARRAY[…]::text[] casts the elements.
        (ExprKind::Array(elements), Type::Array(element)) => {
            let elements = elements.into_iter().map(|e| cast(e, element, explicit)).collect();
            Expr::new(ExprKind::Array(elements), to.clone())
        }
        (kind, to) => wrap(kind, expr.ty, to),
    }
}

fn wrap(kind: ExprKind, ty: Type, to: &Type) -> Expr {
    Expr::new(ExprKind::Cast(Box::new(Expr::new(kind, ty))), to.clone())
}

/// A constant cast to another type, where that is the same in every engine and cannot fail later than here.
fn folded(value: &Value, from: &Type, to: &Type) -> Option<Value> {
    Some(match (value, to) {
        (Value::Null, _) => Value::Null,
        (Value::Int(v), Type::Int8) => Value::Int(*v),
        (Value::Int(v), Type::Int4) => Value::Int(i32::try_from(*v).ok()?.into()),
        (Value::Int(v), Type::Int2) => Value::Int(i16::try_from(*v).ok()?.into()),
        (Value::Int(v), Type::Numeric(None)) => Value::Numeric(Decimal::parse(&v.to_string())?),
        (Value::Int(v), Type::Float8) => Value::Float(*v as f64),
        // Sessions run in UTC, where midnight is midnight.
        (Value::Date(days), Type::Timestamp | Type::TimestampTz) => {
            Value::Timestamp(time::date_to_timestamp(*days).ok()?)
        }
        (Value::Timestamp(micros), Type::TimestampTz) if *from == Type::Timestamp => Value::Timestamp(*micros),
        (Value::Text(text), Type::Text | Type::Varchar(None)) if from.is_text() => match from {
            Type::Char(_) => Value::Text(text.trim_end_matches(' ').to_owned()),
            _ => Value::Text(text.clone()),
        },
        (
            Value::Text(text),
            Type::Json | Type::Jsonb | Type::Uuid | Type::Int4 | Type::Int8 | Type::Int2 | Type::Bool,
        ) if from.is_text() => Value::parse(text, to).ok()?,
        (Value::Array(values), Type::Array(element)) => {
            let Type::Array(from) = from else { return None };
            let cast: Option<Vec<Value>> = values.iter().map(|v| folded(v, from, element)).collect();
            Value::Array(Arc::from(cast?))
        }
        _ => return None,
    })
}
