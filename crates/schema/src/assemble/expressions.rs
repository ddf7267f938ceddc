//! The expressions of tables: defaults, generated columns, checks, indexes, policies.

use super::Assembly;
use crate::Problem;
use crate::bind::Binder;
use crate::catalog::{DraftCheck, DraftIndex, DraftPolicy, Written};
use crate::names::{generated_name, type_key};
use mainstay_model::{
    Builtin, Check, Expr, ExprKind, IdentityColumn, Index, OrderBy, Policy, RelationId, Rewrite, Sequence, Type, Value,
    rewrite_expr,
};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Assembly {
    pub(super) fn bind_tables(&mut self) {
        for (draft, id) in self.live_tables() {
            self.bind_columns(draft, id);
            self.bind_checks(draft, id);
            self.bind_indexes(draft, id);
            self.bind_policies(draft, id);
        }
    }

    fn bind_columns(&mut self, draft: usize, id: RelationId) {
        let Some(table) = self.catalog.table(draft) else { return };
        let drafts = table.columns.clone();
        for (position, column) in drafts.iter().enumerate() {
            let Some(index) = self.columns[draft][position] else {
                continue;
            };
            let built = &self.schema.relation(id).columns[index as usize];
            let (ty, domain) = (built.ty.clone(), built.domain.clone());
            let mut default = column.default.clone();
            if default.is_none() {
                default = domain
                    .as_ref()
                    .and_then(|d| self.domains(d).find_map(|d| d.default.clone()));
            }
            if let Some((_, sequence)) = column.identity {
                if let (Some(written), false) = (
                    &column.default,
                    column.not_null && is_default_of_serial(&column.default),
                ) {
                    let source = self.at(&written.place);
                    let problem = source.error_at(
                        &written.node,
                        format!("`{}` numbers itself and has a DEFAULT as well", column.name),
                    );
                    self.problem(problem.help("leave one of them out"));
                }
                self.number_by(id, index, sequence, None);
            } else if let Some(written) = default {
                self.bind_default(id, index, &ty, &written);
            }
            if let Some(written) = &column.generated {
                let source = self.at(&written.place);
                if column.default.is_some() || column.identity.is_some() {
                    let problem = source.error_at(
                        &written.node,
                        format!("`{}` is generated and has a DEFAULT as well", column.name),
                    );
                    self.problem(problem.help("leave one of them out"));
                    continue;
                }
                let bound = Binder::new(&self.schema, &source).row_expr(id, &written.node, Some(&ty));
                if let Some(expr) = self.ok(bound) {
                    self.schema.relations[id.0 as usize].columns[index as usize].generated = Some(expr);
                }
            }
        }
    }

    fn set_default(&mut self, id: RelationId, column: u32, expr: Expr, text: String) {
        let column = &mut self.schema.relations[id.0 as usize].columns[column as usize];
        column.default = Some(expr);
        column.default_text = Some(text);
    }

    fn bind_default(&mut self, id: RelationId, column: u32, ty: &Type, written: &Written<ast::Expr>) {
        let source = self.at(&written.place);
        let text = written.node.syntax().text().to_string();
        // `nextval` of a sequence is how dumps write serial.
        if let Some(name) = crate::ddl::nextval_target(&written.node) {
            let Some(sequence) = self.catalog.sequence(&name, &written.place.path) else {
                let problem = source.error_at(&written.node, format!("there is no sequence `{name}`"));
                let known: Vec<&str> = self.schema.sequences.keys().map(|k| &**k).collect();
                let problem = problem
                    .help("declare it with CREATE SEQUENCE")
                    .did_you_mean(&name.name, known);
                return self.problem(problem);
            };
            self.number_by(id, column, sequence, Some(text));
            return;
        }
        let bound = Binder::new(&self.schema, &source).constant_expr(&written.node, ty);
        if let Some(expr) = self.ok(bound) {
            self.set_default(id, column, expr, text);
        }
    }

    /// A column that takes its values from a sequence. Of the ordinary one (`table_column_seq`, 1 by 1) it is enough to say that the
    /// column numbers its rows; another is written out as its default.
    fn number_by(&mut self, id: RelationId, column: u32, sequence: usize, text: Option<String>) {
        let relation = self.schema.relation(id);
        let built = &relation.columns[column as usize];
        let draft = &self.catalog.sequences[sequence];
        let ordinary = draft.namespace == relation.namespace
            && *draft.name == *generated_name(&relation.name, &built.name, "seq", &|_| false)
            && counts_by_one(&draft.definition, &built.ty);
        let key = type_key(&draft.namespace, &draft.name);
        let ty = built.ty.clone();
        if ty.is_integer() {
            self.schema.relations[id.0 as usize].columns[column as usize]
                .identity
                .get_or_insert(IdentityColumn::ByDefault);
        }
        if !ordinary || !ty.is_integer() {
            let text = text.unwrap_or_else(|| format!("nextval('{key}'::regclass)"));
            self.set_default(id, column, next_value(&key, &ty), text);
        }
    }

    fn bind_checks(&mut self, draft: usize, id: RelationId) {
        let Some(table) = self.catalog.table(draft) else { return };
        let checks = table.checks.clone();
        let mut built = Vec::new();
        for check in checks {
            let source = self.at(&check.expr.place);
            let bound = Binder::new(&self.schema, &source).row_expr(id, &check.expr.node, Some(&Type::Bool));
            if let Some(expr) = self.ok(bound) {
                built.push(Check { name: check.name, expr });
            }
        }
        let columns: Vec<(u32, Type, Arc<str>)> = self
            .schema
            .relation(id)
            .columns
            .iter()
            .enumerate()
            .filter_map(|(i, c)| Some((i as u32, c.ty.clone(), c.domain.clone()?)))
            .collect();
        for (column, ty, domain) in columns {
            let checks: Vec<DraftCheck> = self.domains(&domain).flat_map(|d| d.checks.clone()).collect();
            for check in checks {
                let source = self.at(&check.expr.place);
                let params = [(Arc::from("value"), ty.clone())];
                let bound = Binder::new(&self.schema, &source)
                    .with_params(&params)
                    .constant_expr(&check.expr.node, &Type::Bool);
                let Some(expr) = self.ok(bound) else { continue };
                let expr = on_column(&expr, column);
                if let Some(expr) = self.ok(expr) {
                    built.push(Check { name: check.name, expr });
                }
            }
        }
        if let Some(table) = self.table_mut(id) {
            table.checks = built;
        }
    }

    fn bind_indexes(&mut self, draft: usize, id: RelationId) {
        let Some(table) = self.catalog.table(draft) else { return };
        let indexes = table.indexes.clone();
        let mut built = Vec::new();
        for index in indexes {
            match self.bind_index(draft, id, &index) {
                Ok(index) => built.push(index),
                // A unique index is a rule; another one only makes something faster.
                Err(problem) if index.unique => {
                    self.ok::<()>(Err(problem));
                }
                Err(problem) => {
                    let message = format!("the index `{}` is left out: {}", index.name, problem.message);
                    self.problem(Problem {
                        message,
                        severity: crate::Severity::Warning,
                        ..problem
                    });
                }
            }
        }
        if let Some(table) = self.table_mut(id) {
            table.indexes = built;
        }
    }

    fn bind_index(&mut self, draft: usize, id: RelationId, index: &DraftIndex) -> Result<Index, Problem> {
        let source = self.at(&index.place);
        let mut keys = Vec::new();
        for key in &index.keys {
            let expr = match key.column.map(|c| self.moved(draft, &[c])).as_deref() {
                Some([column]) => Expr::column(*column, self.schema.relation(id).columns[*column as usize].ty.clone()),
                _ => Binder::new(&self.schema, &source).row_expr(id, &key.expr, None)?,
            };
            keys.push(OrderBy {
                expr,
                descending: key.descending,
                nulls_first: key.nulls_first,
            });
        }
        let filter = match &index.filter {
            Some(filter) => Some(Binder::new(&self.schema, &source).row_expr(id, filter, Some(&Type::Bool))?),
            None => None,
        };
        Ok(Index {
            name: index.name.clone(),
            keys,
            unique: index.unique,
            filter,
            method: index.method.clone(),
        })
    }

    fn bind_policies(&mut self, draft: usize, id: RelationId) {
        let Some(table) = self.catalog.table(draft) else { return };
        let policies: Vec<DraftPolicy> = table.policies.clone();
        let mut built = Vec::new();
        for policy in policies {
            let mut failed = false;
            let mut bind = |assembly: &mut Assembly, written: &Option<Written<ast::Expr>>| {
                let written = written.as_ref()?;
                let source = assembly.at(&written.place);
                let bound = Binder::new(&assembly.schema, &source).row_expr(id, &written.node, Some(&Type::Bool));
                let expr = assembly.ok(bound);
                failed |= expr.is_none();
                expr
            };
            let using = bind(self, &policy.using);
            let check = bind(self, &policy.check);
            // A policy that could not be read must not let anything through.
            let never = || Some(Expr::literal(Value::Bool(false), Type::Bool));
            let (using, check) = if failed { (never(), never()) } else { (using, check) };
            built.push(Policy {
                name: policy.name,
                command: policy.command,
                restrictive: policy.restrictive,
                roles: policy.roles,
                using,
                check,
                span: policy.span,
            });
        }
        if let Some(table) = self.table_mut(id) {
            table.policies = built;
        }
    }
}

