"""What an application may do to its database, at random."""
import random
import sqlite3

SCHEMA = ("CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b BLOB);CREATE INDEX ta ON t(a);"
          "CREATE TABLE meta(n INT);INSERT INTO meta VALUES(0)")


class Workload:
    """Random transactions of every kind on a database with SCHEMA; `commits` counts those that changed it."""

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
