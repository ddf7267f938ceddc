//! POST, PUT, PATCH and DELETE of a table: each is a transaction of one step.

use crate::bind::Binder;
use crate::data::Data;
use crate::encode::{self, Form};
use crate::level::Level;
use crate::media::{self, Media};
use crate::payload::{self, Payload};
use crate::prefer::{Honoured, Preferences, Resolution, Return};
use crate::query_string::{self, Arguments, Pair};
use crate::rows::Rows;
use crate::rpc::traceparent;
use crate::zone::Zone;
use crate::{Place, Rest, bind, error, idempotency, key, range, response, types};
use bytes::Bytes;
use http::header::{CONTENT_RANGE, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use mainstay_model::{
    Action, Cell, Count, Error, Expr, Identity, OnConflict, QueryShape, RelationId, RelationRef, Schema, Step,
    StepOutcome, Transaction, Value,
};
use std::borrow::Cow;

/// Which columns are given, and for each row a value for each of them.
pub(crate) type Cells = (Vec<u32>, Vec<Vec<Cell>>);

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What every write of a table begins with.
pub(crate) struct Writing<'r> {
    pub place: Place,
    pub relation: RelationId,
    pub preferences: Preferences<'r>,
    pub media: Media,
    /// The answer to a write of one row at its own path.
    pub item: bool,
}

impl<'r> Writing<'r> {
    pub fn begin<D: Data>(
        rest: &Rest<D>,
        schema: &Schema,
        headers: &'r HeaderMap,
        name: &str,
        role: &str,
    ) -> Result<Writing<'r>, Error> {
        let place = Place::of(schema, &rest.config, headers, true)?;
        let preferences = Preferences::read(headers);
        let media = media::negotiate(headers)?;
        let relation = place.relation(schema, name, role)?;
        preferences.check()?;
        Ok(Writing {
            place,
            relation,
            preferences,
            media,
            item: false,
        })
    }

    fn wants_representation(&self) -> bool {
        self.preferences.returning == Some(Return::Representation)
    }

    fn is_counted(&self) -> bool {
        matches!(self.preferences.count, Some(Count::Exact | Count::Estimated))
    }

    /// What is answered of the rows written, if anything is: the filters and the page have chosen the rows already.
    pub fn returning(&self, binder: &mut Binder<'_>, mut root: Level<'_>) -> Result<Option<QueryShape>, Error> {
        if !self.wants_representation() {
            return Ok(None);
        }
        (root.filters, root.limit, root.offset) = (Vec::new(), None, 0);
        let rows = Rows::of_relation(binder.schema, self.relation);
        binder
            .root(&root, &rows, bind::relation_source(self.relation))
            .map(Some)
    }

    /// A step that must touch exactly one row if the client takes nothing else.
    pub fn step(&self, action: Action, binder: Binder<'_>, returning: Option<QueryShape>) -> Step {
        Step {
            action,
            params: binder.params,
            returning,
            max_affected: self.preferences.enforced_max_affected(),
            singular: self.media.is_singular() && !self.item,
        }
    }

    /// A step that makes rows, or replaces those that are in their way.
    pub fn inserting(
        &self,
        (columns, rows): Cells,
        conflict: Option<OnConflict>,
        binder: Binder<'_>,
        returning: Option<QueryShape>,
    ) -> Step {
        let action = Action::Insert {
            relation: RelationRef::new(self.relation),
            columns,
            rows,
            conflict,
            check: None,
            visible: None,
        };
        Step {
            // A body says itself how many rows it makes.
            max_affected: None,
            ..self.step(action, binder, returning)
        }
    }

    /// The headers of the answer. A body is announced only where there is one. `replayed`: it is an earlier request's.
    pub fn headers(&self, honoured: Honoured, replayed: bool) -> HeaderMap {
        let content_type = self.wants_representation().then(|| self.media.content_type());
        let profile = self.place.profile().filter(|_| content_type.is_some());
        let mut headers = response::template(content_type, profile, self.preferences.applied(honoured));
        if replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        headers
    }

    /// `200` with the rows if they are wanted, else `204`.
    pub fn answer(&self, outcome: StepOutcome, headers: HeaderMap) -> Response<Bytes> {
        match self.wants_representation() {
            true => response::with_body(StatusCode::OK, headers, outcome.body),
            false => response::empty(StatusCode::NO_CONTENT, headers),
        }
    }
}

