"""Which GDS procedures and functions the server loads: all that compute, none that writes files.

Neo4j's allowlist has no exceptions, so the families are spelt out; what is left out is ``gds.graph.export*`` of OpenGDS, and whatever a
later version may add. A test compares the list with what the server would have without it.
"""

from __future__ import annotations

EXACT = """
    version list listProgress userLog isLicensed triangles
    graph.project graph.list graph.drop graph.exists graph.filter graph.generate
    model.drop model.exists model.list
"""
FAMILIES = """
    articleRank betweenness closeness degree eigenvector hits influenceMaximization pageRank
    articulationPoints bridges conductance k1coloring kcore kmeans labelPropagation leiden localClusteringCoefficient louvain maxkcut
    modularity modularityOptimization scc sllpa triangleCount wcc
    allShortestPaths bellmanFord bfs dag dfs kSpanningTree prizeSteinerTree randomWalk shortestPath spanningTree steinerTree
    fastRP hashgnn node2vec
    knn nodeSimilarity similarity
    collapsePath scaleProperties alpha beta pipeline
    debug license memory util
    graph.project graph.graphProperty graph.nodeLabel graph.nodeProperties graph.nodeProperty graph.relationship
    graph.relationshipProperties graph.relationshipProperty graph.relationships graph.sample
"""


def allowed_procedures() -> list[str]:
    """Patterns of the procedures and functions that may be called, in addition to Neo4j's own."""
    return [f"gds.{name}" for name in EXACT.split()] + [f"gds.{name}.*" for name in FAMILIES.split()]
