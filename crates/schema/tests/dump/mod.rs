//! A reading as a compact text, for tests.

use mainstay_model::{Cardinality, ExprKind, Relation, Returns, Schema};
use mainstay_schema::{Reading, Severity};
use std::fmt::Write;

/// Everything that a test may want to see of a reading, in a stable order. The tables of `auth` are left out.
pub fn text(reading: &Reading) -> String {
    let mut out = String::new();
    let schema = &reading.schema;
    let mut line = |text: String| writeln!(out, "{}", text.trim_end()).unwrap();
    let mut enums: Vec<_> = schema.enums.iter().collect();
    enums.sort();
    for (name, labels) in enums {
        line(format!("enum {name}: {}", labels.join(", ")));
    }
    let mut types: Vec<_> = schema.types.iter().collect();
    types.sort_by_key(|t| t.0.clone());
    for (name, ty) in types {
        line(format!("type {name}: {ty:?}"));
    }
    let mut sequences: Vec<_> = schema.sequences.iter().filter(|s| !s.0.starts_with("auth.")).collect();
    sequences.sort_by_key(|s| s.0.clone());
    for (name, sequence) in sequences {
        line(format!("sequence {name}: {} by {}", sequence.start, sequence.increment));
    }
    for (index, relation) in schema.relations.iter().enumerate() {
        if &*relation.namespace != "auth" {
            relation_lines(schema, index, relation, &mut line);
        }
    }
    for function in &schema.functions {
        let args = function.args.iter().map(|a| {
            let default = if a.default.is_some() { " = …" } else { "" };
            let variadic = if a.variadic { "variadic " } else { "" };
            format!("{variadic}{} {}{default}", a.name, a.ty).trim().to_owned()
        });
        let mut flags = vec![format!("{:?}", function.volatility).to_lowercase()];
        for (set, name) in [
            (function.strict, "strict"),
            (function.security_definer, "definer"),
            (function.writes, "writes"),
        ] {
            if set {
                flags.push(name.into());
            }
        }
        let name = format!("{}.{}", function.namespace, function.name);
        let args = args.collect::<Vec<_>>().join(", ");
        line(format!(
            "function {name}({args}) -> {} [{}] @{}",
            returns(schema, &function.returns),
            flags.join(" "),
            function.store
        ));
        line(format!(
            "  {} statements{}",
            function.body.len(),
            comment(&function.comment)
        ));
        if !function.grants.is_empty() {
            line(format!("  execute to {}", function.grants.join(", ")));
        }
    }
    for seed in &reading.seeds {
        let relation = schema.relation(seed.relation);
        let columns: Vec<&str> = seed
            .columns
            .iter()
            .map(|&c| &*relation.columns[c as usize].name)
            .collect();
        line(format!(
            "seed {} ({}): {} rows",
            relation.name,
            columns.join(", "),
            seed.rows.len()
        ));
        for row in seed.rows.iter().take(3) {
            line(format!("  {row:?}"));
        }
    }
    for (sequence, next) in &reading.sequence_values {
        line(format!("next value of {sequence}: {next}"));
    }
    line(format!(
        "namespaces {}{}",
        schema.namespaces.join(", "),
        if schema.has_grants { "" } else { "; no grants" }
    ));
    for problem in &reading.problems {
        let severity = if problem.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        let span = &problem.span;
        line(format!(
            "{severity} {}:{}:{} {}",
            span.file, span.line, span.column, problem.message
        ));
        if let Some(help) = &problem.help {
            line(format!("  help: {help}"));
        }
    }
    for note in &reading.unkept {
        let span = &note.span;
        let message = &note.message;
        line(format!("unkept {}:{}:{} {message}", span.file, span.line, span.column));
    }
    for note in &reading.notes {
        line(format!(
            "note {}:{}:{} {}",
            note.span.file, note.span.line, note.span.column, note.message
        ));
    }
    out
}

fn comment(comment: &Option<String>) -> String {
    comment.as_ref().map_or_else(String::new, |c| format!(" -- {c}"))
}

