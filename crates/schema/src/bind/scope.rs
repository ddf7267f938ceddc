//! Which names can be seen where, as Postgres' namespaces of a query have it.

use super::{At, Binder, Bound};
use crate::Problem;
use crate::names::type_key;
use mainstay_model::{
    ColumnRef, Expr, ExprKind, FunctionId, Operator, Projected, RelationId, Returns, SourceId, Type, Value,
};
use std::sync::Arc;

/// One query level, or the row that an expression belongs to.
pub(super) struct Scope {
    /// The row sources, in order.
    pub(super) items: Vec<Item>,
    /// Whether its columns may be used at the moment: not by a subquery in FROM that is not LATERAL.
    pub(super) searchable: bool,
    /// What is being bound.
    pub(super) clause: Clause,
    /// Whether an aggregate of this level was met.
    pub(super) has_aggregate: bool,
    /// Whether the arguments of an aggregate of this level are being bound.
    pub(super) in_aggregate: bool,
}

impl Scope {
    pub(super) fn of(items: Vec<Item>, clause: Clause) -> Scope {
        Scope {
            items,
            searchable: true,
            clause,
            has_aggregate: false,
            in_aggregate: false,
        }
    }
}

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clause {
    Row,
    Default,
    Select,
    Join,
    From,
    Where,
    GroupBy,
    Having,
    OrderBy,
    Values,
    Limit,
    Set,
    Returning,
    Conflict,
}

impl Clause {
    pub(super) fn allows_aggregates(self) -> bool {
        matches!(self, Clause::Select | Clause::Having | Clause::OrderBy)
    }

    /// As messages name it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Clause::Row => "policies, checks, generated columns and indexes",
            Clause::Default => "DEFAULT expressions",
            Clause::Select => "SELECT",
            Clause::Join => "JOIN conditions",
            Clause::From => "functions in FROM",
            Clause::Where => "WHERE",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::OrderBy => "ORDER BY",
            Clause::Values => "VALUES",
            Clause::Limit => "LIMIT and OFFSET",
            Clause::Set => "UPDATE",
            Clause::Returning => "RETURNING",
            Clause::Conflict => "ON CONFLICT",
        }
    }
}

/// A row source as names see it.
#[derive(Clone)]
pub(super) struct Item {
    /// Its alias or name; none for a join without an alias and for a subquery without one.
    pub(super) name: Option<Arc<str>>,
    /// The schema, for a relation without an alias.
    pub(super) namespace: Option<Arc<str>>,
    pub(super) columns: Vec<ItemColumn>,
    /// None for a join.
    pub(super) source: Option<SourceId>,
    pub(super) relation: Option<RelationId>,
    /// A function that yields one plain value: its name stands for the value.
    pub(super) scalar: bool,
    /// Whether `name.column` finds it.
    pub(super) by_name: bool,
    /// Whether `column` finds its columns.
    pub(super) by_column: bool,
}

/// A column that a row source shows.
#[derive(Clone)]
pub(super) struct ItemColumn {
    pub(super) name: Arc<str>,
    pub(super) expr: Expr,
}

/// What a row source and its columns are called, for messages, and what they are.
#[derive(Clone)]
pub(super) struct SourceNames {
    pub(super) name: Arc<str>,
    pub(super) columns: Vec<(Arc<str>, Type)>,
    pub(super) relation: Option<RelationId>,
}

impl SourceNames {
    /// Every column of the source.
    pub(super) fn columns(&self, source: SourceId) -> Vec<Projected> {
        let project = |(i, (name, ty)): (usize, &(Arc<str>, Type))| Projected {
            expr: column(source, i as u32, ty.clone()),
            name: name.clone(),
        };
        self.columns.iter().enumerate().map(project).collect()
    }
}

/// A column of a source.
pub(super) fn column(source: SourceId, column: u32, ty: Type) -> Expr {
    Expr::new(ExprKind::Column(ColumnRef { source, column }), ty)
}

