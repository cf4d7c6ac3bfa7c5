"""Where the dictionaries of a run come from, and which id each layer is loaded by."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from feature_graph.artifacts import key_of, layer_of
from feature_graph.bundled import BUNDLED_RELEASES, release_folder
from feature_graph.config import BUNDLED_SAES, Config
from feature_graph.dictionaries import block_in
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.families import find_dictionaries
from feature_graph.loading.families.folders import cross_layer_file, what_is_there

if TYPE_CHECKING:
    from sae_lens.loading.pretrained_saes_directory import PretrainedSAELookup

log = logging.getLogger(__name__)
_HOOK = re.compile(r"(.*)blocks\.(\d+)\.hook_resid_(pre|post)(.*)")
_NEAR = 4


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


@dataclass(frozen=True)
class DictionarySource:
    """One dictionary to load.

    Attributes:
        release: Where it comes from.
        sae_id: Its id there.
    """

    release: Release
    sae_id: str

    @property
    def folder(self) -> Path | None:
        """Local folder; None on the hub."""
        return None if self.release.folder is None else self.release.folder / self.sae_id

    def names(self) -> tuple[str, str]:
        """Release and id as results name them; a folder that is itself the dictionary goes by its own name below the folder above it."""
        if self.sae_id != "." or self.release.folder is None:
            return self.release.name, self.sae_id
        path = self.release.folder.resolve()
        return path.parent.name, path.name


def find_release(name: str) -> Release:
    """Look a release up.

    Raises:
        LoadingError: If it is neither bundled, nor a folder, nor in SAELens' registry, nor a repository's name.
    """
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    if name.startswith("bundled:"):
        if name not in BUNDLED_RELEASES:
            raise LoadingError(f"got release {name!r}; the bundled dictionaries are {' and '.join(map(repr, BUNDLED_RELEASES))}")
        folder = release_folder(name)
        return Release(name.removeprefix("bundled:"), folder, None, find_dictionaries(folder))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Release(folder.resolve().name, folder, None, find_dictionaries(folder))
    registry = get_pretrained_saes_directory()
    if name in registry:
        return Release(name, None, registry[name], frozenset(registry[name].saes_map))
    if folder.exists():
        raise LoadingError(f"sae_release: {name} is a file; expected the folder above the folders of the dictionaries")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).parent.is_dir():
        return Release(name, None, None, frozenset())
    near = get_close_matches(name.lower(), registry, n=3)
    raise LoadingError(
        f"sae_release: got {name!r}; expected a release in SAELens' registry (such as {', '.join(near) or 'gpt2-small-res-jb'}), an "
        f"existing folder with one sub-folder a SAE id, a repository 'owner/name' of the hub, or {BUNDLED_SAES}"
    )


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
    return resolve(release, {layer: template.format(layer=layer) for layer in layers})


def resolve(release: Release, asked: Mapping[int, str]) -> dict[int, str]:
    """The same for ids given one by one."""
    asked = {layer: _tidy(release, sae_id) for layer, sae_id in asked.items()}
    if not release.ids and release.folder is None:
        return dict(asked)
    found = {layer: next((i for i in _spellings(wanted) if i in release.ids), None) for layer, wanted in asked.items()}
    missing = {layer: asked[layer] for layer, sae_id in found.items() if sae_id is None}
    if missing:
        raise LoadingError(_not_there(release, missing))
    resolved = {layer: sae_id for layer, sae_id in found.items() if sae_id is not None}
    changed = [f"{asked[layer]} -> {sae_id}" for layer, sae_id in resolved.items() if sae_id != asked[layer]]
    if changed:
        log.info("%s names these otherwise, the same tensors are read: %s", release.name, ", ".join(changed))
    return resolved


def _spellings(sae_id: str) -> tuple[str | None, ...]:
    """An id, the other name of the same residual, and the file that holds a transcoder."""
    return (
        sae_id,
        same_tensor(sae_id),
        sae_id.removesuffix(".safetensors") if sae_id.endswith(".safetensors") else f"{sae_id}.safetensors",
    )


def choose(cfg: Config) -> dict[int, DictionarySource]:
    """The dictionary of each layer (or site, where layers have several) of the configuration, ascending by key.

    Raises:
        LoadingError: If a layer has none, or two layers have the same.
    """
    releases = {name: find_release(name) for name in cfg.releases}
    wanted: dict[str, dict[int, str]] = {name: {} for name in releases}
    for layer, name, sae_id in _asked(cfg, releases):
        wanted[name][layer] = sae_id
    places = {
        layer: DictionarySource(releases[name], sae_id)
        for name, ids in wanted.items()
        if ids
        for layer, sae_id in resolve(releases[name], ids).items()
    }
    _refuse_doubles(places)
    return dict(sorted(places.items()))


def _asked(cfg: Config, releases: Mapping[str, Release]) -> list[tuple[int, str, str]]:
    if cfg.sites is None:
        return [(layer, cfg.sae_release, cfg.sae_id(layer)) for layer in cfg.layers]
    asked = []
    for site in cfg.sites:
        name = site.release or cfg.sae_release
        itself = site.release is not None and "." in releases[name].ids
        key = key_of(site.layer, site.kind) if cfg.has_components else site.layer
        if site.kind != "residual" and site.id is None and not itself:
            raise LoadingError(
                f"sites: {key} has no id; sae_id_template names residual SAEs, give the dictionary's own id (or folder) in {name}"
            )
        asked.append((key, name, "." if itself and site.id is None else cfg.sae_id(site.layer, site.kind)))
    return asked


def _tidy(release: Release, sae_id: str) -> str:
    """A folder's id without slashes at the end, dots and links of the way; ids of the hub stay as they are."""
    if release.folder is None:
        return sae_id
    path, root = Path(os.path.normpath(sae_id)), release.folder.resolve()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _refuse_doubles(places: Mapping[int, DictionarySource]) -> None:
    by_place: dict[object, int] = {}
    for layer, place in places.items():
        key = place.folder.resolve() if place.folder is not None else (place.release.name, place.sae_id)
        if key in by_place:
            where = place.folder if place.folder is not None else f"{place.sae_id} of {place.release.name}"
            raise LoadingError(f"layers {by_place[key]} and {layer} would both read {where}; give each layer its own dictionary")
        by_place[key] = layer


