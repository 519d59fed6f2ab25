#!/usr/bin/env python3
"""Last lines of tools/test: names what was skipped or failed in meson's testlog.json, then the totals.

  count_tests.py TESTLOG [NAME=EXIT_STATUS]...     checks that meson did not run count as one test each;
                                                  77: skipped; 77: skipped
"""
import json
import os
import sys

PASSED, SKIPPED = ("OK", "EXPECTEDFAIL"), ("SKIP",)


def main():
    results = []
    if os.path.isfile(sys.argv[1]):
        with open(sys.argv[1], encoding="utf-8") as file:
            results = [(test["name"], test["result"]) for test in map(json.loads, file)]
    if not results:
        results = [("meson test (wrote no results)", "FAIL")]
    for extra in sys.argv[2:]:
        name, status = extra.rsplit("=", 1)
        results.append((name, {"0": "OK", "77": "SKIP"}.get(status, "FAIL")))
    skipped = [name for name, result in results if result in SKIPPED]
    failed = [(name, result) for name, result in results if result not in PASSED + SKIPPED]
    for name in skipped:
        print(f"skipped: {name}")
    for name, result in failed:
        print(f"failed: {name} ({result.lower()})")
    print(f"{len(results) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
