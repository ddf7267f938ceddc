//! Tables, indexes and columns as SQLite's DDL, in the storage format's version 1.

use super::render::{Renderer, RowSource, Scope, quote_text};
use super::storage::{Form, column_form};
use super::write::{numbers_itself, rowid_column, sequence_name};
use super::{quote_identifier, table_name};
use mainstay_model::{
    Column, Error, Expr, ExprKind, ForeignKey, Index, ReferentialAction, RelationId, Result, Schema, SourceId, Table,
    Type, Volatility,
};
use std::collections::HashMap;
use std::rc::Rc;

/// A column's SQLite type.
fn storage_class(ty: &Type) -> &'static str {
    match ty {
        Type::Bool
        | Type::Int2
        | Type::Int4
        | Type::Int8
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::TimestampTz => "INTEGER",
        Type::Float4 | Type::Float8 => "REAL",
        Type::Numeric(_) if matches!(column_form(ty), Form::Scaled(_)) => "INTEGER",
        Type::Numeric(_) | Type::Bytea => "BLOB",
        _ => "TEXT",
    }
}

/// The CHECK that keeps a type's range; `None` where SQLite's own type is enough.
fn range_check(schema: &Schema, column: &Column) -> Option<String> {
    let name = quote_identifier(&column.name);
    Some(match &column.ty {
        Type::Bool => format!("{name} IN (0, 1)"),
        Type::Int2 => format!("{name} BETWEEN -32768 AND 32767"),
        Type::Int4 | Type::Date => format!("{name} BETWEEN -2147483648 AND 2147483647"),
        Type::Numeric(Some((precision, _))) if matches!(column_form(&column.ty), Form::Scaled(_)) => {
            let bound = 10i64.pow(u32::from(*precision)) - 1;
            format!("{name} BETWEEN -{bound} AND {bound}")
        }
        Type::Varchar(Some(length)) | Type::Char(length) => format!("length({name}) <= {length}"),
        Type::Enum(enumeration) => {
            let labels = schema.enums.get(enumeration)?;
            let labels = labels
                .iter()
                .filter_map(|l| quote_text(l))
                .collect::<Vec<_>>()
                .join(", ");
            format!("{name} IN ({labels})")
        }
        _ => return None,
    })
}

