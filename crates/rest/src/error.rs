//! The dialect's errors: every code, its sentence and its status stand here and nowhere else.

use crate::{raised, range};
use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use mainstay_model::{Error, Retry, Type, write_json_string};
use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// RFC 9209: which refusal it is, for whoever stands in between.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// PGRST100: a query parameter that cannot be read.
pub(crate) fn syntax(message: String, details: String) -> Error {
    Error::new("PGRST100", message).detail(details)
}

/// PGRST101: a method that functions do not have.
pub(crate) fn function_method(method: &http::Method) -> Error {
    Error::new("PGRST101", format!("Cannot use the {method} method on RPC"))
}

/// PGRST102: a body that cannot be read.
pub(crate) fn invalid_body(why: impl Into<String>) -> Error {
    Error::new("PGRST102", why)
}

/// PGRST103: a range that cannot be given.
pub(crate) fn unsatisfiable_range(why: impl Into<String>) -> Error {
    Error::new("PGRST103", "Requested range not satisfiable").detail(why)
}

/// PGRST105: a PUT whose filters are not the primary key.
pub(crate) fn put_filters() -> Error {
    Error::new(
        "PGRST105",
        "Filters must include all and only primary key columns with 'eq' operators",
    )
}

/// PGRST106: a schema that is not served.
pub(crate) fn unknown_namespace(name: &str, served: &[&str]) -> Error {
    Error::new("PGRST106", format!("Invalid schema: {name}"))
        .hint(format!("Only the following schemas are exposed: {}", served.join(", ")))
}

/// PGRST107: no acceptable media type.
pub(crate) fn not_acceptable(accept: &str) -> Error {
    Error::new("PGRST107", format!("None of these media types are available: {accept}"))
}

/// PGRST108: a filter, order or limit on something that is not embedded.
pub(crate) fn not_embedded(name: &str) -> Error {
    Error::new(
        "PGRST108",
        format!("'{name}' is not an embedded resource in this request"),
    )
    .hint(format!(
        "Verify that '{name}' is included in the 'select' query parameter."
    ))
}

/// PGRST109: a limited write whose rows are not determined.
pub(crate) fn limit_without_order() -> Error {
    Error::new("PGRST109", "A 'limit' was applied without an explicit 'order'")
        .hint("Apply an 'order' using unique column(s)")
}

/// PGRST109: a page behind a row, where several rows may stand at its place.
pub(crate) fn after_without_key() -> Error {
    Error::new(
        "PGRST109",
        "'after' was applied to an order that does not tell all rows apart",
    )
    .hint("Let the order end with the primary key, or with other unique column(s)")
}

/// 42803: neither an aggregate nor what the rows are grouped by.
pub(crate) fn not_grouped(source: &str, column: &str) -> Error {
    Error::new(
        "42803",
        format!("column \"{source}.{column}\" must appear in the GROUP BY clause or be used in an aggregate function"),
    )
    .hint(format!("add '{column}' to the select, or aggregate it: {column}.max()"))
}

/// PGRST111: headers of the response that the database set and that are none.
pub(crate) fn invalid_response_headers() -> Error {
    Error::new(
        "PGRST111",
        "response.headers guc must be a JSON array composed of objects with a single key and a string value",
    )
}

/// PGRST112: a status of the response that the database set and that is none.
pub(crate) fn invalid_response_status() -> Error {
    Error::new("PGRST112", "response.status guc must be a valid status code")
}

/// PGRST114: a PUT with a page.
pub(crate) fn put_limit() -> Error {
    Error::new(
        "PGRST114",
        "limit/offset querystring parameters are not allowed for PUT",
    )
}

/// PGRST115: a PUT whose body is another row than its address.
pub(crate) fn put_key() -> Error {
    Error::new("PGRST115", "Payload values do not match URL in primary key column(s)")
}

/// PGRST116: not exactly one row.
pub(crate) fn not_singular(rows: u64) -> Error {
    Error::new("PGRST116", "Cannot coerce the result to a single JSON object")
        .detail(format!("The result contains {rows} rows"))
}

/// PGRST102: what `curl -d` sends when nothing is said of its type.
pub(crate) fn json_as_form() -> Error {
    Error::new(
        "PGRST102",
        "The body looks like JSON and was sent as application/x-www-form-urlencoded",
    )
    .hint("Send it with Content-Type: application/json")
    .status(400)
}

