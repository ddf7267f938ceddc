"""The words that PostgREST's specs use, of hspec, hspec-wai, aeson and its own SpecHelper, and what they do here: send requests to a
server of ours and compare the answers.

Some things are compared otherwise than in a process of Haskell. `Content-Length` has to be that of the body that came: PostgreSQL
writes rows with blanks and line breaks, we do not. JSON is compared as JSON. `/rest/v1`, where we serve, is taken off of `Location`, and
`Proxy-Status` begins with our name. Tokens that never expire, which we refuse, are sent with an hour to live.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import re
import time

from evaluate import Action, Con, Function, Record, Scope, Unknown


class Name(str):
    """The name of a header: case does not matter."""

    def __eq__(self, other):
        return str(self).lower() == str(other).lower()

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(str(self).lower())


class Json:
    """A value of JSON and how it was written."""

    def __init__(self, value, text=None):
        self.value, self.text = value, json.dumps(value, ensure_ascii=False, separators=(",", ":")) if text is None else text

    def __repr__(self):
        return self.text


class Empty:
    """`mempty`: whatever is nothing where it stands."""

    def __repr__(self):
        return "mempty"


class Lens:
    """A way into a value of JSON."""

    def __init__(self, *steps):
        self.steps = steps

    def into(self, value):
        for step in self.steps:
            if step is None:
                continue
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return Con("Nothing")
        return Con("Just", [value if self.steps and self.steps[-1] is None else Json(value)])


class Matcher:
    """What an answer has to be. A body of None is any."""

    def __init__(self, status=200, headers=(), body=None):
        self.status, self.headers, self.body = status, headers, body


def read_json(text):
    """JSON, also with keys that are not quoted, as Haskell's quoter takes it."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(re.sub(r'([{,]\s*)([A-Za-z_$][\w$]*)(\s*:)', r'\1"\2"\3', text))


def text_of(value):
    """The text that something is sent or compared as."""
    if isinstance(value, Json):
        return value.text
    if isinstance(value, Empty):
        return ""
    if isinstance(value, str):
        return value
    raise Unknown(f"{value!r} as text")


def plain(value):
    """A value in which what is equal looks equal."""
    if isinstance(value, Record) and value.name == "Status":
        return ("Status", value["statusCode"])
    if isinstance(value, Con):
        return (value.name, *map(plain, value.members))
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Empty):
        return ""
    return value


def same(left, right):
    """Whether two values are equal; text beside JSON is read as JSON."""
    left, right = plain(left), plain(right)
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return all(map(same, left, right))
    if isinstance(left, tuple) and isinstance(right, tuple):
        return left[0] == right[0] and len(left) == len(right) and all(map(same, left[1:], right[1:]))
    if isinstance(left, Json) or isinstance(right, Json):
        try:
            left, right = (v.value if isinstance(v, Json) else json.loads(v) if isinstance(v, str) else v for v in (left, right))
        except ValueError:
            return False
    return type(left) is type(right) and left == right or isinstance(left, str) and isinstance(right, str) and left == right


def header(name, value):
    """`<:>`"""

    def check(headers, body):
        got = [v for n, v in headers if n == name]
        if Name(name) == "Content-Length":
            return None if got == [str(len(body.encode("utf-8", "surrogateescape")))] else f"{name}: {got}, not that of the body"
        return None if text_of(value) in got else f"{name}: {value} expected, got {got}"

    return Con("MatchHeader", [check])


def absent(name):
    """`matchHeaderAbsent`"""

    def check(headers, _body):
        return f"{name}: unexpected" if any(n == name for n, _ in headers) else None

    return Con("MatchHeader", [check])


def content_type(*allowed):
    """One Content-Type, which is one of these."""

    def check(headers, _body):
        got = [v for n, v in headers if n == "Content-Type"]
        return None if len(got) == 1 and got[0] in allowed else f"Content-Type: {allowed[0]} expected, got {got}"

    return Con("MatchHeader", [check])


def pattern(name, regex):
    """A header whose value has something of this form."""

    def check(headers, _body):
        got = [v for n, v in headers if n == name]
        return None if got and re.search(regex, got[0]) else f"{name}: {regex} expected, got {got}"

    return Con("MatchHeader", [check])


