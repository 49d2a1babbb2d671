"""A writer with random schemas and transactions, and what SELECT says after each of its commits: the oracle of a feed.

Every transaction also counts up the row of table `seq`, so that a consumer knows which commit it stands at.
"""
import hashlib
import random
import sqlite3

KINDS = {
    # columns, tail; what each is there for
    "rowid": ("id INTEGER PRIMARY KEY, a TEXT, n INTEGER, r REAL, b BLOB", ""),
    "textkey": ("k TEXT PRIMARY KEY, a TEXT, n INTEGER", ""),
    "twokeys": ("k1 TEXT, k2 INTEGER, a TEXT, b BLOB, PRIMARY KEY(k1, k2)", "WITHOUT ROWID"),
    "nokey": ("a TEXT, n INTEGER, r REAL", ""),
}


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def digest(db, tables):
    """One text for the contents of these tables: types and values, in any order of rows."""
    whole = hashlib.sha256()
    for table in sorted(tables):
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({quoted(table)})")]
        parts = " || ',' || ".join(
            f"CASE typeof({c}) WHEN 'text' THEN 't' || hex(CAST({c} AS BLOB)) WHEN 'real' THEN printf('r%!.17g', {c}) "
            f"ELSE quote({c}) END" for c in map(quoted, columns))
        rows = sorted(row[0] for row in db.execute(f"SELECT {parts} FROM {quoted(table)}"))
        whole.update(f"{table}({','.join(columns)}) {len(rows)}\n".encode())
        for row in rows:
            whole.update(row.encode() + b"\n")
    return whole.hexdigest()


