"""Archiving and restoring a large database costs no memory: a database of ARGS MiB, its snapshot streamed from the log,
changes, another snapshot merged from the first one, and files restored of it. The peak of what is resident is printed
and bounded."""
import os
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from archive_world import Archiver, DirStore, check_archive, checksum_of, litestream_restore  # noqa: E402
from harness import Skip, log, run, until  # noqa: E402

BOUND_MIB = 128


class Peak(threading.Thread):
    def __init__(self, process):
        super().__init__(daemon=True)
        self.pid, self.rss, self.anonymous = process.popen.pid, 0, 0
        self.start()

    def run(self):
        while True:
            try:
                with open(f"/proc/{self.pid}/status") as f:
                    fields = dict(line.split(":", 1) for line in f if ":" in line)
                self.rss = max(self.rss, int(fields["VmRSS"].split()[0]) / 1024)
                self.anonymous = max(self.anonymous, int(fields["RssAnon"].split()[0]) / 1024)
            except (OSError, KeyError):
                return
            time.sleep(0.02)


def main(world):
    mib = int(sys.argv[1])
    free = os.statvfs(world.dir)
    if free.f_bavail * free.f_frsize < 6 * mib * 2**20:
        raise Skip(f"needs {6 * mib} MiB of disk")
    bus = world.file_bus()
    store = DirStore(world)
    source = world.create()
    db = sqlite3.connect(source, isolation_level=None, timeout=60)
    # Half of each row can be compressed, as in most databases.
    step = 256
    for at in range(0, mib, step):
        db.execute("WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x WHERE i < ?) INSERT INTO t(a, b) "
                   "SELECT i, randomblob(32768) || zeroblob(32768) FROM x", (min(step, mib - at) * 16,))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    publisher = world.publisher(source, bus)
    position = until(lambda: (s := publisher.status()) and s["state"] == "publishing" and
                     s["captured"] == s["published"] and int(s["published"][:16], 16) > 0 and s["published"],
                     "published", 900)
    first = position
    start = time.monotonic()
    settings = "segment-interval: 200ms\n    levels: [1s, 2s, 4s]\n    snapshot-interval: 1h\n"
    archiver = Archiver(world, bus, store, settings)
    peak = Peak(archiver)
    archiver.await_archived(position, 900)
    log(f"{mib} MiB archived from the log in {time.monotonic() - start:.1f} s; resident at most {peak.rss:.0f} MiB, "
        f"anonymous {peak.anonymous:.0f} MiB")
    for i in range(200):
        db.execute("UPDATE t SET a = a + 1 WHERE id BETWEEN ? AND ?", (i * 7, i * 7 + 5))
    # One transaction of a quarter of the database.
    db.execute("UPDATE t SET b = randomblob(65536) WHERE id % 4 = 0")
    position = world.await_drained(publisher, 900)
    archiver.await_archived(position, 900)
    log(f"a commit of a quarter: resident at most {peak.rss:.0f} MiB, anonymous {peak.anonymous:.0f} MiB")
    assert archiver.stop(120) == 0
    start = time.monotonic()
    snapshot = world.start("snapshot", [world.runnel, "snapshot", bus, store.url])
    merge = Peak(snapshot)
    assert snapshot.wait(900) == 0, snapshot.text()
    log(f"snapshot merged in {time.monotonic() - start:.1f} s; resident at most {merge.rss:.0f} MiB, "
        f"anonymous {merge.anonymous:.0f} MiB")
    peaks = [peak, merge]
    # The newest image, from the new snapshot; the one before the changes, from the first; and on along the log.
    for name, flags in (("newest", [store.url]), ("first", [store.url, "--txid", first[:16]]), ("log", [bus])):
        out = world.path(f"restored-{name}.db")
        start = time.monotonic()
        restore = world.start(f"restore-{name}", [world.runnel, "restore", "-o", out, *flags])
        peaks.append(Peak(restore))
        assert restore.wait(900) == 0, restore.text()
        log(f"{name} restored in {time.monotonic() - start:.1f} s; resident at most {peaks[-1].rss:.0f} MiB, anonymous "
            f"{peaks[-1].anonymous:.0f} MiB")
        expected = (first if name == "first" else position)[17:]
        assert checksum_of(world, out) == expected, (name, expected)
        os.remove(out)
    assert max(each.rss for each in peaks) < BOUND_MIB, [each.rss for each in peaks]
    check_archive(world, store)
    if mib <= 2048:
        assert litestream_restore(world, store) == position[17:]


run(main)
