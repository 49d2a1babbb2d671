"""A database grown past 1 GiB (the lock page) by a single transaction of more than 1 GB: byte for byte on the replica,
and both nodes stay small, also while a killed publisher reads its way back from the log, while a first snapshot of such
a database is written, and while a replica is made of it. Then a shrink."""
import os
import shutil
import signal
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import Skip, log, run, until  # noqa: E402


def anonymous_mib(process):
    with open(f"/proc/{process.popen.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:")) / 1024


MEMORY_MIB_MAX = 64  # for a database of 1 GiB; the mapped page table is the page cache's


def small(peak):
    assert all(mib < MEMORY_MIB_MAX for mib in peak.values()), {p.name: mib for p, mib in peak.items()}
    return ", ".join(f"{p.name} {mib:.0f} MiB" for p, mib in peak.items())


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
            if process.running():
                peak[process] = max(peak[process], anonymous_mib(process))
        return False

    def watched(process, probe, what):
        """Waits; only this process's memory is looked at."""
        peak.clear()
        peak[process] = 0.0
        until(lambda: watch() or probe(), lambda: f"{what}: {process.text()[-2000:]}", 240)
        return small(peak)
    shutil.copy(source + "-runnel/pages", world.path("pages-before"))

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
    # 16 bytes a changed page are what a commit in flight costs the publisher, beside its buffers.
    log(f"on the replica after {time.monotonic() - start:.1f} s; anonymous memory at most {small(peak)}")
    # Killed after the log had taken it, before that was noted: the log itself says what the page table lacks.
    publisher.kill(signal.SIGKILL)
    publisher.wait()
    shutil.copy(world.path("pages-before"), source + "-runnel/pages")
    publisher = world.publisher(source, bus)
    used = watched(publisher, lambda: (s := publisher.status()) and s["state"] == "publishing", "recovered")
    text = publisher.text()
    # Chunks do not say where in the WAL they end, so the image is read once.
    assert "the log is ahead of the page table" in text and "image unchanged" in text, text
    log(f"recovered from the log; anonymous memory at most {used}")
    # From nothing, both sides.
    assert publisher.stop() == 0
    shutil.move(source + "-runnel", world.path("state"))
    second = world.publisher(source, bus + "-second")
    used = watched(second, lambda: (s := second.status()) and s["state"] == "publishing"
                   and s["captured"] == s["published"], "a first snapshot")
    log(f"a first snapshot of {os.path.getsize(source) >> 20} MiB; anonymous memory at most {used}")
    copy = world.subscriber(bus + "-second", world.path("copy.db"))
    used = watched(copy, lambda: (s := copy.status()) and s["state"] == "following"
                   and s["applied"] == second.status()["published"], "bootstrapped")
    log(f"a replica of it; anonymous memory at most {used}")
    assert copy.stop() == 0 and second.stop() == 0
    for path in ("copy.db", "copy.db-wal", "copy.db-shm"):
        if os.path.exists(world.path(path)):
            os.remove(world.path(path))
    shutil.rmtree(source + "-runnel")
    shutil.move(world.path("state"), source + "-runnel")
    publisher = world.publisher(source, bus)
    publisher.await_publishing(120)
    peak.clear()
    app.execute("UPDATE t SET a = a + 1 WHERE id % 1000 = 0")
    app.execute("DELETE FROM t WHERE id > ?", (mib * 4,))
    app.execute("VACUUM")
    fresh = world.subscriber(bus, world.path("fresh.db"))
    until(lambda: watch() or int(publisher.status()["published"][:16], 16) >= expected + 3, "all in the log", 120)
    world.assert_equal(source, publisher, subscriber, fresh, seconds=240)
    assert int(publisher.status()["published"][:16], 16) == expected + 3
    log("shrunk by VACUUM; the old and a fresh replica are byte for byte the source")


run(main)
