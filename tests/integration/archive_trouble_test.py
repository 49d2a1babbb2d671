"""The archive's store in trouble: killed, slow, answering 500 and 503, cutting connections, refusing the credentials;
and two archivers at once, a rival's lease, an archive of something else. The archiver says what is wrong, harms
nothing, and continues."""
import os
import shutil
import socket
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from archive_world import Archiver, DirStore, S3Store, check_archive, cli, litestream_restore  # noqa: E402
from harness import free_port, log, run, until  # noqa: E402


class Proxy:
    """Between the archiver and the server; `mode` says what it does to each connection."""

    def __init__(self, target):
        self.port, self.target, self.mode, self.hits = free_port(), target, "pass", 0
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        mode = self.mode
        try:
            if mode in ("500", "503"):
                self.hits += 1
                client.recv(65536)
                body = b"<Error><Code>SlowDown</Code><Message>not now</Message></Error>"
                client.sendall(b"HTTP/1.1 %s Trouble\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                               % (mode.encode(), len(body), body))
                client.close()
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self.pump, args=(client, server, mode, "up"), daemon=True).start()
            self.pump(server, client, mode, "down")
        except OSError:
            client.close()

    def pump(self, source, sink, mode, way):
        passed = 0
        try:
            while data := source.recv(16384):
                passed += len(data)
                if mode == "slow":
                    time.sleep(0.05)
                if mode == "cut" and passed > 40000:
                    self.hits += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def s3_trouble(world, bus, writer, publisher):
    store = S3Store(world)
    proxy = Proxy(store.port)
    archiver = Archiver(world, bus, store, url=store.at(proxy.port))
    archiver.await_archived(world.await_drained(publisher), 60)
    for mode in ("500", "503", "cut", "slow"):
        proxy.mode = mode
        end = time.monotonic() + 3
        while time.monotonic() < end:
            writer.execute("INSERT INTO t(a, b) VALUES(1, randomblob(20000))")
            time.sleep(0.02)
        assert archiver.running(), archiver.text()[-2000:]
        proxy.mode = "pass"
        archiver.await_archived(world.await_drained(publisher), 120)
        log(f"after {mode}: {proxy.hits} hits, {archiver.status()['errors']} errors")
    assert proxy.hits > 3
    store.kill()
    writer.execute("INSERT INTO t(a, b) VALUES(2, randomblob(100))")
    until(lambda: archiver.status()["trouble"], "the archiver says that the store is away", 90)
    assert str(proxy.port) in archiver.status()["trouble"], archiver.status()
    store.start()
    position = world.await_drained(publisher)
    archiver.await_archived(position, 120)
    assert archiver.stop() == 0
    manifest = check_archive(world, store)
    assert litestream_restore(world, store) == position[17:]
    log(f"the server was killed and came back: {len(manifest['objects'])} objects, all sound")
    wrong = cli(world, store, "archive", bus, store.url, "--once", env={"AWS_SECRET_ACCESS_KEY": "s3cr3tno"})
    assert wrong.returncode == 2, (wrong.returncode, wrong.stderr)
    assert "bucket" in wrong.stderr and "s3cr3tno" not in wrong.stderr, wrong.stderr
    log(wrong.stderr.strip().splitlines()[-1])
    absent = cli(world, store, "archive", bus, store.url.replace("bucket/", "nobucket/"), "--once")
    assert absent.returncode == 2 and "nobucket" in absent.stderr, (absent.returncode, absent.stderr)
    log(absent.stderr.strip().splitlines()[-1])


def rivals(world, bus, writer, publisher):
    store = DirStore(world)
    first = Archiver(world, bus, store)
    first.await_archived(world.await_drained(publisher))
    second = Archiver(world, bus, store)
    until(lambda: (s := second.status()) and s["state"] == "waiting", lambda: f"the second waits: {second.text()}", 30)
    assert "is being written by" in second.status()["trouble"], second.status()
    once = cli(world, store, "archive", bus, store.url, "--once")
    assert once.returncode == 1 and "is being written by" in once.stderr, (once.returncode, once.stderr)
    # A snapshot that is asked for takes the lease; the archiver goes on afterwards.
    writer.execute("INSERT INTO t(a, b) VALUES(3, randomblob(100))")
    position = world.await_drained(publisher)
    taken = cli(world, store, "snapshot", "--json", bus, store.url)
    assert taken.returncode == 0 and position in taken.stdout, (taken.returncode, taken.stdout, taken.stderr)
    writer.execute("INSERT INTO t(a, b) VALUES(3, randomblob(100))")
    position = world.await_drained(publisher)
    until(lambda: any(a.status()["archived"] == position for a in (first, second)), lambda:
          f"one of them goes on: {first.status()} {second.status()}", 120)
    # kill -9 of both at once; the next takes over at once, their process is gone.
    for archiver in (first, second):
        archiver.kill()
        archiver.wait()
    third = Archiver(world, bus, store)
    writer.execute("INSERT INTO t(a, b) VALUES(4, randomblob(100))")
    position = world.await_drained(publisher)
    third.await_archived(position, 20)
    assert third.stop() == 0
    check_archive(world, store)
    assert litestream_restore(world, store) == position[17:]
    log("rivals did no harm")
    return store


def refusals(world, bus, writer, publisher, store):
    """What would mix histories is refused with exit code 3 and changes nothing."""
    other_source = world.create("other.db")
    other_bus = world.file_bus("other")
    other = world.publisher(other_source, other_bus)
    world.await_drained(other)
    before = {key: store.read(key) for key in store.objects() if key != "lease"}
    mixed = cli(world, store, "archive", other_bus, store.url, "--once")
    assert mixed.returncode == 3 and '"app"' in mixed.stderr, (mixed.returncode, mixed.stderr)
    assert publisher.stop() == 0
    again = world.publisher(world.path("app.db"), bus, "--new-lineage")
    world.await_drained(again)
    for _ in range(2):
        cut = cli(world, store, "archive", bus, store.url, "--once")
        assert cut.returncode == 3 and "lineage" in cut.stderr, (cut.returncode, cut.stderr)
    log(cut.stderr.strip().splitlines()[-1])
    foreign = DirStore(world)
    foreign.root = world.path("litestream")
    foreign.url = foreign.litestream_url = "file://" + foreign.root
    shutil.copytree(os.path.join(store.root, "ltx"), os.path.join(foreign.root, "ltx"))
    refused = cli(world, foreign, "archive", bus, foreign.url, "--once")
    assert refused.returncode == 3 and "no manifest" in refused.stderr, (refused.returncode, refused.stderr)
    after = {key: store.read(key) for key in store.objects() if key not in ("lease", "manifest")}
    assert all(after[key] == data for key, data in before.items() if key != "manifest")
    # The new history has a place of its own.
    fresh = DirStore(world)
    fresh.root = world.path("fresh")
    fresh.url = fresh.litestream_url = "file://" + fresh.root
    done = cli(world, fresh, "archive", bus, fresh.url, "--once")
    assert done.returncode == 0, done.stderr
    assert litestream_restore(world, fresh) == world.await_drained(again)[17:]
    log("other databases, lineages and archives are refused")


def main(world):
    bus = world.file_bus()
    source = world.create()
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    writer = sqlite3.connect(source, isolation_level=None, timeout=30)
    writer.execute("INSERT INTO t(a, b) VALUES(0, randomblob(100))")
    store = rivals(world, bus, writer, publisher)
    s3_trouble(world, bus, writer, publisher)
    refusals(world, bus, writer, publisher, store)


run(main)
