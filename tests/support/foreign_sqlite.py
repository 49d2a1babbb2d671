"""SQLite as other languages bring it: one process a connection, one statement a line (tools/peers/sqlite/README.md)."""
import os
import subprocess
import sys

from harness import ROOT, peer


class ForeignError(Exception):
    pass


def drivers():
    """{name: (command, environment)} of every driver; Skip when one is missing."""
    script = os.path.join(ROOT, "tools", "peers", "sqlite", "shell.py")
    jars = peer("sqlite-jdbc-3.54.1.0", "lib")
    return {
        "python": ([sys.executable, script, "{file}", "{mode}", "sqlite3"], {}),
        "pysqlite3": ([sys.executable, script, "{file}", "{mode}", "pysqlite3"],
                      {"PYTHONPATH": peer("pysqlite3-binary-0.5.4.post2", ".")}),
        "apsw": ([sys.executable, script, "{file}", "{mode}", "apsw"], {"PYTHONPATH": peer("apsw-3.54.1.0", ".")}),
        "modernc": ([peer("sqlite-modernc-1.61.1", "shell"), "{file}", "{mode}"], {}),
        "mattn": ([peer("sqlite-mattn-1.14.52", "shell"), "{file}", "{mode}"], {}),
        "rusqlite": ([peer("sqlite-rusqlite-0.41.1", "shell"), "{file}", "{mode}"], {}),
        "jdbc": (["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*:{jars}", "Shell",
                  "{file}", "{mode}"], {}),
    }


class Shell:
    def __init__(self, name, file, mode="rw"):
        argv, env = drivers()[name]
        self.name = f"{name} {mode}"
        # A file, so that a driver that fills it with warnings never waits for a reader.
        self.process = subprocess.Popen([word.format(file=file, mode=mode) for word in argv], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1, env={**os.environ, **env})
        self.version = self.answer("the first line")

    def answer(self, statement):
        line = self.process.stdout.readline().rstrip("\n")
        if not line.startswith("="):
            raise ForeignError(f"{self.name}: {statement}: {line[1:] or 'the driver ended'}")
        return line[1:]

    def __call__(self, statement):
        self.process.stdin.write(statement + "\n")
        return self.answer(statement)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0, f"{self.name} ended with {self.process.returncode}"

    def kill(self):
        self.process.kill()
        self.process.wait()
