//! What of a schema an embedded engine cannot do, found out before anything is opened. Built and planned, not guessed.

use mainstay_config::Project;
use mainstay_model::{Error, FunctionId, Relation, RelationId, Result, Schema, Span};
use mainstay_store_sqlite::Trial;

/// What cannot be had, a sentence each that begins with its place.
#[derive(Default)]
pub struct Untranslatable {
    /// Tables that cannot be made: no store with one can be opened.
    pub tables: Vec<String>,
    /// Views, policies and functions that answer with an error, whatever else is served.
    pub others: Vec<String>,
}

/// Tries the schema of every embedded store.
pub fn untranslatable(project: &Project, schema: &Schema) -> Untranslatable {
    let mut found = Untranslatable::default();
    for (store, _) in project.stores.iter().filter(|(_, s)| s.is_embedded()) {
        match Trial::new() {
            Ok(trial) => of_store(trial, schema, store, &mut found),
            Err(error) => found.tables.push(error.message.clone()),
        }
    }
    found
}

fn of_store(mut trial: Trial, schema: &Schema, store: &str, found: &mut Untranslatable) {
    // Each at its column, where the table as a whole would tell of the first alone.
    let mut columns = false;
    for (span, error) in mainstay_sql::sqlite::unkept_types(schema, |name| name == store) {
        let told = placed(&span, &error.message, &error);
        match schema.functions.iter().any(|function| function.span == span) {
            true => found.others.push(told),
            false => {
                columns = true;
                found.tables.push(told);
            }
        }
    }
    if columns {
        return;
    }
    let relations = || (0..schema.relations.len() as u32).map(RelationId);
    let own = |id: &RelationId| *schema.relation(*id).store == *store;
    for id in relations().filter(own) {
        let relation = schema.relation(id);
        if relation.table().is_some()
            && let Err(error) = trial.create(schema, id)
        {
            found
                .tables
                .push(problem(&relation.span, "table", &relation.name, &error));
        }
    }
    for id in relations().filter(own) {
        of_relation(&trial, schema, id, found);
    }
    for (index, function) in schema.functions.iter().enumerate().filter(|(_, f)| *f.store == *store) {
        let planned = mainstay_query::body_of(schema, FunctionId(index as u32))
            .and_then(|body| body.iter().try_for_each(|s| trial.statement(schema, s)));
        if let Err(error) = planned {
            found
                .others
                .push(problem(&function.span, "function", &function.name, &error));
        }
    }
}

/// A view, or a table's defaults and policies.
fn of_relation(trial: &Trial, schema: &Schema, id: RelationId, found: &mut Untranslatable) {
    let relation = schema.relation(id);
    let Some(table) = relation.table() else {
        let planned = mainstay_query::rows_of(schema, id).and_then(|shape| trial.query(schema, &shape));
        found.others.extend(view_problem(relation, planned));
        return;
    };
    if let Err(error) = trial.defaults(schema, id) {
        let what = "the defaults of table";
        found.others.push(problem(&relation.span, what, &relation.name, &error));
    }
    for policy in &table.policies {
        let planned = mainstay_query::rows_of_policy(schema, id, policy)
            .and_then(|shapes| shapes.iter().try_for_each(|shape| trial.query(schema, shape)));
        if let Err(error) = planned {
            let name = format!("{} of table {}", policy.name, relation.name);
            found.others.push(problem(&policy.span, "policy", &name, &error));
        }
    }
}

fn view_problem(view: &Relation, planned: Result<()>) -> Option<String> {
    let error = planned.err()?;
    Some(problem(&view.span, "view", &view.name, &error))
}

fn problem(span: &Span, what: &str, name: &str, error: &Error) -> String {
    placed(span, &format!("{what} {name}: {}", error.message), error)
}

fn placed(span: &Span, message: &str, error: &Error) -> String {
    let Span { file, line, column, .. } = span;
    let mut problem = format!("{file}:{line}:{column}: {message}");
    for more in error.details.iter().chain(&error.hint) {
        problem.push_str("; ");
        problem.push_str(more);
    }
    problem
}
