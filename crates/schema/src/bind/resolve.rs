//! Choosing among the overloads of an operator or a function, by Postgres' rules ("Type Conversion", chapters 10.2 and 10.3).

use super::coerce::{CastContext, Category, base, castable, category, preferred, same};
use mainstay_model::Type;

/// What a parameter takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pattern {
    /// One type.
    Is(Type),
    /// Anything, each for itself.
    Any,
    /// A row of anything.
    Record,
    /// Of one call, all the same; an array of it; neither array; an enum.
    Element,
    ArrayOfElement,
    NonArray,
    Enum,
    /// Of one call, all of one common type; an array of it.
    Compatible,
    ArrayOfCompatible,
}

impl Pattern {
    /// From the name that the tables of operators and functions use.
    pub(super) fn named(name: &str) -> Pattern {
        Pattern::Is(match name {
            "any" => return Pattern::Any,
            "record" => return Pattern::Record,
            "anyelement" => return Pattern::Element,
            "anyarray" => return Pattern::ArrayOfElement,
            "anynonarray" => return Pattern::NonArray,
            "anyenum" => return Pattern::Enum,
            "anycompatible" => return Pattern::Compatible,
            "anycompatiblearray" => return Pattern::ArrayOfCompatible,
            name => type_named(name),
        })
    }

    fn is(&self, ty: &Type) -> bool {
        matches!(self, Pattern::Is(wanted) if same(wanted, ty))
    }
}

fn type_named(name: &str) -> Type {
    match name {
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float4" => Type::Float4,
        "float8" => Type::Float8,
        "numeric" => Type::Numeric(None),
        "text" => Type::Text,
        "bpchar" => Type::Char(0),
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytea,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp,
        "timestamptz" => Type::TimestampTz,
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "text[]" => Type::Array(Box::new(Type::Text)),
        other => Type::Other(other.into()),
    }
}

/// What the parameters of a call turn out to be.
pub(super) struct Match {
    /// The type that each argument is cast to; `None` leaves it as it is.
    pub(super) params: Vec<Option<Type>>,
    element: Option<Type>,
}

impl Match {
    /// The result type of a name in the tables.
    pub(super) fn result(&self, name: &str) -> Option<Type> {
        Some(match Pattern::named(name) {
            Pattern::Is(ty) => ty,
            Pattern::Element | Pattern::NonArray | Pattern::Enum | Pattern::Compatible => self.element.clone()?,
            Pattern::ArrayOfElement | Pattern::ArrayOfCompatible => Type::Array(Box::new(self.element.clone()?)),
            Pattern::Any | Pattern::Record => return None,
        })
    }
}

/// Whether arguments fit parameters by implicit casts, and to which types they are cast.
pub(super) fn fit(patterns: &[Pattern], args: &[Type]) -> Option<Match> {
    if patterns.len() != args.len() {
        return None;
    }
    let mut element: Option<Type> = None;
    for (pattern, arg) in patterns.iter().zip(args) {
        let unknown = *arg == Type::Unknown;
        let part = match (pattern, arg) {
            (Pattern::Is(ty), _) => {
                if !castable(arg, ty, CastContext::Implicit) {
                    return None;
                }
                continue;
            }
            (Pattern::Any, _) => continue,
            (Pattern::Record, _) => {
                if !unknown && !matches!(arg, Type::Row(_)) {
                    return None;
                }
                continue;
            }
            _ if unknown => continue,
            (Pattern::ArrayOfElement | Pattern::ArrayOfCompatible, Type::Array(inner)) => (**inner).clone(),
            (Pattern::ArrayOfElement | Pattern::ArrayOfCompatible, _) => return None,
            (Pattern::NonArray, Type::Array(_)) => return None,
            (Pattern::Enum, arg) if !matches!(arg, Type::Enum(_)) => return None,
            _ => arg.clone(),
        };
        let compatible = matches!(pattern, Pattern::Compatible | Pattern::ArrayOfCompatible);
        element = Some(match element {
            None => part,
            Some(known) if same(&known, &part) => {
                if known == part {
                    known
                } else {
                    base(&known)
                }
            }
            Some(known) if compatible && castable(&part, &known, CastContext::Implicit) && !wider(&part, &known) => {
                known
            }
            Some(known) if compatible && castable(&known, &part, CastContext::Implicit) => part,
            Some(_) => return None,
        });
    }
    let generic = |p: &Pattern| !matches!(p, Pattern::Is(_) | Pattern::Any | Pattern::Record);
    if element.is_none() && patterns.iter().any(generic) {
        // Nothing but literals: text, as COALESCE and its like decide; an array cannot be guessed.
        if patterns
            .iter()
            .any(|p| matches!(p, Pattern::ArrayOfElement | Pattern::ArrayOfCompatible | Pattern::Enum))
        {
            return None;
        }
        element = Some(Type::Text);
    }
    let params = patterns.iter().map(|pattern| match pattern {
        Pattern::Is(ty) => Some(ty.clone()),
        Pattern::Any | Pattern::Record => None,
        Pattern::ArrayOfElement | Pattern::ArrayOfCompatible => element.clone().map(|e| Type::Array(Box::new(e))),
        _ => element.clone(),
    });
    Some(Match {
        params: params.collect(),
        element,
    })
}

