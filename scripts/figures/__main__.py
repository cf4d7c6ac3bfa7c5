"""Write what README and docs show of the bundled runs: ``python -m scripts.figures``; see the package's docstring."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_graph.artifacts import RunPaths
from feature_graph.database import server
from feature_graph.utils import setup_logging
from scripts.figures import answers, counts, forecasts, marks, pictures, steering, validation
from scripts.figures.commands import command

log = logging.getLogger("scripts.figures")


def main() -> None:
    """Bring the runs up to date, fill the pages, draw the pictures."""
    parser = argparse.ArgumentParser(prog="python -m scripts.figures", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--run", type=Path, default=Path("outputs/bundled-residual"), help="run between residual SAEs (default: outputs/bundled-residual)"
    )
    parser.add_argument("--band", type=Path, default=Path("outputs/bundled"), help="run between transcoders (default: outputs/bundled)")
    parser.add_argument("--only-run", action="store_true", help="measure, and write no page")
    parser.add_argument("--no-pictures", action="store_true", help="leave docs/images as it is")
    options = parser.parse_args()
    setup_logging("INFO")
    work(options.run)
    work_band(options.band)
    if options.only_run:
        return
    executable = None if options.no_pictures else pictures.chromium()
    if executable is None and not options.no_pictures:
        parser.error("no Chromium for the pictures: install one (apt-get install chromium), or say --no-pictures")
    values = {name: text for part in (counts, validation, steering) for name, text in part.figures(options.run).items()}
    values |= forecasts.figures(options.run, "forecasts") | forecasts.figures(options.band, "band")
    with database(options.band) as home:
        values |= counts.demo(options.band) | answers.figures(home)
        write(values)
        if executable:
            pictures.browser(home, executable)
    if executable:
        pictures.graph(options.band)
        pictures.steering(options.run, values["steering.picture"].split()[0], executable)


def work(run: Path) -> None:
    """Everything that is measured of the run between residual SAEs; what is there is kept. About an hour on two cores, the first time."""
    command("run", "bundled-residual", "--output-dir", run, quiet=False)
    paths = RunPaths.of(run)
    newest = paths.graph_json.stat().st_mtime
    if not paths.pruning_recall.is_file() or paths.pruning_recall.stat().st_mtime < newest:
        command("pruning-recall", run, quiet=False)
    command("validate", run, quiet=False)
    forecasts.measure(run)
    steering.measure(run)
    command("report", run, quiet=False)


def work_band(run: Path) -> None:
    """The run between the transcoders of the band, and its comparison of forecasts."""
    command("run", "bundled", "--output-dir", run, quiet=False)
    forecasts.measure(run)


@contextmanager
def database(run: Path) -> Iterator[Path]:
    """A database home of its own that holds the run and nothing else."""
    home = run / "figures" / "home"
    home.parent.mkdir(exist_ok=True)
    try:
        server.start(home)
        command("ingest", run, "--home", home)
        yield home
    finally:
        server.stop(home)


def write(values: dict[str, str]) -> None:
    """Fill the pages; keep the values in docs/figures.json."""
    for page in marks.pages():
        before = page.read_text(encoding="utf-8")
        after = marks.filled(before, values)
        if after != before:
            page.write_text(after, encoding="utf-8")
            log.info("figures: wrote %s", page.relative_to(marks.ROOT))
    used = {name for page in marks.pages() for name, _ in marks.found(page.read_text(encoding="utf-8"))}
    kept = {name: text for name, text in sorted(values.items()) if name in used}
    marks.RECORD.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
