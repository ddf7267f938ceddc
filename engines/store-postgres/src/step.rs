//! One step of a transaction: its statement, and its outcome out of the rows that come back.

use crate::kept::{self, Kept};
use crate::pace::Pace;
use crate::plan::{self, Form, KEPT, Prepared, Sink};
use crate::store::PostgresStore;
use crate::value;
use crate::wire::{Batch, Response, cells, command_rows};
use mainstay_model::{
    Action, Cell, Count, Error, Item, Privilege, Projected, QueryShape, RelationId, RelationRef, Representation,
    Result, Row, Schema, Source, Step, StepOutcome, Value, earlier_value,
};
use mainstay_store::Keeping;
use std::borrow::Cow;
use std::sync::Arc;

/// A step that is ready to be sent.
pub(crate) struct Run<'a> {
    step: Cow<'a, Step>,
    params: Cow<'a, [Value]>,
    kept: Arc<Kept>,
    /// Where rows are kept for later steps.
    keeps: Keeps,
}

/// Which rows of a step later ones refer to.
enum Keeps {
    Nothing,
    /// Columns of a relation of so many: (the column, its place in the result).
    Columns(usize, Vec<(usize, usize)>),
    /// What the answer shows.
    Answer,
}

/// What a step did.
pub(crate) struct Done {
    pub outcome: StepOutcome,
    pub rows: Vec<Row>,
}

/// A step that does nothing: an insertion of no rows.
pub(crate) fn is_nothing(step: &Step) -> bool {
    match &step.action {
        Action::Insert { rows, .. } => rows.is_empty(),
        Action::Update { set, .. } => set.is_empty() && step.returning.is_none(),
        Action::Read => step.returning.is_none(),
        _ => false,
    }
}

/// The outcome of a step that does nothing.
pub(crate) fn nothing(representation: Option<&Arc<dyn Representation>>, step: &Step) -> StepOutcome {
    let body = match (representation, &step.returning) {
        (Some(representation), Some(_)) => representation.encoder().finish(),
        _ => Default::default(),
    };
    StepOutcome {
        body,
        total: step
            .returning
            .as_ref()
            .and_then(|s| (s.count != Count::None).then_some(0)),
        ..StepOutcome::default()
    }
}

impl<'a> Run<'a> {
    /// Compiles a step; `earlier` are the rows of those before it, and `wanted` the columns of its rows that later ones take.
    pub fn new(
        store: &PostgresStore,
        step: &'a Step,
        earlier: &[Vec<Row>],
        wanted: Option<Vec<u32>>,
        role: &str,
        representation: Option<&Arc<dyn Representation>>,
    ) -> Result<Run<'a>> {
        let (server, schema) = (&*store.server, &*store.schema);
        let params = step.filled(earlier)?;
        let mut step = filled(schema, step, earlier)?;
        let mut options = plan::options(representation.map(|r| &**r));
        let keeps = match (wanted, step.relation()) {
            (None, _) => Keeps::Nothing,
            (Some(_), None) => Keeps::Answer,
            (Some(columns), Some(relation)) => {
                keep_columns(schema, step.to_mut(), relation, &columns);
                Keeps::Columns(schema.relation(relation).columns.len(), Vec::new())
            }
        };
        if let (Action::Insert { relation, .. }, None) = (&step.action, &step.returning) {
            let key = schema.key_of(relation.relation);
            let relation = schema.relation(relation.relation);
            let readable = |column: &u32| relation.allows(role, Privilege::Select, Some(*column));
            options.key = step.key && !key.is_empty() && (role == server.login() || key.iter().all(readable));
        }
        let kept = kept::compiled(server, schema, store.generation, role, &step, options)?;
        let keeps = match keeps {
            Keeps::Columns(width, _) => {
                let places = kept.columns.iter().enumerate().filter_map(|(at, column)| {
                    let name = column.name.strip_prefix(KEPT)?;
                    Some((name.parse().ok()?, at))
                });
                Keeps::Columns(width, places.collect())
            }
            keeps => keeps,
        };
        Ok(Run {
            step,
            params,
            kept,
            keeps,
        })
    }

    /// The statement, and how long it takes.
    pub fn statement(&self) -> (&Prepared, &Pace) {
        (&self.kept.statement, &self.kept.pace)
    }

    /// Adds it to a batch; says how many statements it is.
    pub fn write(&self, batch: &mut Batch<'_>) -> Result<usize> {
        self.kept
            .statement
            .write(batch, &self.params, Some(&self.step.action))?;
        match &self.kept.count {
            Some(count) => Ok(1 + count.write(batch, &self.params, Some(&self.step.action))?),
            None => Ok(1),
        }
    }

    /// Its statement, the values for it, and its action.
    pub fn parts(&self) -> (&Prepared, &[Value], &Action) {
        (&self.kept.statement, &self.params, &self.step.action)
    }

    /// What it did: its statement is the one with this number.
    pub fn done(
        &self,
        response: &Response,
        at: usize,
        representation: Option<&Arc<dyn Representation>>,
        bytes_max: usize,
    ) -> Result<Done> {
        let Kept {
            columns,
            status,
            count,
            form,
            ..
        } = &*self.kept;
        let number = |row: Option<&[u8]>, column: Option<usize>| {
            let cell = cells(row?).nth(column?)??;
            value::integer(cell).map(|n| n.max(0) as u64)
        };
        let first = response.rows(at).next();
        let tagged = || response.tag(at).map_or(0, command_rows);
        let mut outcome = StepOutcome::default();
        for &(column, place) in &status.key {
            let cell = first.and_then(|row| cells(row).nth(place).flatten());
            if let Some(cell) = cell {
                outcome.key.push((column, value::text(cell)?.to_owned()));
            }
        }
        let is_row = |row: &&[u8]| match status.present {
            Some(place) => cells(row).nth(place).flatten().is_some(),
            None => true,
        };
        let answers = self.step.returning.is_some() || matches!(self.step.action, Action::Call(_));
        let mut rows = Vec::new();
        if let Keeps::Columns(width, places) = &self.keeps {
            for row in response.rows(at).filter(is_row) {
                let mut kept = vec![Value::Null; *width];
                let cells: Vec<Option<&[u8]>> = cells(row).collect();
                for &(column, place) in places {
                    if let Some(kept) = kept.get_mut(column) {
                        *kept = value::owned(cells.get(place).copied().flatten(), &columns[place].ty)?;
                    }
                }
                rows.push(Row::from(kept));
            }
        }
        match representation.filter(|_| answers) {
            Some(representation) => {
                let keeping = matches!(self.keeps, Keeps::Answer);
                let mut encoder = representation.encoder();
                let write = |encoder: &mut dyn mainstay_model::Encoder| {
                    let mut sink = Sink { encoder, bytes_max };
                    sink.answer(form, columns, response.rows(at).filter(is_row))
                };
                if keeping {
                    let mut keeper = Keeping::new(encoder);
                    outcome.rows = write(&mut keeper)?;
                    (rows, outcome.body) = keeper.finish();
                } else {
                    outcome.rows = write(&mut *encoder)?;
                    outcome.body = encoder.finish();
                }
            }
            None if answers => outcome.rows = response.rows(at).filter(is_row).count() as u64,
            None => {}
        }
        match &self.step.action {
            Action::Call(_) | Action::Read => {
                outcome.affected = outcome.rows;
                outcome.total = match (count, form) {
                    (Some(count), _) => count.total(|n| response.rows(at + 1 + n).next())?,
                    (None, Form::Rows | Form::Document) => number(first, status.total),
                    (None, _) => Some(1),
                };
            }
            action => {
                outcome.affected = number(first, status.affected).unwrap_or_else(tagged);
                outcome.inserted = match (status.inserted, action) {
                    (Some(_), _) => number(first, status.inserted).unwrap_or(0),
                    (None, Action::Insert { .. }) => outcome.affected,
                    _ => 0,
                };
                if self
                    .step
                    .returning
                    .as_ref()
                    .is_some_and(|shape| shape.count != Count::None)
                {
                    outcome.total = Some(outcome.affected);
                }
            }
        }
        limits(&self.step, outcome.affected)?;
        Ok(Done { outcome, rows })
    }
}

