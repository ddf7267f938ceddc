//! What a file says besides declarations: settings of the session, schemas, extensions, and the SELECTs that pg_dump writes.

use super::Reader;
use super::sequence::string_in;
use crate::names::{Name, folded, text};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::rc::Rc;
use std::sync::Arc;

impl Reader {
    pub(super) fn set(&mut self, statement: &ast::Set) {
        match statement.set_target() {
            Some(ast::SetTarget::SetConfig(config)) => {
                let Some(parameter) = config.config_parameter_ref().and_then(|p| Name::of(&p)) else {
                    return;
                };
                match &*parameter.name {
                    "search_path" => self.set_search_path(config.config_assignment()),
                    "standard_conforming_strings" => {
                        let value = config
                            .config_assignment()
                            .map(|a| a.syntax().text().to_string().to_ascii_lowercase());
                        if value.is_some_and(|v| v.ends_with("off") || v.ends_with("'off'")) {
                            self.error(
                                statement.syntax(),
                                "strings with backslashes of the old kind are not read",
                                "dump with standard_conforming_strings = on, as every current version does",
                            );
                        }
                    }
                    // Time-outs, messages, encodings: nothing that stays.
                    _ => {}
                }
            }
            Some(ast::SetTarget::SetSchemaValue(value)) => {
                let namespace = value.literal().and_then(|l| l.string_value());
                self.place.path = search_path(namespace.into_iter());
            }
            _ => {}
        }
    }

    fn set_search_path(&mut self, assignment: Option<ast::ConfigAssignment>) {
        let Some(ast::ConfigAssignment::ToConfigValue(to)) = assignment else {
            return;
        };
        self.place.path = search_path(to.config_values().map(|value| config_text(&value)));
    }

    pub(super) fn create_schema(&mut self, statement: &ast::CreateSchema) {
        let name = match statement.create_schema_target() {
            Some(ast::CreateSchemaTarget::NamedSchema(named)) => named.schema().map(|s| text(&s)),
            Some(ast::CreateSchemaTarget::AuthorizationSchema(of)) => of.role().map(|r| text(&r)),
            None => None,
        };
        let Some(name) = name else { return };
        if &*name != "public" && &*name != "auth" && !self.catalog.namespaces.contains(&name) {
            self.catalog.namespaces.push(name.clone());
        }
        let before = self.place.path.clone();
        let inner: Vec<ast::Stmt> = statement
            .schema_elements()
            .filter_map(|e| ast::Stmt::cast(e.syntax().clone()))
            .collect();
        if !inner.is_empty() {
            let mut path = vec![name];
            path.extend(before.iter().cloned());
            self.place.path = Rc::from(path);
            for element in inner {
                self.statement(&element);
            }
            self.place.path = before;
        }
    }

    pub(super) fn create_extension(&mut self, statement: &ast::CreateExtension) {
        let Some(name) = statement.extension().map(|e| text(&e)) else {
            return;
        };
        if let Some(schema) = statement.extension_schema().and_then(|s| s.schema_ref()) {
            self.catalog.foreign_namespaces.insert(text(&schema));
        }
        let message = match &*name {
            "plpgsql" | "pgcrypto" | "uuid-ossp" => format!("the extension `{name}` is not needed here"),
            _ => format!(
                "the extension `{name}` is not here: values of its types are kept as text, and its functions are not known"
            ),
        };
        self.note(statement.syntax(), message);
    }

    /// `SELECT pg_catalog.set_config('search_path', '', false)`, `SELECT setval('t_id_seq', 42, true)`
    pub(super) fn top_level_select(&mut self, statement: &ast::Select) {
        let targets = statement
            .select_clause()
            .and_then(|c| c.target_list())
            .into_iter()
            .flat_map(|l| l.targets());
        for target in targets {
            let Some(ast::Expr::CallExpr(call)) = target.expr() else {
                return self.no_place(statement.syntax());
            };
            let callee = call
                .expr()
                .map(|e| e.syntax().text().to_string().to_ascii_lowercase())
                .unwrap_or_default();
            let args: Vec<ast::Expr> = call
                .arg_list()
                .into_iter()
                .flat_map(|l| l.args())
                .filter_map(|a| a.expr())
                .collect();
            match callee.trim_start_matches("pg_catalog.").trim() {
                "set_config" => {
                    if args.first().and_then(string_in).as_deref() == Some("search_path") {
                        let value = args.get(1).and_then(string_in).unwrap_or_default();
                        self.place.path =
                            search_path(value.split(',').map(|part| Name::parse(part.trim()).name.to_string()));
                    }
                }
                "setval" => self.setval(&args, call.syntax(), statement),
                "set_curcfg" | "pg_stat_statements_reset" | "now" => {}
                _ => return self.no_place(statement.syntax()),
            }
        }
    }

