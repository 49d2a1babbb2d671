"""The change feed from end to end: a random writer, a publisher, `runnel feed`, and a consumer that applies the events
to another database through plain SQL. After each transaction of the feed the consumer's tables must equal what SELECT
said on the source after the same commit.

  feed_test.py file|nats COMMITS [SEED]
"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from feed_consumer import Consumer, Mismatch  # noqa: E402
from feed_oracle import Writer  # noqa: E402
from harness import log, run, until  # noqa: E402


def feed_lines(world, bus, *flags):
    """Runs a feed to its end; its events."""
    argv = [world.runnel, "feed", bus, "--log-level", "warn", *flags]
    ended = subprocess.run(argv, capture_output=True, timeout=120, check=False, cwd=world.dir)
    if ended.returncode != 0:
        raise AssertionError(f"feed ended with {ended.returncode}: {ended.stderr.decode()}")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def main(world):
    bus_kind, commits = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    log(f"seed {seed}")
    source = world.path("app.db")
    writer = Writer(source, seed)
    for _ in range(20):
        writer.step()
    bus = world.nats().url() if bus_kind == "nats" else world.file_bus()
    publisher = world.publisher(source, bus)
    publisher.await_publishing()

    checked = []

    def on_boundary(consumer):
        seq = consumer.seq()
        if consumer.digest() != writer.digests[seq]:
            raise Mismatch(f"tables differ at commit {seq}, token {consumer.at}")
        checked.append(seq)

    consumer = Consumer(world.path("consumer.db"), on_boundary)
    feed = subprocess.Popen([world.runnel, "feed", bus, "--log-level", "warn"], stdout=subprocess.PIPE, cwd=world.dir)
    for round_number in range(4):
        for _ in range(commits // 4):
            writer.step()
        until(lambda: drain(feed, consumer) and consumer.seq() == writer.seq, "the consumer at the source's commit", 60,
              0)
    feed.terminate()
    if feed.wait(30) != 0:
        raise AssertionError(f"feed ended with {feed.returncode}")
    world.await_drained(publisher)
    log(f"{consumer.events} events, {consumer.boundaries} transactions, {len(checked)} compared, "
        f"{consumer.repeated} repeated")
    if consumer.repeated:
        raise AssertionError("a feed that was not killed said something twice")

    # The same from the beginning, into an empty database, and from a token in the middle.
    earliest = feed_lines(world, bus, "--from", "earliest", "--once", "--state", world.path("earliest"))
    again = Consumer(world.path("again.db"), on_boundary)
    for event in earliest:
        again.take(event)
    if again.digest() != writer.now():
        raise AssertionError("the feed from the earliest image leads elsewhere")
    middle = earliest[len(earliest) // 2]
    from feed_consumer import token_of
    rest = feed_lines(world, bus, "--from", token_of(middle), "--once", "--state", world.path("middle"))
    strip = lambda events: [{k: v for k, v in e.items() if k != "ts_ms"} for e in events]  # noqa: E731
    if strip(rest) != strip(earliest[len(earliest) // 2 + 1:]):
        raise AssertionError("a feed from a token is not the rest of the whole one")
    # Behind the newest commit there is nothing.
    if feed_lines(world, bus, "--from", "latest", "--once", "--state", world.path("latest")):
        raise AssertionError("--from latest told what was there before")
    only = feed_lines(world, bus, "--from", "earliest", "--table", "seq", "--once", "--state", world.path("only"))
    tables = {event["source"]["table"] for event in only if "op" in event}
    if tables != {"seq"}:
        raise AssertionError(f"--table seq told of {tables}")


def drain(feed, consumer):
    line = feed.stdout.readline()
    if not line:
        raise AssertionError("the feed ended")
    consumer.take(json.loads(line))
    return True


run(main)
