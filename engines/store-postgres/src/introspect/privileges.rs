//! Who may do what in effect: lists of privileges with memberships, PUBLIC, ownership, superusers and the schema's own `USAGE` applied.
//!
//! The database decides whatever is asked; this is for what is said beforehand: the OpenAPI document, `OPTIONS`, hints, `check`.

use super::found::{Details, Found, RoleRow};
use super::{Options, RoleFacts};
use mainstay_model::{Error, Grant, Privilege};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Of so many roles the privileges are worked out; a database may have one per customer.
const ROLES_MAX: usize = 32;

/// The roles that are meant when nothing is configured.
const OWN_ROLES: [&str; 3] = ["anon", "authenticated", "service_role"];

/// Everyone, in lists and in grants.
const EVERYONE: &str = "public";

pub(super) struct Privileges<'f> {
    found: &'f Found,
    details: &'f Details,
    /// The roles that matter, each with what it inherits from, itself included.
    roles: Vec<(&'f RoleRow, HashSet<u32>)>,
    left_out: usize,
    reads_all: Option<u32>,
    writes_all: Option<u32>,
    /// Who may use which schema: whether everyone, and who.
    usage: HashMap<u32, (bool, HashSet<u32>)>,
}

impl<'f> Privileges<'f> {
    pub fn new(options: &Options, found: &'f Found, details: &'f Details) -> Result<Privileges<'f>, Error> {
        let named =
            |role: &RoleRow| OWN_ROLES.contains(&&*role.name) || options.roles.iter().any(|r| **r == *role.name);
        let ours = |role: &RoleRow| role.settable && !role.name.starts_with("pg_");
        let mut chosen: Vec<&RoleRow> = found.roles.iter().filter(|r| named(r)).collect();
        chosen.extend(found.roles.iter().filter(|r| !named(r) && ours(r)));
        let left_out = chosen
            .len()
            .saturating_sub(ROLES_MAX.max(options.roles.len() + OWN_ROLES.len()));
        chosen.truncate(chosen.len() - left_out);
        let mut groups: HashMap<u32, Vec<u32>> = HashMap::new();
        for (member, group) in &found.members {
            groups.entry(*member).or_default().push(*group);
        }
        let predefined = |name: &str| found.roles.iter().find(|r| &*r.name == name).map(|r| r.oid);
        let mut privileges = Privileges {
            found,
            details,
            roles: chosen
                .into_iter()
                .map(|role| (role, closure(role.oid, &groups)))
                .collect(),
            left_out,
            reads_all: predefined("pg_read_all_data"),
            writes_all: predefined("pg_write_all_data"),
            usage: HashMap::new(),
        };
        for namespace in &found.namespaces {
            let holders = privileges.holders(&namespace.acl, "USAGE");
            privileges.usage.insert(namespace.oid, holders);
        }
        Ok(privileges)
    }

    /// Whether everyone has a privilege of a list, and which roles do.
    fn holders(&self, list: &str, privilege: &str) -> (bool, HashSet<u32>) {
        let grantees: HashSet<u32> = self
            .details
            .acls
            .get(list)
            .map(|all| all.iter().filter(|(_, p)| p == privilege).map(|(g, _)| *g).collect())
            .unwrap_or_default();
        let everyone = grantees.contains(&0);
        let everything = match privilege {
            "SELECT" => self.reads_all,
            "INSERT" | "UPDATE" | "DELETE" => self.writes_all,
            _ => None,
        };
        let either = |group: &u32| grantees.contains(group) || Some(*group) == everything;
        // Whoever may read or write everything may use every schema.
        let any_data =
            |group: &u32| privilege == "USAGE" && (Some(*group) == self.reads_all || Some(*group) == self.writes_all);
        let roles = self.roles.iter().filter(|(role, inherited)| {
            role.superuser || everyone || inherited.iter().any(|g| either(g) || any_data(g))
        });
        (everyone, roles.map(|(role, _)| role.oid).collect())
    }

    /// The names of those who have a privilege of a list, on something in a schema.
    fn names(&self, namespace: u32, list: &str, privilege: &str) -> Vec<Arc<str>> {
        let (everyone, roles) = self.holders(list, privilege);
        let Some((all_use, users)) = self.usage.get(&namespace) else {
            return Vec::new();
        };
        if everyone && *all_use {
            return vec![EVERYONE.into()];
        }
        let both = self
            .roles
            .iter()
            .filter(|(role, _)| roles.contains(&role.oid) && users.contains(&role.oid));
        both.map(|(role, _)| role.name.clone()).collect()
    }

    /// The privileges on a relation and, where they are not on all of it, on its columns (index, list).
    pub fn on_relation(
        &self,
        cache: &mut GrantCache,
        namespace: u32,
        list: &str,
        columns: &[(u32, &str)],
    ) -> Vec<Grant> {
        let key = (namespace, list.to_owned());
        let mut grants = cache
            .0
            .entry(key)
            .or_insert_with(|| {
                let mut grants = Vec::new();
                for (name, privilege) in PRIVILEGES {
                    grants.extend(self.names(namespace, list, name).into_iter().map(|role| Grant {
                        role,
                        privilege,
                        columns: None,
                    }));
                }
                grants
            })
            .clone();
        let whole = grants.len();
        for (column, list) in columns {
            for (name, privilege) in PRIVILEGES {
                for role in self.names(namespace, list, name) {
                    let has = |g: &Grant| g.privilege == privilege && (g.role == role || &*g.role == EVERYONE);
                    if grants[..whole].iter().any(has) {
                        continue;
                    }
                    match grants[whole..]
                        .iter_mut()
                        .find(|g| g.privilege == privilege && g.role == role)
                    {
                        Some(Grant {
                            columns: Some(columns), ..
                        }) => columns.push(*column),
                        _ => grants.push(Grant {
                            role,
                            privilege,
                            columns: Some(vec![*column]),
                        }),
                    }
                }
            }
        }
        grants
    }

    /// Who may call a function.
    pub fn on_function(&self, namespace: u32, list: &str) -> Vec<Arc<str>> {
        self.names(namespace, list, "EXECUTE")
    }

    /// The name of a role by its number; 0 is everyone.
    pub fn role(&self, oid: u32) -> Option<Arc<str>> {
        match oid {
            0 => Some(EVERYONE.into()),
            oid => self.found.roles.iter().find(|r| r.oid == oid).map(|r| r.name.clone()),
        }
    }

    /// What is to be said of the roles.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let user = &self.found.server.user;
        let ourselves = self.found.roles.iter().find(|r| r.name == *user);
        if ourselves.is_some_and(|r| r.superuser) {
            notes.push(format!(
                "connected as `{user}`, a superuser; a role that may only SET ROLE to the ones below is enough"
            ));
        } else if ourselves.is_some_and(|r| r.bypasses_rls) {
            notes.push(format!("connected as `{user}`, which bypasses row level security"));
        }
        for name in OWN_ROLES {
            match self.found.roles.iter().find(|r| &*r.name == name) {
                None => notes.push(format!(
                    "there is no role `{name}`: {}",
                    match name {
                        "anon" => "requests without a token need one; create it, or name another with `[api] anon`",
                        "authenticated" => "tokens that name it are refused",
                        _ => "nothing may pass the policies",
                    }
                )),
                Some(role) if !role.settable => notes.push(format!(
                    "`{user}` may not switch to the role `{name}`: GRANT {name} TO \"{user}\""
                )),
                Some(role) if name != "service_role" && (role.superuser || role.bypasses_rls) => notes.push(format!(
                    "the role `{name}` {}: policies do not hold for it",
                    if role.superuser {
                        "is a superuser"
                    } else {
                        "has BYPASSRLS"
                    }
                )),
                Some(_) => {}
            }
        }
        if self.left_out > 0 {
            notes.push(format!(
                "{} more roles that `{user}` may switch to: what they may do is known to the database alone, and not in the documentation",
                self.left_out
            ));
        }
        notes
    }
}

/// Most relations have one of a few lists.
#[derive(Default)]
pub(super) struct GrantCache(HashMap<(u32, String), Vec<Grant>>);

const PRIVILEGES: [(&str, Privilege); 7] = [
    ("SELECT", Privilege::Select),
    ("INSERT", Privilege::Insert),
    ("UPDATE", Privilege::Update),
    ("DELETE", Privilege::Delete),
    ("TRUNCATE", Privilege::Truncate),
    ("REFERENCES", Privilege::References),
    ("TRIGGER", Privilege::Trigger),
];

/// What is told of a role.
pub(super) fn facts(role: &RoleRow) -> RoleFacts {
    RoleFacts {
        name: role.name.clone(),
        bypasses_rls: role.bypasses_rls || role.superuser,
        superuser: role.superuser,
        can_login: role.can_login,
        settable_by_us: role.settable,
    }
}

fn closure(role: u32, groups: &HashMap<u32, Vec<u32>>) -> HashSet<u32> {
    let mut seen = HashSet::from([role]);
    let mut open = vec![role];
    while let Some(next) = open.pop() {
        for group in groups.get(&next).map_or(&[] as &[u32], Vec::as_slice) {
            if seen.insert(*group) {
                open.push(*group);
            }
        }
    }
    seen
}
