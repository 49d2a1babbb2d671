"""An application that does nothing but commit, each time with an fsync. Its WAL is let go between two of its commits,
with what is in flight copied to the backlog: every commit must get its TXID all the same, and a publisher that is
killed in the middle of it must cost nothing.

saturated_test.py BUS [SECONDS] [KILLS]
"""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, row_count, run, until  # noqa: E402

BUS = sys.argv[1]
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 6
KILLS = int(sys.argv[3]) if len(sys.argv) > 3 else 8
FULL = "sync=2"
SEED = 20261128


def begin(world, bus, name):
    """A database, its publisher and a replica; returns them and the rows there were."""
    source = world.path(name + ".db")
    assert world.app(source, "init").wait() == 0
    first_rows = row_count(source)
    publisher = world.publisher(source, bus.url(name))
    publisher.await_publishing()
    return source, publisher, world.subscriber(bus.url(name), world.path(name + "-replica.db")), first_rows


def steady(world, bus):
    source, publisher, subscriber, first_rows = begin(world, bus, "steady")
    app = world.app(source, "ins", f"secs={SECONDS}", FULL)
    assert app.wait(SECONDS + 60) == 0, app.text()
    world.assert_equal(source, publisher, subscriber)
    status, commits = publisher.status(), row_count(source) - first_rows
    log(f"{commits / SECONDS:.0f} commits/s, WAL at most {status['wal_bytes_max'] / 2**20:.1f} MiB, let go "
        f"{status['finishes']} times, {status['finishes_given_up']} given up, {status['forced_checkpoints']} forced, "
        f"{status['journals']} journals")
    assert status["commits"] == commits and status["deltas"] == 0, (status, commits)
    assert int(status["published"][:16], 16) == commits + 1, (status, commits)
    until(lambda: publisher.status()["backlog_bytes"] == 0, lambda: f"the journal goes: {publisher.status()}", 20)
    assert publisher.stop() == 0


def killed(world, bus):
    source, publisher, subscriber, _ = begin(world, bus, "killed")
    app = world.app(source, "ins", "secs=300", FULL)
    pauses = random.Random(SEED)
    with_journal = 0
    for _ in range(KILLS):
        before = publisher.status()["commits"]
        until(lambda at=before: publisher.status()["commits"] > at, "commits", 30)
        time.sleep(pauses.uniform(0.05, 0.6))
        publisher.kill(signal.SIGKILL)
        publisher.wait()
        with_journal += os.path.exists(os.path.join(source + "-runnel", "backlog"))
        publisher = world.publisher(source, bus.url("killed"))
        publisher.await_publishing()
    app.stop()
    world.assert_equal(source, publisher, subscriber, seconds=120)
    texts = "".join(p.text() for p in world.processes if p.name.startswith("publisher"))
    log(f"{KILLS} kills, {with_journal} with a journal on disk, {texts.count('draining backlog')} sent on by the next "
        f"life, {texts.count('delta published')} deltas")
    assert "backlog damaged" not in texts, texts[-3000:]
    assert subscriber.status()["forks"] == 0 and subscriber.status()["gaps"] == 0, subscriber.status()


def main(world):
    bus = world.bus(BUS)
    steady(world, bus)
    killed(world, bus)


run(main)
