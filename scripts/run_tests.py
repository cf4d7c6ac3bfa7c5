"""The test suite in two lanes side by side, as `make test` runs it: what needs a Neo4j server, and everything else.

Each lane is one pytest process, so that a lane has one session of fixtures: at most two servers run at once. The first lane's output
is shown as it comes, the second's when both have ended. The exit status is 0 if both lanes passed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
#: Lane → which tests.
LANES = {"with a server": "graph and not long", "without": "not graph and not long"}
_NO_TESTS = 5  # pytest's exit status


def start(lane: str, arguments: list[str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start one lane; ``output`` None shows it as it comes."""
    cache = f"cache_dir=.pytest_cache/{lane.replace(' ', '-')}"
    command = [sys.executable, "-m", "pytest", "-m", LANES[lane], "-o", cache, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT if output else None)


def failures(status: dict[str, int], *, chosen: bool) -> list[str]:
    """Lanes that failed. One lane may be without tests if tests were chosen by arguments; both never."""
    empty = [lane for lane, code in status.items() if code == _NO_TESTS]
    return [lane for lane, code in status.items() if code != 0 and not (chosen and empty == [lane])]


def main() -> int:
    """Run both lanes and say how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pytest", nargs="*", help="further arguments for pytest, after --")
    arguments = parser.parse_args().pytest
    shown, kept = LANES
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        lanes = {shown: start(shown, arguments, None), kept: start(kept, arguments, output)}
        try:
            status = {name: lane.wait() for name, lane in lanes.items()}
        except KeyboardInterrupt:
            status = {name: lane.wait() for name, lane in lanes.items()}  # Ctrl-C has reached both lanes, too
        output.seek(0)
        sys.stdout.write(f"\n== tests {kept} ==\n{output.read().decode(errors='replace')}")
    minutes = (time.monotonic() - begun) / 60
    failed = failures(status, chosen=bool(arguments))
    sys.stdout.write(f"\ntests in two lanes, {minutes:.1f} minutes: {'failed: ' + ', '.join(failed) if failed else 'passed'}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
