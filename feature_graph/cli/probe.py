"""``probe``: further measures of chosen edges of a run: dose curves, insertion, mediation, gating."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory
from feature_graph.cli.features import check_features
from feature_graph.terminal import percent
from feature_graph.utils import missing_as_none

if TYPE_CHECKING:
    import pandas as pd

    from feature_graph.artifacts import FeatureRef, Pair, Triple

KINDS = ("doses", "insertion", "mediation", "gating")
_PAIR, _TRIPLE = "L3_F1:L7_F5", "L3_F1+L3_F9:L7_F5"


def probe(
    run_dir: RunDirectory,
    kind: Annotated[str, typer.Option("--kind", help="doses, insertion, mediation or gating.")] = "doses",
    pairs: Annotated[str, typer.Option("--pairs", help=f"Edges, such as {_PAIR},…; for gating {_TRIPLE}.")] = "",
    top: Annotated[
        int,
        typer.Option(
            "--top", "-n", min=1, help="Without --pairs: this many of the strongest significant edges (for gating, pairs of them)."
        ),
    ] = 10,
    either: Annotated[
        bool, typer.Option("--either", help="For gating: sample positions where either source is active, instead of both.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine chosen edges more closely: at several doses, where the source is off, by part of the model, or with two sources at once.

    Needs the run's activations, and its interactions to choose the strongest edges from. Writes doses.parquet,
    insertions.parquet, mediation.parquet or gates.parquet into the run directory, replacing an earlier file.
    """
    if kind not in KINDS:
        raise typer.BadParameter(f"got {kind!r}; expected one of {', '.join(KINDS)}", param_hint="--kind")
    if either and kind != "gating":
        raise typer.BadParameter("only gating samples where either of two sources is active", param_hint="--either")
    asked = list(_asked(run_dir, pairs, kind))
    found, path = _measure(run_dir, kind, asked, top, either)
    if as_json:
        rows = missing_as_none(found.frame).to_dict("records")
        common.out.print_json(data={"kind": kind, "file": str(path), **found.meta, "rows": rows}, default=_plain)
        return
    _show(found, kind, _labels(run_dir))
    common.out.print(f"written to {path}", highlight=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _asked(run_dir: Path, text: str, kind: str) -> Iterator[tuple[FeatureRef, ...]]:
    """Features of each item of --pairs, the target last."""
    from feature_graph.artifacts import FeatureRef, read_feature_id

    sources, example = (2, _TRIPLE) if kind == "gating" else (1, _PAIR)
    for item in filter(None, (part.strip() for part in text.split(","))):
        left, mark, right = item.partition(":")
        ids = [*left.split("+"), right]
        if not mark or len(ids) != sources + 1:
            raise typer.BadParameter(f"got {item!r}; expected {'two sources and a' if sources == 2 else 'a source and a'} target, such as "
                                     f"{example}", param_hint="--pairs")  # fmt: skip
        check_features(run_dir, "--pairs", [one.strip() for one in ids])
        found = [read_feature_id(one.strip()) for one in ids]
        yield tuple(FeatureRef(one.layer, one.index, one.site) for one in found)


def _measure(run_dir: Path, kind: str, asked: list[tuple[FeatureRef, ...]], top: int, either: bool) -> tuple[Any, Path]:
    """The measured table and its file."""
    from feature_graph import interactions
    from feature_graph.artifacts import ActivationStore, Pair, RunPaths, Triple
    from feature_graph.loading import load_model_and_saes
    from feature_graph.pipeline import locked

    cfg, paths = common.load_config(str(run_dir)), RunPaths.of(run_dir)
    store = ActivationStore.load(paths.activations)
    chosen: Any = [Triple(*item) for item in asked] if kind == "gating" else [Pair(*item) for item in asked]
    chosen = chosen or _strongest(paths, kind, top)
    with locked(paths.lock):
        model, saes = load_model_and_saes(cfg, run_dir)
        run: Any = {
            "doses": interactions.measure_doses,
            "insertion": interactions.measure_insertions,
            "mediation": interactions.measure_mediation,
            "gating": interactions.measure_gating,
        }[kind]
        found = run(model, saes, chosen, cfg, store=store, **({"where": "either" if either else "both"} if kind == "gating" else {}))
        path = paths.measure(found.format.kind)
        found.save(path)
    return found, path


def _strongest(paths: Any, kind: str, top: int) -> list[Triple] | list[Pair]:
    from feature_graph.artifacts import InteractionSet
    from feature_graph.interactions import gating_candidates, strongest_pairs

    edges = InteractionSet.load(paths.interactions)
    chosen = gating_candidates(edges, top) if kind == "gating" else strongest_pairs(edges, top)
    if not chosen:
        what = "two significant edges onto one target" if kind == "gating" else "significant edge"
        common.fail(f"{paths.interactions} has no {what}; name what to measure by --pairs")
    return chosen


def _labels(run_dir: Path) -> dict[str, str]:
    """Short id → label, of the features that the run describes."""
    from feature_graph.artifacts import RunPaths
    from ingest.formats import FEATURES, read_table

    path = RunPaths.of(run_dir).features
    if not path.is_file():
        return {}
    frame = read_table(path, FEATURES).to_pandas()
    return dict(zip(frame["id"], frame["label"], strict=True))


def _show(found: Any, kind: str, labels: dict[str, str]) -> None:
    heads, rows = {"doses": _dose_rows, "insertion": _insertion_rows, "mediation": _mediation_rows, "gating": _gate_rows}[kind](found.frame)
    text = ("edge", "gate", "target", "dose", "by", "95 %", "found", "kind")
    common.out.print(common.table(kind, heads, rows, right=[head for head in heads if head not in text]))
    ends = [name for name in found.frame.columns if name.endswith("_id")]
    for name in dict.fromkeys(one for row in found.frame[ends].itertuples(index=False) for one in row):
        if labels.get(name):
            common.out.print(f"{name}  {common.escaped(labels[name])}", highlight=False, soft_wrap=True)
    for name, reason in found.meta.get("left_out", {}).items():
        common.out.print(f"left out: {common.escaped(name)}: {reason}", highlight=False, soft_wrap=True)


_SHORT = {"residual": "copy", "attention": "attn", "normalisation": "norm", "remainder": "rest"}
_Table = tuple[list[str], list[list[object]]]


def _dose_rows(frame: pd.DataFrame) -> _Table:
    rows: list[list[object]] = []
    for edge, curve in _by_edge(frame):
        for k, row in enumerate(curve.to_dict("records")):
            between = "" if row["se"] != row["se"] else f"{row['ci_low']:.3g} … {row['ci_high']:.3g}"
            rows.append(
                [edge if k == 0 else "", row["dose"], row["level"], row["response"], between, _known(row["r_squared"]) if k == 0 else None]
            )
    return ["edge", "dose", "level", "response", "95 %", "R²"], rows


def _insertion_rows(frame: pd.DataFrame) -> _Table:
    rows: list[list[object]] = []
    for edge, part in _by_edge(frame):
        row = part.iloc[0]
        chances = [f"{row[name]:.1g}" for name in ("p_difference", "q_value")]
        numbers = [f"{row[name]:.3g}" for name in ("strength", "active_strength", "difference", "floor")]
        rows.append([edge, *numbers[:3], *chances, numbers[3], "yes" if row["significant"] else ""])
    return ["edge", "off", "on", "off − on", "p", "q", "floor", "found"], rows


def _mediation_rows(frame: pd.DataFrame) -> _Table:
    """The total, and the parts in per cent of it."""
    parts = [name for name in dict.fromkeys(frame["component"]) if name != "total"]
    rows: list[list[object]] = []
    for edge, both in _by_edge(frame):
        for method, part in both.groupby("method", sort=False):
            values = part.set_index("component")
            shares = [values["share"].get(name, float("nan")) for name in parts]
            known = ["" if share != share else percent(share) for share in shares]
            rows.append([edge, "clamp" if method == "clamping" else "slope", float(values["strength"]["total"]), *known])
    return ["edge", "by", "total", *(_SHORT.get(name, name) for name in parts)], rows


def _gate_rows(frame: pd.DataFrame) -> _Table:
    """The target in the four cells: A high (first line) or low, B high or low."""
    rows: list[list[object]] = []
    for row in frame.to_dict("records"):
        gate = f"{row['a_id']}\n+ {row['b_id']}\n→ {row['tgt_id']}"
        cells = f"hh {row['f_hh']:.3g}  hl {row['f_hl']:.3g}\nlh {row['f_lh']:.3g}  ll {row['f_ll']:.3g}"
        numbers = [f"{row[name]:.3g}" for name in ("strength", "floor")]
        kind = str(row["kind"]).partition("_")[0] if row["significant"] else ""
        rows.append([gate, cells, *numbers, f"{row['q_value']:.1g}", kind])
    return ["gate", "target", "strength", "floor", "q", "kind"], rows


def _by_edge(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (source, target), part in frame.groupby(["src_id", "tgt_id"], sort=False):
        yield f"{source}\n→ {target}", part


def _known(value: float) -> float | None:
    return None if value != value else value
