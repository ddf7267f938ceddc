//! Outcomes of a transaction as bytes, as engines keep them under an idempotency key, so that the same request gets the same answer
//! again.

use bytes::Bytes;
use mainstay_model::StepOutcome;

/// First byte: the layout's version.
const VERSION: u8 = 1;

/// Writes outcomes.
pub fn write(outcomes: &[StepOutcome]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put(&mut out, outcomes.len() as u64);
    for outcome in outcomes {
        put(&mut out, outcome.affected);
        put(&mut out, outcome.inserted);
        put_bytes(&mut out, &outcome.body);
        put(&mut out, outcome.rows);
        // 0 is absent.
        put(&mut out, outcome.total.map_or(0, |t| t.saturating_add(1)));
        put(&mut out, outcome.key.len() as u64);
        for (column, text) in &outcome.key {
            put(&mut out, u64::from(*column));
            put_bytes(&mut out, text.as_bytes());
        }
    }
    out
}

/// Reads them; `None` for what [`write`] does not write.
pub fn read(bytes: &[u8]) -> Option<Vec<StepOutcome>> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let count = take(&mut rest)?;
    let mut outcomes = Vec::new();
    for _ in 0..count {
        let affected = take(&mut rest)?;
        let inserted = take(&mut rest)?;
        let body = Bytes::copy_from_slice(take_bytes(&mut rest)?);
        let rows = take(&mut rest)?;
        let total = take(&mut rest)?.checked_sub(1);
        let keys = take(&mut rest)?;
        let mut key = Vec::new();
        for _ in 0..keys {
            let column = u32::try_from(take(&mut rest)?).ok()?;
            key.push((column, String::from_utf8(take_bytes(&mut rest)?.to_vec()).ok()?));
        }
        outcomes.push(StepOutcome {
            affected,
            inserted,
            body,
            rows,
            total,
            key,
        });
    }
    rest.is_empty().then_some(outcomes)
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_and_damage_is_noticed() {
        let outcomes = vec![
            StepOutcome::default(),
            StepOutcome {
                affected: 3,
                inserted: 2,
                body: Bytes::from_static(b"[{}]"),
                rows: 3,
                total: Some(0),
                key: vec![(0, "a,b".to_owned()), (7, String::new())],
            },
        ];
        let bytes = write(&outcomes);
        assert_eq!(read(&bytes), Some(outcomes));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "{end}");
        }
        assert_eq!(read(&[2, 0, 0]), None);
    }
}
