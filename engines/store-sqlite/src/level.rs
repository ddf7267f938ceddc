//! Runs a compiled query: each level's rows straight from SQLite into the encoder, and for each row the statements of its embeds.

use crate::bind::{Env, Prepared};
use crate::failure::plain;
use crate::parts::Parts;
use crate::statement::Statement;
use mainstay_model::{Encoder, Error, Result, Type, ValueRef};
use mainstay_sql::sqlite::{Form, Level, LevelItem, Stored, decode, parse_uuid};
use rusqlite::Connection;
use std::rc::Rc;
use std::sync::Arc;

/// One level of a query, prepared.
pub(crate) struct LevelPlan {
    prepared: Prepared,
    items: Vec<ItemPlan>,
}

enum ItemPlan {
    Column {
        result: usize,
        name: Arc<str>,
        ty: Type,
        form: Form,
    },
    Embed {
        name: Arc<str>,
        one: bool,
        spread: bool,
        level: Box<LevelPlan>,
    },
}

/// Where rows go, and how large they may become.
pub(crate) struct Sink<'a> {
    /// The answer.
    pub encoder: &'a mut dyn Encoder,
    /// Its limit.
    pub bytes_max: usize,
    /// Who takes its rows before all of them are there.
    pub parts: Option<&'a mut Parts>,
}

impl Sink<'_> {
    /// After a row of the answer itself, the `rows`-th: hands over what there is, if it goes on and that is enough; else as
    /// [`Sink::check`].
    fn end_row(&mut self, rows: u64) -> Result<()> {
        match &mut self.parts {
            Some(parts) if self.encoder.len() >= parts.bytes() => parts.take(self.encoder.take(), rows),
            _ => self.check(),
        }
    }

    /// Refuses an answer that has grown too large. Error: 54000.
    pub fn check(&self) -> Result<()> {
        if self.encoder.len() <= self.bytes_max {
            return Ok(());
        }
        Err(
            Error::new("54000", format!("the answer is larger than {} bytes", self.bytes_max))
                .hint("Ask for fewer rows with limit, or for fewer columns.")
                .status(413),
        )
    }
}

impl LevelPlan {
    /// Prepares a level and all below it.
    pub fn new(conn: &Rc<Connection>, level: &Level) -> Result<LevelPlan> {
        let items = level
            .items
            .iter()
            .map(|item| {
                Ok(match item {
                    LevelItem::Column { result, name, ty, form } => ItemPlan::Column {
                        result: *result as usize,
                        name: name.clone(),
                        ty: ty.clone(),
                        form: *form,
                    },
                    LevelItem::Embed {
                        name,
                        one,
                        spread,
                        level,
                    } => ItemPlan::Embed {
                        name: name.clone(),
                        one: *one,
                        spread: *spread,
                        level: Box::new(LevelPlan::new(conn, level)?),
                    },
                })
            })
            .collect::<Result<_>>()?;
        Ok(LevelPlan {
            prepared: Prepared::new(conn, &level.select)?,
            items,
        })
    }

    /// Whether it takes more than one statement, so that they must share a snapshot.
    pub fn has_embeds(&self) -> bool {
        self.items.iter().any(|i| matches!(i, ItemPlan::Embed { .. }))
    }

    /// Encodes its rows, at most `rows_max`; says how many.
    pub fn rows(
        &mut self,
        env: &Env<'_>,
        outer: Option<&Statement>,
        sink: &mut Sink<'_>,
        rows_max: u64,
    ) -> Result<u64> {
        let result = self.rows_inner(env, outer, sink, rows_max);
        // However it ended: a statement left standing would hold its snapshot.
        self.prepared.statement.reset();
        result
    }

    fn rows_inner(
        &mut self,
        env: &Env<'_>,
        outer: Option<&Statement>,
        sink: &mut Sink<'_>,
        rows_max: u64,
    ) -> Result<u64> {
        let LevelPlan { prepared, items } = self;
        prepared.bind(env, outer)?;
        let mut rows = 0;
        while rows < rows_max && prepared.statement.step().map_err(|failure| plain(&failure))? {
            sink.encoder.begin_row();
            for item in &mut *items {
                item.encode(env, &prepared.statement, sink)?;
            }
            sink.encoder.end_row();
            rows += 1;
            match outer {
                None => sink.end_row(rows)?,
                Some(_) => sink.check()?,
            }
        }
        Ok(rows)
    }

