//! What a command tells, where it cannot be told: into a pipe that nobody reads any more, and onto a disk that is full.

use mainstay_tests::{Client, Project, binary, free_port, until};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// A pipe whose other end is closed already.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full").into()
}

/// A verb's exit status and what it complained of.
fn run(arguments: &[&str], dir: &Path, output: Stdio) -> (Option<i32>, String) {
    let child = Command::new(binary())
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn();
    let ended = child.expect("starts").wait_with_output().expect("ends");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn a_reader_who_left_is_no_failure_and_a_full_disk_is_one() {
    let home = Project::empty();
    for (place, status) in [("closed", 0), ("full", 1)] {
        let output = || if place == "closed" { closed() } else { full() };
        let tell = |arguments: &[&str]| {
            let (code, errors) = run(arguments, home.dir(), output());
            assert_eq!(code, Some(status), "{arguments:?}: {errors}");
            let said = errors.contains("standard output cannot be written: No space left on device");
            assert_eq!(said, status == 1, "{arguments:?}: {errors}");
        };
        tell(&["--help"]);
        tell(&["new", place]);
        // Makes the database.
        let (code, errors) = run(&["import", "--data", place], home.dir(), Stdio::null());
        assert_eq!(code, Some(0), "{errors}");
        for arguments in [
            ["check", place].as_slice(),
            &["token", place, "--role", "anon"],
            &["migrate", "plan", place],
            &["migrate", "plan", place, "--json"],
            &["backup", place, "--to", place],
            &["backup", place, "--to", place, "--list"],
        ] {
            tell(arguments);
        }
    }
}

#[test]
fn what_was_begun_is_done_though_nobody_listens() {
    let project = Project::new("CREATE TABLE a (id integer PRIMARY KEY);", "");
    let dir = project.dir();
    project.write("a.csv", "id\n1\n");
    let (code, errors) = run(&["import", "a", "a.csv"], dir, closed());
    assert_eq!(code, Some(0), "{errors}");
    project.write(
        "schema.sql",
        "CREATE TABLE a (id integer PRIMARY KEY, n integer);\nCREATE INDEX ON a (n);",
    );
    let (code, errors) = run(&["migrate", "plan"], dir, closed());
    assert_eq!(code, Some(2), "{errors}");
    let (code, errors) = run(&["migrate", "apply"], dir, closed());
    assert_eq!(code, Some(0), "{errors}");
    let (code, errors) = run(&["migrate", "plan"], dir, Stdio::null());
    assert_eq!(code, Some(0), "{errors}");
    // Nobody at standard error either.
    let status = Command::new(binary())
        .args(["check", "nowhere"])
        .stdout(closed())
        .stderr(closed())
        .status();
    assert_eq!(status.expect("ends").code(), Some(1));
}

#[test]
fn serve_goes_on_though_its_line_is_lost() {
    for output in [closed(), full()] {
        let project = Project::new(
            "CREATE TABLE a (id integer PRIMARY KEY);\nGRANT SELECT ON a TO anon;",
            "",
        );
        let address = format!("127.0.0.1:{}", free_port());
        let log = project.dir().join("log");
        let mut child = Command::new(binary())
            .args(["serve", "--listen", &address, "--admin", "127.0.0.1:0"])
            .current_dir(project.dir())
            .stdout(output)
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("starts");
        until("the lost line is logged", || {
            project
                .read("log")
                .contains("\\\"ready\\\" cannot be written")
                .then_some(())
        });
        Client::new(&format!("http://{address}")).get("/rest/v1/a").expect(200);
        let terminated = Command::new("kill").arg(child.id().to_string()).status();
        assert!(terminated.expect("kill").success());
        let status = child.wait().expect("ends");
        assert!(status.success(), "{status}: {}", project.read("log"));
    }
}

#[test]
fn all_descriptors_that_may_be_had_are_taken() {
    let project = mainstay_tests::Project::new("CREATE TABLE t (id bigint PRIMARY KEY);", "");
    let process = project.serve();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("Linux");
    let line = limits
        .lines()
        .find(|l| l.starts_with("Max open files"))
        .expect("a limit");
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}
