"""A feed for HTTP clients: several of them at once, killed feeds and clients that come back by the id of their last
event, clients that do not read, and what is no longer kept. Python's HTTP library and curl are the clients.

  feed_sse_test.py KILLS [SEED]
"""
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from feed_consumer import Consumer, Mismatch, order_of, token_of  # noqa: E402
from feed_oracle import Writer  # noqa: E402
from harness import free_port, log, run, until  # noqa: E402
from sse_client import Refused, SseFollower, SseStream  # noqa: E402


class Feed:
    """`runnel feed --to sse://`, on one port and one state for all of its lives."""

    def __init__(self, world, bus, name, parameters=""):
        self.world, self.port, self.name = world, free_port(), name
        self.argv = [world.runnel, "feed", bus, "--log-level", "info", "--state", world.path(f"state-{name}"), "--to",
                     f"sse://127.0.0.1:{self.port}/{name}{parameters}"]
        self.path = "/" + name

    def start(self, *flags):
        self.process = self.world.start(self.world.unique(self.name), [*self.argv, *flags])
        return self

    def stream(self, query="", last_id=None):
        return SseStream(self.port, self.path + query, last_id)

    def await_listening(self):
        def probe():
            try:
                self.stream("?from=latest").close()
                return True
            except OSError:
                assert self.process.running(), self.process.text()
                return False
        until(probe, lambda: f"{self.name} listens: {self.process.text()}", 30)


def refusal(feed, status, query="", last_id=None):
    try:
        feed.stream(query, last_id)
    except Refused as refused:
        assert refused.status == status, refused
        return json.loads(refused.body)
    raise AssertionError(f"{query} {last_id} was not refused")


class Follower:
    """A consumer that compares its tables with the source's behind each transaction."""

    def __init__(self, world, writer, feed, name, forgets=0.0, dice=None):
        self.writer, self.last = writer, None
        self.consumer = Consumer(world.path(name + ".db"), self.compare)
        self.forgets, self.dice = forgets, dice
        self.follower = SseFollower(feed.port, feed.path + "?from=earliest", self.take, lambda: self.last,
                                    self.lets_go)
        self.follower.start()

    def compare(self, consumer):
        seq = consumer.seq()
        want = until(lambda: self.writer.digests.get(seq), f"the digest of commit {seq}", 10, 0.001)
        if seq and consumer.digest() != want:
            raise Mismatch(f"tables differ at commit {seq}, token {consumer.at}")

    def take(self, token, event):
        assert token == token_of(event), f"id {token} on the event {token_of(event)}"
        assert not self.last or order_of(token) > order_of(self.last), f"{token} behind {self.last}"
        self.consumer.take(event)
        self.last = token

    def lets_go(self):
        """Now and then the client ends the connection, and forgets what it has not committed."""
        if not self.dice or self.dice.random() >= self.forgets:
            return False
        self.consumer.waiting, self.last = [], self.consumer.at
        return True

    def at(self, seq):
        if self.follower.failed:
            raise self.follower.failed
        return self.consumer.seq() == seq and not self.consumer.waiting


def kills(world, writer, bus, count, dice):
    feed = Feed(world, bus, "cdc").start("--from", "earliest")
    followers = [Follower(world, writer, feed, "steady"),
                 Follower(world, writer, feed, "forgetful", 0.002, dice)]
    for _ in range(count):
        for _ in range(dice.randrange(1, 12)):
            writer.step()
        seen = followers[0].last
        if dice.random() < 0.7:  # otherwise while it still starts
            until(lambda: followers[0].last != seen or followers[0].follower.failed, lambda: feed.process.text(), 30)
        feed.process.kill()
        feed.process.wait()
        feed.start()
    for follower in followers:
        until(lambda: follower.at(writer.seq),
              lambda: f"{follower.consumer.at} at {writer.seq}: {feed.process.text()[-2000:]}", 60)
    feed.await_listening()
    # One that comes late, and one that asks for a token in the middle, get the same as those that were there.
    late = [(token, data) for token, _, data in collect(feed, "?from=earliest", followers[0].last)]
    assert late[-1][0] == followers[0].last
    middle = len(late) // 2
    rest = [(token, data) for token, _, data in collect(feed, "", followers[0].last, late[middle][0])]
    assert rest == late[middle + 1:], "what is behind a token is not the rest of the whole"
    for follower in followers:
        follower.follower.finish()
        assert follower.consumer.digest() == writer.now()
        assert follower.consumer.repeated == 0, f"{follower.consumer.repeated} repeated"
    log(f"{count} kills: {followers[0].consumer.events} events in {followers[0].consumer.boundaries} transactions, "
        f"{followers[0].follower.connections} and {followers[1].follower.connections} connections, none lost or "
        "doubled")
    return feed


