//! `mainstay import`: a file's rows into a table, all or none, at the speed of the engine's own way in; and the rows that a project
//! brings along, into tables that are empty.

mod csv;
mod ndjson;
mod progress;
mod source;

use crate::cli::Import;
use crate::output::say;
use crate::project::{self, Loaded, find_table};
use crate::{engines, seeds};
use mainstay_config::suggest;
use mainstay_config::units::display_duration;
use mainstay_model::{Relation, RelationId, Type, Value};
use mainstay_store::{Load, LoadFailure, RowsInMemory, Store, TextRow};
use source::{Counted, Feed, Place, Progress, Records, Trouble, misshapen};
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bad rows that are reported one by one.
const REPORTED_MAX: usize = 10;

/// `mainstay import`
pub fn run(options: Import) -> Result<(), Box<dyn Display>> {
    let done = match &options.data {
        Some(dir) => import_data(dir, &options.set),
        None => import_file(&options),
    };
    done.map_err(|text| Box::new(text) as Box<dyn Display>)
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime could be started: {e}"))
}

// ----- What the project brings along

fn import_data(dir: &Path, set: &[String]) -> Result<(), String> {
    let loaded = project::load(dir, set).map_err(|p| p.to_string())?;
    let problems = seeds::misfits(&loaded.seeds, &loaded.schema);
    if !problems.is_empty() {
        return Err(project::Problems(problems).to_string());
    }
    runtime()?.block_on(async {
        let stores = engines::stores(&loaded, &|_| true).await?.stores;
        let mut result = Ok(());
        for store in &stores {
            match load_seeds(&**store, &loaded).await {
                Ok(tables) => tables.iter().for_each(|table| say!("{table}")),
                Err(why) => result = result.and(Err(why)),
            }
        }
        for store in &stores {
            store.close().await;
        }
        result
    })
}

/// Loads the rows that the project's DDL and `data/` bring into the tables of one store that are empty, and takes sequences to the
/// DDL's values, all in one transaction. Gives a line for each table.
pub async fn load_seeds(store: &dyn Store, loaded: &Loaded) -> Result<Vec<String>, String> {
    let schema = &*loaded.schema;
    let mut chosen: Vec<&mainstay_schema::Seed> = loaded
        .seeds
        .iter()
        .filter(|seed| *schema.relation(seed.relation).store == *store.name())
        .collect();
    // What is referred to comes first.
    chosen.sort_by_key(|seed| seeds::depth(schema, seed.relation));
    let loads = chosen
        .iter()
        .map(|seed| Load {
            relation: seed.relation,
            columns: seed.columns.clone(),
            rows: Box::new(RowsInMemory::new(seed.rows.clone())),
            only_into_empty: true,
        })
        .collect();
    // A sequence that no table of this store is behind may be another store's.
    let sequences = if schema.relations.iter().all(|r| *r.store == *store.name()) {
        loaded.sequence_values.clone()
    } else {
        loaded
            .sequence_values
            .iter()
            .filter(|(name, _)| owns_sequence(schema, store.name(), name))
            .cloned()
            .collect()
    };
    let done = store.load(loads, &sequences).await.map_err(|failure| {
        let Some(seed) = chosen.get(failure.load) else {
            return format!("store \"{}\": {}", store.name(), failure.error);
        };
        let relation = schema.relation(seed.relation);
        let row = failure
            .row
            .map(|row| format!("row {} of ", row + 1))
            .unwrap_or_default();
        format!(
            "{}:{}: {row}table \"{}\": {}; nothing was imported",
            seed.span.file,
            seed.span.line,
            relation.name,
            said(relation, &failure)
        )
    })?;
    let mut lines: Vec<(RelationId, u64, bool)> = Vec::new();
    for (seed, done) in chosen.iter().zip(done) {
        match lines.iter_mut().find(|(relation, ..)| *relation == seed.relation) {
            Some((_, rows, _)) => *rows += done.rows,
            None => lines.push((seed.relation, done.rows, done.skipped)),
        }
    }
    let line = |(relation, rows, skipped): (RelationId, u64, bool)| match skipped {
        true => format!("{}: holds rows already, left as it is", schema.relation(relation).name),
        false => format!("{}: {rows} rows", schema.relation(relation).name),
    };
    Ok(lines.into_iter().map(line).collect())
}

