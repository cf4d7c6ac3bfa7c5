"""The dictionaries of a run: a SAELens release, folders of several families of files, or the bundled ones."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from feature_graph.artifacts import kind_of, layer_of
from feature_graph.config import Config
from feature_graph.dictionaries import (
    ID_KEY,
    RELEASE_KEY,
    block_in,
    hook_in,
    non_linearity,
    parse_hook,
    placements,
    refuse_cross_layer_names,
    weights_hash,
)
from feature_graph.loading.errors import LoadingError, OfflineError
from feature_graph.loading.families import read_dictionary
from feature_graph.loading.hub import Need, access
from feature_graph.loading.hub_saes import load_from_hub
from feature_graph.loading.model_names import same_model
from feature_graph.loading.releases import DictionarySource, choose
from feature_graph.loading.transcoder_sets import find_member, load_member

if TYPE_CHECKING:
    from sae_lens import SAE

log = logging.getLogger(__name__)


def load_saes(cfg: Config, device: str) -> dict[Any, SAE[Any]]:
    """Load one SAE for each layer of the configuration, or one dictionary for each of its sites, float32, frozen.

    Returns:
        {layer: SAE}; {name of the site: SAE or transcoder} where some sit on components.

    Raises:
        LoadingError: If one does not exist or cannot be read; the file is named.
        UnsupportedSAEError: If one is of a kind that is not analysed.
        OfflineError: If one is neither on this machine nor reachable.
    """
    saes: dict[Any, SAE[Any]] = {}
    for layer, place in choose(cfg).items():
        named = dict(zip((RELEASE_KEY, ID_KEY), place.names(), strict=True))
        if kind_of(layer) != "residual":
            refuse_cross_layer_names(named, layer_of(layer))
        with warnings.catch_warnings():  # settings for the model are honoured, see model_settings
            warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs", category=UserWarning)
            try:
                member = find_member(place)
                sae = _load_one(place, device) if member is None else load_member(member, device)
            except OfflineError:
                raise  # about the hub, not about one dictionary
            except LoadingError as error:
                raise type(error)(f"layer {layer}: {error}") from error
        if member is not None and place.folder is None:
            named[ID_KEY] = member.sae_id  # one id, however it was asked for
        for key, name in named.items():
            sae.cfg.metadata[key] = name
        if kind_of(layer) == "residual":
            non_linearity(sae, layer_of(layer))
            _settle_hook(sae, layer_of(layer), place)
        else:
            non_linearity(sae, layer_of(layer), components=True)
            placements(sae, layer_of(layer), kind_of(layer))
        saes[layer] = sae.eval().requires_grad_(False)
    _mention_copies(saes)
    _mention_training(saes, cfg)
    return {str(key): sae for key, sae in saes.items()} if cfg.has_components else saes


def _load_one(place: DictionarySource, device: str) -> SAE[Any]:
    if place.folder is not None:
        return read_dictionary(place.folder, device)
    release, sae_id = place.release, place.sae_id
    entry = release.entry
    repo, path = (entry.repo_id, entry.saes_map[sae_id]) if entry is not None else (release.name, sae_id)
    with access(Need(f"SAE {sae_id} of {release.name}", repo, path, "a local folder with one sub-folder a SAE as sae_release")):
        return load_from_hub(release, sae_id, device)


def _settle_hook(sae: Any, layer: int, place: DictionarySource) -> None:
    """The hook that the dictionary records; where it records none, the one its folder names.

    Raises:
        LoadingError: If it records none and the folder names none, or a local folder names another residual than the file.
    """
    path = f"{place.names()[0]}/{place.names()[1]}" if place.sae_id == "." else place.sae_id
    recorded, named = sae.cfg.metadata.get("hook_name"), hook_in(path)
    if not recorded:
        if named is None:
            raise LoadingError(
                f"layer {layer}: the SAE records no hook (metadata.hook_name), and {path!r} names none; name its folder after the hook, "
                "such as blocks.5.hook_resid_post, or write hook_name into its settings"
            )
        parse_hook(named, layer)
        log.info("layer %d: the SAE records no hook; by its name it reads %s", layer, named)
        sae.cfg.metadata["hook_name"] = named
        return
    hook, block = parse_hook(str(recorded), layer), block_in(path)
    mine = (block_in(hook.name), hook.point - 1)  # both numbers of the block that people may mean
    other = parse_hook(named, layer).point != hook.point if named else block is not None and not {block, layer} & set(mine)
    if other and place.folder is not None:
        raise LoadingError(
            f"layer {layer}: {place.folder} is named after {named or f'block {block}'}, but its file says that it reads {recorded}; "
            "rename the folder or correct the file"
        )
    if layer not in (hook.point - 1, hook.point):
        log.warning("layer %d: the dictionary reads %s", layer, hook.name)


def _mention_copies(saes: Mapping[Any, Any]) -> None:
    """Two layers with the same weights are a file copied to the wrong place."""
    by_weights: dict[str, list[Any]] = {}
    for layer, sae in saes.items():
        by_weights.setdefault(weights_hash(sae), []).append(layer)
    for layers in by_weights.values():
        if len(layers) > 1:
            log.warning("layers %s: the SAEs have the same weights; was a file copied to another layer?", ", ".join(map(str, layers)))


def _mention_training(saes: Mapping[Any, Any], cfg: Config) -> None:
    """What the dictionaries record of their training that this run does otherwise."""
    for text, layers in _differences(saes, cfg).items():
        log.warning("layers %s: %s", ", ".join(map(str, layers)), text)


def _differences(saes: Mapping[Any, Any], cfg: Config) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for layer, sae in saes.items():
        for text in _complaints(sae.cfg.metadata, cfg):
            found.setdefault(text, []).append(layer)
    return found


def _complaints(meta: Any, cfg: Config) -> list[str]:
    texts = []
    model = meta.get("model_name")
    if model and not same_model(str(model), cfg.model_name):
        texts.append(f"the SAEs were trained on {model!r}, the model is {cfg.model_name!r}: do they belong together?")
    span = meta.get("seqpos_slice")
    if isinstance(span, list | tuple) and any(part not in (None, 0) for part in span):
        texts.append(f"the SAEs were trained on positions {json.dumps(list(span))} of each context only; here all positions are read")
    width = meta.get("context_size")
    if isinstance(width, int) and 0 < width < cfg.context_length:
        texts.append(f"the SAEs were trained on contexts of {width} tokens, this run reads {cfg.context_length}")
    bos = meta.get("prepend_bos")
    if cfg.prepend_bos is not None and bos is not None and bool(bos) != cfg.prepend_bos:
        texts.append(f"the SAEs were trained {'with' if bos else 'without'} BOS, this run has prepend_bos: {str(cfg.prepend_bos).lower()}")
    return texts


def model_settings(saes: Mapping[Any, Any]) -> dict[str, Any]:
    """What the dictionaries ask of the model's weights (``model_from_pretrained_kwargs``), all of them alike.

    Raises:
        LoadingError: If they ask for different things.
    """
    asked = {layer: dict(sae.cfg.metadata.get("model_from_pretrained_kwargs") or {}) for layer, sae in saes.items()}
    first = next(iter(asked.values()), {})
    if any(one != first for one in asked.values()):
        raise LoadingError(f"the dictionaries ask for different settings of the model: {asked}; analyse them in separate runs")
    return first


def trained_with_bos(saes: Mapping[Any, Any]) -> bool | None:
    """Whether the dictionaries were trained on contexts that begin with BOS; None if they do not say or disagree."""
    said = {sae.cfg.metadata.get("prepend_bos") for sae in saes.values()}
    answer = said.pop() if len(said) == 1 else None
    return None if answer is None else bool(answer)


def get_sae_dict_size(sae: Any) -> int:
    """Number of features of an SAELens SAE."""
    return int(sae.cfg.d_sae)
