//! Every developer task, one verb each, in Rust so that a fresh clone needs nothing but a toolchain.
//!
//! `cargo xtask test` is the whole check, the one that CI runs. It depends on as little as possible: it must build in
//! seconds, before anything else does.

mod bench;
mod command;
mod engines;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK

  test               everything: engines, tidy, format, clippy, unit tests, end-to-end tests; ends with a summary
                     CI=true: missing engines are installed, and nothing may be skipped
  tidy [--bless]     the house rules: dependency table, file lengths, reasons, links
                     --bless lowers the lengths in xtask/ratchet.txt to what the files have now
  engines [--check]  installs the servers and tools that the tests need; --check only says what is missing
  bench [NAME]…      measures CPU per request against peers and prints tables; without NAME every case
                     --core N, --rounds N, --seconds N
  churn [MINUTES [MIB]]
                     resident memory while a cache of so many MiB is filled and emptied";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root();
    let outcome = match words.as_slice() {
        ["test"] => test::run(&root),
        ["tidy"] => tidy::run(&root, false),
        ["tidy", "--bless"] => tidy::run(&root, true),
        ["engines"] => engines::run(true),
        ["engines", "--check"] => engines::run(false),
        ["churn"] => bench::churn::run(&root, 10.0, bench::churn::CACHE_MIB),
        ["churn", minutes, rest @ ..] if rest.len() < 2 => {
            let mib = rest.first().map_or(Ok(bench::churn::CACHE_MIB), |text| text.parse());
            match (minutes.parse(), mib) {
                (Ok(minutes), Ok(mib)) => bench::churn::run(&root, minutes, mib),
                _ => Err("churn takes minutes and the cache's MiB, both numbers".to_string()),
            }
        }
        ["bench", options @ ..] => bench::run(&root, options),
        [] | ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("no such task: {}\n\n{USAGE}", other.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The folder above this crate's.
fn workspace_root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let xtask = PathBuf::from(manifest);
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}
