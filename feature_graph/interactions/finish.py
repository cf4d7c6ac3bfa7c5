"""From measured rows to results: floors from the placebos, corrected p, significance, type, and what is reported of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.analysis import replication
from feature_graph.artifacts import feature_id, layer_of, number_pairs, with_sites
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.smallest import target_sd
from feature_graph.interventions import MeasurementContext
from feature_graph.terminal import percent
from ingest.feature_ids import sites_of
from ingest.formats import INTERACTIONS
from ingest.strength import leading_of

Floats = NDArray[np.float64]
#: Effect → (strength, p, q, floor, name in ``significant_by``).
EFFECTS = {
    "total": ("mean_strength", "p_value", "q_value", "floor"),
    "direct": ("direct_strength", "p_direct", "q_direct", "floor_direct"),
    "later": ("later_strength", "p_later", "q_later", "floor_later"),
    "computed": ("computed_strength", "p_computed", "q_computed", "floor_computed"),
}
PASS_COSINE, PASS_SLOPE = 0.9, 0.25
#: Fewer confirmation documents give no confirm_strength.
MIN_CONFIRM = 3
_PAIR = ["src_layer", "src_index", "tgt_layer", "tgt_index"]
_TARGET = ["src_layer", "tgt_layer", "tgt_index"]
#: Pairs that are compared with their placebos at a time.
_ROWS = 100_000


def finish(
    rows: pd.DataFrame,
    placebos: pd.DataFrame,
    candidates: pd.DataFrame,
    context: MeasurementContext,
) -> pd.DataFrame:
    """All columns of ``ingest.formats.INTERACTIONS``, sorted by source fid, target fid and method.

    Args:
        rows: Measured pairs, from :func:`feature_graph.interactions.blocks.source_rows`.
        placebos: From :func:`feature_graph.interactions.blocks.placebo_rows`; may be empty.
        candidates: The candidate table; its columns are carried along and number the features.
        context: What was measured on.
    """
    store, codecs, cfg = context.store, context.codecs, context.cfg
    frame = add_floors(rows.sort_values([*_PAIR, "method"], ignore_index=True), placebos, cfg)
    frame = add_q(frame, cfg)
    frame["abs_strength"] = frame["mean_strength"].abs()
    layers = sorted(set(map(layer_of, codecs)))
    place = {key: layers.index(layer_of(key)) for key in codecs}
    frame["span"] = frame["tgt_layer"].map(place) - frame["src_layer"].map(place)
    layer = {key: layer_of(key) for key in codecs}
    frame["blocks"] = frame["tgt_layer"].map(layer) - frame["src_layer"].map(layer)
    frame["standardised_effect"] = standardised(frame, target_sd(store, frame["tgt_layer"].to_numpy(), frame["tgt_index"].to_numpy()))
    frame["interaction_type"] = interaction_types(frame, codecs)
    frame = add_confirmation(frame)
    frame = _add_names(frame, candidates)
    frame = frame.sort_values(["src_fid", "tgt_fid", "method"], ignore_index=True)
    return with_sites(frame)[INTERACTIONS.names]


def add_floors(frame: pd.DataFrame, placebos: pd.DataFrame, cfg: Config) -> pd.DataFrame:
    """Add the floors, which are the smallest effect that counts; with placebos also theirs, below which p is set to 1.

    A placebo floor belongs to a (source site, target): the same random directions serve all sources of the site.
    """
    frame = frame.copy()
    share = np.full(len(frame), np.nan)
    floors = {effect: frame["smallest"].to_numpy(np.float64, copy=True) for effect in EFFECTS}
    wanted, strengths = pd.MultiIndex.from_frame(frame[_TARGET]), frame["mean_strength"].to_numpy()
    for table in _tables(placebos) if len(placebos) else ():
        at = table.targets.get_indexer(wanted)
        where = np.flatnonzero(at >= 0)
        for effect in EFFECTS:
            random = stats.placebo_floor(table.effects[effect], cfg.placebo_quantile, 0.0)[at[where]]
            floors[effect][where] = np.maximum(floors[effect][where], random)
        for part in np.array_split(where, max(1, len(where) // _ROWS)):
            share[part] = stats.placebo_share(strengths[part], table.effects["total"][:, at[part]])
    for effect, (strength, p, _, floor) in EFFECTS.items():
        frame[floor] = floors[effect]
        missing = frame[strength].isna() if not len(placebos) else ~(frame[strength].abs() >= frame[floor])
        frame[p] = np.where(missing, 1.0, frame[p])  # a missing strength is not an effect
    frame["placebo_quantile"] = share
    return frame


@dataclass(frozen=True)
class _Table:
    """Placebos of the targets that have equally many of them.

    Attributes:
        targets: (source layer, target layer, target index) [T].
        effects: Effect → float64 [n_placebo, T].
    """

    targets: pd.MultiIndex
    effects: dict[str, Floats]


def _tables(placebos: pd.DataFrame) -> list[_Table]:
    ordered = placebos.sort_values([*_TARGET, "number"], ignore_index=True)
    counts = ordered.groupby(_TARGET, sort=True)["number"].transform("size").to_numpy()
    found = []
    for n in np.unique(counts).tolist():
        rows = ordered[counts == n]
        targets = pd.MultiIndex.from_frame(rows[_TARGET].iloc[::n])
        found.append(_Table(targets, {effect: rows[effect].to_numpy(np.float64).reshape(-1, n).T for effect in EFFECTS}))
    return found


def add_q(frame: pd.DataFrame, cfg: Config) -> pd.DataFrame:
    """Correct over pairs and over the effects of each pair (``stats.adjust_pairs``), one family per method; mark what passes."""
    frame = frame.copy()
    p = effect_p(frame)
    q = np.ones_like(p)
    frame["q_specific"] = np.nan
    for _, where in frame.groupby("method").indices.items():
        q[where] = stats.adjust_pairs(p[where], cfg.correction_method)[1]
        compared = where[frame["p_specific"].notna().to_numpy()[where]]  # a family of its own
        frame.loc[frame.index[compared], "q_specific"] = stats.adjust(
            frame["p_specific"].to_numpy(np.float64)[compared], cfg.correction_method
        )
    return set_q(frame, q, cfg)


def effect_p(frame: pd.DataFrame) -> Floats:
    """p of every effect that was tested, in the order of :data:`EFFECTS`; float64 [n, 4], NaN where it was not."""
    p = np.column_stack([np.where(frame[strength].isna(), np.nan, frame[p]) for strength, p, _, _ in EFFECTS.values()])
    p[_next_site(frame), list(EFFECTS).index("direct")] = np.nan  # one effect, tested once
    return p


def set_q(frame: pd.DataFrame, q: Floats, cfg: Config) -> pd.DataFrame:
    """Add the adjusted p [n, 4] of :func:`effect_p`'s effects, and mark what passes."""
    frame, same = frame.copy(), _next_site(frame)
    for column, (_, _, name, _) in enumerate(EFFECTS.values()):
        frame[name] = q[:, column]
    frame.loc[same, "q_direct"] = frame.loc[same, "q_value"]
    return mark_significant(frame, cfg)


