//! Running other programs: streaming what they print, never for longer than they may.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Runs a command to its end and hands each line of its standard output to `on_line`. Standard error goes straight through.
///
/// Fails when the program cannot be started, ends with a failure, or runs longer than `limit`, in which case it and all that
/// it started are killed.
pub fn stream(command: &mut Command, limit: Duration, mut on_line: impl FnMut(&str)) -> Result<(), String> {
    let shown = show(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let Some(output) = child.stdout.take() else {
        return Err(format!("{shown}: no standard output"));
    };
    let (sender, lines) = mpsc::sync_channel(1024);
    let reader = std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // A line that is no UTF-8 is a line all the same.
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_string();
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + limit;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => on_line(&line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                kill_with_descendants(child.id());
                let _ = child.wait();
                return Err(format!("{shown}: stopped after {} s", limit.as_secs()));
            }
        }
    }
    let _ = reader.join();
    let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{shown}: {status}"))
    }
}

/// Runs a command to its end and returns what it printed. Fails as [`stream`] does, with its standard error in the message.
pub fn capture(command: &mut Command) -> Result<String, String> {
    let shown = show(command);
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{shown}: {}\n{}", output.status, errors.trim_end()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first of `names` that is an executable file, looked up in `PATH` and then in the folders where Debian hides servers.
pub fn find(names: &[&str]) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let folders: Vec<_> = std::env::split_paths(&path).chain(usual).collect();
    names.iter().find_map(|name| {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| is_executable(file))
    })
}

/// Whether `file` is a file that somebody may execute.
pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// `root` and every process below it, parents first.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name in parentheses may itself contain spaces and parentheses.
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        if let Some(parent) = after_name
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse::<u32>().ok())
        {
            parents.push((process, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(process, _)| *process),
        );
        next += 1;
    }
    found
}

/// Kills a process that we started and all that it started.
pub fn kill_with_descendants(root: u32) {
    for process in descendants(root) {
        // A program and not a system call: this crate has no `unsafe` and no dependency for one signal.
        let _ = Command::new("kill")
            .args(["-9", &process.to_string()])
            .stderr(Stdio::null())
            .status();
    }
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_arrives_line_by_line_and_failure_is_reported() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'a\\nb'; exit 3"]);
        let failure = stream(&mut command, Duration::from_secs(60), |line| {
            lines.push(line.to_string())
        })
        .unwrap_err();
        assert_eq!(lines, ["a", "b"]);
        assert!(failure.contains("exit status: 3"), "{failure}");
    }

    #[test]
    fn a_command_that_hangs_is_stopped_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let mut child = String::new();
        let failure = stream(&mut command, Duration::from_secs(3), |line| child = line.to_string()).unwrap_err();
        assert!(failure.contains("stopped after"), "{failure}");
        assert!(!child.is_empty(), "the child's number did not arrive");
        // A killed process takes a moment to go.
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < end, "still there: {state}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}
