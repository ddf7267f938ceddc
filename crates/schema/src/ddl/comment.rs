//! COMMENT ON: becomes documentation of the API.

use super::Reader;
use super::function::signature_of;
use crate::catalog::DraftKind;
use crate::names::Name;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};

impl Reader {
    pub(super) fn comment_on(&mut self, statement: &ast::CommentOn) {
        let comment = statement.literal().and_then(|l| l.string_value());
        match statement.comment_object() {
            Some(ast::CommentObject::ObjectTable(object)) => {
                let Some(written) = object.table_name_ref() else { return };
                self.comment_relation(written, comment);
            }
            Some(ast::CommentObject::ObjectView(object)) => {
                let Some(written) = object.view_ref() else { return };
                self.comment_relation(written, comment);
            }
            Some(ast::CommentObject::ObjectMaterializedView(object)) => {
                let Some(written) = object.view_ref() else { return };
                self.comment_relation(written, comment);
            }
            Some(ast::CommentObject::ObjectColumn(object)) => {
                let Some(written) = object.name() else { return };
                let Some((relation, _)) = self.qualified_column(&written) else {
                    return;
                };
                self.comment_column(relation, &written, comment);
            }
            Some(ast::CommentObject::ObjectFunction(object)) => {
                let Some(sig) = object.function_sig() else { return };
                let Some(name) = sig.function_name_ref().and_then(|n| Name::of(&n)) else {
                    return;
                };
                let signature = sig.param_list().map(|p| signature_of(&p));
                self.comment_function(&name, signature.as_deref(), sig.syntax(), comment);
            }
            // Of constraints, indexes, policies, types, extensions …: nobody shows them.
            _ => {}
        }
    }

    fn comment_relation(&mut self, written: impl AstNode, comment: Option<String>) {
        if let Some(relation) = self.relation(&written) {
            self.catalog.relations[relation].comment = comment;
        }
    }

    fn comment_column(&mut self, relation: usize, written: &ast::QualifiedColumnNameRef, comment: Option<String>) {
        let Some(segment) = written.path_ref().and_then(|p| p.segment()) else {
            return;
        };
        let span = self.span(segment.syntax());
        if let DraftKind::View(view) = &mut self.catalog.relations[relation].kind {
            return view.column_comments.push((crate::names::text(&segment), comment, span));
        }
        let column = self.column(relation, segment.syntax());
        self.change_column(relation, column, |c| c.comment = comment);
    }

    fn comment_function(
        &mut self,
        name: &Name,
        signature: Option<&[String]>,
        at: &SyntaxNode,
        comment: Option<String>,
    ) {
        let Some(found) = self.functions_or_problem(name, signature, at) else {
            return;
        };
        for function in found {
            self.catalog.functions[function].comment = comment.clone();
        }
    }

    /// The functions of a name, or a problem.
    pub(super) fn functions_or_problem(
        &mut self,
        name: &Name,
        signature: Option<&[String]>,
        at: &SyntaxNode,
    ) -> Option<Vec<usize>> {
        let found = self.catalog.functions_named(name, signature, &self.place.path);
        if !found.is_empty() {
            return Some(found);
        }
        let others = self.catalog.functions_named(name, None, &self.place.path);
        let problem = match others.first() {
            Some(&other) => {
                let takes = self.catalog.functions[other].signature.join(", ");
                self.source()
                    .error(at, format!("there is no function `{name}` with these arguments"))
                    .help(format!("it takes ({takes})"))
            }
            None => {
                let known: Vec<&str> = self
                    .catalog
                    .functions
                    .iter()
                    .filter(|f| !f.dropped)
                    .map(|f| &*f.name)
                    .collect();
                let problem = self
                    .source()
                    .error(at, format!("there is no function `{name}`"))
                    .help("declare it before it is used");
                problem.did_you_mean(&name.name, known)
            }
        };
        self.problem(problem);
        None
    }
}
