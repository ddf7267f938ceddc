//! Accounts and events around a PostgreSQL database that was there before: what is made in it when they are asked for, what is not
//! otherwise, and who sees it.

use mainstay_tests::{Client, Command, Postgres, Process, Project, Receiver, SECRET, until};
use serde_json::{Value as Json, json};

/// As a database that Supabase had: an `auth.users` of its own, and functions of the same names.
const TABLES: &str = "
    CREATE SCHEMA auth;
    CREATE TABLE auth.users (instance_id uuid, id uuid PRIMARY KEY, email varchar(255), is_sso_user boolean NOT NULL DEFAULT false);
    INSERT INTO auth.users (id, email) VALUES ('00000000-0000-0000-0000-000000000001', 'theirs@example.com');
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS
      $$ SELECT nullif(current_setting('request.jwt.claims', true)::json ->> 'sub', '')::uuid $$;
    GRANT USAGE ON SCHEMA auth TO PUBLIC;
    CREATE TABLE public.notes (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner uuid NOT NULL DEFAULT auth.uid(), text text);
    ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON public.notes USING (owner = auth.uid());
    GRANT ALL ON public.notes TO reader_name;";

/// A database with a login role that owns nothing; what it may is up to the test.
struct Adopted {
    server: &'static Postgres,
    /// As the superuser.
    url: String,
    role: String,
    database: String,
    project: Project,
}

