"""What the integration tests are made of: real servers, real writers, the real binary; all in one directory, all ended
by it.

A test is a script with a `main(world)`; `run(main)` gives it a World and turns what happens into ctest's exit codes:
0 passed, 77 skipped (a peer is missing; a failure when RUNNEL_NO_SKIP=1), anything else failed.
"""
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

import kafka

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Skip(Exception):
    pass


def peer(name, file):
    """A program or folder that tools/peers/get.sh fetched; without it the test is skipped."""
    directory = os.environ.get("RUNNEL_PEERS_DIR") or os.path.join(ROOT, ".peers")
    path = os.path.join(directory, name, file)
    if not os.path.exists(path):
        raise Skip(f"needs {name} (tools/peers/get.sh)")
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def http_json(port, path, timeout=2):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
    except (OSError, ValueError):
        return None


def until(probe, what, seconds=30.0, tick=0.02):
    """Waits for an event; its value is returned. Fails with `what` when it does not come."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(tick)


class Process:
    def __init__(self, world, name, argv, env=None):
        self.name, self.argv, self.world = name, argv, world
        self.log = os.path.join(world.dir, f"{name}.log")
        self.out = open(self.log, "ab")
        self.popen = subprocess.Popen(argv, stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL,
                                      env={**os.environ, **(env or {})}, start_new_session=True)

    def kill(self, sig=signal.SIGKILL):
        if self.popen.poll() is None:
            self.popen.send_signal(sig)

    def wait(self, seconds=30):
        return self.popen.wait(seconds)

    def stop(self, seconds=30):
        self.kill(signal.SIGTERM)
        return self.wait(seconds)

    def running(self):
        return self.popen.poll() is None

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


class Publisher(Process):
    def __init__(self, world, name, source, bus, *flags, env=None):
        self.port = free_port()
        argv = [world.runnel, "publish", "--http", f"127.0.0.1:{self.port}", *flags, source, bus]
        super().__init__(world, name, argv, env)

    def status(self):
        answer = http_json(self.port, "/status")
        return answer["databases"][0] if answer else None

    def await_publishing(self, seconds=30):
        def probe():
            if not self.running():
                raise AssertionError(f"{self.name} ended: {self.text()[-2000:]}")
            status = self.status()
            return status if status and status["state"] == "publishing" else None
        return until(probe, lambda: f"{self.name} publishing: {self.text()[-2000:]}", seconds)


class Subscriber(Process):
    def __init__(self, world, name, bus, replica, *flags, env=None):
        self.port = free_port()
        self.replica = replica
        argv = [world.runnel, "subscribe", "--http", f"127.0.0.1:{self.port}", *flags, bus, replica]
        super().__init__(world, name, argv, env)

    def status(self):
        answer = http_json(self.port, "/status")
        return answer["replicas"][0] if answer else None

    def await_position(self, position, seconds=60):
        def probe():
            if not self.running():
                raise AssertionError(f"{self.name} ended: {self.text()[-2000:]}")
            status = self.status()
            return status and status["applied"] == position
        return until(probe, lambda: f"{self.name} at {position}: {self.status()}\n{self.text()[-1500:]}", seconds)


class World:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="runnel-test-")
        self.build = os.environ.get("RUNNEL_BUILD", os.path.join(ROOT, "build", "release"))
        self.runnel = os.path.join(self.build, "tools", "runnel")
        self.processes = []
        self.counter = 0

    # --- parts
    def path(self, name):
        return os.path.join(self.dir, name)

    def support(self, program):
        return os.path.join(self.build, "tests", "support", program)

    def start(self, name, argv, env=None):
        process = Process(self, name, argv, env)
        self.processes.append(process)
        return process

    def unique(self, name):
        self.counter += 1
        return f"{name}{self.counter}"

    def publisher(self, source, bus, *flags, env=None):
        process = Publisher(self, self.unique("publisher"), source, bus, *flags, env=env)
        self.processes.append(process)
        return process

    def subscriber(self, bus, replica, *flags, env=None):
        process = Subscriber(self, self.unique("subscriber"), bus, replica, *flags, env=env)
        self.processes.append(process)
        return process

    def app(self, *args):
        """A writer, checkpointer or other neighbour (tests/support/sqlite_app.cpp)."""
        process = Process(self, self.unique("app"), [self.support("sqlite_app"), *args])
        self.processes.append(process)
        return process

    def cli(self, *args, timeout=60):
        return subprocess.run([self.runnel, *args], capture_output=True, text=True, timeout=timeout)

    def nats(self, name="nats", binary=None, extra="", port=None):
        return Nats(self, name, binary, extra, port)

    def kafka(self, version="4.3.1", **options):
        return kafka.Kafka(self, version, **options)

    def bus(self, kind):
        """Something with url(name): file, nats, kafka, and kafka-VERSION, kafka-transactional or both."""
        words = kind.split("-")
        if words[0] == "kafka":
            version = next((word for word in words if "." in word), "4.3.1")
            return self.kafka(version, fencing="transactional" if "transactional" in words else "marker")
        return self.nats() if kind == "nats" else FileBus(self)

    def file_bus(self, name="app"):
        return f"file://{self.dir}/bus/{name}"

    # --- databases
    def create(self, name="app.db", page_size=4096, auto_vacuum=0,
               sql="CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b BLOB)"):
        path = self.path(name)
        db = sqlite3.connect(path, isolation_level=None)
        db.execute(f"PRAGMA page_size={page_size}")
        db.execute(f"PRAGMA auto_vacuum={auto_vacuum}")
        db.execute("PRAGMA journal_mode=WAL")
        for statement in sql.split(";"):
            db.execute(statement)
        db.close()
        return path

    def image(self, path):
        """The database's bytes as one transaction sees them (SQLite's own backup, read-only)."""
        copy = self.path(self.unique("image"))
        source = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        target = sqlite3.connect(copy)
        source.backup(target)
        target.close()
        source.close()
        with open(copy, "rb") as f:
            data = f.read()
        os.remove(copy)
        return data

    # --- judgement
    def await_drained(self, publisher, seconds=60):
        """All that the source holds is published: its image has the published checksum. Returns the position."""
        def probe():
            if not publisher.running():
                raise AssertionError(f"{publisher.name} ended: {publisher.text()[-2000:]}")
            status = publisher.status()
            if not status or status["state"] != "publishing" or status["captured"] != status["published"]:
                return None
            checked = self.cli("verify", "--json", status["path"])
            same = checked.returncode == 0 and json.loads(checked.stdout)["checksum"] == status["published"][17:]
            return status if same else None
        status = until(probe, lambda: f"{publisher.name} drained: {publisher.status()}\n{publisher.text()[-1500:]}",
                       seconds)
        return status["published"]

    def assert_equal(self, source, publisher, *subscribers, seconds=60):
        """Source and replicas are byte for byte one image at one position; runnel verify and integrity_check agree."""
        position = self.await_drained(publisher, seconds)
        expected = self.image(source)
        for subscriber in subscribers:
            subscriber.await_position(position, seconds)
            if self.image(subscriber.replica) != expected:
                raise AssertionError(f"{subscriber.replica} differs from the source at {position}")
            checked = self.cli("verify", "--json", "--deep", subscriber.replica)
            answer = json.loads(checked.stdout or "{}")
            if checked.returncode != 0 or answer.get("position") != position:
                raise AssertionError(f"verify of {subscriber.replica} at {position}: {checked.returncode} "
                                     f"{checked.stdout}{checked.stderr}")
        return position

    def close(self, keep):
        for process in reversed(self.processes):
            process.kill(signal.SIGCONT)
            process.kill(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


class FileBus:
    """The log without a server."""

    def __init__(self, world):
        self.world = world

    def url(self, name="app"):
        return self.world.file_bus(name)


class Nats:
    """A real nats-server with JetStream; stop and start keep port and store."""

    def __init__(self, world, name, binary=None, extra="", port=None, started=True):
        self.world, self.name = world, name
        self.binary = binary or shutil.which("nats-server")
        if not self.binary:
            raise Skip("nats-server is not installed")
        self.port, self.monitor = port or free_port(), free_port()
        self.health = "/healthz"
        self.config = world.path(name + ".conf")
        with open(self.config, "w") as f:
            f.write(f'listen: 127.0.0.1:{self.port}\nhttp: 127.0.0.1:{self.monitor}\n'
                    f'jetstream {{ store_dir: "{world.path(name + "-store")}" }}\n{extra}\n')
        if started:
            self.start()

    def start(self):
        self.launch()
        self.await_healthy()

    def launch(self):
        self.process = self.world.start(self.world.unique(self.name), [self.binary, "-c", self.config])

    def await_healthy(self):
        until(lambda: (http_json(self.monitor, self.health) or {}).get("status") == "ok",
              lambda: f"nats-server healthy: {self.process.text()[-1000:]}", 60)

    def stop(self):
        self.process.stop()

    def url(self, name="app", user=""):
        return f"nats://{user}127.0.0.1:{self.port}/{name}"


class NatsCluster:
    """Three nats-servers; `nodes` are stopped, killed and started one by one."""

    def __init__(self, world, binary=None):
        routes = [free_port() for _ in range(3)]
        peers = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
        self.nodes = [Nats(world, f"node{i + 1}", binary, started=False,
                           extra=f"server_name: n{i + 1}\ncluster {{ name: c1, listen: 127.0.0.1:{routes[i]}, "
                                 f"routes: [ {peers} ], no_advertise: true }}") for i in range(3)]
        for node in self.nodes:
            # A node that comes back under load may not report its streams as current for long; JetStream must be up.
            node.health = "/healthz?js-server-only=true"
            node.launch()
        for node in self.nodes:
            node.await_healthy()

    def catches_up(self, node, stream, seconds):
        """Whether a node that was away comes to have what the stream's other copies had when this was called."""
        there = max(self.last_sequence(other, stream) for other in self.nodes)
        end = time.monotonic() + seconds
        while self.last_sequence(node, stream) < there:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    @staticmethod
    def last_sequence(node, stream):
        """Of the node's own copy; 0 while it has none or does not run."""
        server = http_json(node.monitor, "/jsz?streams=true") or {}
        streams = [s for account in server.get("account_details", []) for s in account.get("stream_detail", [])]
        return max((s["state"]["last_seq"] for s in streams if s["name"] == stream), default=0)

    def url(self, name="app"):
        return "nats://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes) + f"/{name}"


def row_count(path):
    """Of table t, as sqlite_app fills it."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    count = db.execute("SELECT count(*) FROM t").fetchone()[0]
    db.close()
    return count


def log(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def run(main):
    world = World()
    code = 1
    try:
        if not os.path.exists(world.runnel):
            raise AssertionError(f"{world.runnel} is not built")
        main(world)
        code = 0
        print("passed", flush=True)
    except Skip as reason:
        code = 1 if os.environ.get("RUNNEL_NO_SKIP") == "1" else 77
        print(f"SKIPPED: {reason}", flush=True)
    except BaseException:  # noqa: B902 - everything ends in an exit code, after the processes are stopped
        traceback.print_exc()
    finally:
        world.close(keep=code not in (0, 77))
        if code not in (0, 77):
            print(f"kept: {world.dir}", flush=True)
    sys.exit(code)
