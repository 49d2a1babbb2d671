"""What a restore refuses, and what it leaves behind then: nothing. Outputs that are there, TXIDs that are not, damaged
objects, wrong credentials, full disks, sources that do not belong together."""
import json
import os
import shutil
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import Skip, log, run  # noqa: E402
from restore_world import directory_place, file_sha, restore, run_cli, s3_place  # noqa: E402


def write(path, count=5, size=3000):
    db = sqlite3.connect(path, isolation_level=None)
    for n in range(count):
        db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(?))", (n, size))
    db.close()


def archived(world, place, name="app"):
    """A log and its archive; the writer is gone. Returns the bus and the last position."""
    source, bus = world.create(f"{name}.db"), world.file_bus(name)
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    for _ in range(4):
        write(source)
        position = world.await_drained(publisher)
        done = run_cli(world, place, "archive", bus, place.url, "--once")
        assert done.returncode == 0, done.stderr
    publisher.stop()
    return bus, position


def leaves_nothing(world, out):
    left = [name for name in os.listdir(os.path.dirname(out)) if os.path.basename(out) in name]
    assert left == [], left


def outputs(world, place):
    out = world.path("out/app.db")
    os.mkdir(os.path.dirname(out))
    restore(world, place, place.url, out=out)
    before = file_sha(out)
    text, _ = restore(world, place, place.url, out=out, code=3)
    assert "--force" in text and file_sha(out) == before, text
    restore(world, place, place.url, "--force", out=out)
    assert file_sha(out) == before
    for suffix in ("-wal", "-journal", "-shm"):
        with open(out + suffix, "wb") as f:
            f.write(b"of another database")
        text, _ = restore(world, place, place.url, "--force", out=out, code=3)
        assert out + suffix in text and file_sha(out) == before, text
        os.remove(out + suffix)
    assert os.listdir(os.path.dirname(out)) == ["app.db"]
    assert run_cli(world, place, "restore", place.url).returncode == 2, "no output"
    assert run_cli(world, place, "restore", place.url, "-o", world.path("no/such/dir.db")).returncode == 2
    plan = json.loads(run_cli(world, place, "restore", place.url, "--dry-run", "--json").stdout)
    assert plan["steps"] and plan["steps"][0]["after"] == "0" * 16, plan
    log("outputs are kept, and replaced only when asked for")


def targets(world, place, position):
    newest = int(position[:16], 16)
    text, out = restore(world, place, place.url, "--txid", f"{newest + 5:016x}", code=1)
    assert position[:16] in text and "nearest before" in text, text
    leaves_nothing(world, out)
    text, _ = restore(world, place, place.url, "--timestamp", "2001-01-01T00:00:00Z", code=1)
    assert "nothing that old" in text, text
    restore(world, place, place.url, "--txid", "12", code=2)
    restore(world, place, place.url, "--timestamp", "yesterday", code=2)
    text, _ = restore(world, place, f"file://{world.path('nowhere')}", code=1)
    assert "no archive" in text, text
    log("targets that cannot be reached are told with those around them")


def damage(world, place, bus):
    """A flipped bit anywhere in what is read is found, or was of no consequence: the same bytes come out."""
    good_report, out = restore(world, place, place.url)
    good = file_sha(out)
    refused = unharmed = 0
    for folder, _, names in sorted(os.walk(place.root)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.endswith((".ltx", ".seg")) and name != "manifest":
                continue
            with open(path, "rb") as f:
                data = f.read()
            for at in sorted({0, 5, 40, len(data) // 3, len(data) // 2, len(data) - 20, len(data) - 1}):
                flipped = bytearray(data)
                flipped[at] ^= 0x10
                with open(path, "wb") as f:
                    f.write(flipped)
                damaged = world.path("damaged.db")
                done = run_cli(world, place, "restore", place.url, "-o", damaged, "--txid", good_report["txid"])
                if done.returncode == 0:
                    assert file_sha(damaged) == good, f"{path} byte {at}: another image was restored"
                    os.remove(damaged)
                    unharmed += 1
                else:
                    assert done.returncode == 1 and not os.path.exists(damaged), (path, at, done.stderr)
                    refused += 1
            with open(path, "wb") as f:
                f.write(data)
    assert refused > 3, (refused, unharmed)
    # A damaged archive beside a log that has everything: the log alone does it.
    restore(world, place, bus)
    log(f"flipped bits: {refused} refused, {unharmed} of no consequence for this restore")


def other_histories(world, place, bus):
    other_bus, _ = archived(world, directory_place(world, "other-archive"), "other")
    text, out = restore(world, place, place.url, other_bus, code=3)
    assert "lineage" in text, text
    leaves_nothing(world, out)
    text, _ = restore(world, place, place.url, directory_place(world, "other-archive").url, code=2)
    assert "two archives" in text, text
    log("an archive and a log of different histories are not put together")


def credentials(world):
    place = s3_place(world)
    archived(world, place, "s3app")
    report, out = restore(world, place, place.url)
    assert report["archive_objects"] > 0
    right = place.env
    # This server answers 404 to a key id it does not know: failed, not misconfigured.
    for key, code in (("AWS_SECRET_ACCESS_KEY", 2), ("AWS_ACCESS_KEY_ID", 1)):
        place.env = {**right, key: "wrong"}
        text, out = restore(world, place, place.url, code=code)
        assert "testsecret" not in text and "s3://bucket" in text, text
        assert "Signature" in text or "access key" in text, text
        leaves_nothing(world, out)
    # What the configuration says is used, whatever the environment says; wrong there is wrong.
    for secret, code in (("testsecret", 0), ("wrong", 2)):
        config = world.path("keys.yml")
        with open(config, "w") as f:
            f.write("defaults:\n  archive-credentials:\n    access-key-id: testkey\n"
                    f"    secret-access-key: {secret}\n")
        restore(world, place, place.url, "--config", config, code=code)
    place.env = right
    log("credentials of the environment and of the configuration are used; wrong ones are said to be that")


def full_disk(world, place):
    small = world.path("small")
    os.mkdir(small)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "runnel-test", small], capture_output=True)
    if mounted.returncode != 0:
        raise Skip("a small file system cannot be mounted here (root only)")
    try:
        text, out = restore(world, place, place.url, out=os.path.join(small, "app.db"), code=1)
        assert "no room" in text or "No space" in text, text
        leaves_nothing(world, out)
    finally:
        subprocess.run(["umount", "-l", small])
    log("a disk that is too small is said before the work")


def main(world):
    place = directory_place(world)
    bus, position = archived(world, place)
    outputs(world, place)
    targets(world, place, position)
    damage(world, place, bus)
    other_histories(world, place, bus)
    shutil.rmtree(world.path("out"))
    credentials(world)
    full_disk(world, place)


run(main)
