"""Attribution graphs of several files: whose dictionaries they are, what merges, what never does, and what is counted as left out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from ingest.attribution_graphs import GraphError, Naming, import_graphs, names_of, read_graph
from ingest.attribution_graphs.nodes import unpair
from ingest.behaviors import read as read_behaviors
from ingest.rundir import open_run
from ingest.validate import validate
from tests.attribution_json import crm_document, document, downloaded, feature, link, node, write

NODES = [feature(0, 7, 1, 2.0, "state"), feature(2, 9, 3, 4.0, "Austin")]
LINKS = [link("0_7_1", "2_9_3", 1.0)]


def names(tmp_path: Path, value: dict[str, Any], given: Naming | None = None) -> Any:
    return names_of(read_graph(write(tmp_path / "graph.json", value)), given or Naming())


def imported(tmp_path: Path, *values: dict[str, Any], **naming: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    graphs = [read_graph(write(tmp_path / f"{i}.json", value)) for i, value in enumerate(values)]
    done = import_graphs(graphs, tmp_path / "run", Naming(**naming))
    validate(open_run(done.root))
    return pd.read_parquet(done.root / "features.parquet"), pd.read_parquet(done.root / "interactions.parquet")


PLACES: list[tuple[dict[str, Any], str, str]] = [
    ({"feature_details": {"neuronpedia_source_set": "clt-hp"}}, "clt-hp", "https://www.neuronpedia.org/gemma-2-2b/"),
    ({"info": {"neuronpedia_source_set": "clt-hp"}}, "clt-hp", "https://www.neuronpedia.org/gemma-2-2b/"),
    ({"info": {"source_urls": ["https://neuronpedia.org/gemma-2-2b/clt-hp"]}}, "clt-hp", "https://www.neuronpedia.org/gemma-2-2b/"),
    (
        {"scan": "mine", "info": {"source_urls": ["https://www.neuronpedia.org/gemma-2-2b/5-clt-hp"]}},
        "clt-hp",
        "https://www.neuronpedia.org/gemma-2-2b/",
    ),
    ({"info": {"source_urls": "https://neuronpedia.org/gemma-2-2b/graph", "transcoder_set": "gemma"}}, "gemma", ""),
    ({"info": {"source_urls": ["https://huggingface.co/mntss/clt-gemma-2-2b-426k"]}}, "mntss-clt-gemma-2-2b-426k", ""),
    ({"scan": "mntss/clt-gemma-2-2b-426k"}, "mntss-clt-gemma-2-2b-426k", ""),
    ({"feature_details": {"feature_json_base_url": "https://x.net/features/gemma-clt/"}}, "gemma-clt", ""),
    ({"scan": "custom-77", "transcoder_list": ["a", "b"]}, "transcoders-" + hashlib.sha256(b"a\nb").hexdigest()[:8], ""),
]


@pytest.mark.parametrize(("metadata", "release", "page"), PLACES, ids=[r for _, r, _ in PLACES])
def test_the_name_of_the_dictionaries_is_read_wherever_files_keep_it(
    tmp_path: Path, metadata: dict[str, Any], release: str, page: str
) -> None:
    found = names(tmp_path, document(NODES, LINKS, **({"feature_details": None} | metadata)))
    assert (found.releases["mlp"], found.unnamed) == (release, False)
    assert found.pages.get("mlp", ("",))[0] == page


def test_two_graphs_with_different_dictionaries_have_no_feature_in_common(tmp_path: Path) -> None:
    runs = {}
    for name in ("gemmascope-transcoder-16k", "clt-hp"):
        (tmp_path / name).mkdir()
        runs[name], _ = imported(tmp_path / name, downloaded(NODES, LINKS, name))
        assert runs[name]["uid"].tolist() == [f"gemma-2-2b@00000000/{name}/layer.0/7", f"gemma-2-2b@00000000/{name}/layer.2/9"]
        assert runs[name]["neuronpedia_url"][1] == f"https://www.neuronpedia.org/gemma-2-2b/2-{name}/9"
        assert json.loads((tmp_path / name / "run" / "config.json").read_text())["sae_release"] == name
    both = [downloaded(NODES, LINKS, name) for name in runs]
    with pytest.raises(
        GraphError, match=r"1\.json: dictionaries clt-hp, but .*0\.json has gemmascope-transcoder-16k; .* runs of their own"
    ):
        imported(tmp_path, *both)
    with pytest.raises(GraphError, match="model gemma-3@00000000, but"):
        imported(tmp_path, both[0], both[0] | {"metadata": both[0]["metadata"] | {"scan": "gemma-3"}})
    assert not (tmp_path / "run").exists()


def test_files_that_do_not_name_their_dictionaries_are_never_merged(tmp_path: Path) -> None:
    one, two = (document([*NODES, node(f"E_{i}_0", 0, "E", 0, "embedding")], LINKS, feature_details=None) for i in range(2))
    assert set(names(tmp_path, one).releases.values()).isdisjoint(names(tmp_path, two).releases.values())
    assert names(tmp_path, one).unnamed
    with pytest.raises(GraphError, match=r"0\.json does not say which dictionaries .* --release, or import the files one by one"):
        imported(tmp_path, one, two)
    features, edges = imported(tmp_path, one, two, release="mine")
    assert features["uid"].tolist() == ["gemma-2-2b@00000000/mine/layer.0/7", "gemma-2-2b@00000000/mine/layer.2/9"]
    assert edges["n_documents"].tolist() == [2]


def test_a_file_that_names_two_dictionaries_is_refused(tmp_path: Path) -> None:
    value = document(NODES, LINKS, info={"neuronpedia_source_set": "clt-hp"})
    with pytest.raises(GraphError, match=r"gemmascope-transcoder-16k in metadata\.feature_details.* clt-hp in metadata\.info.*--release"):
        names(tmp_path, value)
    value = document(NODES, LINKS, feature_details=None, info={"source_urls": [f"https://neuronpedia.org/m/{n}" for n in "ab"]})
    with pytest.raises(GraphError, match="names different dictionaries"):
        names(tmp_path, value)


def test_prompts_of_the_same_dictionaries_share_their_features(tmp_path: Path) -> None:
    """The feature L0_F7 at one position of the first prompt and two of the second: the mean of what its three nodes give."""
    other = [feature(0, 7, 1, 4.0, "a state"), feature(0, 7, 2, 1.0), feature(2, 9, 3, 1.0), feature(1, 1, 3, 1.0)]
    second = downloaded(other, [link("0_7_1", "2_9_3", 2.0), link("0_7_2", "2_9_3", -4.0)], "clt-hp")
    features, edges = imported(tmp_path, downloaded(NODES, LINKS, "clt-hp"), second)
    assert features["id"].tolist() == ["L0_F7", "L1_F1", "L2_F9"]
    assert features["label"].tolist() == ["state", "", "Austin"]
    assert features[["mean_act", "max_act", "density"]].to_numpy()[0].tolist() == [pytest.approx(7 / 3), 4.0, 3 / 12]
    assert edges["direct_strength"].tolist() == [pytest.approx((1 / 2 + 2 / 4 - 4 / 1) / 3)]
    assert edges[["n_samples", "n_documents"]].to_numpy().tolist() == [[3, 2]]
    run = open_run(tmp_path / "run")
    assert run.facts["labels_that_differ"] == 1
    assert (run.facts["files"], len(run.config["attribution_graphs"])) == (2, 2)


def test_two_prompts_of_one_name_are_two_behaviours(tmp_path: Path) -> None:
    logit = node("4_88_5", 88, "4", 5, "logit", 'Output " Austin"') | {"token_prob": 0.75, "is_target_logit": True}
    links = [*LINKS, link("2_9_3", "4_88_5", 0.5)]
    other = downloaded([*NODES, logit], [*links, link("0_7_1", "4_88_5", 0.1)], "clt-hp")
    imported(tmp_path, downloaded([*NODES, logit], links, "clt-hp"), other)
    run = open_run(tmp_path / "run")
    found = read_behaviors(run, validate(run).features)
    assert [(b.name, len(b.seeds)) for b in found] == [("texas", 1), ("texas (2)", 2)]


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="are the same graph; give each prompt once"):
        imported(tmp_path, document(NODES, LINKS), document(NODES, LINKS))


def test_ambiguous_ids_are_left_out_before_links_are_checked(tmp_path: Path) -> None:
    """An old circuit-tracer wrote two links of one name, one for each of the nodes of that name."""
    twice = [*NODES, feature(1, 5, 2, 1.0), node("1_5_2", -1, "5", 2, "mlp reconstruction error")]
    value = document(twice, [*LINKS, link("1_5_2", "2_9_3", 0.5), link("1_5_2", "2_9_3", 0.25)])
    features, edges = imported(tmp_path, value)
    assert (features["id"].tolist(), len(edges)) == (["L0_F7", "L2_F9"], 1)
    assert {"ambiguous ids": 1, "links of these": 2}.items() <= open_run(tmp_path / "run").facts["left_out"].items()
    with pytest.raises(GraphError, match="appears twice"):
        read_graph(write(tmp_path / "bad.json", document(NODES, LINKS * 2)))


def test_transcoders_and_attention_are_two_sites_of_a_layer_and_the_rest_is_counted(tmp_path: Path) -> None:
    features, edges = imported(tmp_path, crm_document())
    assert features["id"].tolist() == ["L0.attn_F5", "L0.mlp_F7", "L1.attn_F9", "L1.mlp_F3"]
    lorsa, transcoder = "qwen3-1.7b@00000000/lorsa-8x/layer.", "qwen3-1.7b@00000000/transcoder-8x/layer."
    assert features["uid"].tolist() == [f"{lorsa}0/5", f"{transcoder}0/7", f"{lorsa}1/9", f"{transcoder}1/3"]
    assert features["hook"].tolist() == ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.1.mlp"]
    pages = ["0-lorsa-8x/5", "0-transcoder-8x/7", "1-lorsa-8x/9", "1-transcoder-8x/3"]
    assert features["neuronpedia_url"].tolist() == [f"https://www.neuronpedia.org/qwen3-1.7b/{page}" for page in pages]
    assert set(features["label"]) == {""}  # F and the paired number is no label
    got = edges[["src_id", "tgt_id", "direct_strength", "span"]].to_numpy().tolist()
    assert got == [
        ["L0.attn_F5", "L0.mlp_F7", 0.75 / 1.5, 1],
        ["L0.mlp_F7", "L1.attn_F9", -0.5 / 2, 1],
        ["L0.mlp_F7", "L1.mlp_F3", 2.0 / 2, 2],
        ["L1.attn_F9", "L1.mlp_F3", 0.25 / 0.5, 1],
    ]
    run = open_run(tmp_path / "run")
    left = {"tokens": 2, "MLP errors": 1, "attention errors": 1, "biases": 1, "links of these": 3}
    assert run.facts["left_out"] == left | {"influences (ranks of pruning, no effects)": 4}
    assert run.manifest["stages"]["import"]["left_out"] == run.facts["left_out"]
    (behavior,) = read_behaviors(run, validate(run).features)
    assert [s.feature.id for s in behavior.seeds] == ["L1.mlp_F3"]


def test_attention_dictionaries_without_a_name_are_never_merged_either(tmp_path: Path) -> None:
    one, two = crm_document(), crm_document()
    two["links"] = two["links"][1:]
    for value in (one, two):
        value["metadata"]["feature_details"] = {"neuronpedia_source_set": "transcoder-8x"}
    found = names(tmp_path, one)
    assert (found.releases["mlp"], found.unnamed) == ("transcoder-8x", True)
    with pytest.raises(GraphError, match="does not say which dictionaries"):
        imported(tmp_path, one, two)
    features, _ = imported(tmp_path, one, two, release="transcoder-8x")
    assert {uid.split("/")[1] for uid in features["uid"]} == {"transcoder-8x", "transcoder-8x-lorsa"}
    (tmp_path / "alone").mkdir()
    only = [n for n in one["nodes"] if n["feature_type"] != "cross layer transcoder"]
    kept = {n["node_id"] for n in only}
    alone = one | {
        "nodes": only,
        "links": [link("0_lor_5_1", "1_lor_9_1", 1.0), *(e for e in one["links"] if {e["source"], e["target"]} <= kept)],
    }
    assert imported(tmp_path / "alone", alone)[0]["id"].tolist() == ["L0_F5", "L1_F9"]


def test_pins_and_supernodes_go_where_the_graph_has_a_place_for_them(tmp_path: Path) -> None:
    logit = node("4_88_5", 88, "4", 5, "logit", 'Output " Austin"') | {"token_prob": 0.75, "is_target_logit": True}
    bare = [feature(0, 7, 1, 2.0), feature(1, 3, 2, 1.0, "its own"), feature(2, 9, 3, 4.0), logit]
    value = document(bare, [*LINKS, link("2_9_3", "4_88_5", 0.5), link("1_3_2", "2_9_3", 0.5)])
    value["qParams"] |= {
        "pinnedIds": ["0_7_1", "4_88_5"],
        "supernodes": [["Texas", "0_7_1", "1_3_2"], ["say Austin", "4_88_5"]],
        "clerps": [["2_9_3", "by hand"]],
    }
    features, _ = imported(tmp_path, value)
    assert features["label"].tolist() == ["Texas", "its own", "by hand"]
    run = open_run(tmp_path / "run")
    (behavior,) = read_behaviors(run, validate(run).features)
    assert [m.id for m in behavior.members] == ["L0_F7", "L2_F9"]
    assert (run.facts["pinned"], run.facts["supernodes"]) == (1, 1)
    assert {"supernodes without a feature": 1, "pins on other nodes": 1}.items() <= run.facts["left_out"].items()
    (tmp_path / "odd").mkdir()
    imported(tmp_path / "odd", value | {"qParams": {"supernodes": '[["a","0_7_1"]]'}})
    assert open_run(tmp_path / "odd" / "run").facts["left_out"]["qParams.supernodes of another form"] == 1


@pytest.mark.parametrize("paired", [0, 1, 2, 75_460_070, 10**12 + 7])
def test_layer_and_index_are_read_from_their_pairing(paired: int) -> None:
    layer, index = unpair(paired)
    assert (layer + index) * (layer + index + 1) // 2 + index == paired


def test_ids_of_another_form_are_read_by_their_feature(tmp_path: Path) -> None:
    value = document([NODES[0] | {"node_id": "f-0-7@1"}, NODES[1]], [link("f-0-7@1", "2_9_3", 1.0)])
    assert imported(tmp_path, value)[0]["id"].tolist() == ["L0_F7", "L2_F9"]
    with pytest.raises(GraphError, match=r"node 'f-0-7@1': .* expected id"):
        imported(tmp_path, value | {"metadata": value["metadata"] | {"schema_version": 0}})


def test_the_command_imports_and_tells_what_it_left_out(tmp_path: Path) -> None:
    run = CliRunner()
    path = write(tmp_path / "crm.json", crm_document())
    done = run.invoke(app, ["import", "attribution", str(path), "--output-dir", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "4 features, 4 edges" in done.output
    assert "left out: 2 tokens, 1 MLP errors, 1 attention errors, 1 biases, 3 links of these" in done.output
    both = [str(write(tmp_path / f"{i}.json", downloaded(NODES, [link("0_7_1", "2_9_3", i)], "clt-hp"))) for i in (1.0, 2.0)]
    done = run.invoke(app, ["import", "attribution", *both, "--output-dir", str(tmp_path / "both"), "--json"])
    assert (done.exit_code, json.loads(done.output)["facts"]["files"]) == (0, 2)
    for arguments, said in (
        ([str(tmp_path / "none.json")], "none.json: no such file; expected an attribution graph"),
        ([str(tmp_path)], "a folder; expected an attribution graph"),
        ([str(path), both[0]], "model gemma-2-2b@00000000, but"),
        ([str(path), "--model-hash", "xyz"], "model hash: got 'xyz'; expected 8 hex digits"),
    ):
        done = run.invoke(app, ["import", "attribution", *arguments, "--output-dir", str(tmp_path / "new")])
        assert (done.exit_code, said in done.output.replace("\n", "")) == (1, True), done.output
        assert not (tmp_path / "new").exists()
