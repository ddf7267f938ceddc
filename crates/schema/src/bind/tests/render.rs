//! A bound tree as short text: columns as `source.column`, types behind a colon wherever they are not evident.

use super::super::Binder;
use mainstay_model::*;

/// A binder, for names, and the relation that is written, if it is not the one that the binder saw last.
pub(super) struct Render<'r, 'a>(pub(super) &'r Binder<'a>, pub(super) Option<RelationId>);

pub(super) fn short(ty: &Type) -> String {
    match ty {
        Type::Int2 => "int2".into(),
        Type::Int4 => "int4".into(),
        Type::Int8 => "int8".into(),
        Type::Float4 => "float4".into(),
        Type::Float8 => "float8".into(),
        Type::Bool => "bool".into(),
        Type::Varchar(None) => "varchar".into(),
        Type::Varchar(Some(n)) => format!("varchar({n})"),
        Type::Char(n) => format!("char({n})"),
        Type::Time => "time".into(),
        Type::Timestamp => "timestamp".into(),
        Type::TimestampTz => "timestamptz".into(),
        Type::Array(element) => format!("{}[]", short(element)),
        ty => ty.to_string(),
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Numeric(v) => v.to_string(),
        Value::Text(v) => format!("'{v}'"),
        Value::Uuid(v) => format!("{v:032x}"),
        Value::Array(values) => format!("{{{}}}", values.iter().map(self::value).collect::<Vec<_>>().join(",")),
        other => format!("{other:?}"),
    }
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Eq => "=",
        Operator::Ne => "<>",
        Operator::Lt => "<",
        Operator::Le => "<=",
        Operator::Gt => ">",
        Operator::Ge => ">=",
        Operator::IsDistinctFrom => "is distinct from",
        Operator::IsNotDistinctFrom => "is not distinct from",
        Operator::Like => "like",
        Operator::ILike => "ilike",
        Operator::NotLike => "not like",
        Operator::NotILike => "not ilike",
        Operator::Match => "~",
        Operator::IMatch => "~*",
        Operator::NotMatch => "!~",
        Operator::NotIMatch => "!~*",
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::Mod => "%",
        Operator::Pow => "^",
        Operator::Neg => "-",
        Operator::Concat => "||",
        Operator::JsonGet => "->",
        Operator::JsonGetText => "->>",
        Operator::JsonPath => "#>",
        Operator::JsonPathText => "#>>",
        Operator::Contains => "@>",
        Operator::ContainedBy => "<@",
        Operator::Overlaps => "&&",
        _ => "op",
    }
}

impl Render<'_, '_> {
    fn source(&self, source: SourceId) -> String {
        let name = self
            .0
            .names
            .get(&source)
            .map(|n| n.name.to_string())
            .unwrap_or_default();
        match source {
            SourceId::SELF | SourceId::EXCLUDED => name,
            SourceId(n) => format!("{name}{n}"),
        }
    }

