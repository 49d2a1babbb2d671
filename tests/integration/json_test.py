"""tools/JSON.md names exactly the fields that the programs print: every output is made for real, and its set of fields
is compared with the page's."""
import json
import os
import sqlite3
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import ROOT, free_port, http_json, log, run, until  # noqa: E402


def documented():
    """{heading: fields} of the page."""
    sections, heading = {}, None
    with open(os.path.join(ROOT, "tools", "JSON.md")) as f:
        for line in f:
            if line.startswith("## "):
                heading = line[3:].strip()
                sections[heading] = set()
            elif line.startswith("| ") and heading and not line.startswith("| field"):
                sections[heading].add(line.split("|")[1].strip())
    return sections


def fields_of(value, prefix=""):
    """The names of all leaves: a.b for objects, a[] for arrays. An empty array of what is documented says nothing."""
    if isinstance(value, dict):
        return {name for key, part in value.items() for name in fields_of(part, f"{prefix}.{key}" if prefix else key)}
    if isinstance(value, list):
        return {name for part in value for name in fields_of(part, prefix + "[]")}
    return {prefix}


PAGE = documented()
SEEN = set()


def check(heading, value, absent=()):
    """`absent`: fields that are there only sometimes, and not now."""
    SEEN.add(heading)
    expected, got = PAGE[heading] - set(absent), fields_of(value)
    assert got == expected, (f"{heading}: not documented {sorted(got - expected)}, "
                             f"documented but not there {sorted(expected - got)}: {json.dumps(value)[:2000]}")


def output(world, *args, code=0, timeout=60):
    done = world.cli(*args, timeout=timeout)
    assert done.returncode == code, done
    return json.loads(done.stdout)


def nodes(world):
    source, bus, replica = world.create(), world.file_bus(), world.path("replica.db")
    db = sqlite3.connect(source, isolation_level=None)
    for n in range(10):
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(300))", (n,))
    db.close()
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    subscriber = world.subscriber(bus, replica)
    position = world.assert_equal(source, publisher, subscriber)
    check("/status of a publisher", http_json(publisher.port, "/status"))
    check("/status of a subscriber", http_json(subscriber.port, "/status"))
    check("/readyz", http_json(subscriber.port, "/readyz"))
    check("/readyz", http_json(publisher.port, "/readyz"))
    check("/healthz", http_json(publisher.port, "/healthz"))
    check("/wait", http_json(subscriber.port, f"/wait?db=app&txid={position[:16]}&timeout=5s"))
    check("/wait", http_json(subscriber.port, "/wait?db=app&txid=ffffffffffffffff&timeout=50ms"))
    with urllib.request.urlopen(f"http://127.0.0.1:{subscriber.port}/events", timeout=10) as events:
        lines = [events.readline().decode().strip() for _ in range(2)]
    assert lines[0] == "event: positions" and json.loads(lines[1][len("data: "):]) == {"app": position}, lines
    until(lambda: len(output(world, "status", "--json", bus)["nodes"]) == 2, "both nodes have reported", 30)
    status = output(world, "status", "--json", bus)
    check("runnel status", status, absent=["log.dangers[]"])
    assert {node["role"] for node in status["nodes"]} == {"publisher", "subscriber"}, status
    dangerous = output(world, "status", "--json", bus + "?sync=none")
    assert len(dangerous["log"]["dangers"]) == 1, dangerous
    check("runnel wait", output(world, "wait", "--json", replica, "--txid", position))
    check("runnel wait", output(world, "wait", "--json", replica, "--txid", "99999", "--timeout", "50ms", code=4))
    check("runnel verify", output(world, "verify", "--json", "--deep", replica))
    check("runnel verify", output(world, "verify", "--json", "--against", bus, source), absent=["integrity_check"])
    log("the nodes and what asks them")
    feeds(world, bus)


def feeds(world, bus):
    """A feed by itself, and in a subscriber."""
    port = free_port()
    to = f"sse://127.0.0.1:{free_port()}/cdc"
    feed = world.start("feed", [world.runnel, "feed", bus, "--to", to, "--state", world.path("feed"), "--http",
                                f"127.0.0.1:{port}"])
    status = until(lambda: (s := http_json(port, "/status")) and s["feeds"][0]["delivered"] and s,
                   lambda: feed.text(), 30)
    check("/status of a feed", status)
    one = status["feeds"][0]
    assert one["state"] == "streaming" and one["rows"] == 10 and one["lag_commits"] == one["lag_ms"] == 0, one
    check("/readyz", http_json(port, "/readyz"))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'runnel_feed_rows_total{db="app",feed="cdc"} 10' in metrics, metrics
    told = until(lambda: [node for node in output(world, "status", "--json", bus)["nodes"] if node["role"] == "feed"],
                 "the feed has reported", 30)[0]
    assert told["position"] == one["told"] and told["path"] == to and told["lag_commits"] == 0, told
    assert feed.stop() == 0, feed.text()
    config = world.path("runnel.yml")
    with open(config, "w") as f:
        f.write(f"http: 127.0.0.1:{port}\nreplicas:\n  - bus: {bus}\n    path: {world.path('fed.db')}\n    feed:\n"
                f"      to: {to}\n")
    node = world.start("node", [world.runnel, "--config", config, "subscribe"])
    both = until(lambda: (s := http_json(port, "/status")) and s["feeds"][0]["delivered"] and s,
                 lambda: node.text(), 30)
    fields = {name for name in PAGE["/status of a feed"] if name.startswith("feeds")}
    assert {name for name in fields_of(both) if name.startswith("feeds")} == fields, both
    assert {name for name in fields_of(both) if not name.startswith("feeds")} == PAGE["/status of a subscriber"], both
    assert node.stop() == 0, node.text()
    log("feeds")


def files(world):
    ltx = os.path.join(ROOT, "tests", "golden", "ltx", "litestream-0.5.18", "1",
                       "0000000000000001-000000000000000c.ltx")
    if not os.path.exists(ltx):
        folder = os.path.dirname(ltx)
        ltx = os.path.join(folder, sorted(os.listdir(folder))[0])
    check("runnel ltx list", output(world, "ltx", "list", "--json", ltx))
    check("runnel ltx verify", output(world, "ltx", "verify", "--json", ltx))
    dump = output(world, "ltx", "dump", "--json", ltx)
    PAGE["runnel ltx dump"] |= {name[len("[]."):] for name in PAGE["runnel ltx list"]}
    check("runnel ltx dump", dump)
    done = world.cli("doctor", "--json")
    check("runnel doctor", json.loads(done.stdout))
    log("files and doctor")


def bench(world):
    report = output(world, "bench", "--only", "latency_100,overhead_normal,catchup", "--time", "1", "--pairs", "1",
                    "--catchup-mib", "4", timeout=110)
    check("runnel bench", report)
    report = output(world, "bench", "restore", "--mib", "8", "--runs", "1")
    absent = {name for name in PAGE["runnel bench restore"] if name.startswith(("litestream.", "curl."))}
    check("runnel bench restore", report, absent)
    log("bench")


def main(world):
    nodes(world)
    files(world)
    bench(world)
    assert SEEN == set(PAGE), f"not compared: {sorted(set(PAGE) - SEEN)}"


run(main)
