"""The real subscriber process killed at every named point of the apply, over a log that never stops, while stock
readers audit the replica. Each next life goes on from what the last one left. (The recover points need a neighbour that
dies inside the wal-index header: replica_crash_test makes one.) Arguments: passages of each point (2; in full: 12), and
the bus (file)."""
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import ROOT, log, run, until  # noqa: E402

SCHEMA = ("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT, note BLOB);"
          "CREATE TABLE meta(n INT, total INT);INSERT INTO meta VALUES(0, 0)")


def crash_points():
    with open(os.path.join(ROOT, "subscriber", "replica", "crash_points.h")) as f:
        points = re.findall(r'^    "([a-z_]+)",', f.read(), re.M)
    assert len(points) > 25, points
    return [point for point in points if not point.startswith("recover_")]


def main(world):
    passages = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    bus = world.bus(sys.argv[2] if len(sys.argv) > 2 else "file").url()
    source, replica = world.create(sql=SCHEMA), world.path("replica.db")
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    writer = world.app(source, "ledger", "rate=1500", "busy=10000", "secs=3600")
    passed, lives = world.path("points"), 0

    def die_at(point, passage, file):
        subscriber = world.subscriber(bus, file, env={"RUNNEL_CRASH_POINT": f"{point}:{passage}",
                                                      "RUNNEL_CRASH_LOG": passed})
        if point.startswith("detach"):
            until(lambda: (s := subscriber.status()) and s["state"] == "following", f"{point}: following", 60)
            subscriber.kill(signal.SIGTERM)
        assert subscriber.wait(60) == -signal.SIGKILL, f"{point}:{passage} {subscriber.text()[-1000:]}"

    points = crash_points()
    bootstrap = [point for point in points if point.startswith("bootstrap")]
    for point in bootstrap:  # each on what the one before it left of a replica that was never shown
        die_at(point, 1, replica)
        lives += 1
    subscriber = world.subscriber(bus, replica)
    until(lambda: (s := subscriber.status()) and s["state"] == "following", "the subscriber follows", 60)
    readers = [world.app(replica, "audit", "busy=5000", "secs=3600", f"seed={n}", *keys)
               for n, keys in enumerate(([], ["ro=1"], ["long=20000"], ["mmap=1", "ro=1"]))]
    subscriber.kill()
    subscriber.wait()
    for turn in range(passages):
        for point in points:
            if point not in bootstrap and not (point.startswith("detach") and turn > 0):
                die_at(point, 1 + turn * (turn + 1), replica)
                lives += 1
                for reader in readers:
                    assert reader.running(), f"{point}: {reader.text()}"
    with open(passed) as f:
        seen = f.read().split()
    assert len(seen) == lives and set(seen) == set(points), set(points) - set(seen)
    assert writer.stop() == 0
    subscriber = world.subscriber(bus, replica)
    world.assert_equal(source, publisher, subscriber)
    for reader in readers:
        assert reader.stop() == 0, reader.text()
    reads = sum(int(re.search(r"commits=(\d+)", reader.text()).group(1)) for reader in readers)
    commits = int(re.search(r"commits=(\d+)", writer.text()).group(1))
    assert subscriber.status()["forks"] == 0, subscriber.status()
    log(f"{lives} lives ended at {len(points)} points over {commits} commits, {reads} audits by {len(readers)} "
        f"readers: no error, one image")


run(main)