    fn no_place(&mut self, at: &SyntaxNode) {
        self.error(
            at,
            "a schema declares: this query has no place in it",
            "leave it out, or put it into a view or function",
        );
    }

    fn setval(&mut self, args: &[ast::Expr], at: &SyntaxNode, statement: &ast::Select) {
        let Some(name) = args.first().and_then(|a| self.sequence_argument(a)) else {
            return self.error(
                at,
                "setval takes a sequence's name and a number",
                "write setval('name', 42, true)",
            );
        };
        let Some(sequence) = self.sequence_named(&name, at, false) else {
            return;
        };
        let number = args
            .get(1)
            .and_then(|a| a.syntax().text().to_string().trim_matches('\'').parse::<i64>().ok());
        let called = args
            .get(2)
            .is_none_or(|a| a.syntax().text().to_string().eq_ignore_ascii_case("true"));
        match number {
            Some(number) => {
                let step = if called {
                    self.catalog.sequences[sequence].definition.increment
                } else {
                    0
                };
                self.catalog
                    .sequence_values
                    .push((sequence, number.saturating_add(step)));
            }
            // `setval('s', (SELECT max(id) FROM t))`: after the rows are loaded, the next number is the one after the greatest.
            None if statement
                .syntax()
                .text()
                .to_string()
                .to_ascii_lowercase()
                .contains("max(") =>
            {
                self.warning(
                    at,
                    "setval of a query is not run",
                    "write the number, or leave the numbered column out of the rows",
                )
            }
            None => self.error(
                at,
                "setval takes a constant number here",
                "write the number that pg_dump writes",
            ),
        }
    }

    /// A sequence by name, or by `pg_get_serial_sequence('table', 'column')`.
    fn sequence_argument(&self, arg: &ast::Expr) -> Option<Name> {
        if let Some(name) = string_in(arg) {
            return Some(Name::parse(&name));
        }
        let ast::Expr::CallExpr(call) = arg else { return None };
        let callee = call.expr()?.syntax().text().to_string().to_ascii_lowercase();
        if callee.trim_start_matches("pg_catalog.") != "pg_get_serial_sequence" {
            return None;
        }
        let args: Vec<String> = call.arg_list()?.args().filter_map(|a| string_in(&a.expr()?)).collect();
        let [table, column] = args.as_slice() else { return None };
        let table = self.catalog.relation(&Name::parse(table), &self.place.path)?;
        let draft = self.catalog.table(table)?;
        let (_, sequence) = draft.columns[draft.column(column)?].identity?;
        let sequence = self.catalog.sequences.get(sequence)?;
        Some(Name {
            namespace: Some(sequence.namespace.clone()),
            name: sequence.name.clone(),
        })
    }
}

fn config_text(value: &ast::ConfigValue) -> String {
    match value {
        ast::ConfigValue::Literal(literal) => literal.string_value().unwrap_or_default(),
        other => folded(other.syntax()).to_string(),
    }
}

/// A search path without what is never ours; `public` when nothing is left.
pub(crate) fn search_path(names: impl Iterator<Item = String>) -> Rc<[Arc<str>]> {
    let ours = |n: &String| !n.is_empty() && !n.starts_with('$') && !n.starts_with("pg_");
    let path: Vec<Arc<str>> = names.filter(ours).map(Arc::from).collect();
    if path.is_empty() {
        Rc::from([Arc::from("public")])
    } else {
        Rc::from(path)
    }
}

/// The search path in `SET search_path` of a function's options, if there is one.
pub(crate) fn search_path_option(options: &[ast::FuncOption]) -> Option<Rc<[Arc<str>]>> {
    options.iter().rev().find_map(|option| {
        let ast::FuncOption::SetFuncOption(set) = option else {
            return None;
        };
        let set = set.set_config_param()?;
        if &*Name::of(&set.config_parameter_ref()?)?.name != "search_path" {
            return None;
        }
        let ast::ConfigAssignment::ToConfigValue(to) = set.config_assignment()? else {
            return None;
        };
        Some(search_path(to.config_values().map(|v| config_text(&v))))
    })
}