/// PGRST100: a parameter that says nothing.
pub(crate) fn no_value(name: &str) -> Error {
    Error::new("PGRST100", format!("the parameter \"{name}\" has no value"))
        .detail(format!("expected \"{name}=…\""))
        .status(400)
}

/// PGRST100: a page that is no number.
pub(crate) fn no_number(name: &str, value: &str) -> Error {
    Error::new(
        "PGRST100",
        format!("\"{name}\" must be a whole number, not \"{value}\""),
    )
    .status(400)
}

/// PGRST117: a method that tables do not have.
pub(crate) fn unsupported_method(method: &http::Method) -> Error {
    Error::new("PGRST117", format!("Unsupported HTTP method: {method}"))
}

/// PGRST118: an order by a column of something that is to many.
pub(crate) fn order_not_to_one(origin: &str, target: &str) -> Error {
    Error::new("PGRST118", format!("A related order on '{target}' is not possible")).detail(format!(
        "'{origin}' and '{target}' do not form a many-to-one or one-to-one relationship"
    ))
}

/// PGRST120: an operator that embedded rows do not have.
pub(crate) fn embed_operator(target: &str) -> Error {
    Error::new("PGRST120", format!("Bad operator on the '{target}' embedded resource"))
        .detail("Only is null or not is null filters are allowed on embedded resources")
}

/// PGRST121: an error raised with `SQLSTATE 'PGRST'` that does not say what it must.
pub(crate) fn invalid_raise(why: String, hint: &str) -> Error {
    Error::new(
        "PGRST121",
        "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error",
    )
    .detail(why)
    .hint(hint)
}

/// PGRST122: preferences nobody knows, with `handling=strict`.
pub(crate) fn invalid_preferences(all: &[&str]) -> Error {
    Error::new("PGRST122", "Invalid preferences given with handling=strict")
        .detail(format!("Invalid preferences: {}", all.join(", ")))
}

/// PGRST123: aggregates are switched off.
pub(crate) fn aggregates_off() -> Error {
    Error::new("PGRST123", "Use of aggregate functions is not allowed")
        .hint("set `aggregates = true` under [api] in mainstay.toml")
}

/// PGRST124: more rows than `max-affected`.
pub(crate) fn max_affected(rows: u64) -> Error {
    Error::new("PGRST124", "Query result exceeds max-affected preference constraint")
        .detail(format!("The query affects {rows} rows"))
}

/// PGRST125: a path that means nothing.
pub(crate) fn invalid_path() -> Error {
    Error::new("PGRST125", "Invalid path specified in request URL")
}

/// PGRST126: the API's description is switched off.
pub(crate) fn no_description() -> Error {
    Error::new("PGRST126", "Root endpoint metadata is disabled")
}

/// PGRST127: a combination that is not built.
pub(crate) fn not_implemented(what: impl Into<String>) -> Error {
    Error::new("PGRST127", "Feature not implemented").detail(what)
}

/// PGRST128: `max-affected` on a function that gives one value.
pub(crate) fn max_affected_function() -> Error {
    Error::new(
        "PGRST128",
        "Function must return SETOF or TABLE when max-affected preference is used with handling=strict",
    )
}

/// PGRST204: a column of a body or of `columns` that the table does not have.
pub(crate) fn unknown_payload_column(relation: &str, column: &str) -> Error {
    Error::new(
        "PGRST204",
        format!("Could not find the '{column}' column of '{relation}' in the schema cache"),
    )
}

/// 42703: a column that a row source does not have.
pub(crate) fn unknown_column(source: &str, column: &str) -> Error {
    Error::new("42703", format!("column {source}.{column} does not exist"))
}

/// 42883: an operator that a type does not have.
pub(crate) fn no_operator(left: &Type, operator: &str) -> Error {
    no_operator_with(left, operator, "unknown")
}

