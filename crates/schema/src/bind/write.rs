//! INSERT, UPDATE and DELETE: targets, assignments, conflicts and RETURNING.

use super::coerce::{CastContext, castable, shown};
use super::scope::{Clause, Scope};
use super::syntax::expressions;
use super::{At, Binder, Bound, null};
use crate::names::{Name, text};
use mainstay_model::{
    Column, Delete, Expr, IdentityColumn, Insert, Projected, RelationId, RelationKind, RelationRef, Select, SourceId,
    Statement, Update, Value,
};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode, LitKind};
use std::sync::Arc;

/// A relation that is written, under the name that the statement gives it.
pub(super) struct Target {
    pub(super) relation: RelationId,
    pub(super) name: Arc<str>,
    pub(super) alias: Option<Arc<str>>,
}

impl Binder<'_> {
    /// INSERT, UPDATE or DELETE. The row at hand is [`SourceId::SELF`]: of the innermost of nested ones.
    pub(super) fn write(&mut self, node: &SyntaxNode) -> Bound<Statement> {
        let at = At::of(node);
        // What SELF and EXCLUDED were called around this statement.
        let outer = [SourceId::SELF, SourceId::EXCLUDED].map(|s| (s, self.names.get(&s).cloned()));
        let visible = self.common_tables.len();
        let depth = self.scopes.len();
        let bound = self.deeper(at, |binder| {
            if let Some(insert) = ast::Insert::cast(node.clone()) {
                return Ok(Statement::Insert(Box::new(binder.insert(&insert)?)));
            }
            if let Some(update) = ast::Update::cast(node.clone()) {
                return Ok(Statement::Update(Box::new(binder.update(&update)?)));
            }
            match ast::Delete::cast(node.clone()) {
                Some(delete) => Ok(Statement::Delete(Box::new(binder.delete(&delete)?))),
                None => Err(binder
                    .refused(at, "MERGE")
                    .help("use INSERT … ON CONFLICT, UPDATE and DELETE")),
            }
        });
        self.common_tables.truncate(visible);
        self.scopes.truncate(depth);
        for (source, names) in outer {
            if let Some(names) = names {
                self.names.insert(source, names);
            }
        }
        bound
    }

    fn target(
        &mut self,
        name: Option<ast::RelationNameRef>,
        alias: Option<ast::TableAlias>,
        verb: &str,
        at: At,
    ) -> Bound<Target> {
        let Some(written) = name else {
            return Err(self.problem(at, "the name of a table is missing"));
        };
        let at = At::of(written.syntax());
        let Some(name) = Name::of(&written) else {
            return Err(self.problem(at, "the name of a table is missing"));
        };
        if name.namespace.is_none() && self.common_tables.iter().any(|m| m.name == name.name) {
            let message = format!(
                "relation \"{}\" cannot be the target of a modifying statement",
                name.name
            );
            return Err(self.problem(at, message));
        }
        let relation = self.relation_named(name.namespace.as_deref(), &name.name, at)?;
        let declared = self.schema.relation(relation);
        if let RelationKind::View(view) = &declared.kind
            && view.updatable.is_none()
        {
            let problem = self.problem(at, format!("cannot {verb} view \"{}\"", declared.name));
            return Err(problem
                .help("only a view of one table, without aggregates, DISTINCT or set operations, can be written"));
        }
        Ok(Target {
            relation,
            name: declared.name.clone(),
            alias: alias.map(|a| text(&a)),
        })
    }

    pub(super) fn column(&self, target: &Target, name: &str, at: At) -> Bound<u32> {
        let relation = self.schema.relation(target.relation);
        relation.column(name).ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", target.name);
            self.problem(at, message)
                .did_you_mean(name, relation.columns.iter().map(|c| &*c.name))
        })
    }

    /// The columns of a parenthesised list.
    pub(super) fn columns(&self, target: &Target, list: &ast::ColumnTargetList) -> Bound<Vec<u32>> {
        let mut columns = Vec::new();
        for column in list.column_targets() {
            let index = self.target_column(target, &column)?;
            if columns.contains(&index) {
                let name = &self.schema.relation(target.relation).columns[index as usize].name;
                return Err(self.problem(
                    At::of(column.syntax()),
                    format!("column \"{name}\" specified more than once"),
                ));
            }
            columns.push(index);
        }
        Ok(columns)
    }

    pub(super) fn target_column(&self, target: &Target, column: &ast::ColumnTarget) -> Bound<u32> {
        let at = At::of(column.syntax());
        if let Some(accessor) = column.accessors().next() {
            return Err(self
                .refused(At::of(accessor.syntax()), "assigning to a part of a column")
                .help("assign the whole value"));
        }
        let name = column.name().map(|n| text(&n)).unwrap_or_default();
        self.column(target, &name, at)
    }

    pub(super) fn declared(&self, target: &Target, column: u32) -> &Column {
        &self.schema.relation(target.relation).columns[column as usize]
    }

    /// A value for a column, cast as an assignment does.
    pub(super) fn assigned(&mut self, target: &Target, column: u32, value: Expr, at: At) -> Bound<Expr> {
        let (name, ty) = {
            let declared = self.declared(target, column);
            (declared.name.clone(), declared.ty.clone())
        };
        if !castable(&value.ty, &ty, CastContext::Assignment) {
            let message = format!(
                "column \"{name}\" is of type {} but expression is of type {}",
                shown(&ty),
                shown(&value.ty)
            );
            return Err(self.problem(at, message).help("rewrite the expression or cast it"));
        }
        self.assign(value, at, &ty)
    }

    /// What DEFAULT stands for, where it has to be written out.
    pub(super) fn default_of(&mut self, target: &Target, column: u32, at: At) -> Bound<Expr> {
        let declared = self.declared(target, column);
        if declared.identity.is_some() && declared.default.is_none() {
            let problem = self.refused(
                at,
                format!("DEFAULT for the identity column \"{}\" here", declared.name),
            );
            return Err(problem.help("leave the column out of the list"));
        }
        let ty = declared.ty.clone();
        Ok(declared
            .default
            .clone()
            .unwrap_or_else(|| Expr::literal(Value::Null, ty)))
    }

    fn insert(&mut self, insert: &ast::Insert) -> Bound<Insert> {
        let at = At::of(insert.syntax());
        let with = match insert.with_clause() {
            Some(clause) => self.with_members(&clause, true)?,
            None => Vec::new(),
        };
        let target = self.target(
            insert.relation_name_ref(),
            insert.alias().and_then(|a| a.name()),
            "insert into",
            at,
        )?;
        let listed = insert.column_target_list();
        let mut columns = match &listed {
            Some(list) => self.columns(&target, list)?,
            None => (0..self.schema.relation(target.relation).columns.len() as u32).collect(),
        };
        let overriding = insert.overriding_clause();
        let source = match insert.insert_source() {
            None => return Err(self.problem(at, "INSERT needs VALUES, a query or DEFAULT VALUES")),
            Some(ast::InsertSource::DefaultValues(_)) => {
                columns.clear();
                None
            }
            Some(ast::InsertSource::SelectVariant(ast::SelectVariant::Values(values)))
                if values.with_clause().is_none() && values.tail_clauses().next().is_none() =>
            {
                self.insert_values(&target, &values, &mut columns, listed.is_some(), overriding.as_ref())?
            }
            Some(ast::InsertSource::SelectVariant(query)) => {
                Some(self.insert_query(&target, &query, &mut columns, listed.is_some(), overriding.as_ref())?)
            }
        };
        let relation = RelationRef::new(target.relation);
        let own = self.relation_item(target.relation, target.alias.clone(), SourceId::SELF);
        let conflict = match insert.on_conflict_clause() {
            Some(clause) => Some(self.conflict(&target, &clause, own.clone())?),
            None => None,
        };
        self.scopes.push(Scope::of(vec![own], Clause::Returning));
        let returning = self.returning(insert.returning_clause())?;
        self.scopes.pop();
        Ok(Insert {
            with,
            relation,
            columns,
            source,
            conflict,
            check: None,
            updated: None,
            returning,
        })
    }

    /// Refuses values for columns that compute their own.
    fn check_insertable(
        &self,
        target: &Target,
        column: u32,
        overriding: Option<&ast::OverridingClause>,
        at: At,
    ) -> Bound<()> {
        let declared = self.declared(target, column);
        let message = || format!("cannot insert a non-DEFAULT value into column \"{}\"", declared.name);
        if declared.generated.is_some() {
            return Err(self
                .problem(at, message())
                .help("it is a generated column: leave it out"));
        }
        let system = matches!(overriding, Some(ast::OverridingClause::OverridingSystemValue(_)));
        if declared.identity == Some(IdentityColumn::Always) && !system {
            let help = "it is an identity column defined as GENERATED ALWAYS; use OVERRIDING SYSTEM VALUE to override";
            return Err(self.problem(at, message()).help(help));
        }
        Ok(())
    }

    fn width(&self, target: &Target, columns: &mut Vec<u32>, width: usize, listed: bool, at: At) -> Bound<()> {
        if width > columns.len() {
            return Err(self.problem(at, "INSERT has more expressions than target columns"));
        }
        if width < columns.len() && listed {
            let missing = self.declared(target, columns[width]).name.clone();
            let problem = self.problem(at, "INSERT has more target columns than expressions");
            return Err(problem.help(format!("there is no value for `{missing}`")));
        }
        columns.truncate(width);
        Ok(())
    }

    /// VALUES of an INSERT: each value goes straight into its column. A column whose every value is DEFAULT is one that is not
    /// named.
    fn insert_values(
        &mut self,
        target: &Target,
        values: &ast::Values,
        columns: &mut Vec<u32>,
        listed: bool,
        overriding: Option<&ast::OverridingClause>,
    ) -> Bound<Option<Select>> {
        let at = At::of(values.syntax());
        let rows: Vec<(Vec<ast::Expr>, At)> = values
            .row_list()
            .into_iter()
            .flat_map(|l| l.rows())
            .map(|row| (expressions(row.syntax()), At::of(row.syntax())))
            .collect();
        let width = rows.first().map_or(0, |(row, _)| row.len());
        if let Some((_, at)) = rows.iter().find(|(row, _)| row.len() != width) {
            return Err(self.problem(*at, "VALUES lists must all be the same length"));
        }
        self.width(target, columns, width, listed, at)?;
        let user_value = matches!(overriding, Some(ast::OverridingClause::OverridingUserValue(_)));
        let kept: Vec<bool> = (0..width)
            .map(|i| {
                let ignored = user_value && self.declared(target, columns[i]).identity.is_some();
                !ignored && rows.iter().any(|(row, _)| !is_default(&row[i]))
            })
            .collect();
        let mut bound = Vec::new();
        self.scopes.push(Scope::of(Vec::new(), Clause::Values));
        for (row, _) in &rows {
            let mut values = Vec::new();
            for (index, expr) in row.iter().enumerate().filter(|(i, _)| kept[*i]) {
                let (column, at) = (columns[index], At::of(expr.syntax()));
                values.push(if is_default(expr) {
                    self.default_of(target, column, at)?
                } else {
                    self.check_insertable(target, column, overriding, at)?;
                    let value = self.expr(expr)?;
                    self.assigned(target, column, value, at)?
                });
            }
            bound.push(values);
        }
        self.scopes.pop();
        let mut keep = kept.iter();
        columns.retain(|_| *keep.next().unwrap_or(&false));
        match (columns.is_empty(), bound.len()) {
            (true, 0 | 1) => Ok(None),
            (true, _) => Err(self
                .refused(at, "several rows of nothing but DEFAULT")
                .help("name a column and give it a value")),
            _ => Ok(Some(Select {
                values: bound,
                ..Select::default()
            })),
        }
    }

    fn insert_query(
        &mut self,
        target: &Target,
        query: &ast::SelectVariant,
        columns: &mut Vec<u32>,
        listed: bool,
        overriding: Option<&ast::OverridingClause>,
    ) -> Bound<Select> {
        let at = At::of(query.syntax());
        let mut select = self.raw_query(query, true)?;
        let outputs = Self::output_columns(&select);
        self.width(target, columns, outputs.len(), listed, at)?;
        if matches!(overriding, Some(ast::OverridingClause::OverridingUserValue(_))) {
            return Err(self
                .refused(at, "OVERRIDING USER VALUE with a query")
                .help("leave the identity column out"));
        }
        for (index, (_, ty)) in outputs.iter().enumerate() {
            let column = columns[index];
            self.check_insertable(target, column, overriding, at)?;
            let declared = self.declared(target, column);
            let wanted = declared.ty.clone();
            if !castable(ty, &wanted, CastContext::Assignment) {
                let name = declared.name.clone();
                let message = format!(
                    "column \"{name}\" is of type {} but expression is of type {}",
                    shown(&wanted),
                    shown(ty)
                );
                return Err(self.problem(at, message).help("rewrite the expression or cast it"));
            }
            self.coerce_output(&mut select, index, &wanted, at, CastContext::Assignment)?;
        }
        Ok(select)
    }

    fn update(&mut self, update: &ast::Update) -> Bound<Update> {
        let at = At::of(update.syntax());
        let with = match update.with_clause() {
            Some(clause) => self.with_members(&clause, true)?,
            None => Vec::new(),
        };
        if let Some(portion) = update.for_portion_of() {
            return Err(self.refused(At::of(portion.syntax()), "FOR PORTION OF"));
        }
        let name = update.relation_name().and_then(|n| n.relation_name_ref());
        let target = self.target(name, update.alias().and_then(|a| a.name()), "update", at)?;
        let from = self.sources(&target, update.from_clause().into_iter().flat_map(|f| f.items()), at)?;
        self.clause(Clause::Set);
        let set = self.set_clause(&target, update.set_clause(), at)?;
        self.clause(Clause::Where);
        let filter = self.filter(update.where_clause_or_current_of())?;
        self.clause(Clause::Returning);
        let returning = self.returning(update.returning_clause())?;
        self.scopes.pop();
        Ok(Update {
            with,
            relation: RelationRef::new(target.relation),
            set,
            from,
            filter,
            check: None,
            returning,
        })
    }

    fn delete(&mut self, delete: &ast::Delete) -> Bound<Delete> {
        let at = At::of(delete.syntax());
        let with = match delete.with_clause() {
            Some(clause) => self.with_members(&clause, true)?,
            None => Vec::new(),
        };
        if let Some(portion) = delete.for_portion_of() {
            return Err(self.refused(At::of(portion.syntax()), "FOR PORTION OF"));
        }
        let name = delete.relation_name().and_then(|n| n.relation_name_ref());
        let target = self.target(name, delete.alias().and_then(|a| a.name()), "delete from", at)?;
        let using = self.sources(&target, delete.using_clause().into_iter().flat_map(|f| f.items()), at)?;
        self.clause(Clause::Where);
        let filter = self.filter(delete.where_clause_or_current_of())?;
        self.clause(Clause::Returning);
        let returning = self.returning(delete.returning_clause())?;
        self.scopes.pop();
        Ok(Delete {
            with,
            relation: RelationRef::new(target.relation),
            using,
            filter,
            returning,
        })
    }

    /// The sources beside the target, which they do not see; leaves a scope of all of them open.
    fn sources(
        &mut self,
        target: &Target,
        items: impl Iterator<Item = ast::FromListItem>,
        at: At,
    ) -> Bound<Vec<mainstay_model::FromItem>> {
        self.scopes.push(Scope {
            searchable: false,
            ..Scope::of(Vec::new(), Clause::From)
        });
        let from = self.sources_of(items)?;
        let own = self.relation_item(target.relation, target.alias.clone(), SourceId::SELF);
        let Some(scope) = self.scopes.last_mut() else {
            return Ok(from);
        };
        let twice = scope.items.iter().any(|i| i.by_name && i.name == own.name);
        scope.items.insert(0, own);
        scope.searchable = true;
        if twice {
            let name = target.alias.as_ref().unwrap_or(&target.name);
            let problem = self.problem(at, format!("table name \"{name}\" specified more than once"));
            return Err(problem.help("give the table in FROM or USING an alias"));
        }
        Ok(from)
    }

    fn clause(&mut self, clause: Clause) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.clause = clause;
        }
    }

    fn filter(&mut self, clause: Option<ast::WhereClauseOrCurrentOf>) -> Bound<Option<Expr>> {
        match clause {
            None => Ok(None),
            Some(ast::WhereClauseOrCurrentOf::WhereClause(clause)) => self.where_clause(&clause).map(Some),
            Some(ast::WhereClauseOrCurrentOf::WhereCurrentOf(current)) => Err(self
                .refused(At::of(current.syntax()), "WHERE CURRENT OF")
                .help("name the row by its primary key")),
        }
    }

    fn returning(&mut self, clause: Option<ast::ReturningClause>) -> Bound<Vec<Projected>> {
        let Some(clause) = clause else { return Ok(Vec::new()) };
        if let Some(options) = clause.returning_option_list() {
            return Err(self.refused(At::of(options.syntax()), "RETURNING WITH"));
        }
        let Some(list) = clause.target_list() else {
            return Ok(Vec::new());
        };
        let mut projection = self.targets(&list)?;
        for projected in &mut projection {
            let expr = std::mem::replace(&mut projected.expr, null());
            projected.expr = self.settle(expr);
        }
        Ok(projection)
    }
}

pub(super) fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Literal(literal) if matches!(literal.kind(), Some(LitKind::Default(_))))
}
