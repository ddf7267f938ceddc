//! One typed expression for filters, policies, checks, defaults and the bodies of functions and views.

use crate::{FunctionId, OrderBy, Select, Type, Value};
use std::sync::Arc;

/// An expression with the type it yields. Binding has already resolved names, overloads and implicit casts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// What it yields.
    pub ty: Type,
}

/// Which row source of a statement a column comes from. Unique within one [`crate::Statement`]; [`SourceId::SELF`] is the row at
/// hand wherever an expression belongs to a relation (filters, policies, checks, defaults).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

impl SourceId {
    /// The row at hand.
    pub const SELF: SourceId = SourceId(0);
    /// The row proposed for insertion, in `ON CONFLICT DO UPDATE`.
    pub const EXCLUDED: SourceId = SourceId(u32::MAX);
}

/// A column of a row source, by its index in the relation's columns or the subquery's projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnRef {
    /// The row source.
    pub source: SourceId,
    /// The index of the column.
    pub column: u32,
}

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExprKind {
    /// A constant.
    Literal(Value),
    /// A column of a row.
    Column(ColumnRef),
    /// The n-th parameter: of the operation, or the n-th argument inside a function's body. Counted from 0.
    Param(u16),
    /// Something the token says: the only way in which an identity enters an expression.
    Claim(Claim),
    /// `NOT a`
    Not(Box<Expr>),
    /// All of them; empty is true.
    And(Vec<Expr>),
    /// Any of them; empty is false.
    Or(Vec<Expr>),
    /// A unary or binary operator with its operands in order.
    Operator(Operator, Vec<Expr>),
    /// `a IS [NOT] NULL|TRUE|FALSE|UNKNOWN`
    Is {
        /// The operand.
        operand: Box<Expr>,
        /// What it is tested for.
        test: IsTest,
        /// `IS NOT`
        negated: bool,
    },
    /// `a [NOT] IN (list)`
    In {
        /// The left side.
        operand: Box<Expr>,
        /// The right side.
        list: Vec<Expr>,
        /// `NOT IN`
        negated: bool,
    },
    /// `a op ANY|ALL (array)`
    Quantified {
        /// The comparison.
        operator: Operator,
        /// `ALL` rather than `ANY`.
        all: bool,
        /// The left side.
        operand: Box<Expr>,
        /// An array.
        array: Box<Expr>,
    },
    /// `a [NOT] IN (SELECT …)`, the left side a row of one or more.
    InSelect {
        /// The left side.
        operands: Vec<Expr>,
        /// The right side.
        select: Box<Select>,
        /// `NOT IN`
        negated: bool,
    },
    /// `EXISTS (SELECT …)`
    Exists(Box<Select>),
    /// `(SELECT one value)`
    Scalar(Box<Select>),
    /// `ARRAY(SELECT …)`
    ArraySelect(Box<Select>),
    /// `CASE [operand] WHEN … THEN … ELSE … END`; an operand has already been turned into comparisons.
    Case {
        /// Conditions and results.
        whens: Vec<(Expr, Expr)>,
        /// The result when none holds; NULL when absent.
        otherwise: Option<Box<Expr>>,
    },
    /// A cast to [`Expr::ty`], explicit or implicit.
    Cast(Box<Expr>),
    /// A function that every engine knows.
    Call(Builtin, Vec<Expr>),
    /// A function of the schema's own, used as a scalar.
    UserCall(FunctionId, Vec<Expr>),
    /// A value of a domain as it is shown, or one of it from how it is written: the function behind an implicit cast.
    Represented(Box<crate::DomainCast>, Box<Expr>),
    /// An aggregate.
    Aggregate(Box<Aggregate>),
    /// `ARRAY[…]`
    Array(Vec<Expr>),
    /// The whole row of a source, as `row_to_json(t)` or a computed column takes it.
    WholeRow(SourceId),
    /// In a [`crate::Query`]'s filter or order: whether the n-th embed of the query has any row.
    Embedded(u16),
    /// In a [`crate::Query`]'s values or order: a value of the n-th embed's row, which is to one.
    EmbeddedColumn(u16, Box<Expr>),
    /// SQL that only the database understands; never produced for portable input.
    Opaque {
        /// The text.
        sql: Arc<str>,
        /// Relations that it reads.
        dependencies: Vec<crate::RelationId>,
    },
}

/// An aggregate call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// Which.
    pub function: AggregateFunction,
    /// Its arguments; none for `count(*)`.
    pub args: Vec<Expr>,
    /// `DISTINCT`
    pub distinct: bool,
    /// `FILTER (WHERE …)`
    pub filter: Option<Expr>,
    /// `ORDER BY` inside the call.
    pub order: Vec<OrderBy>,
}

