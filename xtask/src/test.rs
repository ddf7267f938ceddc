//! `cargo xtask test`: the whole check, in the order in which mistakes are cheapest to find, with one debug build that
//! everything reuses, and a summary at the end.
//!
//! What tests may rely on: `MAINSTAY_BIN` names the binary under test, and a test that cannot run appends a line
//! `name: reason` to the file `MAINSTAY_SKIPPED`, unless `CI=true`, when it fails instead.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::stream;
use crate::engines::{self, Engine};
use crate::tidy;

/// The end-to-end crate, run last and against the finished binary.
const END_TO_END: &str = "mainstay-tests";

/// The end-to-end tests that another store changes nothing of: those that name their engines themselves, and those of the gateway and the
/// command line. Each begins with one of these.
const WHATEVER_THE_STORE: [&str; 18] = [
    "adopted::",
    "cli::a_command_line",
    "cli::a_drain",
    "cli::a_reader",
    "cli::check",
    "cli::new_check_serve",
    "cli::operators",
    "cli::sigterm",
    "errors::framing",
    "errors::sizes",
    "errors::tokens",
    "events::the_operators_listener",
    "faults::",
    "migrate::",
    "openapi::",
    "public_schemas::",
    "scaled::",
    "streaming::",
];

/// No step may take longer: a hanging test must end as a failure with a summary.
const STEP_LIMIT: Duration = Duration::from_secs(25 * 60);

/// Results of one or several test programs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// The tests that failed, by name.
    failures: Vec<String>,
}