pub(super) fn create_table(schema: &Schema, id: RelationId) -> Result<Vec<String>> {
    let relation = schema.relation(id);
    let table = relation
        .table()
        .ok_or_else(|| Error::unsupported(format!("{} is a view; SQLite holds tables only", relation.name)))?;
    check_names(schema, id)?;
    let mut lines = Vec::new();
    for index in 0..relation.columns.len() as u32 {
        lines.push(column_definition(schema, id, index)?);
    }
    let mut statements = Vec::new();
    let rowid = rowid_column(schema, id);
    let columns = |keys: &[u32]| {
        keys.iter()
            .map(|&c| quote_identifier(&relation.columns[c as usize].name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let has_wide = |keys: &[u32]| {
        keys.iter()
            .any(|&c| column_form(&relation.columns[c as usize].ty) == Form::Wide)
    };
    if rowid.is_none() && !table.primary_key.is_empty() {
        if has_wide(&table.primary_key) {
            let name = table
                .primary_key_name
                .clone()
                .unwrap_or_else(|| format!("{}_pkey", relation.name).into());
            statements.push(unique_index(schema, id, &name, &table.primary_key));
        } else {
            let name = match &table.primary_key_name {
                Some(name) => format!("CONSTRAINT {} ", quote_identifier(name)),
                None => String::new(),
            };
            lines.push(format!("{name}PRIMARY KEY ({})", columns(&table.primary_key)));
        }
    }
    for unique in &table.uniques {
        if unique.nulls_not_distinct && unique.columns.iter().any(|&c| !relation.columns[c as usize].not_null) {
            return Err(Error::unsupported(format!(
                "UNIQUE NULLS NOT DISTINCT (constraint \"{}\") is not supported by SQLite",
                unique.name
            ))
            .hint("Declare its columns NOT NULL, or leave the clause out."));
        }
        if has_wide(&unique.columns) {
            statements.push(unique_index(schema, id, &unique.name, &unique.columns));
        } else {
            lines.push(format!(
                "CONSTRAINT {} UNIQUE ({})",
                quote_identifier(&unique.name),
                columns(&unique.columns)
            ));
        }
    }
    for check in &table.checks {
        lines.push(format!(
            "CONSTRAINT {} CHECK ({})",
            quote_identifier(&check.name),
            definition_condition(schema, id, &check.expr)?
        ));
    }
    for key in &table.foreign_keys {
        lines.push(foreign_key(schema, id, key)?);
    }
    let name = quote_identifier(&table_name(schema, id));
    statements.insert(0, format!("CREATE TABLE {name} (\n  {}\n) STRICT", lines.join(",\n  ")));
    for index in &table.indexes {
        if let Some(sql) = create_index(schema, id, index)? {
            statements.push(sql);
        }
    }
    for (index, column) in relation.columns.iter().enumerate() {
        if numbers_itself(column) && rowid != Some(index as u32) {
            let name = quote_text(&sequence_name(schema, id, index as u32)).unwrap_or_default();
            statements.push(format!(
                "INSERT INTO _mainstay_sequence (name, next) VALUES ({name}, 1) ON CONFLICT DO NOTHING"
            ));
        }
    }
    Ok(statements)
}

/// Names that Postgres tells apart and SQLite does not, and names that are SQLite's or ours.
fn check_names(schema: &Schema, id: RelationId) -> Result<()> {
    let relation = schema.relation(id);
    let name = table_name(schema, id).to_lowercase();
    if name.starts_with("sqlite_") || name.starts_with("_mainstay_") {
        return Err(Error::unsupported(format!(
            "a table called \"{}\" is not supported by SQLite: the prefix is reserved",
            relation.name
        )));
    }
    if relation.columns.is_empty() {
        return Err(Error::unsupported(format!(
            "table \"{}\" has no columns, which SQLite does not support",
            relation.name
        )));
    }
    for other in (0..id.0).map(RelationId) {
        if schema.relation(other).table().is_some() && table_name(schema, other).to_lowercase() == name {
            return Err(Error::unsupported(format!(
                "tables \"{}\" and \"{}\" differ in upper and lower case only, which SQLite does not tell apart",
                schema.relation(other).name,
                relation.name
            )));
        }
    }
    for (at, column) in relation.columns.iter().enumerate() {
        if let Some(other) = relation.columns[..at]
            .iter()
            .find(|c| c.name.to_lowercase() == column.name.to_lowercase())
        {
            return Err(Error::unsupported(format!(
                "columns \"{}\" and \"{}\" of table \"{}\" differ in upper and lower case only, which SQLite does not tell apart",
                other.name, column.name, relation.name
            )));
        }
    }
    Ok(())
}

fn unique_index(schema: &Schema, id: RelationId, name: &str, columns: &[u32]) -> String {
    let r = Renderer::new(schema);
    let relation = schema.relation(id);
    let keys = columns
        .iter()
        .map(|&c| {
            let column = &relation.columns[c as usize];
            r.unique_key(&column.name, &column.ty)
        })
        .collect::<Vec<_>>();
    format!(
        "CREATE UNIQUE INDEX {} ON {} ({})",
        quote_identifier(name),
        quote_identifier(&table_name(schema, id)),
        keys.join(", ")
    )
}

/// A column's line in CREATE TABLE.
fn column_definition(schema: &Schema, id: RelationId, index: u32) -> Result<String> {
    let relation = schema.relation(id);
    let column = &relation.columns[index as usize];
    super::kept::refuse(&column.ty)?;
    let mut sql = format!("{} {}", quote_identifier(&column.name), storage_class(&column.ty));
    if rowid_column(schema, id) == Some(index) {
        if let Some(name) = relation.table().and_then(|t| t.primary_key_name.clone()) {
            sql.push_str(&format!(" CONSTRAINT {}", quote_identifier(&name)));
        }
        sql.push_str(" PRIMARY KEY");
        if numbers_itself(column) {
            sql.push_str(" AUTOINCREMENT");
        }
    }
    if column.not_null {
        sql.push_str(" NOT NULL");
    }
    if let Some(generated) = &column.generated {
        sql.push_str(&format!(
            " GENERATED ALWAYS AS ({}) STORED",
            generated_value(schema, id, column, generated)?
        ));
    } else if let Some(default) = constant_default(schema, column) {
        sql.push_str(&format!(" DEFAULT {default}"));
    }
    if let Some(check) = range_check(schema, column) {
        sql.push_str(&format!(
            " CONSTRAINT {} CHECK ({check})",
            quote_identifier(&format!("_mainstay_type_{}", column.name))
        ));
    }
    Ok(sql)
}

/// A constant default, for whoever writes with the plain shell; others are filled in by Mainstay.
fn constant_default(schema: &Schema, column: &Column) -> Option<String> {
    let default = column.default.as_ref()?;
    let mut constant = true;
    default.walk(&mut |e| {
        constant &= matches!(
            e.kind,
            ExprKind::Literal(_) | ExprKind::Cast(_) | ExprKind::Operator(..)
        )
    });
    if !constant {
        return None;
    }
    let mut r = Renderer::new(schema);
    r.definition = true;
    let sql = r.assign(default, column).ok()?;
    // Only what SQLite itself can compute.
    (!sql.contains("mainstay_")).then(|| if sql.starts_with('(') { sql } else { format!("({sql})") })
}

fn generated_value(schema: &Schema, id: RelationId, column: &Column, expr: &Expr) -> Result<String> {
    refuse_volatile(expr, &format!("the generated column \"{}\"", column.name))?;
    let mut r = Renderer::new(schema);
    // The column's own range check catches what overflows.
    r.definition = true;
    let scope = own_columns(&r, id);
    let sql = r.scoped(scope, |r| r.assign(expr, column))?;
    refuse_subquery(sql, &format!("the generated column \"{}\"", column.name))
}

fn own_columns<'a>(r: &Renderer<'a>, id: RelationId) -> Scope<'a> {
    let source: RowSource = r.table_source(id, "", false);
    Scope {
        sources: HashMap::from([(SourceId::SELF, Rc::new(source))]),
        ..Scope::default()
    }
}

/// A condition in a definition: built-in SQL wherever it means the same.
fn definition_condition(schema: &Schema, id: RelationId, expr: &Expr) -> Result<String> {
    refuse_volatile(expr, "a table's definition")?;
    let mut r = Renderer::new(schema);
    r.definition = true;
    let scope = own_columns(&r, id);
    let sql = r.scoped(scope, |r| r.condition(expr))?;
    refuse_subquery(sql, "a table's definition")
}

/// An expression as it is, unless it needs a subquery here (`= ANY (array)` does), which SQLite refuses in definitions.
fn refuse_subquery(sql: String, place: &str) -> Result<String> {
    let mut quote = None;
    let outside: String = sql
        .chars()
        .filter(|c| match quote {
            Some(open) => {
                quote = quote.filter(|_| *c != open);
                false
            }
            None => {
                quote = Some(*c).filter(|c| matches!(c, '\'' | '"'));
                quote.is_none()
            }
        })
        .collect();
    match outside.contains("SELECT ") {
        false => Ok(sql),
        true => Err(Error::unsupported(format!(
            "SQLite cannot keep {place} that looks into an array or a document element by element"
        ))
        .hint("Check it in a policy's WITH CHECK or in the function that writes.")),
    }
}

/// SQLite refuses functions that are not deterministic, and subqueries, in definitions; this says so in our words.
fn refuse_volatile(expr: &Expr, place: &str) -> Result<()> {
    let mut problem = None;
    expr.walk(&mut |e| match &e.kind {
        ExprKind::Call(function, _) if function.volatility() == Volatility::Volatile => {
            problem = Some("a volatile function")
        }
        ExprKind::Call(
            mainstay_model::Builtin::Now
            | mainstay_model::Builtin::CurrentDate
            | mainstay_model::Builtin::StatementTimestamp,
            _,
        ) => problem = Some("the time"),
        ExprKind::Claim(_) => problem = Some("the caller's token"),
        ExprKind::Exists(_)
        | ExprKind::Scalar(_)
        | ExprKind::InSelect { .. }
        | ExprKind::ArraySelect(_)
        | ExprKind::UserCall(..) => problem = Some("a subquery or a function with a query"),
        _ => {}
    });
    match problem {
        None => Ok(()),
        Some(problem) => Err(
            Error::unsupported(format!("SQLite cannot keep {place} that depends on {problem}"))
                .hint("Check it in a policy's WITH CHECK or in the function that writes."),
        ),
    }
}

fn foreign_key(schema: &Schema, id: RelationId, key: &ForeignKey) -> Result<String> {
    let own = schema.relation(id);
    let target = schema.relation(key.target);
    let wide = |relation: &mainstay_model::Relation, columns: &[u32]| {
        columns
            .iter()
            .any(|&c| column_form(&relation.columns[c as usize].ty) == Form::Wide)
    };
    if wide(own, &key.columns) || wide(target, &key.target_columns) {
        return Err(Error::unsupported(format!(
            "foreign key \"{}\" on a numeric column of more than 18 digits is not supported by SQLite",
            key.name
        ))
        .hint("Give the column a precision of at most 18 digits, or make it bigint, uuid or text."));
    }
    for (&a, &b) in key.columns.iter().zip(&key.target_columns) {
        let (left, right) = (&own.columns[a as usize], &target.columns[b as usize]);
        if column_form(&left.ty) != column_form(&right.ty) || storage_class(&left.ty) != storage_class(&right.ty) {
            return Err(Error::new(
                "42804",
                format!("foreign key constraint \"{}\" cannot be implemented", key.name),
            )
            .detail(format!(
                "Key columns \"{}\" and \"{}\" are of incompatible types: {} and {}.",
                left.name, right.name, left.ty, right.ty
            )));
        }
    }
    let names = |relation: &mainstay_model::Relation, columns: &[u32]| {
        columns
            .iter()
            .map(|&c| quote_identifier(&relation.columns[c as usize].name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let action = |action: ReferentialAction| match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Restrict => "RESTRICT",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
        ReferentialAction::SetDefault => "SET DEFAULT",
    };
    let mut sql = format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})",
        quote_identifier(&key.name),
        names(own, &key.columns),
        quote_identifier(&table_name(schema, key.target)),
        names(target, &key.target_columns)
    );
    if key.on_delete != ReferentialAction::NoAction {
        sql.push_str(&format!(" ON DELETE {}", action(key.on_delete)));
    }
    if key.on_update != ReferentialAction::NoAction {
        sql.push_str(&format!(" ON UPDATE {}", action(key.on_update)));
    }
    if key.deferred {
        sql.push_str(" DEFERRABLE INITIALLY DEFERRED");
    }
    Ok(sql)
}

