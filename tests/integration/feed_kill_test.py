"""Kills a feed again and again at random moments while its source goes on: no event lost, none doubled.

  feed_kill_test.py sqlite|nats|kafka KILLS [SEED]

sqlite: a consumer reads the feed's standard output and writes token and rows in one transaction; now and then it dies
        too, and the feed is begun again behind the consumer's own token.
nats:   the feed writes to JetStream; at the end the stream is read from its first message.
kafka:  the feed writes to Kafka topics; at the end kcat reads what is committed in them.
"""
import json
import os
import random
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from feed_consumer import Consumer, Mismatch, order_of, token_of  # noqa: E402
from feed_oracle import Writer  # noqa: E402
from harness import log, run, until  # noqa: E402
from kafka import Kafka, kcat  # noqa: E402
from nats_raw import stream_messages  # noqa: E402


class Source(threading.Thread):
    """Commits at a steady pace until it is told to end."""

    def __init__(self, path, seed):
        super().__init__()
        self.path, self.seed = path, seed
        self.ready, self.ending = threading.Event(), threading.Event()
        self.failed = None

    def run(self):
        try:
            self.writer = Writer(self.path, self.seed)
            for _ in range(10):
                self.writer.step()
            self.ready.set()
            while not self.ending.wait(0.003):
                self.writer.step()
        except Exception as error:  # noqa: B902 - told by the main thread
            self.failed = error
            self.ready.set()

    def finish(self):
        self.ending.set()
        self.join()
        if self.failed:
            raise self.failed


def checked_consumer(world, source, name):
    def on_boundary(consumer):
        seq = consumer.seq()
        # The writer notes its digest a moment after it has committed.
        want = until(lambda: source.writer.digests.get(seq), f"the digest of commit {seq}", 10, 0.001)
        if consumer.digest() != want:
            raise Mismatch(f"tables differ at commit {seq}, token {consumer.at}")
    return Consumer(world.path(name), on_boundary)


def kill_soon(process, dice, slow=1):
    """At a random moment, often while it still starts."""
    try:
        process.wait(dice.choice([0.01, 0.03, 0.06, 0.1, 0.2]) * dice.random() * 2 * slow)
        raise AssertionError(f"the feed ended by itself with {process.returncode}")
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()


def read_lines(process, consumer, failures):
    try:
        for line in process.stdout:
            if line.endswith(b"\n"):  # the last one may be cut by the kill
                consumer.take(json.loads(line))
    except Exception as error:  # noqa: B902 - told by the main thread
        failures.append(error)
        process.kill()


def sqlite_rounds(world, argv, source, kills, dice):
    consumer = checked_consumer(world, source, "consumer.db")
    failures, restarts = [], 0
    for number in range(kills + 1):
        last = number == kills
        flags = []
        if consumer.at and dice.random() < 0.03:
            consumer.waiting = []  # the consumer died as well, with what it had not committed
            flags = ["--from", consumer.at]
            restarts += 1
        if last:
            source.finish()
            flags += ["--once"]
        feed = subprocess.Popen(argv + flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=world.dir)
        reader = threading.Thread(target=read_lines, args=(feed, consumer, failures))
        reader.start()
        if last:
            reader.join(120)
            feed.wait(30)
        else:
            kill_soon(feed, dice)
            reader.join(60)
        if failures:
            raise failures[0]
        if last and feed.returncode != 0:
            raise AssertionError(f"feed: {feed.stderr.read().decode()}")
    log(f"{kills} kills, {restarts} of them with the consumer: {consumer.events} events, {consumer.boundaries} "
        f"transactions compared, {consumer.repeated} repeated and recognised")
    return consumer


def bus_rounds(world, argv, source, kills, dice, slow=1):
    for _ in range(kills):
        kill_soon(subprocess.Popen(argv, stderr=subprocess.DEVNULL, cwd=world.dir), dice, slow)
    source.finish()
    ended = subprocess.run(argv + ["--once"], capture_output=True, cwd=world.dir, timeout=120, check=False)
    if ended.returncode != 0:
        raise AssertionError(f"feed: {ended.stderr.decode()}")


def topic_messages(kafka, prefix):
    """All committed events below a prefix, in the order of their tokens; each topic must have them in it already."""
    listed = json.loads(kcat("-b", kafka.host, "-L", "-J").stdout)
    messages = []
    for topic in sorted(one["topic"] for one in listed["topics"] if one["topic"].startswith(prefix + ".")):
        raw = kcat("-b", kafka.host, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-X",
                   "isolation.level=read_committed", "-f", "%h %s\n").stdout
        before = None
        for line in raw.splitlines():
            header, value = line.split(b" ", 1)
            token = header.decode().removeprefix("runnel-token=")
            if before and order_of(token) <= order_of(before):
                raise AssertionError(f"{topic}: {token} behind {before}")
            before = token
            messages.append((token, json.loads(value)))
    return sorted(messages, key=lambda message: order_of(message[0]))


def judge(world, source, kills, messages):
    consumer = checked_consumer(world, source, "consumer.db")
    last = None
    for token, event in messages:
        if token != token_of(event):
            raise AssertionError(f"the id {token} stands on the event {token_of(event)}")
        if last and order_of(token) <= order_of(last):
            raise AssertionError(f"{token} behind {last}: doubled or out of order")
        last = token
        consumer.take(event)
    log(f"{kills} kills: {consumer.events} events, {consumer.boundaries} transactions compared, none doubled")
    return consumer


def main(world):
    sink, kills = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    log(f"seed {seed}")
    source = Source(world.path("app.db"), seed)
    source.start()
    source.ready.wait(30)
    bus = world.file_bus()
    publisher = world.publisher(source.path, bus)
    publisher.await_publishing()
    argv = [world.runnel, "feed", bus, "--log-level", "warn"]
    dice = random.Random(seed)
    try:
        if sink == "sqlite":
            consumer = sqlite_rounds(world, argv, Finisher(world, source, publisher), kills, dice)
        elif sink == "kafka":
            kafka = Kafka(world, extra="auto.create.topics.enable=true")
            to = f"kafka://{kafka.host}/cdc"
            bus_rounds(world, argv + ["--to", to], Finisher(world, source, publisher), kills, dice, slow=5)
            consumer = judge(world, source, kills, topic_messages(kafka, "cdc"))
        else:
            nats = world.nats()
            bus_rounds(world, argv + ["--to", nats.url("cdc")], Finisher(world, source, publisher), kills, dice)
            consumer = judge(world, source, kills, stream_messages(nats.port, "RUNNEL-FEED-cdc"))
    finally:
        source.ending.set()
    if consumer.waiting or consumer.digest() != source.writer.now():
        raise AssertionError("the consumer does not have what the source has")


class Finisher:
    """The source, ended together with its publisher's work."""

    def __init__(self, world, source, publisher):
        self.world, self.source, self.publisher = world, source, publisher

    @property
    def writer(self):
        return self.source.writer

    def finish(self):
        self.source.finish()
        self.world.await_drained(self.publisher)


run(main)
