"""shell.py FILE ro|rw sqlite3|pysqlite3|apsw: one statement at a time through a Python module (see README.md)."""
import importlib
import sys

path, mode, module = sys.argv[1:4]
uri = f"file:{path}?mode={mode}"

if module == "apsw":
    import apsw

    Error = apsw.Error

    def connect():
        flags = apsw.SQLITE_OPEN_URI | (apsw.SQLITE_OPEN_READONLY if mode == "ro" else apsw.SQLITE_OPEN_READWRITE)
        connection = apsw.Connection(uri, flags=flags)
        connection.set_busy_timeout(1000)
        return connection
else:
    driver = importlib.import_module("pysqlite3.dbapi2" if module == "pysqlite3" else module)
    Error = driver.Error

    def connect():
        return driver.connect(uri, uri=True, timeout=1, isolation_level=None)


def text(value):
    if value is None:
        return ""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def run(statement):
    rows = list(db.execute(statement))
    return "|".join(text(value) for value in rows[0]) if rows else ""


db = connect()
print("=" + run("SELECT sqlite_version()"), flush=True)
for line in sys.stdin:
    line = line.rstrip("\n")
    try:
        answer = ""
        if line in (".close", ".reopen"):
            db.close()
            if line == ".reopen":
                db = connect()
        else:
            answer = run(line)
        print("=" + answer, flush=True)
    except Error as error:
        print("!" + str(error).replace("\n", " "), flush=True)
