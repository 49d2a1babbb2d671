"""Whatever an application does, each replica is byte for byte the source, and every commit is one TXID.

One database for each page size and auto_vacuum mode, all published by one node with a configuration file, all replicated
by another; the writer is Python's sqlite3 module and counts the commits it makes.
"""
import os
import random
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run, until, http_json, free_port, Process  # noqa: E402

SIZES = [512, 4096, 65536]


class Workload:
    """Random transactions of every kind; `commits` counts those that changed the database."""

    def __init__(self, path, seed):
        self.db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self.random = random.Random(seed)
        self.commits = 0
        self.tables = 0
        # Small enough to spill in the middle of transactions, which rewrites frames in place.
        self.db.execute("PRAGMA cache_size=8")

    def commit(self, *statements):
        before = self.db.total_changes
        self.db.execute("BEGIN IMMEDIATE")
        for sql, *args in statements:
            self.db.execute(sql, *args)
        # A row that always changes, so that the transaction is sure to write.
        self.db.execute("UPDATE meta SET n = n + 1")
        self.db.execute("COMMIT")
        assert self.db.total_changes > before
        self.commits += 1

    def step(self):
        r = self.random
        kind = r.randrange(12)
        if kind < 4:
            self.commit(*[("INSERT INTO t(a, b) VALUES(?, ?)", (r.randrange(10**9), r.randbytes(r.randrange(3000))))
                          for _ in range(r.randrange(1, 20))])
        elif kind == 4:
            self.commit(("UPDATE t SET b = randomblob(length(b)) WHERE id % 7 = ?", (r.randrange(7),)))
        elif kind == 5:
            self.commit(("DELETE FROM t WHERE id % 5 = ?", (r.randrange(5),)))
        elif kind == 6:
            self.commit(("INSERT INTO t(a, b) VALUES(?, ?)", (1, r.randbytes(r.randrange(100000, 600000)))))
        elif kind == 7:
            self.savepoints()
        elif kind == 8:
            self.tables += 1
            self.commit((f"CREATE TABLE x{self.tables}(k TEXT PRIMARY KEY, v) WITHOUT ROWID",),
                        (f"INSERT INTO x{self.tables} SELECT hex(randomblob(8)), b FROM t LIMIT 50",))
        elif kind == 9 and self.tables:
            self.commit((f"DROP TABLE x{self.tables}",))
            self.tables -= 1
        elif kind == 10:
            self.db.execute("VACUUM")
            self.commits += 1
        else:
            self.commit(("DELETE FROM t WHERE id > (SELECT max(id) * 2 / 3 FROM t)",))

    def savepoints(self):
        """Spills, rolls back to a savepoint, goes on, commits; and a transaction that is thrown away."""
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO t(a, b) SELECT random(), randomblob(500) FROM t LIMIT 200")
        self.db.execute("SAVEPOINT s")
        self.db.execute("UPDATE t SET b = randomblob(700)")
        self.db.execute("ROLLBACK TO s")
        self.db.execute("INSERT INTO t(a, b) VALUES(7, randomblob(100))")
        self.db.execute("UPDATE meta SET n = n + 1")
        self.db.execute("COMMIT")
        self.commits += 1
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("UPDATE t SET a = a + 1")
        self.db.execute("ROLLBACK")


def main(world):
    kind = sys.argv[1] if len(sys.argv) > 1 else "file"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 120
    nats = world.nats() if kind == "nats" else None
    names = [(f"p{size}v{vacuum}", size, vacuum) for size in SIZES for vacuum in (0, 1, 2)]
    schema = ("CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b BLOB);CREATE INDEX ta ON t(a);"
              "CREATE TABLE meta(n INT);INSERT INTO meta VALUES(0)")
    sources = {name: world.create(name + ".db", size, vacuum, schema) for name, size, vacuum in names}
    bus = {name: nats.url(name) if nats else world.file_bus(name) for name, _, _ in names}
    replicas = {name: world.path(name + "-replica.db") for name, _, _ in names}
    with open(world.path("runnel.yml"), "w") as config:
        # Late on a loaded machine is not late here: every commit must keep its own TXID.
        config.write("defaults:\n  coalesce-after: never\ndbs:\n")
        for name in sources:
            config.write(f"  - path: {sources[name]}\n    bus: {bus[name]}\n")
        config.write("replicas:\n")
        for name in sources:
            config.write(f"  - path: {replicas[name]}\n    bus: {bus[name]}\n")
    ports = [free_port(), free_port()]
    start = [world.runnel, "--config", world.path("runnel.yml")]
    publisher = world.start("publisher", start + ["publish", "--http", f"127.0.0.1:{ports[0]}"])
    subscriber = world.start("subscriber", start + ["subscribe", "--http", f"127.0.0.1:{ports[1]}"])

    def statuses():
        answers = http_json(ports[0], "/status"), http_json(ports[1], "/status")
        assert publisher.running() and subscriber.running(), publisher.text()[-1000:] + subscriber.text()[-1000:]
        if not all(answers):
            return None
        return {d["name"]: d for d in answers[0]["databases"]}, {r["name"]: r for r in answers[1]["replicas"]}

    until(lambda: (s := statuses()) and all(d["state"] == "publishing" for d in s[0].values()), "all published", 30)
    workloads = {name: Workload(path, seed) for seed, (name, path) in enumerate(sources.items())}
    for step in range(steps):
        for workload in workloads.values():
            workload.step()
    log(f"{sum(w.commits for w in workloads.values())} commits in {len(names)} databases")

    for name, workload in workloads.items():
        # TXID 1 is the database as it was found.
        expected = 1 + workload.commits
        until(lambda: (s := statuses()) and int(s[0][name]["published"][:16], 16) >= expected
              and s[1][name]["applied"] == s[0][name]["published"],
              lambda: f"{name} at TXID {expected}: {statuses()}", 90)
        published = statuses()[0][name]
        assert int(published["published"][:16], 16) == expected, (name, published, expected)
        assert published["ranges"] == 0 and published["deltas"] == 0, published
        assert world.image(sources[name]) == world.image(replicas[name]), f"{name}: replica differs"
        checked = world.cli("verify", "--deep", "--against", sources[name], replicas[name])
        assert checked.returncode == 0, checked.stdout + checked.stderr
    log("every replica is byte for byte its source, one TXID a commit")


run(main)
