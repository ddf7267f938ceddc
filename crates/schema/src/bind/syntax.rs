//! Expressions in Postgres' order of precedence.
//!
//! The parser's tree keeps every token in its place, but it nests some operators otherwise than Postgres does: `->` and `||` group
//! to the right there, `BETWEEN` takes only the operand next to it, and what follows a cast is left beside it. The meaning of an
//! access rule hangs on that order, so a chain of operators is laid flat here and put together again by Postgres' own table.

use super::{At, Binder, Bound};
use crate::Problem;
use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode};

/// An expression with its place.
pub(super) struct Operand {
    pub(super) tree: Tree,
    pub(super) at: At,
}

/// The forms of an expression, by syntax.
pub(super) enum Tree {
    /// What operators do not reach into: a literal, a name, a call, something in parentheses.
    Atom(ast::Expr),
    And(Vec<Operand>),
    Or(Vec<Operand>),
    Not(Box<Operand>),
    Prefix(String, Box<Operand>),
    Binary(String, At, Box<Operand>, Box<Operand>),
    /// `IS [NOT] right`
    Is(Box<Operand>, Box<Operand>, bool),
    /// `ISNULL`, `NOTNULL`
    IsNull(Box<Operand>, bool),
    /// `IS [NOT] DISTINCT FROM right`
    Distinct(Box<Operand>, Box<Operand>, bool),
    /// `[NOT] IN right`
    In(Box<Operand>, Box<Operand>, bool),
    /// `[NOT] LIKE|ILIKE pattern [ESCAPE character]`; the operator in Postgres' spelling.
    Like(&'static str, Box<Operand>, Box<Operand>, Option<Box<Operand>>),
    Between {
        operand: Box<Operand>,
        low: Box<Operand>,
        high: Box<Operand>,
        symmetric: bool,
        negated: bool,
    },
    Cast(Box<Operand>, ast::Type),
    Collate(Box<Operand>, String),
    AtTimeZone(Box<Operand>, Box<Operand>),
    /// Something we do not do, by name.
    Refused(String),
}

enum Piece {
    Atom(ast::Expr),
    /// An operator or a keyword, in lower case, words joined by one blank.
    Operator(String),
    Type(ast::Type),
    Collation(String),
}

const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const IS: u8 = 4;
const COMPARISON: u8 = 5;
const LIKE: u8 = 6;
const OTHER: u8 = 7;
const TIME_ZONE: u8 = 11;
const COLLATE: u8 = 12;
const SIGN: u8 = 13;
const CAST: u8 = 15;

impl Binder<'_> {
    /// The whole expression that starts at `start`: with what the parser left beside it.
    pub(super) fn operand(&self, start: &ast::Expr) -> Bound<Operand> {
        let mut pieces = Vec::new();
        for node in group(start.syntax()) {
            flatten(&node, &mut pieces);
        }
        let end = At::of(start.syntax());
        let mut parser = Parser {
            pieces: pieces.into_iter().peekable(),
            binder: self,
            last: end,
            depth: 0,
        };
        let operand = parser.expression(0)?;
        match parser.pieces.peek() {
            None => Ok(operand),
            Some((_, at)) => {
                Err(self.problem(*at, "syntax error: an operator is missing or stands in the wrong place"))
            }
        }
    }
}

/// The expressions among a node's children, each by its first node. Two expression nodes with nothing between them are one
/// expression that the parser took apart.
pub(super) fn expressions(parent: &SyntaxNode) -> Vec<ast::Expr> {
    let mut found = Vec::new();
    let mut continues = false;
    for child in parent.children_with_tokens() {
        match child {
            SyntaxElement::Node(node) => match ast::Expr::cast(node) {
                Some(expr) if !continues => {
                    found.push(expr);
                    continues = true;
                }
                Some(_) => {}
                None => continues = false,
            },
            SyntaxElement::Token(token) if token.kind().is_trivia() => {}
            SyntaxElement::Token(_) => continues = false,
        }
    }
    found
}

