//! Enums, domains, composite types and sequences.

use super::Diff;
use crate::migrate::plan::{Phase, Step};
use crate::migrate::shape::{Detail, Kind, Object};

impl Diff<'_> {
    pub(super) fn types(&mut self) {
        let wanted = self.wanted;
        for object in wanted.shape.of(Kind::Type) {
            let Some(there) = self.actual.objects.get(&object.key()) else {
                let step = self.step(object.create.clone(), object);
                self.push(step);
                continue;
            };
            if object.definition == there.definition {
                continue;
            }
            let steps = match (&object.detail, &there.detail) {
                (Detail::Enum(labels), Detail::Enum(had)) => self.labels(object, labels, had),
                (Detail::Domain { .. }, Detail::Domain { .. }) => self.domain(object, there),
                (Detail::Composite(fields), Detail::Composite(had)) => self.fields(object, fields, had),
                _ => Err("its kind cannot be changed in place".to_owned()),
            };
            match steps {
                Ok(steps) => self.plan.steps.extend(steps),
                Err(reason) => self.plan.problems.push(format!(
                    "type {}: {reason}; make a new type, change the columns to it, and drop the old one",
                    object.name
                )),
            }
        }
        for object in wanted.shape.of(Kind::Sequence) {
            self.sequence(object);
        }
    }

    fn labels(&self, object: &Object, labels: &[String], had: &[String]) -> Result<Vec<Step>, String> {
        let lost: Vec<&str> = had.iter().filter(|l| !labels.contains(l)).map(String::as_str).collect();
        if !lost.is_empty() {
            return Err(format!(
                "Postgres cannot take the label {} out of an enum",
                lost.join(", ")
            ));
        }
        let kept: Vec<&String> = labels.iter().filter(|l| had.contains(l)).collect();
        if kept.iter().zip(had).any(|(a, b)| *a != b) {
            return Err("Postgres cannot reorder the labels of an enum".to_owned());
        }
        let mut steps = Vec::new();
        for (at, label) in labels.iter().enumerate().filter(|(_, l)| !had.contains(l)) {
            let place = match (at.checked_sub(1).map(|i| &labels[i]), labels.get(at + 1)) {
                (Some(before), _) => format!(" AFTER {before}"),
                (None, Some(after)) => format!(" BEFORE {after}"),
                (None, None) => String::new(),
            };
            let sql = format!("ALTER TYPE {} ADD VALUE IF NOT EXISTS {label}{place}", object.name);
            let mut step = self.step(sql, object);
            // A label can be used once the transaction that added it has ended.
            step.phase = Phase::Before;
            step.order.3 = steps.len().min(200) as u8;
            steps.push(step);
        }
        // The first label of all has none before it, and what follows it may be as new.
        if let Some(first) = steps.first_mut()
            && !had.contains(&labels[0])
        {
            let next = had.first().map(|l| format!(" BEFORE {l}")).unwrap_or_default();
            first.sql = format!("ALTER TYPE {} ADD VALUE IF NOT EXISTS {}{next}", object.name, labels[0]);
        }
        Ok(steps)
    }

    fn domain(&self, object: &Object, there: &Object) -> Result<Vec<Step>, String> {
        let (
            Detail::Domain {
                not_null,
                default,
                checks,
                base,
            },
            Detail::Domain {
                not_null: had_not_null,
                default: had_default,
                checks: had_checks,
                base: had_base,
            },
        ) = (&object.detail, &there.detail)
        else {
            return Ok(Vec::new());
        };
        if base != had_base {
            return Err(format!("its base type is {had_base}, and schema.sql says {base}"));
        }
        let mut actions: Vec<(String, bool)> = Vec::new();
        for name in had_checks.keys().filter(|n| checks.get(*n) != had_checks.get(*n)) {
            actions.push((format!("DROP CONSTRAINT {name}"), false));
        }
        if default != had_default {
            actions.push(match default {
                Some(default) => (format!("SET DEFAULT {default}"), false),
                None => ("DROP DEFAULT".to_owned(), false),
            });
        }
        if not_null != had_not_null {
            let word = if *not_null { "SET" } else { "DROP" };
            actions.push((format!("{word} NOT NULL"), *not_null));
        }
        for (name, check) in checks.iter().filter(|(n, _)| had_checks.get(*n) != checks.get(*n)) {
            actions.push((format!("ADD CONSTRAINT {name} {check}"), true));
        }
        let steps = actions.into_iter().enumerate().map(|(at, (action, scans))| {
            let mut step = self.step(format!("ALTER DOMAIN {} {action}", object.name), object);
            step.locks =
                scans.then(|| "every column of the domain is looked at while nobody can write to it".to_owned());
            step.order.3 = at.min(200) as u8;
            step
        });
        Ok(steps.collect())
    }

    fn fields(
        &self,
        object: &Object,
        fields: &[(String, String)],
        had: &[(String, String)],
    ) -> Result<Vec<Step>, String> {
        let of = |list: &[(String, String)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        let mut actions: Vec<(String, Option<String>)> = Vec::new();
        for (name, ty) in fields {
            match of(had, name) {
                None => actions.push((format!("ADD ATTRIBUTE {name} {ty}"), None)),
                Some(old) if old != *ty => actions.push((format!("ALTER ATTRIBUTE {name} TYPE {ty}"), None)),
                Some(_) => {}
            }
        }
        for (name, _) in had.iter().filter(|(n, _)| of(fields, n).is_none()) {
            actions.push((
                format!("DROP ATTRIBUTE {name}"),
                Some("the attribute's values".to_owned()),
            ));
        }
        if actions.is_empty() {
            return Err("the order of its attributes cannot be changed".to_owned());
        }
        let steps = actions.into_iter().enumerate().map(|(at, (action, loses))| {
            let mut step = self.step(format!("ALTER TYPE {} {action}", object.name), object);
            step.loses_data = loses;
            step.order.3 = at.min(200) as u8;
            step
        });
        Ok(steps.collect())
    }

    fn sequence(&mut self, object: &Object) {
        let Detail::Sequence { owner } = &object.detail else {
            return;
        };
        let there = self.actual.objects.get(&object.key());
        match there {
            None => {
                let step = self.step(object.create.clone(), object);
                self.push(step);
            }
            Some(there) if there.definition != object.definition => {
                let step = self.step(format!("ALTER SEQUENCE {} {}", object.name, object.definition), object);
                self.push(step);
            }
            Some(_) => {}
        }
        let had = there.and_then(|t| match &t.detail {
            Detail::Sequence { owner } => owner.clone(),
            _ => None,
        });
        if *owner != had {
            let to = owner.clone().unwrap_or_else(|| "NONE".to_owned());
            let mut step = self.step(format!("ALTER SEQUENCE {} OWNED BY {to}", object.name), object);
            step.note = None;
            // Behind its column.
            let column = owner.as_ref().and_then(|o| self.wanted.shape.get(Kind::Column, o));
            if let Some(column) = column {
                step.order = step.order.max(self.order(column));
            }
            step.order.3 = 6;
            self.push(step);
        }
    }
}
