"""Evaluates the Haskell of the specs: functions take one argument after the other, bindings wait until they are needed, and an
action (of IO, of a session, of a specification) is a Python function without arguments, wrapped so that nothing runs it early.
"""

import re

from haskell import Parser, Unreadable, blocks, declaration, tokens


class Unknown(Exception):
    """A name that we have no meaning for, or a form that is not evaluated."""


class Action:
    """Something to be done when its turn comes."""

    def __init__(self, run):
        self.run = run


class Function:
    """A function of so many arguments, of which some are there."""

    def __init__(self, arity, body, given=()):
        self.arity, self.body, self.given = arity, body, given

    def __call__(self, argument):
        given = (*self.given, argument)
        return self.body(*given) if len(given) == self.arity else Function(self.arity, self.body, given)


class Con:
    """A constructor with its arguments."""

    def __init__(self, name, members=()):
        self.name, self.members = name, tuple(members)

    def __call__(self, argument):
        return Con(self.name, (*self.members, argument))

    def __eq__(self, other):
        return isinstance(other, Con) and (self.name, self.members) == (other.name, other.members)

    def __hash__(self):
        return hash(self.name)

    def __repr__(self):
        return " ".join([self.name, *map(repr, self.members)])


class Record(dict):
    """A record: its constructor's name and its fields."""

    def __init__(self, name, fields):
        super().__init__(fields)
        self.name = name


class Lazy:
    """A value that is made when it is first asked for."""

    def __init__(self, make):
        self.make, self.value = make, self

    def get(self):
        if self.value is self:
            self.value = self.make()
        return self.value


class Scope:
    """Names in reach."""

    def __init__(self, outer=None):
        self.names, self.outer = {}, outer

    def get(self, name):
        scope = self
        while scope:
            if name in scope.names:
                value = scope.names[name]
                return value.get() if isinstance(value, Lazy) else value
            scope = scope.outer
        if re.fullmatch(r"(\w+\.)+\w+", name):
            return self.get(name.rsplit(".", 1)[1])
        if name[:1].isupper():
            return Con(name)
        raise Unknown(name)

    def declare(self, items, evaluator):
        """The bindings of a block, each a slice of words."""
        for words in items:
            try:
                found = declaration(words)
            except Unreadable:
                continue
            if not found:
                continue
            pattern, (patterns, body, where) = found
            make = lambda p=patterns, b=body, w=where: evaluator.closure(p, b, w, self)  # noqa: E731
            if pattern[0] == "bind":
                self.names[pattern[1]] = Lazy(make)
            else:
                whole = Lazy(make)
                for name in names_of(pattern):
                    self.names[name] = Lazy(lambda n=name, w=whole, p=pattern: self.part(p, w, n))

    def part(self, pattern, whole, name):
        """One name of a pattern that takes a value apart."""
        scope = Scope()
        if not match(pattern, whole.get(), scope):
            raise Unknown(f"the pattern of {name} does not match")
        return scope.names[name]


def names_of(pattern):
    """The names that a pattern binds."""
    if pattern[0] == "bind":
        return [pattern[1]]
    return [name for inner in (pattern[-1] if isinstance(pattern[-1], list) else []) for name in names_of(inner)]


def match(pattern, value, scope):
    """Whether a value is of this form; binds the names."""
    kind = pattern[0]
    if kind == "bind":
        if pattern[1] != "_":
            scope.names[pattern[1]] = value
        return True
    if kind == "equal":
        return value == pattern[1]
    if kind == "members":
        inner = pattern[1]
        return isinstance(value, (list, tuple)) and len(value) == len(inner) and all(map(lambda p, v: match(p, v, scope), inner, value))
    value = value if isinstance(value, Con) else Con(type(value).__name__)
    return value.name == pattern[1] and all(map(lambda p, v: match(p, v, scope), pattern[2], value.members))


