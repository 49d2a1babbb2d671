"""Every commit comes back: a mixed workload is recorded commit by commit, and restored to many of its TXIDs and moments
from the archive alone, from the log alone, and from both; each file is byte for byte what the source was then.

restore_exact_test.py BUS STORE COMMITS TARGETS [PAGE_SIZE[:MIB]...]

TARGETS TXIDs that are archived are restored from the archive alone and from the log alone each; a tenth of them are
moments. With :MIB the history is a short one, in which the database grows to so many MiB and shrinks again.
"""
import os
import random
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from archive_world import Archiver  # noqa: E402
from harness import log, run  # noqa: E402
from restore_world import (Recorder, directory_place, judge, nats_place, restore, run_cli, s3_place,  # noqa: E402
                           timestamp)
from workload import SCHEMA, Workload  # noqa: E402

PLACES = {"file": directory_place, "s3": s3_place, "nats": nats_place}


def mixed(workload, commits):
    for _ in range(commits):
        yield workload.step()


def past(workload, mib):
    """A database that grows by large transactions, with small ones between, past the page that SQLite's locks take."""
    large = 4
    for part in range(large):
        workload.commit(("WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x WHERE i < ?) INSERT INTO "
                         "t(a, b) SELECT i, randomblob(64) || zeroblob(1048000) FROM x", (mib // large + 1,)))
        yield
        for _ in range(2):
            workload.commit(("UPDATE t SET a = a + 1, b = b || x'00' WHERE id % 50 = ?", (part,)))
            yield
    workload.commit(("INSERT INTO t(a, b) VALUES(1, randomblob(300000))",))
    yield
    workload.commit(("DELETE FROM t WHERE id % 8 <> 0",))
    yield
    workload.db.execute("VACUUM")
    yield
    yield from mixed(workload, 2)


class History:
    """A history in the log and, but for its end, in the archive."""

    def __init__(self, world, place, bus, page_size, commits, mib):
        self.world, self.place, self.bus = world, place, bus
        source = world.create(f"source{page_size}-{mib}.db", page_size, page_size % 3, SCHEMA)
        config = world.path(world.unique("publish") + ".yml")
        with open(config, "w") as f:
            f.write(f"dbs:\n  - path: {source}\n    bus: {bus}\n    coalesce-after: never\n")
        publisher = world.publisher(source, bus, "--config", config)
        self.recorder = Recorder(source, publisher)
        archiver = Archiver(world, bus, place)
        workload = Workload(source, page_size)
        archived_after = 15 if mib else commits * 3 // 4
        for n, _ in enumerate(past(workload, mib) if mib else mixed(workload, commits)):
            txid = self.recorder.record(moment=True)
            if n == archived_after:
                self.archived = txid
                archiver.await_archived(publisher.status()["published"], 300)
                assert archiver.stop(120) == 0, archiver.text()[-2000:]
                self.cli("snapshot", bus, place.url)
        workload.db.close()
        self.recorder.db.close()
        assert publisher.stop(120) == 0
        checkpointed = sqlite3.connect(source)
        checkpointed.execute("PRAGMA journal_mode=DELETE")
        self.bytes = os.path.getsize(source)
        checkpointed.close()

    def cli(self, *args):
        done = run_cli(self.world, self.place, *args)
        assert done.returncode == 0, done.stderr[-2000:]

    def check(self, sources, txid, *target):
        report, out = restore(self.world, self.place, *sources, *target)
        judge(report, out, txid, self.recorder.hashes[txid])


def check_targets(history, targets):
    pick = random.Random(7)
    alone = {"archive": (history.place.url,), "log": (history.bus,)}
    both = (history.place.url, history.bus)
    txids = sorted(history.recorder.hashes)
    archived = [txid for txid in txids if txid <= history.archived]
    behind = [txid for txid in txids if txid > history.archived]
    counts = {"archive": 0, "log": 0, "both": 0, "moments": 0}
    wanted = pick.sample(archived, min(targets, len(archived)))
    for n, txid in enumerate(wanted):
        for name, sources in alone.items():
            history.check(sources, txid, "--txid", txid)
            counts[name] += 1
        if n % 100 == 99:
            log(f"{n + 1} TXIDs")
    tenth = max(targets // 10, 2)
    for txid in pick.sample(archived, min(tenth, len(archived))) + pick.sample(behind, min(tenth, len(behind))):
        history.check(both, txid, "--txid", txid)
        counts["both"] += 1
    for txid in pick.sample(behind, min(tenth, len(behind))):
        history.check(alone["log"], txid, "--txid", txid)
        counts["log"] += 1
    # The newest of all: the archive ends earlier, the log goes on.
    for sources, newest in ((alone["archive"], archived[-1]), (alone["log"], txids[-1]), (both, txids[-1])):
        history.check(sources, newest)
    for moment, txid in pick.sample(history.recorder.moments, min(tenth, len(history.recorder.moments))):
        for sources in (alone["log"], both) + ((alone["archive"],) if txid <= history.archived else ()):
            history.check(sources, txid, "--timestamp", timestamp(moment))
        counts["moments"] += 1
    return counts


def main(world):
    bus_kind, store_kind, commits, targets = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    nats = world.nats() if bus_kind == "nats" else None
    for part in sys.argv[5:] or ["512", "4096", "65536"]:
        page_size, mib = (int(word) for word in (part + ":0").split(":")[:2])
        name = f"b{page_size}-{mib}"
        place = PLACES[store_kind](world) if store_kind != "file" else directory_place(world, f"archive-{name}")
        bus = nats.url(name) if nats else world.file_bus(name)
        history = History(world, place, bus, page_size, commits, mib)
        log(f"pages of {page_size}: {len(history.recorder.hashes)} TXIDs recorded, archived up to {history.archived}")
        counts = check_targets(history, targets)
        log(f"pages of {page_size}: restored byte for byte {counts}; the database ended with {history.bytes} bytes")


run(main)
