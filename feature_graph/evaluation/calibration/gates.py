"""Gates: the planted AND gate must be found, and pairs of sources that merely add up must not."""

from __future__ import annotations

from typing import Any

import numpy as np

from feature_graph.artifacts import ActivationStore, FeatureRef, Triple
from feature_graph.config import Config
from feature_graph.evaluation.planted import PlantedModel
from feature_graph.interactions import measure_gating
from feature_graph.utils import derived_seed, without_progress

#: For each wire of the first block, so many other sources are paired with its own.
OTHERS = 3


def measure_gates(planted: PlantedModel, store: ActivationStore, cfg: Config) -> dict[str, Any]:
    """Test the planted gates and pairs without one, in one family.

    Only sources of the first site and targets of the second are paired: there every target but a gate's is a sum over its sources by
    construction, so that a contrast found is a false one.
    """
    gates = _gates(planted)
    others = _pairs_that_add(planted, set(gates), cfg.seed)
    with without_progress():
        found = measure_gating(planted.model, planted.saes, [*gates, *others], cfg, store=store, progress=False)
    frame = found.frame
    significant = {tuple(row) for row in frame.loc[frame["significant"], ["a_id", "b_id", "tgt_id"]].to_numpy().tolist()}
    ids = {triple: (triple.a.id, triple.b.id, triple.target.id) for triple in (*gates, *others)}
    measured = {tuple(row) for row in frame[["a_id", "b_id", "tgt_id"]].to_numpy().tolist()}
    return {
        "n_gates": len(gates),
        "n_gates_found": sum(ids[t] in significant for t in gates),
        "n_gate_controls": sum(ids[t] in measured for t in others),
        "n_gates_false": sum(ids[t] in significant for t in others),
    }


def _gates(planted: PlantedModel) -> list[Triple]:
    plan = planted.wiring
    return [_triple(planted, gate.first, gate.second, gate.write) for gate in plan.gates if gate.block == 1]


def _triple(planted: PlantedModel, first: str, second: str, write: str) -> Triple:
    one, two = sorted([planted.key(0, first), planted.key(0, second)])
    return Triple(FeatureRef(*one), FeatureRef(*two), FeatureRef(*planted.key(1, write)))


def _pairs_that_add(planted: PlantedModel, gates: set[Triple], seed: int) -> list[Triple]:
    """A wire's own source with others of its site, on the wire's target; and each input of a gate with others on the gate."""
    plan, rng = planted.wiring, np.random.default_rng(derived_seed(seed, "gate controls"))
    wires = [(w.read, w.write) for w in (*plan.wires, *plan.pushed) if w.block == 1 and w.by == "mlp"]
    wires += [(read, g.write) for g in plan.gates if g.block == 1 for read in (g.first, g.second)]
    sources, targets = set(plan.dictionaries[0]) - {"dead"}, set(plan.dictionaries[1])
    found = []
    for read, write in wires:
        others = rng.permutation(sorted(sources - {read})).tolist()[:OTHERS]
        found += [_triple(planted, read, other, write) for other in others if write in targets]
    return [triple for triple in dict.fromkeys(found) if triple not in gates]
