"""Which features a path of direct effects may lead through, so that the sum over paths counts each influence once.

Between residual SAEs a direct effect holds the features of all sites in between, and a path may lead through any feature. In a run with
dictionaries on components it holds the outputs of the MLPs in between, and nothing else: what passes through a feature of the residual
stream or of attention is in the direct effect that goes past it as well. There a path may lead only through features whose effects are
those of an MLP that the others hold: of a transcoder, of the MLP's output, or of its input. Where an MLP has several of these
dictionaries, each describes all of it, and one is taken, in this order. Any feature may be the first or the last of a path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import networkx as nx

from ingest.feature_ids import FeatureId, split_site_name
from ingest.site_kinds import ID_SITES, SiteKind, kind_named

#: Name of the fact in ``G.graph``: the sites that paths may lead through, with spaces between; graphs of residual SAEs have none.
FACT = "passed_sites"
#: The methods of this program, whose direct effects hold the MLPs where dictionaries sit on components.
_OWN_METHODS = frozenset({"clamping", "jacobian"})
#: Kinds that stand for an MLP, the one that is taken first.
_MLP: tuple[SiteKind, ...] = ("transcoder", "mlp_out", "mlp_in")


@dataclass(frozen=True)
class PassedSites:
    """The sites that paths may lead through.

    Attributes:
        names: What ids of their features begin with; None: every site.
    """

    names: frozenset[str] | None = None

    @classmethod
    def of_sites(cls, sites: Iterable[str], method: str) -> Self:
        """Of a run.

        Args:
            sites: Names of all its sites, ``L5`` or ``L5.tc``.
            method: How its edges were measured. Those of other programs may lead through every site.
        """
        kinds: dict[int, set[SiteKind]] = defaultdict(set)
        for name in set(sites):
            layer, site = split_site_name(name)
            if kind := kind_named(site):
                kinds[layer].add(kind)
        if method not in _OWN_METHODS or not set().union(*kinds.values()) - {"residual"}:
            return cls()
        first = {layer: next((kind for kind in _MLP if kind in found), None) for layer, found in kinds.items()}
        return cls(frozenset(f"L{layer}.{ID_SITES[kind]}" for layer, kind in first.items() if kind))

    @classmethod
    def of(cls, graph: nx.DiGraph) -> Self:
        """Of a graph: what it says, else by its nodes' ids and the method of its edges. One that names no method is of another program."""
        if FACT in graph.graph:
            return cls(frozenset(str(graph.graph[FACT]).split()))
        method = graph.graph.get("method") or next((data.get("method", "") for *_, data in graph.edges(data=True)), "")
        if method not in _OWN_METHODS:
            return cls()
        return cls.of_sites({found.site_name for node in graph if (found := FeatureId.read(node))}, method)

    def has(self, node: Any) -> bool:
        """Whether a path may lead through a feature."""
        return self.names is None or str(node).rpartition("_F")[0] in self.names

    @property
    def facts(self) -> dict[str, str]:
        """What ``G.graph`` says."""
        return {} if self.names is None else {FACT: " ".join(sorted(self.names))}
