"""The change feed applied to PostgreSQL: after each transaction its tables hold what the source's held after the same
commit.

  feed_postgres_test.py COMMITS [SEED]
"""
import json
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from feed_oracle import Writer, quoted  # noqa: E402
from harness import log, run  # noqa: E402
from postgres import Postgres, PostgresConsumer  # noqa: E402


def text_of(value):
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return "b" + value.hex()
    if isinstance(value, str):
        return "t" + value.encode().hex()
    return "r" + struct.pack(">d", value).hex() if isinstance(value, float) else f"i{value}"


def source_rows(writer):
    rows = []
    for table in writer.tables():
        for row in writer.db.execute(f"SELECT * FROM {quoted(table)}"):
            rows.append(",".join([table, *map(text_of, row)]))
    return sorted(rows)


def main(world):
    commits = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    log(f"seed {seed}")
    server = Postgres(world)
    writer = Writer(world.path("app.db"), seed, plain=True)
    bus = world.file_bus()
    publisher = world.publisher(writer.path, bus)
    publisher.await_publishing()
    expected = {0: source_rows(writer)}
    for _ in range(commits):
        writer.step()
        expected[writer.seq] = source_rows(writer)
    world.await_drained(publisher)

    def on_boundary(consumer):
        seq = int(server.query("SELECT n FROM seq").strip())
        have = consumer.rows()
        if have != expected[seq]:
            raise AssertionError(f"commit {seq}: only here {set(have) - set(expected[seq])}, only there "
                                 f"{set(expected[seq]) - set(have)}")

    consumer = PostgresConsumer(server, on_boundary)
    ended = subprocess.run([world.runnel, "feed", bus, "--from", "earliest", "--once", "--log-level", "warn"],
                           capture_output=True, cwd=world.dir, timeout=120, check=True)
    for line in ended.stdout.splitlines():
        consumer.take(json.loads(line))
    if consumer.waiting or consumer.rows() != source_rows(writer):
        raise AssertionError("PostgreSQL does not have what the source has")
    log(f"{consumer.events} events, {consumer.boundaries} transactions compared in PostgreSQL")


run(main)
