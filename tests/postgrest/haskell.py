"""Reads the Haskell that PostgREST's specs are written in, as far as they use it: tokens, layout, expressions.

No more than that: types, classes and imports are passed over. What cannot be read raises `Unreadable`, which costs the one
declaration or statement that it stands in.
"""

import re


class Unreadable(Exception):
    """Not the Haskell that we know."""


class Token:
    """A word of the text, where it stands, and whether it is the first of its line."""

    __slots__ = ("kind", "text", "line", "column", "first")

    def __init__(self, kind, text, line, column, first):
        self.kind, self.text, self.line, self.column, self.first = kind, text, line, column, first

    def __repr__(self):
        return f"{self.text!r} at {self.line}:{self.column}"


LEXEMES = re.compile(
    r"""(?P<blank>[ \t\r]+|\n|\{-.*?-\}|--+(?![!#$%&*+./<=>?@\\^|~:]).*?(?=\n|$))
    |(?P<quoted>\[(?P<quoter>[a-z]\w*)\|(?P<inside>.*?)\|\])
    |(?P<text>"(?:\\\s+\\|\\.|[^"\\])*")
    |(?P<char>'(?:\\.[^']*|[^'\\])')
    |(?P<number>\d[\d_]*(?:\.\d+)?)
    |(?P<con>(?:[A-Z][\w']*\.)*[A-Z][\w']*(?!\.[a-z]|[\w']))
    |(?P<var>(?:[A-Z][\w']*\.)*[a-z_][\w']*)
    |(?P<special>[()\[\],;{}`])
    |(?P<op>[!#$%&*+./<=>?@\\^|~:-]+)""",
    re.VERBOSE | re.DOTALL,
)

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", '"': '"', "'": "'"}


def unescape(text):
    """The value of a literal of text."""
    text = re.sub(r"\\\s+\\", "", text)
    return re.sub(
        r"\\(x[0-9a-fA-F]+|\d+|&|.)",
        lambda m: (
            ""
            if m[1] == "&"
            else chr(int(m[1][1:], 16))
            if m[1][0] == "x" and len(m[1]) > 1
            else chr(int(m[1]))
            if m[1].isdigit()
            else ESCAPES.get(m[1], m[1])
        ),
        text,
    )


def tokens(text):
    """All words of a text."""
    found, at, line, start, first = [], 0, 1, 0, True
    while at < len(text):
        match = LEXEMES.match(text, at)
        if not match:
            raise Unreadable(f"line {line}: {text[at:at + 20]!r}")
        kind, word, column = match.lastgroup, match[0], at - start
        if kind in ("quoter", "inside"):
            kind = "quoted"
        if kind != "blank":
            value = (match["quoter"], match["inside"]) if kind == "quoted" else word
            if kind == "text":
                value = unescape(word[1:-1])
            elif kind == "char":
                value = unescape(word[1:-1])
            found.append(Token(kind, value, line, column, first))
            first = False
        if "\n" in word:
            line += word.count("\n")
            start = at + word.rindex("\n") + 1
            first = first or kind == "blank"
        at = match.end()
    return found


OPEN, CLOSE = {"(", "[", "{"}, {")", "]", "}"}

# How tightly operators bind, and to which side.
BINDING = {
    "$": (0, "right"), "$!": (0, "right"), "<$!>": (4, "left"), "&": (1, "left"), ">>=": (1, "left"), ">>": (1, "left"),
    "||": (2, "right"), "&&": (3, "right"), "==": (4, "left"), "/=": (4, "left"), "<": (4, "left"), "<=": (4, "left"),
    ">": (4, "left"), ">=": (4, "left"), "<$>": (4, "left"), "<$": (4, "left"), "<*>": (4, "left"), "elem": (4, "left"),
    ":": (5, "right"), "++": (5, "right"), "<>": (6, "right"), "+": (6, "left"), "-": (6, "left"), "*": (7, "left"),
    "^?": (8, "left"), "^.": (8, "left"), ".": (9, "right"), "!!": (9, "left"), ".=": (8, "right"), "<:>": (9, "left"),
    "shouldRespondWith": (1, "left"), "shouldBe": (1, "left"), "shouldSatisfy": (1, "left"), "shouldContain": (1, "left"),
    "shouldNotBe": (1, "left"),
}  # fmt: skip

