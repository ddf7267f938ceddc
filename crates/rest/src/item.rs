//! `PUT`, `PATCH` and `DELETE` of one row at its own path, `/{table}/{id}`, with the conditions of RFC 9110 §13.
//!
//! `If-Match` is compared with the tag that `GET /{table}/{id}` gives in plain JSON, whatever the write itself asks to be answered.
//! Comparing and writing are one step for everybody else: the row is read past the cache, its tag compared, and the write then
//! carries as a filter that every column still has the value that was read. If anything was written in between, no row passes the
//! filter, nothing is changed, and the answer is 412.

use crate::bind::Binder;
use crate::condition::{self, Precondition};
use crate::data::Data;
use crate::encode::{self, Form};
use crate::level::Level;
use crate::media::Media;
use crate::payload::{self, Object, Raw};
use crate::prefer::Honoured;
use crate::query_string::{self, Arguments};
use crate::rows::Rows;
use crate::write::{self, Writing, all_of};
use crate::{Rest, Route, bind, error, key, read, types};
use bytes::Bytes;
use http::header::IF_MATCH;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use mainstay_model::{
    Action, Builtin, Cell, Error, Expr, ExprKind, Identity, OnConflict, Operator, Query, RelationId, RelationRef,
    Schema, StepOutcome, Type, Value,
};
use mainstay_query::{Consistency, ReadOptions};

impl<D: Data> Rest<D> {
    /// `PATCH /{table}/{id}`
    pub(crate) async fn update_item(
        &self,
        request: &Request<Bytes>,
        name: &str,
        id: &str,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let mut writing = Writing::begin(self, &schema, request.headers(), name, &identity.role)?;
        writing.item = true;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let payload = self.payload(request, asked.columns)?;
        let set = self.assignments(&schema, &writing, payload)?;
        if set.is_empty() {
            // Nothing to change: the row as it is, if it is there.
            let query = request.uri().query().unwrap_or_default();
            let route = Route::Item(name.into(), id.into());
            let (prepared, _) = read::prepare(
                &schema,
                &self.config,
                &self.memo,
                &route,
                query,
                &Method::GET,
                request.headers(),
                &identity.role,
            )?;
            return self
                .ask(&prepared, &prepared.query, &route, identity, &HeaderMap::new(), false)
                .await;
        }
        let honoured = Honoured {
            missing: true,
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        self.change(
            &schema,
            &writing,
            id,
            Some(set),
            asked.root,
            request,
            identity,
            honoured,
        )
        .await
    }

    /// `DELETE /{table}/{id}`
    pub(crate) async fn delete_item(
        &self,
        request: &Request<Bytes>,
        name: &str,
        id: &str,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let mut writing = Writing::begin(self, &schema, request.headers(), name, &identity.role)?;
        writing.item = true;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let honoured = Honoured {
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        self.change(&schema, &writing, id, None, asked.root, request, identity, honoured)
            .await
    }

    /// Changes the row, or with nothing to set deletes it: if it passes the request's own filters, and is what the client saw.
    #[allow(clippy::too_many_arguments, reason = "the parts of a request, named")]
    async fn change(
        &self,
        schema: &Schema,
        writing: &Writing<'_>,
        id: &str,
        set: Option<Vec<(u32, Cell)>>,
        root: Level<'_>,
        request: &Request<Bytes>,
        identity: &Identity,
        honoured: Honoured,
    ) -> Result<Response<Bytes>, Error> {
        let rows = Rows::of_relation(schema, writing.relation);
        let mut binder = Binder::new(schema, &writing.place.namespace, &self.config);
        let key = key::key_equals(&mut binder, schema, writing.relation, id)?;
        let own = binder.filter(&root, &rows)?;
        let (conditional, unchanged) = self.guard(&mut binder, schema, writing, id, request, identity).await?;
        let filter = all_of([Some(key), own, unchanged]);
        let returning = writing.returning(&mut binder, root)?;
        let relation = RelationRef::new(writing.relation);
        let (order, limit, offset) = (Vec::new(), None, 0);
        let action = match set {
            Some(set) => Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                check: None,
            },
            None => Action::Delete {
                relation,
                filter,
                order,
                limit,
                offset,
            },
        };
        let step = writing.step(action, binder, returning);
        let (replayed, outcome) = self.commit(writing, step, request, identity).await?;
        answer(writing, &rows, id, conditional, replayed, outcome, honoured)
    }

    /// `PUT /{table}/{id}`: the row with this key, new or replaced. The body need not repeat the key.
    pub(crate) async fn put_item(
        &self,
        request: &Request<Bytes>,
        name: &str,
        id: &str,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let mut writing = Writing::begin(self, &schema, request.headers(), name, &identity.role)?;
        writing.item = true;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        if asked.paged {
            return Err(error::put_limit());
        }
        if !asked.root.filters.is_empty() {
            return Err(error::put_filters());
        }
        let column = key::single_key(&schema, writing.relation)?;
        let ty = &schema.relation(writing.relation).columns[column as usize].ty;
        let (wanted, _) = types::operand(id, ty, &schema)?;
        let payload = self.payload(request, None)?;
        let (mut columns, mut given) = write::cells(&schema, writing.relation, payload, false)?;
        let [row] = &mut *given else {
            return Err(error::put_key());
        };
        match columns.iter().position(|c| *c == column) {
            Some(i) if matches!(&row[i], Cell::Value(value) if key::same(value, &wanted)) => {}
            Some(_) => return Err(error::put_key()),
            None => {
                columns.push(column);
                row.push(Cell::Value(wanted));
            }
        }
        let precondition = condition::of_write(request.headers())?;
        let honoured = Honoured::by_writes(self.config.rollback);
        if precondition == Precondition::Matches {
            // The row must be there, so it is only updated.
            let set = columns.into_iter().zip(given.pop().unwrap_or_default()).collect();
            return self
                .change(
                    &schema,
                    &writing,
                    id,
                    Some(set),
                    asked.root,
                    request,
                    identity,
                    honoured,
                )
                .await;
        }
        let rows = Rows::of_relation(&schema, writing.relation);
        let mut binder = Binder::new(&schema, &writing.place.namespace, &self.config);
        let returning = writing.returning(&mut binder, asked.root)?;
        // A row that must not be there yet is only inserted.
        let conflict = (precondition == Precondition::None).then(|| OnConflict {
            target: vec![column],
            ignore: false,
        });
        let step = writing.inserting((columns, given), conflict, binder, returning);
        let committed = self.commit(&writing, step, request, identity).await;
        let (replayed, outcome) = committed.map_err(|error| match precondition {
            Precondition::Absent if error.code == "23505" => error::precondition("If-None-Match"),
            _ => error,
        })?;
        let created = outcome.inserted > 0;
        let mut response = answer(&writing, &rows, id, false, replayed, outcome, honoured)?;
        if created && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::CREATED;
        }
        Ok(response)
    }