/// A node and the expression nodes that follow it with nothing between.
fn group(start: &SyntaxNode) -> Vec<SyntaxNode> {
    let mut nodes = vec![start.clone()];
    let mut next = start.next_sibling_or_token();
    while let Some(element) = next {
        match &element {
            SyntaxElement::Node(node) if ast::Expr::can_cast(node.kind()) => nodes.push(node.clone()),
            SyntaxElement::Token(token) if token.kind().is_trivia() => {}
            _ => break,
        }
        next = element.next_sibling_or_token();
    }
    nodes
}

/// Whether a node is operators and operands rather than something that holds together by itself.
fn is_chain(node: &SyntaxNode) -> bool {
    match node.kind() {
        SyntaxKind::BIN_EXPR
        | SyntaxKind::PREFIX_EXPR
        | SyntaxKind::POSTFIX_EXPR
        | SyntaxKind::BETWEEN_EXPR
        | SyntaxKind::COLLATE => true,
        SyntaxKind::CAST_EXPR => node.children().any(|c| c.kind() == SyntaxKind::COLON_COLON),
        _ => false,
    }
}

/// Lays a chain of operators flat; with a stack of its own, since chains of a thousand ORs are real.
fn flatten(node: &SyntaxNode, pieces: &mut Vec<(Piece, At)>) {
    let mut pending = vec![SyntaxElement::Node(node.clone())];
    while let Some(element) = pending.pop() {
        match element {
            SyntaxElement::Token(token) => {
                if !token.kind().is_trivia() {
                    let range = token.text_range();
                    let at = At {
                        start: range.start().into(),
                        end: range.end().into(),
                    };
                    operator(token.text().to_lowercase(), at, pieces);
                }
            }
            SyntaxElement::Node(node) if is_chain(&node) => {
                let children: Vec<_> = node.children_with_tokens().collect();
                pending.extend(children.into_iter().rev());
            }
            SyntaxElement::Node(node) => {
                let at = At::of(&node);
                if let Some(expr) = ast::Expr::cast(node.clone()) {
                    pieces.push((Piece::Atom(expr), at));
                } else if let Some(ty) = ast::Type::cast(node.clone()) {
                    pieces.push((Piece::Type(ty), at));
                } else {
                    match node.kind() {
                        SyntaxKind::COLON_COLON => pieces.push((Piece::Operator("::".into()), at)),
                        SyntaxKind::CUSTOM_OP => operator(tokens(&node, ""), at, pieces),
                        SyntaxKind::OPERATOR_CALL => {
                            let symbol = node
                                .descendants()
                                .find(|n| n.kind() == SyntaxKind::OP)
                                .map(|op| symbol_of(&op));
                            pieces.push((Piece::Operator(symbol.unwrap_or_default()), at));
                        }
                        SyntaxKind::COLLATION_REF => pieces.push((Piece::Collation(tokens(&node, "")), at)),
                        _ => pieces.push((Piece::Operator(tokens(&node, " ").to_lowercase()), at)),
                    }
                }
            }
        }
    }
}

/// The symbol of `OPERATOR(schema.symbol)`.
fn symbol_of(op: &SyntaxNode) -> String {
    let mut symbol = String::new();
    for child in op.children_with_tokens() {
        match child {
            SyntaxElement::Token(token) if !token.kind().is_trivia() => symbol.push_str(token.text()),
            SyntaxElement::Node(node) if node.kind() != SyntaxKind::PATH_REF => symbol.push_str(&tokens(&node, "")),
            _ => {}
        }
    }
    symbol
}

fn tokens(node: &SyntaxNode, between: &str) -> String {
    let texts: Vec<String> = node
        .descendants_with_tokens()
        .filter_map(|e| e.into_token())
        .filter(|t| !t.kind().is_trivia())
        .map(|t| t.text().to_owned())
        .collect();
    texts.join(between)
}

