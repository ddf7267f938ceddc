//! One statement after the other into the [`Catalog`]: this file says which statement means what; the files beside it hold what
//! each does. What a statement cannot mean here is a problem; what has no bearing on what is served is a note.

mod alter;
mod comment;
mod constraint;
mod drop;
mod function;
mod index;
mod keys;
mod policy;
mod privilege;
mod rows;
mod sequence;
mod settings;
mod table;
mod types;
mod view;

pub(crate) use function::language_of;
pub(crate) use sequence::nextval_target;
pub(crate) use settings::search_path_option;

use crate::catalog::{Catalog, DraftKind, File, Place, Written};
use crate::names::Name;
use crate::preprocess::prepare;
use crate::source_text::SourceText;
use crate::{Note, Problem, Source};
use mainstay_model::Span;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// The deepest tree of a statement that is walked; see [`crate::preprocess::NESTING_MAX`].
const TREE_DEPTH_MAX: usize = 500;

/// The largest file that is read: offsets are 32 bits wide.
const FILE_BYTES_MAX: usize = 1 << 30;

/// Reads statements into a catalog.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) catalog: Catalog,
    pub(crate) place: Place,
    /// Statements that hold a syntax error: what follows from it is not told again.
    muted: Vec<Range<usize>>,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            file: 0,
            path: Rc::from([Arc::from("public")]),
        }
    }
}

impl Reader {
    /// Reads a file.
    pub(crate) fn file(&mut self, source: &Source) {
        let text = SourceText::new(source.file.clone(), &source.text);
        self.place = Place {
            file: self.catalog.files.len(),
            ..Place::default()
        };
        let mut file = File {
            source: text.clone(),
            original: source.text.clone(),
            copies: Vec::new(),
            store: source.store.clone(),
            service: source.service.clone(),
        };
        if source.text.len() > FILE_BYTES_MAX {
            self.catalog.files.push(file);
            let problem = Problem::error(text.span(0..0), "the file is larger than 1 GiB");
            return self.problem(problem.help("load large data with `mainstay import` instead"));
        }
        let prepared = prepare(&source.text);
        file.copies = prepared.copies;
        self.catalog.files.push(file);
        for command in prepared.commands {
            self.meta_command(&text, command);
        }
        if let Some(at) = prepared.too_deep {
            let problem = Problem::error(text.span(at..at), "expressions are nested too deeply to be read");
            return self.problem(problem.help("nest parentheses, operators and CASE at most 200 levels deep"));
        }
        let parse = ast::SourceFile::parse(&prepared.text);
        let statements: Vec<ast::Stmt> = parse.tree().stmts().collect();
        self.muted.clear();
        let mut last_line = 0;
        for error in parse.errors() {
            let range: Range<usize> = error.range().into();
            let inside = |s: &&ast::Stmt| {
                let statement: Range<usize> = s.syntax().text_range().into();
                statement.start <= range.start && range.start <= statement.end
            };
            if let Some(statement) = statements.iter().find(inside) {
                self.muted.push(statement.syntax().text_range().into());
            }
            // What follows on the same line follows from it.
            let span = text.span(range);
            if span.line != last_line {
                last_line = span.line;
                self.catalog
                    .problems
                    .push(Problem::error(span, syntax_error(error.message())));
            }
        }
        for statement in statements {
            if tree_depth(statement.syntax()) > TREE_DEPTH_MAX {
                let problem = text.error_at(&statement, "the statement is nested too deeply to be read");
                self.problem(problem.help("split it, or take a list (IN, VALUES) where operators are chained"));
                continue;
            }
            self.statement(&statement);
        }
    }

    fn meta_command(&mut self, text: &SourceText, command: Range<usize>) {
        let written = &self.catalog.files[self.place.file].original[command.clone()];
        let word = written.split_ascii_whitespace().next().unwrap_or("\\").to_owned();
        let span = text.span(command);
        match &*word {
            "\\i" | "\\ir" | "\\include" | "\\include_relative" => self.problem(
                Problem::error(span, format!("`{word}` is not followed"))
                    .help("name each file as the `ddl` of a [service.*], or put them into one"),
            ),
            "\\copy" => self.problem(
                Problem::error(span, "`\\copy` reads a file of the machine that psql runs on")
                    .help("put the file into `data/` as <table>.csv, or use COPY … FROM stdin with the data behind it"),
            ),
            "\\gexec" | "\\if" | "\\elif" | "\\else" | "\\endif" => self.problem(
                Problem::error(span, format!("`{word}` is run by psql only")).help("write the statements out"),
            ),
            _ => self.catalog.notes.push(Note {
                span,
                message: format!("the psql command `{word}` is passed over"),
            }),
        }
    }

