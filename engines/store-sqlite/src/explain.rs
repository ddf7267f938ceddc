//! How a read is answered and a step is done: every statement of it, and `EXPLAIN QUERY PLAN` of each.

use crate::failure::plain;
use crate::statement::Statement;
use crate::step::without_returning;
use mainstay_model::{
    Action, Call, Cell, Error, Identity, QueryShape, Result, Schema, Source, Step, Type, Value, write_json_string,
};
use mainstay_sql::sqlite::{self, Bind, CompiledQuery, Level, LevelItem, Rendered, RowsFrom, Stored};
use mainstay_store::{Explain, Explained, Explanation};
use rusqlite::Connection;
use std::rc::Rc;

/// A node of a plan.
struct Node {
    id: i64,
    parent: i64,
    detail: String,
}

/// What is explained, and with which values.
pub(crate) struct Explaining<'a> {
    /// The connection.
    pub conn: &'a Rc<Connection>,
    /// The model.
    pub schema: &'a Schema,
    /// Values of parameters.
    pub params: &'a [Value],
    /// Whose claims are seen.
    pub identity: &'a Identity,
    /// Of the options SQLite knows the form alone: it measures nothing.
    pub wanted: Explain,
}

impl Explaining<'_> {
    /// How a read is answered.
    pub fn shape(&self, shape: &QueryShape) -> Result<Explanation> {
        if let Source::Call(call) = &shape.from
            && !sqlite::is_one_select(self.schema, call)
        {
            return self.explanation(&self.of_body(call)?);
        }
        let query = sqlite::compile_query(self.schema, shape)?;
        let mut statements = Vec::new();
        of_query(query, &mut statements);
        self.explanation(&statements)
    }

    /// How a step is done: its statement, what policies ask of each row, and what it returns. An insertion's statement is run for each
    /// row; that of the first is shown.
    pub fn step(&self, step: &Step) -> Result<Explanation> {
        let schema = self.schema;
        let mut first: &[Cell] = &[];
        let mut statements = match &step.action {
            Action::Insert {
                relation,
                columns,
                rows,
                conflict,
                check,
                updated,
            } => {
                first = rows.first().map_or(first, |row| row);
                let defaulted: Vec<bool> = first.iter().map(|cell| matches!(cell, Cell::Default)).collect();
                let (check, updated) = (check.as_deref(), updated.as_deref());
                let plan =
                    sqlite::compile_insert(schema, relation, columns, &defaulted, conflict.as_ref(), check, updated)?;
                let insert = without_returning(plan.insert, schema, relation.relation);
                [Some(insert), plan.check, plan.updated].into_iter().flatten().collect()
            }
            Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                check,
            } => {
                let (filter, check) = (filter.as_ref(), check.as_deref());
                let plan = sqlite::compile_update(schema, relation, set, filter, order, *limit, *offset, check)?;
                let update = without_returning(plan.update, schema, relation.relation);
                [Some(update), plan.check].into_iter().flatten().collect()
            }
            Action::Delete {
                relation,
                filter,
                order,
                limit,
                offset,
            } => {
                let plan = sqlite::compile_delete(schema, relation, filter.as_ref(), order, *limit, *offset)?;
                vec![without_returning(plan.delete, schema, relation.relation)]
            }
            Action::Call(call) => self.of_body(call)?,
            Action::Read => Vec::new(),
        };
        match (&step.action, &step.returning) {
            (Action::Call(_), _) | (_, None) => {}
            (Action::Read, Some(shape)) => return self.shape(shape),
            (_, Some(shape)) => of_query(
                sqlite::compile_query_over(schema, shape, &RowsFrom::Rowids)?,
                &mut statements,
            ),
        }
        let mut explanation = self.explanation(&statements)?;
        let given: Vec<(u32, &Cell)> = match &step.action {
            Action::Update { set, .. } => set.iter().map(|(column, cell)| (*column, cell)).collect(),
            Action::Insert { columns, .. } => columns.iter().copied().zip(first).collect(),
            _ => Vec::new(),
        };
        let columns = step.relation().map(|id| &schema.relation(id).columns);
        for (rendered, shown) in statements.iter().zip(&mut explanation.statements) {
            for (bind, shown) in rendered.binds.iter().zip(&mut shown.params) {
                if let Bind::Cell(at) = bind
                    && let Some((column, Cell::Value(value))) = given.get(usize::from(*at))
                    && let Some(column) = columns.and_then(|columns| columns.get(*column as usize))
                {
                    *shown = text(value, &column.ty);
                }
            }
        }
        Ok(explanation)
    }

    /// The statements of a function.
    fn of_body(&self, call: &Call) -> Result<Vec<Rendered>> {
        let body = call.body.as_ref().ok_or_else(|| {
            let name = &self.schema.function(call.function).name;
            Error::unsupported(format!("function {name} has no body that could be explained"))
        })?;
        let mut statements = Vec::new();
        for statement in body.iter() {
            let plan = sqlite::compile_statement(self.schema, statement)?;
            statements.push(plan.run);
            statements.extend(plan.check);
        }
        Ok(statements)
    }

    fn explanation(&self, statements: &[Rendered]) -> Result<Explanation> {
        let json = self.wanted.json;
        let mut plan = Vec::new();
        for (i, Rendered { sql, .. }) in statements.iter().enumerate() {
            let nodes = nodes(self.conn, sql)?;
            if !json {
                plan.extend_from_slice(format!("{sql}\n").as_bytes());
                for node in &nodes {
                    let indent = "  ".repeat(depth(&nodes, node));
                    plan.extend_from_slice(format!("{indent}{}\n", node.detail).as_bytes());
                }
                continue;
            }
            plan.extend_from_slice(if i == 0 { b"[" } else { b"," });
            plan.extend_from_slice(b"{\"Query Text\":");
            write_json_string(sql, &mut plan);
            plan.extend_from_slice(b",\"Plan\":[");
            for (k, node) in nodes.iter().enumerate() {
                let comma = if k == 0 { "" } else { "," };
                let begin = format!("{comma}{{\"id\":{},\"parent\":{},\"detail\":", node.id, node.parent);
                plan.extend_from_slice(begin.as_bytes());
                write_json_string(&node.detail, &mut plan);
                plan.push(b'}');
            }
            plan.extend_from_slice(b"]}");
        }
        if json {
            plan.extend_from_slice(if statements.is_empty() { b"[]" } else { b"]" });
        }
        let shown = |rendered: &Rendered| {
            let params = rendered.binds.iter().map(|bind| self.shown(bind));
            Ok(Explained {
                sql: rendered.sql.clone(),
                params: params.collect::<Result<_>>()?,
            })
        };
        Ok(Explanation {
            statements: statements.iter().map(shown).collect::<Result<_>>()?,
            plan: String::from_utf8_lossy(&plan).into_owned(),
        })
    }

    /// What stands in a parameter, for people.
    fn shown(&self, bind: &Bind) -> Result<String> {
        let param = |index: &u16, ty: &Type| {
            let value = self.params.get(usize::from(*index));
            value.map_or_else(|| "an argument".to_owned(), |value| text(value, ty))
        };
        Ok(match bind {
            Bind::Value(value, ty, _) => text(value, ty),
            Bind::Param(index, ty, _) => param(index, ty),
            Bind::Limit(index) | Bind::Offset(index) => param(index, &Type::Int8),
            Bind::Claim(claim, ty, _) => text(&self.identity.claim(claim, ty)?, ty),
            Bind::Outer(column) => format!("column {column} of the row around it"),
            Bind::Cell(_) => "the column's value".to_owned(),
            Bind::Rowid => "the row".to_owned(),
            Bind::Rowids => "the rows".to_owned(),
            Bind::Now => "the time".to_owned(),
        })
    }
}

