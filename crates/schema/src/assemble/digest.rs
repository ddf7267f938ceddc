//! A number that changes whenever the model does. Not by the standard library's hasher, whose results differ between versions:
//! instances of different builds must agree.

use mainstay_model::Schema;
use std::fmt::{self, Write};

/// The digest of everything in a schema but its places in files.
pub(super) fn of(schema: &Schema) -> u64 {
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    for relation in &schema.relations {
        let _ = write!(
            fnv,
            "{}.{}@{}/{:?}",
            relation.namespace, relation.name, relation.store, relation.service
        );
        for column in &relation.columns {
            let _ = write!(
                fnv,
                "|{}:{:?}:{:?}:{}:{:?}:{:?}:{:?}",
                column.name,
                column.ty,
                column.domain,
                column.not_null,
                column.default,
                column.generated,
                column.identity
            );
        }
        if let Some(table) = relation.table() {
            let _ = write!(
                fnv,
                "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{}",
                table.primary_key,
                table.primary_key_name,
                table.uniques,
                table.foreign_keys,
                table.checks,
                table.indexes,
                table.partition,
                table.row_security
            );
            for policy in &table.policies {
                let _ = write!(
                    fnv,
                    "{}{:?}{}{:?}{:?}{:?}",
                    policy.name, policy.command, policy.restrictive, policy.roles, policy.using, policy.check
                );
            }
        }
        if let Some(view) = relation.view() {
            let _ = write!(fnv, "{:?}{}{}", view.select, view.security_invoker, view.materialized);
            if view.security_barrier {
                let _ = write!(fnv, "barrier");
            }
        }
        let _ = writeln!(fnv, "{:?}{:?}", relation.comment, relation.grants);
    }
    for function in &schema.functions {
        let _ = writeln!(
            fnv,
            "{}.{}@{}{:?}{:?}{:?}{}{}{:?}{:?}{:?}",
            function.namespace,
            function.name,
            function.store,
            function.args,
            function.returns,
            function.volatility,
            function.security_definer,
            function.strict,
            function.body,
            function.comment,
            function.grants
        );
    }
    let mut enums: Vec<_> = schema.enums.iter().collect();
    enums.sort();
    let mut types: Vec<_> = schema.types.iter().collect();
    types.sort_by(|a, b| a.0.cmp(b.0));
    let mut sequences: Vec<_> = schema.sequences.iter().collect();
    sequences.sort_by(|a, b| a.0.cmp(b.0));
    let _ = write!(
        fnv,
        "{enums:?}{types:?}{sequences:?}{:?}{}",
        schema.namespaces, schema.has_grants
    );
    fnv.0
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
