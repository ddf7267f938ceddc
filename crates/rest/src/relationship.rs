//! Which way leads from one relation to another: by the target's name, a column, a constraint, a hint or a computed relationship.

use crate::rows::Rows;
use crate::suggest;
use mainstay_model::{
    Cardinality, EmbedJoin, Error, FunctionId, Relation, RelationId, RelationRef, Relationship, Returns, Schema, Type,
    write_json_string,
};

/// A way that was found.
pub(crate) struct Way<'s> {
    /// The rows that it leads to.
    pub rows: Rows<'s>,
    pub join: EmbedJoin,
    /// To at most one row.
    pub one: bool,
}

/// Finds the one way from `origin` to `target`. Errors: PGRST200 when there is none, PGRST201 when there are several.
pub(crate) fn find<'s>(
    schema: &'s Schema,
    namespace: &str,
    origin: &Rows<'s>,
    target: &str,
    hint: Option<&str>,
) -> Result<Way<'s>, Error> {
    if let Some((function, rows, one)) = computed(schema, namespace, origin, target) {
        return Ok(Way {
            rows,
            join: EmbedJoin::Computed(function),
            one,
        });
    }
    let known = origin.relation.and_then(|id| schema.relationships.get(id.0 as usize));
    let all: Vec<&'s Relationship> = known
        .map(|list| {
            list.iter()
                // A computed one has the name of its function and no other.
                .filter(|r| r.function.is_none() && &*schema.relation(r.target).namespace == namespace)
                .collect()
        })
        .unwrap_or_default();
    let matching: Vec<&Relationship> = all
        .iter()
        .copied()
        .filter(|r| is_meant(schema, origin, r, target, hint))
        .collect();
    let way = match &*matching {
        [] => return Err(none(schema, namespace, origin, target, hint, &all)),
        [way] => *way,
        several => return Err(ambiguous(schema, origin, target, several)),
    };
    let join = match &way.through {
        None => EmbedJoin::Columns(way.columns.clone()),
        Some((junction, related, _)) => EmbedJoin::Through {
            junction: RelationRef::new(*junction),
            outer: way.columns.clone(),
            related: related.clone(),
        },
    };
    Ok(Way {
        rows: Rows::of_relation(schema, way.target),
        join,
        one: way.cardinality.is_to_one(),
    })
}

/// A function of the row that gives rows: `CREATE FUNCTION target(origin) RETURNS SETOF other`.
fn computed<'s>(
    schema: &'s Schema,
    namespace: &str,
    origin: &Rows<'s>,
    target: &str,
) -> Option<(FunctionId, Rows<'s>, bool)> {
    let known = schema.relationships.get(origin.relation?.0 as usize);
    let declared = known.into_iter().flatten().find_map(|way| {
        let function = way.function?;
        let declared = schema.function(function);
        let is_meant = *declared.name == *target && *declared.namespace == *namespace;
        is_meant.then(|| {
            let rows = Rows::of_relation(schema, way.target);
            (function, rows, way.cardinality.is_to_one())
        })
    });
    if declared.is_some() {
        return declared;
    }
    let relation = schema.relation(origin.relation?);
    schema.find_functions(namespace, target).iter().find_map(|&id| {
        let function = schema.function(id);
        if !takes_row_of(relation, &function.args) {
            return None;
        }
        match function.returns {
            Returns::SetOfRow(rows) => Some((id, Rows::of_relation(schema, rows), false)),
            Returns::Row(rows) => Some((id, Rows::of_relation(schema, rows), true)),
            _ => None,
        }
    })
}

/// Whether a function's one argument is a row of the relation.
pub(crate) fn takes_row_of(relation: &Relation, args: &[mainstay_model::Argument]) -> bool {
    matches!(args, [only] if matches!(&only.ty, Type::Row(name) if *name == relation.row_type()))
}

fn is_meant(schema: &Schema, origin: &Rows<'_>, way: &Relationship, target: &str, hint: Option<&str>) -> bool {
    let target_relation = schema.relation(way.target);
    let by_name = *target_relation.name == *target;
    let simple = way.through.is_none();
    let single = match (simple, &*way.columns) {
        (true, [(own, other)]) => Some((
            origin.column_name(*own),
            &*target_relation.columns[*other as usize].name,
        )),
        _ => None,
    };
    let own_column = |name: &str| single.is_some_and(|(own, _)| own == Some(name));
    let other_column = |name: &str| single.is_some_and(|(_, other)| other == name);
    let constraint = |name: &str| simple && *way.constraint == *name;
    let to_many = matches!(way.cardinality, Cardinality::OneToMany);
    let many_to_one = matches!(way.cardinality, Cardinality::ManyToOne);
    match (way.is_self, hint) {
        // One foreign key, two ways: the table's name means the many, the column's the one.
        (true, None) => (by_name && to_many) || (own_column(target) && many_to_one),
        (true, Some(hint)) => by_name && to_many && (other_column(hint) || constraint(hint)),
        (false, None) => {
            let is_table = target_relation.table().is_some();
            by_name || (is_table && (constraint(target) || own_column(target)))
        }
        (false, Some(hint)) => {
            let junction = way
                .through
                .as_ref()
                .is_some_and(|(junction, ..)| *schema.relation(*junction).name == *hint);
            by_name && (constraint(hint) || own_column(hint) || other_column(hint) || junction)
        }
    }
}

