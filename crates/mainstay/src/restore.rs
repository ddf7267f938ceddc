//! `mainstay restore`: a backup's archive, read and found whole first, then put back into stores that hold nothing; or, as a drill,
//! put into stores elsewhere, compared with what the archive says and with what is there now, and thrown away.

use crate::backup::{Spool, ago, place, project_name, runtime, told};
use crate::cli::Restore;
use crate::engines;
use crate::output::say;
use crate::project::{self, Loaded};
use mainstay_archive::{Contents, Part, Time};
use mainstay_store::{Recovery, Snapshot, TableDigest};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// `mainstay restore`
pub fn run(options: Restore) -> Result<(), Box<dyn Display>> {
    let fail = |text: String| Box::new(text) as Box<dyn Display>;
    project::expect_one(&options.dir).map_err(fail)?;
    let loaded = project::load(&options.dir, &options.set).map_err(|p| Box::new(p) as Box<dyn Display>)?;
    runtime()
        .map_err(fail)?
        .block_on(restore(&loaded, &options))
        .map_err(fail)
}

async fn restore(loaded: &Loaded, options: &Restore) -> Result<(), String> {
    let spool = Spool::new(&loaded.project)?;
    let began = Instant::now();
    let archive = fetch(loaded, options, &spool).await?;
    let (source, folder) = (archive.clone(), spool.folder().to_owned());
    let contents = tokio::task::spawn_blocking(move || mainstay_archive::read(&source, &folder))
        .await
        .map_err(|e| e.to_string())??;
    let taken = Time::parse(&contents.manifest.began);
    let age = taken.map(|t| format!(", taken {}", ago(t))).unwrap_or_default();
    say!(
        "{}: of project {}, begun {}{age}",
        archive.file_name().unwrap_or_default().to_string_lossy(),
        contents.manifest.project,
        contents.manifest.began
    );
    let pairs = matched(loaded, &contents, options)?;
    if options.drill {
        return drill(pairs, &contents, &spool, began).await;
    }
    // All are looked at before any is touched.
    for (recovery, ..) in &pairs {
        if options.force {
            continue;
        }
        let why = recovery.occupied().await.map_err(|e| of(&**recovery, &e))?;
        if let Some(why) = why {
            return Err(format!(
                "store \"{}\" is not empty: {why}; nothing was restored. Restore into an empty place, or with --force over what is there",
                recovery.name()
            ));
        }
    }
    for (recovery, part, file) in &pairs {
        let snapshot = snapshot(part);
        recovery
            .restore(file, &snapshot, options.force)
            .await
            .map_err(|e| of(&**recovery, &e))?;
        let now = recovery.tables().await.map_err(|e| of(&**recovery, &e))?;
        let problems = differences(&snapshot.tables, &now);
        if !problems.is_empty() {
            return Err(format!(
                "store \"{}\" is not what the archive says: {}",
                recovery.name(),
                problems.join("; ")
            ));
        }
        let rows: u64 = now.iter().map(|t| t.rows).sum();
        say!(
            "{}: {} tables, {rows} rows, as in the archive",
            recovery.name(),
            now.len()
        );
    }
    say!("restored in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// The archive's file: one that is named, or the newest, or one by its name, of where backups are kept.
async fn fetch(loaded: &Loaded, options: &Restore, spool: &Spool) -> Result<PathBuf, String> {
    if let Some(from) = &options.from
        && !from.starts_with("s3://")
        && Path::new(from).is_file()
    {
        return Ok(PathBuf::from(from));
    }
    let project = &loaded.project;
    let bucket = options
        .from
        .as_deref()
        .filter(|from| from.starts_with("s3://") || Path::new(from).is_dir());
    if let Some(from) = &options.from
        && bucket.is_none()
        && project.backup.to.is_none()
    {
        return Err(format!(
            "{from}: there is no such file, nor such a folder; for an archive by its name alone, write where archives are into [backup] to"
        ));
    }
    let place = place(project, bucket)?;
    let entries = place.list(&project_name(project)).await?;
    let wanted = options.from.as_deref().filter(|_| bucket.is_none());
    let entry = match wanted {
        None => entries.first(),
        Some(name) => entries.iter().find(|entry| entry.name.to_string() == name),
    };
    let Some(entry) = entry else {
        return Err(match wanted {
            Some(name) => format!(
                "{name}: there is no such file, and no such archive in {}",
                place.shown()
            ),
            None => format!(
                "{} holds no archive of project {}",
                place.shown(),
                project_name(project)
            ),
        });
    };
    place.get(&entry.name, &spool.path("archive")).await
}

type Pair = (Box<dyn Recovery>, Part, PathBuf);

/// Each part of the archive with the store that it belongs to.
fn matched(loaded: &Loaded, contents: &Contents, options: &Restore) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    for (part, file) in contents.manifest.parts.iter().zip(&contents.files) {
        let known: Vec<&str> = loaded.project.stores.keys().map(String::as_str).collect();
        if !part.store.starts_with(engines::BUS) && !known.contains(&&*part.store) {
            return Err(format!(
                "the archive holds store \"{}\", and this project has {}: it is another project's; nothing was restored",
                part.store,
                known.join(", ")
            ));
        }
        let recovery = engines::recovery(&loaded.project, &part.store)?;
        if recovery.engine() != part.engine {
            return Err(format!(
                "store \"{}\" is {} here and {} in the archive; an archive is for the kind of engine it was taken from; nothing was restored",
                part.store,
                recovery.engine(),
                part.engine
            ));
        }
        let strange = strangers(loaded, part);
        if !strange.is_empty() && !options.force {
            return Err(format!(
                "the archive's store \"{}\" has tables that this project does not have ({}): it is another project's, or older than \
                 their removal; nothing was restored. --force restores it all the same",
                part.store,
                strange.join(", ")
            ));
        }
        pairs.push((recovery, part.clone(), file.clone()));
    }
    Ok(pairs)
}

/// Tables of a part that the project's DDL does not know. The product's own are in every project, and a project without DDL knows
/// what its database has.
fn strangers(loaded: &Loaded, part: &Part) -> Vec<String> {
    let own = |name: &str| {
        ["auth.", "mainstay_auth.", "mainstay.", "_mainstay_", "auth_", "sqlite_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let schema = &*loaded.schema;
    let declared: BTreeSet<String> = schema
        .relations
        .iter()
        .filter(|r| *r.store == *part.store && r.table().is_some())
        .map(|r| match &*r.namespace {
            "public" => r.name.to_string(),
            namespace => format!("{namespace}.{}", r.name),
        })
        .collect();
    if declared.iter().all(|name| own(name)) || part.store.starts_with(engines::BUS) {
        return Vec::new();
    }
    let known = |name: &str| own(name) || declared.contains(name);
    let mut strange: Vec<String> = part
        .tables
        .iter()
        .map(|t| t.name.clone())
        .filter(|n| !known(n))
        .collect();
    strange.truncate(5);
    strange
}

fn snapshot(part: &Part) -> Snapshot {
    let table = |t: &mainstay_archive::Table| TableDigest {
        name: t.name.clone(),
        rows: t.rows,
        digest: t.digest.clone(),
    };
    Snapshot {
        version: part.version.clone(),
        position: part.position.clone(),
        tables: part.tables.iter().map(table).collect(),
        notes: part.notes.clone(),
    }
}

fn of(recovery: &dyn Recovery, error: &mainstay_model::Error) -> String {
    format!("store \"{}\": {}", recovery.name(), told(error))
}

/// Where two sets of tables are not the same.
fn differences(expected: &[TableDigest], found: &[TableDigest]) -> Vec<String> {
    let found: BTreeMap<&str, &TableDigest> = found.iter().map(|t| (t.name.as_str(), t)).collect();
    let compare = |table: &TableDigest| match found.get(table.name.as_str()) {
        None => Some(format!("{} is missing", table.name)),
        Some(now) if now.rows != table.rows => Some(format!("{} has {} rows of {}", table.name, now.rows, table.rows)),
        Some(now) if now.digest != table.digest => Some(format!("{} has other values", table.name)),
        Some(_) => None,
    };
    expected.iter().filter_map(compare).collect()
}

// ----- The drill

async fn drill(pairs: Vec<Pair>, contents: &Contents, spool: &Spool, began: Instant) -> Result<(), String> {
    let mut problems = Vec::new();
    let mut lost = Vec::new();
    let (mut restoring, mut checking) = (0.0, 0.0);
    for (recovery, part, file) in &pairs {
        let folder = spool.path(&format!("drill-{}", recovery.name()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let scratch = recovery.scratch(&folder).await.map_err(|e| of(&**recovery, &e))?;
        let at = Instant::now();
        let snapshot = snapshot(part);
        let restored = match scratch.restore(file, &snapshot, false).await {
            Ok(()) => {
                restoring += at.elapsed().as_secs_f64();
                let at = Instant::now();
                let tables = scratch.tables().await;
                checking += at.elapsed().as_secs_f64();
                tables
            }
            Err(e) => Err(e),
        };
        scratch.discard().await.map_err(|e| of(&**recovery, &e))?;
        let restored = restored.map_err(|e| of(&**recovery, &e))?;
        problems.extend(
            differences(&snapshot.tables, &restored)
                .into_iter()
                .map(|p| format!("{}: {p}", recovery.name())),
        );
        // A place that cannot be read is what a restore is for.
        match recovery.tables().await {
            Ok(now) => {
                print_tables(recovery.name(), &snapshot.tables, &restored, &now);
                lost.extend(changed_since(recovery.name(), &restored, &now));
            }
            Err(why) => {
                print_tables(recovery.name(), &snapshot.tables, &restored, &[]);
                lost.push(format!(
                    "{}: unknown, it cannot be read now ({})",
                    recovery.name(),
                    told(&why)
                ));
            }
        }
    }
    say!(
        "drill: fetched, restored and compared in {:.1} s (restoring {restoring:.1} s, comparing {checking:.1} s)",
        began.elapsed().as_secs_f64()
    );
    if lost.is_empty() {
        say!("would be lost: nothing; what is there now is what the archive holds");
    } else {
        say!("would be lost: what was written since {}:", contents.manifest.began);
        lost.iter().for_each(|line| say!("  {line}"));
    }
    if problems.is_empty() {
        say!("the archive is good: every table came back as it was");
        Ok(())
    } else {
        Err(format!(
            "the archive did not come back as it was: {}",
            problems.join("; ")
        ))
    }
}

fn print_tables(store: &str, archived: &[TableDigest], restored: &[TableDigest], now: &[TableDigest]) {
    let rows = |tables: &[TableDigest], name: &str| match tables.iter().find(|t| t.name == name) {
        Some(table) => table.rows.to_string(),
        None => "-".to_owned(),
    };
    let widest = archived
        .iter()
        .map(|t| t.name.len())
        .max()
        .unwrap_or(0)
        .max("table".len());
    say!(
        "{store}: {:widest$}  {:>10}  {:>10}  {:>10}",
        "table",
        "archived",
        "restored",
        "now"
    );
    for table in archived {
        let name = table.name.as_str();
        say!(
            "{:indent$}  {name:widest$}  {:>10}  {:>10}  {:>10}",
            "",
            table.rows,
            rows(restored, name),
            rows(now, name),
            indent = store.len()
        );
    }
}

/// What is otherwise now: rows more, rows fewer, or the same number with other values.
fn changed_since(store: &str, archived: &[TableDigest], now: &[TableDigest]) -> Vec<String> {
    let before: BTreeMap<&str, &TableDigest> = archived.iter().map(|t| (t.name.as_str(), t)).collect();
    let change = |table: &TableDigest| {
        let name = &table.name;
        match before.get(name.as_str()) {
            None => Some(format!("{store}: table {name} with {} rows", table.rows)),
            Some(old) if old.digest == table.digest && old.rows == table.rows => None,
            Some(old) if table.rows > old.rows => {
                Some(format!("{store}: {name}: at least {} rows", table.rows - old.rows))
            }
            Some(old) if table.rows < old.rows => Some(format!(
                "{store}: {name}: the removal of at least {} rows",
                old.rows - table.rows
            )),
            Some(_) => Some(format!("{store}: {name}: changes of values")),
        }
    };
    // Numbers that the engine keeps for itself, and that move without anybody's writing.
    let own = |name: &str| ["_mainstay_meta", "_mainstay_sequence", "sqlite_sequence"].contains(&name);
    now.iter()
        .filter(|table| !own(&table.name))
        .filter_map(change)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, rows: u64, digest: &str) -> TableDigest {
        TableDigest {
            name: name.to_owned(),
            rows,
            digest: digest.to_owned(),
        }
    }

    #[test]
    fn what_differs_is_named() {
        let before = [
            table("a", 2, "x"),
            table("b", 3, "y"),
            table("c", 1, "z"),
            table("d", 1, "w"),
        ];
        let after = [
            table("a", 2, "x"),
            table("b", 5, "q"),
            table("c", 1, "q"),
            table("e", 7, ""),
        ];
        assert_eq!(
            differences(&before, &after),
            ["b has 5 rows of 3", "c has other values", "d is missing"]
        );
        assert_eq!(
            changed_since("main", &before, &after),
            [
                "main: b: at least 2 rows",
                "main: c: changes of values",
                "main: table e with 7 rows"
            ]
        );
        assert!(differences(&before, &before).is_empty() && changed_since("main", &before, &before).is_empty());
        assert_eq!(
            changed_since("m", &after[1..2], &before[1..2]),
            ["m: b: the removal of at least 2 rows"]
        );
    }
}
