//! GRANT, REVOKE and ALTER DEFAULT PRIVILEGES: what is exposed, and to whom.

use super::Reader;
use super::function::signature_of;
use crate::catalog::{DefaultGrant, DraftGrant, GrantTarget, GrantedPrivileges};
use crate::names::{Name, folded, text};
use mainstay_model::Privilege;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

const ALL: [Privilege; 7] = [
    Privilege::Select,
    Privilege::Insert,
    Privilege::Update,
    Privilege::Delete,
    Privilege::Truncate,
    Privilege::References,
    Privilege::Trigger,
];

/// Names of whoever runs the file: everything in it is created by them.
const OWNERS: [&str; 4] = ["postgres", "current_user", "session_user", "current_role"];

/// The name of a role; `public` is everyone.
pub(super) fn role_name(role: &ast::RoleRef) -> Arc<str> {
    match role.role_ref_value() {
        Some(value) => folded(value.syntax()),
        None => folded(role.syntax()),
    }
}

fn roles(list: Option<ast::RoleRefList>) -> Vec<Arc<str>> {
    list.into_iter()
        .flat_map(|l| l.role_refs())
        .map(|r| role_name(&r))
        .collect()
}

impl Reader {
    pub(super) fn grant(&mut self, statement: &ast::Grant) {
        let roles = roles(statement.role_ref_list());
        let (Some(privileges), Some(objects)) = (statement.privileges(), statement.on_privilege_objects_clause())
        else {
            return self.membership(statement, &roles);
        };
        if let Some(option) = statement.grant_with_clause().and_then(|w| w.grant_option()) {
            self.note(
                option.syntax(),
                "WITH GRANT OPTION has no effect here: privileges are granted by this file alone",
            );
        }
        let Some(objects) = objects.privilege_objects() else {
            return;
        };
        self.privileges(&privileges, &objects, roles, false);
    }

    pub(super) fn revoke(&mut self, statement: &ast::Revoke) {
        let (Some(privileges), Some(objects)) = (statement.privileges(), statement.on_privilege_objects_clause())
        else {
            return self.note(statement.syntax(), "membership of roles has no effect here");
        };
        // REVOKE GRANT OPTION FOR leaves the privilege itself.
        if statement.revoke_option_for().is_some() {
            return;
        }
        let Some(objects) = objects.privilege_objects() else {
            return;
        };
        self.privileges(&privileges, &objects, roles(statement.role_ref_list()), true);
    }

    /// `GRANT role TO role`
    fn membership(&mut self, statement: &ast::Grant, members: &[Arc<str>]) {
        let servers_own = [
            "authenticator",
            "postgres",
            "supabase_admin",
            "current_user",
            "session_user",
            "current_role",
        ];
        if members.iter().all(|m| servers_own.contains(&&**m)) {
            return self.note(statement.syntax(), "membership of roles has no effect here");
        }
        self.warning(
            statement.syntax(),
            "a role does not inherit the privileges of another here",
            "grant the privileges to each role that the tokens name",
        );
    }

    fn privileges(
        &mut self,
        privileges: &ast::Privileges,
        objects: &ast::PrivilegeObjects,
        roles: Vec<Arc<str>>,
        revoke: bool,
    ) {
        use ast::PrivilegeObjects::*;
        match objects {
            PrivilegeTable(on) => self.on_relations(privileges, on.relation_name_refs(), &roles, revoke),
            PrivilegeDefault(on) => self.on_relations(privileges, on.relation_name_refs(), &roles, revoke),
            PrivilegeAllTablesInSchema(on) => {
                let listed = self.listed(privileges);
                for schema in on.schema_refs() {
                    let namespace = text(&schema);
                    let members = self
                        .catalog
                        .relations
                        .iter()
                        .enumerate()
                        .filter(|(_, r)| !r.dropped && r.namespace == namespace);
                    let members: Vec<usize> = members.map(|(i, _)| i).collect();
                    for relation in members {
                        self.on_relation(relation, listed.clone(), &roles, revoke);
                    }
                }
            }
            PrivilegeFunction(on) => {
                for sig in on.function_sig_list().into_iter().flat_map(|l| l.function_sigs()) {
                    let name = sig.function_name_ref().and_then(|n| Name::of(&n));
                    self.on_function(name, sig.param_list(), &sig, &roles, revoke);
                }
            }
            PrivilegeRoutine(on) => {
                for sig in on.routine_sig_list().into_iter().flat_map(|l| l.routine_sigs()) {
                    let name = sig.routine_name_ref().and_then(|n| Name::of(&n));
                    self.on_function(name, sig.param_list(), &sig, &roles, revoke);
                }
            }
            PrivilegeAllFunctionsInSchema(on) => self.on_functions_in(on.schema_refs(), &roles, revoke),
            PrivilegeAllRoutinesInSchema(on) => self.on_functions_in(on.schema_refs(), &roles, revoke),
            // Of schemas, sequences, types, databases …: what is served is decided by tables, columns and functions.
            _ => {}
        }
    }

