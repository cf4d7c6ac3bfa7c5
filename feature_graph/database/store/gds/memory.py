"""What a projection and the algorithms on it will take of the server's heap, asked before anything is projected."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_graph.database.store.errors import NotEnoughMemory
from feature_graph.database.store.gds.algorithms import ALGORITHMS, Algorithm

if TYPE_CHECKING:
    from graphdatascience import GraphDataScience

#: Heap that a row of a projection takes while the rows are put in order, as Neo4j's own profile counts it (docs/log.md).
SORT_BYTES = 361
#: Share of the heap that Neo4j grants to transactions, of which the rows are one.
_TRANSACTION_SHARE = 0.7
#: Per feature, where GDS gives no estimate: three distances or masks and two results of the breadth-first searches.
_UNESTIMATED_BYTES = 64


@dataclass(frozen=True)
class Memory:
    """What is needed and what is there.

    Attributes:
        nodes: Features of the projection.
        relationships: Edges of it.
        needed: Bytes of heap at most: the rows while they are put in order, or projection and largest algorithm, whichever is more.
        free: Bytes of heap that were free after the last collection of garbage, at most what Neo4j grants to transactions.
        algorithm: The algorithm that needs most.
    """

    nodes: int
    relationships: int
    needed: int
    free: int
    algorithm: str


def memory_needed(gds: GraphDataScience, nodes: int, relationships: int, algorithms: Collection[str]) -> Memory:
    """GDS's own upper estimate for a graph of this size, nothing being projected."""
    most = {name: _estimate(gds, ALGORITHMS[name], nodes, relationships) for name in algorithms}
    name = max(most, key=most.__getitem__)
    sort = SORT_BYTES * (nodes + relationships)
    heap = gds.debug.sys_info()
    free = int(min(heap.available_heap_in_bytes or 0, _TRANSACTION_SHARE * (heap.heap_max_in_bytes or 0)))
    return Memory(nodes, relationships, max(most[name], sort), free, name)


def require_memory(memory: Memory) -> Memory:
    """The same, if it is there.

    Raises:
        NotEnoughMemory: If it is not.
    """
    if memory.needed > memory.free:
        raise NotEnoughMemory(
            f"{memory.algorithm} on {memory.nodes:,} features and {memory.relationships:,} edges needs about {_mb(memory.needed)} of the "
            f"server's heap and {_mb(memory.free)} are free: take fewer edges (structural, or one sign), or start the server with more: "
            "feature-graph db stop; feature-graph db start --heap 2g"
        )
    return memory


def _estimate(gds: GraphDataScience, algorithm: Algorithm, nodes: int, relationships: int) -> int:
    dimensions: dict[str, Any] = {"nodeCount": nodes, "relationshipCount": relationships, "nodeProjection": "*"}
    orientation = "NATURAL" if algorithm.family == "hubs" else "UNDIRECTED"
    edges = {"type": "*", "orientation": orientation, "properties": "weight", "indexInverse": algorithm.indexed}
    dimensions["relationshipProjection"] = {"AFFECTS": edges}
    if not algorithm.estimated:
        return int(gds.degree.estimate(dimensions).bytes_max) + _UNESTIMATED_BYTES * nodes
    endpoint = getattr(gds, algorithm.endpoint)
    return int(endpoint.estimate(dimensions, **algorithm.arguments(seed=0)).bytes_max)


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"
