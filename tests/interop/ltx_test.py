"""The LTX format's own tool judges what runnel writes, and runnel reads what that tool writes: every LTX file of a log,
for small, usual and large pages, taken from the bus by its documented messages."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from foreign_log import CHUNK, COMMITS, ltx_files  # noqa: E402
from harness import log, peer, run, until  # noqa: E402
from nats_raw import RawNats  # noqa: E402
from workload import SCHEMA, Workload  # noqa: E402


def call(*argv, code=0):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{' '.join(argv[:4])}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def published(world, nats, page_size, steps):
    """A log of random commits: (the source's image, its position, its LTX files in a directory, oldest first)."""
    name = f"p{page_size}"
    source = world.create(f"{name}.db", page_size, page_size % 3, SCHEMA)
    publisher = world.publisher(source, nats.url(name))
    publisher.await_publishing()
    workload = Workload(source, page_size)
    # Larger than a message of a stock server may be: one LTX file in several chunks.
    workload.commit(("INSERT INTO t(a, b) VALUES(1, randomblob(5000000))",))
    for _ in range(steps):
        workload.step()
    # Many commits that come at once share a message, and their files are packed, once a try in vain is long enough ago.
    publisher.kill(signal.SIGSTOP)
    for _ in range(50):
        workload.commit(("INSERT INTO t(a, b) VALUES(1, randomblob(20))",))
    until(lambda later=time.monotonic() + 0.2: time.monotonic() >= later, "no try is held back any more", 5)
    publisher.kill(signal.SIGCONT)
    position = world.await_drained(publisher)
    files, kinds = ltx_files(RawNats(nats.port), name)
    assert kinds.get(CHUNK, 0) > 2 and kinds.get(COMMITS, 0) > 2 and kinds["packed"] > 0, kinds
    paths, expected = [], 1
    os.mkdir(world.path(f"{name}-ltx"))
    for low, high, data in files:
        assert low == expected or low == 1, f"{low} after {expected - 1}"
        expected = high + 1
        paths.append(write(world.path(f"{name}-ltx/{low:016x}-{high:016x}.ltx"), data))
    assert int(position[:16], 16) == expected - 1, (position, expected)
    publisher.stop()
    # The file itself, not a backup of it: SQLite gives a backup counters of its own.
    workload.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    workload.db.close()
    return read(source), position, paths


def judged_by_ltx(world, ltx, page_size, image, position, paths):
    applied = world.path(f"ltx-{page_size}.db")
    assert call(ltx, "verify", *paths).strip() == "ok"
    call(ltx, "apply", "-db", applied, *paths)
    assert read(applied) == image, "what ltx applies is not the source"
    assert call(ltx, "checksum", applied).strip() == position[17:], position
    # Both tools read the same out of every header and trailer.
    theirs = [line.split("\t") for line in call(ltx, "list", "-tsv", *paths).strip().splitlines()]
    column = {title.strip(): index for index, title in enumerate(theirs[0])}
    ours = json.loads(call(world.runnel, "ltx", "list", "--json", *paths))
    assert len(ours) == len(theirs) - 1 == len(paths)
    for row, facts in zip(theirs[1:], ours):
        for title, key in (("min_txid", "min_txid"), ("max_txid", "max_txid"), ("commit", "commit"), ("pages", "pages"),
                           ("preapply", "pre_apply_checksum"), ("postapply", "post_apply_checksum"),
                           ("wal_offset", "wal_offset"), ("wal_size", "wal_bytes")):
            assert row[column[title]].strip() == str(facts[key]), (title, row, facts)
    for path, facts in zip(paths, ours):
        assert f"{facts['max_txid']}" in call(ltx, "dump", path)
    # Compacted by us: still one exact database for them.
    compacted = world.path(f"compacted-{page_size}.ltx")
    call(world.runnel, "ltx", "compact", "-o", compacted, *paths)
    assert call(ltx, "verify", compacted).strip() == "ok"
    call(ltx, "apply", "-db", applied + ".compacted", compacted)
    assert read(applied + ".compacted") == image, "what ltx applies of our compaction is not the source"


def applied_by_runnel(world, page_size, image, paths):
    applied = world.path(f"runnel-{page_size}.db")
    call(world.runnel, "ltx", "verify", *paths)
    call(world.runnel, "ltx", "apply", "--db", applied, *paths)
    assert read(applied) == image, "what runnel applies is not the source"


def written_by_ltx(world, ltx, page_size, image, position):
    """The other way: a snapshot that the foreign tool wrote."""
    source = write(world.path(f"image-{page_size}.db"), image)
    snapshot = world.path(f"foreign-{page_size}.ltx")
    call(ltx, "encode-db", "-o", snapshot, source)
    assert "1 ok" in call(world.runnel, "ltx", "verify", snapshot)
    facts = json.loads(call(world.runnel, "ltx", "dump", "--json", snapshot))
    assert facts["page_size"] == page_size and facts["commit"] * page_size == len(image), facts
    assert facts["post_apply_checksum"] == position[17:], (facts["post_apply_checksum"], position)
    assert len(facts["page_list"]) == facts["pages"] == facts["commit"]
    call(world.runnel, "ltx", "apply", "--db", source + ".applied", snapshot)
    assert read(source + ".applied") == image, "what runnel applies of a foreign snapshot is not the source"


def damage_is_seen_by_both(world, ltx, path):
    data = bytearray(read(path))
    data[len(data) // 2] ^= 1
    damaged = write(world.path("damaged.ltx"), bytes(data))
    assert "1 invalid" in call(ltx, "verify", damaged, code=1)
    assert "1 damaged" in call(world.runnel, "ltx", "verify", damaged, code=1)


def main(world):
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    ltx = peer("ltx-0.5.3", "ltx")
    nats = world.nats()
    for page_size in (512, 4096, 65536):
        image, position, paths = published(world, nats, page_size, steps)
        judged_by_ltx(world, ltx, page_size, image, position, paths)
        applied_by_runnel(world, page_size, image, paths)
        written_by_ltx(world, ltx, page_size, image, position)
        damage_is_seen_by_both(world, ltx, paths[-1])
        log(f"page size {page_size}: {len(paths)} LTX files, {len(image)} bytes, one image for both tools")


run(main)
