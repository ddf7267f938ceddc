//! Functions: signatures before anything is bound, because anything may call them; defaults and bodies at the end.

use super::Assembly;
use crate::bind::{Binder, statement_effects};
use crate::catalog::{DraftFunction, Place};
use crate::ddl::{language_of, search_path_option};
use crate::names::{Name, text};
use crate::source_text::SourceText;
use crate::{Problem, types};
use mainstay_model::{
    Argument, Cardinality, DeclaredType, Expr, Function, FunctionId, RelationId, Relationship, Returns, Type, Value,
    Volatility,
};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// The statements of a body with the text that their offsets count in.
struct Body {
    source: SourceText,
    statements: Vec<SyntaxNode>,
    /// A body that is a string is looked up when it is called, from the schema that it is called in.
    late: bool,
}

impl Assembly {
    pub(super) fn declare_functions(&mut self) {
        let drafts = std::mem::take(&mut self.catalog.functions);
        for draft in &drafts {
            let declared = if draft.dropped || draft.refused.is_some() {
                None
            } else {
                self.declare_function(draft)
            };
            self.functions.push(declared.map(|function| {
                self.schema.functions.push(function);
                FunctionId(self.schema.functions.len() as u32 - 1)
            }));
        }
        self.catalog.functions = drafts;
    }

    fn declare_function(&mut self, draft: &DraftFunction) -> Option<Function> {
        let source = self.at(&draft.place);
        let mut args = Vec::new();
        let mut outputs: Vec<(Arc<str>, Type)> = Vec::new();
        for (position, param) in draft.params.iter().flat_map(|p| p.params()).enumerate() {
            let name = param.name().map_or_else(|| Arc::from(""), |n| text(&n));
            let resolved = self.function_type(param.func_type().as_ref(), &source, param.syntax());
            let ty = self.ok(resolved)?;
            let mode = param.mode();
            if matches!(mode, Some(ast::ParamMode::ParamOut(_) | ast::ParamMode::ParamInOut(_))) {
                let shown = if name.is_empty() {
                    format!("column{}", position + 1).into()
                } else {
                    name.clone()
                };
                outputs.push((shown, ty.clone()));
            }
            if !matches!(mode, Some(ast::ParamMode::ParamOut(_))) {
                let variadic = matches!(mode, Some(ast::ParamMode::ParamVariadic(_)));
                if variadic && !matches!(ty, Type::Array(_)) {
                    let problem = source
                        .error_at(&param, "a VARIADIC argument is an array")
                        .help(format!("write {ty}[]"));
                    self.problem(problem);
                    return None;
                }
                args.push(Argument {
                    name,
                    ty,
                    default: None,
                    variadic,
                });
            }
        }
        let returns = self.returns(draft, outputs, &source)?;
        let file = &self.catalog.files[draft.place.file];
        let options = &draft.options;
        let has = |wanted: fn(&ast::FuncOption) -> bool| options.iter().any(wanted);
        let last = |first: fn(&ast::FuncOption) -> bool, second: fn(&ast::FuncOption) -> bool| {
            options
                .iter()
                .rposition(first)
                .is_some_and(|i| options.iter().rposition(second).is_none_or(|j| i > j))
        };
        let volatility = options.iter().rev().find_map(|o| match o {
            ast::FuncOption::VolatilityFuncOption(ast::VolatilityFuncOption::Immutable(_)) => {
                Some(Volatility::Immutable)
            }
            ast::FuncOption::VolatilityFuncOption(ast::VolatilityFuncOption::Stable(_)) => Some(Volatility::Stable),
            ast::FuncOption::VolatilityFuncOption(ast::VolatilityFuncOption::Volatile(_)) => Some(Volatility::Volatile),
            _ => None,
        });
        Some(Function {
            namespace: draft.namespace.clone(),
            name: draft.name.clone(),
            store: file.store.clone(),
            service: file.service.clone(),
            args,
            returns,
            volatility: volatility.unwrap_or(Volatility::Volatile),
            security_definer: last(
                |o| matches!(o, ast::FuncOption::SecurityDefinerFuncOption(_)),
                |o| matches!(o, ast::FuncOption::SecurityInvokerFuncOption(_)),
            ),
            strict: has(|o| {
                matches!(
                    o,
                    ast::FuncOption::StrictFuncOption(_) | ast::FuncOption::ReturnsNullOnNullInputFuncOption(_)
                )
            }),
            body: Vec::new(),
            writes: false,
            comment: draft.comment.clone(),
            grants: Vec::new(),
            span: draft.span.clone(),
        })
    }

