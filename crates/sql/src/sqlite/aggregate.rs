//! Aggregates: SQLite's own where they mean the same, functions of ours where types or results differ.

use super::render::{Renderer, Term, quote_text};
use super::storage::Form;
use mainstay_model::{Aggregate, AggregateFunction, Error, Expr, Result, Type};

/// Sums of integers of at most so many digits stay below 2^63 for more rows than a table can have.
const SUM_DIGITS_MAX: u16 = 12;

impl<'a> Renderer<'a> {
    /// An aggregate call; `ty` is the result's type.
    pub fn aggregate(&mut self, aggregate: &Aggregate, ty: &Type) -> Result<Term> {
        use AggregateFunction::*;
        let filter = match &aggregate.filter {
            Some(filter) => format!(" FILTER (WHERE {})", self.condition(filter)?),
            None => String::new(),
        };
        let mut order = Vec::new();
        for key in &aggregate.order {
            order.extend(self.order_item(key, false)?);
        }
        if aggregate.function == Count && aggregate.args.is_empty() {
            return Ok(Term::plain(format!("count(*){filter}")));
        }
        let arg = aggregate
            .args
            .first()
            .ok_or_else(|| Error::internal("an aggregate without its argument"))?;
        let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
        let call = |name: &str, value: &str, order: &[String]| {
            let order = if order.is_empty() {
                String::new()
            } else {
                format!(" ORDER BY {}", order.join(", "))
            };
            format!("{name}({distinct}{value}{order}){filter}")
        };
        Ok(match aggregate.function {
            Count => {
                let term = self.expr(arg)?;
                let value = if aggregate.distinct {
                    self.equal_key(term, &arg.ty)
                } else {
                    term.sql
                };
                Term::plain(call("count", &value, &[]))
            }
            Sum | Avg => self.sum(aggregate, arg, ty, &filter, &call)?,
            Min | Max => {
                let name = if aggregate.function == Min { "min" } else { "max" };
                if matches!(
                    arg.ty,
                    Type::Bool | Type::Uuid | Type::Bytea | Type::Json | Type::Jsonb | Type::Row(_)
                ) {
                    return Err(no_aggregate(name, &arg.ty));
                }
                let term = self.expr(arg)?;
                match &arg.ty {
                    Type::Enum(enumeration) => {
                        let key = self.order_key(term, &arg.ty)?;
                        let labels = self.schema.enums.get(enumeration).cloned().unwrap_or_else(|| [].into());
                        let mut sql = format!("(CASE {}", call(name, &key, &[]));
                        for (at, label) in labels.iter().enumerate() {
                            sql.push_str(&format!(" WHEN {at} THEN {}", quote_text(label).unwrap_or_default()));
                        }
                        Term::plain(sql + " END)")
                    }
                    Type::Interval => Term::plain(call(&format!("mainstay_interval_{name}"), &term.sql, &[])),
                    Type::Array(_) | Type::Other(_) => {
                        return Err(Error::unsupported(format!(
                            "{name} of {} is not supported by SQLite",
                            arg.ty
                        )));
                    }
                    _ => Term {
                        sql: call(name, &term.sql, &[]),
                        atom: false,
                        null: false,
                        ..term
                    },
                }
            }
            BoolAnd => Term::plain(call("min", &self.condition(arg)?, &[])),
            BoolOr => Term::plain(call("max", &self.condition(arg)?, &[])),
            StringAgg => {
                let term = self.expr(arg)?;
                let bytes = arg.ty == Type::Bytea;
                let value = self.to_text(term, &arg.ty)?;
                let delimiter = match aggregate.args.get(1) {
                    Some(delimiter) => self.condition(delimiter)?,
                    None => "''".to_owned(),
                };
                if bytes {
                    return Err(Error::unsupported("string_agg of bytea is not supported by SQLite"));
                }
                // One argument that holds both: DISTINCT takes no second one. Postgres sorts what it makes distinct.
                let order = self.distinct_order(aggregate, order, arg)?;
                let packed = format!("(CASE WHEN {value} IS NOT NULL THEN json_array({value}, {delimiter}) END)");
                Term::plain(if aggregate.distinct {
                    self.sorted_distinct("mainstay_string_agg", &packed, &order, &filter)
                } else {
                    call("mainstay_string_agg", &packed, &order)
                })
            }
            ArrayAgg | JsonAgg | JsonbAgg => {
                let term = self.expr(arg)?;
                let value = self.to_json(term, &arg.ty)?;
                let structured = matches!(arg.ty, Type::Row(_) | Type::Array(_));
                let (name, value) = match aggregate.function {
                    ArrayAgg => ("mainstay_array_agg", value),
                    JsonAgg if structured => ("mainstay_json_agg_rows", value),
                    JsonAgg => ("mainstay_json_agg", value),
                    _ if matches!(arg.ty, Type::Jsonb | Type::Bool) || arg.ty.is_integer() => {
                        ("mainstay_json_agg", value)
                    }
                    _ => ("mainstay_json_agg", format!("mainstay_cast({value}, 'json', 'jsonb')")),
                };
                let order = self.distinct_order(aggregate, order, arg)?;
                Term::plain(if aggregate.distinct {
                    self.sorted_distinct(name, &value, &order, &filter)
                } else {
                    call(name, &value, &order)
                })
            }
            JsonObjectAgg | JsonbObjectAgg => {
                let value = aggregate
                    .args
                    .get(1)
                    .ok_or_else(|| Error::internal("json_object_agg lacks its value"))?;
                let key = self.expr(arg)?;
                let key = self.to_text(key, &arg.ty)?;
                let term = self.expr(value)?;
                let json = self.to_json(term, &value.ty)?;
                let name = if aggregate.function == JsonObjectAgg {
                    "mainstay_json_object_agg"
                } else {
                    "mainstay_jsonb_object_agg"
                };
                Term::plain(call(name, &format!("json_array({key}, {json})"), &order))
            }
        })
    }

