"""Every commit comes back: a mixed workload is recorded commit by commit, and restored to many of its TXIDs and moments
from the archive alone, from the log alone, and from both; each file has the pages that the source had then.

restore_exact_test.py BUS STORE COMMITS TARGETS [PAGE_SIZE...]
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run  # noqa: E402
from restore_world import (Recorder, directory_place, judge, nats_place, restore, run_cli, s3_place,  # noqa: E402
                           timestamp)
from workload import SCHEMA, Workload  # noqa: E402

PLACES = {"file": directory_place, "s3": s3_place, "nats": nats_place}


def record(world, place, bus, page_size, commits):
    """A history in the log and, but for its end, in the archive. Returns what is known of it."""
    source = world.create(f"source{page_size}.db", page_size, page_size % 3, SCHEMA)
    with open(world.path("publish.yml"), "w") as f:
        f.write(f"dbs:\n  - path: {source}\n    bus: {bus}\n    coalesce-after: never\n")
    publisher = world.publisher(source, bus, "--config", world.path("publish.yml"))
    publisher.await_publishing()
    recorder = Recorder(world, source, publisher)
    recorder.record()
    workload = Workload(source, page_size)
    archived = None
    for n in range(commits):
        workload.step()
        txid = recorder.record(moment=n % 4 == 0)
        if n % 20 == 10 or n == commits * 3 // 4:
            verb = ("snapshot", bus, place.url) if n == 50 else ("archive", bus, place.url, "--once")
            done = run_cli(world, place, *verb)
            assert done.returncode == 0, done.stderr[-2000:]
            archived = txid
    publisher.stop()
    workload.db.close()
    return recorder, archived


def check_targets(world, place, bus, recorder, archived, targets):
    pick = random.Random(7)
    txids = sorted(recorder.checksums)
    wanted = pick.sample(txids, min(targets, len(txids))) + [txids[-1], archived]
    counts = {"archive": 0, "log": 0, "both": 0}
    for txid in wanted:
        sources = {"both": (place.url, bus), "log": (bus,)}
        if txid <= archived:
            sources["archive"] = (place.url,)
        for name in sources if txid in wanted[:5] else [pick.choice(list(sources))]:
            report, out = restore(world, place, *sources[name], "--txid", txid)
            judge(world, report, out, txid, recorder.checksums[txid])
            counts[name] += 1
    # The newest of all: the archive ends earlier, the log goes on.
    for sources, newest in (((place.url,), archived), ((bus,), txids[-1]), ((place.url, bus), txids[-1])):
        report, out = restore(world, place, *sources)
        judge(world, report, out, newest, recorder.checksums[newest])
    for moment, txid in pick.sample(recorder.moments, min(targets // 2, len(recorder.moments))):
        for sources in ((bus,), (place.url, bus)):
            report, out = restore(world, place, *sources, "--timestamp", timestamp(moment))
            judge(world, report, out, txid, recorder.checksums[txid])
        if txid < archived:
            report, out = restore(world, place, place.url, "--timestamp", timestamp(moment))
            judge(world, report, out, txid, recorder.checksums[txid])
    return counts


def main(world):
    bus_kind, store_kind, commits, targets = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    nats = world.nats() if bus_kind == "nats" else None
    for page_size in [int(size) for size in sys.argv[5:]] or [512, 4096, 65536]:
        place = PLACES[store_kind](world) if store_kind != "file" else directory_place(world, f"archive{page_size}")
        bus = nats.url(f"b{page_size}") if nats else world.file_bus(f"b{page_size}")
        recorder, archived = record(world, place, bus, page_size, commits)
        counts = check_targets(world, place, bus, recorder, archived, targets)
        log(f"pages of {page_size}: {len(recorder.checksums)} TXIDs recorded, restored {counts}")


run(main)
