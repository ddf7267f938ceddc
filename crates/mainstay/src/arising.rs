//! Where events arise, and whether whoever wants them is in the same process: an embedded bus ends at its process, so that what arises in
//! one and is worked off in another would be dropped.

use crate::accounts::auth_store;
use crate::instance::Part;
use crate::project::find_table;
use crate::unserved::is_under;
use mainstay_config::Problem;
use mainstay_config::project::{Action, Delivery, Project, Subscription, Trigger};
use mainstay_model::{Builtin, Expr, ExprKind, Function, Result, Rewrite, Schema, Value, rewrite_statement};

/// Subscriptions whose events arise in a part of the project and whose function another process has.
pub fn stranded(project: &Project, schema: &Schema, part: &Part) -> Vec<Problem> {
    if !part.worker {
        return Vec::new();
    }
    let stranded = project.subscriptions.iter().filter_map(|subscription| {
        let name = match &subscription.action {
            Action::Call(name) => name,
            Action::Deliver { to: Delivery::Path(path), .. } => return lost(project, schema, part, subscription, path),
            Action::Deliver { .. } | Action::Publish(_) => return None,
        };
        let function = schema.functions.iter().find(|f| *f.name == **name)?;
        let is_here = part.works(project, function.service.as_deref(), &function.store);
        if is_here || !arises(project, schema, part, subscription) {
            return None;
        }
        let whose = match &function.service {
            Some(service) => format!("service \"{service}\""),
            None => "the project's own schema".to_owned(),
        };
        let name = &subscription.name;
        let problem = subscription.at.problem(format!(
            "[[on]] \"{name}\": its events arise in one process and its function, of {whose}, runs in another: an embedded bus \
             does not carry them there"
        ));
        Some(problem.help(
            "serve both in one process, or deliver to the other's address: deliver = \"https://…/rest/v1/rpc/…\"",
        ))
    });
    stranded.collect()
}

/// A delivery to a path of the gateway, where this process answers requests and the gateway is another.
fn lost(project: &Project, schema: &Schema, part: &Part, subscription: &Subscription, path: &str) -> Option<Problem> {
    let is_here = part.gateway || !part.api || project.gateway.url.is_some() || is_under(path, mainstay_rest::PREFIX);
    if is_here || !arises(project, schema, part, subscription) {
        return None;
    }
    let name = &subscription.name;
    let problem =
        format!("[[on]] \"{name}\": its events arise in a process that has no gateway to deliver to {path} by");
    Some(
        subscription
            .at
            .problem(problem)
            .help("say where it is: [gateway] url = \"https://…\", or write the whole URL"),
    )
}

/// Every part that the file itself sets apart, for whoever looks at the whole project.
pub fn parts(project: &Project) -> Vec<Part> {
    let apart = project
        .services
        .iter()
        .filter(|(_, service)| !service.servers.is_empty());
    let names = apart.map(|(name, _)| vec![name.clone()]);
    let parts = std::iter::once(Vec::new()).chain(names);
    parts
        .filter_map(|services| Part::of(project, &[], &services).ok())
        .collect()
}

/// Whether a subscription's events may arise in a part, as far as the project says.
fn arises(project: &Project, schema: &Schema, part: &Part, subscription: &Subscription) -> bool {
    match &subscription.trigger {
        Trigger::Change { table, .. } => find_table(schema, table).is_some_and(|table| {
            let relation = schema.relation(table);
            part.works(project, relation.service.as_deref(), &relation.store)
        }),
        Trigger::Event(topic) | Trigger::Topic(topic) => {
            let registers = topic == mainstay_account::REGISTERED
                && auth_store(project).is_some_and(|store| part.opens(project, store) && part.relays(project, store));
            let is_here = |f: &&Function| part.works(project, f.service.as_deref(), &f.store);
            registers || schema.functions.iter().filter(is_here).any(|f| emits(f, topic))
        }
        // A schedule is where its function is.
        Trigger::Every(_) => false,
    }
}

/// Whether a function's own statements emit under a topic, or under one that is computed.
fn emits(function: &Function, topic: &str) -> bool {
    struct Emits<'t> {
        topic: &'t str,
        found: bool,
    }
    impl Rewrite for Emits<'_> {
        fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
            if let ExprKind::Call(Builtin::Emit, args) = &expr.kind {
                self.found |= match args.first().map(|topic| &topic.kind) {
                    Some(ExprKind::Literal(Value::Text(topic))) => **topic == *self.topic,
                    _ => true,
                };
            }
            Ok(None)
        }
    }
    let mut emits = Emits { topic, found: false };
    let walked = function
        .body
        .iter()
        .try_for_each(|s| rewrite_statement(s, &mut emits).map(drop));
    emits.found || walked.is_err()
}
