"""Replicas that begin with an archive: while the writer runs, behind a log that was trimmed, and led by a reference in
the log. What they show is at every look the image of one recorded position; they end equal to the source."""
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from foreign_log import fields, one  # noqa: E402
from harness import log, run, until  # noqa: E402
from nats_raw import RawNats  # noqa: E402
from restore_world import Recorder, directory_place, looks_exact, run_cli  # noqa: E402
from workload import SCHEMA, Workload  # noqa: E402


def archive_once(world, place, bus):
    done = run_cli(world, place, "archive", "--once", bus, place.url)
    assert done.returncode == 0, done.stderr[-2000:]


def trim(nats, name):
    """The log loses all that it holds now."""
    raw = RawNats(nats.port)
    last = raw.api(f"STREAM.INFO.RUNNEL-{name}")["state"]["last_seq"]
    answer = raw.api(f"STREAM.PURGE.RUNNEL-{name}", {"seq": last + 1})
    assert answer.get("success"), answer


class Source:
    def __init__(self, world, bus, name, page_size):
        self.path = world.create(f"{name}.db", page_size, 0, SCHEMA)
        config = world.path(f"{name}.yml")
        with open(config, "w") as f:
            f.write(f"dbs:\n  - path: {self.path}\n    bus: {bus}\n    coalesce-after: never\n")
        self.publisher = world.publisher(self.path, bus, "--config", config)
        self.recorder = Recorder(self.path, self.publisher)
        self.workload = Workload(self.path, page_size)

    def write(self, steps):
        for _ in range(steps):
            self.workload.step()
            self.recorder.record()


def while_the_writer_runs(world, nats):
    place, bus = directory_place(world, "archive-live"), nats.url("live")
    source = Source(world, bus, "live", 4096)
    source.write(30)
    archive_once(world, place, bus)
    source.write(5)
    replica = world.path("live-replica.db")
    subscriber = world.subscriber(bus, replica, "--archive", place.url)
    seen = 0
    for _ in range(25):
        source.write(1)
        seen += looks_exact(replica, source.recorder)
    until(lambda: looks_exact(replica, source.recorder), "the replica is there", 30)
    world.assert_equal(source.path, source.publisher, subscriber)
    assert "from=archive" in subscriber.text(), subscriber.text()[-2000:]
    assert subscriber.stop() == 0 and source.publisher.stop() == 0
    log(f"begun with the archive while commits came; {seen} looks at it, all exact")


def behind_a_trimmed_log(world, nats):
    place, bus = directory_place(world, "archive-trim"), nats.url("trim")
    source = Source(world, bus, "trim", 4096)
    replica = world.path("trim-replica.db")
    subscriber = world.subscriber(bus, replica, "--archive", place.url)
    world.assert_equal(source.path, source.publisher, subscriber)
    assert subscriber.stop() == 0
    source.write(20)
    archive_once(world, place, bus)
    trim(nats, "trim")
    source.write(5)
    # Without the archive it cannot go on, says so, and keeps showing its last exact image.
    alone = world.subscriber(bus, replica)
    until(lambda: (s := alone.status()) and s["state"] in ("stalled", "resyncing") and s["trouble"],
          lambda: alone.text()[-2000:], 30)
    assert looks_exact(replica, source.recorder)
    assert alone.stop() == 0
    subscriber = world.subscriber(bus, replica, "--archive", place.url)
    for _ in range(5):
        source.write(1)
        assert looks_exact(replica, source.recorder)
    world.assert_equal(source.path, source.publisher, subscriber)
    assert "replica healed" in subscriber.text(), subscriber.text()[-2000:]
    # And a new one, from nothing but the archive and what is left of the log.
    fresh = world.subscriber(bus, world.path("trim-fresh.db"), "--archive", place.url)
    world.assert_equal(source.path, source.publisher, subscriber, fresh)
    for process in (subscriber, fresh, source.publisher):
        assert process.stop() == 0
    log("a replica behind a trimmed log catches up from the archive, in one commit; a new one begins with it")


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def text(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def reference(last, url, named=True):
    """At the last message's position, a reference to an archive (bus/ENVELOPE.md); with `named` also to an image."""
    header = fields(one(fields(last), 1))
    image = varint(3 << 3) + varint(1) + varint(4 << 3 | 1) + struct.pack("<Q", 1 << 63) if named else b""
    body = b"".join([
        varint(1 << 3) + varint(1), varint(2 << 3) + varint(3), text(3, one(header, 3)),
        varint(4 << 3) + varint(one(header, 4)),
        text(5, one(header, 5)), varint(6 << 3) + varint(one(header, 7) + 1), varint(7 << 3) + varint(one(header, 7)),
        varint(8 << 3 | 1) + struct.pack("<Q", one(header, 8)), text(9, b"test"),
        varint(10 << 3) + varint(one(header, 10)), varint(11 << 3) + varint(one(header, 11))])
    return text(1, body) + text(4, text(1, url.encode()) + text(2, b"ltx/9/gone.ltx") + image)


def led_by_the_log(world, nats):
    place, bus = directory_place(world, "archive-ref"), nats.url("ref")
    source = Source(world, bus, "ref", 512)
    source.write(10)
    archive_once(world, place, bus)
    trim(nats, "ref")
    source.write(5)
    position = world.await_drained(source.publisher)
    assert source.publisher.stop() == 0
    raw = RawNats(nats.port)
    last = raw.last("ref")
    raw.publish("ref", reference(last, place.url))
    raw.publish("ref", reference(last, "file:///nowhere", named=False))  # malformed: nobody may follow it, or stumble
    subscriber = world.subscriber(bus, world.path("ref-replica.db"))
    subscriber.await_position(position)
    assert world.image(subscriber.replica) == world.image(source.path)
    assert subscriber.stop() == 0
    out = world.path("ref-restored.db")
    done = run_cli(world, None, "restore", "--json", bus, "-o", out)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["position"] == position, done.stdout
    assert world.image(out) == world.image(source.path)
    log("a reference in the log leads replicas and restores to the archive")


def main(world):
    nats = world.nats()
    while_the_writer_runs(world, nats)
    behind_a_trimmed_log(world, nats)
    led_by_the_log(world, nats)


run(main)
