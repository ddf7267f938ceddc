"""Runs postgrest-py's own integration tests, as they are, against the binary and a database that it adopts:

    git clone https://github.com/supabase/postgrest-py CHECKOUT
    python3 -m venv VENV && VENV/bin/pip install CHECKOUT pytest pytest-asyncio pytest-cov pytest-depends unasync
    VENV/bin/python tests/postgrest-py/own_suite.py CHECKOUT target/debug/mainstay postgres://postgres@/empty_database

The suite wants PostgREST at http://127.0.0.1:3000 without a prefix: a gateway of ours stands there. Fails when a test fails that is
no exception, or when an exception passes.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

# What fails, and why.
EXCEPTIONS = {
    "test_explain_json": "the plan is that of PostgREST's statement, which aggregates the rows to JSON inside of the database",
    "test_explain_text": "the plan names the aliases of PostgREST's statement",
}


def serve(binary, folder, name, toml):
    """A project served from a folder of its own; its process and address."""
    project = folder / name
    project.mkdir()
    (project / "mainstay.toml").write_text(toml)
    process = subprocess.Popen(
        [binary, "serve", project, "--admin", "127.0.0.1:0", "--set", "log.access=false", "--set", "log.level=warn"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("ready "):
            return process, line.removeprefix("ready ").strip()
    raise SystemExit(f"{name} ended with {process.wait()}")


def judge(report):
    """Says what passed, what did not and why; whether all of it was to be expected, as an exit code."""
    results = re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", report, re.MULTILINE)
    passed = [name for verdict, name in results if verdict == "PASSED"]
    failed = [name for verdict, name in results if verdict != "PASSED"]
    print(f"{len(passed)} of {len(results)} tests pass")
    for name, reason in EXCEPTIONS.items():
        print(f"{failed.count(name)} not, {name}: {reason}")
    unnamed = sorted({name for name in failed if name not in EXCEPTIONS})
    mended = sorted({name for name in passed if name in EXCEPTIONS})
    for name in unnamed:
        print(f"fails without a reason: {name}", file=sys.stderr)
    for name in mended:
        print(f"passes, though named as an exception: {name}", file=sys.stderr)
    if not passed or unnamed:
        print(report, file=sys.stderr)
    return int(not passed or bool(unnamed) or bool(mended))


def main():
    checkout, binary, database = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
    subprocess.run(["psql", database, "-q", "-f", checkout / "infra/init.sql"], stdout=subprocess.DEVNULL, check=False)
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            api, address = serve(
                binary,
                folder,
                "api",
                f'[gateway]\nlisten = "127.0.0.1:0"\n[store.main]\nurl = "{database}"\n[auth]\nsecret = "{"s" * 40}"\n'
                '[api]\nanon = "postgres"\nplan = true\n',
            )
            processes.append(api)
            gateway, _ = serve(
                binary,
                folder,
                "gateway",
                f'[gateway]\nlisten = "127.0.0.1:3000"\n[upstream.rest]\nservers = ["{address.removeprefix("http://")}"]\n'
                '[[route]]\nmatch = "/**"\nto = "rest"\nrewrite = "/rest/v1/**"\n',
            )
            processes.append(gateway)
            tests = [f"tests/{kind}/test_filter_request_builder_integration.py" for kind in ("_async", "_sync")]
            pytest = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider", *tests]
            report = subprocess.run(pytest, cwd=checkout, stdout=subprocess.PIPE, text=True, check=False).stdout
            return judge(report)
        finally:
            for process in processes:
                process.kill()


if __name__ == "__main__":
    sys.exit(main())