def collect(feed, query, upto, last_id=None):
    stream, events = feed.stream(query, last_id), []
    for event in stream:
        events.append(event)
        if event[0] == upto:
            break
    stream.close()
    return events


def manners(world, writer, feed):
    """curl, what is silent, what is refused."""
    newest = refusal(feed, 400, "?from=nonsense")["newest"]
    # No client: without an id it begins with the next commit, and says at once where it is.
    curl = subprocess.Popen(["curl", "-sN", f"http://127.0.0.1:{feed.port}{feed.path}"], stdout=subprocess.PIPE)
    try:
        assert curl.stdout.readline() == b"retry: 1000\n"
        assert curl.stdout.readline() == b"\n"
        assert curl.stdout.readline() == f"id: {newest}\n".encode()
        writer.step()
        assert curl.stdout.readline() == b"\n"
        token = curl.stdout.readline().decode().split(": ")[1].strip()
        first = json.loads(curl.stdout.readline().decode()[len("data: "):])
        assert first["status"] == "BEGIN" and token == token_of(first) and order_of(token) > order_of(newest)
    finally:
        curl.kill()
        curl.wait()
    lineage = newest.split(":")[0]
    other = refusal(feed, 410, last_id="0" * 32 + newest[32:])
    assert "lineage" in other["error"] and other["newest"], other
    # Ahead of all that was told: it will come again under the same name, so it is waited for.
    ahead = feed.stream(last_id=f"{lineage}:{'f' * 16}:0")
    ahead.close()
    log("curl follows; refusals say what is there")


def silence(world, bus):
    feed = Feed(world, bus, "quiet", "?heartbeat=100ms&clients=2").start("--from", "latest")
    feed.await_listening()

    def place():
        """A stream, or None: the server is full. One that has gone holds its place for a second."""
        try:
            return feed.stream()
        except Refused as refused:
            assert refused.status == 503, refused
            return None

    one, two = (until(place, "a place", 10, 0.1) for _ in range(2))
    lines = iter(one.answer.readline, b"")
    until(lambda: next(lines).startswith(b": heartbeat"), "a heartbeat", 10, 0)
    assert place() is None, "a third client was let in"
    one.close()
    until(place, "the place of one that has gone", 10, 0.1).close()
    two.close()
    assert feed.process.stop() == 0, feed.process.text()
    log("heartbeats in silence; the number of clients is bounded")


def slow(world, writer, publisher, bus):
    """A client that does not read holds nothing up; what it asks for afterwards is gone, and that is said."""
    feed = Feed(world, bus, "slow", "?keep=256KiB").start("--from", "earliest")
    feed.await_listening()
    first = next(iter(feed.stream("?from=earliest")))[0]
    stuck = feed.stream("?from=earliest")
    for _ in range(300):
        writer.step()
    txid = world.await_drained(publisher)[:16]
    until(lambda: refusal(feed, 400, "?from=x")["newest"].split(":")[1] == txid,
          lambda: f"the feed at {txid}: {feed.process.text()[-2000:]}", 60, 0.1)
    gone = refusal(feed, 410, last_id=first)
    assert "no longer kept" in gone["error"] and order_of(gone["oldest"]) > order_of(first), gone
    # What is in buffers still arrives; then the end, with or without words, never a hole.
    last = None
    try:
        for token, name, data in stuck:
            if name == "gone":
                assert json.loads(data)["oldest"], data
                break
            assert name is None
            if last:
                assert order_of(token) > order_of(last)
            last = token
    except OSError:
        pass  # it was let go
    kept = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in
               os.walk(world.path("state-slow/events-slow")) for name in names)
    assert kept < 512 << 10, f"{kept} bytes are kept"
    whole = collect(feed, "?from=earliest", refusal(feed, 400, "?from=x")["newest"])
    assert json.loads(whole[0][2]).get("status") == "BEGIN", whole[0]
    assert feed.process.stop() == 0, feed.process.text()
    log(f"a client that does not read holds nothing up; {kept} bytes are kept, the rest is 410")


def main(world):
    count = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    log(f"seed {seed}")
    dice = random.Random(seed)
    writer = Writer(world.path("app.db"), seed)
    for _ in range(10):
        writer.step()
    bus = world.file_bus()
    publisher = world.publisher(writer.path, bus)
    publisher.await_publishing()
    feed = kills(world, writer, bus, count, dice)
    manners(world, writer, feed)
    assert feed.process.stop() == 0, feed.process.text()
    silence(world, bus)
    slow(world, writer, publisher, bus)


run(main)
