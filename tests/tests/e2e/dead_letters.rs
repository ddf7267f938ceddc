//! Dead letters, page by page: over HTTP, and with the command line.

use mainstay_tests::{Command, Project, binary, free_port, until};
use serde_json::{Value as Json, json};

#[test]
fn there_is_a_next_page_for_as_long_as_there_are_more() {
    let project = Project::new(
        "CREATE TABLE a (id integer PRIMARY KEY);",
        &format!(
            "[[on]]\nname = \"lost\"\nchange = \"a\"\ndeliver = \"http://127.0.0.1:{}/\"\nretry = {{ attempts = 1 }}\n",
            free_port()
        ),
    );
    let process = project.serve();
    let operator = process.client().with_token(&project.token("service_role", None));
    let ops = process.admin().with_token(&project.admin_token());
    for id in 1..=5 {
        operator.post("/rest/v1/a", &json!({"id": id})).expect(201);
    }
    let all = until("all are dead letters", || {
        let answer = ops.get("/events/parked").expect(200);
        assert_eq!(answer.header("link"), None, "one page holds them");
        let all = answer.json();
        (all.as_array().map(Vec::len) == Some(5)).then_some(all)
    });

    let (mut found, mut next) = (Vec::new(), Some("/events/parked?limit=2&subscription=lost".to_owned()));
    while let Some(path) = next {
        let answer = ops.get(&path).expect(200);
        let link = answer.header("link").map(str::to_owned);
        next = link.map(|link| {
            link.trim_start_matches('<')
                .split('>')
                .next()
                .expect("a path")
                .to_owned()
        });
        assert!(
            next.as_ref().is_none_or(|n| n.contains("subscription=lost")),
            "{next:?}"
        );
        found.extend(answer.json().as_array().expect("letters").clone());
    }
    assert_eq!(json!(found), all);

    let parked = |arguments: &[&str]| {
        let command = Command::new(binary(), "").args(["events", "parked"]).arg(project.dir());
        let (ok, out, errors) = command.args(["--admin", ops.address()]).args(arguments).run();
        assert!(ok, "{errors}");
        let letters: Vec<Json> = out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        (letters, errors)
    };
    let (first, note) = parked(&["--limit", "3"]);
    let last = first[2]["id"].to_string();
    assert_eq!(note, format!("note: there are more; go on with --after {last}\n"));
    let (rest, note) = parked(&["--after", &last]);
    assert_eq!((json!([first, rest].concat()), note.as_str()), (all, ""));

    for (method, path) in [
        ("GET", "/events/parked?limit=0"),
        ("GET", "/events/parked?limit=1001"),
        ("GET", "/events/parked?after=x"),
        ("GET", "/events/backlog?after=1"),
        ("POST", "/events/replay?limit=1"),
        ("POST", "/events/discard?subscription=lost&after=1"),
    ] {
        ops.send(method, path, &[], None).expect(400);
    }
    assert_eq!(
        ops.get("/events/parked").expect(200).json().as_array().map(Vec::len),
        Some(5)
    );
}

#[test]
fn letters_keep_their_digits_and_outlive_their_subscription() {
    let schema = "
        CREATE TABLE a (id bigint PRIMARY KEY, n numeric);
        CREATE FUNCTION say(n numeric) RETURNS void LANGUAGE SQL BEGIN ATOMIC SELECT emit('said', jsonb_build_object('n', n)); END;";
    let on = |names: &[&str]| {
        let each = names.iter().map(|name| {
            let to = free_port();
            format!("[[on]]\nname = \"{name}\"\nevent = \"said\"\ndeliver = \"http://127.0.0.1:{to}/\"\nretry = {{ attempts = 1 }}\n")
        });
        each.collect::<String>()
    };
    let project = Project::new(schema, &on(&["kept", "removed"]));
    let process = project.serve();
    let operator = process.client().with_token(&project.token("service_role", None));
    let exact = r#"{"n": 12345678901234567890.12345678901234567890}"#;
    let typed = [("content-type", "application/json")];
    operator
        .send("POST", "/rest/v1/rpc/say", &typed, Some(exact.as_bytes()))
        .expect(204);
    let events = |admin: &str, arguments: &[&str]| {
        let command = Command::new(binary(), "")
            .arg("events")
            .args(arguments)
            .arg(project.dir());
        command.args(["--admin", admin]).run()
    };
    let address = process.admin().address().to_owned();
    let letters = |names: &[&str]| {
        until("the letters are there", || {
            let (ok, out, _) = events(&address, &["parked"]);
            (ok && names.iter().all(|name| out.contains(name))).then_some(out)
        })
    };
    let all = letters(&["\"kept\"", "\"removed\""]);
    assert_eq!(
        all.replace(": ", ":")
            .matches("\"payload\":{\"n\":12345678901234567890.12345678901234567890}")
            .count(),
        2,
        "{all}"
    );
    let (_, one, _) = events(&address, &["parked", "--subscription", "kept"]);
    assert!(one.lines().count() == 1 && one.contains("\"kept\""), "{one}");
    // Nothing is meant that is not said.
    for verb in ["replay", "discard"] {
        let (ok, _, said) = events(&address, &[verb]);
        assert!(!ok && said.contains("subscription"), "{verb}: {said}");
    }
    let (ok, said, _) = events(&address, &["replay", "--all"]);
    assert!(ok && said.contains("\"replayed\":2"), "{said}");
    letters(&["\"kept\"", "\"removed\""]);
    assert!(process.terminate());

    // A subscription that is no more: the operator is told, its letters stay where they are, and can be thrown away.
    project.write("mainstay.toml", &on(&["kept"]));
    let process = project.serve();
    let address = process.admin().address().to_owned();
    until("it is told", || {
        let told =
            |line: &String| line.contains("removed") && line.contains("mainstay events discard --subscription removed");
        process.log().iter().any(told).then_some(())
    });
    let (ok, said, _) = events(&address, &["replay", "--subscription", "removed"]);
    assert!(ok && said.contains("\"replayed\":0"), "{said}");
    let (ok, said, _) = events(&address, &["discard", "--subscription", "removed"]);
    assert!(ok && said.contains("\"discarded\":1"), "{said}");
    let (_, rest, _) = events(&address, &["parked"]);
    assert!(!rest.contains("\"removed\"") && rest.contains("\"kept\""), "{rest}");
}
