"""A database grown past 1 GiB (the lock page) by a single transaction of more than 1 GB: byte for byte on the replica,
and both nodes stay small. Then a replica that starts from nothing, and a shrink."""
import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import Skip, log, run, until  # noqa: E402


def anonymous_mib(process):
    with open(f"/proc/{process.popen.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:")) / 1024


def main(world):
    kind = sys.argv[1] if len(sys.argv) > 1 else "file"
    mib = int(sys.argv[2]) if len(sys.argv) > 2 else 1080
    free = os.statvfs(world.dir)
    if free.f_bavail * free.f_frsize < 10 * mib * 2**20:
        raise Skip(f"needs {10 * mib} MiB of disk")
    bus = world.bus(kind).url()
    source = world.create(page_size=4096)
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(bus, world.path("replica.db"))
    until(lambda: (s := subscriber.status()) and s["state"] == "following", "the subscriber follows")
    app = sqlite3.connect(source, timeout=30, isolation_level=None)
    peak = {publisher: 0.0, subscriber: 0.0}

    def watch():
        for process in peak:
            peak[process] = max(peak[process], anonymous_mib(process))
        return False

    start = time.monotonic()
    app.execute("BEGIN IMMEDIATE")
    app.execute("WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x WHERE i < ?) "
                "INSERT INTO t(a, b) SELECT i, randomblob(65536) || zeroblob(65536) FROM x", (mib * 8,))
    app.execute("COMMIT")
    log(f"one transaction of {os.path.getsize(source + '-wal') >> 20} MiB of WAL in {time.monotonic() - start:.1f} s")
    expected = 2
    until(lambda: watch() or int(publisher.status()["published"][:16], 16) >= expected, "it is in the log", 120)
    position = publisher.status()["published"]
    assert int(position[:16], 16) == expected, position
    until(lambda: watch() or subscriber.status()["applied"] == position, lambda: f"applied: {subscriber.status()}", 180)
    log(f"on the replica after {time.monotonic() - start:.1f} s; anonymous memory at most "
        + ", ".join(f"{p.name} {peak[p]:.0f} MiB" for p in peak))
    # 12 bytes a changed page are what a commit in flight costs the publisher, beside its buffers.
    assert peak[publisher] < 64 and peak[subscriber] < 64, peak
    app.execute("UPDATE t SET a = a + 1 WHERE id % 1000 = 0")
    app.execute("DELETE FROM t WHERE id > ?", (mib * 4,))
    app.execute("VACUUM")
    fresh = world.subscriber(bus, world.path("fresh.db"))
    until(lambda: watch() or int(publisher.status()["published"][:16], 16) >= expected + 3, "all in the log", 120)
    world.assert_equal(source, publisher, subscriber, fresh, seconds=240)
    assert int(publisher.status()["published"][:16], 16) == expected + 3
    log("shrunk by VACUUM; the old and a fresh replica are byte for byte the source")


run(main)
