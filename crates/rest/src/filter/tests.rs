//! Filters as text and what is read of them.

use super::*;

fn show_test((negated, test): &(bool, Test<'_>)) -> String {
    let not = if *negated { "not " } else { "" };
    match test {
        Test::Operator {
            symbol,
            quantifier,
            value,
            ..
        } => match quantifier {
            Some(q) => format!("{not}{symbol} {q:?} [{value}]"),
            None => format!("{not}{symbol} [{value}]"),
        },
        Test::In(values) => format!("{not}in {values:?}"),
        Test::Is(test, negated) => format!("{not}is {}{test:?}", if *negated { "not " } else { "" }),
        Test::Search {
            operator,
            language,
            value,
        } => format!("{not}{operator:?} {language:?} [{value}]"),
    }
}

fn show(tree: &Tree<'_>) -> String {
    match tree {
        Tree::Condition(c) => {
            format!(
                "{}{} {}",
                c.field.name,
                "->".repeat(c.field.path.len()),
                show_test(&(c.negated, c.test.clone()))
            )
        }
        Tree::Group { negated, any, members } => format!(
            "{}{}({})",
            if *negated { "not " } else { "" },
            if *any { "or" } else { "and" },
            members.iter().map(show).collect::<Vec<_>>().join("; ")
        ),
    }
}

#[test]
fn tests() {
    for (text, want) in [
        ("eq.5", "= [5]"),
        ("eq.", "= []"),
        ("eq.a,b)", "= [a,b)]"),
        ("not.eq.5", "not = [5]"),
        ("neq.5", "<> [5]"),
        ("gte.1.5", ">= [1.5]"),
        ("like(any).{a*,b*}", "~~ Any [{a*,b*}]"),
        ("not.ilike(all).{a,b}", "not ~~* All [{a,b}]"),
        ("match.^a", "~ [^a]"),
        ("in.(1,2,3)", "in [\"1\", \"2\", \"3\"]"),
        ("in.(\"a,b\",c\"d,\"e\\\"f\")", "in [\"a,b\", \"c\\\"d\", \"e\\\"f\"]"),
        ("in.()", "in []"),
        ("is.null", "is Null"),
        ("is.NULL", "is Null"),
        ("not.is.null", "not is Null"),
        ("is.not_null", "is not Null"),
        ("is.unknown", "is Unknown"),
        ("isdistinct.5", "IS DISTINCT FROM [5]"),
        ("fts.cat & dog", "TextSearch None [cat & dog]"),
        ("wfts(english).cat", "TextSearchWeb Some(\"english\") [cat]"),
        ("cs.{1,2}", "@> [{1,2}]"),
        ("adj.(1,2]", "-|- [(1,2]]"),
        ("nxl.(1,2]", "&> [(1,2]]"),
    ] {
        assert_eq!(parse_test(text).map(|t| show_test(&t)).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn what_is_no_test_is_refused() {
    for (text, column, details) in [
        ("0", 1, "unexpected \"0\" expecting \"not\" or operator (eq, gt, ...)"),
        (
            "noop.0",
            1,
            "unexpected \"o\" expecting \"not\" or operator (eq, gt, ...)",
        ),
        (
            "",
            1,
            "unexpected end of input expecting \"not\" or operator (eq, gt, ...)",
        ),
        ("eq5", 3, "unexpected '5' expecting delimiter (.)"),
        ("in.1,2", 4, "unexpected \"1\" expecting \"(\""),
        (
            "is.nil",
            4,
            "unexpected \"n\" expecting isVal: (null, not_null, true, false, unknown)",
        ),
        ("in.(1,2", 8, "unexpected end of input expecting \",\" or \")\""),
    ] {
        let error = parse_test(text).unwrap_err();
        assert_eq!(
            error.message,
            format!("\"failed to parse filter ({text})\" (line 1, column {column})")
        );
        assert_eq!(error.details.as_deref(), Some(details), "{text}");
    }
}

#[test]
fn trees() {
    for (key, value, want) in [
        ("or", "(id.eq.1,id.eq.2)", "[] or(id = [1]; id = [2])"),
        (
            "and",
            "(a.gt.1,or(b.lt.2,not.and(c.is.null,d.in.(1,2))))",
            "[] and(a > [1]; or(b < [2]; not and(c is Null; d in [\"1\", \"2\"])))",
        ),
        ("not.or", "(a.eq.1, b.eq.2)", "[] not or(a = [1]; b = [2])"),
        (
            "clients.projects.not.and",
            "(a.not.eq.\"x,y\")",
            "[\"clients\", \"projects\"] not and(a not = [x,y])",
        ),
        (
            "or",
            "(tags.cs.{a,b},data->>k.eq.v)",
            "[] or(tags @> [{a,b}]; data-> = [v])",
        ),
        ("or", "(or.eq.1,and.eq.2)", "[] or(or = [1]; and = [2])"),
    ] {
        let got = parse_logic(key, value, &Limits::default()).map(|(path, tree)| format!("{path:?} {}", show(&tree)));
        assert_eq!(got.as_deref(), Ok(want), "{key}={value}");
    }
}

#[test]
fn what_is_no_tree_is_refused() {
    for (key, value, column, details) in [
        (
            "or",
            "()",
            4,
            "unexpected \")\" expecting field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)",
        ),
        ("or", "(id.in.1,2,id.eq.3)", 10, "unexpected \"1\" expecting \"(\""),
        ("or", ")(", 3, "unexpected \")\" expecting \"(\""),
    ] {
        let error = parse_logic(key, value, &Limits::default()).unwrap_err();
        assert_eq!(
            error.message,
            format!("\"failed to parse logic tree ({value})\" (line 1, column {column})")
        );
        assert_eq!(error.details.as_deref(), Some(details), "{key}={value}");
    }
    let limits = Limits::default();
    let deep = format!("({}a.eq.1", "or(".repeat(limits.filter_depth + 1));
    assert_eq!(parse_logic("or", &deep, &limits).unwrap_err().code, "54000");
}

#[test]
fn paths() {
    let (path, field) = parse_path("clients.projects.data->a->>0").unwrap();
    assert_eq!(
        (path.join("/").as_str(), &*field.name, field.path.len()),
        ("clients/projects", "data", 2)
    );
    assert!(parse_path("a..b").is_err());
    assert!(parse_path("a(b").is_err());
}
