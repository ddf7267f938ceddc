//! What every part of the rendering shares: the text under construction, its parameters, which sources are in scope, and rendered
//! terms with the form their values have.

use super::storage::{Form, SCALED_DIGITS_MAX, Stored, column_form, encode, type_code};
use super::{Bind, quote_identifier, table_name};
use mainstay_model::{ColumnRef, Error, Expr, QueryShape, RelationId, Result, Schema, SourceId, Type, Value};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// How deep expressions, views and functions may nest before they are refused (54001); SQLite's own limit is 1000.
const DEPTH_MAX: u16 = 120;

/// A rendered expression: safe to stand anywhere an operand may.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub sql: String,
    pub form: Form,
    /// Of a `Scaled` term: how many digits its integer has at most (19 is any integer).
    pub digits: u16,
    /// A column, parameter or constant: cheap to repeat.
    pub atom: bool,
    /// The constant NULL, which has every form.
    pub null: bool,
}

impl AsRef<str> for Term {
    fn as_ref(&self) -> &str {
        &self.sql
    }
}

impl Term {
    pub fn plain(sql: impl Into<String>) -> Term {
        Term {
            sql: sql.into(),
            form: Form::Plain,
            digits: 0,
            atom: false,
            null: false,
        }
    }

    pub fn scaled(sql: impl Into<String>, scale: u16, digits: u16) -> Term {
        Term {
            sql: sql.into(),
            form: Form::Scaled(scale),
            digits,
            atom: false,
            null: false,
        }
    }

    pub fn wide(sql: impl Into<String>) -> Term {
        Term {
            sql: sql.into(),
            form: Form::Wide,
            digits: 0,
            atom: false,
            null: false,
        }
    }

    pub fn null() -> Term {
        Term {
            sql: "NULL".to_owned(),
            form: Form::Plain,
            digits: 0,
            atom: true,
            null: true,
        }
    }

    pub fn atom(mut self) -> Term {
        self.atom = true;
        self
    }
}

/// A column of a source in scope.
#[derive(Clone, Debug)]
pub(super) struct SourceColumn {
    pub name: Arc<str>,
    /// Qualified.
    pub sql: String,
    pub ty: Type,
    pub form: Form,
    pub digits: u16,
    pub not_null: bool,
    /// What it is computed by can fail ([`super::barrier`]).
    pub fallible: bool,
}

/// A row source in scope.
#[derive(Clone, Debug)]
pub(super) struct RowSource {
    pub columns: Vec<SourceColumn>,
    /// It may be missing (the outer side of a join): its whole row is then NULL.
    pub nullable: bool,
    /// The row of the parent level: its columns become [`Bind::Outer`] when they are used.
    pub outer: bool,
}

/// An argument of a function whose body is being inlined.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    Term(Term),
    /// A whole row, whose columns the body names.
    Row(Rc<RowSource>),
}

/// A `WITH` member in scope.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub name: String,
    pub columns: Vec<SourceColumn>,
    /// It hides rows.
    pub hides: bool,
}

/// Embeds that [`mainstay_model::ExprKind::Embedded`] refers to, with the source they hang on.
#[derive(Clone)]
pub(super) struct Embeds<'a> {
    pub shape: &'a QueryShape,
    pub parent: Rc<RowSource>,
}

/// What names mean at one place: each statement, view, policy and function body has a space of its own.
#[derive(Clone, Default)]
pub(super) struct Scope<'a> {
    pub sources: HashMap<SourceId, Rc<RowSource>>,
    /// `None`: parameters are the operation's.
    pub arguments: Option<Rc<Vec<Argument>>>,
    pub common: HashMap<u32, Rc<Common>>,
    pub embeds: Option<Embeds<'a>>,
}

/// One statement under construction.
pub(super) struct Renderer<'a> {
    pub schema: &'a Schema,
    pub binds: Vec<Bind>,
    /// What `Bind::Outer(n)` stands for until the parent level has numbered its result: (outer column, form wanted).
    pub outer: Vec<(u32, Form)>,
    pub scope: Scope<'a>,
    /// Sources that were in scope before the present FROM clause.
    pub outside: HashSet<SourceId>,
    /// A table's definition: no parameters, and built-in SQL wherever it means the same.
    pub definition: bool,
    /// How many sources with security there are so far.
    pub secured: u32,
    /// What holds of the rows that may be seen, of the sources of the present FROM clause so far.
    pub guards: Vec<String>,
    /// A column was named whose value can fail, since this was last cleared.
    pub fallible: bool,
    aliases: u32,
    depth: u16,
}

