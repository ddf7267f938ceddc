//! What is refused before anything runs: which file it is about, and what to do.

use mainstay_tests::{Command, Project, binary};
use std::path::Path;

/// A verb to its end: whether it succeeded, what it complained of.
fn run(arguments: &[&str], dir: &Path) -> (bool, String) {
    let (ok, _, errors) = Command::new(binary(), "").args(arguments).in_dir(dir).run();
    (ok, errors)
}

#[test]
fn an_empty_folder_is_no_project_whatever_is_set() {
    let home = Project::empty();
    for arguments in [
        ["check", "."].as_slice(),
        &["check", ".", "--set", "gateway.listen=127.0.0.1:0"],
        &["check", ".", "--set", "store.main.url=sqlite:a.db"],
        &["serve", ".", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
        &["migrate", "plan", "."],
        &["migrate", "apply", ".", "--set", "store.main.url=sqlite:a.db"],
        &["import", "--data", "."],
    ] {
        let (ok, errors) = run(arguments, home.dir());
        assert!(
            !ok && errors.contains(".: there is no project here"),
            "{arguments:?}: {errors}"
        );
        let left = std::fs::read_dir(home.dir()).expect("a folder").count();
        assert_eq!(left, 0, "{arguments:?} leaves something behind");
    }
}