    fn function_type(&self, ty: Option<&ast::FuncType>, source: &SourceText, at: &SyntaxNode) -> Result<Type, Problem> {
        match ty {
            Some(ast::FuncType::Type(ty)) => types::resolve_bare(ty, &self.schema, source),
            Some(ast::FuncType::PercentType(of)) => {
                let path = of.path_ref();
                let relation = path
                    .as_ref()
                    .and_then(|p| p.qualifier())
                    .and_then(|q| Name::from_ref(&q));
                let column = path.and_then(|p| p.segment()).map(|s| text(&s));
                let (Some(relation), Some(column)) = (relation, column) else {
                    return Err(source.error(at, "%TYPE takes table.column"));
                };
                let Some(id) = self.find_relation(&relation) else {
                    return Err(self.unknown_relation(&relation, at, source));
                };
                let found = self.schema.relation(id);
                match found.column(&column) {
                    Some(index) => Ok(found.columns[index as usize].ty.clone()),
                    None => Err(source
                        .error(at, format!("there is no column `{column}` in `{relation}`"))
                        .did_you_mean(&column, found.columns.iter().map(|c| &*c.name))),
                }
            }
            None => Err(source.error(at, "a type is missing here")),
        }
    }

    fn returns(
        &mut self,
        draft: &DraftFunction,
        outputs: Vec<(Arc<str>, Type)>,
        source: &SourceText,
    ) -> Option<Returns> {
        let Some(written) = &draft.returns else {
            if outputs.is_empty() {
                let problem = Problem::error(
                    draft.span.clone(),
                    format!("`{}` does not say what it returns", draft.name),
                );
                self.problem(problem.help("write RETURNS …, or RETURNS void"));
                return None;
            }
            return Some(Returns::Record(outputs));
        };
        if let Some(list) = written.return_table_arg_list() {
            let mut columns = Vec::new();
            for column in list.args() {
                let resolved = self.function_type(column.func_type().as_ref(), source, column.syntax());
                let ty = self.ok(resolved)?;
                columns.push((column.name().map_or_else(|| Arc::from(""), |n| text(&n)), ty));
            }
            return Some(Returns::Table(columns));
        }
        let ty = written.func_type();
        let set = match &ty {
            Some(ast::FuncType::Type(ty)) => types::is_set(ty),
            Some(ast::FuncType::PercentType(ty)) => ty.setof_token().is_some(),
            None => false,
        };
        let resolved = self.function_type(ty.as_ref(), source, written.syntax());
        let ty = self.ok(resolved)?;
        if !outputs.is_empty() {
            return Some(if set {
                Returns::Table(outputs)
            } else {
                Returns::Record(outputs)
            });
        }
        if ty == Type::Void {
            return Some(Returns::Void);
        }
        if ty == Type::Row("record".into()) {
            let problem = source.error_at(written, "a function that returns record must say of which columns");
            self.problem(problem.help("write RETURNS TABLE (…), or OUT arguments"));
            return None;
        }
        if let Type::Row(key) = &ty
            && let Some(DeclaredType::Composite(fields)) = self.schema.types.get(key)
        {
            let fields = fields.clone();
            return Some(if set {
                Returns::Table(fields)
            } else {
                Returns::Record(fields)
            });
        }
        Some(match (Self::relation_of(&self.schema, &ty), set) {
            (Some(relation), true) => Returns::SetOfRow(relation),
            (Some(relation), false) => Returns::Row(relation),
            (None, true) => Returns::SetOfScalar(ty),
            (None, false) => Returns::Scalar(ty),
        })
    }

