"""An archiver that is stopped in the midst of sweeping, while another one takes its lease and puts objects of the same
names: when the first one goes on, it removes none of them. Over S3, where a sweep takes its time."""
import os
import signal
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from archive_world import Archiver, S3Store, check_archive, checksum_of, cli, json_of, litestream_restore  # noqa: E402
from harness import log, run, until  # noqa: E402

FILLERS = 3000


def main(world):
    store = S3Store(world)
    bus = world.file_bus()
    source = world.create()
    db = sqlite3.connect(source, isolation_level=None, timeout=30)
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    assert cli(world, store, "archive", "--once", bus, store.url).returncode == 0
    for i in range(50):
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(500))", (i,))
    position = world.await_drained(publisher)
    # Killed with objects put and not named: the next archiver finds them nameless, and makes the same ones.
    dead = Archiver(world, bus, store, env={"RUNNEL_CRASH_POINT": "archive_objects_put:1"})
    until(lambda: not dead.running(), "killed with objects that have no name", 30)
    left = {key for key in store.objects() if key.startswith(("0000/", "segments/"))}
    assert len(left) == 2, left
    # Many more, which are swept first.
    level0 = os.path.join(store.root, "0000")
    for i in range(FILLERS):
        with open(os.path.join(level0, f"{1:016x}-{i + 1:016x}.ltx"), "wb") as f:
            f.write(b"x")
    paused = Archiver(world, bus, store)
    until(lambda: "nameless object removed" in paused.text(), paused.text, 60, 0.001)
    paused.kill(signal.SIGSTOP)
    waiting = len(store.objects())
    assert left <= set(store.objects()) and waiting > 100, f"only {waiting} objects left: the sweep was too fast"
    # Takes the lease, sweeps, archives, makes a snapshot.
    done = cli(world, store, "snapshot", bus, store.url)
    assert done.returncode == 0, done.stderr
    named = set(store.objects())
    assert left <= named, f"this test wants the same names again: {left - named}"
    paused.kill(signal.SIGCONT)
    until(lambda: "another archiver has" in paused.text(), lambda: paused.text()[-2000:], 30)
    paused.await_archived(position)
    assert paused.stop() == 0
    check_archive(world, store)
    assert litestream_restore(world, store) == position[17:]
    out = world.path("restored.db")
    report = json_of(cli(world, store, "restore", "--json", store.url, "-o", out, "--txid", f"{20:016x}"))
    assert report["checksum"] == checksum_of(world, out)
    log(f"stopped with {waiting} objects still to sweep; went on when another one had made {len(left)} of them anew")


run(main)
