//! FROM: relations, subqueries, functions and joins, and the names that they bring.

use super::call::{Called, patterns};
use super::coerce::CastContext;
use super::functions::SERIES;
use super::join::{twice, visible};
use super::resolve::{Choice, choose, fit};
use super::scope::{Clause, Item, ItemColumn};
use super::{At, Binder, Bound, expr::path_of};
use crate::names::{Name, text};
use mainstay_model::{Expr, ExprKind, FromItem, Projected, RelationRef, Returns, Select, Type};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// A row source with the names that it brings.
pub(super) type Source = (FromItem, Vec<Item>);

impl Binder<'_> {
    /// The items of FROM or USING, into the innermost scope.
    pub(super) fn sources_of(&mut self, items: impl Iterator<Item = ast::FromListItem>) -> Bound<Vec<FromItem>> {
        let mut from = Vec::new();
        for item in items {
            let at = At::of(item.syntax());
            let (bound, names) = self.list_item(&item)?;
            self.add_names(names, at)?;
            from.push(bound);
        }
        Ok(from)
    }

    fn add_names(&mut self, names: Vec<Item>, at: At) -> Bound<()> {
        for item in names {
            let Some(scope) = self.scopes.last() else { continue };
            if let Some(twice) = twice(&scope.items, &item) {
                return Err(self
                    .problem(at, format!("table name \"{twice}\" specified more than once"))
                    .help("give one of them an alias"));
            }
            if let Some(scope) = self.scopes.last_mut() {
                scope.items.push(item);
            }
        }
        Ok(())
    }

    pub(super) fn list_item(&mut self, item: &ast::FromListItem) -> Bound<Source> {
        let at = At::of(item.syntax());
        self.deeper(at, |binder| match item {
            ast::FromListItem::FromItem(item) => binder.source_item(item),
            ast::FromListItem::JoinExpr(join) => binder.joins(join),
        })
    }

    fn source_item(&mut self, item: &ast::FromItem) -> Bound<Source> {
        let at = At::of(item.syntax());
        let alias = item.alias();
        if let Some(ordinality) = item.with_ordinality() {
            return Err(self.refused(At::of(ordinality.syntax()), "WITH ORDINALITY"));
        }
        match item {
            ast::FromItem::RelationFromItem(relation) => {
                if let Some(sample) = relation.tablesample_clause() {
                    return Err(self.refused(At::of(sample.syntax()), "TABLESAMPLE"));
                }
                let Some(name) = relation.relation_name_ref() else {
                    return Err(self.problem(at, "the name of a table is missing"));
                };
                let (item, names) = self.relation_source(&name, alias.as_ref())?;
                Ok((item, vec![names]))
            }
            ast::FromItem::ParenFromItem(paren) => self.paren_item(paren, alias, at),
            ast::FromItem::FunctionFromItem(function) => {
                let Some(call) = function.call_expr() else {
                    return Err(self.problem(at, "the function is missing"));
                };
                self.function_item(&call, alias, at)
            }
            ast::FromItem::ExprFromItem(expr) => match expr.call_expr() {
                Some(call) => self.function_item(&call, alias, at),
                None => Err(self
                    .refused(at, "an expression in FROM")
                    .help("SELECT it in a subquery")),
            },
            ast::FromItem::RowsFromItem(_) => Err(self.refused(at, "ROWS FROM")),
            ast::FromItem::GraphTableFromItem(_) => Err(self.refused(at, "GRAPH_TABLE")),
            ast::FromItem::JsonTableFromItem(_) => Err(self
                .refused(at, "JSON_TABLE")
                .help("use jsonb_array_elements or jsonb_each")),
            ast::FromItem::XmlTableFromItem(_) => Err(self.refused(at, "XMLTABLE")),
        }
    }

    fn paren_item(&mut self, paren: &ast::ParenFromItem, alias: Option<ast::FromAlias>, at: At) -> Bound<Source> {
        let nested = paren
            .syntax()
            .children()
            .find(|n| ast::ParenSelect::can_cast(n.kind()) || ast::ParenExpr::can_cast(n.kind()));
        let Some(nested) = nested else {
            return Err(self.problem(at, "the parentheses are empty"));
        };
        let select = ast::SelectVariant::cast(nested.clone()).or_else(|| {
            ast::Expr::cast(nested.clone())
                .as_ref()
                .and_then(super::expr::select_in)
        });
        if let Some(select) = select {
            let lateral = paren.lateral_token().is_some();
            let select = self.sideways(lateral, |binder| binder.query(&select))?;
            let source = self.new_source();
            let columns = Self::output_columns(&select);
            let names = self.aliased(alias.as_ref(), None, columns, source, at)?;
            return Ok((
                FromItem::Subquery {
                    select: Box::new(select),
                    source,
                    lateral,
                },
                vec![names],
            ));
        }
        let Some(inner) = nested.children().find_map(ast::FromListItem::cast) else {
            return Err(self.problem(at, "a table, a join or a query is expected in the parentheses"));
        };
        let (item, mut names) = self.list_item(&inner)?;
        let Some(alias) = alias else { return Ok((item, names)) };
        // (a JOIN b …) AS j: j shows all columns, a and b are hidden.
        let mut columns: Vec<ItemColumn> = visible(&names).cloned().collect();
        let name = alias.name().map(|n| text(&n));
        for (column, renamed) in columns.iter_mut().zip(column_names(&alias)) {
            column.name = renamed;
        }
        let single = if let [only] = names.as_slice() {
            only.source.map(|s| (s, only.relation))
        } else {
            None
        };
        names = vec![Item {
            name,
            namespace: None,
            columns,
            source: single.map(|(s, _)| s),
            relation: single.and_then(|(_, r)| r),
            scalar: false,
            by_name: true,
            by_column: true,
        }];
        Ok((item, names))
    }

    /// Binds something in FROM, which sees what stands to its left only if it is lateral.
    fn sideways<T>(&mut self, lateral: bool, f: impl FnOnce(&mut Self) -> Bound<T>) -> Bound<T> {
        let previous = self.scopes.last().map(|s| (s.searchable, s.clause));
        if let Some(scope) = self.scopes.last_mut() {
            scope.searchable = lateral;
            scope.clause = Clause::From;
        }
        let result = f(self);
        if let (Some(scope), Some((searchable, clause))) = (self.scopes.last_mut(), previous) {
            scope.searchable = searchable;
            scope.clause = clause;
        }
        result
    }

    /// A relation or a member of WITH.
    pub(super) fn relation_source(
        &mut self,
        name: &ast::RelationNameRef,
        alias: Option<&ast::FromAlias>,
    ) -> Bound<(FromItem, Item)> {
        let at = At::of(name.syntax());
        let Some(name) = Name::of(name) else {
            return Err(self.problem(at, "the name of a table is missing"));
        };
        let source = self.new_source();
        if name.namespace.is_none()
            && let Some(member) = self.common_tables.iter_mut().rev().find(|m| m.name == name.name)
        {
            member.used = true;
            let (id, columns) = (member.id, member.columns.clone());
            let names = self.aliased(alias, Some(name.name), columns, source, at)?;
            return Ok((FromItem::CommonTable { id, source }, names));
        }
        let relation = self.relation_named(name.namespace.as_deref(), &name.name, at)?;
        let declared = self.schema.relation(relation);
        let columns = declared
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.ty.clone()))
            .collect();
        let own_name = declared.name.clone();
        let namespace = declared.namespace.clone();
        let mut names = self.aliased(alias, Some(own_name), columns, source, at)?;
        names.relation = Some(relation);
        if alias.and_then(|a| a.name()).is_none() {
            names.namespace = Some(namespace);
        }
        if let Some(remembered) = self.names.get_mut(&source) {
            remembered.relation = Some(relation);
        }
        Ok((
            FromItem::Relation {
                relation: RelationRef::new(relation),
                source,
            },
            names,
        ))
    }

    /// The names of a source under its alias and with its columns renamed.
    fn aliased(
        &mut self,
        alias: Option<&ast::FromAlias>,
        name: Option<Arc<str>>,
        mut columns: Vec<(Arc<str>, Type)>,
        source: mainstay_model::SourceId,
        at: At,
    ) -> Bound<Item> {
        let mut name = name;
        if let Some(alias) = alias {
            if let Some(given) = alias.name() {
                name = Some(text(&given));
            }
            let renamed = column_names(alias);
            if renamed.len() > columns.len() {
                let table = name.as_deref().unwrap_or("?");
                let (available, specified) = (columns.len(), renamed.len());
                let message =
                    format!("table \"{table}\" has {available} columns available but {specified} columns specified");
                return Err(self.problem(at, message));
            }
            for ((column, _), renamed) in columns.iter_mut().zip(renamed) {
                *column = renamed;
            }
        }
        Ok(self.item(name, &columns, source, None))
    }

    /// A function in FROM. It may use what stands to its left, as if LATERAL were written.
    fn function_item(&mut self, call: &ast::CallExpr, alias: Option<ast::FromAlias>, at: At) -> Bound<Source> {
        if let Some(ast::FromAliasColumns::ColumnDefList(list)) = alias.as_ref().and_then(|a| a.columns()) {
            let problem = self.refused(At::of(list.syntax()), "a column definition list");
            return Err(problem.help("let the function return TABLE (…) or SETOF a table"));
        }
        let path = call.expr().as_ref().and_then(path_of);
        let (Some(path), Some(list)) = (path, call.arg_list()) else {
            // A call with a syntax of its own, such as extract: one row of one value.
            return self.scalar_item(call, alias, at);
        };
        let (namespace, name) = match path.as_slice() {
            [name] => (None, name.clone()),
            [namespace, name] => (Some(namespace.clone()), name.clone()),
            _ => return Err(self.problem(at, "improper qualified name (too many dotted names)")),
        };
        let args = self.sideways(true, |binder| binder.args(&list))?;
        let builtin = matches!(namespace.as_deref(), None | Some("pg_catalog"));
        if builtin
            && SERIES.iter().any(|(series, ..)| *series == &*name)
            && self.functions_named(None, &name).is_empty()
        {
            return self.series_item(&name, args, alias, at);
        }
        let called = self.sideways(true, |binder| binder.resolve(namespace.as_deref(), &name, args, at))?;
        let (function, args) = match called {
            Called::Set(function, args) => (function, args),
            Called::Scalar(Expr {
                kind: ExprKind::UserCall(function, args),
                ..
            }) => (function, args),
            Called::Scalar(expr) => return self.value_item(expr, name, alias, at),
            Called::Aggregate(..) => {
                return Err(self.problem(at, "aggregate functions are not allowed in functions in FROM"));
            }
        };
        let scalar_name = alias
            .as_ref()
            .and_then(|a| a.name())
            .map(|n| text(&n))
            .unwrap_or_else(|| name.clone());
        let (columns, relation, scalar) = match &self.schema.function(function).returns {
            Returns::Void => (vec![(scalar_name, Type::Void)], None, true),
            Returns::Scalar(ty) | Returns::SetOfScalar(ty) => (vec![(scalar_name, ty.clone())], None, true),
            Returns::Row(relation) | Returns::SetOfRow(relation) => {
                let columns = self.schema.relation(*relation).columns.iter();
                (
                    columns.map(|c| (c.name.clone(), c.ty.clone())).collect(),
                    Some(*relation),
                    false,
                )
            }
            Returns::Table(columns) | Returns::Record(columns) => (columns.clone(), None, false),
        };
        let source = self.new_source();
        let mut names = self.aliased(alias.as_ref(), Some(name), columns, source, at)?;
        names.relation = relation;
        names.scalar = scalar;
        Ok((FromItem::Function { function, args, source }, vec![names]))
    }

    fn series_item(
        &mut self,
        name: &Arc<str>,
        args: Vec<super::call::Arg>,
        alias: Option<ast::FromAlias>,
        at: At,
    ) -> Bound<Source> {
        let candidates: Vec<_> = SERIES.iter().filter(|(series, ..)| *series == &**name).collect();
        let types: Vec<Type> = args.iter().map(|a| a.value.ty.clone()).collect();
        let params: Vec<_> = candidates
            .iter()
            .map(|(_, params, ..)| patterns(params, args.len()))
            .collect();
        let index = match choose(&params, &types, false) {
            Choice::One(index) => index,
            _ => {
                let shown: Vec<_> = types.iter().map(super::coerce::shown).collect();
                let message = format!("function {name}({}) does not exist", shown.join(", "));
                return Err(self
                    .problem(at, message)
                    .help("no function of that name takes these types; cast the arguments"));
            }
        };
        let (_, _, results, series) = candidates[index];
        let Some(fitted) = fit(&params[index], &types) else {
            return Err(self.problem(at, "the arguments do not fit"));
        };
        let mut bound = Vec::new();
        for (arg, ty) in args.into_iter().zip(&fitted.params) {
            bound.push(match ty {
                Some(ty) => self.coerce(arg.value, arg.at, ty, CastContext::Implicit)?,
                None => self.settle(arg.value),
            });
        }
        let mut columns: Vec<(Arc<str>, Type)> = Vec::new();
        for result in results.split(", ") {
            let (column, ty) = result.split_once(' ').unwrap_or((result, "text"));
            columns.push((column.into(), fitted.result(ty).unwrap_or(Type::Text)));
        }
        // A function with one nameless result lends its alias to the column.
        let scalar = columns.len() == 1;
        if let ([(column, _)], Some(given)) = (columns.as_mut_slice(), alias.as_ref().and_then(|a| a.name()))
            && **column == **name
        {
            *column = text(&given);
        }
        let source = self.new_source();
        let mut names = self.aliased(alias.as_ref(), Some(name.clone()), columns, source, at)?;
        names.scalar = scalar;
        let columns = names
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.expr.ty.clone()))
            .collect();
        Ok((
            FromItem::Series {
                series: *series,
                args: bound,
                columns,
                source,
            },
            vec![names],
        ))
    }

    fn scalar_item(&mut self, call: &ast::CallExpr, alias: Option<ast::FromAlias>, at: At) -> Bound<Source> {
        let expr = ast::Expr::CallExpr(call.clone());
        let name = self.output_name(&expr);
        let bound = self.sideways(true, |binder| binder.expr(&expr))?;
        self.value_item(bound, name, alias, at)
    }

    /// A plain function in FROM: a query of one row and one column.
    fn value_item(&mut self, expr: Expr, name: Arc<str>, alias: Option<ast::FromAlias>, at: At) -> Bound<Source> {
        let expr = self.settle(expr);
        let column = alias
            .as_ref()
            .and_then(|a| a.name())
            .map(|n| text(&n))
            .unwrap_or_else(|| name.clone());
        let columns = vec![(column.clone(), expr.ty.clone())];
        let source = self.new_source();
        let mut names = self.aliased(alias.as_ref(), Some(name), columns, source, at)?;
        names.scalar = true;
        let select = Select {
            projection: vec![Projected { expr, name: column }],
            ..Select::default()
        };
        Ok((
            FromItem::Subquery {
                select: Box::new(select),
                source,
                lateral: true,
            },
            vec![names],
        ))
    }
}

fn column_names(alias: &ast::FromAlias) -> Vec<Arc<str>> {
    alias
        .columns()
        .into_iter()
        .flat_map(|c| c.column_names())
        .map(|n| text(&n))
        .collect()
}