/// Whether a sequence is behind a column of a table of this store.
fn owns_sequence(schema: &mainstay_model::Schema, store: &str, name: &str) -> bool {
    let of = |r: &Relation| r.columns.iter().any(|c| format!("{}_{}_seq", r.name, c.name) == name);
    schema.relations.iter().any(|r| *r.store == *store && of(r))
}

// ----- A file

/// Where rows are read from.
struct Input {
    /// `None` is standard input.
    path: Option<PathBuf>,
    /// What messages call it.
    shown: String,
    format: Format,
    delimiter: u8,
    /// Names of the columns of a CSV file without a header.
    columns: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

/// An input that has been opened, and the columns that it brings.
struct Opened {
    records: Box<dyn Records>,
    columns: Vec<u32>,
}

fn import_file(options: &Import) -> Result<(), String> {
    let (Some(table), Some(file)) = (&options.table, &options.file) else {
        return Err("name a table and a file: mainstay import TABLE FILE, or mainstay import --data".to_owned());
    };
    let input = Input::of(options, file)?;
    project::expect_one(&options.dir)?;
    let mut loaded = project::load(&options.dir, &options.set).map_err(|p| p.to_string())?;
    runtime()?.block_on(crate::adopted::take_in(&mut loaded))?;
    let id = table_of(&loaded, table)?;
    let relation = loaded.schema.relation(id);
    let progress = Arc::new(Progress::default());
    let opened = input
        .open(relation, progress.clone())
        .map_err(|trouble| trouble.line_in(&input.shown))?;
    let Some(opened) = opened else {
        say!("{table}: {} holds no rows", input.shown);
        return Ok(());
    };
    let columns = opened.columns.clone();
    let total = input
        .path
        .as_ref()
        .and_then(|path| path.metadata().ok())
        .map(|m| m.len());
    let began = Instant::now();
    let done = runtime()?.block_on(async {
        let stores = engines::stores(&loaded, &|name| *name == *relation.store).await?.stores;
        let store = stores.first().ok_or("the table's store could not be opened")?;
        let load = Load {
            relation: id,
            columns: opened.columns,
            rows: Box::new(Feed::new(opened.records, columns.len(), progress.clone())),
            only_into_empty: false,
        };
        let bar = progress::Bar::start(table, progress.clone(), total);
        let done = store.load(vec![load], &[]).await;
        drop(bar);
        store.close().await;
        Ok::<_, String>(done)
    })?;
    match done {
        Ok(done) => {
            let rows = done.iter().map(|d| d.rows).sum::<u64>();
            let took = Duration::from_millis(began.elapsed().as_millis() as u64);
            say!("{table}: {rows} rows in {}", display_duration(took));
            Ok(())
        }
        Err(failure) => {
            let mut problems = input.explain(relation, &columns, &failure, &progress);
            problems.push(format!("nothing was imported into {table}"));
            Err(problems.join("\n"))
        }
    }
}

fn table_of(loaded: &Loaded, table: &str) -> Result<RelationId, String> {
    let schema = &*loaded.schema;
    let Some(id) = find_table(schema, table) else {
        let known = project::table_names(schema);
        return Err(match project::near_table(table, &known) {
            Some(near) => format!("there is no table \"{table}\"; did you mean \"{near}\"?"),
            None => format!("there is no table \"{table}\"; the project has {}", known.join(", ")),
        });
    };
    if schema.relation(id).table().is_none() {
        return Err(format!("\"{table}\" is a view; import into the tables behind it"));
    }
    Ok(id)
}

impl Input {
    fn of(options: &Import, file: &str) -> Result<Input, String> {
        let path = (file != "-").then(|| PathBuf::from(file));
        let extension = path.as_ref().and_then(|p| p.extension()?.to_str());
        let format = match (options.format.as_deref(), extension) {
            (Some("ndjson"), _) => Format::Ndjson,
            (Some(_), _) | (None, None | Some("csv")) => Format::Csv,
            (None, Some("ndjson" | "jsonl")) => Format::Ndjson,
            (None, Some(other)) => {
                return Err(format!(
                    "{file}: .{other} says neither csv nor ndjson; add --format csv or --format ndjson"
                ));
            }
        };
        let delimiter = match options.delimiter.as_str() {
            "\\t" => b'\t',
            one if one.len() == 1 && !["\"", "\n", "\r"].contains(&one) => one.as_bytes()[0],
            other => return Err(format!("--delimiter {other}: one character that is no quote, or \\t")),
        };
        if options.columns.is_some() && format == Format::Ndjson {
            return Err("--columns is for CSV without a header; in NDJSON the keys name the columns".to_owned());
        }
        Ok(Input {
            shown: path
                .as_ref()
                .map_or("standard input".to_owned(), |p| p.display().to_string()),
            path,
            format,
            delimiter,
            columns: options.columns.clone(),
        })
    }

