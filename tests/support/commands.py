"""The command line called with the address of a test's server."""

from __future__ import annotations

from collections.abc import Callable

import click.testing

Run = Callable[..., click.testing.Result]
