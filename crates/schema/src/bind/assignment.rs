//! SET and ON CONFLICT: what a row that exists becomes.

use super::scope::{Clause, Scope};
use super::syntax::expressions;
use super::write::{Target, is_default};
use super::{At, Binder, Bound};
use crate::names::{Name, text};
use mainstay_model::{Conflict, Expr, ExprKind, IdentityColumn, SourceId};
use squawk_syntax::ast::{self, AstNode};

impl Binder<'_> {
    pub(super) fn conflict(
        &mut self,
        target: &Target,
        clause: &ast::OnConflictClause,
        own: super::scope::Item,
    ) -> Bound<Conflict> {
        let at = At::of(clause.syntax());
        let columns = match clause.conflict_target() {
            Some(ast::ConflictTarget::ConflictOnConstraint(constraint)) => {
                let name = constraint.constraint_name_ref().and_then(|n| Name::of(&n));
                let name = name.map(|n| n.name).unwrap_or_default();
                self.constraint_columns(target, &name, At::of(constraint.syntax()))?
            }
            Some(ast::ConflictTarget::ConflictOnIndex(index)) => {
                let mut columns = Vec::new();
                for item in index
                    .conflict_index_item_list()
                    .into_iter()
                    .flat_map(|l| l.conflict_index_items())
                {
                    let Some(ast::Expr::NameRef(name)) = item.expr() else {
                        let problem = self.refused(At::of(item.syntax()), "ON CONFLICT on an expression");
                        return Err(problem.help("name the columns of a unique constraint"));
                    };
                    columns.push(self.column(target, &text(&name), At::of(name.syntax()))?);
                }
                if !self.is_unique(target, &columns) {
                    let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                    let problem = self.problem(At::of(index.syntax()), message);
                    return Err(problem.help("name the columns of a PRIMARY KEY or UNIQUE constraint, all of them"));
                }
                columns
            }
            None => Vec::new(),
        };
        let (set, filter) = match clause.conflict_action() {
            Some(ast::ConflictAction::ConflictDoNothing(_)) => (Vec::new(), None),
            Some(ast::ConflictAction::ConflictDoUpdateSet(update)) => {
                if columns.is_empty() {
                    let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                    return Err(self.problem(at, message).help("for example, ON CONFLICT (column_name)"));
                }
                let mut excluded = self.relation_item(target.relation, Some("excluded".into()), SourceId::EXCLUDED);
                // A bare name means the row that is there.
                excluded.by_column = false;
                self.scopes.push(Scope::of(vec![own, excluded], Clause::Conflict));
                let set = self.set_clause(target, update.set_clause(), At::of(update.syntax()))?;
                let filter = update.where_clause().map(|w| self.where_clause(&w)).transpose()?;
                self.scopes.pop();
                (set, filter)
            }
            _ => return Err(self.refused(at, "this action of ON CONFLICT")),
        };
        Ok(Conflict {
            target: columns,
            set,
            filter,
        })
    }

    pub(super) fn constraint_columns(&self, target: &Target, name: &str, at: At) -> Bound<Vec<u32>> {
        let relation = self.schema.relation(target.relation);
        if let Some(table) = relation.table() {
            if table.primary_key_name.as_deref() == Some(name) {
                return Ok(table.primary_key.clone());
            }
            if let Some(unique) = table.uniques.iter().find(|u| &*u.name == name) {
                return Ok(unique.columns.clone());
            }
        }
        let problem = self.problem(
            at,
            format!("constraint \"{name}\" for table \"{}\" does not exist", target.name),
        );
        let known = relation
            .table()
            .into_iter()
            .flat_map(|t| t.uniques.iter().map(|u| &*u.name).chain(t.primary_key_name.as_deref()));
        Err(problem.did_you_mean(name, known))
    }

    /// Whether a constraint or an index makes exactly these columns unique.
    pub(super) fn is_unique(&self, target: &Target, columns: &[u32]) -> bool {
        let relation = self.schema.relation(target.relation);
        let Some(table) = relation.table() else {
            // A view's constraints are those of the table under it.
            let Some(view) = relation.view() else { return false };
            let base: Option<Vec<u32>> = columns
                .iter()
                .map(|c| match view.origins.get(*c as usize) {
                    Some(Some((table, column))) if Some(*table) == view.updatable => Some(*column),
                    _ => None,
                })
                .collect();
            return match (base, view.updatable) {
                (Some(columns), Some(relation)) => self.is_unique(
                    &Target {
                        relation,
                        name: target.name.clone(),
                        alias: None,
                    },
                    &columns,
                ),
                _ => false,
            };
        };
        let equal = |other: &[u32]| {
            !other.is_empty() && other.iter().all(|c| columns.contains(c)) && columns.iter().all(|c| other.contains(c))
        };
        let index = |index: &mainstay_model::Index| {
            let keys = index.keys.iter().map(|key| match &key.expr.kind {
                ExprKind::Column(column) => Some(column.column),
                _ => None,
            });
            let keys: Option<Vec<u32>> = keys.collect();
            index.unique && index.filter.is_none() && keys.is_some_and(|keys| equal(&keys))
        };
        equal(&table.primary_key) || table.uniques.iter().any(|u| equal(&u.columns)) || table.indexes.iter().any(index)
    }

    pub(super) fn set_clause(
        &mut self,
        target: &Target,
        clause: Option<ast::SetClause>,
        at: At,
    ) -> Bound<Vec<(u32, Expr)>> {
        let mut set: Vec<(u32, Expr)> = Vec::new();
        let columns = clause
            .and_then(|c| c.set_column_list())
            .into_iter()
            .flat_map(|l| l.set_columns());
        for assignment in columns {
            let place = At::of(assignment.syntax());
            let added = match &assignment {
                ast::SetColumn::SetSingleColumn(single) => {
                    let Some(column) = single.column_target() else {
                        return Err(self.problem(place, "a column is missing in SET"));
                    };
                    let column = self.target_column(target, &column)?;
                    match single.set_expr() {
                        Some(expr) => self.set_value(target, column, &expr)?.into_iter().collect(),
                        None => return Err(self.problem(place, "a value is missing in SET")),
                    }
                }
                ast::SetColumn::SetMultipleColumns(multiple) => self.set_multiple(target, multiple, place)?,
            };
            for (column, value) in added {
                if set.iter().any(|(c, _)| *c == column) {
                    let name = &self.declared(target, column).name;
                    return Err(self.problem(place, format!("multiple assignments to same column \"{name}\"")));
                }
                set.push((column, value));
            }
        }
        if set.is_empty() {
            // Generated columns alone, set to their default: every row is written as it is.
            let columns = &self.schema.relation(target.relation).columns;
            let Some(kept) = columns
                .iter()
                .position(|c| c.generated.is_none() && c.identity.is_none())
            else {
                return Err(self.problem(at, "SET assigns nothing"));
            };
            set.push((kept as u32, Expr::column(kept as u32, columns[kept].ty.clone())));
        }
        Ok(set)
    }

    /// `column = value|DEFAULT`; nothing for a generated column that is set to its default.
    pub(super) fn set_value(
        &mut self,
        target: &Target,
        column: u32,
        value: &ast::SetExpr,
    ) -> Bound<Option<(u32, Expr)>> {
        let at = At::of(value.syntax());
        let expr = expressions(value.syntax()).into_iter().next();
        let default = value.default_token().is_some() || expr.as_ref().is_some_and(is_default);
        self.check_settable(target, column, default, at)?;
        if default {
            if self.declared(target, column).generated.is_some() {
                return Ok(None);
            }
            return Ok(Some((column, self.default_of(target, column, at)?)));
        }
        let Some(expr) = expr else {
            return Err(self.problem(at, "a value is missing in SET"));
        };
        let bound = self.expr(&expr)?;
        Ok(Some((column, self.assigned(target, column, bound, at)?)))
    }

    pub(super) fn check_settable(&self, target: &Target, column: u32, default: bool, at: At) -> Bound<()> {
        let declared = self.declared(target, column);
        let fixed = declared.generated.is_some() || declared.identity == Some(IdentityColumn::Always);
        if fixed && !default {
            let kind = if declared.generated.is_some() {
                "a generated column"
            } else {
                "an identity column, GENERATED ALWAYS"
            };
            let problem = self.problem(
                at,
                format!("column \"{}\" can only be updated to DEFAULT", declared.name),
            );
            return Err(problem.help(format!("it is {kind}")));
        }
        Ok(())
    }

    /// `(a, b) = (1, 2)` and `(a, b) = (SELECT x, y …)`.
    pub(super) fn set_multiple(
        &mut self,
        target: &Target,
        multiple: &ast::SetMultipleColumns,
        at: At,
    ) -> Bound<Vec<(u32, Expr)>> {
        let columns = match multiple.column_target_list() {
            Some(list) => self.columns(target, &list)?,
            None => Vec::new(),
        };
        let mismatch = "number of columns does not match number of values";
        let mut set = Vec::new();
        if let Some(list) = multiple.set_expr_list() {
            let values: Vec<ast::SetExpr> = list.set_exprs().collect();
            if values.len() != columns.len() {
                return Err(self.problem(at, mismatch));
            }
            for (column, value) in columns.iter().zip(&values) {
                set.extend(self.set_value(target, *column, value)?);
            }
            return Ok(set);
        }
        let Some(select) = multiple.paren_select() else {
            return Err(self.problem(at, "a value is missing in SET"));
        };
        let variant = ast::SelectVariant::ParenSelect(select);
        for (index, column) in columns.iter().enumerate() {
            // Each column takes its value from a query of its own, so that sources stay unique.
            let query = self.query(&variant)?;
            let outputs = Self::output_columns(&query);
            if outputs.len() != columns.len() {
                return Err(self.problem(at, mismatch));
            }
            self.check_settable(target, *column, false, at)?;
            let plain = query.values.is_empty() && query.set_operation.is_none() && !query.distinct;
            let mut query = if plain { query } else { self.wrap(query)?.0 };
            query.projection = vec![query.projection.swap_remove(index)];
            let value = Expr::new(ExprKind::Scalar(Box::new(query)), outputs[index].1.clone());
            set.push((*column, self.assigned(target, *column, value, at)?));
        }
        Ok(set)
    }
}
