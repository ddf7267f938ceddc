//! Rows for tables that are new: what the DDL itself brings, and `data/`.

use super::Diff;
use crate::migrate::plan::{Rows, Step, rank};
use crate::migrate::shape::{Detail, Kind};
use crate::migrate::source::StatementKind;
use crate::migrate::text::identifier;

impl Diff<'_> {
    pub(super) fn seeds(&mut self) {
        let wanted = self.wanted;
        for (at, (kind, name)) in &wanted.targets {
            let new =
                wanted.shape.get(*kind, name).is_some_and(|o| self.is_new(o)) || self.is_new_identity(*kind, name);
            let statement = &self.source.statements[*at];
            if !new || statement.kind != StatementKind::Rows {
                continue;
            }
            let mut step = Step::new(
                statement.text.clone(),
                *kind,
                name,
                (rank::DECLARE, wanted.position(*at), u32::MAX, 0),
            );
            step.object = format!("rows of {name}");
            step.place = Some(statement.span.clone());
            step.search_path = self.path_of(*at);
            step.rows = statement.data.clone().map(Rows::Text);
            self.push(step);
        }
        for seed in &self.source.seeds {
            let name: Vec<String> = seed.table.split('.').map(str::to_owned).collect();
            let matches = |table: &str| {
                let parts = super::super::text::parts(table);
                parts == name || (name.len() == 1 && parts.last() == name.first())
            };
            let Some(table) = wanted.shape.of(Kind::Table).find(|t| matches(&t.name)) else {
                continue;
            };
            if !self.is_new(table) {
                continue;
            }
            let columns: Vec<String> = seed.columns.iter().map(|c| identifier(c)).collect();
            let sql = format!(
                "COPY {} ({}) FROM STDIN WITH (FORMAT csv, HEADER, FORCE_NULL ({}))",
                table.name,
                columns.join(", "),
                columns.join(", ")
            );
            let depth = self.depth(&table.name, 0);
            let mut step = Step::new(sql, Kind::Table, &table.name, (rank::SEED, depth, table.oid, 0));
            step.object = format!("rows of {}", table.name);
            step.rows = Some(Rows::File(seed.path.clone()));
            self.push(step);
        }
    }

    /// `setval` of a column that numbers its rows itself: its sequence is a part of the column.
    fn is_new_identity(&self, kind: Kind, name: &str) -> bool {
        if kind != Kind::Sequence || self.wanted.shape.get(kind, name).is_some() {
            return false;
        }
        let tables = self.wanted.shape.of(Kind::Table);
        tables
            .into_iter()
            .any(|t| name.starts_with(&format!("{}_", t.name)) && self.is_new(t))
    }

    /// How many foreign keys lie between a table and one without any.
    fn depth(&self, table: &str, hops: usize) -> usize {
        if hops > 64 {
            return hops;
        }
        let keys = self
            .wanted
            .shape
            .parts(Kind::Constraint, table)
            .filter_map(|o| match &o.detail {
                Detail::Constraint {
                    target: Some(target), ..
                } if target != table => Some(target),
                _ => None,
            });
        keys.map(|target| 1 + self.depth(target, hops + 1)).max().unwrap_or(0)
    }
}
