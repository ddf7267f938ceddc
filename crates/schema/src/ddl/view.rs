//! CREATE VIEW and CREATE MATERIALIZED VIEW.

use super::Reader;
use crate::catalog::{DraftKind, DraftView};
use crate::names::{Name, text};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Reader {
    pub(super) fn create_view(&mut self, statement: &ast::CreateView) {
        let (Some(written), Some(query)) = (statement.view(), statement.query()) else {
            return;
        };
        let Some(name) = Name::of(&written) else { return };
        let at = written.syntax();
        if let Some(ast::Persistence::Temp(_)) = statement.persistence() {
            return self.error(
                at,
                "a temporary view lives in one session only",
                "declare a view that stays",
            );
        }
        if statement.recursive_token().is_some() {
            return self.error(
                at,
                "CREATE RECURSIVE VIEW is not supported",
                "write CREATE VIEW … AS WITH RECURSIVE …",
            );
        }
        if let Some(check) = statement.with_check_option() {
            self.error(
                check.syntax(),
                "WITH CHECK OPTION is not supported",
                "say it with a CHECK or a policy on the table",
            );
        }
        let options = statement.with_params().and_then(|p| p.attribute_list());
        let draft = DraftView {
            query,
            known: self.catalog.column_counts(),
            columns: statement
                .column_list()
                .map(|list| list.column_names().map(|c| text(&c)).collect()),
            renames: Vec::new(),
            security_invoker: option(options.as_ref(), "security_invoker").unwrap_or(false),
            security_barrier: option(options.as_ref(), "security_barrier").unwrap_or(false),
            materialized: false,
            column_comments: Vec::new(),
        };
        if statement.or_replace().is_some() {
            let namespace = self.creation_namespace(&name, at);
            let full = Name {
                namespace: Some(namespace),
                name: name.name.clone(),
            };
            if let Some(existing) = self.catalog.relation(&full, &[])
                && let DraftKind::View(view) = &mut self.catalog.relations[existing].kind
            {
                *view = draft;
                self.catalog.relations[existing].place = self.place.clone();
                return;
            }
        }
        self.declare_relation(&name, at, false, DraftKind::View(draft));
    }

    pub(super) fn create_materialized_view(&mut self, statement: &ast::CreateMaterializedView) {
        let (Some(written), Some(query)) = (statement.view(), statement.query()) else {
            return;
        };
        let Some(name) = Name::of(&written) else { return };
        let columns: Option<Vec<Arc<str>>> = statement
            .column_list()
            .map(|list| list.column_names().map(|c| text(&c)).collect());
        let draft = DraftView {
            query,
            known: self.catalog.column_counts(),
            columns,
            renames: Vec::new(),
            security_invoker: false,
            security_barrier: false,
            materialized: true,
            column_comments: Vec::new(),
        };
        self.note(
            written.syntax(),
            "on an embedded store a materialized view is computed when it is read, and so always fresh",
        );
        self.declare_relation(
            &name,
            written.syntax(),
            statement.if_not_exists().is_some(),
            DraftKind::View(draft),
        );
    }
}

/// What `WITH (security_invoker …)` and the like say, if they are there.
pub(super) fn option(options: Option<&ast::AttributeList>, name: &str) -> Option<bool> {
    let option = options?
        .attribute_options()
        .find(|o| o.name().is_some_and(|n| &*text(&n) == name))?;
    let value = option
        .attribute_value()
        .map(|v| v.syntax().text().to_string().trim_matches('\'').to_ascii_lowercase());
    Some(value.is_none_or(|v| matches!(&*v, "true" | "on" | "yes" | "1" | "t" | "y")))
}
