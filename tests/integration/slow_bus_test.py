"""A bus that is far away: its round trip is much longer than the pause between two commits, so that something is in
flight at every moment. The WAL must stay small all the same, no checkpoint may be forced on the writer, its commit rate
must not suffer, and kill -9 in the middle must cost neither a commit nor its TXID.

slow_bus_test.py [SECONDS] [ROUND_TRIP_MS]...
"""
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import free_port, log, row_count, run, until  # noqa: E402

RATE = 1000
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 6
ROUND_TRIPS_MS = [int(arg) for arg in sys.argv[2:]] or [20, 100]
# Two checkpoints' worth of frames start the journal; what comes on top is a round trip and a busy machine.
WAL_BYTES_MAX = 16 << 20
KILL_ROUND_TRIP_MS = 100
# Seconds from a journal's beginning to the kill: while it is written, while it is the only copy, while it goes.
KILL_AFTER_S = (0.06, 0.1, 0.14, 0.02, 0.18, 0.08)
PROXY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "delay_proxy.py")


def far_away(world, nats, round_trip_ms):
    """Starts a proxy in front of the server; returns it and its port."""
    port = free_port()
    proxy = world.start(world.unique("far"), [sys.executable, PROXY, str(port), str(nats.port), str(round_trip_ms)])

    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    until(listens, "the proxy listens", 20)
    return proxy, port


def writes(world, source, seconds):
    """Commits for `seconds` at RATE a second; returns the commits made."""
    before = row_count(source)
    app = world.app(source, "ins", f"rate={RATE}", f"secs={seconds}", "sync=1")
    assert app.wait(seconds + 60) == 0, app.text()
    return row_count(source) - before


def steady(world, nats, round_trip_ms):
    name = f"far{round_trip_ms}"
    source = world.path(name + ".db")
    assert world.app(source, "init").wait() == 0
    alone = writes(world, source, 3)
    bus = f"nats://127.0.0.1:{far_away(world, nats, round_trip_ms)[1]}/{name}"
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(nats.url(name), world.path(name + "-replica.db"))
    made = writes(world, source, SECONDS)
    status = publisher.status()
    world.assert_equal(source, publisher, subscriber)
    after = publisher.status()
    log(f"round trip {round_trip_ms} ms: {made / SECONDS:.0f} commits/s (alone {alone / 3:.0f}), WAL at most "
        f"{status['wal_bytes_max'] / 2**20:.1f} MiB, {status['wal_resets']} resets, {status['journals']} journals, "
        f"{status['forced_checkpoints']} forced, {after['ranges']} ranges")
    assert status["wal_bytes_max"] < WAL_BYTES_MAX, status
    assert status["forced_checkpoints"] == 0, status
    assert status["journals"] > 0 and status["wal_resets"] > 0, status
    assert made >= 0.9 * alone / 3 * SECONDS, (made, alone)
    assert after["commits"] == made and after["deltas"] == 0, (after, made)
    until(lambda: publisher.status()["backlog_bytes"] == 0, lambda: f"the journal goes: {publisher.status()}", 20)
    assert publisher.stop() == 0


def killed(world, nats, round_trip_ms):
    """The publisher is killed again and again under the writer with a journal in use, and what it had on the way to the
    bus is lost with it. Every commit keeps its TXID, unless the application has started the WAL over before the next
    publisher came: then the rest is a delta, and said."""
    name = "killed"
    source = world.path(name + ".db")
    assert world.app(source, "init").wait() == 0
    subscriber = world.subscriber(nats.url(name), world.path(name + "-replica.db"))

    def life():
        proxy, port = far_away(world, nats, round_trip_ms)
        publisher = world.publisher(source, f"nats://127.0.0.1:{port}/{name}")
        publisher.await_publishing()
        return proxy, publisher
    proxy, publisher = life()
    first_rows = row_count(source)
    # The application keeps its hands off the WAL as long as not all of it is in the database file.
    app = world.app(source, "ins", f"rate={RATE}", "secs=300", "sync=1", "auto=0")
    with_journal = 0
    for pause in KILL_AFTER_S:
        until(lambda: (s := publisher.status()) and s["journals"] > 0 and s["backlog_bytes"] > 0, "a journal", 30)
        until(lambda at=time.monotonic() + pause: time.monotonic() >= at, "a moment", 5, tick=0.005)
        proxy.kill(signal.SIGKILL)
        publisher.kill(signal.SIGKILL)
        publisher.wait()
        with_journal += os.path.exists(os.path.join(source + "-runnel", "backlog"))
        proxy, publisher = life()
    app.stop()
    world.assert_equal(source, publisher, subscriber, seconds=120)
    status = publisher.status()
    texts = "".join(p.text() for p in world.processes if p.name.startswith("publisher"))
    drained, deltas = texts.count("draining backlog"), texts.count("delta published")
    commits, txid = row_count(source) - first_rows, int(status["published"][:16], 16)
    log(f"{len(KILL_AFTER_S)} kills, {with_journal} with a journal on disk, {drained} sent on by the next life; "
        f"{commits} commits, TXID {txid}, {deltas} deltas")
    assert with_journal > 0 and drained > 0, texts[-3000:]
    assert deltas > 0 or txid == commits + 1, (txid, commits)
    assert "backlog damaged" not in texts, texts[-3000:]
    assert subscriber.status()["forks"] == 0 and subscriber.status()["gaps"] == 0, subscriber.status()


def away_meanwhile(world, nats, round_trip_ms):
    """The server goes away while a journal is in use, for so long that the WAL passes its limit and commits spill."""
    name = "away"
    source = world.path(name + ".db")
    assert world.app(source, "init").wait() == 0
    bus = f"nats://127.0.0.1:{far_away(world, nats, round_trip_ms)[1]}/{name}"
    config = world.path("away.yml")
    with open(config, "w") as f:
        f.write(f"dbs:\n  - path: {source}\n    bus: {bus}\n    wal-limit: 12MiB\n")
    publisher = world.publisher(source, bus, "--config", config)
    publisher.await_publishing()
    app = world.app(source, "ins", f"rate={RATE}", "secs=14", "sync=1", "auto=0")
    until(lambda: publisher.status()["journals"] > 0 and publisher.status()["backlog_bytes"] > 0, "a journal", 30)
    nats.stop()
    until(lambda: "spilling to backlog" in publisher.text(), lambda: publisher.text()[-2000:], 60)
    nats.start()
    until(lambda: publisher.status()["state"] == "publishing", lambda: publisher.text()[-2000:], 60)
    assert app.wait(60) == 0, app.text()
    subscriber = world.subscriber(nats.url(name), world.path(name + "-replica.db"))
    world.assert_equal(source, publisher, subscriber, seconds=120)
    status = publisher.status()
    assert status["deltas"] == 0 and status["snapshots"] == 1, status
    log(f"a journal goes over into a spill and back; WAL at most {status['wal_bytes_max'] / 2**20:.1f} MiB")


def main(world):
    nats = world.nats()
    for round_trip_ms in ROUND_TRIPS_MS:
        steady(world, nats, round_trip_ms)
    killed(world, nats, KILL_ROUND_TRIP_MS)
    away_meanwhile(world, nats, ROUND_TRIPS_MS[-1])


run(main)
