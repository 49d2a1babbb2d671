"""The publisher's side under bad input: files that are no databases, wrong flags and configuration, a second publisher, the file
deleted under it, signals, --exec. Each time one sentence that says what to do and the documented exit code."""
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import free_port, http_json, log, run, until  # noqa: E402


def expect(done, code, *parts):
    """The process ended with this code, and its last line of stderr is one sentence of ours with all of `parts`."""
    line = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    assert done.returncode == code, f"exit code {done.returncode}, not {code}: {done.args}\n{done.stdout}{done.stderr}"
    assert line.startswith("runnel: "), done.stderr
    for part in parts:
        assert part in line, f"\"{part}\" is not in: {line}"


def no_databases(world):
    def publish(path):
        return world.cli("publish", "--http", "off", path, world.file_bus(), timeout=20)

    def make(name, data):
        with open(world.path(name), "wb") as f:
            f.write(data)
        return world.path(name)

    expect(publish(make("text.db", b"hello, this is a text file\n" * 100)), 3, "text.db: is not a SQLite database", "check the path")
    expect(publish(make("empty.db", b"")), 3, "is an empty file", "let the application create it first")
    whole = open(world.create("whole.db"), "rb").read()
    expect(publish(make("cut.db", whole[:60])), 3, "is not a SQLite database")
    expect(publish(world.path("missing.db")), 1, "missing.db: no such database file", "let the application create it first")
    expect(publish(world.dir), 3, "is not a file")
    rollback = world.path("rollback.db")
    with sqlite3.connect(rollback) as db:
        db.execute("CREATE TABLE t(a)")
    done = publish(rollback)
    expect(done, 3, "rollback-journal mode", "PRAGMA journal_mode=WAL")
    # The sentence's command is the remedy.
    command = done.stderr.strip().splitlines()[-1].split("'")
    with sqlite3.connect(command[1]) as db:
        db.execute(command[3])
    publisher = world.publisher(rollback, world.file_bus("rollback"))
    publisher.await_publishing()
    assert publisher.stop() == 0
    for name in ("text.db", "empty.db", "cut.db", "missing.db"):
        assert not os.path.exists(world.path(name) + "-runnel"), f"{name}: something was left beside what is no database"
    log("what is no database is refused with a sentence, and nothing is left beside it")


def usage(world):
    path, bus = world.create("usage.db"), world.file_bus()
    expect(world.cli("publsh", path, bus), 2, 'unknown verb "publsh"', 'did you mean "publish"')
    expect(world.cli("frobnicate"), 2, 'unknown verb "frobnicate"', "the verbs are publish, subscribe")
    expect(world.cli(), 2, "no verb given", "publish")
    expect(world.cli("publish", "--bogus", path, bus), 2, "--bogus", "runnel publish --help")
    expect(world.cli("--log-level", "loud", "status", bus), 2, "loud")
    expect(world.cli("publish", path), 2, "needs a BUS too")
    expect(world.cli("publish"), 2, "nothing to publish")
    expect(world.cli("subscribe"), 2, "nothing to subscribe to")
    expect(world.cli("publish", path, "nats:/x"), 2, "bus url", "nats://host/NAME")
    expect(world.cli("publish", path, "carrier-pigeon://host/app"), 2, "bus url", "nats")
    expect(world.cli("publish", path, "nats://127.0.0.1/a%20b"), 2, "bus url", "NAME")
    expect(world.cli("subscribe", "file:///", path), 2, "bus url")
    expect(world.cli("wait", path, "--txid", "zz"), 2, "--txid zz")
    expect(world.cli("wait", path, "--txid", "1", "--timeout", "5parsec"), 2, "5parsec", "500ms")
    expect(world.cli("publish", "--http", "nowhere", path, bus), 2, "nowhere", "--http")
    log("usage errors say what was wrong and what is possible")


