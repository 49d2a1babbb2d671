#!/usr/bin/env python3
"""Reads ctest's JUnit file and says what it adds up to: passed, failed, skipped, and why each skipped test was skipped.

With RUNNEL_NO_SKIP=1 a skipped test fails the run, unless its reason begins with "does not apply": a suite that runs
over several adapters may say so where an adapter declares that it lacks a capability.
"""

import os
import re
import sys
import xml.etree.ElementTree as ElementTree


def skip_reason(case):
    """The text a test gave to GTEST_SKIP: the line after "<file>:<line>: Skipped"."""
    output = case.findtext("system-out") or ""
    match = re.search(r"^\S+:\d+: Skipped\s*\n(.*)$", output, re.MULTILINE)
    return match.group(1).strip() if match and match.group(1).strip() else "no reason given"


def summarize(xml, no_skip):
    """(lines to print, ok) of a JUnit document."""
    passed, failed, skipped = [], [], []
    for case in ElementTree.fromstring(xml).iter("testcase"):
        status = case.get("status")
        if case.find("skipped") is not None or status in ("notrun", "disabled"):
            skipped.append((skip_reason(case), case.get("name")))
        elif case.find("failure") is not None or status == "fail":
            failed.append(case.get("name"))
        else:
            passed.append(case.get("name"))
    missed = [entry for entry in skipped if not entry[0].startswith("does not apply")]
    lines = []
    for reason, name in sorted(missed):
        lines.append(f"*** SKIPPED {name}: {reason}")
    for name in failed:
        lines.append(f"*** FAILED {name}")
    apart = len(skipped) - len(missed)
    lines.append(
        f"tests: {len(passed)} passed, {len(failed)} failed, {len(missed)} skipped"
        + (f", {apart} do not apply" if apart else "")
    )
    ok = not failed and bool(passed)
    if not passed:
        lines.append("no test ran")
    if no_skip and missed:
        lines.append("RUNNEL_NO_SKIP=1: skipped tests fail this run")
        ok = False
    return lines, ok


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: test_summary.py CTEST-JUNIT-FILE")
    with open(sys.argv[1], encoding="utf-8", errors="replace") as file:
        lines, ok = summarize(file.read(), os.environ.get("RUNNEL_NO_SKIP") == "1")
    print("\n".join(lines))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