fn relation_lines(schema: &Schema, index: usize, relation: &Relation, line: &mut impl FnMut(String)) {
    let names = |columns: &[u32]| {
        columns
            .iter()
            .map(|&c| &*relation.columns[c as usize].name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let service = relation
        .service
        .as_ref()
        .map_or_else(String::new, |s| format!(" of {s}"));
    let kind = if relation.table().is_some() { "table" } else { "view" };
    line(format!(
        "{kind} {}.{} @{}{service}{}",
        relation.namespace,
        relation.name,
        relation.store,
        comment(&relation.comment)
    ));
    for (i, column) in relation.columns.iter().enumerate() {
        let mut text = format!("  {} {}", column.name, column.ty);
        if let Some(domain) = &column.domain {
            write!(text, " as {domain}").unwrap();
        }
        if column.not_null {
            text.push_str(" not null");
        }
        if let Some(identity) = &column.identity {
            write!(text, " identity {identity:?}").unwrap();
        }
        if let Some(default) = &column.default_text {
            write!(text, " default {default}").unwrap();
        }
        if column.default_text.is_some() != column.default.is_some() {
            text.push_str(" (text and expression of the default differ)");
        }
        if column.generated.is_some() {
            text.push_str(" generated");
        }
        if let Some((base, base_column)) = relation.view().and_then(|v| v.origins[i]) {
            let base = schema.relation(base);
            write!(text, " <- {}.{}", base.name, base.columns[base_column as usize].name).unwrap();
        }
        line(text + &comment(&column.comment));
    }
    if let Some(view) = relation.view() {
        for (set, name) in [
            (view.security_invoker, "security_invoker"),
            (view.materialized, "materialized"),
        ] {
            if set {
                line(format!("  {name}"));
            }
        }
        if let Some(base) = view.updatable {
            line(format!("  updates {}", schema.relation(base).name));
        }
    }
    if let Some(table) = relation.table() {
        if let Some(name) = &table.primary_key_name {
            line(format!("  primary key {name} ({})", names(&table.primary_key)));
        }
        for unique in &table.uniques {
            let nulls = if unique.nulls_not_distinct {
                " nulls not distinct"
            } else {
                ""
            };
            line(format!("  unique {} ({}){nulls}", unique.name, names(&unique.columns)));
        }
        for key in &table.foreign_keys {
            let target = schema.relation(key.target);
            let there: Vec<&str> = key
                .target_columns
                .iter()
                .map(|&c| &*target.columns[c as usize].name)
                .collect();
            let mut text = format!(
                "  foreign key {} ({}) -> {} ({})",
                key.name,
                names(&key.columns),
                target.name,
                there.join(", ")
            );
            write!(text, " {:?}/{:?}", key.on_delete, key.on_update).unwrap();
            line(text + if key.deferred { " deferred" } else { "" });
        }
        for check in &table.checks {
            line(format!("  check {}", check.name));
        }
        for index in &table.indexes {
            let keys = index.keys.iter().map(|k| {
                let key = match &k.expr.kind {
                    ExprKind::Column(c) => relation.columns[c.column as usize].name.to_string(),
                    _ => "…".into(),
                };
                let order = if k.descending { " desc" } else { "" };
                format!(
                    "{key}{order}{}",
                    if k.nulls_first != k.descending {
                        " nulls the other way"
                    } else {
                        ""
                    }
                )
            });
            let unique = if index.unique { "unique " } else { "" };
            let filter = if index.filter.is_some() { " where …" } else { "" };
            line(format!(
                "  {unique}index {} {} ({}){filter}",
                index.name,
                index.method,
                keys.collect::<Vec<_>>().join(", ")
            ));
        }
        if let Some((by, columns)) = &table.partition {
            line(format!("  partition by {by:?} ({})", names(columns)));
        }
        if table.row_security {
            line("  row security".into());
        }
        for policy in &table.policies {
            let kind = if policy.restrictive { "restrictive " } else { "" };
            let to = if policy.roles.is_empty() {
                String::new()
            } else {
                format!(" to {}", policy.roles.join(", "))
            };
            let parts = [(policy.using.is_some(), " using"), (policy.check.is_some(), " check")];
            let parts: String = parts.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
            line(format!(
                "  {kind}policy {} for {:?}{to}{parts}",
                policy.name, policy.command
            ));
        }
    }
    for grant in &relation.grants {
        let columns = grant
            .columns
            .as_ref()
            .map_or_else(String::new, |c| format!(" ({})", names(c)));
        line(format!("  grant {:?}{columns} to {}", grant.privilege, grant.role));
    }
    for relationship in &schema.relationships[index] {
        let target = &schema.relation(relationship.target).name;
        let kind = match (relationship.function, relationship.cardinality) {
            (Some(_), c) if c.is_to_one() => "computed one",
            (Some(_), _) => "computed many",
            (_, Cardinality::ManyToOne) => "many to one",
            (_, Cardinality::OneToMany) => "one to many",
            (_, Cardinality::OneToOne(_)) => "one to one",
            (_, Cardinality::ManyToMany) => "many to many",
        };
        line(format!("  {kind} {target} by {}", relationship.constraint));
    }
}

fn returns(schema: &Schema, returns: &Returns) -> String {
    let columns = |columns: &[(std::sync::Arc<str>, mainstay_model::Type)]| {
        columns
            .iter()
            .map(|(name, ty)| format!("{name} {ty}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match returns {
        Returns::Void => "void".into(),
        Returns::Scalar(ty) => ty.to_string(),
        Returns::SetOfScalar(ty) => format!("setof {ty}"),
        Returns::Row(relation) => schema.relation(*relation).name.to_string(),
        Returns::SetOfRow(relation) => format!("setof {}", schema.relation(*relation).name),
        Returns::Table(list) => format!("table ({})", columns(list)),
        Returns::Record(list) => format!("record ({})", columns(list)),
    }
}
