"""Which method of measuring is meant, where none is given: never one that a run does not have, which would silently give no answer."""

from __future__ import annotations

from collections.abc import Sequence

from queries.errors import ParameterError

DEFAULT = "clamping"


def choose_method(run: str, methods: Sequence[str] | None, wanted: str | None = None, name: str = "method") -> str:
    """The method wanted, if the run has edges by it; if none is given clamping, else the only one.

    Args:
        run: Id of the run.
        methods: Methods of its edges.
        wanted: What was asked for.
        name: What the parameter is called in a message.

    Raises:
        ParameterError: If the run has no edges by it, or several methods and clamping is none of them.
    """
    known = list(methods or ())
    if wanted is None and (not known or DEFAULT in known):
        return DEFAULT
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        raise ParameterError(f"{name}: none was given, and run {run} has edges by {', '.join(known)}; choose one of them")
    if wanted not in known and (known or wanted != DEFAULT):  # without any edge there is nothing to mistake
        raise ParameterError(f"{name}: got {wanted!r}; run {run} has {_edges(known)}")
    return wanted


def choose_other_method(method: str, run: str, methods: Sequence[str] | None, wanted: str | None = None, name: str = "other_method") -> str:
    """The method wanted of another run; if none is given the same as of the first where it has it, else its only one.

    Args:
        method: Method of the first run.
        run: Id of the other run.
        methods: Methods of its edges.
        wanted: What was asked for.
        name: What the parameter is called in a message.

    Raises:
        ParameterError: If the other run has no edges by it, or several methods and this is none of them.
    """
    known = list(methods or ())
    if wanted is None and (not known or method in known):
        return method
    if wanted is None and len(known) > 1:
        raise ParameterError(f"{name}: run {run} has no edges by {method}, but by {', '.join(known)}; choose one of them")
    return choose_method(run, known, wanted, name)


def _edges(known: list[str]) -> str:
    return f"edges by {', '.join(known)}" if known else "no edges at all"
