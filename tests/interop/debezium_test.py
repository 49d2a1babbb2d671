"""Debezium's own consumers read our events: Kafka Connect's JSON converter with the transformation that sinks put
before them, over a real broker and with schemas, and the serde of stream processors, without. What they make of the
events are the rows that SELECT says.

  debezium_test.py COMMITS [SEED]
"""
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import Skip, log, peer, run  # noqa: E402
from kafka import Kafka, kcat  # noqa: E402

TABLES = {  # columns of the key come first
    "typed": ("id INTEGER PRIMARY KEY, t TEXT, r REAL, b BLOB, n INTEGER NOT NULL", 1),
    "loose": ("k TEXT PRIMARY KEY, v, w VARCHAR(20)", 1),
    "pair": ("a INTEGER, b TEXT, x REAL, y BLOB, PRIMARY KEY(a, b)", 2),
}
VALUES = [None, 0, 1, -(1 << 63), (1 << 63) - 1, 2.0, 0.1, -1e300, float("inf"), "", "text", "é中😀 \"\\\n\t", b"",
          b"\x00\xff", bytes(range(256))]


class Writer:
    def __init__(self, path, seed):
        self.random = random.Random(seed)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        for name, (columns, _) in TABLES.items():
            self.db.execute(f"CREATE TABLE {name}({columns}){' WITHOUT ROWID' if name == 'pair' else ''}")

    def value(self, declared):
        fitting = {"INTEGER": int, "TEXT": str, "VARCHAR(20)": str, "REAL": float, "BLOB": bytes}.get(declared)
        wild = not fitting or self.random.random() < 0.1  # SQLite holds anything anywhere
        return self.random.choice([v for v in VALUES if wild or v is None or isinstance(v, fitting)])

    def step(self):
        r, db = self.random, self.db
        db.execute("BEGIN")
        for _ in range(r.choice([1, 2, 10])):
            table = r.choice(list(TABLES))
            columns = [(row[1], row[2]) for row in db.execute(f"PRAGMA table_info({table})")]
            key = [r.randrange(30) if declared == "INTEGER" else f"k{r.randrange(10)}"
                   for _, declared in columns[:TABLES[table][1]]]
            where = " AND ".join(f"{name}=?" for name, _ in columns[:len(key)])
            rest = [self.value(declared) for _, declared in columns[len(key):]]
            if table == "typed" and rest[-1] is None:
                rest[-1] = 5
            what = r.random()
            if what < 0.5:
                marks = ",".join("?" * len(columns))
                db.execute(f"INSERT OR REPLACE INTO {table} VALUES({marks})", key + rest)
            elif what < 0.8:
                at = r.randrange(len(rest))
                db.execute(f"UPDATE {table} SET {columns[len(key) + at][0]}=? WHERE {where}", [rest[at], *key])
            else:
                db.execute(f"DELETE FROM {table} WHERE {where}", key)
        if r.random() < 0.2:
            db.execute("INSERT OR REPLACE INTO typed VALUES(99, CAST(x'ff41' AS TEXT), 1, CAST(x'fe' AS TEXT), 1)")
        db.execute("COMMIT")

    def rows(self, table):
        """{key: row} as the judge writes values."""
        columns = [(row[1], row[2]) for row in self.db.execute(f"PRAGMA table_info({table})")]
        parts = ",".join(f"typeof({c}), CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END"
                         for c, _ in columns)
        rows = {}
        for raw in self.db.execute(f"SELECT {parts} FROM {table}"):
            row = {name: judged(raw[2 * i], raw[2 * i + 1], declared) for i, (name, declared) in enumerate(columns)}
            rows[tuple(row[name] for name, _ in columns[:TABLES[table][1]])] = row
        return rows


