"""Attribution graphs become runs: by hand on a small one, by the definition on a random one, and bad files are refused."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ingest.attribution_graphs import GraphError, import_graph, read_graph
from ingest.attribution_graphs.__main__ import main
from ingest.behaviors import read as read_behaviors
from ingest.rundir import open_run
from ingest.validate import validate
from tests.attribution_json import document, feature, link, node, random_document, write


def imported(tmp_path: Path, value: dict[str, Any], **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    done = import_graph(read_graph(write(tmp_path / "graph.json", value)), tmp_path / "run", **options)
    validate(open_run(done.root))
    return pd.read_parquet(done.root / "features.parquet"), pd.read_parquet(done.root / "interactions.parquet")


def small() -> dict[str, Any]:
    """Feature 7 of layer 0 at two positions, feature 9 of layer 2 at two, one feature between; a logit."""
    nodes = [
        feature(0, 7, 1, 2.0, "state"),
        feature(0, 7, 3, 4.0),
        feature(1, 5, 3, 1.0),
        feature(2, 9, 3, 3.0, "Austin"),
        feature(2, 9, 5, 1.5),
    ]
    nodes += [node("E_1_1", 1, "E", 1, "embedding"), node("1_-1_3", -1, "1", 3, "mlp reconstruction error")]
    nodes += [node("4_88_5", 88, "4", 5, "logit", 'Output " Austin"') | {"token_prob": 0.75, "is_target_logit": True}]
    links = [link("0_7_1", "2_9_3", 1.0), link("0_7_3", "2_9_3", 2.0), link("0_7_3", "2_9_5", -6.0), link("0_7_1", "1_5_3", 0.5)]
    links += [link("0_7_3", "1_5_3", 0.25), link("1_5_3", "2_9_3", 0.5), link("1_5_3", "2_9_5", -0.5)]
    links += [link("E_1_1", "0_7_1", 3.0), link("1_-1_3", "2_9_3", 0.25), link("2_9_5", "4_88_5", 0.5), link("0_7_3", "4_88_5", -2.0)]
    return document(nodes, links)


def test_a_small_graph_by_hand(tmp_path: Path) -> None:
    features, edges = imported(tmp_path, small())
    assert features["id"].tolist() == ["L0_F7", "L1_F5", "L2_F9"]
    assert features["uid"][0] == "gemma-2-2b@00000000/gemmascope-transcoder-16k/layer.0/7"
    assert features["neuronpedia_url"][0] == "https://www.neuronpedia.org/gemma-2-2b/0-gemmascope-transcoder-16k/7"
    assert features[["mean_act", "max_act", "density"]].to_numpy().tolist() == [[3.0, 4.0, 2 / 6], [1.0, 1.0, 1 / 6], [2.25, 3.0, 2 / 6]]
    assert features["label"].tolist() == ["state", "", "Austin"]
    # Position 1 of L0_F7 gives 1/2 a unit; position 3 gives 2/4 there and −6/4 two tokens later. The links of L1_F5 cancel: no edge.
    assert edges[["src_id", "tgt_id"]].to_numpy().tolist() == [["L0_F7", "L1_F5"], ["L0_F7", "L2_F9"]]
    assert edges["direct_strength"].tolist() == [(0.5 / 2 + 0.25 / 4) / 2, (1 / 2 + 2 / 4 - 6 / 4) / 2]
    assert edges["later_strength"].tolist() == [0.5 / 2 / 2, (1 / 2 - 6 / 4) / 2]
    assert edges["interaction_type"].tolist() == ["excitatory", "inhibitory"]
    assert edges[["span", "n_samples"]].to_numpy().tolist() == [[1, 2], [2, 2]]
    assert edges[["p_value", "q_value", "se", "ci_low", "copy_strength"]].isna().all(axis=None)
    assert set(edges["method"]) == {"attribution"}


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    imported(tmp_path, small())
    facts = open_run(tmp_path / "run").facts
    assert facts["nodes"] == {"features": 5, "logits": 1, "embedding": 1, "mlp reconstruction error": 1}
    assert facts["links"] == {"all": 11, "between_features": 7, "edges": 2}
    assert facts["share_of_weight_between_features"] == pytest.approx(10.75 / 16.5)


def test_the_target_logit_is_a_behaviour_with_its_features(tmp_path: Path) -> None:
    imported(tmp_path, small())
    run = open_run(tmp_path / "run")
    (found,) = read_behaviors(run, validate(run).features)
    assert (found.name, found.prompts, found.clean, found.confirmed) == ("texas", ["The capital of Texas is"], 0.75, False)
    assert [(s.feature.id, s.effect, s.rank) for s in found.seeds] == [("L0_F7", -2.0, 1), ("L2_F9", 0.5, 2)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unit", ["source", "contribution"])
def test_edges_are_the_definition_s_on_a_random_graph(tmp_path: Path, seed: int, unit: Any) -> None:
    value = random_document(seed)
    features, edges = imported(tmp_path, value, unit=unit)
    nodes = {n["node_id"]: n for n in value["nodes"] if n["feature_type"] == "cross layer transcoder"}
    positions: dict[str, int] = defaultdict(int)
    for name in nodes:
        positions[name.rpartition("_")[0]] += 1
    wanted: dict[tuple[str, str], float] = defaultdict(float)
    for one in value["links"]:
        if one["source"] in nodes and one["target"] in nodes:
            source, target = (one[end].rpartition("_")[0] for end in ("source", "target"))
            wanted[source, target] += one["weight"] / (nodes[one["source"]]["activation"] if unit == "source" else 1) / positions[source]
    got = dict(zip(zip(edges["src_id"], edges["tgt_id"], strict=True), edges["direct_strength"], strict=True))
    short = {key: "L" + key.replace("_", "_F") for key in positions}
    assert got == {(short[a], short[b]): pytest.approx(w) for (a, b), w in wanted.items()}
    assert len(features) == len(positions)


def spoiled(**changes: Any) -> dict[str, Any]:
    return small() | changes


BAD = [
    ("metadata missing", {k: v for k, v in small().items() if k != "metadata"}),
    ("nodes missing", spoiled(nodes={})),
    (r"metadata.slug: got None; expected a str", spoiled(metadata={"scan": "x", "prompt": "y", "prompt_tokens": ["y"]})),
    (r"metadata.prompt_tokens: got 'a b'; expected a list", spoiled(metadata=small()["metadata"] | {"prompt_tokens": "a b"})),
    (r"nodes\[0\]: ctx_idx missing", spoiled(nodes=[{"node_id": "0_7_1", "feature_type": "x"}])),
    (r"nodes\[1\]: object missing", spoiled(nodes=[small()["nodes"][0], 5])),
    (r"node '0_7_1': layer '3', ctx_idx 1; expected id", spoiled(nodes=[feature(0, 7, 1) | {"layer": "3"}], links=[])),
    (r"node '0_7_1': activation nan; expected a finite", spoiled(nodes=[feature(0, 7, 1, math.nan)], links=[])),
    (r"links\[0\]: got .*nan.*; expected .* a finite weight", spoiled(links=[link("0_7_1", "2_9_3", math.nan)])),
    (r"links\[0\]: got .*Infinity|inf", spoiled(links=[link("0_7_1", "2_9_3", math.inf)])),
    (r"links\[0\]: got .*'1'", spoiled(links=[link("0_7_1", "2_9_3", "1")])),  # type: ignore[arg-type]
    (r"links\[0\]: target '2_9_4' is not a node of the graph", spoiled(links=[link("0_7_1", "2_9_4", 1.0)])),
    (r"links\[0\]: from layer 2, position 3 to layer 0, position 3; expected a later layer", spoiled(links=[link("2_9_3", "0_7_3", 1.0)])),
    (
        r"links\[0\]: from layer 0, position 3 to layer 1, position 2",
        spoiled(nodes=[feature(0, 7, 3), feature(1, 5, 2)], links=[link("0_7_3", "1_5_2", 1.0)]),
    ),
    (r"links\[1\]: '0_7_1' to '2_9_3' appears twice", spoiled(links=[link("0_7_1", "2_9_3", 1.0)] * 2)),
]


@pytest.mark.parametrize(("message", "value"), BAD, ids=[m[:40] for m, _ in BAD])
def test_bad_files_are_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], message: str, value: dict[str, Any]
) -> None:
    path = write(tmp_path / "graph.json", value)
    with pytest.raises(GraphError, match=message):
        read_graph(path)
    assert main([str(path), str(tmp_path / "run")]) == 1
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"x"', "[" * 100_000, "\x00\x01"])
def test_files_that_are_no_json_object_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "graph.json").write_text(text)
    with pytest.raises(GraphError, match="expected an attribution graph"):
        read_graph(tmp_path / "graph.json")
    with pytest.raises(GraphError, match="no such file"):
        read_graph(tmp_path / "other.json")


def test_sources_without_activation_need_the_other_unit(tmp_path: Path) -> None:
    value = small()
    value["nodes"][0]["activation"] = None
    with pytest.raises(GraphError, match=r"1 sources, such as 0_7_1, have no activation above 0.*--unit contribution"):
        imported(tmp_path, value)
    assert not (tmp_path / "run").exists()
    _, edges = imported(tmp_path, value, unit="contribution")
    assert edges["direct_strength"].tolist() == [0.375, -1.5]


def test_ids_that_stand_for_two_nodes_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Older circuit-tracers named the error of layer 7 at position 1 as the feature 7 of layer 0 there."""
    value = small()
    value["nodes"].append(node("0_7_1", -1, "7", 1, "mlp reconstruction error"))
    path = write(tmp_path / "graph.json", value)
    assert main([str(path), str(tmp_path / "run")]) == 0
    assert "1 node id stands for two nodes (" in capsys.readouterr().out
    edges = pd.read_parquet(tmp_path / "run" / "interactions.parquet")
    assert edges["direct_strength"].tolist() == [0.25 / 4, (2 - 6) / 4]


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("x")
    with pytest.raises(GraphError, match="is not an empty folder; nothing was written"):
        imported(tmp_path, small())
    assert json.loads((tmp_path / "graph.json").read_text())
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]