JSON_TYPE = content_type("application/json; charset=utf-8", "application/json")


def matcher(value):
    """The matcher that a literal stands for."""
    if isinstance(value, Matcher):
        return value
    if isinstance(value, int):
        return Matcher(value)
    if isinstance(value, Json):
        return Matcher(200, [JSON_TYPE], value)
    return Matcher(200, [], text_of(value))


def update(subject, fields):
    """A matcher with some fields changed."""
    found = matcher(subject)
    body = fields.get("matchBody", found.body)
    return Matcher(fields.get("matchStatus", found.status), fields.get("matchHeaders", found.headers), body)


def quoted(quoter, text, inside):
    """What quasi-quotes stand for."""
    if quoter == "str":
        first, *rest = text.split("\n")
        return "\n".join([first, *(re.sub(r"^\s*\|", "", line) for line in rest)])
    if quoter in ("json", "aesonQQ"):
        filled = re.sub(r"#\{(.*?)\}", lambda m: json.dumps(plain_json(inside(m[1]))), text)
        try:
            value = read_json(filled)
        except ValueError as error:
            raise Unknown(f"JSON: {error}") from error
        return Json(value)
    raise Unknown(f"[{quoter}|")


def plain_json(value):
    """A value as JSON has it."""
    return value.value if isinstance(value, Json) else value


def joined(left, right):
    """`<>`"""
    if isinstance(left, Empty) or isinstance(right, Empty):
        return right if isinstance(left, Empty) else left
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return [*left, *right]
    return text_of(left) + text_of(right)


def after(outer, inner):
    """`.`, of functions and of lenses."""
    if isinstance(outer, Lens):
        return Lens(*outer.steps, *inner.steps)
    return Function(1, lambda value: outer(inner(value)))


def preview(subject, lens):
    """`^?`"""
    try:
        value = subject.value if isinstance(subject, Json) else json.loads(text_of(subject))
    except ValueError:
        return Con("Nothing")
    return lens.into(value)


def mapped(function, subject):
    """`<$>`, of lists, maybes and actions."""
    if isinstance(subject, Action):
        return Action(lambda: function(subject.run()))
    if isinstance(subject, Con):
        return Con(subject.name, [function(subject.members[0])]) if subject.members else subject
    return [function(v) for v in subject]


def token(claims, secret):
    """A JWT, signed with HS256."""
    parts = ['{"alg":"HS256"}', text_of(claims)]
    signed = b".".join(base64.urlsafe_b64encode(p.encode()).rstrip(b"=") for p in parts)
    sign = hmac.new(secret.encode("utf-8", "surrogateescape"), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(sign).rstrip(b"=")).decode()


def lasting(given, secret):
    """A token that is good for ever, which we take from nobody, as one that expires in an hour: signed anew, if the secret is its own."""
    try:
        head, body, sign = given.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        own = hmac.new(secret.encode("utf-8", "surrogateescape"), f"{head}.{body}".encode(), hashlib.sha256).digest()
    except (ValueError, AttributeError):
        return given
    if "exp" in claims or base64.urlsafe_b64encode(own).rstrip(b"=").decode() != sign:
        return given
    return token(json.dumps({**claims, "exp": int(time.time()) + 3600}), secret)


def timings(headers):
    """The parts of `Server-Timing`."""
    found = {}
    for name, value in headers:
        if name == "Server-Timing":
            for part in value.split(","):
                timed = part.split(";")
                if len(timed) == 2:
                    found[timed[0].strip()] = float(timed[1].split("=")[1])
    return found


def maybe(value):
    """None is Nothing."""
    return Con("Nothing") if value is None else Con("Just", [value])


def pages(first, last=""):
    """The headers of a range."""
    return [("Range-Unit", "items"), ("Range", f"{first}-{last}")]


OPERATORS = {
    "$": lambda f, x: f(x), "$!": lambda f, x: f(x), "&": lambda x, f: f(x), ".": after, "<>": joined, "++": joined,
    "<:>": header, "^?": preview, "<$>": mapped, "<$!>": mapped, ":": lambda head, tail: [head, *(tail if isinstance(tail, list) else [])],
    "==": same, "/=": lambda a, b: not same(a, b), "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b, "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "&&": lambda a, b: a and b, "||": lambda a, b: a or b, "!!": lambda a, n: a[n],
}  # fmt: skip


