//! Row sources of bound SQL: tables, subqueries, `WITH` members, functions and joins.

use super::name::quote_identifier;
use super::render::{Renderer, RowSource};
use mainstay_model::{Error, Expr, FromItem, JoinKind, Result, Select, Series, SourceId, Statement, Type};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

impl<'a> Renderer<'a> {
    /// The items of FROM, and the conditions that they bring.
    pub fn from(&mut self, items: &[FromItem]) -> Result<(String, Vec<String>)> {
        let mut conditions = Vec::new();
        let mut parts = Vec::new();
        for item in items {
            parts.push(self.from_item(item, &mut conditions)?);
        }
        Ok((parts.join(", "), conditions))
    }

    fn from_item(&mut self, item: &FromItem, conditions: &mut Vec<String>) -> Result<String> {
        match item {
            FromItem::Relation { relation, source } => {
                let alias = self.alias();
                let rows = Rc::new(self.table_source(relation.relation, &alias));
                conditions.extend(self.security(relation, &rows)?);
                self.scope.sources.insert(*source, rows);
                Ok(format!("{} AS {alias}", self.table(relation.relation)))
            }
            FromItem::Subquery {
                select,
                source,
                lateral,
            } => {
                let alias = self.alias();
                let scope = self.scope.clone();
                let sql = self.scoped(scope, |r| r.select(select))?;
                let columns = columns_of(select);
                let (columns, names) = distinct_names(columns);
                self.bring(*source, &alias, columns);
                let lateral = if *lateral { "LATERAL " } else { "" };
                Ok(format!("{lateral}({sql}) AS {alias}{names}"))
            }
            FromItem::CommonTable { id, source } => {
                let alias = self.alias();
                let (name, columns) = self
                    .scope
                    .common
                    .get(id)
                    .cloned()
                    .ok_or_else(|| Error::internal(format!("WITH member {id} is not in scope")))?;
                self.bring(*source, &alias, columns.to_vec());
                Ok(format!("{name} AS {alias}"))
            }
            FromItem::Function { function, args, source } => {
                let alias = self.alias();
                let (sql, rows) = self.function_rows(*function, args, &alias)?;
                self.scope.sources.insert(*source, Rc::new(rows));
                Ok(sql)
            }
            FromItem::Series {
                series,
                args,
                columns,
                source,
            } => {
                let alias = self.alias();
                let sql = format!("{}({})", series_name(*series, args), self.list(args)?);
                let names: Vec<String> = columns.iter().map(|(name, _)| quote_identifier(name)).collect();
                self.bring(*source, &alias, columns.clone());
                Ok(format!("{sql} AS {alias}({})", names.join(", ")))
            }
            FromItem::Join { kind, left, right, on } => {
                let word = match kind {
                    JoinKind::Inner => "JOIN",
                    JoinKind::Left => "LEFT JOIN",
                    JoinKind::Right => "RIGHT JOIN",
                    JoinKind::Full => "FULL JOIN",
                    JoinKind::Cross => "CROSS JOIN",
                };
                let left = self.from_item(left, conditions)?;
                let right = self.from_item(right, conditions)?;
                let on = match (kind, on) {
                    (JoinKind::Cross, None) => String::new(),
                    (_, Some(on)) => format!(" ON {}", self.expr(on)?),
                    (_, None) => " ON true".to_owned(),
                };
                let word = if *kind == JoinKind::Cross && !on.is_empty() {
                    "JOIN"
                } else {
                    word
                };
                Ok(format!("({left} {word} {right}{on})"))
            }
        }
    }

    fn bring(&mut self, source: SourceId, alias: &str, columns: Vec<(Arc<str>, Type)>) {
        self.scope
            .sources
            .insert(source, Rc::new(RowSource::new(alias, columns)));
    }
}

/// A list of column names for an alias where the subquery's own would not do: two may be called the same.
pub(super) fn distinct_names(columns: Vec<(Arc<str>, Type)>) -> (Vec<(Arc<str>, Type)>, String) {
    let mut seen = HashSet::new();
    if columns
        .iter()
        .all(|(name, _)| !name.is_empty() && seen.insert(name.clone()))
    {
        return (columns, String::new());
    }
    let columns: Vec<(Arc<str>, Type)> = columns
        .into_iter()
        .enumerate()
        .map(|(at, (_, ty))| (format!("c{at}").into(), ty))
        .collect();
    let names: Vec<String> = columns.iter().map(|(name, _)| quote_identifier(name)).collect();
    (columns, format!("({})", names.join(", ")))
}

/// What a query yields.
pub(super) fn columns_of(select: &Select) -> Vec<(Arc<str>, Type)> {
    match select.values.first() {
        Some(row) => row
            .iter()
            .enumerate()
            .map(|(at, e)| (format!("column{}", at + 1).into(), e.ty.clone()))
            .collect(),
        None => select
            .projection
            .iter()
            .map(|p| (p.name.clone(), p.expr.ty.clone()))
            .collect(),
    }
}

/// What a statement yields.
pub(super) fn statement_columns(statement: &Statement) -> Vec<(Arc<str>, Type)> {
    let returning = match statement {
        Statement::Select(select) => return columns_of(select),
        Statement::Insert(insert) => &insert.returning,
        Statement::Update(update) => &update.returning,
        Statement::Delete(delete) => &delete.returning,
    };
    returning.iter().map(|p| (p.name.clone(), p.expr.ty.clone())).collect()
}

fn series_name(series: Series, args: &[Expr]) -> &'static str {
    let json = args.first().is_some_and(|a| a.ty == Type::Json);
    match (series, json) {
        (Series::Unnest, _) => "unnest",
        (Series::GenerateSeries, _) => "generate_series",
        (Series::JsonArrayElements, true) => "json_array_elements",
        (Series::JsonArrayElements, false) => "jsonb_array_elements",
        (Series::JsonArrayElementsText, true) => "json_array_elements_text",
        (Series::JsonArrayElementsText, false) => "jsonb_array_elements_text",
        (Series::JsonEach, true) => "json_each",
        (Series::JsonEach, false) => "jsonb_each",
        (Series::JsonEachText, true) => "json_each_text",
        (Series::JsonEachText, false) => "jsonb_each_text",
        (Series::JsonObjectKeys, true) => "json_object_keys",
        (Series::JsonObjectKeys, false) => "jsonb_object_keys",
    }
}
