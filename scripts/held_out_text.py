"""``python -m scripts.held_out_text FOLDER``: write the text that trained no bundled dictionary, as one file per document.

For ``feature-graph forecasts RUN --text`` and ``feature-graph quality CONFIG --text``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.band.registers import documents
from scripts.band.settings import REGISTERS, BandSettings
from scripts.train_bundled_saes import held_out


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.held_out_text", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="where the files go; a folder that is not there yet")
    parser.add_argument("--registers", nargs="+", choices=list(REGISTERS), default=["speeches"], help="kinds of text")
    args = parser.parse_args()
    if args.folder.exists():
        parser.error(f"{args.folder} is there already")
    seed = BandSettings().text_seed
    texts = [(name, text) for name in args.registers for title, text in documents(name) if held_out(title, seed)]
    args.folder.mkdir(parents=True)
    for number, (name, text) in enumerate(texts):
        (args.folder / f"{name}-{number:04d}.txt").write_text(text, encoding="utf-8")
    print(f"{len(texts)} held-out documents in {args.folder}")


if __name__ == "__main__":
    main()