    /// Opens it and reads which columns it brings; `None` when it is empty.
    fn open(&self, relation: &Relation, progress: Arc<Progress>) -> Result<Option<Opened>, Trouble> {
        let raw: Box<dyn Read + Send> = match &self.path {
            Some(path) => Box::new(File::open(path).map_err(|e| Trouble::of(format!("cannot be read: {e}")))?),
            None => Box::new(std::io::stdin()),
        };
        let counted = Counted::new(raw, progress);
        match self.format {
            Format::Csv => {
                let mut csv = csv::Csv::new(counted, self.delimiter);
                let columns = match &self.columns {
                    Some(names) => resolve(relation, names.iter().map(String::as_str), |_| None)?,
                    None => {
                        let mut header = TextRow::default();
                        if !csv.next(&mut header)? {
                            return Ok(None);
                        }
                        let names: Vec<&str> = header.iter().map(|name| name.unwrap_or_default().trim()).collect();
                        resolve(relation, names.iter().copied(), |at| Some(csv.place(at)))?
                    }
                };
                if columns.len() == 1 {
                    csv.one_column();
                }
                let records = Box::new(csv);
                Ok(Some(Opened { records, columns }))
            }
            Format::Ndjson => {
                let mut ndjson = ndjson::Ndjson::new(counted);
                let keys = ndjson.keys()?;
                if keys.is_empty() {
                    return Ok(None);
                }
                let first = Place {
                    line: ndjson.line(),
                    column: 1,
                };
                let columns = resolve(relation, keys.iter().map(String::as_str), |_| Some(first))?;
                let type_of = |column: &u32| relation.columns[*column as usize].ty.clone();
                let types: Vec<Type> = columns.iter().map(type_of).collect();
                ndjson.set_columns(keys.into_iter().zip(types).collect());
                let records = Box::new(ndjson);
                Ok(Some(Opened { records, columns }))
            }
        }
    }