fn text(value: &Value, ty: &Type) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        value => value.to_text(ty),
    }
}

fn of_query(query: CompiledQuery, statements: &mut Vec<Rendered>) {
    of_level(query.root, statements);
    statements.extend(query.count);
}

fn of_level(level: Level, statements: &mut Vec<Rendered>) {
    statements.push(level.select);
    for item in level.items {
        if let LevelItem::Embed { level, .. } = item {
            of_level(*level, statements);
        }
    }
}

fn nodes(conn: &Rc<Connection>, sql: &str) -> Result<Vec<Node>> {
    let failed = |failure| plain(&failure);
    let mut statement = Statement::prepare(conn, &format!("EXPLAIN QUERY PLAN {sql}")).map_err(failed)?;
    let mut nodes = Vec::new();
    while statement.step().map_err(failed)? {
        let integer = |column| match statement.value(column) {
            Stored::Integer(number) => number,
            _ => 0,
        };
        let detail = match statement.value(3) {
            Stored::Text(text) => text.into_owned(),
            _ => String::new(),
        };
        nodes.push(Node {
            id: integer(0),
            parent: integer(1),
            detail,
        });
    }
    Ok(nodes)
}

/// How deep a node is, 1 for those at the top.
fn depth(nodes: &[Node], node: &Node) -> usize {
    match nodes
        .iter()
        .find(|other| other.id == node.parent && other.id != node.id)
    {
        Some(parent) => 1 + depth(nodes, parent),
        None => 1,
    }
}
