"""Two sources clamped 2 × 2 on their common samples, for all targets asked of them: what :mod:`.gating` tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.activations import SampleRows, document_priority, draw_samples
from feature_graph.artifacts import TEST, FeatureRef, Triple
from feature_graph.config import Config
from feature_graph.interactions.followup.edges import columns_of
from feature_graph.interactions.passes import BLOCK_SAMPLES
from feature_graph.interactions.plan import Ints, Plan, Source
from feature_graph.interactions.probes import Floats
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.interventions import CleanDocuments, JointSource, MeasurementContext, Reading, Setting, joint_effects, random_directions
from feature_graph.utils import derived_seed

log = logging.getLogger(__name__)

Where = Literal["both", "either"]


def triple_name(triple: Triple) -> str:
    """Such as ``L3_F5 + L3_F9 → L7_F1``."""
    return f"{triple.a.id} + {triple.b.id} → {triple.target.id}"


@dataclass(frozen=True)
class Group:
    """Two sources, where they are sampled, and the targets that they are asked for.

    Attributes:
        a: The source that lies no later.
        b: The other one.
        samples: Where; ``values`` are those of A.
        b_values: Activations of B there.
        targets: Target layer → indices, ascending.
    """

    a: Source
    b: Source
    samples: SampleRows
    b_values: NDArray[np.float32]
    targets: dict[int, Ints]


def make_groups(context: MeasurementContext, plan: Plan, triples: Sequence[Triple], where: Where) -> tuple[list[Group], dict[str, str]]:
    """Triples by their two sources, with samples; and those left out."""
    sources = {FeatureRef(s.layer, s.index): s for found in plan.sources.values() for s in found}
    by_sources: dict[tuple[FeatureRef, FeatureRef], list[Triple]] = {}
    left_out: dict[str, str] = {}
    for triple in triples:
        lacking = [ref.id for ref in (triple.a, triple.b) if ref not in sources]
        if lacking:
            left_out[triple_name(triple)] = f"{lacking[0]}: {plan.left_out[lacking[0]]}"
        else:
            by_sources.setdefault((triple.a, triple.b), []).append(triple)
    columns = columns_of(context.store, {ref for pair in by_sources for ref in pair})
    priority = document_priority(context.store, context.cfg)
    groups = []
    for (a, b), members in by_sources.items():
        samples, b_values = _samples(context, columns[a], columns[b], where, priority, derived_seed(context.cfg.seed, "gate", a.id, b.id))
        if samples.n_documents < context.cfg.min_documents:
            reason = f"{'both' if where == 'both' else 'either'} active in fewer than {context.cfg.min_documents} test documents"
            left_out |= dict.fromkeys(map(triple_name, members), reason)
            continue
        wanted = sorted({t.target for t in members}, key=lambda ref: (ref.layer, ref.index))
        targets = {n: np.array([t.index for t in wanted if t.layer == n], dtype=np.int64) for n in sorted({t.layer for t in wanted})}
        groups.append(Group(sources[a], sources[b], samples, b_values, targets))
    return sorted(groups, key=lambda g: (g.a.layer, g.a.index, g.b.layer, g.b.index)), left_out


def _samples(
    context: MeasurementContext, a: sp.csc_matrix, b: sp.csc_matrix, where: Where, priority: Ints, seed: int
) -> tuple[SampleRows, NDArray[np.float32]]:
    """Up to ``n_intervention_samples`` test positions, distinct documents first; values of A, and of B."""
    join = np.intersect1d if where == "both" else np.union1d
    rows = join(a.indices, b.indices).astype(np.int64)
    documents, positions = np.divmod(rows, context.store.context_length)
    values = a[rows].toarray().ravel().astype(np.float32)
    order = np.random.default_rng(seed).random(len(rows))
    test = np.flatnonzero(context.store.splits[documents] == TEST)
    drawn = draw_samples(documents, positions, values, test, priority, order, context.cfg.n_intervention_samples)
    at = drawn.documents * context.store.context_length + drawn.positions
    return drawn, b[at].toarray().ravel().astype(np.float32)


def measure_groups(context: MeasurementContext, plan: Plan, groups: Sequence[Group]) -> Iterator[list[dict[str, Any]]]:
    """Rows of each group, before correction."""
    if not groups:
        return
    clean = CleanDocuments(context, np.unique(np.concatenate([g.samples.documents for g in groups])))
    setting: Setting | None = None
    for k, group in enumerate(groups):
        if setting is None or groups[k - 1].a.layer != group.a.layer:
            setting = clean.setting(plan.window(group.a.layer, context.codecs))
        yield _rows(context, plan.smallest, setting, group)


def _rows(context: MeasurementContext, smallest: SmallestEffect, setting: Setting, group: Group) -> list[dict[str, Any]]:
    """Rows of one pair of sources: one per target, before correction; none if the model overflows under the clamps."""
    cells = _cells(setting, group)
    if not all(np.isfinite(site).all() for site in cells):
        log.warning("%s and %s: under the clamps the model gives NaN or infinity. Left out", group.a.id, group.b.id)
        return []
    placebos = _placebo_cells(setting, group, context.cfg)
    unit = float(np.sqrt((group.a.high - group.a.low) * (group.b.high - group.b.low)))
    rows = []
    for site, (layer, indices) in enumerate(group.targets.items()):
        means = np.moveaxis(cells[site][0], -1, 0)  # [documents, 4, targets]
        delta = smallest.on(layer, indices, unit)
        test = stats.mean_test(contrast(means), smallest=delta * unit)
        random = contrast(placebos[site]) / unit  # [placebos, targets]
        random = random[np.isfinite(random).all(1)]
        strength = test.mean / unit
        floor = np.maximum(stats.placebo_floor(random, context.cfg.placebo_quantile, 0.0), delta)
        share = stats.placebo_share(strength, random)
        for j, index in enumerate(indices.tolist()):
            f = means[:, :, j].mean(0)
            row = _levels(group) | {"tgt_id": FeatureRef(layer, index).id, "tgt_layer": layer}
            row |= {
                "contrast": test.mean[j],
                "strength": strength[j],
                "se": test.se[j],
                "ci_low": test.ci_low[j],
                "ci_high": test.ci_high[j],
            }
            row |= {"p_value": test.p[j] if abs(strength[j]) >= floor[j] else 1.0, "floor": floor[j], "placebo_quantile": share[j]}
            row |= {"kind": "super_additive" if test.mean[j] >= 0 else "sub_additive"}
            row |= dict(zip(("f_hh", "f_hl", "f_lh", "f_ll"), f, strict=True))
            rows.append(row | {"n_samples": len(group.samples), "n_documents": group.samples.n_documents})
    return rows


def _levels(group: Group) -> dict[str, Any]:
    a, b = group.a, group.b
    names = {"a_id": a.id, "b_id": b.id, "a_layer": a.layer, "b_layer": b.layer}
    return names | {"a_low": a.low, "a_high": a.high, "b_low": b.low, "b_high": b.high}


def contrast(cells: Floats) -> Floats:
    """f(hh) − f(hl) − f(lh) + f(ll) of [..., 4, targets]; exactly 0 where one source's levels are equal."""
    return (cells[..., 0, :] - cells[..., 1, :]) - (cells[..., 2, :] - cells[..., 3, :])


