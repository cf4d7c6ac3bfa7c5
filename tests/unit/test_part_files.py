"""The one cache of part files: what was made under the key is read back; anything else is made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from feature_graph.activations.parts import BlockParts, RecordedBlock
from feature_graph.artifacts import FrameFiles, JsonParts, PartFiles, keep_only
from feature_graph.artifacts.parts import FrameParts

FRAME = pd.DataFrame({"x": np.arange(2000), "y": np.linspace(0, 1, 2000)})
BLOCK = RecordedBlock({3: sp.random(400, 9, 0.4, format="csr", dtype=np.float32, random_state=0)}, np.ones((40, 10), dtype=bool))
FORMS: dict[str, tuple[Any, Any]] = {
    "frames": (FrameParts(), FRAME),
    "values": (JsonParts(), {"a": [1, 2.5, None], "b": {"c": "d"}}),
    "blocks": (BlockParts({3: 9}), BLOCK),
}


def same(one: Any, two: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        return one.equals(two)
    if isinstance(one, RecordedBlock):
        return np.array_equal(one.valid, two.valid) and (one.features[3] != two.features[3]).nnz == 0
    return bool(one == two)


@pytest.mark.parametrize("form", FORMS)
def test_a_part_is_made_once_under_its_key(form: str, tmp_path: Path) -> None:
    how, value = FORMS[form]
    made: list[str] = []

    def make() -> Any:
        made.append("made")
        return value

    parts = PartFiles(tmp_path / "parts", "key", how)
    assert same(parts.get("a", make), value)
    assert same(parts.get("a", make), value)
    assert (made, parts.has("a"), parts.has("b")) == (["made"], True, False)
    other = PartFiles(tmp_path / "parts", "another key", how)
    assert (other.has("a"), other.load("a")) == (False, None)
    other.get("a", make)
    assert (made, parts.has("a")) == (["made"] * 2, False)
    other.remove()
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["cut", "other", "empty", "inside"])
def test_a_damaged_part_is_made_again(form: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    how, value = FORMS[form]
    parts = PartFiles(tmp_path, "key", how)
    parts.save("a", value)
    whole = parts.path("a").read_bytes()
    middle = len(whole) // 2
    broken = {"cut": whole[:middle], "other": b"[1, 2]", "empty": b"", "inside": b"\xff" * middle + whole[middle:]}[damage]
    parts.path("a").write_bytes(broken)
    assert parts.load("a") is None
    assert "is damaged" in caplog.text
    assert same(parts.get("a", lambda: value), value)
    assert same(parts.load("a"), value)


def test_a_single_flipped_bit_of_a_table_is_found(tmp_path: Path) -> None:
    parts = FrameFiles(tmp_path, "key")
    parts.save("a", FRAME)
    assert parts.intact("a")
    flipped = bytearray(parts.path("a").read_bytes())
    flipped[len(flipped) // 3] ^= 1
    parts.path("a").write_bytes(bytes(flipped))
    assert (parts.has("a"), parts.intact("a")) == (True, False)
    with pytest.raises(OSError, match=r"checksum|CRC|crc"):
        parts.read("a")


def test_without_a_folder_nothing_is_kept() -> None:
    parts = PartFiles(None, "key", JsonParts())
    assert parts.get("a", lambda: {"x": 1}) == {"x": 1}
    assert (parts.has("a"), parts.load("a")) == (False, None)
    with pytest.raises(ValueError, match="not kept"):
        parts.path("a")


def test_a_table_is_read_by_column(tmp_path: Path) -> None:
    parts = FrameFiles(tmp_path, "key")
    parts.save("a", FRAME)
    assert parts.read("a", ["y"]).columns.tolist() == ["y"]
    assert (parts.rows_of("a"), parts.bytes_of("a")) == (2000, parts.path("a").stat().st_size)


def test_a_folder_of_another_key_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    keep_only(folder, "one")
    (folder / "a.json").write_text("{}")
    keep_only(folder, "one")
    assert sorted(p.name for p in folder.iterdir()) == ["a.json", "key.json"]
    keep_only(folder, "two")
    assert [p.name for p in folder.iterdir()] == ["key.json"]
