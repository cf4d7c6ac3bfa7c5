"""Behaviours as data, their prompts, the neighbourhood in a graph, and the file; nothing here needs a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from feature_graph.subgraphs import (
    PREDEFINED_BEHAVIORS,
    Behavior,
    BehaviorError,
    BehaviorScore,
    BehaviorSubgraph,
    PromptPair,
    find_behavior,
    load_behavior,
    save_behaviors,
)
from feature_graph.subgraphs.neighbourhood import around
from feature_graph.subgraphs.tokens import prompts_of_ids, split_prompts


def test_eight_behaviours_come_with_the_library() -> None:
    assert list(PREDEFINED_BEHAVIORS) == [
        "factual_recall",
        "indirect_object",
        "greater_than",
        "subject_verb_agreement",
        "gendered_pronoun",
        "induction",
        "antonyms",
        "sentiment",
    ]


@pytest.mark.parametrize("name", PREDEFINED_BEHAVIORS)
def test_every_behaviour_has_many_prompts_about_many_things(name: str) -> None:
    behavior = PREDEFINED_BEHAVIORS[name]
    assert behavior.name == name
    assert len(behavior.pairs) >= 100
    assert len({pair.group for pair in behavior.pairs}) >= 24  # 12 to test on: the exact test can then reach p = 2 ** -11
    assert behavior.description
    assert behavior.source
    for pair in behavior.pairs:
        assert pair.clean != pair.corrupted
        assert not pair.clean.endswith(" ")
        assert not set(pair.answers) & set(pair.wrong)


def test_the_corrupted_fact_is_true_of_the_wrong_answer() -> None:
    pairs = PREDEFINED_BEHAVIORS["factual_recall"].pairs
    truth = {(pair.clean, answer) for pair in pairs for answer in pair.answers}
    assert all((pair.corrupted, pair.wrong[0]) in truth for pair in pairs)
    assert ("The capital of France is", " Paris") in truth


def test_the_receiver_is_the_one_who_does_not_give() -> None:
    for pair in PREDEFINED_BEHAVIORS["indirect_object"].pairs:
        assert pair.clean.count(pair.answers[0].strip()) == 1
        assert pair.clean.count(pair.wrong[0].strip()) == 2
        assert pair.corrupted.count(pair.answers[0].strip()) == 2


def test_right_years_are_later_and_wrong_years_earlier() -> None:
    for pair in PREDEFINED_BEHAVIORS["greater_than"].pairs:
        begin = next(word for word in pair.clean.split() if len(word) == 4 and word.isdigit())[2:]
        pattern = begin if len(pair.answers[0]) == 2 else begin[0]
        assert min(pair.answers) > pattern > max(pair.wrong)


def test_the_distractor_has_the_other_number() -> None:
    for pair in PREDEFINED_BEHAVIORS["subject_verb_agreement"].pairs:
        plural_subject = pair.answers[0] == " are"
        assert pair.clean.endswith("s") is not plural_subject
        assert pair.clean.split()[2:] == pair.corrupted.split()[2:]


def test_the_pronoun_of_the_corrupted_prompt_is_the_wrong_one() -> None:
    pairs = PREDEFINED_BEHAVIORS["gendered_pronoun"].pairs
    right = {pair.clean: pair.answers for pair in pairs}
    assert all(right[pair.corrupted] == pair.wrong for pair in pairs)
    assert {pair.answers[0] for pair in pairs} == {" she", " he"}


def test_induction_repeats_and_its_corrupted_prompt_leads_to_the_wrong_word() -> None:
    for pair in PREDEFINED_BEHAVIORS["induction"].pairs:
        for text, expected in ((pair.clean, pair.answers[0]), (pair.corrupted, pair.wrong[0])):
            words = text.split()
            assert words[words.index(words[-1]) + 1] == expected.strip()
        assert set(pair.clean.split()) == set(pair.corrupted.split())


def test_antonyms_go_both_ways() -> None:
    facts = {(pair.clean, pair.answers[0]) for pair in PREDEFINED_BEHAVIORS["antonyms"].pairs}
    assert {("The opposite of hot is", " cold"), ("The opposite of cold is", " hot")} <= facts
    assert all((pair.corrupted, pair.wrong[0]) in facts for pair in PREDEFINED_BEHAVIORS["antonyms"].pairs)


def test_no_review_contains_its_verdict() -> None:
    for pair in PREDEFINED_BEHAVIORS["sentiment"].pairs:
        assert not {word.strip() for word in pair.answers + pair.wrong} & set(pair.clean.replace(",", " ").replace("!", " ").split())


YAML = """
name: colours
description: what is what colour
prompts:
  - {clean: "The sky is", corrupted: "The grass is", answers: " blue", wrong: [" green"]}
  - {clean: "Snow is", corrupted: "Coal is", answers: [" white"], wrong: " black", group: snow}
  - {clean: "Blood is", corrupted: "Milk is", answers: " red", wrong: " white"}
  - {clean: "Gold is", corrupted: "Silver is", answers: " yellow", wrong: " grey"}
