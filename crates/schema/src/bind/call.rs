//! Calls of functions: built-in ones, those of the schema, and the syntax that some have of their own.

use super::coerce::{CastContext, castable, shown};
use super::expr::path_of;
use super::functions::{FUNCTIONS, MIN_MAX, REFUSED, SERIES, Shape};
use super::resolve::{Choice, Pattern, choose, fit};
use super::syntax::expressions;
use super::{At, Binder, Bound, claims};
use crate::names::text;
use mainstay_model::{AggregateFunction, Builtin, Expr, ExprKind, FunctionId, Operator, Returns, Type, Value};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// An argument as written.
pub(super) struct Arg {
    pub(super) name: Option<Arc<str>>,
    pub(super) value: Expr,
    pub(super) at: At,
}

/// What may be called.
struct Candidate {
    patterns: Vec<Pattern>,
    target: Target,
}

enum Target {
    Builtin(Shape, &'static str),
    /// The function, and for each of its parameters which argument it takes; none takes the default.
    User(FunctionId, Vec<Vec<usize>>),
}

/// What a call turned out to be.
pub(super) enum Called {
    Scalar(Expr),
    Aggregate(AggregateFunction, Vec<Expr>, Type),
    /// A set, with the arguments in the order of the parameters.
    Set(FunctionId, Vec<Expr>),
}

impl Binder<'_> {
    pub(super) fn call(&mut self, call: &ast::CallExpr) -> Bound<Expr> {
        let at = At::of(call.syntax());
        if let Some(special) = self.special_form(call, at)? {
            return Ok(special);
        }
        let Some(path) = call.expr().as_ref().and_then(path_of) else {
            return Err(self.problem(at, "the name of a function is missing"));
        };
        let (namespace, name) = match path.as_slice() {
            [name] => (None, name.clone()),
            [namespace, name] => (Some(namespace.clone()), name.clone()),
            _ => return Err(self.problem(at, "improper qualified name (too many dotted names)")),
        };
        if call.over_clause().is_some() {
            return Err(self
                .refused(at, format!("the window function {name}(…) OVER"))
                .help("window functions are not served yet"));
        }
        if call.within_clause().is_some() || call.null_treatment().is_some() {
            return Err(self.refused(at, format!("{name} with WITHIN GROUP or IGNORE NULLS")));
        }
        let Some(list) = call.arg_list() else {
            return Err(self.problem(at, "the arguments are missing"));
        };
        if is_aggregate(namespace.as_deref(), &name) && self.functions_named(namespace.as_deref(), &name).is_empty() {
            return self.aggregate(&name, call, &list, at);
        }
        if let Some(filter) = call.filter_clause() {
            let message = format!("FILTER specified, but {name} is not an aggregate function");
            return Err(self.problem(At::of(filter.syntax()), message));
        }
        if list.star_token().is_some() {
            return Err(self.problem(
                at,
                format!("{name}(*) specified, but {name} is not an aggregate function"),
            ));
        }
        if list
            .all_or_distinct()
            .is_some_and(|q| matches!(q, ast::AllOrDistinct::Distinct(_)))
        {
            return Err(self.problem(
                at,
                format!("DISTINCT specified, but {name} is not an aggregate function"),
            ));
        }
        let args = self.args(&list)?;
        match self.resolve(namespace.as_deref(), &name, args, at)? {
            Called::Scalar(expr) => Ok(expr),
            Called::Aggregate(..) | Called::Set(..) => {
                let problem = self.refused(at, format!("the set-returning function {name} here"));
                Err(problem.help(format!("put it into FROM: SELECT … FROM {name}(…)")))
            }
        }
    }

    /// The arguments of a call.
    pub(super) fn args(&mut self, list: &ast::ArgList) -> Bound<Vec<Arg>> {
        let mut args = Vec::new();
        for arg in list.args() {
            let at = At::of(arg.syntax());
            if arg.variadic_token().is_some() {
                return Err(self
                    .refused(at, "VARIADIC in a call")
                    .help("write the arguments one by one"));
            }
            let named = arg.syntax().children().find_map(ast::NamedArg::cast);
            let (name, holder) = match &named {
                Some(named) => (named.name().map(|n| text(&n)), named.syntax()),
                None => (None, arg.syntax()),
            };
            let value = expressions(holder).into_iter().next();
            let Some(value) = value else {
                return Err(self.problem(at, "an argument is missing"));
            };
            args.push(Arg {
                name,
                value: self.argument(&value)?,
                at: At::of(value.syntax()),
            });
        }
        Ok(args)
    }

