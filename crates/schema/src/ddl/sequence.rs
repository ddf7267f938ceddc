//! Sequences: declared by themselves, or made for `serial` and identity columns.

use super::Reader;
use crate::catalog::DraftSequence;
use crate::names::Name;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Reader {
    pub(super) fn create_sequence(&mut self, statement: &ast::CreateSequence) {
        let Some(written) = statement.sequence() else { return };
        let Some(name) = Name::of(&written) else { return };
        let at = written.syntax();
        let namespace = self.creation_namespace(&name, at);
        if !self.catalog.take_relation_name(&namespace, &name.name) {
            if statement.if_not_exists().is_none() {
                self.error(at, format!("the name `{name}` is taken already"), "rename one of them");
            }
            return;
        }
        let (start, increment) = self.sequence_options(statement.sequence_options());
        self.catalog.sequences.push(DraftSequence {
            namespace,
            name: name.name,
            start,
            increment,
            dropped: false,
        });
    }

    /// The sequence of a numbered column; its options may name it, as pg_dump writes.
    pub(super) fn column_sequence(
        &mut self,
        table: usize,
        column: &str,
        options: Option<ast::SequenceOptionList>,
    ) -> usize {
        let (namespace, relation) = self.name_of(table);
        let given = options.iter().flat_map(|o| o.sequence_options()).find_map(|o| match o {
            ast::SequenceOption::OptionSequenceName(name) => name.sequence().and_then(|s| Name::of(&s)),
            _ => None,
        });
        let (namespace, name) = match given {
            Some(given) => {
                let namespace = given.namespace.unwrap_or(namespace);
                self.catalog.take_relation_name(&namespace, &given.name);
                (namespace, given.name)
            }
            None => {
                let name = self
                    .catalog
                    .generate_relation_name(&namespace, &relation, column, "seq");
                (namespace, name)
            }
        };
        let (start, increment) = match options {
            Some(list) => self.sequence_options(list.sequence_options()),
            None => (1, 1),
        };
        self.catalog.sequences.push(DraftSequence {
            namespace,
            name,
            start,
            increment,
            dropped: false,
        });
        self.catalog.sequences.len() - 1
    }

    fn sequence_options(&mut self, options: impl Iterator<Item = ast::SequenceOption>) -> (i64, i64) {
        let (mut start, mut increment, mut least, mut most) = (None, 1, None, None);
        for option in options {
            match option {
                ast::SequenceOption::OptionStart(o) => start = self.whole_number(o.expr()).or(start),
                ast::SequenceOption::OptionIncrement(o) => increment = self.whole_number(o.expr()).unwrap_or(1),
                ast::SequenceOption::OptionMinValue(o) => least = self.whole_number(o.expr()),
                ast::SequenceOption::OptionMaxValue(o) => most = self.whole_number(o.expr()),
                ast::SequenceOption::OptionCycle(o) => {
                    self.warning(
                        o.syntax(),
                        "a sequence does not start again here",
                        "leave CYCLE out, or compute the number",
                    );
                }
                _ => {}
            }
        }
        if increment == 0 {
            increment = 1;
        }
        let start = start.unwrap_or(if increment > 0 {
            least.unwrap_or(1)
        } else {
            most.unwrap_or(-1)
        });
        (start, increment)
    }

    fn whole_number(&mut self, expr: Option<ast::Expr>) -> Option<i64> {
        let expr = expr?;
        let text: String = expr
            .syntax()
            .text()
            .to_string()
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '_')
            .collect();
        let number = text.parse().ok();
        if number.is_none() {
            self.error(
                expr.syntax(),
                format!("`{text}` is no whole number of 64 bits"),
                "write digits",
            );
        }
        number
    }

    pub(super) fn alter_sequence(&mut self, statement: &ast::AlterSequence) {
        let Some(written) = statement.sequence_ref() else {
            return;
        };
        let Some(sequence) = self.sequence(&written, statement.if_exists().is_some()) else {
            return;
        };
        for action in statement.actions() {
            match action {
                ast::AlterSequenceAction::SequenceOption(option) => match option {
                    ast::SequenceOption::OptionIncrement(o) => {
                        if let Some(increment) = self.whole_number(o.expr()).filter(|i| *i != 0) {
                            self.catalog.sequences[sequence].increment = increment;
                        }
                    }
                    ast::SequenceOption::OptionStart(o) => {
                        if let Some(start) = self.whole_number(o.expr()) {
                            self.catalog.sequences[sequence].start = start;
                        }
                    }
                    ast::SequenceOption::OptionRestart(o) => {
                        let next = match o.expr() {
                            Some(expr) => self.whole_number(Some(expr)),
                            None => Some(self.catalog.sequences[sequence].start),
                        };
                        self.catalog.sequence_values.extend(next.map(|next| (sequence, next)));
                    }
                    ast::SequenceOption::OptionOwnedBy(o) => {
                        if let Some(ast::OwnedByTarget::QualifiedColumnNameRef(column)) = o.owned_by_target() {
                            self.qualified_column(&column);
                        }
                    }
                    _ => {}
                },
                ast::AlterSequenceAction::SequenceRenameTo(rename) => {
                    if let Some(new) = rename.sequence().and_then(|s| Name::of(&s)) {
                        let namespace = self.catalog.sequences[sequence].namespace.clone();
                        self.catalog.take_relation_name(&namespace, &new.name);
                        self.catalog.sequences[sequence].name = new.name;
                    }
                }
                ast::AlterSequenceAction::SetSchema(set) => {
                    if let Some(schema) = set.schema_ref() {
                        self.catalog.sequences[sequence].namespace = crate::names::text(&schema);
                    }
                }
                _ => {}
            }
        }
    }

    /// The sequence that a node refers to, or a problem.
    pub(super) fn sequence(&mut self, at: &impl AstNode, if_exists: bool) -> Option<usize> {
        let name = Name::of(at)?;
        self.sequence_named(&name, at.syntax(), if_exists)
    }

    pub(super) fn sequence_named(&mut self, name: &Name, at: &SyntaxNode, if_exists: bool) -> Option<usize> {
        let found = self.catalog.sequence(name, &self.place.path);
        if found.is_none() && !if_exists {
            let known: Vec<Arc<str>> = self
                .catalog
                .sequences
                .iter()
                .filter(|s| !s.dropped)
                .map(|s| s.name.clone())
                .collect();
            let problem = self
                .source()
                .error(at, format!("there is no sequence `{name}`"))
                .help("declare it before it is used");
            self.problem(problem.did_you_mean(&name.name, known.iter().map(|n| &**n)));
        }
        found
    }

    /// `schema.table.column`, as `OWNED BY` and `COMMENT ON COLUMN` have it.
    pub(super) fn qualified_column(&mut self, at: &ast::QualifiedColumnNameRef) -> Option<(usize, Arc<str>)> {
        let path = at.path_ref()?;
        let column = crate::names::text(&path.segment()?);
        let relation = Name::from_ref(&path.qualifier()?)?;
        match self.catalog.relation(&relation, &self.place.path) {
            Some(index) => Some((index, column)),
            None => {
                let problem = self.unknown_relation(&relation, at.syntax());
                self.problem(problem);
                None
            }
        }
    }
}

/// The sequence's name in `nextval('…'::regclass)`, if that is what the expression is.
pub(crate) fn nextval_target(expr: &ast::Expr) -> Option<Name> {
    let ast::Expr::CallExpr(call) = expr else { return None };
    let callee = call.expr()?.syntax().text().to_string().to_ascii_lowercase();
    if callee.trim_start_matches("pg_catalog.") != "nextval" {
        return None;
    }
    let mut args = call.arg_list()?.args();
    let (arg, None) = (args.next()?.expr()?, args.next()) else {
        return None;
    };
    Some(Name::parse(&string_in(&arg)?))
}

/// The text of a string literal, with or without casts around it.
pub(super) fn string_in(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Literal(literal) => literal.string_value(),
        ast::Expr::CastExpr(cast) => match cast.literal() {
            Some(literal) => literal.string_value(),
            None => string_in(&cast.expr()?),
        },
        ast::Expr::ParenExpr(paren) => string_in(&paren.expr()?),
        _ => None,
    }
}