    /// The first row's first value as the function's one scalar; NULL without a row.
    pub fn scalar(&mut self, env: &Env<'_>, ty: &Type, sink: &mut Sink<'_>) -> Result<u64> {
        self.prepared.bind(env, None)?;
        let found = self.prepared.statement.step().map_err(|failure| plain(&failure))?;
        let column = self.items.iter().find_map(|i| match i {
            ItemPlan::Column { result, ty, form, .. } => Some((*result, ty, *form)),
            ItemPlan::Embed { .. } => None,
        });
        let result = match column {
            Some((result, ty, form)) if found => with_value(self.prepared.statement.value(result), ty, form, |value| {
                sink.encoder.scalar(ty, value)
            }),
            _ => {
                sink.encoder.scalar(ty, ValueRef::Null);
                Ok(())
            }
        };
        self.prepared.statement.reset();
        result.map(|()| 1)
    }

    /// Every field as NULL: a spread embed that has no row.
    fn nulls(&self, sink: &mut Sink<'_>) {
        for item in &self.items {
            match item {
                ItemPlan::Column { name, ty, .. } => sink.encoder.field(name, ty, ValueRef::Null),
                ItemPlan::Embed {
                    spread: true, level, ..
                } => level.nulls(sink),
                ItemPlan::Embed { name, one: true, .. } => {
                    sink.encoder.begin_one(name);
                    sink.encoder.end_one();
                }
                ItemPlan::Embed { name, .. } => {
                    sink.encoder.begin_many(name);
                    sink.encoder.end_many();
                }
            }
        }
    }

    /// The fields of its one row, inside the row around it.
    fn spread(&mut self, env: &Env<'_>, outer: &Statement, sink: &mut Sink<'_>) -> Result<()> {
        self.prepared.bind(env, Some(outer))?;
        let found = self.prepared.statement.step().map_err(|failure| plain(&failure))?;
        if !found {
            self.nulls(sink);
            return Ok(());
        }
        let LevelPlan { prepared, items } = self;
        let result = items
            .iter_mut()
            .try_for_each(|item| item.encode(env, &prepared.statement, sink));
        prepared.statement.reset();
        result
    }
}

impl ItemPlan {
    fn encode(&mut self, env: &Env<'_>, row: &Statement, sink: &mut Sink<'_>) -> Result<()> {
        match self {
            ItemPlan::Column { result, name, ty, form } => with_value(row.value(*result), ty, *form, |value| {
                sink.encoder.field(name, ty, value)
            }),
            ItemPlan::Embed {
                spread: true, level, ..
            } => level.spread(env, row, sink),
            ItemPlan::Embed {
                name, one: true, level, ..
            } => {
                sink.encoder.begin_one(name);
                level.rows(env, Some(row), sink, 1)?;
                sink.encoder.end_one();
                Ok(())
            }
            ItemPlan::Embed { name, level, .. } => {
                sink.encoder.begin_many(name);
                level.rows(env, Some(row), sink, u64::MAX)?;
                sink.encoder.end_many();
                Ok(())
            }
        }
    }
}

/// Hands over what SQLite gave as a value of a type, allocating only for what must be taken apart first.
pub(crate) fn with_value(stored: Stored<'_>, ty: &Type, form: Form, take: impl FnOnce(ValueRef<'_>)) -> Result<()> {
    let value = match (&stored, ty) {
        (Stored::Null, _) => ValueRef::Null,
        (Stored::Integer(v), Type::Int2 | Type::Int4 | Type::Int8) => ValueRef::Int(*v),
        (Stored::Integer(v), Type::Bool) => ValueRef::Bool(*v != 0),
        (Stored::Integer(v), Type::Numeric(_)) => match form {
            Form::Scaled(scale) => ValueRef::Scaled(*v, scale),
            _ => ValueRef::Scaled(*v, 0),
        },
        (Stored::Integer(v), Type::Timestamp | Type::TimestampTz) => ValueRef::Timestamp(*v),
        (Stored::Integer(v), Type::Time) => ValueRef::Time(*v),
        (Stored::Real(v), Type::Float4 | Type::Float8) => ValueRef::Float(*v),
        (Stored::Text(text), Type::Uuid) => match parse_uuid(text) {
            Some(uuid) => ValueRef::Uuid(uuid),
            None => return owned(stored, ty, form, take),
        },
        (
            Stored::Text(text),
            Type::Text
            | Type::Varchar(_)
            | Type::Json
            | Type::Jsonb
            | Type::Enum(_)
            | Type::Row(_)
            | Type::Other(_)
            | Type::Unknown,
        ) => ValueRef::Text(text),
        (Stored::Blob(bytes), Type::Bytea) => ValueRef::Bytes(bytes),
        _ => return owned(stored, ty, form, take),
    };
    take(value);
    Ok(())
}

fn owned(stored: Stored<'_>, ty: &Type, form: Form, take: impl FnOnce(ValueRef<'_>)) -> Result<()> {
    let value = decode(stored, ty, form)?;
    take(ValueRef::Owned(&value));
    Ok(())
}
