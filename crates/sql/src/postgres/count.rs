//! How many rows match. A statement of its own: a window over all rows would have to be computed for every page, and a page behind the
//! last row would say nothing.

use super::query::{Clauses, Rows, numbered, select_word};
use super::render::{Renderer, RowSource};
use super::{Counting, Options};
use mainstay_model::{Count, QueryShape, Result, Schema};
use std::rc::Rc;

pub(super) fn compile(schema: &Schema, shape: &QueryShape, options: Options) -> Result<Option<Counting>> {
    if shape.count == Count::None {
        return Ok(None);
    }
    let mut r = Renderer::new(schema, options);
    let rows = r.source_rows(&shape.from)?;
    let (plain, all, tail) = matching(&mut r, shape, rows)?;
    let exact = match shape.count {
        Count::Exact if plain => Some(format!("SELECT count(*){tail}")),
        Count::Exact => Some(format!("SELECT count(*) FROM ({all}) AS c")),
        Count::Estimated(up_to) => {
            let most = up_to.saturating_add(1).min(i64::MAX as u64);
            Some(format!("SELECT count(*) FROM ({all} LIMIT {most}) AS c"))
        }
        Count::Planned | Count::None => None,
    };
    let planned = match shape.count {
        Count::Planned | Count::Estimated(_) => Some(format!("EXPLAIN (FORMAT JSON) {all}")),
        Count::Exact | Count::None => None,
    };
    Ok(Some(Counting {
        exact,
        planned,
        up_to: match shape.count {
            Count::Estimated(up_to) => up_to,
            _ => Count::ESTIMATE_FROM,
        },
        slots: r.slots,
    }))
}

/// The statement that counts the rows of a member of WITH that match.
pub(super) fn over<'a>(
    r: &mut Renderer<'a>,
    shape: &'a QueryShape,
    name: &str,
    rows: &Rc<RowSource>,
) -> Result<String> {
    let rows = Rows {
        from: name.to_owned(),
        conditions: Vec::new(),
        source: rows.clone(),
    };
    let (plain, all, tail) = matching(r, shape, rows)?;
    Ok(if plain {
        format!("SELECT count(*){tail}")
    } else {
        format!("SELECT count(*) FROM ({all}) AS c")
    })
}

/// All rows that match, and FROM with what follows; `true`: each row of it is a row that counts.
fn matching<'a>(r: &mut Renderer<'a>, shape: &'a QueryShape, rows: Rows) -> Result<(bool, String, String)> {
    let plain = !shape.is_aggregate() && !shape.distinct;
    let clauses = Clauses {
        items: !plain,
        filter: true,
        order: false,
        page: false,
    };
    let selected = r.level(shape, rows, clauses)?;
    let terms = match plain {
        true => "1".to_owned(),
        false => numbered(selected.columns.iter().map(|c| &c.sql)),
    };
    let all = format!("{} {terms}{}", select_word(shape), selected.tail);
    Ok((plain, all, selected.tail))
}
