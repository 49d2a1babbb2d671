"""Many stock readers (processes and threads, C and Python, short and long transactions, mmap, read-only) on a replica
that changes 2,000 times a second, while its subscriber is killed again and again: no error with a busy timeout of a
second, no torn read, nothing that goes backwards. Arguments: seconds (12), readers (16), bus (file), milliseconds
between two transactions of a reader (0: as fast as it can). In full on two cores: 120 50 nats 20."""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run, until  # noqa: E402

SCHEMA = ("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT, note BLOB);"
          "CREATE TABLE meta(n INT, total INT);INSERT INTO meta VALUES(0, 0)")

# An ordinary reader in a process of its own: the total of all rows must be what the same transaction's meta row says,
# and the number of commits must never fall. Arguments: path, mode (ro, rw, mmap, long, threads: four in a process),
# seconds between two transactions.
READER = """
import sqlite3, sys, signal, threading, time
path, mode, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
stop, reads, bad = [], [], []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
def connect():
    uri = f"file:{path}?mode=ro" if mode != "rw" else f"file:{path}"
    db = sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)
    if mode == "mmap": db.execute("PRAGMA mmap_size=268435456")
    return db
def read():
    try:
        db, last = connect(), -1
        while not stop and not bad:
            db.execute("BEGIN")
            for again in range(3 if mode == "long" else 1):
                n, total = db.execute("SELECT n, total FROM meta").fetchone()
                if mode == "long": time.sleep(0.2)
                got = db.execute("SELECT coalesce(sum(balance + length(note)), 0) FROM account").fetchone()[0]
                if got != total: bad.append(f"torn: {got} is not {total} at {n}")
            db.execute("COMMIT")
            if n < last: bad.append(f"backward: {n} after {last}")
            last = n
            reads.append(n)
            time.sleep(pause)
            if mode == "ro" and len(reads) % 50 == 0:
                db.close(); db = connect()
        db.close()
    except sqlite3.Error as error:
        bad.append(f"{type(error).__name__}: {error}")
threads = [threading.Thread(target=read) for _ in range(4 if mode == "threads" else 1)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(f"transactions={len(reads)}", *bad[:1], flush=True)
sys.exit(1 if bad else 0)
"""
PYTHON = ["ro", "rw", "mmap", "long", "threads"]
C = [["ro=1"], [], ["mmap=1"], ["long=200000", "ro=1"]]


def start_readers(world, replica, count, pause_ms):
    """Half of them Python, half C; each thread counts as a reader."""
    script = world.path("reader.py")
    with open(script, "w") as f:
        f.write(READER)
    readers, started = [], 0
    while started < count:
        number = len(readers)
        if number % 2 == 0:
            mode = PYTHON[number // 2 % len(PYTHON)]
            command = [sys.executable, script, replica, mode, str(pause_ms / 1000)]
            readers.append(world.start(f"reader{number}", command))
            started += 4 if mode == "threads" else 1
        else:
            keys = [f"seed={number}", f"gap_us={pause_ms * 1000}", *C[number // 2 % len(C)]]
            readers.append(world.app(replica, "audit", "busy=1000", "secs=3600", *keys))
            started += 1
    return readers, started


def main(world):
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 12
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    pause_ms = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    source = world.create(sql=SCHEMA)
    bus = world.bus(sys.argv[3] if len(sys.argv) > 3 else "file").url()
    replica = world.path("replica.db")
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(bus, replica)
    until(lambda: os.path.exists(replica), "the replica", 20)
    writer = world.app(source, "ledger", "rate=2000", "busy=10000", "secs=3600")
    readers, count = start_readers(world, replica, count, pause_ms)
    kills, start = 0, time.monotonic()
    while time.monotonic() < start + seconds:
        time.sleep(0.7)
        subscriber.kill(signal.SIGKILL)
        subscriber.wait()
        subscriber = world.subscriber(bus, replica)
        kills += 1
        for reader in readers:
            assert reader.running(), reader.text()
    writer.stop()
    took = time.monotonic() - start
    position = world.await_drained(publisher)
    subscriber.await_position(position)
    reads = 0
    for reader in readers:
        code = reader.stop()
        assert code == 0, reader.text()
        reads += int(re.search(r"(?:transactions|commits)=(\d+)", reader.text()).group(1))
    assert reads > count, "the readers read"
    world.assert_equal(source, publisher, subscriber)
    commits = int(re.search(r"commits=(\d+)", writer.text()).group(1))
    log(f"{reads} read transactions by {count} readers over {commits} commits ({commits / took:.0f} a second) and "
        f"{kills} kills: no error")


run(main)
