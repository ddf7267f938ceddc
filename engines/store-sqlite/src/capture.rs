//! What the writer's transaction has changed so far, as the pre-update hook saw it: the source of outbox records, of what the cache
//! is told, and of what an error message says about the rows involved.

use crate::preupdate::{Event, Observer};
use mainstay_model::{Change, ChangeKind, RelationId, Row, Schema, Type, Value};
use mainstay_sql::sqlite::{Form, Stored, column_form, decode, table_name};
use rusqlite::Connection;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// How a table's columns lie in the file. Columns that were added later come last there, wherever the schema has them.
#[derive(Debug)]
struct Layout {
    relation: RelationId,
    /// By position in the file: the column of the schema, how to read it.
    columns: Vec<Option<(u32, Type, Form)>>,
    /// How many columns the schema has.
    width: usize,
}

/// A row that was changed.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    /// What happened to it.
    pub change: Change,
    /// The rowid it has, or had.
    pub rowid: i64,
    /// 0 for what a statement itself did, more for its cascades.
    pub depth: u32,
}

/// Collects changed rows.
pub(crate) struct Capture {
    tables: FxHashMap<String, Layout>,
    rows: RefCell<Vec<Touched>>,
    /// Set while a row is being read: still set afterwards only if reading it panicked.
    missed: Cell<bool>,
}

impl Capture {
    /// For the tables of one store, as they lie in its file.
    pub fn new(conn: &Connection, schema: &Schema, store: &str) -> rusqlite::Result<Capture> {
        let mut tables = FxHashMap::default();
        let mut names = conn.prepare("SELECT name FROM pragma_table_xinfo(?1) ORDER BY cid")?;
        for (index, relation) in schema.relations.iter().enumerate() {
            if *relation.store != *store || relation.table().is_none() {
                continue;
            }
            let id = RelationId(index as u32);
            let name = table_name(schema, id);
            let mut columns = Vec::new();
            let mut rows = names.query([&name])?;
            while let Some(row) = rows.next()? {
                let column: String = row.get(0)?;
                columns.push(relation.column(&column).map(|c| {
                    let ty = relation.columns[c as usize].ty.clone();
                    let form = column_form(&ty);
                    (c, ty, form)
                }));
            }
            tables.insert(
                name,
                Layout {
                    relation: id,
                    columns,
                    width: relation.columns.len(),
                },
            );
        }
        Ok(Capture {
            tables,
            rows: RefCell::default(),
            missed: Cell::new(false),
        })
    }

    /// How many rows have been changed: a mark for [`Capture::truncate`] and [`Capture::since`].
    pub fn len(&self) -> usize {
        self.rows.borrow().len()
    }

    /// Forgets the rows after a mark: what they tell was rolled back.
    pub fn truncate(&self, mark: usize) {
        self.rows.borrow_mut().truncate(mark);
    }

    /// Looks at the rows changed after a mark.
    pub fn since<T>(&self, mark: usize, look: impl FnOnce(&[Touched]) -> T) -> T {
        let rows = self.rows.borrow();
        look(rows.get(mark..).unwrap_or_default())
    }

    /// The rowids of the rows of a table that statements themselves changed after a mark.
    pub fn rowids(&self, mark: usize, relation: RelationId) -> Vec<i64> {
        self.since(mark, |rows| {
            rows.iter()
                .filter(|t| t.depth == 0 && t.change.relation == relation)
                .map(|t| t.rowid)
                .collect()
        })
    }

    /// Takes the rows changed after a mark.
    pub fn take(&self, mark: usize) -> Vec<Touched> {
        let mut rows = self.rows.borrow_mut();
        let mark = mark.min(rows.len());
        rows.split_off(mark)
    }

    /// Whether a change was missed since this was last asked: whoever derives from changes must then forget everything.
    pub fn take_missed(&self) -> bool {
        self.missed.replace(false)
    }
}

impl Observer for Capture {
    fn changing(&self, event: &Event<'_>) {
        let Some(layout) = self.tables.get(event.table) else {
            return;
        };
        self.missed.set(true);
        let before = if event.kind == ChangeKind::Insert {
            Some(None)
        } else {
            layout.row(|i| event.before(i)).map(Some)
        };
        let after = if event.kind == ChangeKind::Delete {
            Some(None)
        } else {
            layout.row(|i| event.after(i)).map(Some)
        };
        // A row that cannot be read (a foreign writer's) is reported without images: then nobody keeps anything about the table.
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            _ => (None, None),
        };
        let change = Change {
            relation: layout.relation,
            kind: event.kind,
            before,
            after,
        };
        self.rows.borrow_mut().push(Touched {
            change,
            rowid: event.rowid,
            depth: event.depth,
        });
        self.missed.set(false);
    }
}

impl Layout {
    fn row<'a>(&self, get: impl Fn(usize) -> Option<Stored<'a>>) -> Option<Row> {
        let in_order = self.columns.len() == self.width
            && self
                .columns
                .iter()
                .enumerate()
                .all(|(i, c)| matches!(c, Some((at, ..)) if *at as usize == i));
        if in_order {
            return self
                .columns
                .iter()
                .enumerate()
                .map(|(i, c)| c.as_ref().and_then(|(_, ty, form)| read(get(i)?, ty, *form)))
                .collect::<Option<Row>>();
        }
        let mut values = vec![Value::Null; self.width];
        for (index, column) in self.columns.iter().enumerate() {
            if let Some((at, ty, form)) = column {
                values[*at as usize] = read(get(index)?, ty, *form)?;
            }
        }
        Some(Arc::from(values))
    }
}

fn read(stored: Stored<'_>, ty: &Type, form: Form) -> Option<Value> {
    decode(stored, ty, form).ok()
}
