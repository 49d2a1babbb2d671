"""What tests of restores share: places for archives of every kind, a writer that remembers each image it made, and the
judgement of restored files."""
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import free_port, peer, until  # noqa: E402
from nats_raw import RawNats  # noqa: E402


class Place:
    """Where an archive lies: its URL, what the environment must say, and its files if it has any."""

    def __init__(self, url, env=None, root=None):
        self.url, self.env, self.root = url, env or {}, root


def directory_place(world, name="archive"):
    return Place(f"file://{world.path(name)}", root=world.path(name))


def s3_place(world):
    """A bucket of versitygw; its objects are files of a directory."""
    data, port = world.path("s3"), free_port()
    os.makedirs(os.path.join(data, "bucket"))
    server = peer("versitygw-1.8.0", "versitygw")
    world.start("versitygw", [server, "--port", f"127.0.0.1:{port}", "posix", data],
                {"ROOT_ACCESS_KEY": "testkey", "ROOT_SECRET_KEY": "testsecret"})

    def answers():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None
    until(answers, "the S3 server answers", 30)
    url = f"s3://bucket/db?endpoint=http://127.0.0.1:{port}&region=us-east-1&path-style=true"
    return Place(url, {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"},
                 os.path.join(data, "bucket", "db"))


def nats_place(world, binary=None):
    """An object bucket, made the way any client makes one; Litestream wants it to be there."""
    nats = world.nats(world.unique("store"), binary=binary)
    answer = RawNats(nats.port).api("STREAM.CREATE.OBJ_ARCHIVE", json.dumps({
        "name": "OBJ_ARCHIVE", "subjects": ["$O.ARCHIVE.C.>", "$O.ARCHIVE.M.>"], "retention": "limits",
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "discard": "new", "max_age": 0, "storage": "file",
        "num_replicas": 1, "allow_rollup_hdrs": True, "allow_direct": True}).encode())
    assert "error" not in answer, answer
    return Place(f"nats://127.0.0.1:{nats.port}/ARCHIVE")


def run_cli(world, place, *args, timeout=300):
    env = {**os.environ, **(place.env if place else {})}
    return subprocess.run([world.runnel, *args], capture_output=True, text=True, timeout=timeout, env=env)


def restore(world, place, *args, code=0, out=None):
    """Runs runnel restore; returns (what it printed as JSON, the file)."""
    out = out or world.path(world.unique("restored"))
    done = run_cli(world, place, "restore", "--json", "-o", out, *args)
    assert done.returncode == code, f"restore {args}: {done.returncode} {done.stdout}{done.stderr[-2000:]}"
    return (json.loads(done.stdout), out) if code == 0 else (done.stderr, out)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def file_sha(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


class Recorder:
    """Remembers what the source was at each TXID: the SHA-256 of its image as SQLite itself reads it, and now and then
    the moment at which that commit was the newest one. TXIDs are counted, not asked for: each commit is one."""

    def __init__(self, source, publisher):
        self.publisher = publisher
        self.hashes, self.moments = {}, []
        # Autocommit, and never a writer: what serialize() returns is the image of one commit.
        self.db = sqlite3.connect(f"file:{source}?mode=ro", uri=True, isolation_level=None)
        self.txid = until(self.published, "the first snapshot is in the log", 60)
        self.hashes[f"{self.txid:016x}"] = self.image_sha()

    def published(self):
        status = self.publisher.status()
        return status and int(status["published"][:16], 16)

    def image_sha(self):
        return sha(self.db.serialize())

    def record(self, moment=False):
        """After each commit: waits until the publisher has it in the log. Returns its TXID."""
        image = self.image_sha()
        self.txid += 1
        txid = f"{self.txid:016x}"
        newest = until(lambda: (newest := self.published()) and newest >= self.txid and newest,
                       lambda: f"{txid} published: {self.publisher.status()}", 120, 0.002)
        assert newest == self.txid, f"one commit more became {newest:016x}, not {txid}"
        self.hashes[txid] = image
        if moment:
            self.moments.append((time.time(), txid))
        return txid


def timestamp(moment):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1e6):06d}Z"


def judge(report, out, txid, image):
    """The restored file is the image of that TXID, byte for byte."""
    assert report["txid"] == txid, (report, txid)
    found = file_sha(out)
    assert found == image, f"{out} is not the image of {txid}: {found}, expected {image}; {report}"
    os.remove(out)


def looks_exact(replica, recorder):
    """What a reader sees right now is one of the images that the source had."""
    if not os.path.exists(replica):
        return False
    db = sqlite3.connect(f"file:{replica}?mode=ro", uri=True, isolation_level=None)
    try:
        image = sha(db.serialize())
    except sqlite3.OperationalError as error:
        assert "busy" in str(error) or "locked" in str(error) or "unable to open" in str(error), error
        return False
    finally:
        db.close()
    assert image in recorder.hashes.values(), f"{replica} shows an image that the source never was"
    return True
