"""docs/configuration.md is what the code says: every field, its default, and the stages that depend on it."""

from __future__ import annotations

import re

import pytest
import yaml

from feature_graph.config import OUTSIDE_HASH, Config
from feature_graph.pipeline.stages import STAGES
from scripts import config_page


@pytest.fixture(scope="module")
def page() -> str:
    return config_page.page()


def test_the_page_is_what_the_code_says(page: str) -> None:
    written = config_page.PAGE.read_text(encoding="utf-8")
    assert written == page, "out of date: python -m scripts.config_page"


def test_every_field_is_there_once_with_a_sentence(page: str) -> None:
    named = [name for _, names in config_page.sections() for name in names]
    assert sorted(named) == sorted(Config.model_fields)
    for name in named:
        entry = page.split(f"### `{name}`\n\n")[1].split("\n\n")
        assert entry[1].endswith("."), name


def test_a_field_names_the_stages_that_depend_on_it(page: str) -> None:
    for name in Config.model_fields:
        line = page.split(f"### `{name}`\n\n")[1].splitlines()[0]
        for stage in STAGES:
            if stage.name != "report":
                assert (f"`{stage.name}`" in line.split(" · ")[2]) is (name in stage.fields), (name, stage.name)
        assert ("no stage" in line) is (name in OUTSIDE_HASH), name


def test_types_and_ranges_in_words(page: str) -> None:
    assert "### `placebo_quantile`\n\nnumber, above 0, below 1 · default `0.99`" in page
    assert "### `layers`\n\nlist of whole numbers · default `[3, 7, 11, 15, 19, 23, 27]`" in page
    assert "### `alignment`\n\none of `block`, `cosine`, `off` · default `block` · stage `candidates`" in page
    assert "| `layer` | whole number, at least 0 | required |" in page


@pytest.mark.parametrize(("name", "shown"), [("howto-own-model.md", 3), ("dictionaries.md", 4)])
def test_configurations_that_the_pages_show_are_valid(name: str, shown: int) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (config_page.PAGE.parent / name).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == shown
    for block in blocks:
        assert len(Config(**yaml.safe_load(block)).layers) > 1
