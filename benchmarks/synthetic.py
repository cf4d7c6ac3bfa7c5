"""Made-up runs of any size in the Parquet form: every column, skewed degrees, written source by source in little memory.

    from benchmarks.synthetic import write_run
    root = write_run(folder, edges=1_000_000)          # ten seconds; the same arguments give the same bytes

or `python benchmarks/synthetic.py FOLDER --edges 1000000`.

The numbers are not science. They have the types, ranges and spread of a real run, so that loading and querying them costs what a real
run costs: strengths are float32 widened to float64, p-values span nine decades, hubs have hundreds of times the degree of the median.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.feature_ids import feature_id
from ingest.formats import DECODERS, FEATURES, INTERACTIONS, TableWriter, write_table

GROUP_ROWS = 100_000
_D_SAE, _WINDOW, _SKEW = 24_576, 2, 0.8
_MODEL, _RELEASE = "toy@0123abcd", "toy-res"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shape:
    """Where the features of a run lie.

    Attributes:
        width: Features of each site.
        layer: (features,) layer = number of the site.
        index: (features,) index in the dictionary, ascending within a site.
    """

    width: int
    layer: Array
    index: Array

    @cached_property
    def ids(self) -> Array:
        """(features,) short ids."""
        return np.array([feature_id(a, i) for a, i in zip(self.layer, self.index, strict=True)], dtype=object)


def write_run(root: str | Path, edges: int, sites: int = 12, features: int | None = None, seed: int = 0) -> Path:
    """Write config.json, features.parquet and interactions.parquet of a made-up run.

    Args:
        root: The run directory, made if it is not there.
        edges: Rows, all of them significant; one method.
        sites: Analysed sites; an edge leads to one of the next two.
        features: Features in all; by default so many that a feature has 50 outgoing edges on average, more in small runs.
        seed: Of every random choice.

    Returns:
        ``root``.

    Raises:
        ValueError: If so many edges do not fit between so few features.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    roomy = math.ceil(math.sqrt(2 * edges / (sites * _WINDOW - 3))) if sites > 2 else 4  # twice the edges would fit
    width = max(4, features // sites if features else max(roomy, min(edges // 50, sites * _D_SAE // 2) // sites))
    rng = np.random.default_rng(seed)
    shape = Shape(width, np.repeat(np.arange(sites), width), np.concatenate([_some(rng, width) for _ in range(sites)]))
    degrees = _degrees(rng, shape, sites, edges)
    config = {"model_name": "toy", "sae_release": _RELEASE, "dataset": "builtin:toy", "seed": seed, "significance_level": 0.05}
    (root / "config.json").write_text(json.dumps(config), encoding="utf-8")
    places = [{"layer": a, "hook": f"blocks.{a}.hook_resid_post", "d_sae": _D_SAE, "release": _RELEASE} for a in range(sites)]
    write_table(root / FEATURES.name, FEATURES, _features(rng, shape), {"sites": places})
    with TableWriter(root / INTERACTIONS.name, INTERACTIONS, {"level": 0.05, "correction": "fdr_bh", "seed": seed}) as writer:
        for source, target in _pairs(rng, shape, sites, degrees):
            writer.write(_rows(rng, shape, source, target))
    return root


def write_decoders(root: Path, width: int = 256, seed: int = 0) -> None:
    """Write decoders.parquet of a made-up run: random directions of so many numbers."""
    features = pq.read_table(root / FEATURES.name, columns=["fid", "uid"])
    vectors = np.random.default_rng(seed).normal(size=(len(features), width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    decoders = pa.ListArray.from_arrays(np.arange(0, vectors.size + 1, width, np.int32), vectors.ravel())
    write_table(root / DECODERS.name, DECODERS, features.append_column("decoder", decoders))


def _some(rng: np.random.Generator, width: int) -> Array:
    return np.sort(rng.choice(_D_SAE, size=width, replace=False))


def _degrees(rng: np.random.Generator, shape: Shape, sites: int, edges: int) -> Array:
    """(features,) outgoing edges, Zipf-like, ``edges`` in all."""
    room = np.array([shape.width * min(_WINDOW, sites - 1 - int(a)) for a in shape.layer])
    if edges > room.sum():
        raise ValueError(f"edges: got {edges}; {len(shape.layer)} features at {sites} sites have room for {room.sum()}")
    weight = np.where(room > 0, 1 / (1 + rng.permutation(len(room))) ** _SKEW, 0.0)
    degrees = np.minimum((edges * weight / weight.sum()).astype(int), room)
    while missing := edges - int(degrees.sum()):
        free = np.flatnonzero(degrees < room)
        degrees[rng.choice(free, size=min(missing, len(free)), replace=False)] += 1
    return degrees


def _pairs(rng: np.random.Generator, shape: Shape, sites: int, degrees: Array) -> Iterator[tuple[Array, Array]]:
    """Source and target fids, sorted by both, some 100,000 pairs at a time."""
    popular = [rng.permutation(shape.width * min(_WINDOW, sites - 1 - a)) for a in range(sites)]
    parts: list[tuple[Array, Array]] = []
    size = 0
    for fid in np.flatnonzero(degrees):
        site, n = int(shape.layer[fid]), int(degrees[fid])
        targets = (site + 1) * shape.width + np.sort(popular[site][_ranks(rng, n, len(popular[site]))])
        parts.append((np.full(n, fid), targets))
        size += n
        if size >= GROUP_ROWS:
            yield np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
            parts, size = [], 0
    if parts:
        yield np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _ranks(rng: np.random.Generator, n: int, of: int) -> Array:
    """``n`` distinct numbers below ``of``, small ones more often: stratified draws of u³, pushed apart where they coincide."""
    order = np.arange(n)
    drawn = (of * ((order + rng.random(n)) / n) ** 3).astype(int)
    return np.minimum(np.maximum.accumulate(drawn - order) + order, of - n + order)


def _float32(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _features(rng: np.random.Generator, shape: Shape) -> pa.Table:
    n, layer, index = len(shape.layer), shape.layer, shape.index
    density = _float32(rng.uniform(1e-4, 0.3, n))
    uids = [f"{_MODEL}/{_RELEASE}/blocks.{a}/{i}" for a, i in zip(layer, index, strict=True)]
    columns = {
        "fid": np.arange(n),
        "id": shape.ids,
        "uid": uids,
        "layer": layer.astype(np.int32),
        "index": index.astype(np.int32),
        "hook": [f"blocks.{a}.hook_resid_post" for a in layer],
        "label": [f"word {i}, thing {i % 97}: some words around «word {i}»" for i in range(n)],
        "density": density,
        "mean_act": _float32(rng.uniform(0.5, 5, n)),
        "max_act": _float32(rng.uniform(5, 20, n)),
        "decoder_norm": np.ones(n),
        "dead": np.zeros(n, bool),
        "dense": density > 0.2,
        "importance": _float32(rng.lognormal(0, 1, n)),
        "neuronpedia_url": [""] * n,
    }
    return pa.table(columns)


def _rows(rng: np.random.Generator, shape: Shape, source: Array, target: Array) -> pa.Table:
    n, ids = len(source), pa.array(shape.ids)
    total = _float32(rng.lognormal(-2.5, 1.0, n) * rng.choice([1.0, -1.0], n, p=[0.7, 0.3]))
    span = shape.layer[target] - shape.layer[source]
    copy = _float32(total * rng.uniform(-0.1, 0.8, n))
    direct = np.where(span == 1, total, _float32(total * rng.uniform(-0.2, 1.0, n)))
    later = np.where(rng.random(n) < 0.05, np.nan, _float32(rng.normal(0, 0.02, n)))
    error = _float32(np.abs(total) * rng.uniform(0.05, 0.3, n) + 1e-4)
    p = 10 ** rng.uniform(-9, -2.2, n)
    by = np.array(["total", "total+direct", "total+direct+later", "later"], dtype=object)[rng.choice(4, n, p=[0.3, 0.6, 0.08, 0.02])]
    later = np.where(np.isin(by, ["later", "total+direct+later"]) & np.isnan(later), 0.05, later)
    samples = rng.integers(12, 31, n).astype(np.int32)
    half = _float32(np.abs(total) * 0.5)
    lead = np.where(by == "later", later, total)
    passed = {name: np.array([name in value.split("+") for value in by]) for name in ("total", "direct", "later")}
    columns = {
        "src_fid": source,
        "tgt_fid": target,
        "src_id": ids.take(pa.array(source)),
        "tgt_id": ids.take(pa.array(target)),
        "src_layer": shape.layer[source].astype(np.int32),
        "tgt_layer": shape.layer[target].astype(np.int32),
        "method": pa.repeat(pa.scalar("clamping"), n),
        "interaction_type": np.where((total > 0) & (copy > 0.75 * total), "pass_through", np.where(lead > 0, "excitatory", "inhibitory")),
        "span": span.astype(np.int32),
        "blocks": span.astype(np.int32),
        "mean_strength": total,
        "abs_strength": np.abs(total),
        "direct_strength": direct,
        "later_strength": pa.array(later, from_pandas=True),
        "copy_strength": copy,
        "computed_strength": total - copy,
        "preactivation_strength": _float32(total * 1.1),
        "p_on_change": np.clip(half, -1, 1),
        "standardised_effect": _float32(total * 2),
        "strength_jacobian": _float32(total * rng.normal(1.0, 0.15, n)),
        "direct_jacobian": direct,
        "se": error,
        "se_computed": error,
        "ci_low": total - 1.96 * error,
        "ci_high": total + 1.96 * error,
        "p_value": p,
        "q_value": np.where(passed["total"], p * 1.5, 1.0),
        "p_direct": p,
        "q_direct": np.where(passed["direct"], p * 2, 1.0),
        "p_later": np.ones(n),
        "q_later": np.where(passed["later"], p * 2, 1.0),
        "p_computed": np.ones(n),
        "q_computed": np.ones(n),
        "specific_strength": (total - copy) * 0.75,
        "p_specific": p,
        "q_specific": np.minimum(1.0, p * 2),
        "significant": np.ones(n, bool),
        "significant_by": by,
        "floor": np.minimum(0.01, np.abs(total)),
        "floor_direct": np.minimum(0.01, np.abs(direct)),
        "floor_later": np.fmin(0.04, np.abs(later)),
        "floor_computed": np.full(n, 0.01),
        "placebo_quantile": np.clip(1 - p / 10, 0, 1),
        "n_samples": samples,
        "n_documents": samples // 2,
        "n_later": samples - 2,
        "confirm_strength": np.copysign(half, total),
        "confirm_computed": np.copysign(half, total - copy),
        "n_confirm": np.full(n, 8, np.int32),
        "replicated": rng.random(n) < 0.95,
        "clamp_low": np.zeros(n),
        "clamp_high": np.full(n, 4.0),
        "achieved": np.ones(n),
        "spill": half,
        "pmi": np.ones(n),
        "coactivation_prob": np.full(n, 0.5),
        "decoder_alignment": half,
        "arm": pa.repeat(pa.scalar("kept"), n),
    }
    made: dict[str, Any] = {
        column.name: columns[column.name] if column.name in columns else column.filled(n) for column in INTERACTIONS.columns
    }
    return pa.table(made).cast(INTERACTIONS.schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="run directory to write")
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(write_run(given.folder, given.edges, given.sites, seed=given.seed))


if __name__ == "__main__":
    main()
