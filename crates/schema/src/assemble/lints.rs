//! What is allowed and yet most likely a mistake.

use super::Assembly;
use crate::catalog::DraftKind;
use crate::{Note, Problem};
use mainstay_model::{Span, Volatility};
use squawk_syntax::ast::AstNode;

/// Claims that a user sets for itself: a policy that believes them is no policy.
const USER_EDITED: [&str; 2] = ["user_metadata", "raw_user_meta_data"];

impl Assembly {
    pub(super) fn lint(&mut self) {
        let mut problems = Vec::new();
        for (draft, id) in self.live_tables() {
            let relation = self.schema.relation(id);
            let Some(table) = relation.table() else { continue };
            if &*relation.namespace == "auth" {
                continue;
            }
            let name = &relation.name;
            if table.row_security && table.policies.is_empty() && !relation.grants.is_empty() {
                let message =
                    format!("`{name}` has row level security and no policy: nobody but service_role sees a row");
                problems.push(
                    Problem::warning(relation.span.clone(), message)
                        .help("add a CREATE POLICY, or leave it so if that is meant"),
                );
            }
            if !table.row_security
                && let Some(policy) = table.policies.first()
            {
                let message = format!("`{name}` has policies, but row level security is off: they have no effect");
                problems.push(
                    Problem::warning(policy.span.clone(), message)
                        .help(format!("add ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;")),
                );
            }
            let DraftKind::Table(written) = &self.catalog.relations[draft].kind else {
                continue;
            };
            for policy in &written.policies {
                let exprs = policy
                    .using
                    .iter()
                    .chain(&policy.check)
                    .map(|w| w.node.syntax().text().to_string());
                let trusted = exprs
                    .flat_map(|text| USER_EDITED.into_iter().find(|claim| text.contains(claim)))
                    .next();
                if let Some(claim) = trusted {
                    let message = format!(
                        "the policy `{}` trusts `{claim}`, which users edit themselves",
                        policy.name
                    );
                    problems.push(
                        Problem::warning(policy.span.clone(), message)
                            .help("use app_metadata, which only the service sets, or a table of your own"),
                    );
                }
            }
        }
        for function in &self.schema.functions {
            if function.writes && function.volatility != Volatility::Volatile {
                let word = if function.volatility == Volatility::Stable {
                    "STABLE"
                } else {
                    "IMMUTABLE"
                };
                let message = format!("`{}` is declared {word}, but it writes", function.name);
                problems.push(
                    Problem::error(function.span.clone(), message).help("declare it VOLATILE, which is the default"),
                );
            }
        }
        // Not a problem of the file: a start says so, and many a project is meant so.
        let own = self.schema.relations.iter().find(|r| &*r.namespace != "auth");
        if let (false, Some(first)) = (self.schema.has_grants, own) {
            let span = Span {
                start: 0,
                end: 0,
                line: 1,
                column: 1,
                file: first.span.file.clone(),
            };
            let message = "there is no GRANT: everything is served to service_role alone; grant what others may do, \
                           for example GRANT SELECT ON … TO anon, authenticated;";
            self.notes.push(Note {
                span,
                message: message.into(),
            });
        }
        self.problems.extend(problems);
    }
}
