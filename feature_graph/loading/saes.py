"""The dictionaries of a run: a SAELens release, a local folder in SAELens' format, or the bundled ones."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_lens import SAE
from sae_lens.loading.pretrained_saes_directory import PretrainedSAELookup, get_pretrained_saes_directory

from feature_graph.config import BUNDLED_SAES, Config
from feature_graph.loading.bundled import SAES_NAME, saes_folder
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.hub import Need, access
from feature_graph.loading.kinds import non_linearity
from feature_graph.loading.sites import ID_KEY, RELEASE_KEY

log = logging.getLogger(__name__)
_HOOK = re.compile(r"(.*)blocks\.(\d+)\.hook_resid_(pre|post)(.*)")
_CFG_FILE = "cfg.json"


@dataclass(frozen=True)
class Release:
    """Where dictionaries come from.

    Attributes:
        name: As results name it.
        folder: Local folder, one sub-folder an id; None for the hub.
        entry: SAELens' registry entry; None for a local folder or an unlisted repository.
        ids: Ids that exist; empty if that cannot be known beforehand.
    """

    name: str
    folder: Path | None
    entry: PretrainedSAELookup | None
    ids: frozenset[str]


def find_release(name: str) -> Release:
    """Look a release up.

    Raises:
        LoadingError: If it is neither bundled, nor a folder, nor in SAELens' registry, nor a repository's name.
    """
    if name.startswith("bundled:"):
        if name != BUNDLED_SAES:
            raise LoadingError(f"sae_release: got {name!r}; the bundled dictionaries are {BUNDLED_SAES!r}")
        return Release(SAES_NAME, saes_folder(), None, _local_ids(saes_folder()))
    if Path(name).is_dir():
        return Release(Path(name).resolve().name, Path(name), None, _local_ids(Path(name)))
    entry = get_pretrained_saes_directory().get(name)
    if entry is not None:
        return Release(name, None, entry, frozenset(entry.saes_map))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return Release(name, None, None, frozenset())
    raise LoadingError(
        f"sae_release: got {name!r}; expected a release in SAELens' registry (such as gpt2-small-res-jb), an existing folder with "
        f"one sub-folder a SAE id, a repository 'owner/name' of the hub, or {BUNDLED_SAES}"
    )


def _local_ids(folder: Path) -> frozenset[str]:
    return frozenset(str(p.parent.relative_to(folder)) for p in folder.rglob(_CFG_FILE))


def same_tensor(sae_id: str) -> str | None:
    """The other name of the same residual: ``blocks.5.hook_resid_post`` is ``blocks.6.hook_resid_pre``, and back."""
    match = _HOOK.fullmatch(sae_id)
    if match is None:
        return None
    before, block, side, after = match[1], int(match[2]), match[3], match[4]
    if side == "post":
        return f"{before}blocks.{block + 1}.hook_resid_pre{after}"
    return f"{before}blocks.{block - 1}.hook_resid_post{after}" if block else None


def resolve_ids(release: Release, template: str, layers: Iterable[int]) -> dict[int, str]:
    """The id to load for each layer: as asked, or the other name of the same tensor where only that exists.

    Raises:
        LoadingError: If any layer has none; a run never goes on with fewer dictionaries than asked for.
    """
    asked = {layer: template.format(layer=layer) for layer in layers}
    if not release.ids:
        return asked
    found = {layer: next((i for i in (wanted, same_tensor(wanted)) if i in release.ids), None) for layer, wanted in asked.items()}
    missing = [asked[layer] for layer, sae_id in found.items() if sae_id is None]
    if missing:
        raise LoadingError(
            f"{release.name} has no {', '.join(missing)} (nor the same tensor under its other name). It has {len(release.ids)} SAEs, "
            f"such as {', '.join(sorted(release.ids)[:4])}. Change layers or sae_id_template"
        )
    resolved = {layer: sae_id for layer, sae_id in found.items() if sae_id is not None}
    changed = [f"{asked[layer]} -> {sae_id}" for layer, sae_id in resolved.items() if sae_id != asked[layer]]
    if changed:
        log.info("%s names these residuals otherwise, the same tensors are read: %s", release.name, ", ".join(changed))
    return resolved


def load_saes(cfg: Config, device: str) -> dict[int, SAE[Any]]:
    """Load one SAE for each layer of the configuration, float32, frozen.

    Raises:
        LoadingError: If one does not exist or cannot be read.
        UnsupportedSAEError: If one is of a kind that is not analysed.
        OfflineError: If one is neither on this machine nor reachable.
    """
    release = find_release(cfg.sae_release)
    saes = {}
    for layer, sae_id in resolve_ids(release, cfg.sae_id_template, cfg.layers).items():
        with warnings.catch_warnings():  # settings for the model are honoured, see model_settings
            warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs", category=UserWarning)
            sae = _load_one(release, sae_id, device)
        non_linearity(sae, layer)
        sae.cfg.metadata[RELEASE_KEY], sae.cfg.metadata[ID_KEY] = release.name, sae_id
        saes[layer] = sae.eval().requires_grad_(False)
    return saes


def _load_one(release: Release, sae_id: str, device: str) -> SAE[Any]:
    if release.folder is not None:
        return SAE.load_from_disk(release.folder / sae_id, device=device, dtype="float32")
    entry = release.entry
    repo, path = (entry.repo_id, entry.saes_map[sae_id]) if entry is not None else (release.name, sae_id)
    with access(Need(f"SAE {sae_id} of {release.name}", repo, path, "a local folder in SAELens' format as sae_release")):
        return SAE.from_pretrained(release.name, sae_id, device=device, dtype="float32")


def model_settings(saes: Mapping[int, Any]) -> dict[str, Any]:
    """What the dictionaries ask of the model's weights (``model_from_pretrained_kwargs``), all of them alike.

    Raises:
        LoadingError: If they ask for different things.
    """
    asked = {layer: dict(sae.cfg.metadata.get("model_from_pretrained_kwargs") or {}) for layer, sae in saes.items()}
    first = next(iter(asked.values()), {})
    if any(one != first for one in asked.values()):
        raise LoadingError(f"the dictionaries ask for different settings of the model: {asked}; analyse them in separate runs")
    return first


def trained_with_bos(saes: Mapping[int, Any]) -> bool | None:
    """Whether the dictionaries were trained on contexts that begin with BOS; None if they do not say or disagree."""
    said = {sae.cfg.metadata.get("prepend_bos") for sae in saes.values()}
    answer = said.pop() if len(said) == 1 else None
    return None if answer is None else bool(answer)


def get_sae_dict_size(sae: Any) -> int:
    """Number of features of an SAELens SAE."""
    return int(sae.cfg.d_sae)
