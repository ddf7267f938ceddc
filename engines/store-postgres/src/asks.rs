//! Whether anything in a database looks at the request itself. `request.method`, `request.path`, `request.headers` and `request.cookies`
//! are four settings of every transaction; where nothing reads them they are not sent, nor gathered. And whether anything says what is
//! answered: where nothing sets `response.status` or `response.headers`, nobody asks for them after a write.

use crate::install::row;
use tokio_postgres::Client;

/// Functions, policies, views, defaults, checks, triggers' conditions: all that runs within somebody's request and was written by
/// somebody. A name that is not written out may be any name. What is compiled, such as functions in C, is not looked into.
const READS: &str = "SELECT
  coalesce(bool_or(text ~ 'request\\.(?!jwt\\.)' OR text ~* 'current_setting\"?\\s*\\(\\s*[^''[:space:]]'), false),
  coalesce(bool_or(text ~ 'response\\.' OR text ~* 'set_config\"?\\s*\\(\\s*[^''[:space:]]'), false)
FROM (
  SELECT coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE l.lanname NOT IN ('c', 'internal')
      AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  UNION ALL SELECT pg_catalog.pg_get_expr(polqual, polrelid) FROM pg_catalog.pg_policy
  UNION ALL SELECT pg_catalog.pg_get_expr(polwithcheck, polrelid) FROM pg_catalog.pg_policy
  UNION ALL SELECT pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef
  UNION ALL SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE contype = 'c'
  UNION ALL SELECT pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger WHERE tgqual IS NOT NULL
  UNION ALL SELECT pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
    WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
) AS texts (text)";

/// What something in a database does with requests and their answers.
pub(crate) struct Asks {
    /// Reads requests.
    pub requests: bool,
    /// Sets something of answers.
    pub responses: bool,
}

/// Whether something does. What cannot be found out is taken for yes.
pub(crate) async fn asks(client: &Client) -> Asks {
    let found = row(client, READS).await.ok().flatten();
    let is = |at| found.as_ref().is_none_or(|row| row.get(at) != Some("f"));
    Asks {
        requests: is(0),
        responses: is(1),
    }
}