    /// An argument: also `t.*`, a row.
    fn argument(&mut self, expr: &ast::Expr) -> Bound<Expr> {
        if let ast::Expr::FieldExpr(field) = expr
            && field.star_token().is_some()
        {
            let at = At::of(expr.syntax());
            let path = path_of(expr).unwrap_or_default();
            let item = match path.as_slice() {
                [name] => self.find_item(None, name).cloned(),
                [namespace, name] => self.find_item(Some(namespace), name).cloned(),
                _ => None,
            };
            return match item {
                Some(item) => self.whole_row(&item, at),
                None => Err(self.missing_source(None, &path.join("."), at)),
            };
        }
        self.expr(expr)
    }

    /// Chooses the function and casts its arguments.
    pub(super) fn resolve(&mut self, namespace: Option<&str>, name: &str, args: Vec<Arg>, at: At) -> Bound<Called> {
        let values: Vec<Expr> = args.iter().map(|a| a.value.clone()).collect();
        if let Some(identity) = claims::identity_call(namespace, name, &values) {
            return Ok(Called::Scalar(identity));
        }
        let builtin = matches!(
            namespace,
            None | Some("pg_catalog" | "extensions" | "public" | "mainstay")
        );
        if builtin && let Some(expr) = self.special_call(name, &args, at)? {
            return Ok(Called::Scalar(expr));
        }
        let mut candidates = if builtin {
            builtins(name, args.len(), args.iter().any(|a| a.name.is_some()))
        } else {
            Vec::new()
        };
        let users = self.functions_named(namespace, name);
        for id in &users {
            candidates.extend(self.user_candidate(*id, &args));
        }
        let types: Vec<Type> = args.iter().map(|a| a.value.ty.clone()).collect();
        let patterns: Vec<_> = candidates.iter().map(|c| c.patterns.clone()).collect();
        let index = match choose(&patterns, &types, false) {
            Choice::One(index) => index,
            choice => {
                if let ([arg], true, Choice::None) = (args.as_slice(), builtin && users.is_empty(), &choice)
                    && let Some(to) = type_function(name)
                    && castable(&arg.value.ty, &to, CastContext::Explicit)
                {
                    return Ok(Called::Scalar(self.cast_to(arg.value.clone(), arg.at, &to)?));
                }
                return Err(self.no_function(namespace, name, &args, at, choice));
            }
        };
        let chosen = candidates.swap_remove(index);
        let Some(fitted) = fit(&chosen.patterns, &types) else {
            return Err(self.no_function(namespace, name, &args, at, Choice::None));
        };
        let mut cast = Vec::with_capacity(args.len());
        for (arg, ty) in args.into_iter().zip(&fitted.params) {
            cast.push(match ty {
                Some(ty) => self.coerce(arg.value, arg.at, ty, CastContext::Implicit)?,
                None => self.settle(arg.value),
            });
        }
        match chosen.target {
            Target::User(id, positions) => self.user_call(id, positions, cast, at),
            Target::Builtin(shape, result) => {
                let result = match result {
                    "array of any" => match cast.first().map(|a| a.ty.clone()) {
                        Some(Type::Array(_)) | None => return Err(self.refused(at, format!("{name} of arrays"))),
                        Some(ty) => Type::Array(Box::new(ty)),
                    },
                    "void" => Type::Void,
                    name => fitted.result(name).unwrap_or(Type::Text),
                };
                self.shape(shape, cast, result, at)
            }
        }
    }

