//! POST, PUT, PATCH and DELETE of a table: each is one step of a transaction.

use crate::bind::Binder;
use crate::data::Data;
use crate::encode::{self, Form};
use crate::handler::{self, Chosen, Of};
use crate::level::Level;
use crate::media::{self, Media};
use crate::payload::{self, Payload};
use crate::planned::{Planned, Work};
use crate::preceding::{self, Preceding};
use crate::prefer::{Honoured, Preferences, Resolution, Return};
use crate::query_string::{self, Arguments, Pair};
use crate::rows::Rows;
use crate::zone::Zone;
use crate::{Place, Rest, RestConfig, bind, error, key, range, response, types};
use bytes::Bytes;
use http::header::{CONTENT_RANGE, LOCATION};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use mainstay_model::{
    Action, Cell, Count, Error, Expr, Identity, OnConflict, QueryShape, RelationId, RelationRef, Representation,
    Schema, Step, StepOutcome, Value,
};
use std::borrow::Cow;
use std::sync::Arc;

/// Which columns are given, and for each row a value for each of them.
pub(crate) type Cells = (Vec<u32>, Vec<Vec<Cell>>);

/// What every write of a table begins with.
pub(crate) struct Writing<'r> {
    pub place: Place,
    pub relation: RelationId,
    pub preferences: Preferences<'r>,
    pub media: Media,
    /// Who makes it.
    chosen: Chosen,
    /// The answer to a write of one row at its own path.
    pub item: bool,
    pub zone: Option<Zone>,
    /// What it may take values from.
    pub preceding: Option<Arc<Preceding>>,
}

impl<'r> Writing<'r> {
    pub fn begin<D: Data>(
        rest: &Rest<D>,
        schema: &Schema,
        request: &'r Request<Bytes>,
        name: &str,
        role: &str,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Writing<'r>, Error> {
        let headers = request.headers();
        let place = Place::of(schema, &rest.config, headers, true)?;
        let preferences = Preferences::read(headers);
        let relation = place.relation(schema, name, role)?;
        let chosen = handler::choose(schema, headers, Of::Relation(relation, is_whole(request)))?;
        preferences.check()?;
        let zone = preferences.timezone.map(Zone::named).transpose()?;
        Ok(Writing {
            place,
            relation,
            preferences,
            media: chosen.media,
            chosen,
            item: false,
            zone,
            preceding: preceding.cloned(),
        })
    }

