#!/usr/bin/env python3
"""tools/test_summary.py on documents as ctest writes them."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import test_summary  # noqa: E402  (the path is set above)

PASSED = '<testcase name="A.Works" status="run"/>'
FAILED = '<testcase name="A.Breaks" status="fail"><failure message=""/></testcase>'
NEEDS = (
    '<testcase name="A.NeedsPeer" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'
    "<system-out>[ RUN ] A.NeedsPeer\n/x/a_test.cpp:17: Skipped\nSKIPPED: needs nats-server\n</system-out></testcase>"
)
APART = NEEDS.replace("A.NeedsPeer", "A.Restarts").replace("SKIPPED: needs nats-server", "does not apply: no server")


def run(*cases, no_skip=False):
    return test_summary.summarize("<testsuite>" + "".join(cases) + "</testsuite>", no_skip)


class Summary(unittest.TestCase):
    def test_counts_and_passes(self):
        lines, ok = run(PASSED, PASSED)
        self.assertEqual(lines, ["tests: 2 passed, 0 failed, 0 skipped"])
        self.assertTrue(ok)

    def test_a_failure_fails_and_is_named(self):
        lines, ok = run(PASSED, FAILED)
        self.assertIn("*** FAILED A.Breaks", lines)
        self.assertFalse(ok)

    def test_a_skip_is_loud_with_its_reason(self):
        lines, ok = run(PASSED, NEEDS)
        self.assertIn("*** SKIPPED A.NeedsPeer: SKIPPED: needs nats-server", lines)
        self.assertEqual(lines[-1], "tests: 1 passed, 0 failed, 1 skipped")
        self.assertTrue(ok)

    def test_a_skip_fails_where_none_is_allowed(self):
        self.assertFalse(run(PASSED, NEEDS, no_skip=True)[1])
        self.assertTrue(run(PASSED, no_skip=True)[1])

    def test_what_does_not_apply_is_counted_apart(self):
        lines, ok = run(PASSED, APART, no_skip=True)
        self.assertEqual(lines, ["tests: 1 passed, 0 failed, 0 skipped, 1 do not apply"])
        self.assertTrue(ok)

    def test_no_test_at_all_is_a_failure(self):
        self.assertFalse(run()[1])


if __name__ == "__main__":
    unittest.main()
