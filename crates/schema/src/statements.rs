//! The statements of a file as they were written, each with its place and what kind of thing it does: for an engine that runs DDL
//! itself and needs it cut into pieces, not understood. Nothing is bound here, so that what only the database knows
//! (triggers, languages, operators) passes.

use crate::ddl::syntax_error;
use crate::names::{Name, folded, text};
use crate::preprocess::{Prepared, prepare};
use crate::source_text::SourceText;
use crate::{Problem, Source, builtin};
use mainstay_model::Span;
use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxKind, SyntaxNode};
use std::ops::Range;
use std::sync::Arc;

/// One statement of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatement {
    /// As it was written, without what stands before it and without its semicolon.
    pub text: String,
    /// Where it is.
    pub span: Span,
    /// What kind of thing it does.
    pub kind: StatementKind,
    /// The object that it is about, as it was written and folded: `orders`, `shop.orders`.
    pub object: Option<String>,
    /// Roles that it names, other than `public` and the current one.
    pub roles: Vec<String>,
    /// Of `COPY … FROM stdin`: the lines of data.
    pub data: Option<String>,
    /// The store that it is for.
    pub store: Arc<str>,
}

/// What kind of thing a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// `CREATE SCHEMA`
    Schema,
    /// `CREATE EXTENSION`
    Extension,
    /// `CREATE ROLE`, `CREATE USER`, `CREATE GROUP`
    Role,
    /// `CREATE FUNCTION`, `CREATE PROCEDURE`
    Function,
    /// `CREATE TABLE`
    Table,
    /// `CREATE INDEX`
    Index,
    /// Anything else that declares, changes or drops what a catalogue describes object by object.
    Define,
    /// Declares what is compared by its text alone: an operator, a cast, an aggregate …
    Once,
    /// Rows: `INSERT`, `COPY … FROM stdin`, `SELECT setval(…)`.
    Rows,
    /// `SET`, `SELECT set_config(…)`
    Setting,
    /// Nothing that stays, or nothing that a schema decides: transactions, upkeep, ownership, the server's own settings.
    Nothing,
}

/// The files of a project, cut into statements.
#[derive(Clone, Debug, Default)]
pub struct Statements {
    /// In order.
    pub statements: Vec<SourceStatement>,
    /// What is no SQL.
    pub problems: Vec<Problem>,
}

/// Cuts files into statements; the tables of accounts come first, if they live in a store.
pub fn statements(sources: &[Source], options: &crate::Options) -> Statements {
    let builtin = options.auth.as_ref().map(|store| Source {
        file: builtin::FILE.into(),
        text: builtin::AUTH.to_owned(),
        store: store.clone(),
        service: None,
    });
    let cut = || {
        let mut all = Statements::default();
        for source in builtin.iter().chain(sources) {
            file(source, &mut all);
        }
        all
    };
    // As for reading: the tree is nested as deeply as the file's author liked.
    let cut_aside = std::thread::scope(|scope| {
        let builder = std::thread::Builder::new()
            .name("statements".into())
            .stack_size(crate::STACK_BYTES);
        builder.spawn_scoped(scope, cut).ok().and_then(|t| t.join().ok())
    });
    cut_aside.unwrap_or_else(|| Statements {
        statements: Vec::new(),
        problems: vec![Problem::error(
            Span::default(),
            "the DDL cannot be cut into statements: this is a mistake of Mainstay's own",
        )],
    })
}

fn file(source: &Source, all: &mut Statements) {
    let place = SourceText::new(source.file.clone(), &source.text);
    let prepared = prepare(&source.text);
    if let Some(at) = prepared.too_deep {
        let problem = Problem::error(place.span(at..at), "expressions are nested too deeply to be read");
        return all.problems.push(problem);
    }
    let parse = ast::SourceFile::parse(&prepared.text);
    let mut last_line = 0;
    for error in parse.errors() {
        let range: Range<usize> = error.range().into();
        let span = place.span(range);
        if span.line != last_line {
            last_line = span.line;
            all.problems.push(Problem::error(span, syntax_error(error.message())));
        }
    }
    for statement in parse.tree().stmts() {
        let node = statement.syntax();
        let range = written(node);
        if range.is_empty() {
            continue;
        }
        let written = prepared.text[range.clone()].trim_end().trim_end_matches(';').trim_end();
        let kind = kind(&statement);
        all.statements.push(SourceStatement {
            text: written.to_owned(),
            span: place.span(range.clone()),
            kind,
            object: object(&statement),
            roles: roles(node),
            data: matches!(statement, ast::Stmt::Copy(_))
                .then(|| copied(&prepared, &source.text, &range))
                .flatten(),
            store: source.store.clone(),
        });
    }
}

