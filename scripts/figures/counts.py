"""What the files of a run say: README's paragraphs, what pruning loses, ids for commands."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pandas as pd

from feature_graph.analysis import COMPUTED, composition, computation, compute_graph_statistics, replication
from feature_graph.artifacts import ActivationStore, CandidateSet, InteractionSet, PruningRecall, RunPaths
from feature_graph.artifacts.recall import StageLoss
from feature_graph.evaluation.pruning_recall import CHOSEN, TOP
from feature_graph.graph import as_asked, load_graph, structural
from feature_graph.motifs import count_pattern
from scripts.figures import texts

_PATTERN = "A:{feature} ~> B [|strength| > 0.2]; B -> C; A !> C"


def figures(run: Path) -> dict[str, str]:
    """Of the run between residual SAEs, by name."""
    paths = RunPaths.of(run)
    interactions, G = InteractionSet.load(paths.interactions).frame, load_graph(paths.graph_json)
    features = _by_effects(G)
    deep = _deep(G, features)
    return {
        **_paragraph("run", paths, interactions, G),
        "feature.first": features[0],
        "feature.deep": deep,
        "command.cascade": f"`feature-graph query cascade --param run=bundled-residual --param feature={deep} --param delta=2.0`",
        "motifs.questions": _motif_questions(G, features),
        "vectors.commands": _vectors(features[0]),
        **_pruning(paths),
    }


def demo(run: Path) -> dict[str, str]:
    """Of the run between the transcoders of the band, by name."""
    paths = RunPaths.of(run)
    interactions, G = InteractionSet.load(paths.interactions).frame, load_graph(paths.graph_json)
    near, *_, far = computation(interactions).by_blocks
    return {
        **_paragraph("demo", paths, interactions, G),
        "demo.near": texts.percent(near.share),
        "demo.far": texts.percent(far.share),
        "demo.blocks": str(far.blocks),
    }


def _paragraph(name: str, paths: RunPaths, interactions: pd.DataFrame, G: nx.DiGraph) -> dict[str, str]:
    stats, again = compute_graph_statistics(G), replication(interactions)
    shares = {kind.kind: kind.share for kind in composition(interactions)}
    return {
        f"{name}.tokens": texts.whole(ActivationStore.load(paths.activations).n_tokens),
        f"{name}.possible": texts.whole(CandidateSet.load(paths.candidates).stages[0].before),
        f"{name}.pairs": texts.whole(len(interactions)),
        f"{name}.edges": texts.whole(stats.n_edges),
        f"{name}.features": texts.whole(stats.n_nodes),
        f"{name}.excite": texts.percent(stats.positive_share),
        f"{name}.replicated": texts.percent(again.rate),
        f"{name}.remeasured": texts.whole(again.measured),
        f"{name}.shrinkage": texts.percent(again.shrinkage),
        f"{name}.copied": texts.percent(stats.copy_share),
        f"{name}.computed": texts.percent(shares[COMPUTED]),
        f"{name}.specific": texts.percent(shares["specific"]),
        f"{name}.attenuating": texts.percent(shares["attenuating"]),
    }


def _by_effects(G: nx.DiGraph) -> list[str]:
    """Features by the number of their structural effects, most first."""
    inner = structural(G)
    return sorted(inner, key=lambda n: (-inner.out_degree(n), n))


def _deep(G: nx.DiGraph, features: list[str]) -> str:
    """The feature of the third layer with most effects."""
    third = sorted({d["layer"] for _, d in G.nodes(data=True)})[2]
    return next(n for n in features if G.nodes[n]["layer"] == third)


def _motif_questions(G: nx.DiGraph, features: list[str]) -> str:
    inner = as_asked(structural(G))  # as the command does
    written = [_PATTERN.format(feature=n) for n in features]
    pattern = next((p for p in written if count_pattern(inner, p)), written[0])
    lines = [
        '$ feature-graph motifs outputs/bundled-residual --pattern "A -> B; B -| C; A -> C"',
        f'$ feature-graph motifs bundled-residual --pattern "{pattern}"',
    ]
    return "\n".join(["```console", *lines, "```"])


def _vectors(feature: str) -> str:
    lines = [
        "feature-graph vectors outputs/bundled-residual     # writes decoders.parquet; loads the run's SAEs, but not its model",
        "feature-graph ingest outputs/bundled-residual      # adds the vectors to the features; a run that is there is not loaded twice",
        f"feature-graph query similar --param feature={feature}",
    ]
    return "\n".join(["```bash", *lines, "```"])


def _pruning(paths: RunPaths) -> dict[str, str]:
    found = PruningRecall.load(paths.pruning_recall)
    heads = ["stage", "lost", "share lost, all sources", "of their strength", "of excitatory", "of inhibitory"]
    heads += ["lost of the top sources' edges"] + ["lost of the shortlist's sources' edges"] * found.has(CHOSEN)
    drawn = sum(layer["drawn"] for layer in found.sources.values())
    inhibitory = found.of("layer_window", sign="inhibitory").edges
    return {
        "pruning.sources": texts.whole(drawn),
        "pruning.testable": texts.whole(sum(layer["testable"] for layer in found.sources.values())),
        "pruning.pairs": texts.whole(found.tested),
        "pruning.edges": texts.whole(found.edges),
        "pruning.inhibitory": texts.whole(inhibitory),
        "pruning.table": texts.table(heads, [_stage(found, stage) for stage in found.stage_names]),
    }


def _stage(found: PruningRecall, stage: str) -> list[str]:
    loss = found.of(stage)
    signs = [_share(found.of(stage, sign=sign)) for sign in ("excitatory", "inhibitory")]
    groups = [_share(found.of(stage, TOP)) if stage != "source" else ""]
    groups += [_share(found.of(stage, CHOSEN))] * found.has(CHOSEN)
    name = found.stage_names[stage] + (" (compared with one more site)" if stage == "layer_window" else "")
    return [name, f"{loss.lost} of {loss.edges}", _share(loss), texts.percent(loss.strength_share), *signs, *groups]


def _share(loss: StageLoss) -> str:
    if loss.share is None:
        return texts.NONE
    if not loss.lost or loss.low is None or loss.high is None:
        return texts.percent(loss.share)
    return f"{texts.percent(loss.share)} ({loss.low:.0%} to {loss.high:.0%})".replace("%", " %").replace("  ", " ")
