"""Text of files and databases on its way to people: nothing in it acts on a terminal, and no file is made that no reader opens."""

from __future__ import annotations

import io
import json
import logging
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import networkx as nx
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from feature_graph.cli import app, common
from feature_graph.graph import load_graph, save_graph
from feature_graph.report import write_report
from feature_graph.terminal import SafeConsole, visible
from feature_graph.utils import setup_logging
from feature_graph.visualization import network_scene
from feature_graph.visualization.svg import svg_text
from ingest import InvalidRun
from ingest import text as ingest_text
from ingest.formats import FEATURES, write_table
from ingest.graphml import read_graphml, restored, safe, write_graphml
from ingest.rundir import open_run
from tests.rundirs import random_run
from tests.support.control_characters import acts

ACTING = "ansi \x1b[31mred\x1b[0m, form\x0cfeed, \r\b\x00\x7f\x9b2J \u202egnirts \u2066x\u2069 \ud800"
SHOWN = r"ansi \x1b[31mred\x1b[0m, form\x0cfeed, \x0d\x08\x00\u007f\u009b2J \u202egnirts \u2066x\u2069 \ud800"
#: Text of any kind; most of it of characters that act.
TEXTS = st.text(st.characters() | st.sampled_from(ACTING + "\\u00e4 \ufffe\uffff\t\n"), max_size=20)


@given(TEXTS)
def test_what_is_shown_acts_on_nothing(text: str) -> None:
    assert not acts(visible(text))
    assert visible(text) == ingest_text.visible(text)
    assert visible(visible(text)) == visible(text)
    if not acts(text) and not set(text) & set("\u061c\u200e\u200f\u2028\u2029"):
        assert visible(text) == text
    assert json.loads(visible(json.dumps({"label": text}, ensure_ascii=False))) == {"label": text}


def test_a_label_with_everything() -> None:
    assert acts(ACTING)
    assert visible(ACTING) == SHOWN
    assert common.cell(ACTING) == SHOWN
    assert common.escaped(f"[b]{ACTING}").startswith(r"\[b]ansi \x1b")


def test_consoles_tables_and_log_lines_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    common.out.print(common.table(ACTING, [ACTING], [[ACTING]]), ACTING, highlight=False, soft_wrap=True)
    common.out.print_json(data={"label": ACTING})
    common.say(ACTING)
    with pytest.raises(BaseException, match="1"):
        common.fail(ACTING)
    logger = logging.getLogger("feature_graph.test")
    setup_logging()
    logger.warning("read %s", ACTING)
    seen = capsys.readouterr()
    assert SHOWN.split(",")[0] in seen.out
    assert r"\x1b[31mred" in seen.err
    assert not acts(seen.out + seen.err)


def test_colours_of_our_own_stay() -> None:
    out = io.StringIO()
    SafeConsole(file=out, force_terminal=True, width=200, color_system="standard").print("[red]\x1b[31mlabel[/]", highlight=False)
    assert out.getvalue() == "\x1b[31m\\x1b[31mlabel\x1b[0m\n"


def test_data_are_sent_as_they_are_but_not_to_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "label\n\x1b[31mred\n"
    common.send(text)
    assert capsys.readouterr().out == text
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    common.send(text)
    assert capsys.readouterr().out == "label\n\\x1b[31mred\n"


def test_a_name_of_a_file_in_an_error() -> None:
    result = CliRunner().invoke(app, ["report", "no\x1b[31mrun\u202e"])
    assert result.exit_code == 2
    assert r"no\x1b[31mrun\u202e" in result.stderr.replace("\n", "")
    assert not acts(result.output)


# --- GraphML ---


@given(TEXTS)
def test_text_in_xml_is_read_back(text: str) -> None:
    assert restored(safe(text)) == text
    assert not set(safe(text)) & {chr(c) for c in range(0x20)} - {"\t", "\n"}


@given(TEXTS, TEXTS, TEXTS)
@settings(max_examples=60, deadline=None)
def test_a_file_that_every_reader_opens(tmp_path_factory: pytest.TempPathFactory, one: str, two: str, label: str) -> None:
    path = tmp_path_factory.mktemp("graphml") / "g.graphml"
    with path.open("w", encoding="utf-8") as file:
        write_graphml(file, {"from": label}, [(one, {"label": label})], [(one, two, {label: 0.5, "text": two})])
    found = read_graphml(path)
    assert found.facts == {"from": label}
    assert found.nodes[one]["label"] == label
    assert found.edges == [(one, two, {label: 0.5, "text": two} if label != "text" else {"text": two})]
    other = nx.read_graphml(path)
    assert {restored(str(node)) for node in other} == {one, two}
    assert restored(other.nodes[safe(one)]["label"]) == label


def test_the_graph_of_a_run_and_its_pictures(tmp_path: Path) -> None:
    graph = nx.DiGraph()
    graph.add_node("L0_F1", layer=0, label=ACTING)
    graph.add_node("L1_F1", layer=1, label="C:\\path\\u0041")
    graph.add_edge("L0_F1", "L1_F1", strength=0.5, weight=0.5, sign=1, type="excitatory")
    path = save_graph(graph, tmp_path / "g.graphml")
    assert dict(load_graph(path).nodes(data="label")) == dict(graph.nodes(data="label"))
    assert restored(nx.read_graphml(path).nodes["L0_F1"]["label"]) == ACTING
    picture = svg_text(network_scene(graph, ACTING))
    ET.fromstring(picture)
    assert not acts(picture)


def test_the_report_shows_it(tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", n_layers=3, n_features=4, n_edges=12)
    features = pd.read_parquet(root / FEATURES.name)
    features["label"] = [f"\x1b[31m<b> \u202e{i}" for i in range(len(features))]
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    page = write_report(root).read_text(encoding="utf-8")
    assert "\x1b[31m" not in page
    assert "\u202e" not in page


# --- halves of characters ---


def test_an_attribution_graph_with_odd_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ingest.attribution_graphs.__main__ import main
    from tests.attribution_json import random_document

    graph = random_document()
    graph["metadata"]["slug"] = "texas\x1b[31m"
    (tmp_path / "odd.json").write_text(json.dumps(graph))
    assert main([str(tmp_path / "odd.json"), str(tmp_path / "odd\x1b[31m")]) == 0
    graph["nodes"][0]["clerp"] = "half \ud800"
    (tmp_path / "half.json").write_text(json.dumps(graph))
    assert main([str(tmp_path / "half.json"), str(tmp_path / "half")]) == 1
    seen = capsys.readouterr()
    assert "half.json: it holds half a character" in seen.err
    assert not acts(seen.out + seen.err)


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "behaviors.json"])
def test_half_a_character_is_refused_in_words(tmp_path: Path, name: str) -> None:
    from ingest import behaviors
    from ingest.validate import validate

    root = random_run(tmp_path / "run", n_layers=2, n_features=3, n_edges=3)
    one = {"name": "x", "prompts": ["\ud800"], "metric": "m", "confirmed": True, "seeds": []}
    value = {"kind": "behaviors", "version": 1, "behaviors": [one]} if name == "behaviors.json" else {"dataset": "half \ud800"}
    (root / name).write_text(json.dumps(value))

    def read() -> None:
        run = open_run(root)
        behaviors.read(run, validate(run).features)

    with pytest.raises(InvalidRun, match=rf"{name}: it holds half a character \(a lone surrogate, such as \\ud800\)"):
        read()
