//! What is there against what is wanted, object by object: this file decides what is dropped, what is made again because something
//! beneath it changes, and in which order; the files beside it know how each kind of object is changed.

mod parts;
mod privilege;
mod routine;
mod seed;
mod table;
mod types;

use super::plan::{Order, Plan, Step, rank};
use super::records::{Records, key as record_key};
use super::shape::{Detail, Key, Kind, Object, Shape};
use super::source::{Source, Statement, StatementKind};
use super::wanted::{Wanted, create_role, line_of, unless_made};
use mainstay_model::Span;
use std::collections::{BTreeMap, BTreeSet};

/// What a plan is made from.
pub(crate) struct Diff<'d> {
    pub(crate) source: &'d Source,
    pub(crate) wanted: &'d Wanted,
    pub(crate) actual: &'d Shape,
    pub(crate) records: &'d Records,
    /// A table above this size is worked on while others use it.
    pub(crate) big_bytes: i64,
    /// To be made again because something beneath them changes, or because they cannot be changed in place.
    again: BTreeSet<Key>,
    /// To be dropped for good.
    gone: BTreeSet<Key>,
    /// Defaults and constraints that a CREATE TABLE or ADD COLUMN brings along.
    inlined: BTreeSet<Key>,
    plan: Plan,
}

/// Statements that are run once, each with what it is recorded as.
pub(crate) fn once(source: &Source) -> impl Iterator<Item = (String, &Statement)> {
    let statements = source.statements.iter().filter(|s| s.kind == StatementKind::Once);
    statements.map(|s| (s.text.split_whitespace().collect::<Vec<_>>().join(" "), s))
}

