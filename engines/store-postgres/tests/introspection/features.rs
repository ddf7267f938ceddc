//! Relations: columns, types, keys, views and how they are related.

use crate::{connect, features, id, relation, run, served};
use mainstay_model::{
    Cardinality, DeclaredType, ExprKind, IdentityColumn, PartitionBy, ReferentialAction, Relationship, Schema, Type,
    Writable,
};
use mainstay_store_postgres::introspect::introspect;

#[test]
fn columns_and_their_types() {
    let schema = &features().1.schema;
    let people = relation(schema, "people");
    let found: Vec<String> = people
        .columns
        .iter()
        .map(|c| {
            let domain = c.domain.as_deref().map(|d| format!(" as {d}")).unwrap_or_default();
            let null = if c.not_null { " not null" } else { "" };
            format!(
                "{} {:?}{domain}{null} {}",
                c.name,
                c.ty,
                c.default_text.as_deref().unwrap_or("-")
            )
        })
        .collect();
    let wanted = [
        "id Int8 not null nextval('public.people_id_seq'::regclass)",
        "name Varchar(Some(40)) not null -",
        "born Date -",
        "feeling Enum(\"mood\") 'ok'::public.mood",
        "size Enum(\"elsewhere.\\\"Size\\\"\") -",
        "rank Int4 as positive 1",
        // A domain over a domain takes over the default.
        "level Int4 as very_positive not null 1",
        "tags Array(Text) '{}'::text[]",
        "home Row(\"pair\") -",
        "span Other(\"int4range\") -",
        "spans Other(\"floats\") -",
        "address Other(\"inet\") -",
        "price Numeric(Some((10, 2))) -",
        "code Char(3) -",
        "search Other(\"tsvector\") -",
        "country_id Int4 -",
        "boss_id Int8 -",
    ];
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
    assert_eq!(people.columns[0].identity, Some(IdentityColumn::ByDefault), "serial");
    let search = &people.columns[14];
    assert!(search.default.is_none());
    let generated = search.generated.as_ref().map(|e| &e.kind);
    assert!(
        matches!(generated, Some(ExprKind::Opaque { sql, .. }) if sql.contains("to_tsvector")),
        "{generated:?}"
    );
    let countries = relation(schema, "countries");
    assert_eq!(countries.columns[0].identity, Some(IdentityColumn::Always));
    assert_eq!(countries.comment.as_deref(), Some("Where people live."));
    assert_eq!(countries.columns[1].comment.as_deref(), Some("In English."));
}

#[test]
fn declared_types() {
    let schema = &features().1.schema;
    let labels = |name: &str| {
        schema
            .enums
            .get(name)
            .map(|l| l.iter().map(|l| l.to_string()).collect::<Vec<_>>().join(","))
    };
    assert_eq!(labels("mood").as_deref(), Some("sad,ok,happy"));
    assert_eq!(labels("elsewhere.\"Size\"").as_deref(), Some("s,m"));
    let declared = |name: &str| schema.types.get(name).cloned();
    assert_eq!(declared("positive"), Some(DeclaredType::Domain(Type::Int4)));
    assert_eq!(declared("very_positive"), Some(DeclaredType::Domain(Type::Int4)));
    let fields = vec![("a".into(), Type::Int4), ("b".into(), Type::Text)];
    assert_eq!(declared("pair"), Some(DeclaredType::Composite(fields)));
    assert_eq!(declared("floats"), Some(DeclaredType::Range));
    assert_eq!(declared("people"), None, "a relation's row is the relation's");
}

#[test]
fn keys_and_indexes() {
    let schema = &features().1.schema;
    let people = relation(schema, "people").table().unwrap();
    assert_eq!(people.primary_key, [0]);
    assert_eq!(people.primary_key_name.as_deref(), Some("people_pkey"));
    assert_eq!(people.uniques.len(), 1);
    assert_eq!(people.uniques[0].columns, [1, 2]);
    let to_country = people
        .foreign_keys
        .iter()
        .find(|k| &*k.name == "people_country_id_fkey")
        .unwrap();
    assert_eq!(to_country.target, id(schema, "countries"));
    assert_eq!(
        (to_country.on_delete, to_country.on_update),
        (ReferentialAction::SetNull, ReferentialAction::Cascade)
    );
    let boss = people.foreign_keys.iter().find(|k| &*k.name == "boss").unwrap();
    assert!(boss.deferred && boss.target == id(schema, "people"));
    let stamps = relation(schema, "stamps").table().unwrap();
    assert_eq!(stamps.foreign_keys[0].columns, [1, 2, 3]);
    assert_eq!(stamps.foreign_keys[0].target_columns, [0, 1, 2]);
    let indexes: Vec<String> = people
        .indexes
        .iter()
        .map(|i| {
            let keys: Vec<String> = i
                .keys
                .iter()
                .map(|k| format!("{:?} {} {}", k.expr.kind, k.descending, k.nulls_first))
                .collect();
            format!(
                "{} {} {} {} {}",
                i.name,
                i.unique,
                i.method,
                i.filter.is_some(),
                keys.len()
            )
        })
        .collect();
    // One on an expression is the database's own affair.
    assert_eq!(
        indexes,
        ["people_address true btree false 1", "people_born false btree true 2"]
    );
    assert!(people.indexes[1].keys[0].descending && people.indexes[1].keys[0].nulls_first);
    assert!(!people.indexes[1].keys[1].descending && !people.indexes[1].keys[1].nulls_first);
}

