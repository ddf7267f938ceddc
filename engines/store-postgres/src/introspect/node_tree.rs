//! Which columns of which relations a view's columns show, read from the tree that the server keeps of the view's definition.
//!
//! `pg_rewrite.ev_action` is `({QUERY :field value … :targetList ({TARGETENTRY … :resno 1 … :resorigtbl 16385 :resorigcol 2 …} …) …})`.
//! Every version writes it in this notation, with other fields: only the notation and the four fields above are relied on. Braces,
//! brackets and blanks inside of names and constants are escaped by a backslash.

/// A view's column that shows another relation's column unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The view's column, by number.
    pub column: i16,
    /// The relation that it comes from; a table or a view.
    pub relation: u32,
    /// That relation's column, by number.
    pub relation_column: i16,
}

/// The columns that show another relation's. What cannot be read yields none: such a view is served, without relationships.
pub(super) fn shown(tree: &str) -> Vec<Shown> {
    read(tree).unwrap_or_default()
}

fn read(tree: &str) -> Option<Vec<Shown>> {
    let mut tokens = Tokens { rest: tree };
    if tokens.next()? != "(" || tokens.next()? != "{" || tokens.next()? != "QUERY" {
        return None;
    }
    loop {
        match tokens.next()? {
            "}" => return None,
            ":targetList" => break,
            token => tokens.skip(token)?,
        }
    }
    if tokens.next()? != "(" {
        return None;
    }
    let mut out = Vec::new();
    loop {
        match tokens.next()? {
            ")" => return Some(out),
            "{" => out.extend(entry(&mut tokens)?),
            token => tokens.skip(token)?,
        }
    }
}

/// A `TARGETENTRY`, from behind its brace to behind the closing one. The outer `None` is a tree that ends too early.
fn entry(tokens: &mut Tokens<'_>) -> Option<Option<Shown>> {
    let (mut column, mut relation, mut relation_column, mut junk) = (0i16, 0u32, 0i16, false);
    loop {
        let token = tokens.next()?;
        match token {
            "}" => break,
            ":resno" => column = tokens.next()?.parse().ok()?,
            ":resorigtbl" => relation = tokens.next()?.parse().ok()?,
            ":resorigcol" => relation_column = tokens.next()?.parse().ok()?,
            ":resjunk" => junk = tokens.next()? == "true",
            token => tokens.skip(token)?,
        }
    }
    let is_column = column > 0 && relation != 0 && relation_column > 0 && !junk;
    Some(is_column.then_some(Shown {
        column,
        relation,
        relation_column,
    }))
}

struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Tokens<'t> {
    fn next(&mut self) -> Option<&'t str> {
        self.rest = self.rest.trim_start();
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        while let Some(byte) = bytes.get(end) {
            match byte {
                b'\\' => end += 2,
                b'(' | b')' | b'{' | b'}' | b' ' | b'\n' | b'\t' => break,
                _ => end += 1,
            }
        }
        // A bracket stands alone; an escaped character may be longer than the byte counted for it.
        let mut end = end.max(1).min(bytes.len());
        while !self.rest.is_char_boundary(end) {
            end += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }

    /// Passes the rest of what this token opens, if it opens anything.
    fn skip(&mut self, token: &str) -> Option<()> {
        let mut depth = match token {
            "{" | "(" => 1usize,
            "}" | ")" => return None,
            _ => return Some(()),
        };
        while depth > 0 {
            match self.next()? {
                "{" | "(" => depth += 1,
                "}" | ")" => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_with_every_trap() {
        let tree = "({QUERY :commandType 1 :rtable ({RTE :alias {ALIAS :aliasname a\\ \\{b :colnames <>} :eref (\"x\\)\" \"\\:targetList\")} \
                    {RTE :subquery {QUERY :targetList ({TARGETENTRY :resno 1 :resorigtbl 99 :resorigcol 9 :resjunk false}) :x <>}}) \
                    :jointree {FROMEXPR :quals {CONST :constvalue 4 [ 1 0 0 0 ]}} \
                    :targetList ({TARGETENTRY :expr {VAR :varno 1 :location -1} :resno 1 :resname i\\(d :ressortgroupref 0 \
                    :resorigtbl 16385 :resorigcol 2 :resjunk false} \
                    {TARGETENTRY :expr {FUNCEXPR :args ({VAR :resno 7})} :resno 2 :resname ü\\é :resorigtbl 0 :resorigcol 0 :resjunk false} \
                    {TARGETENTRY :expr {VAR} :resno 3 :resname <> :resorigtbl 16390 :resorigcol 1 :resjunk true}) :override 0})";
        let only = Shown {
            column: 1,
            relation: 16385,
            relation_column: 2,
        };
        assert_eq!(shown(tree), [only]);
    }

    #[test]
    fn what_is_no_tree_shows_nothing() {
        for text in [
            "",
            "(",
            "<>",
            "({QUERY",
            "({QUERY :targetList",
            "({QUERY :targetList ({TARGETENTRY :resno",
            "\\",
            "({QUERY :a \\",
            "é",
        ] {
            assert_eq!(shown(text), [], "{text}");
        }
    }
}
