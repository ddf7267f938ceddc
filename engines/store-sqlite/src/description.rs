//! A table in words: what it was made from, as it is kept in `_mainstay_meta`, so that the difference to what it is meant to be can be
//! told precisely.

use mainstay_model::{
    Column, Expr, ExprKind, Index, ReferentialAction, RelationId, Result, Rewrite, Schema, Type, Value, rewrite_expr,
};
use mainstay_sql::sqlite::{self, table_name};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Key prefix of tables in `_mainstay_meta`.
const PREFIX: &str = "table:";

/// A table in words: part → definition. Parts are `column x`, `primary key`, `unique x`, `foreign key x`, `check x`, `index x`.
pub(crate) type Description = BTreeMap<String, String>;

/// What the tables in the file were made from, by their names there.
pub(crate) fn stored(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Description>> {
    let mut statement = conn.prepare("SELECT key, value FROM _mainstay_meta WHERE key LIKE 'table:%'")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map(|(key, value)| (key[PREFIX.len()..].to_owned(), read(&value))))
        .collect()
}

/// Keeps what a table was made from.
pub(crate) fn store(conn: &Connection, name: &str, description: &Description) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO _mainstay_meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [format!("{PREFIX}{name}"), write(description)],
    )
    .map(drop)
}

/// Forgets a table.
pub(crate) fn forget(conn: &Connection, name: &str) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM _mainstay_meta WHERE key = ?1", [format!("{PREFIX}{name}")])
        .map(drop)
}

/// A column's type as its description begins, and whether it is followed by a word.
pub(crate) struct Described<'a> {
    /// As PostgreSQL writes it.
    pub ty: &'a str,
    /// Whether the type is an enumeration.
    pub is_enum: bool,
    rest: &'a str,
}

impl Described<'_> {
    /// Takes a column's description apart.
    pub fn of(text: &str) -> Described<'_> {
        let ends = [" ('", " not null", " identity", " default ", " generated "];
        let end = ends.iter().filter_map(|e| text.find(e)).min().unwrap_or(text.len());
        Described {
            ty: &text[..end],
            is_enum: text[end..].starts_with(" ('"),
            rest: &text[end..],
        }
    }

    /// `NOT NULL`
    pub fn not_null(&self) -> bool {
        self.rest.starts_with(" not null") || self.rest.contains("') not null")
    }

    /// Computed from others.
    pub fn generated(&self) -> bool {
        self.rest
            .rsplit_once(" generated ")
            .is_some_and(|(_, digest)| digest.starts_with('#'))
    }
}

/// What a table is meant to be.
pub(crate) fn describe(schema: &Schema, id: RelationId) -> Description {
    describe_with(schema, id, &|expr| digest(&format!("{:?}", named(schema, id, expr))))
}

/// Takes what an earlier version said of a table, for whom columns were numbers, as this one says it.
pub(crate) fn recognise(had: &mut Description, schema: &Schema, id: RelationId) {
    let wanted = describe(schema, id);
    for (part, earlier) in describe_with(schema, id, &|expr| digest(&format!("{expr:?}"))) {
        if had.get(&part) == Some(&earlier)
            && let Some(now) = wanted.get(&part)
        {
            had.insert(part, now.clone());
        }
    }
}

/// An expression with its columns' names in their places: where they stand makes no difference.
fn named(schema: &Schema, id: RelationId, expr: &Expr) -> Option<Expr> {
    struct Names<'s>(&'s [Column]);
    impl Rewrite for Names<'_> {
        fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
            let ExprKind::Column(column) = &expr.kind else {
                return Ok(None);
            };
            let name = self
                .0
                .get(column.column as usize)
                .map(|c| Value::Text((&*c.name).into()));
            Ok(name.map(|name| Expr::literal(name, expr.ty.clone())))
        }
    }
    rewrite_expr(expr, &mut Names(&schema.relation(id).columns)).ok()
}

