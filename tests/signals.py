"""Ctrl-C for processes that tests start."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """For ``preexec_fn``: a test run started in the background by a shell ignores SIGINT, and its children would too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