/// The aggregates that every engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the SQL function of its name")]
pub enum AggregateFunction {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    StringAgg,
    ArrayAgg,
    JsonAgg,
    JsonbAgg,
    JsonObjectAgg,
    JsonbObjectAgg,
}

/// Tests of `IS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the SQL keyword of its name")]
pub enum IsTest {
    Null,
    True,
    False,
    Unknown,
}

/// Operators, by meaning; the operands' types say which of Postgres' overloads it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each carries its SQL spelling")]
pub enum Operator {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `IS DISTINCT FROM`
    IsDistinctFrom,
    /// `IS NOT DISTINCT FROM`
    IsNotDistinctFrom,
    /// `LIKE` with `\` as the escape
    Like,
    /// `ILIKE`
    ILike,
    /// `NOT LIKE`
    NotLike,
    /// `NOT ILIKE`
    NotILike,
    /// `~`
    Match,
    /// `~*`
    IMatch,
    /// `!~`
    NotMatch,
    /// `!~*`
    NotIMatch,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// unary `-`
    Neg,
    /// `||` on text, arrays or jsonb
    Concat,
    /// `->` by key (text) or index (integer)
    JsonGet,
    /// `->>`
    JsonGetText,
    /// `#>`
    JsonPath,
    /// `#>>`
    JsonPathText,
    /// `@>`
    Contains,
    /// `<@`
    ContainedBy,
    /// `&&`
    Overlaps,
    /// `?`
    JsonHasKey,
    /// `?|`
    JsonHasAnyKey,
    /// `?&`
    JsonHasAllKeys,
    /// `<<`
    StrictlyLeft,
    /// `>>`
    StrictlyRight,
    /// `&<`
    NotExtendsRight,
    /// `&>`
    NotExtendsLeft,
    /// `-|-`
    Adjacent,
    /// `@@` with to_tsquery
    TextSearch,
    /// `@@` with plainto_tsquery
    TextSearchPlain,
    /// `@@` with phraseto_tsquery
    TextSearchPhrase,
    /// `@@` with websearch_to_tsquery
    TextSearchWeb,
}

/// What a token says. The only way an identity enters an expression, so that a cached answer's class can name what it read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// `auth.uid()`: `sub` as a uuid, NULL when it is none.
    Uid,
    /// `auth.role()`, and `current_user` of an invoker.
    Role,
    /// `auth.jwt()`: every claim.
    All,
    /// `auth.jwt() -> 'a' -> 'b'`, as JSON.
    Json(Vec<Arc<str>>),
    /// `auth.jwt() -> 'a' ->> 'b'`, as text.
    Text(Vec<Arc<str>>),
}

/// How often a function's result may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Volatility {
    /// Depends on its arguments alone.
    Immutable,
    /// Constant within one statement; reads the database or the clock.
    Stable,
    /// Anything.
    Volatile,
}

/// Functions that every engine knows, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the Postgres function of its name")]
pub enum Builtin {
    Abs,
    Age,
    ArrayAppend,
    ArrayLength,
    ArrayPosition,
    ArrayRemove,
    ArrayToString,
    Btrim,
    Cardinality,
    Ceil,
    CharLength,
    Chr,
    Coalesce,
    Concat,
    ConcatWs,
    CurrentDate,
    /// `current_setting(name [, missing_ok])`
    CurrentSetting,
    /// `extract(field from x)`, as numeric
    DatePart,
    DateTrunc,
    Decode,
    Digest,
    /// `emit(topic, payload [, key])`: an event, durable in the same transaction.
    Emit,
    Encode,
    Exp,
    Floor,
    Format,
    GenRandomUuid,
    Greatest,
    InitCap,
    JsonArrayLength,
    JsonBuildArray,
    JsonBuildObject,
    JsonTypeof,
    JsonbSet,
    Least,
    Left,
    Length,
    Ln,
    Log,
    Lower,
    Lpad,
    Ltrim,
    MakeInterval,
    Md5,
    /// `nextval(sequence)`
    NextVal,
    /// `now()`, `current_timestamp`, `transaction_timestamp()`
    Now,
    NullIf,
    OctetLength,
    /// `position(a in b)`, `strpos(b, a)`
    Position,
    Power,
    Random,
    RegexpReplace,
    Repeat,
    Replace,
    Reverse,
    Right,
    Round,
    RowToJson,
    Rpad,
    Rtrim,
    Sign,
    SplitPart,
    Sqrt,
    StartsWith,
    StatementTimestamp,
    StringToArray,
    Substring,
    ToChar,
    ToJson,
    ToJsonb,
    ToTimestamp,
    Translate,
    Trunc,
    Upper,
}

