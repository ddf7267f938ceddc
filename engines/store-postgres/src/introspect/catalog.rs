//! The statements that read the catalogs, and their rows as they come.
//!
//! `pg_catalog` is always searched first, so that bare names are the catalogs' own; the empty search path makes everything else come
//! qualified. Nothing here is newer than PostgreSQL 14: what later versions added is read by way of `to_jsonb`.

use super::found::{
    CastRow, ColumnRow, ConstraintRow, Details, Found, FunctionRow, IndexRow, NamespaceRow, PolicyRow, RelationRow,
    RoleRow, TypeRow,
};
use super::node_tree::shown;
use super::rows::Fields;
use super::{Options, Server, failed, watch};
use mainstay_model::Error;
use mainstay_sql::postgres::quote_literal;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

/// Schemas that are somebody's own.
const OWN_SCHEMAS: &str = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";

impl Found {
    /// The served schemas in order. Errors: 3F000.
    pub fn served(&self, options: &Options) -> Result<Vec<(u32, Arc<str>)>, Error> {
        wanted(options)
            .iter()
            .map(|wanted| {
                if *wanted == "mainstay" || *wanted == "mainstay_auth" {
                    return Err(Error::new(
                        "3F000",
                        format!("`[api] schemas` names `{wanted}`, which holds what Mainstay keeps for itself and is never served"),
                    ));
                }
                let found = self.namespaces.iter().find(|n| *n.name == **wanted);
                found.map(|n| (n.oid, n.name.clone())).ok_or_else(|| {
                    let mut there: Vec<&str> = self.namespaces.iter().map(|n| &*n.name).collect();
                    there.sort_unstable();
                    Error::new(
                        "3F000",
                        format!(
                            "there is no schema `{wanted}` in the database `{}`",
                            self.server.database
                        ),
                    )
                    .hint(format!("`[api] schemas` may name: {}", there.join(", ")))
                })
            })
            .collect()
    }
}

fn wanted(options: &Options) -> Vec<&str> {
    if options.schemas.is_empty() {
        vec!["public"]
    } else {
        options.schemas.iter().map(String::as_str).collect()
    }
}

