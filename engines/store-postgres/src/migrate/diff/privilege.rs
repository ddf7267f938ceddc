//! Who may do what, and what is said about it: GRANT, REVOKE and COMMENT ON. Privileges are decided here for the roles that the
//! project knows; what a role of somebody else's was given is left alone.

use super::Diff;
use crate::migrate::plan::{Step, rank};
use crate::migrate::records::key as record_key;
use crate::migrate::shape::{Acl, Detail, Kind, Object};
use crate::migrate::text::{literal, parts};
use mainstay_model::Span;
use std::collections::BTreeMap;

/// What a table's privileges are when all are granted; MAINTAIN came with 17.
const TABLE_PRIVILEGES: [&str; 7] = [
    "DELETE",
    "INSERT",
    "REFERENCES",
    "SELECT",
    "TRIGGER",
    "TRUNCATE",
    "UPDATE",
];

/// Where, whether it is given, to whom, and whether it may be handed on.
type Granted = (String, bool, String, bool);

impl Diff<'_> {
    pub(super) fn privileges(&mut self) {
        let wanted = self.wanted;
        let mut columns: BTreeMap<Granted, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for object in wanted.shape.objects.values() {
            let Some(on) = &object.acl_on else { continue };
            let new = self.is_new(object);
            let had: Acl = match self.actual.objects.get(&object.key()) {
                Some(there) if !new => there.acl.clone(),
                _ => self.at_birth(object),
            };
            let missing: Vec<(&(String, String), &bool)> = object
                .acl
                .iter()
                .filter(|(k, grantable)| had.get(*k).is_none_or(|h| **grantable && !h))
                .collect();
            let extra: Vec<&(String, String)> = had
                .keys()
                .filter(|k| !object.acl.contains_key(*k) && self.is_known(&k.0))
                .collect();
            if let (Detail::Column(column), Some(table)) = (&object.detail, &object.table) {
                for ((grantee, privilege), grantable) in missing {
                    let group = columns
                        .entry((table.clone(), true, grantee.clone(), *grantable))
                        .or_default();
                    group.entry(privilege.clone()).or_default().push(column.name.clone());
                }
                for (grantee, privilege) in extra {
                    let group = columns
                        .entry((table.clone(), false, grantee.clone(), false))
                        .or_default();
                    group.entry(privilege.clone()).or_default().push(column.name.clone());
                }
                continue;
            }
            let mut grants: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
            for ((grantee, privilege), grantable) in missing {
                grants
                    .entry((grantee.clone(), *grantable))
                    .or_default()
                    .push(privilege.clone());
            }
            let mut revokes: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (grantee, privilege) in extra {
                revokes.entry(grantee.clone()).or_default().push(privilege.clone());
            }
            for (grantee, privileges) in revokes {
                let sql = format!("REVOKE {} ON {on} FROM {grantee}", listed(&privileges));
                self.privilege(sql, object, 0, &grantee, !new);
            }
            for ((grantee, grantable), privileges) in grants {
                let option = if grantable { " WITH GRANT OPTION" } else { "" };
                let sql = format!("GRANT {} ON {on} TO {grantee}{option}", listed(&privileges));
                self.privilege(sql, object, 1, &grantee, false);
            }
        }
        for ((table, granted, grantee, grantable), privileges) in columns {
            let list: Vec<String> = privileges
                .iter()
                .map(|(privilege, columns)| format!("{privilege} ({})", columns.join(", ")))
                .collect();
            let list = list.join(", ");
            let option = if grantable { " WITH GRANT OPTION" } else { "" };
            let sql = match granted {
                true => format!("GRANT {list} ON {table} TO {grantee}{option}"),
                false => format!("REVOKE {list} ON {table} FROM {grantee}"),
            };
            let relation = [Kind::Table, Kind::View, Kind::MaterializedView]
                .iter()
                .find_map(|kind| wanted.shape.get(*kind, &table));
            if let Some(relation) = relation {
                self.privilege(sql, relation, u8::from(granted), &grantee, !granted);
            }
        }
    }

    fn privilege(&mut self, sql: String, object: &Object, nth: u8, grantee: &str, unasked: bool) {
        let mut step = Step::new(sql, object.kind, &object.name, self.order(object));
        step.order = (rank::PRIVILEGE, step.order.1, step.order.2, nth);
        step.place = self
            .about(&["GRANT", "REVOKE"], object, Some(grantee))
            .or_else(|| self.place(object));
        if unasked {
            step.note = Some("schema.sql does not grant it".to_owned());
        }
        self.push(step);
    }

    /// Privileges that everybody has on something new.
    fn at_birth(&self, object: &Object) -> Acl {
        let everyone = |privilege: &str| Acl::from([(("PUBLIC".to_owned(), privilege.to_owned()), false)]);
        match object.kind {
            Kind::Function => everyone("EXECUTE"),
            Kind::Type => everyone("USAGE"),
            _ => Acl::new(),
        }
    }

    fn is_known(&self, grantee: &str) -> bool {
        grantee == "PUBLIC" || self.wanted.known_roles.contains(&super::bare(grantee))
    }

    pub(super) fn comments(&mut self) {
        let wanted = self.wanted;
        for object in wanted.shape.objects.values() {
            if object.subject.is_empty() || object.kind == Kind::Default {
                continue;
            }
            let had = match self.actual.objects.get(&object.key()) {
                Some(there) if !self.is_new(object) => there.comment.as_deref(),
                _ => None,
            };
            // What somebody said about a table that was there before us may stay.
            let silent = object.comment.is_none() && !self.records.contains_key(&record_key(&object.key()));
            if object.comment.as_deref() == had || silent {
                continue;
            }
            let text = object.comment.as_deref().map_or_else(|| "NULL".to_owned(), literal);
            let sql = format!("COMMENT ON {} IS {text}", object.subject);
            let mut step = Step::new(sql, object.kind, &object.name, self.order(object));
            step.order = (rank::PRIVILEGE, step.order.1, step.order.2, 9);
            step.place = self.about(&["COMMENT"], object, None).or_else(|| self.place(object));
            self.push(step);
        }
    }

    /// The last statement of a kind about an object.
    fn about(&self, verbs: &[&str], object: &Object, role: Option<&str>) -> Option<Span> {
        let name = parts(&object.name);
        let relation = match object.kind {
            Kind::Schema => name.first()?,
            _ => name.get(1)?,
        };
        let found = self.source.statements.iter().rev().find(|s| {
            let verb = s
                .text
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            let column = name
                .get(2)
                .is_none_or(|column| crate::migrate::text::mentions(&s.text, column));
            let role = role.is_none_or(|r| r == "PUBLIC" || crate::migrate::text::mentions(&s.text, &super::bare(r)));
            verbs.contains(&verb.as_str()) && column && role && crate::migrate::text::mentions(&s.text, relation)
        });
        found.map(|s| s.span.clone())
    }
}

fn listed(privileges: &[String]) -> String {
    let all = TABLE_PRIVILEGES.iter().all(|p| privileges.iter().any(|q| q == p));
    match all {
        true => "ALL".to_owned(),
        false => privileges.join(", "),
    }
}