/// From the first word of a statement to its end.
fn written(node: &SyntaxNode) -> Range<usize> {
    let all: Range<usize> = node.text_range().into();
    let first = node
        .descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .find(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT));
    match first {
        Some(token) => usize::from(token.text_range().start())..all.end,
        None => all.end..all.end,
    }
}

fn copied(prepared: &Prepared, original: &str, range: &Range<usize>) -> Option<String> {
    let mut blocks = prepared.copies.iter();
    let block = blocks.find(|b| b.semicolon + 1 >= range.end && b.semicolon >= range.start)?;
    Some(original[block.data.clone()].to_owned())
}

fn object(statement: &ast::Stmt) -> Option<String> {
    let name = match statement {
        ast::Stmt::CreateSchema(s) => match s.create_schema_target()? {
            ast::CreateSchemaTarget::NamedSchema(named) => text(&named.schema()?),
            ast::CreateSchemaTarget::AuthorizationSchema(of) => text(&of.role()?),
        },
        ast::Stmt::CreateExtension(s) => text(&s.extension()?),
        ast::Stmt::CreateRole(s) => text(&s.role()?),
        ast::Stmt::CreateUser(s) => text(&s.role()?),
        ast::Stmt::CreateGroup(s) => text(&s.role()?),
        other => {
            return other
                .syntax()
                .descendants()
                .find_map(|n| Name::in_node(&n))
                .map(|n| n.to_string());
        }
    };
    Some(name.to_string())
}

fn roles(node: &SyntaxNode) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    // The privileges of a GRANT on something are names, too; without something, they are roles.
    let on_objects = node
        .descendants()
        .any(|n| ast::OnPrivilegeObjectsClause::can_cast(n.kind()) || ast::AlterDefaultPrivileges::can_cast(n.kind()));
    let is_privilege = |n: &SyntaxNode| on_objects && n.ancestors().any(|a| ast::Privileges::can_cast(a.kind()));
    for role in node.descendants().filter_map(ast::RoleRef::cast) {
        if is_privilege(role.syntax()) {
            continue;
        }
        let name = match role.role_ref_value() {
            Some(value) => folded(value.syntax()),
            None => folded(role.syntax()),
        };
        let special = matches!(&*name, "public" | "current_user" | "current_role" | "session_user" | "");
        if !special && !found.iter().any(|n| **n == *name) {
            found.push(name.to_string());
        }
    }
    found
}

