//! From what was declared to a [`Schema`]: identifiers are handed out, types resolved, expressions and bodies bound, each file
//! beside this one doing its part. Problems are collected and the work goes on, so that one run tells everything.

mod constants;
mod digest;
mod expressions;
mod functions;
mod lints;
mod privileges;
mod relations;
mod seeds;
mod stores;
mod views;

use crate::catalog::{Catalog, DraftKind, File, Place};
use crate::names::Name;
use crate::source_text::SourceText;
use crate::{Note, Problem, Reading, Seed};
use mainstay_model::{FunctionId, RelationId, Schema};
use squawk_syntax::SyntaxNode;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A schema in the making.
struct Assembly {
    catalog: Catalog,
    schema: Schema,
    /// Of each draft of a relation: its id, unless it was dropped or is a partition.
    relations: Vec<Option<RelationId>>,
    /// Of each draft of a table: where its columns went.
    columns: Vec<Vec<Option<u32>>>,
    /// Of each draft of a function: its id, unless it was dropped or refused.
    functions: Vec<Option<FunctionId>>,
    seeds: Vec<Seed>,
    problems: Vec<Problem>,
    notes: Vec<Note>,
    /// Domain → the domain that it is over.
    bases: HashMap<Arc<str>, Arc<str>>,
}

/// Turns what was declared into the model.
pub(crate) fn assemble(mut catalog: Catalog) -> Reading {
    let problems = std::mem::take(&mut catalog.problems);
    let notes = std::mem::take(&mut catalog.notes);
    let mut assembly = Assembly {
        relations: Vec::new(),
        columns: Vec::new(),
        functions: Vec::new(),
        schema: Schema::default(),
        seeds: Vec::new(),
        catalog,
        problems,
        notes,
        bases: HashMap::new(),
    };
    assembly.run();
    let unkept = assembly.unkept();
    let Assembly {
        catalog,
        schema,
        seeds,
        mut problems,
        mut notes,
        ..
    } = assembly;
    let order = |file: &Arc<str>| catalog.files.iter().position(|f: &File| f.source.name() == file);
    problems.sort_by_key(|p| (order(&p.span.file), p.span.start, std::cmp::Reverse(p.severity)));
    problems.dedup();
    notes.sort_by_key(|n| (order(&n.span.file), n.span.start));
    let sequence_values = catalog
        .sequence_values
        .iter()
        .filter_map(|&(sequence, next)| {
            let draft = catalog.sequences.get(sequence).filter(|s| !s.dropped)?;
            Some((crate::names::type_key(&draft.namespace, &draft.name), next))
        })
        .collect();
    Reading {
        schema,
        seeds,
        sequence_values,
        problems,
        notes,
        unkept,
    }
}

impl Assembly {
    fn run(&mut self) {
        self.declare_relations();
        self.declare_types();
        self.table_columns();
        self.table_keys();
        self.sequences();
        self.declare_functions();
        self.schema.index();
        self.bind_argument_defaults();
        self.bind_views();
        self.foreign_keys();
        self.bind_tables();
        self.bind_functions();
        self.apply_grants();
        self.collect_seeds();
        self.check_stores();
        self.final_namespaces();
        // Default privileges count once something has them.
        let granted = self.schema.relations.iter().any(|r| !r.grants.is_empty());
        self.schema.has_grants =
            self.catalog.has_grants || granted || self.schema.functions.iter().any(|f| !f.grants.is_empty());
        self.schema.index();
        self.schema.relate();
        self.computed_relationships();
        self.lint();
        self.schema.digest = digest::of(&self.schema);
    }

    /// Where constraints of domains are looked at by nobody, in order of place.
    fn unkept(&self) -> Vec<Note> {
        let mut found = Vec::new();
        for file in &self.catalog.files {
            let mut named = file.source.take_unkept();
            named.sort_by_key(|(span, _)| span.start);
            named.dedup();
            found.extend(
                named
                    .into_iter()
                    .filter(|(_, domain)| self.is_constrained(domain))
                    .map(|(span, domain)| Note {
                        span,
                        message: format!(
                            "the constraints of the domain `{domain}` are kept in columns of tables, not here; use its base type, \
                             and check the value where it is written"
                        ),
                    }),
            );
        }
        found
    }

    /// Makes names mean what they meant at a place, and hands out its text.
    fn at(&mut self, place: &Place) -> SourceText {
        self.schema.namespaces = place.path.to_vec();
        self.catalog.source(place).clone()
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What a result holds, or its problem reported.
    fn ok<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                let problem = self.with_refused_function(problem);
                self.problems.push(problem);
                None
            }
        }
    }

    /// When something fails on a function that is declared but not served, says so.
    fn with_refused_function(&self, mut problem: Problem) -> Problem {
        let refused = self.catalog.functions.iter().filter(|f| !f.dropped).find(|f| {
            f.refused.is_some() && problem.message.contains("function") && mentions_word(&problem.message, &f.name)
        });
        if let Some(function) = refused {
            let span = &function.span;
            let reason = function.refused.as_deref().unwrap_or_default();
            problem.help = Some(format!(
                "`{}` at {}:{}:{} is not served: {reason}",
                function.name, span.file, span.line, span.column
            ));
        }
        problem
    }

    /// The id of a relation by name, as the search path in force finds it.
    fn find_relation(&self, name: &Name) -> Option<RelationId> {
        match &name.namespace {
            Some(namespace) => self.schema.find_relation(namespace, &name.name),
            None => self
                .schema
                .namespaces
                .iter()
                .find_map(|n| self.schema.find_relation(n, &name.name)),
        }
    }

    /// A problem about a relation that is not there.
    fn unknown_relation(&self, name: &Name, at: &SyntaxNode, source: &SourceText) -> Problem {
        let problem = source
            .error(at, format!("there is no table or view `{name}`"))
            .help("declare it with CREATE TABLE or CREATE VIEW");
        problem.did_you_mean(&name.name, self.schema.relations.iter().map(|r| &*r.name))
    }

    /// `public` first, then the schemas that something of ours lives in, in the order in which they were declared.
    fn final_namespaces(&mut self) {
        let mut namespaces: Vec<Arc<str>> = vec!["public".into()];
        let of_relations = self.schema.relations.iter().map(|r| &r.namespace);
        let of_functions = self.schema.functions.iter().map(|f| &f.namespace);
        let used: Vec<Arc<str>> = of_relations.chain(of_functions).cloned().collect();
        for namespace in self
            .catalog
            .namespaces
            .iter()
            .filter(|n| used.contains(n) || !self.catalog.foreign_namespaces.contains(*n))
        {
            if !namespaces.contains(namespace) {
                namespaces.push(namespace.clone());
            }
        }
        self.schema.namespaces = namespaces;
    }

    /// The place of a draft with its search path widened.
    fn widened(place: &Place, first: &Arc<str>) -> Place {
        let mut path = vec![first.clone()];
        path.extend(place.path.iter().filter(|n| *n != first).cloned());
        Place {
            file: place.file,
            path: Rc::from(path),
        }
    }

    /// Drafts of live relations with their ids.
    fn live(&self) -> Vec<(usize, RelationId)> {
        self.relations
            .iter()
            .enumerate()
            .filter_map(|(draft, id)| Some((draft, (*id)?)))
            .collect()
    }

    /// Drafts of live tables with their ids.
    fn live_tables(&self) -> Vec<(usize, RelationId)> {
        let is_table = |draft: &usize| matches!(self.catalog.relations[*draft].kind, DraftKind::Table(_));
        self.live().into_iter().filter(|(draft, _)| is_table(draft)).collect()
    }
}

fn mentions_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|w| w == word)
}
