"""A commit whose pages are not what they must be stops the feed there: table, page and TXID are named, nothing of that
commit is told, and what the feed had told stays what it was."""
import json
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from feed_consumer import Consumer  # noqa: E402
from feed_oracle import Writer, digest  # noqa: E402
from harness import log, run  # noqa: E402


def feed(world, bus, *flags):
    return subprocess.run([world.runnel, "feed", bus, "--once", "--log-level", "error", *flags], capture_output=True,
                          cwd=world.dir, timeout=120, check=False)


def main(world):
    writer = Writer(world.path("app.db"), 5)
    for _ in range(10):
        writer.step()
    bus = world.file_bus()
    publisher = world.publisher(writer.path, bus)
    publisher.await_publishing()
    for _ in range(20):
        writer.step()
    good = digest(writer.db, writer.tables())
    victim = sorted(writer.kinds)[0]
    position = world.await_drained(publisher)

    consumer = Consumer(world.path("consumer.db"))
    for line in feed(world, bus, "--from", "earliest").stdout.splitlines():
        consumer.take(json.loads(line))

    # A root page that the file does not have, as a broken application could leave it.
    vandal = sqlite3.connect(writer.path, isolation_level=None)
    vandal.execute("PRAGMA writable_schema=ON")
    vandal.execute("UPDATE sqlite_schema SET rootpage=77777 WHERE name=?", [victim])
    vandal.close()
    txid = f"{int(position[:16], 16) + 1:016x}"

    for attempt in range(3):
        ended = feed(world, bus)
        if ended.returncode != 1:
            raise AssertionError(f"attempt {attempt}: exit code {ended.returncode}: {ended.stderr.decode()}")
        said = ended.stderr.decode()
        for part in (victim, "77777", txid):
            if part not in said:
                raise AssertionError(f"{part} is not named: {said}")
        for line in ended.stdout.splitlines():
            consumer.take(json.loads(line))
        if consumer.waiting or consumer.digest() != good:
            raise AssertionError(f"attempt {attempt}: not at the commit before the bad one")
    log(f"stopped at {txid} three times: {said.splitlines()[-1]}")


run(main)