def _cells(setting: Setting, group: Group, a: Tensor | None = None, b: Tensor | None = None) -> list[Floats]:
    """Document means of the targets' activations in the four cells, [n, 4, targets, documents] a site.

    All NaN where the model overflows.

    Args:
        setting: The clean run.
        group: The two sources.
        a: Directions [n, d_model] that stand in for A's own, each measured on all samples; None: its own, n = 1.
        b: The same for B.
    """
    device, dtype = setting.slices.device, setting.slices.dtype
    samples = group.samples
    n = next((len(d) for d in (a, b) if d is not None), 1)
    arms = []
    for source, values, instead in ((group.a, samples.values, a), (group.b, group.b_values, b)):
        codec = setting.codecs[source.layer]
        directions = (codec.w_dec[source.index].expand(n, -1) if instead is None else instead).to(device, dtype)
        known = torch.as_tensor(values, device=device, dtype=dtype).repeat(n)
        arms.append(JointSource(codec, source.index, source.high, source.low, known, directions.repeat_interleave(len(samples), 0)))
    documents, positions = (torch.as_tensor(x, device=device).repeat(n) for x in (setting.rows[samples.documents], samples.positions))
    path = [Reading(setting.codecs[layer], torch.as_tensor(t, device=device)) for layer, t in group.targets.items()]
    found = []
    for part in torch.arange(n * len(samples), device=device).split(BLOCK_SAMPLES):
        first, second = (replace(arm, values=arm.values[part], directions=arm.directions[part]) for arm in arms)
        found.append(joint_effects(setting.slices, setting.clean, first, second, documents[part], positions[part], path))
    joined = [torch.cat(list(site)).double().cpu().numpy() for site in zip(*found, strict=True)]
    each = [site.reshape(n, len(samples), 4, -1).swapaxes(0, 1) for site in joined]
    if not all(np.isfinite(site).all() for site in each):
        return [np.full((n, *site.shape[2:], 1), np.nan) for site in each]
    return [np.moveaxis(stats.document_means(site, samples.documents).values, 0, -1) for site in each]


def _placebo_cells(setting: Setting, group: Group, cfg: Config) -> list[Floats]:
    """Cells with B's direction (first half) or A's (second half) replaced by random ones, [n, 4, targets] a site."""
    n = cfg.n_placebo
    if not n:
        return [np.zeros((0, 4, len(indices))) for indices in group.targets.values()]
    generator = torch.Generator().manual_seed(derived_seed(cfg.seed, "gate placebos", group.a.id, group.b.id))
    for_b, for_a = random_directions(n, setting.slices.d_model, generator).split([(n + 1) // 2, n // 2])
    parts = [_cells(setting, group, b=for_b)] + ([_cells(setting, group, a=for_a)] if len(for_a) else [])
    return [np.concatenate([site.mean(-1) for site in sites]) for sites in zip(*parts, strict=True)]
