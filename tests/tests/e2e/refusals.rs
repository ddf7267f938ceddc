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

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let schema = "CREATE TABLE a (id integer PRIMARY KEY);";
    for (file, content, wanted) in [
        (
            ".mainstay/bus.db",
            "no database".repeat(200),
            ".mainstay/bus.db: the file is damaged, or no SQLite database",
        ),
        (
            ".mainstay/admin.token",
            "\n".to_owned(),
            ".mainstay/admin.token: the file is empty; remove it, and the next start makes a new one",
        ),
        (
            ".mainstay/development.key",
            String::new(),
            ".mainstay/development.key: the file is empty; remove it, and the next start makes a new one",
        ),
        (
            ".mainstay/development.key",
            "short".to_owned(),
            "or remove the file, and the next start makes a new key",
        ),
        (
            ".mainstay/webhook-w.secret",
            String::new(),
            ".mainstay/webhook-w.secret: the file is empty",
        ),
        (".mainstay", String::new(), "; a file stands where a folder should be"),
    ] {
        let project = Project::new(
            schema,
            "[[on]]\nname = \"w\"\nchange = \"a\"\ndeliver = \"http://127.0.0.1:9/\"\n",
        );
        let path = project.dir().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        project.write(file, &content);
        let serve = ["serve", ".", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let (ok, errors) = run(&serve, project.dir());
        assert!(!ok && errors.contains(wanted), "{file}: {wanted:?}: {errors}");
        if file.ends_with("admin.token") {
            let (ok, errors) = run(&["events", "backlog"], project.dir());
            assert!(!ok && errors.contains(wanted), "{errors}");
        }
        if file.ends_with("development.key") {
            let (ok, errors) = run(&["token", "--role", "anon"], project.dir());
            assert!(!ok && errors.contains(wanted), "{errors}");
        }
    }
}

#[test]
fn what_was_typed_is_what_the_answer_names() {
    let project = Project::new("CREATE TABLE a (id integer PRIMARY KEY);", "");
    project.write("f.csv", "id\n1\n");
    for (arguments, wanted) in [
        (
            ["serve", "--listen", "foo"].as_slice(),
            "--listen: \"foo\" is not an address to listen on",
        ),
        (
            &["serve", "--listen", "127.0.0.1:7", "--admin", "127.0.0.1:7"],
            "--admin: 127.0.0.1:7 is taken by [gateway] listen",
        ),
        (
            &["serve", "--set", "gateway.listen=foo"],
            "--set gateway.listen: [gateway] listen: \"foo\"",
        ),
        (
            &["import", "users", "f.csv"],
            "there is no table \"users\"; did you mean \"auth.users\"?",
        ),
        (&["import", "b", "f.csv"], "there is no table \"b\""),
        (
            &["restore", "--from", "nope.tar"],
            "nope.tar: there is no such file, nor such a folder",
        ),
        (
            &["restore", "--from", "nope.tar", "--set", "backup.to=backups"],
            "nope.tar: there is no such file, and no such archive in ",
        ),
    ] {
        let (ok, errors) = run(arguments, project.dir());
        assert!(!ok && errors.contains(wanted), "{arguments:?}: {wanted:?}: {errors}");
    }
}