impl<'a> Renderer<'a> {
    pub fn new(schema: &'a Schema) -> Renderer<'a> {
        Renderer {
            schema,
            binds: Vec::new(),
            outer: Vec::new(),
            scope: Scope::default(),
            outside: HashSet::new(),
            definition: false,
            secured: 0,
            guards: Vec::new(),
            fallible: false,
            aliases: 0,
            depth: 0,
        }
    }

    /// A fresh name for a source.
    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases - 1)
    }

    /// The text of a parameter.
    pub fn bind(&mut self, bind: Bind) -> Result<String> {
        if self.definition {
            return Err(Error::unsupported(match &bind {
                Bind::Claim(..) => "a table's definition cannot depend on the caller's token",
                Bind::Now => "a table's definition cannot depend on the time",
                _ => "a table's definition cannot have parameters",
            }));
        }
        let index = match self.binds.iter().position(|b| *b == bind) {
            Some(index) => index,
            None => {
                self.binds.push(bind);
                self.binds.len() - 1
            }
        };
        Ok(format!("?{}", index + 1))
    }

    /// Runs `inside` with a scope of its own and restores the present one.
    pub fn scoped<T>(&mut self, scope: Scope<'a>, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let kept = std::mem::replace(&mut self.scope, scope);
        let result = self.deeper(inside);
        self.scope = kept;
        result
    }

    /// Counts one level of nesting.
    pub fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::new("54001", "the statement nests too deeply")
                .detail(format!(
                    "At most {DEPTH_MAX} levels of expressions, views and functions are supported."
                ))
                .hint("A view or function that refers to itself nests without end."));
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    /// How many parameters there are, for [`Renderer::reset`].
    pub fn mark(&self) -> (usize, usize) {
        (self.binds.len(), self.outer.len())
    }

    /// Forgets the parameters of text that is thrown away: SQLite binds none that its statement does not have.
    pub fn reset(&mut self, (binds, outer): (usize, usize)) {
        self.binds.truncate(binds);
        self.outer.truncate(outer);
    }

    /// A table's columns under an alias.
    pub fn table_source(&self, relation: RelationId, alias: &str, nullable: bool) -> RowSource {
        let columns = &self.schema.relation(relation).columns;
        RowSource {
            columns: columns
                .iter()
                .map(|column| SourceColumn {
                    name: column.name.clone(),
                    sql: if alias.is_empty() {
                        quote_identifier(&column.name)
                    } else {
                        format!("{alias}.{}", quote_identifier(&column.name))
                    },
                    ty: column.ty.clone(),
                    form: column_form(&column.ty),
                    digits: column_digits(&column.ty),
                    not_null: column.not_null && !nullable,
                    fallible: false,
                })
                .collect(),
            nullable,
            outer: false,
        }
    }

    /// A table's quoted name.
    pub fn table(&self, relation: RelationId) -> String {
        quote_identifier(&table_name(self.schema, relation))
    }

    /// A column in scope.
    pub fn source_column(&self, column: ColumnRef) -> Result<&SourceColumn> {
        self.scope
            .sources
            .get(&column.source)
            .and_then(|source| source.columns.get(column.column as usize))
            .ok_or_else(|| {
                Error::internal(format!(
                    "column {} of source {} is not in scope",
                    column.column, column.source.0
                ))
            })
    }

    /// A column of a row source as a term.
    pub fn column_of(&mut self, source: &Rc<RowSource>, index: u32) -> Result<Term> {
        let column = source
            .columns
            .get(index as usize)
            .ok_or_else(|| Error::internal(format!("a row has no column {index}")))?;
        let (form, digits) = (column.form, column.digits);
        self.fallible |= column.fallible;
        let sql = if source.outer {
            self.outer_column(index, form)?
        } else {
            column.sql.clone()
        };
        Ok(Term {
            sql,
            form,
            digits,
            atom: true,
            null: false,
        })
    }

    /// A column of the parent level's row.
    pub fn outer_column(&mut self, column: u32, form: Form) -> Result<String> {
        let index = match self.outer.iter().position(|o| *o == (column, form)) {
            Some(index) => index,
            None => {
                self.outer.push((column, form));
                self.outer.len() - 1
            }
        };
        self.bind(Bind::Outer(index as u16))
    }

    /// A constant.
    pub fn literal(&mut self, value: &Value, ty: &Type) -> Result<Term> {
        let fitted;
        let value = match ty {
            _ if value.is_null() => return Ok(Term::null()),
            // What the type's length or precision cuts off is cut off here; where that is an error, the caller looked before.
            Type::Varchar(Some(_)) | Type::Char(1..) => {
                fitted = value.clone().cast(&Type::Text, ty)?;
                &fitted
            }
            Type::Numeric(Some(_)) => {
                fitted = value.clone().cast(&Type::Numeric(None), ty)?;
                &fitted
            }
            _ => value,
        };
        let (form, digits) = match value {
            Value::Numeric(number) if number.scale() <= SCALED_DIGITS_MAX => match number.to_scaled(number.scale()) {
                Some(unscaled) if decimal_digits(unscaled) <= SCALED_DIGITS_MAX => {
                    (Form::Scaled(number.scale()), decimal_digits(unscaled))
                }
                _ => (Form::Wide, 0),
            },
            Value::Int(number) if matches!(ty, Type::Numeric(_)) => (Form::Scaled(0), decimal_digits(*number)),
            _ => (Form::Plain, 0),
        };
        let sql = self.constant(value, ty, form)?;
        Ok(Term {
            sql,
            form,
            digits,
            atom: true,
            null: false,
        })
    }

    /// A constant in a form, written into the text.
    pub fn constant(&mut self, value: &Value, ty: &Type, form: Form) -> Result<String> {
        match stored_text(&encode(value, ty, form)?) {
            Some(text) => Ok(text),
            None => self.bind(Bind::Value(value.clone(), ty.clone(), form)),
        }
    }

    /// A parameter: the operation's, or the argument of the function being inlined.
    pub fn param(&mut self, index: u16, ty: &Type) -> Result<Term> {
        if let Some(arguments) = self.scope.arguments.clone() {
            return match arguments.get(usize::from(index)) {
                Some(Argument::Term(term)) => Ok(term.clone()),
                Some(Argument::Row(source)) => self.whole_row(source),
                None => Err(Error::internal(format!(
                    "a function's body refers to argument {index}, which it has not"
                ))),
            };
        }
        let form = value_form(ty);
        Ok(Term {
            sql: self.bind(Bind::Param(index, ty.clone(), form))?,
            form,
            digits: 0,
            atom: true,
            null: false,
        })
    }

    /// The caller's claim.
    pub fn claim(&mut self, claim: &mainstay_model::Claim, ty: &Type) -> Result<Term> {
        let form = value_form(ty);
        Ok(Term {
            sql: self.bind(Bind::Claim(claim.clone(), ty.clone(), form))?,
            form,
            digits: 0,
            atom: true,
            null: false,
        })
    }

    /// A numeric term, of integers as well, with its scale known.
    pub fn number(&mut self, expr: &Expr) -> Result<Term> {
        let mut term = self.expr(expr)?;
        if !term.null && expr.ty.is_integer() {
            term.form = Form::Scaled(0);
            term.digits = match expr.ty {
                Type::Int2 => 5,
                Type::Int4 => 10,
                _ => 19,
            };
            if let mainstay_model::ExprKind::Literal(Value::Int(value)) = expr.kind {
                term.digits = decimal_digits(value);
            }
        }
        Ok(term)
    }

    /// The same number as an ordered BLOB.
    pub fn to_wide(&self, term: Term) -> Term {
        match term.form {
            Form::Scaled(scale) if !term.null => Term::wide(format!("mainstay_num({}, {scale})", term.sql)),
            _ => Term {
                form: Form::Wide,
                ..term
            },
        }
    }

    /// The same number with more digits after the point, while that is proven to fit.
    pub fn rescale(&self, term: &Term, scale: u16) -> Option<Term> {
        let Form::Scaled(present) = term.form else { return None };
        let more = scale.checked_sub(present)?;
        if more == 0 || term.null {
            return Some(Term {
                form: Form::Scaled(scale),
                ..term.clone()
            });
        }
        let digits = term.digits + more;
        (digits <= SCALED_DIGITS_MAX).then(|| match term.sql.parse::<i64>() {
            Ok(constant) => Term::scaled((constant * 10i64.pow(u32::from(more))).to_string(), scale, digits).atom(),
            Err(_) => Term::scaled(
                format!("({} * {})", term.sql, 10i64.pow(u32::from(more))),
                scale,
                digits,
            ),
        })
    }

    /// The term in another form. Narrowing a wide number to a scale is an assignment and not done here.
    pub fn convert(&self, term: Term, form: Form) -> Result<Term> {
        if term.null || term.form == form {
            return Ok(term);
        }
        match form {
            Form::Wide => Ok(self.to_wide(term)),
            Form::Scaled(scale) => self
                .rescale(&term, scale)
                .ok_or_else(|| Error::internal(format!("a number cannot be brought to scale {scale} exactly"))),
            _ => Err(Error::internal("a value cannot take this form")),
        }
    }

    /// The form in which all of the terms keep their value and their display scale.
    pub fn common_form(&self, terms: &[&Term]) -> Form {
        let mut forms = terms.iter().filter(|t| !t.null).map(|t| t.form);
        let Some(first) = forms.next() else { return Form::Plain };
        if forms.all(|form| form == first) {
            first
        } else {
            Form::Wide
        }
    }

    /// All of the terms in their common form, and it.
    pub fn align(&self, terms: Vec<Term>) -> Result<(Vec<Term>, Form)> {
        let form = self.common_form(&terms.iter().collect::<Vec<_>>());
        let aligned = terms
            .into_iter()
            .map(|t| self.convert(t, form))
            .collect::<Result<Vec<_>>>()?;
        Ok((aligned, form))
    }

    /// Two numbers in one form, to be compared only: the display scale is lost.
    pub fn comparable(&self, left: Term, right: Term) -> ([Term; 2], Form) {
        if let (Form::Scaled(a), Form::Scaled(b)) = (left.form, right.form)
            && let (Some(l), Some(r)) = (self.rescale(&left, a.max(b)), self.rescale(&right, a.max(b)))
        {
            return ([l, r], Form::Scaled(a.max(b)));
        }
        ([self.to_wide(left), self.to_wide(right)], Form::Wide)
    }

    /// The code of an expression's type and form, as a text constant for functions of ours.
    pub fn code(&self, ty: &Type, form: Form) -> String {
        quote_text(&type_code(ty, form)).unwrap_or_else(|| "''".to_owned())
    }
}