KEYWORDS = {"do", "let", "in", "where", "if", "then", "else", "case", "of"}


def blocks(words):
    """The items of a block that begins with the first word, and how many words it takes."""
    column, depth, items, at = words[0].column, 0, [[]], 0
    opened = []
    while at < len(words):
        word = words[at]
        if word.kind == "special" and word.text in OPEN:
            depth += 1
        elif word.kind == "special" and word.text in CLOSE:
            if depth == 0:
                break
            depth -= 1
        elif depth == 0 and at:
            if word.kind == "special" and word.text == ",":
                break
            if word.kind == "var" and word.text in ("then", "else", "of") and not opened:
                break
            if word.kind == "var" and word.text == "in":
                if not opened:
                    break
                opened.pop()
        if depth == 0 and word.kind == "var" and word.text in ("let", "if", "case"):
            opened.append(word.text)
        if at and word.first and depth == 0:
            if word.column < column or word.column == column and word.text == "where" and word.kind == "var":
                break
            goes_on = word.kind == "op" and word.text != "!" or word.text in ("`", "then", "else", "of")
            if word.column == column and not goes_on:
                items.append([])
                opened = []
        items[-1].append(word)
        at += 1
    return [item for item in items if item], at


class Parser:
    """Expressions of a slice of words. They come as tuples whose first member says what they are."""

    def __init__(self, words):
        self.words, self.at = words, 0

    def peek(self, text=None, ahead=0):
        """The next word, if it is this one."""
        if self.at + ahead >= len(self.words):
            return None
        word = self.words[self.at + ahead]
        return word if text is None or (word.text == text and word.kind not in ("text", "quoted")) else None

    def take(self, text=None):
        """The next word, which is this one."""
        word = self.peek(text)
        if word is None:
            raise Unreadable(f"{text or 'a word'} is missing before {self.peek() or 'the end'}")
        self.at += 1
        return word

    def whole(self):
        """An expression that takes all words."""
        found = self.expression()
        if self.peek():
            raise Unreadable(f"not understood: {self.peek()}")
        return found

    def block(self):
        """The items of the block that begins here, each a slice."""
        if not self.peek():
            raise Unreadable("an empty block")
        items, taken = blocks(self.words[self.at :])
        self.at += taken
        return items

    def expression(self):
        """Operands and operators, by how they bind."""
        found = self.binary(0)
        if self.peek("::"):
            self.take()
            while self.peek() and self.peek().text not in CLOSE | {","}:
                self.take()
        return found

    def operator(self):
        """The operator that comes next, and how many words it takes."""
        word = self.peek()
        if word is None:
            return None, 0
        if word.kind == "op" and word.text not in ("=", "|", "<-", "->", "::", "\\", "@", ".."):
            return word.text, 1
        if word.kind == "special" and word.text == "`":
            return self.words[self.at + 1].text.rsplit(".", 1)[-1], 3
        return None, 0

    def binary(self, least):
        """Whatever binds at least so tightly."""
        if self.peek("-"):
            self.take()
            left = ("apply", ("name", "negate"), self.binary(7))
        else:
            left = self.application()
        while True:
            name, taken = self.operator()
            level, side = BINDING.get(name, (9, "left"))
            if name is None or level < least:
                return left
            after = self.peek(ahead=taken)
            if after is None or after.text == ")" and after.kind == "special":
                return left  # a section
            self.at += taken
            right = self.binary(level + (side == "left"))
            left = ("binary", name, left, right)

    def application(self):
        """A function and what it is given."""
        word = self.peek()
        if word is None:
            raise Unreadable("an expression is missing")
        if word.kind == "op" and word.text == "\\":
            self.take()
            patterns = []
            while not self.peek("->"):
                patterns.append(self.pattern())
            self.take()
            return ("lambda", patterns, self.expression())
        if word.kind == "var" and word.text == "do":
            self.take()
            return ("do", self.block())
        if word.kind == "var" and word.text == "let":
            self.take()
            items = self.block()
            self.take("in")
            return ("let", items, self.expression())
        if word.kind == "var" and word.text == "if":
            self.take()
            condition = self.expression()
            self.take("then")
            yes = self.expression()
            self.take("else")
            return ("if", condition, yes, self.expression())
        if word.kind == "var" and word.text == "case":
            self.take()
            subject = self.expression()
            self.take("of")
            return ("case", subject, self.block())
        found = self.atom()
        while self.begins_atom():
            found = ("apply", found, self.atom())
        return found

    def begins_atom(self):
        """Whether an argument comes next."""
        word = self.peek()
        if word is None:
            return False
        if word.kind == "special":
            return word.text in ("(", "[")
        if word.kind == "op":
            return False
        return not (word.kind == "var" and word.text in KEYWORDS - {"do"})

    def atom(self):
        """A literal, a name, something in brackets; with the fields that are changed in it."""
        word = self.take()
        if word.kind in ("text", "char"):
            found = ("literal", word.text)
        elif word.kind == "number":
            digits = word.text.replace("_", "")
            found = ("literal", float(digits) if "." in digits else int(digits))
        elif word.kind == "quoted":
            found = ("quoted", *word.text)
        elif word.kind == "var" and word.text == "do":
            self.at -= 1
            return self.application()
        elif word.kind in ("var", "con"):
            found = ("name", word.text)
        elif word.text == "(":
            found = self.bracketed()
        elif word.text == "[":
            found = self.listed()
        else:
            raise Unreadable(f"not understood: {word}")
        while self.peek("{") and self.peek().kind == "special":
            self.take()
            fields = []
            while not self.peek("}"):
                name = self.take().text
                self.take("=")
                fields.append((name, self.expression()))
                if self.peek(","):
                    self.take()
            self.take("}")
            found = ("fields", found, fields)
        return found

    def bracketed(self):
        """What follows an opening bracket: a section, a tuple, or an expression."""
        if self.peek(")"):
            self.take()
            return ("tuple", [])
        name, taken = self.operator()
        if name and not (name == "-" and not self.peek(")", ahead=1)):
            self.at += taken
            if self.peek(")"):
                self.take()
                return ("name", name)
            right = self.expression()
            self.take(")")
            return ("right section", name, right)
        members = [self.expression()]
        name, taken = self.operator()
        if name:
            self.at += taken
            self.take(")")
            return ("left section", name, members[0])
        while self.peek(","):
            self.take()
            members.append(self.expression())
        self.take(")")
        return members[0] if len(members) == 1 else ("tuple", members)

    def listed(self):
        """What follows an opening square bracket."""
        members = []
        while not self.peek("]"):
            members.append(self.expression())
            if self.peek(".."):
                self.take()
                last = self.expression()
                self.take("]")
                return ("range", members[0], last)
            if self.peek(","):
                self.take()
        self.take("]")
        return ("list", members)

    def pattern(self):
        """A name, `_`, a tuple, a list, or a constructor without arguments."""
        if self.peek("!"):
            self.take()
        word = self.take()
        if word.kind == "special" and word.text in ("(", "["):
            members, close = [], ")" if word.text == "(" else "]"
            while not self.peek(close):
                members.append(self.pattern())
                while not self.peek(",") and not self.peek(close):
                    members[-1] = ("con", members[-1][1], [*members[-1][2:], self.pattern()])
                if self.peek(","):
                    self.take()
            self.take(close)
            return members[0] if close == ")" and len(members) == 1 else ("members", members)
        if word.kind in ("var", "con"):
            return ("bind" if word.kind == "var" else "con", word.text, *([[]] if word.kind == "con" else []))
        return ("equal", word.text)


def declaration(words):
    """What a slice declares: its name and (patterns, body, where); None for what is no value."""
    if words[0].text in ("module", "import", "instance", "data", "type", "class", "newtype", "infixl", "infixr"):
        return None
    parser = Parser(words)
    if any(w.text == "::" and w.kind == "op" for w in words[1:4]) and not any(w.text == "=" for w in words[1:3]):
        return None
    subject = parser.pattern()
    patterns = []
    while not parser.peek("="):
        if not parser.peek() or parser.peek("|"):
            return None
        patterns.append(parser.pattern())
    parser.take("=")
    if subject[0] == "con":
        subject, patterns = ("con", subject[1], patterns), []
    rest, where = words[parser.at :], []
    column = words[0].column
    for at, word in enumerate(rest):
        if word.kind == "var" and word.text == "where" and word.first and word.column <= column + 4:
            rest, where = rest[:at], rest[at + 1 :]
            break
    return subject, (patterns, rest, blocks(where)[0] if where else [])
