"""Whether several graphs are of the same model and dictionaries: only then are their features the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.attribution_graphs.errors import GraphError
from ingest.attribution_graphs.names import Names, Naming, names_of

if TYPE_CHECKING:
    from ingest.attribution_graphs.read import AttributionGraph


def names_together(graphs: Sequence[AttributionGraph], given: Naming) -> Names:
    """The names that all graphs share.

    Raises:
        GraphError: If there is none, one is given twice, they are of different models or dictionaries, or one does not say which.
    """
    if not graphs:
        raise GraphError("got no file; expected one or more attribution graphs")
    seen: dict[str, AttributionGraph] = {}
    for graph in graphs:
        if graph.sha256 in seen:
            raise GraphError(f"{graph.path} and {seen[graph.sha256].path} are the same graph; give each prompt once")
        seen[graph.sha256] = graph
    found = [names_of(graph, given) for graph in graphs]
    if len(graphs) > 1 and any(names.unnamed for names in found):
        path = next(g.path for g, names in zip(graphs, found, strict=True) if names.unnamed)
        raise GraphError(
            f"{path} does not say which dictionaries its features are of, so it cannot be told whether they are those of the other files; "
            "name them with --release, or import the files one by one"
        )
    for graph, names in zip(graphs[1:], found[1:], strict=True):
        for what, mine, first in (("model", names.model, found[0].model), ("dictionaries", _sets(names, found[0]), _sets(found[0], names))):
            if mine != first:
                raise GraphError(
                    f"{graph.path}: {what} {mine}, but {graphs[0].path} has {first}; their features are not the same, so import them as "
                    "runs of their own"
                )
    every = {kind: (names.releases[kind], names.pages.get(kind)) for names in reversed(found) for kind in names.releases}
    pages = {kind: page for kind, (_, page) in every.items() if page}
    return replace(found[0], releases={kind: name for kind, (name, _) in every.items()}, pages=pages)


def _sets(names: Names, others: Names) -> str:
    """The dictionaries of those kinds that both have."""
    return " and ".join(name for kind, name in names.releases.items() if kind in others.releases)
