"""A throw-away PostgreSQL with PostgREST's fixtures, and the servers of ours that adopt it, one for each configuration."""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.parse

from evaluate import Con

# PostgREST's harness writes the role's name so, which tests that it is quoted everywhere.
LOGIN = "Postgrest_Test_Authenticator"


def as_postgres(command):
    """The database refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


class Database:
    """A PostgreSQL server on a socket of its own."""

    def __init__(self):
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            raise SystemExit("no PostgreSQL server is installed (cargo xtask engines)")
        self.bin = programs[-1].parent
        self.version = int(self.bin.parent.name) * 10
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mainstay-postgrest-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        data = self.folder / "data"
        self.tool("initdb", "-D", data, "--locale=C", "--encoding=UTF8", "--auth=trust", "-U", "postgres")
        preload = " -c shared_preload_libraries=pg_stat_statements"
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off -c timezone=UTC -c max_connections=300{preload}"
        self.tool("pg_ctl", "-D", data, "-w", "-l", self.folder / "log", "-o", options, "start")

    def tool(self, name, *arguments):
        """Runs one of PostgreSQL's programs; ends with what it says when it fails."""
        command = as_postgres([str(self.bin / name), *map(str, arguments)])
        # A server that was started keeps its output open: it goes into a file.
        with open(self.folder / "said", "w+", encoding="utf-8") as said:
            if subprocess.run(command, stdout=said, stderr=said, cwd=self.folder, check=False).returncode:
                raise SystemExit(f"{name}: {(self.folder / 'said').read_text()}")

    def url(self, user, database="postgres"):
        """How to get in."""
        return f"postgres://{user}@/{database}?host={self.folder}"

    def psql(self, *arguments, database="postgres", fails=True):
        """Runs statements; ends with what psql says when they fail."""
        command = [str(self.bin / "psql"), self.url("postgres", database), "-v", "ON_ERROR_STOP=1", "-qX", *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode and fails:
            raise SystemExit(f"psql: {done.stdout}")
        return done.returncode == 0

    def load(self, checkout):
        """The fixtures, as PostgREST's own harness loads them. Says whether the shapes of PostGIS are there."""
        fixtures = self.folder / "fixtures"
        shutil.copytree(pathlib.Path(checkout) / "test", fixtures)
        self.psql("-c", f'CREATE ROLE "{LOGIN}" LOGIN NOINHERIT')
        postgis = any(pathlib.Path("/usr/share/postgresql").glob(f"{self.version // 10}/extension/postgis.control"))
        if not postgis:
            self.psql("-c", "CREATE SCHEMA IF NOT EXISTS extensions")
            for file in ("schema.sql", "data.sql"):
                path = fixtures / "spec/fixtures" / file
                path.write_text(without_shapes(path.read_text()))
        self.psql("-v", f"PGUSER={LOGIN}", "-f", fixtures / "spec/fixtures/load.sql")
        for name, value in {"app.settings.app_host": "localhost", "app.settings.external_api_secret": "0123456789abcdef"}.items():
            self.psql("-c", f"ALTER ROLE \"{LOGIN}\" SET \"{name}\" = '{value}'")
        self.psql("-c", "ANALYZE")
        return postgis

    def stop(self):
        """Ends it, and removes all of it."""
        self.tool("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)


def without_shapes(text):
    """The fixtures without what needs PostGIS: its types are text, its functions are left out."""
    text = re.sub(r"(?im)^create extension if not exists postgis.*$", "", text)
    text = re.sub(r"extensions\.geometry(\([^)]*\))?", "text", text)
    return re.sub(r"extensions\.ST_\w+\(('[^']*')(?:::text)?(?:,[^)]*)?\)", r"\1", text, flags=re.IGNORECASE)


def known(value):
    """A Maybe as Python has it."""
    return value.members[0] if isinstance(value, Con) and value.members else None if isinstance(value, Con) else value


def settings(config, database, folder):
    """`mainstay.toml` for a configuration of PostgREST, or what it has that we have not, as a reason."""
    quote = json.dumps
    schemas = list(config["configDbSchemas"])
    lines = ['[gateway]', 'listen = "127.0.0.1:0"']
    if known(config.get("configOpenApiServerProxyUri")):
        lines.append(f"url = {quote(known(config['configOpenApiServerProxyUri']))}")
    origins = config.get("configServerCorsAllowedOrigins") or ["*"]
    lines += ["[gateway.cors]", f"origins = {quote(origins)}"]
    if origins != ["*"]:
        lines.append("credentials = true")
    lines += ["[store.main]", f"url = {quote(database.url(LOGIN))}", "connections = 4", "[api]", f"schemas = {quote(schemas, ensure_ascii=False)}"]
    lines.append(f"anon = {quote(known(config['configDbAnonRole']) or 'nobody_at_all')}")
    lines.append(f"aggregates = {quote(config['configDbAggregates'])}")
    lines.append(f"plan = {quote(config['configDbPlanEnabled'])}")
    describe = {"OAFollowPriv": "allowed", "OAIgnorePriv": "everything", "OADisabled": "nothing"}
    lines.append(f"describe = {quote(describe[config['configOpenApiMode'].name])}")
    before = known(config["configDbPreRequest"])
    if before:
        lines.append(f"pre_request = {quote('.'.join(filter(None, before)))}")
    root = known(config["configDbRootSpec"])
    if root:
        lines.append(f"root = {quote(root[1])}")
    path = list(config["configDbExtraSearchPath"])
    lines.append(f"search_path = {quote(path)}")
    if known(config["configDbMaxRows"]) is not None:
        lines.append(f"page_limit = {known(config['configDbMaxRows'])}\nanon_page_limit = {known(config['configDbMaxRows'])}")
    else:
        lines.append("anon_page_limit = 1000000")
    lines.append("[auth]")
    secret = known(config["configJwtSecret"])
    if secret and secret.lstrip().startswith("{"):
        (folder / "keys.json").write_text(secret)
        lines.append('jwks = "keys.json"')
    elif secret:
        lines.append(f"secret = {quote(secret)}")
    if known(config["configJwtAudience"]):
        lines.append(f"audience = {quote([known(config['configJwtAudience'])])}")
    return "\n".join(lines) + "\n"


class Server:
    """The binary with a configuration, in front of the database."""

    def __init__(self, binary, database, config):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mainstay-postgrest-"))
        self.toml = settings(config, database, self.folder)
        (self.folder / "mainstay.toml").write_text(self.toml)
        with open(self.folder / "log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [binary, "serve", self.folder, "--admin", "127.0.0.1:0", "--set", "log.access=false", "--set", "log.level=warn"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        for line in self.process.stdout:
            if line.startswith("ready "):
                self.address = line.removeprefix("ready ").strip().removeprefix("http://")
                return
        said = (self.folder / "log").read_text()
        self.stop()
        raise ValueError(f"the server does not start: {said.strip()}")

    def send(self, method, path, headers, body):
        """One request; its status, headers and body."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            # hspec-wai sends what has no slash as if it had one.
            target = "/" * (not path.startswith("/")) + urllib.parse.quote(re.sub("%(?![0-9a-fA-F]{2})", "%25", path), safe="/?&=:;,.+*()!$'@%~-_")
            connection.putrequest(method, "/rest/v1" + target, skip_host=any(n == "Host" for n, _ in headers), skip_accept_encoding=True)
            sent = body.encode("utf-8", "surrogateescape")
            for name, value in headers:
                connection.putheader(name, value.encode())
            if sent or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(sent)))
            connection.endheaders(sent)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read().decode("utf-8", "surrogateescape")
        finally:
            connection.close()

    def stop(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
