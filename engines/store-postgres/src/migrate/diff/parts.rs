//! Constraints and indexes: what can be checked or built while others work is, on tables that are large.

use super::Diff;
use crate::migrate::plan::Phase;
use crate::migrate::shape::{Detail, Key, Kind, Object};
use std::collections::BTreeSet;

impl Diff<'_> {
    pub(super) fn parts(&mut self) {
        let wanted = self.wanted;
        let mut renamed: BTreeSet<Key> = BTreeSet::new();
        for object in wanted.shape.of(Kind::Constraint) {
            if self.inlined.contains(&object.key()) {
                continue;
            }
            if self.is_new(object) {
                self.constrain(object, &mut renamed);
            } else if let Some(Detail::Constraint { valid: false, name, .. }) =
                self.actual.objects.get(&object.key()).map(|o| &o.detail)
                && matches!(&object.detail, Detail::Constraint { valid: true, .. })
            {
                let name = name.clone();
                self.validate(object, &name);
            }
        }
        for object in wanted.shape.of(Kind::Index) {
            if self.is_new(object) {
                self.index(object);
            }
        }
    }

    fn constrain(&mut self, object: &Object, renamed: &mut BTreeSet<Key>) {
        let table = object.table.clone().unwrap_or_default();
        let Detail::Constraint { kind, name, .. } = &object.detail else {
            return;
        };
        // The same constraint under another name: databases and people name them differently.
        let there = !self.actual.objects.contains_key(&object.key());
        let twin = self
            .actual
            .parts(Kind::Constraint, &table)
            .find(|o| {
                o.definition == object.definition
                    && !self.wanted.shape.objects.contains_key(&o.key())
                    && !self.again.contains(&o.key())
                    && !renamed.contains(&o.key())
            })
            .filter(|_| there);
        if let Some(twin) = twin
            && let Detail::Constraint { name: old, .. } = &twin.detail
        {
            let mut step = self.step(format!("ALTER TABLE {table} RENAME CONSTRAINT {old} TO {name}"), object);
            step.note = None;
            // Otherwise it would be dropped as one that schema.sql no longer has.
            let gone = twin.shown();
            let dropped = format!("ALTER TABLE {table} DROP CONSTRAINT {old}");
            self.plan.steps.retain(|s| !(s.object == gone && s.sql == dropped));
            let note = format!("{gone} is not in schema.sql");
            self.plan.notes.retain(|n| !n.starts_with(&note));
            renamed.insert(twin.key());
            return self.push(step);
        }
        let mut step = self.step(object.create.clone(), object);
        step.order.3 = 3;
        if !self.has_rows(&table) {
            return self.push(step);
        }
        match kind {
            'f' | 'c'
                if self.is_big(&table) && self.actual.table(&table).is_some_and(|t| t.partition_key.is_none()) =>
            {
                step.sql.push_str(" NOT VALID");
                self.push(step);
                let name = name.clone();
                self.validate(object, &name);
            }
            'f' | 'c' => {
                step.locks = Some("every row is looked at while nobody can write; the table is small".to_owned());
                self.push(step);
            }
            _ => {
                step.locks = Some("an index is built while nobody can use the table".to_owned());
                self.push(step);
            }
        }
    }

    fn validate(&mut self, object: &Object, name: &str) {
        let table = object.table.clone().unwrap_or_default();
        let mut step = self.step(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"), object);
        step.note = Some("every row is looked at; others read and write meanwhile".to_owned());
        step.phase = Phase::After;
        step.order.3 = 4;
        self.push(step);
    }

    fn index(&mut self, object: &Object) {
        let table = object.table.clone().unwrap_or_default();
        let mut step = self.step(object.create.clone(), object);
        step.order.3 = 3;
        let there = self.actual.table(&table);
        let plain = there.is_some_and(|t| t.partition_key.is_none());
        if plain && self.is_big(&table) {
            step.sql = step.sql.replacen("INDEX ", "INDEX CONCURRENTLY ", 1);
            step.phase = Phase::After;
            step.note = Some("built while others read and write".to_owned());
        } else if self.has_rows(&table) {
            step.locks = Some("the index is built while nobody can write to the table".to_owned());
        }
        if let Detail::Index { unique: true, .. } = object.detail
            && self.has_rows(&table)
        {
            let note = "fails if rows are equal in it";
            step.note = Some(match step.note {
                Some(known) => format!("{known}; {note}"),
                None => note.to_owned(),
            });
        }
        self.push(step);
    }
}
