//! A small model: clients, projects, tasks, people and what joins them.

use mainstay_model::*;
use std::sync::Arc;

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

fn table(name: &str, columns: Vec<Column>, key: &[u32]) -> Relation {
    let mut columns = columns;
    for index in key {
        columns[*index as usize].not_null = true;
    }
    let grant = |role: &str, privilege| Grant {
        role: role.into(),
        privilege,
        columns: None,
    };
    Relation {
        namespace: "public".into(),
        name: name.into(),
        store: "main".into(),
        service: None,
        columns,
        kind: RelationKind::Table(Table {
            primary_key: key.to_vec(),
            primary_key_name: Some(format!("{name}_pkey").into()),
            ..Table::default()
        }),
        comment: None,
        grants: vec![
            grant("anon", Privilege::Select),
            grant("authenticated", Privilege::Select),
            grant("authenticated", Privilege::Insert),
            grant("authenticated", Privilege::Update),
            grant("authenticated", Privilege::Delete),
        ],
        span: Span::default(),
    }
}

fn refer(relation: &mut Relation, name: &str, columns: &[u32], target: u32, target_columns: &[u32]) {
    let RelationKind::Table(table) = &mut relation.kind else {
        return;
    };
    table.foreign_keys.push(ForeignKey {
        name: name.into(),
        columns: columns.to_vec(),
        target: RelationId(target),
        target_columns: target_columns.to_vec(),
        on_delete: ReferentialAction::NoAction,
        on_update: ReferentialAction::NoAction,
        deferred: false,
    });
}

fn function(name: &str, args: Vec<(&str, Type)>, returns: Returns) -> Function {
    Function {
        namespace: "public".into(),
        name: name.into(),
        store: "main".into(),
        service: None,
        args: args
            .into_iter()
            .map(|(name, ty)| Argument {
                name: name.into(),
                ty,
                default: None,
                variadic: false,
            })
            .collect(),
        returns,
        volatility: Volatility::Volatile,
        security_definer: false,
        strict: false,
        body: Vec::new(),
        writes: false,
        comment: None,
        grants: vec!["public".into()],
        span: Span::default(),
    }
}

