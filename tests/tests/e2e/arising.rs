//! Which events reach whom: of tables of one name in several schemas each its own, and none that a process would have to carry to another.

use mainstay_tests::{Command, Project, Receiver, until};
use serde_json::json;

/// Two services with stores of their own; `order` is taken in one, and the other has a function that wants to know.
fn apart(on: &str) -> Project {
    let toml = format!(
        "[store.one]\nurl = \"sqlite:.mainstay/one.db\"\n[store.two]\nurl = \"sqlite:.mainstay/two.db\"\n\
         [auth]\nstore = \"one\"\n\
         [service.one]\nddl = \"one.sql\"\nstore = \"one\"\n[service.two]\nddl = \"two.sql\"\nstore = \"two\"\n{on}"
    );
    let project = Project::empty().embedded();
    project.write("mainstay.toml", &toml);
    project.write(
        "one.sql",
        "CREATE TABLE orders (id bigint PRIMARY KEY);
         CREATE FUNCTION place(id bigint) RETURNS void LANGUAGE SQL
           BEGIN ATOMIC SELECT emit('order.placed', jsonb_build_object('id', place.id)); END;
         CREATE FUNCTION noted(event jsonb) RETURNS void LANGUAGE SQL BEGIN ATOMIC SELECT 1; END;",
    );
    project.write(
        "two.sql",
        "CREATE TABLE mails (id bigint PRIMARY KEY);
         CREATE FUNCTION ship(event jsonb) RETURNS void LANGUAGE SQL
           BEGIN ATOMIC INSERT INTO mails VALUES ((event -> 'data' ->> 'id')::bigint); END;
         CREATE FUNCTION call_for(event jsonb) RETURNS void LANGUAGE SQL
           BEGIN ATOMIC SELECT emit('order.wanted', event); END;",
    );
    project
}

/// `mainstay check`: whether it found nothing, and what it said.
fn check(project: &Project, more: &[&str]) -> (bool, String, String) {
    Command::new(mainstay_tests::binary(), "")
        .arg("check")
        .arg(project.dir())
        .args(more)
        .run()
}

#[test]
fn events_that_would_have_to_travel_are_refused() {
    let on = |trigger: &str, call: &str| format!("[[on]]\nname = \"x\"\n{trigger}\ncall = \"{call}\"\n");
    for (trigger, call, one, two) in [
        ("event = \"order.placed\"", "ship", true, false),
        ("change = \"orders\"", "ship", true, false),
        ("event = \"user.registered\"", "ship", true, false),
        ("event = \"order.wanted\"", "noted", false, true),
        ("change = \"mails\"", "noted", false, true),
        // Where they arise is where they are wanted.
        ("event = \"order.placed\"", "noted", false, false),
        ("change = \"mails\"", "ship", false, false),
        ("every = \"1h\"", "ship", false, false),
    ] {
        let project = apart(&on(trigger, call));
        for (service, is_refused) in [("one", one), ("two", two)] {
            let command = project.command().args(["--service", service]);
            if is_refused {
                let (ok, _, said) = command.run();
                assert!(
                    !ok && said.contains("mainstay.toml:") && said.contains("does not carry"),
                    "{trigger} {call}: {said}"
                );
                assert!(said.contains("deliver to the other's address"), "{said}");
            } else {
                assert!(command.start().terminate(), "{trigger} {call} in {service}");
            }
            // Where the file itself says that it is elsewhere, `check` says so as well.
            let place = format!("service.{service}.at=[\"127.0.0.1:1\"]");
            let (ok, out, said) = check(&project, &["--set", &place]);
            assert_eq!(ok, !(one || two), "{trigger} {call}: {out}{said}");
        }
        let (ok, out, said) = check(&project, &[]);
        assert!(ok, "{trigger} {call}: {out}{said}");
    }
    // In one process they arrive.
    let project = apart(&on("event = \"order.placed\"", "ship"));
    let process = project.serve();
    let service = process.client().with_token(&project.token("service_role", None));
    service.post("/rest/v1/rpc/place", &json!({"id": 7})).expect(204);
    until("it is shipped", || {
        (service.get("/rest/v1/mails").expect(200).json() == json!([{"id": 7}])).then_some(())
    });
}

#[test]
fn tables_of_one_name_have_changes_of_their_own() {
    let toml = "[api]\nschemas = [\"public\", \"sales\"]\n\
        [[on]]\nname = \"here\"\nchange = { table = \"orders\", op = \"insert\" }\ncall = \"here\"\n\
        [[on]]\nname = \"there\"\nchange = { table = \"sales.orders\", op = \"insert\" }\ncall = \"there\"\n";
    let schema = "
        CREATE SCHEMA sales;
        CREATE TABLE public.orders (id bigint PRIMARY KEY);
        CREATE TABLE sales.orders (id bigint PRIMARY KEY);
        CREATE TABLE public.seen (who text, id text, source text, PRIMARY KEY (who, id, source));
        GRANT ALL ON public.orders, sales.orders, public.seen TO service_role;
        CREATE FUNCTION public.here(event jsonb) RETURNS void LANGUAGE SQL BEGIN ATOMIC
          INSERT INTO public.seen VALUES ('here', event -> 'data' -> 'new' ->> 'id', event -> 'data' ->> 'schema'); END;
        CREATE FUNCTION public.there(event jsonb) RETURNS void LANGUAGE SQL BEGIN ATOMIC
          INSERT INTO public.seen VALUES ('there', event -> 'data' -> 'new' ->> 'id', event -> 'data' ->> 'schema'); END;
        GRANT USAGE ON SCHEMA sales TO service_role;";
    let project = Project::new(schema, toml);
    let process = project.serve();
    let service = process.client().with_token(&project.token("service_role", None));
    service
        .post("/rest/v1/orders", &json!([{"id": 1}, {"id": 2}]))
        .expect(201);
    service
        .post_with("/rest/v1/orders", &[("content-profile", "sales")], &json!({"id": 3}))
        .expect(201);
    let all = json!([
        {"who": "here", "id": "1", "source": "public"},
        {"who": "here", "id": "2", "source": "public"},
        {"who": "there", "id": "3", "source": "sales"},
    ]);
    let mut seen = json!(null);
    until("all are seen", || {
        seen = service.get("/rest/v1/seen?order=who,id").expect(200).json();
        (seen.as_array().expect("a list").len() >= 3).then_some(())
    });
    assert_eq!(seen, all);
}

