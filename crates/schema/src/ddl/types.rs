//! CREATE TYPE, CREATE DOMAIN and their changes.

use super::Reader;
use crate::catalog::{DeclaredKind, DraftCheck, DraftDeclared, DraftDomain};
use crate::names::{Name, text};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Reader {
    pub(super) fn create_type(&mut self, statement: &ast::CreateType) {
        let Some(written) = statement.type_name() else { return };
        let Some(name) = Name::of(&written) else { return };
        let kind = match statement.kind() {
            Some(ast::CreateTypeKind::EnumType(of)) => {
                let mut labels: Vec<Arc<str>> = Vec::new();
                for variant in of.variant_list().into_iter().flat_map(|list| list.variants()) {
                    let Some(label) = variant.literal().and_then(|l| l.string_value()) else {
                        continue;
                    };
                    if labels.iter().any(|l| **l == *label) {
                        self.error(
                            variant.syntax(),
                            format!("the label '{label}' stands twice"),
                            "remove one",
                        );
                    } else {
                        labels.push(label.into());
                    }
                }
                DeclaredKind::Enum(labels)
            }
            Some(ast::CreateTypeKind::CompositeType(of)) => {
                let fields = of
                    .composite_field_list()
                    .into_iter()
                    .flat_map(|list| list.composite_field_defs());
                DeclaredKind::Composite(fields.filter_map(|f| Some((text(&f.name()?), f.ty()?))).collect())
            }
            Some(ast::CreateTypeKind::RangeType(_)) => DeclaredKind::Range,
            Some(ast::CreateTypeKind::BaseType(base)) => {
                return self.error(
                    base.syntax(),
                    "a base type is made of functions in C",
                    "use a domain, an enum or a composite type",
                );
            }
            // A shell type: declared properly later.
            None => return,
        };
        self.declare_type(&name, written.syntax(), kind);
    }

    pub(super) fn create_domain(&mut self, statement: &ast::CreateDomain) {
        let (Some(written), Some(base)) = (statement.domain(), statement.ty()) else {
            return;
        };
        let Some(name) = Name::of(&written) else { return };
        let mut domain = DraftDomain {
            base,
            not_null: false,
            default: None,
            checks: Vec::new(),
        };
        for qualifier in statement.domain_qualifiers() {
            match qualifier {
                ast::DomainQualifier::Collate(collate) => self.collation(&collate),
                ast::DomainQualifier::Constraint(constraint) => {
                    self.domain_constraint(&name.name, &mut domain, &constraint)
                }
            }
        }
        self.declare_type(&name, written.syntax(), DeclaredKind::Domain(domain));
    }

    fn domain_constraint(&mut self, domain_name: &str, domain: &mut DraftDomain, constraint: &ast::Constraint) {
        let given = constraint.constraint_name().map(|n| text(&n));
        match constraint {
            ast::Constraint::NotNullConstraint(_) => domain.not_null = true,
            ast::Constraint::NullConstraint(_) => {}
            ast::Constraint::DefaultConstraint(default) => domain.default = default.expr().map(|e| self.written(e)),
            ast::Constraint::CheckConstraint(check) => {
                let Some(expr) = check.expr() else { return };
                let name = given.unwrap_or_else(|| {
                    crate::names::generated_name(domain_name, "", "check", &|n| {
                        domain.checks.iter().any(|c| *c.name == *n)
                    })
                });
                domain.checks.push(DraftCheck {
                    name,
                    expr: self.written(expr),
                });
            }
            other => self.error(
                other.syntax(),
                "a domain has no such constraint",
                "a domain takes NOT NULL, DEFAULT and CHECK",
            ),
        }
    }

    fn declare_type(&mut self, name: &Name, at: &SyntaxNode, kind: DeclaredKind) {
        let namespace = self.creation_namespace(name, at);
        let full = Name {
            namespace: Some(namespace.clone()),
            name: name.name.clone(),
        };
        if let Some(existing) = self.catalog.declared_type(&full, &[]) {
            let other = &self.catalog.declared[existing].span;
            let message = format!(
                "the type `{name}` is declared twice: here and at {}:{}:{}",
                other.file, other.line, other.column
            );
            return self.error(at, message, "rename or remove one of them");
        }
        let span = self.span(at);
        let place = self.place.clone();
        self.catalog.declared.push(DraftDeclared {
            namespace,
            name: name.name.clone(),
            place,
            span,
            dropped: false,
            kind,
        });
    }

    fn type_named(&mut self, at: &impl AstNode) -> Option<usize> {
        let name = Name::of(at)?;
        let found = self.catalog.declared_type(&name, &self.place.path);
        if found.is_none() {
            let known: Vec<Arc<str>> = self
                .catalog
                .declared
                .iter()
                .filter(|t| !t.dropped)
                .map(|t| t.name.clone())
                .collect();
            let problem = self
                .source()
                .error_at(at, format!("there is no type `{name}`"))
                .help("declare it before it is used");
            self.problem(problem.did_you_mean(&name.name, known.iter().map(|n| &**n)));
        }
        found
    }

    pub(super) fn alter_type(&mut self, statement: &ast::AlterType) {
        let (Some(written), Some(action)) = (statement.type_name_ref(), statement.action()) else {
            return;
        };
        if matches!(action, ast::AlterTypeAction::OwnerTo(_)) {
            return;
        }
        let Some(index) = self.type_named(&written) else { return };
        match (&action, &mut self.catalog.declared[index].kind) {
            (ast::AlterTypeAction::AddValue(add), DeclaredKind::Enum(labels)) => {
                let Some(label) = add.literal().and_then(|l| l.string_value()) else {
                    return;
                };
                let neighbour = |literal: Option<ast::Literal>| {
                    let label = literal.and_then(|l| l.string_value())?;
                    labels.iter().position(|l| **l == *label)
                };
                let at = match add.value_position() {
                    Some(ast::ValuePosition::BeforeValue(before)) => neighbour(before.literal()),
                    Some(ast::ValuePosition::AfterValue(after)) => neighbour(after.literal()).map(|i| i + 1),
                    None => Some(labels.len()),
                };
                if !labels.iter().any(|l| **l == *label) {
                    labels.insert(at.unwrap_or(labels.len()), label.into());
                }
            }
            (ast::AlterTypeAction::RenameValue(rename), DeclaredKind::Enum(labels)) => {
                let from = rename.from().and_then(|l| l.string_value());
                let to = rename.to().and_then(|l| l.string_value());
                if let (Some(from), Some(to)) = (from, to)
                    && let Some(label) = labels.iter_mut().find(|l| ***l == *from)
                {
                    *label = to.into();
                }
            }
            (ast::AlterTypeAction::TypeRenameTo(rename), _) => {
                if let Some(new) = rename.type_name().and_then(|n| Name::of(&n)) {
                    self.catalog.declared[index].name = new.name;
                }
            }
            (ast::AlterTypeAction::SetSchema(set), _) => {
                if let Some(schema) = set.schema_ref() {
                    self.catalog.declared[index].namespace = text(&schema);
                }
            }
            _ => self.error(
                action.syntax(),
                "this change of a type is not supported",
                "change the declaration itself instead",
            ),
        }
    }

    pub(super) fn alter_domain(&mut self, statement: &ast::AlterDomain) {
        let (Some(written), Some(action)) = (statement.domain_ref(), statement.action()) else {
            return;
        };
        if matches!(
            action,
            ast::AlterDomainAction::OwnerTo(_) | ast::AlterDomainAction::ValidateConstraint(_)
        ) {
            return;
        }
        let Some(index) = self.type_named(&written) else { return };
        let name = self.catalog.declared[index].name.clone();
        let place = self.place.clone();
        let DeclaredKind::Domain(domain) = &mut self.catalog.declared[index].kind else {
            return self.error(written.syntax(), format!("`{name}` is no domain"), "use ALTER TYPE");
        };
        match action {
            ast::AlterDomainAction::SetNotNull(_) => domain.not_null = true,
            ast::AlterDomainAction::DropNotNull(_) => domain.not_null = false,
            ast::AlterDomainAction::DropDefault(_) => domain.default = None,
            ast::AlterDomainAction::SetDefault(set) => {
                domain.default = set.expr().map(|node| crate::catalog::Written { node, place });
            }
            ast::AlterDomainAction::DropConstraint(drop) => {
                let dropped = drop.constraint_name_ref().and_then(|c| Name::of(&c));
                domain
                    .checks
                    .retain(|c| dropped.as_ref().is_none_or(|d| d.name != c.name));
            }
            ast::AlterDomainAction::AddConstraint(add) => {
                let Some(constraint) = add.constraint() else { return };
                let mut taken = std::mem::replace(
                    domain,
                    DraftDomain {
                        base: domain.base.clone(),
                        not_null: false,
                        default: None,
                        checks: Vec::new(),
                    },
                );
                self.domain_constraint(&name, &mut taken, &constraint);
                self.catalog.declared[index].kind = DeclaredKind::Domain(taken);
            }
            other => self.error(
                other.syntax(),
                "this change of a domain is not supported",
                "change the declaration itself instead",
            ),
        }
    }
}
