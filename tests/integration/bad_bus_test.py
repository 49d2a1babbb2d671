"""A bus that is away, refuses, is dangerous or lies. Publisher and subscriber say so, apply nothing that is not proven, and go on
when the cause is gone."""
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import free_port, http_json, log, run, until  # noqa: E402
from nats_raw import RawNats  # noqa: E402


def write(path, count=1):
    db = sqlite3.connect(path, isolation_level=None)
    for n in range(count):
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(200))", (n,))
    db.close()


def error_of(process, code):
    assert process.wait(20) == code, f"{process.name} ended with {process.popen.returncode}, not {code}: {process.text()}"
    return process.text().strip().splitlines()[-1]


def unreachable(world):
    port = free_port()
    url = f"nats://127.0.0.1:{port}/away"
    source = world.create("away.db")
    publisher = world.publisher(source, url)
    subscriber = world.subscriber(url, world.path("away-replica.db"))
    for process in (publisher, subscriber):
        trouble = until(lambda: (s := process.status()) and s["trouble"], f"{process.name} says what is wrong", 15)
        assert f"nats server 127.0.0.1:{port} cannot be reached" in trouble, trouble
    write(source, 10)
    done = world.cli("status", url)
    assert done.returncode == 1 and f"127.0.0.1:{port} cannot be reached" in done.stderr, done
    ready = http_json(publisher.port, "/readyz")
    assert ready["ready"] is False and "cannot be reached" in ready["reason"], ready
    nats = world.nats(port=port)
    world.assert_equal(source, publisher, subscriber)
    # And away again in the middle of it all.
    nats.stop()
    write(source, 30)
    until(lambda: publisher.status()["state"] == "disconnected", "the publisher notices", 20)
    nats.start()
    write(source, 10)
    world.assert_equal(source, publisher, subscriber)
    assert publisher.status()["snapshots"] <= 1 and publisher.status()["deltas"] == 0, publisher.status()
    log("a bus that cannot be reached is said, waited for, and nothing is missed")


def credentials(world):
    nats = world.nats("secured", extra='authorization { user: "ada", password: "right" }')
    source = world.create("secured.db")
    line = error_of(world.publisher(source, nats.url("secured", "ada:wrong@")), 2)
    assert "refused the credentials" in line and '"ada"' in line and "wrong" not in line, line
    line = error_of(world.subscriber(nats.url("secured"), world.path("secured-replica.db")), 2)
    assert "refused the credentials" in line, line
    done = world.cli("status", nats.url("secured", "eve:x@"))
    assert done.returncode == 2 and "refused the credentials" in done.stderr, done
    publisher = world.publisher(source, nats.url("secured", "ada:right@"))
    publisher.await_publishing()
    status = world.cli("status", "--json", nats.url("secured", "ada:right@"))
    assert status.returncode == 0 and "right" not in status.stdout, status
    assert "right" not in publisher.text() and "right" not in str(publisher.status())
    log("wrong credentials end with exit code 2, and no password is shown anywhere")


def dangerous(world, nats):
    raw = RawNats(nats.port)
    for name, settings, words in (("memory", {"storage": "memory"}, "storage is memory"),
                                  ("limits", {"discard": "old", "max_msgs": 10}, "the oldest messages are thrown away"),
                                  ("young", {"max_age": 60 * 10**9}, "max_age is 60 s"),
                                  ("others", {"subjects": ["runnel.others.log", "orders.>"]}, "foreign messages")):
        raw.create_stream(name, **settings)
        source = world.create(name + ".db")
        line = error_of(world.publisher(source, nats.url(name)), 3)
        assert words in line and "--force" in line, line
        done = world.cli("status", nats.url(name))
        assert done.returncode == 0 and words in done.stdout, done
        forced = world.publisher(source, nats.url(name), "--force")
        forced.await_publishing()
        assert forced.stop() == 0
    log("streams that endanger the log are refused with what to change, --force goes on")


def foreign_messages(world, nats):
    """Somebody else writes to the subject of a log in use: the publisher finds its place again, the subscriber passes it over."""
    raw = RawNats(nats.port)
    source, url = world.create("foreign.db"), nats.url("foreign")
    publisher = world.publisher(source, url)
    publisher.await_publishing()
    subscriber = world.subscriber(url, world.path("foreign-replica.db"))
    world.assert_equal(source, publisher, subscriber)
    for n, payload in enumerate((b"hello", b"", b"\x00" * 100, os.urandom(5000), raw.last("foreign")[:-7])):
        seq = raw.publish("foreign", payload)
        write(source, 5)
        world.assert_equal(source, publisher, subscriber)
        until(lambda: f"seq={seq}" in subscriber.text(), lambda: subscriber.text(), 10)
    assert subscriber.status()["damaged_messages"] == 5 and subscriber.status()["forks"] == 0, subscriber.status()
    assert publisher.status()["snapshots"] == 1 and publisher.status()["deltas"] == 0, publisher.status()
    # With one of them as the last message everybody starts again.
    raw.publish("foreign", b"the end")
    publisher.stop()
    raw.publish("foreign", b"the very end")
    late = world.subscriber(url, world.path("foreign-late.db"))
    write(source, 3)
    publisher = world.publisher(source, url)
    world.assert_equal(source, publisher, subscriber, late)
    # A stream with nothing of ours is not ours.
    raw.create_stream("alien")
    raw.publish("alien", b"somebody's data")
    line = error_of(world.publisher(source, nats.url("alien")), 3)
    assert "is being published already" in line, line
    line = error_of(world.publisher(world.create("alien.db"), nats.url("alien")), 3)
    assert "is not ours" in line and "RUNNEL-alien" in line, line
    log("foreign messages in the log are named, passed over, and cost no snapshot")


