"""The subscriber's side under bad operation: files of others in the replica's place, writers, two subscribers, another page size,
flipped pages, the file removed under it. What readers are shown is always one exact image."""
import json
import os
import shutil
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run, until  # noqa: E402


def write(path, count=1, size=300):
    db = sqlite3.connect(path, isolation_level=None)
    for n in range(count):
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(?))", (n, size))
    db.close()


def last_line(process, code):
    assert process.wait(20) == code, f"{process.name} ended with {process.popen.returncode}, not {code}: {process.text()}"
    return process.text().strip().splitlines()[-1]


class Stage:
    """One source, its publisher and its log."""

    def __init__(self, world, name, page_size=4096):
        self.world, self.name = world, name
        self.source, self.bus = world.create(name + ".db", page_size), world.file_bus(name)
        self.replica = world.path(name + "-replica.db")
        write(self.source, 20)
        self.publisher = world.publisher(self.source, self.bus)
        self.publisher.await_publishing()

    def subscribe(self, *flags):
        return self.world.subscriber(self.bus, self.replica, *flags)

    def equal(self, *subscribers):
        return self.world.assert_equal(self.source, self.publisher, *subscribers)


def others(world):
    stage = Stage(world, "others")
    # A foreign file in the replica's place.
    with open(stage.replica, "w") as f:
        f.write("my precious notes")
    line = last_line(stage.subscribe(), 3)
    assert "a file that is not our replica is there already" in line and "--force" in line, line
    assert open(stage.replica).read() == "my precious notes"
    os.remove(stage.replica)
    with sqlite3.connect(stage.replica) as db:
        db.execute("CREATE TABLE mine(a)")
    assert "--force" in last_line(stage.subscribe(), 3)
    # Somebody still uses it: --force waits for that.
    user = sqlite3.connect(stage.replica, isolation_level=None)
    user.execute("BEGIN IMMEDIATE")
    forced = stage.subscribe("--force")
    trouble = until(lambda: (s := forced.status()) and s["trouble"], "the subscriber says what it waits for", 20)
    assert "other connections have it open" in trouble, trouble
    user.execute("ROLLBACK")
    user.close()
    stage.equal(forced)
    # Two subscribers.
    line = last_line(stage.subscribe(), 3)
    assert "is kept by another subscriber" in line and str(forced.popen.pid) in line, line
    # A writer.
    writer = sqlite3.connect(stage.replica, timeout=0.1, isolation_level=None)
    try:
        writer.execute("INSERT INTO t(a) VALUES(666)")
        raise AssertionError("a stock client wrote the replica")
    except sqlite3.OperationalError as error:
        assert "database is locked" in str(error), error
    writer.close()
    write(stage.source, 5)
    stage.equal(forced)
    # Written while nobody was there: found, said, healed.
    assert forced.stop() == 0
    write(stage.replica, 3)
    with sqlite3.connect(stage.replica) as db:
        db.execute("DELETE FROM t WHERE id < 5")
    write(stage.source, 3)
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    assert "another program has written the replica" in subscriber.text() and "healed" in subscriber.text(), subscriber.text()
    assert subscriber.status()["repaired_pages"] > 0, subscriber.status()
    # Held exclusively by somebody: waited for.
    assert subscriber.stop() == 0
    holder = sqlite3.connect(stage.replica, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waiting = stage.subscribe()
    trouble = until(lambda: (s := waiting.status()) and s["trouble"], "the subscriber says what it waits for", 30)
    assert "another process holds the write lock" in trouble, trouble
    holder.execute("ROLLBACK")
    holder.close()
    stage.equal(waiting)
    log("files, writers and subscribers of others are refused, waited for or healed")


def page_size(world):
    stage = Stage(world, "paged", 4096)
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    assert stage.publisher.stop() == 0
    reader = sqlite3.connect(f"file:{stage.replica}?mode=ro", uri=True)
    count = reader.execute("SELECT count(*) FROM t").fetchone()[0]
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(stage.source + suffix):
            os.remove(stage.source + suffix)
    world.create("paged.db", 8192)
    write(stage.source, 7)
    # Without being asked to, the log of another database is not taken.
    line = last_line(world.publisher(stage.source, stage.bus), 3)
    assert "page size 4096" in line and "8192" in line and "--new-lineage" in line, line
    stage.publisher = world.publisher(stage.source, stage.bus, "--new-lineage")
    stage.publisher.await_publishing()
    # A reader has the replica open: it goes on seeing the old image, and the subscriber says what it waits for.
    trouble = until(lambda: (s := subscriber.status()) and "other connections have it open" in s["trouble"] and s["trouble"],
                    lambda: subscriber.text(), 20)
    assert stage.replica in trouble
    assert reader.execute("SELECT count(*) FROM t").fetchone()[0] == count
    reader.close()
    stage.equal(subscriber)
    with sqlite3.connect(f"file:{stage.replica}?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA page_size").fetchone()[0] == 8192
    write(stage.source, 7)
    stage.equal(subscriber)
    log("a database of another page size replaces the replica as soon as its readers let go")


def flipped(world):
    stage = Stage(world, "flipped")
    write(stage.source, 200)
    config = world.path("scrub.yml")
    with open(config, "w") as f:
        f.write(f"replicas:\n  - path: {stage.replica}\n    bus: {stage.bus}\n    scrub-interval: 50ms\n")
    subscriber = stage.subscribe("--config", config)
    position = stage.equal(subscriber)

    def flip(offset):
        with open(stage.replica, "r+b") as f:
            f.seek(offset)
            byte = f.read(1)
            f.seek(offset)
            f.write(bytes([byte[0] ^ 0x10]))

    # All frames are in the database file; then a page of it rots under a running subscriber.
    until(lambda: world.cli("verify", stage.replica).returncode == 0 and os.path.getsize(stage.replica) >= 4096 * 10, "checkpointed", 20)
    flip(4096 * 7 + 99)
    until(lambda: "scrub repaired" in subscriber.text(), lambda: subscriber.text(), 30)
    stage.equal(subscriber)
    assert subscriber.stop() == 0
    # And with nobody there: verify finds the one byte, the next subscriber mends it.
    checked = world.cli("verify", "--json", stage.replica)
    assert checked.returncode == 0 and json.loads(checked.stdout)["position"] == position, checked
    flip(4096 * 3 + 1000)
    checked = world.cli("verify", stage.replica)
    assert checked.returncode == 1 and "NOT equal" in checked.stdout, checked
    checked = world.cli("verify", "--against", stage.bus, stage.replica)
    assert checked.returncode == 1, checked
    checked = world.cli("verify", "--against", stage.source, stage.replica)
    assert checked.returncode == 1, checked
    subscriber = stage.subscribe("--config", config)
    until(lambda: world.cli("verify", stage.replica).returncode == 0, lambda: subscriber.text(), 30)
    stage.equal(subscriber)
    # Where nothing is: the sentence names the file.
    missing = world.cli("verify", world.path("nothing.db"))
    assert missing.returncode == 1 and "nothing.db: no such database file" in missing.stderr, missing
    log("one flipped byte is found by verify, and repaired under the readers")


def removed(world):
    stage = Stage(world, "removed")
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(stage.replica + suffix):
            os.remove(stage.replica + suffix)
    write(stage.source, 5)
    until(lambda: os.path.exists(stage.replica), lambda: subscriber.text(), 20)
    stage.equal(subscriber)
    assert "was removed or replaced" in subscriber.text(), subscriber.text()
    # With its state too.
    shutil.rmtree(stage.replica + "-runnel")
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(stage.replica + suffix):
            os.remove(stage.replica + suffix)
    write(stage.source, 5)
    until(lambda: os.path.exists(stage.replica), lambda: subscriber.text(), 20)
    stage.equal(subscriber)
    assert subscriber.stop() == 0
    # The position file alone is damaged or gone: the replica is not recognised, and never shown as something it is not.
    with open(stage.replica + "-runnel/position", "r+b") as f:
        f.write(b"\0" * 4096)
    write(stage.source, 2)
    line_or_ok = stage.subscribe()
    until(lambda: not line_or_ok.running() or (line_or_ok.status() or {}).get("trouble"), lambda: line_or_ok.text(), 20)
    assert "position" in line_or_ok.text(), line_or_ok.text()
    line_or_ok.stop()
    stage.equal(stage.subscribe("--force"))
    log("a replica that is removed under its subscriber is made again")


def waiting(world):
    stage = Stage(world, "waiting")
    none = world.cli("wait", stage.replica, "--txid", "1", "--timeout", "200ms")
    assert none.returncode == 4 and "still no replica" in none.stderr, none
    subscriber = stage.subscribe()
    position = stage.equal(subscriber)
    reached = world.cli("wait", "--json", stage.replica, "--txid", position)
    assert reached.returncode == 0 and json.loads(reached.stdout) == {"position": position, "reached": True}, reached
    late = world.cli("wait", stage.replica, "--txid", "99999", "--timeout", "300ms")
    assert late.returncode == 4 and position in late.stderr and "300ms" in late.stderr, late
    log("wait ends with 4 when the TXID does not come")


def main(world):
    others(world)
    page_size(world)
    flipped(world)
    removed(world)
    waiting(world)


run(main)
