"""Whether two names mean the same model: aliases, owners and paths apart."""

from __future__ import annotations

import json
from pathlib import Path


def same_model(recorded: str, configured: str) -> bool:
    """Whether the model that a dictionary records is the one that a run names: a model's name, a local folder, or the bundled one."""
    return _plain(recorded) in {_plain(name) for name in (configured, _origin(configured))}


def _origin(name: str) -> str:
    """What a local folder's own settings say that it was made from; else the name itself."""
    file = Path(name).expanduser() / "config.json"
    if not file.is_file():
        return name
    try:
        return str(json.loads(file.read_text(encoding="utf-8-sig")).get("_name_or_path") or name)
    except (ValueError, AttributeError):
        return name  # the loader of the model says what is wrong with the file


def _plain(name: str) -> str:
    from transformer_lens.loading_from_pretrained import get_official_model_name

    name = name.removeprefix("bundled:").rstrip("/")
    for one in (name, name.rsplit("/", 1)[-1]):
        try:
            return str(get_official_model_name(one)).rsplit("/", 1)[-1].lower()
        except ValueError:
            continue
    return name.rsplit("/", 1)[-1].lower()
