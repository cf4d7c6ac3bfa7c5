"""``quality``: which dictionaries are fit for a graph, measured on text that the user chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, check_exists
from feature_graph.cli.stages import ConfigArg, DeviceOpt, SetOpt

if TYPE_CHECKING:
    from feature_graph.config import Config

_HEADS = ("site", "variance", "typical", "L0", "dead", "CE (zero)", "CE (mean)")
_RESPONSE_HEADS = ("site", "decoders", "arrivals", "random", "skip", "error")


def quality(
    config: ConfigArg,
    text: Annotated[
        Path | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Text to measure on, a file or a folder, instead of the configuration's; preferably held out.",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=256, help="Tokens of text; more make intervals narrower.")] = 16_384,
    set_: SetOpt = None,
    device: DeviceOpt = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how fit each dictionary of a configuration or run is for a graph.

    The figures are explained variance (of all and of typical tokens), L0, dead features, cross-entropy recovered compared with zero and
    with the mean, and, for dictionaries of MLPs and attention, how well they respond as the component does to decoder rows of earlier
    dictionaries, to what earlier features send, and to random directions. What the release published and one sentence for each dictionary
    are added.
    """
    check_exists(text, "--text")
    cfg = common.load_config(config, [*(set_ or []), *([f"device={device}"] if device else [])])
    found = _measure(config, cfg, text, tokens)
    if as_json:
        common.answer(as_json, found)
        return
    _show(found)


def _measure(config: str, cfg: Config, text: Path | None, tokens: int) -> dict[str, Any]:
    from feature_graph.evaluation.quality import measure_config

    run_dir = Path(config) if Path(config).is_dir() else None
    return measure_config(cfg, None if text is None else str(text), tokens, run_dir=run_dir, progress=True)


def _show(found: dict[str, Any]) -> None:
    every = found["dictionaries"]
    title = f"On {found['tokens']:,} tokens of {found['text']}, in {found['documents']:,} contexts"
    rows = [[name, *(_number(one[key], form) for key, form in _COLUMNS.items())] for name, one in every.items()]
    common.out.print(common.table(title, _HEADS, rows, right=_HEADS[1:]))
    components = {name: one for name, one in every.items() if one["shares_along"] is not None}
    if components:
        rows = [
            [name, *(_number(one["response_ev"][kind], ".2f") for kind in _RESPONSE_HEADS[1:4]), *_shares(one)]
            for name, one in components.items()
        ]
        title = "Response EV by kind of direction, and shares of the response by skip and error"
        common.out.print(common.table(title, _RESPONSE_HEADS, rows, right=_RESPONSE_HEADS[1:]))
    _show_published(every)
    for name, one in every.items():
        common.out.print(f"{common.escaped(name)}: {common.escaped(one['verdict'])}", highlight=False)
    common.out.print("Intervals (95 %, over contexts) are in the answer to --json.", highlight=False)


_COLUMNS = {
    "explained_variance": ".3f",
    "explained_variance_typical": ".3f",
    "l0": ".1f",
    "dead": ".1%",
    "ce_recovered_zero": ".3f",
    "ce_recovered_mean": ".3f",
}


def _show_published(every: dict[str, Any]) -> None:
    stated = {name: one["published"] for name, one in every.items() if any(v is not None for v in one["published"].values())}
    if not stated:
        common.out.print("The releases publish no figures.", highlight=False)
        return
    heads = ("site", "L0 published", "L0 here", "variance published", "typical here")
    rows = []
    for name, said in stated.items():
        here = every[name]
        l0 = (_plain(said["l0"], ".1f"), _number(here["l0"], ".1f"))
        rows.append([name, *l0, _plain(said["explained_variance"], ".3f"), _number(here["explained_variance_typical"], ".3f")])
    common.out.print(common.table("Published by the release", heads, rows, right=heads[1:]))


def _shares(one: dict[str, Any]) -> list[str]:
    return [_number(one[name], ".0%") for name in ("skip_share", "error_share")]


def _number(figure: dict[str, Any] | None, form: str) -> str:
    return "–" if figure is None else _plain(figure["value"], form)


def _plain(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