impl Builtin {
    /// How often its result may change.
    pub fn volatility(self) -> Volatility {
        match self {
            Builtin::GenRandomUuid | Builtin::Random | Builtin::NextVal | Builtin::Emit => Volatility::Volatile,
            Builtin::Now
            | Builtin::StatementTimestamp
            | Builtin::CurrentDate
            | Builtin::CurrentSetting
            | Builtin::Age
            | Builtin::ToChar
            | Builtin::ToTimestamp
            | Builtin::ToJson
            | Builtin::ToJsonb
            | Builtin::RowToJson => Volatility::Stable,
            _ => Volatility::Immutable,
        }
    }
}

impl Expr {
    /// An expression of a kind and a type.
    pub fn new(kind: ExprKind, ty: Type) -> Expr {
        Expr { kind, ty }
    }

    /// A constant.
    pub fn literal(value: Value, ty: Type) -> Expr {
        Expr::new(ExprKind::Literal(value), ty)
    }

    /// A column of the row at hand.
    pub fn column(column: u32, ty: Type) -> Expr {
        Expr::new(
            ExprKind::Column(ColumnRef {
                source: SourceId::SELF,
                column,
            }),
            ty,
        )
    }

    /// A parameter.
    pub fn param(index: u16, ty: Type) -> Expr {
        Expr::new(ExprKind::Param(index), ty)
    }

    /// A condition.
    pub fn condition(kind: ExprKind) -> Expr {
        Expr::new(kind, Type::Bool)
    }

    /// A comparison or another binary operator that yields a boolean.
    pub fn compare(operator: Operator, left: Expr, right: Expr) -> Expr {
        Expr::condition(ExprKind::Operator(operator, vec![left, right]))
    }

    /// All of the conditions: none is true, one is itself.
    pub fn all(mut conditions: Vec<Expr>) -> Expr {
        match conditions.len() {
            1 => conditions.remove(0),
            _ => Expr::condition(ExprKind::And(conditions)),
        }
    }

    /// Any of the conditions: none is false, one is itself.
    pub fn any(mut conditions: Vec<Expr>) -> Expr {
        match conditions.len() {
            1 => conditions.remove(0),
            _ => Expr::condition(ExprKind::Or(conditions)),
        }
    }

    /// The opposite.
    pub fn negate(self) -> Expr {
        Expr::condition(ExprKind::Not(Box::new(self)))
    }
}

impl Expr {
    /// Calls `visit` on this expression and every one below it that belongs to the same row (subqueries are handed over
    /// as [`ExprKind::Exists`] and the like, not entered).
    pub fn walk(&self, visit: &mut dyn FnMut(&Expr)) {
        visit(self);
        match &self.kind {
            ExprKind::Literal(_)
            | ExprKind::Column(_)
            | ExprKind::Param(_)
            | ExprKind::Claim(_)
            | ExprKind::Exists(_)
            | ExprKind::Scalar(_)
            | ExprKind::ArraySelect(_)
            | ExprKind::WholeRow(_)
            | ExprKind::Embedded(_)
            | ExprKind::Opaque { .. } => {}
            ExprKind::Not(inner)
            | ExprKind::Cast(inner)
            | ExprKind::Represented(_, inner)
            | ExprKind::EmbeddedColumn(_, inner) => inner.walk(visit),
            ExprKind::Is { operand, .. } => operand.walk(visit),
            ExprKind::And(list)
            | ExprKind::Or(list)
            | ExprKind::Operator(_, list)
            | ExprKind::Call(_, list)
            | ExprKind::UserCall(_, list)
            | ExprKind::Array(list)
            | ExprKind::InSelect { operands: list, .. } => list.iter().for_each(|e| e.walk(visit)),
            ExprKind::In { operand, list, .. } => {
                operand.walk(visit);
                list.iter().for_each(|e| e.walk(visit));
            }
            ExprKind::Quantified { operand, array, .. } => {
                operand.walk(visit);
                array.walk(visit);
            }
            ExprKind::Case { whens, otherwise } => {
                for (when, then) in whens {
                    when.walk(visit);
                    then.walk(visit);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.walk(visit);
                }
            }
            ExprKind::Aggregate(aggregate) => {
                aggregate.args.iter().for_each(|e| e.walk(visit));
                if let Some(filter) = &aggregate.filter {
                    filter.walk(visit);
                }
                aggregate.order.iter().for_each(|o| o.expr.walk(visit));
            }
        }
    }

    /// Whether it contains an aggregate of its own level.
    pub fn has_aggregate(&self) -> bool {
        let mut found = false;
        self.walk(&mut |e| found |= matches!(e.kind, ExprKind::Aggregate(_)));
        found
    }
}