/// Whether the first takes values that the second cannot.
fn wider(first: &Type, second: &Type) -> bool {
    !castable(first, second, CastContext::Implicit) && castable(second, first, CastContext::Implicit)
}

/// What came of a choice.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The index of the candidate.
    One(usize),
    /// None fits.
    None,
    /// Several fit equally well.
    Ambiguous,
}

/// Chooses among candidates by their parameters. `operator` also tries a literal as the other operand's type, first of all.
pub(super) fn choose(candidates: &[Vec<Pattern>], args: &[Type], operator: bool) -> Choice {
    let exact = |types: &[Type]| {
        candidates.iter().position(|patterns| {
            patterns.len() == types.len() && patterns.iter().zip(types).all(|(p, t)| *t != Type::Unknown && p.is(t))
        })
    };
    if let Some(found) = exact(args) {
        return Choice::One(found);
    }
    if operator && let [left, right] = args {
        let assumed = match (left, right) {
            (Type::Unknown, ty) | (ty, Type::Unknown) => [ty.clone(), ty.clone()],
            _ => [left.clone(), right.clone()],
        };
        if let Some(found) = exact(&assumed) {
            return Choice::One(found);
        }
    }
    let mut left: Vec<usize> = (0..candidates.len())
        .filter(|i| fit(&candidates[*i], args).is_some())
        .collect();
    if left.len() < 2 {
        return only(&left);
    }
    keep_best(&mut left, |i| {
        candidates[i]
            .iter()
            .zip(args)
            .filter(|(p, t)| **t != Type::Unknown && p.is(t))
            .count()
    });
    if left.len() < 2 {
        return only(&left);
    }
    keep_best(&mut left, |i| {
        let accepts = |(p, t): &(&Pattern, &Type)| {
            **t != Type::Unknown && (p.is(t) || matches!(p, Pattern::Is(ty) if preferred(ty)))
        };
        candidates[i].iter().zip(args).filter(accepts).count()
    });
    if left.len() < 2 || !args.contains(&Type::Unknown) {
        return only(&left);
    }
    by_literals(&mut left, candidates, args);
    if left.len() < 2 {
        return only(&left);
    }
    // All known arguments of one type: the literals are taken to be of it as well.
    let mut known = args.iter().filter(|t| **t != Type::Unknown);
    if let Some(first) = known.next()
        && known.all(|t| same(t, first))
    {
        let assumed = vec![first.clone(); args.len()];
        let fitting: Vec<usize> = left
            .iter()
            .copied()
            .filter(|i| fit(&candidates[*i], &assumed).is_some())
            .collect();
        if fitting.len() == 1 {
            return Choice::One(fitting[0]);
        }
    }
    Choice::Ambiguous
}

/// Narrows by what the candidates take where the arguments are literals: strings before everything else.
fn by_literals(left: &mut Vec<usize>, candidates: &[Vec<Pattern>], args: &[Type]) {
    for (position, _) in args.iter().enumerate().filter(|(_, t)| **t == Type::Unknown) {
        let categories: Vec<(Category, bool)> = left
            .iter()
            .map(|i| match candidates[*i].get(position) {
                Some(Pattern::Is(ty)) => (category(ty), preferred(ty)),
                _ => (Category::User, false),
            })
            .collect();
        let Some((first, _)) = categories.first().copied() else {
            return;
        };
        let chosen = if categories.iter().any(|(c, _)| *c == Category::Text) {
            Category::Text
        } else if categories.iter().all(|(c, _)| *c == first) {
            first
        } else {
            continue;
        };
        let only_preferred = categories.iter().any(|(c, preferred)| *c == chosen && *preferred);
        let mut kept = categories
            .iter()
            .map(|(c, preferred)| *c == chosen && (*preferred || !only_preferred));
        left.retain(|_| kept.next().unwrap_or(false));
    }
}

fn only(left: &[usize]) -> Choice {
    match left {
        [] => Choice::None,
        [one] => Choice::One(*one),
        _ => Choice::Ambiguous,
    }
}

fn keep_best(left: &mut Vec<usize>, score: impl Fn(usize) -> usize) {
    let best = left.iter().map(|i| score(*i)).max().unwrap_or(0);
    left.retain(|i| score(*i) == best);
}
