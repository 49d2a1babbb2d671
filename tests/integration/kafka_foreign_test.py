"""A Kafka topic read by programs that are not ours: kcat fetches it, the program printed in bus/ENVELOPE.md decodes it,
and what strangers left in it is passed over. And topics that cannot be a log are refused with a sentence."""
import os
import re
import signal
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from foreign_log import document_program  # noqa: E402
from harness import log, run, until  # noqa: E402
from kafka import VERSIONS, kcat  # noqa: E402


def decode(world, kafka, name):
    """The lines the document's program prints about a log, split into words."""
    raw = kafka.read(name, "%o %S %h;%s")
    done = subprocess.run([sys.executable, "-c", document_program()], input=raw, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return [line.split() for line in done.stdout.decode().splitlines()]


def produce(kafka, name, text, *headers):
    done = subprocess.run(["kcat", "-b", kafka.host, "-P", "-t", "runnel." + name, "-p", "0", *headers],
                          input=text.encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def read_by_others(world, kafka):
    source = world.create(world.unique("orders") + ".db")
    publisher = world.publisher(source, kafka.url("orders"))
    publisher.await_publishing()
    subscriber = world.subscriber(kafka.url("orders"), world.path(world.unique("orders-replica") + ".db"))
    app = sqlite3.connect(source, isolation_level=None)
    for i in range(10):
        app.execute("INSERT INTO t(a) VALUES(?)", (i,))
    position = world.await_drained(publisher)
    # A stranger's records, without our header, with a header of its own, and with ours copied from elsewhere.
    produce(kafka, "orders", "what is this\n")
    produce(kafka, "orders", "and this\n", "-H", "other=1", "-H", "another=2")
    for i in range(10):
        app.execute("INSERT INTO t(a, b) VALUES(?, randomblob(100))", (i,))
    app.execute("INSERT INTO t(a, b) VALUES(1, randomblob(3000000))")
    # Many commits that come at once share a message, and their files are packed.
    publisher.kill(signal.SIGSTOP)
    for i in range(50):
        app.execute("INSERT INTO t(a, b) VALUES(?, randomblob(20))", (i,))
    publisher.kill(signal.SIGCONT)
    later = world.assert_equal(source, publisher, subscriber)

    lines = decode(world, kafka, "orders")
    assert lines[0][1] == "takeover" and lines[0][4] == "1", lines[0]
    counted = [line for line in lines if line[1] != "does"]
    assert len(lines) - len(counted) >= 2, "the stranger's records do not count"
    shown = [line[5] for line in counted]
    assert position in shown and shown[-1] == later, (position, later, shown)
    txids = [int(p[:16], 16) for p in shown if p[17:] != "0" * 16]
    assert txids == sorted(txids), txids
    assert any(line[1] == "chunk" for line in counted), "a large transaction comes in chunks"
    assert any(line[1] == "commits" and int(line[7]) >= 40 for line in counted), counted
    # Each TXID once: in an entry, or as the file that came in chunks.
    entries = sum(int(line[7]) for line in counted if line[1] == "commits")
    assert entries + 1 == int(later[:16], 16), (entries, later)
    log(f"Kafka {kafka.version}: {len(counted)} records decoded by the document's program up to {later}, "
        f"{len(lines) - len(counted)} passed over")
    publisher.stop()
    subscriber.stop()


def refused_topics(world, kafka):
    cases = [("compacted", 1, {"cleanup_policy": "compact"}, ["cleanup.policy=compact", "set it to delete"]),
             ("many", 3, {}, ["3 partitions", "make it again with one"]),
             ("capped", 1, {"retention_bytes": "1000000"}, ["retention.bytes=1000000", "set it to -1"]),
             ("small", 1, {"max_message_bytes": "65536"}, ["max.message.bytes=65536", "set it to 8388608"]),
             ("short", 1, {"retention_ms": "60000"}, ["retention.ms=60000", "set it to 604800000"])]
    for name, partitions, settings, words in cases:
        kafka.create_topic("runnel." + name, partitions, **settings)
        source = world.create(world.unique(name) + ".db")
        publisher = world.publisher(source, kafka.url(name))
        assert publisher.wait(30) == 3, publisher.text()
        for word in words:
            assert word in publisher.text(), (word, publisher.text())
    log("compacted, divided and short-lived topics are refused with what to change")


def main(world):
    for version in sys.argv[1:] or VERSIONS:
        kafka = world.kafka(version)
        read_by_others(world, kafka)
        refused_topics(world, kafka)
        kafka.stop()


run(main)
