"""What each section of the report says, as plain values; the template only sets it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from feature_graph.analysis import (
    CopyFamily,
    EdgeAgreement,
    GraphStatistics,
    Replication,
    composition,
    compute_graph_statistics,
    copy_families,
    count_motifs,
    detect_communities,
    edge_agreement,
    modularity,
    replication,
)
from feature_graph.graph import (
    as_asked,
    collapsed,
    effect_of,
    none_left,
    structural,
)
from feature_graph.motifs import MEANINGS
from feature_graph.report.material import Material
from feature_graph.report.sites import by_sites, in_order, where
from feature_graph.report.strongest import hubs, label, strongest_edges
from feature_graph.terminal import percent
from ingest import counted

COMMUNITIES, MEMBERS, FAMILIES = 8, 6, 12
FILES = {
    "config.json": "what was asked for",
    "manifest.json": "state, time, versions and hash of every stage",
    "activations.h5": "which feature was how active at which token",
    "atlas.h5": "which features are active together",
    "responses.h5": "what one unit of each feature does to the residual stream downstream",
    "candidates.parquet": "pairs chosen to be measured",
    "features.parquet": "one row per feature, with its label",
    "interactions.parquet": "one row per measured pair, with every figure",
    "graph.graphml": "the graph for Gephi, Cytoscape, yEd",
    "graph.json": "the graph as node-link JSON",
    "seeds.json": "the seed features of known behaviours, measured whatever their effects",
    "behaviors.json": "features that known behaviours rest on",
    "pruning_recall.json": "what pruning loses, on an exhaustive slice",
    "validation.json": "behaviours and steering, measured in the model",
    "report.html": "this page",
}


@dataclass(frozen=True)
class Findings:
    """Everything computed for the report.

    Attributes:
        stats: Figures of the graph.
        structural: The structural edges by the effect that counts by default, of which motifs are counted.
        between: The same with each copy family as one feature: what hubs and communities are asked of, and what is drawn.
        effect: Which effect that is.
        unspecific: Why no edge has a specific effect; empty if some have, or if the run found none.
        none_left: Why it has no edges; empty if it has some, or if the run found none.
        hubs: Most connected features.
        edges: Strongest edges, by the standardised effect that counts by default; a few of each source.
        ordered_by: Which effect that is; strength where no edge has another.
        communities: Largest groups with their most connected members.
        n_communities: Groups with at least two features.
        modularity: Of the grouping.
        families: Copy families with the longest life, and labels of their members.
        n_families: Copy families.
        motifs: Motif → (meaning, count).
        replication: On the confirmation documents; None without interactions.
        agreement: Of clamping and derivative over the significant edges; None if only one was run.
    """

    stats: GraphStatistics
    structural: nx.DiGraph
    between: nx.DiGraph
    effect: str
    unspecific: str
    none_left: str
    hubs: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    ordered_by: str
    communities: list[dict[str, Any]]
    n_communities: int
    modularity: float
    families: list[dict[str, Any]]
    n_families: int
    motifs: dict[str, tuple[str, int]]
    replication: Replication | None
    agreement: EdgeAgreement | None


def find(material: Material) -> Findings:
    """Compute what the report says."""
    graph = material.graph
    assert graph is not None
    backbone = as_asked(structural(graph))
    stated = as_asked(graph)
    ranked = stated if stated.size() else graph
    between = collapsed(backbone)
    groups = detect_communities(between)
    families = copy_families(graph)
    frame = None if material.interactions is None else material.interactions.frame
    return Findings(
        stats=compute_graph_statistics(graph),
        structural=backbone,
        between=between,
        effect=effect_of(backbone),
        unspecific=unspecific(graph, material.config or {}),
        none_left=none_left(graph, backbone),
        hubs=hubs(between),
        edges=strongest_edges(graph, ranked),
        ordered_by=effect_of(ranked),
        communities=[_community(between, g) for g in groups[:COMMUNITIES] if len(g) > 1],
        n_communities=sum(len(g) > 1 for g in groups),
        modularity=modularity(between, groups),
        families=[_family(graph, family) for family in families[:FAMILIES]],
        n_families=len(families),
        motifs={name: (MEANINGS[name], count) for name, count in count_motifs(backbone).items()},
        replication=None if frame is None else replication(frame),
        agreement=None if frame is None else edge_agreement(frame),
    )


def unspecific(graph: nx.DiGraph, config: dict[str, Any]) -> str:
    """Why no edge has a specific effect, in a clause; empty if some have, or if there are no edges."""
    if not graph.size() or any(math.isfinite(d.get("specific", math.nan)) for *_, d in graph.edges(data=True)):
        return ""
    if config.get("targets") == "all":
        return "with targets: all no random directions are measured"
    return "specificity_directions is 0" if config.get("specificity_directions") == 0 else "no random directions were measured"


def summary(material: Material, found: Findings) -> list[str]:
    """What was found, in plain sentences."""
    s, graph = found.stats, material.graph
    assert graph is not None
    facts = graph.graph
    model = facts.get("model") or "the model"
    at = where(material.config or {})
    tested = f"{facts.get('tested', 0):,} pairs of features{at} of {model} were tested by intervening in the model."
    if not s.n_edges:
        return [tested, "No interaction was significant, so the graph is empty."]
    share = f" ({percent(s.n_edges / facts['tested'])} of them)" if facts.get("tested") else ""
    lines = [
        f"{tested} {s.n_edges:,} edges{share} between {s.n_nodes:,} features passed at q < {facts.get('alpha', 0.05):g}"
        f"{', corrected by ' + facts['correction'] if facts.get('correction') else ''}; {_signs(s)}."
    ]
    if math.isfinite(s.copy_share):
        lines.append(
            f"{percent(s.copy_share)} of the edges are mostly copy: the source's direction is still there in the residual stream at the "
            f"target. The other {percent(1 - s.copy_share)} are mostly computed by the blocks between."
        )
    r = found.replication
    if r is not None and r.measured:
        lines.append(
            f"On documents that were used neither for choosing nor for testing, {percent(r.rate)} of {r.measured:,} edges replicate "
            f"(95 % interval: {percent(r.rate_low)} to {percent(r.rate_high)}); their strengths were {abs(r.shrinkage):.0%} "
            f"{'smaller' if r.shrinkage >= 0 else 'larger'} in the median."
        )
    if found.hubs:
        h = found.hubs[0]
        named = f" ({h['label']})" if h["label"] else ""
        lines.append(
            f"The most connected feature is {h['id']}{named}: it drives {counted(h['out_degree'], 'feature')} and is driven by "
            f"{h['in_degree']}, by structural edges{'' if found.effect == 'strength' else f' with a {found.effect} effect'}."
        )
    return lines


def _signs(s: GraphStatistics) -> str:
    """How many edges excite, inhibit, and take from a copy, where there are such."""
    if (rest := 1 - s.positive_share - s.negative_share) < 1 / (2 * s.n_edges):
        return f"{percent(s.positive_share)} excite, the rest inhibit"
    return f"{percent(s.positive_share)} excite, {percent(s.negative_share)} inhibit, {percent(rest)} take from a copy"


def evidence(material: Material) -> dict[str, Any]:
    """What the tests were: families, correction, level, floors, and what was left out."""
    if material.interactions is None:
        return {}
    meta, frame = material.interactions.meta, material.interactions.frame
    significant = frame[frame["significant"].astype(bool)]
    passed = {
        effect: sum(effect in str(by).split("+") for by in significant["significant_by"])
        for effect in ("total", "computed", "direct", "later")
    }
    floors = [
        {
            "pair": f"{a} → {b}",
            "pairs": len(g),
            "edges": int(g["significant"].sum()),
            **{f: _span(g[f]) for f in ("floor", "floor_direct", "floor_later")},
        }
        for a, b, g in by_sites(frame)
    ]
    return {
        "level": meta.get("level"),
        "correction": meta.get("correction"),
        "families": meta.get("families", {}),
        "passed": passed,
        "composition": composition(frame, float(meta.get("level", 0.05))),
        "floors": floors,
        "sources": meta.get("sources", {}),
        "placebos": meta.get("placebos", {}),
        "warnings": meta.get("warnings", []),
        "samples": _span(frame["n_samples"]),
        "documents": _span(frame["n_documents"]),
        "achieved": float(frame["achieved"].astype(float).mean()) if len(frame) else math.nan,
        "spill": float(frame["spill"].astype(float).median()) if len(frame) else math.nan,
    }


def pruning_losses(material: Material) -> list[dict[str, Any]]:
    """What each pruning stage loses: one row per stage, columns for all edges and by sign; empty if it was not measured."""
    found = material.recall
    if found is None:
        return []
    rows = []
    for stage, name in found.stage_names.items():
        by_sign = {sign: found.of(stage, sign=sign) for sign in ("both", "excitatory", "inhibitory")}
        chosen = found.of(stage, "chosen") if found.has("chosen") else None
        rows.append({"name": name, "top": found.of(stage, "top") if stage != "source" else None, "chosen": chosen, **by_sign})
    return rows


def sae_quality(material: Material) -> list[dict[str, Any]]:
    """One row per dictionary: what was loaded, measured figures next to published ones."""
    manifest = material.manifest or {}
    quality, loaded = manifest.get("sae_quality") or {}, manifest.get("saes") or {}
    return [
        {"layer": layer, "loaded": loaded.get(layer) or {}, **(quality.get(layer) or {})}
        for layer in sorted({*quality, *loaded}, key=in_order)
    ]


def stages(material: Material) -> list[dict[str, Any]]:
    """One row per stage of the run."""
    records = (material.manifest or {}).get("stages") or {}
    return [
        {"name": name, "state": r.get("state", ""), "seconds": r.get("seconds", 0.0), "rows": r.get("rows", 0), "error": r.get("error", "")}
        for name, r in records.items()
        if name != "report"
    ]


def files(material: Material) -> list[dict[str, Any]]:
    """The files of the run directory with their sizes; those known, then the others."""
    root = material.paths.root
    present = {p.name: p for p in sorted(root.iterdir()) if p.is_file() and not p.name.startswith(".")}
    names = [*(n for n in FILES if n in present or n == "report.html"), *(n for n in present if n not in FILES)]
    return [{"name": n, "meaning": FILES.get(n, ""), "size": _size(present.get(n))} for n in names]


def made_at() -> str:
    """Now, for the foot of the page."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _community(graph: nx.DiGraph, members: set[str]) -> dict[str, Any]:
    inside = graph.subgraph(members)
    leading = sorted(members, key=lambda n: (-inside.degree(n), n))
    layers = sorted({graph.nodes[n].get("layer", 0) for n in members})
    return {
        "size": len(members),
        "edges": inside.number_of_edges(),
        "layers": f"{layers[0]} – {layers[-1]}" if len(layers) > 1 else str(layers[0]),
        "leading": [{"id": n, "label": label(graph, n)} for n in leading[:MEMBERS]],
    }


def _family(graph: nx.DiGraph, family: CopyFamily) -> dict[str, Any]:
    return {
        "layers": f"{family.first_layer}\N{NO-BREAK SPACE}–\N{NO-BREAK SPACE}{family.last_layer}",
        "copy_share": family.copy_share,
        "members": [{"id": n, "label": label(graph, n), "url": graph.nodes[n].get("neuronpedia_url", "")} for n in family.members],
    }


def _span(values: Any) -> tuple[float, float]:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return (float(known.min()), float(known.max())) if len(known) else (math.nan, math.nan)


def _size(path: Path | None) -> str:
    if path is None:
        return ""
    size = float(path.stat().st_size)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
