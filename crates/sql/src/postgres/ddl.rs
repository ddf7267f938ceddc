//! A model's schema as DDL: types, sequences, tables, then views and functions in the order of what they read, then what may refer to
//! all of them: keys, indexes, policies and privileges.

mod order;
mod table;

use super::name::{parameter_type_name, quote_identifier, quote_literal, type_name};
use super::render::{Renderer, RowSource, columns_of, qualified, sequence_name};
use mainstay_model::{
    DeclaredType, Error, Expr, Function, FunctionId, Policy, PolicyCommand, Privilege, Relation, RelationId,
    RelationKind, Result, Returns, Schema, SourceId, Type, Volatility,
};
use order::Item;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// The role that needs no grant in the model; here it must have one.
const SERVICE_ROLE: &str = "service_role";

/// Everything.
pub(super) fn schema(schema: &Schema) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let namespaces: BTreeSet<&str> = schema
        .namespaces
        .iter()
        .map(|n| &**n)
        .chain(schema.relations.iter().map(|r| &*r.namespace))
        .chain(schema.functions.iter().map(|f| &*f.namespace))
        .collect();
    for namespace in &namespaces {
        if *namespace != "public" {
            out.push(format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(namespace)));
        }
    }
    types(schema, &mut out)?;
    let mut sequences: Vec<_> = schema.sequences.iter().collect();
    sequences.sort_by(|a, b| a.0.cmp(b.0));
    for (name, sequence) in &sequences {
        out.push(format!(
            "CREATE SEQUENCE {} START WITH {} INCREMENT BY {} MINVALUE {} MAXVALUE {}{}",
            sequence_name(schema, name),
            sequence.start,
            sequence.increment,
            sequence.min,
            sequence.max,
            if sequence.cycle { " CYCLE" } else { "" }
        ));
    }
    let mut later = Vec::new();
    let ids = || (0..schema.relations.len() as u32).map(RelationId);
    for id in ids() {
        if let RelationKind::Table(table) = &schema.relation(id).kind {
            table::create(schema, id, table, &mut out, &mut later)?;
        }
    }
    for item in order::of(schema)? {
        match item {
            Item::View(id) => out.push(create_view(schema, id)?),
            Item::Function(id) => out.push(create_function(schema, id)?),
        }
    }
    out.append(&mut later);
    for id in ids() {
        if let RelationKind::Table(table) = &schema.relation(id).kind {
            table::keys_and_indexes(schema, id, table, &mut out)?;
        }
    }
    for id in ids() {
        let relation = schema.relation(id);
        if let Some(table) = relation.table() {
            if table.row_security {
                out.push(format!("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", name_of(relation)));
            }
            for policy in &table.policies {
                out.push(create_policy(schema, id, policy)?);
            }
        }
        comments(relation, &mut out);
    }
    privileges(schema, &namespaces, &mut out);
    for (name, _) in sequences {
        out.push(format!(
            "GRANT ALL ON SEQUENCE {} TO {SERVICE_ROLE}",
            sequence_name(schema, name)
        ));
    }
    Ok(out)
}

fn name_of(relation: &Relation) -> String {
    qualified(&relation.namespace, &relation.name)
}

fn types(schema: &Schema, out: &mut Vec<String>) -> Result<()> {
    let mut enums: Vec<_> = schema.enums.iter().collect();
    enums.sort_by(|a, b| a.0.cmp(b.0));
    for (name, labels) in enums {
        let labels: Vec<String> = labels.iter().map(|l| quote_literal(l)).collect();
        let name = type_name(&Type::Enum(name.clone()));
        out.push(format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", ")));
    }
    let mut declared: Vec<_> = schema.types.iter().collect();
    // A composite type may have members of a domain.
    declared.sort_by_key(|(name, ty)| (matches!(ty, DeclaredType::Composite(_)), (*name).clone()));
    for (key, ty) in declared {
        let name = type_name(&Type::Other(key.clone()));
        match ty {
            DeclaredType::Domain(base) => out.push(format!("CREATE DOMAIN {name} AS {}", type_name(base))),
            DeclaredType::Composite(members) => {
                out.push(format!("CREATE TYPE {name} AS ({})", named_types(members)));
            }
            DeclaredType::Range => {
                return Err(Error::unsupported(format!(
                    "the range type \"{key}\" cannot be written: its subtype is not known"
                )));
            }
        }
    }
    Ok(())
}

