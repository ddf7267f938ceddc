//! Functions: every built-in of the model but the mathematical ones.

use super::Bind;
use super::render::{Renderer, Term, quote_text};
use super::storage::Form;
use mainstay_model::{Builtin, Error, Expr, ExprKind, Operator, Result, Type, Value};

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

impl<'a> Renderer<'a> {
    /// A built-in function; `ty` is the result's type.
    pub fn call(&mut self, function: Builtin, args: &[Expr], ty: &Type) -> Result<Term> {
        use Builtin::*;
        let arg = |at: usize| {
            args.get(at)
                .ok_or_else(|| Error::internal(format!("{function:?} lacks argument {}", at + 1)))
        };
        Ok(match function {
            Abs | Ceil | Floor | Sign | Sqrt | Exp | Ln | Log | Power | Round | Trunc => {
                return self.mathematics(function, args, ty);
            }
            Age => {
                let parts = self.moments_of(args)?;
                match parts.as_slice() {
                    [a, b] => Term::plain(format!("mainstay_age({a}, {b})")),
                    [a] => {
                        let now = self.bind(Bind::Now)?;
                        Term::plain(format!("mainstay_age(({now} - {now} % {DAY_US}), {a})"))
                    }
                    _ => return Err(Error::internal("age takes one or two arguments")),
                }
            }
            ArrayAppend => {
                let (array, element) = (self.condition(arg(0)?)?, self.json_of(arg(1)?)?);
                Term::plain(format!("mainstay_array_append({array}, {element})"))
            }
            ArrayRemove | ArrayPosition => {
                let (array, element) = (self.condition(arg(0)?)?, self.json_of(arg(1)?)?);
                let name = if function == ArrayRemove { "remove" } else { "position" };
                Term::plain(format!("mainstay_array_{name}({array}, {element})"))
            }
            ArrayLength | Cardinality => {
                let dimension = match args.get(1) {
                    Some(dimension) => self.condition(dimension)?,
                    None => "0".to_owned(),
                };
                Term::plain(format!(
                    "mainstay_array_length({}, {dimension})",
                    self.condition(arg(0)?)?
                ))
            }
            ArrayToString => {
                let array = arg(0)?;
                let element = match &array.ty {
                    Type::Array(element) => self.code(element, Form::Plain),
                    _ => "'text'".to_owned(),
                };
                let (list, separator) = (self.condition(array)?, self.text(arg(1)?)?);
                let null = match args.get(2) {
                    Some(null) => self.text(null)?,
                    None => "NULL".to_owned(),
                };
                Term::plain(format!(
                    "mainstay_array_to_string({list}, {element}, {separator}, {null})"
                ))
            }
            Btrim | Ltrim | Rtrim => {
                let name = match function {
                    Btrim => "trim",
                    Ltrim => "ltrim",
                    _ => "rtrim",
                };
                Term::plain(format!("{name}({})", self.texts(args)?.join(", ")))
            }
            CharLength | Length => {
                let sql = if arg(0)?.ty == Type::Bytea {
                    self.condition(arg(0)?)?
                } else {
                    self.text(arg(0)?)?
                };
                Term::plain(format!("length({sql})"))
            }
            OctetLength => {
                let sql = if arg(0)?.ty == Type::Bytea {
                    self.condition(arg(0)?)?
                } else {
                    self.output(arg(0)?)?
                };
                Term::plain(format!("octet_length({sql})"))
            }
            Chr => Term::plain(format!("mainstay_chr({})", self.condition(arg(0)?)?)),
            Coalesce => {
                let mut terms = Vec::new();
                for arg in args {
                    let term = self.expr(arg)?;
                    terms.push(self.as_numeric(term, &arg.ty, ty));
                }
                let (terms, form) = self.align(terms)?;
                let digits = terms.iter().map(|t| t.digits).max().unwrap_or(0);
                let sql = match terms.as_slice() {
                    [one] => one.sql.clone(),
                    many => format!(
                        "coalesce({})",
                        many.iter().map(|t| t.sql.as_str()).collect::<Vec<_>>().join(", ")
                    ),
                };
                Term {
                    sql,
                    form,
                    digits,
                    atom: false,
                    null: terms.iter().all(|t| t.null),
                }
            }
            Concat | ConcatWs => {
                let mut parts = Vec::new();
                for arg in args {
                    parts.push(self.output(arg)?);
                }
                let name = if function == Concat { "concat" } else { "concat_ws" };
                Term::plain(if parts.is_empty() {
                    "''".to_owned()
                } else {
                    format!("{name}({})", parts.join(", "))
                })
            }
            CurrentDate => {
                let now = self.bind(Bind::Now)?;
                Term::plain(format!("({now} / {DAY_US})"))
            }
            CurrentSetting => self.setting(args)?,
            DatePart => {
                let moment = arg(1)?;
                let (field, value) = (self.text(arg(0)?)?, self.condition(moment)?);
                let extracted = format!(
                    "mainstay_extract({field}, {value}, {})",
                    self.code(&moment.ty, Form::Plain)
                );
                match ty {
                    Type::Numeric(_) => Term::wide(extracted),
                    _ => Term::plain(format!("mainstay_num_float({extracted})")),
                }
            }
            DateTrunc => {
                let moment = arg(1)?;
                if let Some(zone) = args.get(2)
                    && !matches!(&zone.kind, ExprKind::Literal(Value::Text(zone)) if zone.eq_ignore_ascii_case("utc"))
                {
                    return Err(Error::unsupported(
                        "date_trunc in a time zone other than UTC is not supported by SQLite",
                    ));
                }
                let (field, value) = (self.text(arg(0)?)?, self.condition(moment)?);
                Term::plain(format!(
                    "mainstay_date_trunc({field}, {value}, {})",
                    self.code(&moment.ty, Form::Plain)
                ))
            }
            Decode | Encode | Digest => {
                let name = match function {
                    Decode => "decode",
                    Encode => "encode",
                    _ => "digest",
                };
                Term::plain(format!(
                    "mainstay_{name}({}, {})",
                    self.condition(arg(0)?)?,
                    self.text(arg(1)?)?
                ))
            }
            Emit => {
                let payload = self.json_of(arg(1)?)?;
                let key = match args.get(2) {
                    Some(key) => self.text(key)?,
                    None => "NULL".to_owned(),
                };
                Term::plain(format!("mainstay_emit({}, {payload}, {key})", self.text(arg(0)?)?))
            }
            Format => {
                let mut parts = vec![self.text(arg(0)?)?];
                for arg in &args[1..] {
                    parts.push(self.output(arg)?);
                }
                Term::plain(format!("mainstay_format({})", parts.join(", ")))
            }
            GenRandomUuid => Term::plain("mainstay_uuid()"),
            Greatest | Least => self.extreme(function, args, ty)?,
            InitCap | Lower | Upper | Reverse | Md5 => {
                let name = match function {
                    InitCap => "initcap",
                    Lower => "lower",
                    Upper => "upper",
                    Reverse => "reverse",
                    _ => "md5",
                };
                let value = if arg(0)?.ty == Type::Bytea {
                    self.condition(arg(0)?)?
                } else {
                    self.text(arg(0)?)?
                };
                Term::plain(format!("mainstay_{name}({value})"))
            }
            JsonArrayLength => Term::plain(format!("mainstay_json_array_length({})", self.condition(arg(0)?)?)),
            JsonTypeof => Term::plain(format!("mainstay_json_typeof({})", self.condition(arg(0)?)?)),
            JsonBuildArray | JsonBuildObject => {
                let mut parts = Vec::new();
                for (at, arg) in args.iter().enumerate() {
                    let key = function == JsonBuildObject && at % 2 == 0;
                    parts.push(if key { self.output(arg)? } else { self.json_of(arg)? });
                }
                let kind = if *ty == Type::Json { "json" } else { "jsonb" };
                let name = if function == JsonBuildArray { "array" } else { "object" };
                Term::plain(format!("mainstay_{kind}_build_{name}({})", parts.join(", ")))
            }
            JsonbSet => {
                let mut parts = args.iter().map(|a| self.condition(a)).collect::<Result<Vec<_>>>()?;
                if parts.len() == 3 {
                    parts.push("1".to_owned());
                }
                Term::plain(format!("mainstay_jsonb_set({})", parts.join(", ")))
            }
            Left | Right | Repeat => {
                let name = match function {
                    Left => "left",
                    Right => "right",
                    _ => "repeat",
                };
                Term::plain(format!(
                    "mainstay_{name}({}, {})",
                    self.text(arg(0)?)?,
                    self.condition(arg(1)?)?
                ))
            }
            Lpad | Rpad => {
                let fill = match args.get(2) {
                    Some(fill) => self.text(fill)?,
                    None => "' '".to_owned(),
                };
                let name = if function == Lpad { "lpad" } else { "rpad" };
                Term::plain(format!(
                    "mainstay_{name}({}, {}, {fill})",
                    self.text(arg(0)?)?,
                    self.condition(arg(1)?)?
                ))
            }
            MakeInterval => {
                let mut parts = Vec::new();
                for at in 0..7 {
                    parts.push(match args.get(at) {
                        Some(arg) if at == 6 => self.float(arg)?,
                        Some(arg) => self.condition(arg)?,
                        None => "0".to_owned(),
                    });
                }
                Term::plain(format!("mainstay_make_interval({})", parts.join(", ")))
            }
            NextVal => Term::plain(format!("mainstay_nextval({})", self.text(arg(0)?)?)),
            Now | StatementTimestamp => Term::plain(self.bind(Bind::Now)?).atom(),
            NullIf => {
                let (left, right) = (arg(0)?, arg(1)?);
                let equal = self.compare(Operator::Eq, left, right)?;
                let term = self.expr(left)?;
                Term {
                    sql: format!("(CASE WHEN {equal} THEN NULL ELSE {} END)", term.sql),
                    atom: false,
                    ..term
                }
            }
            Position => Term::plain(format!("instr({1}, {0})", self.text(arg(0)?)?, self.text(arg(1)?)?)),
            Random => Term::plain("mainstay_random()"),
            RegexpReplace => {
                let mut parts = self.texts(args)?;
                if parts.len() == 3 {
                    parts.push("''".to_owned());
                }
                Term::plain(format!("mainstay_regexp_replace({})", parts.join(", ")))
            }
            Replace | Translate | SplitPart | StartsWith => {
                let name = match function {
                    Replace => "replace",
                    Translate => "mainstay_translate",
                    SplitPart => "mainstay_split_part",
                    _ => "mainstay_starts_with",
                };
                let mut parts = Vec::new();
                for arg in args {
                    parts.push(if arg.ty.is_integer() {
                        self.condition(arg)?
                    } else {
                        self.text(arg)?
                    });
                }
                Term::plain(format!("{name}({})", parts.join(", ")))
            }
            RowToJson | ToJson => {
                let term = self.expr(arg(0)?)?;
                Term::plain(self.nullable_json(term, &arg(0)?.ty)?)
            }
            ToJsonb => {
                let source = arg(0)?;
                let term = self.expr(source)?;
                let json = self.nullable_json(term, &source.ty)?;
                Term::plain(match &source.ty {
                    Type::Jsonb | Type::Bool => json,
                    ty if ty.is_integer() => json,
                    _ => format!("mainstay_cast({json}, 'json', 'jsonb')"),
                })
            }
            StringToArray => {
                let mut parts = self.texts(args)?;
                if parts.len() == 2 {
                    parts.push("NULL".to_owned());
                }
                Term::plain(format!("mainstay_string_to_array({})", parts.join(", ")))
            }
            Substring => {
                let text = arg(0)?;
                if text.ty == Type::Bytea {
                    return Err(Error::unsupported("substring of bytea is not supported by SQLite"));
                }
                let value = self.text(text)?;
                match (args.get(1), args.get(2)) {
                    (Some(from), None) if from.ty.is_integer() => {
                        Term::plain(format!("mainstay_substring({value}, {}, NULL)", self.condition(from)?))
                    }
                    (Some(from), Some(count)) if from.ty.is_integer() => {
                        let (from, count) = (self.condition(from)?, self.condition(count)?);
                        Term::plain(format!(
                            "(CASE WHEN {count} IS NOT NULL THEN mainstay_substring({value}, {from}, {count}) END)"
                        ))
                    }
                    (Some(pattern), None) => {
                        Term::plain(format!("mainstay_substring_regex({value}, {})", self.text(pattern)?))
                    }
                    _ => {
                        return Err(Error::unsupported(
                            "substring with an escape character is not supported by SQLite",
                        ));
                    }
                }
            }
            ToChar => {
                let value = arg(0)?;
                let term = self.number(value)?;
                let (sql, form) = match value.ty {
                    Type::Numeric(_) => (self.to_wide(term).sql, Form::Wide),
                    _ => (term.sql, Form::Plain),
                };
                let code = self.code(&value.ty, form);
                Term::plain(format!("mainstay_to_char({sql}, {code}, {})", self.text(arg(1)?)?))
            }
            ToTimestamp => match args.get(1) {
                None => Term::plain(format!("mainstay_to_timestamp({})", self.float(arg(0)?)?)),
                Some(format) => Term::plain(format!(
                    "mainstay_parse_timestamp({}, {})",
                    self.text(arg(0)?)?,
                    self.text(format)?
                )),
            },
        })
    }