impl<D: Data> Rest<D> {
    /// `POST /{table}`: new rows, or with `resolution` rows that may be there already.
    pub(crate) async fn insert(
        &self,
        request: &Request<Bytes>,
        name: &str,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let writing = Writing::begin(self, &schema, request.headers(), name, &identity.role)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let preferences = &writing.preferences;
        let payload = self.payload(request, asked.columns)?;
        let target = key::conflict_target(&schema, writing.relation, asked.on_conflict, preferences.resolution)?;
        let cells = cells(
            &schema,
            writing.relation,
            payload,
            preferences.missing_default == Some(true),
        )?;
        let mut binder = Binder::new(&schema, &writing.place.namespace, &self.config);
        let returning = writing.returning(&mut binder, asked.root)?;
        let has_target = target.is_some();
        let conflict = target
            .zip(preferences.resolution)
            .map(|(target, resolution)| OnConflict {
                target,
                ignore: resolution == Resolution::Ignore,
            });
        let (replayed, outcome) = if cells.1.is_empty() {
            self.nothing_done(&writing)?
        } else {
            let step = writing.inserting(cells, conflict, binder, returning);
            self.commit(&writing, step, request, identity).await?
        };
        let honoured = Honoured {
            resolution: has_target,
            missing: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        let mut headers = writing.headers(honoured, replayed);
        headers.insert(
            CONTENT_RANGE,
            range::content_range(0, 0, writing.is_counted().then_some(outcome.affected)),
        );
        if preferences.returning == Some(Return::HeadersOnly)
            && let Some(location) = key::location(&schema, writing.relation, &outcome)
        {
            headers.insert(LOCATION, location);
        }
        let merged = preferences.resolution == Some(Resolution::Merge) && outcome.inserted == 0;
        let status = if merged { StatusCode::OK } else { StatusCode::CREATED };
        Ok(match writing.wants_representation() {
            true => response::with_body(status, headers, outcome.body),
            false => response::empty(status, headers),
        })
    }

    /// `PATCH /{table}`: new values for the rows that match.
    pub(crate) async fn update(
        &self,
        request: &Request<Bytes>,
        name: &str,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let writing = Writing::begin(self, &schema, request.headers(), name, &identity.role)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let payload = self.payload(request, asked.columns)?;
        let set = self.assignments(&schema, &writing, payload)?;
        let rows = Rows::of_relation(&schema, writing.relation);
        let mut binder = Binder::new(&schema, &writing.place.namespace, &self.config);
        let filter = binder.filter(&asked.root, &rows)?;
        let (order, limit, offset) = written_page(&mut binder, &asked.root, &rows)?;
        let returning = writing.returning(&mut binder, asked.root)?;
        let (replayed, outcome) = if set.is_empty() {
            self.nothing_done(&writing)?
        } else {
            let relation = RelationRef::new(writing.relation);
            let action = Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                check: None,
            };
            self.commit(&writing, writing.step(action, binder, returning), request, identity)
                .await?
        };
        let honoured = Honoured {
            missing: true,
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        let mut headers = writing.headers(honoured, replayed);
        let total = writing.is_counted().then_some(outcome.affected);
        headers.insert(CONTENT_RANGE, range::content_range(0, outcome.affected, total));
        Ok(writing.answer(outcome, headers))
    }

    /// `DELETE /{table}`: the rows that match go.
    pub(crate) async fn delete(
        &self,
        request: &Request<Bytes>,
        name: &str,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let writing = Writing::begin(self, &schema, request.headers(), name, &identity.role)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let rows = Rows::of_relation(&schema, writing.relation);
        let mut binder = Binder::new(&schema, &writing.place.namespace, &self.config);
        let filter = binder.filter(&asked.root, &rows)?;
        let (order, limit, offset) = written_page(&mut binder, &asked.root, &rows)?;
        let returning = writing.returning(&mut binder, asked.root)?;
        let action = Action::Delete {
            relation: RelationRef::new(writing.relation),
            filter,
            order,
            limit,
            offset,
        };
        let (replayed, outcome) = self
            .commit(&writing, writing.step(action, binder, returning), request, identity)
            .await?;
        let honoured = Honoured {
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        let mut headers = writing.headers(honoured, replayed);
        headers.insert(
            CONTENT_RANGE,
            range::content_range(0, 0, writing.is_counted().then_some(outcome.affected)),
        );
        Ok(writing.answer(outcome, headers))
    }

    /// `PUT /{table}?key=eq.value`: the one row with that key, new or replaced.
    pub(crate) async fn put(
        &self,
        request: &Request<Bytes>,
        name: &str,
        identity: &Identity,
    ) -> Result<Response<Bytes>, Error> {
        let schema = self.data.schema();
        let writing = Writing::begin(self, &schema, request.headers(), name, &identity.role)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        if asked.paged {
            return Err(error::put_limit());
        }
        let key = key::of_filters(&schema, writing.relation, &asked.root)?;
        let payload = self.payload(request, None)?;
        let (columns, rows) = cells(&schema, writing.relation, payload, false)?;
        let [row] = &*rows else { return Err(error::put_key()) };
        for (column, wanted) in &key {
            let given = columns.iter().position(|c| c == column).map(|i| &row[i]);
            if !matches!(given, Some(Cell::Value(value)) if key::same(value, wanted)) {
                return Err(error::put_key());
            }
        }
        let mut binder = Binder::new(&schema, &writing.place.namespace, &self.config);
        let returning = writing.returning(&mut binder, asked.root)?;
        let conflict = Some(OnConflict {
            target: key.iter().map(|(column, _)| *column).collect(),
            ignore: false,
        });
        let step = writing.inserting((columns, rows), conflict, binder, returning);
        let (replayed, outcome) = self.commit(&writing, step, request, identity).await?;
        let headers = writing.headers(Honoured::by_writes(self.config.rollback), replayed);
        let created = outcome.inserted > 0;
        let mut response = writing.answer(outcome, headers);
        if created && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::CREATED;
        }
        Ok(response)
    }

    pub(crate) fn pairs<'r>(&self, request: &'r Request<Bytes>) -> Result<Vec<Pair<'r>>, Error> {
        query_string::split(request.uri().query().unwrap_or_default(), &self.config.limits)
    }

    pub(crate) fn payload<'r>(
        &self,
        request: &'r Request<Bytes>,
        columns: Option<Vec<Cow<'r, str>>>,
    ) -> Result<Payload<'r>, Error> {
        payload::rows(
            request.body(),
            media::content(request.headers())?,
            columns,
            &self.config.limits,
        )
    }

    /// The values of the first row of a body, by column.
    pub(crate) fn assignments(
        &self,
        schema: &Schema,
        writing: &Writing<'_>,
        payload: Payload<'_>,
    ) -> Result<Vec<(u32, Cell)>, Error> {
        let (columns, rows) = cells(
            schema,
            writing.relation,
            payload,
            writing.preferences.missing_default == Some(true),
        )?;
        Ok(rows
            .into_iter()
            .next()
            .map(|row| columns.into_iter().zip(row).collect())
            .unwrap_or_default())
    }

    /// What comes of a write without anything to write. The flag: not a replay.
    fn nothing_done(&self, writing: &Writing<'_>) -> Result<(bool, StepOutcome), Error> {
        if writing.media.is_singular() && !writing.item {
            return Err(error::not_singular(0));
        }
        let body = match writing.media {
            Media::Csv => Bytes::new(),
            Media::Json { .. } | Media::Object { .. } => Bytes::from_static(b"[]"),
        };
        Ok((
            false,
            StepOutcome {
                body,
                ..StepOutcome::default()
            },
        ))
    }

    /// Commits a transaction of one step. The flag: it is an earlier request's outcome.
    pub(crate) async fn commit(
        &self,
        writing: &Writing<'_>,
        step: Step,
        request: &Request<Bytes>,
        identity: &Identity,
    ) -> Result<(bool, StepOutcome), Error> {
        let zone = writing.preferences.timezone.map(Zone::named).transpose()?;
        let representation = encode::representation(writing.media, Form::Rows, writing.item, zone.as_ref());
        let transaction = Transaction {
            steps: vec![step],
            idempotency: idempotency::of(request, identity)?,
            dry_run: writing.preferences.rollback == Some(true) && self.config.rollback,
            traceparent: traceparent(request.headers()),
            ..Transaction::default()
        };
        let committed = self.data.write(transaction, identity, &representation).await?;
        Ok((
            committed.replayed,
            committed.outcomes.into_iter().next().unwrap_or_default(),
        ))
    }
}

