//! Reading the tables of `docs/architecture.md`.

/// The body of the table whose header row begins with the cells of `header`: one row for each line, each cell trimmed.
/// Fails when there is no such table, or an empty one.
pub fn rows(document: &str, header: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let mut lines = document.lines();
    let found = lines.by_ref().any(|line| {
        let cells = cells(line);
        cells.len() >= header.len() && cells.iter().zip(header).all(|(cell, wanted)| cell == wanted)
    });
    let rows: Vec<Vec<String>> = lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    if !found || rows.is_empty() {
        return Err(format!(
            "{}: no table with the columns {}",
            super::ARCHITECTURE,
            header.join(", ")
        ));
    }
    Ok(rows)
}

/// The words in backticks of a cell: `crates/rest` and `crates/graphql`.
pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether `name` is what `pattern` says; a final `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn cells(line: &str) -> Vec<String> {
    let Some(inside) = line.trim().strip_prefix('|') else {
        return Vec::new();
    };
    inside
        .trim_end_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_its_header() {
        let document = "text\n| A | B |\n|---|---|\n| x | y |\n\n| Crate | May use |\n|---|---|\n| `a` and `b/*` | c, d |\n| e | – |\nend\n| f | g |\n";
        let expected = [vec!["`a` and `b/*`", "c, d"], vec!["e", "–"]];
        assert_eq!(
            rows(document, &["Crate", "May use"]),
            Ok(expected
                .iter()
                .map(|row| row.iter().map(|cell| cell.to_string()).collect())
                .collect())
        );
        assert_eq!(quoted("`a` and `b/*`"), ["a", "b/*"]);
        assert!(rows(document, &["Crate", "What"]).is_err());
    }

    #[test]
    fn patterns() {
        assert!(matches("engines/store-*", "engines/store-sqlite"));
        assert!(!matches("engines/store-*", "engines/bus-embedded"));
        assert!(!matches("crates/model", "crates/models"));
    }
}
