"""A log that is trimmed behind its archive for real, while the application goes on: the publisher puts a reference to
the archive into it instead of a whole image; a new subscriber begins by that, one that was stopped catches up across
the trim, one that goes on all the time stays exact; old TXIDs are restored; and a publisher that lost its page table
makes it again from the archive. No subscriber has an archive configured.

archive_trim_test.py BUS STORE
"""
import os
import random
import re
import shutil
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run, until  # noqa: E402
from restore_world import Recorder, directory_place, judge, looks_exact, nats_place, restore, s3_place  # noqa: E402
from workload import SCHEMA, Workload  # noqa: E402

PLACES = {"file": directory_place, "s3": s3_place, "nats": nats_place}
# Whatever is archived is trimmed at once.
SETTINGS = ("    coalesce-after: never\n    log-retention: 0h\n    segment-interval: 200ms\n    levels: [1s, 2s, 4s]\n"
            "    snapshot-interval: 4s\n")


class Source:
    def __init__(self, world, bus, place):
        self.world, self.bus, self.place = world, bus, place
        self.path = world.create("app.db", 4096, 0, SCHEMA)
        self.config = world.path("publish.yml")
        with open(self.config, "w") as f:
            f.write(f"dbs:\n  - path: {self.path}\n    bus: {bus}\n    archive: {place.url}\n{SETTINGS}")
        self.start()
        self.recorder = Recorder(self.path, self.publisher)
        self.workload = Workload(self.path, 1)

    def start(self):
        self.publisher = self.world.publisher(self.path, self.bus, "--config", self.config, env=self.place.env)
        self.publisher.await_publishing()

    def write(self, steps=1):
        for _ in range(steps):
            self.workload.step()
            self.recorder.record()

    def trimmed_before(self):
        """The sequence from which the log is there; 0 before any trim."""
        found = re.findall(r"log trimmed .*seq=(\d+)", self.publisher.text())
        return int(found[-1]) if found else 0

    def references(self):
        status = self.publisher.status()
        return status["references"] if status else 0


def main(world):
    bus_kind, store_kind = sys.argv[1], sys.argv[2]
    bus = world.bus(bus_kind).url()
    place = PLACES[store_kind](world)
    source = Source(world, bus, place)
    recorder = source.recorder
    shutil.copy(source.path + "-runnel/pages", world.path("pages-of-the-start"))
    steady = world.subscriber(bus, world.path("steady.db"), env=place.env)
    stopped = world.subscriber(bus, world.path("stopped.db"), env=place.env)
    source.write(5)
    world.assert_equal(source.path, source.publisher, steady, stopped)
    assert stopped.stop() == 0

    def trimmed():
        source.write()
        return source.trimmed_before() > 5 and source.references() > 0
    until(trimmed, lambda: f"trimmed and referred to: {source.publisher.text()[-3000:]}", 60)
    source.write(5)
    log(f"TXID {recorder.txid}; the log begins with message {source.trimmed_before()} and refers to the archive")
    assert source.publisher.status()["snapshots"] == 1, source.publisher.status()  # only the first one, ever

    late = world.subscriber(bus, world.path("late.db"), env=place.env)
    stopped = world.subscriber(bus, world.path("stopped.db"), env=place.env)
    for _ in range(10):
        source.write()
        for subscriber in (steady, late, stopped):
            looks_exact(subscriber.replica, recorder)
    world.assert_equal(source.path, source.publisher, steady, late, stopped)
    assert "from=archive" in late.text(), late.text()[-2000:]
    assert "replica healed" in stopped.text(), stopped.text()[-2000:]
    log("a new replica began by the reference, a stopped one caught up across the trim, a steady one is as exact")

    pick = random.Random(3)
    for txid in sorted(pick.sample(sorted(recorder.hashes), 8)) + [sorted(recorder.hashes)[0]]:
        # The log alone leads to the archive.
        for sources in ((place.url, bus), (bus,)):
            report, out = restore(world, place, *sources, "--txid", txid)
            judge(report, out, txid, recorder.hashes[txid])
            assert report["archive_objects"] > 0 or int(txid, 16) >= source.trimmed_before(), report
    log("old TXIDs restored, from archive and log, and led by the log alone")

    # What the page table says is older than all that the log still holds; meanwhile commits were made.
    source.publisher.kill(signal.SIGKILL)
    source.publisher.wait()
    shutil.copy(world.path("pages-of-the-start"), source.path + "-runnel/pages")
    for _ in range(3):
        source.workload.step()
    source.start()
    world.assert_equal(source.path, source.publisher, steady, late, stopped)
    text = source.publisher.text()
    assert "page table rebuilt" in text, text[-3000:]
    assert source.publisher.status()["snapshots"] == 0, source.publisher.status()
    for process in (steady, late, stopped, source.publisher):
        assert process.stop() == 0
    log("a lost page table was made again from the archive")


run(main)
