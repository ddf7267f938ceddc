//! The rows that a project brings along as `data/<table>.csv`.

use crate::project::find_table;
use mainstay_model::{RelationId, Schema, Span, Value};
use mainstay_schema::Seed;
use std::path::Path;

/// Reads `data/<table>.csv`, each with a header of column names. An empty field is NULL. Parents come before what refers to them.
pub fn read(dir: &Path, schema: &Schema) -> Result<Vec<Seed>, Vec<String>> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "csv"))
        .collect();
    files.sort();
    let mut seeds = Vec::new();
    let mut problems = Vec::new();
    for path in files {
        match file(&path, schema) {
            Ok(seed) => seeds.push(seed),
            Err(problem) => problems.push(format!("data/{problem}")),
        }
    }
    seeds.sort_by_key(|s| depth(schema, s.relation));
    if problems.is_empty() { Ok(seeds) } else { Err(problems) }
}

/// Values that are none of their column's type, the first of each seed.
pub fn misfits(seeds: &[Seed], schema: &Schema) -> Vec<String> {
    let misfit = |seed: &Seed| {
        let relation = schema.relation(seed.relation);
        seed.rows.iter().enumerate().find_map(|(at, row)| {
            seed.columns.iter().zip(row).find_map(|(column, text)| {
                let column = &relation.columns[*column as usize];
                let error = Value::parse(text.as_ref()?, &column.ty)
                    .and_then(|v| v.fit(&column.ty))
                    .err()?;
                let Span { file, line, .. } = &seed.span;
                Some(format!(
                    "{file}:{line}: row {} of table \"{}\", column \"{}\": {}",
                    at + 1,
                    relation.name,
                    column.name,
                    error.message
                ))
            })
        })
    };
    seeds.iter().filter_map(misfit).collect()
}

/// How many foreign keys lie between a table and one without any.
pub fn depth(schema: &Schema, relation: RelationId) -> usize {
    depth_from(schema, relation, 0)
}

fn depth_from(schema: &Schema, relation: RelationId, hops: usize) -> usize {
    let Some(table) = schema.relation(relation).table() else {
        return 0;
    };
    if hops > schema.relations.len() {
        return hops;
    }
    let parents = table.foreign_keys.iter().filter(|k| k.target != relation);
    parents
        .map(|k| 1 + depth_from(schema, k.target, hops + 1))
        .max()
        .unwrap_or(0)
}

fn file(path: &Path, schema: &Schema) -> Result<Seed, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let table = path.file_stem().unwrap_or_default().to_string_lossy();
    let id = find_table(schema, &table)
        .ok_or_else(|| format!("{name}: there is no table \"{table}\"; a file is called after the table it fills"))?;
    let relation = schema.relation(id);
    let mut reader = csv::ReaderBuilder::new()
        .from_path(path)
        .map_err(|e| broken(&name, &e))?;
    let header = reader.headers().map_err(|e| broken(&name, &e))?.clone();
    let columns = header
        .iter()
        .map(|column| {
            relation
                .column(column)
                .ok_or_else(|| format!("{name}:1: table \"{table}\" has no column \"{column}\""))
        })
        .collect::<Result<Vec<u32>, String>>()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| broken(&name, &e))?;
        rows.push(
            record
                .iter()
                .map(|field| (!field.is_empty()).then(|| field.to_owned()))
                .collect(),
        );
    }
    let span = Span {
        file: format!("data/{name}").into(),
        line: 2,
        column: 1,
        ..Default::default()
    };
    Ok(Seed {
        relation: id,
        columns,
        rows,
        span,
    })
}

/// What is wrong with a file, and in which line.
fn broken(name: &str, error: &csv::Error) -> String {
    let at = |position: &Option<csv::Position>| match position {
        Some(position) => format!("{name}:{}", position.line()),
        None => name.to_owned(),
    };
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("{}: the line has {len} fields and the header {expected_len}", at(pos))
        }
        csv::ErrorKind::Utf8 { pos, .. } => format!("{}: is not UTF-8 here; save the file as UTF-8", at(pos)),
        csv::ErrorKind::Io(e) => format!("{name}: cannot be read: {e}"),
        _ => format!("{name}: {error}"),
    }
}