    /// An argument as text, as a cast to `text` gives it.
    fn text(&mut self, expr: &Expr) -> Result<String> {
        let term = self.expr(expr)?;
        self.to_text(term, &expr.ty)
    }

    fn texts(&mut self, args: &[Expr]) -> Result<Vec<String>> {
        args.iter().map(|a| self.text(a)).collect()
    }

    /// An argument as its type's output function writes it: a boolean is `t` or `f`.
    fn output(&mut self, expr: &Expr) -> Result<String> {
        if expr.ty == Type::Bool {
            let sql = self.condition(expr)?;
            return Ok(format!("(CASE {sql} WHEN 1 THEN 't' WHEN 0 THEN 'f' END)"));
        }
        let term = self.expr(expr)?;
        self.to_shown_text(term, &expr.ty)
    }

    /// An argument as JSON text; `null` for NULL.
    fn json_of(&mut self, expr: &Expr) -> Result<String> {
        let term = self.expr(expr)?;
        self.to_json(term, &expr.ty)
    }

    /// A value as JSON text; NULL for NULL.
    fn nullable_json(&mut self, term: Term, ty: &Type) -> Result<String> {
        if term.null {
            return Ok("NULL".to_owned());
        }
        if matches!(ty, Type::Json | Type::Jsonb | Type::Array(_) | Type::Row(_)) {
            return Ok(term.sql);
        }
        let sql = term.sql.clone();
        let json = self.to_json(term, ty)?;
        Ok(format!("(CASE WHEN {sql} IS NOT NULL THEN {json} END)"))
    }