    /// What went wrong, a line for each bad row, as far as the file can be read again.
    fn explain(&self, relation: &Relation, columns: &[u32], failure: &LoadFailure, progress: &Progress) -> Vec<String> {
        if let Some(trouble) = progress.take_trouble() {
            return vec![trouble.line_in(&self.shown)];
        }
        let Some(row) = failure.row else {
            let mut line = format!("{}: {}", self.shown, failure.error.message);
            for more in failure.error.details.iter().chain(&failure.error.hint) {
                line.push_str("; ");
                line.push_str(more);
            }
            return vec![line];
        };
        let what = said(relation, failure);
        let mut problems = Vec::new();
        if self.path.is_some()
            && let Ok(Some(again)) = self.open(relation, Arc::default())
        {
            problems = look_again(again, relation, columns, (row, failure.column, &what), &self.shown);
        }
        if problems.is_empty() {
            problems.push(format!("{}:{}: {what}", self.shown, progress.line_of(row)));
        }
        problems
    }
}

/// Reads a file once more, for the place of the row that failed, and for the values after it that are none of their type.
fn look_again(
    mut again: Opened,
    relation: &Relation,
    columns: &[u32],
    (bad, bad_column, what): (u64, Option<u32>, &str),
    shown: &str,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut row = TextRow::default();
    let mut number = 0;
    loop {
        match again.records.next(&mut row) {
            Ok(false) => break,
            Err(trouble) => {
                problems.push(trouble.line_in(shown));
                break;
            }
            Ok(true) => {}
        }
        if number == bad {
            let field = bad_column.and_then(|column| columns.iter().position(|c| *c == column));
            let place = match field {
                Some(field) => again.records.place(field),
                None => Place {
                    line: again.records.line(),
                    column: 1,
                },
            };
            problems.push(Trouble::at(place, what).line_in(shown));
        } else if number > bad {
            if problems.len() == REPORTED_MAX {
                problems.push("and perhaps more".to_owned());
                break;
            }
            if let Some(trouble) = misshapen(&*again.records, &row, columns.len()) {
                problems.push(trouble.line_in(shown));
            } else if let Some(trouble) = misfit(&*again.records, &row, relation, columns) {
                problems.push(trouble.line_in(shown));
            }
        }
        number += 1;
    }
    problems
}

/// The first value of a row that is none of its column's type.
fn misfit(records: &dyn Records, row: &TextRow, relation: &Relation, columns: &[u32]) -> Option<Trouble> {
    row.iter().zip(columns).enumerate().find_map(|(at, (text, column))| {
        let column = &relation.columns[*column as usize];
        let error = Value::parse(text?, &column.ty).and_then(|v| v.fit(&column.ty)).err()?;
        let what = format!("column \"{}\": {}", column.name, error.message);
        Some(Trouble::at(records.place(at), what))
    })
}

/// What is wrong, with the column's name before it and what is known besides behind.
fn said(relation: &Relation, failure: &LoadFailure) -> String {
    let error = &failure.error;
    let column = failure.column.and_then(|c| relation.columns.get(c as usize));
    let mut text = column.map(|c| format!("column \"{}\": ", c.name)).unwrap_or_default();
    text.push_str(&error.message);
    if let Some(details) = &error.details {
        text.push_str(&format!(" ({details})"));
    }
    text
}

/// Columns by their names.
fn resolve<'n>(
    relation: &Relation,
    names: impl Iterator<Item = &'n str>,
    place: impl Fn(usize) -> Option<Place>,
) -> Result<Vec<u32>, Trouble> {
    let mut columns = Vec::new();
    for (at, name) in names.enumerate() {
        let trouble = |what: String| Trouble { place: place(at), what };
        let Some(column) = relation.column(name) else {
            let known = relation.columns.iter().map(|c| &*c.name);
            let near = suggest(name, known.clone()).map(|near| format!("did you mean \"{near}\"?"));
            let known = || format!("it has {}", known.clone().collect::<Vec<_>>().join(", "));
            return Err(trouble(format!(
                "table \"{}\" has no column \"{name}\"; {}",
                relation.name,
                near.unwrap_or_else(known)
            )));
        };
        if relation.columns[column as usize].generated.is_some() {
            return Err(trouble(format!(
                "column \"{name}\" is generated; leave it out of the file"
            )));
        }
        if columns.contains(&column) {
            return Err(trouble(format!("column \"{name}\" is named twice")));
        }
        columns.push(column);
    }
    Ok(columns)
}
