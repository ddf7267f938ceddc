//! INSERT and COPY: the rows that a file brings. They are kept as syntax until the columns' types are known.

use super::Reader;
use crate::catalog::{DraftSeed, SeedRows};
use crate::names::text;
use squawk_syntax::ast::{self, AstNode};

impl Reader {
    pub(super) fn insert(&mut self, statement: &ast::Insert) {
        let Some(target) = statement.relation_name_ref() else {
            return;
        };
        if let Some(with) = statement.with_clause() {
            return self.error(
                with.syntax(),
                "rows must be constants",
                "write the values out in VALUES",
            );
        }
        match statement.on_conflict_clause() {
            Some(conflict)
                if conflict
                    .syntax()
                    .text()
                    .to_string()
                    .to_ascii_lowercase()
                    .ends_with("nothing") =>
            {
                self.note(
                    conflict.syntax(),
                    "rows are loaded into tables that are new: ON CONFLICT DO NOTHING has no effect",
                );
            }
            Some(conflict) => {
                return self.error(
                    conflict.syntax(),
                    "rows are loaded once, when the store is empty",
                    "leave ON CONFLICT out",
                );
            }
            None => {}
        }
        let Some(table) = self.table(&target) else { return };
        let columns = statement.column_target_list().map(|list| {
            list.column_targets()
                .filter_map(|t| t.name())
                .map(|n| (text(&n), self.span(n.syntax())))
                .collect::<Vec<_>>()
        });
        let rows = match statement.insert_source() {
            Some(ast::InsertSource::DefaultValues(_)) => SeedRows::Defaults,
            Some(ast::InsertSource::SelectVariant(ast::SelectVariant::Values(values))) => {
                SeedRows::Values(values.row_list().into_iter().flat_map(|l| l.rows()).collect())
            }
            Some(ast::InsertSource::SelectVariant(ast::SelectVariant::Select(select)))
                if select.from_clause().is_none() && select.where_clause().is_none() =>
            {
                SeedRows::Select(select.syntax().clone())
            }
            Some(other) => {
                return self.error(
                    other.syntax(),
                    "rows must be constants",
                    "write the values out in VALUES, or use COPY … FROM stdin or data/*.csv",
                );
            }
            None => return,
        };
        let span = self.span(target.syntax());
        self.catalog.seeds.push(DraftSeed {
            relation: table,
            columns,
            rows,
            place: self.place.clone(),
            span,
        });
    }

    pub(super) fn copy(&mut self, statement: &ast::Copy) {
        let Some(target) = statement.copy_table().and_then(|t| t.table_name_ref()) else {
            return self.error(
                statement.syntax(),
                "COPY of a query has no place in a schema",
                "leave it out",
            );
        };
        let from_stdin = matches!(statement.copy_direction(), Some(ast::CopyDirection::CopyFrom(from))
            if matches!(from.copy_source(), Some(ast::CopySource::CopyStdin(_))));
        if !from_stdin {
            return self.error(
                statement.syntax(),
                "COPY is read from stdin only",
                "put the file into `data/` as <table>.csv",
            );
        }
        let range: std::ops::Range<usize> = statement.syntax().text_range().into();
        let file = &self.catalog.files[self.place.file];
        // The statement may or may not hold its own semicolon, and blanks may stand before it.
        let block = file
            .copies
            .iter()
            .filter(|b| b.semicolon + 1 >= range.end && b.semicolon >= range.start)
            .min_by_key(|b| b.semicolon);
        let Some(data) = block.map(|b| (b.data.clone(), b.ended)) else {
            return;
        };
        if !data.1 {
            self.error(
                target.syntax(),
                "the data of this COPY has no end",
                "write a line of `\\.` behind the last row",
            );
        }
        let mut delimiter = '\t';
        let mut null = "\\N".to_owned();
        for option in statement.copy_option_list().into_iter().flat_map(|l| l.copy_options()) {
            let key = option
                .copy_option_key()
                .map(|k| k.syntax().text().to_string().to_ascii_lowercase())
                .unwrap_or_default();
            let value = option
                .copy_option_value()
                .map(|v| v.syntax().text().to_string())
                .unwrap_or_default();
            let unquoted = squawk_syntax::quote::strip_quotes(&value).unwrap_or(&value).to_owned();
            match &*key {
                "format" if unquoted.eq_ignore_ascii_case("text") => {}
                "delimiter" if unquoted.chars().count() == 1 => delimiter = unquoted.chars().next().unwrap_or('\t'),
                "null" => null = unquoted,
                "encoding" | "freeze" => {}
                _ => {
                    return self.error(
                        option.syntax(),
                        format!("the option {} of COPY is not supported", key.to_uppercase()),
                        "use the text format, as pg_dump does, or data/*.csv",
                    );
                }
            }
        }
        if let Some(option) = statement.copy_legacy_options().next() {
            return self.error(
                option.syntax(),
                "this option of COPY is not supported",
                "use the text format, as pg_dump does, or data/*.csv",
            );
        }
        let Some(table) = self.table(&target) else { return };
        let columns = statement.copy_table().and_then(|t| t.column_ref_list()).map(|list| {
            list.column_name_refs()
                .map(|n| (text(&n), self.span(n.syntax())))
                .collect::<Vec<_>>()
        });
        let span = self.span(target.syntax());
        let rows = SeedRows::Copy(data.0, delimiter, null);
        self.catalog.seeds.push(DraftSeed {
            relation: table,
            columns,
            rows,
            place: self.place.clone(),
            span,
        });
    }

    pub(super) fn truncate(&mut self, statement: &ast::Truncate) {
        for name in statement
            .table_list()
            .into_iter()
            .flat_map(|l| l.table_relation_names())
        {
            if let Some(table) = name.table_name_ref().and_then(|t| self.table(&t)) {
                self.catalog.seeds.retain(|s| s.relation != table);
            }
        }
    }
}
