//! How a read is answered: the statement of each level, and `EXPLAIN QUERY PLAN` of it.

use crate::failure::plain;
use crate::statement::Statement;
use mainstay_model::{QueryShape, Result, Schema, write_json_string};
use mainstay_sql::sqlite::{self, Level, LevelItem, Stored};
use mainstay_store::{Explain, Explanation};
use rusqlite::Connection;
use std::rc::Rc;

/// A node of a plan.
struct Node {
    id: i64,
    parent: i64,
    detail: String,
}

/// Explains a shape. Of the options SQLite knows the form alone: it measures nothing. Error: 0A000 for a function that is not one
/// statement.
pub(crate) fn explain(
    conn: &Rc<Connection>,
    schema: &Schema,
    shape: &QueryShape,
    wanted: Explain,
) -> Result<Explanation> {
    let query = sqlite::compile_query(schema, shape)?;
    let mut statements = Vec::new();
    of_level(&query.root, &mut statements);
    statements.extend(query.count.iter().map(|count| count.sql.as_str()));
    let mut plan = Vec::new();
    for (i, sql) in statements.iter().enumerate() {
        let nodes = nodes(conn, sql)?;
        if !wanted.json {
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
    if wanted.json {
        plan.push(b']');
    }
    Ok(Explanation {
        sql: statements.join(";\n"),
        plan: String::from_utf8_lossy(&plan).into_owned(),
    })
}

fn of_level<'l>(level: &'l Level, statements: &mut Vec<&'l str>) {
    statements.push(&level.select.sql);
    for item in &level.items {
        if let LevelItem::Embed { level, .. } = item {
            of_level(level, statements);
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
