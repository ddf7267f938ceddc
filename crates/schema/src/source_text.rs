//! A text that is being read, and how its byte offsets become places that a user can go to.

use crate::{Problem, Severity};
use mainstay_model::Span;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::AstNode;
use squawk_syntax::decoded_text::DecodedText;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// A file, or a function's body inside one: the offsets of a body count within its string literal and are mapped back.
#[derive(Clone, Debug)]
pub(crate) struct SourceText {
    file: Arc<str>,
    text: Arc<str>,
    /// Where each line starts.
    lines: Arc<[u32]>,
    /// Of a body: how its offsets map to the file's.
    body: Option<Arc<DecodedText>>,
    /// Domains by their keys, where they are named and their constraints looked at by nobody.
    unkept: Rc<RefCell<Vec<NamedDomain>>>,
}

/// Where a domain is named, and its key.
type NamedDomain = (Span, Arc<str>);

impl SourceText {
    /// A whole file.
    pub(crate) fn new(file: Arc<str>, text: &str) -> SourceText {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(i, _)| i as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        SourceText {
            file,
            text: Arc::from(text),
            lines,
            body: None,
            unkept: Rc::default(),
        }
    }

    /// The text of a string literal of this file, as the body of a function is.
    pub(crate) fn body(&self, body: DecodedText) -> SourceText {
        SourceText {
            body: Some(Arc::new(body)),
            ..self.clone()
        }
    }

    /// Notes a domain whose constraints are not looked at here.
    pub(crate) fn unkept(&self, at: &impl AstNode, domain: Arc<str>) {
        self.unkept.borrow_mut().push((self.node(at.syntax()), domain));
    }

    /// The domains of the file, its bodies included, that [`SourceText::unkept`] was told of.
    pub(crate) fn take_unkept(&self) -> Vec<NamedDomain> {
        self.unkept.take()
    }

    /// The file's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.file
    }

    /// Where a range of bytes (`node.text_range()`) is.
    pub(crate) fn span(&self, range: impl Into<Range<usize>>) -> Span {
        let mut range = range.into();
        if let Some(body) = &self.body {
            let position = |offset: usize| usize::from(body.source_pos((offset as u32).into()));
            range = position(range.start)..position(range.end);
        }
        let end = range.end.min(self.text.len());
        let mut start = range.start.min(end);
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line = self.lines.partition_point(|&l| l as usize <= start).max(1);
        let line_start = self.lines.get(line - 1).map_or(0, |&l| l as usize).min(start);
        let column = self.text[line_start..start]
            .chars()
            .filter(|&c| c != '\u{feff}')
            .count()
            + 1;
        Span {
            file: self.file.clone(),
            start: start as u32,
            end: end as u32,
            line: line as u32,
            column: column as u32,
        }
    }

    /// Where a node is.
    pub(crate) fn node(&self, node: &SyntaxNode) -> Span {
        self.span(node.text_range())
    }

    /// An error at a node of the tree.
    pub(crate) fn error(&self, at: &SyntaxNode, message: impl Into<String>) -> Problem {
        Problem::error(self.node(at), message)
    }

    /// An error at a typed node of the tree.
    pub(crate) fn error_at(&self, at: &impl AstNode, message: impl Into<String>) -> Problem {
        self.error(at.syntax(), message)
    }
}

impl Problem {
    /// Something that must be mended.
    pub(crate) fn error(span: Span, message: impl Into<String>) -> Problem {
        Problem {
            span,
            severity: Severity::Error,
            message: message.into(),
            help: None,
        }
    }

    /// Something worth knowing.
    pub(crate) fn warning(span: Span, message: impl Into<String>) -> Problem {
        Problem {
            span,
            severity: Severity::Warning,
            message: message.into(),
            help: None,
        }
    }

    /// With what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// With "did you mean …", if one of the known names is close to the one that was written.
    pub(crate) fn did_you_mean<'n>(self, written: &str, known: impl IntoIterator<Item = &'n str>) -> Problem {
        let limit = (written.chars().count() / 3).max(1);
        let nearest = known
            .into_iter()
            .map(|name| {
                (
                    strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()),
                    name,
                )
            })
            .filter(|(distance, _)| *distance <= limit)
            .min();
        match nearest {
            Some((_, name)) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = SourceText::new("a.sql".into(), "\u{feff}é x\r\nsecond\n");
        for (offset, place) in [
            (0, (1, 1)),
            (3, (1, 1)),
            (6, (1, 3)),
            (9, (2, 1)),
            (11, (2, 3)),
            (99, (3, 1)),
        ] {
            let span = source.span(offset..offset);
            assert_eq!((span.line, span.column), place, "offset {offset}");
        }
    }

    #[test]
    fn a_near_name_is_offered_and_a_far_one_is_not() {
        let problem = Problem::error(Span::default(), "x");
        assert_eq!(
            problem
                .clone()
                .did_you_mean("custmers", ["orders", "customers"])
                .help
                .as_deref(),
            Some("did you mean `customers`?")
        );
        assert_eq!(problem.did_you_mean("things", ["orders", "customers"]).help, None);
    }
}
