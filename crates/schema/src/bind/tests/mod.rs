//! Data-driven tests of binding: SQL and what it becomes, as files beside this one. A block is SQL, then `=> ` and the bound tree or
//! the problem. `BLESS=1 cargo test -p mainstay-schema bind` writes what it becomes now; read the difference before keeping it.

mod render;
mod schema;

use super::{Binder, expr_effects, statement_effects};
use crate::source_text::SourceText;
use mainstay_model::{RelationId, Schema, Type};
use render::Render;
use squawk_syntax::SourceFile;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

fn params() -> Vec<(Arc<str>, Type)> {
    vec![
        ("cart".into(), Type::Uuid),
        ("n".into(), Type::Int4),
        ("since".into(), Type::TimestampTz),
    ]
}

/// The expression of `SELECT expression`.
fn expression(file: &SourceFile) -> Option<ast::Expr> {
    let select = file.syntax().descendants().find_map(ast::Target::cast)?;
    super::syntax::expressions(select.syntax()).into_iter().next()
}

fn table(schema: &Schema, name: &str) -> RelationId {
    schema.find_relation("public", name).unwrap_or(RelationId(0))
}

/// Binds one block. Its first words may say how: `row TABLE:` an expression on a row, `check TABLE:` a condition on a row,
/// `default COLUMN:` a default of a column of `products`, `returns TYPES:` a function's last statement; else it is a statement.
fn bind(schema: &Schema, block: &str) -> String {
    let (how, sql) = match block.split_once(": ") {
        Some((how, sql))
            if ["row ", "check ", "default ", "returns "]
                .iter()
                .any(|w| how.starts_with(w)) =>
        {
            (how, sql)
        }
        _ => ("", block),
    };
    let (kind, subject) = how.split_once(' ').unwrap_or(("", ""));
    let text = match kind {
        "row" | "check" | "default" => format!("SELECT {sql}"),
        _ => sql.to_owned(),
    };
    let source = SourceText::new("test.sql".into(), &text);
    let parse = SourceFile::parse(&text);
    let file = parse.tree();
    let params = params();
    let mut binder = Binder::new(schema, &source);
    let bound = match kind {
        "row" | "check" => {
            let Some(expr) = expression(&file) else {
                return "no expression".into();
            };
            let expected = (kind == "check").then_some(&Type::Bool);
            binder
                .row_expr(table(schema, subject), &expr, expected)
                .map(|e| Render(&binder, None).expr(&e))
        }
        "default" => {
            let Some(expr) = expression(&file) else {
                return "no expression".into();
            };
            let products = schema.relation(table(schema, "products"));
            let Some(column) = products.column(subject) else {
                return "no such column".into();
            };
            let ty = products.columns[column as usize].ty.clone();
            binder.constant_expr(&expr, &ty).map(|e| {
                let effects = expr_effects(&e, schema);
                format!(
                    "{}{}",
                    Render(&binder, None).expr(&e),
                    if effects.volatile { " volatile" } else { "" }
                )
            })
        }
        _ => {
            binder = binder.with_params(&params).for_function("f");
            let Some(node) = file.syntax().children().next() else {
                return "no statement".into();
            };
            let expected: Option<Vec<Type>> =
                (kind == "returns").then(|| subject.split(' ').map(schema::type_named).collect());
            binder.statement(&node, expected.as_deref()).map(|s| {
                let effects = statement_effects(&s, schema);
                let shown = Render(&binder, None).statement(&s);
                format!("{shown}{}", if effects.writes { " [writes]" } else { "" })
            })
        }
    };
    bound.unwrap_or_else(|problem| {
        let place = text
            .get(problem.span.start as usize..problem.span.end as usize)
            .unwrap_or("?");
        let help = problem.help.map(|h| format!(" ({h})")).unwrap_or_default();
        format!("! {} @ {place}{help}", problem.message)
    })
}

fn run(name: &str, blocks: &str) {
    let schema = schema::shop();
    let mut rewritten = String::new();
    let mut failures = Vec::new();
    for block in blocks.split("\n\n").map(str::trim).filter(|b| !b.is_empty()) {
        if block.starts_with('#') {
            rewritten.push_str(&format!("{block}\n\n"));
            continue;
        }
        let (sql, expected) = block.split_once("\n=> ").unwrap_or((block, ""));
        let actual = bind(&schema, sql);
        if actual != expected {
            failures.push(format!("{sql}\n   now: {actual}\nwanted: {expected}"));
        }
        rewritten.push_str(&format!("{sql}\n=> {actual}\n\n"));
    }
    if std::env::var_os("BLESS").is_some() {
        let path = format!("{}/src/bind/tests/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, format!("{}\n", rewritten.trim_end())).expect("the file is writable");
        return;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn expressions() {
    run("expressions.txt", include_str!("expressions.txt"));
}

#[test]
fn queries() {
    run("queries.txt", include_str!("queries.txt"));
}

#[test]
fn writes() {
    run("writes.txt", include_str!("writes.txt"));
}

#[test]
fn problems() {
    run("problems.txt", include_str!("problems.txt"));
}

/// Whatever is cut out of the blocks above, binding ends with an answer or a problem.
#[test]
fn broken_input_never_panics() {
    let schema = schema::shop();
    for blocks in [
        include_str!("expressions.txt"),
        include_str!("queries.txt"),
        include_str!("writes.txt"),
    ] {
        for block in blocks.split("\n\n").filter(|b| !b.starts_with('#')) {
            let sql = block.split("\n=> ").next().unwrap_or_default();
            let cuts: Vec<usize> = sql.char_indices().map(|(i, _)| i).filter(|i| i % 3 == 0).collect();
            for cut in cuts {
                bind(&schema, &sql[..cut]);
                // Without one word or sign in the middle.
                let rest = &sql[cut..];
                let end = rest.find(' ').unwrap_or(rest.len());
                bind(&schema, &format!("{}{}", &sql[..cut], &rest[end..]));
            }
        }
    }
}

#[test]
fn deep_nesting_is_a_problem_and_not_a_crash() {
    let schema = schema::shop();
    for depth in [15, 400] {
        let nested = format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        let queries = format!("{}SELECT 1{}", "SELECT * FROM (".repeat(depth), ") s".repeat(depth));
        let chained = format!("SELECT 1{}", " || 'x'".repeat(depth));
        let wide = format!("SELECT true{}", " OR false".repeat(depth * 10));
        for sql in [&nested, &queries, &chained] {
            let problem = bind(&schema, sql);
            assert_eq!(problem.contains("nested too deeply"), depth > 15, "{sql}: {problem}");
        }
        assert!(!bind(&schema, &wide).starts_with('!'));
    }
}