/// The first round trip: opens the snapshot and finds what is there.
pub(super) async fn find(client: &Client, options: &Options) -> Result<Found, Error> {
    let literals = |names: &[&str]| match names {
        [] => "NULL".to_owned(),
        names => names.iter().map(|n| quote_literal(n)).collect::<Vec<_>>().join(","),
    };
    let extra: Vec<&str> = options.extra_search_path.iter().map(String::as_str).collect();
    let served = format!(
        "(SELECT oid FROM pg_namespace WHERE nspname IN ({}))",
        literals(&wanted(options))
    );
    let searched = format!("(SELECT oid FROM pg_namespace WHERE nspname IN ({}))", literals(&extra));
    let statements = [
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned(),
        // Compiling a statement that runs once costs more than running it.
        "SET LOCAL jit = off".to_owned(),
        "SET LOCAL search_path = ''".to_owned(),
        "SELECT current_setting('server_version_num'), current_user, current_database()".to_owned(),
        format!(
            "SELECT n.oid, n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner))::text,
                    (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r','v','m','f','p')
                                                       AND NOT c.relispartition)
               FROM pg_namespace n WHERE {OWN_SCHEMAS}"
        ),
        "SELECT oid, rolname, rolsuper, rolbypassrls, rolcanlogin,
                CASE WHEN current_setting('server_version_num')::int >= 160000
                     THEN pg_has_role(current_user, oid, 'SET') ELSE pg_has_role(current_user, oid, 'MEMBER') END
           FROM pg_roles ORDER BY rolname"
            .to_owned(),
        "SELECT m.member, m.roleid FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
          WHERE coalesce((to_jsonb(m) ->> 'inherit_option')::bool, r.rolinherit)"
            .to_owned(),
        format!(
            "SELECT t.oid, t.typname, t.typnamespace, t.typtype, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END,
                    t.typbasetype, t.typtypmod, t.typnotnull, t.typrelid,
                    EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'),
                    CASE WHEN n.nspname = 'pg_catalog' THEN format_type(t.oid, NULL) END, t.typdefault
               FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
              WHERE (n.nspname = 'pg_catalog' AND t.typrelid = 0) OR ({OWN_SCHEMAS})"
        ),
        "SELECT enumtypid, enumlabel FROM pg_enum ORDER BY enumtypid, enumsortorder".to_owned(),
        functions(&served, &searched),
        reach(&served),
        format!(
            "SELECT c.relnamespace, c.relname, p.relname
               FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_class p ON p.oid = i.inhparent
              WHERE c.relispartition AND c.relkind IN ('r','p','f') AND c.relnamespace IN {served} ORDER BY c.relname"
        ),
        "SELECT c.castsource, c.casttarget, n.nspname, p.proname
           FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc JOIN pg_namespace n ON n.oid = p.pronamespace
           JOIN pg_type s ON s.oid = c.castsource JOIN pg_type t ON t.oid = c.casttarget
          WHERE c.castcontext = 'i' AND c.castmethod = 'f'
            AND ((s.typtype = 'd' AND t.typname IN ('json','text')) OR (t.typtype = 'd' AND s.typname IN ('json','text')))"
            .to_owned(),
        watch::DIGEST.to_owned(),
    ];
    let mut results = ask(client, &statements).await?;
    // The first three say nothing.
    let mut next = results.drain(3..);
    let mut rows = || next.next().unwrap_or_default();
    let server = one(&rows(), |f| {
        Ok(Server {
            version: f.number()?,
            user: f.shared()?,
            database: f.shared()?,
        })
    })?;
    let namespaces = all(&rows(), |f| {
        Ok(NamespaceRow {
            oid: f.number()?,
            name: f.shared()?,
            acl: f.text()?.to_owned(),
            relations: f.number()?,
        })
    })?;
    let roles = all(&rows(), |f| {
        Ok(RoleRow {
            oid: f.number()?,
            name: f.shared()?,
            superuser: f.bool(),
            bypasses_rls: f.bool(),
            can_login: f.bool(),
            settable: f.bool(),
        })
    })?;
    let members = all(&rows(), |f| Ok((f.number()?, f.number()?)))?;
    let types = all(&rows(), |f| {
        Ok(TypeRow {
            oid: f.number()?,
            name: f.shared()?,
            namespace: f.number()?,
            kind: f.letter(),
            element: f.number()?,
            base: f.number()?,
            base_modifier: f.number()?,
            not_null: f.bool(),
            relation: f.number()?,
            composite: f.bool(),
            written: f.maybe().map(Arc::from),
            default: f.owned(),
        })
    })?;
    let labels = all(&rows(), |f| Ok((f.number()?, f.shared()?)))?;
    let functions = all(&rows(), function)?;
    let reach = all(&rows(), |f| f.number())?;
    let partitions = all(&rows(), |f| {
        Ok((f.number()?, f.text()?.to_owned(), f.text()?.to_owned()))
    })?;
    let casts = all(&rows(), |f| {
        Ok(CastRow {
            source: f.number()?,
            target: f.number()?,
            namespace: f.shared()?,
            name: f.shared()?,
        })
    })?;
    let digest = one(&rows(), |f| Ok(f.number::<i64>()? as u64))?;
    Ok(Found {
        server,
        namespaces,
        roles,
        members,
        types,
        labels,
        functions,
        reach,
        partitions,
        casts,
        digest,
    })
}