def _not_there(release: Release, missing: Mapping[int, str]) -> str:
    text = f"{release.name} has no {', '.join(missing.values())} (nor the same tensor under its other name). "
    first = next(iter(missing.values()))
    if release.folder is not None and (release.folder / first).is_dir() and not any(i.startswith(f"{first}/") for i in release.ids):
        return text + f"{release.folder / first} {what_is_there(release.folder / first)}"
    if release.ids == {"."}:
        return text + (
            f"{release.folder} is itself one dictionary: name the folder above it, or list the dictionaries one by one under sites "
            "({layer, release})"
        )
    if release.folder is not None and not release.ids and cross_layer_file(release.folder):
        return text + f"{release.folder} {what_is_there(release.folder)}"
    if not release.ids:
        return text + f"{release.folder} and the folders below it hold no dictionary. Change sae_release"
    near = list(dict.fromkeys(i for layer, wanted in missing.items() for i in _near(release.ids, layer_of(layer), wanted)))[:_NEAR]
    some = ", ".join(near or sorted(release.ids)[:_NEAR])
    return text + f"It has {len(release.ids)} SAEs, such as {some}. Change layers, sae_id_template or sites"


def _near(ids: Iterable[str], layer: int, wanted: str) -> list[str]:
    """Ids that end or begin as the wanted one does, or name its block, before those that merely look like it."""
    known = sorted(ids)
    inside = [i for i in known if i.endswith(f"/{wanted}") or i.startswith(f"{wanted}/") or i.lower() == wanted.lower()]
    block = [i for i in known if block_in(i) == layer]
    return list(dict.fromkeys([*inside, *get_close_matches(wanted, block, n=_NEAR, cutoff=0), *get_close_matches(wanted, known, n=2)]))
