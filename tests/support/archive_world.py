"""What tests of archives share: stores of every kind, the archiver as a process, and readers of an archive that are not
ours: the manifest by its format page, LTX files by the ltx tool, images by the stock Litestream."""
import json
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import ROOT, Process, Skip, free_port, http_json, until  # noqa: E402

PEERS = os.environ.get("RUNNEL_PEERS_DIR") or os.path.join(ROOT, ".peers")
os.environ.pop("AWS_CA_BUNDLE", None)  # Litestream refuses to start with it
S3_KEYS = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"}


def peer(folder, binary):
    path = os.path.join(PEERS, folder, binary)
    if not os.access(path, os.X_OK):
        raise Skip(f"needs {folder}: tools/peers/get.sh {folder.rsplit('-', 1)[0]}")
    return path


class DirStore:
    """An archive in a directory."""
    kind = "file"

    def __init__(self, world):
        self.root = world.path("archive")
        self.url = self.litestream_url = "file://" + self.root
        self.env = {}

    def objects(self):
        found = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                key = os.path.relpath(path, self.root)
                if not key.startswith("."):
                    found[key] = path
        return found

    def read(self, key):
        with open(os.path.join(self.root, key), "rb") as f:
            return f.read()


class S3Store(DirStore):
    """A bucket of versitygw, whose objects are files of a directory; the port stays the same over restarts."""
    kind = "s3"

    def __init__(self, world, port=None):
        self.world = world
        self.port = free_port()
        self.data = world.path("s3")
        self.root = os.path.join(self.data, "bucket", "prefix")
        os.makedirs(os.path.join(self.data, "bucket"))
        self.env = dict(S3_KEYS)
        self.start()
        self.url = self.at(port or self.port)
        self.litestream_url = self.url

    def at(self, port):
        return f"s3://bucket/prefix?endpoint=http://127.0.0.1:{port}&region=us-east-1&path-style=true"

    def start(self):
        env = {"ROOT_ACCESS_KEY": "testkey", "ROOT_SECRET_KEY": "testsecret"}
        argv = [peer("versitygw-1.8.0", "versitygw"), "--port", f"127.0.0.1:{self.port}", "posix", self.data]
        self.process = self.world.start(self.world.unique("s3-server"), argv, env)
        until(lambda: http_status(self.port) == 403, "the s3 server answers", 20)

    def kill(self):
        self.process.kill()
        self.process.wait()


class NatsStore:
    """A JetStream object bucket, looked into by the nats tool."""
    kind = "nats"

    def __init__(self, world):
        self.world = world
        self.nats = world.nats("store", binary=peer("nats-server-2.15.2", "nats-server"))
        self.tool = [peer("natscli-0.4.0", "nats"), "--server", f"127.0.0.1:{self.nats.port}"]
        self.url = self.litestream_url = f"nats://127.0.0.1:{self.nats.port}/ARCHIVE"
        self.env = {}
        self.fetched = 0

    def objects(self):
        out = subprocess.run([*self.tool, "object", "ls", "ARCHIVE", "--names"], capture_output=True, text=True,
                             timeout=60)
        assert out.returncode == 0, out.stderr
        return {name.strip(): name.strip() for name in out.stdout.split("\n") if "/" in name or name.strip() in
                ("manifest", "lease")}

    def fetch(self, key):
        self.fetched += 1
        path = self.world.path(f"fetched{self.fetched}")
        subprocess.run([*self.tool, "object", "get", "ARCHIVE", key, "-O", path, "--force", "--no-progress"],
                       check=True, capture_output=True, timeout=60)
        return path

    def read(self, key):
        with open(self.fetch(key), "rb") as f:
            return f.read()


def make_store(world, kind):
    return {"file": DirStore, "s3": S3Store, "nats": NatsStore}[kind](world)


def http_status(port):
    import urllib.error
    import urllib.request
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


FAST = "segment-interval: 200ms\n    levels: [1s, 2s, 4s]\n    snapshot-interval: 6s\n"


class Archiver(Process):
    """`runnel archive` with short intervals."""

    def __init__(self, world, bus, store, settings=FAST, env=None, url=None):
        self.port = free_port()
        name = world.unique("archiver")
        self.config = world.path(name + ".yml")
        with open(self.config, "w") as f:
            f.write(f"http: 127.0.0.1:{self.port}\narchives:\n  - bus: {bus}\n    archive: {url or store.url}\n"
                    f"    {settings}")
        argv = [world.runnel, "archive", "--config", self.config]
        super().__init__(world, name, argv, {**store.env, **(env or {})})
        world.processes.append(self)

    def status(self):
        answer = http_json(self.port, "/status")
        return answer["archives"][0] if answer else None

    def await_archived(self, position, seconds=60):
        def probe():
            if not self.running():
                raise AssertionError(f"{self.name} ended: {self.text()[-2000:]}")
            status = self.status()
            return status and status["archived"] == position
        until(probe, lambda: f"{self.name} at {position}: {self.status()}\n{self.text()[-2000:]}", seconds)


