//! Tables and their columns.

use super::{Diff, bare};
use crate::migrate::plan::Step;
use crate::migrate::shape::{Column, Detail, Key, Kind, Object, Table};
use crate::migrate::text::mentions;
use mainstay_sql::narrowing::{base, is_text, modifiers, narrowing, rank_of_number};
use std::collections::BTreeSet;

impl Diff<'_> {
    /// Columns that are dropped or get another type: what looks at them has to make room.
    pub(super) fn changed_columns(&mut self) -> Vec<(String, i32)> {
        let mut changed = Vec::new();
        let mut again: Vec<Key> = Vec::new();
        for there in self.actual.of(Kind::Column) {
            let (Detail::Column(had), Some(table)) = (&there.detail, &there.table) else {
                continue;
            };
            if had.of_view {
                continue;
            }
            if self.gone.contains(&there.key()) {
                changed.push((table.clone(), had.number));
                continue;
            }
            let Some(Detail::Column(column)) = self.wanted.shape.get(Kind::Column, &there.name).map(|o| &o.detail)
            else {
                continue;
            };
            // An expression cannot be exchanged, and a stored value cannot become a computed one.
            if column.generated != had.generated && (column.generated.is_some() || had.generated.is_some()) {
                again.push(there.key());
                changed.push((table.clone(), had.number));
            } else if column.ty != had.ty || column.collation != had.collation {
                changed.push((table.clone(), had.number));
                // Generated columns that are computed from it.
                for (object, other) in self.actual.columns(table) {
                    let computed = other.generated.as_ref().is_some_and(|g| mentions(g, &bare(&had.name)));
                    if computed {
                        again.push(object.key());
                        changed.push((table.clone(), other.number));
                    }
                }
            }
        }
        self.again.extend(again);
        changed
    }

    pub(super) fn tables(&mut self) {
        let mut inlined: BTreeSet<Key> = BTreeSet::new();
        let wanted = self.wanted;
        for table in wanted.shape.of(Kind::Table) {
            let Detail::Table(detail) = &table.detail else { continue };
            if self.is_new(table) {
                let step = self.create(table, detail, &mut inlined);
                self.push(step);
                self.settings(
                    table,
                    detail,
                    &Table {
                        replica_identity: "d".to_owned(),
                        options: detail.options.clone(),
                        unlogged: detail.unlogged,
                        ..Table::default()
                    },
                );
            } else if let Some(had) = self.actual.table(&table.name) {
                let had = had.clone();
                self.settings(table, detail, &had);
                self.placement(table, detail, &had);
            }
        }
        for object in wanted.shape.of(Kind::Column) {
            let (Detail::Column(column), Some(table)) = (&object.detail, &object.table) else {
                continue;
            };
            if column.of_view || inlined.contains(&object.key()) {
                continue;
            }
            if self.is_new(object) {
                self.add_column(object, column, table, &mut inlined);
            } else if let Some(Detail::Column(had)) = self.actual.objects.get(&object.key()).map(|o| &o.detail) {
                self.alter_column(object, column, had, table, &mut inlined);
            }
        }
        for default in wanted.shape.of(Kind::Default) {
            if inlined.contains(&default.key()) {
                continue;
            }
            let there = self.actual.objects.get(&default.key());
            if self.is_new(default) || there.is_some_and(|t| !self.same(default, t)) {
                let step = self.step(default.create.clone(), default);
                self.push(step);
            }
        }
        self.inlined = inlined;
    }

    /// CREATE TABLE with what was declared in the same breath.
    fn create(&self, table: &Object, detail: &Table, inlined: &mut BTreeSet<Key>) -> Step {
        let shape = &self.wanted.shape;
        let statement = self.wanted.statement_of(table.oid);
        let together = |object: &Object| self.wanted.statement_of(object.oid) == statement;
        let mut lines: Vec<String> = Vec::new();
        for (object, column) in shape.columns(&table.name) {
            let mut line = format!("{} {}", column.name, column.definition());
            let default = shape.get(Kind::Default, &object.name);
            if let Some(default) = default.filter(|d| together(d)) {
                line = with_default(column, &default.definition);
                inlined.insert(default.key());
            }
            inlined.insert(object.key());
            lines.push(line);
        }
        let mut constraints: Vec<&Object> = shape
            .parts(Kind::Constraint, &table.name)
            .filter(|c| together(c))
            .collect();
        constraints.sort_by_key(|c| c.oid);
        if detail.bound.is_some() {
            constraints.clear();
        }
        for constraint in constraints {
            if let Detail::Constraint { name, .. } = &constraint.detail {
                lines.push(format!("CONSTRAINT {name} {}", constraint.definition));
                inlined.insert(constraint.key());
            }
        }
        let unlogged = if detail.unlogged { "UNLOGGED " } else { "" };
        let mut sql = format!("CREATE {unlogged}TABLE {}", table.name);
        match (&detail.bound, detail.parents.first()) {
            (Some(bound), Some(parent)) => sql.push_str(&format!(" PARTITION OF {parent} {bound}")),
            _ => {
                let body = match lines.is_empty() {
                    true => " ()".to_owned(),
                    false => format!(" (\n  {}\n)", lines.join(",\n  ")),
                };
                sql.push_str(&body);
                if !detail.parents.is_empty() {
                    sql.push_str(&format!(" INHERITS ({})", detail.parents.join(", ")));
                }
            }
        }
        if let Some(key) = &detail.partition_key {
            sql.push_str(&format!(" PARTITION BY {key}"));
        }
        if !detail.options.is_empty() {
            sql.push_str(&format!(" WITH ({})", detail.options));
        }
        self.step(sql, table)
    }

    /// Row security, storage options, logging.
    fn settings(&mut self, table: &Object, wanted: &Table, had: &Table) {
        let name = &table.name;
        let mut changes: Vec<(String, Option<String>)> = Vec::new();
        if wanted.row_security != had.row_security {
            let word = if wanted.row_security { "ENABLE" } else { "DISABLE" };
            changes.push((format!("{word} ROW LEVEL SECURITY"), None));
        }
        if wanted.force_row_security != had.force_row_security {
            let word = if wanted.force_row_security { "FORCE" } else { "NO FORCE" };
            changes.push((format!("{word} ROW LEVEL SECURITY"), None));
        }
        if wanted.options != had.options {
            let names = |options: &str| -> BTreeSet<String> {
                let words = options.split(", ").filter_map(|o| o.split('=').next());
                words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
            };
            let lost: Vec<String> = names(&had.options)
                .difference(&names(&wanted.options))
                .cloned()
                .collect();
            if !lost.is_empty() {
                changes.push((format!("RESET ({})", lost.join(", ")), None));
            }
            if !wanted.options.is_empty() {
                changes.push((format!("SET ({})", wanted.options), None));
            }
        }
        if wanted.unlogged != had.unlogged {
            let word = if wanted.unlogged { "UNLOGGED" } else { "LOGGED" };
            changes.push((
                format!("SET {word}"),
                Some("the table is rewritten while nobody can use it".to_owned()),
            ));
        }
        if wanted.replica_identity != had.replica_identity && matches!(wanted.replica_identity.as_str(), "f" | "n") {
            let word = if wanted.replica_identity == "f" {
                "FULL"
            } else {
                "NOTHING"
            };
            changes.push((format!("REPLICA IDENTITY {word}"), None));
        }
        for (change, locks) in changes {
            let mut step = self.step(format!("ALTER TABLE {name} {change}"), table);
            if change.contains("SECURITY") {
                let about = |s: &&crate::migrate::source::Statement| {
                    let text = s.text.to_ascii_uppercase();
                    let object = s.object.as_deref().unwrap_or_default();
                    text.contains("ROW LEVEL SECURITY") && name.ends_with(object) && !object.is_empty()
                };
                let found = self.source.statements.iter().find(about);
                step.place = found.map(|s| s.span.clone()).or(step.place);
            }
            step.note = None;
            step.order.3 = 2;
            step.locks = locks.filter(|_| self.has_rows(name));
            self.push(step);
        }
    }

    /// Partitions and parents.
    fn placement(&mut self, table: &Object, wanted: &Table, had: &Table) {
        let name = &table.name;
        if wanted.partition_key != had.partition_key {
            self.plan.problems.push(format!(
                "table {name} is partitioned otherwise than schema.sql says: a table cannot become partitioned in place; \
                 make a new one, copy the rows, and rename it"
            ));
        }
        if wanted.bound == had.bound && wanted.parents == had.parents {
            return;
        }
        let (before, after) = (had.parents.first(), wanted.parents.first());
        let mut statements = Vec::new();
        match (before, &had.bound) {
            (Some(parent), Some(_)) => statements.push(format!("ALTER TABLE {parent} DETACH PARTITION {name}")),
            (Some(parent), None) => statements.push(format!("ALTER TABLE {name} NO INHERIT {parent}")),
            _ => {}
        }
        match (after, &wanted.bound) {
            (Some(parent), Some(bound)) => {
                statements.push(format!("ALTER TABLE {parent} ATTACH PARTITION {name} {bound}"));
            }
            (Some(parent), None) => statements.push(format!("ALTER TABLE {name} INHERIT {parent}")),
            _ => {}
        }
        for sql in statements {
            let mut step = self.step(sql, table);
            step.order.3 = 3;
            step.locks = self
                .has_rows(name)
                .then(|| "the partition is scanned while nobody can write to it".to_owned());
            self.push(step);
        }
    }

    fn add_column(&mut self, object: &Object, column: &Column, table: &str, inlined: &mut BTreeSet<Key>) {
        let mut line = format!("{} {}", column.name, column.definition());
        let default = self.wanted.shape.get(Kind::Default, &object.name);
        let statement = self.statement(object);
        let mut default_text = None;
        if let Some(default) = default.filter(|d| self.wanted.statement_of(d.oid) == statement) {
            line = with_default(column, &default.definition);
            default_text = Some(default.definition.clone());
            inlined.insert(default.key());
        }
        let mut step = self.step(format!("ALTER TABLE {table} ADD COLUMN {line}"), object);
        step.order.3 = 1;
        if self.has_rows(table) {
            let volatile = default_text
                .as_ref()
                .is_some_and(|d| d.contains('(') && !d.starts_with("now()"));
            if volatile || column.generated.is_some() || !column.identity.is_empty() {
                step.locks = Some("every row is written anew unless the default is constant".to_owned());
            }
            if column.not_null && default_text.is_none() && column.generated.is_none() && column.identity.is_empty() {
                step.note =
                    Some("fails if the table holds rows: give the column a DEFAULT, or drop NOT NULL first".to_owned());
            }
        }
        self.push(step);
    }

    fn alter_column(
        &mut self,
        object: &Object,
        column: &Column,
        had: &Column,
        table: &str,
        inlined: &mut BTreeSet<Key>,
    ) {
        let name = &column.name;
        let mut actions: Vec<String> = Vec::new();
        let mut loses = None;
        let mut locks = None;
        let retyped = column.ty != had.ty || column.collation != had.collation;
        if retyped {
            let wanted_default = self.wanted.shape.get(Kind::Default, &object.name);
            let had_default = self.actual.get(Kind::Default, &object.name);
            let reset = had_default.is_some()
                && !self.again.contains(&(Kind::Default, object.name.clone()))
                && !self.gone.contains(&(Kind::Default, object.name.clone()));
            if reset {
                actions.push(format!("ALTER COLUMN {name} DROP DEFAULT"));
            }
            let collate = column
                .collation
                .as_ref()
                .map(|c| format!(" COLLATE {c}"))
                .unwrap_or_default();
            let using = match conversion(&had.ty, &column.ty) {
                Conversion::Assignment => String::new(),
                Conversion::Cast => format!(" USING {name}::{}", column.ty),
            };
            actions.push(format!("ALTER COLUMN {name} TYPE {}{collate}{using}", column.ty));
            if let (true, Some(default)) = (reset, wanted_default) {
                actions.push(format!("ALTER COLUMN {name} SET DEFAULT {}", default.definition));
                inlined.insert(default.key());
            }
            loses = narrowing(&had.ty, &column.ty);
            let free = is_free(&had.ty, &column.ty) && column.collation == had.collation;
            if !free && self.has_rows(table) {
                locks = Some("the table and its indexes are written anew while nobody can use it".to_owned());
            }
        }
        if column.identity != had.identity || column.identity_options != had.identity_options {
            match (had.identity.as_str(), column.identity.as_str()) {
                ("", _) => {}
                (_, "") => actions.push(format!("ALTER COLUMN {name} DROP IDENTITY")),
                _ => {
                    let always = if column.identity == "a" { "ALWAYS" } else { "BY DEFAULT" };
                    let mut action = format!("ALTER COLUMN {name} SET GENERATED {always}");
                    if column.identity_options != had.identity_options {
                        action.push_str(&identity_changes(&column.identity_options));
                    }
                    actions.push(action);
                }
            }
        }
        if column.not_null != had.not_null {
            if column.not_null {
                actions.push(format!("ALTER COLUMN {name} SET NOT NULL"));
                if self.has_rows(table) && locks.is_none() {
                    locks = Some(
                        "every row is looked at while nobody can use the table; fails if one holds NULL".to_owned(),
                    );
                }
            } else {
                actions.push(format!("ALTER COLUMN {name} DROP NOT NULL"));
            }
        }
        if had.identity.is_empty() && !column.identity.is_empty() {
            let always = if column.identity == "a" { "ALWAYS" } else { "BY DEFAULT" };
            actions.push(format!(
                "ALTER COLUMN {name} ADD GENERATED {always} AS IDENTITY ({})",
                column.identity_options
            ));
        }
        if actions.is_empty() {
            return;
        }
        let mut step = self.step(format!("ALTER TABLE {table} {}", actions.join(", ")), object);
        step.order.3 = 1;
        step.loses_data = loses;
        step.locks = locks;
        self.push(step);
    }
}

