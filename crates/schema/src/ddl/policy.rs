//! CREATE POLICY and ALTER POLICY.

use super::Reader;
use crate::catalog::DraftPolicy;
use crate::names::text;
use mainstay_model::PolicyCommand;
use squawk_syntax::ast::{self, AstNode};

impl Reader {
    pub(super) fn create_policy(&mut self, statement: &ast::CreatePolicy) {
        let (Some(written), Some(target)) = (
            statement.policy(),
            statement.on_table().and_then(|t| t.table_name_ref()),
        ) else {
            return;
        };
        let Some(table) = self.table(&target) else { return };
        let name = text(&written);
        if self
            .catalog
            .table(table)
            .is_some_and(|t| t.policies.iter().any(|p| p.name == name))
        {
            return self.error(
                written.syntax(),
                format!("the table has a policy `{name}` already"),
                "rename or remove one of them",
            );
        }
        let restrictive = match statement
            .as_policy_type()
            .map(|t| t.syntax().text().to_string().to_ascii_lowercase())
        {
            None => false,
            Some(kind) if kind.ends_with("permissive") => false,
            Some(kind) if kind.ends_with("restrictive") => true,
            Some(_) => {
                return self.error(
                    written.syntax(),
                    "a policy is PERMISSIVE or RESTRICTIVE",
                    "write one of them behind AS",
                );
            }
        };
        let command = match statement.policy_command().and_then(|c| c.command()) {
            None | Some(ast::PolicyCommandKind::PolicyCommandAll(_)) => PolicyCommand::All,
            Some(ast::PolicyCommandKind::PolicyCommandSelect(_)) => PolicyCommand::Select,
            Some(ast::PolicyCommandKind::PolicyCommandInsert(_)) => PolicyCommand::Insert,
            Some(ast::PolicyCommandKind::PolicyCommandUpdate(_)) => PolicyCommand::Update,
            Some(ast::PolicyCommandKind::PolicyCommandDelete(_)) => PolicyCommand::Delete,
        };
        let using = statement.using_expr_clause();
        let check = statement.with_check_expr_clause();
        if let (PolicyCommand::Insert, Some(using)) = (command, &using) {
            return self.error(
                using.syntax(),
                "a policy for INSERT has no USING",
                "write WITH CHECK: there is no row before",
            );
        }
        if let (PolicyCommand::Select | PolicyCommand::Delete, Some(check)) = (command, &check) {
            return self.error(
                check.syntax(),
                "a policy for SELECT or DELETE has no WITH CHECK",
                "write USING: there is no new row",
            );
        }
        let policy = DraftPolicy {
            name,
            command,
            restrictive,
            roles: self.policy_roles(statement.policy_roles()),
            using: using.and_then(|u| u.expr()).map(|e| self.written(e)),
            check: check.and_then(|c| c.expr()).map(|e| self.written(e)),
            span: self.span(written.syntax()),
        };
        if let Some(draft) = self.catalog.table_mut(table) {
            draft.policies.push(policy);
        }
    }

    /// Empty is PUBLIC.
    fn policy_roles(&mut self, roles: Option<ast::PolicyRoles>) -> Vec<std::sync::Arc<str>> {
        let list = roles.and_then(|r| r.role_ref_list());
        let roles: Vec<_> = list
            .into_iter()
            .flat_map(|l| l.role_refs())
            .map(|r| super::privilege::role_name(&r))
            .collect();
        if roles.iter().any(|r| &**r == "public") {
            Vec::new()
        } else {
            roles
        }
    }

    pub(super) fn alter_policy(&mut self, statement: &ast::AlterPolicy) {
        let (Some(written), Some(target)) = (
            statement.policy_ref(),
            statement.on_table().and_then(|t| t.table_name_ref()),
        ) else {
            return;
        };
        let Some(table) = self.table(&target) else { return };
        let name = text(&written);
        let position = self
            .catalog
            .table(table)
            .and_then(|t| t.policies.iter().position(|p| p.name == name));
        let Some(position) = position else {
            return self.error(
                written.syntax(),
                format!("the table has no policy `{name}`"),
                "create it before",
            );
        };
        match statement.action() {
            Some(ast::AlterPolicyAction::PolicyRenameTo(rename)) => {
                if let (Some(new), Some(draft)) = (rename.policy(), self.catalog.table_mut(table)) {
                    draft.policies[position].name = text(&new);
                }
            }
            Some(ast::AlterPolicyAction::AlterPolicyTo(change)) => {
                let roles = change.policy_roles().map(|r| self.policy_roles(Some(r)));
                let using = change
                    .using_expr_clause()
                    .and_then(|u| u.expr())
                    .map(|e| self.written(e));
                let check = change
                    .with_check_expr_clause()
                    .and_then(|c| c.expr())
                    .map(|e| self.written(e));
                let Some(draft) = self.catalog.table_mut(table) else {
                    return;
                };
                let policy = &mut draft.policies[position];
                policy.roles = roles.unwrap_or_else(|| std::mem::take(&mut policy.roles));
                policy.using = using.or(policy.using.take());
                policy.check = check.or(policy.check.take());
            }
            None => {}
        }
    }
}
