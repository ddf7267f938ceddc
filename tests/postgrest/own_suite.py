"""Runs the cases of PostgREST's own specs against the binary and a database that it adopts:

    git clone https://github.com/PostgREST/postgrest CHECKOUT
    python3 tests/postgrest/own_suite.py CHECKOUT target/debug/mainstay [-v] [ONLY]

The specs are read from the checkout as they are: `haskell.py` reads the language, `evaluate.py` gives it meaning, `hspec.py` has the
words, `server.py` the database with PostgREST's fixtures and a server of ours for each configuration. Says how many cases there are,
how many run and pass, and what fails with request, expected and got. Fails when a case fails that `own_suite_exceptions.json` does not
name with a reason, or when one passes that it names. ONLY is a pattern for the names of cases; -v prints what excepted ones say, too.
"""

import json
import pathlib
import re
import sys
import time

from evaluate import Action, Evaluator, Record, Unknown
from haskell import Unreadable
from hspec import OPERATORS, Name, lasting, matcher, quoted, same, text_of, update, vocabulary
from server import Database, Server, known

PREFIX = "/rest/v1"


class Session:
    """Where a spec stands: its configuration, the names around it, the case that runs; and the account of it all."""

    def __init__(self, binary, database, only):
        self.binary, self.database, self.only = binary, database, only
        self.config, self.names, self.server, self.failures = None, [], None, None
        self.servers, self.base, self.last = {}, None, None
        self.verdicts, self.unread = {}, {}

    def within(self, name, action):
        """`describe`"""

        def run():
            self.names.append(name)
            try:
                action.run()
            finally:
                self.names.pop()

        return Action(run)

    def configured(self, config, action):
        """`withConfig`"""

        def run():
            before, self.config = self.config, config
            try:
                action.run()
            finally:
                self.config = before

        return Action(run)

    def named(self, name):
        """The whole name of a case; two may have one."""
        whole = " | ".join([*self.names, name])
        taken, number = {**self.verdicts, **self.unread}, 2
        while (whole if number == 2 else f"{whole} ({number - 1})") in taken:
            number += 1
        return whole if number == 2 else f"{whole} ({number - 1})"

    def case(self, name, action):
        """`it`"""

        def run():
            whole = self.named(name)
            if self.only and not re.search(self.only, whole):
                return
            self.failures = []
            try:
                action.run()
                self.verdicts[whole] = self.failures
            except (Unknown, Unreadable) as error:
                # What was sent before counts, if it failed.
                if self.failures:
                    self.verdicts[whole] = self.failures
                else:
                    self.unread[whole] = str(error)
            except Exception as error:  # noqa: BLE001
                self.verdicts[whole] = [*self.failures, f"{type(error).__name__}: {error}"]
            finally:
                self.failures = None

        return Action(run)

    def lost(self, words, error):
        """A statement of a spec that cannot be evaluated: the cases in it are named. Within a case that is the case's affair."""
        if self.failures is not None:
            return False
        for at, word in enumerate(words):
            if word.kind == "var" and word.text == "it" and at + 1 < len(words):
                name = self.named(words[at + 1].text)
                if not self.only or re.search(self.only, name):
                    self.unread[name] = str(error)
        return True

    def pending(self, reason):
        raise Unknown(f"pending: {reason}")

    def impossible(self, reason):
        raise Unknown(reason)

    def serving(self):
        """The server with the configuration that counts here."""
        key = repr(sorted((name, repr(value)) for name, value in self.config.items()))
        if key not in self.servers:
            try:
                self.servers[key] = Server(self.binary, self.database, self.config)
            except ValueError as error:
                self.servers[key] = error
        if isinstance(self.servers[key], ValueError):
            raise self.servers[key]
        return self.servers[key]

    def send(self, method, path, headers, body):
        """A request, when its turn comes. Nothing is kept unless the spec says so: `db-tx-end` is rollback in PostgREST's harness."""

        def run():
            sent = [(str(n), text_of(v)) for n, v in (headers if isinstance(headers, list) else [])]
            rolled = self.config["configDbTxRollbackAll"] and not any(n.lower() == "prefer" and "tx=" in v for n, v in sent)
            shown = f"{method} {path} {sent or ''} {text_of(body)}"
            if rolled:
                sent.append(("Prefer", "tx=rollback"))
            secret = known(self.config["configJwtSecret"]) or ""
            sent = [(n, re.sub(r"(?<=Bearer )\S+", lambda m: lasting(m[0], secret), v, flags=re.I) if n == "Authorization" else v) for n, v in sent]
            status, got, text = self.serving().send(method, path, sent, text_of(body))
            kept = []
            for name, value in got:
                if name.lower() == "preference-applied" and rolled:
                    value = re.sub(r"(^|, )tx=rollback(, |$)", lambda m: ", " if m[1] and m[2] else "", value)
                    if not value:
                        continue
                if name.lower() == "proxy-status":
                    value = value.replace("Mainstay;", "PostgREST;", 1)
                if name.lower() in ("location", "content-location"):
                    value = value.replace(PREFIX, "", 1)
                kept.append((Name(name), value))
            self.last = (shown, status, kept, text)
            return Record("SResponse", {"simpleStatus": Record("Status", {"statusCode": status}), "simpleHeaders": kept, "simpleBody": text})

        return Action(run)

    def compare(self, action, expected):
        """`shouldRespondWith`"""
        expected = matcher(expected)

        def run():
            answer = action.run()
            text, wrong = answer["simpleBody"], []
            status = answer["simpleStatus"]["statusCode"]
            if status != expected.status:
                wrong.append(f"status {expected.status} expected, got {status}")
            for check in expected.headers:
                said = check.members[0](answer["simpleHeaders"], text)
                # How long the body of a HEAD would be is the transport's to say.
                if said and not (self.last[0].startswith("HEAD") and said.startswith("Content-Length")):
                    wrong.append(said)
            if expected.body is not None and not same(text, expected.body):
                wrong.append(f"body expected\n        {text_of(expected.body)}\n      got\n        {text[:2000]}")
            elif wrong:
                wrong.append(f"body {text[:300]}")
            self.expect(not wrong, "\n      ".join(wrong)).run()
            return answer

        return Action(run)

    def expect(self, holds, said):
        """Notes what does not hold."""

        def run():
            if not holds:
                self.failures.append(f"{self.last[0]}\n      {said[:4000]}")
            return ()

        return Action(run)