def _next_site(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Pairs between which no analysed site lies: their direct effect is the total one."""
    return ((frame["direct_strength"] == frame["mean_strength"]) & (frame["p_direct"] == frame["p_value"])).to_numpy(bool)


def mark_significant(frame: pd.DataFrame, cfg: Config) -> pd.DataFrame:
    """Add ``significant`` and ``significant_by`` from the adjusted p of each effect."""
    frame = frame.copy()
    passed = {effect: (frame[q] < cfg.significance_level).to_numpy() for effect, (_, _, q, _) in EFFECTS.items()}
    frame["significant"] = np.logical_or.reduce(list(passed.values())) if len(frame) else np.zeros(0, dtype=bool)
    names = list(passed)
    marks = zip(*(passed[name].tolist() for name in names), strict=True)
    frame["significant_by"] = ["+".join(n for n, yes in zip(names, mark, strict=True) if yes) for mark in marks]
    return frame


def leading_strength(frame: pd.DataFrame) -> Floats:
    """The strength by which an edge enters the graph, by the rule of :mod:`ingest.strength`; [n]."""
    return leading_of(frame)


def interaction_types(frame: pd.DataFrame, codecs: Mapping[int, SiteCodec]) -> NDArray[np.object_]:
    """``excitatory``, ``inhibitory``, ``pass_through``, ``attenuates_copy`` or ``erases_copy`` for each pair.

    What opposes a copy without turning it round is no inhibition: where the computed effect passed, a total effect of the copy's sign
    and smaller than the copy attenuates it, and one below the smallest effect that counts erases it.
    """
    kinds = np.where(leading_strength(frame) >= 0, "excitatory", "inhibitory").astype(object)
    total, copy, smallest = (frame[name].to_numpy(np.float64) for name in ("mean_strength", "copy_strength", "smallest"))
    computed = frame["significant_by"].str.contains("computed").to_numpy(bool)
    kinds[computed & (np.sign(total) == np.sign(copy)) & (np.abs(total) < np.abs(copy))] = "attenuates_copy"
    kinds[computed & (np.abs(total) < smallest) & (np.abs(copy) >= smallest)] = "erases_copy"
    near_one = np.abs(total - 1) < PASS_SLOPE
    kinds[(decoder_cosine(frame, codecs) > PASS_COSINE) & near_one] = "pass_through"
    return kinds


def decoder_cosine(frame: pd.DataFrame, codecs: Mapping[int, SiteCodec]) -> Floats:
    """Cosine of the two decoder rows of each pair; 0 for a feature that writes nothing, and for a target that does not read the stream."""
    cosine = np.zeros(len(frame))
    by_pair: dict[Any, Any] = frame.groupby(["src_layer", "tgt_layer"]).indices
    for (source, target), where in by_pair.items():
        if codecs[target].site.kind not in ("residual", "resid_mid"):
            continue  # nothing is carried on into what a component reads or gives
        one = _stream_rows(codecs[source], frame["src_index"].to_numpy()[where])
        two = codecs[target].w_dec[frame["tgt_index"].to_numpy()[where]]
        cosine[where] = (one * two).sum(-1).double().cpu().numpy()
    return cosine


def _stream_rows(codec: SiteCodec, index: NDArray[np.int64]) -> Tensor:
    """What features add to the residual stream, rows of norm 1 (or 0)."""
    rows = codec.stream_directions(index)
    return rows if codec.w_out is None else torch.nn.functional.normalize(rows, dim=-1)


def standardised(frame: pd.DataFrame, sd: Floats) -> Floats:
    """Change of each target for the whole clamp, in its standard deviations [n]; NaN for a target that never varies."""
    change = frame["mean_strength"].to_numpy(np.float64) * (frame["clamp_high"] - frame["clamp_low"]).to_numpy()
    return np.divide(change, sd, out=np.full(len(frame), np.nan), where=sd > 0)


def add_confirmation(frame: pd.DataFrame) -> pd.DataFrame:
    """Say whether each pair held on the confirmation documents: its total effect, or the computed one where only that passed."""
    frame = frame.copy()
    few = frame["n_confirm"] < MIN_CONFIRM
    for column in ("confirm_strength", "confirm_computed"):
        frame[column] = frame[column].mask(few)
    by = frame["significant_by"]
    total = ~frame["significant"] | by.str.contains("total")
    computed = ~total & by.str.contains("computed")
    held = np.where(computed, _held(frame, "computed"), _held(frame, "total"))
    # An edge that passed by its direct or later effect alone is not what the confirmation run measured.
    measured = frame["confirm_strength"].notna() & (total | computed)
    frame["replicated"] = pd.Series(held, index=frame.index).astype(object).where(measured, None)
    return frame


def _held(frame: pd.DataFrame, effect: str) -> NDArray[np.bool_]:
    """Same sign and above half the floor on the confirmation documents."""
    strength, _, _, floor = EFFECTS[effect]
    again = frame["confirm_strength" if effect == "total" else "confirm_computed"]
    return ((np.sign(again) == np.sign(frame[strength])) & (again.abs() > frame[floor] / 2)).to_numpy(bool)


def _add_names(frame: pd.DataFrame, candidates: pd.DataFrame) -> pd.DataFrame:
    numbers = number_pairs(candidates)
    for side in ("src", "tgt"):
        layers, indices = frame[f"{side}_layer"].tolist(), frame[f"{side}_index"].tolist()
        frame[f"{side}_fid"] = numbers.fids(layers, indices)
        frame[f"{side}_id"] = [feature_id(n, i) for n, i in zip(layers, indices, strict=True)]
    extra = ["pmi", "coactivation_prob", "decoder_alignment", "arm"]
    return frame.merge(candidates[[*_PAIR, *extra]].drop_duplicates(_PAIR), on=_PAIR, how="left")


def facts(frame: pd.DataFrame, cfg: Config) -> dict[str, Any]:
    """Family sizes, counts, floors per site pair, replication, agreement of the methods: plain values for the table's metadata."""
    methods = frame["method"].unique().tolist()
    found = frame[frame["significant"]]
    floors = {
        f"{s}->{t}": {effect: float(group[column].median()) for effect, (_, _, _, column) in EFFECTS.items()}
        for (s, t), group in frame.groupby(_sites(frame, cfg))
    }
    values: dict[str, Any] = {
        "level": cfg.significance_level,
        "correction": cfg.correction_method,
        "families": {effect: int((frame["method"] == methods[0]).sum()) if methods else 0 for effect in EFFECTS},
        "significant": {effect: int(found["significant_by"].str.contains(effect).sum()) for effect in EFFECTS},
        "placebos": {"n": cfg.n_placebo, "quantile": cfg.placebo_quantile, "min_effect": cfg.min_effect, "floors": floors},
        "replication": replication_facts(found),
    }
    if frame["strength_jacobian"].notna().any():
        values["agreement"] = pair_agreement(frame)
    return values


def _sites(frame: pd.DataFrame, cfg: Config) -> list[str | pd.Series[str]]:
    """What tells the sites of each pair: their layers, or their names."""
    return [sites_of(frame["src_id"]), sites_of(frame["tgt_id"])] if cfg.has_components else ["src_layer", "tgt_layer"]


def held_facts(rows: pd.DataFrame) -> dict[str, Any]:
    """How the features of the sites between were held, by site pair: plain values for the table's metadata.

    Args:
        rows: Measured pairs, from :func:`feature_graph.interactions.blocks.source_rows`.
    """
    sources = rows[rows["held_features"].notna()].drop_duplicates(["src_layer", "src_index", "tgt_layer", "method"])
    return {
        f"{s}->{t}": {
            "features": float(group["held_features"].mean()),
            "rank": float(group["held_rank"].mean()),
            "share_full": float(group["held_full"].mean()),
            "condition": float(group["held_condition"].median()),
            "largest_error": float(group["held_error"].max()),
        }
        for (s, t), group in sources.groupby(["src_layer", "tgt_layer"])
    }


def held_warnings(facts: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One text per pair of sites in some of whose samples the held features carry the whole change, from :func:`held_facts`."""
    return [
        f"{pair}: in {percent(told['share_full'])} of the samples the features held in between carry every dimension of the residual "
        "stream; the direct effect is 0 there by arithmetic"
        for pair, told in facts.items()
        if told["share_full"] > 0
    ]


def replication_facts(edges: pd.DataFrame) -> dict[str, Any]:
    """:func:`feature_graph.analysis.replication` of significant edges as plain values: measured again, replicated, shrinkage."""
    found = replication(edges)
    shrinkage = None if math.isnan(found.shrinkage) else found.shrinkage
    return {"checked": found.measured, "replicated": found.replicated, "shrinkage": shrinkage}


def pair_agreement(frame: pd.DataFrame, worst: int = 10) -> dict[str, Any]:
    """Agreement of the derivative and the clamp over all measured pairs, significant or not: by sites crossed and by layers between.

    Over the significant edges alone: :func:`feature_graph.analysis.edge_agreement`.
    """
    both = frame[frame["strength_jacobian"].notna()]
    gap = (both["mean_strength"] - both["strength_jacobian"]).abs().sort_values(ascending=False, kind="stable").index[:worst]
    columns = ["src_id", "tgt_id", "mean_strength", "strength_jacobian"]
    by_span = {str(span): _agree(group) for span, group in both.groupby("span")}
    by_distance = {str(n): _agree(group) for n, group in both.groupby(both["tgt_layer"] - both["src_layer"])}
    return _agree(both) | {"by_span": by_span, "by_layer_distance": by_distance, "worst": both.loc[gap, columns].to_dict("records")}


def _agree(both: pd.DataFrame) -> dict[str, Any]:
    one, two = both["mean_strength"], both["strength_jacobian"]
    moving = (one != 0) & (two != 0)
    constant = len(both) < 2 or one.nunique() < 2 or two.nunique() < 2
    return {
        "n": len(both),
        "pearson": None if constant else float(one.corr(two)),
        "spearman": None if constant else float(one.corr(two, method="spearman")),
        "signs": float((np.sign(one) == np.sign(two))[moving].mean()) if moving.any() else None,
    }
