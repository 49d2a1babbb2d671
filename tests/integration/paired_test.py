"""What an application sees with us beside it and without: the same writers, checkpointers and connections run for the
same time in both, in turns. No error that it would not have had without us, for one who waits when busy and for one who
does not; rates and worst waits are shown. Arguments: seconds a run (3), pairs (1); in full: 10 4."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import log, run  # noqa: E402

# What it is: the neighbours.
SCENES = {
    "one writer that does not wait, 1,000 a second": [("ins", "busy=0", "rate=1000")],
    "one writer that does not wait, with transactions that spill": [("big", "busy=0")],
    "a connection opened and closed around each commit, not waiting": [("churn", "busy=0")],
    "long readers beside a writer that does not wait": [("ins", "busy=0", "rate=500"), ("reader",), ("reader",)],
    "three writers and schema changes that wait": [("ins", "busy=10000", "rate=500"), ("mix", "busy=10000"),
                                                   ("big", "busy=10000"), ("ddl", "busy=10000")],
    "writers that wait beside checkpoints of all kinds": [("ins", "busy=10000", "rate=500"), ("mix", "busy=10000"),
                                                          ("ckpt",), ("churn", "busy=10000")],
}


def play(world, scene, seconds, published):
    """One run on a database of its own: {neighbour: its report}, and the publisher's status."""
    source = world.path(world.unique("app") + ".db")
    assert world.app(source, "init", "rows=200").wait() == 0
    publisher = None
    if published:
        publisher = world.publisher(source, world.file_bus(world.unique("log")))
        publisher.await_publishing()
    apps = [world.app(source, *words, f"secs={seconds}", f"seed={n}") for n, words in enumerate(SCENES[scene], start=1)]
    reports = []
    for app in apps:
        assert app.wait(seconds + 60) == 0, app.text()
        line = app.text().strip().splitlines()[-1]
        found = dict(re.findall(r"(\w+)=([\d.]+)", line))
        reports.append({"mode": line.split()[0], "line": line, **{key: float(value) for key, value in found.items()}})
    status = None
    if publisher:
        subscriber = world.subscriber(publisher.argv[-1], world.path(world.unique("replica") + ".db"))
        world.assert_equal(source, publisher, subscriber)
        status = publisher.status()
        publisher.stop()
        subscriber.stop()
    return reports, status


def errors(reports):
    """BUSY and other failures of everybody but the checkpointer, whose BUSY means that others were at work."""
    return (sum(r["busy"] for r in reports if r["mode"] != "ckpt"), sum(r["failed"] for r in reports))


def saturated(world, seconds):
    """The one place where we may be felt: a writer that never pauses nor waits meets the forced end of a checkpoint."""
    for published in (False, True):
        source = world.path(world.unique("hot") + ".db")
        assert world.app(source, "init", "rows=200").wait() == 0
        publisher = world.publisher(source, world.file_bus(world.unique("hot"))) if published else None
        if publisher:
            publisher.await_publishing()
        app = world.app(source, "ins", "busy=0", f"secs={seconds}")
        assert app.wait(seconds + 60) == 0, app.text()
        forced = publisher.status()["forced_checkpoints"] if publisher else 0
        busy, failed = errors([{"mode": "ins", **{k: float(v) for k, v in re.findall(r"(\w+)=([\d.]+)", app.text())}}])
        log(f"saturated, {'with' if published else 'without'} us: {app.text().strip()}, {forced} forced checkpoints")
        assert failed == 0, app.text()
        if not published:
            assert busy == 0, app.text()
        # Each forced end holds the write lock for a few milliseconds; who tries again at once counts each try.
        elif busy:
            assert forced > 0, app.text()
        if publisher:
            publisher.stop()


def main(world):
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for scene in SCENES:
        for _ in range(pairs):
            without, _ = play(world, scene, seconds, False)
            beside, status = play(world, scene, seconds, True)
            shown = [(int(r["commits"]), r.get("max", 0) / 1000) for r in without], \
                    [(int(r["commits"]), r.get("max", 0) / 1000) for r in beside]
            log(f"{scene}: (commits, worst ms) without {shown[0]} with {shown[1]}; "
                f"BUSY, failed {errors(without)} and {errors(beside)}; forced {status['forced_checkpoints']}")
            assert errors(beside)[1] == 0, [r["line"] for r in beside]
            if errors(without)[0] == 0:
                assert errors(beside)[0] == 0, [r["line"] for r in beside]
    saturated(world, seconds)
    log("no neighbour saw an error that it would not have seen without us")


run(main)
