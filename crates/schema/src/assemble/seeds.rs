//! The rows that files bring, in text form, in the order in which they were written.

use super::Assembly;
use super::constants::{Constant, evaluate};
use crate::catalog::{DraftSeed, SeedRows};
use crate::preprocess::copy_fields;
use crate::{Problem, Seed};
use mainstay_model::{RelationId, Span, Type};
use squawk_syntax::ast::{self, AstNode};

fn mismatch(values: usize, columns: usize) -> String {
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    format!(
        "the row has {values} value{} for {columns} column{}",
        plural(values),
        plural(columns)
    )
}

/// One row: which columns are given, and their values.
type Row = (Vec<u32>, Vec<Option<String>>);

impl Assembly {
    pub(super) fn collect_seeds(&mut self) {
        for draft in std::mem::take(&mut self.catalog.seeds) {
            // Rows of a partition are its table's.
            let mut table = draft.relation;
            let mut hops = 0;
            while let Some(parent) = self
                .catalog
                .table(table)
                .and_then(|t| t.partition_of)
                .filter(|_| hops < 64)
            {
                table = parent;
                hops += 1;
            }
            let Some(id) = self.relations[table] else { continue };
            let Some(columns) = self.seed_columns(&draft, id) else {
                continue;
            };
            self.at(&draft.place);
            for (columns, row) in self.seed_rows(&draft, id, &columns) {
                self.add_row(id, columns, row, &draft.span);
            }
        }
    }

    /// Rows of one table that name the same columns and follow one another are one seed.
    fn add_row(&mut self, relation: RelationId, columns: Vec<u32>, row: Vec<Option<String>>, span: &Span) {
        match self.seeds.last_mut() {
            Some(last) if last.relation == relation && last.columns == columns => last.rows.push(row),
            _ => self.seeds.push(Seed {
                relation,
                columns,
                rows: vec![row],
                span: span.clone(),
            }),
        }
    }

    /// The columns that a statement names; without names, all in order (of COPY: all that are not generated).
    fn seed_columns(&mut self, draft: &DraftSeed, id: RelationId) -> Option<Vec<u32>> {
        let relation = self.schema.relation(id);
        let Some(written) = &draft.columns else {
            let copy = matches!(draft.rows, SeedRows::Copy(..));
            let given = relation
                .columns
                .iter()
                .enumerate()
                .filter(|(_, c)| !copy || c.generated.is_none());
            return Some(given.map(|(i, _)| i as u32).collect());
        };
        let mut columns = Vec::new();
        for (name, span) in written {
            let problem = match relation.column(name) {
                Some(column) if columns.contains(&column) => {
                    Problem::error(span.clone(), format!("the column `{name}` is named twice"))
                        .help("name each column once")
                }
                Some(column) if relation.columns[column as usize].generated.is_some() => {
                    Problem::error(span.clone(), format!("`{name}` is generated: it takes no value"))
                        .help("leave it out")
                }
                Some(column) => {
                    columns.push(column);
                    continue;
                }
                None => Problem::error(
                    span.clone(),
                    format!("there is no column `{name}` in `{}`", relation.name),
                )
                .did_you_mean(name, relation.columns.iter().map(|c| &*c.name)),
            };
            self.problem(problem);
            return None;
        }
        Some(columns)
    }

    fn seed_rows(&mut self, draft: &DraftSeed, id: RelationId, columns: &[u32]) -> Vec<Row> {
        match &draft.rows {
            SeedRows::Copy(range, delimiter, null) => self.copy_rows(draft, range.clone(), *delimiter, null, columns),
            SeedRows::Values(rows) => {
                let mut built = Vec::new();
                for row in rows {
                    let exprs: Vec<ast::Expr> = row.exprs().collect();
                    built.extend(self.constant_row(draft, id, columns, &exprs, row));
                }
                built
            }
            SeedRows::Select(node) => {
                let Some(select) = ast::Select::cast(node.clone()) else {
                    return Vec::new();
                };
                let targets = select
                    .select_clause()
                    .and_then(|c| c.target_list())
                    .into_iter()
                    .flat_map(|l| l.targets());
                let exprs: Vec<ast::Expr> = targets.filter_map(|t| t.expr()).collect();
                self.constant_row(draft, id, columns, &exprs, &select)
                    .into_iter()
                    .collect()
            }
            SeedRows::Defaults => vec![(Vec::new(), Vec::new())],
        }
    }

    fn constant_row(
        &mut self,
        draft: &DraftSeed,
        id: RelationId,
        columns: &[u32],
        exprs: &[ast::Expr],
        at: &impl AstNode,
    ) -> Option<Row> {
        let source = self.catalog.source(&draft.place).clone();
        // Without names, a row may stop early: the rest takes defaults.
        let fits = if draft.columns.is_some() {
            exprs.len() == columns.len()
        } else {
            exprs.len() <= columns.len()
        };
        if !fits {
            let problem = source.error_at(at, mismatch(exprs.len(), columns.len()));
            self.problem(problem.help("give each column one value, or DEFAULT"));
            return None;
        }
        let (mut given, mut values) = (Vec::new(), Vec::new());
        for (expr, &column) in exprs.iter().zip(columns) {
            let column_type: Type = self.schema.relation(id).columns[column as usize].ty.clone();
            let evaluated = evaluate(expr, &column_type, &source);
            match self.ok(evaluated)? {
                Constant::Default => {}
                Constant::Null => {
                    given.push(column);
                    values.push(None);
                }
                Constant::Text(text) => {
                    if self.schema.relation(id).columns[column as usize].generated.is_some() {
                        let problem = source.error_at(expr, "this column is generated: it takes no value");
                        self.problem(problem.help("write DEFAULT, or name the columns"));
                        return None;
                    }
                    given.push(column);
                    values.push(Some(text));
                }
            }
        }
        Some((given, values))
    }

    fn copy_rows(
        &mut self,
        draft: &DraftSeed,
        range: std::ops::Range<usize>,
        delimiter: char,
        null: &str,
        columns: &[u32],
    ) -> Vec<Row> {
        let file = &self.catalog.files[draft.place.file];
        let source = file.source.clone();
        let data = file.original.get(range.clone()).unwrap_or_default();
        let mut rows = Vec::new();
        let mut problem = None;
        let mut start = range.start;
        for line in data.split_inclusive('\n') {
            let text = line.strip_suffix('\n').unwrap_or(line);
            let text = text.strip_suffix('\r').unwrap_or(text);
            let fields = copy_fields(text, delimiter, null);
            if fields.len() == columns.len() {
                rows.push((columns.to_vec(), fields));
            } else if columns.is_empty() && text.is_empty() {
                rows.push((Vec::new(), Vec::new()));
            } else {
                let span = source.span(start..start + text.len());
                let message = mismatch(fields.len(), columns.len());
                problem
                    .get_or_insert(Problem::error(span, message).help("columns are divided by tabs, and NULL is \\N"));
            }
            start += line.len();
        }
        self.problems.extend(problem);
        rows
    }
}