class Evaluator:
    """What expressions mean. `quoted` gives meaning to quasi-quotes, `update` to changed fields of what is no record."""

    def __init__(self, quoted, update, operators):
        self.quoted, self.update, self.operators = quoted, update, operators

    def module(self, text, outer):
        """The scope of a file's declarations."""
        scope = Scope(outer)
        words = tokens(text)
        scope.declare(blocks([w for w in words if w.text != "\f"])[0], self)
        return scope

    def closure(self, patterns, words, where, scope):
        """A declared value, or a function."""

        def body(*values):
            inner = Scope(scope)
            for pattern, value in zip(patterns, values):
                if not match(pattern, value, inner):
                    raise Unknown("a pattern does not match")
            inner.declare(where, self)
            return self.value(Parser(words).whole(), inner)

        return Function(len(patterns), body) if patterns else body()

    def value(self, tree, scope):
        """What an expression is worth."""
        return getattr(self, "of_" + tree[0].replace(" ", "_"))(scope, *tree[1:])

    def call(self, function, argument):
        if not callable(function):
            raise Unknown(f"{function!r} is no function")
        return function(argument)

    def of_literal(self, _scope, value):
        return value

    def of_name(self, scope, name):
        if name in self.operators:
            return Function(2, self.operators[name])
        return scope.get(name)

    def of_quoted(self, scope, quoter, text):
        def inside(found):
            return self.value(Parser(tokens(found)).whole(), scope)

        return self.quoted(quoter, text, inside)

    def of_apply(self, scope, function, argument):
        return self.call(self.value(function, scope), self.value(argument, scope))

    def of_binary(self, scope, name, left, right):
        left, right = self.value(left, scope), self.value(right, scope)
        if name in self.operators:
            return self.operators[name](left, right)
        return self.call(self.call(scope.get(name), left), right)

    def of_left_section(self, scope, name, left):
        return self.call(self.of_name(scope, name), self.value(left, scope))

    def of_right_section(self, scope, name, right):
        right = self.value(right, scope)
        return Function(1, lambda left: self.call(self.call(self.of_name(scope, name), left), right))

    def of_tuple(self, scope, members):
        return tuple(self.value(m, scope) for m in members)

    def of_list(self, scope, members):
        return [self.value(m, scope) for m in members]

    def of_range(self, scope, first, last):
        return list(range(self.value(first, scope), self.value(last, scope) + 1))

    def of_if(self, scope, condition, yes, no):
        return self.value(yes if self.value(condition, scope) else no, scope)

    def of_lambda(self, scope, patterns, body):
        def run(*values):
            inner = Scope(scope)
            for pattern, value in zip(patterns, values):
                match(pattern, value, inner)
            return self.value(body, inner)

        return Function(len(patterns), run)

    def of_let(self, scope, items, body):
        inner = Scope(scope)
        inner.declare(items, self)
        return self.value(body, inner)

    def of_case(self, scope, subject, items):
        subject = self.value(subject, scope)
        for words in items:
            parser, inner = Parser(words), Scope(scope)
            pattern = parser.pattern()
            parser.take("->")
            if match(pattern, subject, inner):
                return self.value(parser.whole(), inner)
        raise Unknown("no case matches")

    def of_fields(self, scope, subject, fields):
        fields = {name: self.value(value, scope) for name, value in fields}
        subject = self.value(subject, scope)
        if isinstance(subject, Con):
            subject = Record(subject.name, {})
        if isinstance(subject, Record):
            return Record(subject.name, {**subject, **fields})
        return self.update(subject, fields)

    def of_do(self, scope, items):
        def run():
            inner, last = Scope(scope), ()
            for words in items:
                last = self.statement(words, inner)
            return last

        return Action(run)

    def statement(self, words, scope):
        """One line of a `do`: binds, declares, or does something."""
        if words[0].text == "let" and words[0].kind == "var":
            parser = Parser(words[1:])
            items = parser.block()
            if not parser.peek():
                scope.declare(items, self)
                return ()
        depth = 0
        for at, word in enumerate(words):
            depth += (word.text in ("(", "[")) - (word.text in (")", "]")) if word.kind == "special" else 0
            if word.kind == "var" and word.text == "do":
                break
            if word.text == "<-" and word.kind == "op" and depth == 0:
                value = self.run(self.value(Parser(words[at + 1 :]).whole(), scope))
                parser = Parser(words[:at])
                pattern = parser.pattern()
                while parser.peek():
                    pattern = ("con", pattern[1], [*pattern[2], parser.pattern()])
                if not match(pattern, value, scope):
                    raise Unknown("a pattern does not match")
                return value
        return self.run(self.value(Parser(words).whole(), scope))

    def run(self, action):
        """Does it now."""
        if not isinstance(action, Action):
            raise Unknown(f"{action!r} is nothing to be done")
        return action.run()