#[test]
fn views_show_where_their_columns_come_from() {
    let schema = &features().1.schema;
    type Origins = &'static [Option<(&'static str, &'static str)>];
    let cases: [(&str, Origins); 7] = [
        (
            "secret_ids",
            &[Some(("private.secrets", "id")), Some(("private.secrets", "person_id"))],
        ),
        (
            "adults",
            &[
                Some(("people", "id")),
                Some(("people", "name")),
                Some(("people", "country_id")),
            ],
        ),
        (
            "adults_of",
            &[
                Some(("people", "id")),
                None,
                Some(("people", "country_id")),
                Some(("people", "country_id")),
            ],
        ),
        ("mixed", &[Some(("people", "id")), Some(("countries", "name"))]),
        ("we ird(", &[Some(("countries", "id")), Some(("countries", "name"))]),
        ("both_kinds", &[None]),
        ("counted", &[Some(("people", "country_id")), None]),
    ];
    for (name, wanted) in cases {
        let view = relation(schema, name)
            .view()
            .unwrap_or_else(|| panic!("{name} is a view"));
        assert!(view.is_opaque());
        let found: Vec<Option<(String, String)>> = view
            .origins
            .iter()
            .map(|origin| {
                origin.map(|(base, column)| {
                    let base = schema.relation(base);
                    (
                        base.row_type().to_string(),
                        base.columns[column as usize].name.to_string(),
                    )
                })
            })
            .collect();
        let found: Vec<Option<(&str, &str)>> = found.iter().map(|o| o.as_ref().map(|(a, b)| (&**a, &**b))).collect();
        // A set operation's columns come from the first of its parts on some versions, and from nowhere on others.
        if name != "both_kinds" {
            assert_eq!(found, wanted, "{name}");
        }
    }
    let view = |name: &str| relation(schema, name).view().unwrap().clone();
    assert!(view("adults").security_invoker && !view("secret_ids").security_invoker);
    assert!(view("counted").materialized);
    assert_eq!(view("adults").updatable, Some(id(schema, "people")));
    assert_eq!(view("mixed").updatable, None);
    assert_eq!(view("through_trigger").updatable, None);
}

#[test]
fn what_can_be_written() {
    let schema = &features().1.schema;
    let writable = |name: &str| relation(schema, name).writable();
    let all = Writable {
        insert: true,
        update: true,
        delete: true,
    };
    assert_eq!(writable("people"), all);
    assert_eq!(writable("adults"), all);
    assert_eq!(writable("mixed"), Writable::default());
    assert_eq!(writable("counted"), Writable::default());
    assert_eq!(
        writable("through_trigger"),
        Writable {
            insert: true,
            ..Writable::default()
        }
    );
    assert_eq!(
        writable("remote"),
        Writable::default(),
        "its wrapper cannot do anything"
    );
    assert!(relation(schema, "remote").table().unwrap().foreign);
}

#[test]
fn partitions_are_read_through_their_table() {
    let found = &features().1;
    let events = relation(&found.schema, "events").table().unwrap();
    assert_eq!(events.partition, Some((PartitionBy::Range, vec![0])));
    assert!(found.schema.find_relation("public", "events_2024").is_none());
    let said: Vec<&str> = found
        .not_served
        .iter()
        .filter(|n| n.object.starts_with("partition"))
        .map(|n| &*n.object)
        .collect();
    assert_eq!(said, ["partition public.events_2024", "partition public.events_2025"]);
    // One way to the countries, not one for each partition besides.
    let back = ways(&found.schema, "countries", "events");
    assert_eq!(back.len(), 1);
}

#[test]
fn other_schemas() {
    let found = &features().1;
    let schema = &found.schema;
    let served: Vec<&str> = schema.namespaces.iter().map(|n| &**n).collect();
    assert_eq!(served, ["public", "Odd Schema"]);
    let odd = schema
        .find_relation("Odd Schema", "Odd \"Table")
        .expect("an odd name is a name");
    assert_eq!(&*schema.relation(odd).columns[0].name, "Odd.Column");
    assert_eq!(schema.relation(odd).columns[1].ty, Type::Enum("mood".into()));
    // What views show is known; what nobody shows is not read.
    assert!(schema.find_relation("private", "secrets").is_some());
    assert!(schema.find_relation("private", "unused").is_none());
    let last_served = schema
        .relations
        .iter()
        .rposition(|r| served.contains(&&*r.namespace))
        .unwrap();
    assert!(
        schema.relations[..last_served]
            .iter()
            .all(|r| served.contains(&&*r.namespace))
    );
}