fn with_default(column: &Column, default: &str) -> String {
    let definition = column.definition();
    match definition.strip_suffix(" NOT NULL") {
        Some(rest) => format!("{} {rest} DEFAULT {default} NOT NULL", column.name),
        None => format!("{} {definition} DEFAULT {default}", column.name),
    }
}

enum Conversion {
    /// The database converts as it would on INSERT: what does not fit is an error.
    Assignment,
    /// Only an explicit cast converts.
    Cast,
}

fn conversion(from: &str, to: &str) -> Conversion {
    let (a, b) = (base(from), base(to));
    let numbers = rank_of_number(from).is_some() && rank_of_number(to).is_some();
    match a == b || numbers || is_text(to) {
        true => Conversion::Assignment,
        false => Conversion::Cast,
    }
}

/// Whether a change of type touches the catalogue only.
fn is_free(from: &str, to: &str) -> bool {
    let (a, b) = (base(from), base(to));
    let texts = |t: &str| matches!(t, "text" | "character varying");
    let longer = match (modifiers(from).as_slice(), modifiers(to).as_slice()) {
        (_, []) => true,
        ([x], [y]) => y >= x,
        ([p, s], [q, t]) => s == t && q >= p,
        _ => false,
    };
    longer && ((texts(&a) && texts(&b)) || (a == b && matches!(a.as_str(), "numeric" | "bit varying")))
}