def cli(world, store, *args, timeout=120, env=None):
    return subprocess.run([world.runnel, *args], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **store.env, **(env or {})})


def read_manifest(data):
    """By subscriber/archive/MANIFEST.md, not by our code; the CRC is left to the unit tests."""
    assert data[:8] == b"RNLMANI1", data[:8]
    version, page_size, revision = struct.unpack(">IIQ", data[8:24])
    assert version == 1
    epoch, txid, checksum, unproven, _captured, _written, log_seq = struct.unpack(">7Q", data[40:96])
    at, texts = 96, []
    for _ in range(3):
        size, = struct.unpack(">H", data[at:at + 2])
        texts.append(data[at + 2:at + 2 + size].decode())
        at += 2 + size
    count, = struct.unpack(">I", data[at:at + 4])
    at += 4
    assert len(data) == at + 72 * count + 8
    objects = []
    for i in range(count):
        kind, level, _, pages, low, high, csum, _when, size, _file, seq, condemned = struct.unpack(
            ">BBHIQQQQQQQQ", data[at + 72 * i:at + 72 * (i + 1)])
        objects.append({"kind": kind, "level": level, "pages": pages, "min": low, "max": high, "checksum": csum,
                        "bytes": size, "seq": seq, "condemned": condemned != 0})
    return {"page_size": page_size, "revision": revision, "epoch": epoch, "txid": txid, "checksum": checksum,
            "unproven": unproven, "log_seq": log_seq, "database": texts[0], "objects": objects}


def key_of(entry, kind):
    name = f"{entry['min']:016x}-{entry['max']:016x}"
    if entry["kind"] == 2:
        return f"segments/{name}.seg"
    return (f"{entry['level']:04x}/" if kind == "s3" else f"ltx/{entry['level']}/") + name + ".ltx"


def check_archive(world, store, orphans_allowed=0):
    """The manifest and the store say the same, the segments have no hole that no snapshot bridges, and the ltx tool
    finds every LTX sound. Returns the manifest."""
    manifest = read_manifest(store.read("manifest"))
    there = store.objects()
    named = {key_of(entry, store.kind): entry for entry in manifest["objects"]}
    missing = [key for key in named if key not in there]
    assert not missing, f"named, but not there: {missing}"
    orphans = [key for key in there if key not in named and key not in ("manifest", "lease")]
    assert len(orphans) <= orphans_allowed, f"there, but not named: {orphans}"
    files = []
    for key, entry in named.items():
        path = store.fetch(key) if store.kind == "nats" else there[key]
        assert os.path.getsize(path) == entry["bytes"], (key, os.path.getsize(path), entry)
        if key.endswith(".ltx"):
            files.append(path)
    ltx = peer("ltx-0.5.3", "ltx")
    for i in range(0, len(files), 100):
        out = subprocess.run([ltx, "verify", *files[i:i + 100]], capture_output=True, text=True, timeout=300)
        assert out.returncode == 0 and "invalid" not in out.stdout.replace("0 invalid", ""), out.stdout + out.stderr
    live = [entry for entry in manifest["objects"] if not entry["condemned"]]
    snapshots = [entry["max"] for entry in live if entry["level"] == 9 and entry["kind"] == 1]
    segments = sorted((entry["max"], entry["min"]) for entry in live if entry["kind"] == 2)
    at = None
    for high, low in segments:
        ok = at is None or low <= at + 1 or any(snapshot + 1 >= low and snapshot > at for snapshot in snapshots)
        assert ok, f"segments have a hole between {at} and {low}"
        at = high
    if manifest["txid"]:
        assert manifest["txid"] in ([at] if at else []) + snapshots, (manifest["txid"], at, snapshots)
    return manifest


def litestream(store, *args, timeout=120):
    return subprocess.run([peer("litestream-0.5.18", "litestream"), *args], capture_output=True, text=True,
                          timeout=timeout, env={**os.environ, **store.env})


def checksum_of(world, path):
    """The LTX checksum of a database file's bytes."""
    return json_of(world.cli("verify", "--json", path))["checksum"]


def litestream_restore(world, store, *flags, out=None):
    """The checksum of what the stock Litestream restores; an AssertionError with its words if it does not."""
    keep, out = out, out or world.path(world.unique("restored") + ".db")
    done = litestream(store, "restore", "-o", out, *flags, litestream_config_url(store))
    assert done.returncode == 0, done.stdout + done.stderr
    checksum = checksum_of(world, out)
    if not keep:
        os.remove(out)
    return checksum


def litestream_config_url(store):
    if store.kind != "s3":
        return store.litestream_url
    return store.litestream_url.replace("path-style=true", "forcePathStyle=true")


def json_of(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
