from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_graph.artifacts import ArtifactError, InteractionSet, RunPaths
from feature_graph.graph import build_interaction_graph, copy_families, interval, load_graph, save_graph, structural
from feature_graph.report import write_report
from feature_graph.report.material import gather
from feature_graph.report.sections import evidence, find, summary
from feature_graph.report.strongest import OF_A_SOURCE, hubs, strongest_edges
from tests.strategies import random_interactions
from tests.support.report_run import make_run, words

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    paths = make_run(tmp_path_factory.mktemp("run"))
    write_report(paths.root)
    return paths


def test_report_says_what_was_run_and_found(run: RunPaths) -> None:
    text = words(run.report)
    graph = load_graph(run.graph_json)
    assert f"{graph.number_of_edges():,} edges" in text
    assert "120 pairs of features at 4 layers of toy were tested" in text
    assert "passed at q < 0.05, corrected by fdr_bh" in text
    assert "Not everything was there" not in text
    for piece in ("importance", "1,000 400 40%", "0.871", "47.5", "toy-res blocks.4", "2,304", "12.3", "torch 2.9.9", "top_k_features 100"):
        assert piece in text, piece
    assert "factual recall capitals clean 2.5, corrupted −2, ablated 1.25; right answer preferred in 90%" in text
    assert f"feature-graph ingest {run.root.resolve()}" in text


def test_report_is_one_self_contained_page(run: RunPaths) -> None:
    text = run.report.read_text(encoding="utf-8")
    outside = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", " ", text, flags=re.S)
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", outside)
    assert text.count("plotly.js v") == 1
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert len(data["edges"]) == find(gather(run.root)).between.number_of_edges()
    anchors = re.findall(r'<a href="#(\w+)"', text)
    assert anchors
    assert set(anchors) <= set(re.findall(r'<section id="(\w+)"', text))


def test_findings_are_those_of_the_graph(run: RunPaths) -> None:
    material = gather(run.root)
    found = find(material)
    graph = load_graph(run.graph_json)
    by_pair = {(u, v): d for u, v, d in graph.edges(data=True)}
    sizes = [abs(d["standardised"] * d["specific"] / d["total"]) for d in by_pair.values() if abs(d["specific"]) >= d["floor"]]
    assert found.ordered_by == "specific"
    assert abs(found.edges[0]["standardised"]) == pytest.approx(max(sizes))
    assert [abs(e["standardised"]) for e in found.edges] == sorted((abs(e["standardised"]) for e in found.edges), reverse=True)
    by_source = Counter(e["source"] for e in found.edges)
    assert max(by_source.values()) == OF_A_SOURCE
    assert "Of each source there are at most 3" in words(run.report)
    for e in found.edges:
        edge = by_pair[e["source"], e["target"]]
        assert e["structural"] == (edge["span"] == 1 or "direct" in edge["by"].split("+"))
        assert e["interval"] == ((edge["ci_low"], edge["ci_high"]) if edge["strength"] == edge["total"] else None)
    assert {e["structural"] for e in found.edges} == {True, False}
    hub = found.hubs[0]
    out = [d for *_, d in found.between.out_edges(hub["id"], data=True)]
    assert hub["sent_strength"] == pytest.approx(sum(abs(d["strength"]) for d in out))
    assert hub["sent"] == pytest.approx(sum(abs(d["standardised"] * d["strength"] / d["total"]) for d in out))
    assert abs(hub["drives"]["standardised"]) == pytest.approx(max(abs(d["standardised"] * d["strength"] / d["total"]) for d in out))
    assert hub["id"] in " ".join(summary(material, found))
    frame = material.interactions.frame  # type: ignore[union-attr]
    tests = evidence(material)
    assert tests["passed"]["total"] == frame.loc[frame["significant"], "significant_by"].str.contains("total").sum()
    assert sum(f["edges"] for f in tests["floors"]) == graph.number_of_edges()
    assert hubs(graph, 0) == strongest_edges(graph, graph, 0) == []


def test_only_a_total_effect_has_its_interval_below_it(tmp_path: Path) -> None:
    """The interval of a run's files is that of the total effect, whatever let the edge in."""
    paths = make_run(tmp_path)
    graph = load_graph(paths.graph_json)
    ordered = strongest_edges(graph, graph)
    first, second = ((row["source"], row["target"]) for row in ordered[:2])
    graph.edges[first].update(kind="direct", strength=graph.edges[first]["total"] * 0.9)
    graph.edges[second].update(kind="later", strength=graph.edges[second]["total"] * 1.1)
    save_graph(graph, paths.graph_json)
    rows = {(row["source"], row["target"]): row for row in strongest_edges(graph, graph)}
    assert rows[first]["interval"] is rows[second]["interval"] is None
    assert all(low <= row["strength"] <= high for row in rows.values() if row["interval"] for low, high in (row["interval"],))
    near = [data for *_, data in structural(load_graph(make_run(tmp_path / "whole").graph_json)).edges(data=True) if data["span"] == 1]
    assert {data["kind"] for data in near} == {"direct"}
    assert all(interval(data) == (data["ci_low"], data["ci_high"]) for data in near), "the direct effect is the total one there"
    text = words(write_report(paths.root))
    assert "direct effect" in text
    assert "later effect" in text


