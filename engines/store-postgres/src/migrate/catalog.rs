//! The catalogue's queries behind a [`Shape`]. All run with an empty search path, so that every name comes qualified.

mod programs;

use super::shape::{Acl, Column, Detail, Key, Kind, Object, Shape, Table};
use super::text::{Failure, literal};
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

/// Reads what lies in the schemas named. What an extension made, and what Mainstay's own schema brings along, is left out.
pub(crate) async fn read(client: &Client, schemas: &[String]) -> Result<Shape, Failure> {
    let list: Vec<String> = schemas.iter().map(|s| literal(s)).collect();
    let list = match list.is_empty() {
        true => "NULL".to_owned(),
        false => list.join(", "),
    };
    let mut reader = Reader {
        client,
        here: format!("(SELECT oid FROM pg_namespace WHERE nspname IN ({list}))"),
        shape: Shape::default(),
        by_oid: HashMap::new(),
    };
    client
        .batch_execute("SET LOCAL search_path = ''")
        .await
        .map_err(Failure::from)?;
    reader.schemas(&list).await?;
    reader.extensions().await?;
    reader.types().await?;
    reader.sequences().await?;
    reader.tables().await?;
    reader.columns().await?;
    reader.constraints().await?;
    reader.indexes().await?;
    reader.views().await?;
    reader.functions().await?;
    reader.policies().await?;
    reader.triggers().await?;
    reader.rules().await?;
    reader.dependencies().await?;
    Ok(reader.shape)
}

struct Reader<'c> {
    client: &'c Client,
    /// The subquery of the schemas' oids.
    here: String,
    shape: Shape,
    /// (catalogue, oid) → object; of `pg_class` also types of rows.
    by_oid: HashMap<(&'static str, u32), Key>,
}

/// A row with its columns by name.
struct Row(SimpleQueryRow);

impl Row {
    fn text(&self, column: &str) -> String {
        self.0.get(column).unwrap_or_default().to_owned()
    }

    fn maybe(&self, column: &str) -> Option<String> {
        self.0.get(column).map(str::to_owned)
    }

    fn yes(&self, column: &str) -> bool {
        self.0.get(column) == Some("t")
    }

    fn number<T: std::str::FromStr + Default>(&self, column: &str) -> T {
        self.0.get(column).and_then(|t| t.parse().ok()).unwrap_or_default()
    }

    fn json(&self, column: &str) -> Vec<serde_json::Value> {
        self.0
            .get(column)
            .and_then(|t| serde_json::from_str(t).ok())
            .unwrap_or_default()
    }

    fn strings(&self, column: &str) -> Vec<String> {
        let texts = self.json(column);
        texts.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }

    fn pairs(&self, column: &str) -> Vec<(String, String)> {
        let word = |v: Option<&serde_json::Value>| v.and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let pairs = self.json(column);
        pairs.iter().map(|p| (word(p.get(0)), word(p.get(1)))).collect()
    }

    fn acl(&self) -> Acl {
        let mut acl = Acl::new();
        for entry in self.json("acl") {
            let word = |i: usize| entry.get(i).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            let grantable = entry.get(2).and_then(serde_json::Value::as_bool).unwrap_or_default();
            *acl.entry((word(0), word(1))).or_default() |= grantable;
        }
        acl
    }
}

/// Privileges of everybody but the owner, as JSON.
fn acl(column: &str, kind: &str, owner: &str) -> String {
    let all = match kind {
        "" => column.to_owned(),
        kind => format!("coalesce({column}, acldefault('{kind}', {owner}))"),
    };
    format!(
        "(SELECT coalesce(json_agg(json_build_array(CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(g.rolname) END, \
         a.privilege_type, a.is_grantable)), '[]') FROM aclexplode({all}) a LEFT JOIN pg_roles g ON g.oid = a.grantee \
         WHERE a.grantee <> {owner} AND (a.grantee = 0 OR g.oid IS NOT NULL)) AS acl"
    )
}

fn no_extension(catalogue: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalogue}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"
    )
}

