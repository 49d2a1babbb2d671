"""A feed in a subscriber's configuration: events and replica from one node, over a restart of it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from feed_consumer import Consumer, order_of, token_of  # noqa: E402
from feed_oracle import Writer, digest  # noqa: E402
from harness import free_port, log, run, until  # noqa: E402
from nats_raw import RawNats, stream_messages  # noqa: E402


def main(world):
    writer = Writer(world.path("app.db"), 3)
    for _ in range(5):
        writer.step()
    bus, nats = world.file_bus(), world.nats()
    publisher = world.publisher(writer.path, bus)
    publisher.await_publishing()
    config, replica = world.path("runnel.yml"), world.path("replica.db")
    with open(config, "w") as f:
        f.write(f"http: 127.0.0.1:{free_port()}\nreplicas:\n  - bus: {bus}\n    path: {replica}\n    feed:\n"
                f"      to: {nats.url('cdc')}\n      from: earliest\n      exclude: ['nokey*']\n")

    def told(position):
        state = RawNats(nats.port).api("STREAM.INFO.RUNNEL-FEED-cdc").get("state")
        if not state or not state["messages"]:
            return False
        return list(stream_messages(nats.port, "RUNNEL-FEED-cdc"))[-1][0].split(":")[1] == position[:16]

    for round_number in range(2):
        for _ in range(20):
            writer.step()
        node = world.start(f"node{round_number}", [world.runnel, "--config", config, "subscribe"])
        position = world.await_drained(publisher)
        until(lambda: told(position), lambda: f"events up to {position}: {node.text()[-2000:]}", 60, 0.1)
        if node.stop() != 0:
            raise AssertionError(node.text()[-2000:])

    consumer, last = Consumer(world.path("consumer.db")), None
    for token, event in stream_messages(nats.port, "RUNNEL-FEED-cdc"):
        if last and order_of(token) <= order_of(last):
            raise AssertionError(f"{token} behind {last}")
        last = token
        if event.get("op") and event["source"]["table"].startswith("nokey"):
            raise AssertionError(f"a table that is excluded: {token_of(event)}")
        consumer.take(event)
    tables = consumer.tables()
    if any(table.startswith("nokey") for table in tables):
        raise AssertionError(f"tables that are excluded: {tables}")
    if digest(writer.db, tables) != consumer.digest():
        raise AssertionError("the consumer does not have what the source has")
    log(f"{consumer.events} events of {len(tables)} tables, over a restart of the node")


run(main)