    fn list(&self, list: &[Expr]) -> String {
        list.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn expr(&self, expr: &Expr) -> String {
        let ty = if expr.ty == Type::Bool {
            String::new()
        } else {
            format!(":{}", short(&expr.ty))
        };
        let not = |negated: bool| if negated { "not " } else { "" };
        match &expr.kind {
            ExprKind::Literal(v) => format!("{}{ty}", value(v)),
            ExprKind::Column(c) if c.source == SourceId::SELF && self.1.is_some() => {
                let relation = self.1.map(|id| self.0.schema.relation(id));
                let column = relation
                    .and_then(|r| r.columns.get(c.column as usize))
                    .map_or("?", |c| &c.name);
                format!("self.{column}")
            }
            ExprKind::Column(c) => {
                let names = self.0.names.get(&c.source);
                let column = names
                    .and_then(|n| n.columns.get(c.column as usize))
                    .map_or("?", |(name, _)| name);
                // What a column is of is known from its source; a difference would be a mistake worth seeing.
                let declared = names.and_then(|n| n.columns.get(c.column as usize)).map(|(_, ty)| ty);
                let odd = if declared == Some(&expr.ty) {
                    String::new()
                } else {
                    format!(":!{}", short(&expr.ty))
                };
                format!("{}.{column}{odd}", self.source(c.source))
            }
            ExprKind::Param(n) => format!("${}{ty}", n + 1),
            ExprKind::Claim(claim) => match claim {
                Claim::Uid => "claim uid".into(),
                Claim::Role => "claim role".into(),
                Claim::All => format!("claim all{ty}"),
                Claim::Json(path) => format!("claim json {}{ty}", path.join(".")),
                Claim::Text(path) => format!("claim text {}", path.join(".")),
            },
            ExprKind::Represented(_, inner) => format!("represented {}", self.expr(inner)),
            ExprKind::Not(inner) => format!("not {}", self.expr(inner)),
            ExprKind::And(list) => format!(
                "({})",
                list.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(" and ")
            ),
            ExprKind::Or(list) => format!(
                "({})",
                list.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(" or ")
            ),
            ExprKind::Operator(operator, operands) => match operands.as_slice() {
                [one] => format!("({}{}){ty}", symbol(*operator), self.expr(one)),
                [left, right] => format!("({} {} {}){ty}", self.expr(left), symbol(*operator), self.expr(right)),
                _ => "?".into(),
            },
            ExprKind::Is { operand, test, negated } => {
                format!(
                    "{} is {}{}",
                    self.expr(operand),
                    not(*negated),
                    format!("{test:?}").to_lowercase()
                )
            }
            ExprKind::In { operand, list, negated } => {
                format!("{} {}in ({})", self.expr(operand), not(*negated), self.list(list))
            }
            ExprKind::Quantified {
                operator,
                all,
                operand,
                array,
            } => {
                let word = if *all { "all" } else { "any" };
                format!(
                    "{} {} {word} {}",
                    self.expr(operand),
                    symbol(*operator),
                    self.expr(array)
                )
            }
            ExprKind::InSelect {
                operands,
                select,
                negated,
            } => {
                format!(
                    "({}) {}in ({})",
                    self.list(operands),
                    not(*negated),
                    self.select(select)
                )
            }
            ExprKind::Exists(select) => format!("exists({})", self.select(select)),
            ExprKind::Scalar(select) => format!("({}){ty}", self.select(select)),
            ExprKind::ArraySelect(select) => format!("array({}){ty}", self.select(select)),
            ExprKind::Case { whens, otherwise } => {
                let whens = whens
                    .iter()
                    .map(|(w, t)| format!("when {} then {}", self.expr(w), self.expr(t)));
                let otherwise = otherwise
                    .as_ref()
                    .map(|e| format!(" else {}", self.expr(e)))
                    .unwrap_or_default();
                format!("case {}{otherwise} end{ty}", whens.collect::<Vec<_>>().join(" "))
            }
            ExprKind::Cast(inner) => format!(
                "cast({}){}",
                self.expr(inner),
                if ty.is_empty() { ":bool" } else { &ty }
            ),
            ExprKind::Call(builtin, args) => format!("{builtin:?}({}){ty}", self.list(args)),
            ExprKind::UserCall(id, args) => format!("{}({}){ty}", self.0.schema.function(*id).name, self.list(args)),
            ExprKind::Aggregate(a) => {
                let distinct = if a.distinct { "distinct " } else { "" };
                let order = self.order(&a.order);
                let filter = a
                    .filter
                    .as_ref()
                    .map(|f| format!(" filter {}", self.expr(f)))
                    .unwrap_or_default();
                format!(
                    "agg {:?}({distinct}{}{order}{filter}){ty}",
                    a.function,
                    self.list(&a.args)
                )
            }
            ExprKind::Array(list) => format!("[{}]{ty}", self.list(list)),
            ExprKind::WholeRow(source) => format!("row {}{ty}", self.source(*source)),
            ExprKind::Embedded(_) | ExprKind::EmbeddedColumn(..) | ExprKind::Opaque { .. } => "?".into(),
        }
    }

    fn order(&self, keys: &[OrderBy]) -> String {
        if keys.is_empty() {
            return String::new();
        }
        let key = |k: &OrderBy| {
            let direction = if k.descending { " desc" } else { "" };
            let usual = k.nulls_first == k.descending;
            let nulls = if usual {
                ""
            } else if k.nulls_first {
                " nulls first"
            } else {
                " nulls last"
            };
            format!("{}{direction}{nulls}", self.expr(&k.expr))
        };
        format!(" order by {}", keys.iter().map(key).collect::<Vec<_>>().join(", "))
    }

    fn projection(&self, projection: &[Projected]) -> String {
        projection
            .iter()
            .map(|p| format!("{} as {}", self.expr(&p.expr), p.name))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn with(&self, members: &[CommonTable]) -> String {
        let member = |m: &CommonTable| {
            let columns: Vec<_> = m
                .columns
                .iter()
                .map(|(name, ty)| format!("{name} {}", short(ty)))
                .collect();
            let recursive = if m.recursive { "recursive " } else { "" };
            format!(
                "with {recursive}#{} {}({}) = [{}] ",
                m.id,
                m.name,
                columns.join(", "),
                self.statement(&m.statement)
            )
        };
        members.iter().map(member).collect()
    }

    fn from(&self, item: &FromItem) -> String {
        match item {
            FromItem::Relation { source, .. } => self.source(*source),
            FromItem::Subquery {
                select,
                source,
                lateral,
            } => {
                let lateral = if *lateral { "lateral " } else { "" };
                format!("{lateral}({}) {}", self.select(select), self.source(*source))
            }
            FromItem::CommonTable { id, source } => format!("#{id} {}", self.source(*source)),
            FromItem::Function { function, args, source } => {
                format!(
                    "{}({}) {}",
                    self.0.schema.function(*function).name,
                    self.list(args),
                    self.source(*source)
                )
            }
            FromItem::Series {
                series,
                args,
                columns,
                source,
            } => {
                let columns: Vec<_> = columns
                    .iter()
                    .map(|(name, ty)| format!("{name} {}", short(ty)))
                    .collect();
                format!(
                    "{series:?}({}) {}({})",
                    self.list(args),
                    self.source(*source),
                    columns.join(", ")
                )
            }
            FromItem::Join { kind, left, right, on } => {
                let on = on
                    .as_ref()
                    .map(|on| format!(" on {}", self.expr(on)))
                    .unwrap_or_default();
                format!("({} {kind:?} {}{on})", self.from(left), self.from(right))
            }
        }
    }

    fn sources(&self, items: &[FromItem]) -> String {
        items.iter().map(|f| self.from(f)).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn select(&self, select: &Select) -> String {
        let mut out = self.with(&select.with);
        if select.values.is_empty() {
            out.push_str("select ");
            if select.distinct {
                out.push_str("distinct ");
            }
            if !select.distinct_on.is_empty() {
                out.push_str(&format!("distinct on ({}) ", self.list(&select.distinct_on)));
            }
            out.push_str(&self.projection(&select.projection));
        } else {
            let rows: Vec<_> = select
                .values
                .iter()
                .map(|row| format!("({})", self.list(row)))
                .collect();
            out.push_str(&format!("values {}", rows.join(", ")));
        }
        let mut part = |word: &str, text: String| {
            if !text.is_empty() {
                out.push_str(&format!(" {word} {text}"));
            }
        };
        let optional = |e: &Option<Expr>| e.as_ref().map(|e| self.expr(e)).unwrap_or_default();
        part("from", self.sources(&select.from));
        part("where", optional(&select.filter));
        part("group by", self.list(&select.group_by));
        part("having", optional(&select.having));
        if let Some((operation, right)) = &select.set_operation {
            part(&format!("{operation:?}"), self.select(right));
        }
        part("", self.order(&select.order).trim_start().to_owned());
        part("limit", optional(&select.limit));
        part("offset", optional(&select.offset));
        out.replace("  ", " ")
    }

    fn set(&self, relation: RelationId, set: &[(u32, Expr)]) -> String {
        let columns = &self.0.schema.relation(relation).columns;
        let assignment = |(column, e): &(u32, Expr)| format!("{} := {}", columns[*column as usize].name, self.expr(e));
        set.iter().map(assignment).collect::<Vec<_>>().join(", ")
    }

    fn names(&self, relation: RelationId, columns: &[u32]) -> String {
        let declared = &self.0.schema.relation(relation).columns;
        columns
            .iter()
            .map(|c| declared[*c as usize].name.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub(super) fn statement(&self, statement: &Statement) -> String {
        let target = match statement {
            Statement::Select(select) => return self.select(select),
            Statement::Insert(insert) => insert.relation.relation,
            Statement::Update(update) => update.relation.relation,
            Statement::Delete(delete) => delete.relation.relation,
        };
        Render(self.0, Some(target)).written(statement)
    }

    fn written(&self, statement: &Statement) -> String {
        let optional = |word: &str, e: &Option<Expr>| {
            e.as_ref()
                .map(|e| format!(" {word} {}", self.expr(e)))
                .unwrap_or_default()
        };
        let returning = |list: &[Projected]| match list {
            [] => String::new(),
            list => format!(" returning {}", self.projection(list)),
        };
        match statement {
            Statement::Select(select) => self.select(select),
            Statement::Insert(insert) => {
                let id = insert.relation.relation;
                let source = insert
                    .source
                    .as_ref()
                    .map_or("default values".into(), |s| self.select(s));
                let conflict = insert.conflict.as_ref().map(|c| {
                    let action = match c.set.as_slice() {
                        [] => "nothing".into(),
                        set => format!("set {}", self.set(id, set)),
                    };
                    format!(
                        " on conflict ({}) {action}{}",
                        self.names(id, &c.target),
                        optional("where", &c.filter)
                    )
                });
                let name = &self.0.schema.relation(id).name;
                format!(
                    "{}insert {name}({}) {source}{}{}",
                    self.with(&insert.with),
                    self.names(id, &insert.columns),
                    conflict.unwrap_or_default(),
                    returning(&insert.returning)
                )
            }
            Statement::Update(update) => {
                let id = update.relation.relation;
                let from = if update.from.is_empty() {
                    String::new()
                } else {
                    format!(" from {}", self.sources(&update.from))
                };
                format!(
                    "{}update {} set {}{from}{}{}",
                    self.with(&update.with),
                    self.0.schema.relation(id).name,
                    self.set(id, &update.set),
                    optional("where", &update.filter),
                    returning(&update.returning)
                )
            }
            Statement::Delete(delete) => {
                let using = if delete.using.is_empty() {
                    String::new()
                } else {
                    format!(" using {}", self.sources(&delete.using))
                };
                format!(
                    "{}delete {}{using}{}{}",
                    self.with(&delete.with),
                    self.0.schema.relation(delete.relation.relation).name,
                    optional("where", &delete.filter),
                    returning(&delete.returning)
                )
            }
        }
    }
}