impl Counts {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …` or `test NAME ... FAILED`; others count nothing.
    fn add_line(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_string());
        }
        let Some(results) = line.trim_start().strip_prefix("test result:") else {
            return;
        };
        for part in results.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(kind)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// A step that is over.
struct Step {
    name: &'static str,
    failure: Option<String>,
    note: String,
    seconds: f64,
}

/// The task. Every step runs even if one before it failed, so that one run tells everything.
pub fn run(root: &Path) -> Result<(), String> {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let skipped_file = root.join("target").join("skipped-tests.txt");
    let _ = std::fs::remove_file(&skipped_file);
    let started = Instant::now();
    let mut steps = Vec::new();

    step(&mut steps, "engines", || {
        if is_ci {
            engines::install_missing()?;
        }
        let missing: Vec<&str> = engines::missing().iter().map(|engine| engine.name).collect();
        match (missing.is_empty(), is_ci) {
            (true, _) => Ok("all there".to_string()),
            (false, true) => Err(format!("missing: {}", missing.join(", "))),
            (false, false) => Ok(format!(
                "missing: {} (`cargo xtask engines` installs them)",
                missing.join(", ")
            )),
        }
    });
    step(&mut steps, "tidy", || tidy::run(root, false).map(|()| String::new()));
    step(&mut steps, "format", || {
        cargo(root, &["fmt", "--all", "--check"]).map(|_| String::new())
    });
    step(&mut steps, "clippy", || {
        cargo(
            root,
            &[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )
        .map(|_| String::new())
    });
    step(&mut steps, "licences", || {
        let Some(program) = Engine::named("cargo-deny").and_then(Engine::program) else {
            return Ok("not checked: cargo-deny is missing".to_string());
        };
        // Advisories are looked up in a repository that not every machine reaches: `cargo deny check advisories`.
        let arguments = [
            "--offline",
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ];
        let mut command = Command::new(program);
        command.current_dir(root).args(arguments);
        stream(&mut command, STEP_LIMIT, |line| println!("{line}")).map(|()| String::new())
    });
    step(&mut steps, "build", || {
        cargo(root, &["build", "--workspace", "--bins"]).map(|_| String::new())
    });
    step(&mut steps, "unit tests", || {
        let counts = cargo(
            root,
            &["test", "--workspace", "--exclude", END_TO_END, "--no-fail-fast"],
        )?;
        judge(counts, is_ci)
    });
    // The product broken on purpose, in the ways that its checkers exist for: each must be found.
    step(&mut steps, "mutations", || {
        let counts = cargo(
            root,
            &[
                "test",
                "--package",
                "mainstay-cache",
                "--package",
                "mainstay-query",
                "--features",
                "mainstay-cache/failpoints,mainstay-query/failpoints",
                "--no-fail-fast",
                "is_found",
            ],
        )?;
        judge(counts, is_ci)
    });
    step(&mut steps, "end to end", || {
        let counts = cargo(root, &["test", "--package", END_TO_END, "--no-fail-fast"])?;
        judge(counts, is_ci)
    });
    step(&mut steps, "on PostgreSQL", || {
        let mut arguments = vec!["test", "--package", END_TO_END, "--test", "e2e", "--"];
        arguments.extend(WHATEVER_THE_STORE.iter().flat_map(|name| ["--skip", name]));
        let counts = cargo_with(root, &arguments, &[("MAINSTAY_TEST_STORE", "postgres")])?;
        judge(counts, is_ci)
    });

    let skipped = std::fs::read_to_string(&skipped_file).unwrap_or_default();
    let skipped: Vec<&str> = skipped.lines().filter(|line| !line.trim().is_empty()).collect();
    print_summary(&steps, &skipped, started.elapsed());
    if steps.iter().any(|step| step.failure.is_some()) {
        return Err("FAILED".to_string());
    }
    if is_ci && !skipped.is_empty() {
        return Err("FAILED: under CI=true nothing may be skipped".to_string());
    }
    println!("PASSED");
    Ok(())
}

fn step(steps: &mut Vec<Step>, name: &'static str, work: impl FnOnce() -> Result<String, String>) {
    println!("\n== {name}");
    let started = Instant::now();
    let outcome = work();
    if let Err(message) = &outcome {
        eprintln!("{message}");
    }
    let (failure, note) = match outcome {
        Ok(note) => (None, note),
        Err(message) => (Some(message), String::new()),
    };
    steps.push(Step {
        name,
        failure,
        note,
        seconds: started.elapsed().as_secs_f64(),
    });
}

/// Runs cargo, printing its output and counting test results in it.
fn cargo(root: &Path, arguments: &[&str]) -> Result<Counts, String> {
    cargo_with(root, arguments, &[])
}

/// The same with more in its environment.
fn cargo_with(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(root)
        .envs(environment.iter().copied())
        .env("MAINSTAY_BIN", root.join("target/debug/mainstay"))
        .env("MAINSTAY_SKIPPED", root.join("target/skipped-tests.txt"));
    // A failing test program must not hide what the others counted: the counts go into the message.
    let outcome = stream(&mut command, STEP_LIMIT, |line| {
        println!("{line}");
        counts.add_line(line);
    });
    match outcome {
        Ok(()) => Ok(counts),
        Err(message) if counts == Counts::default() => Err(message),
        Err(message) => {
            let names: String = counts.failures.iter().map(|name| format!("\n{name}")).collect();
            Err(format!(
                "{} passed, {} failed: {message}{names}",
                counts.passed, counts.failed
            ))
        }
    }
}

fn judge(counts: Counts, is_ci: bool) -> Result<String, String> {
    let text = format!("{} passed, {} ignored", counts.passed, counts.ignored);
    if counts.passed == 0 {
        return Err("no test ran".to_string());
    }
    if is_ci && counts.ignored > 0 {
        return Err(format!("{text}: under CI=true nothing may be skipped"));
    }
    Ok(text)
}

fn print_summary(steps: &[Step], skipped: &[&str], total: Duration) {
    println!("\n== summary");
    for step in steps {
        let (verdict, note) = match &step.failure {
            None => ("ok", step.note.as_str()),
            Some(message) => ("FAILED", message.lines().next().unwrap_or_default()),
        };
        println!("{:<13} {verdict:<7} {:>7.1} s  {note}", step.name, step.seconds);
    }
    for step in steps.iter().filter(|step| {
        matches!(
            step.name,
            "tidy" | "unit tests" | "mutations" | "end to end" | "on PostgreSQL"
        )
    }) {
        for line in step.failure.iter().flat_map(|message| message.lines().skip(1)) {
            println!("{:<13} {line}", step.name);
        }
    }
    for line in skipped {
        println!("skipped       {line}");
    }
    println!(
        "{:<13} {:<7} {:>7.1} s  {} skipped",
        "total",
        "",
        total.as_secs_f64(),
        skipped.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.5s",
            "the test result: ok. 99 passed;",
            "test a::b ... FAILED",
            "test a::c ... ok",
        ] {
            counts.add_line(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 14,
                failed: 4,
                ignored: 1,
                failures: vec!["a::b".to_string()]
            }
        );
    }

    #[test]
    fn a_run_of_nothing_is_no_success() {
        let counts = |passed, ignored| Counts {
            passed,
            failed: 0,
            ignored,
            failures: Vec::new(),
        };
        assert!(judge(counts(0, 0), false).is_err());
        assert!(judge(counts(5, 1), true).is_err());
        assert_eq!(judge(counts(5, 1), false), Ok("5 passed, 1 ignored".to_string()));
    }
}