fn named_types(columns: &[(Arc<str>, Type)]) -> String {
    columns
        .iter()
        .map(|(name, ty)| format!("{} {}", quote_identifier(name), type_name(ty)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// An expression that belongs to a relation, whose columns are written bare or under a name.
pub(super) fn expression(
    schema: &Schema,
    relation: Option<RelationId>,
    qualifier: Option<&str>,
    expr: &Expr,
) -> Result<String> {
    let mut r = Renderer::definition(schema);
    in_relation(&mut r, relation, qualifier);
    r.expr(expr)
}

fn in_relation(r: &mut Renderer<'_>, relation: Option<RelationId>, qualifier: Option<&str>) {
    if let Some(relation) = relation {
        let qualifier = qualifier.map(quote_identifier).unwrap_or_default();
        let rows = RowSource::new(&qualifier, columns_of(r.schema, relation));
        r.scope.sources.insert(SourceId::SELF, Rc::new(rows));
    }
}

fn create_view(schema: &Schema, id: RelationId) -> Result<String> {
    let relation = schema.relation(id);
    let view = relation.view().ok_or_else(|| Error::internal("a table is no view"))?;
    let names: Vec<String> = relation.columns.iter().map(|c| quote_identifier(&c.name)).collect();
    let select = Renderer::definition(schema).select(&view.select)?;
    let name = name_of(relation);
    let names = names.join(", ");
    Ok(if view.materialized {
        format!("CREATE MATERIALIZED VIEW {name} ({names}) AS {select}")
    } else {
        let options = [
            (view.security_invoker, "security_invoker = true"),
            (view.security_barrier, "security_barrier = true"),
        ];
        let options: Vec<&str> = options
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, option)| *option)
            .collect();
        let options = match options.is_empty() {
            true => String::new(),
            false => format!(" WITH ({})", options.join(", ")),
        };
        format!("CREATE VIEW {name} ({names}){options} AS {select}")
    })
}

/// `CREATE FUNCTION`, its body bound when it is created.
pub(super) fn create_function(schema: &Schema, id: FunctionId) -> Result<String> {
    let function = schema.function(id);
    let mut args = Vec::new();
    for arg in &function.args {
        let mut sql = String::from(if arg.variadic { "VARIADIC " } else { "" });
        if !arg.name.is_empty() {
            sql.push_str(&format!("{} ", quote_identifier(&arg.name)));
        }
        sql.push_str(&type_name(&arg.ty));
        if let Some(default) = &arg.default {
            sql.push_str(&format!(" DEFAULT {}", expression(schema, None, None, default)?));
        }
        args.push(sql);
    }
    let row = |relation: RelationId| name_of(schema.relation(relation));
    let returns = match &function.returns {
        Returns::Void => "RETURNS void".to_owned(),
        Returns::Scalar(ty) => format!("RETURNS {}", type_name(ty)),
        Returns::SetOfScalar(ty) => format!("RETURNS SETOF {}", type_name(ty)),
        Returns::Row(relation) => format!("RETURNS {}", row(*relation)),
        Returns::SetOfRow(relation) => format!("RETURNS SETOF {}", row(*relation)),
        Returns::Table(columns) => format!("RETURNS TABLE ({})", named_types(columns)),
        Returns::Record(columns) => {
            args.extend(
                columns
                    .iter()
                    .map(|(name, ty)| format!("OUT {} {}", quote_identifier(name), type_name(ty))),
            );
            String::new()
        }
    };
    let mut sql = format!(
        "CREATE FUNCTION {}({}) {returns} LANGUAGE sql",
        qualified(&function.namespace, &function.name),
        args.join(", ")
    );
    sql.push_str(match function.volatility {
        Volatility::Immutable => " IMMUTABLE",
        Volatility::Stable => " STABLE",
        Volatility::Volatile => " VOLATILE",
    });
    if function.strict {
        sql.push_str(" STRICT");
    }
    if function.security_definer {
        // Names are bound already; what the body calls at run time must not be anyone's.
        sql.push_str(&format!(
            " SECURITY DEFINER SET search_path = {}, pg_temp",
            quote_identifier(&function.namespace)
        ));
    }
    sql.push_str(" BEGIN ATOMIC");
    for statement in &function.body {
        sql.push_str(&format!(" {};", super::render_statement(schema, statement)?));
    }
    sql.push_str(" END");
    Ok(sql)
}

fn create_policy(schema: &Schema, id: RelationId, policy: &Policy) -> Result<String> {
    let relation = schema.relation(id);
    let mut r = Renderer::definition(schema);
    r.claims_once = true;
    in_relation(&mut r, Some(id), Some(&relation.name));
    let mut sql = format!(
        "CREATE POLICY {} ON {}",
        quote_identifier(&policy.name),
        name_of(relation)
    );
    if policy.restrictive {
        sql.push_str(" AS RESTRICTIVE");
    }
    sql.push_str(match policy.command {
        PolicyCommand::All => " FOR ALL",
        PolicyCommand::Select => " FOR SELECT",
        PolicyCommand::Insert => " FOR INSERT",
        PolicyCommand::Update => " FOR UPDATE",
        PolicyCommand::Delete => " FOR DELETE",
    });
    let roles: Vec<String> = policy.roles.iter().map(|role| role_name(role)).collect();
    if !roles.is_empty() {
        sql.push_str(&format!(" TO {}", roles.join(", ")));
    }
    if let Some(using) = &policy.using {
        sql.push_str(&format!(" USING ({})", r.expr(using)?));
    }
    if let Some(check) = &policy.check {
        sql.push_str(&format!(" WITH CHECK ({})", r.expr(check)?));
    }
    Ok(sql)
}

fn role_name(role: &str) -> String {
    if role == "public" {
        "PUBLIC".to_owned()
    } else {
        quote_identifier(role)
    }
}

fn comments(relation: &Relation, out: &mut Vec<String>) {
    let kind = match &relation.kind {
        RelationKind::Table(_) => "TABLE",
        RelationKind::View(view) if view.materialized => "MATERIALIZED VIEW",
        RelationKind::View(_) => "VIEW",
    };
    let name = name_of(relation);
    if let Some(comment) = &relation.comment {
        out.push(format!("COMMENT ON {kind} {name} IS {}", quote_literal(comment)));
    }
    for column in &relation.columns {
        if let Some(comment) = &column.comment {
            let column = quote_identifier(&column.name);
            out.push(format!(
                "COMMENT ON COLUMN {name}.{column} IS {}",
                quote_literal(comment)
            ));
        }
    }
}

fn privileges(schema: &Schema, namespaces: &BTreeSet<&str>, out: &mut Vec<String>) {
    // Who may do something in a schema must be let in.
    let mut admitted: BTreeSet<(&str, String)> = namespaces
        .iter()
        .map(|namespace| (*namespace, SERVICE_ROLE.to_owned()))
        .collect();
    let mut grants = Vec::new();
    for relation in &schema.relations {
        let name = name_of(relation);
        grants.push(format!("GRANT ALL ON TABLE {name} TO {SERVICE_ROLE}"));
        for grant in &relation.grants {
            let role = role_name(&grant.role);
            let columns = match &grant.columns {
                Some(columns) => {
                    let names: Vec<String> = columns
                        .iter()
                        .filter_map(|c| relation.columns.get(*c as usize))
                        .map(|c| quote_identifier(&c.name))
                        .collect();
                    format!(" ({})", names.join(", "))
                }
                None => String::new(),
            };
            let privilege = privilege_name(grant.privilege);
            grants.push(format!("GRANT {privilege}{columns} ON TABLE {name} TO {role}"));
            admitted.insert((&relation.namespace, role));
        }
    }
    for function in &schema.functions {
        let name = signature(function);
        grants.push(format!("REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC"));
        grants.push(format!("GRANT EXECUTE ON FUNCTION {name} TO {SERVICE_ROLE}"));
        for role in &function.grants {
            let role = role_name(role);
            grants.push(format!("GRANT EXECUTE ON FUNCTION {name} TO {role}"));
            admitted.insert((&function.namespace, role));
        }
    }
    for (namespace, role) in admitted {
        out.push(format!(
            "GRANT USAGE ON SCHEMA {} TO {role}",
            quote_identifier(namespace)
        ));
    }
    out.append(&mut grants);
}

/// A function with the types of its arguments, by which overloads are told apart.
fn signature(function: &Function) -> String {
    let types: Vec<String> = function.args.iter().map(|a| parameter_type_name(&a.ty)).collect();
    format!(
        "{}({})",
        qualified(&function.namespace, &function.name),
        types.join(", ")
    )
}

fn privilege_name(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Select => "SELECT",
        Privilege::Insert => "INSERT",
        Privilege::Update => "UPDATE",
        Privilege::Delete => "DELETE",
        Privilege::Truncate => "TRUNCATE",
        Privilege::References => "REFERENCES",
        Privilege::Trigger => "TRIGGER",
    }
}