/// Whether something must be looked at before the step's transaction may be committed.
pub(crate) fn is_limited(step: &Step) -> bool {
    step.max_affected.is_some() || step.singular
}

/// PGRST124 and PGRST116.
pub(crate) fn limits(step: &Step, rows: u64) -> Result<()> {
    if let Some(max) = step.max_affected
        && rows > max
    {
        return Err(
            Error::new("PGRST124", "Query result exceeds max-affected preference constraint")
                .detail(format!("The query affects {rows} rows"))
                .status(400),
        );
    }
    if step.singular && rows != 1 {
        return Err(
            Error::new("PGRST116", "Cannot coerce the result to a single JSON object")
                .detail(format!("The result contains {rows} rows"))
                .status(406),
        );
    }
    Ok(())
}

/// The step with the values of earlier rows where it refers to them.
fn filled<'a>(schema: &Schema, step: &'a Step, earlier: &[Vec<Row>]) -> Result<Cow<'a, Step>> {
    let refers = |cell: &Cell| matches!(cell, Cell::Earlier(..));
    let any = match &step.action {
        Action::Insert { rows, .. } => rows.iter().flatten().any(refers),
        Action::Update { set, .. } => set.iter().any(|(_, cell)| refers(cell)),
        _ => false,
    };
    if !any {
        return Ok(Cow::Borrowed(step));
    }
    let mut step = step.clone();
    let fill = |cell: &mut Cell, relation: RelationId, column: u32| -> Result<()> {
        if let Cell::Earlier(of, row, from) = cell {
            let found = earlier_value(earlier, *of, *row, *from)?.clone();
            let ty = schema.relation(relation).columns.get(column as usize).map(|c| &c.ty);
            *cell = Cell::Value(match ty {
                Some(ty) => found.fit(ty)?,
                None => found,
            });
        }
        Ok(())
    };
    match &mut step.action {
        Action::Insert {
            relation,
            columns,
            rows,
            ..
        } => {
            for row in rows {
                for (cell, column) in row.iter_mut().zip(columns.iter()) {
                    fill(cell, relation.relation, *column)?;
                }
            }
        }
        Action::Update { relation, set, .. } => {
            for (column, cell) in set {
                fill(cell, relation.relation, *column)?;
            }
        }
        _ => {}
    }
    Ok(Cow::Owned(step))
}

/// Asks for columns of the rows touched, beside what is answered.
fn keep_columns(schema: &Schema, step: &mut Step, id: RelationId, columns: &[u32]) {
    let relation = schema.relation(id);
    let shape = step
        .returning
        .get_or_insert_with(|| QueryShape::of(Source::Relation(RelationRef::new(id))));
    for &column in columns {
        if let Some(found) = relation.columns.get(column as usize) {
            shape.select.push(Item::Field(Projected {
                expr: mainstay_model::Expr::column(column, found.ty.clone()),
                name: format!("{KEPT}{column}").into(),
            }));
        }
    }
}