def text_inside(part, whole):
    """`isInfixOf`"""
    return text_of(part) in text_of(whole)


def vocabulary(session, checkout):
    """The scope that specs are evaluated in. `session` sends, compares, and keeps account."""
    scope = Scope()
    names = scope.names

    def define(name, body, arity=1):
        names[name] = Function(arity, body) if arity else body

    for method in ("Get", "Post", "Put", "Patch", "Delete", "Head", "Options"):
        names["method" + method] = method.upper()
    for name, value in {
        "hContentType": "Content-Type", "hContentLength": "Content-Length", "hLocation": "Location", "hAccept": "Accept",
        "hOrigin": "Origin", "hAuthorization": "Authorization", "hCacheControl": "Cache-Control", "hContentEncoding": "Content-Encoding",
        "hAllow": "Allow", "hRange": "Range", "hVary": "Vary",
    }.items():  # fmt: skip
        names[name] = Name(value)
    names.update({"True": True, "False": False, "mempty": Empty(), "otherwise": True, "ResponseMatcher": Matcher()})
    for name, code in {"status200": 200, "ok200": 200, "badRequest400": 400, "internalServerError500": 500}.items():
        names[name] = Record("Status", {"statusCode": code})
    names.update({f"pgVersion{n}": n for n in range(100, 300)})

    send = session.send
    define("get", lambda path: send("GET", path, [], ""))
    define("delete", lambda path: send("DELETE", path, [], ""))
    for method in ("post", "put", "patch"):
        define(method, lambda path, body, m=method: send(m.upper(), path, [], body), 2)
    define("request", send, 4)
    define("describe", session.within, 2)
    define("context", session.within, 2)
    define("it", session.case, 2)
    define("parallel", lambda action: action)
    define("pendingWith", lambda reason: Action(lambda: session.pending(reason)))
    define("withConfig", session.configured, 2)
    define("liftIO", lambda action: action)
    define("pure", lambda value: Action(lambda: value))
    define("return", lambda value: Action(lambda: value))
    define("void", lambda action: action)
    define("when", lambda condition, action: action if condition else Action(tuple), 2)
    define("shouldRespondWith", session.compare, 2)
    define("shouldBe", lambda got, want: session.expect(same(got, want), f"{want!r} expected, got {got!r}"), 2)
    define("shouldNotBe", lambda got, want: session.expect(not same(got, want), f"got {got!r}"), 2)
    define("shouldSatisfy", lambda got, holds: session.expect(holds(got), f"does not hold: {got!r}"), 2)
    define("shouldContain", lambda got, part: session.expect(all(any(same(g, p) for g in got) for p in part), f"{part} expected in {got}"), 2)

    define("matchHeaderAbsent", absent)
    define("matchHeaderValuePresent", lambda name, value: pattern(name, re.escape(value)), 2)
    define("matchServerTimingHasTiming", lambda metric: pattern("Server-Timing", metric + r";dur=\d+\.?\d*"))
    names["matchContentTypeJson"] = content_type("application/json; charset=utf-8")
    names["matchContentTypeSingular"] = content_type("application/vnd.pgrst.object+json; charset=utf-8")
    names["matchCTArrayStrip"] = content_type("application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8")
    names["matchCTSingularStrip"] = content_type("application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8")
    define("bodyEquals", lambda body: body)
    define("MatchBody", lambda check: None if check([])("") == Con("Nothing") else Con("MatchBody", [check]))
    define("matchHeader", lambda name, regex, headers: any(n == name and re.search(regex, v) for n, v in headers), 3)
    define("noBlankHeader", lambda headers: all(n and v for n, v in headers))
    define("noProfileHeader", lambda headers: all(n != "Content-Profile" for n, _ in headers))
    define("notZeroContentLength", lambda headers: any(n == "Content-Length" and v != "0" for n, v in headers))
    define("isErrorFormat", lambda body: {"message"} <= set(json.loads(body)) <= {"message", "details", "hint", "code"})
    define("validateOpenApiResponse", lambda _headers: session.impossible("a schema of OpenAPI 2.0"))

    define("acceptHdrs", lambda media: [("Accept", media)])
    names["planHdr"] = ("Accept", "application/vnd.pgrst.plan+json")
    define("authHeader", lambda scheme, credentials: ("Authorization", f"{scheme} {credentials}"), 2)
    define("authHeaderJWT", lambda text: ("Authorization", f"Bearer {text}"))
    define("ByteRangeFromTo", lambda first, last: pages(first, last), 2)
    define("ByteRangeFrom", pages)
    define("rangeHdrs", lambda headers: headers)
    define("rangeHdrsWithCount", lambda headers: [("Prefer", "count=exact"), *headers])
    names["generateSecret"] = base64.b64decode("cmVhbGx5cmVhbGx5cmVhbGx5cmVhbGx5dmVyeXNhZmU=").decode()
    define("generateJWT", lambda claims: token(claims, names["generateSecret"]))
    define("generateJWTWithSecret", token, 2)
    define("parseSecret", lambda secret: secret)
    define("rightToMaybe", lambda secret: Con("Just", [secret]))
    define("QualifiedIdentifier", lambda schema, name: (text_of(schema), name), 2)
    define("getInsertDataForTiobePlsTable", lambda rows: Json([{"name": f"Lang {n}", "rank": n} for n in range(20, rows + 21)]))
    define("relativeSeconds", lambda seconds: Action(lambda: int(time.time()) + seconds))
    fixtures = pathlib.Path(checkout) / "test/spec/fixtures"
    define("readFixtureFile", lambda name: (fixtures / name).read_bytes().decode("utf-8", "surrogateescape"))
    define("planCost", lambda answer: (lambda found: found.members[0].value if found.members else 1e9)(preview(answer["simpleBody"], Lens(0, "Plan", "Total Cost"))))
    names.update({"docsVersion": "devel", "defaultRoleJSPathKey": "$.role"})

    for field in ("simpleStatus", "simpleHeaders", "simpleBody"):
        define(field, lambda answer, f=field: answer[f])
    define("statusCode", lambda status: status["statusCode"])
    define("key", Lens)
    define("nth", Lens)
    names.update({"_String": Lens(None), "_Number": Lens(None), "_Array": Lens(None)})
    for same_text in ("toStrict", "decodeUtf8", "encodeUtf8", "toS", "fromList", "pack", "original", "identity", "show", "mk"):
        define(same_text, lambda value: value)
    define("elem", lambda item, items: any(same(item, i) for i in items), 2)
    define("notElem", lambda item, items: not any(same(item, i) for i in items), 2)
    define("lookup", lambda name, items: maybe(next((v for n, v in (items.items() if isinstance(items, dict) else items) if n == name), None)), 2)
    define("parseServerTimingHeader", timings)
    define("isInfixOf", text_inside, 2)
    define("splitOn", lambda by, text: text_of(text).split(by), 2)
    define("take", lambda count, text: text_of(text)[:count], 2)
    define("length", len)
    define("not", lambda value: not value)
    define("negate", lambda value: -value)
    define("subtract", lambda less, value: value - less, 2)
    define("even", lambda value: value % 2 == 0)
    define("const", lambda value, _: value, 2)
    define("map", mapped, 2)
    define("filter", lambda holds, items: [i for i in items if holds(i)], 2)
    define("liftBaseDiscard", lambda run: lambda action: run(action))
    define("mapConcurrently", lambda function, items: Action(lambda: [function(i).run() for i in items]), 2)
    define("isJust", lambda value: value.name == "Just")
    define("isNothing", lambda value: value.name == "Nothing")
    define("fromMaybe", lambda default, value: value.members[0] if value.members else default, 2)
    define("maybe", lambda default, function, value: function(value.members[0]) if value.members else default, 3)
    define("liftA2", lambda f, a, b: Con("Just", [f(a.members[0])(b.members[0])]) if a.members and b.members else Con("Nothing"), 3)
    names["empty"] = Empty()
    return scope
