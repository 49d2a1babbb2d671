"""Our archive before foreign judges: the stock Litestream restores it byte for byte (newest, by TXID, by moment) and
follows it while it grows; the ltx tool verifies every object. ARGS: file | s3 | nats, and the bus: file | nats.

A real publisher and a real archiver with short intervals run beside a writer; each phase of writing ends with an image
that is kept, and with a pause until the highest level ends there too, so that the moment stays in the archive."""
import datetime
import hashlib
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from archive_world import (Archiver, check_archive, litestream_config_url, litestream_restore, make_store,  # noqa: E402
                           peer, read_manifest)
from harness import log, run, until  # noqa: E402

TOP_LEVEL = 3


def write_phase(db, phase):
    for i in range(40):
        db.execute("BEGIN")
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(?))", (phase, 50 + 911 * i % 9000))
        db.execute("UPDATE t SET a = a + 1 WHERE id % 7 = ?", (i % 7,))
        db.execute("COMMIT")
    if phase == 1:
        db.execute("CREATE TABLE u(x TEXT PRIMARY KEY, y) WITHOUT ROWID")
        db.execute("INSERT INTO u SELECT hex(randomblob(9)), randomblob(400) FROM t")
    if phase == 2:
        db.execute("DELETE FROM t WHERE id % 3 = 0")
        db.execute("VACUUM")


def masked(path):
    """Without what a follower changes so that readers notice: journal mode and change counter."""
    with open(path, "rb") as f:
        image = bytearray(f.read())
    image[18:20] = bytes(2)
    image[24:28] = bytes(4)
    return hashlib.sha256(image).hexdigest()


def ends_at(store, txid):
    """Whether the highest level has an object that ends with this commit."""
    objects = read_manifest(store.read("manifest"))["objects"]
    return any((entry["kind"], entry["level"], entry["max"]) == (1, TOP_LEVEL, int(txid, 16)) for entry in objects)


def main(world):
    kind, bus_kind = sys.argv[1], sys.argv[2]
    store = make_store(world, kind)
    bus = world.nats(binary=peer("nats-server-2.15.2", "nats-server")).url() if bus_kind == "nats" else world.file_bus()
    source = world.create()
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    archiver = Archiver(world, bus, store)
    archiver.await_archived(world.await_drained(publisher))
    followed = world.path("followed.db")
    follower = world.start("follower", [peer("litestream-0.5.18", "litestream"), "restore", "-f", "-follow-interval",
                                        "200ms", "-o", followed, litestream_config_url(store)], store.env)
    until(lambda: os.path.exists(followed), lambda: f"litestream follows: {follower.text()}", 30)
    db = sqlite3.connect(source, isolation_level=None, timeout=30)
    phases = []
    for phase in range(3):
        write_phase(db, phase)
        position = world.await_drained(publisher)
        txid, checksum = position.split("/")
        archiver.await_archived(position)
        assert litestream_restore(world, store, "-txid", txid) == checksum, f"-txid {txid}"
        # Not by the clock: what is written right behind the window's end may come before the merge, and into it.
        until(lambda: ends_at(store, txid), lambda: f"the highest level ends at {txid}: {archiver.status()}", 30)
        phases.append((txid, datetime.datetime.now(datetime.timezone.utc).isoformat(), checksum))
    log(f"{len(phases)} phases, the last TXID is {phases[-1][0]}: {archiver.status()}")

    newest = world.path("newest.db")
    assert litestream_restore(world, store, out=newest) == phases[-1][2], "the newest image"
    until(lambda: masked(followed) == masked(newest),
          lambda: f"litestream has followed to the end: {follower.text()[-1500:]}", 60)
    assert follower.running(), follower.text()
    follower.stop()
    # The levels close, the lower ones are deleted.
    until(lambda: archiver.status()["deletes"] > 0, lambda: f"superseded objects are deleted: {archiver.status()}", 60)
    # A moment behind the newest commit does not exist for Litestream.
    for txid, moment, checksum in phases[:-1]:
        assert litestream_restore(world, store, "-timestamp", moment) == checksum, f"-timestamp {moment}, {txid}"
    status = archiver.status()
    assert status["merges"] > 3 and status["merge_errors"] == 0 and status["errors"] == 0, status
    assert archiver.stop() == 0
    manifest = check_archive(world, store)
    levels = {entry["level"] for entry in manifest["objects"] if entry["kind"] == 1}
    assert levels >= {TOP_LEVEL, 9}, levels
    assert litestream_restore(world, store) == phases[-1][2], "after the end"
    log(f"{len(manifest['objects'])} objects, levels {sorted(levels)}")


run(main)
