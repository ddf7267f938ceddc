//! Who asks, in the database: role, claims, the request's settings, what a function says of the response, row level security.

mod server;

use mainstay_model::*;
use mainstay_store::conformance::JsonRows;
use mainstay_store::{Answer, Read, Store};
use mainstay_store_postgres::{Captured, Config, PostgresStore};
use server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const NOTES: RelationId = RelationId(0);

const DDL: &str = "
CREATE TABLE notes (id bigint PRIMARY KEY, owner uuid NOT NULL, text text, secret text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = auth.uid());
GRANT SELECT (id, owner, text), INSERT, UPDATE, DELETE ON notes TO authenticated;
GRANT ALL ON notes TO service_role;
INSERT INTO notes VALUES (1, '11111111-1111-1111-1111-111111111111', 'mine', 's'), (2, '22222222-2222-2222-2222-222222222222', 'theirs', 's');
CREATE FUNCTION setting(name text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting(name, true) $$;
CREATE FUNCTION teapot() RETURNS integer LANGUAGE plpgsql STABLE AS $$ BEGIN
  PERFORM set_config('response.status', '418', true);
  PERFORM set_config('response.headers', '[{\"X-Pot\": \"tea\"}]', true);
  RETURN 1; END $$;
CREATE FUNCTION writes() RETURNS integer LANGUAGE sql AS $$ UPDATE notes SET text = text RETURNING 1 $$;
CREATE FUNCTION raises() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
  RAISE SQLSTATE 'PT402' USING MESSAGE = 'pay', DETAIL = 'first', HINT = 'then ask'; END $$;
CREATE FUNCTION first_of_all() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('request.method', true) = 'TRACE' THEN RAISE SQLSTATE 'PT405' USING MESSAGE = 'no'; END IF; END $$;
";

struct Notes {
    _server: Server,
    store: Arc<PostgresStore>,
    plans: AtomicU64,
}

fn column(name: &str, ty: Type) -> Column {
    Column {
        name: name.into(),
        ty,
        domain: None,
        not_null: false,
        default: None,
        default_text: None,
        generated: None,
        identity: None,
        comment: None,
        span: Span::default(),
    }
}

fn function(name: &str, args: &[(&str, Type)], returns: Type) -> Function {
    let mut function = mainstay_store::conformance::library().functions[1].clone();
    function.name = name.into();
    function.args = args
        .iter()
        .map(|(name, ty)| Argument {
            name: (*name).into(),
            ty: ty.clone(),
            default: None,
            variadic: false,
        })
        .collect();
    function.returns = Returns::Scalar(returns);
    function
}

fn schema() -> Schema {
    let mut schema = mainstay_store::conformance::library();
    let mut notes = schema.relations[2].clone();
    notes.name = "notes".into();
    notes.columns = vec![
        column("id", Type::Int8),
        column("owner", Type::Uuid),
        column("text", Type::Text),
        column("secret", Type::Text),
    ];
    schema.relations = vec![notes];
    schema.functions = vec![
        function("setting", &[("name", Type::Text)], Type::Text),
        function("teapot", &[], Type::Int4),
        function("writes", &[], Type::Int4),
        function("raises", &[], Type::Int4),
    ];
    schema.index();
    schema
}

impl Notes {
    async fn open(change: impl FnOnce(&mut Config)) -> Notes {
        let server = Server::start("");
        let mut config = Config::new(server.database());
        change(&mut config);
        let store = PostgresStore::open(config, Arc::new(schema()), Captured::none())
            .await
            .unwrap();
        store.client().await.unwrap().batch_execute(DDL).await.unwrap();
        Notes {
            _server: server,
            store,
            plans: AtomicU64::new(0),
        }
    }

    async fn read(&self, identity: &Identity, shape: QueryShape) -> Result<Answer> {
        let shape = Arc::new(shape);
        let read = Read {
            plan: self.plans.fetch_add(1, Ordering::Relaxed),
            kept: true,
            shape: &shape,
            params: &[],
            identity,
            representation: &JsonRows,
        };
        self.store.read(read).await
    }

    fn notes(&self, columns: &[u32]) -> QueryShape {
        let relation = self.store.schema().relation(NOTES);
        let field = |column: &u32| {
            let found = &relation.columns[*column as usize];
            Item::Field(Projected {
                expr: Expr::column(*column, found.ty.clone()),
                name: found.name.clone(),
            })
        };
        QueryShape {
            select: columns.iter().map(field).collect(),
            ..QueryShape::of(Source::Relation(RelationRef::new(NOTES)))
        }
    }

    fn call(&self, function: u32, args: &[&str]) -> QueryShape {
        let declared = &self.store.schema().functions[function as usize];
        let Returns::Scalar(ty) = &declared.returns else {
            panic!("{} gives no value", declared.name)
        };
        let field = Projected {
            expr: Expr::column(0, ty.clone()),
            name: declared.name.clone(),
        };
        let call = Call {
            function: FunctionId(function),
            args: args
                .iter()
                .map(|a| Expr::literal(Value::Text((*a).to_owned()), Type::Text))
                .collect(),
            body: None,
        };
        QueryShape {
            select: vec![Item::Field(field)],
            ..QueryShape::of(Source::Call(call))
        }
    }

    async fn body(&self, identity: &Identity, shape: QueryShape) -> String {
        let answer = self.read(identity, shape).await.unwrap_or_else(|e| panic!("{e}"));
        String::from_utf8_lossy(&answer.body).into_owned()
    }
}

fn user(digit: char) -> Identity {
    let sub: String = "d-d-d-d-d"
        .split('-')
        .zip([8, 4, 4, 4, 12])
        .map(|(_, n)| digit.to_string().repeat(n))
        .collect::<Vec<_>>()
        .join("-");
    let claims = serde_json::json!({"role": "authenticated", "sub": sub});
    Identity::new("authenticated", Arc::new(claims.as_object().cloned().unwrap()))
}

#[tokio::test]
async fn policies_and_privileges_are_the_databases() {
    let notes = Notes::open(|_| {}).await;
    assert_eq!(
        notes.body(&user('1'), notes.notes(&[0, 2])).await,
        r#"[{"id":1,"text":"mine"}]"#
    );
    assert_eq!(notes.body(&user('2'), notes.notes(&[0])).await, r#"[{"id":2}]"#);
    assert_eq!(notes.body(&user('3'), notes.notes(&[0])).await, "[]");
    let stranger = Identity::new("authenticated", Arc::default());
    assert_eq!(notes.body(&stranger, notes.notes(&[0])).await, "[]");
    assert_eq!(
        notes.body(&Identity::service(), notes.notes(&[0])).await,
        r#"[{"id":1},{"id":2}]"#
    );
    for (identity, columns) in [(user('1'), &[3][..]), (Identity::anon(), &[0])] {
        assert_eq!(
            notes.read(&identity, notes.notes(columns)).await.unwrap_err().code,
            "42501"
        );
    }
    let error = notes
        .read(&Identity::role("nobody"), notes.notes(&[0]))
        .await
        .unwrap_err();
    assert_eq!(error.code, "22023", "{error}");
    // One after the other on the same connections: nobody keeps another's role or claims.
    for _ in 0..10 {
        assert_eq!(notes.body(&user('1'), notes.notes(&[0])).await, r#"[{"id":1}]"#);
        assert_eq!(
            notes.read(&Identity::anon(), notes.notes(&[0])).await.unwrap_err().code,
            "42501"
        );
        assert_eq!(notes.body(&user('2'), notes.notes(&[0])).await, r#"[{"id":2}]"#);
    }
    // A new row must pass the policy, too.
    let step = Step::new(Action::Insert {
        relation: RelationRef::new(NOTES),
        columns: vec![0, 1],
        rows: vec![vec![Cell::Value(Value::Int(5)), Cell::Value(Value::Uuid(7))]],
        conflict: None,
        check: None,
        updated: None,
    });
    let transaction = Transaction {
        steps: vec![step],
        ..Transaction::default()
    };
    let error = notes.store.write(&transaction, &user('1')).await.unwrap_err();
    assert_eq!(
        (&*error.code, &*error.message),
        (
            "42501",
            "new row violates row-level security policy for table \"notes\""
        )
    );
}

#[tokio::test]
async fn the_request_and_the_response() {
    let notes = Notes::open(|config| config.pre_request = Some("public.first_of_all".to_owned())).await;
    let asking = |method: &str| {
        user('1').asking(Arc::new(Request {
            method: method.to_owned(),
            path: "/rest/v1/notes".to_owned(),
            headers: vec![("x-a".to_owned(), "é\"".to_owned())],
            cookies: vec![("c".to_owned(), "1".to_owned())],
        }))
    };
    for (setting, expected) in [
        ("role", "\"authenticated\""),
        ("request.method", "\"GET\""),
        ("request.path", "\"/rest/v1/notes\""),
        ("request.headers", r#""{\"x-a\":\"é\\\"\"}""#),
        ("request.cookies", r#""{\"c\":\"1\"}""#),
        ("TimeZone", "\"UTC\""),
        ("search_path", r#""\"public\"""#),
    ] {
        assert_eq!(
            notes.body(&asking("GET"), notes.call(0, &[setting])).await,
            expected,
            "{setting}"
        );
    }
    let error = notes
        .read(&asking("TRACE"), notes.call(0, &["role"]))
        .await
        .unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("PT405", "no"));
    let answer = notes.read(&asking("GET"), notes.call(1, &[])).await.unwrap();
    let response = answer.response.unwrap();
    assert_eq!(response.status.as_deref(), Some("418"));
    assert_eq!(response.headers.as_deref(), Some(r#"[{"X-Pot": "tea"}]"#));
    // And nobody else hears of it.
    assert!(
        notes
            .read(&asking("GET"), notes.call(0, &["role"]))
            .await
            .unwrap()
            .response
            .is_none()
    );
    // A read writes nothing.
    assert_eq!(
        notes.read(&asking("GET"), notes.call(2, &[])).await.unwrap_err().code,
        "25006"
    );
    let error = notes.read(&asking("GET"), notes.call(3, &[])).await.unwrap_err();
    assert_eq!(
        (
            &*error.code,
            &*error.message,
            error.details.as_deref(),
            error.hint.as_deref()
        ),
        ("PT402", "pay", Some("first"), Some("then ask"))
    );
}