/// Adds an operator; a sign that the next operand begins with is split off (`a=-1`) where Postgres' lexer would.
fn operator(mut symbol: String, at: At, pieces: &mut Vec<(Piece, At)>) {
    let mut signs = Vec::new();
    while symbol.len() > 1
        && symbol.ends_with(['+', '-'])
        && !symbol.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?'])
    {
        signs.extend(symbol.pop());
    }
    pieces.push((Piece::Operator(symbol), at));
    for sign in signs.into_iter().rev() {
        pieces.push((
            Piece::Operator(sign.into()),
            At {
                start: at.end.saturating_sub(1),
                end: at.end,
            },
        ));
    }
}

struct Parser<'p, 'a> {
    pieces: std::iter::Peekable<std::vec::IntoIter<(Piece, At)>>,
    binder: &'p Binder<'a>,
    last: At,
    depth: u32,
}

impl Parser<'_, '_> {
    fn next(&mut self) -> Option<(Piece, At)> {
        let next = self.pieces.next();
        if let Some((_, at)) = &next {
            self.last = *at;
        }
        next
    }

    fn error(&self, message: &str) -> Problem {
        self.binder.problem(self.last, message)
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = matches!(self.pieces.peek(), Some((Piece::Operator(symbol), _)) if symbol == word);
        if found {
            self.next();
        }
        found
    }