#[test]
fn subscriptions_that_cannot_work_are_refused() {
    let schema = "CREATE TABLE t (id bigint PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t;
        CREATE FUNCTION f(event jsonb) RETURNS void LANGUAGE SQL BEGIN ATOMIC SELECT 1; END;";
    for (on, says) in [
        ("name = \"a\"\nchange = \"v\"\ncall = \"f\"", "\"v\" is a view"),
        (
            "name = \"a\"\nevent = \"change.t.insert\"\ncall = \"f\"",
            "topics that begin with change. are",
        ),
        (
            "name = \"a\"\nevent = \"mainstay.call\"\ncall = \"f\"",
            "topics that begin with mainstay. are",
        ),
        (
            "name = \"a\"\nevent = \"x\"\npublish = \"change.t.insert\"",
            "topics that begin with change. are",
        ),
        (
            "name = \"a\"\nevent = \"x\"\npublish = \"x\"",
            "set off again by what it publishes",
        ),
        (
            "name = \"a\"\nevent = \"x\"\npublish = \"y\"\n[[on]]\nname = \"b\"\nevent = \"y\"\npublish = \"x\"",
            "set off again by what it publishes",
        ),
    ] {
        let project = Project::new(schema, &format!("[[on]]\n{on}\n")).embedded();
        let (ok, out, said) = check(&project, &[]);
        assert!(
            !ok && said.contains(says) && said.contains("mainstay.toml:"),
            "{on}: {out}{said}"
        );
        let (ok, _, said) = project.command().run();
        assert!(!ok && said.contains(says), "{on}: {said}");
    }
    let chain =
        "[[on]]\nname = \"a\"\nevent = \"x\"\npublish = \"y\"\n[[on]]\nname = \"b\"\nevent = \"y\"\npublish = \"z\"\n";
    let (ok, out, said) = check(&Project::new(schema, chain).embedded(), &[]);
    assert!(ok, "{out}{said}");
}

#[test]
fn deliveries_to_paths_need_the_gateway() {
    let on = "[[on]]\nname = \"x\"\nevent = \"order.placed\"\ndeliver = \"/hooks/in\"\n\
        [upstream.there]\nservers = [\"127.0.0.1:9\"]\n[[route]]\nmatch = \"POST /hooks/**\"\nto = \"there\"\n";
    let project = apart(on);
    let (ok, _, said) = project.command().args(["--service", "one"]).run();
    assert!(
        !ok && said.contains("has no gateway to deliver to /hooks/in by") && said.contains("[gateway] url"),
        "{said}"
    );
    // Where it is known it is called.
    let receiver = Receiver::start(|_| 204);
    let place = format!("gateway.url={}", receiver.url(""));
    let process = project.command().args(["--service", "one", "--set", &place]).start();
    let service = process.client().with_token(&project.token("service_role", None));
    service.post("/rest/v1/rpc/place", &json!({"id": 7})).expect(204);
    until("it is delivered", || (receiver.count() == 1).then_some(()));
    assert_eq!(receiver.take()[0].path, "/hooks/in");
    assert!(project.command().args(["--service", "two"]).start().terminate());
}

#[test]
fn the_state_of_a_later_call_is_found_through_the_gateway() {
    let project = apart("");
    let two = project.command().args(["--service", "two"]).start();
    let place = format!("service.two.at=[\"{}\"]", two.client().address());
    let rest = project.command().args(["--set", &place]).start();
    let service = rest.client().with_token(&project.token("service_role", None));
    let later = [("prefer", "respond-async")];
    let event = json!({"event": {"data": {"id": 7}}});
    let taken = service.post_with("/rest/v1/rpc/ship", &later, &event).expect(202);
    let place = taken.header("location").expect("a place").to_owned();
    assert!(place.starts_with("/jobs/v1/two/"), "{place}");
    for client in [rest.client(), two.client()] {
        let ended = until("it has ended", || {
            let state = client.get(&place).expect(200).json();
            (state["state"] != "running").then_some(state)
        });
        assert_eq!(
            (&ended["state"], &ended["result"]),
            (&json!("done"), &json!(null)),
            "{ended}"
        );
    }
    // One's own stay where they were.
    let event = json!({"event": {}});
    let taken = service.post_with("/rest/v1/rpc/noted", &later, &event).expect(202);
    let place = taken.header("location").expect("a place").to_owned();
    assert!(!place["/jobs/v1/".len()..].contains('/'), "{place}");
    rest.client().get(&place).expect(200);
}
