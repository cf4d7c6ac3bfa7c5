"""A language model with hooks: the hub's, a local folder in transformers' format, or the bundled one.

Every model that has a twin in transformers is compared with it, on tokens of the run's length and before any processing of its weights.
Where TransformerLens' conversion computes something else, the TransformerBridge, which runs the transformers model itself, is taken if it
gives the right numbers; else the model is refused, and the settings of its config.json that may be the cause are named.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from feature_graph.config import BUNDLED_MODEL, Config
from feature_graph.loading.agreement import Difference, Reference
from feature_graph.loading.bundled import load_bundled_model
from feature_graph.loading.checkpoint import read_checkpoint, read_tokenizer
from feature_graph.loading.conversion import ConversionError, refusals, split_settings, to_bridge, to_hooked
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.hub import Need, access
from feature_graph.loading.settings import lengths, unusual

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

log = logging.getLogger(__name__)
#: Models that TransformerLens keeps in a format of its own: transformers has no such model to compare with.
_OWN_FORMAT = ("NeelNanda", "ArthurConmy", "Baidicoot")


def resolve_device(name: str) -> str:
    """The torch device of a configuration; ``auto`` takes a GPU if there is one.

    Raises:
        LoadingError: If the device is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        raise LoadingError(f"device: got {name!r}, which this machine does not have; use cpu or auto")
    return name


def load_model(cfg: Config, settings: Mapping[str, Any] | None = None) -> Any:
    """Load ``cfg.model_name``, float32, with its tokenizer if it has one.

    Args:
        cfg: The run's configuration.
        settings: What the dictionaries ask of the model, such as ``{"center_writing_weights": True}``.

    Returns:
        A HookedTransformer, or a TransformerBridge where only that computes what the transformers model does.

    Raises:
        LoadingError: If the name is unknown, a setting is, the files are not of one model, or nothing computes what they say.
        OfflineError: If it is neither on this machine nor reachable.
    """
    asked = dict(settings or {})
    device = resolve_device(cfg.device)
    with _deprecation_known(), _prints_to_log():
        if cfg.model_name.startswith("bundled:"):
            model = _bundled(cfg, asked)
        elif Path(cfg.model_name).is_dir():
            model = _local(Path(cfg.model_name), asked, cfg.context_length)
        else:
            model = _from_hub(cfg.model_name, asked, cfg.context_length)
        if device != "cpu":
            model = model.to(device)
    return model.eval().requires_grad_(False)


def _bundled(cfg: Config, asked: dict[str, Any]) -> HookedTransformer:
    if cfg.model_name != BUNDLED_MODEL:
        raise LoadingError(f"model_name: got {cfg.model_name!r}; the bundled model is {BUNDLED_MODEL!r}")
    if any(asked.values()):
        raise LoadingError(f"the dictionaries ask for {asked}, but the bundled model is used as it is; they belong to another model")
    return load_bundled_model(context_length=cfg.context_length)


def _local(folder: Path, asked: dict[str, Any], context_length: int) -> Any:
    if not (folder / "config.json").is_file():
        raise LoadingError(f"model_name: {folder} has no config.json; expected a folder in transformers' format (save_pretrained)")
    processing, other = split_settings(asked)
    theirs, name = read_checkpoint(folder, str(folder)), folder.resolve().name

    def convert(processing: Mapping[str, bool]) -> HookedTransformer:
        return to_hooked(theirs, name, read_tokenizer(folder), processing, other, context_length)

    return _Twin(theirs, str(folder), context_length).choose(convert, lambda: to_bridge(theirs, name, read_tokenizer(folder)), processing)


