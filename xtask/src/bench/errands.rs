//! What is measured without a load: rows in bulk, and understanding requests.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::mainstay::binary;
use super::process::{Folder, SETTLES, ended_cpu_us};
use super::{Place, median, postgres};
use crate::command::capture;

/// Something that is measured in a way of its own.
pub struct Errand {
    /// Selects it on the command line.
    pub name: &'static str,
    /// Measures on a core, in so many rounds, and gives what is to be printed.
    pub run: fn(&Path, u32, usize) -> Result<String, String>,
}

/// Every errand, in the order of the report.
pub const ALL: [Errand; 2] = [
    Errand {
        name: "pg-import",
        run: import,
    },
    Errand {
        name: "parse",
        run: parse,
    },
];

/// Rows that are loaded.
const ROWS: usize = 1_000_000;

/// The most CPU time that an import may take, as a multiple of psql's.
const AIM: f64 = 1.2;

/// `mainstay import` against psql's `\copy`: the same file into the same empty table. CPU time of the program and the database.
fn import(root: &Path, core: u32, rounds: usize) -> Result<String, String> {
    let folder = Folder::new("pg-import")?;
    let place = Place {
        root,
        core,
        folder: folder.path(),
    };
    let database = postgres::start(&place)?;
    postgres::psql(
        &database,
        "CREATE TABLE bulk (id bigint PRIMARY KEY, name text NOT NULL, note text NOT NULL, price numeric(10,2), stock integer);",
    )?;
    let file = folder.path().join("bulk.csv");
    write_rows(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let toml = format!("[store.main]\nurl = \"{}\"\n", postgres::url(&database));
    std::fs::write(folder.path().join("mainstay.toml"), toml).map_err(|e| e.to_string())?;
    let pinned = |program: &Path| {
        let mut command = Command::new("taskset");
        command
            .args(["-c", &core.to_string()])
            .arg(program)
            .current_dir(folder.path());
        command
    };
    let mut copy = pinned(Path::new("psql"));
    copy.args(["-qX", "-U", "postgres", "-h"])
        .arg(&database.folder)
        .arg("-c");
    copy.arg("\\copy bulk FROM 'bulk.csv' WITH (FORMAT csv, HEADER)");
    let mut own = pinned(&binary(root, "mainstay")?);
    own.args(["import", "bulk", "bulk.csv", "."]);
    let mut samples = [Vec::new(), Vec::new()];
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..rounds.min(3) {
        for (index, command) in [&mut copy, &mut own].into_iter().enumerate() {
            postgres::psql(&database, "TRUNCATE bulk;")?;
            postgres::psql(&database, "CHECKPOINT;")?;
            let (before, began) = (
                database.used()?.server + ended_cpu_us(std::process::id()),
                Instant::now(),
            );
            capture(command)?;
            let took = began.elapsed().as_secs_f64();
            std::thread::park_timeout(SETTLES);
            let used = database.used()?.server + ended_cpu_us(std::process::id()) - before;
            seconds[index].push(took);
            samples[index].push(used / 1e6);
        }
    }
    let ratio = median(
        samples[1]
            .iter()
            .zip(&samples[0])
            .map(|(own, copy)| own / copy)
            .collect(),
    );
    let verdict = if ratio <= AIM { "met" } else { "**missed**" };
    let [copied, imported] = samples.map(median);
    let [copy_took, import_took] = seconds.map(median);
    Ok(format!(
        "A CSV file of {ROWS} rows into an empty table with a primary key; CPU of the program and the database together.\n\n\
         | Program | CPU-s | ratio | aim | s |\n|---|---|---|---|---|\n\
         | psql \\copy | {copied:.2} | 1.00 |  | {copy_took:.1} |\n\
         | mainstay import | {imported:.2} | {ratio:.2} | ≤ {AIM:.2} {verdict} | {import_took:.1} |"
    ))
}

fn write_rows(file: &Path) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    writeln!(out, "id,name,note,price,stock")?;
    for id in 1..=ROWS {
        writeln!(
            out,
            "{id},Item {id},\"A note about item {id}, with a comma\",{}.{:02},{}",
            id % 500,
            id % 100,
            id % 90
        )?;
    }
    out.flush()
}

/// The dialect's own probe.
fn parse(root: &Path, core: u32, _: usize) -> Result<String, String> {
    let program = root.join("target/release/examples/parse");
    if !program.exists() {
        return Err(format!(
            "{} is missing: cargo build --release -p mainstay-rest --example parse",
            program.display()
        ));
    }
    let mut probe = Command::new("taskset");
    let table = capture(probe.args(["-c", &core.to_string()]).arg(program))?;
    Ok(format!(
        "A GET with five filters through the dialect and the planner, over a store that answers nothing at once.\n\n{}",
        table.trim_end()
    ))
}