    /// An expression of operators that bind at least as tightly as `min`.
    fn expression(&mut self, min: u8) -> Bound<Operand> {
        self.depth += 1;
        if self.depth > super::DEPTH_MAX {
            return Err(self
                .error("the expression is nested too deeply")
                .help("break it into smaller parts"));
        }
        let mut left = self.operand()?;
        while let Some((Piece::Operator(symbol), _)) = self.pieces.peek() {
            let power = power(symbol);
            if power < min || power == 0 {
                break;
            }
            let symbol = symbol.clone();
            let Some((_, at)) = self.next() else { break };
            left = self.infix(left, symbol, at, power)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Bound<Operand> {
        match self.next() {
            Some((Piece::Atom(expr), at)) => Ok(Operand {
                tree: Tree::Atom(expr),
                at,
            }),
            Some((Piece::Operator(symbol), at)) => {
                let power = match symbol.as_str() {
                    "not" => NOT,
                    "-" | "+" => SIGN,
                    _ if symbol.starts_with(|c: char| c.is_alphabetic()) => {
                        return Err(self.error(&format!("syntax error at or near \"{symbol}\"")));
                    }
                    _ => OTHER + 1,
                };
                let operand = Box::new(self.expression(power)?);
                let at = at.to(operand.at);
                let tree = if symbol == "not" {
                    Tree::Not(operand)
                } else {
                    Tree::Prefix(symbol, operand)
                };
                Ok(Operand { tree, at })
            }
            _ => Err(self.error("syntax error: an expression is missing")),
        }
    }

    fn infix(&mut self, left: Operand, symbol: String, at: At, power: u8) -> Bound<Operand> {
        let start = left.at;
        let left_box = |left| Box::new(left);
        let tree = match symbol.as_str() {
            "or" => {
                let right = self.expression(power + 1)?;
                match left.tree {
                    Tree::Or(mut list) => {
                        list.push(right);
                        Tree::Or(list)
                    }
                    _ => Tree::Or(vec![left, right]),
                }
            }
            "and" => {
                let right = self.expression(power + 1)?;
                match left.tree {
                    Tree::And(mut list) => {
                        list.push(right);
                        Tree::And(list)
                    }
                    _ => Tree::And(vec![left, right]),
                }
            }
            "is" => Tree::Is(left_box(left), Box::new(self.expression(IS + 1)?), false),
            "is not" => Tree::Is(left_box(left), Box::new(self.expression(IS + 1)?), true),
            "is distinct from" => Tree::Distinct(left_box(left), Box::new(self.expression(IS + 1)?), false),
            "is not distinct from" => Tree::Distinct(left_box(left), Box::new(self.expression(IS + 1)?), true),
            "isnull" | "notnull" => Tree::IsNull(left_box(left), symbol == "notnull"),
            "in" => Tree::In(left_box(left), Box::new(self.expression(OTHER)?), false),
            "not in" => Tree::In(left_box(left), Box::new(self.expression(OTHER)?), true),
            "like" => self.like("~~", left)?,
            "not like" => self.like("!~~", left)?,
            "ilike" => self.like("~~*", left)?,
            "not ilike" => self.like("!~~*", left)?,
            "between" => self.between(left, false)?,
            "not" => {
                if !self.eat("between") {
                    return Err(self.error("syntax error at or near \"not\""));
                }
                self.between(left, true)?
            }
            "::" => match self.next() {
                Some((Piece::Type(ty), _)) => Tree::Cast(left_box(left), ty),
                _ => return Err(self.error("syntax error: a type is missing after ::")),
            },
            "collate" => match self.next() {
                Some((Piece::Collation(name), _)) => Tree::Collate(left_box(left), name),
                _ => return Err(self.error("syntax error: a collation is missing after COLLATE")),
            },
            "at time zone" => Tree::AtTimeZone(left_box(left), Box::new(self.expression(power + 1)?)),
            "similar to" | "not similar to" | "overlaps" => {
                self.expression(power + 1)?;
                if self.eat("escape") {
                    self.expression(OTHER)?;
                }
                Tree::Refused(symbol.to_uppercase())
            }
            _ if symbol.starts_with("is ") || symbol == "at local" => Tree::Refused(symbol.to_uppercase()),
            _ => {
                let right = self.expression(power + 1)?;
                Tree::Binary(symbol, at, left_box(left), Box::new(right))
            }
        };
        Ok(Operand {
            tree,
            at: start.to(self.last),
        })
    }

    fn like(&mut self, operator: &'static str, left: Operand) -> Bound<Tree> {
        let pattern = Box::new(self.expression(OTHER)?);
        let escape = match self.eat("escape") {
            true => Some(Box::new(self.expression(OTHER)?)),
            false => None,
        };
        Ok(Tree::Like(operator, Box::new(left), pattern, escape))
    }

    fn between(&mut self, operand: Operand, negated: bool) -> Bound<Tree> {
        let symmetric = self.eat("symmetric");
        self.eat("asymmetric");
        let low = Box::new(self.expression(COMPARISON)?);
        if !self.eat("and") {
            return Err(self.error("syntax error: BETWEEN needs AND"));
        }
        let high = Box::new(self.expression(OTHER)?);
        Ok(Tree::Between {
            operand: Box::new(operand),
            low,
            high,
            symmetric,
            negated,
        })
    }
}

/// How tightly an operator binds to its left; 0 for what is none.
fn power(symbol: &str) -> u8 {
    match symbol {
        "or" => OR,
        "and" => AND,
        "isnull" | "notnull" | "is" => IS,
        "<" | ">" | "=" | "<=" | ">=" | "<>" | "!=" => COMPARISON,
        "between" | "not" | "in" | "not in" | "like" | "not like" | "ilike" | "not ilike" | "similar to"
        | "not similar to" => LIKE,
        "+" | "-" => 8,
        "*" | "/" | "%" => 9,
        "^" => 10,
        "at time zone" | "at local" => TIME_ZONE,
        "collate" => COLLATE,
        "::" => CAST,
        "overlaps" => OTHER,
        "symmetric" | "asymmetric" | "escape" => 0,
        _ if symbol.starts_with("is ") => IS,
        _ if symbol.starts_with(|c: char| c.is_alphabetic()) => 0,
        _ => OTHER,
    }
}
