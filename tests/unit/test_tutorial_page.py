"""docs/tutorial.md has the text and code of examples/worked_example.py, and what the code printed."""

from __future__ import annotations

from scripts import tutorial_page
from scripts.tutorial_page import ScriptCell, cells, page, printed_on, run

SCRIPT = """# %% [markdown]
# # Title
#
# A sentence.

# %% tags=["script"]
import sys

# %%
a = 2
print(a)

# %% [markdown]
# ## Next

# %%
a += 1

# %%
print(a, "\\n", a)
"""


def test_the_page_is_the_script() -> None:
    written = tutorial_page.PAGE.read_text(encoding="utf-8")
    parts = cells(tutorial_page.SCRIPT.read_text(encoding="utf-8"))
    assert written == page(parts, printed_on(written)), "out of date: python -m scripts.tutorial_page"
    assert sum(bool(output) for output in printed_on(written).values()) > 10, "no output: python -m scripts.tutorial_page --run"


def test_cells_of_a_script() -> None:
    parts = cells(SCRIPT)
    assert parts[0] == ScriptCell(False, "# Title\n\nA sentence.")
    assert parts[1] == ScriptCell(True, "a = 2\nprint(a)")
    assert [cell.code for cell in parts] == [False, True, False, True, True]


def test_of_long_output_the_beginning_is_shown() -> None:
    parts = cells(SCRIPT)
    shown = page(parts, {parts[1].text: "\n".join(map(str, range(40)))})
    assert "\n13\n…\n```" in shown
    assert page(parts, printed_on(shown)) == shown


def test_output_stands_under_its_cell_and_is_read_back() -> None:
    parts = cells(SCRIPT)
    printed = run(parts)
    assert printed == {"a = 2\nprint(a)": "2\n", "a += 1": "", 'print(a, "\\n", a)': "3 \n 3\n"}
    shown = page(parts, printed)
    assert shown.startswith("# Title\n")
    assert "```python\na = 2\nprint(a)\n```\n\nIt prints:\n\n```text\n2\n```\n\n## Next\n\n```python\na += 1\n```\n\n```python" in shown
    assert page(parts, printed_on(shown)) == shown