/// The bounds of an identity column's sequence `s`, each where it is not that of its type, and whether it begins anew.
const BOUNDS: &str = "CASE WHEN s.seqmin <> CASE WHEN s.seqincrement > 0 THEN 1 WHEN s.seqtypid = 'int2'::regtype THEN -32768 \
     WHEN s.seqtypid = 'int4'::regtype THEN -2147483648 ELSE -9223372036854775808 END THEN ' MINVALUE ' || s.seqmin END, \
     CASE WHEN s.seqmax <> CASE WHEN s.seqincrement < 0 THEN -1 WHEN s.seqtypid = 'int2'::regtype THEN 32767 \
     WHEN s.seqtypid = 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END THEN ' MAXVALUE ' || s.seqmax END, \
     CASE WHEN s.seqcycle THEN ' CYCLE' END";

const RELATION: &str = "format('%I.%I', n.nspname, c.relname)";

impl Reader<'_> {
    async fn rows(&self, sql: &str) -> Result<Vec<Row>, Failure> {
        let messages = self.client.simple_query(sql).await.map_err(Failure::from)?;
        let rows = messages.into_iter().filter_map(|m| match m {
            SimpleQueryMessage::Row(row) => Some(Row(row)),
            _ => None,
        });
        Ok(rows.collect())
    }

    fn add(&mut self, catalogue: &'static str, object: Object) {
        self.by_oid.insert((catalogue, object.oid), object.key());
        self.shape.objects.insert(object.key(), object);
    }

    async fn schemas(&mut self, list: &str) -> Result<(), Failure> {
        let acl = acl("n.nspacl", "n", "n.nspowner");
        let sql = format!(
            "SELECT n.oid, quote_ident(n.nspname) AS name, obj_description(n.oid, 'pg_namespace') AS comment, {acl} \
             FROM pg_namespace n WHERE n.nspname IN ({list})"
        );
        for row in self.rows(&sql).await? {
            let name = row.text("name");
            self.add(
                "pg_namespace",
                Object {
                    create: format!("CREATE SCHEMA IF NOT EXISTS {name}"),
                    acl: row.acl(),
                    comment: row.maybe("comment"),
                    ..object(Kind::Schema, &name, row.number("oid"), "SCHEMA", true)
                },
            );
        }
        Ok(())
    }

    async fn extensions(&mut self) -> Result<(), Failure> {
        for row in self
            .rows("SELECT oid, quote_ident(extname) AS name FROM pg_extension")
            .await?
        {
            let name = row.text("name");
            self.add(
                "pg_extension",
                Object {
                    create: format!("CREATE EXTENSION {name}"),
                    ..object(Kind::Extension, &name, row.number("oid"), "EXTENSION", false)
                },
            );
        }
        Ok(())
    }

    async fn types(&mut self) -> Result<(), Failure> {
        let acl = acl("t.typacl", "T", "t.typowner");
        let sql = format!(
            "SELECT t.oid, t.typtype, format('%I.%I', n.nspname, t.typname) AS name, obj_description(t.oid, 'pg_type') AS comment, {acl}, \
             (SELECT json_agg(quote_literal(e.enumlabel) ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels, \
             format_type(t.typbasetype, t.typtypmod) AS base, t.typnotnull, coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault) AS typdefault, \
             (SELECT json_agg(json_build_array(quote_ident(k.conname), pg_get_constraintdef(k.oid)) ORDER BY k.conname) \
                FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') AS checks, \
             (SELECT json_agg(json_build_array(quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum) \
                FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes, \
             (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid) AS subtype \
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid \
             WHERE t.typnamespace IN {} AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c')) AND {}",
            self.here,
            no_extension("pg_type", "t.oid")
        );
        for row in self.rows(&sql).await? {
            let name = row.text("name");
            let mut word = "TYPE";
            let (create, detail) = match row.text("typtype").as_str() {
                "e" => {
                    let labels = row.strings("labels");
                    let create = format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", "));
                    (create, Detail::Enum(labels))
                }
                "d" => {
                    word = "DOMAIN";
                    let checks: BTreeMap<String, String> = row.pairs("checks").into_iter().collect();
                    let (base, not_null, default) = (row.text("base"), row.yes("typnotnull"), row.maybe("typdefault"));
                    let mut create = format!("CREATE DOMAIN {name} AS {base}");
                    if let Some(default) = &default {
                        create.push_str(&format!(" DEFAULT {default}"));
                    }
                    if not_null {
                        create.push_str(" NOT NULL");
                    }
                    for (check, definition) in &checks {
                        create.push_str(&format!(" CONSTRAINT {check} {definition}"));
                    }
                    (
                        create,
                        Detail::Domain {
                            not_null,
                            default,
                            checks,
                            base,
                        },
                    )
                }
                "c" => {
                    let attributes = row.pairs("attributes");
                    let list: Vec<String> = attributes.iter().map(|(n, t)| format!("{n} {t}")).collect();
                    (
                        format!("CREATE TYPE {name} AS ({})", list.join(", ")),
                        Detail::Composite(attributes),
                    )
                }
                _ => (
                    format!("CREATE TYPE {name} AS RANGE (subtype = {})", row.text("subtype")),
                    Detail::None,
                ),
            };
            self.add(
                "pg_type",
                Object {
                    definition: create.clone(),
                    create,
                    acl_on: Some(format!("TYPE {name}")),
                    acl: row.acl(),
                    comment: row.maybe("comment"),
                    detail,
                    ..object(Kind::Type, &name, row.number("oid"), word, false)
                },
            );
        }
        Ok(())
    }

    async fn sequences(&mut self) -> Result<(), Failure> {
        let acl = acl("c.relacl", "s", "c.relowner");
        let sql = format!(
            "SELECT c.oid, {RELATION} AS name, obj_description(c.oid, 'pg_class') AS comment, {acl}, \
             format_type(s.seqtypid, NULL) AS type, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle, \
             (SELECT format('%I.%I.%I', tn.nspname, t.relname, a.attname) FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid \
                JOIN pg_namespace tn ON tn.oid = t.relnamespace JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a') AS owner \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid \
             WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND c.relnamespace IN {} AND {} AND NOT EXISTS (SELECT FROM pg_depend i \
             WHERE i.classid = 'pg_class'::regclass AND i.objid = c.oid AND i.deptype = 'i')",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let name = row.text("name");
            let cycle = if row.yes("seqcycle") { "CYCLE" } else { "NO CYCLE" };
            let definition = format!(
                "AS {} START WITH {} INCREMENT BY {} MINVALUE {} MAXVALUE {} CACHE {} {cycle}",
                row.text("type"),
                row.text("seqstart"),
                row.text("seqincrement"),
                row.text("seqmin"),
                row.text("seqmax"),
                row.text("seqcache")
            );
            self.add(
                "pg_class",
                Object {
                    create: format!("CREATE SEQUENCE {name} {definition}"),
                    definition,
                    acl: row.acl(),
                    comment: row.maybe("comment"),
                    detail: Detail::Sequence {
                        owner: row.maybe("owner"),
                    },
                    ..object(Kind::Sequence, &name, row.number("oid"), "SEQUENCE", true)
                },
            );
        }
        Ok(())
    }

    async fn tables(&mut self) -> Result<(), Failure> {
        let acl = acl("c.relacl", "r", "c.relowner");
        let sql = format!(
            "SELECT c.oid, c.reltype, {RELATION} AS name, obj_description(c.oid, 'pg_class') AS comment, {acl}, c.relpersistence, \
             c.relrowsecurity, c.relforcerowsecurity, c.relreplident, array_to_string(c.reloptions, ', ') AS options, \
             CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partkey, \
             CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS bound, \
             CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_relation_size(c.oid) END AS bytes, \
             (SELECT json_agg(format('%I.%I', pn.nspname, p.relname) ORDER BY i.inhseqno) FROM pg_inherits i JOIN pg_class p \
                ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid) AS parents \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.relnamespace IN {} AND {}",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let name = row.text("name");
            let table = Table {
                bytes: row.number("bytes"),
                partition_key: row.maybe("partkey"),
                bound: row.maybe("bound"),
                parents: row.strings("parents"),
                options: row.text("options"),
                unlogged: row.text("relpersistence") == "u",
                row_security: row.yes("relrowsecurity"),
                force_row_security: row.yes("relforcerowsecurity"),
                replica_identity: row.text("relreplident"),
            };
            let object = Object {
                acl: row.acl(),
                comment: row.maybe("comment"),
                detail: Detail::Table(table),
                ..object(Kind::Table, &name, row.number("oid"), "TABLE", true)
            };
            self.by_oid.insert(("pg_type", row.number("reltype")), object.key());
            self.add("pg_class", object);
        }
        Ok(())
    }

    async fn columns(&mut self) -> Result<(), Failure> {
        let acl = acl("at.attacl", "", "c.relowner");
        let sql = format!(
            "SELECT c.oid AS relation, c.relkind, {RELATION} AS table, quote_ident(at.attname) AS column, at.attnum, \
             format_type(at.atttypid, at.atttypmod) AS type, at.attnotnull, at.attidentity, at.attgenerated, \
             pg_get_expr(d.adbin, d.adrelid) AS expr, d.oid AS defoid, col_description(c.oid, at.attnum) AS comment, {acl}, \
             CASE WHEN at.attcollation <> t.typcollation AND at.attcollation <> 0 THEN (SELECT format('%I.%I', cn.nspname, co.collname) \
                FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = at.attcollation) END AS collation, \
             (SELECT format('START WITH %s INCREMENT BY %s%s%s%s', s.seqstart, s.seqincrement, {BOUNDS}) FROM pg_depend i JOIN pg_sequence s ON s.seqrelid = i.objid \
                WHERE i.classid = 'pg_class'::regclass AND i.refclassid = 'pg_class'::regclass AND i.refobjid = c.oid \
                AND i.refobjsubid = at.attnum AND i.deptype = 'i') AS identity_options \
             FROM pg_attribute at JOIN pg_class c ON c.oid = at.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_type t ON t.oid = at.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = at.attnum \
             WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relpersistence <> 't' AND c.relnamespace IN {} AND at.attnum > 0 AND NOT at.attisdropped \
             AND at.attislocal AND NOT c.relispartition AND {}",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let (table, name) = (row.text("table"), row.text("column"));
            let of_view = matches!(row.text("relkind").as_str(), "v" | "m");
            let full = format!("{table}.{name}");
            let expr = row.maybe("expr");
            let generated = row.text("attgenerated");
            let column = Column {
                name: name.clone(),
                number: row.number("attnum"),
                ty: row.text("type"),
                collation: row.maybe("collation"),
                not_null: row.yes("attnotnull"),
                identity: row.text("attidentity"),
                identity_options: row.text("identity_options"),
                generated: expr.clone().filter(|_| !generated.is_empty()),
                of_view,
            };
            // Columns have no oid: they belong to their table.
            let made = Object {
                table: Some(table.clone()),
                acl_on: Some(table.clone()),
                acl: row.acl(),
                comment: row.maybe("comment"),
                definition: if of_view { String::new() } else { column.definition() },
                detail: Detail::Column(column),
                ..object(Kind::Column, &full, row.number("relation"), "COLUMN", false)
            };
            self.shape.objects.insert(made.key(), made);
            if let (Some(expr), "", false) = (expr, generated.as_str(), of_view) {
                self.add(
                    "pg_attrdef",
                    Object {
                        table: Some(table.clone()),
                        create: format!("ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {expr}"),
                        definition: expr,
                        ..object(Kind::Default, &full, row.number("defoid"), "", false)
                    },
                );
            }
        }
        Ok(())
    }

    async fn constraints(&mut self) -> Result<(), Failure> {
        let sql = format!(
            "SELECT k.oid, {RELATION} AS table, quote_ident(k.conname) AS name, k.contype, k.convalidated, k.conindid, \
             pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment, \
             (SELECT format('%I.%I', tn.nspname, t.relname) FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace \
                WHERE t.oid = k.confrelid) AS target \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND c.relnamespace IN {} AND k.contype IN ('p', 'u', 'f', 'c', 'x') AND k.conparentid = 0 \
             AND k.conislocal AND k.coninhcount = 0 AND c.relpersistence <> 't' AND {}",
            self.here,
            no_extension("pg_class", "c.oid")
        );
        for row in self.rows(&sql).await? {
            let (table, name) = (row.text("table"), row.text("name"));
            let full = format!("{table}.{name}");
            let definition = row.text("definition");
            let definition = definition.trim_end_matches(" NOT VALID").to_owned();
            let made = Object {
                table: Some(table.clone()),
                create: format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"),
                subject: format!("CONSTRAINT {name} ON {table}"),
                comment: row.maybe("comment"),
                detail: Detail::Constraint {
                    kind: row.text("contype").chars().next().unwrap_or('c'),
                    valid: row.yes("convalidated"),
                    name,
                    target: row.maybe("target"),
                },
                definition,
                ..object(Kind::Constraint, &full, row.number("oid"), "", false)
            };
            if !matches!(row.text("contype").as_str(), "f" | "c") {
                self.by_oid.insert(("pg_class", row.number("conindid")), made.key());
            }
            self.add("pg_constraint", made);
        }
        Ok(())
    }

    async fn indexes(&mut self) -> Result<(), Failure> {
        let sql = format!(
            "SELECT c.oid, {RELATION} AS name, format('%I.%I', tn.nspname, t.relname) AS table, i.indisunique, i.indisvalid, \
             pg_get_indexdef(c.oid) AS definition, obj_description(c.oid, 'pg_class') AS comment \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
             WHERE t.relkind IN ('r', 'p', 'm') AND t.relpersistence <> 't' AND t.relnamespace IN {} AND NOT c.relispartition AND NOT EXISTS \
             (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')) AND {}",
            self.here,
            no_extension("pg_class", "t.oid")
        );
        for row in self.rows(&sql).await? {
            let definition = row.text("definition");
            self.add(
                "pg_class",
                Object {
                    table: row.maybe("table"),
                    // A partitioned table's index covers its partitions; the catalogue says so with one index each.
                    create: definition.replacen(" ON ONLY ", " ON ", 1),
                    definition,
                    comment: row.maybe("comment"),
                    detail: Detail::Index {
                        unique: row.yes("indisunique"),
                        valid: row.yes("indisvalid"),
                    },
                    ..object(Kind::Index, &row.text("name"), row.number("oid"), "INDEX", false)
                },
            );
        }
        Ok(())
    }

    /// Who needs whom, as far as an ALTER or DROP could be in its way.
    async fn dependencies(&mut self) -> Result<(), Failure> {
        let sql = "SELECT d.classid::regclass::text AS class, d.objid, d.refclassid::regclass::text AS refclass, d.refobjid, d.refobjsubid \
                   FROM pg_depend d WHERE d.deptype IN ('n', 'a') AND d.objid >= 16384 AND d.refobjid >= 16384";
        let class = |text: &str| match text.trim_start_matches("pg_catalog.") {
            "pg_class" => Some("pg_class"),
            "pg_proc" => Some("pg_proc"),
            "pg_type" => Some("pg_type"),
            "pg_rewrite" => Some("pg_rewrite"),
            "pg_policy" => Some("pg_policy"),
            "pg_trigger" => Some("pg_trigger"),
            "pg_attrdef" => Some("pg_attrdef"),
            "pg_constraint" => Some("pg_constraint"),
            _ => None,
        };
        for row in self.rows(sql).await? {
            let (Some(from), Some(to)) = (class(&row.text("class")), class(&row.text("refclass"))) else {
                continue;
            };
            let dependent = self.by_oid.get(&(from, row.number("objid")));
            let needed = self.by_oid.get(&(to, row.number("refobjid")));
            if let (Some(dependent), Some(needed)) = (dependent, needed)
                && dependent != needed
            {
                let edge = (dependent.clone(), needed.clone(), row.number("refobjsubid"));
                self.shape.dependencies.push(edge);
            }
        }
        self.shape.dependencies.sort();
        self.shape.dependencies.dedup();
        Ok(())
    }
}

fn object(kind: Kind, name: &str, oid: u32, word: &str, grantable: bool) -> Object {
    let subject = format!("{word} {name}");
    Object {
        kind,
        name: name.to_owned(),
        table: None,
        oid,
        definition: String::new(),
        create: String::new(),
        acl_on: grantable.then(|| subject.clone()),
        subject,
        comment: None,
        acl: Acl::new(),
        detail: Detail::None,
    }
}

impl Column {
    /// Everything but the default, as it stands behind the name.
    pub(crate) fn definition(&self) -> String {
        let mut text = self.ty.clone();
        if let Some(collation) = &self.collation {
            text.push_str(&format!(" COLLATE {collation}"));
        }
        if let Some(generated) = &self.generated {
            text.push_str(&format!(" GENERATED ALWAYS AS ({generated}) STORED"));
        }
        match self.identity.as_str() {
            "a" => text.push_str(&format!(" GENERATED ALWAYS AS IDENTITY ({})", self.identity_options)),
            "d" => text.push_str(&format!(
                " GENERATED BY DEFAULT AS IDENTITY ({})",
                self.identity_options
            )),
            _ => {}
        }
        if self.not_null {
            text.push_str(" NOT NULL");
        }
        text
    }
}