/// Relations by their place: clients, projects, tasks, users, users_tasks, orders, addresses, places, secrets, active_projects.
pub fn schema() -> Schema {
    use Type::*;
    let mut clients = table(
        "clients",
        vec![
            column("id", Int4),
            column("name", Text),
            column("rating", Numeric(Some((10, 2)))),
        ],
        &[0],
    );
    clients.comment = Some("Who pays.".to_owned());
    let mut projects = table(
        "projects",
        vec![
            column("id", Int4),
            column("name", Text),
            column("client_id", Int4),
            column("data", Jsonb),
            column("tags", Array(Box::new(Text))),
            column("state", Enum("state".into())),
            column("started", TimestampTz),
            column("raw", Json),
            column("code", Varchar(Some(3))),
            column("open", Bool),
        ],
        &[0],
    );
    projects.columns[0].identity = Some(IdentityColumn::ByDefault);
    projects.columns[5].default_text = Some("'new'::state".to_owned());
    refer(&mut projects, "projects_client_id_fkey", &[2], 0, &[0]);
    let mut tasks = table(
        "tasks",
        vec![
            column("id", Int4),
            column("name", Text),
            column("project_id", Int4),
            column("parent_id", Int4),
        ],
        &[0],
    );
    refer(&mut tasks, "tasks_project_id_fkey", &[2], 1, &[0]);
    refer(&mut tasks, "tasks_parent_id_fkey", &[3], 2, &[0]);
    let users = table("users", vec![column("id", Uuid), column("name", Text)], &[0]);
    let mut users_tasks = table(
        "users_tasks",
        vec![column("user_id", Uuid), column("task_id", Int4)],
        &[0, 1],
    );
    refer(&mut users_tasks, "users_tasks_user_id_fkey", &[0], 3, &[0]);
    refer(&mut users_tasks, "users_tasks_task_id_fkey", &[1], 2, &[0]);
    let mut orders = table(
        "orders",
        vec![
            column("id", Int8),
            column("billing_id", Int4),
            column("shipping_id", Int4),
        ],
        &[0],
    );
    refer(&mut orders, "orders_billing_fkey", &[1], 6, &[0]);
    refer(&mut orders, "orders_shipping_fkey", &[2], 6, &[0]);
    let addresses = table("addresses", vec![column("id", Int4), column("street", Text)], &[0]);
    let mut places = table(
        "places",
        vec![
            column("x", Int4),
            column("y", Int4),
            column("range", Other("int4range".into())),
        ],
        &[0, 1],
    );
    if let RelationKind::Table(table) = &mut places.kind {
        table.uniques.push(Unique {
            name: "places_range_key".into(),
            columns: vec![2],
            nulls_not_distinct: false,
        });
    }
    let mut secrets = table("secrets", vec![column("id", Int4)], &[0]);
    secrets.grants.clear();
    let view = Relation {
        kind: RelationKind::View(View {
            select: Arc::default(),
            security_invoker: false,
            security_barrier: false,
            materialized: false,
            origins: vec![
                Some((RelationId(1), 0)),
                Some((RelationId(1), 1)),
                Some((RelationId(1), 2)),
            ],
            updatable: Some(RelationId(1)),
            writable: None,
        }),
        ..table(
            "active_projects",
            vec![column("id", Int4), column("name", Text), column("client_id", Int4)],
            &[],
        )
    };
    let mut hidden = table("hidden", vec![column("id", Int4)], &[0]);
    hidden.namespace = "auth".into();

    let mut add = function("add", vec![("a", Int4), ("b", Int4)], Returns::Scalar(Int4));
    add.volatility = Volatility::Immutable;
    add.args[1].default = Some(Expr::literal(Value::Int(10), Int4));
    let mut checkout = function("checkout", vec![("cart", Uuid)], Returns::SetOfRow(RelationId(5)));
    checkout.writes = true;
    // What it does does not matter, only that it is known.
    checkout.body = vec![Statement::Select(Box::default())];
    checkout.grants = vec!["authenticated".into()];
    let mut wipe = function("wipe", vec![], Returns::Void);
    wipe.writes = true;
    let mut sum = function(
        "sum_all",
        vec![("numbers", Array(Box::new(Int4)))],
        Returns::Scalar(Int8),
    );
    sum.args[0].variadic = true;
    let functions = vec![
        add,
        checkout,
        wipe,
        sum,
        function("search", vec![("q", Text)], Returns::SetOfRow(RelationId(1))),
        function("take_json", vec![("", Json)], Returns::Scalar(Json)),
        function("over", vec![("a", Int4)], Returns::Scalar(Int4)),
        function("over", vec![("a", Text)], Returns::Scalar(Int4)),
        function("names", vec![], Returns::SetOfScalar(Text)),
        function(
            "stats",
            vec![],
            Returns::Table(vec![("n".into(), Int8), ("label".into(), Text)]),
        ),
        function("shout", vec![("", Row("projects".into()))], Returns::Scalar(Text)),
        function(
            "siblings",
            vec![("", Row("projects".into()))],
            Returns::SetOfRow(RelationId(1)),
        ),
        function("on_change", vec![], Returns::Scalar(Other("trigger".into()))),
    ];
    let mut schema = Schema {
        relations: vec![
            clients,
            projects,
            tasks,
            users,
            users_tasks,
            orders,
            addresses,
            places,
            secrets,
            view,
            hidden,
        ],
        functions,
        namespaces: vec!["public".into(), "auth".into()],
        has_grants: true,
        digest: 7,
        ..Schema::default()
    };
    schema
        .enums
        .insert("state".into(), Arc::from(["new".into(), "done".into()]));
    schema.index();
    schema.relate();
    schema
}
