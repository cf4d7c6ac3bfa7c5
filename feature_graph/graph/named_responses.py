"""The response file that a graph names: which file, and which content.

In ``G.graph["responses"]`` it is a text, as everything there: ``{"file": …, "sha256": …}``. In memory the file is an absolute path; in a
graph file that lies in the same folder, or above it, it is relative to that folder, so that a run directory can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import networkx as nx

from feature_graph.utils import sha256_file

#: Name of the fact in ``G.graph``.
FACT = "responses"


@dataclass(frozen=True)
class NamedResponses:
    """A response file by name and content.

    Attributes:
        file: Its path.
        sha256: Hex sha256 of its bytes.
    """

    file: Path
    sha256: str

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """The file as it is now."""
        return cls(Path(path).absolute(), sha256_file(path))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self | None:
        """What ``G.graph`` names; None if it names nothing, or something else goes by that name."""
        try:
            found = json.loads(facts.get(FACT, ""))
        except (TypeError, ValueError):
            return None
        if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("file", "sha256")):
            return None
        return cls(Path(found["file"]), found["sha256"])

    def text(self) -> str:
        """The value of the fact."""
        return json.dumps({"file": str(self.file), "sha256": self.sha256})


def name_responses(graph: nx.DiGraph, path: str | Path) -> None:
    """Let a graph name the responses of its run, if the file is there: ``predict_cascade`` then forecasts by them.

    Args:
        graph: Interaction graph.
        path: ``responses.h5`` of the same run.
    """
    if Path(path).is_file():
        graph.graph[FACT] = NamedResponses.at(path).text()


def with_relative_file(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Facts for a graph file in ``folder``: a response file inside it is named relative to it."""
    named, folder = NamedResponses.of(facts), folder.absolute()
    if named is None or not named.file.is_relative_to(folder):
        return dict(facts)
    return dict(facts) | {FACT: NamedResponses(named.file.relative_to(folder), named.sha256).text()}


def with_absolute_file(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Facts of a graph file in ``folder``: a response file named relative to it gets its whole path."""
    named = NamedResponses.of(facts)
    if named is None:
        return dict(facts)
    return dict(facts) | {FACT: NamedResponses(folder.absolute() / named.file, named.sha256).text()}