/// The rows of a body as cells. Errors: PGRST204 for a column that the table does not have, and those of the values.
pub(crate) fn cells(
    schema: &Schema,
    relation: RelationId,
    payload: Payload<'_>,
    missing_default: bool,
) -> Result<Cells, Error> {
    let table = schema.relation(relation);
    let column = |key: &Cow<'_, str>| {
        table
            .column(key)
            .ok_or_else(|| error::unknown_payload_column(&table.name, key))
    };
    let columns = payload.keys.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let types: Vec<_> = columns.iter().map(|c| &table.columns[*c as usize].ty).collect();
    let comparable: Vec<_> = types.iter().map(|ty| types::comparable(ty)).collect();
    let mut rows = Vec::with_capacity(payload.rows.len());
    for row in payload.rows {
        let mut cells = Vec::with_capacity(columns.len());
        for (i, raw) in row.iter().enumerate() {
            cells.push(match raw {
                Some(raw) => Cell::Value(payload::value(raw, &comparable[i], schema)?.fit(types[i])?),
                None if missing_default => Cell::Default,
                None => Cell::Value(Value::Null),
            });
        }
        rows.push(cells);
    }
    Ok((columns, rows))
}

/// Order and page of a write. A limited write must say which rows come first. Errors: PGRST103, PGRST109.
fn written_page<'s>(
    binder: &mut Binder<'s>,
    root: &Level<'_>,
    rows: &Rows<'s>,
) -> Result<(Vec<mainstay_model::OrderBy>, Option<u64>, u64), Error> {
    if root.limit.is_none() && root.offset == 0 {
        return Ok((Vec::new(), None, 0));
    }
    if root.order.is_empty() {
        return Err(error::limit_without_order());
    }
    let limit = root.limit.map(u64::try_from).transpose();
    let limit = limit.map_err(|_| error::unsatisfiable_range("Limit should be greater than or equal to zero."))?;
    Ok((binder.write_order(root, rows)?, limit, root.offset as u64))
}

/// All of several conditions, some of which may be absent.
pub(crate) fn all_of(conditions: impl IntoIterator<Item = Option<Expr>>) -> Option<Expr> {
    let conditions: Vec<Expr> = conditions.into_iter().flatten().collect();
    (!conditions.is_empty()).then(|| Expr::all(conditions))
}