/// What sets every option of an identity column: those that are not said to what is the rule.
fn identity_changes(options: &str) -> String {
    let words: Vec<&str> = options.split(' ').collect();
    let after = |word: &str| {
        let at = words.iter().position(|w| *w == word)?;
        words.get(at + 1).copied()
    };
    let mut changes = String::new();
    for (option, word) in [("START WITH", "WITH"), ("INCREMENT BY", "BY")] {
        if let Some(number) = after(word) {
            changes.push_str(&format!(" SET {option} {number}"));
        }
    }
    for bound in ["MINVALUE", "MAXVALUE"] {
        match after(bound) {
            Some(number) => changes.push_str(&format!(" SET {bound} {number}")),
            None => changes.push_str(&format!(" SET NO {bound}")),
        }
    }
    let no = if words.contains(&"CYCLE") { "" } else { "NO " };
    changes.push_str(&format!(" SET {no}CYCLE"));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_changes_touch_no_row() {
        for (from, to, free) in [
            ("character varying(10)", "text", true),
            ("character varying(10)", "character varying(20)", true),
            ("character varying(20)", "character varying(10)", false),
            ("numeric(10,2)", "numeric(12,2)", true),
            ("numeric(10,2)", "numeric(12,3)", false),
            ("integer", "bigint", false),
        ] {
            assert_eq!(is_free(from, to), free, "{from} → {to}");
        }
    }
}
