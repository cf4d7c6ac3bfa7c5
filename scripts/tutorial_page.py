"""Write docs/tutorial.md from examples/worked_example.py: ``python -m scripts.tutorial_page``; ``--run`` runs the example for its output.

1. The script is divided into cells at its ``# %%`` lines, as Jupyter does.
2. Cells of text become Markdown, cells of code fenced Python, and what a cell printed stands under it.
3. Without ``--run`` the output that the page has is kept; code and text are always the script's. Of long output the beginning is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import plotly.io

ROOT = Path(__file__).parents[1]
SCRIPT, PAGE = ROOT / "examples" / "worked_example.py", ROOT / "docs" / "tutorial.md"
_MADE = "<!-- Made by `python -m scripts.tutorial_page` from examples/worked_example.py; do not edit. -->"
_NOTE = """The steps below are the cells of `examples/worked_example.py`, a script that Jupyter opens as a notebook (the notebook is
next to it). A test runs it from start to end. What the steps print was recorded in one run; the last digits may differ elsewhere."""
_PRINTED = "It prints:"
_LINES = 14
_BLOCK = re.compile(rf"```python\n(.*?)```(?:\n\n{_PRINTED}\n\n```text\n(.*?)```)?", re.DOTALL)


@dataclass(frozen=True)
class ScriptCell:
    """One cell of the script.

    Attributes:
        code: Whether it is Python; else Markdown.
        text: Its lines, without the mark and, of Markdown, without the comment signs.
    """

    code: bool
    text: str


def cells(script: str) -> list[ScriptCell]:
    """The cells of a script in py:percent form."""
    found = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if '"script"' in head:  # what only a script needs
            continue
        markdown = head.strip() == "[markdown]"
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if markdown else body
        found.append(ScriptCell(not markdown, text.strip("\n")))
    return found


def page(parts: list[ScriptCell], printed: dict[str, str]) -> str:
    """The page: title, mark and note, then the cells, each with what it printed."""
    title, _, rest = parts[0].text.partition("\n")
    shown = [title, _MADE, _NOTE, rest.strip()]
    for cell in parts[1:]:
        shown.append(f"```python\n{cell.text}\n```" if cell.code else cell.text)
        if cell.code and (output := _beginning(printed.get(cell.text, ""))):
            shown.append(f"{_PRINTED}\n\n```text\n{output}\n```")
    return "\n\n".join(shown) + "\n"


def _beginning(output: str) -> str:
    lines = output.rstrip().splitlines()
    return "\n".join(line.rstrip() for line in (lines if len(lines) <= _LINES + 1 else [*lines[:_LINES], "…"]))


def printed_on(text: str) -> dict[str, str]:
    """Code to output, as a page shows them."""
    return {code.rstrip("\n"): output for code, output in _BLOCK.findall(text)}


def run(parts: list[ScriptCell]) -> dict[str, str]:
    """Code to output, by running the cells one after the other in one namespace. Figures are not shown."""
    plotly.io.renderers.default = ""
    names: dict[str, object] = {"__name__": "__main__"}
    printed = {}
    for cell in parts:
        if cell.code:
            with contextlib.redirect_stdout(io.StringIO()) as told:
                exec(compile(cell.text, str(SCRIPT), "exec"), names)
            printed[cell.text] = told.getvalue()
    return printed


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m scripts.tutorial_page", description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", action="store_true", help="run the example for its output: a few minutes, and a database in this folder")
    parser.add_argument("-o", "--output", type=Path, default=PAGE, help="where the page goes (default: docs/tutorial.md)")
    options = parser.parse_args()
    parts = cells(SCRIPT.read_text(encoding="utf-8"))
    kept = printed_on(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    options.output.write_text(page(parts, run(parts) if options.run else kept), encoding="utf-8")


if __name__ == "__main__":
    main()
