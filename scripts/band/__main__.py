"""``python -m scripts.band``: see the package's docstring."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch

from feature_graph.utils import setup_logging
from scripts.band import stages
from scripts.band.settings import BandSettings

log = logging.getLogger("feature_graph.band")
OPTIONS = (
    "register_tokens",
    "sampled_rows",
    "d_sae",
    "k",
    "samples",
    "batch",
    "responses",
    "response_weight",
    "arrivals",
    "lr",
    "arrival_rows",
    "measured_rows",
    "seed",
)
STAGES = {"sample": stages.sample, "record": stages.record, "train": stages.train, "publish": stages.publish, "measure": stages.measure}
ONLY_ASKED = {"controls": stages.controls}


def main() -> None:
    """Read the command line and run the stages."""
    usual = BandSettings()
    parser = argparse.ArgumentParser(prog="python -m scripts.band", description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", type=Path, required=True, help="where everything lies")
    parser.add_argument("--stage", choices=[*STAGES, *ONLY_ASKED, "all"], default="all")
    parser.add_argument("--blocks", type=int, nargs="+", default=list(usual.blocks), help="blocks to train, publish or measure")
    parser.add_argument("--recorded", type=int, nargs="+", default=list(usual.blocks), help="blocks of the band, whose MLPs are recorded")
    parser.add_argument("--tag", default="band", help="name of this training below WORKDIR/trained")
    parser.add_argument("--earlier", help="training whose earlier blocks send directions (default: this one)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    for name in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(getattr(usual, name)), default=getattr(usual, name))
    args = parser.parse_args()
    chosen = {name: getattr(args, name) for name in OPTIONS} | {"blocks": tuple(args.recorded)}
    setup_logging()
    if args.threads:
        torch.set_num_threads(args.threads)
    work = stages.Work(args.workdir, replace(usual, **chosen), tuple(args.blocks), args.tag, args.earlier or args.tag)
    for name, stage in STAGES.items() if args.stage == "all" else [(args.stage, (STAGES | ONLY_ASKED)[args.stage])]:
        log.info("stage %s", name)
        stage(work)


if __name__ == "__main__":
    main()
