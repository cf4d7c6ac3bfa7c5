"""The questions about copy families answered from the files of a run, feature by feature; shares no code with ``ingest`` or ``queries``."""

from __future__ import annotations

from collections import defaultdict

from tests.graph.twins import Rows, RunFiles, default_effect, effect, passes, structural, top
from tests.graph.twins_copies import chains, members


def families(run: RunFiles, method: str, limit: int, feature: str | None = None, min_lifetime: int = 0) -> Rows:
    rows = []
    for chain in chains(run.edges(method)):
        ids = members(chain)
        first, last = run.layer[ids[0]], run.layer[ids[-1]]
        if last - first >= min_lifetime and feature in (None, *ids):
            share = sum(e["copy"] / e["total"] for e in chain) / len(chain)
            rows.append(
                {"id": ids[0], "first_layer": first, "last_layer": last, "lifetime": last - first, "size": len(ids)}
                | {"copy_share": share, "members": ids, "label": run.label[ids[0]]}
            )
    return top(rows, limit, lambda r: -r["lifetime"], lambda r: -r["size"], lambda r: r["first_layer"], lambda r: r["id"])


def family_hubs(run: RunFiles, method: str, measure: str, edges: str, sign: str, limit: int, by: str | None = None) -> Rows:
    by = by or default_effect(run, method)
    kin = {name: members(chain) for chain in chains(run.edges(method)) for name in members(chain)}
    between: dict[tuple[str, str], float] = {}
    for e in run.edges(method):
        ends = kin.get(e["source"], [e["source"]])[0], kin.get(e["target"], [e["target"]])[0]
        value = effect(e, edges, by)
        if structural(e, edges) and value is not None and passes(e, value, sign, by) and ends[0] != ends[1]:
            between[ends] = max(between.get(ends, 0.0), abs(value))
    out: dict[str, list[float]] = defaultdict(list)
    into: dict[str, list[float]] = defaultdict(list)
    for (source, target), size in between.items():
        out[source].append(size)
        into[target].append(size)
    rows = []
    for name in {*out, *into}:
        chosen = {"in": into[name], "out": out[name]}.get(measure.split("_")[0], into[name] + out[name])
        ids = kin.get(name, [name])
        score = float(sum(chosen) if measure.endswith("strength") else len(chosen))
        rows.append(
            {"id": name, "layer": run.layer[name], "last_layer": run.layer[ids[-1]], "size": len(ids), "score": score}
            | {"incoming": len(into[name]), "outgoing": len(out[name]), "label": run.label[name]}
        )
    return top(rows, limit, lambda r: -round(r["score"], 10), lambda r: r["id"])