fn kind(statement: &ast::Stmt) -> StatementKind {
    use ast::Stmt::*;
    match statement {
        CreateSchema(_) => StatementKind::Schema,
        // Membership of roles.
        Grant(s) if s.on_privilege_objects_clause().is_none() => StatementKind::Once,
        Revoke(s) if s.on_privilege_objects_clause().is_none() => StatementKind::Once,
        CreateExtension(_) => StatementKind::Extension,
        CreateRole(_) | CreateUser(_) | CreateGroup(_) => StatementKind::Role,
        CreateFunction(_) | CreateProcedure(_) => StatementKind::Function,
        CreateTable(_) => StatementKind::Table,
        CreateIndex(_) => StatementKind::Index,
        _ if is_ownership(statement.syntax()) => StatementKind::Nothing,
        CreateView(_)
        | CreateMaterializedView(_)
        | CreateType(_)
        | CreateDomain(_)
        | CreateSequence(_)
        | CreatePolicy(_)
        | CreateTrigger(_)
        | CreateRule(_)
        | AlterTable(_)
        | AlterView(_)
        | AlterMaterializedView(_)
        | AlterSequence(_)
        | AlterType(_)
        | AlterDomain(_)
        | AlterPolicy(_)
        | AlterFunction(_)
        | AlterProcedure(_)
        | AlterRoutine(_)
        | AlterTrigger(_)
        | AlterRule(_)
        | AlterIndex(_)
        | AlterSchema(_)
        | AlterDefaultPrivileges(_)
        | Grant(_)
        | Revoke(_)
        | CommentOn(_)
        | DropTable(_)
        | DropView(_)
        | DropMaterializedView(_)
        | DropFunction(_)
        | DropProcedure(_)
        | DropRoutine(_)
        | DropPolicy(_)
        | DropIndex(_)
        | DropSequence(_)
        | DropType(_)
        | DropDomain(_)
        | DropSchema(_)
        | DropTrigger(_)
        | DropRule(_)
        | CreateTableAs(_)
        | SelectInto(_) => StatementKind::Define,
        CreateAccessMethod(_)
        | CreateAggregate(_)
        | CreateCast(_)
        | CreateCollation(_)
        | CreateConversion(_)
        | CreateEventTrigger(_)
        | CreateForeignDataWrapper(_)
        | CreateForeignTable(_)
        | CreateLanguage(_)
        | CreateOperator(_)
        | CreateOperatorClass(_)
        | CreateOperatorFamily(_)
        | CreatePublication(_)
        | CreateServer(_)
        | CreateStatistics(_)
        | CreateTextSearchConfiguration(_)
        | CreateTextSearchDictionary(_)
        | CreateTextSearchParser(_)
        | CreateTextSearchTemplate(_)
        | CreateTransform(_)
        | CreateUserMapping(_)
        | ImportForeignSchema(_)
        | AlterTextSearchConfiguration(_)
        | AlterPublication(_)
        | AlterAggregate(_)
        | AlterOperator(_)
        | AlterOperatorFamily(_)
        | AlterStatistics(_)
        | SecurityLabel(_)
        | Do(_) => StatementKind::Once,
        Insert(_) | Copy(_) => StatementKind::Rows,
        Set(_) => StatementKind::Setting,
        Select(s) => match s.syntax().text().to_string().to_ascii_lowercase() {
            text if text.contains("setval") => StatementKind::Rows,
            text if text.contains("set_config") => StatementKind::Setting,
            _ => StatementKind::Nothing,
        },
        _ => StatementKind::Nothing,
    }
}

/// `ALTER … OWNER TO`: who applies the schema owns it.
fn is_ownership(statement: &SyntaxNode) -> bool {
    statement.descendants().any(|n| ast::OwnerTo::can_cast(n.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Statements {
        let source = Source {
            file: "schema.sql".into(),
            text: text.to_owned(),
            store: "main".into(),
            service: None,
        };
        statements(&[source], &crate::Options::default())
    }

    #[test]
    fn statements_are_cut_with_place_kind_and_roles() {
        let text = "-- first\nCREATE TABLE a (id int); -- tail\n\n  GRANT SELECT, INSERT ON a TO anon, clerk;\nCREATE FUNCTION f() RETURNS int LANGUAGE SQL\nBEGIN ATOMIC SELECT 1; SELECT 2; END;\nALTER TABLE a OWNER TO bob;\nSELECT pg_catalog.set_config('search_path', '', false);";
        let all = cut(text);
        assert_eq!(all.problems, []);
        let seen: Vec<_> = all
            .statements
            .iter()
            .map(|s| (s.span.line, s.span.column, s.kind, s.object.as_deref().unwrap_or("-")))
            .collect();
        use StatementKind::*;
        assert_eq!(
            seen,
            [
                (2, 1, Table, "a"),
                (4, 3, Define, "a"),
                (5, 1, Function, "f"),
                (7, 1, Nothing, "a"),
                (8, 1, Setting, "-")
            ]
        );
        assert_eq!(all.statements[0].text, "CREATE TABLE a (id int)");
        assert_eq!(all.statements[1].roles, ["anon", "clerk"]);
        assert!(all.statements[2].text.ends_with("END"), "{}", all.statements[2].text);
    }

    #[test]
    fn copied_rows_belong_to_their_statement() {
        let all = cut("CREATE TABLE a (id int);\nCOPY a (id) FROM stdin;\n1\n2\n\\.\nCREATE TABLE b (id int);\n");
        assert_eq!(all.problems, []);
        let data: Vec<_> = all.statements.iter().map(|s| s.data.as_deref()).collect();
        assert_eq!(data, [None, Some("1\n2\n"), None]);
    }

    #[test]
    fn what_only_a_database_knows_passes() {
        let all = cut(
            "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();\nCREATE AGGREGATE s (int) (sfunc = int4pl, stype = int);",
        );
        assert_eq!(all.problems, []);
        assert_eq!(all.statements[0].kind, StatementKind::Define);
        assert_eq!(all.statements[1].kind, StatementKind::Once);
    }
}