def full(world, nats):
    """A limit is set on a log in use, and reached: the publisher holds what comes, spills it, and goes on when there is room. So much
    is lost by nobody; a publisher that begins at such a stream is refused as before."""
    raw = RawNats(nats.port)
    source, url = world.create("full.db"), nats.url("full")
    with open(world.path("full.yml"), "w") as config:
        config.write(f"dbs:\n  - path: {source}\n    bus: {url}\n    wal-limit: 1MiB\n    coalesce-after: never\n")
    publisher = world.publisher(source, url, "--config", world.path("full.yml"))
    publisher.await_publishing()
    subscriber = world.subscriber(url, world.path("full-replica.db"))
    write(source, 5)
    world.assert_equal(source, publisher, subscriber)
    for limit, words in (("max_msgs", "maximum messages exceeded"), ("max_bytes", "maximum bytes exceeded")):
        state = raw.api("STREAM.INFO.RUNNEL-full")["state"]
        raw.limit_stream("full", **{limit: state["messages" if limit == "max_msgs" else "bytes"] + 2})
        write(source, 20)
        status = until(lambda: (s := publisher.status()) and s["state"] == "disconnected" and s, lambda: publisher.text(), 20)
        until(lambda: words in publisher.status()["trouble"], lambda: publisher.status()["trouble"], 20)
        assert limit in publisher.status()["trouble"], publisher.status()
        for _ in range(8):
            write(source, 500)
        until(lambda: publisher.status()["backlog_bytes"] > 0, lambda: f"something is spilled: {publisher.status()}", 30)
        line = error_of(world.publisher(world.create(f"full-{limit}.db"), url), 3)
        assert f"{limit} is " in line and "--force" in line, line
        raw.limit_stream("full", **{limit: -1})
        world.assert_equal(source, publisher, subscriber)
        # While it caught up, it may have copied what was in flight there.
        until(lambda: publisher.status()["backlog_bytes"] == 0, "the backlog is gone", 30)
    status = publisher.status()
    assert status["snapshots"] == 1 and status["deltas"] == 0 and status["ranges"] == 0, status
    log("a stream that is full is waited for with what is in it: every commit arrives, no delta, no snapshot")


def damaged_logs(world):
    """A log in which the message of one commit is spoiled."""
    source, bus = world.create("spoiled.db"), world.file_bus("spoiled")
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    write(source, 4)
    for _ in range(4):
        write(source)
        position = world.await_drained(publisher)
    assert publisher.stop() == 0
    for how in ("ltx-flip", "ltx-cut", "flip", "cut", "version", "kind", "garbage"):
        spoiled = world.file_bus(f"spoiled-{how}")
        copied = world.start(f"damage-{how}", [world.support("damage_log"), bus, spoiled, how, "7"])
        assert copied.wait(20) == 0, copied.text()
        copy = world.path(f"spoiled-{how}.db")
        fresh = world.subscriber(spoiled, copy)
        if how in ("kind", "garbage"):
            fresh.await_position(position, 20)
            assert world.image(copy) == world.image(source)
            words = "unknown_message_skipped" if how == "kind" else "damaged_message_skipped"
            assert words in fresh.text().replace(" ", "_"), fresh.text()
            continue
        if how == "version":
            line = error_of(fresh, 1)
            assert "format version 99" in line and "upgrade" in line, line
        else:
            status = until(lambda: (s := fresh.status()) and s["state"] == "stalled" and s, lambda: fresh.text(), 20)
            assert "--new-lineage" in status["trouble"], status
            expected = {"ltx-flip": "checksum", "ltx-cut": "", "flip": "breaks off", "cut": "breaks off"}[how]
            assert expected in status["trouble"], status
            assert fresh.stop() == 0
        # What it shows is an exact image before the damage: TXID 6 at most, and verify agrees.
        shown = world.cli("verify", "--json", copy)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        at = int(json.loads(shown.stdout)["position"][:16], 16)
        assert at <= 6 and (at == 6 or how == "version"), f"{how}: TXID {at} is visible"
        if how == "version":
            continue
        # A new snapshot in the log is the way out.
        healed = world.subscriber(spoiled, copy)
        again = world.publisher(source, spoiled, "--new-lineage")
        world.assert_equal(source, again, healed)
        assert again.stop() == 0 and healed.stop() == 0
    log("spoiled messages are never applied: named, stalled at the last exact image, healed by the next snapshot")


def main(world):
    unreachable(world)
    credentials(world)
    nats = world.nats()
    dangerous(world, nats)
    foreign_messages(world, nats)
    full(world, nats)
    damaged_logs(world)


run(main)
