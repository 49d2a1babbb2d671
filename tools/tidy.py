#!/usr/bin/env python3
"""The house rules that a compiler does not know, checked over the tracked files (ctest label: tidy).

  tools/tidy.py             check this tree; one line a finding, exit 1 if there is any
  tools/tidy.py --self-test prove that every rule turns red on a tree that breaks it

CONTRIBUTING.md says what the rules are for. A file that may break a rule for now stands in DEBTS with the reason; a
debt that is no longer needed is a finding itself, so that the list can only shrink.
"""

import os
import re
import subprocess
import sys
import tempfile

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
LINE_COLUMNS_MAX = 120

# Which room may include which. A folder belongs to the longest prefix; a room may always include itself.
BASE, LTX, SQLITE, LIVE = "ltx/base", "ltx/format", "ltx/sqlite", "ltx/sqlite/live"
ADAPTERS = ("bus/file", "bus/nats", "bus/kafka")
ARCHIVE, STORE, RESTORE = "subscriber/archive", "subscriber/archive/store", "subscriber/restore"
REPLICA, FEED = "subscriber/replica", "subscriber/feed"
ROOMS = {
    BASE: (),
    LTX: (BASE,),
    SQLITE: (BASE, LTX),
    LIVE: (BASE, SQLITE),
    "bus": (BASE, LTX),
    "bus/file": (BASE, "bus"),
    "bus/nats": (BASE, "bus"),
    "bus/kafka": (BASE, "bus"),
    "publisher": (BASE, LTX, SQLITE, LIVE, "bus"),
    STORE: (BASE, "bus", "bus/nats"),  # URLs, and sessions of the JetStream buckets
    ARCHIVE: (BASE, LTX, "bus", STORE),
    RESTORE: (BASE, LTX, "bus", STORE, ARCHIVE),
    REPLICA: (BASE, LTX, SQLITE, LIVE),
    FEED: (BASE, LTX, SQLITE, "bus"),
    "subscriber": (BASE, LTX, SQLITE, LIVE, "bus", REPLICA, FEED, ARCHIVE, STORE, RESTORE),
    "tools": None,  # everything
    "tests": None,
}
# Single files that may look further than their room.
FILE_EXCEPTIONS = {"bus/open.cpp": ADAPTERS, "bus/open_events.cpp": ADAPTERS}

# Third-party headers and where they may appear (prefixes of paths); tests may include anything.
LIBRARIES = (
    (r"sqlite3\.h", ("publisher/", "subscriber/replica/", "subscriber/feed/schema", "subscriber/restore/",
                     "ltx/sqlite/live/", "tools/")),
    (r"nats/.*|nats\.h", ("bus/nats/", "subscriber/archive/store/nats")),
    (r"librdkafka/.*|rdkafka\.h", ("bus/kafka/",)),
    (r"curl/.*|pugixml\.hpp", ("subscriber/archive/store/",)),
    (r"openssl/.*", ("subscriber/archive/store/", "bus/nats/")),
    (r"spdlog/.*", ("ltx/base/log.cpp",)),
    (r"prometheus/.*", ("ltx/base/metrics.cpp",)),
    (r"httplib\.h", ("ltx/base/http.cpp",)),
    (r"yaml-cpp/.*", ("ltx/base/config_tree.cpp",)),
    (r"tl/expected\.hpp", ("ltx/base/result.h",)),
    (r"google/protobuf/.*|envelope\.pb\.h", ("bus/envelope",)),
    (r"lz4.*|isa-l.*", ("ltx/format/", "bus/file/", "bus/packer.cpp")),
    (r"CLI/.*", ("tools/",)),
    (r"nlohmann/.*", ("tools/", "bus/nats/", "bus/kafka/",
                      "subscriber/feed/", "subscriber/archive/", "publisher/", "subscriber/")),
    (r"format|expected|source_location", ()),  # g++ 12 or clang 14 has not got it
)

