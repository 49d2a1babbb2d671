"""A subscriber with a feed keeps up with what it applies: an application commits at a steady pace, replica and feed of
one node follow, and both are level soon after it ends. Prints how far behind each was.

  feed_keeps_up_test.py SECONDS COMMITS_PER_SECOND [file|nats]
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import free_port, http_json, log, run, until  # noqa: E402
from sse_client import SseFollower  # noqa: E402


def txid(position):
    return int(position[:16], 16)


def main(world):
    seconds, rate = int(sys.argv[1]), int(sys.argv[2])
    bus = world.bus(sys.argv[3] if len(sys.argv) > 3 else "nats").url()
    source, replica = world.path("app.db"), world.path("replica.db")
    assert world.app(source, "init", "rows=20000").wait() == 0
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    port, listen = free_port(), free_port()
    config = world.path("runnel.yml")
    with open(config, "w") as f:
        f.write(f"http: 127.0.0.1:{port}\nreplicas:\n  - bus: {bus}\n    path: {replica}\n    feed:\n"
                f"      to: sse://127.0.0.1:{listen}/cdc\n      from: latest\n")
    node = world.start("node", [world.runnel, "--config", config, "subscribe"])
    status = until(lambda: (s := http_json(port, "/status")) and s["feeds"][0]["state"] == "streaming" and
                   s["replicas"][0]["state"] == "following" and s, lambda: node.text()[-2000:], 60)
    got = []
    client = SseFollower(listen, "/cdc?from=earliest", lambda token, event: got.append(token),
                         lambda: got[-1] if got else None)
    client.start()
    first = txid(status["feeds"][0]["told"])
    app = world.app(source, "ins", f"secs={seconds}", f"rate={rate}")
    began, apart, behind, lag_ms = time.monotonic(), [], [], []
    while app.running():
        status = until(lambda: http_json(port, "/status"), "the node answers", 10)
        feed, shown = status["feeds"][0], status["replicas"][0]
        apart.append(txid(shown["applied"]) - txid(feed["told"]))
        behind.append(feed["lag_commits"])
        lag_ms.append(feed["lag_ms"])
        time.sleep(0.05)  # the pace of looking
    assert app.wait() == 0, app.text()
    took, ended = time.monotonic() - began, time.monotonic()
    position = world.await_drained(publisher)
    level = until(lambda: (s := http_json(port, "/status")["feeds"][0])["told"] == position
                  and s["waiting_bytes"] == 0 and s,
                  lambda: f"the feed at {position}: {http_json(port, '/status')}", 120)
    drained = time.monotonic() - ended
    commits = txid(position) - first
    log(f"{commits} commits in {took:.1f} s; the feed was at most {max(behind)} commits and {max(lag_ms)} ms behind "
        f"the log, {max(apart)} commits behind the replica, and level {drained:.2f} s after the last one; "
        f"{level['events']} events")
    assert commits >= seconds * rate // 4, f"the application made only {commits} commits"
    assert drained < max(took, 5), "it takes longer to tell the commits than they took"
    assert level["rows"] == commits, level
    until(lambda: client.failed or got and got[-1] == level["delivered"], lambda: f"{len(got)} events", 60)
    client.finish()
    assert len(got) == level["events"], f"{len(got)} of {level['events']} events reached the client"
    assert node.stop() == 0, node.text()[-2000:]


run(main)
