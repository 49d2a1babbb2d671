"""Many databases over many topics of one broker, archived too: every replica is equal, both nodes speak to Kafka with a
number of threads that does not grow with the databases, and `status` shows who works on them."""
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import free_port, http_json, log, run, until  # noqa: E402

# With one broker: 12 clients of 3 threads at most (one reads for the archivers), and 8 threads for acknowledgements; 3
# clients.
PUBLISHER_THREADS_MAX = 44
# 16 transactional producers of 4 threads (one for the coordinator), 8 threads that commit, and 3 clients of 3.
STRICT_THREADS_MAX = 81
SUBSCRIBER_THREADS_MAX = 9


def figures(process):
    """Threads in all, threads for Kafka, resident MiB."""
    names = []
    for task in os.listdir(f"/proc/{process.popen.pid}/task"):
        with open(f"/proc/{process.popen.pid}/task/{task}/comm") as f:
            names.append(f.read().strip())
    with open(f"/proc/{process.popen.pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) // 1024
    return len(names), sum(name.startswith(("rdk:", "kafka-")) for name in names), rss


def main(world):
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    fencing = sys.argv[2] if len(sys.argv) > 2 else "marker"
    kafka = world.kafka(fencing=fencing)
    names = [f"many{i}" for i in range(count)]
    sources = {name: world.create(name + ".db", sql="CREATE TABLE t(id INTEGER PRIMARY KEY, a INT)") for name in names}
    with open(world.path("runnel.yml"), "w") as config:
        config.write("dbs:\n")
        for n in names:
            config.write(f"  - path: {sources[n]}\n    bus: {kafka.url(n)}\n")
            config.write(f"    archive: file://{world.path(n)}-archive\n")
        config.write("replicas:\n")
        config.write("".join(f"  - path: {world.path(n)}-replica.db\n    bus: {kafka.url(n)}\n" for n in names))
    ports = [free_port(), free_port()]
    start = [world.runnel, "--config", world.path("runnel.yml")]
    began = time.monotonic()
    publisher = world.start("publisher", start + ["publish", "--http", f"127.0.0.1:{ports[0]}"])
    subscriber = world.start("subscriber", start + ["subscribe", "--http", f"127.0.0.1:{ports[1]}"])

    def all_publish():
        assert publisher.running(), publisher.text()[-2000:]
        status = http_json(ports[0], "/status")
        return status and all(d["state"] == "publishing" for d in status["databases"])
    until(all_publish, lambda: publisher.text()[-2000:], 120, 0.1)
    log(f"{count} databases publishing after {time.monotonic() - began:.1f} s")
    apps = {name: sqlite3.connect(path, timeout=20, isolation_level=None) for name, path in sources.items()}
    began = time.monotonic()
    for i in range(20):
        for app in apps.values():
            app.execute("INSERT INTO t(a) VALUES(?)", (i,))

    def all_equal():
        answers = http_json(ports[0], "/status", 10), http_json(ports[1], "/status", 10)
        if not all(answers):
            return False
        published = {d["name"]: d["published"] for d in answers[0]["databases"]}
        applied = {r["name"]: r["applied"] for r in answers[1]["replicas"]}
        return applied == published and all(int(p[:16], 16) >= 21 for p in published.values())
    until(all_equal, lambda: subscriber.text()[-2000:], 120, 0.1)
    log(f"20 commits in each, seen in all replicas after {time.monotonic() - began:.1f} s")
    for name in names:
        assert world.image(sources[name]) == world.image(world.path(name) + "-replica.db"), name

    def sent():
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return [line for line in lines if line.startswith("runnel_kafka_sent_messages_total")]
    # Commits may share messages, but each log has its marker, its snapshot and one message at least.
    # (librdkafka tells them to who polls, and transactional producers are polled by their commits only.)
    if fencing == "marker":
        until(lambda: sum(float(line.rsplit(" ", 1)[1]) for line in sent()) >= 3 * count,
              lambda: f"metrics count the messages: {sent()}", 30, 0.2)
    # Nodes leave their notes in turn, for one database after the other.
    def nodes():
        shown = subprocess.run([world.runnel, "status", "--json", kafka.url(names[-1])], capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr
        answer = json.loads(shown.stdout)
        return sorted(n["role"] for n in (answer[0] if isinstance(answer, list) else answer)["nodes"])
    until(lambda: nodes() == ["archiver", "publisher", "subscriber"], nodes, 60, 0.5)
    publisher_max = PUBLISHER_THREADS_MAX if fencing == "marker" else STRICT_THREADS_MAX
    for process, bound in ((publisher, publisher_max), (subscriber, SUBSCRIBER_THREADS_MAX)):
        threads, kafkas, rss = figures(process)
        log(f"{process.name}: {threads} threads, {kafkas} of them for Kafka, {rss} MiB, for {count} databases")
        assert kafkas <= bound, kafkas


run(main)