def configuration(world):
    def with_config(text, **env):
        with open(world.path("bad.yml"), "w") as f:
            f.write(text)
        return subprocess.run([world.runnel, "--config", world.path("bad.yml"), "publish"], capture_output=True, text=True, timeout=20,
                              env={**os.environ, **env})

    entry = f"dbs:\n  - path: {world.create('config.db')}\n    bus: {world.file_bus()}\n"
    expect(with_config(entry + "    heartbeat-intervall: 1s\n"), 2, "bad.yml:4", 'unknown key "heartbeat-intervall"', 'did you mean "heartbeat-interval"')
    expect(with_config(entry + "    heartbeat-interval: 10x\n"), 2, "bad.yml:4", '"10x" is not a duration', "500ms")
    expect(with_config(entry + "    wal-limit: 7 quarts\n"), 2, "bad.yml:4", "is not a size", "64MiB")
    expect(with_config(entry + "    detect: guess\n"), 2, "bad.yml:4", "guess", "inotify")
    expect(with_config(entry + "    checkpoint: sometimes\n"), 2, "bad.yml:4", "sometimes")
    expect(with_config("dbs:\n  - path: x.db\n"), 2, "bad.yml:2", "bus")
    expect(with_config("dbs:\n  - path: x.db\n    bus: nats://host\n"), 2, "bad.yml:3", "NAME")
    expect(with_config("dbs:\n  - path: ${NO_SUCH_VARIABLE}/x.db\n    bus: file:///tmp/x\n"), 2, "bad.yml:2", "NO_SUCH_VARIABLE is not set")
    expect(with_config("dbs: [\n"), 2, "bad.yml")
    expect(with_config("dbs:\n"), 2, "nothing to publish")
    done = with_config("defaults:\n  wal-limit: many\nhtpp: off\n" + entry + "    publish: maybe\n")
    expect(done, 2, "bad.yml:2", "bad.yml:3", 'did you mean "http"', "bad.yml:7")
    expect(world.cli("--config", world.path("none.yml"), "publish"), 2, "none.yml")
    log("every configuration error is told with its line, all at once")


def second_publisher(world):
    source, bus = world.create("two.db"), world.file_bus("two")
    first = world.publisher(source, bus)
    first.await_publishing()
    expect(world.cli("publish", "--http", "off", source, bus, timeout=20), 3, "is being published already", f"process {first.popen.pid}")
    # Another log makes no difference: the page table beside the database is one publisher's.
    expect(world.cli("publish", "--http", "off", source, world.file_bus("elsewhere"), timeout=20), 3, f"process {first.popen.pid}")
    epoch = first.status()["epoch"]
    with sqlite3.connect(source) as db:
        db.execute("INSERT INTO t(a) VALUES(1)")
    world.await_drained(first)
    assert first.running() and first.status()["epoch"] == epoch and first.status()["leaderships"] <= 1, first.status()
    # A killed one leaves no lock behind.
    first.kill()
    first.wait()
    world.publisher(source, bus).await_publishing()
    log("a second publisher of one database is refused and does not disturb the first")


def replaced_database(world):
    source, bus = world.create("gone.db"), world.file_bus("gone")
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(source + suffix):
            os.remove(source + suffix)
    world.create("gone.db", sql="CREATE TABLE other(x)")
    assert publisher.wait(20) == 3, publisher.text()
    assert "while it was captured" in publisher.text() and "start the publisher again" in publisher.text(), publisher.text()
    again = world.cli("publish", "--http", "off", source, bus, timeout=20)
    expect(again, 3, "--new-lineage")
    world.publisher(source, bus, "--new-lineage").await_publishing()
    log("a database that is deleted and made again under the publisher is refused, --new-lineage goes on")


