//! "Perhaps you meant …": the nearest of some names, if one is near enough.

/// How alike a name of a table or function must be: from 0 (nothing in common) to 1 (the same).
pub(crate) const NAME: f64 = 0.75;
/// How alike anything may be whose existence the caller knows of already.
pub(crate) const NEAR: f64 = 0.33;

/// The candidate most like `given`, but not `given` itself.
pub(crate) fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>, least: f64) -> Option<&'a str> {
    let mut best: Option<(&str, f64)> = None;
    for candidate in candidates.filter(|c| *c != given) {
        let likeness = strsim::normalized_levenshtein(given, candidate);
        if likeness >= least
            && best.is_none_or(|(name, so_far)| likeness > so_far || (likeness == so_far && candidate < name))
        {
            best = Some((candidate, likeness));
        }
    }
    best.map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["products", "projects", "orders"];
        assert_eq!(nearest("product", names.into_iter(), NAME), Some("products"));
        assert_eq!(nearest("poducts", names.into_iter(), NAME), Some("products"));
        assert_eq!(nearest("users", names.into_iter(), NAME), None);
        assert_eq!(nearest("orders", names.into_iter(), NAME), None);
    }
}
