"""What a power cut leaves of the publisher's page table: nobody syncs it on the hot path, so it may be a mixture of old
and new entries. Each time the publisher finds the true table in the log and goes on by itself: by continuing the WAL
where that still holds the point, by a delta where it does not; never by a snapshot, never with a wrong checksum."""
import os
import shutil
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run  # noqa: E402

HEAD_BYTES, ENTRY_BYTES = 4096, 16  # ltx/format/page_table.h


class Scene:
    def __init__(self, world, name):
        self.world = world
        self.source, self.bus = world.create(name + ".db"), world.file_bus(name)
        self.table = self.source + "-runnel/pages"
        self.app = sqlite3.connect(self.source, isolation_level=None)
        self.publisher = world.publisher(self.source, self.bus)
        self.publisher.await_publishing()
        self.subscriber = world.subscriber(self.bus, world.path(name + "-replica.db"))
        for _ in range(40):
            self.app.execute("INSERT INTO t(a, b) VALUES(1, randomblob(20000))")
        self.equal()

    def equal(self):
        return self.world.assert_equal(self.source, self.publisher, self.subscriber)

    def change(self, rows):
        for n in range(rows):
            self.app.execute("UPDATE t SET a = a + 1, b = randomblob(length(b)) WHERE id = ?", (n * 7 % 40 + 1,))

    def cut(self, damage, while_off=lambda: None):
        """Kills the publisher, damages its table, starts another one; returns what that says of itself."""
        old = self.table + ".old"
        shutil.copyfile(self.table, old)
        self.change(30)
        self.equal()
        self.publisher.kill()
        self.publisher.wait()
        while_off()
        damage(old)
        self.publisher = self.world.publisher(self.source, self.bus)
        self.publisher.await_publishing()
        self.change(10)
        self.equal()
        return self.publisher.status()

    def tear(self, old):
        """Every second entry as it was before: blocks of the file reach the disk in any order."""
        with open(old, "rb") as f:
            before = f.read()
        with open(self.table, "r+b") as f:
            for offset in range(HEAD_BYTES, len(before), 2 * ENTRY_BYTES):
                f.seek(offset)
                f.write(before[offset:offset + ENTRY_BYTES])

    def tear_and_go_back(self, old):
        """The head is older than some of the entries."""
        self.tear(old)
        with open(old, "rb") as f, open(self.table, "r+b") as table:
            table.write(f.read(HEAD_BYTES))

    def go_back(self, old):
        """All of it is older."""
        shutil.copyfile(old, self.table)

    def die_taking_over(self):
        """Another publisher takes the log over and is killed before it has noted that; the database goes on."""
        publisher = self.world.publisher(self.source, self.bus, env={"RUNNEL_CRASH_POINT": "publisher_took_over"})
        publisher.wait()
        assert "publisher starts" in publisher.text() and "publisher publishing" not in publisher.text()
        self.change(7)

    def restart_wal(self):
        self.change(15)
        self.app.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.change(5)


def main(world):
    scene = Scene(world, "torn")
    status = scene.cut(scene.tear)
    assert "page_table_rebuilt" in scene.publisher.text().replace(" ", "_"), scene.publisher.text()
    assert status["deltas"] == 0 and status["snapshots"] == 0, status
    log("half of the page table old: made anew from the log, the WAL continued")

    status = scene.cut(scene.tear, scene.restart_wal)
    assert status["deltas"] == 1 and status["snapshots"] == 0, status
    log("the same, and the WAL was reset meanwhile: one delta")

    status = scene.cut(scene.tear_and_go_back, scene.restart_wal)
    assert status["deltas"] == 1 and status["snapshots"] == 0, status
    log("entries newer than the head: one delta")

    status = scene.cut(scene.go_back, scene.die_taking_over)
    assert status["deltas"] <= 1 and status["snapshots"] == 0, status
    log("all of it older, and a publisher killed while it took over: its takeover is not taken for a rival's")

    late = world.subscriber(scene.bus, world.path("late-replica.db"))
    world.assert_equal(scene.source, scene.publisher, scene.subscriber, late)
    log("a replica that reads the whole log again is the same image")


run(main)
