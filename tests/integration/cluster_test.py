"""The whole node over a cluster of three nats-servers that keep three copies: the server that leads the log is killed
under load, comes back, and another one is stopped and started. Nothing is missed or written twice, and nobody restarts
anything. Arguments: debian or newer, rounds (1); in full: debian 4, newer 4."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import NatsCluster, log, peer, row_count, run, until  # noqa: E402
from nats_raw import RawNats  # noqa: E402


def leader_of(cluster):
    """The index of the node that leads the log's stream; the servers are n1, n2 and n3."""
    def probe():
        for node in cluster.nodes:
            if node.process.running():
                try:
                    info = RawNats(node.port).api("STREAM.INFO.RUNNEL-app")
                except OSError:
                    continue
                name = (info.get("cluster") or {}).get("leader", "")
                if name:
                    return int(name[1:])
        return None
    return until(probe, "the stream has a leader", 60, tick=0.2) - 1


def next_to_stop(cluster, back, newer):
    """The server after the one that is back, once that has its copy again; an operator waits for the same. Debian's
    nats-server 2.9 calls itself healthy long before, elects a copy that is behind if another server goes then, and cuts
    the others to its length. Now and then it leaves a copy behind for good: then no other server can be spared, the one
    that is back is stopped again, and that round is the last."""
    if cluster.catches_up(cluster.nodes[back], "RUNNEL-app", 60 if newer else 15):
        return (back + 1) % 3
    assert not newer, f"the copy of server {back + 1} does not come back"
    log(f"Debian's nats-server leaves the copy of server {back + 1} behind: it is stopped again, and nothing after it")
    return back


def main(world):
    newer = sys.argv[1:2] == ["newer"]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    cluster = NatsCluster(world, peer("nats-server-2.15.2", "nats-server") if newer else None)
    source, replica = world.create(), world.path("replica.db")
    with open(world.path("runnel.yml"), "w") as config:
        config.write(f"defaults:\n  log-replicas: 3\ndbs:\n  - path: {source}\n    bus: {cluster.url()}\n")
    publisher = world.publisher(source, cluster.url(), "--config", world.path("runnel.yml"))
    publisher.await_publishing(90)
    subscriber = world.subscriber(cluster.url(), replica)
    assert RawNats(cluster.nodes[0].port).api("STREAM.INFO.RUNNEL-app")["config"]["num_replicas"] == 3
    until(lambda: (s := subscriber.status()) and s["state"] == "following", "the subscriber follows", 60)
    writer = world.app(source, "ins", "rate=300", "busy=5000", "secs=3600")

    def progress(what):
        """The log and the replica go on."""
        captured = until(lambda: (s := publisher.status()) and s["captured"], "a status")
        began = time.monotonic()
        # Acknowledged by what is left of the cluster: none of it was sent before.
        until(lambda: (s := publisher.status()) and s["published"] > captured,
              lambda: f"{what}: {publisher.status()}", 120)
        took, published = time.monotonic() - began, publisher.status()["published"]
        until(lambda: (s := subscriber.status()) and s["applied"] >= published,
              lambda: f"{what}: the replica: {subscriber.status()}", 120)
        return took

    for _ in range(rounds):
        progress("before")
        leader = leader_of(cluster)
        cluster.nodes[leader].process.kill(signal.SIGKILL)
        cluster.nodes[leader].process.wait()
        took = progress("the leader is killed")
        cluster.nodes[leader].start()
        progress("the killed server is back")
        other = cluster.nodes[next_to_stop(cluster, leader, newer)]
        other.stop()
        progress("another server is stopped")
        other.start()
        log(f"server {leader + 1} of 3 killed under load: the log went on after {took:.1f} s")
        if other is cluster.nodes[leader]:
            break
    assert writer.stop() == 0
    position = world.assert_equal(source, publisher, subscriber, seconds=120)
    rows = row_count(source)
    status = publisher.status()
    assert status["snapshots"] == 1 and status["deltas"] == 0, status
    assert subscriber.status()["forks"] == 0, subscriber.status()
    fresh = world.subscriber(cluster.url(), world.path("fresh.db"))
    world.assert_equal(source, publisher, subscriber, fresh, seconds=120)
    log(f"{rows} commits at {position}, one snapshot, no delta; an old and a fresh replica are the source")


run(main)