def test_labels_cannot_run(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, label=EVIL).root)
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "&lt;script&gt;alert" in text


def test_missing_files_are_said(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    for path in (paths.config, paths.manifest, paths.candidates, paths.features, paths.graph_json, paths.root / "behaviors.json"):
        path.unlink()
    text = words(write_report(paths.root))
    for name in ("config.json", "manifest.json", "candidates.parquet", "features.parquet", "behaviors.json"):
        assert f"{name} is not there" in text
    assert "graph.json is not there: without the graph; it is built anew from the interactions" in text
    assert "Their quality was not recorded" in text


def test_graph_alone_is_enough(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    paths.interactions.unlink()
    text = words(write_report(paths.root, tmp_path / "elsewhere" / "r.html"))
    assert "interactions.parquet is not there" in text
    assert "nothing can be said about tests" in text
    assert not paths.report.exists()


def test_damaged_files_are_said(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    paths.manifest.write_text("{", encoding="utf-8")
    paths.features.write_bytes(b"PAR1")
    paths.graph_json.write_text("[]", encoding="utf-8")
    text = words(write_report(paths.root))
    for name in ("manifest.json", "features.parquet", "graph.json"):
        assert f"{name} cannot be read" in text


def test_nothing_to_report_on(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such directory; expected a run directory"):
        write_report(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"nothing to report on: interactions\.parquet is not there.*Run `feature-graph run` first"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_empty_graph(tmp_path: Path) -> None:
    text = words(write_report(make_run(tmp_path, n_edges=0).root))
    assert "No interaction was significant, so the graph is empty" in text
    assert "Nothing to draw" in text
    assert "nan" not in text.lower().split()


def test_unmeasured_figures_are_dashes(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    interactions = random_interactions(4, 10, 120, seed=1)
    bare = interactions.frame.assign(confirm_strength=np.nan, replicated=None, strength_jacobian=np.nan, direct_jacobian=np.nan)
    type(interactions)(bare, {}).save(paths.interactions)
    text = words(write_report(paths.root))
    assert "No edge was measured again" in text
    assert "Clamping compared with the derivative" not in text
    assert "nan" not in text.lower().split()


def test_nearly_all_is_not_all(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    interactions = random_interactions(4, 10, 600, seed=1)
    frame = interactions.frame
    again = frame["significant"] & frame["confirm_strength"].notna()
    assert again.sum() > 100
    frame.loc[again, "replicated"] = True
    frame.loc[again.idxmax(), "replicated"] = False
    type(interactions)(frame, interactions.meta).save(paths.interactions)
    rate = find(gather(paths.root)).replication.rate  # type: ignore[union-attr]
    assert 0.995 < rate < 1
    text = words(write_report(paths.root))
    assert f"{rate:.1%} replicate" in text
    assert f"{rate:.1%} of {again.sum():,} edges replicate" in text


def test_degree_is_one_thing_on_the_whole_page(run: RunPaths) -> None:
    """The sentence, the table of hubs and what the picture says of a feature count the same edges; the figures, all structural ones."""
    material = gather(run.root)
    found = find(material)
    graph = load_graph(run.graph_json)
    edges = graph.edges(data=True)
    kept = [(u, v) for u, v, d in edges if d["span"] == 1 or "direct" in d["by"].split("+")]
    assert 0 < len(kept) < len(edges)
    kin = {member: family.id for family in copy_families(graph) for member in family.members}
    counted = {(kin.get(u, u), kin.get(v, v)) for u, v in kept if abs(graph.edges[u, v]["specific"]) >= graph.edges[u, v]["floor_computed"]}
    counted = {(u, v) for u, v in counted if u != v}
    assert 0 < len(counted) < len(kept)
    hub = found.hubs[0]
    causes, effects = sum(v == hub["id"] for _, v in counted), sum(u == hub["id"] for u, _ in counted)
    assert (hub["in_degree"], hub["out_degree"]) == (causes, effects)
    assert causes + effects == max(Counter(end for edge in counted for end in edge).values())
    told = f"it drives {effects} features and is driven by {causes}, by structural edges with a specific effect."
    assert told in summary(material, found)[-1]
    assert "structural edges by their specific effect" in words(run.report)
    text = run.report.read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    mark = next(n for n in data["nodes"] if n["id"] == hub["id"])
    assert f"drives {effects} · driven by {causes}" in mark["facts"][0]
    tally = Counter(v for _, v in kept)
    assert found.stats.max_in_degree == max(tally.values())
    assert f"most in {max(tally.values())}, " in words(run.report)


def test_a_page_without_specific_edges_says_why(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    graph = load_graph(paths.graph_json)
    for *_, d in graph.edges(data=True):
        d["specific"] = d["floor"] / 2
    save_graph(graph, paths.graph_json)
    text = words(write_report(paths.root))
    assert "Nothing is drawn: none of the" in text
    assert "No feature has an edge: none of the" in text
    assert "effect 'strength' keeps all" in text
    for *_, d in graph.edges(data=True):
        d["specific"] = math.nan
    save_graph(graph, paths.graph_json)
    text = words(write_report(paths.root))
    assert "structural edges by their direct effect" in text
    assert "specific effect" not in text.partition("Copy families")[0]


def test_edges_say_what_they_are(run: RunPaths) -> None:
    text = words(run.report)
    assert "Ordered by the standardised specific effect" in text
    assert "in standard deviations of the target" in text
    assert re.search(r"no: total over \d sites", text)
    assert "target units per source unit" in text


def test_a_graph_from_before_standardised_effects_gets_them_from_the_table(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    now = [e["standardised"] for e in find(gather(paths.root)).edges]
    graph = load_graph(paths.graph_json)
    for *_, d in graph.edges(data=True):
        del d["standardised"]
    save_graph(graph, paths.graph_json)
    assert [e["standardised"] for e in find(gather(paths.root)).edges] == now
    paths.interactions.unlink()
    write_report(paths.root)
    assert "ordered by strength, whose unit differs from pair to pair" in words(paths.report)


def changed(paths: RunPaths, **columns: Any) -> pd.DataFrame:
    """Other columns in the interactions of the run, and the graph built of them."""
    interactions = InteractionSet.load(paths.interactions)
    frame = interactions.frame.assign(**columns)
    InteractionSet(frame, interactions.meta).save(paths.interactions)
    save_graph(build_interaction_graph(InteractionSet(frame, interactions.meta)), paths.graph_json)
    return frame


def test_edges_show_what_is_computed_and_what_is_specific(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    changed(paths, q_specific=np.where(np.arange(120) % 2, 0.4, 0.0031))
    found = find(gather(paths.root))
    text = words(write_report(paths.root))
    head, _, rest = text.partition("Strongest edges")[2].partition("confirmed")
    assert head.split()[-6:] == ["later", "copied", "computed", "specific", "span", "type"]
    assert {e["q_specific"] for e in found.edges} == {0.4, 0.0031}
    for e in found.edges:
        mark = "q 0.0031" if e["q_specific"] < 0.05 else "unresolved"
        assert f"{e['computed']:.3g} {e['specific']:.3g} {mark} {e['span']} {e['type']} ".replace("-", "−").replace("_", " ") in rest
    assert not found.unspecific


@pytest.mark.parametrize(
    ("targets", "reason"), [("all", "with targets: all no random directions are measured"), ("candidates", "no random")]
)
def test_a_run_that_did_not_measure_specificity_says_so(tmp_path: Path, targets: str, reason: str) -> None:
    paths = make_run(tmp_path)
    changed(paths, specific_strength=np.nan, p_specific=np.nan, q_specific=np.nan)
    paths.config.write_text(json.dumps(json.loads(paths.config.read_text()) | {"targets": targets}))
    text = words(write_report(paths.root))
    assert f"What is specific of an edge was not measured in this run: {reason}" in text
    assert f"How many are specific is not known: {reason}" in text
    assert "specific span" not in text
    assert "unresolved" not in text


def test_what_takes_from_a_copy_is_told_apart(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    frame = InteractionSet.load(paths.interactions).frame
    copies = frame.index[frame["significant"] & (frame["span"] == 1)][:9]
    frame = changed(paths, interaction_type=frame["interaction_type"].where(~frame.index.isin(copies), "erases_copy"))
    material = gather(paths.root)
    found = find(material)
    told = re.search(r"([\d.]+)% excite, ([\d.]+)% inhibit, ([\d.]+)% take from a copy\.", summary(material, found)[0])
    assert told is not None
    assert float(told[2]) == pytest.approx(100 * found.stats.negative_share, abs=0.6)
    assert float(told[3]) >= 100 * 9 / frame["significant"].sum() - 0.6
    shown = [e for e in found.edges if e["type"] == "erases_copy"]
    assert {e["acts"] for e in shown} == {0}
    assert write_report(paths.root).read_text(encoding="utf-8").count('<td class="n taken">') >= 2 * len(shown)
