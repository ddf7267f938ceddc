//! What is text in the catalogue: views, functions, policies, triggers and rules.

use super::{RELATION, Reader, acl, no_extension, object};
use crate::migrate::shape::{Detail, Kind, Object};
use crate::migrate::text::Failure;

impl Reader<'_> {
    pub(super) async fn views(&mut self) -> Result<(), Failure> {
        let acl = acl("c.relacl", "r", "c.relowner");
        let sql = format!(
            "SELECT c.oid, c.reltype, {RELATION} AS name, c.relkind, obj_description(c.oid, 'pg_class') AS comment, {acl}, \
             pg_get_viewdef(c.oid) AS query, array_to_string(c.reloptions, ', ') AS options, r.oid AS rule, \
             (SELECT json_agg(json_build_array(quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum) \
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN' \
             WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't' AND c.relnamespace IN {} AND {}",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let name = row.text("name");
            let materialized = row.text("relkind") == "m";
            let (kind, word, create) = match materialized {
                true => (Kind::MaterializedView, "MATERIALIZED VIEW", "CREATE MATERIALIZED VIEW"),
                false => (Kind::View, "VIEW", "CREATE VIEW"),
            };
            let options = row.text("options");
            let columns = row.pairs("columns");
            let names: Vec<&str> = columns.iter().map(|(n, _)| n.as_str()).collect();
            let with = match options.as_str() {
                "" => String::new(),
                options => format!(" WITH ({options})"),
            };
            let query = row.text("query");
            let query = query.trim().trim_end_matches(';');
            let made = Object {
                definition: format!("({}){with} AS {query}", names.join(", ")),
                create: format!("{create} {name} ({}){with} AS\n{query}", names.join(", ")),
                acl_on: Some(name.clone()),
                acl: row.acl(),
                comment: row.maybe("comment"),
                detail: Detail::View { columns, options },
                ..object(kind, &name, row.number("oid"), word, false)
            };
            self.by_oid.insert(("pg_type", row.number("reltype")), made.key());
            self.by_oid.insert(("pg_rewrite", row.number("rule")), made.key());
            self.add("pg_class", made);
        }
        Ok(())
    }

    pub(super) async fn functions(&mut self) -> Result<(), Failure> {
        let acl = acl("p.proacl", "f", "p.proowner");
        let bound = "(to_jsonb(p) ->> 'prosqlbody') IS NOT NULL";
        let sql = format!(
            "SELECT p.oid, p.prokind, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name, \
             format('%I.%I(%s)', n.nspname, p.proname, coalesce((SELECT string_agg(format_type(x.t, NULL), ', ' ORDER BY x.i) \
                FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY x (t, i)), '')) AS called, \
             pg_get_functiondef(p.oid) AS definition, {bound} AS bound, \
             concat(p.prokind, ' (', pg_get_function_arguments(p.oid), ') ', pg_get_function_result(p.oid)) AS signature, \
             obj_description(p.oid, 'pg_proc') AS comment, {acl} \
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
             WHERE p.prokind IN ('f', 'p', 'w') AND p.pronamespace IN {} AND {}",
            self.here,
            no_extension("pg_proc", "p.oid")
        );
        for row in self.rows(&sql).await? {
            let called = row.text("called");
            let word = match row.text("prokind").as_str() {
                "p" => "PROCEDURE",
                _ => "FUNCTION",
            };
            let definition = row.text("definition").trim().to_owned();
            self.add(
                "pg_proc",
                Object {
                    create: definition.clone(),
                    definition,
                    comment: row.maybe("comment"),
                    acl_on: Some(format!("{word} {called}")),
                    acl: row.acl(),
                    detail: Detail::Function {
                        bound: row.yes("bound"),
                        signature: row.text("signature"),
                    },
                    ..object(Kind::Function, &called, row.number("oid"), word, false)
                },
            );
        }
        Ok(())
    }

    pub(super) async fn policies(&mut self) -> Result<(), Failure> {
        let sql = format!(
            "SELECT p.oid, {RELATION} AS table, quote_ident(p.polname) AS name, p.polcmd, p.polpermissive, \
             pg_get_expr(p.polqual, p.polrelid) AS qual, pg_get_expr(p.polwithcheck, p.polrelid) AS withcheck, \
             obj_description(p.oid, 'pg_policy') AS comment, \
             (SELECT json_agg(CASE WHEN r.i = 0 THEN 'PUBLIC' ELSE (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = r.i) END \
                ORDER BY r.i = 0, (SELECT rolname FROM pg_roles WHERE oid = r.i)) FROM unnest(p.polroles) r (i)) AS roles \
             FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relnamespace IN {} AND {}",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let (table, name) = (row.text("table"), row.text("name"));
            let command = match row.text("polcmd").as_str() {
                "r" => "SELECT",
                "a" => "INSERT",
                "w" => "UPDATE",
                "d" => "DELETE",
                _ => "ALL",
            };
            let mut definition = String::new();
            if !row.yes("polpermissive") {
                definition.push_str("AS RESTRICTIVE ");
            }
            definition.push_str(&format!("FOR {command} TO {}", row.strings("roles").join(", ")));
            if let Some(qual) = row.maybe("qual") {
                definition.push_str(&format!(" USING ({qual})"));
            }
            if let Some(check) = row.maybe("withcheck") {
                definition.push_str(&format!(" WITH CHECK ({check})"));
            }
            self.add(
                "pg_policy",
                Object {
                    create: format!("CREATE POLICY {name} ON {table} {definition}"),
                    definition,
                    subject: format!("POLICY {name} ON {table}"),
                    comment: row.maybe("comment"),
                    table: Some(table.clone()),
                    ..object(Kind::Policy, &format!("{table}.{name}"), row.number("oid"), "", false)
                },
            );
        }
        Ok(())
    }

    pub(super) async fn triggers(&mut self) -> Result<(), Failure> {
        // Change capture is Mainstay's own: its triggers call functions of its schema.
        let sql = format!(
            "SELECT t.oid, {RELATION} AS table, quote_ident(t.tgname) AS name, pg_get_triggerdef(t.oid) AS definition, t.tgenabled, \
             obj_description(t.oid, 'pg_trigger') AS comment \
             FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace \
             WHERE c.relnamespace IN {} AND NOT t.tgisinternal AND t.tgparentid = 0 AND pn.nspname <> 'mainstay' AND {}",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let (table, name) = (row.text("table"), row.text("name"));
            let mut definition = row.text("definition");
            let enable = match row.text("tgenabled").as_str() {
                "D" => Some("DISABLE"),
                "R" => Some("ENABLE REPLICA"),
                "A" => Some("ENABLE ALWAYS"),
                _ => None,
            };
            if let Some(enable) = enable {
                definition.push_str(&format!(";\nALTER TABLE {table} {enable} TRIGGER {name}"));
            }
            self.add(
                "pg_trigger",
                Object {
                    create: definition.clone(),
                    definition,
                    subject: format!("TRIGGER {name} ON {table}"),
                    comment: row.maybe("comment"),
                    table: Some(table.clone()),
                    ..object(Kind::Trigger, &format!("{table}.{name}"), row.number("oid"), "", false)
                },
            );
        }
        Ok(())
    }

    pub(super) async fn rules(&mut self) -> Result<(), Failure> {
        let sql = format!(
            "SELECT r.oid, {RELATION} AS table, quote_ident(r.rulename) AS name, pg_get_ruledef(r.oid) AS definition \
             FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relnamespace IN {} AND r.rulename <> '_RETURN' AND {}",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let (table, name) = (row.text("table"), row.text("name"));
            let definition = row.text("definition").trim_end_matches(';').to_owned();
            self.add(
                "pg_rewrite",
                Object {
                    create: definition.clone(),
                    definition,
                    subject: format!("RULE {name} ON {table}"),
                    table: Some(table.clone()),
                    ..object(Kind::Rule, &format!("{table}.{name}"), row.number("oid"), "", false)
                },
            );
        }
        Ok(())
    }
}
