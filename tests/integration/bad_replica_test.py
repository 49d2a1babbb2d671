"""The subscriber's side under bad operation: files of others in the replica's place, writers, two subscribers, another
page size or lineage, flipped pages, damaged state, the file removed or replaced under it. What readers are shown is
always one exact image; whatever cannot be gone on with is one sentence and the documented exit code."""
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import free_port, http_json, log, run, until  # noqa: E402


def write(path, count=1, size=300):
    db = sqlite3.connect(path, isolation_level=None)
    for n in range(count):
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(?))", (n, size))
    db.close()


def last_line(process, code):
    ended = process.wait(20)
    assert ended == code, f"{process.name} ended with {ended}, not {code}: {process.text()}"
    return process.text().strip().splitlines()[-1]


def remove(path):
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.remove(path + suffix)


def overwrite(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def flip(path, offset):
    with open(path, "rb") as f:
        f.seek(offset)
        byte = f.read(1)
    overwrite(path, offset, bytes([byte[0] ^ 0x10]))


class Stage:
    """One source, its publisher and its log."""

    def __init__(self, world, name, page_size=4096, rows=20):
        self.world, self.name = world, name
        self.source, self.bus = world.create(name + ".db", page_size), world.file_bus(name)
        self.replica = world.path(name + "-replica.db")
        write(self.source, rows)
        self.publisher = world.publisher(self.source, self.bus)
        self.publisher.await_publishing()

    def subscribe(self, *flags):
        return self.world.subscriber(self.bus, self.replica, *flags)

    def equal(self, *subscribers):
        return self.world.assert_equal(self.source, self.publisher, *subscribers)


def trouble_of(subscriber, words):
    return until(lambda: (s := subscriber.status()) and words in s["trouble"] and s["trouble"],
                 lambda: f"the subscriber says \"{words}\": {subscriber.status()}\n{subscriber.text()}", 30)


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
    trouble_of(forced, "other connections have it open")
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
    text = subscriber.text()
    assert "another program has written the replica" in text and "healed" in text, text
    assert subscriber.status()["repaired_pages"] > 0, subscriber.status()
    # Held by somebody: waited for.
    assert subscriber.stop() == 0
    holder = sqlite3.connect(stage.replica, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waiting = stage.subscribe()
    trouble_of(waiting, "another process holds the write lock")
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
    remove(stage.source)
    world.create("paged.db", 8192)
    write(stage.source, 7)
    # Without being asked to, the log of another database is not taken.
    line = last_line(world.publisher(stage.source, stage.bus), 3)
    assert "page size 4096" in line and "8192" in line and "--new-lineage" in line, line
    stage.publisher = world.publisher(stage.source, stage.bus, "--new-lineage")
    stage.publisher.await_publishing()
    # A reader has the replica open: it goes on seeing the old image, and the subscriber says what it waits for.
    assert stage.replica in trouble_of(subscriber, "other connections have it open")
    assert reader.execute("SELECT count(*) FROM t").fetchone()[0] == count
    reader.close()
    stage.equal(subscriber)
    with sqlite3.connect(f"file:{stage.replica}?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA page_size").fetchone()[0] == 8192
    write(stage.source, 7)
    stage.equal(subscriber)
    log("a database of another page size replaces the replica as soon as its readers let go")


def lineage(world):
    stage = Stage(world, "lineage")
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    assert subscriber.stop() == 0
    # The history is cut while the subscriber is away: said, and followed from the last image on.
    assert stage.publisher.stop() == 0
    remove(stage.source)
    world.create("lineage.db")
    write(stage.source, 9)
    # No heartbeat says so: what is in the log has to.
    with open(world.path("lineage.yml"), "w") as config:
        config.write(f"dbs:\n  - path: {stage.source}\n    bus: {stage.bus}\n    heartbeat-interval: 1h\n")
    stage.publisher = world.publisher(stage.source, stage.bus, "--config", world.path("lineage.yml"), "--new-lineage")
    stage.publisher.await_publishing()
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    text = subscriber.text()
    assert "the log now belongs to lineage" in text and "replica healed" in text, text
    log("a replica of another lineage is brought over in one commit, and says so")


def flipped(world):
    stage = Stage(world, "flipped", rows=220)
    config = world.path("scrub.yml")
    with open(config, "w") as f:
        f.write(f"replicas:\n  - path: {stage.replica}\n    bus: {stage.bus}\n    scrub-interval: 50ms\n")
    subscriber = stage.subscribe("--config", config)
    position = stage.equal(subscriber)
    wal = stage.replica + "-wal"

    def checkpointed():
        status = subscriber.status()
        return status["wal_frames"] == status["wal_backfilled"]

    def repaired(count):
        until(lambda: subscriber.text().count("scrub repaired") >= count, lambda: subscriber.text(), 30)

    # A page of the database file rots under a running subscriber: one that only the file has, ...
    until(checkpointed, "checkpointed", 20)
    flip(stage.replica, 4096 * 7 + 99)
    repaired(1)
    # ... and one whose frame is still in the WAL, so that it would come to light later.
    write(stage.source, 1)
    stage.equal(subscriber)
    until(checkpointed, "checkpointed", 20)
    with open(wal, "rb") as f:
        f.seek(32)
        page = int.from_bytes(f.read(4), "big")
    flip(stage.replica, 4096 * (page - 1) + 2000)
    repaired(2)
    # A frame of the WAL rots: the one the repair has just made, in a WAL that started over with it.
    flip(wal, 32 + 24 + 2000)
    repaired(3)
    position = stage.equal(subscriber)
    assert subscriber.stop() == 0
    # And with nobody there: verify finds the one byte, the next subscriber mends it.
    checked = world.cli("verify", "--json", stage.replica)
    assert checked.returncode == 0 and json.loads(checked.stdout)["position"] == position, checked
    flip(stage.replica, 4096 * 3 + 1000)
    checked = world.cli("verify", stage.replica)
    assert checked.returncode == 1 and "NOT equal" in checked.stdout, checked
    for other in (stage.bus, stage.source):
        checked = world.cli("verify", "--against", other, stage.replica)
        assert checked.returncode == 1, checked
    subscriber = stage.subscribe("--config", config)
    until(lambda: world.cli("verify", stage.replica).returncode == 0, lambda: subscriber.text(), 30)
    stage.equal(subscriber)
    # A WAL that rots while everybody is gone: SQLite cuts it there, and the replica is healed.
    holder = sqlite3.connect(f"file:{stage.replica}?mode=ro", uri=True)
    holder.execute("BEGIN")
    holder.execute("SELECT count(*) FROM t").fetchone()  # keeps frames out of the file
    write(stage.source, 30)
    stage.equal(subscriber)
    subscriber.kill(signal.SIGKILL)
    subscriber.wait()
    holder.close()
    if os.path.exists(wal) and os.path.getsize(wal) > 32 + 4120 * 2:
        flip(wal, 32 + 4120 + 24 + 77)
        if os.path.exists(stage.replica + "-shm"):
            os.remove(stage.replica + "-shm")
    subscriber = stage.subscribe("--config", config)
    stage.equal(subscriber)
    # Where nothing is: the sentence names the file.
    missing = world.cli("verify", world.path("nothing.db"))
    assert missing.returncode == 1 and "nothing.db: no such database file" in missing.stderr, missing
    log("one flipped byte in file, file under frames, or WAL is found, and repaired under the readers")


def removed(world):
    stage = Stage(world, "removed", rows=220)
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    remove(stage.replica)
    write(stage.source, 5)
    until(lambda: os.path.exists(stage.replica), lambda: subscriber.text(), 20)
    stage.equal(subscriber)
    assert "was removed or replaced" in subscriber.text(), subscriber.text()
    # With its state too.
    shutil.rmtree(stage.replica + "-runnel")
    remove(stage.replica)
    write(stage.source, 5)
    until(lambda: os.path.exists(stage.replica), lambda: subscriber.text(), 20)
    stage.equal(subscriber)
    # Another database in its place, the WAL of the replica still beside it.
    other = world.path("removed-other.db")
    with open(other, "wb") as f:
        f.write(world.image(stage.source))
    flip(other, 4096 * 6 + 2000)  # a page that no frame hides
    os.rename(other, stage.replica)
    write(stage.source, 5)
    until(lambda: "another file has taken its place" in subscriber.text(), lambda: subscriber.text(), 20)
    stage.equal(subscriber)
    log("a replica that is removed or replaced under its subscriber is made again")


def damaged_state(world):
    stage = Stage(world, "damaged")
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    position_file, pages = stage.replica + "-runnel/position", stage.replica + "-runnel/pages"
    # The position file: the page table still proves the image, the log says the rest.
    for how in ("stop", "kill"):
        assert how == "kill" or subscriber.stop() == 0
        subscriber.kill(signal.SIGKILL)
        subscriber.wait()
        overwrite(position_file, 0, b"\0" * 4096)
        write(stage.source, 2)
        subscriber = stage.subscribe()
        stage.equal(subscriber)
        text = subscriber.text()
        assert "both slots of the position file are damaged" in text and "image located" in text, text
        assert "healed" not in text, text
    # The page table: built again.
    assert subscriber.stop() == 0
    overwrite(pages, 4096, b"\xff" * 64)
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    assert "healed" not in subscriber.text(), subscriber.text()
    assert subscriber.stop() == 0
    overwrite(pages, 0, b"\0" * 4096)
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    # Both: nothing proves that the file is ours, so it is left alone.
    assert subscriber.stop() == 0
    overwrite(pages, 0, b"\0" * 4096)
    overwrite(position_file, 0, b"\0" * 4096)
    before = world.image(stage.replica)
    line = last_line(stage.subscribe(), 3)
    assert "nothing else proves that this is our replica" in line and "--force" in line, line
    assert world.image(stage.replica) == before
    forced = stage.subscribe("--force")
    stage.equal(forced)
    # No SQLite database any more, or none in WAL mode.
    assert forced.stop() == 0
    with open(stage.replica, "r+b") as f:
        f.truncate(0)
    for suffix in ("-wal", "-shm"):
        if os.path.exists(stage.replica + suffix):
            os.remove(stage.replica + suffix)
    line = last_line(stage.subscribe(), 3)
    assert "is an empty file" in line and "--force" in line, line
    forced = stage.subscribe("--force")
    stage.equal(forced)
    assert forced.stop() == 0
    with sqlite3.connect(stage.replica, isolation_level=None) as db:
        db.execute("PRAGMA journal_mode=DELETE")
    line = last_line(stage.subscribe(), 3)
    assert "rollback-journal mode" in line and "--force" in line, line
    stage.equal(stage.subscribe("--force"))
    log("damaged state is rebuilt where that is proven right, and refused with a sentence where not")


def read_only_directory(world):
    """As an ordinary user: root may write anywhere."""
    stage = Stage(world, "sealed")
    directory = world.path("sealed-replicas")
    os.mkdir(directory)
    os.chmod(world.dir, 0o755)
    for path, _, names in os.walk(world.path("bus")):
        os.chmod(path, 0o777)
        for name in names:
            os.chmod(os.path.join(path, name), 0o666)
    os.chmod(directory, 0o555)
    port, log_path = free_port(), world.path("sealed.log")
    replica = os.path.join(directory, "app.db")
    with open(log_path, "w") as out:
        process = subprocess.Popen([world.runnel, "subscribe", "--http", f"127.0.0.1:{port}", stage.bus, replica],
                                   stdout=out, stderr=out, start_new_session=True,
                                   user=65534 if os.getuid() == 0 else os.getuid())
    try:
        def state():
            answer = http_json(port, "/status")
            return answer and answer["replicas"][0]
        trouble = until(lambda: (s := state()) and s["trouble"], lambda: open(log_path).read(), 20)
        assert "app.db-runnel" in trouble and "Permission denied" in trouble, trouble
        assert process.poll() is None
        os.chmod(directory, 0o777)
        position = world.await_drained(stage.publisher)
        until(lambda: (s := state()) and s["applied"] == position, lambda: open(log_path).read(), 30)
        assert world.image(replica) == world.image(stage.source)
    finally:
        os.chmod(directory, 0o777)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    log("a directory that cannot be written is said, and gone on with when it can")


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
    # SIGTERM and SIGINT end it in order.
    assert subscriber.stop() == 0
    subscriber = stage.subscribe()
    stage.equal(subscriber)
    subscriber.kill(signal.SIGINT)
    assert subscriber.wait() == 130
    log("wait ends with 4 when the TXID does not come; a subscriber ends with 0 on SIGTERM, 130 on SIGINT")


def main(world):
    for part in (others, page_size, lineage, flipped, removed, damaged_state, read_only_directory, waiting):
        if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
            part(world)


run(main)
