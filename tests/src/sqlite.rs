//! A foreign writer: SQLite without Mainstay, as anybody has it.

use std::path::Path;
use std::process::Command;

const PYTHON: &str = "import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
for row in connection.execute(sys.argv[2]): print('|'.join('' if v is None else str(v) for v in row))";

/// Runs one statement by the `sqlite3` shell, or by Python's module where there is no shell; what it prints, without the last
/// line's end. Panics when it fails.
pub fn sqlite(file: &Path, sql: &str) -> String {
    let shell = Command::new("sqlite3")
        .arg("-cmd")
        .arg(".timeout 10000")
        .arg(file)
        .arg(sql)
        .output();
    let output = match shell {
        Ok(output) => output,
        Err(_) => Command::new("python3")
            .args(["-c", PYTHON])
            .arg(file)
            .arg(sql)
            .output()
            .expect("sqlite3 or python3"),
    };
    assert!(
        output.status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