def judged(kind, value, declared):
    if kind == "real":
        if value in (float("inf"), float("-inf")):
            return {"real": "Infinity" if value > 0 else "-Infinity"}
        return struct.pack(">d", value).hex()
    if kind == "blob":
        return value.hex() if declared == "BLOB" else {"blob": value.hex()}
    if kind == "text":
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return {"text_base64": value.hex()}
        return {"text": text} if declared == "BLOB" else text
    return value


def consume(mode, lines):
    """Lines of "topic TAB key TAB value" through Debezium; what it makes of each."""
    if not shutil.which("java"):
        raise Skip("needs java")
    library = peer("debezium-3.6.1", "lib")
    done = subprocess.run(["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                           "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{library}:{library}/*",
                           "Consume", mode], input=b"".join(line + b"\n" for line in lines), capture_output=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    out = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(out) == len(lines), f"{len(out)} of {len(lines)}: {done.stderr.decode()[-2000:]}"
    return out


def feed(world, bus, *flags):
    done = subprocess.run([world.runnel, "feed", bus, "--once", "--from", "earliest", "--log-level", "warn", *flags],
                          capture_output=True, timeout=120, check=False, cwd=world.dir)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.splitlines()


def unwrapped(world, writer, bus):
    kafka = Kafka(world, extra="auto.create.topics.enable=true")
    feed(world, bus, "--schemas", "--state", world.path("kafka-state"), "--to", f"kafka://{kafka.host}/cdc")
    operations, rows = {}, 0
    for table in TABLES:
        lines = kcat("-b", kafka.host, "-C", "-t", f"cdc.app.{table}", "-o", "beginning", "-e", "-q", "-X",
                     "isolation.level=read_committed", "-f", "%t\t%k\t%s\n").stdout.splitlines()
        there, txid = {}, ""
        for event in consume("unwrap", lines):
            row, key = event["row"], tuple(event["key"].values())
            deleted = row.pop("__deleted") == "true"
            operation = row.pop("__op")
            assert row["__source_txid"] >= txid, row
            txid = row.pop("__source_txid")
            assert deleted == (operation == "d"), row
            assert (key in there) == (operation in "ud"), f"{table} {operation} {key}"
            if deleted:
                assert there.pop(key) == row
            else:
                there[key] = row
            operations[operation] = operations.get(operation, 0) + 1
        assert there == writer.rows(table), f"{table}: {there} is not {writer.rows(table)}"
        rows += len(there)
    assert set(operations) == set("rcud"), operations
    # Transactions and the schema have schemas of their own, or say that they have none.
    for topic in ("transaction", "schema"):
        lines = kcat("-b", kafka.host, "-C", "-t", f"cdc.{topic}", "-o", "beginning", "-e", "-q", "-f",
                     "%t\t%k\t%s\n").stdout.splitlines()
        assert lines and len(consume("unwrap", lines)) == len(lines)
    log(f"JSON converter and ExtractNewRecordState: {operations}, {rows} rows as SELECT says")


def deserialized(world, bus):
    for flags in ([], ["--schemas"]):
        lines = feed(world, bus, "--state", world.path("state" + "".join(flags)), *flags)
        events = [json.loads(line) for line in lines]
        payloads = [event.get("payload", event) for event in events]
        changes = [(line, payload) for line, payload in zip(lines, payloads) if "op" in payload]
        made = consume("serde", [b"t\t\t" + line for line, _ in changes])
        for (_, payload), one in zip(changes, made):
            assert one == {"before": payload["before"], "after": payload["after"]}, (one, payload)
        log(f"DebeziumSerdes{' with schemas' if flags else ''}: {len(changes)} events as they were written")


def main(world):
    commits = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    log(f"seed {seed}")
    peer("debezium-3.6.1", "lib")
    writer = Writer(world.path("app.db"), seed)
    for _ in range(commits // 4):
        writer.step()
    bus = world.file_bus()
    publisher = world.publisher(world.path("app.db"), bus)
    publisher.await_publishing()
    for _ in range(commits):
        writer.step()
    world.await_drained(publisher)
    deserialized(world, bus)
    unwrapped(world, writer, bus)


run(main)