#[test]
fn check_says_what_serve_would_refuse_and_where() {
    let project = Project::new("CREATE TABLE a (id integer PRIMARY KEY);\nCREATE SCHEMA shop;", "");
    project.write("keys.json", "{}");
    for (toml, wanted) in [
        (
            "[cache]\nshared = \"redis://c:1\"",
            "mainstay.toml:2:10: [cache] shared is not served yet; ",
        ),
        (
            "[auth]\njwks = \"keys.json\"",
            "mainstay.toml:2:8: [auth] jwks is not served yet; ",
        ),
        (
            "[api]\npre_request = \"f\"",
            "mainstay.toml:2:15: [api] pre_request on an embedded store is not served yet; ",
        ),
        (
            "[upstream.u]\nservers = [\"h:1\"]\n[[route]]\nmatch = \"GET /a\"\nto = \"u\"\ncache = true",
            "mainstay.toml:6:9: [[route]] cache is not served yet; ",
        ),
        (
            "[[route]]\nmatch = \"GET /a\"\nto = \"api\"",
            "mainstay.toml:2:9: [[route]] match: no API is at /a; the project's own are at /rest/v1, /auth/v1, /jobs/v1",
        ),
        (
            "[gateway.cors]\nmethods = [\"FOO BAR\"]",
            "mainstay.toml:2:12: [gateway.cors] methods: \"FOO BAR\" is not a method",
        ),
        (
            "[store.main]\nurl = \"postgres://h/d\"",
            "mainstay.toml:2:7: the development key is for embedded stores alone",
        ),
        (
            "[gateway]\nlisten = \"0.0.0.0:0\"",
            "mainstay.toml:2:10: the development key is for this machine alone",
        ),
        (
            "[[on]]\nchange = \"a\"\ndeliver = \"/nowhere?x=1\"",
            "mainstay.toml:3:11: [[on]] deliver: no route takes POST /nowhere?x=1; add a [[route]] that does",
        ),
        (
            "[[on]]\nchange = \"a\"\ndeliver = \"/a\"\n[upstream.u]\nservers = [\"h:1\"]\n[[route]]\nmatch = \"GET /a\"\nto = \"u\"",
            "[[on]] deliver: no route takes POST /a",
        ),
        (
            "[api]\nschemas = [\"public\", \"shp\"]",
            "mainstay.toml:2:22: there is no schema \"shp\"; did you mean \"shop\"?",
        ),
        (
            "[api]\nschemas = \"auth\"",
            "mainstay.toml:2:11: [api] schemas: \"auth\" holds what Mainstay keeps for itself",
        ),
        (
            "[api]\nroot = \"nope\"",
            "mainstay.toml:2:8: there is no function \"nope\"",
        ),
    ] {
        project.write("mainstay.toml", toml);
        let (ok, errors) = run(&["check", "."], project.dir());
        assert!(!ok && errors.contains(wanted), "{toml}: {wanted:?}: {errors}");
        let serve: &[&str] = match toml.contains("listen") {
            true => &["serve", ".", "--admin", "127.0.0.1:0"],
            false => &["serve", ".", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
        };
        let (ok, errors) = run(serve, project.dir());
        assert!(!ok && errors.contains(wanted), "{toml}: {wanted:?}: {errors}");
    }
}

#[test]
fn names_that_are_answered_pass() {
    let project = Project::new(
        "CREATE TABLE a (id integer PRIMARY KEY);\nCREATE SCHEMA shop;\nGRANT SELECT ON a TO visitor;\n\
         CREATE FUNCTION index() RETURNS integer LANGUAGE SQL RETURN 1;",
        "[api]\nschemas = [\"shop\", \"public\"]\nroot = \"index\"\nanon = \"visitor\"\n\
         [[on]]\nchange = \"a\"\ndeliver = \"/hooks/a?x=1\"\n\
         [[on]]\nchange = \"a\"\ndeliver = \"/rest/v1/rpc/index\"\n\
         [upstream.u]\nservers = [\"h:1\"]\n[[route]]\nmatch = \"POST /hooks/**\"\nto = \"u\"\n",
    );
    let check = || {
        Command::new(binary(), "")
            .args(["check", "."])
            .in_dir(project.dir())
            .run()
    };
    let (ok, out, errors) = check();
    assert!(ok && !out.contains("warning"), "{out}{errors}");
    project.write("mainstay.toml", "[api]\nanon = \"nope\"\n");
    let (ok, out, errors) = check();
    let wanted = "warning: mainstay.toml:2:8: [api] anon: nothing is granted to a role \"nope\"";
    assert!(ok && out.contains(wanted), "{out}{errors}");
}
