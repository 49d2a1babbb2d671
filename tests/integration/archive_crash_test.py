"""The archiver killed at every named step, and at random moments, while a real publisher goes on: after each restart it
continues without a hole, without an object that nobody names, and what it has archived stays what it was. ARGS: file |
s3 | nats, random kills (default 20), seed."""
import os
import random
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from archive_world import FAST, Archiver, check_archive, litestream_restore, make_store, read_manifest  # noqa: E402
from harness import log, run, until  # noqa: E402

POINTS = ["archive_lease_taken", "archive_begun", "archive_opened", "archive_image_written", "archive_segment_put",
          "archive_level0_put", "archive_objects_put", "archive_objects_named", "archive_large_written",
          "archive_job_begun", "archive_job_written", "archive_job_put", "archive_job_named", "archive_condemned",
          "archive_object_deleted", "archive_deletes_forgotten"]
# Snapshots leave the retention within seconds, so that every step of deleting is passed too.
SETTINGS = FAST.replace("6s", "2s") + "    retention: 4s\n    segment-retention: 720h\n"


class Writer:
    """Commits now and then, so that each life of the archiver has something to do."""

    def __init__(self, source):
        self.db = sqlite3.connect(source, isolation_level=None, timeout=30)
        self.random = random.Random(1)

    def write(self, commits=20):
        for _ in range(commits):
            self.db.execute("INSERT INTO t(a, b) VALUES(1, randomblob(?))", (self.random.randrange(6000),))

    def write_large(self):
        """One commit that is larger than a message of the log."""
        self.db.execute("INSERT INTO t(a, b) SELECT 2, randomblob(60000) FROM t LIMIT 160")


def die_at(world, bus, store, writer, point, passage):
    crash_log = world.path("crash.log")
    if os.path.exists(crash_log):
        os.remove(crash_log)
    env = {"RUNNEL_CRASH_POINT": f"{point}:{passage}", "RUNNEL_CRASH_LOG": crash_log}
    archiver = Archiver(world, bus, store, SETTINGS, env)

    def died():
        writer.write(3)
        if point == "archive_large_written":
            writer.write_large()
        return not archiver.running()
    until(died, lambda: f"killed at {point}:{passage}: {archiver.status()}", 60, tick=0.2)
    with open(crash_log) as f:
        assert point in f.read(), archiver.text()[-2000:]


def main(world):
    kind = sys.argv[1]
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
    log(f"seed {seed}")
    chance = random.Random(seed)
    store = make_store(world, kind)
    bus = world.file_bus()
    source = world.create()
    writer = Writer(source)
    writer.write()
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    for point in POINTS:
        die_at(world, bus, store, writer, point, 1)
        log(f"killed at {point}")
    # Long enough for a life to get something done, short enough to die within it.
    longest = 1.2 if kind == "file" else 3
    previous, onward = 0, 0
    for kill in range(kills):
        archiver = Archiver(world, bus, store, SETTINGS)
        until(lambda: archiver.status() is not None or not archiver.running(), archiver.text, 30)
        end = time.monotonic() + chance.uniform(0, longest)
        while time.monotonic() < end:
            writer.write(2)
            time.sleep(0.01)  # the pace of the load: an archive that its judges can read in time
        if chance.random() < 0.2:
            writer.write_large()
        archiver.kill()
        archiver.wait()
        manifest = read_manifest(store.read("manifest"))
        assert manifest["txid"] >= previous, (manifest["txid"], previous)
        onward += manifest["txid"] > previous
        previous = manifest["txid"]
        if kill % 20 == 19:
            log(f"{kill + 1} kills, archived up to TXID {previous}; {onward} lives got on")
    archiver = Archiver(world, bus, store, SETTINGS)
    position = world.await_drained(publisher, 120)
    archiver.await_archived(position, 120)
    status = archiver.status()
    assert status["holes"] == 0, status
    assert archiver.stop() == 0, archiver.text()[-2000:]
    manifest = check_archive(world, store)
    assert manifest["txid"] == int(position[:16], 16)
    assert litestream_restore(world, store) == position[17:]
    log(f"{len(POINTS)} steps and {kills} random kills ({onward} lives got on), {len(manifest['objects'])} objects, "
        "all of them named")


run(main)
