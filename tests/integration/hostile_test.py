"""Neighbours that do everything SQLite allows: several writers, checkpoint loops of all kinds, connections that come and
go, long readers, writers killed in the middle, and the publisher stopped and killed at random. Nothing is missed, nothing
is torn, no snapshot is written where a delta or a continuation is possible."""
import glob
import mmap
import os
import random
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run  # noqa: E402


def acknowledged(source):
    """Commits the writers were told are done (counters that survive kill -9)."""
    total = 0
    for path in glob.glob(source + ".*.cnt"):
        with open(path, "rb") as f:
            total += struct.unpack("<Q", f.read(8))[0]
    return total


def main(world):
    kind = sys.argv[1] if len(sys.argv) > 1 else "file"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 12
    seed = int(os.environ.get("RUNNEL_SEED", time.time_ns() % 10**6))
    print(f"seed {seed} (RUNNEL_SEED repeats it)")
    rand = random.Random(seed)
    page_size = rand.choice([512, 4096, 65536])
    bus = world.bus(kind).url()
    source = world.path("app.db")
    assert world.app(source, "init", f"ps={page_size}", "rows=200").wait() == 0
    replica = world.path("replica.db")
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(bus, replica)

    def neighbours(round_seed):
        kinds = [("mix", "busy=5000"), ("mix", "busy=0"), ("ins", "busy=5000", "rate=300", "sync=FULL"),
                 ("big", "busy=5000"), ("ddl",), ("churn",), ("ckpt",), ("trunc", "busy=200", "gap_us=3000"), ("reader",)]
        if seconds > 60:
            kinds.append(("reader", "hold_us=60000000"))  # a minute in one transaction
        return [world.app(source, *kind, "secs=600", f"seed={number}{round_seed}")
                for number, kind in enumerate(kinds, start=1)]

    def end(apps, sig):
        for app in apps:
            app.kill(sig)
        for app in apps:
            app.wait()

    # 1. Everything at once, publisher attached throughout: every acknowledged commit is one TXID, not one more.
    apps = neighbours(1)
    time.sleep(seconds / 3)
    end(apps, signal.SIGTERM)
    position = world.assert_equal(source, publisher, subscriber)
    commits = int(position[:16], 16) - 1
    assert commits == acknowledged(source), f"{commits} TXIDs, {acknowledged(source)} commits acknowledged"
    log(f"page size {page_size}: {commits} commits among hostile neighbours, each one TXID")

    # 2. Writers killed in mid-transaction, again and again.
    before, kills, deadline = acknowledged(source), 0, time.monotonic() + seconds / 3
    while time.monotonic() < deadline:
        apps = neighbours(rand.randrange(10, 99))
        time.sleep(rand.uniform(0.05, 0.6))
        end(apps, signal.SIGKILL)
        kills += len(apps)
    position = world.assert_equal(source, publisher, subscriber)
    gained = int(position[:16], 16) - 1 - commits
    acked = acknowledged(source) - before
    assert acked <= gained <= acked + kills, f"{gained} TXIDs for {acked} acknowledged commits and {kills} kills"
    log(f"{kills} writers killed: {gained} TXIDs for {acked} acknowledged commits")

    # 3. The publisher killed and stopped at random, also away while the WAL starts over.
    apps = neighbours(3)
    restarts, snapshots, deltas = 0, 0, 0
    deadline = time.monotonic() + seconds / 3
    while time.monotonic() < deadline:
        time.sleep(rand.uniform(0.05, 0.8))
        status = publisher.status() or {}
        snapshots, deltas = snapshots + status.get("snapshots", 0), deltas + status.get("deltas", 0)
        publisher.kill(rand.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        publisher.wait()
        time.sleep(rand.choice([0, 0, 0.3]))
        publisher = world.publisher(source, bus)
        restarts += 1
        if rand.random() < 0.5:
            publisher.await_publishing(60)
    publisher.await_publishing(60)
    end(apps, signal.SIGTERM)
    world.assert_equal(source, publisher, subscriber)
    status = publisher.status()
    # The first publisher wrote the one snapshot there is.
    assert status["snapshots"] == 0 and snapshots <= 1, (status, snapshots)
    log(f"publisher ended {restarts} times: {deltas} deltas seen, no snapshot but the first")
    state = subscriber.status()
    assert state["forks"] == 0, state


run(main)