    fn statement(&mut self, statement: &ast::Stmt) {
        use ast::Stmt::*;
        match statement {
            CreateTable(s) => self.create_table(s),
            CreateView(s) => self.create_view(s),
            CreateMaterializedView(s) => self.create_materialized_view(s),
            CreateIndex(s) => self.create_index(s),
            CreateType(s) => self.create_type(s),
            CreateDomain(s) => self.create_domain(s),
            CreateSequence(s) => self.create_sequence(s),
            CreateFunction(s) => self.create_function(s),
            CreatePolicy(s) => self.create_policy(s),
            CreateSchema(s) => self.create_schema(s),
            CreateExtension(s) => self.create_extension(s),
            AlterTable(s) => self.alter_table(s),
            AlterView(s) => self.alter_view(s),
            AlterSequence(s) => self.alter_sequence(s),
            AlterType(s) => self.alter_type(s),
            AlterDomain(s) => self.alter_domain(s),
            AlterPolicy(s) => self.alter_policy(s),
            AlterFunction(s) => self.alter_function(s),
            AlterDefaultPrivileges(s) => self.alter_default_privileges(s),
            Grant(s) => self.grant(s),
            Revoke(s) => self.revoke(s),
            CommentOn(s) => self.comment_on(s),
            Insert(s) => self.insert(s),
            Copy(s) => self.copy(s),
            Truncate(s) => self.truncate(s),
            Set(s) => self.set(s),
            Select(s) => self.top_level_select(s),
            DropTable(s) => self.drop_table(s),
            DropView(s) => self.drop_view(s),
            DropMaterializedView(s) => self.drop_materialized_view(s),
            DropFunction(s) => self.drop_function(s),
            DropPolicy(s) => self.drop_policy(s),
            DropIndex(s) => self.drop_index(s),
            DropSequence(s) => self.drop_sequence(s),
            DropType(s) => self.drop_type(s),
            DropDomain(s) => self.drop_domain(s),
            DropSchema(s) => self.drop_schema(s),
            CreateTrigger(s) => {
                let at = s.trigger().map_or_else(|| s.syntax().clone(), |t| t.syntax().clone());
                self.error(&at, "triggers run inside Postgres only", "say it with a DEFAULT, a GENERATED column, a CHECK or a function; what happens after a change goes into [[on]] of mainstay.toml");
            }
            CreateRule(s) => self.error(
                s.syntax(),
                "rules run inside Postgres only",
                "write a function, or a view that Postgres can update by itself",
            ),
            CreateTableAs(s) => self.error(
                s.syntax(),
                "CREATE TABLE … AS is not supported",
                "declare the columns, and load the rows with INSERT or COPY",
            ),
            SelectInto(s) => self.error(
                s.syntax(),
                "SELECT … INTO is not supported",
                "declare the table with its columns, and load the rows with INSERT or COPY",
            ),
            CreateForeignTable(s) => self.error(
                s.syntax(),
                "foreign tables are not supported",
                "give the other database a [store.*] of its own",
            ),
            Do(s) => self.error(
                s.syntax(),
                "a DO block runs inside Postgres only",
                "write its statements out",
            ),
            Update(_) | Delete(_) | Merge(_) | Values(_) | Table(_) | CompoundSelect(_) | ParenSelect(_) | Call(_)
            | Execute(_) => self.error(
                statement.syntax(),
                "a schema declares: this statement has no place in it",
                "leave it out; rows come by INSERT … VALUES of constants, by COPY … FROM stdin, or from data/*.csv",
            ),
            // Made for Postgres alone: whoever uses one is told where.
            CreateProcedure(_)
            | CreateAggregate(_)
            | CreateOperator(_)
            | CreateOperatorClass(_)
            | CreateOperatorFamily(_)
            | CreateCast(_)
            | CreateCollation(_)
            | CreateConversion(_)
            | CreateTransform(_) => self.warning(
                statement.syntax(),
                "not served: it exists inside Postgres only",
                "leave it out unless the project runs on Postgres",
            ),
            // Changes the meaning of something that is there, in a way that is not followed.
            AlterAggregate(_)
            | AlterCollation(_)
            | AlterConversion(_)
            | AlterForeignTable(_)
            | AlterOperator(_)
            | AlterOperatorClass(_)
            | AlterOperatorFamily(_)
            | AlterProcedure(_)
            | AlterRoutine(_)
            | AlterRule(_)
            | AlterSchema(_)
            | DropAggregate(_)
            | DropCast(_)
            | DropOperator(_)
            | DropOwned(_)
            | DropRoutine(_)
            | DropRule(_)
            | DropProcedure(_)
            | DropTrigger(_)
            | DropForeignTable(_)
                if !is_ownership(statement.syntax()) && !is_conditional_drop(statement.syntax()) =>
            {
                self.error(
                    statement.syntax(),
                    "this statement is not supported",
                    "change the declaration itself instead",
                )
            }
            // Transactions and upkeep: nothing that stays.
            Begin(_) | Commit(_) | Analyze(_) | Vacuum(_) | Checkpoint(_) | Reset(_) | ResetRole(_)
            | ResetSessionAuth(_) | SetRole(_) | SetSessionAuth(_) | SetTransaction(_) | SetConstraints(_)
            | Show(_) | Lock(_) | Refresh(_) | Reindex(_) | Cluster(_) | Discard(_) | Deallocate(_) | EmptyStmt(_) => {}
            other => self.unserved(other.syntax()),
        }
    }

