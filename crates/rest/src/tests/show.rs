//! Operations as compact text, so that a test is a line.

use mainstay_model::*;
use std::fmt::Write;

pub fn query(schema: &Schema, query: &Query) -> String {
    let params: Vec<String> = query.params.iter().map(value).collect();
    let mut out = shape(schema, &query.shape);
    if !params.is_empty() {
        write!(out, " with {}", params.join(" ")).unwrap();
    }
    out
}

pub fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => format!("{f}f"),
        Value::Numeric(n) => format!("{n}n"),
        Value::Text(t) => format!("'{t}'"),
        Value::Uuid(u) => format!("uuid:{u:x}"),
        Value::Array(items) => format!("{{{}}}", items.iter().map(self::value).collect::<Vec<_>>().join(",")),
        other => format!("{other:?}"),
    }
}

fn columns(schema: &Schema, source: &Source) -> (String, Vec<String>) {
    let names = |id: RelationId| schema.relation(id).columns.iter().map(|c| c.name.to_string()).collect();
    match source {
        Source::Relation(r) => (schema.relation(r.relation).name.to_string(), names(r.relation)),
        Source::Call(call) => {
            let function = schema.function(call.function);
            let columns = match &function.returns {
                Returns::Row(id) | Returns::SetOfRow(id) => names(*id),
                Returns::Table(all) | Returns::Record(all) => all.iter().map(|(n, _)| n.to_string()).collect(),
                _ => vec![function.name.to_string()],
            };
            let args: Vec<String> = call.args.iter().map(|a| expr(schema, a, &[], &[])).collect();
            (format!("{}({})", function.name, args.join(", ")), columns)
        }
    }
}

pub fn shape(schema: &Schema, shape: &QueryShape) -> String {
    let (source, names) = columns(schema, &shape.from);
    let embeds: Vec<&Embed> = shape
        .select
        .iter()
        .filter_map(|item| if let Item::Embed(e) = item { Some(e) } else { None })
        .collect();
    let e = |x: &Expr| expr(schema, x, &names, &embeds);
    let mut items = Vec::new();
    for item in &shape.select {
        items.push(match item {
            Item::Field(field) => {
                let text = e(&field.expr);
                if text == *field.name {
                    text
                } else {
                    format!("{}:{text}", field.name)
                }
            }
            Item::Embed(embed) => {
                let (_, related) = columns(schema, &embed.query.from);
                let pair = |a: &[String], b: &[String], pairs: &[(u32, u32)]| {
                    pairs
                        .iter()
                        .map(|(x, y)| format!("{}={}", a[*x as usize], b[*y as usize]))
                        .collect::<Vec<_>>()
                        .join("&")
                };
                let join = match &embed.join {
                    EmbedJoin::Columns(pairs) => pair(&names, &related, pairs),
                    EmbedJoin::Through {
                        junction,
                        outer,
                        related: other,
                    } => {
                        let (name, own) = columns(schema, &Source::Relation(junction.clone()));
                        format!("{}&{name}&{}", pair(&names, &own, outer), pair(&own, &related, other))
                    }
                    EmbedJoin::Computed(_) => "computed".to_owned(),
                };
                let flags: String = [
                    (embed.one, " one"),
                    (embed.inner, " inner"),
                    (embed.spread, " spread"),
                    (embed.hidden, " hidden"),
                ]
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, word)| *word)
                .collect();
                format!("{}<{join}{flags}>{}", embed.name, self::shape(schema, &embed.query))
            }
        });
    }
    let mut out = format!("{source}[{}]", items.join(","));
    if let Some(filter) = &shape.filter {
        write!(out, " where {}", e(filter)).unwrap();
    }
    if !shape.order.is_empty() {
        let keys: Vec<String> = shape
            .order
            .iter()
            .map(|o| {
                format!(
                    "{}{}{}",
                    e(&o.expr),
                    if o.descending { " desc" } else { "" },
                    if o.nulls_first { " first" } else { "" }
                )
            })
            .collect();
        write!(out, " order {}", keys.join(",")).unwrap();
    }
    if let Some(limit) = shape.limit {
        write!(out, " limit ${limit}").unwrap();
    }
    if let Some(offset) = shape.offset {
        write!(out, " offset ${offset}").unwrap();
    }
    if shape.count != Count::None {
        write!(out, " count {:?}", shape.count).unwrap();
    }
    out
}

