"""A publisher is frozen in the middle of its work, a promoted replica takes over, and the publisher wakes up: it ends
with the exit code of a fenced one, and no replica ever takes anything of it. Arguments: kinds of buses."""
import json
import os
import shutil
import signal
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run, until  # noqa: E402

KINDS = ("kafka-3.9.2", "kafka-3.9.2-transactional", "kafka-4.3.1", "kafka-4.3.1-transactional")


def promote(world, bus, subscriber):
    """The replica's image becomes a database of its own, whose publisher takes over the log."""
    for _ in range(5):
        head = json.loads(world.cli("status", "--json", bus).stdout)["log"]["position"]
        subscriber.await_position(head)
        subscriber.stop()
        copy = world.path(world.unique("copy") + ".db")
        for suffix in ("", "-wal"):
            if os.path.exists(subscriber.replica + suffix):
                shutil.copy(subscriber.replica + suffix, copy + suffix)
        subscriber = world.subscriber(bus, subscriber.replica)
        successor = world.publisher(copy, bus)
        # What the frozen one had handed to its kernel may still have arrived: then the image is not the log's head.
        until(lambda: not successor.running() or (successor.status() or {}).get("state") == "publishing", "an end", 60)
        if successor.running():
            return copy, successor, subscriber
        assert successor.wait() == 3, successor.text()
    raise AssertionError(f"nobody could take over: {successor.text()}")


def zombie(world, kafka, name):
    source = world.create(name + ".db")
    bus = kafka.url(name)
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(bus, world.path(name + "-replica.db"))
    writer = world.app(source, "ins", "rate=2000", "busy=5000", "secs=60")
    until(lambda: publisher.status()["commits"] > 500, "some commits", 30)
    publisher.kill(signal.SIGSTOP)
    # The application goes on for a moment, uncaptured, before its machine is given up.
    rows = sqlite3.connect(source)
    here = rows.execute("SELECT count(*) FROM t").fetchone()[0]
    until(lambda: rows.execute("SELECT count(*) FROM t").fetchone()[0] > here + 200, "commits nobody has captured", 30)
    rows.close()
    writer.kill(signal.SIGKILL)
    writer.wait()
    copy, successor, subscriber = promote(world, bus, subscriber)
    app = sqlite3.connect(copy, timeout=20, isolation_level=None)
    for i in range(200):
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
        if i == 50:
            publisher.kill(signal.SIGCONT)
    code = publisher.wait(60)
    assert code == 5, (code, publisher.text()[-2000:])
    for i in range(100):
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
    fresh = world.subscriber(bus, world.path(name + "-fresh.db"))
    position = world.assert_equal(copy, successor, subscriber, fresh)
    for one in (subscriber, fresh):
        assert one.status()["forks"] == 0, one.status()
    said = publisher.text().strip().splitlines()[-1]
    log(f"{name}: the zombie ended with 5 ({said[-160:]}); both replicas are the successor's at {position}")
    for process in (subscriber, fresh, successor):
        process.stop()


def main(world):
    kinds = sys.argv[1:] or KINDS
    brokers = {}
    for kind in kinds:
        version = kind.split("-")[1]
        if version not in brokers:
            for other in brokers.values():
                other.stop()
            brokers = {version: world.kafka(version)}
        kafka = brokers[version]
        kafka.fencing = "transactional" if kind.endswith("transactional") else "marker"
        zombie(world, kafka, kind.replace(".", ""))


run(main)