/// Functions of the served schemas, of those searched besides the ones that take a row, and what makes GeoJSON wherever it is.
fn functions(served: &str, searched: &str) -> String {
    format!(
        "SELECT p.pronamespace, p.proname, p.prokind, p.proretset, p.prorettype, p.provolatile, p.proisstrict, p.prosecdef,
                p.provariadic <> 0, p.prorows = 1, p.pronargdefaults, p.proargtypes::text, p.proallargtypes::text,
                p.proargmodes::text, p.proargnames::text,
                CASE WHEN p.pronargdefaults > 0 THEN (
                  SELECT array_agg(pg_get_function_arg_default(p.oid, n) ORDER BY n)
                    FROM generate_series(1, coalesce(cardinality(p.proallargtypes), p.pronargs)) n)::text END,
                p.proconfig::text, d.description, coalesce(p.proacl, acldefault('f', p.proowner))::text, e.extname
           FROM pg_proc p
           LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass AND d.objsubid = 0
           LEFT JOIN pg_depend x ON x.classid = 'pg_proc'::regclass AND x.objid = p.oid AND x.deptype = 'e'
                                AND x.refclassid = 'pg_extension'::regclass
           LEFT JOIN pg_extension e ON e.oid = x.refobjid
          WHERE (p.pronamespace IN {served}
             OR (p.pronamespace IN {searched} AND p.pronargs = 1
                 AND EXISTS (SELECT FROM pg_type t WHERE t.oid = p.proargtypes[0] AND t.typrelid <> 0))
             OR (p.proname = 'st_asgeojson' AND p.proargtypes[0] = 'record'::regtype))
            -- What a type brings along, such as a range's constructors, is nobody's function.
            AND NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')
            -- Ours is for the database's own functions: who may call the API may not publish for that.
            AND NOT (p.proname = 'emit' AND p.prosrc LIKE '%INSERT INTO mainstay.outbox %')
          ORDER BY p.pronamespace, p.proname, p.pronargs, p.oid"
    )
}

/// The served relations, the rows that functions take and give, and what views among them are made of.
fn reach(served: &str) -> String {
    format!(
        "WITH RECURSIVE seeds AS (
           SELECT oid FROM pg_class
            WHERE relkind IN ('r','v','m','f','p') AND NOT relispartition AND relnamespace IN {served}
           UNION
           SELECT c.oid
             FROM pg_proc p CROSS JOIN LATERAL unnest(p.proargtypes::oid[] || p.prorettype) AS a(ty)
             JOIN pg_type t ON t.oid = a.ty JOIN pg_class c ON c.oid = t.typrelid
            WHERE p.pronamespace IN {served} AND c.relkind IN ('r','v','m','f','p') AND NOT c.relispartition
         ), reach AS (
           SELECT oid FROM seeds
           UNION
           SELECT d.refobjid
             FROM reach r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1'
             JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                             AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
         )
         SELECT c.oid FROM reach r JOIN pg_class c ON c.oid = r.oid
           JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r','v','m','f','p') AND NOT c.relispartition AND {OWN_SCHEMAS} ORDER BY c.oid"
    )
}

fn function(f: &mut Fields<'_>) -> Result<FunctionRow, Error> {
    Ok(FunctionRow {
        namespace: f.number()?,
        name: f.shared()?,
        kind: f.letter(),
        returns_set: f.bool(),
        returns: f.number()?,
        volatility: f.letter(),
        strict: f.bool(),
        security_definer: f.bool(),
        variadic: f.bool(),
        one_row: f.bool(),
        defaults: f.number()?,
        inputs: f.numbers()?,
        all: f.numbers()?,
        modes: f.texts(),
        names: f.texts(),
        default_texts: f.texts(),
        settings: f.texts(),
        comment: f.owned(),
        acl: f.text()?.to_owned(),
        extension: f.owned(),
    })
}