    /// The order in which DISTINCT values come: the one asked for, else their own.
    fn distinct_order(&mut self, aggregate: &Aggregate, order: Vec<String>, arg: &Expr) -> Result<Vec<String>> {
        if !aggregate.distinct || !order.is_empty() || matches!(arg.ty, Type::Row(_) | Type::Json | Type::Other(_)) {
            return Ok(order);
        }
        let term = self.expr(arg)?;
        Ok(vec![format!("{} NULLS LAST", self.order_key(term, &arg.ty)?)])
    }

    /// An aggregate with DISTINCT and ORDER BY: equal values have equal keys, so the order decides the same with or without.
    fn sorted_distinct(&self, name: &str, value: &str, order: &[String], filter: &str) -> String {
        let order = if order.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", order.join(", "))
        };
        format!("{name}(DISTINCT {value}{order}){filter}")
    }

    fn sum(
        &mut self,
        aggregate: &Aggregate,
        arg: &Expr,
        ty: &Type,
        filter: &str,
        call: &dyn Fn(&str, &str, &[String]) -> String,
    ) -> Result<Term> {
        let average = aggregate.function == AggregateFunction::Avg;
        let distinct = aggregate.distinct;
        Ok(match &arg.ty {
            Type::Float4 | Type::Float8 => {
                let value = self.condition(arg)?;
                let narrow = arg.ty == Type::Float4 && *ty == Type::Float4;
                Term::plain(call(
                    match (average, narrow) {
                        (true, _) => "mainstay_float_avg",
                        (false, true) => "mainstay_float4_sum",
                        (false, false) => "mainstay_float_sum",
                    },
                    &value,
                    &[],
                ))
            }
            Type::Interval => {
                let value = self.condition(arg)?;
                Term::plain(call(
                    if average {
                        "mainstay_interval_avg"
                    } else {
                        "mainstay_interval_sum"
                    },
                    &value,
                    &[],
                ))
            }
            Type::Int2 | Type::Int4 if !average => Term::plain(call("sum", &self.condition(arg)?, &[])),
            source if source.is_number() => {
                let term = self.number(arg)?;
                match term.form {
                    Form::Scaled(scale) if !average && term.digits <= SUM_DIGITS_MAX && !source.is_integer() => {
                        Term::scaled(call("sum", &term.sql, &[]), scale, 19)
                    }
                    // Equal numbers of different scales are one: SQLite's DISTINCT would count both.
                    Form::Wide if distinct => {
                        let name = if average { "avg" } else { "sum" };
                        Term::wide(format!("mainstay_num_{name}_distinct({}){filter}", term.sql))
                    }
                    _ => {
                        let name = if average {
                            "mainstay_num_avg"
                        } else {
                            "mainstay_num_sum"
                        };
                        let wide = self.to_wide(term);
                        Term::wide(call(name, &wide.sql, &[]))
                    }
                }
            }
            other => {
                let name = if average { "avg" } else { "sum" };
                return Err(Error::new("42883", format!("function {name}({other}) does not exist")));
            }
        })
    }
}

/// As Postgres says it of a type that has no such aggregate.
fn no_aggregate(name: &str, ty: &Type) -> Error {
    Error::new("42883", format!("function {name}({ty}) does not exist"))
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}