/// CREATE INDEX; `None` for an index method that SQLite has nothing for and that changes no answer (GIN, GiST, BRIN, hash).
pub(super) fn create_index(schema: &Schema, id: RelationId, index: &Index) -> Result<Option<String>> {
    if !matches!(&*index.method, "" | "btree" | "hash") && !index.unique {
        return Ok(None);
    }
    let relation = schema.relation(id);
    let mut r = Renderer::new(schema);
    r.definition = true;
    let scope = own_columns(&r, id);
    let mut keys = Vec::new();
    let place = format!("the index \"{}\"", index.name);
    for key in &index.keys {
        refuse_volatile(&key.expr, &place)?;
        let term = r.scoped(own_columns(&r, id), |r| r.expr(&key.expr))?;
        let sql = match &key.expr.ty {
            Type::Numeric(_) if term.form == Form::Wide && index.unique => super::compare::wide_key(&term),
            _ if matches!(key.expr.kind, ExprKind::Column(_)) => term.sql,
            _ => r.scoped(own_columns(&r, id), |r| r.order_key(term, &key.expr.ty))?,
        };
        let sql = refuse_subquery(sql, &place)?;
        keys.push(format!("{sql}{}", if key.descending { " DESC" } else { "" }));
    }
    let filter = match &index.filter {
        Some(filter) => {
            refuse_volatile(filter, &place)?;
            let condition = r.scoped(scope, |r| r.condition(filter))?;
            format!(" WHERE {}", refuse_subquery(condition, &place)?)
        }
        None => String::new(),
    };
    let unique = if index.unique { "UNIQUE " } else { "" };
    Ok(Some(format!(
        "CREATE {unique}INDEX {} ON {} ({}){filter}",
        quote_identifier(&super::index_name(schema, relation, index)),
        quote_identifier(&table_name(schema, id)),
        keys.join(", ")
    )))
}