    /// Accepted, and told as a note: it has no bearing on what is served.
    fn unserved(&mut self, statement: &SyntaxNode) {
        let text = statement.text().to_string();
        let words = text
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|w| !w.is_empty())
            .take(2)
            .collect::<Vec<_>>();
        self.note(
            statement,
            format!("{} has no effect here", words.join(" ").to_uppercase()),
        );
    }

    /// Reports a problem, unless it follows from a syntax error in the same statement.
    pub(crate) fn problem(&mut self, problem: Problem) {
        let start = problem.span.start as usize;
        if !self.muted.iter().any(|range| range.contains(&start)) {
            self.catalog.problems.push(problem);
        }
    }

    pub(crate) fn error(&mut self, at: &SyntaxNode, message: impl Into<String>, help: &str) {
        let problem = Problem::error(self.span(at), message).help(help);
        self.problem(problem);
    }

    pub(crate) fn warning(&mut self, at: &SyntaxNode, message: impl Into<String>, help: &str) {
        let problem = Problem::warning(self.span(at), message).help(help);
        self.problem(problem);
    }

    pub(crate) fn note(&mut self, at: &SyntaxNode, message: impl Into<String>) {
        let span = self.span(at);
        self.catalog.notes.push(Note {
            span,
            message: message.into(),
        });
    }

    /// Where a node of the current file is; of a long one, its first line.
    pub(crate) fn span(&self, at: &SyntaxNode) -> Span {
        self.source().node(at)
    }

    pub(crate) fn source(&self) -> &SourceText {
        self.catalog.source(&self.place)
    }

    pub(crate) fn written<T>(&self, node: T) -> Written<T> {
        Written {
            node,
            place: self.place.clone(),
        }
    }

    /// The schema in which a name without one is created.
    pub(crate) fn creation_namespace(&mut self, name: &Name, at: &SyntaxNode) -> Arc<str> {
        let Some(namespace) = &name.namespace else {
            return self.place.path[0].clone();
        };
        let known = &**namespace == "public" || &**namespace == "auth" || self.catalog.namespaces.contains(namespace);
        if !known {
            let problem = self.source().error(at, format!("there is no schema `{namespace}`"));
            let problem = problem.help(format!("declare it before: CREATE SCHEMA {namespace};"));
            let names = self.catalog.namespaces.clone();
            self.problem(problem.did_you_mean(namespace, names.iter().map(|n| &**n).chain(["public"])));
            self.catalog.namespaces.push(namespace.clone());
        }
        namespace.clone()
    }

    /// The relation that a node refers to, or a problem.
    pub(crate) fn relation(&mut self, at: &impl AstNode) -> Option<usize> {
        let name = Name::of(at)?;
        let found = self.catalog.relation(&name, &self.place.path);
        if found.is_none() {
            let problem = self.unknown_relation(&name, at.syntax());
            self.problem(problem);
        }
        found
    }

    /// The table that a node refers to, or a problem: also when it is a view.
    pub(crate) fn table(&mut self, at: &impl AstNode) -> Option<usize> {
        let relation = self.relation(at)?;
        if let DraftKind::View(_) = self.catalog.relations[relation].kind {
            let name = self.catalog.relations[relation].name.clone();
            self.error(
                at.syntax(),
                format!("`{name}` is a view"),
                "this statement is for tables",
            );
            return None;
        }
        Some(relation)
    }

    pub(crate) fn unknown_relation(&self, name: &Name, at: &SyntaxNode) -> Problem {
        let problem = self
            .source()
            .error(at, format!("there is no table or view `{name}`"))
            .help("declare it before it is used");
        let known: Vec<&str> = self
            .catalog
            .relations
            .iter()
            .filter(|r| !r.dropped)
            .map(|r| &*r.name)
            .collect();
        problem.did_you_mean(&name.name, known)
    }

    /// The column of a table that a node refers to, or a problem.
    pub(crate) fn column(&mut self, table: usize, at: &SyntaxNode) -> Option<usize> {
        let written = crate::names::folded(at);
        let known = self.catalog.table(table)?;
        if let Some(column) = known.column(&written) {
            return Some(column);
        }
        let relation = &self.catalog.relations[table].name;
        let problem = self
            .source()
            .error(at, format!("there is no column `{written}` in `{relation}`"));
        let problem = problem.did_you_mean(&written, known.column_names());
        self.problem(problem);
        None
    }

    /// Several columns; `None` if one of them is not there.
    pub(crate) fn columns(
        &mut self,
        table: usize,
        refs: impl Iterator<Item = ast::ColumnNameRef>,
    ) -> Option<Vec<usize>> {
        let found: Vec<Option<usize>> = refs.map(|r| self.column(table, r.syntax())).collect();
        found.into_iter().collect()
    }
}