/// The second round trip: the detail, and the snapshot's end.
pub(super) async fn details(client: &Client, found: &Found) -> Result<Details, Error> {
    let oids: Vec<String> = found.reach.iter().map(u32::to_string).collect();
    // Composite types have columns as relations have.
    let composites = found.types.iter().filter(|t| t.composite);
    let rows: Vec<String> = composites.map(|t| t.relation.to_string()).collect();
    let reach = format!("'{{{}}}'::oid[]", oids.join(","));
    let rows = format!("'{{{}}}'::oid[]", rows.join(","));
    let acls: Vec<String> = {
        let mut lists: Vec<&str> = found.namespaces.iter().map(|n| &*n.acl).collect();
        lists.extend(found.functions.iter().map(|f| &*f.acl));
        lists.sort_unstable();
        lists.dedup();
        lists.into_iter().map(|l| format!("({})", quote_literal(l))).collect()
    };
    let statements = [
        // How many rows come of so many numbers is guessed too low; a pass over a catalog is always cheap.
        "SET LOCAL enable_nestloop = off".to_owned(),
        format!(
            "SELECT c.oid, c.relnamespace, c.relname, c.relkind, d.description,
                    coalesce(c.relacl, acldefault('r', c.relowner))::text, c.relrowsecurity,
                    coalesce(c.reloptions::text ~* 'security_invoker=(true|on|yes|1)', false),
                    CASE WHEN c.relkind = 'v' OR EXISTS (
                           SELECT FROM pg_foreign_table t JOIN pg_foreign_server s ON s.oid = t.ftserver
                             JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
                            WHERE t.ftrelid = c.oid AND w.fdwhandler <> 0)
                         THEN pg_relation_is_updatable(c.oid, true) WHEN c.relkind IN ('m','f') THEN 0 END,
                    CASE WHEN c.relkind = 'v' THEN pg_relation_is_updatable(c.oid, false) END,
                    p.partstrat, p.partattrs::text
               FROM unnest({reach}) AS r(oid) JOIN pg_class c ON c.oid = r.oid
               LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
               LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid"
        ),
        format!(
            "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attidentity, a.attgenerated <> '',
                    pg_get_expr(e.adbin, e.adrelid), d.description, a.attacl::text
               FROM unnest({reach} || {rows}) AS r(oid) JOIN pg_attribute a ON a.attrelid = r.oid
               LEFT JOIN pg_attrdef e ON a.atthasdef AND e.adrelid = a.attrelid AND e.adnum = a.attnum
               LEFT JOIN pg_description d ON d.objoid = a.attrelid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
              WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum"
        ),
        format!(
            "SELECT c.conrelid, c.contype, c.conname, c.conkey::text, c.confrelid, c.confkey::text, c.confdeltype, c.confupdtype,
                    c.condeferred,
                    c.contype = 'u' AND coalesce((SELECT to_jsonb(i) ->> 'indnullsnotdistinct' FROM pg_index i
                                                   WHERE i.indexrelid = c.conindid) = 'true', false)
               FROM unnest({reach}) AS r(oid) JOIN pg_constraint c ON c.conrelid = r.oid
              WHERE c.contype IN ('p','u') OR (c.contype = 'f' AND c.conparentid = 0) ORDER BY c.conrelid, c.conname"
        ),
        format!(
            "SELECT i.indrelid, c.relname, i.indisunique, (i.indkey::int2[])[0:i.indnkeyatts - 1]::text, i.indoption::int2[]::text,
                    m.amname, pg_get_expr(i.indpred, i.indrelid)
               FROM unnest({reach}) AS r(oid) JOIN pg_index i ON i.indrelid = r.oid
               JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
              WHERE i.indisvalid AND i.indislive AND i.indexprs IS NULL
                AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p','u'))
              ORDER BY i.indrelid, c.relname"
        ),
        format!(
            "SELECT p.polrelid, p.polname, p.polcmd, p.polpermissive, p.polroles::text, pg_get_expr(p.polqual, p.polrelid),
                    pg_get_expr(p.polwithcheck, p.polrelid)
               FROM unnest({reach}) AS r(oid) JOIN pg_policy p ON p.polrelid = r.oid ORDER BY p.polrelid, p.polname"
        ),
        format!(
            "SELECT w.ev_class, w.ev_action::text FROM unnest({reach}) AS r(oid) JOIN pg_class c ON c.oid = r.oid
               JOIN pg_rewrite w ON w.ev_class = c.oid AND w.ev_type = '1' WHERE c.relkind IN ('v','m')"
        ),
        format!(
            "WITH lists AS (
               SELECT coalesce(c.relacl, acldefault('r', c.relowner))::text AS list
                 FROM unnest({reach}) AS r(oid) JOIN pg_class c ON c.oid = r.oid
               UNION SELECT a.attacl::text FROM unnest({reach}) AS r(oid) JOIN pg_attribute a ON a.attrelid = r.oid
                      WHERE a.attacl IS NOT NULL
               UNION VALUES {}
             )
             SELECT l.list, x.grantee, x.privilege_type FROM lists l CROSS JOIN LATERAL aclexplode(l.list::aclitem[]) x",
            acls.join(",")
        ),
        "COMMIT".to_owned(),
    ];
    let results = ask(client, &statements).await?;
    let mut next = results.into_iter().skip(1);
    let mut rows = || next.next().unwrap_or_default();
    Ok(Details {
        relations: all(&rows(), relation)?,
        columns: all(&rows(), |f| {
            Ok(ColumnRow {
                relation: f.number()?,
                number: f.number()?,
                name: f.shared()?,
                ty: f.number()?,
                modifier: f.number()?,
                not_null: f.bool(),
                identity: f.letter(),
                generated: f.bool(),
                default: f.owned(),
                comment: f.owned(),
                acl: f.owned(),
            })
        })?,
        constraints: all(&rows(), |f| {
            Ok(ConstraintRow {
                relation: f.number()?,
                kind: f.letter(),
                name: f.shared()?,
                columns: f.numbers()?,
                target: f.number()?,
                target_columns: f.numbers()?,
                on_delete: f.letter(),
                on_update: f.letter(),
                deferred: f.bool(),
                nulls_not_distinct: f.bool(),
            })
        })?,
        indexes: all(&rows(), |f| {
            Ok(IndexRow {
                relation: f.number()?,
                name: f.shared()?,
                unique: f.bool(),
                columns: bounded(f)?,
                flags: bounded(f)?,
                method: f.shared()?,
                filter: f.owned(),
            })
        })?,
        policies: all(&rows(), |f| {
            Ok(PolicyRow {
                relation: f.number()?,
                name: f.shared()?,
                command: f.letter(),
                permissive: f.bool(),
                roles: f.numbers()?,
                using: f.owned(),
                check: f.owned(),
            })
        })?,
        views: all(&rows(), |f| Ok((f.number()?, shown(f.text()?))))?
            .into_iter()
            .collect(),
        acls: {
            let mut acls: HashMap<String, Vec<(u32, String)>> = HashMap::new();
            for (list, grantee, privilege) in all(&rows(), |f| {
                Ok((f.text()?.to_owned(), f.number()?, f.text()?.to_owned()))
            })? {
                acls.entry(list).or_default().push((grantee, privilege));
            }
            acls
        },
    })
}