/// As above, with the type of the right side.
pub(crate) fn no_operator_with(left: &Type, operator: &str, right: &str) -> Error {
    Error::new("42883", format!("operator does not exist: {left} {operator} {right}"))
        .hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

/// 54000: a request larger than its limit, which is named.
pub(crate) fn too_much(what: &str, limit: impl Display, name: &str) -> Error {
    Error::new("54000", format!("{what}: at most {limit}"))
        .hint(format!("the limit is `{name}`"))
        .status(400)
}

/// MS404: no row has the key in the path.
pub(crate) fn no_such_row(relation: &str, id: &str) -> Error {
    Error::new("MS404", format!("no row of '{relation}' has the key '{id}'"))
        .detail("The row does not exist, or the caller may not see it")
}

/// MS404: a relation whose rows have no address of their own.
pub(crate) fn no_item_path(relation: &str, why: &str) -> Error {
    Error::new(
        "MS404",
        format!("rows of '{relation}' have no path of their own: {why}"),
    )
    .hint(format!("filter instead: /rest/v1/{relation}?column=eq.value"))
}

/// MS412: a precondition does not hold.
pub(crate) fn precondition(header: &str) -> Error {
    Error::new(
        "MS412",
        format!("the condition in {header} does not hold: the row has changed or is not there"),
    )
    .hint("read it again, and send the ETag of what you read")
}

/// MS400: a header that is not what it must be.
pub(crate) fn bad_header(header: &str, must: &str) -> Error {
    Error::new("MS400", format!("{header} must be {must}"))
}

/// The status of an error. `anonymous`: the caller has no token, so a refusal asks for one.
pub(crate) fn status(error: &Error, anonymous: bool) -> StatusCode {
    let of = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(status) = error.status {
        return of(status);
    }
    let code = &*error.code;
    if let Some(number) = code.strip_prefix("PGRST") {
        return of(match number {
            "000" | "001" | "002" => 503,
            "003" => 504,
            "101" | "105" | "117" => 405,
            "103" => 416,
            "106" | "107" | "116" => 406,
            "111" | "112" | "121" => 500,
            "125" | "126" | "202" | "205" => 404,
            "201" | "203" => 300,
            "300" => 500,
            "301" | "302" | "303" => 401,
            _ => 400,
        });
    }
    if let Some(number) = code.strip_prefix("MS").or(code.strip_prefix("PT")) {
        return of(number.parse().unwrap_or(500));
    }
    of(match code {
        "23503" | "23505" => 409,
        "25006" => 405,
        "21000" if error.message.ends_with("requires a WHERE clause") => 400,
        "22023" if error.message.starts_with("role") && error.message.ends_with("does not exist") => 401,
        "42501" if anonymous => 401,
        "42501" => 403,
        "42883" | "42P01" => 404,
        "42P17" => 500,
        "53400" => 500,
        "57P01" | "57P03" => 503,
        "P0001" => 400,
        // The class decides.
        _ => match code.get(..2).unwrap_or_default() {
            "08" => 503,
            // A limit that the request itself has exceeded; what exceeds the database's own, it says itself.
            "54" => 400,
            "09" | "21" | "25" | "2D" | "38" | "39" | "3B" | "40" | "55" | "57" | "58" => 500,
            "0L" | "0P" | "28" => 403,
            "53" => 503,
            "F0" | "HV" | "P0" | "XX" => 500,
            _ => 400,
        },
    })
}

/// The body `{code, message, details, hint}`; of a transaction also which operation failed.
pub(crate) fn body(error: &Error, operation: Option<u16>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + error.message.len());
    out.extend_from_slice(b"{\"code\":");
    write_json_string(&error.code, &mut out);
    out.extend_from_slice(b",\"message\":");
    write_json_string(&error.message, &mut out);
    out.extend_from_slice(b",\"details\":");
    match &error.details {
        // The candidates of an ambiguous relationship are JSON already.
        Some(details) if error.code == "PGRST201" => out.extend_from_slice(details.as_bytes()),
        Some(details) => write_json_string(details, &mut out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"hint\":");
    match &error.hint {
        Some(hint) => write_json_string(hint, &mut out),
        None => out.extend_from_slice(b"null"),
    }
    if let Some(operation) = operation {
        out.extend_from_slice(format!(",\"operation\":{operation}").as_bytes());
    }
    out.push(b'}');
    out
}

/// Each code is told of once in so long.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// So many codes are told apart; more are told of each time.
const TOLD_MAX: usize = 32;

/// Tells the operator of a failure that is not the caller's: a full disk, a database that does not answer.
fn tell(error: &Error, status: StatusCode) {
    static TOLD: Mutex<Vec<(String, Instant)>> = Mutex::new(Vec::new());
    let mut told = TOLD.lock().unwrap_or_else(|e| e.into_inner());
    told.retain(|(_, at)| at.elapsed() < TOLD_EVERY);
    if told.iter().any(|(code, _)| *code == error.code) {
        return;
    }
    if told.len() < TOLD_MAX {
        told.push((error.code.to_string(), Instant::now()));
    }
    drop(told);
    let hint = error.hint.as_deref().map(|hint| format!(" {hint}")).unwrap_or_default();
    mainstay_telemetry::warn!("api", "answered {status} for {}: {}.{hint}", error.code, error.message);
}

/// The whole answer to a request that failed; `operation`: of a transaction, which one it was.
pub(crate) fn response(error: &Error, anonymous: bool, operation: Option<u16>) -> Response<Bytes> {
    if error.code == "PGRST" {
        return match raised::of_raise(error) {
            Ok((error, headers)) => {
                let mut response = response(&error, anonymous, operation);
                for (name, value) in &headers {
                    response.headers_mut().insert(name, value.clone());
                }
                response
            }
            Err(error) => response(&error, anonymous, operation),
        };
    }
    let status = status(error, anonymous);
    if status.is_server_error() {
        tell(error, status);
    }
    let mut response = Response::new(Bytes::from(body(error, operation)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.insert(http::header::VARY, HeaderValue::from_static(crate::response::VARY));
    if let Ok(value) = HeaderValue::try_from(format!("Mainstay; error={}", error.code)) {
        headers.insert(PROXY_STATUS, value);
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Retry::After(seconds) = error.retry {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.total.is_some() {
        headers.insert(CONTENT_RANGE, range::content_range(0, 0, error.total));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status() {
        for (code, message, anonymous, want) in [
            ("PGRST100", "", false, 400),
            ("PGRST103", "", false, 416),
            ("PGRST105", "", false, 405),
            ("PGRST106", "", false, 406),
            ("PGRST116", "", false, 406),
            ("PGRST201", "", false, 300),
            ("PGRST205", "", false, 404),
            ("23505", "", false, 409),
            ("23503", "", false, 409),
            ("23514", "", false, 400),
            ("23502", "", false, 400),
            ("42501", "", true, 401),
            ("42501", "", false, 403),
            ("42883", "", false, 404),
            ("42P01", "", false, 404),
            ("42703", "", false, 400),
            ("25006", "", false, 405),
            ("22P02", "", false, 400),
            ("22023", "role \"x\" does not exist", false, 401),
            ("40001", "", false, 500),
            ("53300", "", false, 503),
            ("57P03", "", false, 503),
            ("PT402", "", false, 402),
            ("PT4xx", "", false, 500),
            ("PGRST000", "", false, 503),
            ("PGRST003", "", false, 504),
            ("PGRST111", "", false, 500),
            ("PGRST126", "", false, 404),
            ("PGRST301", "", false, 401),
            ("21000", "DELETE requires a WHERE clause", false, 400),
            ("21000", "more than one row", false, 500),
            ("0L000", "", false, 403),
            ("53400", "", false, 500),
            ("57P01", "", false, 503),
            ("HV000", "", false, 500),
            ("P0002", "", false, 500),
            ("P0001", "", false, 400),
            ("XX000", "", false, 500),
            ("54001", "", false, 400),
            ("MS404", "", false, 404),
            ("MS409", "", false, 409),
            ("MS422", "", false, 422),
            ("", "", false, 400),
        ] {
            assert_eq!(status(&Error::new(code, message), anonymous).as_u16(), want, "{code}");
        }
        assert_eq!(status(&Error::new("23514", "").status(409), false).as_u16(), 409);
    }

    #[test]
    fn a_refusal_asks_the_anonymous_for_a_token() {
        let refused = response(&Error::denied("permission denied for table carts"), true, None);
        assert_eq!(refused.status(), 401);
        assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer");
        let refused = response(&Error::denied("permission denied for table carts"), false, None);
        assert_eq!(refused.status(), 403);
        assert!(!refused.headers().contains_key(WWW_AUTHENTICATE));
        let busy = response(&Error::new("53300", "too many").retry(Retry::After(3)), false, None);
        assert_eq!(busy.headers()[RETRY_AFTER], "3");
    }
}
