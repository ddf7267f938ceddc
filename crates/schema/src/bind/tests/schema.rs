//! A small shop, built by hand.

use mainstay_model::*;
use std::sync::Arc;

pub(super) fn type_named(name: &str) -> Type {
    match name {
        "uuid" => Type::Uuid,
        "text" => Type::Text,
        "varchar(40)" => Type::Varchar(Some(40)),
        "char(4)" => Type::Char(4),
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float8" => Type::Float8,
        "numeric" => Type::Numeric(None),
        "numeric(10,2)" => Type::Numeric(Some((10, 2))),
        "timestamptz" => Type::TimestampTz,
        "timestamp" => Type::Timestamp,
        "date" => Type::Date,
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "user_role" => Type::Enum("user_role".into()),
        "users" => Type::Row("users".into()),
        other => match other.strip_suffix("[]") {
            Some(element) => Type::Array(Box::new(type_named(element))),
            None => Type::Other(other.into()),
        },
    }
}

fn call(builtin: Builtin, ty: Type) -> Expr {
    Expr::new(ExprKind::Call(builtin, Vec::new()), ty)
}

fn column(name: &str, ty: &str) -> Column {
    Column {
        name: name.into(),
        ty: type_named(ty),
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

fn relation(namespace: &str, name: &str, columns: &[(&str, &str)], kind: RelationKind) -> Relation {
    Relation {
        namespace: namespace.into(),
        name: name.into(),
        store: "main".into(),
        service: None,
        columns: columns.iter().map(|(name, ty)| column(name, ty)).collect(),
        kind,
        comment: None,
        grants: Vec::new(),
        span: Span::default(),
    }
}

fn table(name: &str, columns: &[(&str, &str)], key: &[u32]) -> Relation {
    let kind = RelationKind::Table(Table {
        primary_key: key.to_vec(),
        primary_key_name: Some(format!("{name}_pkey").into()),
        ..Table::default()
    });
    relation("public", name, columns, kind)
}

fn function(name: &str, args: &[(&str, &str)], returns: Returns) -> Function {
    let argument = |(name, ty): &(&str, &str)| Argument {
        name: (*name).into(),
        ty: type_named(ty),
        default: None,
        variadic: false,
    };
    Function {
        namespace: "public".into(),
        name: name.into(),
        store: "main".into(),
        service: None,
        args: args.iter().map(argument).collect(),
        returns,
        volatility: Volatility::Stable,
        security_definer: false,
        strict: false,
        body: Vec::new(),
        writes: false,
        comment: None,
        grants: Vec::new(),
        span: Span::default(),
    }
}

pub(super) fn shop() -> Schema {
    let mut users = table(
        "users",
        &[
            ("id", "uuid"),
            ("email", "text"),
            ("name", "varchar(40)"),
            ("active", "bool"),
            ("role", "user_role"),
            ("tags", "text[]"),
            ("settings", "jsonb"),
            ("created_at", "timestamptz"),
        ],
        &[0],
    );
    if let RelationKind::Table(table) = &mut users.kind {
        table.uniques.push(Unique {
            name: "users_email_key".into(),
            columns: vec![1],
            nulls_not_distinct: false,
        });
    }
    let mut products = table(
        "products",
        &[
            ("id", "uuid"),
            ("name", "text"),
            ("price", "numeric(10,2)"),
            ("stock", "int4"),
            ("code", "char(4)"),
            ("weight", "float8"),
            ("released", "date"),
            ("sold", "int8"),
            ("shelf", "int2"),
            ("details", "json"),
            ("period", "daterange"),
        ],
        &[0],
    );
    products.columns[0].default = Some(call(Builtin::GenRandomUuid, Type::Uuid));
    products.columns[3].default = Some(Expr::literal(Value::Int(0), Type::Int4));
    let carts = table("carts", &[("id", "uuid"), ("user_id", "uuid")], &[0]);
    let cart_items = table(
        "cart_items",
        &[("cart_id", "uuid"), ("product_id", "uuid"), ("quantity", "int4")],
        &[0, 1],
    );
    let mut orders = table(
        "orders",
        &[
            ("id", "int8"),
            ("user_id", "uuid"),
            ("total", "numeric(10,2)"),
            ("status", "text"),
            ("placed_at", "timestamptz"),
        ],
        &[0],
    );
    orders.columns[0].identity = Some(IdentityColumn::ByDefault);
    orders.columns[3].default = Some(Expr::literal(Value::Text("new".into()), Type::Text));
    orders.columns[4].default = Some(call(Builtin::Now, Type::TimestampTz));
    let mut events = table(
        "events",
        &[("id", "int8"), ("kind", "text"), ("n", "int4"), ("twice", "int4")],
        &[0],
    );
    events.columns[0].identity = Some(IdentityColumn::Always);
    events.columns[3].generated = Some(Expr::literal(Value::Int(2), Type::Int4));
    let view = |updatable, origins| {
        RelationKind::View(View {
            select: Arc::default(),
            security_invoker: false,
            security_barrier: false,
            materialized: false,
            origins,
            updatable,
            writable: None,
        })
    };
    let names = relation(
        "public",
        "product_names",
        &[("id", "uuid"), ("name", "text")],
        view(
            Some(RelationId(1)),
            vec![Some((RelationId(1), 0)), Some((RelationId(1), 1))],
        ),
    );
    let stats = relation("public", "stats", &[("products", "int8")], view(None, vec![None]));
    let secret = relation(
        "private",
        "secrets",
        &[("key", "text")],
        RelationKind::Table(Table::default()),
    );

    let mut recent = function(
        "recent",
        &[("days", "int4"), ("who", "uuid")],
        Returns::SetOfRow(RelationId(4)),
    );
    recent.args[0].default = Some(Expr::literal(Value::Int(7), Type::Int4));
    recent.args[1].default = Some(Expr::literal(Value::Null, Type::Uuid));
    let mut place = function("place", &[("cart", "uuid")], Returns::Scalar(Type::Int8));
    place.volatility = Volatility::Volatile;
    place.writes = true;
    let mut sum_all = function("sum_all", &[("numbers", "int4[]")], Returns::Scalar(Type::Int8));
    sum_all.args[0].variadic = true;
    let pairs = Returns::Table(vec![("a".into(), Type::Int4), ("b".into(), Type::Text)]);

    let mut schema = Schema {
        relations: vec![users, products, carts, cart_items, orders, events, names, stats, secret],
        functions: vec![
            function("area", &[("side", "int4")], Returns::Scalar(Type::Int4)),
            function("area", &[("name", "text")], Returns::Scalar(Type::Text)),
            function("display_name", &[("u", "users")], Returns::Scalar(Type::Text)),
            recent,
            place,
            sum_all,
            function("pairs", &[], pairs),
            function("ids", &[], Returns::SetOfScalar(Type::Uuid)),
        ],
        namespaces: vec!["public".into()],
        ..Schema::default()
    };
    schema
        .enums
        .insert("user_role".into(), vec![Arc::from("admin"), Arc::from("member")].into());
    schema.sequences.insert("order_no".into(), Sequence::default());
    schema.index();
    schema
}