    /// An integer among numerics takes a numeric form.
    pub fn as_numeric(&self, term: Term, from: &Type, to: &Type) -> Term {
        match from {
            ty if ty.is_integer() && matches!(to, Type::Numeric(_)) && !term.null => {
                let digits = match ty {
                    Type::Int2 => 5,
                    Type::Int4 => 10,
                    _ => 19,
                };
                Term {
                    form: Form::Scaled(0),
                    digits,
                    ..term
                }
            }
            _ => term,
        }
    }

    /// Moments as microseconds, dates among them.
    fn moments_of(&mut self, args: &[Expr]) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for arg in args {
            let sql = self.condition(arg)?;
            out.push(match arg.ty {
                Type::Date => format!("mainstay_cast({sql}, 'date', 'timestamp')"),
                _ => sql,
            });
        }
        Ok(out)
    }

    fn setting(&mut self, args: &[Expr]) -> Result<Term> {
        let literal = |at: usize| match args.get(at).map(|a| &a.kind) {
            Some(ExprKind::Literal(value)) => Some(value.clone()),
            _ => None,
        };
        let missing_ok = matches!(literal(1), Some(Value::Bool(true)));
        match literal(0) {
            Some(Value::Text(name)) if name.eq_ignore_ascii_case("timezone") => Ok(Term::plain("'UTC'").atom()),
            Some(Value::Text(_)) if missing_ok => Ok(Term::null()),
            Some(Value::Text(name)) => {
                let message =
                    quote_text(&format!("unrecognized configuration parameter \"{name}\"")).unwrap_or_default();
                Ok(Term::plain(format!("mainstay_raise('42704', {message})")))
            }
            _ => Err(Error::unsupported(
                "current_setting of a name that is computed is not supported by SQLite",
            )),
        }
    }
}