impl<'d> Diff<'d> {
    pub(crate) fn new(
        source: &'d Source,
        wanted: &'d Wanted,
        actual: &'d Shape,
        records: &'d Records,
        big_bytes: i64,
    ) -> Diff<'d> {
        Diff {
            source,
            wanted,
            actual,
            records,
            big_bytes,
            again: BTreeSet::new(),
            gone: BTreeSet::new(),
            inlined: BTreeSet::new(),
            plan: Plan::default(),
        }
    }

    /// The plan.
    pub(crate) fn plan(mut self) -> Plan {
        self.abandon();
        self.replace();
        self.spread();
        self.roles();
        self.drops();
        self.schemas();
        self.types();
        self.tables();
        self.parts();
        self.routines();
        self.once();
        self.seeds();
        self.privileges();
        self.comments();
        let mut plan = self.plan;
        plan.digest = self.source.digest();
        plan.steps.sort_by_key(|s| (s.phase, s.order));
        // What must be committed first is only set apart when something else follows.
        if plan.steps.iter().all(|s| s.phase == super::plan::Phase::Before) && plan.steps.len() == 1 {
            plan.steps[0].phase = super::plan::Phase::Main;
        }
        plan
    }

    fn push(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    /// A step about an object that is wanted.
    fn step(&self, sql: impl Into<String>, object: &Object) -> Step {
        let mut step = Step::new(sql, object.kind, &object.name, self.order(object));
        step.place = self.place(object);
        step.note = self.drift(object);
        step
    }

    /// Where an object stands in the order of declarations.
    fn order(&self, object: &Object) -> Order {
        let statement = self.statement(object);
        (rank::DECLARE, self.wanted.position(statement), object.oid, 0)
    }

    /// The statement that declares an object.
    fn statement(&self, object: &Object) -> usize {
        match (&object.detail, &object.table) {
            (Detail::Column(column), Some(table)) => {
                self.wanted
                    .column_statement(self.source, table, object.oid, &bare(&column.name))
            }
            _ => self.wanted.statement_of(object.oid),
        }
    }

    fn place(&self, object: &Object) -> Option<Span> {
        let statement = self.source.statements.get(self.statement(object))?;
        Some(match (object.kind, &object.detail) {
            (Kind::Column, Detail::Column(column)) => line_of(statement, &column.name),
            (Kind::Default, _) => line_of(statement, &bare(object.name.rsplit('.').next().unwrap_or_default())),
            (Kind::Constraint, Detail::Constraint { name, .. }) => line_of(statement, name),
            _ => statement.span.clone(),
        })
    }

    /// Whether somebody changed an object by hand, in words.
    fn drift(&self, object: &Object) -> Option<String> {
        let record = self.records.get(&record_key(&object.key()))?;
        let Some(there) = self.actual.objects.get(&object.key()) else {
            return Some("it was dropped by hand since the last migration".to_owned());
        };
        (record.definition != there.definition && record.wanted == object.definition).then(|| {
            format!(
                "it was changed by hand since the last migration, from\n--   {}\n-- to\n--   {}",
                record.definition.replace('\n', "\n--   "),
                there.definition.replace('\n', "\n--   ")
            )
        })
    }

    /// Whether an object is as it should be.
    fn same(&self, wanted: &Object, there: &Object) -> bool {
        wanted.definition == there.definition
            || self
                .records
                .get(&record_key(&wanted.key()))
                .is_some_and(|r| r.wanted == wanted.definition && r.definition == there.definition)
    }

    /// Whether an object must be made: it is missing, or was dropped above.
    fn is_new(&self, object: &Object) -> bool {
        let key = object.key();
        !self.actual.objects.contains_key(&key)
            || self.again.contains(&key)
            || object.table.as_ref().is_some_and(|t| {
                [Kind::View, Kind::MaterializedView]
                    .iter()
                    .any(|k| self.again.contains(&(*k, t.clone())))
            })
    }

    /// What is there, was ours, and is wanted no more.
    fn abandon(&mut self) {
        let mut left_alone: BTreeMap<String, usize> = BTreeMap::new();
        for (key, object) in &self.actual.objects {
            if self.wanted.shape.objects.contains_key(key) || self.wanted.internal.contains(key) {
                continue;
            }
            let of_view = matches!(&object.detail, Detail::Column(c) if c.of_view);
            if object.kind == Kind::Extension || of_view {
                continue;
            }
            // A default is a property of its column.
            if object.kind == Kind::Default {
                if self.wanted.shape.get(Kind::Column, &object.name).is_some() {
                    self.gone.insert(key.clone());
                }
                continue;
            }
            let record = self.records.get(&record_key(key));
            let ours = match record {
                Some(record) => record.made || !(object.kind.holds_data() || object.kind == Kind::Type),
                None => self.replaced_constraint(object),
            };
            if ours && object.kind != Kind::Schema {
                self.gone.insert(key.clone());
                continue;
            }
            let table_wanted = object
                .table
                .as_ref()
                .is_none_or(|t| self.wanted.shape.get(Kind::Table, t).is_some());
            if table_wanted && object.kind != Kind::Schema {
                *left_alone.entry(object.shown()).or_default() += 1;
            }
        }
        for name in left_alone.into_keys() {
            self.plan.notes.push(format!(
                "{name} is not in schema.sql and was not made by it: it is left alone"
            ));
        }
    }

    /// A primary key stands in the way of another one.
    fn replaced_constraint(&self, object: &Object) -> bool {
        let Detail::Constraint { kind: 'p', .. } = object.detail else {
            return false;
        };
        let table = object.table.as_deref().unwrap_or_default();
        let mut others = self.wanted.shape.parts(Kind::Constraint, table);
        others.any(|o| matches!(o.detail, Detail::Constraint { kind: 'p', .. }) && o.definition != object.definition)
    }

    /// What is different and cannot be changed in place.
    fn replace(&mut self) {
        for (key, wanted) in &self.wanted.shape.objects {
            let Some(there) = self.actual.objects.get(key) else {
                continue;
            };
            let invalid = matches!(there.detail, Detail::Index { valid: false, .. })
                && matches!(wanted.detail, Detail::Index { valid: true, .. });
            if self.same(wanted, there) && !invalid {
                continue;
            }
            let in_place = match (&wanted.detail, &there.detail) {
                (Detail::View { columns, .. }, Detail::View { columns: had, .. }) => {
                    wanted.kind == Kind::View && columns.starts_with(had)
                }
                (Detail::Function { signature, .. }, Detail::Function { signature: had, .. }) => signature == had,
                _ => !matches!(
                    wanted.kind,
                    Kind::Rule | Kind::Trigger | Kind::Policy | Kind::Index | Kind::Constraint
                ),
            };
            if !in_place {
                self.again.insert(key.clone());
            }
        }
    }

    /// What depends on something that is dropped, made again or changes its type is made again as well.
    fn spread(&mut self) {
        let mut disturbed: Vec<(Key, Option<i32>)> = self
            .again
            .iter()
            .chain(&self.gone)
            .filter(|(kind, _)| !matches!(kind, Kind::Column | Kind::Default))
            .map(|key| (key.clone(), None))
            .collect();
        for (table, number) in self.changed_columns() {
            disturbed.push(((Kind::Table, table), Some(number)));
        }
        while let Some((needed, column)) = disturbed.pop() {
            let dependents: Vec<Key> = self
                .actual
                .dependencies
                .iter()
                .filter(|(_, n, c)| *n == needed && column.is_none_or(|number| number == *c))
                .map(|(dependent, _, _)| dependent.clone())
                .collect();
            for dependent in dependents {
                if self.again.contains(&dependent) || self.gone.contains(&dependent) {
                    continue;
                }
                let Some(object) = self.actual.objects.get(&dependent) else {
                    continue;
                };
                let own = object.table.as_deref() == Some(needed.1.as_str());
                match dependent.0 {
                    Kind::Rule
                    | Kind::Trigger
                    | Kind::Policy
                    | Kind::View
                    | Kind::MaterializedView
                    | Kind::Function => {}
                    // The database sees to what belongs to a changed column.
                    Kind::Index | Kind::Constraint if needed.0 == Kind::Table && (own || column.is_some()) => continue,
                    Kind::Default if needed.0 == Kind::Table => continue,
                    Kind::Index | Kind::Constraint | Kind::Default => {}
                    _ => continue,
                }
                // What belongs to a table that goes, goes with it.
                if object
                    .table
                    .as_ref()
                    .is_some_and(|t| self.gone.contains(&(Kind::Table, t.clone())))
                {
                    continue;
                }
                if !self.wanted.shape.objects.contains_key(&dependent) {
                    if self.wanted.internal.contains(&dependent) {
                        continue;
                    }
                    self.plan.problems.push(format!(
                        "{} depends on {} {}, which changes, and is not in schema.sql: declare it there, or drop it",
                        object.shown(),
                        needed.0.word(),
                        needed.1
                    ));
                    continue;
                }
                self.again.insert(dependent.clone());
                disturbed.push((dependent, None));
            }
        }
    }

    fn roles(&mut self) {
        let missing = self.wanted.role_statements.iter();
        let steps: Vec<Step> = missing
            .map(|at| {
                let statement = &self.source.statements[*at];
                let mut step = Step::new(unless_made(&statement.text), Kind::Schema, "", (rank::ROLE, *at, 0, 0));
                step.object = format!("role {}", statement.object.clone().unwrap_or_default());
                step.place = Some(statement.span.clone());
                step
            })
            .collect();
        self.plan.steps.extend(steps);
        for role in &self.wanted.roles {
            let mut step = Step::new(create_role(role), Kind::Schema, "", (rank::ROLE, usize::MAX, 0, 0));
            step.object = format!("role {role}");
            let named = self.source.statements.iter().find(|s| s.roles.contains(role));
            step.place = named.map(|s| s.span.clone());
            step.note = Some("named by GRANT or a policy, and not there".to_owned());
            self.plan.steps.push(step);
        }
    }

    fn schemas(&mut self) {
        for at in &self.wanted.extensions {
            let statement = &self.source.statements[*at];
            let name = statement.object.clone().unwrap_or_default();
            let mut step = Step::new(
                statement.text.clone(),
                Kind::Extension,
                &name,
                (rank::DECLARE, self.wanted.position(*at), 0, 0),
            );
            step.place = Some(statement.span.clone());
            step.search_path = self.path_of(*at);
            self.plan.steps.push(step);
        }
        for schema in self.wanted.shape.of(Kind::Schema) {
            if self.actual.get(Kind::Schema, &schema.name).is_none() {
                let mut step = self.step(schema.create.clone(), schema);
                step.order.0 = rank::SCHEMA;
                self.plan.steps.push(step);
            }
        }
    }

    /// Drops, dependents first.
    fn drops(&mut self) {
        let mut done: BTreeSet<Key> = BTreeSet::new();
        let mut ordered: Vec<Key> = Vec::new();
        let all: Vec<Key> = self.again.iter().chain(&self.gone).cloned().collect();
        for key in all {
            self.visit(&key, &mut done, &mut ordered);
        }
        let doomed = |table: &Option<String>| {
            table.as_ref().is_some_and(|t| {
                [Kind::Table, Kind::View, Kind::MaterializedView].iter().any(|kind| {
                    let key = (*kind, t.clone());
                    self.gone.contains(&key) || self.again.contains(&key)
                })
            })
        };
        let mut steps = Vec::new();
        let mut tables: Vec<&Object> = Vec::new();
        for (at, key) in ordered.iter().enumerate() {
            let Some(object) = self.actual.objects.get(key) else {
                continue;
            };
            let table = object.table.clone().unwrap_or_default();
            let foreign =
                matches!(&object.detail, Detail::Constraint { kind: 'f', target: Some(t), .. } if *t != table);
            if doomed(&object.table) && !foreign {
                continue;
            }
            let drop = match &object.detail {
                _ if object.kind == Kind::Table => {
                    tables.push(object);
                    continue;
                }
                Detail::Constraint { name, .. } => format!("ALTER TABLE {table} DROP CONSTRAINT {name}"),
                Detail::Column(column) => format!("ALTER TABLE {table} DROP COLUMN {}", column.name),
                _ if object.kind == Kind::Default => {
                    let column = object.name.strip_prefix(&format!("{table}.")).unwrap_or_default();
                    format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT")
                }
                _ => format!("DROP {}", object.subject),
            };
            // It went with its column.
            if let Detail::Sequence { owner: Some(owner) } = &object.detail
                && (self.gone.contains(&(Kind::Column, owner.clone()))
                    || owner
                        .rsplit_once('.')
                        .is_some_and(|(table, _)| doomed(&Some(table.to_owned()))))
            {
                continue;
            }
            let position = match object.kind {
                Kind::Column => rank::DROP_DATA,
                // Behind what a table that goes takes along, unless it is about such a table.
                Kind::Function if self.gone.contains(key) && !self.needs_gone_table(key) => rank::DROP_TYPE,
                Kind::Sequence | Kind::Type => rank::DROP_TYPE,
                _ => rank::DROP_PART,
            };
            let mut step = Step::new(drop, object.kind, &object.name, (position, at, 0, 0));
            if self.gone.contains(key) {
                step.loses_data = match object.kind {
                    Kind::Column => Some("the column's values".to_owned()),
                    Kind::Sequence => Some("the number the sequence has come to".to_owned()),
                    _ => None,
                };
                if object.kind != Kind::Default {
                    step.note = Some("schema.sql no longer has it".to_owned());
                }
            } else if let Some(wanted) = self.wanted.shape.objects.get(key) {
                step.place = self.place(wanted);
                step.note = match self.same(wanted, object) {
                    true => Some("made again below: what it depends on changes".to_owned()),
                    false => self.drift(wanted),
                };
            }
            // A generated column's values are computed again.
            if let Detail::Column(column) = &object.detail
                && (self.again.contains(key) || column.generated.is_some())
            {
                step.loses_data = None;
            }
            steps.push(step);
        }
        if !tables.is_empty() {
            let names: Vec<&str> = tables.iter().map(|t| t.name.as_str()).collect();
            let names = names.join(", ");
            let mut step = Step::new(
                format!("DROP TABLE {names}"),
                Kind::Table,
                &names,
                (rank::DROP_DATA, usize::MAX, 0, 0),
            );
            step.loses_data = Some("every row".to_owned());
            step.note = Some("schema.sql no longer has it".to_owned());
            steps.push(step);
        }
        self.plan.steps.extend(steps);
    }

    fn needs_gone_table(&self, key: &Key) -> bool {
        let mut needed = self.actual.dependencies.iter().filter(|(d, _, _)| d == key);
        needed.any(|(_, n, _)| n.0 == Kind::Table && self.gone.contains(n))
    }

    fn visit(&self, key: &Key, done: &mut BTreeSet<Key>, ordered: &mut Vec<Key>) {
        if !done.insert(key.clone()) {
            return;
        }
        for (dependent, needed, _) in &self.actual.dependencies {
            if needed == key && (self.again.contains(dependent) || self.gone.contains(dependent)) {
                self.visit(dependent, done, ordered);
            }
        }
        ordered.push(key.clone());
    }

    /// What is told apart by its text alone.
    fn once(&mut self) {
        for (at, statement) in self.source.statements.iter().enumerate() {
            if statement.kind != StatementKind::Once {
                continue;
            }
            let name = statement.text.split_whitespace().collect::<Vec<_>>().join(" ");
            if self.records.contains_key(&("statement".to_owned(), name.clone())) {
                continue;
            }
            let words: Vec<&str> = name.split(' ').take(3).collect();
            let mut step = Step::new(
                statement.text.clone(),
                Kind::Schema,
                "",
                (rank::DECLARE, self.wanted.position(at), u32::MAX, 0),
            );
            step.object = format!("statement {}", words.join(" "));
            step.place = Some(statement.span.clone());
            step.note = Some("compared by its text: it is run once".to_owned());
            step.search_path = self.path_of(at);
            self.plan.steps.push(step);
        }
    }

    /// The search path in force at a statement, if it is not the usual one.
    fn path_of(&self, statement: usize) -> Option<String> {
        let path = self.wanted.paths.get(statement)?;
        (path != super::wanted::SEARCH_PATH).then(|| path.clone())
    }

    /// Whether a table is there and too large to keep others waiting.
    fn is_big(&self, table: &str) -> bool {
        self.actual.table(table).is_some_and(|t| t.bytes > self.big_bytes)
    }

    /// Whether a table is there with rows in it.
    fn has_rows(&self, table: &str) -> bool {
        self.actual
            .table(table)
            .is_some_and(|t| t.bytes > 0 || t.partition_key.is_some())
    }
}

/// A quoted name without its quotes.
fn bare(name: &str) -> String {
    match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}