    fn on_relations(
        &mut self,
        privileges: &ast::Privileges,
        relations: impl Iterator<Item = ast::RelationNameRef>,
        roles: &[Arc<str>],
        revoke: bool,
    ) {
        let listed = self.listed(privileges);
        for written in relations {
            let Some(name) = Name::of(&written) else { continue };
            // Old dumps grant on sequences as if they were tables.
            if self.catalog.relation(&name, &self.place.path).is_none()
                && self.catalog.sequence(&name, &self.place.path).is_some()
            {
                continue;
            }
            if let Some(relation) = self.relation(&written) {
                self.on_relation(relation, listed.clone(), roles, revoke);
            }
        }
    }

    fn on_relation(&mut self, relation: usize, listed: GrantedPrivileges, roles: &[Arc<str>], revoke: bool) {
        self.catalog.has_grants |= !revoke;
        let target = GrantTarget::Relation(relation, listed);
        self.catalog.grants.push(DraftGrant {
            revoke,
            target,
            roles: roles.to_vec(),
        });
    }

    fn on_function(
        &mut self,
        name: Option<Name>,
        params: Option<ast::ParamList>,
        at: &impl AstNode,
        roles: &[Arc<str>],
        revoke: bool,
    ) {
        let Some(name) = name else { return };
        let signature = params.map(|p| signature_of(&p));
        if revoke
            && self
                .catalog
                .functions_named(&name, signature.as_deref(), &self.place.path)
                .is_empty()
        {
            return;
        }
        let Some(found) = self.functions_or_problem(&name, signature.as_deref(), at.syntax()) else {
            return;
        };
        if found.len() > 1 {
            let message = format!("there are {} functions `{name}`", found.len());
            return self.error(
                at.syntax(),
                message,
                "write the types of the arguments in parentheses behind the name",
            );
        }
        self.catalog.has_grants |= !revoke;
        for function in found {
            self.catalog.grants.push(DraftGrant {
                revoke,
                target: GrantTarget::Function(function),
                roles: roles.to_vec(),
            });
        }
    }

    fn on_functions_in(&mut self, schemas: impl Iterator<Item = ast::SchemaRef>, roles: &[Arc<str>], revoke: bool) {
        for schema in schemas {
            let namespace = text(&schema);
            let members = self
                .catalog
                .functions
                .iter()
                .enumerate()
                .filter(|(_, f)| !f.dropped && f.namespace == namespace);
            let members: Vec<usize> = members.map(|(i, _)| i).collect();
            for function in members {
                self.catalog.has_grants |= !revoke;
                self.catalog.grants.push(DraftGrant {
                    revoke,
                    target: GrantTarget::Function(function),
                    roles: roles.to_vec(),
                });
            }
        }
    }

