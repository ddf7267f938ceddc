//! Functions: their forms, what they belong to, and why some are not served.

use crate::{features, id};
use mainstay_model::{Cardinality, Function, MediaSubject, Returns, Schema, Type, Volatility};

fn one<'s>(schema: &'s Schema, name: &str) -> &'s Function {
    let all = schema.find_functions("public", name);
    assert_eq!(all.len(), 1, "{name}");
    schema.function(all[0])
}

#[test]
fn results() {
    let schema = &features().1.schema;
    let named = |columns: &[(&str, Type)]| {
        columns
            .iter()
            .map(|(n, t)| ((*n).into(), t.clone()))
            .collect::<Vec<_>>()
    };
    let secrets = schema.find_relation("private", "secrets").unwrap();
    let cases = [
        ("nothing", Returns::Void),
        ("whole", Returns::Scalar(Type::Json)),
        ("many", Returns::SetOfScalar(Type::Text)),
        ("one_out", Returns::Record(named(&[("b", Type::Int4)]))),
        ("outs", Returns::Record(named(&[("b", Type::Int4), ("c", Type::Text)]))),
        (
            "tabled",
            Returns::Table(named(&[("i", Type::Int4), ("word", Type::Text)])),
        ),
        ("pairs", Returns::Table(named(&[("a", Type::Int4), ("b", Type::Text)]))),
        ("of_people", Returns::SetOfRow(id(schema, "people"))),
        ("of_secret", Returns::Row(secrets)),
        ("loose", Returns::SetOfScalar(Type::Row("record".into()))),
        (
            "moods",
            Returns::Scalar(Type::Array(Box::new(Type::Enum("mood".into())))),
        ),
        ("page", Returns::Scalar(Type::Text)),
    ];
    for (name, wanted) in cases {
        assert_eq!(one(schema, name).returns, wanted, "{name}");
    }
}

#[test]
fn arguments() {
    let schema = &features().1.schema;
    let overloads = schema.find_functions("public", "add");
    assert_eq!(overloads.len(), 2);
    for id in overloads {
        let add = schema.function(*id);
        assert_eq!(add.args.iter().map(|a| &*a.name).collect::<Vec<_>>(), ["a", "b"]);
        assert!(add.args[0].default.is_none() && add.args[1].default.is_some());
    }
    let of = |name: &str| -> Vec<(String, Type, bool, bool)> {
        let args = one(schema, name).args.iter();
        args.map(|a| (a.name.to_string(), a.ty.clone(), a.default.is_some(), a.variadic))
            .collect()
    };
    let text = || Type::Text;
    assert_eq!(of("whole"), [(String::new(), Type::Json, false, false)]);
    assert_eq!(of("raw"), [(String::new(), Type::Bytea, false, false)]);
    assert_eq!(
        of("many"),
        [("words".to_owned(), Type::Array(Box::new(text())), false, true)]
    );
    assert_eq!(of("one_out"), [("a".to_owned(), Type::Int4, false, false)]);
    assert_eq!(
        of("outs"),
        [
            ("a".to_owned(), Type::Int4, false, false),
            ("c".to_owned(), text(), true, false)
        ]
    );
    let sizes = Type::Array(Box::new(Type::Enum("elsewhere.\"Size\"".into())));
    let wanted = [
        ("m", Type::Enum("mood".into())),
        ("p", Type::Int4),
        ("s", sizes),
        ("c", Type::Varchar(None)),
    ];
    let found: Vec<(String, Type)> = of("moods").into_iter().map(|(name, ty, ..)| (name, ty)).collect();
    assert_eq!(found, wanted.map(|(name, ty)| (name.to_owned(), ty)));
}

#[test]
fn properties() {
    let schema = &features().1.schema;
    let add = schema
        .find_functions("public", "add")
        .iter()
        .map(|id| schema.function(*id));
    let add = add.clone().find(|f| f.args[0].ty == Type::Int4).unwrap();
    assert!(add.strict && add.volatility == Volatility::Immutable && !add.writes && !add.security_definer);
    let people = one(schema, "of_people");
    assert!(people.security_definer && people.volatility == Volatility::Stable && !people.strict);
    assert!(one(schema, "nothing").writes, "volatile");
    let page = schema.find_functions("public", "page")[0];
    let settings = &schema.function_settings[&page];
    assert_eq!(settings.as_slice(), [("statement_timeout".into(), "1s".into())]);
}

#[test]
fn columns_and_relationships_of_rows() {
    let schema = &features().1.schema;
    let name = one(schema, "full_name");
    assert!(matches!(&*name.args, [only] if only.ty == Type::Row("people".into())));
    let from = |table: &str| {
        schema.relationships[id(schema, table).0 as usize]
            .iter()
            .filter(|r| r.function.is_some())
    };
    let of_people: Vec<_> = from("people")
        .map(|r| (&*r.constraint, r.target, r.cardinality))
        .collect();
    assert_eq!(
        of_people,
        [("homeland", id(schema, "countries"), Cardinality::ManyToOne)],
        "ROWS 1"
    );
    let of_countries: Vec<_> = from("countries")
        .map(|r| (&*r.constraint, r.target, r.cardinality))
        .collect();
    assert_eq!(
        of_countries,
        [("citizens", id(schema, "people"), Cardinality::OneToMany)]
    );
    // Of another schema only what belongs to a row.
    assert_eq!(schema.find_functions("elsewhere", "shout").len(), 1);
    assert!(schema.find_functions("elsewhere", "not_of_a_row").is_empty());
    assert_eq!(schema.extra_search_path.len(), 1);
}

#[test]
fn media_types_and_representations() {
    let schema = &features().1.schema;
    let found = |name: &str| {
        let handler = schema.media_handlers.iter().find(|h| &*h.name == name);
        handler.map(|h| (h.media_type.to_string(), h.subject.clone()))
    };
    assert_eq!(found("page"), Some(("text/html".to_owned(), MediaSubject::Result)));
    assert_eq!(
        found("page_of"),
        Some(("text/html".to_owned(), MediaSubject::Rows(id(schema, "people"))))
    );
    let cast = &schema.representations[0];
    assert_eq!(
        (&*cast.source, &*cast.target, &*cast.name),
        ("positive", "json", "positive_json")
    );
}

#[test]
fn what_is_not_served_says_why() {
    let found = &features().1;
    let cases = [
        ("procedure public.proceed(integer)", "procedure"),
        ("aggregate public.total(integer)", "aggregate"),
        ("function public.on_write()", "trigger"),
        ("function public.guess(anyelement)", "anyelement"),
        ("function public.unnamed(integer, integer)", "no names"),
        ("function public.to_page(text, people)", "no names"),
        ("function public.positive_json(positive)", "no names"),
    ];
    for (object, reason) in cases {
        let said = found.not_served.iter().find(|n| n.object == object);
        let said = said.unwrap_or_else(|| panic!("{object} is not mentioned: {:#?}", found.not_served));
        assert!(said.reason.contains(reason), "{object}: {}", said.reason);
    }
    // What makes a media type is served.
    assert!(!found.not_served.iter().any(|n| n.object.contains("page_of")));
    let functions = found
        .not_served
        .iter()
        .filter(|n| !n.object.starts_with("partition"))
        .count();
    assert_eq!(functions, cases.len(), "{:#?}", found.not_served);
}
