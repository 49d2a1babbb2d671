"""An operator with the stock nats tool: reads our stream as documented, and does to it what operators do (consumers,
backup, restore, purge, removed messages, changed limits, a seal). Publisher and subscriber go on or say what to do;
a replica that starts from nothing afterwards is byte for byte the source."""
import base64
import glob
import json
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, peer, run, until  # noqa: E402

STREAM, SUBJECT = "RUNNEL-app", "runnel.app.log"


class Operator:
    def __init__(self, world, nats):
        self.program, self.server = peer("natscli-0.4.0", "nats"), f"nats://127.0.0.1:{nats.port}"
        self.env = {**os.environ, "XDG_CONFIG_HOME": world.path("operator"), "HOME": world.path("operator")}

    def __call__(self, *words, code=0):
        done = subprocess.run([self.program, "-s", self.server, *words], capture_output=True, text=True,
                              errors="replace", timeout=60, stdin=subprocess.DEVNULL, env=self.env)
        assert done.returncode == code, f"nats {' '.join(words)}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout

    def info(self):
        return json.loads(self("stream", "info", STREAM, "--json"))

    def message(self, sequence):
        return json.loads(self("stream", "get", STREAM, str(sequence), "--json"))


class Scene:
    """A source, its publisher and a subscriber over one server."""

    def __init__(self, world):
        # Debian's 2.9.10 may delete the files of a stream that is made again right after it was removed.
        self.world, self.nats = world, world.nats(binary=peer("nats-server-2.15.2", "nats-server"))
        self.operator = Operator(world, self.nats)
        self.source = world.create()
        self.app = sqlite3.connect(self.source, timeout=10, isolation_level=None)
        self.start_publisher()
        self.subscriber = world.subscriber(self.nats.url(), world.path("replica.db"))
        self.write(20)

    def start_publisher(self):
        self.publisher = self.world.publisher(self.source, self.nats.url())
        self.publisher.await_publishing()

    def write(self, count=5):
        """Commits that reach the log one message after the other."""
        for _ in range(count):
            before = self.publisher.status()["published"]
            self.app.execute("INSERT INTO t(a, b) VALUES(1, randomblob(300))")
            until(lambda: self.publisher.status()["published"] != before, "a commit is published", 60)

    def equal(self):
        """The old replica and one that starts from nothing are what the source is."""
        name = self.world.unique("fresh")
        fresh = self.world.subscriber(self.nats.url(), self.world.path(f"{name}.db"))
        position = self.world.assert_equal(self.source, self.publisher, self.subscriber, fresh, seconds=90)
        assert fresh.stop() == 0
        assert self.subscriber.status()["forks"] == 0, self.subscriber.status()
        return position


def looks(scene):
    info = scene.operator.info()
    config = info["config"]
    assert config["subjects"] == [SUBJECT] and config["storage"] == "file" and config["discard"] == "new", config
    assert config["allow_direct"] and config["max_msgs"] == -1 and config["max_bytes"] == -1, config
    scene.publisher.stop()  # so that no heartbeat comes between the questions
    state = scene.operator.info()["state"]
    assert state["messages"] == state["last_seq"] - state["first_seq"] + 1 and not state.get("num_deleted"), state
    assert state["messages"] >= 22, state
    ids = []
    for sequence in range(state["first_seq"], state["last_seq"] + 1):
        message = scene.operator.message(sequence)
        headers = base64.b64decode(message["hdrs"]).decode().split("\r\n")
        assert message["subject"] == SUBJECT and headers[0] == "NATS/1.0", message
        headers = dict(line.split(": ", 1) for line in headers[1:] if line)
        # The fence: each message names the one it must stand behind.
        if "Nats-Expected-Last-Msg-Id" in headers:
            assert headers["Nats-Expected-Last-Msg-Id"] == ids[-1], (sequence, headers, ids[-1])
        ids.append(headers["Nats-Msg-Id"])
    assert len(set(ids)) == len(ids), "a message id stands twice"
    report = scene.world.cli("status", "--json", scene.nats.url())
    assert report.returncode == 0, report
    scene.start_publisher()
    log(f"the nats tool counts {len(ids)} messages on {SUBJECT}, each with its own id behind the one before")