    pub(super) fn bind_functions(&mut self) {
        for index in 0..self.functions.len() {
            if let Some(id) = self.functions[index] {
                self.bind_function(index, id);
            }
        }
        self.note_effects();
    }

    fn bind_function(&mut self, index: usize, id: FunctionId) {
        let draft = &self.catalog.functions[index];
        let (place, span, name) = (draft.place.clone(), draft.span.clone(), draft.name.clone());
        let namespace = draft.namespace.clone();
        let path = search_path_option(&draft.options);
        let (options, body) = (draft.options.clone(), draft.body.clone());
        let source = self.catalog.source(&place).clone();
        let Some(body) = self.body(&options, body, source, &span) else {
            return;
        };
        let place = match path {
            Some(path) => Place { path, ..place },
            None if body.late => Self::widened(&place, &namespace),
            None => place,
        };
        self.at(&place);
        let function = self.schema.function(id);
        let arguments: Vec<(Arc<str>, Type)> = function.args.iter().map(|a| (a.name.clone(), a.ty.clone())).collect();
        let expected = self.expected_columns(&function.returns);
        let mut bound = Vec::new();
        let last = body.statements.len().saturating_sub(1);
        let mut binder = Binder::new(&self.schema, &body.source)
            .with_params(&arguments)
            .for_function(&name);
        let mut problems = Vec::new();
        for (i, node) in body.statements.iter().enumerate() {
            let expected = if i == last { expected.as_deref() } else { None };
            match binder.statement(node, expected) {
                Ok(statement) => bound.push(statement),
                Err(problem) => problems.push(problem),
            }
        }
        if body.statements.is_empty() && expected.is_some() {
            let problem = Problem::error(span, format!("the body of `{name}` is empty, but it returns something"));
            problems.push(problem.help("end it with a SELECT or with RETURNING"));
        }
        for problem in problems {
            self.ok::<()>(Err(problem));
        }
        self.schema.functions[id.0 as usize].body = bound;
    }

    /// Before any call is bound: which arguments may be left out decides which function is meant.
    pub(super) fn bind_argument_defaults(&mut self) {
        for index in 0..self.functions.len() {
            let Some(id) = self.functions[index] else { continue };
            let draft = &self.catalog.functions[index];
            let place = draft.place.clone();
            let is_input = |p: &ast::Param| !matches!(p.mode(), Some(ast::ParamMode::ParamOut(_)));
            let inputs: Vec<ast::Param> = draft.params.iter().flat_map(|p| p.params()).filter(is_input).collect();
            let source = self.at(&place);
            let mut optional = false;
            for (position, param) in inputs.iter().enumerate() {
                let Some(arg) = self.schema.function(id).args.get(position) else {
                    break;
                };
                match param.param_default().and_then(|d| d.expr()) {
                    Some(expr) => {
                        optional = true;
                        let ty = arg.ty.clone();
                        let bound = Binder::new(&self.schema, &source).constant_expr(&expr, &ty);
                        // What could not be bound has been told; the argument stays one that may be left out.
                        let bound = self.ok(bound).unwrap_or_else(|| Expr::literal(Value::Null, ty));
                        self.schema.functions[id.0 as usize].args[position].default = Some(bound);
                    }
                    None if optional && !arg.variadic => {
                        let problem =
                            source.error_at(param, "an argument behind one with a default needs a default too");
                        self.problem(problem.help("move it before the optional arguments, or give it a default"));
                    }
                    None => {}
                }
            }
        }
    }