    fn listed(&mut self, privileges: &ast::Privileges) -> GrantedPrivileges {
        let columns = |reader: &Reader, list: Option<ast::ColumnRefList>| {
            list.map(|l| {
                l.column_name_refs()
                    .map(|c| (text(&c), reader.span(c.syntax())))
                    .collect::<Vec<_>>()
            })
        };
        match privileges {
            ast::Privileges::AllPrivileges(all) => {
                let columns = columns(self, all.column_ref_list());
                ALL.iter().map(|p| (*p, columns.clone())).collect()
            }
            ast::Privileges::RevokeCommandList(list) => {
                let mut listed = GrantedPrivileges::new();
                for command in list.revoke_commands() {
                    let word = command.syntax().text().to_string().to_ascii_lowercase();
                    let word = word
                        .split(|c: char| !c.is_alphanumeric() && c != '_')
                        .next()
                        .unwrap_or_default();
                    let columns = columns(self, command.column_ref_list());
                    match privilege(word) {
                        Some(privilege) => listed.push((privilege, columns)),
                        None if word == "all" => listed.extend(ALL.iter().map(|p| (*p, columns.clone()))),
                        None if matches!(
                            word,
                            "execute"
                                | "usage"
                                | "maintain"
                                | "create"
                                | "connect"
                                | "temporary"
                                | "temp"
                                | "set"
                                | "alter"
                        ) => {}
                        None => {
                            let problem = self
                                .source()
                                .error_at(&command, format!("there is no privilege `{word}`"));
                            let problem = problem.help("on a table: SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER; on a function: EXECUTE");
                            self.problem(problem.did_you_mean(
                                word,
                                [
                                    "select",
                                    "insert",
                                    "update",
                                    "delete",
                                    "truncate",
                                    "references",
                                    "trigger",
                                    "execute",
                                ],
                            ));
                        }
                    }
                }
                listed
            }
        }
    }

    pub(super) fn alter_default_privileges(&mut self, statement: &ast::AlterDefaultPrivileges) {
        let creators = roles(statement.for_roles().and_then(|f| f.role_ref_list()));
        if !creators.is_empty() && !creators.iter().any(|r| OWNERS.contains(&&**r)) {
            return self.note(
                statement.syntax(),
                format!(
                    "default privileges FOR ROLE {} have no effect here: the owner runs this file, so that role creates nothing",
                    creators.join(", ")
                ),
            );
        }
        let namespaces = statement
            .in_schemas()
            .map(|s| s.schema_refs().map(|r| text(&r)).collect::<Vec<_>>());
        let (privileges, target, roles, revoke) = match statement.action() {
            Some(ast::AlterDefaultPrivilegesAction::GrantDefaultPrivileges(g)) => {
                (g.privileges(), g.privilege_target(), roles(g.role_ref_list()), false)
            }
            Some(ast::AlterDefaultPrivilegesAction::RevokeDefaultPrivileges(r)) => {
                (r.privileges(), r.privilege_target(), roles(r.role_ref_list()), true)
            }
            None => return,
        };
        let (Some(privileges), Some(target)) = (privileges, target) else {
            return;
        };
        let privileges = match target {
            ast::PrivilegeTarget::PrivilegeTargetTables(_) => {
                Some(self.listed(&privileges).into_iter().map(|(p, _)| p).collect())
            }
            ast::PrivilegeTarget::PrivilegeTargetFunctions(_) | ast::PrivilegeTarget::PrivilegeTargetRoutines(_) => {
                None
            }
            _ => return,
        };
        if !revoke {
            return self.catalog.default_grants.push(DefaultGrant {
                namespaces,
                privileges,
                roles,
            });
        }
        for default in &mut self.catalog.default_grants {
            if default.namespaces != namespaces {
                continue;
            }
            match (&mut default.privileges, &privileges) {
                (Some(granted), Some(revoked)) if default.roles.iter().all(|r| roles.contains(r)) => {
                    granted.retain(|p: &Privilege| !revoked.contains(p));
                }
                (None, None) => default.roles.retain(|r| !roles.contains(r)),
                _ => {}
            }
        }
    }
}

fn privilege(word: &str) -> Option<Privilege> {
    Some(match word {
        "select" => Privilege::Select,
        "insert" => Privilege::Insert,
        "update" => Privilege::Update,
        "delete" => Privilege::Delete,
        "truncate" => Privilege::Truncate,
        "references" => Privilege::References,
        "trigger" => Privilege::Trigger,
        _ => return None,
    })
}
