//! A selection as a tree of levels, each with the filters, order and page that the query string gives it.

use crate::error;
use crate::filter::Tree;
use crate::order::OrderTerm;
use crate::select::{Selected, SelectedField};
use mainstay_model::Error;
use std::borrow::Cow;

/// The rows of one relation, and what is asked of them.
pub(crate) struct Level<'a> {
    /// The relation, or whatever else finds the relationship.
    pub name: Cow<'a, str>,
    pub alias: Option<Cow<'a, str>>,
    pub hint: Option<Cow<'a, str>>,
    pub inner: bool,
    pub spread: bool,
    /// Values in order; `None` is `*`.
    pub fields: Vec<Option<SelectedField<'a>>>,
    /// Embedded rows in order.
    pub embeds: Vec<Level<'a>>,
    /// All of them must hold.
    pub filters: Vec<Tree<'a>>,
    /// All of them must hold for a group.
    pub having: Vec<Tree<'a>>,
    pub order: Vec<OrderTerm<'a>>,
    /// The page begins behind the row with these sort keys.
    pub after: Option<Vec<Option<Cow<'a, str>>>>,
    pub limit: Option<i64>,
    pub offset: i64,
}

impl<'a> Level<'a> {
    /// The top level.
    pub fn root(name: &'a str, selection: Vec<Selected<'a>>) -> Level<'a> {
        let mut root = Level {
            name: Cow::Borrowed(name),
            alias: None,
            hint: None,
            inner: false,
            spread: false,
            fields: Vec::new(),
            embeds: Vec::new(),
            filters: Vec::new(),
            having: Vec::new(),
            order: Vec::new(),
            after: None,
            limit: None,
            offset: 0,
        };
        root.take(selection);
        root
    }

    /// Whether the rows are wanted whole and alone: `*`, or no selection.
    pub fn is_whole(&self) -> bool {
        matches!(self.fields.as_slice(), [None]) && self.embeds.is_empty()
    }

    fn take(&mut self, selection: Vec<Selected<'a>>) {
        for item in selection {
            match item {
                Selected::Star => self.fields.push(None),
                Selected::Field(field) => self.fields.push(Some(field)),
                Selected::Embed(embed) => {
                    let mut level = Level::root("", Vec::new());
                    level.name = embed.name;
                    level.alias = embed.alias;
                    level.hint = embed.hint;
                    level.inner = embed.inner;
                    level.spread = embed.spread;
                    level.take(embed.select);
                    self.embeds.push(level);
                }
            }
        }
    }

    /// The name in the answer, and in filters and orders.
    pub fn shown_name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }

    /// The index of the embedded rows called so: by alias, else by the relation's own name.
    pub fn embed(&self, name: &str) -> Option<usize> {
        let shown = self.embeds.iter().position(|level| level.shown_name() == name);
        shown.or_else(|| self.embeds.iter().position(|level| level.name == name))
    }

    /// The level at the end of a path of names. Errors: PGRST108.
    pub fn find(&mut self, path: &[Cow<'_, str>]) -> Result<&mut Level<'a>, Error> {
        let mut level = self;
        for name in path {
            let index = level.embed(name).ok_or_else(|| error::not_embedded(name))?;
            level = &mut level.embeds[index];
        }
        Ok(level)
    }

    /// Whether nothing of it is shown: neither a value nor, further down, one of its embedded rows.
    pub fn is_hidden(&self) -> bool {
        self.fields.is_empty() && self.embeds.iter().all(Level::is_hidden)
    }
}