pub(super) fn add_column(schema: &Schema, id: RelationId, index: u32) -> Result<String> {
    let relation = schema.relation(id);
    let column = relation
        .columns
        .get(index as usize)
        .ok_or_else(|| Error::internal(format!("table has no column {index}")))?;
    let table: &Table = relation
        .table()
        .ok_or_else(|| Error::internal("a view has no columns to add"))?;
    let refuse = |why: &str| {
        Err(Error::unsupported(format!(
            "column \"{}\" of table \"{}\" cannot be added in place: {why}",
            column.name, relation.name
        ))
        .hint("`mainstay migrate apply` makes the table anew."))
    };
    super::kept::refuse(&column.ty)?;
    if table.primary_key.contains(&index) {
        return refuse("it is part of the primary key");
    }
    if table.uniques.iter().any(|u| u.columns.contains(&index)) {
        return refuse("it is part of a UNIQUE constraint");
    }
    if column.generated.is_some() {
        return refuse("it is a stored generated column");
    }
    if column.identity.is_some() {
        return refuse("it numbers its rows");
    }
    let has_constant = constant_default(schema, column).is_some();
    if column.not_null && !has_constant {
        return refuse("it is NOT NULL and has no constant default");
    }
    if column.default.is_some() && !has_constant {
        return refuse("its default is not a constant, so the rows that exist would lack it");
    }
    let mut sql = format!(
        "ALTER TABLE {} ADD COLUMN {}",
        quote_identifier(&table_name(schema, id)),
        column_definition(schema, id, index)?
    );
    for check in table.checks.iter().filter(|c| mentions_only(&c.expr, index)) {
        sql.push_str(&format!(
            " CONSTRAINT {} CHECK ({})",
            quote_identifier(&check.name),
            definition_condition(schema, id, &check.expr)?
        ));
    }
    if let Some(key) = table.foreign_keys.iter().find(|k| k.columns.contains(&index)) {
        if key.columns.len() > 1 {
            return refuse("it is part of a foreign key of several columns");
        }
        if has_constant {
            return refuse("a column that references another table cannot be added with a default");
        }
        let clause = foreign_key(schema, id, key)?;
        // As a column's constraint it has no column list.
        if let Some(at) = clause.find(" FOREIGN KEY (")
            && let Some(references) = clause.find(" REFERENCES ")
        {
            sql.push_str(&format!(" {}{}", &clause[..at], &clause[references..]));
        }
    }
    Ok(sql)
}

/// Whether a check names this column and no other.
fn mentions_only(expr: &Expr, index: u32) -> bool {
    let (mut found, mut others) = (false, false);
    expr.walk(&mut |e| {
        if let ExprKind::Column(column) = &e.kind {
            if column.column == index {
                found = true;
            } else {
                others = true;
            }
        }
    });
    found && !others
}
