"""Whatever an application does, each replica is byte for byte the source, and every commit is one TXID.

One database for each page size and auto_vacuum mode, all published by one node with a configuration file, all
replicated by another; the writer is Python's sqlite3 module and counts the commits it makes.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run, until, http_json, free_port  # noqa: E402
from workload import SCHEMA, Workload  # noqa: E402

SIZES = [512, 4096, 65536]


def main(world):
    kind = sys.argv[1] if len(sys.argv) > 1 else "file"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 120
    server = world.bus(kind)
    names = [(f"p{size}v{vacuum}", size, vacuum) for size in SIZES for vacuum in (0, 1, 2)]
    sources = {name: world.create(name + ".db", size, vacuum, SCHEMA) for name, size, vacuum in names}
    bus = {name: server.url(name) for name, _, _ in names}
    replicas = {name: world.path(name + "-replica.db") for name, _, _ in names}
    with open(world.path("runnel.yml"), "w") as config:
        # Late on a loaded machine is not late here: every commit must keep its own TXID.
        config.write("defaults:\n  coalesce-after: never\ndbs:\n")
        for name in sources:
            config.write(f"  - path: {sources[name]}\n    bus: {bus[name]}\n")
        config.write("replicas:\n")
        for name in sources:
            config.write(f"  - path: {replicas[name]}\n    bus: {bus[name]}\n")
    ports = [free_port(), free_port()]
    start = [world.runnel, "--config", world.path("runnel.yml")]
    publisher = world.start("publisher", start + ["publish", "--http", f"127.0.0.1:{ports[0]}"])
    subscriber = world.start("subscriber", start + ["subscribe", "--http", f"127.0.0.1:{ports[1]}"])

    def statuses():
        answers = http_json(ports[0], "/status"), http_json(ports[1], "/status")
        assert publisher.running() and subscriber.running(), publisher.text()[-1000:] + subscriber.text()[-1000:]
        if not all(answers):
            return None
        return {d["name"]: d for d in answers[0]["databases"]}, {r["name"]: r for r in answers[1]["replicas"]}

    until(lambda: (s := statuses()) and all(d["state"] == "publishing" for d in s[0].values()),
          lambda: publisher.text()[-2000:], 120)
    workloads = {name: Workload(path, seed) for seed, (name, path) in enumerate(sources.items())}
    for step in range(steps):
        for workload in workloads.values():
            workload.step()
    log(f"{sum(w.commits for w in workloads.values())} commits in {len(names)} databases")

    for name, workload in workloads.items():
        # TXID 1 is the database as it was found.
        expected = 1 + workload.commits
        until(lambda: (s := statuses()) and int(s[0][name]["published"][:16], 16) >= expected
              and s[1][name]["applied"] == s[0][name]["published"],
              lambda: f"{name} at TXID {expected}: {statuses()}", 90)
        published = statuses()[0][name]
        assert int(published["published"][:16], 16) == expected, (name, published, expected)
        assert published["ranges"] == 0 and published["deltas"] == 0, published
        assert world.image(sources[name]) == world.image(replicas[name]), f"{name}: replica differs"
        checked = world.cli("verify", "--deep", "--against", sources[name], replicas[name])
        assert checked.returncode == 0, checked.stdout + checked.stderr
    log("every replica is byte for byte its source, one TXID a commit")


run(main)