class Specs(Evaluator):
    """Specs go on behind a statement that cannot be evaluated."""

    def __init__(self, session):
        super().__init__(quoted, update, OPERATORS)
        self.session = session

    def statement(self, words, scope):
        try:
            return super().statement(words, scope)
        except (Unknown, Unreadable) as error:
            if not self.session.lost(words, error):
                raise
            return ()


def run_all(checkout, session):
    """Every spec that `Main.hs` names, in its order."""
    folder = checkout / "test/spec"
    specs = Specs(session)
    words = vocabulary(session, checkout)
    helper = specs.module((folder / "SpecHelper.hs").read_text(), words)
    words.names["baseCfg"] = helper.names["baseCfg"]
    listed = re.findall(r'\(\s*"([\w.]+)"\s*,\s*(Feature[\w.]+)\.(\w+)[^)]*\)', (folder / "Main.hs").read_text())
    listed += re.findall(r'describe "([\w.]+)" \$ (Feature[\w.]+)\.(\w+) with', (folder / "Main.hs").read_text())
    for label, module, entry in listed:
        scope = specs.module((folder / (module.replace(".", "/") + ".hs")).read_text(), words)
        session.names = [f"{label.removeprefix('Feature.')}"]
        value = scope.get(entry)
        if "actualPgVersion" in (folder / (module.replace(".", "/") + ".hs")).read_text() and entry == "spec":
            value = value(session.database.version)
        try:
            specs.run(value(words.get("withConfig")))
        except (Unknown, Unreadable) as error:
            session.unread[label] = str(error)


def judge(session, exceptions, loud):
    """Says what passed, what did not and why; whether all of it was to be expected, as an exit code."""
    passed = [name for name, failures in session.verdicts.items() if not failures]
    failed = {name: failures for name, failures in session.verdicts.items() if failures}
    reasons = {name: group["reason"] for group in exceptions for name in group["cases"]}
    unnamed = {name: failures for name, failures in failed.items() if name not in reasons}
    for name, failures in (failed if loud else unnamed).items():
        print(f"{name}\n    " + "\n    ".join(failures))
    found = len(session.verdicts) + len(session.unread)
    print(f"{found} cases found, {len(session.verdicts)} run, {len(passed)} pass, {len(failed)} fail; {len(session.unread)} not extractable")
    for group in exceptions:
        count = sum(name in failed for name in group["cases"])
        print(f"{count} not: {group['reason']}")
    for name, reason in session.unread.items():
        print(f"not extractable: {name}: {reason}")
    if session.only:
        return int(bool(unnamed))
    mended = [name for name in reasons if name not in failed]
    for name in unnamed:
        print(f"fails without a reason: {name}", file=sys.stderr)
    for name in mended:
        print(f"passes, though named as an exception: {name}", file=sys.stderr)
    return int(not passed or bool(unnamed) or bool(mended))


def main():
    arguments = [a for a in sys.argv[1:] if a != "-v"]
    checkout, binary = pathlib.Path(arguments[0]).resolve(), pathlib.Path(arguments[1]).resolve()
    named = pathlib.Path(__file__).with_name("own_suite_exceptions.json")
    exceptions = json.loads(named.read_text())
    sys.setrecursionlimit(10_000)
    started = time.monotonic()
    database = Database()
    session = Session(binary, database, arguments[2] if len(arguments) > 2 else None)
    try:
        if not database.load(checkout):
            print("without PostGIS")
        run_all(checkout, session)
    finally:
        for server in session.servers.values():
            if isinstance(server, Server):
                server.stop()
        database.stop()
    print(f"in {time.monotonic() - started:.0f} s")
    return judge(session, exceptions, "-v" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
