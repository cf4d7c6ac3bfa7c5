"""Quality of dictionaries on components of the bundled model, whose first one meets the directions of the residual SAEs below it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.config import BUNDLED_BAND, Config
from tests.support.component_dictionaries import copying_sae

pytestmark = [pytest.mark.slow, pytest.mark.model]


def test_the_first_component_is_asked_along_the_residual_saes_below_it(tmp_path: Path) -> None:
    for block in (8, 9):
        copying_sae(576, metadata={"hook_name": f"blocks.{block}.hook_mlp_out"}).save_model(tmp_path / f"mlp-{block}")
    sites = [{"layer": block, "kind": "mlp_out", "release": str(tmp_path / f"mlp-{block}")} for block in (8, 9)]
    Config(sites=sites, context_length=64, prepend_bos=False, output_dir=str(tmp_path / "run")).save(tmp_path / "mlps.yaml")
    done = CliRunner().invoke(app, ["-q", "quality", str(tmp_path / "mlps.yaml"), "--tokens", "256", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["dictionaries"]
    assert list(found) == ["L8.mlp", "L9.mlp"]
    for one in found.values():
        assert one["shares_along"] == "arrivals"
        for figure in one["response_ev"].values():
            assert figure["value"] == pytest.approx(1, abs=1e-3)  # it gives back what it takes


@pytest.mark.parametrize("blocks", [(8, 15), pytest.param(BUNDLED_BAND, marks=pytest.mark.long)], ids=["two", "all"])
def test_the_bundled_transcoders_answer_as_their_mlps_do(blocks: Sequence[int]) -> None:
    sites = ", ".join(f"{{layer: {n}, kind: transcoder, id: 'blocks.{n}.transcoder'}}" for n in blocks)
    chosen = [] if blocks is BUNDLED_BAND else ["--set", f"sites=[{sites}]"]
    done = CliRunner().invoke(app, ["-q", "quality", "bundled", "--tokens", "512", *chosen, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["dictionaries"]
    assert list(found) == [f"L{block}.tc" for block in blocks]
    for one in found.values():
        assert one["explained_variance_typical"]["value"] > 0.6
        assert 20 < one["l0"]["value"] < 50
        assert min(one["response_ev"][kind]["value"] for kind in ("decoders", "arrivals", "random")) > 0.25
        assert one["published"]["explained_variance"] == pytest.approx(one["explained_variance_typical"]["value"], abs=0.1)
