"""Compiled programs that do not ship: read from two files, refused before anything runs, measured as those that ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.evaluation.calibration import CalibrationError, calibrate
from feature_graph.evaluation.calibration.cells import own_width_cells
from feature_graph.evaluation.calibration.own_width_report import own_width_aims, pool_own_width
from feature_graph.evaluation.planted import compiled
from feature_graph.evaluation.planted.compiled import load_program, read_program
from feature_graph.evaluation.planted.compiled_checks import ProgramError
from feature_graph.evaluation.planted.compiled_inputs import inputs

SHIPPED = Path(compiled.__file__).parent / "programs"
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]


def write(folder: Path, change: Change = lambda facts, weights: None, name: str = "mine", like: str = "shift_by") -> Path:
    """The files of a program that ships under another name, changed."""
    facts = json.loads((SHIPPED / f"{like}.json").read_text())
    weights = load_file(SHIPPED / f"{like}.safetensors")
    change(facts, weights)
    save_file(weights, folder / f"{name}.safetensors")
    path = folder / f"{name}.json"
    path.write_text(json.dumps(facts))
    return path


def halved(facts: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    """What attention writes is half as much, the first token has another name, and only what must be told is told."""
    weights["transformer/layer_0/attn/linear/w"] *= 0.5
    facts["vocabulary"] = {"start" if token == "BOS" else token: number for token, number in facts["vocabulary"].items()}
    facts["bos"] = "start"
    for name in ("text", "wiring", "values", "distinct", "examples"):
        del facts[name]


def test_a_program_of_ones_own_is_measured_in_both_bases(tmp_path: Path) -> None:
    path = write(tmp_path, halved, name="my-shift")
    program = read_program(path)
    assert (program.name, program.text, program.bos, program.wiring) == ("my-shift", "", "start", frozenset())
    assert (program.random_tokens(9, seed=0)[:, 0] == program.vocabulary["start"]).all()
    words = ["calibrate", "--own-width", str(path), "-o", str(tmp_path / "out"), "--workers", "1"]
    done = CliRunner().invoke(app, [*words, "--json", "--strict"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert list(figures["own_width"]) == ["my-shift-original", "my-shift-rotated", "all"]
    assert (figures["variants"], figures["nulls"], figures["programs"]) == ({}, {}, {})
    for found in (figures["own_width"][name] for name in ("my-shift-original", "my-shift-rotated")):
        assert (found["wiring"], found["recall"]["value"], found["false"], found["width"]) == (40, 1, 0, 19)
    assert "Planted truth" not in CliRunner().invoke(app, words).stdout

    parts = sorted(file.name for file in (tmp_path / "out" / "parts").iterdir())
    write(tmp_path, name="my-shift")  # another program under the same name
    cells = own_width_cells([], [path])
    assert len(parts) == len(cells) == 2
    assert not {f"{cell.file}.json" for cell in cells} & set(parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts, weights: facts.pop("labels"), "labels missing; expected labels, vocabulary, output, layers, heads"),
        (lambda facts, weights: facts.update(layers="1"), "layers: got '1'; expected a whole number"),
        (lambda facts, weights: facts.update(heads=0), "layers and heads: got 1 and 0; expected at least 1"),
        (lambda facts, weights: facts.update(output="nothing"), "output: got 'nothing'; expected the variable of a label, such as"),
        (
            lambda facts, weights: facts["labels"].__setitem__(1, facts["labels"][0]),
            "labels: expected one text for each direction, none twice",
        ),
        (lambda facts, weights: facts["vocabulary"].update(a=9), "vocabulary: expected the ids 0 to 5, each once"),
        (lambda facts, weights: facts.update(bos="START"), "it has no 'START', with which every input begins"),
        (lambda facts, weights: facts.update(wiring=["a"]), "wiring: expected pairs"),
        (lambda facts, weights: facts.update(examples=[1]), "examples: expected objects"),
        (lambda facts, weights: facts.update(distinct=True), "8 positions beside that of 'BOS', 4 tokens to put there"),
        (lambda facts, weights: facts.update(layers=2), "missing; expected the arrays of 2 layers, as Tracr names them"),
        (lambda facts, weights: weights.update(norm=np.ones(3)), "norm: no part of such a program"),
        (lambda facts, weights: facts["labels"].pop(), "token_embed/embeddings: got 6 × 19; expected 6 × 18"),
        (
            lambda facts, weights: weights.update({"transformer/layer_0/attn/key/w": np.ones((19, 4))}),
            "transformer/layer_0/attn/key/w: got 19 × 4; expected 19 × heads x keys = ",
        ),
        (lambda facts, weights: facts.update(heads=4), "columns of the keys do not divide into 4 heads"),
        (lambda facts, weights: weights["pos_embed/embeddings"].fill(np.nan), "pos_embed/embeddings holds NaN or infinity"),
        (
            lambda facts, weights: [weights[f"transformer/layer_0/{name}/w"].fill(0) for name in ("attn/linear", "mlp/linear_2")],
            "attention and MLPs write nothing, so that there is no wiring to find",
        ),
    ],
)
def test_files_that_hold_no_program_are_refused(change: Change, message: str, tmp_path: Path) -> None:
    with pytest.raises(ProgramError) as error:
        read_program(write(tmp_path, change))
    assert message in str(error.value)
    assert str(tmp_path / "mine.") in str(error.value)


def test_what_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(ProgramError, match=r"there is no file .*other\.json; expected NAME.json and NAME.safetensors"):
        calibrate(1, [], nulls=False, programs=False, own=[tmp_path / "other.json"], folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CalibrationError, match="expected names of their own"):
        own_width_cells([], [path, path])
    with pytest.raises(CalibrationError, match=r"hist\.json; expected names of their own"):
        own_width_cells([], [write(tmp_path, name="hist")])
    path.write_text("[]")
    with pytest.raises(ProgramError, match="got list; expected an object"):
        read_program(path)
    path.write_text("{")
    assert CliRunner().invoke(app, ["calibrate", "--own-width", str(path)]).exit_code == 2
    path = write(tmp_path)
    path.with_suffix(".safetensors").write_bytes(b"nothing")
    with pytest.raises(ProgramError, match="not a safetensors file"):
        read_program(path)
    path.with_suffix(".safetensors").unlink()
    with pytest.raises(ProgramError, match=r"there is no file .*mine\.safetensors"):
        read_program(path)


def test_a_program_without_strong_wiring_meets_no_aim_of_recall() -> None:
    counts = {"wiring": 0, "wiring_found": 0, "copies": 3, "copies_found": 3, "found": 3, "false": 0, "wrong_signs": 0}
    cell = counts | {"discoveries": {"total": [3, 0]}}
    assert [aim.name for aim in own_width_aims(pool_own_width({"mine-original": cell}), 0.05) if "recall" in aim.name] == []


def test_programs_are_asked_for_by_name_or_by_file(tmp_path: Path) -> None:
    words = ["calibrate", "-o", str(tmp_path), "--workers", "1", "--json", "--documents", "60"]
    done = CliRunner().invoke(app, [*words, "--own-width", "share_of_x"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["own_width"]["share_of_x-original"]
    assert (found["documents"], found["wiring"], found["false"]) == (len(inputs(load_program("share_of_x"), 60)), 10, 0)
    assert {file.name for file in (tmp_path / "parts").iterdir()} >= {"own_width-share_of_x-rotated-0000-60.json"}
    with pytest.raises(CalibrationError, match="library: got share_of_y; known are share_of_x, so_far, repeats, frac_prevs"):
        calibrate(1, [], library=["share_of_y"])
    assert CliRunner().invoke(app, [*words, "--own-width", "share_of_y"]).exit_code == 2
    assert CliRunner().invoke(app, [*words[:-1], "9", "--own-width", "hist"]).exit_code == 2
    assert {cell.name for cell in own_width_cells(["repeats"])} == {"repeats-original", "repeats-rotated"}