class Writer:
    """One connection; step() commits once and notes the digest of what is then there."""

    def __init__(self, path, seed, plain=False, page_size=1024):
        self.path = path
        self.random = random.Random(seed)
        self.plain = plain  # only what every SQL database can hold
        self.db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        self.db.execute(f"PRAGMA page_size={page_size}")
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.execute("PRAGMA secure_delete=OFF")
        self.serial = 0
        self.digests = {}
        self.kinds = {}  # table -> kind
        self.seq = 0
        self.db.execute("CREATE TABLE IF NOT EXISTS seq(id INTEGER PRIMARY KEY, n INTEGER)")
        self.db.execute("INSERT OR IGNORE INTO seq VALUES(1, 0)")
        for kind in KINDS:
            self.create(kind)

    def tables(self):
        return [row[0] for row in self.db.execute(
            "SELECT name FROM pragma_table_list WHERE schema='main' AND type='table' AND name NOT LIKE 'sqlite%'")]

    def columns(self, table):
        return [(row[1], row[2]) for row in self.db.execute(f"PRAGMA table_info({quoted(table)})")]

    def name(self, prefix):
        self.serial += 1
        return f"{prefix}{self.serial}"

    def create(self, kind):
        columns, tail = KINDS[kind]
        name = self.name(kind)
        self.db.execute(f"CREATE TABLE {quoted(name)}({columns}) {tail}")
        self.kinds[name] = kind

    def value(self, declared):
        r = self.random
        if not self.plain and r.random() < 0.15:
            return r.choice([None, 7, 2.5, "text", b"\x00\x01", -(1 << 62), 1e300, float("inf"), "nul\0inside", ""])
        if r.random() < 0.1:
            return None
        size = r.choice([3, 10, 40, 40, 300, 3000])
        if "INT" in declared:
            return r.choice([r.randrange(50), r.randrange(-(1 << 60), 1 << 60)])
        if declared == "REAL":
            return r.choice([r.random(), float(r.randrange(100)), -r.random() * 1e10])
        if declared == "BLOB":
            return r.randbytes(size)
        return "".join(r.choice("abcXYZ 'é\"\\\n中😀") for _ in range(size))

    def change(self):
        r, db = self.random, self.db
        table = r.choice(list(self.kinds))
        q = quoted(table)
        columns = self.columns(table)
        what = r.random()
        place = f"FROM {q} LIMIT 1 OFFSET {r.randrange(30)}"
        if what < 0.40:
            names = ",".join(quoted(c) for c, _ in columns)
            values = [self.value(t) for _, t in columns]
            if "key" in self.kinds[table]:
                values[0] = f"k{r.randrange(200)}"
                if self.kinds[table] == "twokeys":
                    values[1] = r.randrange(5)
            if self.kinds[table] == "rowid":
                values[0] = r.choice([None, r.randrange(300)])
            marks = ",".join("?" * len(values))
            db.execute(f"INSERT OR REPLACE INTO {q}({names}) VALUES({marks})", values)
        elif what < 0.65:
            column, declared = r.choice(columns[1:] or columns)
            key = quoted(columns[0][0])
            db.execute(f"UPDATE OR IGNORE {q} SET {quoted(column)}=? WHERE {key}=(SELECT {key} {place})",
                       [r.randrange(5) if column == "k2" else self.value(declared)])
        elif what < 0.75 and self.kinds[table] in ("textkey", "rowid"):  # keys that move, and swap
            key = quoted(columns[0][0])
            new = f"{key}+{r.randrange(1, 9)}" if self.kinds[table] == "rowid" else f"{key}||'x'"
            db.execute(f"UPDATE OR IGNORE {q} SET {key}={new} WHERE {key} IN (SELECT {key} {place})")
        elif what < 0.95:
            key = quoted(columns[0][0])
            db.execute(f"DELETE FROM {q} WHERE {key} IS (SELECT {key} {place})")
        elif what < 0.97:
            db.execute(f"DELETE FROM {q}")
        else:
            db.execute(f"INSERT OR IGNORE INTO {q} SELECT * FROM {q} LIMIT 20")

    def change_schema(self):
        r, db = self.random, self.db
        table = r.choice(list(self.kinds))
        q = quoted(table)
        what = r.randrange(7)
        if what == 0:
            self.create(r.choice(list(KINDS)))
        elif what == 1 and len(self.kinds) > 5:
            db.execute(f"DROP TABLE {q}")
            del self.kinds[table]
        elif what == 2:
            default = r.choice(["", " DEFAULT 5", " DEFAULT 'd'"]) if not self.plain else r.choice(["", " DEFAULT 5"])
            db.execute(f"ALTER TABLE {q} ADD COLUMN {self.name('c')} INTEGER{default}")
        elif what == 3:
            new = self.name("renamed")
            db.execute(f"ALTER TABLE {q} RENAME TO {new}")
            self.kinds[new] = self.kinds.pop(table)
        elif what == 4:
            added = [c for c, _ in self.columns(table) if c.startswith("c")]
            if added:
                db.execute(f"ALTER TABLE {q} DROP COLUMN {quoted(r.choice(added))}")
        elif what == 5:
            added = [c for c, _ in self.columns(table) if c.startswith("c")]
            if added:
                db.execute(f"ALTER TABLE {q} RENAME COLUMN {quoted(added[0])} TO {self.name('c')}")
        else:
            db.execute(f"CREATE INDEX {self.name('i')} ON {q}({quoted(self.columns(table)[-1][0])})")

    def step(self):
        r = self.random
        if r.random() < 0.01:
            self.db.execute("VACUUM")
        self.db.execute("BEGIN IMMEDIATE")
        for _ in range(r.choice([1, 1, 1, 3, 10, 60])):
            self.change()
        if r.random() < 0.08:
            try:
                self.change_schema()
            except sqlite3.OperationalError as error:
                if "error in index" not in str(error):  # an indexed column cannot be dropped
                    raise
        self.seq += 1
        self.db.execute("UPDATE seq SET n=?", [self.seq])
        self.db.execute("COMMIT")
        self.digests[self.seq] = digest(self.db, self.tables())

    def now(self):
        return digest(self.db, self.tables())
