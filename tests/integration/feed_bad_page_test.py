"""A commit whose pages are not what they must be stops the feed there: table, page and TXID are named, nothing of that
commit is told, and what the feed had told, and its own image, stay what they were. Once with a root that the file does
not have, and once with a page of a table that holds nonsense."""
import hashlib
import json
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from feed_consumer import Consumer  # noqa: E402
from feed_oracle import Writer, digest  # noqa: E402
from harness import log, run  # noqa: E402


class Case:
    def __init__(self, world, name):
        self.world, self.name = world, name
        self.writer = Writer(world.path(name + ".db"), 5)
        for _ in range(10):
            self.writer.step()
        self.bus, self.state = world.file_bus(name), world.path("state-" + name)
        self.publish()
        for _ in range(20):
            self.writer.step()
        self.good = digest(self.writer.db, self.writer.tables())
        self.position = world.await_drained(self.publisher)
        self.consumer = Consumer(world.path(f"consumer-{name}.db"))
        ended = self.feed("--from", "earliest")
        assert ended.returncode == 0, ended.stderr.decode()
        self.image = self.image_digest()

    def publish(self):
        self.publisher = self.world.publisher(self.writer.path, self.bus)
        self.publisher.await_publishing()

    def feed(self, *flags):
        argv = [self.world.runnel, "feed", self.bus, "--once", "--log-level", "error", "--state", self.state, *flags]
        ended = subprocess.run(argv, capture_output=True, timeout=120, check=False)
        for line in ended.stdout.splitlines():
            self.consumer.take(json.loads(line))
        return ended

    def image_digest(self):
        with open(os.path.join(self.state, "image"), "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def stops(self, *parts):
        txid = f"{int(self.position[:16], 16) + 1:016x}"
        for attempt in range(3):
            ended = self.feed()
            said = ended.stderr.decode()
            assert ended.returncode == 1, f"attempt {attempt}: exit code {ended.returncode}: {said}"
            for part in (*parts, txid):
                assert part in said.splitlines()[-1], f"{part} is not named: {said}"
            assert not self.consumer.waiting, f"attempt {attempt}: a part of the bad commit was told"
            assert self.consumer.digest() == self.good, f"attempt {attempt}: not at the commit before the bad one"
            assert self.image_digest() == self.image, f"attempt {attempt}: another image"
        log(f"{self.name}: three times {said.splitlines()[-1]}")


def bad_root(world):
    """A root page that the file does not have, as a broken application could leave it."""
    case = Case(world, "root")
    victim = sorted(case.writer.kinds)[0]
    vandal = sqlite3.connect(case.writer.path, isolation_level=None)
    vandal.execute("PRAGMA writable_schema=ON")
    vandal.execute("UPDATE sqlite_schema SET rootpage=77777 WHERE name=?", [victim])
    vandal.close()
    case.stops(f"table {victim}", "77777")


def bad_page(world):
    """A page that went wrong under the application while nobody looked."""
    case = Case(world, "page")
    db = case.writer.db
    victim, root = db.execute("SELECT name, rootpage FROM sqlite_schema WHERE name LIKE 'rowid%'").fetchone()
    size = db.execute("PRAGMA page_size").fetchone()[0]
    assert case.publisher.stop() == 0
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with open(case.writer.path, "r+b") as f:
        f.seek((root - 1) * size + 8)
        f.write(b"\xff" * 64)  # its cells lie behind its end
    case.publish()
    case.stops(f"table {victim}", f"page {root}")


def main(world):
    bad_root(world)
    bad_page(world)


run(main)