impl Adopted {
    fn new(may: &str, more: &str) -> Adopted {
        let server = Postgres::shared();
        let url = server.database();
        let (_, rest) = url.split_once("@/").expect("a URL of the server");
        let (database, host) = rest.split_once('?').expect("with its socket");
        let (database, role) = (database.to_owned(), format!("login_{database}"));
        server.execute(
            &url,
            "DO $$ BEGIN CREATE ROLE authenticated NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        );
        let own = format!("CREATE ROLE {role} LOGIN; GRANT authenticated TO {role}; {TABLES}");
        server.execute(&url, &own.replace("reader_name", "authenticated"));
        let may = may.replace("ROLE", &role).replace("DB", &database);
        if !may.is_empty() {
            server.execute(&url, &may);
        }
        let project = Project::empty();
        project.write(
            "mainstay.toml",
            &format!(
                "[store.main]\nurl = \"postgres://{role}@/{database}?{host}\"\n[api]\nanon = \"{role}\"\n\
                 [auth]\nsecret = \"{SECRET}\"\nconfirm = false\n{more}"
            ),
        );
        Adopted {
            server,
            url,
            role,
            database,
            project,
        }
    }

    fn command(&self) -> Command {
        // The harness would make databases of its own.
        Command::serve([self.project.dir().as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--set", "log.access=false"])
    }

    fn serve(&self) -> Process {
        self.command().start()
    }

    fn execute(&self, sql: &str) -> String {
        self.server.execute(&self.url, sql)
    }

    fn check(&self) -> (bool, String) {
        let mainstay = Command::new(mainstay_tests::binary(), "");
        let (ok, said, errors) = mainstay.arg("check").arg(self.project.dir()).run();
        (ok, said + &errors)
    }

    /// The schemas that Mainstay made.
    fn made(&self) -> String {
        self.execute(
            "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname LIKE 'mainstay%'",
        )
    }
}

fn sign_up(client: &Client, email: &str) -> Json {
    let body = json!({"email": email, "password": "correct horse"});
    client.post("/auth/v1/signup", &body).expect(200).json()
}

#[test]
fn accounts_live_beside_what_is_there() {
    let it = Adopted::new("GRANT CREATE ON DATABASE DB TO ROLE", "store = \"main\"\n");
    let (ok, said) = it.check();
    assert!(
        ok && said.contains("`serve` makes the schema \"mainstay_auth\""),
        "{said}"
    );
    assert_eq!(it.made(), "", "looking makes nothing");
    let process = it.serve();
    let anon = process.client();
    let registered = sign_up(&anon, "ann@example.com");
    let ann = anon.with_token(registered["access_token"].as_str().expect("a token"));
    let other = sign_up(&anon, "bob@example.com");
    let bob = anon.with_token(other["access_token"].as_str().expect("a token"));
    // The database's own policies know who they are.
    ann.post("/rest/v1/notes", &json!({"text": "mine"})).expect(201);
    assert_eq!(
        ann.get("/rest/v1/notes?select=text").expect(200).json(),
        json!([{"text": "mine"}])
    );
    assert_eq!(bob.get("/rest/v1/notes?select=text").expect(200).json(), json!([]));
    assert_eq!(ann.get("/auth/v1/user").expect(200).json()["email"], "ann@example.com");
    assert_eq!(ann.send("HEAD", "/auth/v1/user", &[], None).expect(200).text(), "");
    let login = json!({"email": "ann@example.com", "password": "correct horse"});
    let session = anon
        .post("/auth/v1/token?grant_type=password", &login)
        .expect(200)
        .json();
    let refresh = json!({"refresh_token": session["refresh_token"]});
    anon.post("/auth/v1/token?grant_type=refresh_token", &refresh)
        .expect(200);
    anon.post("/auth/v1/signup", &login).expect(422);
    ann.post("/auth/v1/logout", &json!({})).expect(204);
    // Nothing of it is an API, also where a table of theirs refers to it.
    it.execute(
        "CREATE TABLE public.profiles (id uuid PRIMARY KEY REFERENCES mainstay_auth.users); GRANT ALL ON public.profiles TO authenticated",
    );
    until("the new table is served", || {
        (bob.get("/rest/v1/profiles").status == 200).then_some(())
    });
    for path in ["users", "sessions", "refresh_tokens"] {
        bob.get(&format!("/rest/v1/{path}")).expect(404);
    }
    bob.get("/rest/v1/profiles?select=*,users(*)").expect(400);
    let headers = [("accept-profile", "mainstay_auth")];
    assert_eq!(bob.send("GET", "/rest/v1/users", &headers, None).status, 406);
    let described = bob.get("/rest/v1/").expect(200).text();
    assert!(
        !described.contains("encrypted_password") && !described.contains("refresh_tokens"),
        "{described}"
    );
    let may = "SELECT has_schema_privilege('authenticated', 'mainstay_auth', 'USAGE')";
    assert_eq!(it.execute(may), "f");
    // What Supabase had is as it was.
    assert_eq!(
        it.execute("SELECT string_agg(email, ' ') FROM auth.users"),
        "theirs@example.com"
    );
    assert_eq!(
        it.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'auth'::regnamespace AND relkind = 'r'"),
        "1"
    );
    assert_eq!(it.execute("SELECT count(*) FROM mainstay_auth.users"), "2");
    let (ok, said) = it.check();
    assert!(
        ok && said.contains("accounts: in the schema \"mainstay_auth\""),
        "{said}"
    );
    assert!(process.terminate());
    // A second start finds them.
    let process = it.serve();
    process
        .client()
        .post("/auth/v1/token?grant_type=password", &login)
        .expect(200);
    assert!(process.terminate());
    // Nobody can ask for them to be served.
    let (ok, _, errors) = Command::new(mainstay_tests::binary(), "")
        .arg("check")
        .arg(it.project.dir())
        .args(["--set", "api.schemas=[\"public\",\"mainstay_auth\"]"])
        .run();
    assert!(!ok && errors.contains("never served"), "{errors}");
}

#[test]
fn without_the_wish_there_are_none() {
    let it = Adopted::new("GRANT CREATE ON DATABASE DB TO ROLE", "");
    let process = it.serve();
    let body = json!({"email": "ann@example.com", "password": "correct horse"});
    process.client().post("/auth/v1/signup", &body).expect(404);
    assert_eq!(it.made(), "mainstay");
    let (ok, said) = it.check();
    assert!(ok && said.contains("accounts: none"), "{said}");
}

#[test]
fn what_the_login_role_may_not_make_is_said_as_sql() {
    let it = Adopted::new("", "store = \"main\"\n");
    let (ok, said) = it.check();
    assert!(!ok, "{said}");
    let (ok, _, errors) = it.command().run();
    assert!(!ok, "{errors}");
    assert!(
        errors.contains(&format!(
            "GRANT CREATE ON DATABASE \"{}\" TO \"{}\"",
            it.database, it.role
        )),
        "{errors}"
    );
    assert_eq!(it.made(), "");
    let begin = errors.find("BEGIN;").expect("a script");
    let end = errors.find("COMMIT;").expect("a whole script");
    it.execute(&errors[begin..end + 7]);
    let (ok, said) = it.check();
    assert!(ok, "{said}");
    let process = it.serve();
    sign_up(&process.client(), "ann@example.com");
    assert_eq!(
        it.execute("SELECT is_called FROM mainstay.outbox_sequence_seq"),
        "t",
        "it was told of"
    );
    assert!(process.terminate());
    // What was taken away is missed at the start, not by whoever logs in.
    it.execute(&format!("REVOKE UPDATE ON mainstay_auth.sessions FROM {}", it.role));
    let (ok, _, errors) = it.command().run();
    assert!(
        !ok && errors.contains("GRANT SELECT, INSERT, UPDATE, DELETE"),
        "{errors}"
    );
    it.execute("DROP TABLE mainstay_auth.one_time_tokens");
    let (ok, _, errors) = it.command().run();
    assert!(!ok && errors.contains("one_time_tokens.token_hash"), "{errors}");
}

#[test]
fn accounts_may_live_in_a_file_beside_it() {
    let it = Adopted::new(
        "",
        "store = \"people\"\n[store.people]\nurl = \"sqlite:.mainstay/people.db\"\n",
    );
    let process = it.serve();
    let registered = sign_up(&process.client(), "ann@example.com");
    let ann = process
        .client()
        .with_token(registered["access_token"].as_str().expect("a token"));
    ann.post("/rest/v1/notes", &json!({"text": "mine"})).expect(201);
    assert_eq!(ann.get("/auth/v1/user").expect(200).json()["email"], "ann@example.com");
    assert_eq!(it.made(), "");
}

#[test]
fn its_tables_tell_of_their_changes() {
    let receiver = Receiver::start(|_| 204);
    let on = |name: &str, trigger: &str| {
        format!(
            "[[on]]\nname = \"{name}\"\n{trigger}\ndeliver = \"{}\"\nsecret = \"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n",
            receiver.url("/hook")
        )
    };
    let more = format!(
        "store = \"main\"\n{}{}",
        on("notes", "change = \"notes\""),
        on("users", "event = \"user.registered\"")
    );
    let it = Adopted::new(
        "GRANT CREATE ON DATABASE DB TO ROLE; GRANT TRIGGER ON public.notes TO ROLE",
        &more,
    );
    let process = it.serve();
    let next = |what: &str| -> Json {
        until(what, || {
            let mut seen = receiver.take();
            assert!(seen.len() <= 1, "one at a time");
            seen.pop().map(|delivery| delivery.event())
        })
    };
    let registered = sign_up(&process.client(), "ann@example.com");
    let event = next("the account is told of");
    assert_eq!(
        (&event["type"], &event["data"]["email"]),
        (&json!("user.registered"), &json!("ann@example.com"))
    );
    let ann = process
        .client()
        .with_token(registered["access_token"].as_str().expect("a token"));
    ann.post("/rest/v1/notes", &json!({"text": "by request"})).expect(201);
    assert_eq!(next("the request's change")["data"]["new"]["text"], "by request");
    // Whoever writes: the database tells of it.
    it.execute("UPDATE notes SET text = 'by hand'");
    let event = next("the change by hand");
    assert_eq!(
        (
            &event["data"]["op"],
            &event["data"]["old"]["text"],
            &event["data"]["new"]["text"]
        ),
        (&json!("update"), &json!("by request"), &json!("by hand"))
    );
    // A table that is made anew while it is served gets what the old one had.
    it.execute(&format!(
        "DROP TABLE notes; CREATE TABLE notes (id integer PRIMARY KEY, label text); GRANT TRIGGER ON notes TO {}; \
         GRANT ALL ON notes TO authenticated",
        it.role
    ));
    until("the new table is served", || {
        (ann.get("/rest/v1/notes?select=label").status == 200).then_some(())
    });
    ann.post("/rest/v1/notes", &json!({"id": 1, "label": "new"}))
        .expect(201);
    assert_eq!(next("the new table's change")["data"]["new"]["label"], "new");
    assert!(process.terminate());
}
