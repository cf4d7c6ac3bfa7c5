"""What each stage does, from its artifacts to its artifact. Heavy libraries are imported when a stage really runs.

Everything that an earlier stage made is read back from its file, also within one process: a run that was cut off and one that was not
then go on from the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from feature_graph.artifacts import (
    ActivationStore,
    CandidateSet,
    CoactivationAtlas,
    InteractionSet,
    ResponseStore,
    RunPaths,
    indices_by_layer,
    read_key,
    site_facts,
)
from feature_graph.config import Config
from feature_graph.pipeline.stages import StageName

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from feature_graph.interventions import AnalysedModel
    from feature_graph.subgraphs import Chosen


@dataclass(frozen=True)
class StageResult:
    """What a stage made.

    Attributes:
        rows: Rows of its main artifact.
        counts: Further figures.
        facts: What belongs to the run as a whole: ``model``, ``saes``, ``sae_quality`` of the manifest.
    """

    rows: int
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class RunContext:
    """One run directory and, from the first stage that asks for them, the model and its SAEs."""

    def __init__(self, cfg: Config, paths: RunPaths) -> None:
        self.cfg = cfg
        self.paths = paths
        self._analysed: AnalysedModel | None = None

    def analysed(self) -> AnalysedModel:
        """The model and its dictionaries, loaded and analysed once."""
        if self._analysed is None:
            from feature_graph.interventions import AnalysedModel
            from feature_graph.loading import load_model_and_saes

            self._analysed = AnalysedModel.of(*load_model_and_saes(self.cfg), self.cfg, components=True)
        return self._analysed

    def store(self) -> ActivationStore:
        """The collected activations."""
        return ActivationStore.load(self.paths.activations)

    def candidates(self) -> CandidateSet:
        """The chosen pairs, with the store their samples are drawn from."""
        return CandidateSet.load(self.paths.candidates, self.store())

    def responses(self) -> ResponseStore | None:
        """The responses; None if the run does not measure them."""
        return ResponseStore(self.paths.responses) if self.cfg.candidates == "responses" else None

    def seeds(self) -> dict[str, list[Chosen]]:
        """The seeds of each behaviour; none if the run chooses them only when the graph is known."""
        from feature_graph.subgraphs import load_seeds

        return load_seeds(self.paths.seeds) if self.cfg.candidates == "responses" else {}

    def features(self) -> pd.DataFrame:
        """The features table."""
        from ingest.formats import FEATURES, read_table

        return read_table(self.paths.features, FEATURES).to_pandas()

    def graph(self) -> nx.DiGraph:
        """The interaction graph."""
        from feature_graph.graph import load_graph

        return load_graph(self.paths.graph_json)


def collect(context: RunContext) -> StageResult:
    """Record which feature is how active at which token."""
    from feature_graph.activations import collect_activations
    from feature_graph.dictionaries import weights_hash

    model = context.analysed()
    store = collect_activations(model, model.saes, context.cfg, path=context.paths.activations, parts_dir=context.paths.parts("collect"))
    first = store.sites[store.layers[0]]
    facts = {
        "model": {"name": first.model, "hash": first.model_hash},
        "saes": {
            str(layer): facts | {"sha256": weights_hash(model.saes[read_key(layer)])} for layer, facts in site_facts(store.sites).items()
        },
        "sae_quality": store.meta.get("sae_quality", {}),
    }
    outliers = int(store.meta.get("outliers", {}).get("tokens", 0))
    return StageResult(store.n_tokens, {"documents": len(store.tokens), "layers": len(store.layers), "outlier_tokens": outliers}, facts)


def atlas(context: RunContext) -> StageResult:
    """Count joint activity."""
    from feature_graph.coactivation import build_coactivation_atlas

    made = build_coactivation_atlas(context.store(), context.cfg, path=context.paths.atlas)
    return StageResult(sum(int(counts.nnz) for counts in made.counts.values()), {"layer_pairs": len(made.layer_pairs)})


def responses(context: RunContext) -> StageResult:
    """Measure what one unit of each feature does at every later site."""
    from feature_graph.responses import measure_responses

    model, paths = context.analysed(), context.paths
    store = measure_responses(model, model.saes, context.store(), context.cfg, paths.responses, parts_dir=paths.parts("responses"))
    left_out = sum(count for reasons in store.meta["left_out"].values() for count in reasons.values())
    return StageResult(sum(len(s.index) for s in store.sources.values()), {"site_pairs": len(store.pairs), "left_out": left_out})


def seeds(context: RunContext) -> StageResult:
    """Choose the seeds of the run's behaviours, so that they are among the pairs that are measured."""
    from feature_graph.subgraphs import choose_behavior_seeds, save_seeds

    model = context.analysed()
    chosen = {name: choose_behavior_seeds(model, model.saes, name, context.cfg) for name in context.cfg.behaviors}
    save_seeds(context.paths.seeds, chosen)
    return StageResult(sum(len(features) for features in chosen.values()))


