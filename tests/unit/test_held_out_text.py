"""Text that trained no bundled dictionary, as files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.band.registers import documents
from scripts.band.settings import BandSettings
from scripts.held_out_text import main
from scripts.train_bundled_saes import held_out


def test_the_held_out_documents_and_no_others_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "held-out"
    monkeypatch.setattr(sys, "argv", ["held_out_text", str(folder), "--registers", "speeches"])
    main()
    every = dict(documents("speeches"))
    seed = BandSettings().text_seed
    written = sorted(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert written == sorted(text for title, text in every.items() if held_out(title, seed))
    assert 0 < len(written) < len(every) / 5
    with pytest.raises(SystemExit):
        main()  # the folder is there already
    assert sorted(path.read_text(encoding="utf-8") for path in folder.iterdir()) == written