impl<'a> Binder<'a> {
    /// A row source under a name; remembers what its columns are called.
    pub(super) fn item(
        &mut self,
        name: Option<Arc<str>>,
        columns: &[(Arc<str>, Type)],
        source: SourceId,
        relation: Option<RelationId>,
    ) -> Item {
        let shown = name.clone().unwrap_or_else(|| "?".into());
        self.names.insert(
            source,
            SourceNames {
                name: shown,
                columns: columns.to_vec(),
                relation,
            },
        );
        let columns = columns.iter().enumerate();
        let columns = columns.map(|(i, (name, ty))| ItemColumn {
            name: name.clone(),
            expr: column(source, i as u32, ty.clone()),
        });
        Item {
            name,
            namespace: None,
            columns: columns.collect(),
            source: Some(source),
            relation,
            scalar: false,
            by_name: true,
            by_column: true,
        }
    }

    /// A bare name: a column, a row source as a whole, or an argument of the function.
    pub(super) fn name(&mut self, name: &str, at: At) -> Bound<Expr> {
        if let Some(expr) = self.own_column(name, at)? {
            return Ok(expr);
        }
        if let Some(item) = self.find_item(None, name).cloned() {
            return self.whole_row(&item, at);
        }
        if let Some(index) = self.params.iter().position(|(n, _)| &**n == name && !name.is_empty()) {
            return Ok(Expr::param(index as u16, self.params[index].1.clone()));
        }
        let clause = self.scopes.last().map(|s| s.clause);
        if matches!(clause, Some(Clause::Default)) && self.params.is_empty() {
            let problem = self.problem(
                at,
                format!("a DEFAULT expression cannot use the column or name \"{name}\""),
            );
            return Err(problem.help("a default is made of constants and functions; text stands in single quotes"));
        }
        let problem = self.problem(at, format!("column \"{name}\" does not exist"));
        if let Some(limit) = self.scopes.iter().rev().find(|s| s.clause == Clause::Limit)
            && self.column_of(limit, name, at)?.is_some()
        {
            return Err(self.problem(at, "argument of LIMIT and OFFSET must not contain variables"));
        }
        let hidden = self.scopes.iter().filter(|s| !s.searchable).flat_map(|s| &s.items);
        if let Some(item) = hidden.into_iter().find(|i| i.columns.iter().any(|c| &*c.name == name)) {
            let table = item.name.as_deref().unwrap_or("the other source");
            return Err(problem.help(format!(
                "there is a column of that name in `{table}`, which cannot be seen from this part of the query; mark the subquery LATERAL"
            )));
        }
        let known = self.visible_columns();
        let params = self.params.iter().map(|(n, _)| &**n);
        Err(problem.did_you_mean(name, known.iter().map(|n| &**n).chain(params)))
    }

    fn visible_columns(&self) -> Vec<Arc<str>> {
        let items = self
            .scopes
            .iter()
            .filter(|s| s.searchable)
            .flat_map(|s| &s.items)
            .filter(|i| i.by_column);
        items.flat_map(|i| &i.columns).map(|c| c.name.clone()).collect()
    }

