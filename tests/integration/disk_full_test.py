"""A full disk under a replica, under a publisher's state directory and under the file bus: that database stops with the reason, the
others go on, nothing is lost, and it continues when there is room again. Needs a small file system of its own: root."""
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import Skip, free_port, http_json, log, run, until  # noqa: E402


def write(path, count=1, size=300):
    db = sqlite3.connect(path, isolation_level=None)
    for n in range(count):
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(?))", (n, size))
    db.close()


class SmallDisk:
    def __init__(self, path, size="8m"):
        os.makedirs(path, exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "runnel-test", path], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise Skip(f"a small file system cannot be mounted here (root only): {mounted.stderr.strip()}")
        self.path, self.ballast = path, os.path.join(path, "ballast")

    def fill(self, leave=0):
        room = os.statvfs(self.path)
        with open(self.ballast, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, max(4096, room.f_bavail * room.f_frsize - leave))

    def free(self):
        os.remove(self.ballast)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path])


def node(world, verb, name, config):
    """A node for several databases; returns the process and a function that gives the status of one."""
    port = free_port()
    path = world.path(name + ".yml")
    with open(path, "w") as f:
        f.write(config)
    process = world.start(name, [world.runnel, "--config", path, verb, "--http", f"127.0.0.1:{port}"])
    key = "databases" if verb == "publish" else "replicas"

    def status(database):
        assert process.running(), process.text()[-3000:]
        answer = http_json(port, "/status")
        return {d["name"]: d for d in answer[key]}[database] if answer else None
    return process, status


def lists(kind, *pairs):
    return f"{kind}:\n" + "".join(f"  - path: {path}\n    bus: {bus}\n    connect-timeout: 1s\n" for path, bus in pairs)


def replica_full(world):
    with SmallDisk(world.path("small")) as disk:
        sources = [world.create("one.db"), world.create("two.db")]
        buses = [world.file_bus("one"), world.file_bus("two")]
        replicas = [os.path.join(disk.path, "one.db"), world.path("two-replica.db")]
        publisher, published = node(world, "publish", "p1", lists("dbs", *zip(sources, buses)))
        subscriber, applied = node(world, "subscribe", "s1", lists("replicas", *zip(replicas, buses)))

        def caught_up(i, seconds=30):
            def probe():
                p, s = published(["one", "two"][i]), applied(["one", "two"][i])
                return p and s and p["captured"] == p["published"] == s["applied"] and s["applied"][:16] > "0" * 16
            until(probe, lambda: f"{applied('one')} {published('one')} {subscriber.text()[-1500:]}", seconds)
            until(lambda: world.image(sources[i]) == world.image(replicas[i]), f"replica {i} equal", 10)

        caught_up(0)
        caught_up(1)
        disk.fill(leave=64 << 10)
        write(sources[0], 300, 4000)
        trouble = until(lambda: (s := applied("one")) and s["trouble"], lambda: subscriber.text()[-1500:], 30)
        assert "one.db" in trouble and ("full" in trouble or "No space" in trouble), trouble
        write(sources[1], 20)
        caught_up(1)
        # Readers of the full one still see one exact image.
        with sqlite3.connect(f"file:{replicas[0]}?mode=ro", uri=True) as db:
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        disk.free()
        caught_up(0)
        assert applied("one")["trouble"] == "", applied("one")
        assert world.cli("verify", "--deep", replicas[0]).returncode == 0
        assert subscriber.stop() == 0 and publisher.stop() == 0
        # No room for the replica at all.
        os.remove(replicas[0])
        for name in os.listdir(disk.path):
            subprocess.run(["rm", "-rf", os.path.join(disk.path, name)])
        disk.fill(leave=16 << 10)
        late = world.subscriber(buses[0], replicas[0])
        trouble = until(lambda: (s := late.status()) and s["trouble"], lambda: late.text(), 20)
        assert "No space" in trouble or "full" in trouble, trouble
        assert not os.path.exists(replicas[0]), "a half-made image has the replica's name"
        disk.free()
        until(lambda: os.path.exists(replicas[0]) and world.image(replicas[0]) == world.image(sources[0]), lambda: late.text(), 30)
        assert late.stop() == 0
    log("a full disk stops the replica on it, not the other one, and it goes on when there is room")


