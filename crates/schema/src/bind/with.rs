//! WITH: queries and data-modifying statements under a name, also recursive ones.

use super::coerce::{CastContext, same, shown};
use super::{At, Binder, Bound};
use crate::names::text;
use mainstay_model::{CommonTable, Select, SetOperation, Statement, Type};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// A member of WITH that can be referred to.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) id: u32,
    pub(super) columns: Vec<(Arc<str>, Type)>,
    /// Whether anything refers to it.
    pub(super) used: bool,
}

impl Binder<'_> {
    /// The members of a WITH; they stay visible until the caller takes them out of `common_tables`. `top` says whether the
    /// statement is the outermost one, whose members may write.
    pub(super) fn with_members(&mut self, clause: &ast::WithClause, top: bool) -> Bound<Vec<CommonTable>> {
        let recursive = clause.recursive_token().is_some();
        let mut members: Vec<CommonTable> = Vec::new();
        for table in clause.with_tables() {
            let at = At::of(table.syntax());
            let Some(name) = table.name().map(|n| text(&n)) else {
                return Err(self.problem(at, "WITH needs a name"));
            };
            if members.iter().any(|m| m.name == name) {
                return Err(self.problem(at, format!("WITH query name \"{name}\" specified more than once")));
            }
            if table.search_clause().is_some() || table.cycle_clause().is_some() {
                return Err(self
                    .refused(at, "SEARCH and CYCLE")
                    .help("carry the order or the path in a column of the query"));
            }
            let Some(query) = table.query() else {
                return Err(self.problem(at, "the query is missing"));
            };
            let names: Vec<Arc<str>> = table
                .column_list()
                .into_iter()
                .flat_map(|l| l.column_names())
                .map(|n| text(&n))
                .collect();
            let id = self.next_common_table;
            self.next_common_table += 1;
            let member = self.member(query.syntax(), name, names, id, recursive, top, at)?;
            let (name, columns) = (member.name.clone(), member.columns.clone());
            self.common_tables.push(Member {
                name,
                id,
                columns,
                used: false,
            });
            members.push(member);
        }
        Ok(members)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one WITH member, bound in one place"
    )]
    fn member(
        &mut self,
        node: &SyntaxNode,
        name: Arc<str>,
        names: Vec<Arc<str>>,
        id: u32,
        recursive: bool,
        top: bool,
        at: At,
    ) -> Bound<CommonTable> {
        let Some(variant) = ast::SelectVariant::cast(node.clone()) else {
            if !top {
                let message = "WITH clause containing a data-modifying statement must be at the top level";
                return Err(self.problem(at, message));
            }
            let statement = self.write(node)?;
            let columns = self.renamed(Self::statement_columns(&statement), &names, &name, at)?;
            return Ok(CommonTable {
                id,
                name,
                columns,
                statement,
                recursive: false,
            });
        };
        if recursive
            && let ast::SelectVariant::CompoundSelect(compound) = &variant
            && compound.tail_clauses().next().is_none()
        {
            return self.recursive_member(compound, name, names, id, at);
        }
        let select = self.query(&variant)?;
        let columns = self.renamed(Self::output_columns(&select), &names, &name, at)?;
        Ok(CommonTable {
            id,
            name,
            columns,
            statement: Statement::Select(Box::new(select)),
            recursive: false,
        })
    }

    /// `start UNION [ALL] step`, where the step may read the member itself.
    fn recursive_member(
        &mut self,
        compound: &ast::CompoundSelect,
        name: Arc<str>,
        names: Vec<Arc<str>>,
        id: u32,
        at: At,
    ) -> Bound<CommonTable> {
        let (Some(start), Some(step)) = (compound.lhs(), compound.rhs()) else {
            return Err(self.problem(at, "a set operation needs a query on each side"));
        };
        let (operation, word) = self.operation(compound, at)?;
        let (start_at, step_at) = (At::of(start.syntax()), At::of(step.syntax()));
        let start = self.query(&start)?;
        let columns = self.renamed(Self::output_columns(&start), &names, &name, at)?;
        let visible = self.common_tables.len();
        self.common_tables.push(Member {
            name: name.clone(),
            id,
            columns: columns.clone(),
            used: false,
        });
        let step = self.raw_query(&step, false);
        let used = self.common_tables.get(visible).is_some_and(|m| m.used);
        self.common_tables.truncate(visible);
        let mut step: Select = step?;
        if !used {
            let select = self.combine(operation, word, (start, start_at), (step, step_at))?;
            let columns = self.renamed(Self::output_columns(&select), &names, &name, at)?;
            return Ok(CommonTable {
                id,
                name,
                columns,
                statement: Statement::Select(Box::new(select)),
                recursive: false,
            });
        }
        if !matches!(operation, SetOperation::Union | SetOperation::UnionAll) {
            let message = format!(
                "recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term"
            );
            return Err(self.problem(at, message));
        }
        for (index, ((column, ty), (_, other))) in columns.iter().zip(Self::output_columns(&step)).enumerate() {
            let common = self.common_type([(ty, start_at), (&other, step_at)], word)?;
            let texts = common.is_text() && ty.is_text();
            if !texts && !same(&common, ty) {
                let (first, overall) = (shown(ty), shown(&common));
                let position = index + 1;
                let message = format!(
                    "recursive query \"{name}\" column {position} has type {first} in non-recursive term but type {overall} overall"
                );
                let problem = self.problem(at, message);
                return Err(problem.help(format!("cast `{column}` of the non-recursive term to {overall}")));
            }
            self.coerce_output(&mut step, index, ty, step_at, CastContext::Implicit)?;
        }
        if !step.order.is_empty() || step.limit.is_some() || step.offset.is_some() {
            return Err(self.refused(step_at, "ORDER BY, LIMIT or OFFSET in a recursive query"));
        }
        let select = self.combine(operation, word, (start, start_at), (step, step_at))?;
        Ok(CommonTable {
            id,
            name,
            columns,
            statement: Statement::Select(Box::new(select)),
            recursive: true,
        })
    }

    /// Columns under the names that were given to them.
    fn renamed(
        &self,
        mut columns: Vec<(Arc<str>, Type)>,
        names: &[Arc<str>],
        table: &str,
        at: At,
    ) -> Bound<Vec<(Arc<str>, Type)>> {
        if names.len() > columns.len() {
            let (available, specified) = (columns.len(), names.len());
            let message =
                format!("WITH query \"{table}\" has {available} columns available but {specified} columns specified");
            return Err(self.problem(at, message));
        }
        for ((column, _), name) in columns.iter_mut().zip(names) {
            *column = name.clone();
        }
        Ok(columns)
    }
}
