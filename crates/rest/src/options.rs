//! `OPTIONS`: what may be done with a path, in `Allow`. CORS is the gateway's.

use crate::data::Data;
use crate::{Place, Rest, Route, call, error, key, response};
use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use mainstay_model::{Error, Identity, Privilege, Relation, RelationId, Schema};

/// What a role may do with a relation.
#[derive(Clone, Copy)]
pub(crate) struct Permitted {
    pub select: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    /// Rows can be addressed by their key.
    pub keyed: bool,
}

impl Permitted {
    pub fn of(schema: &Schema, id: RelationId, role: &str) -> Permitted {
        let relation = schema.relation(id);
        let writable = relation.writable();
        let may = |privilege| may(relation, role, privilege);
        Permitted {
            select: may(Privilege::Select),
            insert: writable.insert && may(Privilege::Insert),
            update: writable.update && may(Privilege::Update),
            delete: writable.delete && may(Privilege::Delete),
            keyed: !schema.key_of(id).is_empty(),
        }
    }

    pub fn any(self) -> bool {
        self.select || self.insert || self.update || self.delete
    }
}

/// On the whole relation or any of its columns.
fn may(relation: &Relation, role: &str, privilege: Privilege) -> bool {
    relation.allows(role, privilege, None)
        || (0..relation.columns.len() as u32).any(|column| relation.allows(role, privilege, Some(column)))
}

impl<D: Data> Rest<D> {
    /// What a refusal is when the path does not have the method for the role at all: nothing else about the request matters then.
    /// What the database itself refuses (a privilege, a row) stays its word.
    pub(crate) fn refused_method(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        identity: &Identity,
        error: &Error,
    ) -> Option<Error> {
        let may_be = match &*error.code {
            "PGRST202" | "55000" => true,
            _ => error::status(error, false) == StatusCode::BAD_REQUEST,
        };
        if !may_be {
            return None;
        }
        let route = Route::read(path).ok()?;
        let options = self.options(&route, headers, identity).ok()?;
        let allow = options.headers().get(ALLOW)?.to_str().ok()?;
        let known = allow.split(',').any(|known| known == method.as_str());
        (!known).then(|| error::unsupported_method(method))
    }

    /// Answers OPTIONS.
    pub(crate) fn options(
        &self,
        route: &Route<'_>,
        headers: &HeaderMap,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let place = Place::of(&schema, &self.config, headers, false)?;
        let role = &*identity.role;
        let mut allow = vec!["OPTIONS"];
        match route {
            // POST: several operations as one transaction.
            Route::Root => allow.extend(["GET", "HEAD", "POST"]),
            Route::Function(name) => {
                let overloads = place.functions(&schema, name);
                let callable: Vec<_> = overloads
                    .iter()
                    .map(|id| schema.function(*id))
                    .filter(|f| call::may_call(f, role))
                    .collect();
                if overloads.is_empty() {
                    let message = format!(
                        "Could not find the function {}.{name} in the schema cache",
                        place.namespace
                    );
                    return Err(Error::new("PGRST202", message));
                }
                if callable.iter().any(|f| call::is_readable(f)) {
                    allow.extend(["GET", "HEAD"]);
                }
                if !callable.is_empty() {
                    allow.push("POST");
                }
            }
            Route::Relation(name) | Route::Item(name, _) => {
                let id = place.relation(&schema, name, role)?;
                let permitted = Permitted::of(&schema, id, role);
                let is_item = matches!(route, Route::Item(..));
                if is_item {
                    key::single_key(&schema, id)?;
                }
                for (method, allowed) in [
                    ("GET", permitted.select),
                    ("HEAD", permitted.select),
                    ("POST", permitted.insert && !is_item),
                    ("PUT", permitted.insert && permitted.update && permitted.keyed),
                    ("PATCH", permitted.update),
                    ("DELETE", permitted.delete),
                ] {
                    if allowed {
                        allow.push(method);
                    }
                }
            }
        }
        let value = HeaderValue::try_from(allow.join(",")).map_err(|_| error::invalid_path())?;
        let mut headers = response::template(None, None, None);
        headers.insert(ALLOW, value);
        Ok(response::empty(StatusCode::OK, headers))
    }
}
