//! Crashes: the process killed between two instructions, a plug that is pulled, a disk that takes no more. Each test starts this program
//! again as the victim, because none of these can be had inside a process that lives on.

mod lossy;
mod scratch;

use lossy::Loss;
use mainstay_model::*;
use mainstay_store::conformance::{World, library, world::*};
use mainstay_store_sqlite::{Captured, Config, SqliteStore};
use scratch::Scratch;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where the victim works; set only for the victim.
const VICTIM: &str = "MAINSTAY_TEST_VICTIM";
/// What the victim's disk loses, and the seed of its dice; an ordinary disk when not set.
const LOSS: &str = "MAINSTAY_TEST_LOSS";
/// Writers at once in the victim.
const WRITERS: i64 = 16;

fn open(path: &Path) -> World {
    open_on(path, None)
}

fn open_on(path: &Path, vfs: Option<String>) -> World {
    let schema = Arc::new(library());
    let mut captured = Captured::none();
    captured.add_all(TAGS);
    let store = SqliteStore::open(
        Config {
            vfs,
            ..Config::new(path)
        },
        schema.clone(),
        captured,
        Vec::new(),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    World::over(store, schema)
}

fn insertion(w: &World, id: i64) -> Step {
    w.insert(
        TAGS,
        &["id", "label"],
        vec![vec![Value::Int(id), text(&"x".repeat(200))]],
    )
}

fn lossy_disk() -> Option<String> {
    let setting = std::env::var(LOSS).ok()?;
    let (loss, seed) = setting.split_once(' ')?;
    let loss = match loss {
        "unsynced" => Loss::Unsynced,
        "some" => Loss::Some,
        _ => Loss::Lies,
    };
    Some(lossy::register(loss, seed.parse().ok()?))
}

/// Writes until it is killed or the disk refuses, saying on standard output what became of each row.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let w = open_on(Path::new(&path), lossy_disk());
        let start = w.read(w.query(TAGS, &["id"]), &[]).await.unwrap().rows as i64;
        let writer = |writer: i64| {
            let w = &w;
            Box::pin(async move {
                let mut refusals = 0;
                for n in 0.. {
                    let id = (start + n) * WRITERS + writer + start * 1000;
                    let line = match w.write(insertion(w, id)).await {
                        Ok(_) => format!("done {id}"),
                        Err(error) if error.outcome == Outcome::Unknown => format!("unknown {id} {}", error.code),
                        Err(error) => format!("refused {id} {}", error.code),
                    };
                    refusals += i32::from(!line.starts_with("done"));
                    // Written whole and at once: what the other side reads was acknowledged before the end came.
                    let _ = std::io::stdout().lock().write_all(format!("\n{line}\n").as_bytes());
                    if refusals > 3 {
                        return;
                    }
                }
            }) as mainstay_store::BoxFuture<'_, ()>
        };
        all((0..WRITERS).map(writer).collect()).await;
    });
}

fn rows_and_events(path: &Path) -> (HashSet<i64>, Vec<i64>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let w = open(path);
        let body = w.table(TAGS, &["id"]).await;
        let rows = body
            .split("\"id\":")
            .skip(1)
            .map(|rest| rest.trim_end_matches(['}', ',', '{', ']']).parse().unwrap())
            .collect();
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let page = w.store.outbox(after, 1000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.sequence;
            events.extend(page.iter().map(|r| r.key.parse::<i64>().unwrap()));
        }
        w.store.close().await;
        (rows, events)
    })
}

fn spawn(command: &mut Command, path: &Path) -> std::process::Child {
    command
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the victim again and again, and compares what it acknowledged with what is there. The first difference, if there is one.
fn killed_again_and_again(rounds: i64, loss: Option<&str>) -> Result<(), String> {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    let program = std::env::current_exe().unwrap();
    let mut acknowledged = HashSet::new();
    for round in 1..=rounds {
        let mut command = Command::new(&program);
        command.args(["--exact", "victim", "--nocapture"]);
        if let Some(loss) = loss {
            command.env(LOSS, format!("{loss} {round}"));
        }
        let mut child = spawn(&mut command, &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Enough that later rounds end around the checkpoints that bring the log into the file.
        let mut left = 400 * round;
        for line in lines.by_ref() {
            let Ok(line) = line else { break };
            if let Some(id) = line.strip_prefix("done ") {
                acknowledged.insert(id.parse::<i64>().unwrap());
                left -= 1;
                if left == 0 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(
            acknowledged.len() >= 400,
            "the victim wrote {} rows",
            acknowledged.len()
        );
        let (rows, events) = rows_and_events(&path);
        let lost = acknowledged.difference(&rows).count();
        if lost > 0 {
            return Err(format!(
                "round {round}: {lost} of {} acknowledged rows are lost",
                acknowledged.len()
            ));
        }
        assert_eq!(
            events.len(),
            rows.len(),
            "each row has its event, and no event is without its row"
        );
        assert_eq!(events.iter().copied().collect::<HashSet<_>>(), rows);
    }
    Ok(())
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    assert_eq!(killed_again_and_again(8, None), Ok(()));
}

#[test]
fn without_its_unsynced_pages_nothing_acknowledged_is_lost() {
    assert_eq!(killed_again_and_again(8, Some("unsynced")), Ok(()));
}

#[test]
fn with_some_of_its_unsynced_pages_nothing_acknowledged_is_lost() {
    assert_eq!(killed_again_and_again(8, Some("some")), Ok(()));
}

/// The two tests above find something: a disk that says it has synced and has not.
#[test]
fn a_disk_that_lies_is_found_out() {
    assert!(killed_again_and_again(3, Some("lies")).is_err());
}

#[test]
fn a_disk_that_takes_no_more_loses_nothing_acknowledged() {
    let scratch = Scratch::new();
    let path = scratch.path().join("main.db");
    drop(open(&path));
    let program = std::env::current_exe().unwrap();
    // No file of the victim may grow beyond 400 blocks of 512 bytes; without a signal, so that it sees the error.
    let script = format!(
        "trap '' XFSZ; ulimit -f 400; exec '{}' --exact victim --nocapture",
        program.display()
    );
    let mut child = spawn(Command::new("sh").args(["-c", &script]), &path);
    let (mut done, mut refused, mut unknown) = (HashSet::new(), HashSet::new(), HashSet::new());
    for line in BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
    {
        let mut words = line.split(' ');
        let (Some(what), Some(Ok(id))) = (words.next(), words.next().map(str::parse::<i64>)) else {
            continue;
        };
        match what {
            "done" => done.insert(id),
            "refused" => refused.insert(id),
            "unknown" => unknown.insert(id),
            _ => false,
        };
        if what == "refused" || what == "unknown" {
            let code = words.next().unwrap_or_default();
            assert!(["58030", "53100"].contains(&code), "{line}");
        }
    }
    child.wait().unwrap();
    assert!(
        !done.is_empty() && refused.len() + unknown.len() > 10,
        "{} done, {} refused",
        done.len(),
        refused.len()
    );
    let (rows, events) = rows_and_events(&path);
    assert!(
        done.is_subset(&rows),
        "acknowledged and lost: {:?}",
        done.difference(&rows).collect::<Vec<_>>()
    );
    let refused_and_there: Vec<_> = refused.intersection(&rows).collect();
    assert!(refused_and_there.is_empty(), "refused and there: {refused_and_there:?}");
    assert!(rows.iter().all(|id| done.contains(id) || unknown.contains(id)));
    assert_eq!(events.len(), rows.len());
}