"""


def test_a_behaviour_is_read_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "colours.yaml").write_text(YAML)
    behavior = load_behavior(tmp_path / "colours.yaml")
    assert (behavior.name, behavior.description) == ("colours", "what is what colour")
    assert behavior.pairs[1] == PromptPair("Snow is", "Coal is", (" white",), (" black",), "snow")
    assert [pair.group for pair in behavior.pairs] == ["0", "snow", "2", "3"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: colours", "title: colours", "expected a mapping with name, description and a list of prompts"),
        ('answers: " blue"', "answers: 7", r"prompt 0: answers: got 7, expected a text or a list of texts \(quote numbers"),
        ('wrong: " black"', 'wrnog: " black"', r"prompt 1: got \['answers', 'clean', 'corrupted', 'group', 'wrnog'\]"),
        ('clean: "Blood is"', "clean: [1]", r"prompt 2: clean: got \[1\], expected text"),
        ('answers: " red"', 'answers: " white"', "answers and wrong answers that are not empty and do not overlap"),
        ("name: colours", "name: [", "is not YAML"),
        ('  - {clean: "Gold is', "#", "got 3 groups of prompts, expected at least 4"),
    ],
)
def test_a_malformed_file_is_refused_where_it_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(YAML.replace(old, new))
    with pytest.raises(BehaviorError, match=message):
        load_behavior(path)


def test_the_example_file_is_a_behaviour() -> None:
    found = find_behavior(Path(__file__).parents[2] / "examples" / "behaviors" / "weekdays.yaml")
    right = {pair.clean: pair.answers for pair in found.pairs}
    assert right["The day after Sunday is"] == (" Monday",)
    assert all(right[pair.corrupted] == pair.wrong for pair in found.pairs)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BehaviorError, match="no behaviour file at"):
        load_behavior(tmp_path / "none.yaml")


def test_halves_share_no_group_and_take_many_groups_before_many_prompts() -> None:
    n = 40
    ids = torch.arange(n * 3).reshape(n, 3)
    prompts = prompts_of_ids(ids, ids, ids[:, 0], ids[:, 1])
    grouped = prompts.clean.take(range(n))
    grouped = type(grouped)(**{**vars(grouped), "groups": np.arange(n) // 4})
    both = type(prompts)(grouped, grouped, {})
    choosing, held_out = (half.clean for half in split_prompts(both, 12, seed=3))
    assert not set(choosing.groups) & set(held_out.groups)
    assert (len(set(choosing.groups)), len(set(held_out.groups))) == (5, 5)
    assert (len(choosing), len(held_out)) == (6, 6)
    two_each = split_prompts(both, 20, seed=3)[0].clean
    rows = sorted(int(text.split()[0]) // 3 for text in two_each.texts)
    assert all((b - a) % 4 in {1, 3} and a // 4 == b // 4 for a, b in zip(rows[::2], rows[1::2], strict=True))  # neighbours, round the end
    assert split_prompts(both, 12, seed=3)[0].clean.texts == choosing.texts
    assert split_prompts(both, 12, seed=4)[0].clean.texts != choosing.texts


def line() -> nx.DiGraph:
    """0 → 1 → 2 → 3 → 4, and 5 → 2: a feature that only shares a target with 1."""
    G = nx.DiGraph(model="m")
    G.add_nodes_from((f"L{i}_F0", {"layer": i, "label": f"label {i}"}) for i in range(5))
    G.add_node("L1_F5", layer=1, label="")
    G.add_edges_from((f"L{i}_F0", f"L{i + 1}_F0", {"strength": float(i)}) for i in range(4))
    G.add_edge("L1_F5", "L2_F0", strength=-1.0)
    return G


def test_the_neighbourhood_follows_edges_both_ways_without_turning() -> None:
    part = around(line(), {"L1_F0": {"effect_size": 0.5}}, n_hops=2)
    assert dict(part.nodes(data="hops")) == {"L1_F0": 0, "L0_F0": 1, "L2_F0": 1, "L3_F0": 2}
    assert {(u, v) for u, v in part.edges} == {("L0_F0", "L1_F0"), ("L1_F0", "L2_F0"), ("L2_F0", "L3_F0")}
    assert part.nodes["L1_F0"]["effect_size"] == 0.5
    assert [n for n, seed in part.nodes(data="seed") if seed] == ["L1_F0"]
    assert part.nodes["L2_F0"]["label"] == "label 2"
    assert part.graph["model"] == "m"


def test_seeds_outside_the_graph_become_nodes_with_every_attribute() -> None:
    seeds = {"L9_F9": {"layer": 9, "index": 9, "label": "new", "uid": "u", "effect_size": -1.0}, "L2_F0": {"effect_size": 2.0}}
    part = around(line(), seeds, n_hops=0)
    assert set(part) == {"L9_F9", "L2_F0"}
    assert part.nodes["L9_F9"]["label"] == "new"
    assert part.nodes["L9_F9"]["neuronpedia_url"] == ""
    assert set(around(nx.DiGraph(), seeds, n_hops=2)) == {"L9_F9", "L2_F0"}


SCORE = BehaviorScore(
    metric="logit_difference",
    clean=3.0,
    ci_low=2.0,
    ci_high=4.0,
    corrupted=-2.0,
    ablated=1.0,
    accuracy=0.9,
    answer_probability=0.5,
    follows_prompt=True,
    prompts=20,
    groups=12,
    floor=0.1,
    dropped={"no single-token answer": 3},
)
SEED = {
    "feature_id": "L2_F0",
    "effect_size": 0.5,
    "ci_low": 0.25,
    "ci_high": 0.75,
    "p_value": 0.001,
    "q_value": 0.01,
    "attribution": 0.4,
    "selection_effect": 0.45,
    "confirmed": True,
    "layer": 2,
    "index": 0,
    "uid": "m@0/r/s/0",
    "label": "two",
    "in_graph": True,
    "rank": 1,
}
RESULT = BehaviorSubgraph("b", "d", [SEED], line(), SCORE, True, (), ("The sky is",), "m@0/b")


def test_able_means_above_zero_and_following_the_prompt() -> None:
    assert SCORE.able
    assert not replace(SCORE, ci_low=-0.1).able
    assert not replace(SCORE, follows_prompt=False).able


def test_the_summary_says_what_was_found_and_what_not() -> None:
    text = replace(RESULT, confirmed=False, warnings=("the model cannot do it",)).summary()
    assert text.splitlines()[0] == "b: NOT confirmed"
    assert "warning: the model cannot do it" in text
    assert "logit difference +3.00 [+2.00, +4.00] on 20 held-out prompts (12 groups); -2.00 on the corrupted ones" in text
    assert "with all seeds ablated together +1.00" in text
    assert "left out: 3 pairs: no single-token answer" in text
    assert "L2_F0 +0.500 [+0.250, +0.750] confirmed  two" in text


def test_the_file_holds_what_ingest_reads_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "behaviors.json"
    nothing = replace(RESULT, behavior="none", seed_features=[], score=None, confirmed=False)
    save_behaviors(path, [RESULT, nothing])
    values = json.loads(path.read_text())
    assert (values["kind"], values["version"]) == ("behaviors", 1)
    first, second = values["behaviors"]
    assert (first["name"], first["clean"], first["ablated"], first["confirmed"]) == ("b", 3.0, 1.0, True)
    assert first["seeds"][0]["id"] == "L2_F0"
    assert first["seeds"][0]["effect"] == 0.5
    assert first["members"] == list(line())
    assert (second["clean"], second["seeds"]) == (None, [])


def test_unmeasured_numbers_become_null(tmp_path: Path) -> None:
    save_behaviors(tmp_path / "b.json", [replace(RESULT, score=replace(SCORE, ci_low=float("nan")))])
    assert json.loads((tmp_path / "b.json").read_text())["behaviors"][0]["score"]["ci_low"] is None


def test_the_probability_difference_is_that_of_the_softmax() -> None:
    ids = torch.zeros(2, 3, dtype=torch.long)
    prompts = replace(prompts_of_ids(ids, ids, torch.tensor([1, 2]), torch.tensor([0, 3])).clean, measure="probability_difference")
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(-1)
    assert torch.allclose(prompts.metric(logits), torch.stack([p[0, 1] - p[0, 0], p[1, 2] - p[1, 3]]))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(BehaviorError, match=r"metric: got 'kl', expected one of logit_difference, probability_difference"):
        replace(PREDEFINED_BEHAVIORS["antonyms"], metric="kl")


def test_a_behaviour_without_enough_groups_is_refused() -> None:
    pair = PromptPair("a", "b", (" c",), (" d",), "one")
    with pytest.raises(BehaviorError, match="got 1 groups of prompts, expected at least 4"):
        Behavior("b", "", (pair,) * 8)