fn ways<'s>(schema: &'s Schema, from: &str, to: &str) -> Vec<&'s Relationship> {
    let target = id(schema, to);
    schema.relationships[id(schema, from).0 as usize]
        .iter()
        .filter(|r| r.target == target)
        .collect()
}

#[test]
fn relationships() {
    let schema = &features().1.schema;
    // (from, to, constraint, cardinality, pairs of columns)
    type Pairs = &'static [(u32, u32)];
    let cases: [(&str, &str, &str, Cardinality, Pairs); 14] = [
        (
            "people",
            "countries",
            "people_country_id_fkey",
            Cardinality::ManyToOne,
            &[(15, 0)],
        ),
        (
            "countries",
            "people",
            "people_country_id_fkey",
            Cardinality::OneToMany,
            &[(0, 15)],
        ),
        (
            "passports",
            "people",
            "passports_person_id_fkey",
            Cardinality::OneToOne(true),
            &[(0, 0)],
        ),
        (
            "people",
            "passports",
            "passports_person_id_fkey",
            Cardinality::OneToOne(false),
            &[(0, 0)],
        ),
        (
            "stamps",
            "visits",
            "stamps_country_id_person_id_nth_fkey",
            Cardinality::ManyToOne,
            &[(1, 0), (2, 1), (3, 2)],
        ),
        (
            "visits",
            "stamps",
            "stamps_country_id_person_id_nth_fkey",
            Cardinality::OneToMany,
            &[(0, 1), (1, 2), (2, 3)],
        ),
        ("people", "people", "boss", Cardinality::OneToMany, &[(0, 16)]),
        (
            "people",
            "countries",
            "visits_person_id_fkey",
            Cardinality::ManyToMany,
            &[(0, 1)],
        ),
        (
            "countries",
            "people",
            "visits_country_id_fkey",
            Cardinality::ManyToMany,
            &[(0, 0)],
        ),
        // Through views: of a table of another schema, of a view of a view, by a column shown twice.
        (
            "secret_ids",
            "people",
            "secrets_person_id_fkey",
            Cardinality::ManyToOne,
            &[(1, 0)],
        ),
        (
            "adults",
            "countries",
            "people_country_id_fkey",
            Cardinality::ManyToOne,
            &[(2, 0)],
        ),
        (
            "adults_of",
            "countries",
            "people_country_id_fkey",
            Cardinality::ManyToOne,
            &[(2, 0)],
        ),
        (
            "adults_of",
            "countries",
            "people_country_id_fkey",
            Cardinality::ManyToOne,
            &[(3, 0)],
        ),
        (
            "adults",
            "we ird(",
            "people_country_id_fkey",
            Cardinality::ManyToOne,
            &[(2, 0)],
        ),
    ];
    for (from, to, constraint, cardinality, columns) in cases {
        let all = ways(schema, from, to);
        let found = all
            .iter()
            .any(|r| *r.constraint == *constraint && r.cardinality == cardinality && r.columns == columns);
        assert!(found, "{from} to {to} by {constraint}: {all:#?}");
    }
    let nowhere = |from: &str| schema.relationships[id(schema, from).0 as usize].is_empty();
    assert!(nowhere("remote"));
    // A table that is not served joins nothing.
    let hidden = schema.find_relation("private", "secrets").unwrap();
    let through = schema.relationships.iter().flatten().filter_map(|r| r.through.as_ref());
    assert!(through.clone().count() > 0);
    assert!(through.clone().all(|(junction, ..)| *junction != hidden));
}

#[test]
fn a_schema_that_is_not_there() {
    let url = &features().0;
    let (error, usable) = run(async {
        let client = connect(url).await;
        let error = introspect(&client, &served(&["publik"])).await.unwrap_err();
        (error, client.query_one("SELECT 1", &[]).await.is_ok())
    });
    assert_eq!(error.code, "3F000");
    assert!(error.message.contains("`publik`"), "{error}");
    assert!(
        error
            .hint
            .as_deref()
            .unwrap_or("")
            .contains("Odd Schema, elsewhere, private, public"),
        "{error:?}"
    );
    assert!(usable, "the connection is usable after a refusal");
}

#[test]
fn an_empty_database_says_where_else_to_look() {
    let server = mainstay_tests::Postgres::shared();
    let url = server.database();
    let found = run(async {
        let client = connect(&url).await;
        client
            .batch_execute("CREATE SCHEMA api; CREATE TABLE api.t (id int)")
            .await
            .unwrap();
        introspect(&client, &served(&[])).await.unwrap()
    });
    assert!(found.schema.relations.is_empty());
    assert!(found.notes.iter().any(|n| n.contains("api (1)")), "{:?}", found.notes);
}