fn relation(f: &mut Fields<'_>) -> Result<RelationRow, Error> {
    Ok(RelationRow {
        oid: f.number()?,
        namespace: f.number()?,
        name: f.shared()?,
        kind: f.letter(),
        comment: f.owned(),
        acl: f.text()?.to_owned(),
        row_security: f.bool(),
        security_invoker: f.bool(),
        writes: f.maybe().and_then(|n| n.parse().ok()),
        writes_itself: f.maybe().and_then(|n| n.parse().ok()),
        partition: {
            let strategy = f.letter();
            let columns = f.numbers()?;
            (strategy != b' ').then_some((strategy, columns))
        },
    })
}

/// An array whose first element is the zeroth says so in front: `[0:1]={1,2}`.
fn bounded(f: &mut Fields<'_>) -> Result<Vec<i16>, Error> {
    let text = f.text()?;
    let inner = text.rsplit_once('=').map_or(text, |(_, inner)| inner);
    let inner = inner.trim_start_matches('{').trim_end_matches('}');
    inner
        .split(',')
        .filter(|n| !n.is_empty())
        .map(|n| {
            n.parse()
                .map_err(|_| Error::internal(format!("the catalogs hold `{text}` as an index's columns")))
        })
        .collect()
}

/// Sends statements as one message; the rows of each.
async fn ask(client: &Client, statements: &[String]) -> Result<Vec<Vec<SimpleQueryRow>>, Error> {
    let messages = client
        .simple_query(&statements.join(";\n"))
        .await
        .map_err(|e| failed(&e))?;
    let mut results = Vec::with_capacity(statements.len());
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => rows.push(row),
            SimpleQueryMessage::CommandComplete(_) => results.push(std::mem::take(&mut rows)),
            _ => {}
        }
    }
    if results.len() == statements.len() {
        Ok(results)
    } else {
        Err(Error::internal(format!(
            "{} statements to the catalogs had {} answers",
            statements.len(),
            results.len()
        )))
    }
}

fn all<T>(rows: &[SimpleQueryRow], read: impl Fn(&mut Fields<'_>) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    rows.iter().map(|row| read(&mut Fields::of(row))).collect()
}

fn one<T>(rows: &[SimpleQueryRow], read: impl Fn(&mut Fields<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("the catalogs gave no row"))?;
    read(&mut Fields::of(row))
}
