"""Applications and readers bring their own SQLite: seven builds of it, from 3.40 to 3.54, in C, Go (translated and
linked), Rust, Java and Python, write one source together and read one replica while its subscriber is killed. Every
commit of theirs is one TXID, no reader sees an error, half a commit or yesterday, and each may be the first and the
last to open the replica."""
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from foreign_sqlite import ForeignError, Shell, drivers  # noqa: E402
from harness import log, run, until  # noqa: E402

TABLES = ("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT, note BLOB);CREATE INDEX ab ON account(balance);"
          "CREATE TABLE meta(n INT, total INT);INSERT INTO meta VALUES(0, 0)")
TOTAL = "SELECT coalesce(sum(balance + length(note)), 0) FROM account"


class Loop(threading.Thread):
    """Turns of one foreign connection until it is told to stop; an error ends it and is kept."""

    def __init__(self, driver, file, mode, seed):
        super().__init__(daemon=True, name=f"{driver} {mode}")
        self.shell, self.random, self.stop, self.error = Shell(driver, file, mode), random.Random(seed), False, None
        self.turns = 0

    def run(self):
        try:
            while not self.stop:
                self.turn()
                self.turns += 1
        except Exception as error:  # noqa: B902 - shown by whoever joins
            self.error = error

    def finish(self):
        self.stop = True
        self.join(60)
        assert not self.is_alive(), f"{self.name} hangs"
        if self.error:
            raise AssertionError(f"{self.name} after {self.turns} turns: {self.error!r}")
        self.shell.end()


class Writer(Loop):
    commits, busy = 0, 0

    def turn(self):
        kind = self.random.randrange(20)
        try:
            if kind == 0:
                self.shell(f"PRAGMA wal_checkpoint({self.random.choice(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])})")
            elif kind == 1:
                self.shell(".reopen")
            elif kind == 2:
                self.shell("VACUUM")
                self.commits += 1
            else:
                self.transaction(kind)
        except ForeignError as error:
            # The others write too: what it gets for waiting a second in vain is SQLite's own answer.
            if "locked" not in str(error).lower() and "busy" not in str(error).lower():
                raise
            self.busy += 1

    def transaction(self, kind):
        self.shell("BEGIN IMMEDIATE")
        try:
            first, size = self.random.randrange(300), 200000 if kind == 3 else self.random.randrange(300)
            if kind == 4:
                self.shell("SAVEPOINT s")
                self.shell("UPDATE account SET balance = balance + 1, note = randomblob(900)")
                self.shell("ROLLBACK TO s")
            for row in range(first, first + self.random.randrange(1, 4)):
                self.shell(f"INSERT OR REPLACE INTO account VALUES({row}, {self.random.randrange(1000)}, "
                           f"randomblob({size}))")
            if kind == 5:
                self.shell(f"DELETE FROM account WHERE id % 7 = {self.random.randrange(7)}")
            if kind == 6:
                self.shell(f"CREATE TABLE IF NOT EXISTS x{first % 5}(a, b)")
                self.shell(f"INSERT INTO x{first % 5} SELECT id, note FROM account LIMIT 20")
            if kind == 7:
                self.shell(f"DROP TABLE IF EXISTS x{first % 5}")
            self.shell(f"UPDATE meta SET n = n + 1, total = ({TOTAL})")
            self.shell("ROLLBACK" if kind == 8 else "COMMIT")
            self.commits += kind != 8
        except ForeignError:
            self.shell("ROLLBACK")
            raise


class Reader(Loop):
    last = -1

    def turn(self):
        if self.turns % 40 == 39:
            self.shell(".reopen")
        if self.turns % 3 == 0:
            self.shell("PRAGMA mmap_size=268435456")
        self.shell("BEGIN")
        n, total = map(int, self.shell("SELECT n, total FROM meta").split("|"))
        found = int(self.shell(TOTAL))
        assert found == total, f"torn: {found} is not {total} at {n}"
        if self.turns % 25 == 24:
            checked = self.shell("PRAGMA integrity_check")
            assert checked == "ok", checked
        assert int(self.shell("SELECT n FROM meta")) == n, "a transaction saw two states"
        self.shell("COMMIT")
        assert n >= self.last, f"backward: {n} after {self.last}"
        self.last = n


def together(world, source, replica, bus, seconds):
    with open(world.path("runnel.yml"), "w") as config:
        # Late on a loaded machine is not late here: every commit must keep its own TXID.
        config.write(f"defaults:\n  coalesce-after: never\ndbs:\n  - path: {source}\n    bus: {bus}\n")
    publisher = world.publisher(source, bus, "--config", world.path("runnel.yml"))
    publisher.await_publishing()
    subscriber = world.subscriber(bus, replica)
    until(lambda: os.path.exists(replica), "the replica", 30)
    names = list(drivers())
    writers = [Writer(name, source, "rw", seed) for seed, name in enumerate(names)]
    readers = [Reader(name, replica, mode, 0) for name in names for mode in ("ro", "rw")]
    log("SQLite " + ", ".join(f"{w.shell.version} ({w.shell.name[:-3]})" for w in writers))
    for loop in writers + readers:
        loop.start()
    kills, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and all(loop.is_alive() for loop in writers + readers):
        time.sleep(min(1.5, seconds / 4))
        subscriber.kill(signal.SIGKILL)
        subscriber.wait()
        subscriber = world.subscriber(bus, replica)
        kills += 1
    for loop in writers:
        loop.finish()
    position = world.assert_equal(source, publisher, subscriber)
    for loop in readers:
        loop.finish()
        assert loop.turns > 3, f"{loop.name}: {loop.turns} reads"
    commits = sum(w.commits for w in writers)
    status = publisher.status()
    assert int(position[:16], 16) == 1 + commits, f"{position} for {commits} commits, {status}"
    assert status["snapshots"] == 1 and status["deltas"] == 0 and status["ranges"] == 0, status
    busy, reads = sum(w.busy for w in writers), sum(r.turns for r in readers)
    log(f"{commits} commits by {len(writers)} drivers ({busy} waited in vain for each other), each one TXID; "
        f"{reads} reads by {len(readers)} readers, {kills} kills of the subscriber: no error")
    return publisher, subscriber


def refused(driver, replica):
    shell = Shell(driver, replica)
    before = shell("SELECT n FROM meta")
    for statement in ("UPDATE meta SET n = -1", "CREATE TABLE mine(a)", "BEGIN IMMEDIATE"):
        try:
            shell(statement)
            raise AssertionError(f"{driver} wrote a replica: {statement}")
        except ForeignError as error:
            assert "locked" in str(error).lower(), error
    assert shell("SELECT n FROM meta") == before
    shell.end()


def main(world):
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8
    source, replica, bus = world.create(sql=TABLES), world.path("replica.db"), world.nats().url()
    publisher, subscriber = together(world, source, replica, bus, seconds)
    for driver in drivers():
        refused(driver, replica)
    log("no driver can write a replica whose subscriber runs: database is locked")
    for driver in drivers():
        # Nobody else has the replica open: this one recovers what the dead one left, and its close removes the WAL.
        subscriber.kill(signal.SIGKILL)
        subscriber.wait()
        shell = Shell(driver, replica)
        assert shell("PRAGMA integrity_check") == "ok"
        shell(".close")
        shell.end()
        writer = Shell(driver, source)
        writer("UPDATE meta SET n = n + 1")
        writer.end()
        subscriber = world.subscriber(bus, replica)
        world.assert_equal(source, publisher, subscriber)
        assert subscriber.status()["forks"] == 0, subscriber.status()
    log("each driver was the first to open and the last to close a replica whose subscriber was killed")


run(main)
