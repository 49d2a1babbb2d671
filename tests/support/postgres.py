"""A PostgreSQL of its own (Debian's packages) on a free port, and a feed's consumer that writes to it through psql."""
import base64
import glob
import os
import shutil
import subprocess

import harness
from feed_consumer import order_of, token_of
from feed_oracle import quoted
from feed_tables import FeedTables

TYPES = {"INTEGER": "bigint", "INT": "bigint", "REAL": "double precision", "TEXT": "text", "BLOB": "bytea"}


def binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found or not shutil.which("psql"):
        raise harness.Skip("PostgreSQL is not installed (apt install postgresql)")
    return found[-1]


def as_nobody_special(argv):
    """The server refuses to run as root."""
    if os.getuid() != 0:
        return argv
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv]


class Postgres:
    def __init__(self, world):
        self.bin = binaries()
        self.dir = world.path(world.unique("postgres"))
        os.makedirs(self.dir)
        os.chmod(world.dir, 0o755)
        if os.getuid() == 0:
            shutil.chown(self.dir, "postgres", "postgres")
        self.port = harness.free_port()
        data = os.path.join(self.dir, "data")
        made = [f"{self.bin}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8",
                "--locale=C"]
        subprocess.run(as_nobody_special(made), check=True, capture_output=True, cwd=self.dir)
        self.process = world.start("postgres-server", as_nobody_special(
            [f"{self.bin}/postgres", "-D", data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c",
             f"unix_socket_directories={self.dir}", "-c", "fsync=off"]))
        harness.until(lambda: self.try_query("SELECT 1") == "1", lambda: "postgres: " + self.process.text(), 60, 0.1)

    def argv(self):
        return ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U",
                "postgres", "postgres"]

    def try_query(self, sql):
        ended = subprocess.run([*self.argv(), "-c", sql], capture_output=True, text=True, check=False)
        return ended.stdout.strip() if ended.returncode == 0 else None

    def query(self, sql):
        ended = subprocess.run([*self.argv()], input=sql, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise AssertionError(f"postgres: {ended.stderr[-2000:]}\n{sql[:500]}")
        return ended.stdout


def literal(value, column):
    if value is None:
        return "NULL"
    if column["typeName"] == "BLOB":
        return "'\\x" + base64.b64decode(value).hex() + "'::bytea"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


class PostgresConsumer(FeedTables):
    """One transaction of the feed is one of PostgreSQL's, the token with it; keys are checked by PostgreSQL."""

    def __init__(self, server, on_boundary):
        super().__init__()
        self.server, self.on_boundary = server, on_boundary
        server.query("CREATE TABLE _feed(token text)")
        self.waiting, self.at, self.boundaries, self.events = [], None, 0, 0

    def take(self, event):
        assert self.at is None or order_of(token_of(event)) > order_of(self.at)
        self.waiting.append(event)
        if event.get("status") != "END" and event.get("source", {}).get("snapshot") != "last":
            return
        self.sql = ["BEGIN;"]
        for one in self.waiting:
            self.apply(one)
        self.settle_renames()
        self.at = token_of(event)
        self.sql.append(f"DELETE FROM _feed; INSERT INTO _feed VALUES('{self.at}'); COMMIT;")
        self.server.query("\n".join(self.sql))
        self.events += len(self.waiting)
        self.boundaries += 1
        self.waiting = []
        self.on_boundary(self)

    def execute(self, sql, _values):
        self.sql.append(sql + ";")

    def columns(self, shape):
        parts = [f"{quoted(column['name'])} {TYPES[column['typeName']]}" for column in shape["columns"]]
        if shape["primaryKeyColumnNames"] and shape["withoutRowid"]:
            parts.append("PRIMARY KEY(" + ",".join(map(quoted, shape["primaryKeyColumnNames"])) + ")")
        return ",".join(parts)

    def value(self, value, column, _values):
        return literal(value, column)

    def apply_row(self, event):
        table = event["source"]["table"]
        columns = self.shapes[table]["columns"]
        if event["op"] in "du":
            where = " AND ".join(f"{quoted(c['name'])} IS NOT DISTINCT FROM {literal(event['before'][c['name']], c)}"
                                 for c in columns)
            # Exactly one: it fails when there is none.
            one = f"SELECT ctid FROM {quoted(table)} WHERE {where} LIMIT 1"
            self.sql.append(f"DO $x$ BEGIN DELETE FROM {quoted(table)} WHERE ctid = ({one}); IF NOT FOUND THEN RAISE "
                            f"EXCEPTION 'no such row in {table}'; END IF; END $x$;")
        if event["op"] in "cur":
            values = ",".join(literal(event["after"][c["name"]], c) for c in columns)
            self.sql.append(f"INSERT INTO {quoted(table)} VALUES({values});")

    def rows(self):
        """Every table's rows, sorted, as texts that SQLite can give as well."""
        sql = []
        for table in sorted(self.shapes):
            parts = []
            for column in self.shapes[table]["columns"]:
                c, kind = quoted(column["name"]), column["typeName"]
                text = {"TEXT": f"'t' || encode(convert_to({c}, 'UTF8'), 'hex')",
                        "BLOB": f"'b' || encode({c}, 'hex')",
                        "REAL": f"'r' || encode(float8send({c}), 'hex')"}.get(kind, f"'i' || {c}")
                parts.append(f"coalesce({text}, 'null')")
            row = " || ',' || ".join(parts)
            sql.append(f"SELECT '{table}' || ',' || {row} AS x FROM {quoted(table)}")
        out = self.server.query(" UNION ALL ".join(sql) + ";") if sql else ""
        return sorted(out.split())
