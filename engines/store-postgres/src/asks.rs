//! What a database's own code may do within somebody's request, as far as it decides what is sent: whether it looks at the request
//! itself, whether it says what is answered, whether it changes settings under those who travel with it, and whether every insertion
//! reaches the log.

use crate::install::row;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_postgres::Client;

/// Functions, policies, views, defaults, checks, triggers' conditions: all that runs within somebody's request and was written by
/// somebody. A name that is not written out may be any name. What is compiled, such as functions in C, is not looked into; of other
/// languages than these everything is possible.
const ASKS: &str = "WITH texts (language, text) AS (
  SELECT l.lanname, coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE l.lanname NOT IN ('c', 'internal')
      AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  UNION ALL SELECT 'sql', pg_catalog.pg_get_expr(polqual, polrelid) FROM pg_catalog.pg_policy
  UNION ALL SELECT 'sql', pg_catalog.pg_get_expr(polwithcheck, polrelid) FROM pg_catalog.pg_policy
  UNION ALL SELECT 'sql', pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef
  UNION ALL SELECT 'sql', pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE contype = 'c'
  UNION ALL SELECT 'sql', pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger WHERE tgqual IS NOT NULL
  UNION ALL SELECT 'sql', pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
    WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
) SELECT
  EXISTS (SELECT FROM texts WHERE text ~ 'request\\.(?!jwt\\.)' OR text ~* 'current_setting\"?\\s*\\(\\s*[^''[:space:]]'),
  EXISTS (SELECT FROM texts WHERE text ~ 'response\\.' OR text ~* 'set_config\"?\\s*\\(\\s*[^''[:space:]]'),
  EXISTS (SELECT FROM texts WHERE language NOT IN ('sql', 'plpgsql') OR text ~* 'set_config\"?\\s*\\(\\s*(?!''response\\.)'
    OR text ~* '\\mreset\\M|\\mset\\s+(local|session|role)\\M|(^|;|\\m(begin|then|else|loop))\\s*set\\M'
    OR (language = 'plpgsql' AND text ~* '\\mexecute\\M')),
  EXISTS (SELECT FROM pg_catalog.pg_class WHERE relpersistence = 'u' OR (relkind = 'f' AND relispartition))";

/// The answers. What cannot be found out is taken for yes.
#[derive(Debug)]
pub(crate) struct Asks {
    /// Something reads `request.method`, `request.path`, `request.headers` or `request.cookies`: four settings of every transaction, which
    /// are not sent, nor gathered, where nothing does.
    pub requests: AtomicBool,
    /// Something sets `response.status` or `response.headers`; where nothing does, nobody asks for them after a write.
    pub responses: AtomicBool,
    /// Something may set a role, claims or another setting, other than those of the response: the next statement of the same
    /// transaction would see it.
    pub settings: AtomicBool,
    /// There are tables that are not logged, or partitions that lie elsewhere: an insertion need not wait for the log.
    pub unlogged: AtomicBool,
}

impl Default for Asks {
    fn default() -> Asks {
        Asks {
            requests: AtomicBool::new(true),
            responses: AtomicBool::new(true),
            settings: AtomicBool::new(true),
            unlogged: AtomicBool::new(true),
        }
    }
}

impl Asks {
    /// Asks the database.
    pub async fn ask(&self, client: &Client) {
        let found = row(client, ASKS).await.ok().flatten();
        for (at, answer) in self.all().into_iter().enumerate() {
            let is = found.as_ref().is_none_or(|row| row.get(at) != Some("f"));
            answer.store(is, Ordering::Relaxed);
        }
    }

    /// It was not asked: anything may be.
    pub fn forget(&self) {
        for answer in self.all() {
            answer.store(true, Ordering::Relaxed);
        }
    }

    /// In the order of the question's columns.
    fn all(&self) -> [&AtomicBool; 4] {
        [&self.requests, &self.responses, &self.settings, &self.unlogged]
    }
}
