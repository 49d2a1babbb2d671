"""Archives that Litestream wrote: what runnel restores from them is byte for byte what Litestream restores, at every
TXID it can reach, after its own compactions and snapshots too; from a directory, from S3, from NATS object stores.

litestream_restore_test.py SECONDS PLACE...      PLACE: file, s3, nats, nats-2.15
"""
import json
import os
import re
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, peer, run, until  # noqa: E402
from restore_world import directory_place, file_sha, nats_place, restore, run_cli, s3_place  # noqa: E402
from workload import SCHEMA, Workload  # noqa: E402


def litestream(world, place, *args):
    return subprocess.run([peer("litestream-0.5.18", "litestream"), *args], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **place.env})


def replicate(world, place, page_size, seconds):
    """Litestream beside a writer, with short intervals, so that every level has files. Returns the database.

    Each has a name of its own: what Litestream keeps beside a database would carry its files over to the next one."""
    source = world.create(world.unique("litestream.db"), page_size, 0, SCHEMA)
    config = world.path("litestream.yml")
    with open(config, "w") as f:
        f.write(f"levels:\n  - interval: 2s\n  - interval: 5s\nsnapshot:\n  interval: 4s\n  retention: 24h\n"
                f"l0-retention: 1h\ndbs:\n  - path: {source}\n    monitor-interval: 50ms\n    checkpoint-interval: 3s\n"
                f"    min-checkpoint-page-count: 60\n    replica:\n      url: \"{place.url}\"\n"
                f"      sync-interval: 50ms\n")
    os.environ.pop("AWS_CA_BUNDLE", None)  # Litestream refuses to start with it
    process = world.start(world.unique("litestream"),
                          [peer("litestream-0.5.18", "litestream"), "replicate", "-config", config], place.env)
    until(lambda: "level" in process.text() or "replicating to" in process.text(), lambda: process.text(), 30)
    workload = Workload(source, page_size)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        workload.step()
        time.sleep(0.1)  # the pace of the load: a file of Litestream's every few commits
    workload.db.close()
    process.stop()
    return source


def txids_of(world, place):
    """(level, min, max) of every file, as Litestream lists them."""
    done = litestream(world, place, "ltx", "-level", "all", place.url)
    assert done.returncode == 0, done.stderr
    rows = re.finditer(r"^\s*(\d)\s+([0-9a-f]{16})\s+([0-9a-f]{16})\b", done.stdout, re.M)
    return [(int(row[1]), row[2], row[3]) for row in rows]


def same_at(world, place, *target):
    """Both restore to this target; returns whether there was anything to compare."""
    theirs = world.path(world.unique("theirs"))
    flags = [f"--{target[0]}", target[1]] if target else []
    done = litestream(world, place, "restore", "-o", theirs, *flags, place.url)
    if done.returncode != 0:
        ours = run_cli(world, place, "restore", place.url, "-o", world.path("none"), *flags)
        assert ours.returncode != 0, f"{target}: Litestream refuses ({done.stderr}), runnel restores"
        return False
    report, out = restore(world, place, place.url, *flags)
    assert file_sha(out) == file_sha(theirs), f"{place.url} {target}: not what Litestream restores: {report}"
    with sqlite3.connect(f"file:{out}?mode=ro&immutable=1", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    os.remove(out)
    os.remove(theirs)
    return True


def main(world):
    seconds = int(sys.argv[1])
    for kind in sys.argv[2:]:
        if kind == "file":
            place = directory_place(world, "litestream-archive")
        elif kind == "s3":
            place = s3_place(world)
        else:
            place = nats_place(world, peer("nats-server-2.15.2", "nats-server") if kind == "nats-2.15" else None)
        source = replicate(world, place, 4096, seconds)
        files = txids_of(world, place)
        levels = {level for level, _, _ in files}
        assert {0, 1, 9} <= levels, f"only levels {levels}: {files}"
        assert same_at(world, place)
        reached = sum(same_at(world, place, "txid", txid) for txid in sorted({high for _, _, high in files})[::3])
        os.remove(source)
        plan = json.loads(run_cli(world, place, "restore", place.url, "--dry-run", "--json").stdout)["steps"]
        log(f"{kind}: {len(files)} files of levels {sorted(levels)}, equal at {reached} TXIDs; "
            f"the newest from {len(plan)} files")


run(main)