    /// A bare name as a column of the nearest query level that has it.
    fn own_column(&self, name: &str, at: At) -> Bound<Option<Expr>> {
        for scope in self.scopes.iter().rev().filter(|s| s.searchable) {
            if let Some(found) = self.column_of(scope, name, at)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A bare name as a column of one query level.
    pub(super) fn column_of(&self, scope: &Scope, name: &str, at: At) -> Bound<Option<Expr>> {
        let columns = scope.items.iter().filter(|i| i.by_column).flat_map(|i| &i.columns);
        let mut matching = columns.filter(|c| &*c.name == name);
        let first = matching.next();
        if matching.next().is_some() {
            let problem = self.problem(at, format!("column reference \"{name}\" is ambiguous"));
            return Err(problem.help(format!("write which table's it is: table.{name}")));
        }
        Ok(first.map(|c| c.expr.clone()))
    }

    /// The nearest row source of a name.
    pub(super) fn find_item(&self, namespace: Option<&str>, name: &str) -> Option<&Item> {
        let scopes = self.scopes.iter().rev().filter(|s| s.searchable);
        let mut items = scopes
            .flat_map(|s| &s.items)
            .filter(|i| i.by_name && i.name.as_deref() == Some(name));
        items.find(|i| match (namespace, &i.namespace) {
            (None, _) => true,
            (Some(wanted), Some(actual)) => wanted == &**actual,
            (Some(_), None) => false,
        })
    }

    /// `a.b` and `schema.a.b`.
    pub(super) fn qualified(&mut self, path: &[Arc<str>], at: At) -> Bound<Expr> {
        let (namespace, table, name) = match path {
            [table, name] => (None, table, name),
            [namespace, table, name] => (Some(&**namespace), table, name),
            _ => {
                let text = path.join(".");
                return Err(self.problem(at, format!("improper qualified name (too many dotted names): {text}")));
            }
        };
        if let Some(item) = self.find_item(namespace, table).cloned() {
            let mut matching = item.columns.iter().filter(|c| c.name == *name);
            let first = matching.next();
            if matching.next().is_some() {
                return Err(self.problem(at, format!("column reference \"{name}\" is ambiguous")));
            }
            if let Some(found) = first {
                return Ok(found.expr.clone());
            }
            if let Some(computed) = self.computed_column(&item, name) {
                return Ok(computed);
            }
            let problem = self.problem(at, format!("column {table}.{name} does not exist"));
            return Err(problem.did_you_mean(name, item.columns.iter().map(|c| &*c.name)));
        }
        if namespace.is_none()
            && self.function.as_deref() == Some(table)
            && let Some(index) = self.params.iter().position(|(n, _)| n == name)
        {
            return Ok(Expr::param(index as u16, self.params[index].1.clone()));
        }
        if namespace.is_none()
            && let Some(index) = self.params.iter().position(|(n, _)| n == table)
        {
            let row = Expr::param(index as u16, self.params[index].1.clone());
            if let Some(value) = self.row_field(&row, name, at)? {
                return Ok(value);
            }
        }
        Err(self.missing_source(namespace, table, at))
    }

    /// A column of an argument that is a row: as a member of the row's JSON, in the column's own type. `None` when it is no row
    /// of a relation.
    pub(super) fn row_field(&self, row: &Expr, name: &str, at: At) -> Bound<Option<Expr>> {
        let (ExprKind::Param(_), Type::Row(key)) = (&row.kind, &row.ty) else {
            return Ok(None);
        };
        let mut relations = self.schema.relations.iter();
        let Some(relation) = relations.find(|r| *type_key(&r.namespace, &r.name) == **key) else {
            return Ok(None);
        };
        let Some(column) = relation.column(name) else {
            let problem = self.problem(at, format!("column \"{name}\" not found in data type {key}"));
            return Err(problem.did_you_mean(name, relation.columns.iter().map(|c| &*c.name)));
        };
        let ty = relation.columns[column as usize].ty.clone();
        let name = Expr::literal(Value::Text(name.to_owned()), Type::Text);
        let field = ExprKind::Operator(Operator::JsonGetText, vec![row.clone(), name]);
        let field = Expr::new(field, Type::Text);
        Ok(Some(if ty == Type::Text {
            field
        } else {
            Expr::new(ExprKind::Cast(Box::new(field)), ty)
        }))
    }

    /// No row source of that name; says whether one is merely out of sight.
    pub(super) fn missing_source(&self, namespace: Option<&str>, table: &str, at: At) -> Problem {
        let hidden = self
            .scopes
            .iter()
            .flat_map(|s| &s.items)
            .find(|i| i.name.as_deref() == Some(table));
        if hidden.is_some() {
            let problem = self.problem(
                at,
                format!("invalid reference to FROM-clause entry for table \"{table}\""),
            );
            return problem.help(format!(
                "there is an entry for `{table}`, but it cannot be seen from this part of the query (a subquery in FROM needs LATERAL)"
            ));
        }
        let shown = namespace
            .map(|n| format!("{n}.{table}"))
            .unwrap_or_else(|| table.to_owned());
        let problem = self.problem(at, format!("missing FROM-clause entry for table \"{shown}\""));
        let items = self.scopes.iter().filter(|s| s.searchable).flat_map(|s| &s.items);
        for item in items.clone() {
            let Some(relation) = item.relation else { continue };
            if let Some(alias) = &item.name
                && &*self.schema.relation(relation).name == table
            {
                return problem.help(format!("the table is called `{alias}` in this query"));
            }
        }
        // Between aliases of a letter or two everything is near.
        match table.len() {
            0..=2 => problem,
            _ => problem.did_you_mean(table, items.filter_map(|i| i.name.as_deref())),
        }
    }

    /// A row source as one value.
    pub(super) fn whole_row(&mut self, item: &Item, at: At) -> Bound<Expr> {
        if item.scalar
            && let Some(only) = item.columns.first()
        {
            return Ok(only.expr.clone());
        }
        let Some(source) = item.source else {
            return Err(self
                .refused(at, "the whole row of a join")
                .help("name the columns, or put the join into a subquery"));
        };
        if source == SourceId::EXCLUDED {
            return Err(self.refused(at, "the whole row `excluded`").help("name its columns"));
        }
        let name = match item.relation {
            Some(relation) => self.row_type_name(relation),
            None => "record".into(),
        };
        Ok(Expr::new(ExprKind::WholeRow(source), Type::Row(name)))
    }

    /// How the type of a relation's rows is called.
    pub(super) fn row_type_name(&self, relation: RelationId) -> Arc<str> {
        let relation = self.schema.relation(relation);
        type_key(&relation.namespace, &relation.name)
    }

    /// `row.f` where `f` is a function of that row and no column.
    fn computed_column(&self, item: &Item, name: &str) -> Option<Expr> {
        let (source, relation) = (item.source?, item.relation?);
        if source == SourceId::EXCLUDED {
            return None;
        }
        let row = Type::Row(self.row_type_name(relation));
        let (id, returns) = self.functions_named(None, name).into_iter().find_map(|id| {
            let function = self.schema.function(id);
            let only = function.args.len() == 1 && function.args[0].ty == row;
            match &function.returns {
                Returns::Scalar(ty) if only => Some((id, ty.clone())),
                _ => None,
            }
        })?;
        Some(Expr::new(
            ExprKind::UserCall(id, vec![Expr::new(ExprKind::WholeRow(source), row)]),
            returns,
        ))
    }

    /// The schema's functions of a name: in one schema, or in those that are searched.
    pub(super) fn functions_named(&self, namespace: Option<&str>, name: &str) -> Vec<FunctionId> {
        match namespace {
            Some(namespace) => self.schema.find_functions(namespace, name).to_vec(),
            None => self
                .namespaces()
                .flat_map(|n| self.schema.find_functions(n, name))
                .copied()
                .collect(),
        }
    }

    /// A relation by name: in one schema, or in the first of those searched that has it.
    pub(super) fn find_relation(&self, namespace: Option<&str>, name: &str) -> Option<RelationId> {
        match namespace {
            Some(namespace) => self.schema.find_relation(namespace, name),
            None => self.namespaces().find_map(|n| self.schema.find_relation(n, name)),
        }
    }

    /// The schemas that an unqualified name is looked up in.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &'a str> {
        let namespaces: &'a [Arc<str>] = &self.schema.namespaces;
        let default = namespaces.is_empty().then_some("public");
        namespaces.iter().map(|n| &**n).chain(default)
    }

    /// A relation that must exist.
    pub(super) fn relation_named(&self, namespace: Option<&str>, name: &str, at: At) -> Bound<RelationId> {
        if let Some(found) = self.find_relation(namespace, name) {
            return Ok(found);
        }
        let shown = namespace
            .map(|n| format!("{n}.{name}"))
            .unwrap_or_else(|| name.to_owned());
        let problem = self.problem(at, format!("relation \"{shown}\" does not exist"));
        if namespace.is_none()
            && let Some(elsewhere) = self.schema.relations.iter().find(|r| &*r.name == name)
        {
            return Err(problem.help(format!("did you mean `{}.{name}`?", elsewhere.namespace)));
        }
        let members = self.common_tables.iter().map(|m| &*m.name);
        Err(problem.did_you_mean(name, self.schema.relations.iter().map(|r| &*r.name).chain(members)))
    }
}