    fn shape(&mut self, shape: Shape, mut args: Vec<Expr>, result: Type, at: At) -> Bound<Called> {
        Ok(Called::Scalar(match shape {
            Shape::Call(builtin) => Expr::new(ExprKind::Call(builtin, args), result),
            Shape::Swapped(builtin) => {
                args.reverse();
                Expr::new(ExprKind::Call(builtin, args), result)
            }
            Shape::Operator(operator) => Expr::new(ExprKind::Operator(operator, args), result),
            Shape::Aggregate(function) => return Ok(Called::Aggregate(function, args, result)),
            Shape::DatePart => {
                let [field, value] =
                    <[Expr; 2]>::try_from(args).map_err(|_| self.problem(at, "date_part takes two arguments"))?;
                let part = match &field.kind {
                    ExprKind::Literal(Value::Text(field)) => self.date_part(field, (value, at), at)?,
                    _ => Expr::new(
                        ExprKind::Call(Builtin::DatePart, vec![field, value]),
                        Type::Numeric(None),
                    ),
                };
                self.coerce(part, at, &Type::Float8, CastContext::Explicit)?
            }
            Shape::AgeOfToday => {
                let ty = args.first().map_or(Type::TimestampTz, |a| a.ty.clone());
                let today = Expr::new(ExprKind::Call(Builtin::CurrentDate, Vec::new()), Type::Date);
                args.insert(0, self.coerce(today, at, &ty, CastContext::Implicit)?);
                Expr::new(ExprKind::Call(Builtin::Age, args), result)
            }
            Shape::TimeZone => {
                let [zone, value] =
                    <[Expr; 2]>::try_from(args).map_err(|_| self.problem(at, "timezone takes two arguments"))?;
                self.at_time_zone((value, at), (zone, at), at)?
            }
            Shape::JsonPath(operator) => {
                let document = args.remove(0);
                let path = Expr::new(ExprKind::Array(args), Type::Array(Box::new(Type::Text)));
                let symbol = if operator == Operator::JsonPath { "#>" } else { "#>>" };
                match claims::fold_json(symbol, &document, &path) {
                    Some(claim) => claim,
                    None => Expr::new(ExprKind::Operator(operator, vec![document, path]), result),
                }
            }
        }))
    }

    /// A function of the schema as a candidate for these arguments, if their number and names fit.
    fn user_candidate(&self, id: FunctionId, args: &[Arg]) -> Option<Candidate> {
        let function = self.schema.function(id);
        let variadic = function.args.last().is_some_and(|a| a.variadic);
        let mut positions: Vec<Vec<usize>> = vec![Vec::new(); function.args.len()];
        let mut patterns = vec![Pattern::Any; args.len()];
        for (index, arg) in args.iter().enumerate() {
            let position = match &arg.name {
                Some(name) => function.args.iter().position(|a| a.name == *name)?,
                None if variadic => index.min(function.args.len() - 1),
                None => index,
            };
            let param = function.args.get(position)?;
            let rest = param.variadic && arg.name.is_none();
            if !positions[position].is_empty() && !rest {
                return None;
            }
            positions[position].push(index);
            patterns[index] = Pattern::Is(match &param.ty {
                Type::Array(element) if rest => (**element).clone(),
                ty => ty.clone(),
            });
        }
        let complete = |(position, param): (&Vec<usize>, &mainstay_model::Argument)| {
            !position.is_empty() || param.default.is_some() || param.variadic
        };
        let complete = positions.iter().zip(&function.args).all(complete);
        complete.then_some(Candidate {
            patterns,
            target: Target::User(id, positions),
        })
    }

    fn user_call(&mut self, id: FunctionId, positions: Vec<Vec<usize>>, cast: Vec<Expr>, at: At) -> Bound<Called> {
        let function = self.schema.function(id);
        let mut args = Vec::with_capacity(positions.len());
        for (position, param) in positions.iter().zip(&function.args) {
            let mut given = position.iter().filter_map(|i| cast.get(*i).cloned());
            args.push(if param.variadic {
                Expr::new(ExprKind::Array(given.collect()), param.ty.clone())
            } else {
                match given.next().or_else(|| param.default.clone()) {
                    Some(value) => value,
                    None => {
                        return Err(self.problem(
                            at,
                            format!("the argument {} of {} is missing", param.name, function.name),
                        ));
                    }
                }
            });
        }
        let ty = match &function.returns {
            Returns::Void => Type::Void,
            Returns::Scalar(ty) => ty.clone(),
            Returns::Row(relation) => Type::Row(self.row_type_name(*relation)),
            Returns::Record(_) => Type::Row("record".into()),
            Returns::SetOfScalar(_) | Returns::SetOfRow(_) | Returns::Table(_) => return Ok(Called::Set(id, args)),
        };
        Ok(Called::Scalar(Expr::new(ExprKind::UserCall(id, args), ty)))
    }

