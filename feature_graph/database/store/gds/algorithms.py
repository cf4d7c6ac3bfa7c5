"""The algorithms, as one table: endpoint of the client, shape of the graph, parameters, and where the score goes.

Everything runs on one thread, so that a seed and a fixed order of rows give the same answer again. Eigenvector centrality and strongly
connected components are left out: on a graph whose edges only go forward they are zero or trivial.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Family = Literal["hubs", "communities", "cores"]

_WEIGHTED = {"relationship_weight_property": "weight"}
_RANK = _WEIGHTED | {"max_iterations": 200, "tolerance": 1e-12}


@dataclass(frozen=True)
class Algorithm:
    """How one algorithm is called.

    Attributes:
        endpoint: Attribute of the graphdatascience client.
        written_to: Property of Observation that carries its score.
        meaning: One clause for people.
        family: ``hubs`` (a score per feature), ``communities`` (a partition) or ``cores`` (a core number per feature).
        params: Arguments of the call.
        column: Column of what it streams that is the score.
        indexed: It needs the edges from target to source too.
        estimated: GDS can tell beforehand what memory it takes.
        seeded: It takes ``random_seed``.
    """

    endpoint: str
    written_to: str
    meaning: str
    family: Family = "hubs"
    params: dict[str, Any] = field(default_factory=dict)
    column: str = "score"
    indexed: bool = False
    estimated: bool = True
    seeded: bool = False

    @property
    def directed(self) -> bool:
        """Whether the direction of edges matters to it."""
        return self.family == "hubs" and self.params.get("orientation") != "UNDIRECTED"

    def arguments(self, seed: int) -> dict[str, Any]:
        """Arguments of the call, with the seed where it takes one."""
        return self.params | ({"random_seed": seed} if self.seeded else {}) | {"concurrency": 1}


def _degree(property_: str, meaning: str, orientation: str, weighted: bool = False) -> Algorithm:
    return Algorithm("degree", property_, meaning, params={"orientation": orientation} | (_WEIGHTED if weighted else {}))


_HITS = {"hits_iterations": 200}

ALGORITHMS: dict[str, Algorithm] = {
    "degree": _degree("degree", "edges in and out", "UNDIRECTED"),
    "in_degree": _degree("in_degree", "edges that end here", "REVERSE"),
    "out_degree": _degree("out_degree", "edges that begin here", "NATURAL"),
    "strength": _degree("strength", "sum of the magnitudes of its edges", "UNDIRECTED", weighted=True),
    "in_strength": _degree("in_strength", "sum of the magnitudes of the edges that end here", "REVERSE", weighted=True),
    "out_strength": _degree("out_strength", "sum of the magnitudes of the edges that begin here", "NATURAL", weighted=True),
    "pagerank": Algorithm("page_rank", "pagerank", "PageRank by magnitude, damping 0.85", params=_RANK),
    "article_rank": Algorithm("article_rank", "article_rank", "PageRank that trusts features with few outgoing edges less", params=_RANK),
    "hits_hub": Algorithm("hits", "hits_hub", "drives good authorities, by count", params=_HITS, column="hub", indexed=True),
    "hits_authority": Algorithm("hits", "hits_authority", "driven by good hubs, by count", params=_HITS, column="auth", indexed=True),
    "betweenness": Algorithm("betweenness", "betweenness", "shortest routes in edges through it, unsampled"),
    "closeness": Algorithm(
        "closeness",
        "closeness",
        "closeness over incoming routes, corrected after Wasserman and Faust",
        params={"use_wasserman_faust": True},
        estimated=False,
    ),
    "harmonic": Algorithm("harmonic_centrality", "harmonic", "mean of 1 / distance over incoming routes", estimated=False),
    "leiden": Algorithm("leiden", "community", "communities by Leiden, by magnitude", "communities", _WEIGHTED, seeded=True),
    "louvain": Algorithm("louvain", "louvain", "communities by Louvain, by magnitude", "communities", _WEIGHTED),
    "label_propagation": Algorithm(
        "label_propagation", "label_propagation", "communities by label propagation, by magnitude", "communities", _WEIGHTED
    ),
    "wcc": Algorithm("wcc", "component", "connected parts, directions ignored", "communities"),
    "kcore": Algorithm("kcore", "core", "core number, without direction", "cores", column="coreValue"),
}
