"""circuit-tracer's sets of transcoders, in a local folder or a repository of the hub, read by the same path.

1. Its ``config.yaml`` alone is looked at (fetched, if the set is on the hub): a cross-layer set is refused here.
2. It says which file is the block's: what its list ``transcoders`` names there, else ``layer_N.safetensors`` next to it.
3. That file alone is fetched, from the set's own repository or the one that the entry names, and read.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from feature_graph.dictionaries import ID_KEY, refuse_cross_layer_names
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.families import circuit_tracer, read_member
from feature_graph.loading.hub import Need, access, snapshot_folder
from feature_graph.loading.hub_saes import named_errors
from feature_graph.loading.releases import DictionarySource

if TYPE_CHECKING:
    from sae_lens import SAE

_LOCAL_WAY = "a local folder with config.yaml and the transcoders as sae_release"


@dataclass(frozen=True)
class SetMember:
    """The transcoder of one block of a set.

    Attributes:
        config: ``config.yaml`` of the set, on this machine.
        block: The block.
        sae_id: Its id in the set: ``layer_5.safetensors``, or ``layer_5`` where ``config.yaml`` lists the files.
        repo: Repository of the set; None for a local folder.
    """

    config: Path
    block: int
    sae_id: str
    repo: str | None


@dataclass(frozen=True)
class _Remote:
    """A file of the hub."""

    repo: str
    path: str
    revision: str = "main"


def find_member(place: DictionarySource) -> SetMember | None:
    """The transcoder that a release and an id mean; None if they mean no set of this family. A set on the hub is known by its config.yaml.

    Raises:
        LoadingError: If ``config.yaml`` cannot be read.
        UnsupportedSAEError: If the set is a cross-layer one.
        OfflineError: If it is neither in the cache nor reachable.
    """
    above, _, name = place.sae_id.rpartition("/")
    block = circuit_tracer.layer_named(name)
    if block is None or place.release.entry is not None:
        return None
    if place.folder is not None:
        found = None if place.folder.is_dir() else place.folder.parent / circuit_tracer.CFG
        repo = None
    else:
        found, repo = _config_on_hub(place, above), place.release.name
    if found is None or not found.is_file() or not circuit_tracer.is_config(found):
        return None
    circuit_tracer.refuse_other_sets(found)
    own = name.endswith(".safetensors") if repo is None else not circuit_tracer.listed(found)
    return SetMember(found, block, posixpath.join(above, f"layer_{block}{'.safetensors' if own else ''}"), repo)


def load_member(member: SetMember, device: str) -> SAE[Any]:
    """Load it, float32; its file is fetched if it is not on this machine.

    Raises:
        LoadingError: If its file is missing or cannot be read; it is named.
        UnsupportedSAEError: If it is of a kind that is not analysed.
        OfflineError: If its file is neither in the cache nor reachable.
    """
    where = _file(member)
    if isinstance(where, _Remote):
        need = Need(f"transcoder {member.sae_id}", where.repo, where.path, _LOCAL_WAY, where.revision)
        with access(need), named_errors(member.sae_id, f"{where.repo}/{where.path}"):
            where = Path(hf_hub_download(where.repo, where.path, revision=where.revision))
    return read_member(member.config, member.block, where, device)


def _config_on_hub(place: DictionarySource, above: str) -> Path | None:
    """``config.yaml`` next to the id; None if the repository has none there, or what is cached under the id is another family's folder."""
    repo, name = place.release.name, posixpath.join(above, circuit_tracer.CFG)
    snapshot = snapshot_folder(repo)
    if snapshot is not None and (snapshot / name).is_file():
        return snapshot / name
    need = Need(f"SAE {place.sae_id} of {repo}", repo, place.sae_id, _LOCAL_WAY)
    if need.is_cached():
        return None
    with access(need), named_errors(place.sae_id, repo):
        try:
            return Path(hf_hub_download(repo, name))
        except EntryNotFoundError:
            return None


def _file(member: SetMember) -> Path | _Remote:
    """Where the weights of a member lie.

    Raises:
        LoadingError: If the list ends before its block, or names what cannot be meant.
    """
    if member.sae_id.endswith(".safetensors"):
        return member.config.parent / f"layer_{member.block}.safetensors" if member.repo is None else _Remote(member.repo, member.sae_id)
    entries = circuit_tracer.listed(member.config)
    if member.block >= len(entries):
        raise LoadingError(
            f"{member.config}: transcoders lists {len(entries)} files, blocks 0 to {len(entries) - 1}, none for {member.sae_id}"
        )
    entry = entries[member.block]
    if entry.startswith(circuit_tracer.REMOTE):
        refuse_cross_layer_names({ID_KEY: entry}, member.block)
        return _remote(entry, member.config)
    if member.repo is None:
        return member.config.parent / Path(entry).expanduser()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(member.sae_id), entry))
    if path.startswith(("/", "..")):
        raise LoadingError(f"{member.config}: transcoders lists {entry}, a path of another machine; expected a file of {member.repo}")
    return _Remote(member.repo, path)


def _remote(entry: str, config: Path) -> _Remote:
    parts = urlsplit(entry)
    name, _, path = parts.path.lstrip("/").partition("/")
    if not parts.netloc or not name or not path:
        raise LoadingError(f"{config}: transcoders lists {entry}; expected {circuit_tracer.REMOTE}owner/repository/path/file")
    return _Remote(f"{parts.netloc}/{name}", path, parse_qs(parts.query).get("revision", ["main"])[0])