def reads_and_copies(scene):
    scene.operator("consumer", "add", STREAM, "curious", "--pull", "--defaults", "--deliver=all")
    taken = scene.operator("consumer", "next", STREAM, "curious", "--count=5", "--raw", "--ack")
    assert taken
    scene.operator("pub", SUBJECT, "a note to all")  # into our stream, by mistake
    scene.write()
    scene.operator("consumer", "rm", STREAM, "curious", "-f")
    scene.equal()
    log("a consumer, a look and a stray message of the operator's disturb nobody")


def backup_and_restore(scene, world):
    scene.operator("stream", "backup", STREAM, world.path("backup"), "--no-progress")
    scene.write(10)  # these are not in the backup
    world.await_drained(scene.publisher)
    scene.operator("stream", "rm", STREAM, "-f")
    scene.operator("stream", "restore", world.path("backup"), "--no-progress")
    scene.write()
    scene.equal()
    log("an older backup of the stream restored: what it lacks is written again")


def purges(scene):
    scene.operator("stream", "purge", STREAM, "--keep=3", "-f")
    scene.write()
    scene.equal()
    scene.operator("stream", "purge", STREAM, "-f")
    scene.write()
    scene.equal()
    log("purged to three messages, then to none: a new snapshot for those who start, nothing for those who follow")


def holes(scene):
    scene.write(6)
    scene.world.await_drained(scene.publisher)
    last = scene.operator.info()["state"]["last_seq"]
    for sequence in (last - 3, last):
        scene.operator("stream", "rmm", STREAM, str(sequence), "-f")
    scene.write()
    scene.equal()
    log("two messages removed, one of them the last: healed")


def limits(scene):
    scene.operator("stream", "edit", STREAM, "--discard=old", "--max-msgs=10", "-f")
    done = scene.world.cli("status", scene.nats.url())
    assert done.returncode == 0 and "thrown away" in done.stdout, done
    scene.publisher.stop()
    refused = scene.world.publisher(scene.source, scene.nats.url())
    assert refused.wait(30) == 3 and "--force" in refused.text(), refused.text()
    scene.operator("stream", "edit", STREAM, "--discard=new", "--max-msgs=-1", "-f")
    scene.start_publisher()
    scene.write()
    scene.equal()
    # Set while we run, and reached: nobody begins there, but who leads the log waits for room.
    scene.operator("stream", "edit", STREAM, f"--max-msgs={scene.operator.info()['state']['messages']}", "-f")
    scene.app.execute("INSERT INTO t(a) VALUES(2)")
    until(lambda: "max_msgs" in str(scene.publisher.status()["trouble"]),
          lambda: f"the publisher says that the stream is full: {scene.publisher.status()}", 30)
    scene.operator("stream", "edit", STREAM, "--max-msgs=-1", "-f")
    scene.equal()
    log("limits that throw or turn messages away are refused with exit code 3 at a start; a full stream is waited for")


def seal(scene):
    scene.operator("stream", "seal", STREAM, "-f")
    scene.app.execute("INSERT INTO t(a) VALUES(3)")
    until(lambda: "sealed" in str(scene.publisher.status()["trouble"]),
          lambda: f"the publisher says that the stream is sealed: {scene.publisher.status()}", 30)
    scene.operator("stream", "rm", STREAM, "-f")
    scene.write()
    scene.equal()
    log("a sealed stream is said and waited for; without it the log is written again")


def removed_again_and_again(scene):
    """Whatever the publisher is doing at that moment, also when it is just making the stream again."""
    for _ in range(12):
        scene.app.execute("INSERT INTO t(a) VALUES(4)")
        scene.operator("stream", "rm", STREAM, "-f")
        scene.app.execute("INSERT INTO t(a) VALUES(5)")
        until(lambda: STREAM in scene.operator("stream", "ls", "--names").split(),
              lambda: f"the stream is made again: {scene.publisher.text()[-1000:]}", 30, tick=0.001)
    scene.equal()
    log("the stream removed twelve times in a row: made again each time")


def main(world):
    scene = Scene(world)
    looks(scene)
    reads_and_copies(scene)
    backup_and_restore(scene, world)
    purges(scene)
    holes(scene)
    limits(scene)
    seal(scene)
    removed_again_and_again(scene)
    assert not glob.glob(scene.source + "*journal")


run(main)
