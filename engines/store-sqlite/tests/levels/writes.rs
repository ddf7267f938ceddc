//! Inserts, updates and deletes, and columns that are added.

use super::*;

#[test]
fn inserts_fill_in_defaults_and_upsert() {
    let w = World::new();
    let books = RelationRef::new(w.id("books"));
    let columns: Vec<u32> = ["id", "title", "price"]
        .iter()
        .map(|c| w.schema.relation(books.relation).column(c).unwrap())
        .collect();
    let check = Expr::compare(
        Operator::Gt,
        w.column("books", "price"),
        Expr::literal(
            Value::Numeric(mainstay_model::Decimal::from_i64(5)),
            Type::Numeric(None),
        ),
    );
    let plan = sqlite::compile_insert(&w.schema, &books, &columns, &[false; 3], None, Some(&check), None).unwrap();
    assert_eq!(plan.no_row, NoRow::Never);
    // The identity column that is no rowid takes its value from a sequence: only a writer may.
    assert!(
        plan.insert.sql.contains("mainstay_nextval('books_shelf_seq')"),
        "{}",
        plan.insert.sql
    );
    let cells = [Sql::Text(uuid(9)), Sql::Text("Nine".into()), Sql::Integer(999)];
    assert!(w.try_run(&plan.insert, &[], &[], &cells).unwrap_err().contains("25006"));
    let tags = RelationRef::new(w.id("tags"));
    let conflict = OnConflict {
        target: vec![0],
        ignore: false,
    };
    let plan = sqlite::compile_insert(&w.schema, &tags, &[0, 1], &[false; 2], Some(&conflict), None, None).unwrap();
    let rowid = w.run(&plan.insert, &[], &[], &[Sql::Integer(2), Sql::Text("newer".into())]);
    assert_eq!(rowid, [[Sql::Integer(2)]]);
    let error = w
        .try_run(&plan.insert, &[], &[], &[Sql::Integer(2), Sql::Text("too long".into())])
        .unwrap_err();
    assert!(error.contains("_mainstay_type_label"), "{error}");
    let ignore = OnConflict {
        target: vec![0],
        ignore: true,
    };
    let plan = sqlite::compile_insert(&w.schema, &tags, &[0, 1], &[false; 2], Some(&ignore), None, None).unwrap();
    assert_eq!(plan.no_row, NoRow::Ignored);
    assert!(
        w.run(&plan.insert, &[], &[], &[Sql::Integer(2), Sql::Text("x".into())])
            .is_empty()
    );
    let unknown = OnConflict {
        target: vec![0, 1],
        ignore: false,
    };
    let error = sqlite::compile_insert(&w.schema, &tags, &[0, 1], &[false; 2], Some(&unknown), None, None).unwrap_err();
    assert_eq!(error.code, "42P10");

    let kept = RelationRef::new(w.id("kept"));
    let error = sqlite::compile_insert(&w.schema, &kept, &[0, 1], &[false; 2], None, None, None).unwrap_err();
    assert_eq!(error.code, "428C9");
    let plan = sqlite::compile_insert(&w.schema, &kept, &[0, 1, 2], &[true, false, false], None, None, None).unwrap();
    let number = |text: &str| {
        let value = Value::parse(text, &Type::Numeric(None)).unwrap();
        owned(sqlite::encode(&value, &Type::Numeric(None), sqlite::Form::Wide).unwrap())
    };
    assert_eq!(
        w.run(&plan.insert, &[], &[], &[Sql::Null, Sql::Integer(3), number("1.50")]),
        [[Sql::Integer(1)]]
    );
    // Equal numbers are equal whatever their scale.
    let error = w
        .try_run(&plan.insert, &[], &[], &[Sql::Null, Sql::Integer(3), number("1.5")])
        .unwrap_err();
    assert!(error.contains("UNIQUE constraint failed"), "{error}");
    let error = w
        .try_run(&plan.insert, &[], &[], &[Sql::Null, Sql::Integer(0), number("2")])
        .unwrap_err();
    assert!(error.contains("kept_n_check"), "{error}");
}

#[test]
fn updates_and_deletes_name_the_rows_they_touched() {
    let w = World::new();
    let books = RelationRef::new(w.id("books"));
    let title = w.schema.relation(books.relation).column("title").unwrap();
    let filter = Expr::compare(Operator::Eq, w.column("books", "author_id"), Expr::param(0, Type::Int4));
    let set = [(title, Cell::Value(Value::Text("New".into())))];
    let order = [by(w.column("books", "price"))];
    let plan = sqlite::compile_update(
        &w.schema,
        &books,
        &set,
        Some(&filter),
        &order,
        Some(1),
        0,
        Some(&filter),
    )
    .unwrap();
    let touched = w.run(&plan.update, &[Value::Int(1)], &[], &[Sql::Text("New".into())]);
    assert_eq!(touched.len(), 1);
    assert_eq!(w.run(&plan.check.unwrap(), &[Value::Int(1)], &[], &touched[0]).len(), 1);
    let mut shape = w.of("books");
    shape.select = vec![w.field("books", "title"), w.field("books", "double")];
    shape.filter = Some(Expr::literal(Value::Bool(false), Type::Bool));
    let over = sqlite::compile_query_over(&w.schema, &shape, &RowsFrom::Rowid).unwrap();
    let row = w.run(&over.root.select, &[], &[], &touched[0]);
    assert_eq!(
        w.items(&over.root, &[], &row[0]),
        [r#""title":"New""#, r#""double":3.00"#]
    );
    let over = sqlite::compile_query_over(&w.schema, &shape, &RowsFrom::Rowids).unwrap();
    let rows = w.run(&over.root.select, &[], &[], &[Sql::Text("[3,1]".into())]);
    assert_eq!(
        rows.iter()
            .map(|r| w.items(&over.root, &[], r)[0].clone())
            .collect::<Vec<_>>(),
        [r#""title":"Three""#, r#""title":"New""#]
    );
    let plan = sqlite::compile_delete(&w.schema, &RelationRef::new(w.id("book_tags")), None, &[], None, 0).unwrap();
    assert_eq!(w.run(&plan.select, &[], &[], &[]).len(), 3);
    assert_eq!(w.run(&plan.delete, &[], &[], &[]).len(), 3);
    assert!(w.run(&plan.select, &[], &[], &[]).is_empty());
}

#[test]
fn columns_can_be_added_or_the_reason_is_said() {
    let w = World::new();
    let books = w.id("books");
    let column = |name: &str| w.schema.relation(books).column(name).unwrap();
    let sql = sqlite::add_column(&w.schema, books, column("size")).unwrap();
    assert!(
        sql.contains(
            "ADD COLUMN \"size\" TEXT CONSTRAINT \"_mainstay_type_size\" CHECK (\"size\" IN ('small', 'large'))"
        ),
        "{sql}"
    );
    for (name, reason) in [
        ("id", "primary key"),
        ("title", "NOT NULL"),
        ("double", "generated"),
        ("added", "not a constant"),
    ] {
        let error = sqlite::add_column(&w.schema, books, column(name)).unwrap_err();
        assert!(error.message.contains(reason), "{name}: {error}");
    }
}
