"""A bus that goes away, loses what it acknowledged, and is claimed by a second publisher: healed, or refused with a
sentence and the documented exit code; the replicas are equal in the end."""
import base64
import json
import os
import shutil
import signal
import socket
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from deaf_proxy import DeafProxy  # noqa: E402
from harness import log, row_count, run, until  # noqa: E402
from nats_raw import RawNats  # noqa: E402


def jetstream(nats, subject, payload):
    """One request on the NATS wire, as any client would send it."""
    with socket.create_connection(("127.0.0.1", nats.port), 5) as s:
        f = s.makefile("rwb")
        f.readline()
        body = json.dumps(payload).encode() if payload is not None else b""
        f.write(b'CONNECT {"verbose":false,"headers":false}\r\nSUB _INBOX.t 1\r\n')
        f.write(f"PUB {subject} _INBOX.t {len(body)}\r\n".encode() + body + b"\r\n")
        f.flush()
        while True:
            line = f.readline().split()
            if line[0] == b"MSG":
                return json.loads(f.read(int(line[-1])))
            if line[0] == b"PING":
                f.write(b"PONG\r\n")
                f.flush()


class JetStream:
    """A NATS server and what can happen to its streams."""

    def __init__(self, world, name):
        self.nats = world.nats(name)
        self.url, self.stop, self.start = self.nats.url, self.nats.stop, self.nats.start

    def lose_tail(self, name, count):
        stream = f"RUNNEL-{name}"
        last = jetstream(self.nats, f"$JS.API.STREAM.INFO.{stream}", None)["state"]["last_seq"]
        for seq in range(last, last - count, -1):
            gone = jetstream(self.nats, f"$JS.API.STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
            assert gone.get("success")

    def keep_last(self, name):
        stream = f"RUNNEL-{name}"
        last = jetstream(self.nats, f"$JS.API.STREAM.INFO.{stream}", None)["state"]["last_seq"]
        assert jetstream(self.nats, f"$JS.API.STREAM.PURGE.{stream}", {"seq": last}).get("success")

    def delete(self, name):
        assert jetstream(self.nats, f"$JS.API.STREAM.DELETE.RUNNEL-{name}", None).get("success")


class Topics:
    """A Kafka broker and what can happen to its topics."""

    def __init__(self, world, kind):
        self.kafka = world.bus(kind)
        self.url, self.stop, self.start = self.kafka.url, self.kafka.stop, self.kafka.start

    def lose_tail(self, name, count):
        self.kafka.kill()
        self.kafka.cut_tail(name, count)
        self.kafka.start()

    def keep_last(self, name):
        self.kafka.trim(name, int(self.kafka.read(name).split()[-1]))

    def delete(self, name):
        self.kafka.delete_topic(name)


def server_of(world, kind, name):
    return JetStream(world, name) if kind == "nats" else Topics(world, kind)


def stopped_server(world, server, away):
    """The server is gone under write load; the WAL holds what happens meanwhile, then all arrives, commit by commit."""
    source = world.create("away.db")
    replica = world.path("away-replica.db")
    publisher = world.publisher(source, server.url("away"))
    publisher.await_publishing()
    subscriber = world.subscriber(server.url("away"), replica)
    writer = world.app(source, "ins", "rate=1000", "busy=5000", f"secs={away + 6}")
    time.sleep(2)
    server.stop()
    until(lambda: publisher.status()["state"] == "disconnected", "the publisher notices", 60)
    time.sleep(away)
    server.start()
    publisher.await_publishing(60)
    assert writer.wait(60) == 0
    position = world.assert_equal(source, publisher, subscriber)
    rows = row_count(source)
    status = publisher.status()
    assert status["deltas"] == 0 and status["snapshots"] == 1, status
    log(f"server away for {away} s: {rows} rows, position {position}, no snapshot and no delta needed")
    return source, publisher, subscriber


def spilled(world, server):
    """The WAL limit is passed while the bus is away: commits wait in the backlog, the WAL is reused, none is lost."""
    source = world.create("spill.db")
    with open(world.path("spill.yml"), "w") as config:
        config.write(f"dbs:\n  - path: {source}\n    bus: {server.url('spill')}\n    wal-limit: 2MiB\n")
    publisher = world.publisher(source, server.url("spill"), "--config", world.path("spill.yml"))
    publisher.await_publishing()
    subscriber = world.subscriber(server.url("spill"), world.path("spill-replica.db"))
    server.stop()
    writer = world.app(source, "ins", "busy=5000", "n=20000", "secs=60")
    assert writer.wait(90) == 0
    until(lambda: publisher.status()["backlog_bytes"] > 0, "something is spilled", 60)
    log(f"spilled {publisher.status()['backlog_bytes']} bytes")
    # The publisher may even die now: the backlog is on disk.
    publisher.kill(signal.SIGKILL)
    publisher.wait()
    server.start()
    publisher = world.publisher(source, server.url("spill"), "--config", world.path("spill.yml"))
    publisher.await_publishing(60)
    world.assert_equal(source, publisher, subscriber)
    # While it caught up, it may have copied what was in flight there; that goes with the acknowledgements.
    until(lambda: publisher.status()["backlog_bytes"] == 0, "the backlog is gone", 30)


def retention(world, server):
    """Old messages are gone, among them what a subscriber that was away had not read, and the only snapshot."""
    source = world.create("old.db")
    publisher = world.publisher(source, server.url("old"))
    publisher.await_publishing()
    app = sqlite3.connect(source, isolation_level=None)
    subscriber = world.subscriber(server.url("old"), world.path("old-replica.db"))
    away = world.subscriber(server.url("old"), world.path("old-away.db"))
    for i in range(20):
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
    world.assert_equal(source, publisher, subscriber, away)
    away.stop()
    for i in range(20):
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
    world.await_drained(publisher)
    server.keep_last("old")
    away = world.subscriber(server.url("old"), world.path("old-away.db"))
    fresh = world.subscriber(server.url("old"), world.path("old-fresh.db"))
    until(lambda: publisher.status()["snapshots"] == 2, lambda: f"another snapshot: {publisher.status()}", 60)
    app.execute("INSERT INTO t(a) VALUES(7)")
    world.assert_equal(source, publisher, subscriber, away, fresh, seconds=90)
    log("retention took the only snapshot and what a subscriber had not read: a new snapshot, every replica equal")


def lost_tail(world, server, source, publisher, subscriber):
    """Acknowledged messages vanish from the log behind everybody's back."""
    app = sqlite3.connect(source, isolation_level=None)
    for i in range(20):
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
    position = world.await_drained(publisher)
    subscriber.await_position(position)
    late = world.subscriber(server.url("away"), world.path("late-replica.db"))
    late.await_position(position)
    late.stop()
    app.execute("INSERT INTO t(a) VALUES(999)")
    world.await_drained(publisher)
    server.lose_tail("away", 2)
    app.execute("INSERT INTO t(a) VALUES(1000)")
    late = world.subscriber(server.url("away"), world.path("late-replica.db"))
    world.assert_equal(source, publisher, subscriber, late)
    log("two acknowledged messages deleted behind our back: healed")

    # All of it.
    snapshots = publisher.status()["snapshots"]
    server.delete("away")
    app.execute("INSERT INTO t(a) VALUES(1001)")
    # A topic takes messages for a while after its deletion was acknowledged: publishing proves nothing yet.
    until(lambda: publisher.status()["snapshots"] > snapshots, "the log is written again", 60)
    publisher.await_publishing(60)
    fresh = world.subscriber(server.url("away"), world.path("fresh-replica.db"))
    world.assert_equal(source, publisher, subscriber, late, fresh)
    log("the log deleted behind our back: written again, every replica equal")


def duplicated(world):
    """Messages of the log stand in it again, whole and valid, as after a producer's retry or a careless copy."""
    nats = world.nats("twice")
    source, url = world.create("twice.db"), nats.url("twice")
    publisher = world.publisher(source, url)
    publisher.await_publishing()
    subscriber = world.subscriber(url, world.path("twice-replica.db"))
    app = sqlite3.connect(source, isolation_level=None)
    for i in range(10):
        before = publisher.status()["published"]
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
        until(lambda: publisher.status()["published"] > before, "published", 20)
    raw = RawNats(nats.port)
    last = raw.api("STREAM.INFO.RUNNEL-twice")["state"]["last_seq"]
    for seq in (last, last, last - 1, last - 5, 1, 2):
        message = raw.api("STREAM.MSG.GET.RUNNEL-twice", {"seq": seq})["message"]
        raw.publish("twice", base64.b64decode(message["data"]))
        app.execute("INSERT INTO t(a) VALUES(?)", (seq,))
        world.assert_equal(source, publisher, subscriber)
    late = world.subscriber(url, world.path("twice-late.db"))
    world.assert_equal(source, publisher, subscriber, late)
    status = publisher.status()
    assert subscriber.status()["forks"] == 0 and late.status()["forks"] == 0, subscriber.status()
    log(f"messages that stand in the log twice: every replica equal, at the price of {status['deltas']} deltas and "
        f"{status['snapshots'] - 1} snapshots")


def void_messages(world):
    """Messages of an older leadership come late, as from a publisher that was taken over from: they are void."""
    nats = world.nats("void")
    source, url = world.create("void.db"), nats.url("void")
    publisher = world.publisher(source, url)
    publisher.await_publishing()
    subscriber = world.subscriber(url, world.path("void-replica.db"))
    app = sqlite3.connect(source, isolation_level=None)
    raw = RawNats(nats.port)
    for i in range(5):
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
        world.await_drained(publisher)
    older = raw.last("void")
    publisher.stop()
    publisher = world.publisher(source, url)
    publisher.await_publishing()
    for restarts in (False, True):
        app.execute("INSERT INTO t(a) VALUES(7)")
        world.assert_equal(source, publisher, subscriber)
        if restarts:
            publisher.stop()
        for _ in range(3):
            raw.publish("void", older)
        app.execute("INSERT INTO t(a) VALUES(8)")
        if restarts:
            publisher = world.publisher(source, url)
            publisher.await_publishing()
        world.assert_equal(source, publisher, subscriber)
        status = publisher.status()
        assert status["deltas"] == 0 and status["snapshots"] == 0 and subscriber.status()["forks"] == 0, status
    log("void messages at the log's end: neither a delta nor a snapshot, no TXID passed over")


def lost_takeovers(world):
    """The connection breaks, and then again each time a takeover is in the log and before its publisher hears of it."""
    nats = world.nats("deaf")
    proxy = DeafProxy(nats.port)
    source = world.create("deaf.db")
    publisher = world.publisher(source, f"nats://127.0.0.1:{proxy.port}/deaf")
    publisher.await_publishing()
    subscriber = world.subscriber(nats.url("deaf"), world.path("deaf-replica.db"))
    app = sqlite3.connect(source, isolation_level=None)
    epoch = 0

    def leads_again():
        assert publisher.running(), publisher.text()[-1500:]
        return publisher.status()["epoch"] > epoch
    for lost in (1, 3):
        app.execute("INSERT INTO t(a) VALUES(?)", (lost,))
        world.assert_equal(source, publisher, subscriber)
        epoch = publisher.status()["epoch"]
        proxy.lose(b"Nats-Expected-Last-Sequence", b'"seq"', lost)
        proxy.cut()
        app.execute("INSERT INTO t(a) VALUES(?)", (-lost,))
        until(leads_again, lambda: f"it leads again: {publisher.text()[-1500:]}", 60)
        world.assert_equal(source, publisher, subscriber)
        assert publisher.status()["epoch"] == epoch + lost + 1, publisher.status()
    status = publisher.status()
    assert status["snapshots"] == 1 and status["deltas"] == 0 and subscriber.status()["forks"] == 0, status
    log("takeovers whose answers were lost: the publisher knows them as its own")


def page_tables(source):
    """What lies beside a database to say which pages were published: name -> bytes."""
    tables = {}
    for name in os.listdir(source + "-runnel"):
        if name.startswith("pages"):
            with open(os.path.join(source + "-runnel", name), "rb") as f:
                tables[name] = f.read()
    return tables


def second_publisher(world, bus):
    """A copy of the database is published into the same log."""
    source = world.create("one.db")
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(bus, world.path("one-replica.db"))
    app = sqlite3.connect(source, isolation_level=None)
    app.execute("INSERT INTO t(a) VALUES(1)")
    world.await_drained(publisher)
    # An older copy without our state beside it.
    copy = world.path("copy.db")
    target = sqlite3.connect(copy)
    app.backup(target)
    target.execute("PRAGMA journal_mode=WAL")
    target.execute("INSERT INTO t(a) VALUES(777)")
    target.commit()
    target.close()
    second = world.publisher(copy, bus)
    assert second.wait(30) == 3, second.text()
    assert "--new-lineage" in second.text(), second.text()
    assert page_tables(copy) == {}, "no table of an image that is not the log's"
    app.execute("INSERT INTO t(a) VALUES(2)")
    world.assert_equal(source, publisher, subscriber)
    log("another database's publisher is refused with exit code 3")

    # An exact copy may take over; then the first one is fenced and the copy leads.
    publisher.stop()
    app.close()
    for suffix in ("", "-wal"):
        if os.path.exists(source + suffix):
            shutil.copy(source + suffix, world.path("exact.db") + suffix)
    first = world.publisher(source, bus)
    first.await_publishing()
    exact = world.publisher(world.path("exact.db"), bus)
    exact.await_publishing()
    app = sqlite3.connect(source, isolation_level=None)
    app.execute("INSERT INTO t(a) VALUES(3)")
    assert first.wait(60) == 5, first.text()
    other = sqlite3.connect(world.path("exact.db"), isolation_level=None)
    other.execute("INSERT INTO t(a) VALUES(4)")
    world.assert_equal(world.path("exact.db"), exact, subscriber)
    log("an exact copy takes over; the first publisher ends with exit code 5")

    # The old primary comes back: its own commit makes it another database.
    tables = page_tables(source)
    assert tables, "the old primary has a page table"
    back = world.publisher(source, bus)
    assert back.wait(30) == 3, back.text()
    assert page_tables(source) == tables, "a refusal leaves the page table as it was"
    # On purpose it may replace the history; replicas follow it.
    exact.stop()
    back = world.publisher(source, bus, "--new-lineage")
    back.await_publishing()
    app.execute("INSERT INTO t(a) VALUES(5)")
    world.assert_equal(source, back, subscriber)
    log("--new-lineage replaces the history, the replica follows")


def main(world):
    away = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    kind = sys.argv[2] if len(sys.argv) > 2 else "nats"
    server = server_of(world, kind, "server")
    second_publisher(world, world.file_bus("one") if kind == "nats" else server.url("one"))
    if kind == "nats":
        duplicated(world)
        void_messages(world)
        lost_takeovers(world)
    lost_tail(world, server, *stopped_server(world, server, away))
    retention(world, server)
    spilled(world, server)


run(main)