fn none(
    schema: &Schema,
    namespace: &str,
    origin: &Rows<'_>,
    target: &str,
    hint: Option<&str>,
    all: &[&Relationship],
) -> Error {
    let using = hint.map(|h| format!("' using the hint '{h}")).unwrap_or_default();
    let error = Error::new(
        "PGRST200",
        format!("Could not find a relationship between '{}' and '{target}' in the schema cache", origin.name),
    )
    .detail(format!(
        "Searched for a foreign key relationship between '{}' and '{target}{using}' in the schema '{namespace}', but no matches were found.",
        origin.name
    ));
    let names = all.iter().map(|r| &*schema.relation(r.target).name);
    if names.clone().any(|name| name == target) {
        return error;
    }
    match suggest::nearest(target, names, suggest::NEAR) {
        Some(near) => error.hint(format!("Perhaps you meant '{near}' instead of '{target}'.")),
        None => error,
    }
}

fn ambiguous(schema: &Schema, origin: &Rows<'_>, target: &str, ways: &[&Relationship]) -> Error {
    let mut ways = ways.to_vec();
    // What is told apart last is the kind of relationship: to many, to one, one to one, through others.
    ways.sort_by_key(|way| {
        let rank = match way.cardinality {
            Cardinality::OneToMany => 0,
            Cardinality::ManyToOne => 1,
            Cardinality::OneToOne(_) => 2,
            Cardinality::ManyToMany => 3,
        };
        let through = way
            .through
            .as_ref()
            .map(|(junction, ..)| &schema.relation(*junction).name);
        (&schema.relation(way.target).name, rank, through, &way.constraint)
    });
    let mut details = vec![b'['];
    let mut hints = Vec::new();
    for (i, way) in ways.iter().enumerate() {
        if i > 0 {
            details.push(b',');
        }
        let other = schema.relation(way.target);
        let (cardinality, relationship) = describe(schema, origin, way, other);
        for (prefix, text) in [
            ("{\"cardinality\":", cardinality.to_owned()),
            (",\"embedding\":", format!("{} with {}", origin.name, other.name)),
            (",\"relationship\":", relationship),
        ] {
            details.extend_from_slice(prefix.as_bytes());
            write_json_string(&text, &mut details);
        }
        details.push(b'}');
        let by = way
            .through
            .as_ref()
            .map_or(&*way.constraint, |(junction, ..)| &*schema.relation(*junction).name);
        hints.push(format!("'{}!{by}'", other.name));
    }
    details.push(b']');
    Error::new(
        "PGRST201",
        format!(
            "Could not embed because more than one relationship was found for '{}' and '{target}'",
            origin.name
        ),
    )
    .detail(String::from_utf8(details).unwrap_or_default())
    .hint(format!(
        "Try changing '{target}' to one of the following: {}. Find the desired relationship in the 'details' key.",
        hints.join(", ")
    ))
}

fn describe(schema: &Schema, origin: &Rows<'_>, way: &Relationship, other: &Relation) -> (&'static str, String) {
    let own = |columns: &[(u32, u32)]| -> Vec<String> {
        columns
            .iter()
            .map(|(own, _)| origin.column_name(*own).unwrap_or_default().to_owned())
            .collect()
    };
    let of = |id: RelationId, columns: Vec<u32>| -> Vec<String> {
        columns
            .iter()
            .map(|c| schema.relation(id).columns[*c as usize].name.to_string())
            .collect()
    };
    if let Some((junction, related, second)) = &way.through {
        let first = of(*junction, way.columns.iter().map(|(_, j)| *j).collect()).join(", ");
        let related = of(*junction, related.iter().map(|(j, _)| *j).collect()).join(", ");
        let text = format!(
            "{} using {}({first}) and {second}({related})",
            schema.relation(*junction).name,
            way.constraint
        );
        return ("many-to-many", text);
    }
    let cardinality = match way.cardinality {
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::OneToOne(_) => "one-to-one",
        Cardinality::ManyToMany => "many-to-many",
    };
    let text = format!(
        "{} using {}({}) and {}({})",
        way.constraint,
        origin.name,
        own(&way.columns).join(", "),
        other.name,
        of(way.target, way.columns.iter().map(|(_, o)| *o).collect()).join(", ")
    );
    (cardinality, text)
}
