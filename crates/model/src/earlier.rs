//! What the steps of a transaction take from rows of earlier steps. The columns of a row are those of the relation that an earlier
//! step wrote to, or the values (not the embedded rows) that a call or a read gives back, in order.

use crate::{Action, Cell, Error, Result, Row, Step, Transaction, Value};
use std::borrow::Cow;

/// A parameter of a step whose value an earlier step yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Earlier {
    /// Index of the parameter; what stands there in [`Step::params`] is ignored.
    pub param: u16,
    /// Index of the earlier step.
    pub step: u16,
    /// Index of its row.
    pub row: u32,
    /// Index of the row's column.
    pub column: u32,
}

/// The value that (step, row, column) refers to, among the rows of the steps done so far. Error: 22023 when there is none.
pub fn earlier_value(rows: &[Vec<Row>], step: u16, row: u32, column: u32) -> Result<&Value> {
    let of_step = rows.get(step as usize).ok_or_else(|| {
        Error::new(
            "22023",
            format!("step {step} does not come before the step that refers to it"),
        )
    })?;
    of_step
        .get(row as usize)
        .and_then(|row| row.get(column as usize))
        .ok_or_else(|| {
            Error::new(
                "22023",
                format!("step {step} has no row {row}, which a later step refers to"),
            )
            .detail(format!("It touched {} rows.", of_step.len()))
        })
}

impl Step {
    /// Everything that the step takes from earlier ones, as (step, row, column).
    pub fn references(&self) -> Vec<(u16, u32, u32)> {
        let mut found: Vec<_> = self.earlier.iter().map(|e| (e.step, e.row, e.column)).collect();
        let mut add = |cell: &Cell| {
            if let Cell::Earlier(step, row, column) = cell {
                found.push((*step, *row, *column));
            }
        };
        match &self.action {
            Action::Insert { rows, .. } => rows.iter().flatten().for_each(&mut add),
            Action::Update { set, .. } => set.iter().for_each(|(_, cell)| add(cell)),
            Action::Delete { .. } | Action::Call(_) | Action::Read => {}
        }
        found
    }

    /// The parameters with what earlier steps yielded in its place. Error: 22023 when a row is not there.
    pub fn filled(&self, rows: &[Vec<Row>]) -> Result<Cow<'_, [Value]>> {
        if self.earlier.is_empty() {
            return Ok(Cow::Borrowed(&self.params));
        }
        let mut params = self.params.clone();
        for earlier in &self.earlier {
            let value = earlier_value(rows, earlier.step, earlier.row, earlier.column)?.clone();
            match params.get_mut(earlier.param as usize) {
                Some(place) => *place = value,
                None => return Err(Error::internal("a step refers to a parameter that it lacks")),
            }
        }
        Ok(Cow::Owned(params))
    }
}

impl Transaction {
    /// Whether a later step takes something from a row of this one, so that its rows must be kept.
    pub fn refers_to(&self, step: usize) -> bool {
        let after = self.steps.iter().skip(step + 1);
        after.flat_map(Step::references).any(|(of, ..)| usize::from(of) == step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn parameters_are_filled_from_rows() {
        let row = |n| -> Row { Arc::from(vec![Value::Int(n), Value::Text("x".to_owned())]) };
        let rows = vec![vec![row(4), row(5)]];
        let step = |row, column| Step {
            params: vec![Value::Bool(true), Value::Null],
            earlier: vec![Earlier {
                param: 1,
                step: 0,
                row,
                column,
            }],
            ..Step::new(Action::Read)
        };
        assert_eq!(*step(1, 0).filled(&rows).unwrap(), [Value::Bool(true), Value::Int(5)]);
        for (row, column) in [(2, 0), (0, 2)] {
            assert_eq!(step(row, column).filled(&rows).unwrap_err().code, "22023");
        }
        let transaction = Transaction {
            steps: vec![Step::new(Action::Read), step(0, 0)],
            ..Transaction::default()
        };
        assert!(transaction.refers_to(0) && !transaction.refers_to(1));
    }
}