def publisher_full(world):
    nats = world.nats()
    source, other = world.create("state.db"), world.create("neighbour.db")
    with SmallDisk(source + "-runnel", "2m") as disk:
        config = lists("dbs", (source, nats.url("state")), (other, nats.url("neighbour")))
        # The backlog begins at once, and the WAL is small.
        config = "defaults: {}\n" + config.replace("connect-timeout: 1s", "connect-timeout: 1s\n    wal-limit: 256KiB")
        disk.fill()
        publisher, published = node(world, "publish", "p2", config)
        trouble = until(lambda: (s := published("state")) and s["trouble"], lambda: publisher.text()[-1500:], 20)
        assert "No space" in trouble or "full" in trouble, trouble
        until(lambda: published("neighbour")["state"] == "publishing", "the other one is published", 20)
        disk.free()
        until(lambda: published("state")["state"] == "publishing", lambda: publisher.text()[-1500:], 20)
        subscriber = world.subscriber(nats.url("state"), world.path("state-replica.db"))

        def same():
            p = published("state")
            return p and p["captured"] == p["published"] and (subscriber.status() or {}).get("applied") == p["published"] \
                and world.image(source) == world.image(subscriber.replica)

        write(source, 50)
        until(same, lambda: f"{published('state')} {subscriber.status()} {publisher.text()[-1500:]}", 30)
        # The page table needs room for more pages, and there is none.
        disk.fill()
        write(source, 60, 400000)
        until(lambda: (s := published("state"))["trouble"] or s["captured"] == s["published"], lambda: publisher.text()[-1500:], 20)
        disk.free()
        until(same, lambda: f"{published('state')} {subscriber.status()} {publisher.text()[-1500:]}", 60)
        # The bus is away, and the backlog has no room.
        disk.fill(leave=128 << 10)
        nats.stop()
        write(source, 200, 8000)
        until(lambda: published("state")["state"] == "disconnected", lambda: publisher.text()[-1500:], 30)
        write(other, 10)
        nats.start()
        until(same, lambda: f"{published('state')} {subscriber.status()} {publisher.text()[-1500:]}", 60)
        disk.free()
        write(source, 5)
        until(same, lambda: f"{published('state')} {subscriber.status()} {publisher.text()[-1500:]}", 60)
        assert published("state")["snapshots"] == 1, published("state")
        assert publisher.stop() == 0 and subscriber.stop() == 0
    log("a full state directory stops its database with the reason, loses nothing, and it goes on when there is room")


def bus_full(world):
    with SmallDisk(world.path("full-bus")) as disk:
        source = world.create("filled.db")
        bus = f"file://{disk.path}/filled"
        publisher = world.publisher(source, bus)
        publisher.await_publishing()
        subscriber = world.subscriber(bus, world.path("filled-replica.db"))
        world.assert_equal(source, publisher, subscriber)
        disk.fill(leave=32 << 10)
        write(source, 100, 4000)
        trouble = until(lambda: publisher.status()["trouble"], lambda: publisher.text()[-1500:], 20)
        assert "No space" in trouble or "full" in trouble, trouble
        disk.free()
        write(source, 5)
        world.assert_equal(source, publisher, subscriber)
        assert publisher.status()["deltas"] == 0 and publisher.status()["snapshots"] == 1, publisher.status()
        # Before the disk goes away.
        assert publisher.stop() == 0 and subscriber.stop() == 0
    log("a full file bus is waited for, and every commit gets into it")


def main(world):
    replica_full(world)
    publisher_full(world)
    bus_full(world)


run(main)
