"""From part files to ``interactions.parquet``: three passes over the parts, none of which holds them all.

1. Count the p of pairs in a histogram and find their adjusted p (``correct``); those of the effects follow (``stats.adjust_pairs``).
2. Of the rows that pass, find how strong a target's edges must be to stay (``max_edges_per_target``), and number the features.
3. Write the edges, part by part, with everything that ``ingest.formats.INTERACTIONS`` lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from feature_graph.artifacts import FeatureNumbers, as_key, feature_id, layer_of, number_features, stored_columns, with_sites
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.exhaustive.family import AllTests, Kept, all_tests
from feature_graph.interactions.exhaustive.field import Field
from feature_graph.interactions.finish import (
    EFFECTS,
    add_confirmation,
    effect_p,
    interaction_types,
    replication_facts,
    set_q,
    standardised,
)
from feature_graph.interactions.smallest import feature_sd
from feature_graph.interventions import MeasurementContext
from feature_graph.utils import whole_file
from ingest.formats import INTERACTIONS, TableWriter

Floats = NDArray[np.float64]
_MEASURED = (
    "mean_strength",
    "direct_strength",
    "later_strength",
    "copy_strength",
    "computed_strength",
    "preactivation_strength",
    "p_on_change",
    "se",
    "se_computed",
    "held_features",
    "held_rank",
    "smallest",
)
#: Edges whose shrinkage is remembered.
_SAMPLE = 1_000_000
#: What :func:`feature_graph.analysis.replication` reads.
_REPLICATION = [
    "significant",
    "significant_by",
    "mean_strength",
    "computed_strength",
    "confirm_strength",
    "confirm_computed",
    "replicated",
]
_EMPTY = (
    *("direct_sum", "strength_jacobian", "direct_jacobian", "pmi", "coactivation_prob", "decoder_alignment"),
    *("specific_strength", "p_specific", "q_specific"),  # chosen sources only are compared with random directions
)


def write_edges(
    path: Path, kept: Kept, context: MeasurementContext, plan: Field, warnings: list[str]
) -> tuple[dict[str, Any], FeatureNumbers]:
    """Correct, cut and write; see the module's docstring.

    Returns:
        The ``meta`` of the file, and the numbers of its features.
    """
    store, codecs, cfg = context.store, context.codecs, context.cfg
    adjusted = all_tests(kept, plan, codecs, cfg)
    n_significant, cut = _survey(kept, adjusted, codecs, cfg)
    edges = _Edges(kept, adjusted, _floors(kept), codecs, cfg, cut)
    seen = _Seen()
    for frame in edges.frames():
        seen.add(frame)
    meta = _meta(cfg, plan, codecs, seen, edges, n_significant) | {"warnings": warnings}
    numbers = seen.numbers()
    sd = {layer: feature_sd(store, layer) for layer in sorted({t for found in plan.targets.values() for t in found})}
    columns = stored_columns(codec.site.name for codec in codecs.values())
    with whole_file(path) as part, TableWriter(part, INTERACTIONS, meta, columns) as writer:
        for frame in edges.frames():
            writer.write(pa.Table.from_pandas(_complete(frame, numbers, sd, codecs), preserve_index=False))
    return meta, numbers


def _floors(kept: Kept) -> dict[tuple[int, int], pd.DataFrame]:
    """(source layer, target layer) → floors of every feature, by index."""
    tables = {layer: kept.parts.read(name) for layer, name in kept.floors.items()}
    by_site = {}
    for layer, table in tables.items():
        for target in table["tgt_layer"].unique().tolist():
            by_site[layer, target] = table[table["tgt_layer"] == target].reset_index(drop=True)
    return by_site


@dataclass(frozen=True)
class _Edges:
    """The significant edges, block by block."""

    kept: Kept
    adjusted: AllTests
    floors: dict[tuple[int, int], pd.DataFrame]
    codecs: Mapping[int, SiteCodec]
    cfg: Config
    cut: dict[int, Floats]

    def frames(self) -> Iterator[pd.DataFrame]:
        """Edges with adjusted p, floors, levels and samples; sorted within and over the blocks."""
        for name in self.kept.names:
            frame = significant_rows(self.kept.parts.read(name), self.adjusted, self.cfg)
            frame = frame[self._strong(frame)]
            if len(frame):
                yield self._joined(frame, self.kept.parts.read(f"{name}-sources"))

    def _strong(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        limit = np.zeros(len(frame))
        layers, indices = frame["tgt_layer"].to_numpy(), frame["tgt_index"].to_numpy()
        for layer, limits in self.cut.items():
            limit[layers == layer] = limits[indices[layers == layer]]
        return entry_strength(frame) >= limit

    def _joined(self, frame: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
        frame = frame.merge(sources, on="src_index", how="left", validate="many_to_one")
        layer = int(sources["src_layer"].iloc[0])
        columns = [floor for _, _, _, floor in EFFECTS.values()]
        frame[columns] = np.nan
        by_layer: dict[Any, Any] = frame.groupby("tgt_layer").indices
        for target, where in by_layer.items():
            table = self.floors[layer, int(target)].iloc[frame["tgt_index"].to_numpy()[where]]
            for column in columns:
                frame.loc[frame.index[where], column] = np.maximum(table[column].to_numpy(), frame["smallest"].to_numpy()[where])
        return add_confirmation(frame)


def significant_rows(frame: pd.DataFrame, adjusted: AllTests, cfg: Config) -> pd.DataFrame:
    """Rows of a block that pass by one effect or more, with q and what they passed by; strengths as float64."""
    frame = frame.astype(dict.fromkeys([*_MEASURED, "confirm_strength", "confirm_computed", "placebo_quantile"], np.float64))
    frame = set_q(frame, adjusted.q(effect_p(frame)), cfg)
    return frame[frame["significant"]].reset_index(drop=True)


def entry_strength(frame: pd.DataFrame) -> Floats:
    """|effect| by which an edge enters the graph, [n]: total or else direct where they passed, otherwise the largest effect that did."""
    by = frame["significant_by"]
    passed = {
        effect: np.where(by.str.contains(effect), frame[strength].abs(), 0.0).astype(np.float64)
        for effect, (strength, *_) in EFFECTS.items()
    }
    first = [passed.pop(effect) for effect in ("total", "direct")]
    return np.select([size > 0 for size in first], first, np.max(list(passed.values()), axis=0))


def _survey(kept: Kept, adjusted: AllTests, codecs: Mapping[int, SiteCodec], cfg: Config) -> tuple[int, dict[int, Floats]]:
    """Significant rows, and target layer → smallest |effect| of an edge that stays [d_sae] (none without ``max_edges_per_target``)."""
    best = {layer: pd.DataFrame({"tgt_index": np.zeros(0, dtype=np.int32), "lead": np.zeros(0)}) for layer in codecs}
    n = 0
    for name in kept.names:
        frame = significant_rows(kept.parts.read(name), adjusted, cfg)
        n += len(frame)
        frame["lead"] = entry_strength(frame)
        for layer in frame["tgt_layer"].unique().tolist() if cfg.max_edges_per_target is not None else ():
            both = pd.concat([best[layer], frame.loc[frame["tgt_layer"] == layer, ["tgt_index", "lead"]]], ignore_index=True)
            best[layer] = both.sort_values("lead", ascending=False).groupby("tgt_index").head(cfg.max_edges_per_target)
    cut = {layer: np.zeros(codecs[layer].d_sae) for layer in best}
    for layer, table in best.items():
        groups = table.groupby("tgt_index")["lead"]
        full = groups.min()[groups.size() == cfg.max_edges_per_target]
        cut[layer][full.index.to_numpy()] = full.to_numpy()
    return n, cut


@dataclass
class _Seen:
    """What the second pass finds out."""

    edges: int = 0
    by: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EFFECTS, 0))
    features: list[NDArray[np.int64]] = field(default_factory=list)
    checked: int = 0
    held: int = 0
    sample: list[pd.DataFrame] = field(default_factory=list)

    def add(self, frame: pd.DataFrame) -> None:
        """Count a block."""
        self.edges += len(frame)
        for effect in EFFECTS:
            self.by[effect] += int(frame["significant_by"].str.contains(effect).sum())
        for side in ("src", "tgt"):
            self.features.append(np.unique(frame[[f"{side}_layer", f"{side}_index"]].to_numpy(np.int64), axis=0))
        self.features = [np.unique(np.concatenate(self.features), axis=0)]
        measured = frame.loc[frame["replicated"].notna(), _REPLICATION]
        if self.checked < _SAMPLE:
            self.sample.append(measured)
        self.checked += len(measured)
        self.held += int(measured["replicated"].astype(bool).sum())

    def replication(self) -> dict[str, Any]:
        """Edges measured again and how many held; the shrinkage over the first million of them."""
        if not self.checked:
            return {"checked": 0, "replicated": 0, "shrinkage": None}
        return replication_facts(pd.concat(self.sample)) | {"checked": self.checked, "replicated": self.held}

    def numbers(self) -> FeatureNumbers:
        """Numbers of the features that have an edge."""
        found = np.concatenate([np.zeros((0, 2), dtype=np.int64), *self.features])
        return number_features(found[:, 0], found[:, 1])


def _meta(cfg: Config, plan: Field, codecs: Mapping[int, SiteCodec], seen: _Seen, edges: _Edges, n_significant: int) -> dict[str, Any]:
    reasons = pd.Series(list(plan.left_out.values()), dtype=object).value_counts()
    floors = {
        f"{as_key(s)}->{as_key(t)}": {effect: float(table[column].median()) for effect, (_, _, _, column) in EFFECTS.items()}
        for (s, t), table in edges.floors.items()
    }
    return {
        "model": next(iter(codecs.values())).site.model,
        "method": "clamping",
        "targets": "all",
        "level": cfg.significance_level,
        "correction": cfg.correction_method,
        "families": dict.fromkeys(EFFECTS, plan.n_tests),
        "significant": seen.by,
        "sources": {"measured": sum(map(len, plan.sources.values())), "left_out": {str(k): int(n) for k, n in reasons.items()}},
        "exhaustive": {
            "kept": sum(edges.kept.parts.rows_of(name) for name in edges.kept.names),
            "significant": n_significant,
            "edges": seen.edges,
            "max_edges_per_target": cfg.max_edges_per_target,
            "documents": len(plan.documents),
        },
        "placebos": {"n": cfg.n_placebo, "quantile": cfg.placebo_quantile, "min_effect": cfg.min_effect, "floors": floors},
        "replication": seen.replication(),
        "topk_layers": [layer_of(n) for n, c in codecs.items() if c.kind == "topk"],
        "samples_a_source": cfg.n_intervention_samples,
        "position_horizon": cfg.position_horizon,
    }


def _complete(frame: pd.DataFrame, numbers: FeatureNumbers, sd: Mapping[int, Floats], codecs: Mapping[int, SiteCodec]) -> pd.DataFrame:
    """All columns of the file."""
    frame = frame.assign(method="clamping", arm="exhaustive", **dict.fromkeys(_EMPTY, np.nan))
    frame["abs_strength"] = frame["mean_strength"].abs()
    half = special.stdtrit(frame["n_documents"].to_numpy() - 1, 0.975) * frame["se"]
    frame["ci_low"], frame["ci_high"] = frame["mean_strength"] - half, frame["mean_strength"] + half
    layer = {key: layer_of(key) for key in codecs}
    place = {key: sorted(set(layer.values())).index(n) for key, n in layer.items()}
    frame["span"] = frame["tgt_layer"].map(place) - frame["src_layer"].map(place)
    frame["blocks"] = frame["tgt_layer"].map(layer) - frame["src_layer"].map(layer)
    frame["interaction_type"] = interaction_types(frame, codecs)
    spread = np.empty(len(frame))
    by_site: dict[Any, Any] = frame.groupby("tgt_layer").indices
    for site, where in by_site.items():
        spread[where] = sd[site][frame["tgt_index"].to_numpy()[where]]
    frame["standardised_effect"] = standardised(frame, spread)
    for side in ("src", "tgt"):
        at, index = frame[f"{side}_layer"].tolist(), frame[f"{side}_index"].tolist()
        frame[f"{side}_fid"] = numbers.fids(at, index)
        frame[f"{side}_id"] = [feature_id(n, i) for n, i in zip(at, index, strict=True)]
    return with_sites(frame)[INTERACTIONS.names]
