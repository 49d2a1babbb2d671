"""Applies a feed's events to another database through plain SQL: what a careful consumer would do, and nothing more.

Each transaction of the feed becomes one of the consumer's database, its token in the same transaction. An event that
does not fit (a row to change that is not there, a token that does not follow) is an error.
"""
import base64
import json
import sqlite3

from feed_oracle import digest, quoted
from feed_tables import FeedTables


class Mismatch(AssertionError):
    pass


def plain_value(value, column):
    """From JSON to what SQL is to hold; (True, bytes) is text that is not valid in its encoding."""
    if isinstance(value, dict):
        if "blob" in value:
            return base64.b64decode(value["blob"])
        if "text" in value:
            return value["text"]
        if "real" in value:
            return float(value["real"].replace("Infinity", "inf"))
        return (True, base64.b64decode(value["text_base64"]))
    if isinstance(value, str) and "BLOB" in column["typeName"].upper():
        return base64.b64decode(value)
    return value


def order_of(token):
    """Sorts tokens of one lineage as their events come."""
    _, txid, ordinal = token.split(":")
    return (int(txid, 16), 1, int(ordinal[1:])) if ordinal[0] == "s" else (int(txid, 16), 0, int(ordinal))


def token_of(event):
    if "status" in event:
        return f"{event['id']}:{event['ordinal']}"
    source = event["source"]
    snapshot = "s" if source["snapshot"] != "false" else ""
    return f"{source['lineage']}:{source['txid']}:{snapshot}{source['ordinal']}"


class Consumer(FeedTables):
    """On a SQLite file of its own. `at` is the token of the last event that is committed."""

    def __init__(self, path, on_boundary=None):
        super().__init__()
        self.db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        self.on_boundary = on_boundary or (lambda consumer: None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.execute("CREATE TABLE IF NOT EXISTS _feed(id INTEGER PRIMARY KEY, token TEXT)")
        self.db.execute("CREATE TABLE IF NOT EXISTS _shape(name TEXT PRIMARY KEY, shape TEXT)")
        row = self.db.execute("SELECT token FROM _feed").fetchone()
        self.at = row[0] if row else None
        self.shapes = {name: json.loads(text) for name, text in self.db.execute("SELECT name, shape FROM _shape")}
        self.waiting = []  # events of an open transaction
        self.repeated = self.events = self.boundaries = 0
        self.snapshot_open = False

    # --- what comes in
    def take(self, event):
        token = token_of(event)
        if self.at and order_of(token) <= order_of(self.at):
            self.repeated += 1
            return
        if self.waiting and order_of(token) <= order_of(token_of(self.waiting[-1])):
            # The feed was killed in the middle of this commit and tells it again.
            self.waiting = [old for old in self.waiting if order_of(token_of(old)) < order_of(token)]
            self.repeated += 1
        self.waiting.append(event)
        end = event.get("status") == "END" or event.get("source", {}).get("snapshot") == "last"
        if end:
            self.commit()

    def commit(self):
        first, last = self.waiting[0], self.waiting[-1]
        if last.get("status") == "END":
            if first.get("status") != "BEGIN" or first["id"] != last["id"]:
                raise Mismatch(f"END of {last['id']} without its BEGIN")
            rows = sum(1 for event in self.waiting if "op" in event)
            if rows != last["event_count"]:
                raise Mismatch(f"{rows} rows in {last['id']}, END says {last['event_count']}")
        self.db.execute("BEGIN IMMEDIATE")
        for event in self.waiting:
            self.apply(event)
        self.settle_renames()
        self.at = token_of(last)
        self.db.execute("INSERT OR REPLACE INTO _feed VALUES(1, ?)", [self.at])
        self.db.execute("COMMIT")
        self.events += len(self.waiting)
        self.waiting = []
        self.boundaries += 1
        self.on_boundary(self)

    # --- how it is applied
    def execute(self, sql, values):
        self.db.execute(sql, values)

    def columns(self, shape):
        return ",".join(quoted(column["name"]) for column in shape["columns"])

    def value(self, value, column, values):
        return self.mark(plain_value(value, column), values)

    def remember(self, table, shape):
        super().remember(table, shape)
        self.db.execute("INSERT OR REPLACE INTO _shape VALUES(?, ?)", [table, json.dumps(shape)])

    def forget(self, table):
        super().forget(table)
        self.db.execute("DELETE FROM _shape WHERE name=?", [table])

    def mark(self, value, values):
        if isinstance(value, tuple):
            values.append(value[1])
            return "CAST(? AS TEXT)"
        values.append(value)
        return "?"

    def values_of(self, shape, row):
        if row is None:
            return None
        return {column["name"]: plain_value(row[column["name"]], column) for column in shape["columns"]}

    def apply_row(self, event):
        table = event["source"]["table"]
        shape = self.shapes[table]
        before = self.values_of(shape, event["before"])
        after = self.values_of(shape, event["after"])
        if event["op"] in "du":
            self.remove(table, shape, before)
        if event["op"] in "cur":
            values = []
            marks = ",".join(self.mark(after[column["name"]], values) for column in shape["columns"])
            key = shape["primaryKeyColumnNames"]
            if key and all(after[name] is not None for name in key) and self.find(table, key, after):
                raise Mismatch(f"{token_of(event)}: a row of {table} with this key is there already")
            self.db.execute(f"INSERT INTO {quoted(table)} VALUES({marks})", values)

    def where(self, names, row, values):
        return " AND ".join(f"{quoted(name)} IS {self.mark(row[name], values)}" for name in names)

    def find(self, table, names, row):
        values = []
        where = self.where(names, row, values)
        return self.db.execute(f"SELECT rowid FROM {quoted(table)} WHERE {where} LIMIT 1", values).fetchone()

    def remove(self, table, shape, row):
        found = self.find(table, [column["name"] for column in shape["columns"]], row)
        if not found:
            raise Mismatch(f"{table}: the row before is not there: {str(row)[:300]}")
        self.db.execute(f"DELETE FROM {quoted(table)} WHERE rowid=?", found)

    # --- what it has
    def tables(self):
        return [row[0] for row in self.db.execute(
            "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite%' AND name NOT IN "
            "('_feed', '_shape')")]

    def digest(self):
        return digest(self.db, self.tables())

    def seq(self):
        """The source's own count of commits; -1: nothing has come yet."""
        return self.db.execute("SELECT n FROM seq").fetchone()[0] if "seq" in self.shapes else -1
