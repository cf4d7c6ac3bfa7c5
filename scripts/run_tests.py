"""The test suite as `make test` runs it: groups of tests, two at a time, each in a pytest process of its own, and the type checker.

A group shares fixtures that are expensive: the session's Neo4j, or the demo's run. No group has more than one server at a time, so that
at most two run at once. The longest groups begin first; the output of the first is shown as it comes, that of the others when they end.
The exit status is 0 if all groups passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
AT_ONCE = 2
#: Group → its tests, by their marks, of which tests/conftest.py sets `shared_server`, `demo`, `causal` and `unit`; longest first.
GROUPS = {
    "one server for all": "shared_server",
    "the demo": "demo and not shared_server",
    "causal": "causal and not graph",
    "servers of their own": "graph and not shared_server and not demo",
    "end to end": "not graph and not causal and not unit",
    "unit": "unit and not graph and not causal",
}
#: Folders of tests/ that hold a group's tests (tests/conftest.py refuses others), so that not every group reads them all.
FOLDERS = {
    "one server for all": ("graph",),
    "the demo": ("e2e",),
    "unit": ("unit",),
    "causal": ("causal",),
    "end to end": ("graph", "e2e"),
    "servers of their own": ("graph", "e2e"),
}
_NO_TESTS = 5  # pytest's exit status


def main() -> int:
    """Run all groups and say how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pytest", nargs="*", help="further arguments for pytest, after --")
    arguments = parser.parse_args().pytest
    begun = time.monotonic()
    status = _run_all(arguments)
    failed = failures(status, chosen=bool(arguments))
    _say(f"\nall groups of tests, {_minutes(begun)}: {'failed: ' + ', '.join(failed) if failed else 'passed'}\n")
    return 1 if failed else 0


def failures(status: dict[str, int], *, chosen: bool) -> list[str]:
    """Groups that failed. A group may be without tests if tests were chosen by arguments; all of them never."""
    empty = [group for group, code in status.items() if code == _NO_TESTS]
    fine = empty if chosen and len(empty) < len(status) else []
    return [group for group, code in status.items() if code != 0 and group not in fine]


def _run_all(arguments: list[str]) -> dict[str, int]:
    shown = next(iter(GROUPS))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {group: pool.submit(_run, group, arguments, shown=group == shown) for group in GROUPS}
        if not arguments:
            running["types"] = pool.submit(_check_types)
        try:
            return {group: future.result() for group, future in running.items()}
        finally:  # Ctrl-C reaches pytest, too, which stops its servers and ends; groups that have not begun stay away
            pool.shutdown(wait=True, cancel_futures=True)


def _run(group: str, arguments: list[str], *, shown: bool) -> int:
    cache = f"cache_dir=.pytest_cache/{group.replace(' ', '-')}"
    chosen = any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)
    where = [] if chosen else [f"tests/{folder}" for folder in FOLDERS[group]]
    same = "--hypothesis-profile=same"  # examples that a submission meets by chance would refuse work that has no fault
    slowest = ("--durations=12", "--durations-min=10")
    command = ["pytest", "-m", f"({GROUPS[group]}) and not long", "-o", cache, same, *slowest, *where, *arguments]
    return _module(group, command, shown=shown)


def _check_types() -> int:
    """The type checker, on one processor for minutes where nothing is cached: beside the tests it costs half of that."""
    return _module("types", ["mypy"], shown=False)


def _module(name: str, command: list[str], *, shown: bool) -> int:
    threads = str(max(1, (os.cpu_count() or 1) // AT_ONCE))
    begun = time.monotonic()
    with tempfile.TemporaryFile() as kept:
        out = None if shown else kept
        environment = {"OMP_NUM_THREADS": threads} | os.environ
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        code = process.wait()
        kept.seek(0)
        _say(f"{kept.read().decode(errors='replace')}== {name}: exit status {code}, {_minutes(begun)} ==\n")
    return code


_saying = threading.Lock()


def _say(text: str) -> None:
    with _saying:
        sys.stdout.write(text)
        sys.stdout.flush()


def _minutes(begun: float) -> str:
    return f"{(time.monotonic() - begun) / 60:.1f} minutes"


if __name__ == "__main__":
    raise SystemExit(main())
