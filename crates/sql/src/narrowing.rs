//! What a column's values may lose when its type changes, by the names that PostgreSQL gives types: the same on every engine that
//! migrates.

/// A type without its modifier: `character varying(5)` → `character varying`.
pub fn base(ty: &str) -> String {
    match (ty.find('('), ty.find(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", ty[..open].trim_end(), &ty[close + 1..]),
        _ => ty.to_owned(),
    }
}

/// Numbers by what they hold: each has room for those before it, `real` aside.
pub fn rank_of_number(ty: &str) -> Option<u8> {
    Some(match base(ty).as_str() {
        "smallint" => 1,
        "integer" => 2,
        "bigint" => 3,
        "numeric" => 4,
        "real" => 5,
        "double precision" => 6,
        _ => return None,
    })
}

/// `text` and its kin.
pub fn is_text(ty: &str) -> bool {
    matches!(base(ty).as_str(), "text" | "character varying" | "character")
}

/// Numbers in a type's parentheses.
pub fn modifiers(ty: &str) -> Vec<i64> {
    let inner = ty
        .split('(')
        .nth(1)
        .and_then(|r| r.split(')').next())
        .unwrap_or_default();
    inner.split(',').filter_map(|n| n.trim().parse().ok()).collect()
}

/// What values may lose on the way from one type to another.
pub fn narrowing(from: &str, to: &str) -> Option<String> {
    let (a, b) = (base(from), base(to));
    let (ma, mb) = (modifiers(from), modifiers(to));
    let says = |what: &str| Some(format!("{from} → {to}: {what}"));
    if a == b || (is_text(from) && is_text(to)) {
        return match (ma.as_slice(), mb.as_slice()) {
            (_, []) => None,
            ([], _) => says("what is longer does not fit"),
            _ if ma.iter().zip(&mb).any(|(x, y)| y < x) => says("what is longer or finer does not fit"),
            _ if a == "numeric"
                && ma
                    .first()
                    .zip(mb.first())
                    .is_some_and(|(p, q)| p - ma.get(1).unwrap_or(&0) > q - mb.get(1).unwrap_or(&0)) =>
            {
                says("what is larger does not fit")
            }
            _ => None,
        };
    }
    match (rank_of_number(from), rank_of_number(to)) {
        (Some(x), Some(y))
            if x < y && (b != "numeric" || mb.is_empty()) && !(y == 5 && x > 1) && !(y == 6 && x == 3) =>
        {
            None
        }
        (Some(_), Some(_)) => says("what is larger or finer does not fit, or is rounded"),
        _ if is_text(to) && mb.is_empty() => None,
        _ => match (a.as_str(), b.as_str()) {
            ("date", "timestamp without time zone" | "timestamp with time zone")
            | ("timestamp without time zone", "timestamp with time zone")
            | ("timestamp with time zone", "timestamp without time zone")
            | ("json", "jsonb")
            | ("jsonb", "json") => None,
            _ => says("what the cast does not carry over is lost"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_types_are_told_from_widening_ones() {
        for (from, to, loses) in [
            ("integer", "bigint", false),
            ("bigint", "integer", true),
            ("integer", "numeric", false),
            ("numeric(10,2)", "numeric(12,2)", false),
            ("numeric(10,2)", "numeric(10,3)", true),
            ("numeric(10,2)", "numeric(8,2)", true),
            ("character varying(10)", "character varying(20)", false),
            ("character varying(20)", "character varying(10)", true),
            ("character varying(20)", "text", false),
            ("text", "character varying(20)", true),
            ("text", "integer", true),
            ("integer", "text", false),
            ("date", "timestamp with time zone", false),
            ("timestamp with time zone", "date", true),
            ("json", "jsonb", false),
            ("integer", "double precision", false),
            ("double precision", "real", true),
        ] {
            assert_eq!(narrowing(from, to).is_some(), loses, "{from} → {to}");
        }
    }
}
