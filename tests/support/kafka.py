"""A real Kafka broker for the integration scripts: broker and controller in one process, on free loopback ports, from
the jars and the formatted template of `tools/peers/get.sh kafka`. Ports and storage stay the same over stop, kill and
start.
"""
import glob
import os
import random
import shutil
import signal
import socket
import string
import struct
import subprocess

import harness

VERSIONS = ("3.9.2", "4.3.1")
CLUSTER = "cnVubmVsLXRlc3Qta2Fma2Ew"
# Compiling less makes a broker start sooner; for measurements of speed it may compile all it wants.
QUICK_START = ["-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
FULL_SPEED = ["-Xms256m", "-Xmx1g"]

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
log.dirs={data}
num.network.threads=2
num.io.threads=2
auto.create.topics.enable=false
log.cleaner.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
log.retention.check.interval.ms=500
log.segment.delete.delay.ms=100
{extra}
"""


def home(version):
    peers = os.environ.get("RUNNEL_PEERS_DIR") or os.path.join(harness.ROOT, ".peers")
    directory = os.path.join(peers, "kafka-" + version)
    if not os.path.isdir(os.path.join(directory, "template")) or not shutil.which("java"):
        raise harness.Skip(f"Kafka {version} is not there (tools/peers/get.sh kafka) or java is not installed")
    return directory


def prepare(directory, version, port, extra="", second_listener=""):
    """Writes a broker's storage and settings into `directory`; the path of the settings."""
    data = os.path.join(directory, "data")
    os.makedirs(data)
    shutil.copy(os.path.join(home(version), "template", "bootstrap.checkpoint"), data)
    # Two equal directory ids in one cluster: one broker never registers. The last digit holds two bits only.
    directory_id = "".join(random.choices(string.ascii_letters + string.digits, k=21)) + "A"
    with open(os.path.join(data, "meta.properties"), "w") as f:
        f.write(f"version=1\ncluster.id={CLUSTER}\nnode.id=1\ndirectory.id={directory_id}\n")
    config = os.path.join(directory, "server.properties")
    with open(config, "w") as f:
        listeners = f"PLAINTEXT://127.0.0.1:{port}" + ("," + second_listener if second_listener else "")
        f.write(PROPERTIES.format(listeners=listeners, controller=harness.free_port(), data=data, extra=extra))
    return config


def command(version, config, java=QUICK_START):
    return ["java", *java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
            os.path.join(home(version), "lib", "*"), "kafka.Kafka", config]


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def ask(port, api, version, body, seconds=40):
    """One request of Kafka's protocol, on a connection of its own; the answer behind its number."""
    request = struct.pack(">hhi", api, version, 7) + text("tests") + body
    with socket.create_connection(("127.0.0.1", port), seconds) as s:
        s.sendall(struct.pack(">i", len(request)) + request)
        stream = s.makefile("rb")
        answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    assert struct.unpack_from(">i", answer)[0] == 7, answer
    return answer[4:]


def ready(port):
    """Whether the broker there knows itself."""
    try:
        return struct.unpack_from(">i", ask(port, 3, 1, struct.pack(">i", 0), 2))[0] > 0
    except (OSError, struct.error):
        return False


class Kafka:
    def __init__(self, world, version="4.3.1", fencing="marker", extra="", second="", java=QUICK_START):
        """`second`: protocol of a second listener, at second_port; `extra` holds its settings."""
        self.world, self.version, self.fencing, self.java = world, version, fencing, java
        self.port = harness.free_port()
        directory = world.path(world.unique("kafka"))
        self.second_port = harness.free_port() if second else None
        listener = f"{second}://127.0.0.1:{self.second_port}" if second else ""
        self.config = prepare(directory, version, self.port, extra, listener)
        self.data = os.path.join(directory, "data")
        self.start()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def url(self, name="app"):
        return f"kafka://{self.host}/{name}" + ("" if self.fencing == "marker" else f"?fencing={self.fencing}")

    def start(self):
        self.process = self.world.start(self.world.unique("broker"), command(self.version, self.config, self.java))

        def up():
            if not self.process.running():
                raise AssertionError(f"the broker ended: {self.process.text()[-2000:]}")
            return ready(self.port)
        harness.until(up, lambda: f"a broker: {self.process.text()[-2000:]}", 150, 0.1)

    def stop(self):
        self.process.stop()

    def kill(self):
        self.process.kill(signal.SIGKILL)
        self.process.wait()

    def pause(self):
        self.process.kill(signal.SIGSTOP)

    def resume(self):
        self.process.kill(signal.SIGCONT)

    # --- what an administrator, or an accident, does behind everybody's back
    def read(self, name, partition_format="%o\\n"):
        """All visible records of a log, formatted by kcat; bytes."""
        return kcat("-b", self.host, "-C", "-t", "runnel." + name, "-p", "0", "-o", "beginning", "-e", "-q",
                    "-X", "isolation.level=read_committed", "-f", partition_format).stdout

    def delete_topic(self, name):
        self.expect_done(20, 1, struct.pack(">i", 1) + text("runnel." + name) + struct.pack(">i", 30000))

    def create_topic(self, topic, partitions=1, **settings):
        """Settings: cleanup_policy="compact" for cleanup.policy=compact."""
        pairs = b"".join(text(key.replace("_", ".")) + text(value) for key, value in settings.items())
        wanted = text(topic) + struct.pack(">ihii", partitions, 1, 0, len(settings)) + pairs
        self.expect_done(19, 2, struct.pack(">i", 1) + wanted + struct.pack(">i?", 30000, False))

    def trim(self, name, offset):
        """Deletes the records before this offset, as retention does."""
        wanted = text("runnel." + name) + struct.pack(">iiq", 1, 0, offset)
        self.expect_done(21, 0, struct.pack(">i", 1) + wanted + struct.pack(">i", 30000), skip=4 + 4 + 8)

    def expect_done(self, api, version, body, skip=0):
        answer = ask(self.port, api, version, body)
        # Behind the throttle time, the count and the one topic's name stands its error (and `skip` bytes in between).
        at = 4 + 4 + 2 + struct.unpack_from(">h", answer, 8)[0] + skip
        error = struct.unpack_from(">h", answer, at)[0]
        assert error == 0, f"request {api}: error {error} of Kafka"

    def cut_tail(self, name, batches):
        """Loses the last batches of a log, as a power failure does to a broker that never synced. REQUIRES: killed."""
        directory = os.path.join(self.data, f"runnel.{name}-0")
        segment = sorted(glob.glob(os.path.join(directory, "*.log")))[-1]
        places = batch_places(segment)
        assert len(places) > batches, f"{segment} has {len(places)} batches"
        os.truncate(segment, places[-batches])
        # What is left of indexes and producers is built again from the segment.
        for suffix in ("index", "timeindex", "snapshot"):
            for path in glob.glob(os.path.join(directory, "*." + suffix)):
                os.remove(path)


def batch_places(segment):
    """Byte offset of each record batch of a segment file: base offset (8 bytes), length (4), ..."""
    with open(segment, "rb") as f:
        data = f.read()
    places, at = [], 0
    while at + 12 <= len(data):
        _, length = struct.unpack_from(">qi", data, at)
        if length <= 0 or at + 12 + length > len(data):
            break  # preallocated or torn
        places.append(at)
        at += 12 + length
    return places


def kcat(*args, check=True):
    if not shutil.which("kcat"):
        raise harness.Skip("kcat is not installed")
    return subprocess.run(["kcat", *args], capture_output=True, timeout=60, check=check)
