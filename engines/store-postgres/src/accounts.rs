//! The tables of accounts in a database whose schema is somebody else's: looked for, made where the login role may, and otherwise
//! said with the SQL that makes them.

use crate::install;
use mainstay_model::Schema;
use mainstay_sql::postgres::{quote_identifier, quote_literal};
use std::collections::BTreeSet;
use tokio_postgres::Client;

/// What accounts are kept in.
pub struct AccountTables<'a> {
    /// The schema of Mainstay's own that holds them.
    pub namespace: &'a str,
    /// The tables as they are meant.
    pub schema: &'a Schema,
    /// The statements that make them in a schema that is there.
    pub ddl: &'a str,
}

/// What is there of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    Complete,
    /// Nothing, and the login role may make it.
    Absent,
}

/// What was asked of the database about them.
struct Found {
    role: String,
    database: String,
    namespace: bool,
    /// Whether it may make a schema.
    creates: bool,
    /// Whether it may make tables in the schema that is there.
    creates_tables: bool,
    outbox: bool,
    /// `table.column`
    columns: BTreeSet<String>,
    /// Tables that it may not both read and write, Mainstay's others among them: `"schema"."table"`.
    denied: Vec<String>,
}

impl AccountTables<'_> {
    /// Whether everything is there. `Err`: it is not and cannot be made, or it is there in part; with what to do about it.
    pub async fn standing(&self, client: &Client) -> Result<Standing, String> {
        let found = self.find(client).await?;
        let missing: Vec<String> = self.columns().filter(|c| !found.columns.contains(c)).collect();
        if found.columns.is_empty() || !found.outbox {
            let may = if found.namespace {
                found.creates_tables || !found.columns.is_empty()
            } else {
                found.creates
            };
            if !may || !found.outbox && !found.creates {
                return Err(self.script(&found));
            }
            return Ok(Standing::Absent);
        }
        if !missing.is_empty() {
            return Err(format!(
                "accounts: the schema \"{}\" of the database \"{}\" is there and lacks {}; restore it, or drop the schema if \
                 nobody's account is in it",
                self.namespace,
                found.database,
                missing.join(", ")
            ));
        }
        if !found.denied.is_empty() {
            return Err(format!(
                "accounts: the role \"{}\" may not read and write {}. Have their owner run:\n\n{}",
                found.role,
                found.denied.join(", "),
                self.grants(&found)
            ));
        }
        Ok(Standing::Complete)
    }

    /// Makes what is missing. The role that the connection logs in as, who then reads and writes them.
    ///
    /// # Errors
    /// As [`AccountTables::standing`].
    pub async fn make(&self, client: &mut Client) -> Result<String, String> {
        if self.standing(client).await? == Standing::Absent {
            let found = self.find(client).await?;
            let made = install::in_transaction(client, &self.missing(&found)).await;
            // Another instance may have been quicker.
            if let Err(error) = made
                && self.standing(client).await != Ok(Standing::Complete)
            {
                return Err(format!("accounts: their tables cannot be made: {error}"));
            }
        }
        Ok(self.find(client).await?.role)
    }

    /// Nothing that is there is touched.
    fn missing(&self, found: &Found) -> String {
        let mut sql = String::new();
        if !found.outbox {
            sql.push_str(install::TABLES);
        }
        let namespace = quote_identifier(self.namespace);
        if !found.namespace {
            sql.push_str(&format!("CREATE SCHEMA {namespace};\n"));
        }
        if found.columns.is_empty() {
            sql.push_str(self.ddl.trim_start());
            sql.push_str(&format!(
                "REVOKE ALL ON ALL TABLES IN SCHEMA {namespace} FROM PUBLIC;\n"
            ));
        }
        sql
    }

    fn script(&self, found: &Found) -> String {
        let role = quote_identifier(&found.role);
        let database = quote_identifier(&found.database);
        format!(
            "accounts need tables of Mainstay's own, and the role \"{}\" may not make them in the database \"{}\". Either let it, \
             this once:\n\nGRANT CREATE ON DATABASE {database} TO {role};\n\nor have the database's owner run:\n\n\
             BEGIN;\n{}{}COMMIT;\n",
            found.role,
            found.database,
            self.missing(found),
            self.grants(found),
        )
    }

    fn grants(&self, found: &Found) -> String {
        let role = quote_identifier(&found.role);
        let schemas = ["mainstay".to_owned(), quote_identifier(self.namespace)];
        let mut sql = String::new();
        for schema in schemas {
            sql.push_str(&format!(
                "GRANT USAGE ON SCHEMA {schema} TO {role};\n\
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};\n"
            ));
        }
        sql
    }

    fn columns(&self) -> impl Iterator<Item = String> + '_ {
        let tables = self.schema.relations.iter().filter(|r| *r.namespace == *self.namespace);
        tables.flat_map(|table| table.columns.iter().map(move |c| format!("{}.{}", table.name, c.name)))
    }

    async fn find(&self, client: &Client) -> Result<Found, String> {
        let name = quote_literal(self.namespace);
        // `has_schema_privilege` has no answer for a schema that is not there.
        let sql = format!(
            "SELECT current_user, current_database(), to_regnamespace({name}) IS NOT NULL, \
                    has_database_privilege(current_database(), 'CREATE'), \
                    coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = {name}), false), \
                    {there}, \
                    coalesce((SELECT string_agg(c.relname || '.' || a.attname, ',') FROM pg_class c \
                       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                      WHERE c.relnamespace = to_regnamespace({name}) AND c.relkind IN ('r','p')), ''), \
                    coalesce((SELECT string_agg(format('%I.%I', n.nspname, c.relname), ',') FROM pg_class c \
                       JOIN pg_namespace n ON n.oid = c.relnamespace \
                      WHERE n.nspname IN ({name}, 'mainstay') AND c.relkind IN ('r','p') \
                        AND NOT (has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') \
                             AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') \
                             AND has_table_privilege(c.oid, 'DELETE'))), '')",
            there = install::TABLES_ARE_THERE,
        );
        let row = install::row(client, &sql).await?;
        let row = row.ok_or_else(|| "the database does not say what it holds of accounts".to_owned())?;
        let cell = |at: usize| row.get(at).unwrap_or_default().to_owned();
        let list = |at: usize| {
            let cell = cell(at);
            cell.split(',')
                .filter(|n| !n.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        Ok(Found {
            role: cell(0),
            database: cell(1),
            namespace: cell(2) == "t",
            creates: cell(3) == "t",
            creates_tables: cell(4) == "t",
            outbox: cell(5) == "t",
            columns: list(6).into_iter().collect(),
            denied: list(7),
        })
    }
}
