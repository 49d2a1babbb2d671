"""Many stock readers on a replica that changes 2,000 times a second, while its subscriber is killed again and again: no
error, no torn read, nothing that goes backwards."""
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run, until  # noqa: E402

SCHEMA = ("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT, note BLOB);"
          "CREATE TABLE meta(n INT, total INT);INSERT INTO meta VALUES(0, 0)")

# An ordinary reader in a process of its own: the total of all rows must be what the same transaction's meta row says, and
# the number of commits must never fall. Arguments: path, mode (ro, rw, mmap, long).
READER = """
import sqlite3, sys, signal, time
path, mode = sys.argv[1], sys.argv[2]
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
def connect():
    uri = f"file:{path}?mode=ro" if mode != "rw" else f"file:{path}"
    db = sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)
    if mode == "mmap": db.execute("PRAGMA mmap_size=268435456")
    return db
db, last, reads, bad = connect(), -1, 0, []
while not stop and not bad:
    try:
        db.execute("BEGIN")
        for again in range(3 if mode == "long" else 1):
            n, total = db.execute("SELECT n, total FROM meta").fetchone()
            if mode == "long": time.sleep(0.2)
            got = db.execute("SELECT coalesce(sum(balance + length(note)), 0) FROM account").fetchone()[0]
            if got != total: bad.append(f"torn: {got} is not {total} at {n}")
        db.execute("COMMIT")
        if n < last: bad.append(f"backward: {n} after {last}")
        last, reads = n, reads + 1
        if mode == "ro" and reads % 50 == 0:
            db.close(); db = connect()
    except sqlite3.Error as error:
        bad.append(f"{type(error).__name__}: {error}")
print(reads, bad[:1] or "", flush=True)
sys.exit(1 if bad else 0)
"""


class Writer(threading.Thread):
    def __init__(self, path, rate):
        super().__init__(daemon=True)
        self.path, self.rate, self.done, self.commits = path, rate, threading.Event(), 0

    def run(self):
        db = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        start = time.monotonic()
        while not self.done.is_set():
            n = self.commits
            note = b"x" * (n * 7919 % 90)
            db.execute("BEGIN IMMEDIATE")
            old = db.execute("SELECT balance + length(note) FROM account WHERE id = ?", (n % 200,)).fetchone()
            db.execute("INSERT OR REPLACE INTO account VALUES(?, ?, ?)", (n % 200, n, note))
            db.execute("UPDATE meta SET n = n + 1, total = total + ?", (n + len(note) - (old[0] if old else 0),))
            db.execute("COMMIT")
            self.commits += 1
            ahead = start + self.commits / self.rate - time.monotonic()
            if ahead > 0.001:
                time.sleep(ahead)
        db.close()


def main(world):
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 12
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    source = world.create(sql=SCHEMA)
    bus = world.bus(sys.argv[3] if len(sys.argv) > 3 else "file").url()
    replica = world.path("replica.db")
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(bus, replica)
    until(lambda: os.path.exists(replica), "the replica", 20)
    writer = Writer(source, 2000)
    writer.start()
    script = world.path("reader.py")
    with open(script, "w") as f:
        f.write(READER)
    modes = ["ro", "rw", "mmap", "long"]
    readers = [world.start(f"reader{i}", [sys.executable, script, replica, modes[i % len(modes)]])
               for i in range(count)]
    kills = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.7)
        subscriber.kill(signal.SIGKILL)
        subscriber.wait()
        subscriber = world.subscriber(bus, replica)
        kills += 1
        for reader in readers:
            assert reader.running(), reader.text()
    writer.done.set()
    writer.join()
    reads = 0
    for reader in readers:
        code = reader.stop()
        assert code == 0, reader.text()
        reads += int(reader.text().split()[0])
    assert reads > count, "the readers read"
    world.assert_equal(source, publisher, subscriber)
    log(f"{reads} read transactions by {count} readers over {writer.commits} commits and {kills} kills: no error")


run(main)
