//! What is text: functions, views, policies, triggers and rules.

use super::Diff;
use crate::migrate::shape::{Detail, Kind, Object};
use crate::migrate::source::StatementKind;

impl Diff<'_> {
    pub(super) fn routines(&mut self) {
        let wanted = self.wanted;
        for kind in [
            Kind::Function,
            Kind::View,
            Kind::MaterializedView,
            Kind::Policy,
            Kind::Trigger,
            Kind::Rule,
        ] {
            for object in wanted.shape.of(kind) {
                let new = self.is_new(object);
                let there = self.actual.objects.get(&object.key());
                if !new && there.is_some_and(|t| self.same(object, t)) {
                    continue;
                }
                let mut step = self.step(object.create.clone(), object);
                step.order.3 = 5;
                match &object.detail {
                    Detail::Function { bound: true, .. } => self.as_written(object, &mut step),
                    Detail::View { options, .. } if !new => {
                        step.sql = step.sql.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1);
                        let had = there.map(|t| &t.detail);
                        if matches!(had, Some(Detail::View { options: had, .. }) if !had.is_empty() && options.is_empty())
                        {
                            let reset = "RESET (security_barrier, security_invoker, check_option)";
                            step.sql.push_str(&format!(";\nALTER VIEW {} {reset}", object.name));
                        }
                    }
                    Detail::View { .. } if kind == Kind::MaterializedView => {
                        step.note = step.note.take().or(Some("its query runs to fill it".to_owned()));
                    }
                    _ => {}
                }
                if new && there.is_some() {
                    step.note = None;
                }
                self.push(step);
            }
        }
    }

    /// A body that is bound when it is made lists the columns of `*`, in the order of the table that is there: which is not the
    /// order of a table that schema.sql makes anew. So it is made from the source.
    fn as_written(&self, object: &Object, step: &mut crate::migrate::plan::Step) {
        let at = self.wanted.statement_of(object.oid);
        let Some(statement) = self
            .source
            .statements
            .get(at)
            .filter(|s| s.kind == StatementKind::Function)
        else {
            return;
        };
        let mut words = statement.text.split_whitespace();
        let head: Vec<String> = words.by_ref().take(2).map(str::to_ascii_uppercase).collect();
        let replaced = match (head.first().map(String::as_str), head.get(1).map(String::as_str)) {
            (Some("CREATE"), Some("FUNCTION" | "PROCEDURE")) => {
                let rest = statement.text["CREATE".len()..].trim_start();
                format!("CREATE OR REPLACE {rest}")
            }
            (Some("CREATE"), Some("OR")) => statement.text.clone(),
            _ => return,
        };
        step.sql = replaced;
        step.search_path = self.path_of(at);
    }
}