    /// The condition that the row is still what the client saw. The flag: the request depends on the row's being there.
    async fn guard(
        &self,
        binder: &mut Binder<'_>,
        schema: &Schema,
        writing: &Writing<'_>,
        id: &str,
        request: &Request<Bytes>,
        identity: &Identity,
    ) -> Result<(bool, Option<Expr>), Error> {
        let headers = request.headers();
        match condition::of_write(headers)? {
            Precondition::None => return Ok((false, None)),
            Precondition::Absent => return Err(error::precondition("If-None-Match")),
            Precondition::Matches => {}
        }
        if headers.get_all(IF_MATCH).iter().any(|value| value.as_bytes() == b"*") {
            return Ok((true, None));
        }
        let mut reader = Binder::new(schema, binder.namespace, binder.config);
        let rows = Rows::of_relation(schema, writing.relation);
        let key = key::key_equals(&mut reader, schema, writing.relation, id)?;
        let root = Level::root("", Vec::new());
        let mut shape = reader.root(&root, &rows, bind::relation_source(writing.relation))?;
        shape.filter = Some(key);
        let query = Query {
            shape: self.memo.share(shape),
            params: reader.params,
        };
        let representation = encode::representation(Media::Json { strip_nulls: false }, Form::Rows, true, None);
        let options = ReadOptions {
            bypass_cache: true,
            consistency: Consistency::Strong,
            ..ReadOptions::default()
        };
        let reply = self.data.read(&query, identity, &representation, options).await?;
        if reply.rows != 1 || !condition::if_match_holds(headers, &condition::tag(reply.tag, None)) {
            return Err(error::precondition("If-Match"));
        }
        let text = std::str::from_utf8(&reply.body).map_err(|_| Error::internal("an answer is not UTF-8"))?;
        let row: Object<'_> = serde_json::from_str(text).map_err(|_| Error::internal("an answer is not an object"))?;
        Ok((true, Some(unchanged(binder, schema, writing.relation, &row)?)))
    }
}

/// That every column has the value that was read.
fn unchanged(binder: &mut Binder<'_>, schema: &Schema, relation: RelationId, row: &Object<'_>) -> Result<Expr, Error> {
    let mut conditions = Vec::new();
    for (index, column) in schema.relation(relation).columns.iter().enumerate() {
        let Some(raw) = row.get(&column.name) else { continue };
        let left = Expr::column(index as u32, column.ty.clone());
        conditions.push(match &column.ty {
            // `json` has no equality of its own: its text has.
            Type::Json => {
                let blanks = || Expr::literal(Value::Text(" \t\r\n".to_owned()), Type::Text);
                let text = Expr::new(ExprKind::Cast(Box::new(left)), Type::Text);
                let left = Expr::new(ExprKind::Call(Builtin::Btrim, vec![text, blanks()]), Type::Text);
                let value = match raw {
                    Raw::Json("null") | Raw::Null => Value::Null,
                    Raw::Json(json) => Value::Text((*json).to_owned()),
                    Raw::Text(text) => Value::Text(text.to_string()),
                };
                Expr::compare(Operator::IsNotDistinctFrom, left, binder.param(value, Type::Text)?)
            }
            ty => {
                let value = payload::value(raw, ty, schema)?;
                Expr::compare(Operator::IsNotDistinctFrom, left, binder.param(value, ty.clone())?)
            }
        });
    }
    Ok(Expr::all(conditions))
}

/// The answer to a write of one row: 404 when it is not there, 412 when the client required that it is as it was.
fn answer(
    writing: &Writing<'_>,
    rows: &Rows<'_>,
    id: &str,
    conditional: bool,
    replayed: bool,
    outcome: StepOutcome,
    honoured: Honoured,
) -> Result<Response<Bytes>, Error> {
    if outcome.affected == 0 {
        return Err(if conditional {
            error::precondition("If-Match")
        } else {
            error::no_such_row(rows.name, id)
        });
    }
    let headers = writing.headers(honoured, replayed);
    Ok(writing.answer(outcome, headers))
}