/// `ALTER TABLE … SET DEFAULT nextval(…)` behind a `serial`, as some tools write.
fn is_default_of_serial(default: &Option<Written<ast::Expr>>) -> bool {
    default
        .as_ref()
        .is_some_and(|written| crate::ddl::nextval_target(&written.node).is_some())
}

/// `nextval` of a sequence, in the column's type.
fn next_value(sequence: &Arc<str>, ty: &Type) -> Expr {
    let name = Expr::literal(Value::Text(sequence.to_string()), Type::Text);
    let call = Expr::new(ExprKind::Call(Builtin::NextVal, vec![name]), Type::Int8);
    if *ty == Type::Int8 {
        call
    } else {
        Expr::new(ExprKind::Cast(Box::new(call)), ty.clone())
    }
}

/// Whether a sequence is 1 by 1 to the end of the type's numbers.
fn counts_by_one(sequence: &Sequence, ty: &Type) -> bool {
    let most = match ty {
        Type::Int2 => i16::MAX.into(),
        Type::Int4 => i32::MAX.into(),
        _ => i64::MAX,
    };
    let max = i64::MAX;
    sequence.max >= most && Sequence { max, ..*sequence } == Sequence::default()
}

/// A domain's check, bound with VALUE as its parameter, as a check of a column.
fn on_column(expr: &Expr, column: u32) -> Result<Expr, Problem> {
    struct Value(u32);
    impl Rewrite for Value {
        fn expr(&mut self, expr: &Expr) -> mainstay_model::Result<Option<Expr>> {
            Ok(match expr.kind {
                ExprKind::Param(0) => Some(Expr::column(self.0, expr.ty.clone())),
                _ => None,
            })
        }
    }
    rewrite_expr(expr, &mut Value(column)).map_err(|error| Problem::error(Default::default(), error.to_string()))
}