    fn no_function(&self, namespace: Option<&str>, name: &str, args: &[Arg], at: At, choice: Choice) -> crate::Problem {
        let shown_args: Vec<String> = args
            .iter()
            .map(|a| match &a.name {
                Some(name) => format!("{name} => {}", shown(&a.value.ty)),
                None => shown(&a.value.ty),
            })
            .collect();
        let qualified = namespace
            .map(|n| format!("{n}.{name}"))
            .unwrap_or_else(|| name.to_owned());
        let written = format!("{qualified}({})", shown_args.join(", "));
        if choice == Choice::Ambiguous {
            return self
                .problem(at, format!("function {written} is not unique"))
                .help("add an explicit cast to its arguments");
        }
        if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return self.refused(at, format!("the function {name}")).help(*instead);
        }
        if SERIES.iter().any(|(series, ..)| *series == name) {
            let problem = self.refused(at, format!("the set-returning function {name} here"));
            return problem.help(format!("put it into FROM: SELECT … FROM {name}(…)"));
        }
        let problem = self.problem(at, format!("function {written} does not exist"));
        let user = self.functions_named(namespace, name);
        if !user.is_empty() || FUNCTIONS.iter().any(|(f, ..)| *f == name) {
            return problem.help("no function of that name takes these types; cast the arguments");
        }
        let own = self.schema.functions.iter().map(|f| &*f.name);
        let known = problem.did_you_mean(name, own.chain(FUNCTIONS.iter().map(|(f, ..)| *f)));
        match known.help {
            Some(_) => known,
            None => known
                .help("only functions that every engine can keep the meaning of are served, and those of the schema"),
        }
    }
}

fn is_aggregate(namespace: Option<&str>, name: &str) -> bool {
    let own = matches!(namespace, None | Some("pg_catalog"));
    own && (matches!(name, "min" | "max")
        || FUNCTIONS
            .iter()
            .any(|(f, _, _, s)| *f == name && matches!(s, Shape::Aggregate(_))))
}

/// The built-in functions of a name, each with parameters for this number of arguments.
fn builtins(name: &str, args: usize, named: bool) -> Vec<Candidate> {
    let mut found = Vec::new();
    // Their parameters have no names in the tables; nobody writes them but for make_interval.
    if named {
        return found;
    }
    let minimum = match name {
        "min" => Some(AggregateFunction::Min),
        "max" => Some(AggregateFunction::Max),
        _ => None,
    };
    if let Some(function) = minimum {
        for ty in MIN_MAX {
            let target = Target::Builtin(Shape::Aggregate(function), ty);
            found.push(Candidate {
                patterns: vec![Pattern::named(ty)],
                target,
            });
        }
    }
    for (_, params, result, shape) in FUNCTIONS.iter().filter(|(f, ..)| *f == name) {
        found.push(Candidate {
            patterns: patterns(params, args),
            target: Target::Builtin(*shape, result),
        });
    }
    found
}

/// The parameters of a table's entry; one with a `*` as often as there are arguments left.
pub(super) fn patterns(params: &str, args: usize) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for param in params.split(", ").filter(|p| !p.is_empty()) {
        match param.strip_prefix('*') {
            Some(rest) => {
                while patterns.len() < args {
                    patterns.push(Pattern::named(rest));
                }
            }
            None => patterns.push(Pattern::named(param)),
        }
    }
    patterns
}

/// Types whose name is a function of one argument, a cast.
fn type_function(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float4" => Type::Float4,
        "float8" => Type::Float8,
        "numeric" => Type::Numeric(None),
        "text" => Type::Text,
        "varchar" => Type::Varchar(None),
        "date" => Type::Date,
        "timestamptz" => Type::TimestampTz,
        "uuid" => Type::Uuid,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        _ => return None,
    })
}