def candidates(context: RunContext) -> StageResult:
    """Choose the pairs to measure; with ``targets = all`` there is nothing to choose."""
    from feature_graph.candidates import identify_candidates, shortlist

    if context.cfg.targets == "all":
        CandidateSet.empty(facts={"targets": "all"}).save(context.paths.candidates)
        return StageResult(0)
    model = context.analysed()
    counts = CoactivationAtlas.load(context.paths.atlas)
    if (responses := context.responses()) is not None:
        named = [(seed.layer, seed.index) for features in context.seeds().values() for seed in features]
        chosen = shortlist(responses, counts, context.store(), model, context.cfg, seeds=indices_by_layer(named))
    else:
        chosen = identify_candidates(counts, model.saes, context.cfg, activation_store=context.store(), model=model)
    chosen.save(context.paths.candidates)
    return StageResult(len(chosen), {f"after_{stage.stage}": stage.after for stage in chosen.stages})


def measure(context: RunContext) -> StageResult:
    """Measure every candidate by intervention; number, describe and label the features."""
    from feature_graph.activations import write_features
    from feature_graph.interactions import measure_interactions

    if context.cfg.targets == "all":
        return _measure_all(context)
    model = context.analysed()
    pairs = context.candidates()
    measured = measure_interactions(
        model, model.saes, pairs, context.cfg, responses=context.responses(), parts_dir=context.paths.parts("measure")
    )
    n_features = write_features(context.paths.features, pairs, model.model)
    measured.save(context.paths.interactions)
    left_out = {f"left out: {reason}": count for reason, count in measured.meta["sources"]["left_out"].items()}
    return StageResult(len(measured), {"features": n_features, "significant": int(measured.frame["significant"].sum()), **left_out})


def _measure_all(context: RunContext) -> StageResult:
    """Every feature against every feature of its window; features.parquet lists those that have an edge."""
    from feature_graph.activations import write_features
    from feature_graph.interactions import measure_exhaustive

    model = context.analysed()
    store = context.store()
    found = measure_exhaustive(model, model.saes, store, context.cfg, context.paths.interactions, parts_dir=context.paths.parts("measure"))
    n_features = write_features(context.paths.features, CandidateSet.empty(store), model.model, found.features)
    counts = {"features": n_features, "significant": found.n_edges, "tested": found.n_tests, "sources": found.n_sources}
    return StageResult(found.n_edges, counts)


def graph(context: RunContext) -> StageResult:
    """Keep the significant edges as a graph."""
    from feature_graph.graph import build_interaction_graph, name_responses, save_graph

    made = build_interaction_graph(InteractionSet.load(context.paths.interactions), context.cfg, features=context.features())
    name_responses(made, context.paths.responses)
    save_graph(made, context.paths.graphml, format="graphml")
    save_graph(made, context.paths.graph_json, format="json")
    return StageResult(made.number_of_edges(), {"nodes": made.number_of_nodes(), "edges": made.number_of_edges()})


def behaviors(context: RunContext) -> StageResult:
    """Find the features that known behaviours rest on."""
    from feature_graph.subgraphs import extract_behavior_subgraph, save_behaviors

    model = context.analysed()
    whole, chosen = context.graph(), context.seeds()
    found = [
        extract_behavior_subgraph(model, model.saes, whole, behavior=name, cfg=context.cfg, seeds=chosen.get(name))
        for name in context.cfg.behaviors
    ]
    save_behaviors(context.paths.root / "behaviors.json", found)
    return StageResult(len(found), {"seeds": sum(len(one.seed_features) for one in found)})


def report(context: RunContext) -> StageResult:
    """Write the report for people."""
    from feature_graph.report import write_report

    write_report(context.paths.root)
    return StageResult(1)


StageFunctions = Mapping[StageName, Callable[[RunContext], StageResult]]
STAGE_FUNCTIONS: StageFunctions = {
    "collect": collect,
    "atlas": atlas,
    "responses": responses,
    "seeds": seeds,
    "candidates": candidates,
    "measure": measure,
    "graph": graph,
    "behaviors": behaviors,
    "report": report,
}