def read_only_directory(world):
    """The state directory cannot be made: said, and gone on with when it can. As an ordinary user: root may write anywhere."""
    directory = world.path("sealed")
    os.mkdir(directory)
    source = world.create("sealed/app.db")
    application = sqlite3.connect(source, isolation_level=None)
    application.execute("INSERT INTO t(a) VALUES(1)")  # -wal and -shm are there
    user = 65534 if os.getuid() == 0 else os.getuid()
    os.chmod(world.dir, 0o755)
    os.mkdir(world.path("bus"), 0o777) if not os.path.exists(world.path("bus")) else None
    os.chmod(world.path("bus"), 0o777)
    for name in os.listdir(directory):
        os.chmod(os.path.join(directory, name), 0o666)
    os.chmod(directory, 0o555)
    port = free_port()
    log_path = world.path("sealed.log")
    with open(log_path, "w") as out:
        process = subprocess.Popen([world.runnel, "publish", "--http", f"127.0.0.1:{port}", source, world.file_bus("sealed")],
                                   stdout=out, stderr=out, user=user, start_new_session=True)
    try:
        def state():
            answer = http_json(port, "/status")
            return answer and answer["databases"][0]
        trouble = until(lambda: (s := state()) and s["trouble"], lambda: open(log_path).read(), 20)
        assert "app.db-runnel" in trouble and "Permission denied" in trouble, trouble
        assert process.poll() is None
        os.chmod(directory, 0o777)
        until(lambda: (s := state()) and s["state"] == "publishing", lambda: open(log_path).read(), 20)
    finally:
        os.chmod(directory, 0o777)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        application.close()
    log("a directory that cannot be written is said, and waited for")


def ends(world):
    source, bus = world.create("ends.db"), world.file_bus("ends")
    for sig, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        publisher = world.publisher(source, bus)
        publisher.await_publishing()
        subscriber = world.subscriber(bus, world.path("ends-replica.db"))
        subscriber.await_position(world.await_drained(publisher))
        for process in (publisher, subscriber):
            start = time.monotonic()
            process.kill(sig)
            assert process.wait(10) == code, process.text()
            took = time.monotonic() - start
            assert took < 1.0, f"{process.name}: {took:.2f} s to end when idle"
    # What was committed before the signal is in the log afterwards.
    publisher = world.publisher(source, bus)
    publisher.await_publishing()
    with sqlite3.connect(source) as db:
        for n in range(50):
            db.execute("INSERT INTO t(a) VALUES(?)", (n,))
            db.commit()
    assert publisher.stop() == 0
    assert "unpublished_commits=0" in publisher.text(), publisher.text()
    subscriber = world.subscriber(bus, world.path("ends-replica.db"))
    until(lambda: world.image(world.path("ends-replica.db")) == world.image(source), "the replica has all that was drained", 20)
    log("SIGTERM drains and ends with 0, SIGINT with 130, idle within a second")


def application(world):
    def publish(name, command, *flags):
        return world.cli("publish", *(flags or ("--http", "off")), "--exec", command, world.path(name), world.file_bus(name[:-3]), timeout=30)

    world.create("exec.db")
    assert publish("exec.db", "sleep 1; exit 7").returncode == 7
    assert publish("exec.db", "sleep 1; kill -9 $$").returncode == 137
    # The application makes the database: waited for, and all of it is in the log when the application has ended.
    script = ("import sqlite3, time\n"
              "db = sqlite3.connect(r'%s', isolation_level=None)\n"
              "db.execute('CREATE TABLE t(a)')\n"
              "db.execute('PRAGMA journal_mode=WAL')\n"
              "time.sleep(1)\n"
              "for n in range(20): db.execute('INSERT INTO t VALUES(?)', (n,))\n" % world.path("born.db"))
    with open(world.path("app.py"), "w") as f:
        f.write(script)
    done = publish("born.db", f"{sys.executable} {world.path('app.py')}")
    assert done.returncode == 0, done.stderr
    checked = world.cli("verify", "--against", world.file_bus("born"), world.path("born.db"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # An address that is taken: nothing is started.
    taken = world.publisher(world.create("taken.db"), world.file_bus("taken"))
    taken.await_publishing()
    done = publish("exec.db", f"touch {world.path('started')}", "--http", f"127.0.0.1:{taken.port}")
    expect(done, 1, f"127.0.0.1:{taken.port}", "in use", "--http")
    assert not os.path.exists(world.path("started")), "the application was started although the node could not be"
    log("--exec runs the application, waits for its database, passes its exit code")


def main(world):
    no_databases(world)
    usage(world)
    configuration(world)
    second_publisher(world)
    replaced_database(world)
    read_only_directory(world)
    ends(world)
    application(world)


run(main)