    /// A binder for the write's own schema.
    pub fn binder<'s>(&'s self, schema: &'s Schema, config: &'s RestConfig) -> Binder<'s> {
        let mut binder = Binder::new(schema, &self.place.namespace, config);
        binder.preceding = self.preceding.clone();
        binder
    }

    /// The form of what the write gives back.
    pub fn representation(&self) -> Arc<dyn Representation> {
        encode::representation(self.media, Form::Rows, self.item, self.zone.as_ref())
    }

    /// What comes of a write without anything to write.
    fn nothing(&self) -> Result<Work, Error> {
        if self.media.is_singular() && !self.item {
            return Err(error::not_singular(0));
        }
        let body = match self.media {
            Media::Json { .. } | Media::Object { .. } => Bytes::from_static(b"[]"),
            _ => Bytes::new(),
        };
        Ok(Work::Nothing(StepOutcome {
            body,
            ..StepOutcome::default()
        }))
    }

    fn wants_representation(&self) -> bool {
        self.preferences.returning == Some(Return::Representation)
    }

    fn is_counted(&self) -> bool {
        matches!(self.preferences.count, Some(Count::Exact | Count::Estimated(_)))
    }

    /// What is answered of the rows written, if anything is: the filters and the page have chosen the rows already.
    pub fn returning(&self, binder: &mut Binder<'_>, mut root: Level<'_>) -> Result<Option<QueryShape>, Error> {
        if !self.wants_representation() {
            return Ok(None);
        }
        (root.filters, root.limit, root.offset) = (Vec::new(), None, 0);
        let rows = Rows::of_relation(binder.schema, self.relation);
        let mut shape = binder.root(&root, &rows, bind::relation_source(self.relation))?;
        shape.document.clone_from(&self.chosen.document);
        Ok(Some(shape))
    }

    /// A step that must touch exactly one row if the client takes nothing else.
    pub fn step(&self, action: Action, binder: Binder<'_>, returning: Option<QueryShape>) -> Step {
        Step {
            action,
            params: binder.params,
            earlier: binder.earlier,
            returning,
            key: self.preferences.returning == Some(Return::HeadersOnly),
            max_affected: self.preferences.enforced_max_affected(),
            singular: self.media.is_singular() || self.item,
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
            updated: None,
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
        self.chosen.announce(&mut headers);
        if replayed {
            headers.insert(response::REPLAYED, HeaderValue::from_static("true"));
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
    pub(crate) fn insert<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &str,
        identity: &Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Planned<'r>, Error> {
        let writing = Writing::begin(self, schema, request, name, &identity.role, preceding)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let preferences = &writing.preferences;
        let payload = self.payload(request, asked.columns)?;
        let target = key::conflict_target(schema, writing.relation, asked.on_conflict, preferences.resolution)?;
        let missing_default = preferences.missing_default == Some(true);
        let cells = cells(schema, &writing, payload, missing_default)?;
        let mut binder = writing.binder(schema, &self.config);
        let returning = writing.returning(&mut binder, asked.root)?;
        let has_target = target.is_some();
        let conflict = target
            .zip(preferences.resolution)
            .map(|(target, resolution)| OnConflict {
                target,
                ignore: resolution == Resolution::Ignore,
            });
        let work = if cells.1.is_empty() {
            writing.nothing()?
        } else {
            Work::Step(writing.inserting(cells, conflict, binder, returning))
        };
        let honoured = Honoured {
            resolution: has_target,
            missing: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        Ok(Planned {
            work,
            representation: writing.representation(),
            finish: Box::new(move |replayed, outcome| {
                let preferences = &writing.preferences;
                let mut headers = writing.headers(honoured, replayed);
                headers.insert(
                    CONTENT_RANGE,
                    range::content_range(0, 0, writing.is_counted().then_some(outcome.affected)),
                );
                if preferences.returning == Some(Return::HeadersOnly)
                    && let Some(location) = key::location(schema, writing.relation, &outcome)
                {
                    headers.insert(LOCATION, location);
                }
                let merged = preferences.resolution == Some(Resolution::Merge) && outcome.inserted == 0;
                let status = if merged { StatusCode::OK } else { StatusCode::CREATED };
                Ok(match writing.wants_representation() {
                    true => response::with_body(status, headers, outcome.body),
                    false => response::empty(status, headers),
                })
            }),
            explain: None,
        })
    }

    /// `PATCH /{table}`: new values for the rows that match.
    pub(crate) fn update<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &str,
        identity: &Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Planned<'r>, Error> {
        let writing = Writing::begin(self, schema, request, name, &identity.role, preceding)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let payload = self.payload(request, asked.columns)?;
        let set = assignments(schema, &writing, payload)?;
        let rows = Rows::of_relation(schema, writing.relation);
        let mut binder = writing.binder(schema, &self.config);
        let filter = binder.filter(&asked.root, &rows)?;
        let (order, limit, offset) = written_page(&mut binder, &asked.root, &rows)?;
        let returning = writing.returning(&mut binder, asked.root)?;
        let work = if set.is_empty() {
            writing.nothing()?
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
            Work::Step(writing.step(action, binder, returning))
        };
        let honoured = Honoured {
            missing: true,
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        Ok(Planned {
            work,
            representation: writing.representation(),
            finish: Box::new(move |replayed, outcome| {
                let mut headers = writing.headers(honoured, replayed);
                let total = writing.is_counted().then_some(outcome.affected);
                headers.insert(CONTENT_RANGE, range::content_range(0, outcome.affected, total));
                Ok(writing.answer(outcome, headers))
            }),
            explain: None,
        })
    }

    /// `DELETE /{table}`: the rows that match go.
    pub(crate) fn delete<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &str,
        identity: &Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Planned<'r>, Error> {
        let writing = Writing::begin(self, schema, request, name, &identity.role, preceding)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        let rows = Rows::of_relation(schema, writing.relation);
        let mut binder = writing.binder(schema, &self.config);
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
        let work = Work::Step(writing.step(action, binder, returning));
        let honoured = Honoured {
            max_affected: true,
            ..Honoured::by_writes(self.config.rollback)
        };
        Ok(Planned {
            work,
            representation: writing.representation(),
            finish: Box::new(move |replayed, outcome| {
                let mut headers = writing.headers(honoured, replayed);
                headers.insert(
                    CONTENT_RANGE,
                    range::content_range(0, 0, writing.is_counted().then_some(outcome.affected)),
                );
                Ok(writing.answer(outcome, headers))
            }),
            explain: None,
        })
    }

    /// `PUT /{table}?key=eq.value`: the one row with that key, new or replaced.
    pub(crate) fn put<'r>(
        &'r self,
        schema: &'r Schema,
        request: &'r Request<Bytes>,
        name: &str,
        identity: &Identity,
        preceding: Option<&Arc<Preceding>>,
    ) -> Result<Planned<'r>, Error> {
        let writing = Writing::begin(self, schema, request, name, &identity.role, preceding)?;
        let pairs = self.pairs(request)?;
        let asked = query_string::Request::read(&pairs, name, Arguments::None, &self.config.limits)?;
        if asked.paged {
            return Err(error::put_limit());
        }
        let key = key::of_filters(schema, writing.relation, &asked.root)?;
        let payload = self.payload(request, None)?;
        let (columns, mut rows) = cells(schema, &writing, payload, false)?;
        // One row has the key: of several the first is meant.
        rows.truncate(1);
        let [row] = &*rows else { return Err(error::put_key()) };
        for (column, wanted) in &key {
            let given = columns.iter().position(|c| c == column).map(|i| &row[i]);
            if !matches!(given, Some(Cell::Value(value)) if key::same(value, wanted)) {
                return Err(error::put_key());
            }
        }
        let mut binder = writing.binder(schema, &self.config);
        let returning = writing.returning(&mut binder, asked.root)?;
        let conflict = Some(OnConflict {
            target: key.iter().map(|(column, _)| *column).collect(),
            ignore: false,
        });
        let step = writing.inserting((columns, rows), conflict, binder, returning);
        let honoured = Honoured::by_writes(self.config.rollback);
        Ok(Planned {
            work: Work::Step(step),
            representation: writing.representation(),
            finish: Box::new(move |replayed, outcome| {
                let headers = writing.headers(honoured, replayed);
                let created = outcome.inserted > 0;
                let mut response = writing.answer(outcome, headers);
                if created && response.status() == StatusCode::OK {
                    *response.status_mut() = StatusCode::CREATED;
                }
                Ok(response)
            }),
            explain: None,
        })
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
}