fn describe_with(schema: &Schema, id: RelationId, digested: &dyn Fn(&Expr) -> String) -> Description {
    let relation = schema.relation(id);
    let mut parts = Description::new();
    let names = |id: RelationId, columns: &[u32]| {
        let columns: Vec<&str> = columns
            .iter()
            .map(|c| &*schema.relation(id).columns[*c as usize].name)
            .collect();
        format!("({})", columns.join(", "))
    };
    for column in &relation.columns {
        parts.insert(
            format!("column {}", column.name),
            describe_column(schema, column, digested),
        );
    }
    let Some(table) = relation.table() else { return parts };
    if !table.primary_key.is_empty() {
        parts.insert("primary key".to_owned(), names(id, &table.primary_key));
    }
    for unique in &table.uniques {
        let nulls = if unique.nulls_not_distinct {
            " nulls not distinct"
        } else {
            ""
        };
        parts.insert(format!("unique {}", unique.name), names(id, &unique.columns) + nulls);
    }
    for key in &table.foreign_keys {
        let mut text = format!(
            "{} references {}{}",
            names(id, &key.columns),
            table_name(schema, key.target),
            names(key.target, &key.target_columns)
        );
        for (when, action) in [("delete", key.on_delete), ("update", key.on_update)] {
            let action = match action {
                ReferentialAction::NoAction => continue,
                ReferentialAction::Restrict => "restrict",
                ReferentialAction::Cascade => "cascade",
                ReferentialAction::SetNull => "set null",
                ReferentialAction::SetDefault => "set default",
            };
            text.push_str(&format!(" on {when} {action}"));
        }
        if key.deferred {
            text.push_str(" deferred");
        }
        parts.insert(format!("foreign key {}", key.name), text);
    }
    for check in &table.checks {
        parts.insert(
            format!("check {}", check.name),
            format!("condition {}", digested(&check.expr)),
        );
    }
    for index in &table.indexes {
        parts.insert(format!("index {}", index.name), describe_index(schema, id, index));
    }
    // One line each, as they are kept.
    parts
        .values_mut()
        .for_each(|text| *text = text.replace(['\n', '\t'], " "));
    parts
}

fn describe_index(schema: &Schema, id: RelationId, index: &Index) -> String {
    // What cannot be created is refused when it is tried.
    match sqlite::create_index(schema, id, index) {
        Ok(Some(statement)) => statement,
        Ok(None) => format!("using {}, which has no counterpart here", index.method),
        Err(error) => error.message.clone(),
    }
}

fn describe_column(schema: &Schema, column: &Column, digested: &dyn Fn(&Expr) -> String) -> String {
    let mut text = column.ty.to_string();
    if let Type::Enum(name) = &column.ty
        && let Some(labels) = schema.enums.get(name)
    {
        let labels: Vec<&str> = labels.iter().map(|l| &**l).collect();
        text.push_str(&format!(" ('{}')", labels.join("', '")));
    }
    if column.not_null {
        text.push_str(" not null");
    }
    if column.identity.is_some() {
        text.push_str(" identity");
    }
    match (&column.default, &column.default_text) {
        (Some(_), Some(words)) => text.push_str(&format!(" default {words}")),
        (Some(expr), None) => text.push_str(&format!(" default {}", digested(expr))),
        (None, _) => {}
    }
    if let Some(generated) = &column.generated {
        text.push_str(&format!(" generated {}", digested(generated)));
    }
    text
}

/// FNV-1a: tells one definition from another, no more.
fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("#{hash:016x}")
}

fn write(description: &Description) -> String {
    description
        .iter()
        .map(|(part, definition)| format!("{part}\t{definition}\n"))
        .collect()
}

fn read(text: &str) -> Description {
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(part, definition)| (part.to_owned(), definition.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_said_is_recognised() {
        let table = |more: &str| {
            let text = format!(
                "CREATE TABLE t (id bigint PRIMARY KEY,{more} a integer CHECK (a > 0), b integer DEFAULT 1 + 1);"
            );
            let source = mainstay_schema::Source {
                file: "schema.sql".into(),
                text,
                store: "main".into(),
                service: None,
            };
            mainstay_schema::read(&[source]).schema
        };
        let (before, after) = (table(""), table(" note text,"));
        let id = RelationId(0);
        let mut earlier = describe_with(&before, id, &|expr| digest(&format!("{expr:?}")));
        assert_ne!(earlier, describe(&before, id));
        recognise(&mut earlier, &before, id);
        assert_eq!(earlier, describe(&before, id));
        // A column before it makes no other condition of one.
        earlier.insert("column note".to_owned(), "text".to_owned());
        assert_eq!(earlier, describe(&after, id));
    }
}
