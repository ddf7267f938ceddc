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
use crate::planned::{Plan, Planned, Work};
use crate::preceding::Preceding;
use crate::prefer::Honoured;
use crate::query_string::{self, Arguments};
use crate::rows::Rows;
use crate::write::{self, Writing, all_of};
use crate::{Rest, Route, bind, error, key, types};
use bytes::Bytes;
use http::header::IF_MATCH;
use http::{Request, StatusCode};
use mainstay_model::{
    Action, Builtin, Cell, Error, Expr, ExprKind, Identity, OnConflict, Operator, Query, RelationId, RelationRef,
    Schema, Step, Type, Value,
};
use mainstay_query::{Consistency, ReadOptions};
use std::sync::Arc;

impl<D: Data> Rest<D> {
    /// `PATCH /{table}/{id}`
    pub(crate) async fn update_item<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &'r str,
        id: &'r str,
        identity: &'r Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Plan<'r>, Error> {
        let mut writing = Writing::begin(self, schema, request, name, &identity.role, preceding)?;
        writing.item = true;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let payload = self.payload(request, asked.columns)?;
        let set = write::assignments(schema, &writing, payload)?;
        if set.is_empty() {
            // Nothing to change: the row as it is, if it is there.
            let route = Route::Item(name.into(), id.into());
            let prepared = self.understand_read(schema, &route, request, &identity.role, preceding)?;
            return Ok(Plan::Read(Box::new(prepared), route));
        }
        let honoured = Honoured {
            missing: true,
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        self.change(schema, writing, id, Some(set), asked.root, request, identity, honoured)
            .await
            .map(Plan::Write)
    }

    /// `DELETE /{table}/{id}`
    pub(crate) async fn delete_item<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &'r str,
        id: &'r str,
        identity: &Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Planned<'r>, Error> {
        let mut writing = Writing::begin(self, schema, request, name, &identity.role, preceding)?;
        writing.item = true;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let honoured = Honoured {
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        self.change(schema, writing, id, None, asked.root, request, identity, honoured)
            .await
    }

    /// Changes the row, or with nothing to set deletes it: if it passes the request's own filters, and is what the client saw.
    #[allow(clippy::too_many_arguments, reason = "the parts of a request, named")]
    async fn change<'r>(
        &'r self,
        schema: &'r Schema,
        writing: Writing<'r>,
        id: &'r str,
        set: Option<Vec<(u32, Cell)>>,
        root: Level<'_>,
        request: &Request<Bytes>,
        identity: &Identity,
        honoured: Honoured,
    ) -> Result<Planned<'r>, Error> {
        let rows = Rows::of_relation(schema, writing.relation);
        let mut binder = writing.binder(schema, &self.config);
        let key = key::key_equals(&mut binder, schema, writing.relation, id)?;
        let own = binder.filter(&root, &rows)?;
        let (conditional, unchanged) = self.guard(&mut binder, schema, &writing, id, request, identity).await?;
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
        Ok(planned(step, writing, rows.name, id, conditional, honoured))
    }

    /// `PUT /{table}/{id}`: the row with this key, new or replaced. The body need not repeat the key.
    pub(crate) async fn put_item<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &'r str,
        id: &'r str,
        identity: &Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Planned<'r>, Error> {
        let mut writing = Writing::begin(self, schema, request, name, &identity.role, preceding)?;
        writing.item = true;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        if asked.paged {
            return Err(error::put_limit());
        }
        if !asked.root.filters.is_empty() {
            return Err(error::put_filters());
        }
        let column = key::single_key(schema, writing.relation)?;
        let ty = &schema.relation(writing.relation).columns[column as usize].ty;
        let (wanted, _) = types::operand(id, ty, schema)?;
        let payload = self.payload(request, None)?;
        let (mut columns, mut given) = write::cells(schema, &writing, payload, false)?;
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
                .change(schema, writing, id, Some(set), asked.root, request, identity, honoured)
                .await;
        }
        let rows = Rows::of_relation(schema, writing.relation);
        let mut binder = writing.binder(schema, &self.config);
        let returning = writing.returning(&mut binder, asked.root)?;
        // A row that must not be there yet is only inserted.
        let conflict = (precondition == Precondition::None).then(|| OnConflict {
            target: vec![column],
            ignore: false,
        });
        let step = writing.inserting((columns, given), conflict, binder, returning);
        let Planned {
            work,
            representation,
            finish,
            explain,
        } = planned(step, writing, rows.name, id, false, honoured);
        Ok(Planned {
            work,
            representation,
            finish: Box::new(move |replayed, outcome| {
                let created = outcome.inserted > 0;
                let mut response = finish(replayed, outcome)?;
                if created && response.status() == StatusCode::OK {
                    *response.status_mut() = StatusCode::CREATED;
                }
                Ok(response)
            }),
            explain: match precondition {
                Precondition::Absent => Some(Box::new(|error| match &*error.code {
                    "23505" => error::precondition("If-None-Match"),
                    _ => error,
                })),
                _ => explain,
            },
        })
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

/// A write of one row: 404 when it is not there, 412 when the client required that it is as it was.
fn planned<'r>(
    step: Step,
    writing: Writing<'r>,
    relation: &'r str,
    id: &'r str,
    conditional: bool,
    honoured: Honoured,
) -> Planned<'r> {
    let absent = move || match conditional {
        true => error::precondition("If-Match"),
        false => error::no_such_row(relation, id),
    };
    Planned {
        work: Work::Step(step),
        representation: writing.representation(),
        finish: Box::new(move |replayed, outcome| {
            if outcome.affected == 0 {
                return Err(absent());
            }
            let headers = writing.headers(honoured, replayed);
            Ok(writing.answer(outcome, headers))
        }),
        explain: Some(Box::new(move |error| match &*error.code {
            // The step must touch one row.
            "PGRST116" => absent(),
            _ => error,
        })),
    }
}