/// What the parser says, with its names of tokens as people write them.
pub(crate) fn syntax_error(message: &str) -> String {
    let plain = |word: &str| match word {
        "EOF" => "the end".to_owned(),
        "IDENT" => "a name".to_owned(),
        "L_PAREN" => "`(`".to_owned(),
        "R_PAREN" => "`)`".to_owned(),
        "L_BRACK" => "`[`".to_owned(),
        "R_BRACK" => "`]`".to_owned(),
        "COMMA" => "`,`".to_owned(),
        "SEMICOLON" => "`;`".to_owned(),
        "DOT" => "`.`".to_owned(),
        "EQ" => "`=`".to_owned(),
        "STAR" => "`*`".to_owned(),
        "STRING" => "a string".to_owned(),
        "INT_NUMBER" | "NUMERIC_NUMBER" => "a number".to_owned(),
        keyword if keyword.ends_with("_KW") => keyword.trim_end_matches("_KW").to_owned(),
        other => other.to_owned(),
    };
    format!(
        "syntax error: {}",
        message.split(' ').map(plain).collect::<Vec<_>>().join(" ")
    )
}

fn tree_depth(root: &SyntaxNode) -> usize {
    let mut most = 0;
    let mut waiting = vec![(root.clone(), 1)];
    while let Some((node, depth)) = waiting.pop() {
        most = most.max(depth);
        waiting.extend(node.children().map(|child| (child, depth + 1)));
    }
    most
}

/// `ALTER … OWNER TO`
fn is_ownership(statement: &SyntaxNode) -> bool {
    statement.descendants().any(|n| ast::OwnerTo::can_cast(n.kind()))
}

/// `DROP … IF EXISTS` at the head of a dump, before anything is there.
fn is_conditional_drop(statement: &SyntaxNode) -> bool {
    statement.children().any(|n| ast::IfExists::can_cast(n.kind()))
}