fn expr(schema: &Schema, x: &Expr, names: &[String], embeds: &[&Embed]) -> String {
    let e = |x: &Expr| expr(schema, x, names, embeds);
    let list = |all: &[Expr], between: &str| all.iter().map(e).collect::<Vec<_>>().join(between);
    match &x.kind {
        ExprKind::Literal(v) => value(v),
        ExprKind::Column(c) => names
            .get(c.column as usize)
            .cloned()
            .unwrap_or(format!("#{}", c.column)),
        ExprKind::Param(n) => format!("${n}::{}", x.ty),
        ExprKind::Not(inner) => format!("not({})", e(inner)),
        ExprKind::And(all) => format!("({})", list(all, " and ")),
        ExprKind::Or(all) => format!("({})", list(all, " or ")),
        ExprKind::Operator(op, args) => match &**args {
            [a, b] => format!("{} {op:?} {}", e(a), e(b)),
            args => format!("{op:?}({})", list(args, ", ")),
        },
        ExprKind::Is { operand, test, negated } => {
            format!("{} is {}{test:?}", e(operand), if *negated { "not " } else { "" })
        }
        ExprKind::Quantified {
            operator,
            all,
            operand,
            array,
        } => {
            format!(
                "{} {operator:?} {}({})",
                e(operand),
                if *all { "all" } else { "any" },
                e(array)
            )
        }
        ExprKind::Cast(inner) => format!("{}::{}", e(inner), x.ty),
        ExprKind::Call(builtin, args) => format!("{builtin:?}({})", list(args, ", ")),
        ExprKind::UserCall(id, args) => format!("{}({})", schema.function(*id).name, list(args, ", ")),
        ExprKind::Aggregate(a) => format!("{:?}({})::{}", a.function, list(&a.args, ", "), x.ty),
        ExprKind::WholeRow(_) => "row".to_owned(),
        ExprKind::Embedded(n) => format!("has({})", embeds[*n as usize].name),
        ExprKind::EmbeddedColumn(n, inner) => {
            let embed = embeds[*n as usize];
            format!(
                "{}.{}",
                embed.name,
                expr(schema, inner, &columns(schema, &embed.query.from).1, &[])
            )
        }
        other => format!("{other:?}"),
    }
}

pub fn transaction(schema: &Schema, transaction: &Transaction) -> String {
    let mut out = Vec::new();
    for step in &transaction.steps {
        let mut text = match &step.action {
            Action::Insert {
                relation,
                columns: given,
                rows,
                conflict,
                ..
            } => {
                let (name, names) = columns(schema, &Source::Relation(relation.clone()));
                let given: Vec<&str> = given.iter().map(|c| &*names[*c as usize]).collect();
                let rows: Vec<String> = rows
                    .iter()
                    .map(|row| format!("({})", row.iter().map(cell).collect::<Vec<_>>().join(" ")))
                    .collect();
                let conflict = conflict.as_ref().map(|c| {
                    let target: Vec<&str> = c.target.iter().map(|c| &*names[*c as usize]).collect();
                    format!(" on {} {}", target.join(","), if c.ignore { "ignore" } else { "merge" })
                });
                format!(
                    "insert {name}({}) {}{}",
                    given.join(","),
                    rows.join(" "),
                    conflict.unwrap_or_default()
                )
            }
            Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                ..
            } => {
                let (name, names) = columns(schema, &Source::Relation(relation.clone()));
                let set: Vec<String> = set
                    .iter()
                    .map(|(c, v)| format!("{}={}", names[*c as usize], cell(v)))
                    .collect();
                format!(
                    "update {name} set {}{}",
                    set.join(","),
                    rest(schema, &names, filter, order, *limit, *offset)
                )
            }
            Action::Delete {
                relation,
                filter,
                order,
                limit,
                offset,
            } => {
                let (name, names) = columns(schema, &Source::Relation(relation.clone()));
                format!("delete {name}{}", rest(schema, &names, filter, order, *limit, *offset))
            }
            Action::Call(call) => format!("call {}", columns(schema, &Source::Call(call.clone())).0),
            Action::Read => "read".to_owned(),
        };
        if let Some(returning) = &step.returning {
            write!(text, " returning {}", shape(schema, returning)).unwrap();
        }
        if !step.params.is_empty() {
            write!(
                text,
                " with {}",
                step.params.iter().map(value).collect::<Vec<_>>().join(" ")
            )
            .unwrap();
        }
        if step.singular {
            text.push_str(" singular");
        }
        if let Some(most) = step.max_affected {
            write!(text, " at most {most}").unwrap();
        }
        out.push(text);
    }
    if transaction.dry_run {
        out.push("rollback".to_owned());
    }
    out.join("; ")
}

fn rest(
    schema: &Schema,
    names: &[String],
    filter: &Option<Expr>,
    order: &[OrderBy],
    limit: Option<u64>,
    offset: u64,
) -> String {
    let mut out = String::new();
    if let Some(filter) = filter {
        write!(out, " where {}", expr(schema, filter, names, &[])).unwrap();
    }
    for key in order {
        write!(out, " order {}", expr(schema, &key.expr, names, &[])).unwrap();
    }
    if limit.is_some() || offset > 0 {
        write!(out, " limit {limit:?} offset {offset}").unwrap();
    }
    out
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Value(v) => value(v),
        Cell::Default => "default".to_owned(),
        Cell::Earlier(a, b, c) => format!("earlier({a},{b},{c})"),
    }
}