/// Digits of a column's scaled integer.
pub(super) fn column_digits(ty: &Type) -> u16 {
    match ty {
        Type::Numeric(Some((precision, _))) => *precision,
        _ => 0,
    }
}

/// The form of a value of a type that has no column: a number's scale is not known.
pub(super) fn value_form(ty: &Type) -> Form {
    match ty {
        Type::Numeric(_) => Form::Wide,
        _ => Form::Plain,
    }
}

/// How many decimal digits a number has.
pub(super) fn decimal_digits(value: i64) -> u16 {
    value.unsigned_abs().checked_ilog10().map_or(1, |n| n as u16 + 1)
}

/// A stored value as SQL text; `None` if it cannot be written (a NUL in a text).
pub(super) fn stored_text(stored: &Stored<'_>) -> Option<String> {
    Some(match stored {
        Stored::Null => "NULL".to_owned(),
        // The least integer is not a literal of SQLite's: -9223372036854775808 is read as a negated REAL.
        Stored::Integer(i64::MIN) => "(-9223372036854775807 - 1)".to_owned(),
        Stored::Integer(v) if *v < 0 => format!("({v})"),
        Stored::Integer(v) => v.to_string(),
        Stored::Real(v) if v.is_infinite() => if *v > 0.0 { "9e999" } else { "(-9e999)" }.to_owned(),
        Stored::Real(v) if *v < 0.0 => format!("({v:e})"),
        Stored::Real(v) => format!("{v:e}"),
        Stored::Text(text) => quote_text(text)?,
        Stored::Blob(bytes) => {
            let mut out = String::with_capacity(bytes.len() * 2 + 3);
            out.push_str("X'");
            for byte in bytes.iter() {
                out.push_str(&format!("{byte:02x}"));
            }
            out.push('\'');
            out
        }
    })
}

/// A text constant; `None` if it has a NUL, where SQLite's text would end.
pub(super) fn quote_text(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| format!("'{}'", text.replace('\'', "''")))
}
