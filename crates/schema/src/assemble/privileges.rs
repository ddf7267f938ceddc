//! Grants, applied in the order in which they were written, now that every column is known.

use super::Assembly;
use crate::Problem;
use crate::catalog::GrantTarget;
use mainstay_model::{Grant, Privilege, RelationId, Span};
use std::sync::Arc;

impl Assembly {
    pub(super) fn apply_grants(&mut self) {
        for grant in std::mem::take(&mut self.catalog.grants) {
            match &grant.target {
                GrantTarget::Relation(draft, privileges) => {
                    let Some(id) = self.relations[*draft] else { continue };
                    for (privilege, columns) in privileges {
                        let Some(columns) = self.granted_columns(id, columns.as_deref()) else {
                            continue;
                        };
                        for role in &grant.roles {
                            self.grant(id, role, *privilege, columns.clone(), grant.revoke);
                        }
                    }
                }
                GrantTarget::Function(draft) => {
                    let Some(id) = self.functions[*draft] else { continue };
                    let granted = &mut self.schema.functions[id.0 as usize].grants;
                    for role in &grant.roles {
                        granted.retain(|r| r != role);
                        if !grant.revoke {
                            granted.push(role.clone());
                        }
                    }
                }
            }
        }
    }

    /// Indexes of columns; `None`, with a problem, if one is not there.
    fn granted_columns(&mut self, id: RelationId, columns: Option<&[(Arc<str>, Span)]>) -> Option<Option<Vec<u32>>> {
        let Some(columns) = columns else { return Some(None) };
        let mut found = Vec::new();
        for (name, span) in columns {
            let relation = self.schema.relation(id);
            match relation.column(name) {
                Some(column) => found.push(column),
                // A view whose query could not be bound has no columns; that has been told.
                None if relation.columns.is_empty() => return None,
                None => {
                    let problem = Problem::error(
                        span.clone(),
                        format!("there is no column `{name}` in `{}`", relation.name),
                    );
                    let problem = problem.did_you_mean(name, relation.columns.iter().map(|c| &*c.name));
                    self.problem(problem);
                    return None;
                }
            }
        }
        Some(Some(found))
    }

    fn grant(
        &mut self,
        id: RelationId,
        role: &Arc<str>,
        privilege: Privilege,
        columns: Option<Vec<u32>>,
        revoke: bool,
    ) {
        let grants = &mut self.schema.relations[id.0 as usize].grants;
        let same = |g: &Grant| g.role == *role && g.privilege == privilege;
        match (revoke, columns) {
            // Revoking the privilege on the table takes it from the columns too.
            (true, None) => grants.retain(|g| !same(g)),
            (true, Some(columns)) => {
                for grant in grants.iter_mut().filter(|g| same(g)) {
                    if let Some(granted) = &mut grant.columns {
                        granted.retain(|c| !columns.contains(c));
                    }
                }
                grants.retain(|g| g.columns.as_ref().is_none_or(|c| !c.is_empty()));
            }
            (false, None) => {
                if !grants.iter().any(|g| same(g) && g.columns.is_none()) {
                    grants.push(Grant {
                        role: role.clone(),
                        privilege,
                        columns: None,
                    });
                }
            }
            (false, Some(columns)) => match grants.iter_mut().find(|g| same(g) && g.columns.is_some()) {
                Some(Grant {
                    columns: Some(granted), ..
                }) => {
                    granted.extend(columns);
                    granted.sort_unstable();
                    granted.dedup();
                }
                _ => grants.push(Grant {
                    role: role.clone(),
                    privilege,
                    columns: Some(columns),
                }),
            },
        }
    }
}
