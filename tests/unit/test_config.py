"""Configuration: defaults run, clashes are refused by name, files round-trip."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from feature_graph.config import OUTSIDE_HASH, Config, ConfigError, explain


def test_worked_example_fields_are_accepted(in_tmp_path: Path) -> None:
    cfg = Config(
        model_name="gpt2-small",
        sae_release="gpt2-small-res-jb",
        sae_id_template="blocks.{layer}.hook_resid_post",
        layers=[0, 1, 2, 3, 4, 5],
        device="cpu",
        n_tokens=10_000,
        context_length=128,
        batch_size=8,
        top_k_features=50,
        layer_window=2,
        interaction_method="clamping",
        n_intervention_samples=20,
        significance_level=0.05,
        correction_method="fdr_bh",
        output_dir="outputs/demo",
        seed=42,
    )
    cfg.save("outputs/demo/config.json")
    assert Config.load("outputs/demo/config.json") == cfg
    assert len(cfg.layer_pairs) == 9


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layers": [3]}, ["layers", "at least 2"]),
        ({"layers": [0, -1]}, ["layers", "from 0"]),
        ({"layers": [2, 2]}, ["layers", "once"]),
        ({"top_k_feature": 3}, ["top_k_feature", "did you mean top_k_features"]),
        ({"significance_level": 1.0}, ["significance_level", "less than 1", "got 1.0"]),
        ({"significance_level": 0.0}, ["significance_level", "greater than 0"]),
        ({"layer_window": 0}, ["layer_window", "greater than or equal to 1"]),
        ({"clamp_high_quantile": 1.5}, ["clamp_high_quantile"]),
        ({"correction_method": "magic"}, ["correction_method", "fdr_bh", "got 'magic'"]),
        ({"sae_id_template": "blocks.3.hook"}, ["sae_id_template", "{layer}"]),
        ({"sae_id_template": "{layer}/{width}"}, ["sae_id_template", "only {layer} is replaced"]),
        ({"sae_id_template": "{layer}/{"}, ["sae_id_template", "only {layer} is replaced"]),
        ({"position_horizon": 128}, ["position_horizon", "context_length = 128"]),
        ({"candidates": "responses", "response_samples": 4}, ["response_documents: got 6", "response_samples = 4"]),
        ({"specificity_directions": 1}, ["specificity_directions: got 1", "at least 2"]),
    ],
)
def test_wrong_fields_are_named(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Config(**values)  # type: ignore[arg-type]
    message = explain(caught.value)
    for word in words:
        assert word in message


@pytest.mark.parametrize("ending", [".json", ".yaml", ".yml"])
def test_files_round_trip(tmp_path: Path, ending: str) -> None:
    cfg = Config(layers=[5, 1], prepend_bos=False, activity_threshold=0.25)
    cfg.save(tmp_path / f"deep/config{ending}")
    assert Config.load(tmp_path / f"deep/config{ending}") == cfg
    assert cfg.layers == [1, 5]


@pytest.mark.parametrize(("text", "words"), [("[1, 2]", "mapping"), ("a: [", "neither JSON nor YAML"), ("seed: -1", "seed")])
def test_broken_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        Config.load(path)
    assert "broken.yaml" in str(caught.value)


def test_missing_file_and_other_ending(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration at"):
        Config.load(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="ends in"):
        Config().save(tmp_path / "config.toml")


def test_layers_beyond_the_model_are_named() -> None:
    with pytest.raises(ConfigError, match=r"got \[12\].*layers 0 to 11"):
        Config(model_name="gpt2-small", layers=[0, 12]).check_layers(12)


def test_digest_ignores_where_it_runs() -> None:
    base = Config()
    assert base.digest() == Config(device="cuda", batch_size=64, output_dir="elsewhere").digest()
    assert base.digest() != Config(seed=1).digest()
    assert set(Config.model_fields) >= OUTSIDE_HASH
