//! Privileges and policies: what a role may touch, and which rows of it.

use super::{Authoriser, Rights};
use mainstay_model::{
    Error, Expr, FunctionId, Policy, PolicyCommand, Privilege, RelationId, RelationKind, RelationRef, Result,
    rewrite_expr,
};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Authoriser<'_> {
    /// A relation to read `columns` from, with its view expanded and its policies added.
    pub(super) fn readable(&mut self, relation: &RelationRef, columns: &BTreeSet<u32>) -> Result<RelationRef> {
        let id = relation.relation;
        self.privileges(id, Privilege::Select, columns.iter().copied())?;
        self.expanded(id, &[PolicyCommand::Select])
    }

    /// A relation with its view expanded and the `USING` of the policies for all of `commands` added.
    pub(super) fn expanded(&mut self, id: RelationId, commands: &[PolicyCommand]) -> Result<RelationRef> {
        let schema = self.schema;
        let relation = schema.relation(id);
        self.facts.stores.insert(relation.store.clone());
        let mut out = RelationRef::new(id);
        match &relation.kind {
            RelationKind::View(view) => {
                let rights = if view.security_invoker {
                    self.user.clone()
                } else {
                    Rights::Owner
                };
                out.expansion = Some(Arc::new(self.within(rights, |inner| inner.select(&view.select))?));
            }
            RelationKind::Table(_) => {
                let mut all = Vec::new();
                for command in commands {
                    all.extend(self.policy(id, *command, false)?);
                }
                out.security = (!all.is_empty()).then(|| Arc::new(Expr::all(all)));
            }
        }
        Ok(out)
    }

    /// The predicate of the policies for a command: `None` when none applies. `check`: on new rows rather than those there.
    pub(super) fn policy(&mut self, id: RelationId, command: PolicyCommand, check: bool) -> Result<Option<Expr>> {
        let Rights::Role(role) = self.rights.clone() else {
            return Ok(None);
        };
        let schema = self.schema;
        let relation = schema.relation(id);
        let Some(table) = relation.table().filter(|t| t.row_security) else {
            return Ok(None);
        };
        if self.policies.contains(&id) {
            return Err(Error::new(
                "42P17",
                format!(
                    "infinite recursion detected in policy for relation \"{}\"",
                    relation.name
                ),
            )
            .hint("let a SECURITY DEFINER function do the look-up that the policy needs"));
        }
        self.facts.policed = true;
        self.policies.push(id);
        let mut permissive = Vec::new();
        let mut restrictive = Vec::new();
        for policy in table.policies.iter().filter(|p| applies(p, command, &role)) {
            let expr = if check {
                policy.check.as_ref().or(policy.using.as_ref())
            } else {
                policy.using.as_ref()
            };
            // A policy without the clause that counts (FOR INSERT has no USING) lets every row pass it.
            let expr = match expr {
                Some(expr) => self.within(self.rights.clone(), |inner| {
                    inner.collect_in_expr(expr)?;
                    rewrite_expr(expr, inner)
                })?,
                None => Expr::all(Vec::new()),
            };
            if policy.restrictive {
                restrictive.push(expr)
            } else {
                permissive.push(expr)
            }
        }
        self.policies.pop();
        let mut all = vec![Expr::any(permissive)];
        all.extend(restrictive);
        Ok(Some(Expr::all(all)))
    }

    /// Refuses unless the role has the privilege on every column, or on any when none is named.
    pub(super) fn privileges(
        &self,
        id: RelationId,
        privilege: Privilege,
        columns: impl Iterator<Item = u32>,
    ) -> Result<()> {
        let Rights::Role(role) = &self.rights else {
            return Ok(());
        };
        let relation = self.schema.relation(id);
        let mut any = false;
        for column in columns {
            any = true;
            if !relation.allows(role, privilege, Some(column)) {
                return Err(denied(relation, role, privilege));
            }
        }
        let holds = |column| relation.allows(role, privilege, column);
        if !any && !holds(None) && !(0..relation.columns.len() as u32).any(|c| holds(Some(c))) {
            return Err(denied(relation, role, privilege));
        }
        Ok(())
    }

    /// Refuses unless the current user may call the function.
    pub(super) fn may_call(&self, id: FunctionId) -> Result<()> {
        let Rights::Role(role) = &self.user else {
            return Ok(());
        };
        let function = self.schema.function(id);
        if function.grants.iter().any(|g| **g == **role || &**g == "public") {
            return Ok(());
        }
        Err(
            Error::denied(format!("permission denied for function {}", function.name))
                .hint(format!("GRANT EXECUTE ON FUNCTION {} TO {role};", function.name)),
        )
    }
}

fn applies(policy: &Policy, command: PolicyCommand, role: &str) -> bool {
    (policy.command == command || policy.command == PolicyCommand::All)
        && (policy.roles.is_empty() || policy.roles.iter().any(|r| &**r == role || &**r == "public"))
}

fn denied(relation: &mainstay_model::Relation, role: &str, privilege: Privilege) -> Error {
    let kind = if relation.view().is_some() { "view" } else { "table" };
    let verb = match privilege {
        Privilege::Select => "SELECT",
        Privilege::Insert => "INSERT",
        Privilege::Update => "UPDATE",
        Privilege::Delete => "DELETE",
        Privilege::Truncate => "TRUNCATE",
        Privilege::References => "REFERENCES",
        Privilege::Trigger => "TRIGGER",
    };
    Error::denied(format!("permission denied for {kind} {}", relation.name)).hint(format!(
        "Grant the required privileges to the current role with: GRANT {verb} ON {}.{} TO {role};",
        relation.namespace, relation.name
    ))
}