/// Whether the rows written are wanted whole: no selection, or `*`.
fn is_whole(request: &Request<Bytes>) -> bool {
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    pairs
        .find_map(|pair| pair.strip_prefix("select="))
        .is_none_or(|select| select == "*")
}

/// The values of the first row of a body, by column.
pub(crate) fn assignments(
    schema: &Schema,
    writing: &Writing<'_>,
    payload: Payload<'_>,
) -> Result<Vec<(u32, Cell)>, Error> {
    let missing_default = writing.preferences.missing_default == Some(true);
    let (columns, rows) = cells(schema, writing, payload, missing_default)?;
    Ok(rows
        .into_iter()
        .next()
        .map(|row| columns.into_iter().zip(row).collect())
        .unwrap_or_default())
}

/// The rows of a body as cells. Errors: PGRST204 for a column that the table does not have, and those of the values.
pub(crate) fn cells(
    schema: &Schema,
    writing: &Writing<'_>,
    payload: Payload<'_>,
    missing_default: bool,
) -> Result<Cells, Error> {
    let table = schema.relation(writing.relation);
    let column = |key: &Cow<'_, str>| {
        table
            .column(key)
            .ok_or_else(|| error::unknown_payload_column(&table.name, key))
    };
    let columns = payload.keys.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let types: Vec<_> = columns.iter().map(|c| &table.columns[*c as usize].ty).collect();
    // What a domain makes of its values itself is handed on as JSON.
    let written = |column: &u32| schema.written(&table.columns[*column as usize]).is_some();
    let written: Vec<bool> = columns.iter().map(written).collect();
    let comparable: Vec<_> = types.iter().map(|ty| types::comparable(ty)).collect();
    let mut rows = Vec::with_capacity(payload.rows.len());
    for row in payload.rows {
        let mut cells = Vec::with_capacity(columns.len());
        for (i, raw) in row.iter().enumerate() {
            if let (Some(preceding), Some(payload::Raw::Json(json))) = (&writing.preceding, raw)
                && let Some(found) = preceding.in_json(json, schema)?
            {
                if !preceding::storable(&found.ty, types[i]) {
                    let column = &table.columns[columns[i] as usize].name;
                    let message = format!(
                        "column \"{column}\" is of type {} but what {json} refers to is of type {}",
                        types[i], found.ty
                    );
                    return Err(Error::new("42804", message));
                }
                cells.push(Cell::Earlier(found.step, found.row, found.column));
                continue;
            }
            cells.push(match raw {
                Some(raw) if written[i] => Cell::Value(payload::json(raw, schema)?),
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