    /// What the last statement of a body must yield; `None` when nothing.
    fn expected_columns(&self, returns: &Returns) -> Option<Vec<Type>> {
        match returns {
            Returns::Void => None,
            Returns::Scalar(ty) | Returns::SetOfScalar(ty) => Some(vec![ty.clone()]),
            Returns::Row(relation) | Returns::SetOfRow(relation) => Some(
                self.schema
                    .relation(*relation)
                    .columns
                    .iter()
                    .map(|c| c.ty.clone())
                    .collect(),
            ),
            Returns::Table(columns) | Returns::Record(columns) => {
                Some(columns.iter().map(|(_, ty)| ty.clone()).collect())
            }
        }
    }

    fn body(
        &mut self,
        options: &[ast::FuncOption],
        body: Option<ast::RoutineBody>,
        source: SourceText,
        span: &mainstay_model::Span,
    ) -> Option<Body> {
        match body {
            Some(ast::RoutineBody::ReturnStmt(statement)) => {
                return Some(Body {
                    source,
                    statements: vec![statement.syntax().clone()],
                    late: false,
                });
            }
            Some(ast::RoutineBody::AtomicBody(atomic)) => {
                let statements = atomic.routine_body_stmts().map(|s| s.syntax().clone());
                let statements = statements.filter(|s| !ast::EmptyStmt::can_cast(s.kind())).collect();
                return Some(Body {
                    source,
                    statements,
                    late: false,
                });
            }
            None => {}
        }
        let definition = options.iter().rev().find_map(|o| match o {
            ast::FuncOption::AsFuncOption(of) => match of.as_func_target() {
                Some(ast::AsFuncTarget::AsDefinition(definition)) => definition.literal(),
                _ => None,
            },
            _ => None,
        });
        let decoded = definition.and_then(|d| d.decoded_value());
        let Some(decoded) = decoded else {
            let language = language_of(options).unwrap_or_default();
            let problem = Problem::error(span.clone(), format!("the function has no body in LANGUAGE {language}"));
            self.problem(problem.help("write AS $$ … $$, or BEGIN ATOMIC … END"));
            return None;
        };
        let parse = ast::SourceFile::parse(decoded.text());
        let errors = parse.errors();
        let source = source.body(decoded);
        if let Some(error) = errors.first() {
            // Told already, if the parser of the file has looked into the body; then the same words at the same place are one.
            let message = crate::ddl::syntax_error(error.message());
            let problem = Problem::error(source.span(error.range()), message);
            self.problem(problem);
            return None;
        }
        let statements = parse.tree().stmts().map(|s| s.syntax().clone());
        let statements = statements.filter(|s| !ast::EmptyStmt::can_cast(s.kind())).collect();
        Some(Body {
            source,
            statements,
            late: true,
        })
    }

    /// Functions of a row that yield rows of a relation are ways from one to the other.
    pub(super) fn computed_relationships(&mut self) {
        for index in 0..self.functions.len() {
            let Some(id) = self.functions[index] else { continue };
            let function = self.schema.function(id);
            let [argument] = function.args.as_slice() else { continue };
            let Some(from) = Self::relation_of(&self.schema, &argument.ty) else {
                continue;
            };
            let one = self.catalog.functions[index].options.iter().any(|o| match o {
                ast::FuncOption::RowsFuncOption(rows) => rows.literal().is_some_and(|l| l.syntax().text() == "1"),
                _ => false,
            });
            let (target, one): (RelationId, bool) = match function.returns {
                Returns::SetOfRow(target) => (target, one),
                Returns::Row(target) => (target, true),
                _ => continue,
            };
            let relationship = Relationship {
                target,
                cardinality: if one {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                },
                constraint: function.name.clone(),
                columns: Vec::new(),
                through: None,
                function: Some(id),
                is_self: from == target,
            };
            if let Some(list) = self.schema.relationships.get_mut(from.0 as usize) {
                list.push(relationship);
            }
        }
    }

    /// Which functions write: themselves, or through what they call.
    fn note_effects(&mut self) {
        loop {
            let mut changed = false;
            for index in 0..self.schema.functions.len() {
                let function = &self.schema.functions[index];
                let writes = |s| statement_effects(s, &self.schema).writes;
                if !function.writes && function.body.iter().any(writes) {
                    self.schema.functions[index].writes = true;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }
}