# Words that may not appear in code (comments and texts in quotes do not count), why, and where they may all the same.
BANNED = (
    (r"\)\.value\(\)", "throws: look at ok() and use * or TRY_ASSIGN", ()),
    (r"\bstd::views\b|\bstd::ranges::views\b", "clang 14 does not compile it", ()),
    (r"\bstd::(recursive_|shared_|timed_)?mutex\b|\bstd::condition_variable(_any)?\b"
     r"|\bstd::(lock_guard|unique_lock|scoped_lock)\b", "use ltx/base/sync.h, which is annotated",
     ("ltx/base/sync.h",)),
    # The programs of tests/support and tests/bench pace a load; a test waits for what it expects.
    (r"\bsleep_for\b|\bsleep_until\b|\busleep\(|\bnanosleep\(", "wait for a condition with a deadline, or SleepUntil",
     ("ltx/base/", "tests/support/", "tests/bench/")),
    (r"\bstd::cout\b", "output belongs to tools/, events to the log", ("tools/",)),
    (r"\bassert\(", "use CHECK, which stays on in release", ()),
    (r"\busing namespace\b", "names say where they come from", ("tests/",)),
)

# (rule, file): reason. Shrinks only.
DEBTS = {
    ("library", "subscriber/feed/scratch.h"): "parses a scratch database beside the schema parser",
    ("line-length", "tests/conformance/CMakeLists.txt"): "to be wrapped",
    ("line-length", "tests/integration/bad_bus_test.py"): "to be wrapped",
    ("line-length", "tests/integration/bad_source_test.py"): "to be wrapped",
    ("line-length", "tests/integration/disk_full_test.py"): "to be wrapped",
    ("line-length", "tests/integration/hostile_test.py"): "to be wrapped",
    ("line-length", "tests/integration/nats_adapter_test.cpp"): "to be wrapped",
    ("line-length", "tools/peers/get.sh"): "to be wrapped",
    ("line-length", "tools/peers/maven.sh"): "to be wrapped",
    ("word", "bus/nats/nats_log.cpp"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
    ("word", "bus/nats/nats_reader.cpp"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
    ("word", "bus/nats/nats_reader.h"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
    ("word", "bus/nats/nats_writer.cpp"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
    ("word", "bus/nats/nats_writer.h"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
    ("word", "tests/crash/replica_crash_test.cpp"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
    ("word", "tests/unit/feed/feed_torture_test.cpp"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
    ("word", "tests/unit/replica/clients_test.cpp"): "made before ltx/base/sync.h and SleepUntil; to be moved there",
}

# Paths of the machine a change was written on have no meaning elsewhere. Split, so that this file does not find itself.
MACHINE_PATHS = re.compile("|".join(("/wor" + "k/", "/tmp" + "/w/", "/roo" + "t/")))

CODE = (".h", ".cpp")


class Tree:
    """The tracked files below a root, read once."""

    def __init__(self, root):
        self.root = root
        self.files = sorted(self._list())
        self._texts = {}

    def _list(self):
        listed = subprocess.run(["git", "-C", self.root, "ls-files", "-z"], capture_output=True, check=False)
        if listed.returncode == 0 and listed.stdout:
            names = listed.stdout.decode().split("\0")
            return [name for name in names if name and os.path.isfile(os.path.join(self.root, name))]
        found = []  # not a repository (a release's archive): what is there, without what is made
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in ("build", ".git", ".peers")]
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        return found

    def text(self, name):
        if name not in self._texts:
            with open(os.path.join(self.root, name), encoding="utf-8", errors="replace") as file:
                self._texts[name] = file.read()
        return self._texts[name]

    def code(self):
        return [name for name in self.files if name.endswith(CODE)]


def blank(text):
    """The code with comments and the insides of literals turned into spaces; lines and columns stay."""
    pattern = re.compile(
        r"//[^\n]*|/\*.*?\*/"
        r"|R\"(?P<tag>[^()\s]*)\(.*?\)(?P=tag)\""  # raw strings
        r"|\"(?:\\.|[^\"\\\n])*\""
        r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",  # 'x', not the ' of 1'000
        re.DOTALL,
    )
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def room_of(name):
    best = ""
    for room in ROOMS:
        if name.startswith(room + "/") and len(room) > len(best):
            best = room
    return best


def check_includes(tree):
    for name in tree.code():
        room = room_of(name)
        allowed = ROOMS.get(room)
        for number, line in enumerate(tree.text(name).splitlines(), 1):
            match = re.match(r"\s*#\s*include\s+([<\"])([^>\"]+)[>\"]", line)
            if not match:
                continue
            header = match.group(2)
            yield from check_library(name, number, header)
            if match.group(1) == "<" or "/" not in header or allowed is None:
                continue
            other = room_of(header)
            if other and other != room and other not in allowed + FILE_EXCEPTIONS.get(name, ()):
                yield "room", name, number, f"{room} may not include {other} ({header})"


def check_library(name, number, header):
    if name.startswith("tests/"):
        return
    for pattern, places in LIBRARIES:
        if re.fullmatch(pattern, header) and not name.startswith(places or ("\0",)):
            where = ", ".join(places) or "nowhere"
            yield "library", name, number, f"<{header}> belongs to {where}"


def check_lines(tree):
    for name in tree.files:
        if not name.endswith(CODE + (".py", ".sh", "CMakeLists.txt")):
            continue
        lines = tree.text(name).splitlines()
        if name.endswith(CODE) and len(lines) > FILE_LINES_MAX:
            yield "file-length", name, len(lines), f"{len(lines)} lines, at most {FILE_LINES_MAX}"
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_COLUMNS_MAX:
                yield "line-length", name, number, f"{len(line)} columns, at most {LINE_COLUMNS_MAX}"


def functions(text):
    """(first line, last line) of the outermost function bodies; a heuristic over braces."""
    code = re.sub(r"^\s*#.*(?:\\\n.*)*$", lambda m: re.sub(r"[^\n]", " ", m.group(0)), blank(text), flags=re.MULTILINE)
    stack, head, line = [], "", 1
    for char in code:
        if char == "\n":
            line += 1
        if char == "{":
            inside = any(kind == "function" for kind, _ in stack)
            scope = re.search(r"\b(namespace|class|struct|enum|union|extern)\b[^()=]*$", head)
            kind = "block" if inside or scope or ")" not in head else "function"
            stack.append((kind, line))
            head = ""
        elif char == "}":
            if stack:
                kind, first = stack.pop()
                if kind == "function":
                    yield first, line
            head = ""
        elif char == ";":
            head = ""
        else:
            head += char


def check_functions(tree):
    for name in tree.code():
        for first, last in functions(tree.text(name)):
            length = last - first - 1
            if length > FUNCTION_LINES_MAX:
                yield "function-length", name, first, f"a function of {length} lines, at most {FUNCTION_LINES_MAX}"


def banned_in(text):
    """BANNED, and .value() of the names this file declares as Result or optional (own types may have a value() too)."""
    names = re.findall(r"\b(?:Result|optional)<[^;={}()]*>\s*&?\s*(\w+)\s*[;=({]", text)
    if not names:
        return BANNED
    pattern = r"\b(?:" + "|".join(sorted(set(names))) + r")\.value\(\)"
    return BANNED + ((pattern, "throws: look at ok() and use * or TRY_ASSIGN", ()),)


def check_words(tree):
    for name in tree.code():
        raw = tree.text(name).splitlines()
        text = blank(tree.text(name))
        banned, lines = banned_in(text), text.splitlines()
        for number, line in enumerate(lines, 1):
            for pattern, why, places in banned:
                match = re.search(pattern, line)
                if match and not name.startswith(places or ("\0",)):
                    yield "word", name, number, f"{match.group(0)}: {why}"
            # Allowed where a private constructor meets a unique_ptr, and where a library wants a bare pointer (NOLINT).
            context = lines[number - 2] + line if number > 1 else line
            allowed = "unique_ptr<" in context or "NOLINT" in raw[number - 1]
            if re.search(r"(?<![\w>.])new\s+[\w:]", line) and not allowed:
                yield "word", name, number, "new: use make_unique"
            if "#pragma once" in line or not re.search(r"TO" + r"DO|FIX" + "ME", raw[number - 1]):
                continue
            if not re.search(r"TO" + r"DO\(#\d+\)", raw[number - 1]):
                yield "todo", name, number, "what is left to do needs a number: TO" + "DO(#12)"


def check_files(tree):
    lists = {name: tree.text(name) for name in tree.files if name.endswith("CMakeLists.txt")}
    for name in tree.code():
        if name.endswith(".h"):
            if "#pragma once" not in tree.text(name):
                yield "header", name, 1, "no #pragma once"
            continue
        folder = os.path.dirname(name)
        while True:
            listed = lists.get(os.path.join(folder, "CMakeLists.txt"), "")
            here = re.escape(os.path.relpath(name, folder or "."))
            if re.search(r"(?<![\w.-])(?<!\w/)" + here + r"(?![\w.])", listed):
                break
            if not folder:
                yield "dead-file", name, 1, "no CMakeLists.txt names it"
                break
            folder = os.path.dirname(folder)
    for room in ROOMS:
        if any(name.startswith(room + "/") for name in tree.files) and room + "/README.md" not in tree.files:
            yield "readme", room + "/README.md", 1, "every room says why it exists"


def check_machine_paths(tree):
    for name in tree.files:
        for number, line in enumerate(tree.text(name).splitlines(), 1):
            match = MACHINE_PATHS.search(line)
            if match:
                yield "machine-path", name, number, f"{match.group(0)} means nothing on another machine"


CONFIG_READER, CONFIG_PAGE = "tools/node_config.cpp", "configs/runnel.yml"


def check_config(tree):
    """Every key the code reads is on the page for people, and the other way round."""
    if CONFIG_READER not in tree.files:
        return
    getters = r"\b(?:Text|RequiredText|Secret|Bool|Integer|Duration|DurationOrNever|Size|Choice(?:<\w+>)?|Texts|Maps?)"
    read = set(re.findall(getters + r"\(\s*\"([a-z-]+)\"", tree.text(CONFIG_READER)))
    page = tree.text(CONFIG_PAGE) if CONFIG_PAGE in tree.files else ""
    # Set, or commented out within a section. Prose may have a word with a colon too, so "# key:" counts as shown only.
    is_set = set(re.findall(r"^\s*(?:#   +)?(?:- )?([a-z][a-z-]*):(?:\s|$)", page, re.MULTILINE))
    shown = is_set | set(re.findall(r"^\s*# ([a-z][a-z-]*):(?:\s|$)", page, re.MULTILINE))
    for key in sorted(read - shown):
        yield "config", CONFIG_PAGE, 1, f"the key {key} is read by {CONFIG_READER} and explained nowhere"
    for key in sorted(is_set - read):
        yield "config", CONFIG_PAGE, 1, f"the key {key} is explained and read nowhere"


METRIC_SOURCES = ("tools/node_metrics.cpp", "tools/archive_view.cpp", "tools/feed_view.cpp")
METRIC_USERS = ("configs/grafana.json", "configs/alerts.yml")


def check_metrics(tree):
    """Dashboards and alerts ask for metrics that exist: a renamed one would leave an alert silent for ever."""
    sources = [name for name in METRIC_SOURCES if name in tree.files]
    if not sources:
        return
    known = {metric for name in sources for metric in re.findall(r"\"(runnel_[a-z0-9_]+)\"", tree.text(name))}
    for name in METRIC_USERS:
        if name not in tree.files:
            continue
        for number, line in enumerate(tree.text(name).splitlines(), 1):
            for metric in re.findall(r"\brunnel_[a-z0-9_]*[a-z0-9]\b(?!\()", line):
                if metric not in known:
                    yield "metric", name, number, f"no node has a metric {metric} ({', '.join(sources)})"


CHECKS = (check_includes, check_lines, check_functions, check_words, check_files, check_config, check_metrics,
          check_machine_paths)


def findings(tree, debts):
    found, paid = [], set(debts)
    for check in CHECKS:
        for rule, name, number, text in check(tree):
            if (rule, name) in debts:
                paid.discard((rule, name))
            else:
                found.append(f"{name}:{number}: {text} [{rule}]")
    for rule, name in sorted(paid):
        found.append(f"tools/tidy.py:1: the debt ({rule}, {name}) is paid: take it off the list [debt]")
    return found


GOOD = {
    "CMakeLists.txt": "add_subdirectory(bus)\n",
    "bus/CMakeLists.txt": "add_room(bus SRCS good.cpp)\n",
    "bus/README.md": "why\n",
    "bus/good.h": "#pragma once\n",
    "bus/good.cpp": '#include "bus/good.h"\n\n#include "ltx/base/fs.h"\n\n// std::mutex in a comment\n'
                    'int F() {\n  const char* text = "std::cout << new Thing";\n  return text != nullptr;\n}\n',
    "tools/README.md": "why\n",
    "tools/CMakeLists.txt": "add_executable(runnel node_config.cpp node_metrics.cpp)\n",
    "tools/node_config.cpp": 'int x = map.Size("wal-limit", 1);\n',
    "tools/node_metrics.cpp": 'gauge("runnel_lag_seconds", 1);\n',
    "configs/runnel.yml": "# Prose: here.\nwal-limit: 64MiB\n",
    "configs/alerts.yml": "expr: runnel_lag_seconds > 1\n",
}
LONG_FUNCTION = "int F() {\n" + "  ++i;\n" * (FUNCTION_LINES_MAX + 1) + "}\n"
# What to change in the good tree, and the rule that must turn red for it.
BAD = (
    ("room", {"bus/good.cpp": '#include "publisher/node.h"\n'}),
    ("room", {"bus/good.cpp": '#include "bus/nats/handles.h"\n'}),
    ("library", {"bus/good.cpp": "#include <sqlite3.h>\n"}),
    ("library", {"bus/good.cpp": "#include <spdlog/spdlog.h>\n"}),
    ("library", {"bus/good.cpp": "#include <format>\n"}),
    ("file-length", {"bus/good.h": "#pragma once\n" + "\n" * FILE_LINES_MAX}),
    ("line-length", {"bus/good.h": "#pragma once\n// " + "x" * LINE_COLUMNS_MAX + "\n"}),
    ("function-length", {"bus/good.cpp": LONG_FUNCTION}),
    ("function-length", {"bus/good.cpp": "namespace a {\nclass B {\n" + LONG_FUNCTION + "};\n}\n"}),
    ("word", {"bus/good.cpp": "Result<int> x = F();\nint y = x.value();\n"}),
    ("word", {"bus/good.cpp": "int y = F(1).value();\n"}),
    ("word", {"bus/good.cpp": "auto y = v | std::views::reverse;\n"}),
    ("word", {"bus/good.cpp": "std::mutex m;\n"}),
    ("word", {"bus/good.cpp": "std::this_thread::sleep_for(x);\n"}),
    ("word", {"bus/good.cpp": "void F() { std::cout << 1; }\n"}),
    ("word", {"bus/good.cpp": "int* p = new int(1);\n"}),
    ("todo", {"bus/good.cpp": "// TO" + "DO: later\n"}),
    ("todo", {"bus/good.cpp": "// FIX" + "ME\n"}),
    ("header", {"bus/good.h": "int F();\n"}),
    ("dead-file", {"bus/other_test.cpp": "int x;\n"}),
    ("readme", {"bus/README.md": None}),
    ("config", {"configs/runnel.yml": "# wal-limit: 64MiB\nother: 1\n"}),
    ("config", {"configs/runnel.yml": None}),
    ("metric", {"configs/alerts.yml": "expr: rate(runnel_lags_seconds[1m]) > 1\n"}),
    ("machine-path", {"bus/README.md": "see /roo" + "t/notes\n"}),
)


def lint_files(files, debts=()):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, name)) or root, exist_ok=True)
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(text)
        return findings(Tree(root), dict.fromkeys(debts, "test"))


def self_test():
    wrong = [f"the good tree: {line}" for line in lint_files(GOOD)]
    for rule, change in BAD:
        files = {name: text for name, text in {**GOOD, **change}.items() if text is not None}
        lines = lint_files(files)
        if not any(line.endswith(f"[{rule}]") for line in lines):
            wrong.append(f"[{rule}] did not see {change!r}; found {lines!r}")
        elif len(lines) != 1:
            wrong.append(f"[{rule}] was not alone for {change!r}: {lines!r}")
    if not lint_files(GOOD, debts=[("word", "bus/good.cpp")]):
        wrong.append("a paid debt was not seen")
    if lint_files({**GOOD, "bus/good.cpp": "std::mutex m;\n"}, debts=[("word", "bus/good.cpp")]):
        wrong.append("a debt did not cover its file")
    checked = {rule for rule, _ in BAD}
    return wrong, f"{len(BAD)} broken trees, {len(checked)} rules"


def main():
    if sys.argv[1:] == ["--self-test"]:
        wrong, count = self_test()
        print("\n".join(wrong) if wrong else f"tidy: every rule turns red ({count})")
        sys.exit(1 if wrong else 0)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = findings(Tree(root), DEBTS)
    print("\n".join(found) if found else "tidy: clean")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
