"""Feeds whose log has been trimmed: they begin with the archive's image, take commit after commit from its segments,
and go over to the log, each commit told once. A consumer's tables are compared with the source's behind each
transaction.

  feed_archive_test.py file|s3 [SEED]
"""
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from archive_world import make_store  # noqa: E402
from feed_consumer import Consumer, Mismatch, token_of  # noqa: E402
from feed_oracle import Writer  # noqa: E402
from harness import log, run, until  # noqa: E402
from nats_raw import RawNats  # noqa: E402


class Source:
    def __init__(self, world, seed, store):
        self.world, self.store, self.nats = world, store, world.nats()
        self.bus = self.nats.url()
        self.writer = Writer(world.path("app.db"), seed)
        for _ in range(10):
            self.writer.step()
        config = world.path("publisher.yml")
        with open(config, "w") as f:
            f.write(f"dbs:\n  - path: {self.writer.path}\n    bus: {self.bus}\n    coalesce-after: never\n")
        self.publisher = world.publisher(self.writer.path, self.bus, "--config", config)
        self.publisher.await_publishing()

    def write(self, steps):
        for _ in range(steps):
            self.writer.step()
        return self.world.await_drained(self.publisher)

    def write_large(self):
        """A commit that is an LTX of many messages, and a block of its own in a segment."""
        db = self.writer.db
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE large(id INTEGER PRIMARY KEY, b BLOB)")
        db.execute("INSERT INTO large VALUES(1, randomblob(9000000))")
        self.writer.seq += 1
        db.execute("UPDATE seq SET n=?", [self.writer.seq])
        db.execute("COMMIT")
        self.writer.digests[self.writer.seq] = self.writer.now()

    def archive(self):
        done = subprocess.run([self.world.runnel, "archive", "--once", self.bus, self.store.url], timeout=120,
                              capture_output=True, text=True, check=False, env={**os.environ, **self.store.env})
        assert done.returncode == 0, done.stderr

    def trim(self):
        """Everything that is archived leaves the log."""
        self.archive()
        raw = RawNats(self.nats.port)
        last = raw.api("STREAM.INFO.RUNNEL-app")["state"]["last_seq"]
        assert raw.api("STREAM.PURGE.RUNNEL-app", {"seq": last + 1}).get("success")

    def argv(self, state, *flags):
        return [self.world.runnel, "feed", self.bus, "--state", self.world.path(state), "--log-level", "info", *flags]

    def feed(self, state, *flags, archive=True):
        """A feed to its end: exit code, events, what it said."""
        flags = [*flags, "--once", *(["--archive", self.store.url] if archive else [])]
        ended = subprocess.run(self.argv(state, *flags), capture_output=True, timeout=120, check=False,
                               cwd=self.world.dir, env={**os.environ, **self.store.env})
        return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr.decode()

    def events(self, state, *flags):
        code, events, said = self.feed(state, *flags)
        assert code == 0, said
        return events

    def consumer(self, name):
        def on_boundary(consumer):
            seq = consumer.seq()
            if seq in self.writer.digests and consumer.digest() != self.writer.digests[seq]:
                raise Mismatch(f"tables differ at commit {seq}, token {consumer.at}")
            seen.append(seq)
        seen = []
        consumer = Consumer(self.world.path(name + ".db"), on_boundary)
        consumer.seen = seen
        return consumer

    def judge(self, consumer, first):
        """Every commit of the application from `first` on, each once."""
        assert consumer.seen == list(range(first, self.writer.seq + 1)), consumer.seen
        assert consumer.digest() == self.writer.now() and not consumer.waiting and consumer.repeated == 0


def left_behind(source):
    """A feed that was away while its log was trimmed, in the middle of what it had told."""
    consumer = source.consumer("away")
    for event in source.events("away", "--from", "earliest"):
        consumer.take(event)
    first = consumer.seen[0]
    source.write(25)
    source.write_large()
    source.trim()
    source.write(10)
    source.trim()
    source.write(5)
    code, events, said = source.feed("away", archive=False)
    assert code == 1 and not events and "TXID" in said, said
    for event in source.events("away"):
        consumer.take(event)
    source.judge(consumer, first)
    log(f"left behind by a trimmed log, with an archive: {len(consumer.seen)} commits, each once")


def late(source):
    """From the oldest image there is, and behind any event of what only the archive has."""
    whole = source.events("late", "--from", "earliest")
    consumer = source.consumer("late")
    for event in whole:
        consumer.take(event)
    source.judge(consumer, consumer.seen[0])
    assert len(consumer.seen) > 40, consumer.seen
    strip = lambda events: [{k: v for k, v in e.items() if k != "ts_ms"} for e in events]  # noqa: E731
    for part in (5, 3, 2):
        at = len(whole) // part
        rest = source.events(f"behind{part}", "--from", token_of(whole[at]))
        assert strip(rest) == strip(whole[at + 1:]), f"behind {token_of(whole[at])}: not the rest of the whole"
    log(f"{len(consumer.seen)} commits from the archive's oldest image on; behind a token in it the rest of them")


def newest(source):
    """Nothing said: the rows of the newest image, which the log alone could not give, then the stream."""
    code, events, said = source.feed("newest")
    assert code == 0 and "from=archive" in said, said
    assert {event.get("op") for event in events} <= {"r", None}, "more than a snapshot"
    consumer = source.consumer("newest")
    for event in events:
        consumer.take(event)
    source.write(3)
    for event in source.events("newest"):
        consumer.take(event)
    source.judge(consumer, consumer.seen[0])
    assert len(consumer.seen) == 4, consumer.seen
    log("a snapshot of an image of the archive, joined to the log")


def overtaken(source):
    """A feed that stands still while its log is trimmed goes on from the archive without being started again."""
    consumer = source.consumer("overtaken")
    argv = source.argv("overtaken", "--archive", source.store.url)
    said = open(source.world.path("overtaken.log"), "w+")
    feed = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said, cwd=source.world.dir,
                            env={**os.environ, **source.store.env})
    try:
        read_to(feed, consumer, source)
        feed.send_signal(signal.SIGSTOP)
        # What the server has sent it already goes away with the connection.
        source.nats.stop()
        source.nats.start()
        source.write(15)
        source.trim()
        source.write(5)
        feed.send_signal(signal.SIGCONT)
        read_to(feed, consumer, source)
    finally:
        feed.send_signal(signal.SIGCONT)
        feed.terminate()
        feed.wait(30)
    said.seek(0)
    assert feed.returncode == 0 and "feed read archive" in said.read(), said.name
    source.judge(consumer, consumer.seen[0])
    log("a feed that was overtaken by the trimming of its log goes on from the archive")


def without_it(source):
    """What the log cannot give is refused, with what to do."""
    lineage = source.events("whole", "--from", "earliest")[0]["source"]["lineage"]
    code, events, said = source.feed("nothing", "--from", f"{lineage}:{5:016x}:0", archive=False)
    assert code == 3 and not events and "name its archive" in said, (code, said)
    log("without the archive a token that is too old is refused")


def read_to(feed, consumer, source):
    def take():
        consumer.take(json.loads(feed.stdout.readline()))
        return consumer.seq() == source.writer.seq and not consumer.waiting
    until(take, "the consumer at the source's commit", 60, 0)


def main(world):
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    log(f"seed {seed}")
    source = Source(world, seed, make_store(world, sys.argv[1]))
    source.write(10)
    left_behind(source)
    newest(source)
    late(source)
    overtaken(source)
    without_it(source)


run(main)