def _from_hub(name: str, asked: dict[str, Any], context_length: int) -> Any:
    from transformer_lens import HookedTransformer
    from transformer_lens.loading_from_pretrained import NEED_REMOTE_CODE_MODELS, get_official_model_name

    try:
        official = get_official_model_name(name)
    except ValueError as error:
        raise LoadingError(
            f"model_name: got {name!r}; expected a name that TransformerLens knows (such as gpt2-small), an existing folder in "
            f"transformers' format, or {BUNDLED_MODEL}"
        ) from error
    processing, other = split_settings(asked)

    def convert(processing: Mapping[str, bool], theirs: Any = None) -> HookedTransformer:
        given = {} if theirs is None else {"hf_model": theirs}
        return HookedTransformer.from_pretrained_no_processing(name, device="cpu", dtype=torch.float32, **given, **processing, **other)

    with access(Need(f"model {name}", official, local_way="a local folder in transformers' format as model_name")):
        if official.startswith(_OWN_FORMAT):
            log.warning("%s is in TransformerLens' own format: transformers has no such model to compare it with", name)
            return convert(processing)
        theirs = read_checkpoint(official, f"model {name}", trust_remote_code=official.startswith(NEED_REMOTE_CODE_MODELS))
        twin = _Twin(theirs, f"model {name}", context_length)
        return twin.choose(lambda p: convert(p, theirs), lambda: to_bridge(theirs, name, read_tokenizer(official)), processing)


@dataclass(frozen=True)
class _Twin:
    """A model of transformers, and the choice of what is to run in its place.

    Attributes:
        theirs: The transformers model.
        what: In words, for messages.
        context_length: Of the run.
    """

    theirs: Any
    what: str
    context_length: int

    def choose(
        self, convert: Callable[[Mapping[str, bool]], HookedTransformer], bridge: Callable[[], Any], processing: Mapping[str, bool]
    ) -> Any:
        """The converted model if it computes what transformers does, else the bridge if that does.

        Args:
            convert: Makes a HookedTransformer with the processing asked for.
            bridge: Makes a TransformerBridge.
            processing: What the dictionaries ask for.

        Raises:
            LoadingError: If neither does, or the processing asked for needs the other.
        """
        from transformer_lens import HookedTransformer

        reference = Reference(self.theirs, self.context_length)
        self._say_inactive()
        why = self._against(reference, convert)
        if isinstance(why, HookedTransformer):
            del reference
            return convert(processing) if any(processing.values()) else why
        wanted = [name for name, on in processing.items() if on]
        if wanted:
            raise LoadingError(
                f"model_name: the dictionaries ask for {', '.join(wanted)}, which only TransformerLens' own conversion can do, and that "
                f"does not compute what {self.what} says: {why}; use dictionaries of the model as it is"
            )
        return self._bridge(reference, bridge, why)

    def _against(self, reference: Reference, convert: Callable[[Mapping[str, bool]], HookedTransformer]) -> HookedTransformer | str:
        """The converted model, or why it is not to be used."""
        try:
            with refusals():
                made = convert(split_settings({})[0])
                found = reference.compare(made)
        except ConversionError as error:
            return f"TransformerLens cannot convert {type(self.theirs).__name__} ({error})"
        return made if found.is_same else self._blame(found, made.cfg)

    def _blame(self, found: Difference, hooked: Any) -> str:
        named = unusual(self.theirs.config, hooked)
        cause = f"config.json sets {', '.join(named)}" if named else "no setting of config.json that is known to be left out explains it"
        return f"{found.in_words()} after TransformerLens' conversion ({cause})"

    def _bridge(self, reference: Reference, bridge: Callable[[], Any], why: str) -> Any:
        try:
            made = bridge()
            with refusals():
                found = reference.compare(made)
        except ConversionError as error:
            raise LoadingError(f"model_name: {self.what} cannot be run with hooks: {why}; and by its bridge: {error}") from error
        if not found.is_same:
            named = ", ".join(unusual(self.theirs.config)) or "no unusual setting"
            raise LoadingError(
                f"model_name: {self.what} cannot be run with hooks: {why}; on TransformerLens' bridge {found.in_words()} "
                f"(config.json sets {named})"
            )
        log.info("%s runs on TransformerLens' bridge, equal to transformers within %.0e: %s", self.what, found.error, why)
        return made

    def _say_inactive(self) -> None:
        for name, value in lengths(self.theirs.config).items():
            if value >= self.context_length:
                log.info("%s = %d plays no part in contexts of %d tokens", name, value, self.context_length)


@contextlib.contextmanager
def _deprecation_known() -> Iterator[None]:
    """HookedTransformer is used knowingly: its successor cannot yet start at a layer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="HookedTransformer", category=DeprecationWarning)
        yield


@contextlib.contextmanager
def _prints_to_log() -> Iterator[None]:
    """TransformerLens prints; a library does not."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield
    for line in text.getvalue().splitlines():
        log.debug("%s", line)
