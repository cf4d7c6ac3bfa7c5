"""Whether the dictionaries that a configuration names now are those that a run used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feature_graph.artifacts import ArtifactError, RunPaths
from feature_graph.dictionaries import weights_hash


def check_recorded(saes: Mapping[Any, Any], run_dir: str | Path) -> None:
    """Refuse dictionaries whose weights are not those that the run's manifest recorded; without a manifest nothing is compared.

    Args:
        saes: Layer, or name of the site → dictionary.
        run_dir: Directory of the run.

    Raises:
        ArtifactError: Naming the dictionary, or if the manifest is damaged.
    """
    recorded = _recorded(RunPaths.of(run_dir).manifest)
    for place, sae in saes.items():
        known, found = recorded.get(str(place)), weights_hash(sae)
        if known is not None and known != found:
            where = place if isinstance(place, str) else f"layer {place}"
            raise ArtifactError(
                f"{where}: the dictionary that the configuration names now has weights {found}, the run used {known}; restore the "
                "dictionaries that the run used, or run it again"
            )


def _recorded(path: Path) -> dict[str, str]:
    """Layer, or name of the site → hash of the weights."""
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8")).get("saes", {})
        return {place: facts["sha256"] for place, facts in loaded.items() if "sha256" in facts}
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error!r}); delete it and run again: every stage is then run again") from error
