//! Sequences: declared by themselves, or made for `serial` and identity columns.

use super::Reader;
use crate::catalog::DraftSequence;
use crate::names::Name;
use mainstay_model::{IdentityColumn, Sequence};
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
        let options = statement.sequence_options().collect();
        let definition = self.sequence_options(None, options, at);
        self.catalog.sequences.push(DraftSequence {
            namespace,
            name: name.name,
            definition,
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
        let definition = match options {
            Some(list) => self.sequence_options(None, list.sequence_options().collect(), list.syntax()),
            None => Sequence::default(),
        };
        self.catalog.sequences.push(DraftSequence {
            namespace,
            name,
            definition,
            dropped: false,
        });
        self.catalog.sequences.len() - 1
    }

    /// What options make of a sequence: of a new one, or of one that is there. Bounds that are not given are those of its type.
    fn sequence_options(
        &mut self,
        had: Option<Sequence>,
        options: Vec<ast::SequenceOption>,
        at: &SyntaxNode,
    ) -> Sequence {
        let (mut lowest, mut highest) = (i64::MIN, i64::MAX);
        let (mut start, mut increment) = (None, None);
        // Given as a number, or taken away.
        let (mut least, mut most, mut cycle) = (None, None, None);
        for option in options {
            match option {
                ast::SequenceOption::OptionAsType(o) => (lowest, highest) = range_of(&o),
                ast::SequenceOption::OptionStart(o) => start = self.whole_number(o.expr()).or(start),
                ast::SequenceOption::OptionIncrement(o) => increment = self.whole_number(o.expr()),
                ast::SequenceOption::OptionMinValue(o) => least = Some(self.whole_number(o.expr())),
                ast::SequenceOption::OptionNoMinValue(_) => least = Some(None),
                ast::SequenceOption::OptionMaxValue(o) => most = Some(self.whole_number(o.expr())),
                ast::SequenceOption::OptionNoMaxValue(_) => most = Some(None),
                ast::SequenceOption::OptionCycle(_) => cycle = Some(true),
                ast::SequenceOption::OptionNoCycle(_) => cycle = Some(false),
                _ => {}
            }
        }
        let increment = increment.or(had.map(|h| h.increment)).unwrap_or(1);
        let (min, max) = match increment > 0 {
            true => (1, highest),
            false => (lowest, -1),
        };
        let min = least.unwrap_or(had.map(|h| h.min)).unwrap_or(min);
        let max = most.unwrap_or(had.map(|h| h.max)).unwrap_or(max);
        let first = if increment > 0 { min } else { max };
        let start = start.or(had.map(|h| h.start)).unwrap_or(first);
        if increment == 0 {
            self.error(
                at,
                "INCREMENT must not be zero",
                "write the number that is added each time",
            );
        } else if min >= max {
            let message = format!("MINVALUE ({min}) must be less than MAXVALUE ({max})");
            self.error(at, message, "correct one of them");
        } else if !(min..=max).contains(&start) {
            let message = format!("the START value ({start}) lies outside of MINVALUE ({min}) and MAXVALUE ({max})");
            self.error(at, message, "correct one of them");
        }
        Sequence {
            start,
            increment,
            min,
            max,
            cycle: cycle.or(had.map(|h| h.cycle)).unwrap_or(false),
        }
    }

    /// `ALTER SEQUENCE`, or `ALTER COLUMN … SET INCREMENT …` of the sequence behind a column: what options change.
    pub(super) fn change_sequence(&mut self, sequence: usize, options: Vec<ast::SequenceOption>, at: &SyntaxNode) {
        for option in &options {
            match option {
                ast::SequenceOption::OptionRestart(o) => self.restart_sequence(sequence, o.expr()),
                ast::SequenceOption::OptionOwnedBy(o) => {
                    if let Some(ast::OwnedByTarget::QualifiedColumnNameRef(column)) = o.owned_by_target() {
                        self.qualified_column(&column);
                    }
                }
                _ => {}
            }
        }
        let had = self.catalog.sequences[sequence].definition;
        self.catalog.sequences[sequence].definition = self.sequence_options(Some(had), options, at);
    }

    /// `RESTART [WITH n]`
    pub(super) fn restart_sequence(&mut self, sequence: usize, with: Option<ast::Expr>) {
        let next = match with {
            Some(expr) => self.whole_number(Some(expr)),
            None => Some(self.catalog.sequences[sequence].definition.start),
        };
        self.catalog.sequence_values.extend(next.map(|next| (sequence, next)));
    }

    /// `ALTER COLUMN … SET GENERATED ALWAYS | BY DEFAULT`
    pub(super) fn set_generated(&mut self, table: usize, column: usize, set: &ast::SetGenerated) {
        let how = match set.generated_when() {
            Some(ast::GeneratedWhen::GeneratedByDefault(_)) => IdentityColumn::ByDefault,
            _ => IdentityColumn::Always,
        };
        self.change_column(table, Some(column), |c| {
            c.identity = c.identity.map(|(_, sequence)| (how, sequence))
        });
    }

    /// `ALTER COLUMN … RESTART`
    pub(super) fn restart_identity(&mut self, table: usize, column: usize, restart: &ast::Restart) {
        if let Some(sequence) = self.sequence_behind(table, column) {
            self.restart_sequence(sequence, restart.expr());
        }
    }

    /// `ALTER COLUMN … SET INCREMENT BY …`
    pub(super) fn change_identity(&mut self, table: usize, column: usize, set: &ast::SetSequenceOption) {
        if let (Some(sequence), Some(option)) = (self.sequence_behind(table, column), set.sequence_option()) {
            self.change_sequence(sequence, vec![option], set.syntax());
        }
    }

    fn sequence_behind(&self, table: usize, column: usize) -> Option<usize> {
        let identity = self.catalog.table(table)?.columns.get(column)?.identity;
        identity.map(|(_, sequence)| sequence)
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
        let mut options = Vec::new();
        for action in statement.actions() {
            match action {
                ast::AlterSequenceAction::SequenceOption(option) => options.push(option),
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
        if !options.is_empty() {
            self.change_sequence(sequence, options, written.syntax());
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

/// What numbers the type of `AS type` has.
fn range_of(option: &ast::OptionAsType) -> (i64, i64) {
    let ty = option
        .ty()
        .map(|ty| ty.syntax().text().to_string().to_ascii_lowercase());
    match ty.as_deref() {
        Some("smallint" | "int2") => (i16::MIN.into(), i16::MAX.into()),
        Some("integer" | "int" | "int4") => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
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
